//! Somebody who knows only a SIP address asks the gateway for the JID (XEP-0100 section 6.3).

use cpim::{DomainPattern, Presentation, Presentations, Rule};
use entente_tests::world::World;

fn row(home: Option<&str>, shown_as: &str, rule: Rule) -> Presentation {
    let home = home.map_or(DomainPattern::Any, |home| DomainPattern::Exactly(home.into()));
    Presentation { home, shown_as: shown_as.into(), rule }
}

fn world(rows: Vec<Presentation>) -> World {
    World::with(|settings| settings.xmpp.presentations = Presentations::new(rows))
}

/// The payload of the result, or the condition of the error.
fn enter(world: &mut World, prompt: &str) -> Result<String, String> {
    world.server_writes(format!(
        "<iq from='romeo@xmpp.example/o' to='sip.example' id='g' type='set'><query xmlns='jabber:iq:gateway'>\
         <prompt>{prompt}</prompt></query></iq>"
    ));
    let answer = world.take_stanza().expect("every iq is answered");
    let between = |from: &str, to: &str| Some(answer.split_once(from)?.1.split_once(to)?.0.to_owned());
    between("<query xmlns='jabber:iq:gateway'><jid>", "</jid>")
        .ok_or_else(|| between("<error type='modify'><", " ").unwrap_or_else(|| panic!("{answer}")))
}

#[test]
fn every_way_to_write_an_address_gives_its_jid() {
    let mut world = world(vec![row(Some("sip.example"), "", Rule::Same)]);
    for entered in [
        "sip:juliet@sip.example",
        "  sip:juliet@sip.example\n",
        "SIP:juliet@SIP.example",
        "sips:juliet@sip.example",
        "sip:juliet@sip.example:5060;transport=tcp?subject=x",
        "sip:juliet:secret@sip.example",
        "&lt;sip:juliet@sip.example&gt;",
        "&quot;Juliet C.&quot; &lt;sip:juliet@sip.example&gt;",
        "im:juliet@sip.example",
        "pres:juliet@sip.example",
        "juliet@sip.example",
        "juliet",
    ] {
        assert_eq!(enter(&mut world, entered).as_deref(), Ok("juliet@sip.example"), "{entered}");
    }
    for (entered, jid) in [
        ("sip:o%27malley@sip.example", r"o\27malley@sip.example"),
        ("o'malley@sip.example", r"o\27malley@sip.example"),
        ("sip:f%C3%BC@sip.example", "f\u{fc}@sip.example"),
        ("sip:+15551234@sip.example;user=phone", "+15551234@sip.example"),
    ] {
        assert_eq!(enter(&mut world, entered).as_deref(), Ok(jid), "{entered}");
    }
    world.assert_quiet();
}

#[test]
fn a_telephone_number_is_a_user_of_the_domain_of_numbers() {
    let rows = vec![row(Some("sip.example"), "", Rule::Same), row(Some("pbx.example"), "sip.example", Rule::Encode)];
    let presentations = Presentations::new(rows);
    let mut world = World::with(|settings| {
        settings.xmpp.presentations = presentations.clone();
        settings.xmpp.numbers = Some("sip.example".into());
    });
    for entered in ["tel:+30-12345", "+30 (12) 345", "+3012345", "TEL:+30.12345;cpc=ordinary"] {
        assert_eq!(enter(&mut world, entered).as_deref(), Ok("+3012345@sip.example"), "{entered}");
    }
    let local = enter(&mut world, "tel:863-1234;phone-context=+1-914");
    assert_eq!(local.as_deref(), Ok("8631234;phone-context=+1914@sip.example"));
    for entered in ["tel:863-1234", "tel:juliet", "+12a"] {
        assert_eq!(enter(&mut world, entered).unwrap_err(), "not-acceptable", "{entered}");
    }
    // Without such a domain a number has no address.
    let mut world = World::with(|settings| settings.xmpp.presentations = presentations.clone());
    assert_eq!(enter(&mut world, "tel:+3012345").unwrap_err(), "not-acceptable");
}

#[test]
fn nonsense_is_not_acceptable() {
    let mut world = world(vec![row(Some("sip.example"), "", Rule::Same)]);
    for entered in [
        "",
        "   ",
        "@",
        "@sip.example",
        "juliet@",
        "Foo Bar",
        "mailto:juliet@sip.example",
        "sip:sip.example",
        "sip:juliet%@sip.example",
        "sip:juliet%00@sip.example",
        // Nobody of these domains is shown here.
        "sip:juliet@elsewhere.example",
        "romeo@xmpp.example",
        &"a".repeat(1024),
    ] {
        assert_eq!(enter(&mut world, entered).unwrap_err(), "not-acceptable", "{entered}");
    }
    world.assert_quiet();
}

#[test]
fn the_address_rule_of_the_domain_decides() {
    let mut mapped = world(vec![row(Some("pbx.example"), "sip.example", Rule::Map)]);
    assert_eq!(enter(&mut mapped, "sip:juliet@pbx.example").as_deref(), Ok("juliet@sip.example"));
    assert_eq!(enter(&mut mapped, "juliet").as_deref(), Ok("juliet@sip.example"));
    assert_eq!(enter(&mut mapped, "juliet@sip.example").unwrap_err(), "not-acceptable");

    let mut encoded = world(vec![
        row(Some("pbx.example"), "sip.example", Rule::Encode),
        row(Some("phones.example"), "sip.example", Rule::Encode),
        row(None, "sip.example", Rule::Encode),
    ]);
    assert_eq!(enter(&mut encoded, "sip:juliet@pbx.example").as_deref(), Ok(r"juliet\40pbx.example@sip.example"));
    assert_eq!(enter(&mut encoded, "sip:j@anywhere.example").as_deref(), Ok(r"j\40anywhere.example@sip.example"));
    // Several domains are behind this one, so a name alone is nobody's.
    assert_eq!(enter(&mut encoded, "juliet").unwrap_err(), "not-acceptable");
}

/// What is entered and what is written are inverse: a message to the JID goes to the address.
#[test]
fn the_jid_leads_to_the_address_that_was_entered() {
    let mut world = world(vec![row(Some("sip.example"), "", Rule::Same)]);
    let jid = enter(&mut world, "sip:o%27malley@sip.example").expect("a JID");
    world.server_writes(format!("<message from='romeo@xmpp.example/o' to='{jid}' id='m'><body>hello</body></message>"));
    let request = world.take_datagram().expect("a request");
    assert!(request.starts_with("MESSAGE sip:o'malley@sip.example SIP/2.0\r\n"), "{request}");
}
