//! What a `<message/>` from the server leads to.

use crate::translate::message::{self, Meaning, Silence};
use crate::translate::offered;
use crate::translate::{address, error};
use crate::{Bounce, Connector, Event};
use cpim::{Envelope, Failure, Incoming, InstantInbox, MaxForwards, Reason, Status, TransId};
use std::borrow::Cow;
use turn::Output;
use xmpp::stanza::{Message, MessageType};

impl Connector {
    pub(crate) fn on_message<'a>(&mut self, index: usize, message: Message<'a>, out: &mut Output) -> Event<'a> {
        if message.kind == MessageType::Error {
            return self.on_bounce(index, message);
        }
        if let Some(operation) = message.receipt.as_deref().and_then(|id| self.copies.find(id, message.from.as_deref()))
        {
            self.copies.forget(operation);
            if message.bodies.is_empty() {
                return Event::Concluded(operation, Status::Success);
            }
            // An answer that carries the receipt is a message of its own.
            self.settled.push_back((operation, Status::Success));
        }
        // Whom nobody names, nobody can answer.
        let home = self.home(index, message.to.as_deref()).filter(|_| message.from.as_deref() != Some(""));
        let Some(home) = home else {
            self.counters.misaddressed += 1;
            return Event::None;
        };
        match message::to_cpim(&message, &self.settings.presentations) {
            Meaning::Operation(mut abstracted) => {
                let html = self.settings.html_is_taken;
                abstracted.content.alternatives = offered::alternatives(&message, &abstracted.content, html);
                let near = self.received.enter(index, &message);
                let start = self.settings.start_max_forwards;
                let carried = message.max_forwards.as_deref().and_then(|text| text.trim().parse::<u8>().ok());
                let wire_id = match message.id {
                    Some(Cow::Borrowed(id)) => Cow::Borrowed(id.as_bytes()),
                    Some(Cow::Owned(id)) => Cow::Owned(id.into_bytes()),
                    None => Cow::Borrowed(&b""[..]),
                };
                let message = cpim::Message {
                    source: InstantInbox(abstracted.source),
                    destination: InstantInbox(abstracted.destination),
                    max_forwards: MaxForwards(carried.map_or(start, |value| value.min(start))),
                    trans_id: TransId::from_bits(self.minter.mint()),
                    wire_id,
                    envelope: Envelope::default(),
                    content: abstracted.content,
                };
                Event::Message(Incoming { origin: self.origin(home), near, message })
            }
            Meaning::Refused(reason) => {
                let stanza = self.received.note(index, &message);
                self.write_refusal(&stanza, &reason.into(), out);
                self.received.give(stanza);
                Event::None
            }
            Meaning::Nothing(silence) => {
                match silence {
                    Silence::Headline => self.counters.headlines += 1,
                    Silence::NoBody => self.counters.without_body += 1,
                    Silence::NoSender => self.counters.misaddressed += 1,
                }
                Event::None
            }
        }
    }

    fn on_bounce<'a>(&mut self, index: usize, message: Message<'a>) -> Event<'a> {
        let (Some(id), Some(from), Some(to)) = (message.id, message.from, message.to) else {
            self.counters.stray_errors += 1;
            return Event::None;
        };
        let failure = match message.error {
            Some(error) => {
                let full = from.contains('/');
                let new_address = error.alternate.as_deref();
                let alternate = new_address.and_then(|text| address::from_uri(text, &self.settings.presentations));
                Failure { reason: error::to_cpim(error.condition, full), text: error.text, alternate }
            }
            None => Reason::Undefined.into(),
        };
        if let Some(operation) = self.copies.find(&id, Some(&from)) {
            self.copies.forget(operation);
            return Event::Concluded(operation, Status::Failure(failure));
        }
        self.counters.stray_errors += 1;
        let read = |text| {
            let jid = address::parse_stamped(text).ok()?;
            address::to_cpim(&jid, &self.settings.presentations).ok()
        };
        match (read(from), read(to)) {
            (Some(destination), Some(source)) => {
                Event::Bounce(Bounce { id, destination, source, failure, origin: self.origin(index) })
            }
            _ => Event::None,
        }
    }
}
