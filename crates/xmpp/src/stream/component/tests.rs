//! Conversations as Prosody 0.12 and ejabberd 23 were seen to hold them, and what else may happen on the way.

use super::*;
use crate::stanza::{Condition, ErrorType, OutMessage, write_message, write_ping};
use std::sync::Arc;
use std::time::{Duration, Instant};
use turn::{Action, CloseCause, Input, Minter, Output, SocketId, StreamId, Target};

const PEER: std::net::SocketAddr = std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5347);
const PROSODY: &str = "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
     xmlns='jabber:component:accept' from='sip.example' id='bb36bfe9-87cb' xml:lang='en'>";
const EJABBERD: &str = "<?xml version='1.0'?><stream:stream id='4590710210543893759' xml:lang='en' \
     xmlns:stream='http://etherx.jabber.org/streams' from='sip.example' xmlns='jabber:component:accept'>";
const OPENING: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
     xmlns:stream='http://etherx.jabber.org/streams' to='sip.example'>";
const ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";

#[allow(clippy::disallowed_methods)]
fn start() -> Instant {
    Instant::now()
}

fn settings() -> ComponentSettings {
    ComponentSettings {
        domain: "sip.example".into(),
        secret: Secret::new("test-secret"),
        target: 7,
        limits: Limits::default(),
        timeouts: Timeouts::default(),
    }
}

/// A component, its clock, and a hand that plays driver and server.
struct Bench {
    component: Component,
    out: Output,
    now: Instant,
    kept: Vec<u8>,
    /// What its events were, one line each.
    events: Vec<String>,
}

impl Bench {
    fn new() -> Self {
        let now = start();
        let component = Component::new(settings(), Minter::new([3; 16]), now);
        Self { component, out: Output::new(), now, kept: Vec::new(), events: Vec::new() }
    }

    fn note(events: &mut Vec<String>, event: &ComponentEvent<'_>) -> bool {
        events.push(match event {
            ComponentEvent::None => return false,
            ComponentEvent::Up => "up".into(),
            ComponentEvent::Stanza(stanza) => format!("stanza {}", String::from_utf8_lossy(stanza.raw())),
            ComponentEvent::Down { reason } => format!("down {reason:?}"),
        });
        true
    }

    /// Lets `wait` pass and the timers fire.
    fn pass(&mut self, wait: Duration) {
        self.now += wait;
        let event = self.component.handle_timeout(self.now, &mut self.out);
        Self::note(&mut self.events, &event);
    }

    fn input(&mut self, input: &Input<'_>) {
        let (_, event) = self.component.handle_input(self.now, input, &mut self.out);
        Self::note(&mut self.events, &event);
    }

    /// The time until the next attempt, after which it is made and stands.
    fn connect(&mut self) -> Duration {
        let (due, _) = self.component.poll_timeout().unwrap();
        let wait = due.saturating_duration_since(self.now);
        self.pass(wait);
        assert!(self.actions().contains(&format!("connect {:?}", Target::Configured(7))));
        let stream = self.component.stream().unwrap();
        self.input(&Input::Connected { stream, peer: PEER });
        assert_eq!(self.sent(), OPENING);
        self.kept.clear();
        wait
    }

    /// The server says something.
    fn hear(&mut self, text: &str) {
        let stream = self.component.stream().unwrap();
        self.kept.extend_from_slice(text.as_bytes());
        loop {
            let input = Input::Received { stream, data: &self.kept };
            let (consumed, event) = self.component.handle_input(self.now, &input, &mut self.out);
            let more = Self::note(&mut self.events, &event);
            drop(event);
            self.kept.drain(..consumed);
            if !more {
                return;
            }
        }
    }

    /// What went to the server since the last look.
    fn sent(&mut self) -> String {
        let Some(stream) = self.component.stream() else { return String::new() };
        let bytes = self.out.unsent(stream).to_vec();
        self.out.sent(stream, bytes.len());
        String::from_utf8(bytes).unwrap()
    }

