//! A steady flow through the engine with next to nothing around it, so that what is counted (allocations, instructions) is
//! the engine's own.

use crate::world;
use engine::Engine;
use memchr::memmem;
use sip::transaction::Transport;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use turn::{Action, Input, Machine, SocketId, StreamId};

/// An engine whose component stream stands, and the peers' side of the conversation in buffers that are made once.
pub struct Steady {
    engine: Engine,
    now: Instant,
    stream: StreamId,
    /// The connection of the proxy, where SIP goes over TCP.
    connection: Option<StreamId>,
    proxy: SocketAddr,
    /// Stanzas bear what clients of today write beside a text, and their server speaks English.
    rich: bool,
    request: Vec<u8>,
    reply: Vec<u8>,
    answered: u64,
    sent: u64,
    count: u64,
}

/// Between two messages.
const PAUSE: Duration = Duration::from_millis(10);

impl Steady {
    /// A gateway at rest, with SIP over UDP.
    pub fn new() -> Self {
        Self::with(world::settings())
    }

    /// A gateway at rest that has another next hop for what the first does not take, a route set, and many domains with routes
    /// of their own.
    pub fn with_routes() -> Self {
        let mut settings = world::settings();
        let strict = [&b"sip:strict.example"[..], b"sip:loose.example;lr"];
        let usual = sip_connector::Route {
            route_set: sip::route_set::RouteSet::new(strict).expect("routes"),
            ..world::route(&[Transport::Udp, Transport::Tcp])
        };
        let own = (0..100).map(|n| sip_connector::Route {
            domain: cpim::DomainPattern::Exactly(format!("sip{n}.example").into()),
            ..usual.clone()
        });
        settings.sip.routes = own.chain([usual.clone()]).collect();
        Self::with(settings)
    }

    /// A gateway at rest, with SIP over TCP.
    pub fn over_tcp() -> Self {
        let mut settings = world::settings();
        settings.sip.routes = vec![world::route(&[Transport::Tcp])];
        let mut steady = Self::with(settings);
        let stream = steady.engine.output().open();
        let (listener, peer) = (world::TCP_LISTENER, steady.proxy);
        steady.engine.handle_input(steady.now, Input::Accepted { stream, listener, peer });
        steady.connection = Some(stream);
        steady.finish();
        steady
    }

    /// A gateway at rest, whose XMPP users write with clients of today.
    pub fn with_rich_stanzas() -> Self {
        Self::start(world::settings(), true)
    }

    /// A gateway at rest that writes its answers to the log of the turns.
    #[allow(clippy::disallowed_methods, reason = "somewhere time has to begin")]
    pub fn with_log() -> Self {
        let now = Instant::now();
        Self::of(Engine::with_lasting(world::settings(), [9; 16], [8; 16], now), now, false)
    }

    fn with(settings: engine::Settings) -> Self {
        Self::start(settings, false)
    }

    #[allow(clippy::disallowed_methods, reason = "somewhere time has to begin")]
    fn start(settings: engine::Settings, rich: bool) -> Self {
        let now = Instant::now();
        Self::of(Engine::new(settings, [9; 16], now), now, rich)
    }

    fn of(mut engine: Engine, now: Instant, rich: bool) -> Self {
        engine.handle_timeout(now);
        let Some(Action::Connect { stream, .. }) = engine.output().poll_action() else { panic!("a connection") };
        let mut steady = Self {
            engine,
            now,
            stream,
            connection: None,
            proxy: world::proxy(),
            rich,
            request: Vec::with_capacity(4096),
            reply: Vec::with_capacity(4096),
            answered: 0,
            sent: 0,
            count: 0,
        };
        steady.engine.handle_input(now, Input::Connected { stream, peer: ([192, 0, 2, 7], 5347).into() });
        steady.finish();
        let mut header = b"<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
              xmlns='jabber:component:accept' from='sip.example' id='1'"
            .to_vec();
        header.extend_from_slice(if rich { b" xml:lang='en'>" } else { b">" });
        steady.server(&header);
        steady.server(b"<handshake/>");
        assert!(steady.engine.is_ready());
        steady
    }

    fn server(&mut self, bytes: &[u8]) {
        let input = Input::Received { stream: self.stream, data: bytes };
        assert_eq!(self.engine.handle_input(self.now, input), bytes.len());
        self.finish();
    }

    fn proxy_sends(&mut self, bytes: &[u8]) {
        let consumed = match self.connection {
            Some(stream) => self.engine.handle_input(self.now, Input::Received { stream, data: bytes }),
            None => {
                let input = Input::Datagram { socket: SocketId(0), peer: self.proxy, bytes };
                self.engine.handle_input(self.now, input);
                bytes.len()
            }
        };
        assert_eq!(consumed, bytes.len());
    }

