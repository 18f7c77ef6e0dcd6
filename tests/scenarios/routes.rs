//! Several next hops: RFC 3263 section 4.3 and RFC 3261 section 21.5.4.

use entente_tests::world::{World, attribute, proxy, response};
use sip::transaction::{Flow, Transport};
use sip_connector::{FAILURE_KEPT, LONGEST_HOLD_OFF, LONGEST_JOURNEY, Route};
use std::net::SocketAddr;
use std::time::Duration;
use turn::{Input, SocketId};

/// The first proxy stands at the usual place, the others behind it.
fn hop(n: u8) -> SocketAddr {
    ([192, 0, 2, 8 + n], 5060).into()
}

fn flow(transport: Transport, n: u8) -> Flow {
    Flow { transport, socket: SocketId(0), peer: hop(n), stream: None }
}

fn world_of(hops: &[(Transport, u8)]) -> World {
    let next_hops = hops.iter().map(|&(transport, n)| flow(transport, n)).collect();
    let route = Route { next_hops, congestion_safe: true, ..Route::to(flow(Transport::Udp, 1)) };
    World::with(|settings| settings.sip.routes = vec![route])
}

/// Two proxies over UDP.
fn two() -> World {
    assert_eq!(hop(1), proxy());
    world_of(&[(Transport::Udp, 1), (Transport::Udp, 2)])
}

fn stanza(n: u32, to: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example/orchard' to='{to}@sip.example' id='m{n}'><body>text {n}</body></message>"
    )
}

/// The next request that left, and where it went.
fn take(world: &mut World) -> (SocketAddr, String) {
    let (peer, bytes) = world.datagrams.pop_front().expect("a request");
    (peer, String::from_utf8(bytes).expect("UTF-8"))
}

fn answer(world: &mut World, peer: SocketAddr, request: &str, status_line: &str, more: &str) {
    world.sends_from(peer, response(request, status_line, more));
}

/// A message goes to this proxy, is taken there, and the sender hears nothing.
fn goes_to(world: &mut World, n: u32, to: &str, expected: SocketAddr) {
    world.server_writes(stanza(n, to));
    let (peer, request) = take(world);
    assert_eq!(peer, expected, "{request}");
    answer(world, peer, &request, "200 OK", "");
    assert!(world.datagrams.is_empty());
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
}

fn error(world: &mut World, id: &str) -> String {
    let error = world.take_stanza().expect("an error");
    assert_eq!(attribute(&error, "id"), Some(id), "{error}");
    error
}

/// A request without what a new transaction has for itself.
fn without_branch(request: &str) -> String {
    let start = request.find(";branch=").expect("a branch");
    let end = start + request[start..].find("\r\n").expect("a line");
    format!("{}{}", &request[..start], &request[end..])
}

/// RFC 3263 4.3: "identical to the previous, but has a different value of the Via branch ID".
#[test]
fn what_one_proxy_does_not_take_goes_to_the_next_unchanged() {
    for status_line in ["503 Service Unavailable", ""] {
        let mut world = two();
        world.server_writes(stanza(1, "juliet"));
        let (peer, first) = take(&mut world);
        assert_eq!(peer, hop(1));
        if status_line.is_empty() {
            world.input(Input::Unreachable { socket: SocketId(0), peer });
        } else {
            answer(&mut world, peer, &first, status_line, "");
        }
        let (peer, second) = take(&mut world);
        assert_eq!(peer, hop(2));
        assert_ne!(first, second, "another branch");
        assert_eq!(without_branch(&first), without_branch(&second));
        answer(&mut world, peer, &second, "200 OK", "");
        let counters = world.engine.counters().sip_routes;
        let moved = (counters.moved_unavailable, counters.moved_unreachable);
        assert_eq!(moved, if status_line.is_empty() { (0, 1) } else { (1, 0) });
        world.assert_quiet();
    }
}