    fn actions(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.out.poll_action())
            .filter_map(|action| match action {
                Action::Connect { target, .. } => Some(format!("connect {target:?}")),
                Action::Close { .. } => Some("close".into()),
                _ => None,
            })
            .collect()
    }

    fn closed(&mut self, cause: CloseCause) {
        let stream = self.component.stream().unwrap();
        self.input(&Input::Closed { stream, cause });
        self.out.forget(stream);
    }

    fn events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }

    fn up() -> Self {
        let mut bench = Self::new();
        bench.connect();
        bench.hear(PROSODY);
        bench.sent();
        bench.hear("<handshake/>");
        assert_eq!(bench.events(), ["up"]);
        bench.actions();
        bench
    }
}

#[test]
fn digests_are_those_of_openssl() {
    // printf '%s' 3BF96D32test-secret | openssl sha1
    assert_eq!(&Secret::new("test-secret").digest("3BF96D32"), b"7ab0bd48a12962a6b0183793fc29e366a6af319a");
    // printf '%s' 'a&b<c>mysecret' | openssl sha1
    assert_eq!(&Secret::new("mysecret").digest("a&b<c>"), b"7655891615e9ce890c4395ea554db26d2e4a7fcc");
}

#[test]
fn the_secret_is_not_shown() {
    let shown = format!("{:?}", Component::new(settings(), Minter::new([0; 16]), start()));
    assert!(shown.contains("Secret(..)") && !shown.contains("test-secret"), "{shown}");
    let octets = format!("{:?}", b"test-secret");
    assert!(!shown.contains(octets.trim_matches(['[', ']'])));
}

#[test]
fn the_handshake_of_both_servers() {
    for (header, digest) in [
        (PROSODY, Secret::new("test-secret").digest("bb36bfe9-87cb")),
        (EJABBERD, Secret::new("test-secret").digest("4590710210543893759")),
    ] {
        let mut bench = Bench::new();
        assert_eq!(bench.connect(), Duration::ZERO);
        assert!(!bench.component.is_up());
        // Prosody sends the XML declaration on its own.
        let (declaration, rest) = header.split_at(21);
        bench.hear(declaration);
        assert_eq!(bench.sent(), "");
        bench.hear(rest);
        assert_eq!(bench.sent(), format!("<handshake>{}</handshake>", String::from_utf8_lossy(&digest)));
        assert!(bench.events().is_empty());
        bench.hear(
            "<handshake/><message from='juliet@xmpp.example/b' to='alice@sip.example'><body>hi</body></message> ",
        );
        assert_eq!(
            bench.events(),
            ["up", "stanza <message from='juliet@xmpp.example/b' to='alice@sip.example'><body>hi</body></message>"]
        );
        assert!(bench.component.is_up() && bench.component.poll_timeout().is_none());
        assert_eq!(bench.component.namespaces().language(), Some("en"));
    }
}

/// RFC 6120 4.8.2: a server that declares no default content namespace qualifies each element itself.
#[test]
fn a_server_that_declares_no_default_namespace() {
    for header in [
        PROSODY.replace(" xmlns='jabber:component:accept'", ""),
        "<stream xmlns='http://etherx.jabber.org/streams' from='sip.example' id='bb36bfe9-87cb'>".to_owned(),
    ] {
        let mut bench = Bench::new();
        bench.connect();
        bench.hear(&header);
        assert!(bench.sent().starts_with("<handshake>"), "{header}");
        bench.hear("<handshake xmlns='jabber:component:accept'/>");
        let message =
            "<message xmlns='jabber:component:accept' from='a@b' to='alice@sip.example'><body>hi</body></message>";
        bench.hear(message);
        assert_eq!(bench.events(), ["up".to_owned(), format!("stanza {message}")], "{header}");
    }
}

