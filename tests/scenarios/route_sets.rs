//! Which way requests go, and what they have to visit: routes of domains, and configured route sets (RFC 3261 8.1.1.1,
//! 8.1.2, 12.2.1.1).

use cpim::{DomainPattern, Presentation, Presentations, Rule, Side};
use entente_tests::world::{World, attribute, message, proxy, response, route};
use sip::route_set::RouteSet;
use sip::transaction::{Flow, Transport};
use sip_connector::Route;
use std::net::SocketAddr;
use turn::SocketId;

fn world_with(routes: &[&str]) -> World {
    let set = RouteSet::new(routes.iter().map(|uri| uri.as_bytes())).expect("routes");
    World::with(|settings| settings.sip.routes = vec![Route { route_set: set, ..route(&[Transport::Udp]) }])
}

fn sent(world: &mut World, to: &str) -> (SocketAddr, String) {
    world.server_writes(format!("<message from='romeo@xmpp.example' to='{to}' id='m'><body>hello</body></message>"));
    let (peer, bytes) = world.datagrams.pop_front().expect("a request");
    let request = String::from_utf8(bytes).expect("UTF-8");
    world.sends_from(peer, response(&request, "200 OK", ""));
    (peer, request)
}

fn routes(request: &str) -> Vec<&str> {
    request.split("\r\n").filter_map(|line| line.strip_prefix("Route: ")).collect()
}

/// 8.1.1.1: a configured outbound proxy is a route set; a loose one is visited first, and the Request-URI stays.
#[test]
fn a_loose_router_stands_in_route() {
    let mut world = world_with(&["sip:edge.example;lr", "sip:core.example;transport=tcp;lr"]);
    let (peer, request) = sent(&mut world, "juliet@sip.example");
    assert_eq!(peer, proxy(), "the next hop is fixed by the configuration (8.1.2)");
    assert!(request.starts_with("MESSAGE sip:juliet@sip.example SIP/2.0\r\n"), "{request}");
    assert!(request.contains("\r\nTo: <sip:juliet@sip.example>\r\n"), "{request}");
    assert_eq!(routes(&request), ["<sip:edge.example;lr>", "<sip:core.example;transport=tcp;lr>"]);
    world.assert_quiet();
}

/// 12.2.1.1: a strict one takes the place of the target, which comes last in Route.
#[test]
fn a_strict_router_stands_in_the_request_uri() {
    let mut world = world_with(&["sip:strict.example", "sip:core.example;lr"]);
    for to in ["juliet", "nurse"] {
        let (_, request) = sent(&mut world, &format!("{to}@sip.example"));
        assert!(request.starts_with("MESSAGE sip:strict.example SIP/2.0\r\n"), "{request}");
        assert!(request.contains(&format!("\r\nTo: <sip:{to}@sip.example>\r\n")), "{request}");
        assert_eq!(routes(&request), ["<sip:core.example;lr>", &format!("<sip:{to}@sip.example>")]);
    }
    world.assert_quiet();
}

#[test]
fn without_a_route_set_there_is_no_route() {
    let mut world = World::new();
    assert!(routes(&sent(&mut world, "juliet@sip.example").1).is_empty());
}

