//! SIP over TCP: RFC 3261 sections 18.1.1, 18.2.2, 18.3 and 18.4, RFC 5626 keep-alives.

use entente_tests::world::{World, attribute, message, proxy, response, route, status};
use sip::transaction::Transport;
use sip::transport::{BUSY, IDLE, PATIENCE};
use sip_connector::LargeRequests;
use std::net::SocketAddr;
use std::time::Duration;
use turn::Input;

/// A port of the proxy that it connects from.
fn from(port: u16) -> SocketAddr {
    SocketAddr::new(proxy().ip(), port)
}

/// A MESSAGE as it goes over TCP.
fn over_tcp(n: u32, to: &str, body: &str) -> String {
    message(n, to, body).replace("SIP/2.0/UDP", "SIP/2.0/TCP")
}

fn stanza(n: u32, to: &str, body: &str) -> String {
    format!("<message from='romeo@xmpp.example/orchard' to='{to}@sip.example' id='m{n}'><body>{body}</body></message>")
}

/// A world whose next hop is reached over TCP.
fn tcp_world() -> World {
    World::with(|settings| settings.sip.routes = vec![route(&[Transport::Tcp])])
}

/// A world whose next hop is reached over UDP, and over TCP with what is large.
fn mixed_world() -> World {
    World::with(|settings| settings.sip.large_requests = LargeRequests::TcpThenUdp)
}

fn bodies(stanzas: &[String]) -> Vec<&str> {
    stanzas.iter().filter_map(|stanza| stanza.split("<body>").nth(1)?.split("</body>").next()).collect()
}

#[test]
fn a_message_from_sip_is_answered_on_its_connection() {
    let mut world = World::new();
    let stream = world.sip_connects(from(40_000));
    world.sip_writes(stream, over_tcp(1, "romeo@xmpp.example", "hello"));
    assert_eq!(bodies(&world.return_pings()), ["hello"]);
    let answer = world.sip_reads(stream).unwrap();
    assert_eq!(status(&answer), Some(202), "{answer}");
    assert!(answer.contains("Via: SIP/2.0/TCP 192.0.2.9:5060;branch=z9hG4bK-1"), "{answer}");
    assert_eq!(world.sip_reads(stream), None);
    assert_eq!(world.take_datagram(), None);
    world.assert_quiet();
    assert!(!world.is_closed_by_gateway(stream));
}

#[test]
fn many_messages_to_a_tcp_next_hop_share_one_connection_in_their_order() {
    let mut world = tcp_world();
    for n in 1..=20 {
        world.server_writes(stanza(n, &format!("juliet{n}"), &format!("text {n}")));
    }
    assert_eq!(world.sip_ordered(), Some(proxy()));
    let stream = world.sip_takes_connection();
    for n in 1..=20 {
        let request = world.sip_reads(stream).unwrap();
        assert!(request.starts_with(&format!("MESSAGE sip:juliet{n}@sip.example SIP/2.0\r\n")), "{request}");
        assert!(request.contains("Via: SIP/2.0/TCP 192.0.2.1:5060;"), "{request}");
        assert!(request.ends_with(&format!("\r\n\r\ntext {n}")), "{request}");
        world.sip_writes(stream, response(&request, "200 OK", ""));
    }
    // One at a time to the same user (RFC 3428 section 8), still in order and over the same connection.
    for n in 21..=24 {
        world.server_writes(stanza(n, "juliet", &format!("text {n}")));
    }
    for n in 21..=24 {
        let request = world.sip_reads(stream).unwrap();
        assert!(request.ends_with(&format!("\r\n\r\ntext {n}")), "{request}");
        assert_eq!(world.sip_reads(stream), None);
        world.sip_writes(stream, response(&request, "200 OK", ""));
    }
    assert_eq!(world.sip.connects, 1);
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
    world.assert_quiet();
    assert_eq!(world.datagrams.len(), 0);
}

#[test]
fn a_message_may_be_cut_at_every_byte() {
    let text = over_tcp(1, "romeo@xmpp.example", "hello");
    for cut in 1..text.len() {
        let mut world = World::new();
        let stream = world.sip_connects(from(40_000));
        world.sip_writes(stream, &text[..cut]);
        assert_eq!(world.take_stanza(), None, "cut at {cut}");
        world.sip_writes(stream, &text[cut..]);
        assert_eq!(bodies(&world.return_pings()), ["hello"], "cut at {cut}");
        assert_eq!(world.sip_reads(stream).as_deref().and_then(status), Some(202), "cut at {cut}");
    }
    // And byte by byte.
    let mut world = World::new();
    let stream = world.sip_connects(from(40_000));
    for byte in text.bytes() {
        world.sip_writes(stream, [byte]);
    }
    assert_eq!(bodies(&world.return_pings()), ["hello"]);
}

