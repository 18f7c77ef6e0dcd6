//! Users with unusual names can write and be written to, under each rule.

use cpim::{DomainPattern, Presentation, Presentations, Rule};
use entente_tests::world::{World, attribute, message};

fn encoded(home: &str, shown_as: &str) -> Presentations {
    Presentations::new(vec![Presentation {
        home: DomainPattern::Exactly(home.into()),
        shown_as: shown_as.into(),
        rule: Rule::Encode,
    }])
}

#[test]
fn names_cross_by_the_algorithm_of_rfc_7247() {
    let mut world = World::new();
    for (sip, jid) in [
        ("sip:o'malley@sip.example", r"o\27malley@sip.example"),
        ("sip:f%C3%BC@sip.example", "fü@sip.example"),
        ("sip:m&m@sip.example", r"m\26m@sip.example"),
        ("sip:a%20b@sip.example", r"a\20b@sip.example"),
        ("sip:user;par=u%40e.net@sip.example", r"user;par=u\40e.net@sip.example"),
    ] {
        let request = message(jid.len() as u32, "romeo@xmpp.example", "hello").replace("sip:juliet@sip.example", sip);
        world.proxy_sends(request);
        let stanzas = world.take_stanzas();
        let stanza = stanzas.iter().find(|stanza| stanza.starts_with("<message")).expect(sip);
        assert_eq!(attribute(stanza, "from"), Some(jid), "{stanza}");
        world.server_writes(format!(
            "<message from='romeo@xmpp.example/x' to=\"{}\" id='m'><body>hello</body></message>",
            jid.replace('&', "&amp;")
        ));
        let sent = world.take_datagram().expect("a request");
        assert!(sent.starts_with(&format!("MESSAGE {sip} SIP/2.0\r\n")), "{sent}");
        assert!(sent.contains(&format!("\r\nTo: <{sip}>\r\n")), "{sent}");
        world.proxy_sends(entente_tests::world::response(&sent, "200 OK", ""));
    }
}

#[test]
fn the_encoding_rule_hides_neither_world() {
    let mut world = World::with(|settings| {
        settings.sip.presentations = encoded("xmpp.example", "gw.sip.example");
        settings.xmpp.presentations = encoded("sip.example", "sip.example");
    });
    world.proxy_sends(message(1, "romeo%40xmpp.example@gw.sip.example", "hello"));
    let stanza = world.take_stanza().expect("the message");
    assert_eq!(attribute(&stanza, "to"), Some("romeo@xmpp.example"), "{stanza}");
    assert_eq!(attribute(&stanza, "from"), Some(r"juliet\40sip.example@sip.example"), "{stanza}");
    world.server_writes(
        r"<message from='romeo@xmpp.example/x' to='juliet\40sip.example@sip.example' id='m'><body>hello</body></message>",
    );
    let sent = world.take_datagram().expect("a request");
    assert!(sent.starts_with("MESSAGE sip:juliet@sip.example SIP/2.0\r\n"), "{sent}");
    assert!(sent.contains("\r\nFrom: <sip:romeo%40xmpp.example@gw.sip.example>;tag="), "{sent}");
}

#[test]
fn addresses_that_cannot_be_are_refused() {
    let mut world = World::new();
    for (n, (from, to, status)) in [
        ("sip:juliet@sip.example", "sip:a%ff@xmpp.example", 484),
        ("sip:juliet@sip.example", "sip:a%00b@xmpp.example", 484),
        ("sip:juliet@sip.example", "sip:xmpp.example", 484),
        ("sip:juliet@sip.example", "tel:+15551234", 416),
        ("sip:sip.example", "sip:romeo@xmpp.example", 403),
    ]
    .iter()
    .enumerate()
    {
        let request = message(n as u32, "romeo@xmpp.example", "x")
            .replace("sip:juliet@sip.example", from)
            .replace("sip:romeo@xmpp.example", to);
        world.proxy_sends(request);
        assert_eq!(world.take_statuses(), [*status], "{from} -> {to}");
    }
    assert!(world.take_stanza().is_none());
}