#[test]
fn each_domain_has_its_way() {
    let pbx: SocketAddr = ([192, 0, 2, 30], 5060).into();
    let named = |name: &str| DomainPattern::Exactly(name.into());
    let mut world = World::with(|settings| {
        settings.relay.policy.add_home(named("pbx.example"), Side::Sip);
        let encoded = |home| Presentation { home, shown_as: "sip.example".into(), rule: Rule::Encode };
        settings.xmpp.presentations =
            Presentations::new(vec![encoded(named("sip.example")), encoded(named("pbx.example"))]);
        let own = Flow { transport: Transport::Udp, socket: SocketId(0), peer: pbx, stream: None };
        let route_set = RouteSet::new([&b"sip:pbx.example;lr"[..]]).expect("a route");
        settings.sip.routes.push(Route { domain: named("pbx.example"), route_set, ..Route::to(own) });
    });
    let (peer, request) = sent(&mut world, "juliet\\40sip.example@sip.example");
    assert!(request.starts_with("MESSAGE sip:juliet@sip.example SIP/2.0\r\n"), "{request}");
    assert!(peer == proxy() && routes(&request).is_empty(), "{request}");
    let (peer, request) = sent(&mut world, "nurse\\40pbx.example@sip.example");
    assert!(request.starts_with("MESSAGE sip:nurse@pbx.example SIP/2.0\r\n"), "{request}");
    assert_eq!((peer, routes(&request)), (pbx, vec!["<sip:pbx.example;lr>"]));
    // The route of one domain is too narrow for this text, and that of the other is not.
    let long = "x".repeat(1300);
    let text = |to: &str| format!("<message from='romeo@xmpp.example' to='{to}' id='m'><body>{long}</body></message>");
    world.server_writes(text("nurse\\40pbx.example@sip.example"));
    assert!(world.take_stanza().is_some_and(|error| error.contains("<policy-violation")));
    world.server_writes(text("juliet\\40sip.example@sip.example"));
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(response(&request, "200 OK", ""));
    world.assert_quiet();
}

#[test]
fn a_domain_without_a_way_is_told_so() {
    let mut world = World::with(|settings| {
        settings.sip.routes[0].domain = DomainPattern::Exactly("other.example".into());
    });
    world.server_writes(
        "<message from='romeo@xmpp.example' to='juliet@sip.example' id='m'><body>hello</body></message>",
    );
    let error = world.take_stanza().expect("an error");
    assert!(error.contains("<remote-server-not-found"), "{error}");
    world.assert_quiet();
}

/// RFC 3261 16.4: a strict router before us put our URI into the Request-URI, and the user is the last value of Route. Where
/// we stand in Route ourselves, the Request-URI says whom it is for.
#[test]
fn a_request_that_was_routed_by_way_of_us_has_arrived() {
    for (uri, routes, status, reached) in [
        ("sip:192.0.2.1", "<sip:romeo@xmpp.example>", None, true),
        ("sip:192.0.2.1:5060;transport=udp", "<sip:other.example;lr>, <sip:romeo@xmpp.example>", None, true),
        ("sip:romeo@xmpp.example", "<sip:192.0.2.1;lr>", None, true),
        ("sip:romeo@xmpp.example", "<sip:192.0.2.1;lr>, <sip:other.example;lr>", None, true),
        ("sip:romeo@xmpp.example", "<sip:other.example;lr>, <sip:nurse@xmpp.example>", None, true),
        // Nobody is named anywhere, or not by a router that was told to come by us.
        ("sip:192.0.2.1", "<sip:192.0.2.1;lr>", Some(484), false),
        ("sip:192.0.2.1", "", Some(484), false),
        ("sip:192.0.2.1", "<sip:nobody@elsewhere.example>", Some(404), false),
        ("sip:192.0.2.7", "<sip:romeo@xmpp.example>", Some(484), false),
        ("sip:192.0.2.1:5070", "<sip:romeo@xmpp.example>", Some(484), false),
    ] {
        let mut world = World::new();
        let mut text = message(1, "romeo@xmpp.example", "hello").replacen("sip:romeo@xmpp.example", uri, 1);
        if !routes.is_empty() {
            text = text.replacen("Max-Forwards", &format!("Route: {routes}\r\nMax-Forwards"), 1);
        }
        world.proxy_sends(text);
        let answer = world.take_datagram();
        assert_eq!(answer.as_deref().and_then(entente_tests::world::status), status, "{uri} {routes}");
        let stanza = world.take_stanza();
        let to = stanza.as_deref().and_then(|stanza| attribute(stanza, "to"));
        assert_eq!(to, reached.then_some("romeo@xmpp.example"), "{uri} {routes}");
    }
}
