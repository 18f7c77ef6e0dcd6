//! The real engine between a SIP neighbour and an XMPP server that the test plays, with a clock that the test owns.

use cpim::{DomainPattern, PeerId, Policy, Presentation, Presentations, Rule, Side};
use engine::{Engine, LateFailure};
use sip::route_set::RouteSet;
use sip::transaction::{Flow, Transport};
use sip_connector::{LargeRequests, Route};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};
use turn::{Action, CloseCause, Input, Machine, Output, SocketId, StreamId};

mod components;
mod keeping;
mod streams;

pub use components::Aside;
pub use keeping::{Keeping, delivered, keep, request_of};
pub use streams::{SipStreams, TCP_LISTENER};

/// Where the gateway is in this world.
pub const GATEWAY: &str = "192.0.2.1:5060";
/// The SIP proxy: the next hop, and the only network that is trusted.
pub const PROXY: &str = "192.0.2.9:5060";
/// The secret of the component.
pub const SECRET: &str = "montague";

/// What gateways keep that have anything to keep.
const LASTING: &turn::Seed = b"kept at each run";

/// The proxy's address.
pub fn proxy() -> SocketAddr {
    PROXY.parse().expect("an address")
}

/// The route to the proxy, over these transports in this order; the way is congestion-safe.
pub fn route(transports: &[Transport]) -> Route {
    let hop = |&transport| Flow { transport, socket: SocketId(0), peer: proxy(), stream: None };
    Route {
        domain: DomainPattern::Any,
        next_hops: transports.iter().map(hop).collect(),
        route_set: RouteSet::default(),
        congestion_safe: true,
        path_mtu: sip_connector::USUAL_MTU,
    }
}

/// Settings of the world: `sip.example` behind the proxy and `xmpp.example` behind the server, each shown as it is.
pub fn settings() -> engine::Settings {
    let same = |home: &str| {
        Presentations::new(vec![Presentation {
            home: DomainPattern::Exactly(home.into()),
            shown_as: "".into(),
            rule: Rule::Same,
        }])
    };
    let mut policy = Policy::new();
    policy.add_home(DomainPattern::Exactly("sip.example".into()), Side::Sip);
    policy.add_home(DomainPattern::Exactly("xmpp.example".into()), Side::Xmpp);
    policy.add_speaker(PeerId(1), DomainPattern::Exactly("sip.example".into()));
    policy.add_speaker(PeerId(2), DomainPattern::Exactly("xmpp.example".into()));
    let mut endpoint = sip::endpoint::Settings::new("192.0.2.1:5060");
    endpoint.warn_agent = b"gw.example".to_vec();
    engine::Settings {
        relay: cpim::Settings { policy, sip_window: Duration::from_secs(2), max_in_flight: 1000 },
        sip: sip_connector::Settings {
            endpoint,
            presentations: same("xmpp.example"),
            native_numbers: None,
            foreign_numbers: None,
            trusted: vec![("192.0.2.9/32".parse().expect("a network"), PeerId(1))],
            routes: vec![route(&[Transport::Udp])],
            accepted: cpim::AcceptedBy::default(),
            large_requests: LargeRequests::Udp,
            connections: 8,
            host: "gw.example".into(),
            accounts: Vec::new(),
            redirects: sip_connector::Redirects::default(),
            on_acceptance: 202,
            start_max_forwards: 70,
            parallel: 1,
            queue_per_destination: 8,
            queue_in_all: 100,
            octets_in_all: 1 << 24,
        },
        xmpp: xmpp_connector::Settings {
            links: vec![xmpp_connector::LinkSettings {
                component: xmpp::stream::component::ComponentSettings::new("sip.example", SECRET, 0),
                peer: PeerId(2),
                server: 0,
            }],
            presentations: same("sip.example"),
            numbers: None,
            start_max_forwards: 70,
            unsent_limit: 1 << 20,
            ask_receipts: false,
            accepted: cpim::AcceptedBy::default(),
            foreign: cpim::AcceptedBy::default(),
            octets_in_all: 1 << 24,
            content_limit: 65_535 * cpim::coding::GROWTH,
        },
        late_failure: LateFailure::Text,
        // 2026-11-20T19:00:00Z
        made_at: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1_795_201_200)),
        redact_addresses: false,
        journal: engine::journal::Settings::default(),
    }
}

