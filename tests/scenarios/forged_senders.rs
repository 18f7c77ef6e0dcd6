//! Nobody speaks in another's name, and one sender's trouble is not another's.

use entente_tests::world::{World, message};

#[test]
fn a_stranger_on_the_network_is_refused() {
    let mut world = World::new();
    world.sends_from(([203, 0, 113, 5], 5060).into(), message(1, "romeo@xmpp.example", "hello"));
    assert_eq!(world.take_statuses(), [403]);
    assert!(world.take_stanza().is_none());
}

/// RFC 3261 section 8.2.7: strangers are answered without state. They fill no table, and have us write to nobody twice.
#[test]
fn a_stranger_is_answered_and_forgotten() {
    let mut world = World::with(|settings| {
        settings.sip.endpoint.max_finished = 100;
        settings.sip.endpoint.max_refused = 10_000;
    });
    let stranger = std::net::SocketAddr::from(([203, 0, 113, 5], 5060));
    for n in 0..500 {
        let request = message(n, "romeo@xmpp.example", "hello");
        let (request, expected) = match n % 4 {
            0 => (request, 403),
            1 => (request.replace("MESSAGE", "INVITE"), 405),
            2 => (request.replace("MESSAGE", "OPTIONS"), 200),
            _ => (request.replace("romeo@xmpp", "romeo@elsewhere"), 404),
        };
        let mut answers = Vec::new();
        for _ in 0..2 {
            world.sends_from(stranger, &request);
            answers.push(world.take_datagram().expect("an answer"));
            assert_eq!(world.take_datagram(), None);
        }
        assert_eq!(entente_tests::world::status(&answers[0]), Some(expected), "{}", answers[0]);
        assert_eq!(answers[0], answers[1], "whoever asks again is told the same");
    }
    assert_eq!(world.engine.counters().sip.overloaded, 0);
    assert!(world.take_stanza().is_none());
    // No refusal is repeated to whoever may never have asked.
    world.assert_quiet();
    world.proxy_sends(message(501, "romeo@xmpp.example", "hello"));
    assert!(world.take_stanza().is_some(), "there is room for others");
}

#[test]
fn a_message_that_loops_back_is_refused() {
    let mut world = World::new();
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    let stanza = world.take_stanza().unwrap();
    let id = entente_tests::world::attribute(&stanza, "id").unwrap().to_owned();
    let looped = message(2, "romeo@xmpp.example", "hello").replace("call-2@192.0.2.9", &format!("{id}@gw.example"));
    world.proxy_sends(looped);
    assert_eq!(world.take_statuses(), [482]);
    let alias = message(3, "alias@xmpp.example", "hello").replace("call-3@192.0.2.9", &format!("{id}@gw.example"));
    world.proxy_sends(alias);
    assert!(world.take_statuses().is_empty(), "with another address it may pass once more");
}

#[test]
fn hostile_bodies_reach_nobody_else() {
    let mut world = World::new();
    let hostile: &[(&str, Option<u16>)] = &[
        ("bell \u{7} and \u{1}", None),
        ("]]></body></message><message to='victim@xmpp.example' from='x'><body>", None),
        ("nul \0 nul", None),
        ("\u{fffe}\u{ffff}", None),
    ];
    for (n, (body, _)) in hostile.iter().enumerate() {
        world.proxy_sends(message(n as u32, "romeo@xmpp.example", body));
        let stanza = world.take_stanzas().into_iter().find(|stanza| stanza.starts_with("<message")).unwrap();
        assert_eq!(stanza.matches("<message").count(), 1, "{stanza}");
        assert!(!stanza.chars().any(|c| c < ' ' && !"\r\n\t".contains(c)), "{stanza:?}");
    }
    let mut latin = message(90, "romeo@xmpp.example", "xxxx").into_bytes();
    let end = latin.len();
    latin[end - 4..].copy_from_slice(b"\xe9t\xe9!");
    world.proxy_sends(&latin);
    assert!(
        world.take_stanzas().iter().all(|stanza| stanza.starts_with("<iq")),
        "nothing that is not UTF-8 is written"
    );
    assert_eq!(world.take_statuses(), [400]);
    world.proxy_sends(message(91, "benvolio@xmpp.example", "still here"));
    assert!(world.take_stanzas().iter().any(|stanza| stanza.contains("still here")));
}

#[test]
fn where_trusted_networks_overlap_the_narrowest_counts() {
    let mut world = World::with(|settings| {
        settings.relay.policy.add_speaker(cpim::PeerId(9), cpim::DomainPattern::Exactly("other.example".into()));
        settings.sip.trusted.push(("192.0.2.0/24".parse().unwrap(), cpim::PeerId(1)));
        settings.sip.trusted.push(("192.0.2.77/32".parse().unwrap(), cpim::PeerId(9)));
    });
    world.sends_from(([192, 0, 2, 78], 5060).into(), message(1, "romeo@xmpp.example", "hello"));
    assert!(world.take_statuses().is_empty(), "the wide network may speak for sip.example");
    world.sends_from(([192, 0, 2, 77], 5060).into(), message(2, "romeo@xmpp.example", "hello"));
    assert_eq!(world.take_statuses(), [403], "the narrow one may not");
}

#[test]
fn a_domain_that_is_none_is_refused_before_anything_is_written() {
    let mut world = World::with(|settings| {
        settings.relay.policy.add_home(cpim::DomainPattern::Any, cpim::Side::Xmpp);
        settings.sip.presentations = cpim::Presentations::new(vec![cpim::Presentation {
            home: cpim::DomainPattern::Any,
            shown_as: "gw.sip.example".into(),
            rule: cpim::Rule::Encode,
        }]);
    });
    for (n, domain) in ["-a.org", "a..org", "*.org", "xn--.org"].into_iter().enumerate() {
        world.proxy_sends(message(n as u32, &format!("x%40{domain}@gw.sip.example"), "hello"));
        assert_eq!(world.take_statuses(), [404], "{domain}");
        assert!(world.take_stanza().is_none(), "{domain}");
    }
}

#[test]
fn a_server_that_writes_and_does_not_read_costs_bounded_memory() {
    let mut world = World::with(|settings| settings.xmpp.unsent_limit = 10_000);
    world.reading = false;
    let id = "&lt;".repeat(1000);
    for _ in 0..100 {
        world.server_writes(format!(
            "<iq from='romeo@xmpp.example/x' to='sip.example' id='{id}' type='get'><ping xmlns='urn:xmpp:ping'/></iq>\
             <message from='romeo@xmpp.example/x' to='sip.example' id='{id}'><body>x</body></message>"
        ));
    }
    assert!(world.engine.output_len() < 40_000, "{}", world.engine.output_len());
    assert!(world.engine.counters().xmpp.unanswerable > 0, "what was not answered is counted");
}
