//! An operator drops entries of the journal while the gateway runs.

use engine::journal::{DAMAGED, DEAD, QUEUE, When, describe};
use entente_tests::world::{World, message};
use std::time::Duration;

/// Messages for Romeo, whose link is down.
fn kept(texts: &[&str]) -> World {
    kept_with(texts, |_| {})
}

fn kept_with(texts: &[&str], change: impl FnOnce(&mut engine::Settings)) -> World {
    let mut world = World::keeping_with(When::Away, change);
    world.break_stream();
    for (text, n) in texts.iter().zip(1..) {
        world.proxy_sends(message(n, "romeo@xmpp.example", text));
        assert_eq!(world.take_statuses(), [202], "{text}");
    }
    world
}

/// The keys of the entries, in their order.
fn keys(world: &mut World) -> Vec<Vec<u8>> {
    world.kept().store.rows(QUEUE).into_iter().map(|row| row.key).collect()
}

/// Drops some, and gives how many of them there were.
fn drop_entries(world: &mut World, keys: &[&[u8]]) -> usize {
    let dropped = world.engine.drop_entries(keys);
    world.turn();
    dropped
}

fn link_is_up(world: &mut World) {
    world.advance(Duration::from_secs(3));
    world.accept_component();
}

/// Romeo's side takes all there is.
fn delivered(world: &mut World) -> Vec<String> {
    let mut messages = Vec::new();
    while let Some(stanza) = world.take_stanza() {
        match stanza.starts_with("<iq") {
            true => world.server_writes(&stanza),
            false => messages.push(stanza),
        }
    }
    messages
}

#[test]
fn what_is_dropped_is_not_delivered_and_the_rest_is_in_its_order() {
    let mut world = kept(&["first", "second", "third"]);
    let row = world.kept().store.rows(QUEUE).remove(1);
    let found = describe(&row.key, &row.value).unwrap();
    assert_eq!((&*found.source, &*found.destination), ("juliet@sip.example", "romeo@xmpp.example"));
    assert_eq!((found.content_type, found.content), (&b"text/plain"[..], &b"second"[..]));
    assert_eq!(drop_entries(&mut world, &[&row.key]), 1);
    assert_eq!(world.entries(), 2);
    // It is not there a second time, and neither is what never was.
    assert_eq!(drop_entries(&mut world, &[&row.key, b"nothing"]), 0);
    link_is_up(&mut world);
    let messages = delivered(&mut world);
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].contains("first") && messages[1].contains("third"), "{messages:?}");
    assert_eq!(world.engine.counters().journal.unwrap().dropped, 1);
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}

/// The first of a conversation may go: the others do not wait for it.
#[test]
fn what_waits_behind_a_dropped_entry_goes_on() {
    let mut world = kept(&["first", "second"]);
    link_is_up(&mut world);
    // It is under way, and its server has not handed the ping back that follows.
    let first = world.take_stanza().unwrap();
    assert!(first.contains("first"), "{first}");
    let key = keys(&mut world).remove(0);
    assert_eq!(drop_entries(&mut world, &[&key]), 1);
    let messages = delivered(&mut world);
    assert!(messages.iter().any(|message| message.contains("second")), "{messages:?}");
    assert!(!messages.iter().any(|message| message.contains("first")), "{messages:?}");
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}

/// What was given up and waits for being handed over is nobody's letter any more, not even after a restart.
#[test]
fn a_dead_letter_that_is_dropped_is_not_handed_over_again() {
    let mut world = kept_with(&["first"], |settings| {
        settings.journal.dead_letters = true;
        settings.journal.keep[0].lifetime = Duration::from_secs(60);
    });
    world.advance(Duration::from_secs(61));
    let letter = world.hand_over(false);
    assert_eq!(letter.content, b"first");
    assert_eq!(world.kept().store.rows(DEAD).len(), 1);
    let key = keys(&mut world).remove(0);
    assert_eq!(drop_entries(&mut world, &[&key]), 1);
    assert_eq!((world.entries(), world.kept().store.rows(DEAD).len()), (0, 0));
    world.restart(0);
    world.accept_component();
    world.advance(Duration::from_secs(3600));
    assert!(world.kept().letters.is_empty());
    assert_eq!(delivered(&mut world), Vec::<String>::new());
}

#[test]
fn an_entry_that_cannot_be_read_is_put_aside_until_it_is_dropped() {
    let mut world = kept(&["first", "second"]);
    world.kept().store.corrupt(QUEUE, 0, |value| *value.last_mut().unwrap() ^= 1).unwrap();
    world.restart(0);
    let aside = world.kept().store.rows(DAMAGED);
    assert_eq!((aside.len(), world.entries()), (1, 1));
    assert!(describe(&aside[0].key, &aside[0].value).is_err());
    // It is no entry, and gone all the same.
    assert_eq!(drop_entries(&mut world, &[&aside[0].key]), 0);
    assert_eq!((world.kept().store.rows(DAMAGED).len(), world.entries()), (0, 1));
    link_is_up(&mut world);
    let messages = delivered(&mut world);
    assert!(messages.len() == 1 && messages[0].contains("second"), "{messages:?}");
    world.assert_quiet();
}