#[test]
fn references_in_the_id_are_resolved_before_hashing() {
    let mut bench = Bench::new();
    bench.connect();
    bench.hear(&PROSODY.replace("bb36bfe9-87cb", "a&amp;b&lt;c&gt;"));
    let digest = Secret::new("test-secret").digest("a&b<c>");
    assert_eq!(bench.sent(), format!("<handshake>{}</handshake>", String::from_utf8_lossy(&digest)));
}

#[test]
fn what_servers_refuse_is_told_by_name() {
    // A wrong secret and a second connection come after the handshake, a domain that is not configured with the header.
    let rows = [
        (PROSODY, "not-authorized", "Given token does not match calculated token", "NotAuthorized"),
        (PROSODY, "conflict", "Component already connected", "Conflict"),
        (
            "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
             xmlns='jabber:component:accept' version='1.0' id=''>",
            "host-unknown",
            "other.example does not match any configured external components",
            "HostUnknown",
        ),
    ];
    for (header, condition, text, expected) in rows {
        let mut bench = Bench::new();
        bench.connect();
        bench.hear(header);
        let handshake = bench.sent();
        assert_eq!(handshake.is_empty(), condition == "host-unknown", "no digest without an id: {handshake}");
        bench.hear(&format!(
            "<stream:error><{condition} xmlns='{ERRORS}'/><text xmlns='{ERRORS}'>{text}</text></stream:error>"
        ));
        assert_eq!(bench.events(), [format!("down Refused {{ condition: {expected}, text: Some({text:?}) }}")]);
        assert_eq!(bench.sent(), "</stream:stream>");
        assert_eq!(bench.actions(), ["close"]);
        // The end of the stream and of the connection say nothing new.
        bench.hear("</stream:stream>");
        assert_eq!(bench.component.poll_timeout(), None);
        bench.closed(CloseCause::Peer);
        assert!(bench.events().is_empty());
        let wait = bench.connect();
        assert!(wait >= Duration::from_millis(50) && wait <= Duration::from_millis(100), "{wait:?}");
    }
}

#[test]
fn attempts_come_ever_later_and_a_good_stream_resets_them() {
    let mut bench = Bench::new();
    let mut waits = Vec::new();
    bench.pass(Duration::ZERO);
    for _ in 0..12 {
        bench.closed(CloseCause::Refused);
        assert_eq!(bench.events(), ["down Unreachable"]);
        let (due, reason) = bench.component.poll_timeout().unwrap();
        assert_eq!(reason, "component: next attempt");
        waits.push(due - bench.now);
        // Early timeouts do nothing.
        bench.pass(Duration::from_millis(1));
        assert!(bench.component.stream().is_none());
        bench.pass(due - bench.now);
        assert!(bench.component.stream().is_some());
    }
    for (place, wait) in waits.iter().enumerate() {
        let whole = Duration::from_millis(100 << place).min(Duration::from_secs(30));
        assert!(*wait >= whole / 2 && *wait <= whole + Duration::from_micros(1), "{place}: {wait:?}");
    }
    assert!(waits.windows(2).any(|pair| pair[1] != pair[0] * 2), "there is jitter");
    // A handshake alone is not enough: a server that throws us out at once is not asked every 100 ms.
    bench.closed(CloseCause::Refused);
    for (stood, longest) in [(1, 30_000), (11, 100)] {
        bench.connect();
        bench.hear(PROSODY);
        bench.hear("<handshake/>");
        bench.now += Duration::from_secs(stood);
        bench.closed(CloseCause::Failed);
        let wait = bench.component.poll_timeout().unwrap().0 - bench.now;
        let longest = Duration::from_millis(longest);
        assert!(wait >= longest / 2 && wait <= longest, "stood {stood} s: {wait:?}");
    }
}

