//! A bounce after the answer: counted, and told once in a while.

use entente_tests::world::{World, attribute, message};
use std::time::Duration;

fn answered(world: &mut World, n: u32) -> String {
    world.proxy_sends(message(n, "romeo@xmpp.example", "hello"));
    let stanza = world.take_stanza().expect("the message");
    for _ in 0..2 {
        let ping = world.take_stanza().expect("a ping");
        world.server_writes(&ping);
    }
    assert_eq!(world.take_statuses(), [202]);
    attribute(&stanza, "id").expect("an id").to_owned()
}

fn bounce(id: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example' to='juliet@sip.example' id='{id}' type='error'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )
}

#[test]
fn a_sender_is_told_once_in_ten_seconds() {
    let mut world = World::new();
    let ids = [1, 2, 3].map(|n| answered(&mut world, n));
    world.server_writes(bounce(&ids[0]));
    world.server_writes(bounce(&ids[1]));
    assert_eq!(world.datagrams.len(), 1);
    world.advance(Duration::from_secs(11));
    world.datagrams.clear();
    world.server_writes(bounce(&ids[2]));
    assert_eq!(world.engine.counters().late_failures, 3);
}

#[test]
fn nothing_is_told_where_that_is_configured() {
    let mut world = World::with(|settings| settings.late_failure = engine::LateFailure::Nothing);
    let id = answered(&mut world, 1);
    world.server_writes(bounce(&id));
    assert_eq!(world.engine.counters().late_failures, 1);
    world.assert_quiet();
}

#[test]
fn a_bounce_of_something_we_never_sent_is_nobodys() {
    let mut world = World::new();
    let id = answered(&mut world, 1);
    // Another recipient, another sender, another id: the id proves none of them.
    world.server_writes(bounce(&id).replace("romeo@", "mallory@"));
    world.server_writes(bounce(&id).replace("juliet@", "nurse@"));
    world.server_writes(bounce("abcdefghijklmnopqrstuvwxyz"));
    assert_eq!(world.engine.counters().late_failures, 0);
    world.assert_quiet();
}
