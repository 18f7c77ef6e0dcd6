//! The store behind the journal is slow, full, broken, torn; the gateway is killed and started again.

use engine::journal::{DAMAGED, QUEUE, When};
use entente_tests::store::Condition;
use entente_tests::world::{World, attribute, delivered, header, message, request_of, response, status};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn stanza(id: &str, text: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='{id}'><body>{text}</body></message>"
    )
}

/// 400 messages of 20 MB in all are kept for Romeo, of which 16 MiB are in memory.
fn with_more_than_is_at_hand() -> World {
    let mut world = World::keeping_with(When::Away, |settings| {
        settings.journal.keep[0].per_conversation = 1000;
        settings.journal.keep[0].largest = 100_000;
        settings.journal.max_entries = 1000;
        settings.journal.max_octets = 100 << 20;
    });
    world.break_stream();
    for n in 0..400 {
        world.proxy_sends(message(n, "romeo@xmpp.example", &format!("text {n} {}", "x".repeat(50_000))));
    }
    assert_eq!(world.take_statuses(), [202; 400]);
    world
}

/// The next response, whole.
fn answer(world: &mut World) -> String {
    let answer = world.take_datagram().expect("an answer");
    assert!(status(&answer).is_some(), "{answer}");
    answer
}

#[test]
fn a_full_store_refuses_for_a_time_and_works_when_there_is_room() {
    let mut world = World::keeping(When::Away);
    world.break_stream();
    world.kept().store.condition = Condition::Full;
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    let refused = answer(&mut world);
    assert_eq!((status(&refused), header(&refused, "Retry-After")), (Some(503), Some("5")), "{refused}");
    world.kept().store.condition = Condition::Working;
    world.advance(SECOND * 2);
    world.proxy_sends(message(2, "romeo@xmpp.example", "second"));
    assert_eq!(world.take_statuses(), [202]);
    world.advance(SECOND);
    world.accept_component();
    assert!(world.engine.is_ready());
    assert!(delivered(&mut world).is_some_and(|stanza| stanza.contains("second")), "and nothing of the first");
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}

#[test]
fn a_full_store_stops_nothing_that_need_not_be_kept() {
    let mut world = World::keeping(When::Away);
    world.kept().store.condition = Condition::Full;
    world.server_writes(stanza("m1", "art thou there?"));
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(response(&request, "480 Temporarily Unavailable", ""));
    assert!(world.take_stanza().is_some_and(|error| error.contains("internal-server-error")));
    assert!(world.engine.is_ready());
    world.proxy_sends(message(2, "romeo@xmpp.example", "second"));
    world.return_pings();
    assert_eq!(world.take_statuses(), [202]);
    world.kept().store.condition = Condition::Working;
    world.advance(SECOND * 2);
    world.assert_quiet();
}

/// What a disk has made of a key must not decide over what comes.
#[test]
fn an_entry_with_a_number_that_is_never_given_is_put_aside() {
    for number in [0, u64::MAX] {
        let mut world = World::keeping(When::Away);
        world.break_stream();
        world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
        let row = world.kept().store.rows(QUEUE).remove(0);
        let mut key = row.key.clone();
        key[16..].copy_from_slice(&number.to_be_bytes());
        let mut change = turn::Batch::default();
        change.put(QUEUE, &key, |value| value.extend_from_slice(&row.value));
        let now = world.now;
        world.kept().store.commit(now, turn::Ticket(u64::MAX), change);
        world.turn();
        world.restart(0);
        assert_eq!((world.entries(), world.kept().store.rows(DAMAGED).len()), (1, 1));
        world.proxy_sends(message(2, "romeo@xmpp.example", "second"));
        world.accept_component();
        let texts: Vec<String> =
            world.return_pings().into_iter().filter(|stanza| stanza.starts_with("<message")).collect();
        assert!(texts.len() == 2 && texts[0].contains("first") && texts[1].contains("second"), "{texts:?}");
    }
}

#[test]
fn a_broken_store_is_an_error_of_ours_and_the_gateway_is_not_ready() {
    let mut world = World::keeping(When::Away);
    world.kept().store.condition = Condition::Broken;
    world.server_writes(stanza("m1", "art thou there?"));
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(response(&request, "480 Temporarily Unavailable", ""));
    assert!(world.take_stanza().is_some_and(|error| error.contains("internal-server-error")));
    assert!(!world.engine.is_ready());
    assert_eq!(world.engine.counters().journal.expect("a journal").broken, 1);
    // What needs no store goes on.
    world.server_writes(stanza("m2", "art thou there now?"));
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(response(&request, "200 OK", ""));
    world.kept().store.condition = Condition::Working;
    world.advance(SECOND * 2);
    assert!(world.engine.is_ready(), "it found out by itself that the store is well again");
    world.assert_quiet();
}