#[test]
fn messages_that_share_a_segment_keep_their_order() {
    let mut world = World::new();
    let stream = world.sip_connects(from(40_000));
    let mut segment = String::from("\r\n");
    for n in 1..=5 {
        segment += &over_tcp(n, "romeo@xmpp.example", &format!("text {n}"));
    }
    let half = over_tcp(6, "romeo@xmpp.example", "text 6");
    world.sip_writes(stream, segment + &half[..100]);
    let expected: Vec<String> = (1..=5).map(|n| format!("text {n}")).collect();
    assert_eq!(bodies(&world.return_pings()), expected);
    for n in 1..=5 {
        let answer = world.sip_reads(stream).unwrap();
        assert!(answer.starts_with("SIP/2.0 202") && answer.contains(&format!("branch=z9hG4bK-{n}")), "{answer}");
    }
    world.sip_writes(stream, &half[100..]);
    assert_eq!(bodies(&world.return_pings()), ["text 6"]);
}

/// RFC 5626 3.5.1, 5.4; 4.4.1: the client expects the answer within 10 s.
#[test]
fn a_double_line_end_is_answered_by_a_single_one() {
    let mut world = World::new();
    let stream = world.sip_connects(from(40_000));
    for _ in 0..5 {
        world.advance(Duration::from_secs(120));
        world.sip_writes(stream, "\r\n\r\n");
        assert_eq!(world.sip_reads(stream).as_deref(), Some("\r\n"));
    }
    // A single one asks for nothing, and both halves of a double one may come apart.
    world.sip_writes(stream, "\r\n");
    assert_eq!(world.sip_reads(stream), None);
    world.sip_writes(stream, over_tcp(1, "romeo@xmpp.example", "hello"));
    world.return_pings();
    assert_eq!(world.sip_reads(stream).as_deref().and_then(status), Some(202));
    world.sip_writes(stream, "\r\n\r");
    world.sip_writes(stream, "\n");
    assert_eq!(world.sip_reads(stream).as_deref(), Some("\r\n"));
    assert!(!world.is_closed_by_gateway(stream));
}

/// RFC 3261 18.3: without a usable Content-Length nobody knows where the next message begins.
#[test]
fn what_cannot_be_followed_is_answered_and_closed() {
    let good = over_tcp(1, "romeo@xmpp.example", "hello");
    for bad in [
        good.replace("Content-Length: 5\r\n", ""),
        good.replace("Content-Length: 5", "Content-Length: -5"),
        good.replace("Content-Length: 5", "Content-Length: 5\r\nContent-Length: 6"),
    ] {
        let mut world = World::new();
        let stream = world.sip_connects(from(40_000));
        world.sip_writes(stream, &bad);
        assert_eq!(world.sip_reads(stream).as_deref().and_then(status), Some(400), "{bad}");
        assert!(world.is_closed_by_gateway(stream), "{bad}");
        assert_eq!(world.take_stanza(), None);
        world.assert_quiet();
    }
    for garbage in ["\x16\x03\x01\x02\x00\x01\x00", "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n", "\u{fffd}\r\n\r\n"] {
        let mut world = World::new();
        let stream = world.sip_connects(from(40_000));
        world.sip_writes(stream, garbage);
        assert_eq!(world.sip_reads(stream), None, "nobody to answer to");
        assert!(world.is_closed_by_gateway(stream), "{garbage:?}");
        world.assert_quiet();
    }
}

#[test]
fn a_message_that_is_malformed_but_complete_costs_nobody_the_connection() {
    let mut world = World::new();
    let stream = world.sip_connects(from(40_000));
    world.sip_writes(stream, over_tcp(1, "romeo@xmpp.example", "hello").replace("CSeq: 1 MESSAGE", "CSeq: one"));
    assert_eq!(world.sip_reads(stream).as_deref().and_then(status), Some(400));
    world.sip_writes(stream, over_tcp(2, "romeo@xmpp.example", "hello"));
    assert_eq!(bodies(&world.return_pings()), ["hello"]);
    assert_eq!(world.sip_reads(stream).as_deref().and_then(status), Some(202));
}

