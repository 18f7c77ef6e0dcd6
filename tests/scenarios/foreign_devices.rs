//! A SIP user's device that wrote is known to be there: it may be asked what it can (XEP-0030, XEP-0199, XEP-0071).

use cpim::{AcceptedBy, Accepts, DomainPattern};
use entente_tests::world::{World, attribute, message};
use std::time::Duration;

const ORCHARD: &str = "romeo@xmpp.example/orchard";

/// Juliet writes with a device of hers; gives the full JID that her text comes from.
fn writes(world: &mut World, n: u32) -> String {
    let request = message(n, "romeo@xmpp.example", "hello")
        .replace("From: <sip:juliet@sip.example>", "From: <sip:juliet@sip.example;gr=kjh29x97us97d>");
    world.proxy_sends(request);
    let stanza = world.take_stanza().expect("a message");
    while let Some(ping) = world.take_stanza() {
        world.server_writes(ping);
    }
    assert_eq!(world.take_statuses(), [202]);
    attribute(&stanza, "from").expect("a sender").to_owned()
}

fn ask(world: &mut World, to: &str, payload: &str) -> String {
    world.server_writes(format!("<iq from='{ORCHARD}' to='{to}' id='q' type='get'>{payload}</iq>"));
    let answer = world.take_stanza().expect("every iq is answered");
    assert_eq!((attribute(&answer, "from"), attribute(&answer, "to")), (Some(to), Some(ORCHARD)), "{answer}");
    answer
}

const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
const ITEMS: &str = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

#[test]
fn a_device_that_wrote_answers_for_an_hour() {
    let mut world = World::new();
    let device = writes(&mut world, 1);
    assert_eq!(device, "juliet@sip.example/kjh29x97us97d");
    let info = ask(&mut world, &device, INFO);
    assert!(
        info.ends_with(
            "type='result'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='phone'/>\
             <feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/>\
             <feature var='urn:xmpp:ping'/><feature var='urn:xmpp:receipts'/>\
             <feature var='http://jabber.org/protocol/shim'/><feature var='urn:xmpp:sid:0'/></query></iq>"
        ),
        "{info}"
    );
    assert!(ask(&mut world, &device, PING).ends_with(" type='result'/>"));
    assert!(ask(&mut world, &device, ITEMS).contains(" type='result'>"));
    let node = "<query xmlns='http://jabber.org/protocol/disco#info' node='http://jabber.org/protocol/shim'/>";
    assert!(ask(&mut world, &device, node).contains("var='http://jabber.org/protocol/shim#Max-Forwards'"));
    // What kind of program it is, and since when it is idle, it does not say.
    assert!(ask(&mut world, &device, "<query xmlns='jabber:iq:version'/>").contains("<service-unavailable "));
    assert!(ask(&mut world, &device, "<query xmlns='jabber:iq:last'/>").contains("<forbidden "));

    // Nothing of it shows at the bare address, at another device, or of another user.
    for other in ["juliet@sip.example", "juliet@sip.example/other", "nurse@sip.example/kjh29x97us97d"] {
        assert!(ask(&mut world, other, INFO).contains("<service-unavailable "), "{other}");
        assert!(ask(&mut world, other, PING).contains("<service-unavailable "), "{other}");
    }
    world.advance(Duration::from_secs(3599));
    assert!(ask(&mut world, &device, PING).ends_with(" type='result'/>"));
    world.advance(Duration::from_secs(1));
    assert!(ask(&mut world, &device, PING).contains("<service-unavailable "));
    writes(&mut world, 2);
    assert!(ask(&mut world, &device, PING).ends_with(" type='result'/>"));
    world.assert_quiet();
}

#[test]
fn a_device_of_a_domain_that_takes_markup_says_so() {
    let mut world = World::with(|settings| {
        let html = Accepts::new(["text/html"]).expect("a type");
        settings.xmpp.foreign = AcceptedBy::new(vec![(DomainPattern::Exactly("sip.example".into()), html)]);
    });
    let device = writes(&mut world, 1);
    let info = ask(&mut world, &device, INFO);
    assert!(info.contains("<feature var='http://jabber.org/protocol/xhtml-im'/>"), "{info}");
}