#[test]
fn a_slow_store_refuses_for_a_time_and_what_was_refused_is_not_delivered() {
    let mut world = World::keeping(When::Away);
    world.break_stream();
    world.kept().delay = SECOND * 10;
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    world.proxy_sends(message(2, "nurse@xmpp.example", "second"));
    world.proxy_sends(message(3, "paris@xmpp.example", "third"));
    world.advance(SECOND * 2);
    let refused = answer(&mut world);
    assert_eq!((status(&refused), header(&refused, "Retry-After")), (Some(503), Some("5")), "{refused}");
    assert_eq!(world.take_statuses(), [503, 503]);
    world.advance(SECOND * 40);
    while world.carry_out_close().is_some() {}
    while world.connects.is_empty() {
        world.advance(SECOND);
    }
    world.accept_component();
    assert_eq!(world.take_message(), None);
    assert_eq!(world.entries(), 0);
    assert_eq!(world.engine.counters().journal.expect("a journal").slow, 3);
}

#[test]
fn what_was_promised_outlives_the_gateway_and_nothing_else() {
    let mut world = World::keeping(When::Away);
    world.break_stream();
    world.proxy_sends(message(1, "romeo@xmpp.example", "promised"));
    assert_eq!(world.take_statuses(), [202]);
    world.kept().delay = SECOND;
    world.proxy_sends(message(2, "romeo@xmpp.example", "not yet promised"));
    world.restart(0);
    assert_eq!(world.take_statuses(), [0_u16; 0]);
    world.kept().delay = Duration::ZERO;
    world.accept_component();
    let stanza = delivered(&mut world).expect("a message");
    assert!(stanza.contains(">promised<") && stanza.contains("<delay"), "{stanza}");
    assert_eq!((world.entries(), world.take_message()), (0, None));
    let counters = world.engine.counters().journal.expect("a journal");
    assert_eq!((counters.restored, counters.possible_duplicates), (1, 1));
    world.assert_quiet();
}

#[test]
fn order_and_ids_outlive_the_gateway() {
    let mut world = World::keeping(When::Every);
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    world.proxy_sends(message(2, "romeo@xmpp.example", "second"));
    let before: Vec<String> =
        world.take_stanzas().into_iter().filter(|stanza| stanza.starts_with("<message")).collect();
    world.restart(0);
    world.accept_component();
    for known in &before {
        let again = delivered(&mut world).expect("a message");
        assert_eq!(attribute(&again, "id"), attribute(known, "id"));
    }
    assert_eq!(world.entries(), 0);
    // Whoever was not answered asks again.
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    world.proxy_sends(message(2, "romeo@xmpp.example", "second"));
    assert_eq!(world.take_statuses(), [202, 202]);
    assert_eq!(world.take_message(), None, "it was delivered from the journal");
    assert_eq!(world.engine.counters().journal.expect("a journal").known, 2);
    world.assert_quiet();
}

#[test]
fn a_phone_that_had_a_request_before_the_crash_gets_the_same_request() {
    let mut world = World::keeping(When::Every);
    world.server_writes(stanza("m1", "art thou there?"));
    let before = world.take_datagram().expect("a request");
    world.restart(0);
    let again = world.take_datagram().expect("the request once more");
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        assert_eq!(header(&again, name), header(&before, name));
    }
    world.proxy_sends(response(&again, "200 OK", ""));
    assert_eq!(world.entries(), 0);
}

#[test]
fn the_attempt_in_whose_middle_the_gateway_was_killed_is_repeated() {
    let mut world = World::keeping(When::Away);
    world.server_writes(stanza("m1", "art thou there?"));
    let mut requests = vec![world.take_datagram().expect("a request")];
    for _ in 0..2 {
        let last = requests.last().expect("a request");
        world.proxy_sends(response(last, "480 Temporarily Unavailable", ""));
        world.advance(SECOND * 12);
        requests.push(request_of(&mut world).expect("the next attempt"));
    }
    world.restart(0);
    let again = world.take_datagram().expect("the request once more");
    let via = |request: &str| header(request, "Via").map(str::to_owned);
    assert_eq!((via(&again), header(&again, "CSeq")), (via(&requests[2]), header(&requests[2], "CSeq")));
    assert_ne!(via(&again), via(&requests[1]));
}

