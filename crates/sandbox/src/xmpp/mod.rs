//! An XMPP domain in memory: clients (RFC 6120, 6121), components (XEP-0114), rosters, presence, offline messages.
//!
//! Stanzas are routed as RFC 6121 8.5 says; where it leaves a choice: messages to a bare address go to the resources with
//! the highest priority, `normal` and `chat` wait for a user who is away, a component that is away is answered with
//! `remote-server-timeout`. One deviation: an iq request to a full address is delivered whether or not the two share
//! presence (8.5.3.1), as the common servers do. There is no server-to-server link: other domains do not exist.
//!
//! Everything is lost with the process, everything is bounded, and no address is treated in a special way.

mod accounts;
mod envelope;
mod messages;
mod presence;
mod requests;
mod roster;
mod rosters;
mod sessions;
#[cfg(test)]
mod tests;

pub use accounts::UserError;

use accounts::Accounts;
use envelope::Envelope;
use sessions::Peer;
use slotmap::SecondaryMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use turn::{Input, Machine, Minter, Output, SocketId, StreamId, Wheel};
use xml::Limits;
use xmpp::jid::JidParts;
use xmpp::stanza::{Condition, OutError, Stanza, StanzaKind, write_error};
use xmpp::stream::StreamError;
use xmpp::stream::client::{ClientSettings, Tls};
use xmpp::stream::component::{AcceptorSettings, Secret};

/// What the domain is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub domain: String,
    /// Listeners for clients.
    pub clients: Vec<SocketId>,
    /// Listeners for components.
    pub components: Vec<SocketId>,
    /// The domains that components may serve, each with its secret.
    pub secrets: Vec<(String, String)>,
    /// Whether STARTTLS is offered. A password in clear is refused without it.
    pub tls: bool,
    /// Limits of stanzas.
    pub limits: Limits,
    /// Octets that may wait for a peer that does not read; more end its stream.
    pub unsent: usize,
    /// Messages that are kept for one user who is away.
    pub offline: usize,
    /// Resources that one user can have connected.
    pub resources: usize,
}

impl Settings {
    /// A domain without listeners and components.
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            clients: Vec::new(),
            components: Vec::new(),
            secrets: Vec::new(),
            tls: true,
            limits: Limits::default(),
            unsent: 4 << 20,
            offline: 100,
            resources: 32,
        }
    }
}

/// An XMPP domain, as a machine.
pub struct XmppDomain {
    settings: Settings,
    client_settings: Arc<ClientSettings>,
    component_settings: Arc<AcceptorSettings>,
    accounts: Accounts,
    peers: SecondaryMap<StreamId, Peer>,
    /// The domains of components, with the stream of the one that is there.
    attached: BTreeMap<String, Option<StreamId>>,
    timers: Wheel<StreamId>,
    minter: Minter,
    output: Output,
    /// The moment of the start, and its place on the calendar in seconds since 1970.
    started: (Instant, u64),
    now: Instant,
    /// Streams that ended while something was written to them.
    gone: Vec<StreamId>,
    draining: bool,
}

/// A stanza on its way.
#[derive(Clone, Copy)]
struct Parcel<'p> {
    /// The stream that an error goes back to; none for what the domain itself sends.
    origin: Option<StreamId>,
    from: &'p str,
    to: &'p JidParts<'p>,
    id: &'p str,
    envelope: &'p Envelope,
}

/// Where a domain is.
enum Place {
    /// Here.
    Own,
    /// A component, which is there.
    Component(StreamId),
    /// A component, which is away.
    Away,
    /// Nowhere.
    Unknown,
}

