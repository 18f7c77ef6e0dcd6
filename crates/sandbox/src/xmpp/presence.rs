//! Presence: broadcasts, probes, directed presence (RFC 6121 4) and the subscription stanzas on their way (3).

use super::envelope::Envelope;
use super::roster::{ITEMS_MAX, Item, Step};
use super::sessions::Available;
use super::{Parcel, Place, XmppDomain};
use turn::StreamId;
use xml::{Limits, StreamNamespaces};
use xmpp::jid::JidParts;
use xmpp::ns;
use xmpp::stanza::{Condition, Presence, PresenceType, StanzaKind};

/// Addresses that one session can have sent presence to directly.
const DIRECTED_MAX: usize = 100;

impl XmppDomain {
    /// Presence of a client without `to` (RFC 6121 4.2, 4.4, 4.5).
    pub(super) fn on_own_presence(
        &mut self,
        stream: StreamId,
        from: &str,
        presence: &Presence<'_>,
        envelope: Envelope,
    ) {
        match presence.kind {
            PresenceType::Available => {
                let Some(session) = self.session_mut(stream) else { return };
                let before = session.available.as_ref().map(|available| available.priority);
                session.available = Some(Available { priority: presence.priority, envelope: envelope.clone() });
                self.broadcast(from, &envelope);
                if before.is_none() {
                    self.on_initial(stream, from);
                }
                if before.is_none_or(|before| before < 0) && presence.priority >= 0 {
                    self.release(user_of(from), stream);
                }
            }
            PresenceType::Unavailable => self.leave(stream, from, Some(envelope)),
            // The others say something to somebody; without `to` they say nothing.
            _ => {}
        }
    }

    /// The resource is no longer available: says so to all who saw it (RFC 6121 4.5.2, 4.6.3).
    pub(super) fn leave(&mut self, stream: StreamId, from: &str, envelope: Option<Envelope>) {
        let Some(session) = self.session_mut(stream) else { return };
        let was_available = session.available.take().is_some();
        let directed = std::mem::take(&mut session.directed);
        let envelope = envelope.unwrap_or_else(|| bare_presence("unavailable"));
        if was_available {
            self.broadcast(from, &envelope);
        }
        for address in directed {
            let Ok(to) = JidParts::parse(&address) else { continue };
            let sees =
                |account: &super::accounts::Account| account.roster.get(&bare(&to)).is_some_and(|item| item.from);
            if !(was_available && self.accounts.find(user_of(from)).is_some_and(sees)) {
                self.present(from, &to, &envelope);
            }
        }
    }

    /// Tells the contacts who may know, and the user's own resources.
    fn broadcast(&mut self, from: &str, envelope: &Envelope) {
        let user = user_of(from).to_owned();
        let Some(account) = self.accounts.find(&user) else { return };
        let contacts: Vec<String> =
            account.roster.iter().filter(|(_, item)| item.from).map(|(address, _)| address.clone()).collect();
        for (stream, _) in self.available(&user) {
            let Some(to) = self.session(stream).map(|session| session.acceptor.address().to_owned()) else { continue };
            self.send(stream, |out| envelope.write(from, &to, b"", out));
        }
        for contact in contacts {
            if let Ok(to) = JidParts::parse(&contact) {
                self.present(from, &to, envelope);
            }
        }
    }

    /// Presence information to one address, unanswered wherever it cannot go.
    fn present(&mut self, from: &str, to: &JidParts<'_>, envelope: &Envelope) {
        let parcel = Parcel { origin: None, from, to, id: "", envelope };
        self.route_presence(parcel, PresenceType::Available);
    }