#[test]
fn nothing_is_tried_while_the_old_socket_may_live() {
    let mut bench = Bench::up();
    bench.hear("</stream:stream>");
    assert_eq!(bench.events(), ["down Closed"]);
    assert_eq!(bench.sent(), "</stream:stream>");
    assert_eq!(bench.actions(), ["close"]);
    assert!(!bench.component.is_up() && bench.component.stream().is_some());
    bench.pass(Duration::from_secs(3600));
    bench.hear("<message/>");
    assert!(bench.events().is_empty() && bench.actions().is_empty());
    bench.closed(CloseCause::Ours);
    bench.connect();
}

#[test]
fn what_does_not_happen_in_time() {
    let mut bench = Bench::new();
    bench.pass(Duration::ZERO);
    bench.pass(Duration::from_secs(9));
    assert!(bench.events().is_empty());
    bench.pass(Duration::from_secs(1));
    assert_eq!(
        (bench.events(), bench.actions().last().cloned()),
        (vec!["down ConnectTimeout".into()], Some("close".into()))
    );
    // A connection that stands after all is not used.
    let stream = bench.component.stream().unwrap();
    bench.input(&Input::Connected { stream, peer: PEER });
    assert_eq!(bench.sent(), "");
    bench.closed(CloseCause::Ours);
    for said in ["", PROSODY] {
        bench.connect();
        bench.hear(said);
        bench.sent();
        bench.pass(Duration::from_secs(10));
        assert_eq!(bench.events(), ["down HandshakeTimeout"]);
        assert!(bench.sent().starts_with("<stream:error><connection-timeout "));
        bench.closed(CloseCause::Ours);
    }
}

#[test]
fn what_cannot_be_read_ends_the_stream_with_its_error() {
    let rows = [
        ("<message><!-- --></message>", "restricted-xml", "RestrictedXml, cause: Xml(Comment)"),
        ("<message><body>&nbsp;</body></message>", "restricted-xml", "RestrictedXml, cause: Xml(UnknownEntity)"),
        ("<message></presence>", "not-well-formed", "NotWellFormed, cause: Xml(MismatchedEnd)"),
        ("<message><xmlns:y/></message>", "not-well-formed", "NotWellFormed, cause: Xml(UnboundPrefix)"),
        ("text", "bad-format", "BadFormat, cause: Xml(StrayText)"),
        ("<message><body>\u{1}</body></message>", "not-well-formed", "NotWellFormed, cause: Xml(ForbiddenCharacter)"),
    ];
    for (said, condition, reason) in rows {
        let mut bench = Bench::up();
        bench.hear(said);
        assert_eq!(bench.events(), [format!("down Ended {{ condition: {reason} }}")], "{said}");
        assert_eq!(
            bench.sent(),
            format!("<stream:error><{condition} xmlns='{ERRORS}'/></stream:error></stream:stream>")
        );
        assert_eq!(bench.actions(), ["close"]);
    }
    let rows = [
        (PROSODY.replace("component:accept", "client"), "InvalidNamespace, cause: Header"),
        (PROSODY.replace("'http://etherx.jabber.org/streams'", "'urn:x'"), "InvalidNamespace, cause: Header"),
        (PROSODY.replace("<stream:stream", "<stream:flood"), "BadFormat, cause: Header"),
        (format!("{PROSODY}<message/>"), "NotAuthorized, cause: Early"),
    ];
    for (said, reason) in rows {
        let mut bench = Bench::new();
        bench.connect();
        bench.hear(&said);
        assert_eq!(bench.events(), [format!("down Ended {{ condition: {reason} }}")], "{said}");
    }
}