/// The engine and what surrounds it.
pub struct World {
    /// The engine.
    pub engine: Engine,
    /// What time it is.
    pub now: Instant,
    /// What this run has written to the log of the turns.
    pub turn_log: Vec<u8>,
    /// Datagrams that left, not yet taken by the test.
    pub datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Connections that were ordered and not yet answered.
    pub connects: VecDeque<StreamId>,
    /// Streams that were ordered to be closed and not yet are.
    pub closes: VecDeque<StreamId>,
    /// Connections for SIP.
    pub sip: SipStreams,
    keeping: Option<Keeping>,
    closed_streams: Vec<StreamId>,
    /// The last handshake of the component.
    pub handshake: String,
    /// The component stream as the server sees it.
    pub stream: Option<StreamId>,
    /// The kernel takes what is written. When not, the server hangs: bytes stay with the gateway.
    pub reading: bool,
    received: Vec<u8>,
    unconsumed: Vec<u8>,
    framer: xml::Framer,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A world whose component stream stands.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same with other settings.
    pub fn with(change: impl FnOnce(&mut engine::Settings)) -> Self {
        let mut world = Self::disconnected(change);
        world.accept_component();
        world
    }

    /// A world whose server has not answered yet.
    pub fn disconnected(change: impl FnOnce(&mut engine::Settings)) -> Self {
        Self::seeded([7; 16], change)
    }

    /// The same with a seed of its own: gateways of one seed know each other's identifiers, others do not.
    pub fn seeded(seed: turn::Seed, change: impl FnOnce(&mut engine::Settings)) -> Self {
        Self::around(change, |settings, now| Engine::new(settings, seed, now))
    }

    /// A world whose gateway keeps its secret from one run to the next and has found this log of the turns; its component
    /// stream stands.
    pub fn run(seed: turn::Seed, turn_log: &[u8], change: impl FnOnce(&mut engine::Settings)) -> Self {
        let mut world = Self::around(change, |settings, now| {
            let mut engine = Engine::with_lasting(settings, seed, *LASTING, now);
            engine.restore_turn_log(now, turn_log);
            engine
        });
        world.accept_component();
        world
    }

    #[allow(clippy::disallowed_methods, reason = "somewhere time has to begin")]
    fn around(
        change: impl FnOnce(&mut engine::Settings),
        start: impl FnOnce(engine::Settings, Instant) -> Engine,
    ) -> Self {
        crate::log::listen();
        let mut settings = settings();
        change(&mut settings);
        let now = Instant::now();
        let mut world = Self {
            engine: start(settings, now),
            now,
            turn_log: Vec::new(),
            datagrams: VecDeque::new(),
            connects: VecDeque::new(),
            closes: VecDeque::new(),
            sip: SipStreams::default(),
            keeping: None,
            closed_streams: Vec::new(),
            handshake: String::new(),
            stream: None,
            reading: true,
            received: Vec::new(),
            unconsumed: Vec::new(),
            framer: xml::Framer::new(xml::Limits::default()),
        };
        world.turn();
        world
    }

    /// Ends a turn as the driver does.
    pub fn turn(&mut self) {
        self.engine.handle_timeout(self.now);
        self.turn_log.extend_from_slice(self.engine.output().logged());
        while let Some(action) = self.engine.output().poll_action() {
            match action {
                Action::SendDatagram { peer, bytes, .. } => {
                    let payload = self.engine.output().datagram(&bytes).to_vec();
                    self.datagrams.push_back((peer, payload));
                }
                Action::Connect { stream, target } => {
                    if !self.sip.on_connect(stream, target) {
                        self.connects.push_back(stream);
                    }
                }
                Action::Close { stream } => {
                    if !self.sip.on_close(stream) {
                        self.closes.push_back(stream);
                    }
                }
                Action::Write { stream } => {
                    if self.stream == Some(stream) && self.reading {
                        self.drain(stream);
                    }
                    self.drain_sip(stream);
                }
                Action::StartTls { .. } => panic!("the gateway never accepts TLS"),
                Action::Commit { .. } | Action::Load { .. } | Action::HandOver { .. } => self.on_order(&action),
            }
        }
        self.engine.output().end_turn();
        self.close_sip_streams();
        self.hear_store();
    }

    fn drain(&mut self, stream: StreamId) {
        let output: &mut Output = self.engine.output();
        let bytes = output.unsent(stream).to_vec();
        output.sent(stream, bytes.len());
        self.received.extend_from_slice(&bytes);
    }

    /// The server, which does not read by itself, takes at most so many octets of what waits.
    pub fn server_takes(&mut self, most: usize) {
        let Some(stream) = self.stream else { return };
        let output = self.engine.output();
        let bytes = output.unsent(stream);
        let bytes = bytes[..bytes.len().min(most)].to_vec();
        output.sent(stream, bytes.len());
        self.received.extend_from_slice(&bytes);
    }

