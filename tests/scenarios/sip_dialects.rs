//! What real SIP programs were seen to do that the RFCs do not foresee.

use cpim::PeerId;
use entente_tests::world::{World, attribute, message, proxy, response, route, status};
use sip::transaction::Transport;
use std::net::SocketAddr;
use std::time::Duration;

fn body(stanza: &str) -> Option<&str> {
    stanza.split("<body>").nth(1)?.split("</body>").next()
}

fn stanza(n: u32) -> String {
    format!("<message from='romeo@xmpp.example/x' to='juliet@sip.example' id='m{n}'><body>text {n}</body></message>")
}

/// The first MESSAGE of any finch (libpurple 2.14.12) after any start, as it was recorded; only who writes, to whom and what
/// is not always the same.
fn first_of_finch(transport: &str, from: &str, text: &str) -> String {
    format!(
        "MESSAGE sip:romeo@xmpp.example SIP/2.0\r\n\
         Via: SIP/2.0/{transport} 192.0.2.7:5060;branch=z9hG4bKF8741D82C40E86112454\r\n\
         From: <sip:{from}@sip.example>;tag=6275334369;epid=1234567890\r\n\
         To: <sip:romeo@xmpp.example>\r\nMax-Forwards: 10\r\nCSeq: 4 MESSAGE\r\nUser-Agent: Purple/2.14.12\r\n\
         Call-ID: 9EB4g769BaE0C6iD0CDm8CB2tBDABbA8D4x845Ex\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// finch never seeds its random numbers: two of them send equal branches, tags, Call-IDs and numbers at the same time.
#[test]
fn two_clients_that_draw_the_same_numbers_are_two_clients() {
    let mut world = World::new();
    let [juliet, nurse] = [40_000, 40_001].map(|port| world.sip_connects(SocketAddr::new(proxy().ip(), port)));
    world.sip_writes(juliet, first_of_finch("TCP", "juliet", "hello"));
    world.sip_writes(nurse, first_of_finch("TCP", "nurse", "hello"));
    let stanzas = world.return_pings();
    let senders: Vec<_> = stanzas.iter().map(|stanza| attribute(stanza, "from").expect("from")).collect();
    assert_eq!(senders, ["juliet@sip.example", "nurse@sip.example"]);
    assert_ne!(attribute(&stanzas[0], "id"), attribute(&stanzas[1], "id"));
    for stream in [juliet, nurse] {
        assert_eq!(world.sip_reads(stream).as_deref().and_then(status), Some(202));
    }
    // The same over UDP, through one NAT; and none of them is taken for the other when it sends again.
    let mut world = World::new();
    for (port, from) in [(5060, "juliet"), (5061, "nurse")] {
        world.sends_from(SocketAddr::new(proxy().ip(), port), first_of_finch("UDP", from, "hello"));
    }
    assert_eq!(world.return_pings().len(), 2);
    assert_eq!(world.take_statuses(), [202, 202]);
    for (port, from) in [(5060, "juliet"), (5061, "nurse")] {
        world.sends_from(SocketAddr::new(proxy().ip(), port), first_of_finch("UDP", from, "hello"));
        let again = world.take_datagram().expect("the answer again");
        assert!(again.starts_with("SIP/2.0 202") && again.contains(&format!("<sip:{from}@")), "{again}");
    }
    assert_eq!(world.return_pings(), Vec::<String>::new());
    world.assert_quiet();
}

/// And after a start it says something else under the same numbers.
#[test]
fn a_client_that_starts_again_is_heard_again() {
    let mut world = World::new();
    for (n, text) in ["hello", "I am back"].iter().enumerate() {
        world.proxy_sends(first_of_finch("UDP", "juliet", text));
        let stanzas = world.return_pings();
        assert_eq!(stanzas.iter().map(|stanza| body(stanza)).collect::<Vec<_>>(), [Some(*text)], "start {n}");
        assert_eq!(world.take_statuses(), [202]);
    }
    // The same text again is heard once Timer J is over.
    world.advance(Duration::from_secs(32));
    world.proxy_sends(first_of_finch("UDP", "juliet", "hello"));
    assert_eq!(world.return_pings().len(), 1);
    assert_eq!(world.take_statuses(), [202]);
    world.assert_quiet();
}

/// finch answers over its own connection, without a To tag, and sends the header fields of the request back.
#[test]
fn an_answer_without_a_to_tag_over_another_connection_is_an_answer() {
    let mut world = World::with(|settings| settings.sip.routes = vec![route(&[Transport::Tcp])]);
    world.server_writes(stanza(1));
    let stream = world.sip_takes_connection();
    let own = world.sip_connects(SocketAddr::new(proxy().ip(), 40_000));
    for (n, status_line, error) in
        [(1, "200 OK", None), (2, "415 Unsupported media type", Some("<not-acceptable")), (3, "200 OK", None)]
    {
        let request = world.sip_reads(stream).unwrap_or_else(|| panic!("request {n}"));
        let (head, _) = request.split_once("\r\n\r\n").expect("a header");
        let echoed: Vec<&str> = head.split("\r\n").skip(1).filter(|line| !line.starts_with("Content-Length")).collect();
        let answer = format!("SIP/2.0 {status_line}\r\n{}\r\nContent-Length: 0\r\n\r\n", echoed.join("\r\n"));
        assert!(!answer.contains("\r\nTo: <sip:juliet@sip.example>;tag") && answer.contains("Max-Forwards: 69"));
        world.sip_writes(own, answer);
        let told = world.take_stanzas();
        assert_eq!(told.len(), usize::from(error.is_some()), "{n}: {told:?}");
        assert!(error.is_none_or(|error| told[0].contains(error)), "{told:?}");
        if n < 3 {
            world.server_writes(stanza(n + 1));
        }
    }
    world.assert_quiet();
}

/// linphone 5.1 leaves Content-Length out of what it sends over UDP, in requests and in responses.
#[test]
fn without_content_length_a_datagram_ends_where_it_ends() {
    let mut world = World::new();
    let request = message(1, "romeo@xmpp.example", "line one\n\nline two")
        .replace("Content-Length: 18\r\n", "")
        .replace("To: <sip:romeo@xmpp.example>", "To: sip:romeo@xmpp.example");
    assert!(!request.contains("Content-Length"));
    world.proxy_sends(request);
    let stanzas = world.return_pings();
    assert_eq!(body(&stanzas[0]), Some("line one\n\nline two"));
    assert_eq!(world.take_statuses(), [202]);
    world.server_writes(stanza(1));
    let request = world.take_datagram().expect("the request");
    world.proxy_sends(response(&request, "200 Ok", "").replace("Content-Length: 0\r\n", ""));
    world.assert_quiet();
    assert_eq!(world.engine.counters().sip.responses_in, 1);
}

/// The pjsua console writes as its account for a whole host; anonymous callers are nobody of ours; and some write no brackets.
#[test]
fn senders_of_all_kinds() {
    let mut world = World::new();
    for (n, (from, expected)) in (1..).zip([
        ("<sip:127.0.0.1>;tag=1", Err((403, Some("From names no user")))),
        (
            "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1",
            Err((403, Some("the sender's domain is not one that this peer may speak for"))),
        ),
        (
            "\"Anonymous\" <sip:c8oqz84zk7z@privacy.example>;tag=1",
            Err((403, Some("the sender's domain is not one that this peer may speak for"))),
        ),
        ("sip:juliet@sip.example;tag=1", Ok("juliet")),
        ("sip:juliet@sip.example", Ok("juliet")),
        ("\"\" <sip:juliet@sip.example>;tag=1", Ok("juliet")),
        ("\"Juliet \\\"C\\\" <sip:x@y>; tag=no\" <sip:juliet@sip.example;user=ip>;epid=5;tag=1", Ok("juliet")),
        ("=?utf-8?q?Juliet?= <sip:juliet@sip.example>;tag=1", Ok("juliet")),
        ("Juliet of the house of Capulet (Verona) <sip:juliet@sip.example>;tag=1", Ok("juliet")),
    ]) {
        let request = message(n, "romeo@xmpp.example", "hello");
        let own = format!("From: <sip:juliet@sip.example>;tag=j{n}\r\n");
        assert!(request.contains(&own));
        world.proxy_sends(request.replace(&own, &format!("From: {from}\r\n")));
        let stanzas = world.return_pings();
        let answer = world.take_datagram().expect("an answer");
        let warning = answer.split("Warning: 399 gw.example \"").nth(1).and_then(|rest| rest.split('"').next());
        match expected {
            Ok(user) => {
                assert_eq!((status(&answer), stanzas.len()), (Some(202), 1), "{from}: {answer}");
                assert_eq!(attribute(&stanzas[0], "from"), Some(&*format!("{user}@sip.example")), "{from}");
            }
            Err(refused) => {
                assert_eq!((status(&answer), warning), (Some(refused.0), refused.1), "{from}: {answer}");
                assert_eq!(stanzas, Vec::<String>::new(), "{from}");
            }
        }
    }
    world.assert_quiet();
}

/// RFC 3581: a NAT on the way gives the second sending another port. It is one message, and the answer goes where it came from
/// last; whoever asks again afterwards is told there.
#[test]
fn a_message_that_comes_again_from_another_port_crosses_once() {
    let mut world = World::with(|settings| {
        settings.sip.trusted.push(("198.51.100.0/24".parse().expect("a network"), PeerId(1)));
    });
    let behind_nat = |port: u16| SocketAddr::from(([198, 51, 100, 7], port));
    let request = message(1, "romeo@xmpp.example", "hello").replace("192.0.2.9:5060;", "10.0.0.5:5060;rport;");
    world.sends_from(behind_nat(30_001), &request);
    world.sends_from(behind_nat(30_002), &request);
    let stanzas = world.return_pings();
    assert_eq!(stanzas.len(), 1, "{stanzas:?}");
    let mut answers: Vec<_> = world.datagrams.drain(..).collect();
    for port in [30_002, 30_003] {
        let (peer, bytes) = answers.pop().expect("the answer");
        assert!(answers.is_empty());
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert_eq!(peer, behind_nat(port));
        let via = format!("Via: SIP/2.0/UDP 10.0.0.5:5060;rport={port};branch=z9hG4bK-1;received=198.51.100.7\r\n");
        assert!(text.starts_with("SIP/2.0 202") && text.contains(&via), "{text}");
        if port == 30_002 {
            world.sends_from(behind_nat(30_003), &request);
            answers = world.datagrams.drain(..).collect();
        }
    }
    assert_eq!(world.return_pings(), Vec::<String>::new(), "delivered once");
    world.assert_quiet();
}

/// RFC 5626 section 4.4.1: what keeps a NAT open over UDP is STUN, and line ends are nobody's message.
#[test]
fn line_ends_in_datagrams_are_dropped_and_none_are_sent() {
    let mut world = World::new();
    for bytes in ["\r\n\r\n", "\r\n", "\r\n\r\n\r\n\r\n", "\0"] {
        world.proxy_sends(bytes);
    }
    assert_eq!(world.take_datagram(), None);
    assert_eq!(world.engine.counters().sip.dropped_keep_alive, 3);
    world.advance(Duration::from_secs(3600));
    assert_eq!(world.take_datagram(), None);
    world.assert_quiet();
}