#[test]
fn one_user_s_giant_stanza_does_not_end_the_stream_of_all() {
    let mut bench = Bench::up();
    let giant = |open: &str, close: &str| format!("<{open}><body>{}</body></{close}>", "x".repeat(300_000));
    let deep = format!("<iq type='get' from='a@b' to='c@d' id='2'>{}{}</iq>", "<x>".repeat(70), "</x>".repeat(70));
    let declarations: String = (0..40).map(|n| format!(" xmlns:n{n}='urn:{n}'")).collect();
    bench.hear(&giant("message from='a@b/r' to='c@d' id='1' type='chat'", "message"));
    bench.hear(&deep);
    bench.hear(&format!("<message from='a@b' to='c@d' id='3'><x{declarations}/></message>"));
    // No answer to errors, answers and presence.
    bench.hear(&giant("message from='a@b' to='c@d' type='error'", "message"));
    bench.hear(&giant("presence from='a@b' to='c@d'", "presence"));
    bench.hear(&giant("iq from='a@b' to='c@d' type='result' id='4'", "iq"));
    bench.hear("<presence from='a@b' to='c@d'/>");
    assert_eq!(bench.events(), ["stanza <presence from='a@b' to='c@d'/>"]);
    assert_eq!(bench.component.counters().excess, 6);
    let sent = bench.sent();
    let answers: Vec<_> = sent.split_inclusive("</error>").collect();
    assert!(
        answers[0]
            .starts_with("<message from='c@d' to='a@b/r' id='1' type='error'><error type='modify'><policy-violation ")
    );
    assert!(answers[1].starts_with("</message><iq from='c@d' to='a@b' id='2' type='error'>"));
    assert!(answers[2].starts_with("</iq><message from='c@d' to='a@b' id='3' type='error'>"));
    assert_eq!(answers[3], "</message>");
}

#[test]
fn what_is_no_stanza_is_passed_over_and_white_space_too() {
    let mut bench = Bench::up();
    bench.hear(" \n <stream:features/> <handshake/><message xmlns='urn:x'/>\n");
    assert!(bench.events().is_empty() && bench.kept.is_empty());
    assert_eq!(bench.component.counters().unknown, 3);
    assert!(bench.component.is_up());
}

#[test]
fn a_server_that_dies_and_one_that_is_stopped() {
    let mut bench = Bench::up();
    bench.hear("<presence type='unavailable' from='juliet@xmpp.example/balcony' to='alice@sip.example'/>");
    bench.closed(CloseCause::Peer);
    assert_eq!(bench.events()[1], "down Lost(Peer)");
    let mut bench = Bench::up();
    bench.hear(&format!("<stream:error><system-shutdown xmlns='{ERRORS}'/></stream:error></stream:stream>"));
    assert_eq!(bench.events(), ["down Refused { condition: SystemShutdown, text: None }"]);
    bench.closed(CloseCause::Peer);
    bench.connect();
}

#[test]
fn a_server_that_does_not_react_is_told_so() {
    let mut bench = Bench::up();
    let event = bench.component.give_up(&mut bench.out);
    assert!(matches!(event, ComponentEvent::Down { reason: DownReason::Unresponsive }));
    let expected = format!("<stream:error><connection-timeout xmlns='{ERRORS}'/></stream:error></stream:stream>");
    assert_eq!(bench.sent(), expected);
    assert_eq!(bench.actions(), ["close"]);
    bench.closed(CloseCause::Ours);
    bench.connect();
}

/// RFC 6120 4.9.3.3: two gateways with one secret must not throw each other out without end.
#[test]
fn a_server_that_says_conflict_again_and_again_is_asked_ever_less() {
    let mut bench = Bench::new();
    let mut waits = Vec::new();
    for _ in 0..10 {
        waits.push(bench.connect());
        bench.hear(PROSODY);
        bench.sent();
        bench.hear("<handshake/>");
        bench.hear(&format!("<stream:error><conflict xmlns='{ERRORS}'/></stream:error></stream:stream>"));
        bench.sent();
        bench.closed(CloseCause::Peer);
    }
    assert!(waits[9] >= Duration::from_millis(12_800), "{waits:?}");
}