    /// The server reads again: everything that waited arrives.
    pub fn resume_reading(&mut self) {
        self.reading = true;
        if let Some(stream) = self.stream {
            self.drain(stream);
        }
    }

    /// Hands one fact to the engine and ends the turn.
    pub fn input(&mut self, input: Input<'_>) -> usize {
        let consumed = self.engine.handle_input(self.now, input);
        self.turn();
        consumed
    }

    /// Lets time pass, with every timer that becomes due on the way.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.next_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            // A moment more: a timer may be due only once its tick has ended.
            let before = self.next_due();
            self.turn();
            if self.next_due() == before {
                self.now += Duration::from_millis(1);
            }
        }
        self.now = self.now.max(end);
        self.turn();
    }

    fn next_due(&self) -> Option<Instant> {
        let engine = self.engine.poll_timeout().map(|(due, _)| due);
        let store = self.keeping.as_ref().and_then(|keeping| keeping.store.poll_timeout());
        engine.into_iter().chain(store).min()
    }

    /// The server accepts the connection that was ordered, and the handshake.
    pub fn accept_component(&mut self) {
        self.accept_component_of("sip.example");
    }

    /// The same for the component of any domain.
    pub fn accept_component_of(&mut self, domain: &str) {
        self.accept(domain, "");
    }

    /// The same by a server that speaks this language.
    pub fn accept_component_in(&mut self, language: &str) {
        self.accept("sip.example", &format!(" xml:lang='{language}'"));
    }

    fn accept(&mut self, domain: &str, more: &str) {
        let header = self.accept_connection();
        assert!(header.contains(&format!("to='{domain}'")), "{header}");
        self.server_writes(format!(
            "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
             xmlns='jabber:component:accept' from='{domain}' id='3BF96D32'{more}>",
        ));
        let handshake = self.take_stanza().expect("a handshake");
        assert!(handshake.starts_with("<handshake"), "{handshake}");
        self.handshake = handshake;
        self.server_writes("<handshake/>");
    }

    /// The server accepts the connection that was ordered, and says nothing yet. Gives the header that the gateway opens with.
    pub fn accept_connection(&mut self) -> String {
        let stream = self.connects.pop_front().expect("a connection was ordered");
        self.stream = Some(stream);
        self.framer = xml::Framer::new(xml::Limits::default());
        self.received.clear();
        self.unconsumed.clear();
        self.input(Input::Connected { stream, peer: ([192, 0, 2, 7], 5347).into() });
        self.take_header()
    }

    fn take_header(&mut self) -> String {
        match self.framer.scan(&self.received) {
            Ok(xml::Frame::Header { bytes, consumed }) => {
                let header = String::from_utf8(bytes.to_vec()).expect("UTF-8");
                self.received.drain(..consumed);
                header
            }
            other => panic!("a stream header, not {other:?}"),
        }
    }

    /// The server writes to the component stream.
    pub fn server_writes(&mut self, text: impl AsRef<[u8]>) {
        let Some(stream) = self.stream else { panic!("no stream") };
        self.unconsumed.extend_from_slice(text.as_ref());
        let data = std::mem::take(&mut self.unconsumed);
        let consumed = self.engine.handle_input(self.now, Input::Received { stream, data: &data });
        self.unconsumed = data[consumed..].to_vec();
        self.turn();
    }

    /// The component stream breaks.
    pub fn break_stream(&mut self) {
        let stream = self.stream.take().expect("a stream");
        self.close_input(stream, CloseCause::Failed);
    }

    /// Carries out the oldest order to close, and gives the stream.
    pub fn carry_out_close(&mut self) -> Option<StreamId> {
        let stream = self.closes.pop_front()?;
        if self.stream == Some(stream) {
            self.stream = None;
        }
        // The gateway may have given up a connection that nobody answered.
        self.connects.retain(|ordered| *ordered != stream);
        self.close_input(stream, CloseCause::Ours);
        Some(stream)
    }

    /// Answers the oldest order to connect with a refusal.
    pub fn refuse_connection(&mut self) {
        let stream = self.connects.pop_front().expect("a connection was ordered");
        self.close_input(stream, CloseCause::Refused);
    }

    fn close_input(&mut self, stream: StreamId, cause: CloseCause) {
        self.engine.handle_input(self.now, Input::Closed { stream, cause });
        self.engine.output().forget(stream);
        self.turn();
    }

    /// The next stanza that the gateway wrote, pings of its barrier included.
    pub fn take_stanza(&mut self) -> Option<String> {
        match self.framer.scan(&self.received) {
            Ok(xml::Frame::Stanza { bytes, consumed }) => {
                let stanza = String::from_utf8(bytes.to_vec()).expect("UTF-8");
                self.received.drain(..consumed);
                Some(stanza)
            }
            Ok(xml::Frame::Incomplete { consumed }) => {
                self.received.drain(..consumed);
                None
            }
            Ok(xml::Frame::Close { consumed }) => {
                self.received.drain(..consumed);
                Some("</stream:stream>".into())
            }
            other => panic!("a stanza, not {other:?}"),
        }
    }

    /// All stanzas that were written.
    pub fn take_stanzas(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.take_stanza()).collect()
    }

    /// The message among all stanzas that were written; the others are dropped.
    pub fn take_message(&mut self) -> Option<String> {
        self.take_stanzas().into_iter().find(|stanza| stanza.starts_with("<message"))
    }

    /// The XMPP server hands pings back, as often as the gateway asks. Gives all else that was written.
    pub fn return_pings(&mut self) -> Vec<String> {
        let mut others = Vec::new();
        while let Some(stanza) = self.take_stanza() {
            if stanza.starts_with("<iq") {
                self.server_writes(&stanza);
            } else {
                others.push(stanza);
            }
        }
        others
    }

    /// A datagram arrives from the proxy.
    pub fn proxy_sends(&mut self, bytes: impl AsRef<[u8]>) {
        self.sends_from(proxy(), bytes);
    }

    /// A datagram arrives.
    pub fn sends_from(&mut self, peer: SocketAddr, bytes: impl AsRef<[u8]>) {
        self.input(Input::Datagram { socket: SocketId(0), peer, bytes: bytes.as_ref() });
    }

    /// The next datagram that left.
    pub fn take_datagram(&mut self) -> Option<String> {
        self.datagrams.pop_front().map(|(_, bytes)| String::from_utf8(bytes).expect("UTF-8"))
    }

    /// The status codes of all responses that left.
    pub fn take_statuses(&mut self) -> Vec<u16> {
        std::iter::from_fn(|| self.take_datagram()).filter_map(|text| status(&text)).collect()
    }

    /// Nothing is left to be sent, nothing waits, and after every transaction has ended (40 s) nothing has come.
    pub fn assert_quiet(&mut self) {
        self.advance(Duration::from_secs(40));
        assert_eq!(self.take_datagram(), None, "no datagram is left");
        assert_eq!(self.take_stanzas(), Vec::<String>::new(), "no stanza is left");
        assert_eq!(self.engine.open(), 0, "all tables are empty");
    }
}

