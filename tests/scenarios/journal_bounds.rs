//! However much is kept and however slow the store is: what is asked of it, and what waits for it, has a bound.

use engine::journal::When;
use entente_tests::world::{World, message, response, status};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// More than any number of orders that a store has to take at a time.
const ORDERS: usize = 64;
/// Octets of a batch that waits for the store, and one message more.
const BATCH: usize = (16 << 20) + 70_000;

fn world(when: When) -> World {
    World::keeping_with(when, |settings| {
        settings.journal.keep[0].per_conversation = 10_000;
        settings.journal.keep[0].largest = 100_000;
        settings.journal.max_entries = 10_000;
        settings.journal.max_octets = 100 << 20;
    })
}

fn large(n: u32, user: &str) -> String {
    message(n, user, &format!("text {n} {}", "x".repeat(50_000)))
}

/// 30 MB in as many conversations, of which 16 are at hand after the start.
#[test]
fn what_is_not_at_hand_is_loaded_a_little_at_a_time() {
    for lifetime in [86_400, 60] {
        let mut world = World::keeping_with(When::Away, |settings| {
            settings.journal.keep[0].lifetime = SECOND * lifetime;
            settings.journal.keep[0].largest = 100_000;
            settings.journal.max_entries = 10_000;
            settings.journal.max_octets = 100 << 20;
        });
        world.break_stream();
        for n in 0..600 {
            world.proxy_sends(large(n, &format!("user{n}@xmpp.example")));
        }
        assert_eq!(world.take_statuses(), [202; 600]);
        world.restart(0);
        world.kept().delay = SECOND / 10;
        let is_delivered = lifetime > 60;
        if is_delivered {
            world.accept_component();
        } else {
            world.advance(SECOND * 60);
        }
        let (mut texts, mut most) = (0, 0);
        for _ in 0..1000 {
            texts += world.return_pings().iter().filter(|stanza| stanza.starts_with("<message")).count();
            most = most.max(world.kept().store.under_way());
            if world.entries() == 0 {
                break;
            }
            world.advance(SECOND / 10);
        }
        assert!(most <= ORDERS, "{most} orders at a time");
        let counters = world.engine.counters().journal.expect("a journal");
        assert_eq!((world.entries(), counters.damaged), (0, 0));
        let wanted = if is_delivered { (600, 600, 0) } else { (0, 0, 600) };
        assert_eq!((texts, counters.delivered, counters.expired), wanted);
    }
}

/// The disk hangs under full load. What is written goes on, unless it has to be kept.
#[test]
fn what_waits_for_a_store_that_hangs_has_a_bound() {
    let mut world = world(When::Every);
    world.kept().delay = SECOND * 300;
    // Both are with the store; that they are to be deleted again waits.
    world.proxy_sends(large(500, "romeo@xmpp.example"));
    world.proxy_sends(large(501, "romeo@xmpp.example"));
    for n in 0..500 {
        world.proxy_sends(large(n, "romeo@xmpp.example"));
        world.return_pings();
    }
    assert_eq!(world.take_statuses(), [202; 502], "they were delivered");
    world.advance(SECOND * 301);
    let waits = world.kept().store.octets_under_way();
    assert!(waits <= BATCH, "{waits} octets");
    world.advance(SECOND * 700);
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}

/// Likewise where the way is gone too: whoever is not promised anything can send it again.
#[test]
fn what_cannot_be_kept_while_the_store_hangs_has_a_bound() {
    let mut world = world(When::Away);
    world.break_stream();
    world.kept().delay = SECOND * 300;
    let mut refused = 0;
    for n in 0..1000 {
        world.proxy_sends(large(n, &format!("user{n}@xmpp.example")));
        if n % 100 == 99 {
            world.advance(SECOND / 2);
        }
        refused += world.take_statuses().iter().filter(|status| [503, 504].contains(*status)).count();
    }
    world.advance(SECOND * 3);
    refused += world.take_statuses().iter().filter(|status| **status == 503).count();
    assert_eq!(refused, 1000, "one answer each");
    world.advance(SECOND * 301);
    let waits = world.kept().store.octets_under_way();
    assert!(waits <= BATCH, "{waits} octets");
    world.advance(SECOND * 700);
    assert_eq!(world.entries(), 0);
    // It is well again.
    world.kept().delay = Duration::ZERO;
    world.proxy_sends(message(1001, "romeo@xmpp.example", "art thou there?"));
    assert_eq!((world.take_statuses(), world.entries()), (vec![202], 1));
}

/// Who writes is there; who writes much is not tried with each word.
#[test]
fn who_is_heard_of_is_tried_once_in_a_while() {
    let mut world = World::keeping(When::Away);
    world.server_writes(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m1'><body>hello</body></message>",
    );
    let (mut requests, mut answers) = (0, 0);
    for n in 0..50 {
        world.proxy_sends(message(n, "romeo@xmpp.example", &format!("word {n}")));
        world.return_pings();
        while let Some(datagram) = world.take_datagram() {
            if status(&datagram).is_some() {
                answers += 1;
            } else {
                requests += 1;
                world.proxy_sends(response(&datagram, "480 Temporarily Unavailable", ""));
            }
        }
        world.advance(SECOND / 10);
    }
    assert_eq!(answers, 50);
    assert!((5..=8).contains(&requests), "{requests} in five seconds");
}

/// The gateway was killed before it could answer, delivers all of it when it is started, and then everybody asks again.
#[test]
fn many_that_were_delivered_from_the_journal_are_known() {
    const MANY: u32 = 6000;
    let mut world = world(When::Away);
    world.break_stream();
    let asked = |n| message(n, &format!("user{n}@xmpp.example"), "art thou there?");
    for n in 0..MANY {
        world.proxy_sends(asked(n));
    }
    assert_eq!(world.take_statuses(), [202; MANY as usize]);
    world.turn_log.clear();
    world.restart(0);
    world.accept_component();
    world.return_pings();
    assert_eq!(world.entries(), 0);
    for n in 0..MANY {
        world.proxy_sends(asked(n));
    }
    assert!(world.take_statuses() == [202; MANY as usize]);
    assert_eq!(world.take_message(), None, "nobody gets it twice");
}

/// The XMPP server hangs with more than are under way at a time; a phone is back.
#[test]
fn what_one_side_is_slow_with_holds_nothing_up_for_the_other() {
    let mut world = world(When::Away);
    world.server_writes(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m1'><body>hello</body></message>",
    );
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(response(&request, "480 Temporarily Unavailable", ""));
    for n in 0..300 {
        let asked = message(n, &format!("user{n}@xmpp.example"), "art thou there?");
        // Of another one: who is heard of is there.
        world.proxy_sends(asked.replace("<sip:juliet@", "<sip:nurse@"));
    }
    world.advance(SECOND * 3);
    assert!(world.take_statuses() == [202; 300], "they are kept, and under way");
    world.advance(SECOND * 4);
    let request = world.take_datagram().expect("the next attempt");
    assert!(request.starts_with("MESSAGE ") && request.ends_with("hello"), "{request}");
}