/// RFC 3263 4.1: retransmissions go to the same server. 4.3: Timer F without any response moves on.
#[test]
fn silence_moves_on_after_timer_f_with_all_that_waits() {
    let mut world = two();
    for n in 1..=3 {
        world.server_writes(stanza(n, "juliet"));
    }
    world.advance(Duration::from_millis(31_900));
    assert_eq!(world.datagrams.len(), 11);
    assert!(world.datagrams.drain(..).all(|(peer, _)| peer == hop(1)));
    world.advance(Duration::from_millis(200));
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
    for n in 1..=3 {
        let (peer, request) = take(&mut world);
        assert!(peer == hop(2) && request.ends_with(&format!("text {n}")), "one at a time, in order: {request}");
        assert!(world.datagrams.is_empty());
        answer(&mut world, peer, &request, "200 OK", "");
    }
    let counters = world.engine.counters().sip_routes;
    assert_eq!(counters.moved_silent, 1, "only the first had to find out");
    assert_eq!(world.engine.counters().failing_next_hops, 1);
    world.assert_quiet();
}

#[test]
fn when_no_proxy_is_left_all_that_waits_fails_together() {
    let mut world = two();
    for n in 1..=3 {
        world.server_writes(stanza(n, "juliet"));
    }
    world.advance(Duration::from_secs(65));
    world.datagrams.clear();
    for id in ["m1", "m2", "m3"] {
        assert!(error(&mut world, id).contains("<remote-server-timeout"));
    }
    world.assert_quiet();
}

/// RFC 3263 4.3: failure is silence "without ever having received any response, provisional or final".
#[test]
fn a_proxy_that_has_said_a_word_is_waited_for() {
    let mut world = two();
    world.server_writes(stanza(1, "juliet"));
    let (peer, request) = take(&mut world);
    answer(&mut world, peer, &request, "100 Trying", "");
    world.advance(Duration::from_secs(33));
    assert!(world.datagrams.drain(..).all(|(peer, _)| peer == hop(1)));
    assert!(error(&mut world, "m1").contains("<remote-server-timeout"));
    assert_eq!(world.engine.counters().failing_next_hops, 0);
    world.assert_quiet();
}

#[test]
fn any_other_answer_ends_the_search() {
    for (status_line, condition) in [
        ("404 Not Found", "<item-not-found"),
        ("500 Server Internal Error", "<internal-server-error"),
        ("504 Server Time-out", "<remote-server-timeout"),
        ("480 Temporarily Unavailable", "<recipient-unavailable"),
        ("600 Busy Everywhere", "<recipient-unavailable"),
    ] {
        let mut world = two();
        world.server_writes(stanza(1, "juliet"));
        let (peer, request) = take(&mut world);
        answer(&mut world, peer, &request, status_line, "");
        assert!(error(&mut world, "m1").contains(condition), "{status_line}");
        world.assert_quiet();
    }
}

#[test]
fn a_proxy_that_failed_comes_last_until_one_message_has_found_it_well() {
    let mut world = two();
    world.server_writes(stanza(1, "juliet"));
    world.input(Input::Unreachable { socket: SocketId(0), peer: hop(1) });
    world.datagrams.pop_front();
    let (peer, request) = take(&mut world);
    answer(&mut world, peer, &request, "200 OK", "");
    goes_to(&mut world, 2, "nurse", hop(2));
    world.advance(FAILURE_KEPT);
    // One finds out; the others do not wait for it.
    world.server_writes(stanza(3, "juliet"));
    let (peer, request) = take(&mut world);
    assert_eq!(peer, hop(1));
    goes_to(&mut world, 4, "nurse", hop(2));
    answer(&mut world, peer, &request, "200 OK", "");
    goes_to(&mut world, 5, "nurse", hop(1));
    // When the other one fails too, the first is still asked.
    let mut world = two();
    for (n, dead) in [(1, hop(1)), (2, hop(2))] {
        world.server_writes(stanza(n, "juliet"));
        let before = world.datagrams.pop_front().unwrap().0;
        assert_eq!(before, dead);
        world.input(Input::Unreachable { socket: SocketId(0), peer: dead });
        let (peer, request) = take(&mut world);
        assert_ne!(peer, dead);
        answer(&mut world, peer, &request, "200 OK", "");
    }
    world.assert_quiet();
}

