//! Streams: who is at the other end, what comes from it, what goes to it, and how it ends.

use super::XmppDomain;
use super::envelope::Envelope;
use std::time::{Duration, Instant};
use turn::{Input, SocketId, StreamId};
use xml::StreamNamespaces;
use xmpp::jid::JidParts;
use xmpp::stanza::{Condition, Stanza, write_ping};
use xmpp::stream::StreamError;
use xmpp::stream::client::{ClientAcceptor, ClientEvent};
use xmpp::stream::component::{AcceptorEvent, ComponentAcceptor};

/// A client that has said nothing for so long is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(120);
/// How long it may take to say anything then.
const ANSWER: Duration = Duration::from_secs(30);

/// The other end of a stream.
pub(super) enum Peer {
    Client(Box<Session>),
    Component(Box<Link>),
}

/// A client.
pub(super) struct Session {
    pub(super) acceptor: ClientAcceptor,
    /// The presence it sent last without `to`; none while it is unavailable.
    pub(super) available: Option<Available>,
    /// It has asked for the roster, so it gets pushes (RFC 6121 2.1.6).
    pub(super) interested: bool,
    /// Whom it sent presence to directly (RFC 6121 4.6).
    pub(super) directed: Vec<String>,
    /// When something came from it last.
    heard: Instant,
    /// When it was asked whether it is there, and nothing has come since.
    asked: Option<Instant>,
}

/// What a resource says of itself.
#[derive(Clone)]
pub(super) struct Available {
    pub(super) priority: i8,
    pub(super) envelope: Envelope,
}

/// A component.
pub(super) struct Link {
    acceptor: ComponentAcceptor,
    /// Its domain, once it has authenticated.
    domain: Option<String>,
}

impl Session {
    /// When its silence has lasted too long.
    fn check_due(&self) -> Instant {
        self.asked.map_or(self.heard + SILENCE, |asked| asked + ANSWER)
    }
}

impl Peer {
    pub(super) fn namespaces(&self) -> &StreamNamespaces {
        match self {
            Peer::Client(session) => session.acceptor.namespaces(),
            Peer::Component(link) => link.acceptor.namespaces(),
        }
    }
}

/// What an input of a stream was, free of the stream's machine.
#[allow(clippy::large_enum_variant, reason = "it lives on the stack for one call; a box would cost an allocation")]
enum Happened<'a> {
    Nothing,
    Bind(Option<String>),
    Handshake,
    Stanza(Stanza<'a>),
    Over,
}

impl XmppDomain {
    pub(super) fn on_accepted(&mut self, stream: StreamId, listener: SocketId) {
        let peer = if self.draining {
            return self.output.close(stream);
        } else if self.settings.clients.contains(&listener) {
            let acceptor = ClientAcceptor::accept(self.client_settings.clone(), stream, self.now);
            Peer::Client(Box::new(Session {
                acceptor,
                available: None,
                interested: false,
                directed: Vec::new(),
                heard: self.now,
                asked: None,
            }))
        } else if self.settings.components.contains(&listener) {
            let acceptor = ComponentAcceptor::accept(self.component_settings.clone(), stream, self.now);
            Peer::Component(Box::new(Link { acceptor, domain: None }))
        } else {
            return self.output.close(stream);
        };
        self.peers.insert(stream, peer);
        self.arm(stream);
    }

    pub(super) fn on_received(&mut self, stream: StreamId, data: &[u8]) -> usize {
        let mut consumed = 0;
        loop {
            let rest = data.get(consumed..).unwrap_or_default();
            let (used, happened) = self.feed(stream, &Input::Received { stream, data: rest });
            consumed += used;
            if !self.on_happened(stream, happened) {
                return consumed;
            }
        }
    }

    pub(super) fn on_peer_input(&mut self, stream: StreamId, input: &Input<'_>) {
        let (_, happened) = self.feed(stream, input);
        self.on_happened(stream, happened);
    }