#[test]
fn a_message_beyond_the_limit_gets_513_and_the_connection_is_closed() {
    let mut world = World::new();
    let stream = world.sip_connects(from(40_000));
    let head = over_tcp(1, "romeo@xmpp.example", "hello");
    world.sip_writes(stream, head.replace("Content-Length: 5", "Content-Length: 65535"));
    assert_eq!(world.sip_reads(stream).as_deref().and_then(status), Some(513));
    assert!(world.is_closed_by_gateway(stream));
    // One whose header alone is beyond it cannot be answered.
    let stream = world.sip_connects(from(40_001));
    world.sip_writes(stream, "MESSAGE sip:romeo@xmpp.example SIP/2.0\r\nX: ".to_owned() + &"x".repeat(70_000));
    assert_eq!(world.sip_reads(stream), None);
    assert!(world.is_closed_by_gateway(stream));
    assert_eq!(world.engine.counters().sip_connections.broken, 2);
    assert_eq!(world.take_stanza(), None);
    world.assert_quiet();
}

#[test]
fn the_longest_message_crosses_whole() {
    let mut world = World::new();
    let empty = over_tcp(1, "romeo@xmpp.example", "").len();
    let text = "Wherefore art thou? ".repeat(4000);
    // The length of the body takes four digits more than that of none.
    let text = &text[..65_535 - empty - 4];
    let longest = over_tcp(1, "romeo@xmpp.example", text);
    assert_eq!(longest.len(), 65_535);
    let stream = world.sip_connects(from(40_000));
    for part in longest.as_bytes().chunks(1460) {
        world.sip_writes(stream, part);
    }
    assert_eq!(bodies(&world.return_pings()), [text]);
    assert_eq!(world.sip_reads(stream).as_deref().and_then(status), Some(202));
    world.sip_writes(stream, over_tcp(2, "romeo@xmpp.example", &format!("{text}.")));
    assert_eq!(world.sip_reads(stream).as_deref().and_then(status), Some(513));
    assert!(world.is_closed_by_gateway(stream));
    world.assert_quiet();
}

#[test]
fn silence_and_half_messages_end_a_connection() {
    let mut world = World::new();
    let silent = world.sip_connects(from(40_000));
    let half = world.sip_connects(from(40_001));
    world.sip_writes(half, "MESSAGE sip:romeo@xmpp.example SIP/2.0\r\n");
    world.advance(PATIENCE - Duration::from_secs(1));
    assert!(!world.is_closed_by_gateway(half));
    // A byte now and then does not help.
    world.sip_writes(half, "V");
    world.advance(Duration::from_secs(1));
    assert!(world.is_closed_by_gateway(half) && !world.is_closed_by_gateway(silent));
    world.advance(IDLE - PATIENCE);
    assert!(world.is_closed_by_gateway(silent));
    world.assert_quiet();
}

#[test]
fn connections_beyond_the_limit_replace_idle_ones_only() {
    let mut world = World::with(|settings| settings.sip.connections = 2);
    let (first, second) = (world.sip_connects(from(1)), world.sip_connects(from(2)));
    world.advance(Duration::from_secs(1));
    world.sip_writes(first, "\r\n\r\n");
    let third = world.sip_connects(from(3));
    assert!(world.is_closed_by_gateway(third), "the others may still be needed");
    world.advance(BUSY);
    let fourth = world.sip_connects(from(4));
    assert!(world.is_closed_by_gateway(second), "the one that was idle for longest");
    assert!(!world.is_closed_by_gateway(first) && !world.is_closed_by_gateway(fourth));
    world.sip_writes(fourth, over_tcp(1, "romeo@xmpp.example", "hello"));
    assert_eq!(bodies(&world.return_pings()), ["hello"]);
}