/// RFC 3261 21.5.4: "SHOULD NOT forward any other requests to that server for the duration specified".
#[test]
fn a_proxy_that_names_a_time_is_left_alone_for_it() {
    let mut world = two();
    for (n, to) in [(1, "juliet"), (2, "nurse")] {
        world.server_writes(stanza(n, to));
        let (peer, request) = take(&mut world);
        assert_eq!(peer, hop(1));
        answer(&mut world, peer, &request, "503 Service Unavailable", "Retry-After: 90 (maintenance);duration=60\r\n");
        let (peer, request) = take(&mut world);
        assert_eq!(peer, hop(2));
        answer(&mut world, peer, &request, "200 OK", "");
    }
    world.advance(Duration::from_secs(89));
    for (n, to) in [(3, "paris"), (4, "capulet")] {
        world.server_writes(stanza(n, to));
        let (peer, request) = take(&mut world);
        assert_eq!(peer, hop(2));
        // Not even when there is nobody else.
        answer(&mut world, peer, &request, "503 Service Unavailable", "Retry-After: 3\r\n");
        assert!(world.datagrams.is_empty());
        let told = error(&mut world, &format!("m{n}"));
        assert!(told.contains("type='wait'") && told.contains("<internal-server-error"), "{told}");
    }
    world.server_writes(stanza(5, "friar"));
    assert!(error(&mut world, "m5").contains("type='wait'"));
    assert_eq!(world.engine.counters().sip_routes.held_off, 1);
    assert_eq!(world.engine.counters().failing_next_hops, 2);
    world.advance(Duration::from_secs(1));
    goes_to(&mut world, 6, "juliet", hop(1));
    world.assert_quiet();
}

/// RFC 3261 16.7: a proxy that is not itself out of service should hand on a 503 as a 500. Some hand it on as it is.
#[test]
fn what_one_phone_says_of_itself_keeps_from_that_phone_alone() {
    let mut world = world_of(&[(Transport::Udp, 1)]);
    world.server_writes(stanza(1, "juliet"));
    let (peer, request) = take(&mut world);
    answer(&mut world, peer, &request, "503 Service Unavailable", "Retry-After: 90\r\n");
    assert!(error(&mut world, "m1").contains("type='wait'"));
    assert_eq!(world.engine.counters().failing_next_hops, 0);
    goes_to(&mut world, 2, "nurse", hop(1));
    world.server_writes(stanza(3, "juliet"));
    assert!(error(&mut world, "m3").contains("type='wait'"), "she has named a time");
    assert!(world.datagrams.is_empty());
    world.advance(Duration::from_secs(89));
    goes_to(&mut world, 4, "nurse", hop(1));
    world.advance(Duration::from_secs(1));
    goes_to(&mut world, 5, "juliet", hop(1));
    world.assert_quiet();
}

#[test]
fn two_phones_stop_nobody_else_while_others_are_served() {
    let mut world = world_of(&[(Transport::Udp, 1)]);
    let refuse = |world: &mut World, n, to| {
        world.server_writes(stanza(n, to));
        let (peer, request) = take(world);
        answer(world, peer, &request, "503 Service Unavailable", "Retry-After: 90\r\n");
        assert!(error(world, &format!("m{n}")).contains("type='wait'"));
    };
    refuse(&mut world, 1, "juliet");
    goes_to(&mut world, 2, "nurse", hop(1));
    refuse(&mut world, 3, "paris");
    goes_to(&mut world, 4, "nurse", hop(1));
    // The first one is asked again, and says it again.
    refuse(&mut world, 5, "juliet");
    // Nobody was served since: now it is the proxy.
    refuse(&mut world, 6, "paris");
    world.server_writes(stanza(7, "nurse"));
    assert!(error(&mut world, "m7").contains("type='wait'"));
    world.advance(Duration::from_secs(90));
    goes_to(&mut world, 8, "nurse", hop(1));
    world.assert_quiet();
}

