//! What a `<message/>` from the server leads to.

use crate::translate::message::{self, Abstracted, Context, Meaning, Silence};
use crate::translate::{address, error, language, offered};
use crate::{Bounce, Connector, Event};
use cpim::{Failure, Incoming, InstantInbox, MaxForwards, MediaType, Reason, Status, TransId, is_language_tag};
use std::borrow::Cow;
use std::time::Instant;
use turn::Output;
use xmpp::jid::JidParts;
use xmpp::stanza::{Message, MessageType, Presence, PresenceType};

impl Connector {
    /// Takes a message apart. It is large, and so it is lent and not moved.
    pub(crate) fn on_message<'a>(
        &mut self,
        now: Instant,
        index: usize,
        message: &mut Message<'a>,
        out: &mut Output,
    ) -> Event<'a> {
        if message.kind == MessageType::Error {
            return self.on_bounce(now, index, message);
        }
        if let Some(operation) = message.receipt.as_deref().and_then(|id| self.copies.find(id, message.from.as_deref()))
        {
            self.copies.conclude(now, operation);
            if message.bodies.is_empty() && message.e2e.is_none() {
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
        message.lang = message.lang.take().filter(|tag| is_language_tag(tag));
        if message.lang.is_none() {
            message.lang = language::inherited(self.links[index].component.namespaces().language());
        }
        let context = Context { presentations: &self.settings.presentations, calendar: &self.calendar };
        match message::to_cpim(message, context) {
            // Ids may be as long as stanzas.
            Meaning::Operation(_) if self.received.octets() >= self.settings.octets_in_all => {
                let stanza = self.received.note(index, message);
                self.write_refusal(&stanza, &Reason::Congested.into(), out);
                self.received.give(stanza);
                Event::None
            }
            Meaning::Operation(mut abstracted) => {
                let taken = self.settings.foreign.of(abstracted.destination.domain());
                let html = !taken.is_plain_text() && taken.takes(&MediaType::HTML);
                abstracted.content.alternatives = offered::alternatives(message, &abstracted.content, html);
                self.on_text(now, index, home, message, abstracted)
            }
            Meaning::Refused(reason) => {
                let stanza = self.received.note(index, message);
                self.write_refusal(&stanza, &reason.into(), out);
                self.received.give(stanza);
                Event::None
            }
            Meaning::Nothing(silence) => {
                match silence {
                    Silence::Headline => self.counters.headlines += 1,
                    Silence::NoBody => self.counters.without_body += 1,
                    Silence::NoSender => self.counters.misaddressed += 1,
                    Silence::ShownAgain => self.counters.shown_again += 1,
                }
                Event::None
            }
        }
    }

    /// A text for somebody of the other world.
    fn on_text<'a>(
        &mut self,
        now: Instant,
        index: usize,
        home: usize,
        message: &mut Message<'a>,
        abstracted: Abstracted<'a>,
    ) -> Event<'a> {
        let Abstracted { source, destination, from, to, mut envelope, content } = abstracted;
        // A text that was taken, and comes again from an archive, a queue or a resumed stream, is no new one. A sender's id
        // counts for his own texts only, as anybody can write any id, and with the text itself only: some clients count
        // their ids from one again after each start.
        let replay = envelope.unique_id.as_deref().map(|id| self.replay_key(&from, &to, id, &content.body));
        if replay.is_some_and(|key| self.replays.see(now, key)) {
            self.counters.shown_again += 1;
            return Event::None;
        }
        let chat = (message.kind == MessageType::Chat).then_some(message.thread.as_deref());
        envelope.source_device = self.people.wrote(now, &from, &to, chat);
        let near = self.received.enter(index, message, replay);
        let start = self.settings.start_max_forwards;
        let carried = message.headers.max_forwards.as_deref().and_then(|text| text.trim().parse::<u8>().ok());
        let wire_id = match message.id.take() {
            Some(Cow::Borrowed(id)) => Cow::Borrowed(id.as_bytes()),
            Some(Cow::Owned(id)) => Cow::Owned(id.into_bytes()),
            None => Cow::Borrowed(&b""[..]),
        };
        let message = cpim::Message {
            source: InstantInbox(source),
            destination: InstantInbox(destination),
            max_forwards: MaxForwards(carried.map_or(start, |value| value.min(start))),
            trans_id: TransId::from_bits(self.minter.mint()),
            wire_id,
            envelope,
            content,
        };
        Event::Message(Incoming { origin: self.origin(home), near, message })
    }

    fn replay_key(&self, from: &JidParts<'_>, to: &JidParts<'_>, id: &str, text: &[u8]) -> u128 {
        let [from_local, to_local] = [from, to].map(|jid| jid.local.as_deref().unwrap_or_default().as_bytes());
        let (from, to) = (from.domain.as_bytes(), to.domain.as_bytes());
        self.minter.keyed(&[b"replay", from_local, from, to_local, to, id.as_bytes(), text])
    }

    /// Presence tells which devices are there. Nothing else is made of it.
    pub(crate) fn on_presence(&mut self, now: Instant, presence: &Presence<'_>) {
        self.counters.presences += 1;
        let available = match presence.kind {
            PresenceType::Available => true,
            PresenceType::Unavailable => false,
            _ => return,
        };
        let (Some(from), Some(to)) = (presence.from.as_deref(), presence.to.as_deref()) else { return };
        if let (Ok(from), Ok(to)) = (JidParts::parse_stamped(from), JidParts::parse(to)) {
            self.people.on_presence(now, &from, &to, available);
        }
    }

    fn on_bounce<'a>(&mut self, now: Instant, index: usize, message: &mut Message<'a>) -> Event<'a> {
        let (Some(id), Some(from), Some(to)) = (message.id.take(), message.from.take(), message.to.take()) else {
            self.counters.stray_errors += 1;
            return Event::None;
        };
        let failure = match message.error.take() {
            Some(error) => {
                let full = from.contains('/');
                let new_address = error.alternate.as_deref();
                let alternate = new_address.and_then(|text| address::from_uri(text, &self.settings.presentations));
                Failure { reason: error::to_cpim(error.condition, full), text: error.text, alternate }
            }
            None => Reason::Undefined.into(),
        };
        // However late it comes: the device has nothing to do with this message, nor with the next one.
        if let (Ok(from), Ok(to)) = (JidParts::parse_stamped(&from), JidParts::parse(&to)) {
            self.people.is_gone(now, &from, &to);
        }
        if let Some(operation) = self.copies.find(&id, Some(&from)) {
            self.copies.conclude(now, operation);
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