    fn feed<'a>(&mut self, stream: StreamId, input: &Input<'a>) -> (usize, Happened<'a>) {
        match self.peers.get_mut(stream) {
            Some(Peer::Client(session)) => {
                session.heard = self.now;
                session.asked = None;
                let (used, event) =
                    session.acceptor.handle_input(input, &self.accounts, &mut self.minter, &mut self.output);
                let happened = match event {
                    ClientEvent::None => Happened::Nothing,
                    ClientEvent::Bind { resource } => Happened::Bind(resource),
                    ClientEvent::Stanza(stanza) => Happened::Stanza(stanza),
                    ClientEvent::Ended(_) => Happened::Over,
                };
                (used, happened)
            }
            Some(Peer::Component(link)) => {
                let (used, event) = link.acceptor.handle_input(input, &mut self.minter, &mut self.output);
                let happened = match event {
                    AcceptorEvent::None => Happened::Nothing,
                    AcceptorEvent::Handshake => Happened::Handshake,
                    AcceptorEvent::Stanza(stanza) => Happened::Stanza(stanza),
                    AcceptorEvent::Ended { .. } => Happened::Over,
                };
                (used, happened)
            }
            // Nobody is there any more: what still comes is read and thrown away.
            None => match input {
                Input::Received { data, .. } => (data.len(), Happened::Nothing),
                _ => (0, Happened::Nothing),
            },
        }
    }

    /// Whether more may follow in the same data.
    fn on_happened(&mut self, stream: StreamId, happened: Happened<'_>) -> bool {
        match happened {
            Happened::Nothing => return false,
            Happened::Bind(resource) => self.on_bind(stream, resource),
            Happened::Handshake => self.on_handshake(stream),
            Happened::Stanza(stanza) => self.on_stream_stanza(stream, &stanza),
            Happened::Over => self.end(stream),
        }
        true
    }

    /// RFC 6120 7.7.2.2, first choice: who asks for a resource that is taken gets another one.
    fn on_bind(&mut self, stream: StreamId, wanted: Option<String>) {
        let Some(Peer::Client(session)) = self.peers.get(stream) else { return };
        let user = session.acceptor.user().unwrap_or_default().to_owned();
        let Some(connected) = self.accounts.find(&user).map(|account| account.sessions.len()) else { return };
        // RFC 6120 7.6.2.1
        if connected >= self.settings.resources {
            if let Some(Peer::Client(session)) = self.peers.get_mut(stream)
                && !session.acceptor.refuse_bind(Condition::ResourceConstraint, &mut self.output)
            {
                self.gone.push(stream);
            }
            return;
        }
        let resource = match wanted {
            Some(wanted) if self.connected(&user, &wanted).is_none() => wanted,
            _ => {
                let mut made = Vec::new();
                made.extend_from_slice(&turn::base32::<12>(self.minter.mint()));
                String::from_utf8_lossy(&made).into_owned()
            }
        };
        if let Some(Peer::Client(session)) = self.peers.get_mut(stream) {
            session.acceptor.bind(&resource, &mut self.output);
        }
        if let Some(account) = self.accounts.find_mut(&user) {
            account.sessions.push(stream);
        }
        self.arm(stream);
    }

    /// A component that comes while another one serves its domain is turned away.
    fn on_handshake(&mut self, stream: StreamId) {
        let Some(Peer::Component(link)) = self.peers.get_mut(stream) else { return };
        let domain = link.acceptor.domain().to_owned();
        if self.attached.get(&domain).is_some_and(Option::is_some) {
            return self.fail(stream, StreamError::Conflict, "the component is connected already");
        }
        link.acceptor.admit(&mut self.output);
        link.domain = Some(domain.clone());
        self.attached.insert(domain, Some(stream));
    }

    fn on_stream_stanza(&mut self, stream: StreamId, stanza: &Stanza<'_>) {
        let from = match self.peers.get(stream) {
            Some(Peer::Client(session)) => session.acceptor.address().to_owned(),
            // Its acceptor has made sure that it is an address of the component's domain.
            Some(Peer::Component(_)) => {
                let claimed = match stanza {
                    Stanza::Message(message) => message.from.as_deref(),
                    Stanza::Presence(presence) => presence.from.as_deref(),
                    Stanza::Iq(iq) => iq.from.as_deref(),
                    Stanza::Other { .. } => None,
                };
                match claimed.map(JidParts::parse) {
                    Some(Ok(from)) => from.to_string(),
                    _ => return self.fail(stream, StreamError::InvalidFrom, ""),
                }
            }
            None => return,
        };
        self.on_stanza(stream, &from, stanza);
    }

    /// Writes to a peer. One that does not read is cut off; `false` says that nothing reaches it.
    pub(super) fn send(&mut self, stream: StreamId, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let alive = match self.peers.get_mut(stream) {
            Some(Peer::Client(session)) => session.acceptor.deliver(&mut self.output, write),
            Some(Peer::Component(link)) if self.output.unsent_len(stream) <= self.settings.unsent => {
                match self.output.stream(stream) {
                    Some(buffer) if link.domain.is_some() => {
                        write(buffer);
                        true
                    }
                    _ => false,
                }
            }
            Some(Peer::Component(link)) => {
                link.acceptor.fail(StreamError::ResourceConstraint, "too much is waiting to be read", &mut self.output);
                false
            }
            None => return false,
        };
        if !alive && !self.gone.contains(&stream) {
            self.gone.push(stream);
        }
        alive
    }

    /// Ends a stream with an error.
    pub(super) fn fail(&mut self, stream: StreamId, error: StreamError, text: &str) {
        match self.peers.get_mut(stream) {
            Some(Peer::Client(session)) => session.acceptor.fail(error, text, &mut self.output),
            Some(Peer::Component(link)) => link.acceptor.fail(error, text, &mut self.output),
            None => return,
        }
        self.gone.push(stream);
    }

    /// Draws the consequences of streams that ended while something else was going on.
    pub(super) fn settle(&mut self) {
        while let Some(stream) = self.gone.pop() {
            self.end(stream);
        }
    }

    /// The stream is over: whoever was there is not any more. Harmless when said twice.
    fn end(&mut self, stream: StreamId) {
        match self.peers.get_mut(stream) {
            Some(Peer::Client(session)) => {
                let address = session.acceptor.address().to_owned();
                let user = session.acceptor.user().unwrap_or_default().to_owned();
                let Some(account) = self.accounts.find_mut(&user) else { return };
                if !account.sessions.contains(&stream) {
                    return;
                }
                account.sessions.retain(|other| *other != stream);
                self.leave(stream, &address, None);
            }
            Some(Peer::Component(link)) => {
                if let Some(domain) = link.domain.take() {
                    self.attached.insert(domain, None);
                }
            }
            None => {}
        }
    }

    pub(super) fn on_timeout(&mut self, stream: StreamId) {
        let over = match self.peers.get_mut(stream) {
            Some(Peer::Client(session)) => {
                matches!(session.acceptor.handle_timeout(self.now, &mut self.output), ClientEvent::Ended(_))
            }
            Some(Peer::Component(link)) => {
                matches!(link.acceptor.handle_timeout(self.now, &mut self.output), AcceptorEvent::Ended { .. })
            }
            None => return,
        };
        if over {
            self.end(stream);
        }
        self.look_after(stream);
        self.arm(stream);
    }

    /// Asks a client that has been silent for long whether it is there (XEP-0199 4.1), and ends the stream of one that says
    /// nothing at all: whatever it says counts.
    fn look_after(&mut self, stream: StreamId) {
        let now = self.now;
        let Some(session) = self.session_mut(stream).filter(|session| session.acceptor.is_bound()) else { return };
        match session.check_due() {
            due if due > now => {}
            _ if session.asked.is_some() => self.fail(stream, StreamError::ConnectionTimeout, "no answer"),
            _ => {
                session.asked = Some(now);
                let to = session.acceptor.address().to_owned();
                let mut id = b"ping-".to_vec();
                id.extend_from_slice(&turn::base32::<12>(self.minter.mint()));
                let domain = self.settings.domain.clone();
                self.send(stream, |out| {
                    write_ping(domain.as_bytes(), to.as_bytes(), &id, out);
                });
            }
        }
    }

    fn arm(&mut self, stream: StreamId) {
        let due = match self.peers.get(stream) {
            Some(Peer::Client(session)) if session.acceptor.is_bound() => Some(session.check_due()),
            Some(Peer::Client(session)) => session.acceptor.poll_timeout().map(|(due, _)| due),
            Some(Peer::Component(link)) => link.acceptor.poll_timeout().map(|(due, _)| due),
            None => None,
        };
        if let Some(due) = due {
            self.timers.arm(self.now, due, stream);
        }
    }

    /// The stream of a bound resource.
    pub(super) fn connected(&self, user: &str, resource: &str) -> Option<StreamId> {
        self.accounts.find(user)?.sessions.iter().copied().find(|stream| {
            self.session(*stream).is_some_and(|session| {
                session.acceptor.address().split_once('/').is_some_and(|(_, own)| own == resource)
            })
        })
    }

    /// The available resources of a user with their priorities, the oldest first.
    pub(super) fn available(&self, user: &str) -> Vec<(StreamId, i8)> {
        let Some(account) = self.accounts.find(user) else { return Vec::new() };
        let priority =
            |stream: &StreamId| self.session(*stream)?.available.as_ref().map(|available| available.priority);
        account.sessions.iter().filter_map(|stream| Some((*stream, priority(stream)?))).collect()
    }

    pub(super) fn session(&self, stream: StreamId) -> Option<&Session> {
        match self.peers.get(stream) {
            Some(Peer::Client(session)) => Some(session),
            _ => None,
        }
    }

    pub(super) fn session_mut(&mut self, stream: StreamId) -> Option<&mut Session> {
        match self.peers.get_mut(stream) {
            Some(Peer::Client(session)) => Some(session),
            _ => None,
        }
    }
}