/// One that has said it in another hour confirms nothing.
#[test]
fn two_phones_at_different_times_are_two_phones() {
    let mut world = world_of(&[(Transport::Udp, 1)]);
    for (n, to) in [(1, "juliet"), (2, "paris")] {
        world.server_writes(stanza(n, to));
        let (peer, request) = take(&mut world);
        answer(&mut world, peer, &request, "503 Service Unavailable", "Retry-After: 90\r\n");
        assert!(error(&mut world, &format!("m{n}")).contains("type='wait'"));
        world.advance(Duration::from_secs(90));
    }
    goes_to(&mut world, 3, "nurse", hop(1));
    world.assert_quiet();
}

#[test]
fn a_proxy_can_not_hold_us_off_for_ever() {
    let mut world = world_of(&[(Transport::Udp, 1)]);
    world.server_writes(stanza(1, "juliet"));
    world.server_writes(stanza(2, "juliet"));
    let (peer, request) = take(&mut world);
    answer(&mut world, peer, &request, "503 Service Unavailable", "Retry-After: 4000000000\r\n");
    for id in ["m1", "m2"] {
        assert!(error(&mut world, id).contains("type='wait'"));
    }
    world.advance(LONGEST_HOLD_OFF);
    goes_to(&mut world, 3, "juliet", hop(1));
    world.assert_quiet();
}

/// RFC 3261 21.5.4: "If no Retry-After is given, the client MUST act as if it had received a 500".
#[test]
fn a_503_that_names_no_time_is_a_500() {
    let mut world = world_of(&[(Transport::Udp, 1)]);
    world.server_writes(stanza(1, "juliet"));
    let (peer, request) = take(&mut world);
    answer(&mut world, peer, &request, "503 Service Unavailable", "");
    let told = error(&mut world, "m1");
    assert!(told.contains("type='cancel'") && told.contains("<internal-server-error"), "{told}");
    goes_to(&mut world, 2, "juliet", hop(1));
    world.assert_quiet();
}

/// RFC 3428 section 8: where both are offered, TCP first; RFC 3263 4.3: a refused connection moves on.
#[test]
fn tcp_comes_before_udp_where_it_is_written_first() {
    let mut world = world_of(&[(Transport::Tcp, 1), (Transport::Udp, 1), (Transport::Tcp, 2)]);
    world.server_writes(stanza(1, "juliet"));
    assert!(world.datagrams.is_empty());
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    world.sip_writes(stream, response(&request, "200 OK", ""));
    world.sip_closes(stream);
    world.server_writes(stanza(2, "juliet"));
    world.sip_refuses_connection();
    let (peer, request) = take(&mut world);
    assert!(peer == hop(1) && request.contains("Via: SIP/2.0/UDP "), "{request}");
    world.input(Input::Unreachable { socket: SocketId(0), peer });
    assert_eq!(world.sip_ordered(), Some(hop(2)));
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    assert!(request.ends_with("text 2"), "{request}");
    world.sip_writes(stream, response(&request, "200 OK", ""));
    world.assert_quiet();
}

/// A connection that stood is lost with requests on it: they go to the next proxy, and the first is not thought dead.
#[test]
fn a_lost_connection_moves_its_requests_on() {
    let mut world = world_of(&[(Transport::Tcp, 1), (Transport::Udp, 2)]);
    world.server_writes(stanza(1, "juliet"));
    let stream = world.sip_takes_connection();
    world.sip_closes(stream);
    let (peer, request) = take(&mut world);
    assert_eq!(peer, hop(2));
    answer(&mut world, peer, &request, "200 OK", "");
    world.server_writes(stanza(2, "juliet"));
    assert_eq!(world.sip_ordered(), Some(hop(1)));
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    world.sip_writes(stream, response(&request, "200 OK", ""));
    world.assert_quiet();
}

