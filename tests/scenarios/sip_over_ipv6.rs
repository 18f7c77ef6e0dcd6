//! SIP over IPv6, by datagrams and by connections, both ways.

use cpim::PeerId;
use entente_tests::world::{World, attribute, message, response, route, status};
use sip::transaction::{Flow, Transport};
use std::net::SocketAddr;
use turn::SocketId;

fn peer(port: u16) -> SocketAddr {
    SocketAddr::new("2001:db8::9".parse().expect("an address"), port)
}

/// A world whose gateway and proxy have IPv6 addresses.
fn world(transport: Transport) -> World {
    World::with(|settings| {
        settings.sip.endpoint.sent_by = b"[2001:db8::1]:5060".to_vec();
        settings.sip.trusted = vec![("2001:db8::/64".parse().expect("a network"), PeerId(1))];
        let mut route = route(&[transport]);
        route.next_hops = vec![Flow { transport, socket: SocketId(0), peer: peer(5060), stream: None }];
        settings.sip.routes = vec![route];
    })
}

fn from_v6(n: u32, transport: &str, via: &str) -> String {
    message(n, "romeo@xmpp.example", "hello")
        .replace("SIP/2.0/UDP 192.0.2.9:5060;", &format!("SIP/2.0/{transport} {via};"))
}

const STANZA: &str =
    "<message from='romeo@xmpp.example/x' to='juliet@sip.example' id='m1'><body>Neither, fair saint</body></message>";

#[test]
fn datagrams_cross_both_ways() {
    let mut world = world(Transport::Udp);
    // (source port, Via, Via of the answer, port it goes to); `received` has no brackets (RFC 5118 section 4.5).
    for (n, (port, via, expected, to)) in (1..).zip([
        (5060, "[2001:db8::9]:5060", "[2001:db8::9]:5060;branch=z9hG4bK-1", 5060),
        (40_123, "[2001:DB8:0::9]:5080", "[2001:DB8:0::9]:5080;branch=z9hG4bK-2", 5080),
        (40_123, "[2001:db8::7];rport", "[2001:db8::7];rport=40123;branch=z9hG4bK-3;received=2001:db8::9", 40_123),
        (40_123, "proxy.sip.example", "proxy.sip.example;branch=z9hG4bK-4;received=2001:db8::9", 5060),
    ]) {
        world.sends_from(peer(port), from_v6(n, "UDP", via));
        let stanzas = world.return_pings();
        assert_eq!(stanzas.len(), 1, "{via}: {:?}", world.take_datagram());
        assert_eq!(attribute(&stanzas[0], "from"), Some("juliet@sip.example"));
        let (target, bytes) = world.datagrams.pop_front().expect("the answer");
        let answer = String::from_utf8(bytes).expect("UTF-8");
        assert_eq!((target, status(&answer)), (peer(to), Some(202)), "{answer}");
        assert!(answer.contains(&format!("Via: SIP/2.0/UDP {expected}\r\n")), "{answer}");
    }

    world.server_writes(STANZA);
    let (target, bytes) = world.datagrams.pop_front().expect("the request");
    let request = String::from_utf8(bytes).expect("UTF-8");
    assert_eq!(target, peer(5060));
    assert!(request.contains("Via: SIP/2.0/UDP [2001:db8::1]:5060;rport;branch="), "{request}");
    world.sends_from(target, response(&request, "200 OK", "").replace(";rport;", ";rport=5060;received=2001:db8::1;"));
    assert_eq!(world.engine.counters().sip.responses_in, 1);
    world.assert_quiet();
}

#[test]
fn connections_cross_both_ways() {
    let mut world = world(Transport::Tcp);
    let stream = world.sip_connects(peer(40_000));
    world.sip_writes(stream, "\r\n\r\n");
    assert_eq!(world.sip_reads(stream).as_deref(), Some("\r\n"));
    world.sip_writes(stream, from_v6(1, "TCP", "[2001:db8::9]:5060;rport"));
    assert_eq!(world.return_pings().len(), 1);
    let answer = world.sip_reads(stream).expect("the answer");
    assert_eq!(status(&answer), Some(202), "{answer}");
    let via = "Via: SIP/2.0/TCP [2001:db8::9]:5060;rport=40000;branch=z9hG4bK-1;received=2001:db8::9\r\n";
    assert!(answer.contains(via), "{answer}");

    world.server_writes(STANZA);
    assert_eq!(world.sip_ordered(), Some(peer(5060)));
    let hop = world.sip_takes_connection();
    let request = world.sip_reads(hop).expect("the request");
    assert!(request.contains("Via: SIP/2.0/TCP [2001:db8::1]:5060;"), "{request}");
    world.sip_writes(hop, response(&request, "200 OK", ""));
    assert_eq!(world.take_stanzas(), Vec::<String>::new());

    // An answer whose connection is gone goes to the address of the far end, at the port of its sent-by.
    world.sip_writes(stream, from_v6(2, "TCP", "[2001:db8::9]:5071"));
    world.sip_closes(stream);
    world.return_pings();
    assert_eq!(world.sip_ordered(), Some(peer(5071)));
    let stream = world.sip_takes_connection();
    assert_eq!(world.sip_reads(stream).as_deref().and_then(status), Some(202));
    world.assert_quiet();
}

#[test]
fn strangers_are_strangers_over_ipv6_too() {
    let mut world = world(Transport::Udp);
    let stranger = SocketAddr::new("2001:db8:1::9".parse().expect("an address"), 5060);
    world.sends_from(stranger, from_v6(1, "UDP", "[2001:db8:1::9]"));
    assert_eq!(world.take_statuses(), [403]);
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
    world.assert_quiet();
}

/// A socket for both families shows IPv4 peers as mapped addresses: they are who they are.
#[test]
fn mapped_addresses_are_the_addresses_that_they_map() {
    let mut world = World::new();
    let mapped: SocketAddr = "[::ffff:192.0.2.9]:5060".parse().expect("an address");
    let request = message(1, "romeo@xmpp.example", "hello");
    world.sends_from(mapped, &request);
    assert_eq!(world.return_pings().len(), 1);
    let (target, bytes) = world.datagrams.pop_front().expect("the answer");
    let answer = String::from_utf8(bytes).expect("UTF-8");
    assert_eq!((target, status(&answer)), (mapped, Some(202)), "{answer}");
    assert!(answer.contains("Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-1\r\n"), "nothing to note: {answer}");
    world.sends_from("192.0.2.9:5060".parse().expect("an address"), &request);
    assert_eq!(world.take_statuses(), [202], "the same request, told again");
    assert_eq!(world.return_pings(), Vec::<String>::new());
    world.assert_quiet();
}