/// Whoever is not trusted could otherwise keep out all others, with half a message or a keep-alive on each connection.
#[test]
fn connections_of_strangers_give_way_to_those_of_the_trusted() {
    let stranger = |port: u16| SocketAddr::from(([203, 0, 113, 7], port));
    let mut world = World::with(|settings| settings.sip.connections = 3);
    let known = world.sip_connects(from(1));
    let strangers = [1, 2].map(|port| world.sip_connects(stranger(port)));
    for stream in strangers {
        world.sip_writes(stream, "MESSAGE sip:");
    }
    let turned_away = world.sip_connects(stranger(3));
    assert!(world.is_closed_by_gateway(turned_away), "strangers keep each other out");
    let second = world.sip_connects(from(2));
    assert!(world.is_closed_by_gateway(strangers[0]) && !world.is_closed_by_gateway(strangers[1]));
    let third = world.sip_connects(from(3));
    assert!(world.is_closed_by_gateway(strangers[1]));
    let fourth = world.sip_connects(from(4));
    assert!(world.is_closed_by_gateway(fourth), "none of a stranger is left");
    for (n, stream) in [known, second, third].into_iter().enumerate() {
        world.sip_writes(stream, over_tcp(n as u32, "romeo@xmpp.example", "hello"));
        assert_eq!(bodies(&world.return_pings()), ["hello"]);
    }
}

#[test]
fn a_next_hop_that_refuses_connections_is_told_to_the_sender_at_once() {
    let mut world = tcp_world();
    for n in 1..=3 {
        world.server_writes(stanza(n, "juliet", "hello"));
    }
    world.sip_refuses_connection();
    let errors = world.take_stanzas();
    assert_eq!(errors.len(), 3, "{errors:?}");
    for (n, error) in (1..).zip(&errors) {
        assert_eq!(attribute(error, "id"), Some(&*format!("m{n}")), "in their order");
        assert!(error.contains("<remote-server-timeout"), "{error}");
    }
    assert_eq!(world.engine.counters().sip.transport_failed, 1);
    // The next one tries again.
    world.server_writes(stanza(4, "juliet", "hello"));
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    world.sip_writes(stream, response(&request, "200 OK", ""));
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
    world.assert_quiet();
}

#[test]
fn a_next_hop_that_never_takes_the_connection_is_told_too() {
    let mut world = tcp_world();
    world.server_writes(stanza(1, "juliet", "hello"));
    world.advance(PATIENCE);
    let error = world.take_stanza().unwrap();
    assert!(error.contains("<remote-server-timeout"), "{error}");
    world.assert_quiet();
}

/// RFC 3261 17.1.4, 18.4, 8.1.3.1.
#[test]
fn a_connection_that_is_lost_ends_what_is_open_on_it() {
    let mut world = tcp_world();
    world.server_writes(stanza(1, "juliet", "first"));
    world.server_writes(stanza(2, "juliet", "second"));
    world.server_writes(stanza(3, "nurse", "third"));
    let stream = world.sip_takes_connection();
    world.sip_closes(stream);
    let mut failed: Vec<_> =
        world.take_stanzas().iter().map(|error| attribute(error, "id").unwrap().to_owned()).collect();
    failed.sort();
    assert_eq!(failed, ["m1", "m3"]);
    // What had not been sent goes over a new connection.
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    assert!(request.ends_with("\r\n\r\nsecond"), "{request}");
    world.sip_writes(stream, response(&request, "200 OK", ""));
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
    world.assert_quiet();
}

#[test]
fn a_next_hop_that_does_not_answer_is_told_after_timer_f() {
    let mut world = tcp_world();
    world.server_writes(stanza(1, "juliet", "hello"));
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    world.advance(Duration::from_millis(31_900));
    assert_eq!(world.sip_reads(stream), None, "nothing is repeated on a stream (17.1.2.2)");
    assert_eq!(world.take_stanza(), None);
    world.advance(Duration::from_millis(200));
    let error = world.take_stanza().unwrap();
    assert!(error.contains("<remote-server-timeout"), "{error}");
    world.sip_writes(stream, response(&request, "200 OK", ""));
    world.assert_quiet();
}

/// A next hop that was restarted, or a firewall that has forgotten the connection, tells nobody.
#[test]
fn a_connection_that_a_request_had_no_answer_over_is_not_used_again() {
    let mut world = tcp_world();
    world.server_writes(stanza(1, "juliet", "lost"));
    let dead = world.sip_takes_connection();
    world.sip_reads(dead).unwrap();
    world.advance(Duration::from_secs(10));
    world.server_writes(stanza(2, "nurse", "later"));
    let later = world.sip_reads(dead).unwrap();
    world.advance(Duration::from_millis(22_100));
    assert!(world.take_stanza().unwrap().contains("<remote-server-timeout"));
    world.server_writes(stanza(3, "juliet", "again"));
    assert_eq!(world.sip.connects, 2);
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    assert!(request.ends_with("again"), "{request}");
    world.sip_writes(stream, response(&request, "200 OK", ""));
    // What is open on the old one may still be answered there.
    world.sip_writes(dead, response(&later, "200 OK", ""));
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
    world.advance(IDLE);
    assert!(world.is_closed_by_gateway(dead) && world.is_closed_by_gateway(stream));
    world.assert_quiet();
}

