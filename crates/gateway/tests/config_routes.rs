//! Where requests go, as operators write it.
#![allow(clippy::unwrap_used)]

use gateway::config::{Config, ConfigErrors, Route, parse};

/// A configuration with these lines in `[sip]` and in its two `[[sip_domain]]`.
fn read(sip: &str, first: &str, second: &str) -> Result<Config, ConfigErrors> {
    parse(&format!(
        "[sip]\n{sip}\n\
         [[xmpp.component]]\ndomain = \"sip.example\"\nconnect = \"localhost:1\"\nsecret = {{ env = \"PATH\" }}\n\
         [[xmpp.component]]\ndomain = \"pbx.example\"\nconnect = \"localhost:1\"\nsecret = {{ env = \"PATH\" }}\n\
         [[sip_domain]]\nname = \"sip.example\"\n{first}\n\
         [[sip_domain]]\nname = \"pbx.example\"\n{second}\n\
         [[xmpp_domain]]\nname = \"xmpp.example\"\n"
    ))
}

fn hops(route: &Route) -> Vec<String> {
    route.next_hops.iter().map(ToString::to_string).collect()
}

#[test]
fn one_next_hop_or_a_list_in_any_spelling() {
    for (spelled, expected) in [
        ("\"udp:proxy.example:5060\"", &["udp:proxy.example:5060"][..]),
        ("[\"tcp:a.example:5060\", \"udp:[2001:db8::1]:5070\"]", &["tcp:a.example:5060", "udp:[2001:db8::1]:5070"]),
        // RFC 3263 4, 4.1, 4.2: what a URI says by itself.
        ("\"sip:192.0.2.1\"", &["udp:192.0.2.1:5060"]),
        ("\"sip:[2001:db8::1];transport=tcp\"", &["tcp:[2001:db8::1]:5060"]),
        ("\"sip:proxy.example:5060;transport=tcp\"", &["tcp:proxy.example:5060"]),
        ("\"sip:proxy.example:5070;maddr=192.0.2.1\"", &["udp:192.0.2.1:5070"]),
    ] {
        let listen = "listen = [\"udp:127.0.0.1:5060\", \"udp:[::1]:5060\"]\n";
        let config = read(&format!("{listen}next_hop = {spelled}"), "", "").unwrap();
        assert_eq!(hops(&config.sip.route), expected, "{spelled}");
    }
}

#[test]
fn a_domain_has_the_way_of_all_or_its_own() {
    let sip = "next_hop = \"udp:proxy.example:5060\"\nroute = \"sip:proxy.example;lr\"\npath_mtu = 1400";
    let config = read(sip, "congestion_safe = true", "next_hop = \"tcp:pbx.example:5060\"").unwrap();
    assert_eq!(
        (&config.sip.route.route_set[..], config.sip.route.path_mtu),
        (&["sip:proxy.example;lr".into()][..], 1400)
    );
    // The same way with another property.
    let shared = config.sip_domains[0].route.as_ref().unwrap();
    assert_eq!(*shared, Route { congestion_safe: true, ..config.sip.route.clone() });
    // Another way, of which nothing is known.
    let own = config.sip_domains[1].route.as_ref().unwrap();
    assert_eq!(hops(own), ["tcp:pbx.example:5060"]);
    assert_eq!((own.route_set.len(), own.congestion_safe, own.path_mtu), (0, false, 1500));
    assert_eq!(config.routes().count(), 3);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    // No next_hop in [sip] is needed where nobody would use it.
    assert!(read("", "next_hop = \"udp:a:1\"", "next_hop = \"udp:b:1\"").is_ok());
}

/// RFC 3261 8.1.2: without a next hop, requests go where their first Route leads.
#[test]
fn a_route_says_where_requests_go() {
    let config = read("route = [\"sip:192.0.2.1:5070;transport=tcp;lr\", \"sip:next.example;lr\"]", "", "").unwrap();
    assert_eq!(hops(&config.sip.route), ["tcp:192.0.2.1:5070"]);
    assert_eq!(config.sip.route.route_set.len(), 2);
    // A next hop that is written wins.
    let config = read("next_hop = \"udp:a.example:5060\"\nroute = \"sip:b.example;lr\"", "", "").unwrap();
    assert_eq!(hops(&config.sip.route), ["udp:a.example:5060"]);
}