    /// What a resource learns when it becomes available (RFC 6121 4.2.2, 4.3).
    fn on_initial(&mut self, stream: StreamId, from: &str) {
        let user = user_of(from).to_owned();
        let own_bare = from.split('/').next().unwrap_or_default().to_owned();
        // The user's other resources.
        for (other, _) in self.available(&user) {
            if other != stream {
                self.show(other, from, stream);
            }
        }
        let Some(account) = self.accounts.find(&user) else { return };
        let seen: Vec<String> =
            account.roster.iter().filter(|(_, item)| item.to).map(|(address, _)| address.clone()).collect();
        let asking: Vec<(String, Envelope)> =
            account.asking.iter().map(|(address, envelope)| (address.clone(), envelope.clone())).collect();
        // RFC 6121 3.1.2: a request without an answer may have been lost.
        let waiting: Vec<String> =
            account.roster.iter().filter(|(_, item)| item.pending_out).map(|(address, _)| address.clone()).collect();
        let request = bare_presence("subscribe");
        for contact in waiting {
            let Ok(to) = JidParts::parse(&contact) else { continue };
            let parcel = Parcel { origin: None, from: &own_bare, to: &to, id: "", envelope: &request };
            self.route_presence(parcel, PresenceType::Subscribe);
        }
        let probe = bare_presence("probe");
        for contact in seen {
            let Ok(to) = JidParts::parse(&contact) else { continue };
            let parcel = Parcel { origin: None, from: &own_bare, to: &to, id: "", envelope: &probe };
            match self.place(&to.domain) {
                Place::Component(component) => self.hand_over(parcel, component),
                Place::Own => {
                    let contact_user = to.local.as_deref().unwrap_or_default().to_owned();
                    if self.is_shown_to(&contact_user, &own_bare) {
                        for (other, _) in self.available(&contact_user) {
                            self.show(other, &own_bare, stream);
                        }
                    }
                }
                Place::Away | Place::Unknown => {}
            }
        }
        // RFC 6121 3.1.3: requests are delivered until they are answered.
        for (address, envelope) in asking {
            self.send(stream, |out| envelope.write(&address, &own_bare, b"", out));
        }
    }

    /// The presence of one resource, to another stream.
    fn show(&mut self, whose: StreamId, to: &str, stream: StreamId) {
        let Some(session) = self.session(whose) else { return };
        let Some(available) = session.available.clone() else { return };
        let from = session.acceptor.address().to_owned();
        self.send(stream, |out| available.envelope.write(&from, to, b"", out));
    }

    /// Whether a bare address may see a user's presence.
    fn is_shown_to(&self, user: &str, address: &str) -> bool {
        self.accounts.find(user).is_some_and(|account| account.roster.get(address).is_some_and(|item| item.from))
    }

    /// Presence of a client with `to`.
    pub(super) fn on_directed_presence(&mut self, stream: StreamId, parcel: Parcel<'_>, presence: &Presence<'_>) {
        if let Some(step) = step(presence.kind) {
            return self.subscribe(stream, parcel, step);
        }
        let to = parcel.to.to_string();
        if let Some(session) = self.session_mut(stream) {
            match presence.kind {
                PresenceType::Available if !session.directed.contains(&to) => {
                    if session.directed.len() >= DIRECTED_MAX {
                        return self.bounce(parcel, StanzaKind::Presence, Condition::ResourceConstraint, None);
                    }
                    session.directed.push(to);
                }
                PresenceType::Unavailable => session.directed.retain(|other| *other != to),
                _ => {}
            }
        }
        self.route_presence(parcel, presence.kind);
    }

    /// Presence for somebody, here or elsewhere.
    pub(super) fn route_presence(&mut self, parcel: Parcel<'_>, kind: PresenceType) {
        if !matches!(self.place(&parcel.to.domain), Place::Own) {
            return self.forward(parcel, StanzaKind::Presence, kind != PresenceType::Error);
        }
        let Some(user) = parcel.to.local.as_deref() else { return };
        // RFC 6121 8.5.1
        if self.accounts.find(user).is_none() {
            return;
        }
        if let Some(step) = step(kind) {
            // RFC 6121 8.5.3.2.2: of what is for a resource that is gone, only a request is for the user.
            let is_gone = parcel.to.resource.as_ref().is_some_and(|resource| self.connected(user, resource).is_none());
            if is_gone && step != Step::Subscribe {
                return;
            }
            return self.on_subscription(parcel, step);
        }
        if kind == PresenceType::Probe {
            return self.on_probe(parcel, user);
        }
        match &parcel.to.resource {
            Some(resource) => {
                if let Some(stream) = self.connected(user, resource) {
                    self.hand_over(parcel, stream);
                }
            }
            None => {
                for (stream, _) in self.available(user) {
                    self.hand_over(parcel, stream);
                }
            }
        }
    }

