//! A user of an XMPP server: logs in, is available, writes and reads messages (RFC 6121).
//!
//! Its roster is of no interest, and requests to it get the answer of a client that knows none but pings (XEP-0199).

use super::Party;
use std::collections::VecDeque;
use std::time::Instant;
use turn::{Input, Minter, Output, Target};
use xmpp::jid::same_jid;
use xmpp::ns;
use xmpp::stanza::{
    Condition, Error, Iq, IqType, Message, MessageType, OutMessage, OutPresence, PresenceType, Stanza, StanzaKind,
    write_error, write_iq, write_message, write_presence,
};
use xmpp::stream::initiator::{ClientInitiator, InitiatorEvent, InitiatorSettings, Over};

/// What happened to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XmppUserEvent {
    /// Logged in, and the server has taken note of it: messages find the way.
    Available {
        /// The full address that the server gave.
        address: String,
    },
    /// A message with a text arrived.
    Message {
        /// The sender, as written.
        from: String,
        /// The text.
        body: String,
    },
    /// A message of ours did not arrive.
    Bounced {
        /// What [`XmppUser::send`] gave.
        id: String,
        /// Who says so.
        from: String,
        /// What happened.
        condition: Condition,
        /// A text for people.
        text: Option<String>,
    },
    /// The stream is over.
    Gone(Over),
}

/// A user of an XMPP server.
#[derive(Debug)]
pub struct XmppUser {
    settings: InitiatorSettings,
    target: Target,
    minter: Minter,
    progress: Progress,
    events: VecDeque<XmppUserEvent>,
}

#[derive(Debug)]
enum Progress {
    /// Connects at this moment.
    Waiting(Instant),
    /// Logs in, or has said that it is available and waits for the word of it.
    Entering(ClientInitiator),
    Available(ClientInitiator),
    Gone,
}