#[test]
fn what_leads_nowhere_is_named() {
    let usual = "next_hop = \"udp:proxy.example:5060\"";
    let nine = format!("next_hop = {:?}", (1..=9).map(|n| format!("udp:proxy{n}.example:5060")).collect::<Vec<_>>());
    for (sip, second, key, what) in [
        ("", "", "sip.next_hop", "is missing"),
        ("", "next_hop = \"udp:a.example:5060\"", "sip.next_hop", "is missing"),
        ("next_hop = []", "", "sip.next_hop", "names no usable next hop"),
        ("next_hop = \"proxy.example\"", "", "sip.next_hop", "must be udp:HOST:PORT"),
        ("next_hop = [\"udp:a:1\", \"tls:b:1\"]", "", "sip.next_hop[2]", "must be udp:HOST:PORT"),
        ("next_hop = [\"udp:a:1\", \"tcp:a:1\", \"udp:a:1\"]", "", "sip.next_hop", "\"udp:a:1\" stands twice"),
        (&nine, "", "sip.next_hop", "at most 8"),
        ("next_hop = \"udp:0.0.0.0:5060\"", "", "sip.next_hop", "no address that anybody has"),
        ("next_hop = \"tcp:[::]:5060\"", "", "sip.next_hop", "no address that anybody has"),
        ("next_hop = [\"udp:a:1\", \"sip:224.0.1.75\"]", "", "sip.next_hop[2]", "is a group"),
        ("next_hop = \"sip:proxy.example\"", "", "sip.next_hop", "needs DNS SRV"),
        ("next_hop = \"sip:proxy.example:5061;transport=tls\"", "", "sip.next_hop", "neither udp nor tcp"),
        ("route = \"sip:proxy.example;lr\"", "", "sip.route", "write next_hop too"),
        (usual, "route = [\"<sip:proxy.example;lr>\"]", "sip_domain[2].route[1]", "without angle brackets"),
        (usual, "route = \"im:proxy@proxy.example\"", "sip_domain[2].route", "must be a SIP URI"),
        (usual, "route = \"sip:proxy.example;lr?Subject=x\"", "sip_domain[2].route", "header part"),
        (usual, "path_mtu = 500", "sip_domain[2].path_mtu", "from 576 to 65535"),
        (usual, "congestion_safe = \"yes\"", "sip_domain[2].congestion_safe", "true or false"),
        // Sockets.
        ("next_hop = \"udp:127.0.0.1:5060\"", "", "sip.next_hop", "is the gateway itself"),
        (usual, "next_hop = \"sip:127.0.0.1:5060;transport=tcp\"", "sip_domain[2].next_hop", "is the gateway itself"),
        (usual, "next_hop = \"udp:[::1]:5070\"", "sip.listen", "an IPv6 address for UDP"),
        (
            "listen = [\"tcp:127.0.0.1:5060\"]\nnext_hop = [\"tcp:a:1\", \"udp:a:1\"]",
            "",
            "sip.listen",
            "a UDP address too",
        ),
    ] {
        let told = read(sip, "", second).unwrap_err().0;
        let found = told.iter().any(|problem| problem.key == key && problem.what.contains(what));
        assert!(found, "{sip} / {second}: {told:#?}");
    }
    // The other side has no such keys.
    let text = "[[xmpp_domain]]\nname = \"b.example\"\nnext_hop = \"udp:a:1\"\n";
    let told = read(usual, "", text).unwrap_err().0;
    assert!(told.iter().any(|problem| problem.key == "xmpp_domain[1].next_hop"), "{told:#?}");
}

#[test]
fn what_has_no_effect_is_mentioned() {
    let warned = |sip: &str, first: &str, second: &str| read(sip, first, second).unwrap().warnings;
    let usual = "next_hop = \"udp:proxy.example:5060\"";
    let own = "next_hop = \"udp:other.example:5060\"";
    let told = warned(usual, own, own);
    assert!(matches!(&told[..], [one] if one.starts_with("sip.next_hop has no effect")), "{told:?}");
    let told = warned(&format!("{usual}\nlarge_requests = \"udp\""), "", "");
    assert!(matches!(&told[..], [one] if one.starts_with("sip.large_requests has no effect")), "{told:?}");
    assert!(warned(&format!("{usual}\nlarge_requests = \"udp\""), "", "congestion_safe = true").is_empty());
    // A Via that the next hop cannot send to.
    let told = warned("next_hop = \"tcp:[2001:db8::1]:5060\"", "", "");
    assert!(matches!(&told[..], [one] if one.contains("set sip.advertise_tcp to a name")), "{told:?}");
}

/// Without `[[sip.trusted]]`, whoever gets the requests for a domain may speak for it, and for no other.
#[test]
fn next_hops_speak_for_the_domains_whose_requests_they_get() {
    let sip = "next_hop = \"udp:192.0.2.1:5060\"";
    let own = "next_hop = [\"tcp:192.0.2.2:5060\", \"udp:192.0.2.3:5060\", \"udp:192.0.2.1:5070\"]";
    let config = read(sip, "", own).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let next_hops = runtime.block_on(gateway::next_hops::look_up(&config, &gateway::net::Names::new())).unwrap();
    let settings = gateway::assembly::engine_settings(&config, &next_hops);
    for (address, may_speak) in [
        ("192.0.2.1", [true, true]),
        ("192.0.2.2", [false, true]),
        ("192.0.2.3", [false, true]),
        ("192.0.2.4", [false, false]),
    ] {
        let address: std::net::IpAddr = address.parse().unwrap();
        let found = settings.sip.trusted.iter().find(|(network, _)| network.contains(&address));
        for (domain, may) in ["sip.example", "pbx.example"].into_iter().zip(may_speak) {
            let permitted = found.is_some_and(|(_, peer)| {
                let origin = cpim::Origin { side: cpim::Side::Sip, peer: *peer, proof: cpim::Proof::SourceNetwork };
                let from = cpim::ImUri::parse(&format!("im:juliet@{domain}")).unwrap().into_owned();
                let to = cpim::ImUri::parse("im:romeo@xmpp.example").unwrap();
                settings.relay.policy.permit(&origin, &from, &to).is_ok()
            });
            assert_eq!(permitted, may, "{address} for {domain}");
        }
    }
    // The components have names of their own.
    let links: Vec<_> = settings.xmpp.links.iter().map(|link| link.peer).collect();
    assert!(settings.sip.trusted.iter().all(|(_, peer)| !links.contains(peer)), "{links:?}");
}