/// Who answers others is there: only the user of this request is silent.
#[test]
fn a_connection_over_which_others_are_answered_is_used_on() {
    let mut world = tcp_world();
    world.server_writes(stanza(1, "juliet", "lost"));
    let stream = world.sip_takes_connection();
    world.sip_reads(stream).unwrap();
    world.advance(Duration::from_secs(10));
    world.server_writes(stanza(2, "nurse", "hello"));
    let request = world.sip_reads(stream).unwrap();
    world.sip_writes(stream, response(&request, "200 OK", ""));
    world.advance(Duration::from_millis(22_100));
    assert!(world.take_stanza().unwrap().contains("<remote-server-timeout"));
    world.server_writes(stanza(3, "juliet", "again"));
    let request = world.sip_reads(stream).unwrap();
    assert!(request.ends_with("again") && world.sip.connects == 1, "{request}");
    world.sip_writes(stream, response(&request, "200 OK", ""));
    world.assert_quiet();
}

#[test]
fn an_unused_connection_to_the_next_hop_is_closed_and_made_again() {
    let mut world = tcp_world();
    world.server_writes(stanza(1, "juliet", "hello"));
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    world.sip_writes(stream, response(&request, "200 OK", ""));
    world.advance(IDLE);
    assert!(world.is_closed_by_gateway(stream));
    world.server_writes(stanza(2, "juliet", "hello"));
    assert_eq!(world.sip.connects, 2);
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    world.sip_writes(stream, response(&request, "200 OK", ""));
    world.assert_quiet();
}

/// RFC 3261 18.1.1: larger than 1300 bytes.
#[test]
fn a_large_request_to_a_udp_next_hop_goes_over_tcp() {
    let mut world = mixed_world();
    world.server_writes(stanza(1, "juliet", "small"));
    let small = world.take_datagram().unwrap();
    world.proxy_sends(response(&small, "200 OK", ""));
    let room = 1300 - (small.len() - "small".len()) - "999".len() + "5".len();
    world.server_writes(stanza(2, "juliet", &"x".repeat(room)));
    let largest = world.take_datagram().unwrap();
    assert_eq!(largest.len(), 1300);
    world.proxy_sends(response(&largest, "200 OK", ""));
    assert_eq!(world.sip_ordered(), None);

    world.server_writes(stanza(3, "juliet", &"x".repeat(room + 1)));
    assert_eq!(world.take_datagram(), None);
    assert_eq!(world.sip_ordered(), Some(proxy()), "the same address");
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    assert_eq!(request.len(), 1301);
    assert!(request.contains("Via: SIP/2.0/TCP 192.0.2.1:5060;"), "{request}");
    world.sip_writes(stream, response(&request, "200 OK", ""));
    // Small ones still go as datagrams, large ones over the open connection.
    world.server_writes(stanza(4, "juliet", "small"));
    let small = world.take_datagram().unwrap();
    world.proxy_sends(response(&small, "200 OK", ""));
    world.server_writes(stanza(5, "juliet", &"y".repeat(30_000)));
    let request = world.sip_reads(stream).unwrap();
    world.sip_writes(stream, response(&request, "200 OK", ""));
    assert_eq!(world.sip.connects, 1);
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
    world.assert_quiet();
}