    /// Somebody asks for a user's presence (RFC 6121 4.3.2).
    fn on_probe(&mut self, parcel: Parcel<'_>, user: &str) {
        let Some(origin) = parcel.origin else { return };
        let Ok(asker) = JidParts::parse(parcel.from) else { return };
        let asker_bare = bare(&asker);
        let own_bare = bare(parcel.to);
        let is_self = asker_bare == own_bare;
        if !is_self && !self.is_shown_to(user, &asker_bare) {
            let envelope = bare_presence("unsubscribed");
            self.send(origin, |out| envelope.write(&own_bare, parcel.from, b"", out));
            return;
        }
        let mut available = self.available(user);
        if let Some(resource) = &parcel.to.resource {
            let wanted = self.connected(user, resource);
            available.retain(|(stream, _)| Some(*stream) == wanted);
        }
        for (stream, _) in &available {
            self.show(*stream, parcel.from, origin);
        }
        if available.is_empty() {
            let envelope = bare_presence("unavailable");
            self.send(origin, |out| envelope.write(&own_bare, parcel.from, b"", out));
        }
    }

    /// A user's own subscription stanza (RFC 6121 3.1.2, 3.1.5, 3.2.2, 3.3.2).
    fn subscribe(&mut self, stream: StreamId, parcel: Parcel<'_>, step: Step) {
        let own_bare = parcel.from.split('/').next().unwrap_or_default().to_owned();
        let contact = parcel.to.clone().into_bare();
        if bare(&contact) == own_bare {
            return self.bounce(parcel, StanzaKind::Presence, Condition::NotAllowed, None);
        }
        // The stanza says the bare addresses (RFC 6121 3.1.2).
        let parcel = Parcel { origin: Some(stream), from: &own_bare, to: &contact, ..parcel };
        if !self.change(&own_bare, &contact, step, parcel) {
            self.bounce(parcel, StanzaKind::Presence, Condition::ResourceConstraint, None);
        }
    }

    /// Changes the user's side of a subscription and carries the stanza on. `false`: the roster is full.
    pub(super) fn change(&mut self, own_bare: &str, contact: &JidParts<'_>, step: Step, parcel: Parcel<'_>) -> bool {
        let user = user_of(own_bare).to_owned();
        let address = bare(contact);
        let Some(account) = self.accounts.find_mut(&user) else { return true };
        if !account.roster.contains_key(&address) && account.roster.len() >= ITEMS_MAX {
            return false;
        }
        let item = account.roster.entry(address.clone()).or_default();
        let had_from = item.from;
        let was = item.clone();
        let effect = item.outbound(step);
        let changed = was != *item;
        let gained = item.from && !had_from;
        let lost = had_from && !item.from;
        let listed = item.listed;
        if item.is_empty() {
            account.roster.remove(&address);
        }
        if matches!(step, Step::Subscribed | Step::Unsubscribed) {
            account.asking.remove(&address);
        }
        // RFC 6121 3.2.2: who may no longer see the user sees him leave before he is told so.
        if lost {
            self.tell(&user, contact, false);
        }
        if effect.pass {
            self.route_presence(parcel, kind_of(step));
        }
        if changed && listed {
            self.push(&user, &address);
        }
        if gained {
            self.tell(&user, contact, true);
        }
        true
    }

    /// Shows all resources of a user to a contact, or takes them away (RFC 6121 3.1.5, 3.2.2).
    fn tell(&mut self, user: &str, contact: &JidParts<'_>, available: bool) {
        let gone = bare_presence("unavailable");
        for (stream, _) in self.available(user) {
            let Some(session) = self.session(stream) else { continue };
            let from = session.acceptor.address().to_owned();
            let envelope = match &session.available {
                Some(shown) if available => shown.envelope.clone(),
                _ => gone.clone(),
            };
            self.present(&from, contact, &envelope);
        }
    }