impl XmppDomain {
    /// An empty domain. `started` is the moment of the start and its place on the calendar, in seconds since 1970.
    pub fn new(settings: Settings, minter: Minter, started: (Instant, u64)) -> Self {
        let mut client_settings = ClientSettings::new(&settings.domain);
        client_settings.limits = settings.limits;
        client_settings.tls = if settings.tls { Tls::Offered } else { Tls::Absent };
        client_settings.unsent = settings.unsent;
        let secrets = settings.secrets.iter();
        let secrets = secrets.map(|(domain, secret)| (domain.clone(), Secret::new(secret.as_bytes()))).collect();
        let component_settings = AcceptorSettings { limits: settings.limits, ..AcceptorSettings::new(secrets) };
        Self {
            client_settings: Arc::new(client_settings),
            component_settings: Arc::new(component_settings),
            accounts: Accounts::default(),
            peers: SecondaryMap::new(),
            attached: settings.secrets.iter().map(|(domain, _)| (domain.clone(), None)).collect(),
            timers: Wheel::new(),
            minter,
            output: Output::new(),
            started,
            now: started.0,
            gone: Vec::new(),
            draining: false,
            settings,
        }
    }

    /// Adds an account.
    pub fn add_user(&mut self, name: &str, password: &str) -> Result<(), UserError> {
        let salt = self.minter.mint().to_le_bytes();
        self.accounts.add(name, password, &salt)
    }

    /// Whether the component of a domain is attached.
    pub fn is_attached(&self, domain: &str) -> bool {
        self.attached.get(domain).is_some_and(Option::is_some)
    }

    /// Whether a user has an available resource.
    pub fn is_available(&self, user: &str) -> bool {
        !self.available(user).is_empty()
    }

    /// Ends all streams and takes no new ones.
    pub fn drain(&mut self, now: Instant) {
        self.now = now;
        self.draining = true;
        let streams: Vec<StreamId> = self.peers.keys().collect();
        for stream in streams {
            self.fail(stream, StreamError::SystemShutdown, "");
        }
        self.settle();
    }

    /// Whether no stream is open.
    pub fn is_quiet(&self) -> bool {
        self.peers.is_empty()
    }

    fn place(&self, domain: &str) -> Place {
        if domain == self.settings.domain {
            return Place::Own;
        }
        match self.attached.get(domain) {
            Some(Some(stream)) => Place::Component(*stream),
            Some(None) => Place::Away,
            None => Place::Unknown,
        }
    }

    /// A stanza of a client or a component, whose `from` is settled.
    fn on_stanza(&mut self, stream: StreamId, from: &str, stanza: &Stanza<'_>) {
        let (kind, to, id) = match stanza {
            Stanza::Message(message) => (StanzaKind::Message, &message.to, &message.id),
            Stanza::Presence(presence) => (StanzaKind::Presence, &presence.to, &presence.id),
            Stanza::Iq(iq) => (StanzaKind::Iq, &iq.to, &iq.id),
            Stanza::Other { .. } => return self.fail(stream, StreamError::UnsupportedStanzaType, ""),
        };
        let Some(peer) = self.peers.get(stream) else { return };
        let envelope = match Envelope::read(kind, stanza.raw(), peer.namespaces(), &self.settings.limits) {
            Ok(envelope) => envelope,
            Err(error) => return self.fail(stream, error.into(), ""),
        };
        let is_client = matches!(peer, Peer::Client(_));
        let id = id.as_deref().unwrap_or_default();
        let to = match to.as_deref().map(JidParts::parse) {
            Some(Ok(to)) => Some(to),
            Some(Err(_)) => {
                let sender = from.to_owned();
                let written = to.as_deref().unwrap_or_default().to_owned();
                if !is_error(stanza) {
                    let condition = Condition::JidMalformed;
                    self.send(stream, |out| {
                        write_error(kind, written.as_bytes(), sender.as_bytes(), id.as_bytes(), &condition.into(), out);
                    });
                }
                return;
            }
            None => None,
        };
        let to = match (to, is_client) {
            (Some(to), _) => to,
            // RFC 6120 10.3: without `to` a client speaks to its own account, presence apart.
            (None, true) => {
                if let Stanza::Presence(presence) = stanza {
                    return self.on_own_presence(stream, from, presence, envelope);
                }
                let Ok(own) = JidParts::parse(from) else { return };
                own.into_bare().into_owned()
            }
            // XEP-0114 3: a component always says to whom.
            (None, false) => return self.fail(stream, StreamError::ImproperAddressing, ""),
        };
        let parcel = Parcel { origin: Some(stream), from, to: &to, id, envelope: &envelope };
        match stanza {
            Stanza::Message(message) => self.route_message(parcel, message),
            Stanza::Presence(presence) if is_client => self.on_directed_presence(stream, parcel, presence),
            Stanza::Presence(presence) => self.route_presence(parcel, presence.kind),
            Stanza::Iq(iq) => self.route_iq(parcel, iq),
            Stanza::Other { .. } => {}
        }
    }