/// A message is told to have failed while its sender still waits for it, however many proxies there are.
#[test]
fn no_message_wanders_for_ever() {
    let hops: Vec<_> = (1..=8).map(|n| (Transport::Udp, n)).collect();
    let mut world = world_of(&hops);
    world.server_writes(stanza(1, "juliet"));
    world.advance(LONGEST_JOURNEY + Duration::from_secs(32));
    let asked: std::collections::BTreeSet<_> = world.datagrams.drain(..).map(|(peer, _)| peer).collect();
    assert_eq!(asked, (1..=4).map(hop).collect(), "at 0, 32, 64 and 96 s");
    assert!(error(&mut world, "m1").contains("<remote-server-timeout"));
    // The next one begins where nobody is known to be silent.
    world.server_writes(stanza(2, "juliet"));
    let (peer, request) = take(&mut world);
    assert_eq!(peer, hop(5));
    answer(&mut world, peer, &request, "200 OK", "");
    world.assert_quiet();
}

#[test]
fn a_gateway_that_ends_does_not_begin_to_wait_again() {
    let mut world = two();
    world.server_writes(stanza(1, "juliet"));
    world.server_writes(stanza(2, "nurse"));
    world.engine.drain();
    let (_, request) = take(&mut world);
    answer(&mut world, hop(1), &request, "503 Service Unavailable", "");
    let (_, silent) = take(&mut world);
    let (peer, request) = take(&mut world);
    assert_eq!(peer, hop(2), "what is known at once still moves on: {silent}");
    answer(&mut world, peer, &request, "200 OK", "");
    world.advance(Duration::from_secs(33));
    assert!(world.datagrams.drain(..).all(|(peer, _)| peer == hop(1)));
    assert!(error(&mut world, "m2").contains("<remote-server-timeout"));
    assert_eq!(world.take_stanza().as_deref(), Some("</stream:stream>"));
}

/// RFC 3261 21.5.4 also where a challenge would have its answer sent to that proxy.
#[test]
fn credentials_do_not_go_where_nothing_may_go() {
    let next_hops = vec![flow(Transport::Udp, 1), flow(Transport::Udp, 2)];
    let mut world = World::with(|settings| {
        settings.sip.routes = vec![Route { next_hops, ..Route::to(flow(Transport::Udp, 1)) }];
        settings.sip.accounts = vec![sip_connector::Account {
            realm: b"sip.example".to_vec(),
            domains: Vec::new(),
            username: b"gateway".to_vec(),
            password: b"queen mab".to_vec(),
        }];
    });
    world.server_writes(stanza(1, "juliet"));
    world.server_writes(stanza(2, "nurse"));
    world.server_writes(stanza(3, "paris"));
    let (_, first) = take(&mut world);
    let others = [take(&mut world), take(&mut world)];
    for (peer, request) in others {
        answer(&mut world, peer, &request, "503 Service Unavailable", "Retry-After: 60\r\n");
        let (peer, request) = take(&mut world);
        assert_eq!(peer, hop(2));
        answer(&mut world, peer, &request, "200 OK", "");
    }
    let challenge =
        "Proxy-Authenticate: Digest realm=\"sip.example\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"\r\n";
    answer(&mut world, hop(1), &first, "407 Proxy Authentication Required", challenge);
    let (peer, again) = take(&mut world);
    assert_eq!(peer, hop(2), "{again}");
    assert!(again.ends_with("text 1") && again.contains("\r\nCSeq: 2 MESSAGE\r\n"), "{again}");
    answer(&mut world, peer, &again, "200 OK", "");
    world.assert_quiet();
}

/// Whoever is known to be silent costs 32 s, of all others one learns at once.
#[test]
fn the_silent_ones_come_last_of_all() {
    let mut world = two();
    world.server_writes(stanza(1, "juliet"));
    world.advance(Duration::from_millis(32_100));
    world.datagrams.retain(|(peer, _)| *peer == hop(2));
    let (peer, request) = take(&mut world);
    answer(&mut world, peer, &request, "200 OK", "");
    // The second one is restarted.
    world.server_writes(stanza(2, "juliet"));
    world.input(Input::Unreachable { socket: SocketId(0), peer: hop(2) });
    let peers: Vec<_> = world.datagrams.drain(..).map(|(peer, _)| peer).collect();
    assert_eq!(peers, [hop(2), hop(1)]);
    goes_to(&mut world, 3, "nurse", hop(2));
}
