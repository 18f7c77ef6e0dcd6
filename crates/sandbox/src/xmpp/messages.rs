//! Messages: the delivery rules of RFC 6121 8.5, offline storage (XEP-0160).

use super::accounts::Held;
use super::{Parcel, Place, XmppDomain};
use xmpp::stanza::{Condition, Message, MessageType, StanzaKind};

/// Octets of one message that is kept for later.
const HELD_MAX: usize = 65_536;

impl XmppDomain {
    pub(super) fn route_message(&mut self, parcel: Parcel<'_>, message: &Message<'_>) {
        let answerable = message.kind != MessageType::Error;
        if !matches!(self.place(&parcel.to.domain), Place::Own) {
            return self.forward(parcel, StanzaKind::Message, answerable);
        }
        let refuse = |domain: &mut Self| {
            if answerable {
                domain.bounce(parcel, StanzaKind::Message, Condition::ServiceUnavailable, None);
            }
        };
        // RFC 6121 8.4 and 8.5.1: nobody reads at the domain itself, and nobody has that name.
        let user = parcel.to.local.as_deref().unwrap_or_default();
        if self.accounts.find(user).is_none() {
            // 8.5.4: news for nobody are no news.
            let is_user = parcel.to.local.is_some() && parcel.to.resource.is_none();
            if message.kind != MessageType::Headline || !is_user {
                refuse(self);
            }
            return;
        }
        // 8.5.3.1
        if let Some(resource) = &parcel.to.resource
            && let Some(stream) = self.connected(user, resource)
        {
            return self.hand_over(parcel, stream);
        }
        let is_full = parcel.to.resource.is_some();
        match message.kind {
            MessageType::Error => {}
            MessageType::GroupChat => refuse(self),
            // 8.5.3.2.1
            MessageType::Normal | MessageType::Headline if is_full => refuse(self),
            MessageType::Headline => {
                for (stream, priority) in self.available(user) {
                    if priority >= 0 {
                        self.hand_over(parcel, stream);
                    }
                }
            }
            MessageType::Normal | MessageType::Chat => {
                let available = self.available(user);
                let highest = available.iter().map(|(_, priority)| *priority).max();
                match highest {
                    Some(highest) if highest >= 0 => {
                        for (stream, _) in available.into_iter().filter(|(_, priority)| *priority == highest) {
                            self.hand_over(parcel, stream);
                        }
                    }
                    _ => self.hold(parcel, user, message),
                }
            }
        }
    }

    /// Keeps a message until the user is there, or refuses it.
    fn hold(&mut self, parcel: Parcel<'_>, user: &str, message: &Message<'_>) {
        // XEP-0160 3: what is only about the moment is not kept.
        if message.bodies.is_empty() && message.chat_state.is_some() {
            return;
        }
        let stamp = self.stamp();
        let limit = self.settings.offline;
        let kept = match self.accounts.find_mut(user) {
            Some(account)
                if !message.hints.no_store && account.offline.len() < limit && parcel.envelope.len() <= HELD_MAX =>
            {
                account.offline.push_back(Held {
                    from: parcel.from.to_owned(),
                    to: parcel.to.to_string(),
                    stamp,
                    envelope: parcel.envelope.clone(),
                });
                true
            }
            _ => false,
        };
        if !kept {
            self.bounce(parcel, StanzaKind::Message, Condition::ServiceUnavailable, None);
        }
    }

    /// Delivers what was kept, each with the moment it was sent at (XEP-0203).
    pub(super) fn release(&mut self, user: &str, stream: turn::StreamId) {
        let Some(account) = self.accounts.find_mut(user) else { return };
        let held = std::mem::take(&mut account.offline);
        for (index, Held { from, to, stamp, envelope }) in held.iter().enumerate() {
            let mut delay = Vec::new();
            delay.extend_from_slice(b"<delay xmlns='urn:xmpp:delay'");
            xml::writer::attribute("from", &self.settings.domain, &mut delay);
            xml::writer::attribute("stamp", stamp, &mut delay);
            delay.extend_from_slice(b"/>");
            if !self.send(stream, |out| envelope.write(from, to, &delay, out)) {
                // The stream is over: what it did not get waits on.
                if let Some(account) = self.accounts.find_mut(user) {
                    account.offline = held.into_iter().skip(index).collect();
                }
                return;
            }
        }
    }
}
