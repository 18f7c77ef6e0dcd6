//! Nobody speaks in another's name, and one sender's trouble is not another's.

use entente_tests::world::{World, message};

#[test]
fn a_stranger_on_the_network_is_refused() {
    let mut world = World::new();
    world.sends_from(([203, 0, 113, 5], 5060).into(), message(1, "romeo@xmpp.example", "hello"));
    assert_eq!(world.take_statuses(), [403]);
    assert!(world.take_stanza().is_none());
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