/// RFC 6120 4.9.2: the words are for people, whatever they say.
#[test]
fn the_text_of_an_error_decides_nothing() {
    let mut bench = Bench::up();
    bench.hear(&format!(
        "<stream:error><text xmlns='{ERRORS}'>conflict &lt;host-unknown/></text><no-such-condition xmlns='{ERRORS}'/>\
         <conflict xmlns='urn:x'/></stream:error>"
    ));
    let expected = "down Refused { condition: UndefinedCondition, text: Some(\"conflict <host-unknown/>\") }";
    assert_eq!(bench.events(), [expected]);
}

/// RFC 6120 4.8.5 and 8.4: a prefix is only a prefix, and 11.5: so is what the declaration says beyond UTF-8.
#[test]
fn the_server_may_call_its_namespaces_as_it_likes() {
    let mut bench = Bench::new();
    bench.connect();
    bench.hear(
        "<?xml version='1.0' standalone='no'?><s:stream xmlns:s='http://etherx.jabber.org/streams' \
         xmlns='jabber:component:accept' xmlns:c='jabber:component:accept' id='3BF96D32'>",
    );
    assert_eq!(bench.sent(), "<handshake>7ab0bd48a12962a6b0183793fc29e366a6af319a</handshake>");
    let message = "<c:message from='a@b' to='c@d'><c:body>hi</c:body></c:message>";
    bench.hear(&format!("<c:handshake/>{message}"));
    assert_eq!(bench.events(), ["up".to_owned(), format!("stanza {message}")]);
    bench.hear(&format!("<s:error><reset xmlns='{ERRORS}'/></s:error></s:stream>"));
    assert_eq!(bench.events(), ["down Refused { condition: Reset, text: None }"]);
    assert_eq!(bench.sent(), "</stream:stream>");
}

#[test]
fn a_component_that_is_stopped_stays_so() {
    let mut bench = Bench::up();
    let event = bench.component.stop(&mut bench.out);
    assert!(matches!(event, ComponentEvent::Down { reason: DownReason::Stopped }));
    assert_eq!(bench.sent(), "</stream:stream>");
    assert_eq!(bench.actions(), ["close"]);
    bench.closed(CloseCause::Ours);
    assert!(
        bench.events().is_empty() && bench.component.poll_timeout().is_none() && bench.component.stream().is_none()
    );
}

#[test]
fn inputs_of_other_streams_mean_nothing() {
    let mut bench = Bench::up();
    let other = bench.out.open();
    bench.input(&Input::Received { stream: other, data: b"<!-- -->" });
    bench.input(&Input::Closed { stream: other, cause: CloseCause::Failed });
    bench.input(&Input::Datagram { socket: SocketId(0), peer: PEER, bytes: b"x" });
    assert!(bench.component.is_up() && bench.events().is_empty());
}

/// The server's side, spoken to in writing.
struct Server {
    acceptor: ComponentAcceptor,
    minter: Minter,
    out: Output,
    stream: StreamId,
    kept: Vec<u8>,
    events: Vec<String>,
}

impl Server {
    fn new(now: Instant) -> Self {
        let domains = vec![
            ("other.example".to_owned(), Secret::new("x")),
            ("sip.example".to_owned(), Secret::new("test-secret")),
        ];
        let mut out = Output::new();
        let stream = out.open();
        let acceptor = ComponentAcceptor::accept(Arc::new(AcceptorSettings::new(domains)), stream, now);
        Self { acceptor, minter: Minter::new([5; 16]), out, stream, kept: Vec::new(), events: Vec::new() }
    }