/// RFC 3261 18.1.1: "the element SHOULD retry the request, using UDP".
#[test]
fn a_large_request_goes_back_to_udp_where_tcp_is_refused() {
    let mut world = mixed_world();
    let large = "x".repeat(5000);
    world.server_writes(stanza(1, "juliet", &large));
    world.server_writes(stanza(2, "juliet", "behind"));
    world.sip_refuses_connection();
    let request = world.take_datagram().unwrap();
    assert!(request.contains("Via: SIP/2.0/UDP ") && request.ends_with(&large), "{request}");
    world.proxy_sends(response(&request, "200 OK", ""));
    let request = world.take_datagram().unwrap();
    assert!(request.ends_with("behind"), "{request}");
    world.proxy_sends(response(&request, "200 OK", ""));
    // The refusal is remembered for a while.
    world.server_writes(stanza(3, "juliet", &large));
    let request = world.take_datagram().unwrap();
    world.proxy_sends(response(&request, "200 OK", ""));
    assert_eq!(world.sip.connects, 1);
    world.advance(Duration::from_secs(60));
    world.server_writes(stanza(4, "juliet", &large));
    assert_eq!(world.sip.connects, 2);
    world.sip_refuses_connection();
    let request = world.take_datagram().unwrap();
    // Nobody answers: it is repeated like any other, and fails once.
    world.advance(Duration::from_secs(33));
    assert_eq!(world.datagrams.len(), 10);
    assert!(world.datagrams.drain(..).all(|(_, bytes)| bytes == request.as_bytes()));
    let errors = world.take_stanzas();
    assert_eq!(errors.len(), 1, "{errors:?}");
    world.assert_quiet();
}

#[test]
fn a_large_request_whose_connection_is_lost_is_not_sent_twice() {
    let mut world = mixed_world();
    world.server_writes(stanza(1, "juliet", &"x".repeat(5000)));
    let stream = world.sip_takes_connection();
    assert!(world.sip_reads(stream).is_some());
    world.sip_closes(stream);
    assert_eq!(world.take_datagram(), None);
    let error = world.take_stanza().unwrap();
    assert!(error.contains("<remote-server-timeout"), "{error}");
    world.assert_quiet();
}

#[test]
fn what_does_not_even_fit_into_a_datagram_fails_where_tcp_is_refused() {
    let mut world = World::with(|settings| {
        settings.sip.large_requests = LargeRequests::TcpThenUdp;
        settings.sip.endpoint.limits.message = 100_000;
    });
    world.server_writes(stanza(1, "juliet", &"x".repeat(66_000)));
    world.server_writes(stanza(2, "juliet", "behind"));
    world.sip_refuses_connection();
    let error = world.take_stanza().unwrap();
    assert!(attribute(&error, "id") == Some("m1") && error.contains("<policy-violation"), "{error}");
    let request = world.take_datagram().unwrap();
    assert!(request.ends_with("behind"));
    world.proxy_sends(response(&request, "200 OK", ""));
    world.assert_quiet();
}

#[test]
fn large_requests_go_where_the_operator_says() {
    let mut world = World::with(|settings| settings.sip.large_requests = LargeRequests::Udp);
    world.server_writes(stanza(1, "juliet", &"x".repeat(5000)));
    let request = world.take_datagram().unwrap();
    world.proxy_sends(response(&request, "200 OK", ""));
    assert_eq!(world.sip.connects, 0);
    world.assert_quiet();

    let mut world = World::with(|settings| settings.sip.large_requests = LargeRequests::Tcp);
    world.server_writes(stanza(1, "juliet", &"x".repeat(5000)));
    world.sip_refuses_connection();
    assert_eq!(world.take_datagram(), None);
    let error = world.take_stanza().unwrap();
    assert!(error.contains("<remote-server-timeout"), "{error}");
    world.assert_quiet();
}

/// Nothing else has to happen for it: the end of the window is enough.
#[test]
fn an_answer_at_the_end_of_the_window_goes_over_a_new_connection_at_once() {
    let mut world = World::new();
    let stream = world.sip_connects(from(40_000));
    world.sip_writes(stream, over_tcp(1, "romeo@xmpp.example", "hello"));
    world.sip_closes(stream);
    world.advance(Duration::from_millis(2100));
    assert_eq!(world.sip_ordered(), Some(proxy()));
    let stream = world.sip_takes_connection();
    let answer = world.sip_reads(stream).unwrap();
    assert!(answer.starts_with("SIP/2.0 504") && answer.contains("branch=z9hG4bK-1"), "{answer}");
}

