//! What each stage of a message costs: parse, translate, transaction, and a whole turn of the engine, both ways.
//!
//! `cargo bench -p entente-bench`; with a word behind `--` the stages with that word in their name. Time goes by in none of
//! them but the turns, whose clock is the measured program's own.

use criterion::{Criterion, criterion_group, criterion_main};
use entente_tests::steady::Steady;
use sip::endpoint::{Endpoint, Event, RequestParts, Settings};
use sip::transaction::{Answer, Flow, Transport};
use sip::wire::{self, Carriage, Limits, Message, Method};
use sip_connector::translate as from_sip;
use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant};
use turn::{Action, Calendar, Minter, Minters, Output, SocketId};
use xml::StreamNamespaces;
use xmpp::stanza::{OutMessage, Stanza, parse_stanza, write_message};
use xmpp_connector::translate as from_xmpp;

const REQUEST: &[u8] = b"MESSAGE sip:romeo@xmpp.example SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-524287-1;rport\r\nMax-Forwards: 70\r\n\
    From: \"Juliet\" <sip:juliet@sip.example>;tag=49583\r\nTo: <sip:romeo@xmpp.example>\r\n\
    Call-ID: asd88asd77a@192.0.2.9\r\nCSeq: 1 MESSAGE\r\nUser-Agent: stages\r\nContent-Type: text/plain\r\n\
    Content-Length: 50\r\n\r\nArt thou not Romeo, and a Montague? Neither, fair.";

const RESPONSE: &[u8] = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-524287-1;rport=5060\r\n\
    From: <sip:romeo@xmpp.example>;tag=49583\r\nTo: <sip:juliet@sip.example>;tag=uas\r\n\
    Call-ID: asd88asd77a@192.0.2.1\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n";

const STANZA: &[u8] = b"<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' type='chat' id='m1'>\
    <body>Art thou not Romeo, and a Montague? Neither, fair.</body>\
    <active xmlns='http://jabber.org/protocol/chatstates'/></message>";

const TEXT: &[u8] = b"Art thou not Romeo, and a Montague? Neither, fair.";

criterion_group!(stages, parse, translate, transaction, turns);
criterion_main!(stages);

fn request(bytes: &[u8]) -> wire::Request<'_> {
    match wire::parse(bytes, Carriage::Datagram, &Limits::default()) {
        Ok(Message::Request(request)) => request,
        other => panic!("a request, not {other:?}"),
    }
}

