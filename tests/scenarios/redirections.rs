//! Somebody is said to be elsewhere: who is told, and who is followed.

use entente_tests::world::{World, attribute, message};

/// Sends a message and lets romeo's side answer it; gives the response of the gateway.
fn bounced(world: &mut World, n: u32, condition: &str, new: &str) -> String {
    world.proxy_sends(message(n, "romeo@xmpp.example", "hello"));
    let stanzas = world.take_stanzas();
    let stanza = stanzas.iter().find(|stanza| stanza.starts_with("<message")).expect("the message");
    let id = attribute(stanza, "id").expect("an id");
    world.server_writes(format!(
        "<message from='romeo@xmpp.example' to='juliet@sip.example' id='{id}' type='error'><error type='cancel'>\
         <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>{new}</{condition}></error></message>"
    ));
    world.take_datagram().expect("the answer")
}

/// RFC 7247 section 7.1 with note 3, where the operator trusts the new domain.
#[test]
fn a_sip_sender_is_told_of_the_new_address_in_a_trusted_domain() {
    let mut world = World::with(|settings| settings.sip.redirects.told = vec!["xmpp.example".into()]);
    let new = "\n  xmpp:o%5C27malley%5C20jr@xmpp.example/tomb\n";
    for (n, (condition, status)) in [("gone", 301), ("redirect", 302)].into_iter().enumerate() {
        let answer = bounced(&mut world, n as u32, condition, new);
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{answer}");
        assert!(answer.contains("\r\nContact: <sip:o'malley%20jr@xmpp.example>\r\n"), "{answer}");
        // The same again for a retransmission.
        world.proxy_sends(message(n as u32, "romeo@xmpp.example", "hello"));
        assert_eq!(world.take_datagram(), Some(answer));
    }
}

#[test]
fn nobody_is_sent_to_a_domain_that_is_not_trusted() {
    let mut world = World::with(|settings| settings.sip.redirects.told = vec!["xmpp.example".into()]);
    for (n, (condition, new, status)) in [
        ("gone", "xmpp:romeo@evil.example", 410),
        ("redirect", "xmpp:romeo@evil.example", 480),
        ("gone", "sip:romeo@xmpp.example", 410),
        ("redirect", "", 480),
        ("gone", "xmpp:xmpp.example", 410),
        // No redirection, whatever stands there.
        ("item-not-found", "xmpp:romeo@xmpp.example", 404),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = bounced(&mut world, n as u32, condition, new);
        assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{condition} {new}: {answer}");
        assert!(!answer.contains("Contact"), "{answer}");
    }
    let mut world = World::new();
    let answer = bounced(&mut world, 1, "gone", "xmpp:romeo@xmpp.example");
    assert!(answer.starts_with("SIP/2.0 410 "), "nobody is trusted unless it is said: {answer}");
}