    /// Ends the turn: answers what left, as server and proxy would.
    fn finish(&mut self) {
        self.engine.handle_timeout(self.now);
        self.reply.clear();
        let output = self.engine.output();
        while let Some(action) = output.poll_action() {
            match action {
                Action::Write { stream } => {
                    let unsent = output.unsent(stream);
                    let length = unsent.len();
                    if Some(stream) == self.connection {
                        if unsent.starts_with(b"SIP/2.0 202") {
                            self.answered += 1;
                        } else {
                            self.sent += 1;
                            answer(unsent, &mut self.reply);
                        }
                    } else if let Some(at) = memmem::rfind(unsent, b"<iq ") {
                        // A ping stands last in a turn.
                        self.reply.extend_from_slice(&unsent[at..]);
                    }
                    output.sent(stream, length);
                }
                Action::SendDatagram { bytes, .. } => {
                    let datagram = output.datagram(&bytes);
                    if datagram.starts_with(b"SIP/2.0 202") {
                        self.answered += 1;
                    } else {
                        self.sent += 1;
                        answer(datagram, &mut self.reply);
                    }
                }
                other => panic!("nothing else is ordered in a steady flow: {other:?}"),
            }
        }
        output.end_turn();
    }

    /// One MESSAGE to XMPP, with both returns of the barrier, up to its 202.
    pub fn sip_to_xmpp(&mut self) {
        self.now += PAUSE;
        self.count += 1;
        let mut request = std::mem::take(&mut self.request);
        request.clear();
        request.extend_from_slice(
            b"MESSAGE sip:romeo@xmpp.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-",
        );
        write_number(self.count, &mut request);
        request.extend_from_slice(
            b";rport\r\nMax-Forwards: 70\r\nFrom: \"Juliet\" <sip:juliet@sip.example>;tag=49583\r\n\
              To: <sip:romeo@xmpp.example>\r\nCall-ID: asd88asd77a@192.0.2.9\r\nCSeq: ",
        );
        write_number(self.count, &mut request);
        request.extend_from_slice(
            b" MESSAGE\r\nUser-Agent: steady\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\n\
              Art thou not Romeo, and a Montague? Neither, fair.",
        );
        let before = self.answered;
        self.proxy_sends(&request);
        self.request = request;
        self.finish();
        for _ in 0..2 {
            let reply = std::mem::take(&mut self.reply);
            assert!(!reply.is_empty(), "a ping");
            self.reply = Vec::new();
            let consumed = self.engine.handle_input(self.now, Input::Received { stream: self.stream, data: &reply });
            assert_eq!(consumed, reply.len());
            self.reply = reply;
            self.finish();
        }
        assert_eq!(self.answered, before + 1);
    }

    /// One stanza to SIP, up to the 200.
    pub fn xmpp_to_sip(&mut self) {
        self.now += PAUSE;
        self.count += 1;
        let mut stanza = std::mem::take(&mut self.request);
        stanza.clear();
        stanza
            .extend_from_slice(b"<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' type='chat' id='m");
        write_number(self.count, &mut stanza);
        stanza.extend_from_slice(
            b"'><body>Art thou not Romeo, and a Montague? Neither, fair.</body>\
              <active xmlns='http://jabber.org/protocol/chatstates'/>",
        );
        if self.rich {
            stanza.extend_from_slice(b"<thread>e0ffe42b28561960</thread><origin-id xmlns='urn:xmpp:sid:0' id='o");
            write_number(self.count, &mut stanza);
            stanza.extend_from_slice(b"'/><markable xmlns='urn:xmpp:chat-markers:0'/>");
        }
        stanza.extend_from_slice(b"</message>");
        let before = self.sent;
        let consumed = self.engine.handle_input(self.now, Input::Received { stream: self.stream, data: &stanza });
        assert_eq!(consumed, stanza.len());
        self.request = stanza;
        self.finish();
        assert_eq!(self.sent, before + 1);
        let reply = std::mem::take(&mut self.reply);
        self.proxy_sends(&reply);
        self.reply = reply;
        self.finish();
        assert!(self.reply.is_empty());
    }
}

impl Default for Steady {
    fn default() -> Self {
        Self::new()
    }
}

/// A 200 for a request of ours.
fn answer(request: &[u8], reply: &mut Vec<u8>) {
    reply.extend_from_slice(b"SIP/2.0 200 OK\r\n");
    let head = &request[..memmem::find(request, b"\r\n\r\n").unwrap_or(request.len())];
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if [&b"Via:"[..], b"From:", b"To:", b"Call-ID:", b"CSeq:"].iter().any(|name| line.starts_with(name)) {
            reply.extend_from_slice(line);
            if line.starts_with(b"To:") {
                reply.extend_from_slice(b";tag=uas");
            }
            reply.extend_from_slice(b"\r\n");
        }
    }
    reply.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    if number >= 10 {
        write_number(number / 10, out);
    }
    out.push(b'0' + (number % 10) as u8);
}