fn stanza<'a>(bytes: &'a [u8], namespaces: &StreamNamespaces) -> xmpp::stanza::Message<'a> {
    match parse_stanza(bytes, namespaces, &xml::Limits::default()) {
        Ok(Stanza::Message(message)) => message,
        other => panic!("a message, not {other:?}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "somewhere time has to begin")]
fn now() -> Instant {
    Instant::now()
}

fn parse(criterion: &mut Criterion) {
    let limits = Limits::default();
    criterion.bench_function("parse/request", |bencher| {
        bencher.iter(|| black_box(request(black_box(REQUEST)).check(&limits).is_ok()));
    });
    criterion.bench_function("parse/response", |bencher| {
        bencher.iter(|| match wire::parse(black_box(RESPONSE), Carriage::Datagram, &limits) {
            Ok(Message::Response(response)) => black_box(response.essentials().is_some()),
            other => panic!("a response, not {other:?}"),
        });
    });
    let namespaces = StreamNamespaces::new(xmpp::ns::COMPONENT);
    criterion.bench_function("parse/stanza", |bencher| {
        bencher.iter(|| black_box(stanza(black_box(STANZA), &namespaces).bodies.len()));
    });
}

fn translate(criterion: &mut Criterion) {
    let settings = entente_tests::world::settings();
    let (now, minter) = (now(), Minter::new([7; 16]));
    let calendar = Calendar::new(now, settings.made_at);
    let namespaces = StreamNamespaces::new(xmpp::ns::COMPONENT);

    let rules = from_sip::address::Rules { presentations: settings.sip.presentations, ..Default::default() };
    let context =
        from_sip::envelope::Context { rules: &rules, host: "gw.example", minter: &minter, calendar: &calendar, now };
    let request = request(REQUEST);
    let essentials = request.check(&Limits::default()).expect("well-formed");
    let abstracted = || from_sip::message::to_cpim(&request, &essentials, context).expect("an operation");
    criterion.bench_function("translate/request to operation", |bencher| bencher.iter(|| black_box(abstracted())));

    let message = operation(abstracted());
    let (accepts, mut out) = (cpim::Accepts::default(), Vec::new());
    let (mut from, mut to) = (Vec::new(), Vec::new());
    criterion.bench_function("translate/operation to stanza", |bencher| {
        bencher.iter(|| {
            [&mut from, &mut to, &mut out].into_iter().for_each(Vec::clear);
            let presented = from_xmpp::content::present(&message, &accepts, 1 << 16).expect("a text");
            from_xmpp::address::write_presented(&message.source.0, &settings.xmpp.presentations, &mut from)
                .expect("an address");
            from_xmpp::address::write_native(&message.destination.0, &mut to).expect("an address");
            let body = Some(presented.body.as_bytes());
            write_message(&OutMessage { from: &from, to: &to, id: b"1", body, ..OutMessage::default() }, &mut out);
            black_box(out.len())
        });
    });

    let stanza = stanza(STANZA, &namespaces);
    let context = from_xmpp::message::Context { presentations: &settings.xmpp.presentations, calendar: &calendar };
    criterion.bench_function("translate/stanza to operation", |bencher| {
        bencher.iter(|| match from_xmpp::message::to_cpim(black_box(&stanza), context) {
            from_xmpp::message::Meaning::Operation(abstracted) => drop(black_box(abstracted)),
            other => panic!("an operation, not {other:?}"),
        });
    });
}

fn operation(abstracted: from_sip::message::Abstracted<'_>) -> cpim::Message<'_> {
    cpim::Message {
        source: cpim::InstantInbox(abstracted.source),
        destination: cpim::InstantInbox(abstracted.destination),
        max_forwards: cpim::MaxForwards(70),
        trans_id: cpim::TransId::from_bits(1),
        wire_id: Cow::Borrowed(b"1"),
        envelope: abstracted.envelope,
        content: abstracted.content,
    }
}

/// An endpoint whose clock goes a millisecond for each message, so that as many leave its tables as enter them.
struct Stage {
    endpoint: Endpoint,
    out: Output,
    now: Instant,
    flow: Flow,
    count: u32,
    bytes: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        Self {
            endpoint: Endpoint::new(Settings::new("192.0.2.1:5060"), Minters::new([9; 16], [8; 16])),
            out: Output::new(),
            now: now(),
            flow: Flow {
                transport: Transport::Udp,
                socket: SocketId(0),
                peer: ([192, 0, 2, 9], 5060).into(),
                stream: None,
            },
            count: 0,
            bytes: Vec::new(),
        }
    }

    fn tick(&mut self) {
        self.count += 1;
        self.now += Duration::from_millis(1);
        assert!(self.endpoint.handle_timeout(self.now, &mut self.out).is_none(), "all are answered");
    }

    /// The last datagram that left.
    fn last_sent(&mut self) -> &[u8] {
        self.bytes.clear();
        while let Some(action) = self.out.poll_action() {
            if let Action::SendDatagram { bytes, .. } = action {
                self.bytes.clear();
                self.bytes.extend_from_slice(self.out.datagram(&bytes));
            }
        }
        self.out.end_turn();
        &self.bytes
    }

    /// A new request, and its answer.
    fn serve(&mut self) {
        self.tick();
        let mut request = REQUEST.to_vec();
        let at = memchr::memmem::find(&request, b"524287").expect("a branch");
        for (digit, place) in request[at..at + 6].iter_mut().zip(0..) {
            *digit = b'a' + (self.count >> (4 * place) & 15) as u8;
        }
        match self.endpoint.handle_message(self.now, self.flow, &request, &mut self.out) {
            Event::Request { transaction, .. } => {
                self.endpoint.respond(self.now, transaction, &Answer::new(202), &mut self.out);
            }
            other => panic!("a new request, not {other:?}"),
        }
        assert!(self.last_sent().starts_with(b"SIP/2.0 202"));
    }

    /// A request of ours, and the response to it.
    fn ask(&mut self) {
        self.tick();
        let parts = RequestParts {
            method: Method::Message,
            uri: b"sip:juliet@sip.example",
            from: b"<sip:romeo@xmpp.example>",
            from_tag: None,
            to: b"<sip:juliet@sip.example>",
            call_id: b"asd88asd77a@192.0.2.1",
            cseq: 1,
            max_forwards: 70,
            route: b"",
            more: b"",
            content_type: Some(b"text/plain"),
            body: TEXT,
            branch: None,
        };
        self.endpoint.request(self.now, self.flow, &parts, 7, &mut self.out).expect("room");
        let mut response = b"SIP/2.0 200 OK\r\n".to_vec();
        let sent = String::from_utf8_lossy(self.last_sent()).into_owned();
        for line in sent.lines().skip(1).take_while(|line| !line.is_empty()) {
            if ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)) {
                response.extend_from_slice(line.as_bytes());
                response.extend_from_slice(b"\r\n");
            }
        }
        response.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        match self.endpoint.handle_message(self.now, self.flow, &response, &mut self.out) {
            Event::Ended { token: 7, .. } => {}
            other => panic!("the end of our request, not {other:?}"),
        }
    }
}

fn transaction(criterion: &mut Criterion) {
    let mut stage = Stage::new();
    criterion.bench_function("transaction/server", |bencher| bencher.iter(|| stage.serve()));
    let mut stage = Stage::new();
    criterion.bench_function("transaction/client", |bencher| bencher.iter(|| stage.ask()));
}

fn turns(criterion: &mut Criterion) {
    for (name, start) in [("udp", Steady::new as fn() -> Steady), ("tcp", Steady::over_tcp)] {
        let mut steady = start();
        criterion.bench_function(&format!("turns/sip to xmpp, {name}"), |bencher| {
            bencher.iter(|| steady.sip_to_xmpp());
        });
        let mut steady = start();
        criterion.bench_function(&format!("turns/xmpp to sip, {name}"), |bencher| {
            bencher.iter(|| steady.xmpp_to_sip());
        });
    }
}