    /// Hears something and answers it; admits whoever knows the secret.
    fn hear(&mut self, text: &str) -> String {
        self.kept.extend_from_slice(text.as_bytes());
        loop {
            let input = Input::Received { stream: self.stream, data: &self.kept };
            let (consumed, event) = self.acceptor.handle_input(&input, &mut self.minter, &mut self.out);
            let admit = matches!(event, AcceptorEvent::Handshake);
            let done = matches!(event, AcceptorEvent::None);
            match &event {
                AcceptorEvent::None => {}
                AcceptorEvent::Stanza(stanza) => self.events.push(String::from_utf8_lossy(stanza.raw()).into_owned()),
                other => self.events.push(format!("{other:?}")),
            }
            drop(event);
            self.kept.drain(..consumed);
            if admit {
                self.acceptor.admit(&mut self.out);
            }
            if done {
                break;
            }
        }
        let bytes = self.out.unsent(self.stream).to_vec();
        self.out.sent(self.stream, bytes.len());
        String::from_utf8(bytes).unwrap()
    }
}

/// The id in a header of the server.
fn id_of(header: &str) -> String {
    header.split(" id='").nth(1).unwrap().split('\'').next().unwrap().to_owned()
}

#[test]
fn both_roles_understand_each_other() {
    let mut bench = Bench::new();
    let mut server = Server::new(bench.now);
    bench.connect();
    let header = server.hear(OPENING);
    bench.hear(&header);
    let digest = bench.sent();
    let accepted = server.hear(&digest);
    assert_eq!(accepted, "<handshake/>");
    bench.hear(&accepted);
    assert_eq!((bench.events(), server.events.clone()), (vec!["up".to_owned()], vec!["Handshake".to_owned()]));
    assert_eq!(server.acceptor.domain(), "sip.example");
    assert!(server.acceptor.poll_timeout().is_none());

    let stream = bench.component.stream().unwrap();
    let message = OutMessage {
        from: b"alice@sip.example",
        to: b"juliet@xmpp.example",
        body: Some(b"a < b"),
        ..OutMessage::default()
    };
    write_message(&message, bench.out.stream(stream).unwrap());
    write_ping(b"sip.example", b"sip.example", b"p", bench.out.stream(stream).unwrap());
    let sent = bench.sent();
    assert_eq!(server.hear(&sent), "");
    assert_eq!(server.events[1..].concat(), sent);

    // The server ends; both say it.
    server.acceptor.close(&mut server.out);
    let end = server.hear("");
    assert_eq!(end, "</stream:stream>");
    bench.hear(&end);
    assert_eq!(bench.events(), ["down Closed"]);
}

#[test]
fn what_the_server_refuses() {
    let header = |id: &str| {
        format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams' from='sip.example' id='{id}' xml:lang='en'>"
        )
    };
    let error = |condition: &str| format!("<stream:error><{condition} xmlns='{ERRORS}'/>");
    let good = |server: &mut Server| {
        let said = server.hear(OPENING);
        let id = id_of(&said);
        assert_eq!(said, header(&id));
        assert_eq!(id.len(), 26);
        let digest = Secret::new("test-secret").digest(&id);
        assert_eq!(
            server.hear(&format!("<handshake>{}</handshake>", String::from_utf8_lossy(&digest))),
            "<handshake/>"
        );
    };
    // Before anything is proven.
    for (said, condition) in [
        (OPENING.replace("sip.example", "unknown.example"), "host-unknown"),
        (OPENING.replace("jabber:component:accept", "jabber:client"), "invalid-namespace"),
        (format!("{OPENING}<handshake>{}</handshake>", "0".repeat(40)), "not-authorized"),
        (format!("{OPENING}<handshake/>"), "not-authorized"),
        (format!("{OPENING}<message from='a@sip.example'/>"), "not-authorized"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "bad-format"),
    ] {
        let mut server = Server::new(start());
        let answer = server.hear(&said);
        assert!(
            answer.starts_with("<?xml version='1.0'?><stream:stream ") && answer.contains(&error(condition)),
            "{answer}"
        );
        assert!(answer.ends_with("</stream:error></stream:stream>"));
        assert_eq!(server.events.len(), 1);
        assert!(server.events[0].starts_with("Ended { error: Some("), "{}", server.events[0]);
        assert_eq!(server.hear("<message/>"), "", "nothing more after the end");
    }
    // And after.
    for (said, condition) in [
        ("<message from='a@elsewhere.example' to='b@c'/>", "invalid-from"),
        ("<message from='sip.example@elsewhere.example/sip.example' to='b@c'/>", "invalid-from"),
        ("<message to='b@c'/>", "invalid-from"),
        ("<handshake/>", "unsupported-stanza-type"),
        ("<message><!-- --></message>", "restricted-xml"),
        ("<message></iq>", "not-well-formed"),
    ] {
        let mut server = Server::new(start());
        good(&mut server);
        assert!(server.hear(said).starts_with(&error(condition)), "{said}");
    }
    let mut server = Server::new(start());
    good(&mut server);
    assert_eq!(server.hear("<iq from='SIP.example' type='get'/><presence from='a@sip.example/r@x/y'/> "), "");
    assert_eq!(server.events[1..], ["<iq from='SIP.example' type='get'/>", "<presence from='a@sip.example/r@x/y'/>"]);
}