    /// Carries a stanza to another domain, or back.
    fn forward(&mut self, parcel: Parcel<'_>, kind: StanzaKind, answerable: bool) {
        match self.place(&parcel.to.domain) {
            Place::Component(stream) => self.hand_over(parcel, stream),
            Place::Away if answerable => {
                self.bounce(parcel, kind, Condition::RemoteServerTimeout, Some("the component is not connected"));
            }
            Place::Unknown if answerable => self.bounce(parcel, kind, Condition::RemoteServerNotFound, None),
            Place::Away | Place::Unknown | Place::Own => {}
        }
    }

    fn hand_over(&mut self, parcel: Parcel<'_>, stream: StreamId) {
        let to = parcel.to.to_string();
        self.send(stream, |out| parcel.envelope.write(parcel.from, &to, b"", out));
    }

    /// Answers a stanza with an error (RFC 6120 8.3). The caller has made sure that it is none itself.
    fn bounce(&mut self, parcel: Parcel<'_>, kind: StanzaKind, condition: Condition, text: Option<&str>) {
        let Some(origin) = parcel.origin else { return };
        let from = parcel.to.to_string();
        let error = OutError { condition, kind: None, text: text.map(str::as_bytes), alternate: None };
        self.send(origin, |out| {
            write_error(kind, from.as_bytes(), parcel.from.as_bytes(), parcel.id.as_bytes(), &error, out);
        });
    }

    /// The moment as XEP-0082 writes it.
    fn stamp(&self) -> String {
        let seconds = self.started.1.saturating_add(self.now.saturating_duration_since(self.started.0).as_secs());
        let moment =
            i64::try_from(seconds).ok().and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
        let moment = moment.unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            moment.year(),
            u8::from(moment.month()),
            moment.day(),
            moment.hour(),
            moment.minute(),
            moment.second()
        )
    }
}

/// Whether a stanza is an answer that must not be answered.
fn is_error(stanza: &Stanza<'_>) -> bool {
    use xmpp::stanza::{IqType, MessageType, PresenceType};
    match stanza {
        Stanza::Message(message) => message.kind == MessageType::Error,
        Stanza::Presence(presence) => presence.kind == PresenceType::Error,
        Stanza::Iq(iq) => matches!(iq.kind, IqType::Error | IqType::Result),
        Stanza::Other { .. } => true,
    }
}

impl Machine for XmppDomain {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> usize {
        self.now = self.now.max(now);
        let consumed = match input {
            Input::Accepted { stream, listener, .. } => {
                self.on_accepted(stream, listener);
                0
            }
            Input::Received { stream, data } => self.on_received(stream, data),
            Input::Secured { stream } | Input::Closed { stream, .. } => {
                let closed = matches!(input, Input::Closed { .. });
                self.on_peer_input(stream, &input);
                if closed {
                    self.peers.remove(stream);
                }
                0
            }
            Input::Datagram { .. } | Input::Unreachable { .. } | Input::Connected { .. } => 0,
            // It keeps nothing.
            Input::Committed { .. } | Input::CommitFailed { .. } | Input::Loaded { .. } | Input::LoadFailed { .. } => 0,
            Input::HandedOver { .. } | Input::HandOverFailed { .. } => 0,
        };
        self.settle();
        consumed
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some(stream) = self.timers.pop_due(self.now) {
            self.on_timeout(stream);
        }
        self.settle();
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.timers.next_due().map(|due| (due, "a login or the end of a stream"))
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
}
