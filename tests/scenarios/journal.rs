//! Messages whose destination is away are kept, and delivered when it is back.

use engine::journal::When;
use entente_tests::world::{World, header, message, response};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The next message and nothing else leaves; the server hands back the two pings behind it.
fn delivered(world: &mut World) -> Option<String> {
    let message = world.take_stanza()?;
    for _ in 0..2 {
        let ping = world.take_stanza().expect("a ping");
        assert!(ping.starts_with("<iq"), "one at a time: {ping}");
        assert_eq!(world.take_stanza(), None, "one at a time");
        world.server_writes(&ping);
    }
    Some(message)
}

/// The request that is open, however often it was sent.
fn request_of(world: &mut World) -> Option<String> {
    let first = world.take_datagram()?;
    while let Some(repeated) = world.take_datagram() {
        assert_eq!(repeated, first, "one at a time");
    }
    Some(first)
}

#[test]
fn while_the_link_is_down_messages_are_kept_and_delivered_in_order() {
    let mut world = World::keeping(When::Away);
    world.break_stream();
    for (n, text) in [(1, "first"), (2, "second"), (3, "third")] {
        world.proxy_sends(message(n, "romeo@xmpp.example", text));
        assert_eq!(world.take_statuses(), [202], "{text}");
    }
    assert_eq!(world.entries(), 3);
    world.advance(SECOND * 3);
    world.accept_component();
    for text in ["first", "second", "third"] {
        let stanza = delivered(&mut world).unwrap_or_else(|| panic!("{text}"));
        assert!(stanza.contains(text), "{stanza}");
        assert!(
            stanza.contains("<delay xmlns='urn:xmpp:delay' stamp='2026-11-20T19:00:00Z' from='sip.example'/>"),
            "{stanza}"
        );
    }
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}

#[test]
fn a_phone_that_is_away_gets_its_messages_later() {
    let mut world = World::keeping(When::Away);
    let stanza = |id: &str, text: &str| {
        format!(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='{id}'><body>{text}</body></message>"
        )
    };
    world.server_writes(stanza("m1", "first"));
    world.server_writes(stanza("m2", "second"));
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(response(&request, "480 Temporarily Unavailable", ""));
    assert_eq!(world.take_datagram(), None, "of what waits nothing is tried before the first was");
    assert_eq!(world.take_stanzas(), Vec::<String>::new(), "nobody is told that it failed");
    assert_eq!(world.entries(), 2);
    world.advance(SECOND * 10);
    let again = request_of(&mut world).expect("the first once more");
    assert!(again.ends_with("first"), "{again}");
    assert_eq!(header(&again, "Call-ID"), header(&request, "Call-ID"));
    assert!(header(&again, "Date").is_some(), "{again}");
    world.proxy_sends(response(&again, "200 OK", ""));
    let second = world.take_datagram().expect("the second");
    assert!(second.ends_with("second"), "{second}");
    world.proxy_sends(response(&second, "200 OK", ""));
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}