#[test]
fn a_second_connection_is_the_owner_s_to_refuse() {
    let mut server = Server::new(start());
    let said = server.hear(OPENING);
    let id = id_of(&said);
    let digest = Secret::new("test-secret").digest(&id);
    let data = format!("<handshake>{}</handshake>", String::from_utf8_lossy(&digest));
    let input = Input::Received { stream: server.stream, data: data.as_bytes() };
    let (consumed, event) = server.acceptor.handle_input(&input, &mut server.minter, &mut server.out);
    assert!(consumed == data.len() && matches!(event, AcceptorEvent::Handshake));
    assert!(!server.acceptor.is_up());
    server.acceptor.fail(StreamError::Conflict, "already connected", &mut server.out);
    assert!(server.hear("").starts_with("<stream:error><conflict "));
    let closed = Input::Closed { stream: server.stream, cause: CloseCause::Ours };
    assert!(matches!(
        server.acceptor.handle_input(&closed, &mut server.minter, &mut server.out).1,
        AcceptorEvent::None
    ));
}

#[test]
fn a_component_that_says_nothing_is_cut_off() {
    let now = start();
    let mut server = Server::new(now);
    let (due, _) = server.acceptor.poll_timeout().unwrap();
    assert!(matches!(server.acceptor.handle_timeout(now, &mut server.out), AcceptorEvent::None));
    let event = server.acceptor.handle_timeout(due, &mut server.out);
    assert!(matches!(event, AcceptorEvent::Ended { error: Some(StreamError::ConnectionTimeout) }));
    assert!(server.hear("").contains("<connection-timeout "));
}

#[test]
fn bounces_of_a_component_that_is_down_are_read() {
    // What Prosody says for one that is not attached.
    let mut bench = Bench::up();
    let bounce = "<message type='error' from='alice@other.example' to='juliet@sip.example' id='down1'>\
         <error type='wait' by='other.example'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>Component unavailable</text></error></message>";
    let stream = bench.component.stream().unwrap();
    let input = Input::Received { stream, data: bounce.as_bytes() };
    let (_, event) = bench.component.handle_input(bench.now, &input, &mut bench.out);
    let ComponentEvent::Stanza(crate::stanza::Stanza::Message(message)) = event else { panic!("{event:?}") };
    let error = message.error.unwrap();
    assert_eq!((error.kind, error.condition), (ErrorType::Wait, Condition::RemoteServerTimeout));
}

proptest::proptest! {
    #[test]
    fn a_server_that_says_anything_never_hurts(said in "[<>/!?'\"= a-z&;:\u{0}-\u{20}é]{0,80}", up: bool) {
        let mut bench = if up { Bench::up() } else { Bench::new() };
        if !up {
            bench.connect();
        }
        bench.hear(&said);
        let downs = bench.events().iter().filter(|event| event.starts_with("down")).count();
        proptest::prop_assert!(downs <= 1);
    }
}