/// The status code of a response.
pub fn status(text: &str) -> Option<u16> {
    text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

/// The value of an attribute of the first element of a stanza.
pub fn attribute<'s>(stanza: &'s str, name: &str) -> Option<&'s str> {
    let head = stanza.split('>').next()?;
    let start = head.find(&format!(" {name}='"))? + name.len() + 3;
    head[start..].split('\'').next()
}

/// The value of the first header field of this name in a request or response.
pub fn header<'m>(text: &'m str, name: &str) -> Option<&'m str> {
    let (head, _) = text.split_once("\r\n\r\n")?;
    head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A MESSAGE from juliet at the proxy.
pub fn message(n: u32, to: &str, body: &str) -> String {
    format!(
        "MESSAGE sip:{to} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-{n}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:juliet@sip.example>;tag=j{n}\r\n\
         To: <sip:{to}>\r\n\
         Call-ID: call-{n}@192.0.2.9\r\n\
         CSeq: 1 MESSAGE\r\n\
         Content-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A response to a request that left, as a UAS makes it.
pub fn response(request: &str, status_line: &str, more: &str) -> String {
    let mut text = format!("SIP/2.0 {status_line}\r\n");
    for line in request.split("\r\n\r\n").next().unwrap_or_default().split("\r\n").skip(1) {
        for name in ["Via:", "From:", "Call-ID:", "CSeq:"] {
            if line.starts_with(name) {
                text.push_str(line);
                text.push_str("\r\n");
            }
        }
        if line.starts_with("To:") {
            text.push_str(line);
            text.push_str(";tag=uas\r\n");
        }
    }
    text.push_str(more);
    text.push_str("Content-Length: 0\r\n\r\n");
    text
}