#[test]
fn an_answer_that_was_given_is_given_again_after_the_crash() {
    let mut world = World::keeping(When::Away);
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    world.return_pings();
    let before = answer(&mut world);
    assert_eq!(status(&before), Some(202));
    world.restart(0);
    world.accept_component();
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    assert_eq!(answer(&mut world), before);
    assert_eq!(world.take_message(), None);
}

#[test]
fn an_entry_that_cannot_be_read_is_put_aside_and_the_others_go_on() {
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 5] = [
        |value| value.clear(),
        |value| value.truncate(value.len() / 2),
        |value| value[0] = 99,
        |value| *value.last_mut().expect("octets") ^= 1,
        |value| value[20] ^= 0x40,
    ];
    for change in changes {
        let mut world = World::keeping(When::Away);
        world.break_stream();
        for n in 1..=3 {
            world.proxy_sends(message(n, "romeo@xmpp.example", &format!("text {n}")));
        }
        assert_eq!(world.take_statuses(), [202; 3]);
        world.kept().store.corrupt(QUEUE, 1, change).expect("an entry");
        world.restart(0);
        world.accept_component();
        let texts: Vec<String> = world.return_pings();
        assert!(texts.len() == 2 && texts[0].contains("text 1") && texts[1].contains("text 3"), "{texts:?}");
        assert_eq!((world.entries(), world.kept().store.rows(DAMAGED).len()), (0, 1));
        assert_eq!(world.engine.counters().journal.expect("a journal").damaged, 1);
        world.assert_quiet();
    }
}

#[test]
fn an_entry_moved_to_another_conversation_is_nobodys() {
    let mut world = World::keeping(When::Away);
    world.break_stream();
    world.proxy_sends(message(1, "romeo@xmpp.example", "for Romeo"));
    world.proxy_sends(message(2, "nurse@xmpp.example", "for the nurse"));
    let rows = world.kept().store.rows(QUEUE);
    world.kept().store.corrupt(QUEUE, 0, |value| value.clone_from(&rows[1].value));
    world.restart(0);
    world.accept_component();
    let texts: Vec<String> = world.return_pings();
    assert!(texts.len() == 1 && texts[0].contains("for the nurse"), "{texts:?}");
    assert_eq!(world.kept().store.rows(DAMAGED).len(), 1);
}

#[test]
fn what_is_not_at_hand_is_loaded_when_its_turn_comes() {
    let mut world = with_more_than_is_at_hand();
    world.advance(SECOND);
    world.accept_component();
    // One order in the middle is not answered at first.
    for n in 0..400 {
        if n == 380 {
            world.kept().store.condition = Condition::Broken;
        }
        let stanza = delivered(&mut world).or_else(|| {
            world.advance(SECOND * 2);
            world.kept().store.condition = Condition::Working;
            world.advance(SECOND * 20);
            delivered(&mut world)
        });
        assert!(stanza.as_ref().is_some_and(|stanza| stanza.contains(&format!("text {n} "))), "{n}");
    }
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}

#[test]
fn an_entry_that_is_gone_from_the_store_stops_nobody() {
    let mut world = with_more_than_is_at_hand();
    let rows = world.kept().store.rows(QUEUE);
    let mut loss = turn::Batch::default();
    loss.delete(QUEUE, &rows[390].key);
    let now = world.now;
    world.kept().store.commit(now, turn::Ticket(u64::MAX), loss);
    world.advance(SECOND);
    world.accept_component();
    let mut texts = world.return_pings();
    texts.retain(|stanza| stanza.starts_with("<message"));
    assert_eq!(texts.len(), 399);
    assert!(texts.iter().all(|stanza| !stanza.contains("text 390 ")));
    assert_eq!((world.entries(), world.engine.counters().journal.expect("a journal").damaged), (0, 1));
    world.assert_quiet();
}

#[test]
fn a_gateway_that_ends_makes_durable_what_it_has_begun_and_leaves_the_rest() {
    let mut world = World::keeping(When::Away);
    world.server_writes(stanza("m1", "art thou there?"));
    let request = request_of(&mut world).expect("a request");
    world.kept().delay = SECOND;
    world.proxy_sends(response(&request, "480 Temporarily Unavailable", ""));
    world.engine.drain();
    world.turn();
    assert!(world.closes.is_empty(), "it is not durable yet");
    world.advance(SECOND);
    assert_eq!(world.entries(), 1);
    assert!(world.take_stanzas().iter().any(|end| end == "</stream:stream>"));
    world.advance(SECOND * 30);
    assert_eq!(world.take_datagram(), None, "no attempt is begun any more");
}