impl XmppUser {
    /// A user who connects to `target` at once.
    pub fn new(settings: InitiatorSettings, target: Target, minter: Minter, now: Instant) -> Self {
        Self { settings, target, minter, progress: Progress::Waiting(now), events: VecDeque::new() }
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<XmppUserEvent> {
        self.events.pop_front()
    }

    /// Writes a chat message. Gives its id; `None` while the user is not available.
    pub fn send(&mut self, to: &str, body: &str, out: &mut Output) -> Option<String> {
        let Progress::Available(client) = &self.progress else { return None };
        let buffer = out.stream(client.stream())?;
        let mut id = Vec::new();
        id.extend_from_slice(&turn::base32::<26>(self.minter.mint()));
        let message = OutMessage {
            to: to.as_bytes(),
            id: &id,
            kind: MessageType::Chat,
            body: Some(body.as_bytes()),
            ..OutMessage::default()
        };
        write_message(&message, buffer);
        Some(id.into_iter().map(char::from).collect())
    }

    /// Says good-bye. [`XmppUserEvent::Gone`] follows.
    pub fn leave(&mut self, out: &mut Output) {
        match &mut self.progress {
            Progress::Waiting(_) => {
                self.progress = Progress::Gone;
                self.events.push_back(XmppUserEvent::Gone(Over::Closed));
            }
            Progress::Entering(client) | Progress::Available(client) => client.close(out),
            Progress::Gone => {}
        }
    }

    fn client(&self) -> Option<&ClientInitiator> {
        match &self.progress {
            Progress::Entering(client) | Progress::Available(client) => Some(client),
            Progress::Waiting(_) | Progress::Gone => None,
        }
    }

    fn on_event(&mut self, event: InitiatorEvent<'_>, out: &mut Output) {
        match event {
            InitiatorEvent::None => {}
            InitiatorEvent::Bound => {
                if let Some(buffer) = self.client().and_then(|client| out.stream(client.stream())) {
                    write_presence(&OutPresence::default(), buffer);
                }
            }
            InitiatorEvent::Stanza(Stanza::Message(message)) => self.on_message(&message),
            InitiatorEvent::Stanza(Stanza::Presence(presence)) => {
                if presence.kind == PresenceType::Available {
                    self.on_available(presence.from.as_deref().unwrap_or_default());
                }
            }
            InitiatorEvent::Stanza(Stanza::Iq(iq)) => self.on_iq(&iq, out),
            InitiatorEvent::Stanza(Stanza::Other { .. }) => {}
            InitiatorEvent::Ended(over) => {
                self.progress = Progress::Gone;
                self.events.push_back(XmppUserEvent::Gone(over));
            }
        }
    }

    /// RFC 6121 4.2.2: the server sends the presence to the resource that it came from, too.
    fn on_available(&mut self, from: &str) {
        match std::mem::replace(&mut self.progress, Progress::Gone) {
            Progress::Entering(client) if same_jid(from, client.address()) => {
                self.events.push_back(XmppUserEvent::Available { address: client.address().to_owned() });
                self.progress = Progress::Available(client);
            }
            other => self.progress = other,
        }
    }

    fn on_message(&mut self, message: &Message<'_>) {
        let from = message.from.as_deref().unwrap_or_default().to_owned();
        if message.kind == MessageType::Error {
            let id = message.id.as_deref().unwrap_or_default().to_owned();
            let (condition, text) = match &message.error {
                Some(Error { condition, text, .. }) => (*condition, text.as_deref().map(str::to_owned)),
                None => (Condition::UndefinedCondition, None),
            };
            self.events.push_back(XmppUserEvent::Bounced { id, from, condition, text });
        } else if let Some(body) = message.bodies.first() {
            self.events.push_back(XmppUserEvent::Message { from, body: body.text.clone().into_owned() });
        }
    }

    /// RFC 6120 8.2.3: every request is answered.
    fn on_iq(&mut self, iq: &Iq<'_>, out: &mut Output) {
        if !iq.is_request() {
            return;
        }
        let Some(buffer) = self.client().and_then(|client| out.stream(client.stream())) else { return };
        let to = iq.from.as_deref().unwrap_or_default().as_bytes();
        let id = iq.id.as_deref().unwrap_or_default().as_bytes();
        if iq.asks(IqType::Get, ns::PING, "ping") {
            write_iq(IqType::Result, b"", to, id, b"", buffer);
        } else {
            write_error(StanzaKind::Iq, b"", to, id, &Condition::ServiceUnavailable.into(), buffer);
        }
    }
}

impl Party for XmppUser {
    fn handle_input(&mut self, _now: Instant, input: &Input<'_>, out: &mut Output) -> usize {
        let stream = match *input {
            Input::Connected { stream, .. }
            | Input::Received { stream, .. }
            | Input::Secured { stream }
            | Input::Closed { stream, .. } => stream,
            _ => return 0,
        };
        let mut consumed = 0;
        while let Progress::Entering(client) | Progress::Available(client) = &mut self.progress {
            if client.stream() != stream {
                break;
            }
            let rest = match *input {
                Input::Received { data, .. } => {
                    Input::Received { stream, data: data.get(consumed..).unwrap_or_default() }
                }
                Input::Connected { peer, .. } => Input::Connected { stream, peer },
                Input::Closed { cause, .. } => Input::Closed { stream, cause },
                _ => break,
            };
            let (more, event) = client.handle_input(&rest, out);
            consumed += more;
            let last = !matches!(input, Input::Received { .. }) || matches!(event, InitiatorEvent::None);
            self.on_event(event, out);
            if last {
                break;
            }
        }
        consumed
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Output) {
        match &mut self.progress {
            Progress::Waiting(at) if *at <= now => {
                let minter = self.minter.derive("login");
                let client = ClientInitiator::connect(self.settings.clone(), self.target, minter, now, out);
                self.progress = Progress::Entering(client);
            }
            Progress::Entering(client) | Progress::Available(client) => {
                let event = client.handle_timeout(now, out);
                self.on_event(event, out);
            }
            Progress::Waiting(_) | Progress::Gone => {}
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match &self.progress {
            Progress::Waiting(at) => Some((*at, "the first connection of a user")),
            Progress::Entering(client) | Progress::Available(client) => client.poll_timeout(),
            Progress::Gone => None,
        }
    }
}