/// RFC 3261 18.2.2: a new connection to where the request came from, at the port of its sent-by.
#[test]
fn an_answer_whose_connection_is_gone_goes_over_a_new_one() {
    let mut world = World::new();
    let stream = world.sip_connects(from(40_000));
    world.sip_writes(stream, over_tcp(1, "romeo@xmpp.example", "hello"));
    world.sip_closes(stream);
    assert_eq!(bodies(&world.return_pings()), ["hello"]);
    assert_eq!(world.sip_ordered(), Some(proxy()));
    let stream = world.sip_takes_connection();
    let answer = world.sip_reads(stream).unwrap();
    assert!(answer.starts_with("SIP/2.0 202") && answer.contains("branch=z9hG4bK-1"), "{answer}");
    assert_eq!(world.engine.counters().sip.answers_elsewhere, 1);
    world.assert_quiet();
}

/// RFC 3261 18.1.1: responses may come over a new connection to our sent-by.
#[test]
fn a_response_may_come_over_another_connection() {
    let mut world = tcp_world();
    world.server_writes(stanza(1, "juliet", "hello"));
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    let other = world.sip_connects(from(40_000));
    world.sip_writes(other, response(&request, "404 Not Found", ""));
    let error = world.take_stanza().unwrap();
    assert!(error.contains("<item-not-found"), "{error}");
    world.assert_quiet();
}

#[test]
fn strangers_are_refused_over_tcp_as_over_udp() {
    let mut world = World::new();
    let stream = world.sip_connects(([198, 51, 100, 7], 40_000).into());
    world.sip_writes(stream, over_tcp(1, "romeo@xmpp.example", "hello"));
    let answer = world.sip_reads(stream).unwrap();
    assert_eq!(status(&answer), Some(403), "{answer}");
    assert_eq!(world.take_stanza(), None);
    world.assert_quiet();
}

#[test]
fn too_much_that_waits_for_a_connection_is_refused() {
    let mut world = World::with(|settings| {
        settings.sip.routes = vec![route(&[Transport::Tcp])];
        settings.sip.endpoint.max_unsent = 10_000;
    });
    for n in 1..=10 {
        world.server_writes(stanza(n, &format!("juliet{n}"), &"x".repeat(3000)));
    }
    let refused = world.take_stanzas();
    assert_eq!(refused.len(), 7, "{refused:?}");
    assert!(refused.iter().all(|error| error.contains("<resource-constraint")), "{refused:?}");
    let stream = world.sip_takes_connection();
    for n in 1..=3 {
        let request = world.sip_reads(stream).unwrap();
        assert!(request.starts_with(&format!("MESSAGE sip:juliet{n}@")), "{request}");
        world.sip_writes(stream, response(&request, "200 OK", ""));
    }
    assert_eq!(world.sip_reads(stream), None);
    world.assert_quiet();
}

#[test]
fn a_drained_gateway_closes_its_connections() {
    let mut world = tcp_world();
    let accepted = world.sip_connects(from(40_000));
    world.server_writes(stanza(1, "juliet", "hello"));
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    world.engine.drain();
    world.turn();
    assert!(!world.is_closed_by_gateway(stream), "its answer is waited for");
    world.sip_writes(accepted, over_tcp(1, "romeo@xmpp.example", "hello"));
    assert_eq!(world.sip_reads(accepted).as_deref().and_then(status), Some(503));
    world.sip_writes(stream, response(&request, "200 OK", ""));
    assert!(world.is_closed_by_gateway(stream) && world.is_closed_by_gateway(accepted));
    world.carry_out_close();
    assert!(world.engine.is_drained());
}

/// Bytes of a stream that is gone, or that nobody knows, change nothing.
#[test]
fn a_closed_connection_is_forgotten() {
    let mut world = World::new();
    let stream = world.sip_connects(from(40_000));
    world.sip_closes(stream);
    let text = over_tcp(1, "romeo@xmpp.example", "hello");
    let consumed = world.input(Input::Received { stream, data: text.as_bytes() });
    assert_eq!(consumed, text.len());
    assert_eq!(world.take_stanza(), None);
    world.assert_quiet();
}

#[test]
fn a_text_longer_than_messages_may_be_never_reaches_the_connection() {
    let mut world = World::with(|settings| settings.sip.large_requests = LargeRequests::TcpThenUdp);
    world.server_writes(format!(
        "<message from='romeo@xmpp.example/x' to='juliet@sip.example' id='long'><body>{}</body></message>",
        "long ".repeat(14_000)
    ));
    let error = world.take_stanza().expect("an error");
    assert!(error.contains("id='long'") && error.contains("<policy-violation"), "{error}");
    assert_eq!(world.take_datagram(), None);
}
