//! Requests that are large for their way: RFC 3428 section 8, RFC 7572 section 6, RFC 3261 section 18.1.1.

use entente_tests::world::{World, attribute, message, proxy, response, route, status};
use sip::transaction::Transport;
use sip_connector::{LargeRequests, Route};

fn stanza(n: u32, body: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m{n}'><body>{body}</body></message>"
    )
}

/// The octets of a text that makes the whole request so long.
fn room(world: &mut World, whole: usize) -> usize {
    world.server_writes(stanza(1, "1234"));
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(response(&request, "200 OK", ""));
    // Content-Length grows with the text.
    let digits = |n: usize| n.to_string().len();
    let fixed = request.len() - 4 - 1;
    (1..whole).find(|body| fixed + digits(*body) + body == whole).expect("a length")
}

fn refused(world: &mut World, id: &str) {
    let error = world.take_stanza().expect("an error");
    assert_eq!(attribute(&error, "id"), Some(id), "{error}");
    assert!(error.contains("<policy-violation ") && error.contains("type='modify'"), "{error}");
    assert_eq!(world.take_datagram(), None, "nothing is sent");
}

/// RFC 3428 section 8: "MUST NOT exceed 1300 bytes"; RFC 7572 section 6: `<policy-violation/>`. The whole request counts.
#[test]
fn a_request_of_1300_bytes_goes_and_one_of_1301_is_refused() {
    for large_requests in [LargeRequests::TcpThenUdp, LargeRequests::Tcp, LargeRequests::Udp] {
        let mut world = World::with(|settings| {
            settings.sip.routes = vec![Route { congestion_safe: false, ..route(&[Transport::Udp]) }];
            settings.sip.large_requests = large_requests;
        });
        let room = room(&mut world, 1300);
        world.server_writes(stanza(2, &"x".repeat(room)));
        let request = world.take_datagram().unwrap();
        assert_eq!(request.len(), 1300);
        world.proxy_sends(response(&request, "200 OK", ""));
        world.server_writes(stanza(3, &"x".repeat(room + 1)));
        refused(&mut world, "m3");
        assert_eq!(world.sip.connects, 0, "{large_requests:?}: TCP here says nothing of the hops behind it");
        assert_eq!(world.engine.counters().sip_routes.too_large, 1);
        // What waits behind it is not touched.
        world.server_writes(stanza(4, "first"));
        world.server_writes(stanza(5, &"x".repeat(5000)));
        world.server_writes(stanza(6, "last"));
        let request = world.take_datagram().unwrap();
        world.proxy_sends(response(&request, "200 OK", ""));
        let request = world.take_datagram().unwrap();
        assert!(request.ends_with("last"), "{request}");
        refused(&mut world, "m5");
        world.proxy_sends(response(&request, "200 OK", ""));
        world.assert_quiet();
    }
}

#[test]
fn a_connection_to_the_next_hop_alone_makes_no_way_safe() {
    let mut world = World::with(|settings| {
        settings.sip.routes = vec![Route { congestion_safe: false, ..route(&[Transport::Tcp]) }];
    });
    world.server_writes(stanza(1, &"x".repeat(1300)));
    refused(&mut world, "m1");
    world.server_writes(stanza(2, "short"));
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    world.sip_writes(stream, response(&request, "200 OK", ""));
    world.assert_quiet();
}

/// RFC 3428 section 8: "at least 200 bytes less than the lowest MTU value found en route".
#[test]
fn where_the_path_is_known_its_mtu_counts() {
    let mut world = World::with(|settings| {
        settings.sip.routes = vec![Route { congestion_safe: false, path_mtu: 9000, ..route(&[Transport::Udp]) }];
    });
    let room = room(&mut world, 8800);
    world.server_writes(stanza(2, &"x".repeat(room)));
    let request = world.take_datagram().unwrap();
    assert_eq!(request.len(), 8800);
    world.proxy_sends(response(&request, "200 OK", ""));
    world.server_writes(stanza(3, &"x".repeat(room + 1)));
    refused(&mut world, "m3");
    world.assert_quiet();
}

/// RFC 3261 18.1.1: "within 200 bytes of the path MTU".
#[test]
fn on_a_safe_way_what_is_large_for_the_path_goes_over_tcp() {
    let mut world = World::with(|settings| {
        settings.sip.routes = vec![Route { path_mtu: 1000, ..route(&[Transport::Udp]) }];
        settings.sip.large_requests = LargeRequests::TcpThenUdp;
    });
    let room = room(&mut world, 800);
    world.server_writes(stanza(2, &"x".repeat(room)));
    let request = world.take_datagram().unwrap();
    assert_eq!(request.len(), 800);
    world.proxy_sends(response(&request, "200 OK", ""));
    world.server_writes(stanza(3, &"x".repeat(room + 1)));
    let stream = world.sip_takes_connection();
    let request = world.sip_reads(stream).unwrap();
    assert_eq!(request.len(), 801);
    world.sip_writes(stream, response(&request, "200 OK", ""));
    world.assert_quiet();
}

/// RFC 7572 section 6 is about what leaves us. What comes may have any size that the limits allow.
#[test]
fn what_comes_from_sip_may_be_large() {
    for length in [1301, 10_000, 60_000] {
        let mut world = World::with(|settings| settings.sip.routes[0].congestion_safe = false);
        let stream = world.sip_connects((proxy().ip(), 40_000).into());
        let text = "x".repeat(length);
        world.sip_writes(stream, message(1, "romeo@xmpp.example", &text).replace("SIP/2.0/UDP", "SIP/2.0/TCP"));
        let stanza = world.take_stanza().expect("a stanza");
        assert!(stanza.contains(&format!("<body>{text}</body>")), "{length}");
        world.advance(std::time::Duration::from_secs(2));
        let answer = world.sip_reads(stream).expect("an answer");
        assert_eq!(status(&answer), Some(504), "the barrier is not played here: {answer}");
    }
}