    /// A contact's subscription stanza for a user here (RFC 6121 3.1.3, 3.1.6, 3.2.3, 3.3.3).
    fn on_subscription(&mut self, parcel: Parcel<'_>, step: Step) {
        let Some(user) = parcel.to.local.as_deref() else { return };
        let Ok(contact) = JidParts::parse(parcel.from) else { return };
        let contact = contact.into_bare();
        let address = bare(&contact);
        let own = parcel.to.clone().into_bare();
        let own_bare = bare(&own);
        // Subscriptions are between bare addresses, whatever the contact wrote.
        let parcel = Parcel { from: &address, to: &own, ..parcel };
        let Some(account) = self.accounts.find_mut(user) else { return };
        if !account.roster.contains_key(&address) && account.roster.len() >= ITEMS_MAX {
            return;
        }
        let item = account.roster.entry(address.clone()).or_default();
        let (had_from, has_it) = (item.from, item.from && step == Step::Subscribe);
        let effect = item.inbound(step);
        let listed = item.listed;
        if item.is_empty() {
            account.roster.remove(&address);
        }
        match step {
            Step::Subscribe if effect.changed => {
                account.asking.insert(address.clone(), parcel.envelope.clone());
            }
            Step::Unsubscribe => {
                account.asking.remove(&address);
            }
            _ => {}
        }
        if has_it {
            // A.3.1: it is allowed already, and told so again.
            self.reply(parcel, &own_bare, &contact, "subscribed");
        }
        if !effect.pass {
            return;
        }
        let sessions = self.accounts.find(user).map(|account| account.sessions.clone()).unwrap_or_default();
        for stream in sessions {
            let wants = self.session(stream).is_some_and(|session| match step {
                Step::Subscribe => session.available.is_some(),
                _ => session.interested || session.available.is_some(),
            });
            if wants {
                self.hand_over(parcel, stream);
            }
        }
        if listed && step != Step::Subscribe {
            self.push(user, &address);
        }
        if step == Step::Unsubscribe {
            if had_from {
                self.tell(user, &contact, false);
            }
            // A.3.2
            self.reply(parcel, &own_bare, &contact, "unsubscribed");
        }
    }

    /// Answers on behalf of a user.
    fn reply(&mut self, parcel: Parcel<'_>, own_bare: &str, contact: &JidParts<'_>, kind: &str) {
        let envelope = bare_presence(kind);
        let kind = if kind == "subscribed" { PresenceType::Subscribed } else { PresenceType::Unsubscribed };
        let answer = Parcel { origin: None, from: own_bare, to: contact, id: parcel.id, envelope: &envelope };
        self.route_presence(answer, kind);
    }
}

/// An item of a roster that says nothing yet.
pub(super) fn new_item() -> Item {
    Item { listed: true, ..Item::default() }
}

/// `<presence type=.../>` of the domain itself.
pub(super) fn bare_presence(kind: &str) -> Envelope {
    let raw = format!("<presence type='{kind}'/>");
    Envelope::read(StanzaKind::Presence, raw.as_bytes(), &StreamNamespaces::new(ns::CLIENT), &Limits::default())
        .expect("a stanza of our own is well-formed")
}

pub(super) fn bare(jid: &JidParts<'_>) -> String {
    match &jid.local {
        Some(local) => format!("{local}@{}", jid.domain),
        None => jid.domain.clone().into_owned(),
    }
}

/// The localpart of an address of ours.
pub(super) fn user_of(address: &str) -> &str {
    address.split_once('@').map_or("", |(user, _)| user)
}

fn step(kind: PresenceType) -> Option<Step> {
    Some(match kind {
        PresenceType::Subscribe => Step::Subscribe,
        PresenceType::Subscribed => Step::Subscribed,
        PresenceType::Unsubscribe => Step::Unsubscribe,
        PresenceType::Unsubscribed => Step::Unsubscribed,
        _ => return None,
    })
}

fn kind_of(step: Step) -> PresenceType {
    match step {
        Step::Subscribe => PresenceType::Subscribe,
        Step::Subscribed => PresenceType::Subscribed,
        Step::Unsubscribe => PresenceType::Unsubscribe,
        Step::Unsubscribed => PresenceType::Unsubscribed,
    }
}
