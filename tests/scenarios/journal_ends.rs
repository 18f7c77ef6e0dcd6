//! Kept messages that are not delivered: too old, refused, unwanted; and what is never kept.

use cpim::Reason;
use engine::journal::{DEAD, When};
use entente_tests::world::{World, message, request_of, response};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

fn stanza(id: &str, text: &str, more: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='{id}'><body>{text}</body>{more}</message>"
    )
}

/// Somebody takes dead letters, and nothing is kept for more than a minute.
fn with_letters(change: impl FnOnce(&mut engine::Settings)) -> World {
    World::keeping_with(When::Away, |settings| {
        settings.journal.dead_letters = true;
        settings.journal.keep[0].lifetime = SECOND * 60;
        change(settings);
    })
}

/// Juliet's phone is away: whatever is sent to it is answered so.
fn is_away(world: &mut World) {
    while let Some(request) = request_of(world) {
        world.proxy_sends(response(&request, "480 Temporarily Unavailable", ""));
    }
}

/// Lets time pass while she is away.
fn stays_away(world: &mut World, span: Duration) {
    let end = world.now + span;
    while world.now < end {
        world.advance((end - world.now).min(SECOND * 20));
        is_away(world);
    }
}

#[test]
fn an_xmpp_sender_is_told_of_what_became_too_old() {
    let mut world = World::keeping(When::Away);
    world.server_writes(stanza("m1", "art thou there?", ""));
    is_away(&mut world);
    stays_away(&mut world, DAY - SECOND * 10);
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
    stays_away(&mut world, SECOND * 20);
    let told = world.take_stanza().expect("an error");
    assert!(
        told.starts_with("<message from='juliet@sip.example' to='romeo@xmpp.example/orchard' id='m1' type='error'>")
    );
    assert!(told.contains("it was kept and became too old"), "{told}");
    assert_eq!(world.entries(), 0);
    assert_eq!(world.engine.counters().journal.expect("a journal").expired, 1);
    world.assert_quiet();
}

#[test]
fn a_sip_sender_is_told_of_what_became_too_old() {
    let mut world = World::keeping(When::Away);
    world.break_stream();
    let asked = message(1, "romeo@xmpp.example", "art thou there?").replace("CSeq", "Expires: 600\r\nCSeq");
    world.proxy_sends(asked);
    assert_eq!(world.take_statuses(), [202]);
    for _ in 0..599 {
        world.advance(SECOND);
        while !world.connects.is_empty() {
            world.refuse_connection();
        }
    }
    assert_eq!(world.take_datagram(), None);
    world.advance(SECOND * 2);
    let notice = request_of(&mut world).expect("a text for the sender");
    assert!(notice.contains("Your message to romeo@xmpp.example was not delivered (expired)"), "{notice}");
    world.proxy_sends(response(&notice, "200 OK", ""));
    assert_eq!(world.entries(), 0);
}

/// Its time ends in the middle of an attempt that nobody answers.
#[test]
fn what_becomes_too_old_while_it_is_under_way_is_tried_no_more() {
    let mut world = World::keeping_with(When::Away, |settings| settings.journal.keep[0].lifetime = SECOND * 20);
    world.server_writes(stanza("m1", "art thou there?", ""));
    is_away(&mut world);
    world.advance(SECOND * 7);
    assert!(request_of(&mut world).is_some(), "it is under way");
    world.advance(SECOND * 33);
    let told = world.take_stanza().expect("an error");
    assert!(told.contains("id='m1'") && told.contains("it was kept and became too old"), "{told}");
    world.datagrams.clear();
    world.advance(SECOND * 60);
    assert_eq!((world.entries(), world.take_datagram()), (0, None));
    world.assert_quiet();
}

#[test]
fn nobody_is_told_where_that_is_configured() {
    let mut world = World::keeping_with(When::Away, |settings| {
        settings.late_failure = engine::LateFailure::Nothing;
        settings.journal.keep[0].lifetime = SECOND * 2;
    });
    world.break_stream();
    world.proxy_sends(message(1, "romeo@xmpp.example", "art thou there?"));
    world.advance(SECOND * 3);
    assert_eq!(world.take_statuses(), [202]);
    assert_eq!((world.entries(), world.take_datagram()), (0, None));
    assert_eq!(world.engine.counters().late_failures, 1);
}

#[test]
fn what_is_refused_for_good_is_told_and_the_next_one_goes_on() {
    let mut world = World::keeping(When::Away);
    world.server_writes(stanza("m1", "first", ""));
    world.server_writes(stanza("m2", "second", ""));
    is_away(&mut world);
    world.advance(SECOND * 7);
    let first = request_of(&mut world).expect("the first");
    world.proxy_sends(response(&first, "404 Not Found", ""));
    let told = world.take_stanza().expect("an error");
    assert!(told.contains("id='m1'") && told.contains("item-not-found"), "{told}");
    let second = request_of(&mut world).expect("the second");
    world.proxy_sends(response(&second, "200 OK", ""));
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}

#[test]
fn an_error_for_a_sender_whose_server_is_away_waits_for_it() {
    let mut world = World::keeping_with(When::Away, |settings| settings.journal.keep[0].lifetime = SECOND * 20);
    world.server_writes(stanza("m1", "art thou there?", ""));
    is_away(&mut world);
    world.break_stream();
    for _ in 0..40 {
        world.advance(SECOND);
        is_away(&mut world);
        while !world.connects.is_empty() {
            world.refuse_connection();
        }
    }
    assert_eq!(world.entries(), 1, "its sender does not know it yet");
    while world.connects.is_empty() {
        world.advance(SECOND);
    }
    world.accept_component();
    world.advance(SECOND * 6);
    let told: Vec<String> = world.take_stanzas();
    assert!(told.iter().any(|stanza| stanza.contains("id='m1'") && stanza.contains("type='error'")), "{told:?}");
    assert_eq!(world.entries(), 0);
}

#[test]
fn what_was_accepted_and_cannot_be_delivered_is_handed_over_before_it_is_forgotten() {
    let mut world = with_letters(|_| {});
    world.server_writes(stanza("m1", "art thou there?", ""));
    is_away(&mut world);
    stays_away(&mut world, SECOND * 61);
    assert!(world.take_stanza().is_some_and(|told| told.contains("type='error'")));
    assert_eq!((world.entries(), world.kept().store.rows(DEAD).len()), (1, 1));
    let letter = world.hand_over(false);
    assert_eq!((letter.source.as_str(), letter.destination.as_str()), ("romeo@xmpp.example", "juliet@sip.example"));
    assert_eq!((letter.reason, &letter.content[..]), (Reason::Expired.as_str(), &b"art thou there?"[..]));
    assert!(letter.content_type.starts_with(b"text/plain"));
    assert_eq!(world.entries(), 1, "nobody has it yet");
    world.advance(SECOND * 61);
    assert_eq!(world.take_stanzas(), Vec::<String>::new(), "its sender was told once");
    assert_eq!(world.hand_over(true).id, letter.id);
    assert_eq!((world.entries(), world.kept().store.rows(DEAD).len()), (0, 0));
    let counters = world.engine.counters().journal.expect("a journal");
    assert_eq!((counters.handed_over, counters.not_handed_over), (1, 1));
    world.assert_quiet();
}

#[test]
fn while_nobody_takes_letters_one_finds_out_whether_somebody_does() {
    let mut world = with_letters(|settings| settings.journal.keep[0].per_conversation = 100);
    for n in 0..20 {
        world.server_writes(stanza(&format!("m{n}"), &format!("text {n}"), ""));
        is_away(&mut world);
    }
    stays_away(&mut world, SECOND * 61);
    assert_eq!(world.take_stanzas().len(), 20, "all were told");
    for most in [4, 1, 1, 1, 1] {
        assert_eq!(world.kept().letters.len(), most);
        while !world.kept().letters.is_empty() {
            world.hand_over(false);
        }
        let begin = world.now;
        while world.kept().letters.is_empty() {
            world.advance(SECOND);
        }
        assert!(world.now - begin >= SECOND * 5);
    }
    let mut texts = Vec::new();
    while !world.kept().letters.is_empty() {
        assert!(world.kept().letters.len() <= 4);
        texts.push(String::from_utf8(world.hand_over(true).content).expect("a text"));
    }
    texts.sort_by_key(|text| text.split(' ').nth(1).and_then(|number| number.parse::<u32>().ok()));
    assert_eq!(texts, (0..20).map(|n| format!("text {n}")).collect::<Vec<_>>());
    assert_eq!((world.entries(), world.kept().store.rows(DEAD).len()), (0, 0));
    world.assert_quiet();
}

#[test]
fn a_letter_that_nobody_took_is_handed_over_in_the_next_life_and_its_sender_not_told_again() {
    let mut world = with_letters(|_| {});
    world.server_writes(stanza("m1", "art thou there?", ""));
    is_away(&mut world);
    stays_away(&mut world, SECOND * 61);
    assert!(world.take_stanza().is_some_and(|told| told.contains("type='error'")));
    world.restart(0);
    world.accept_component();
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
    assert_eq!(world.hand_over(true).content, b"art thou there?");
    assert_eq!((world.entries(), world.kept().store.rows(DEAD).len()), (0, 0));
}

#[test]
fn a_letter_of_the_next_life_says_what_its_sender_was_told() {
    let mut world = World::keeping_with(When::Away, |settings| settings.journal.dead_letters = true);
    world.server_writes(stanza("m1", "art thou there?", ""));
    is_away(&mut world);
    world.advance(SECOND * 7);
    let again = request_of(&mut world).expect("the message once more");
    world.proxy_sends(response(&again, "404 Not Found", ""));
    assert!(world.take_stanza().is_some_and(|told| told.contains("item-not-found")));
    world.restart(0);
    world.accept_component();
    assert_eq!(world.hand_over(true).reason, Reason::NotFound.as_str());
}

#[test]
fn what_is_not_for_good_is_kept_and_never_a_letter() {
    let mut world = with_letters(|_| {});
    world.server_writes(stanza("m1", "art thou there?", "<no-permanent-store xmlns='urn:xmpp:hints'/>"));
    is_away(&mut world);
    assert_eq!(world.entries(), 1);
    stays_away(&mut world, SECOND * 61);
    assert!(world.take_stanza().is_some_and(|told| told.contains("type='error'")));
    assert!(world.kept().letters.is_empty());
    assert_eq!(world.entries(), 0);
}

#[test]
fn what_its_sender_wants_kept_nowhere_is_refused_as_ever() {
    let shim = |value: &str| {
        format!("<headers xmlns='http://jabber.org/protocol/shim'><header name='Store'>{value}</header></headers>")
    };
    for (more, kept) in [
        ("<no-store xmlns='urn:xmpp:hints'/>".to_owned(), 0),
        (shim("false"), 0),
        (shim("perhaps"), 0),
        (shim("true"), 1),
        ("<store xmlns='urn:xmpp:hints'/>".to_owned(), 1),
    ] {
        for when in [When::Away, When::Every] {
            let mut world = World::keeping(when);
            world.server_writes(stanza("m1", "between us", &more));
            assert!(when == When::Every || world.entries() == 0);
            is_away(&mut world);
            assert_eq!(world.entries(), kept, "{more}");
            let error = world.take_stanza();
            assert_eq!(error.is_some_and(|error| error.contains("recipient-unavailable")), kept == 0, "{more}");
        }
    }
}

#[test]
fn limits_are_kept_and_what_is_beyond_them_is_refused() {
    // One conversation.
    let mut world = World::keeping(When::Away);
    world.break_stream();
    for n in 1..=10 {
        world.proxy_sends(message(n, "romeo@xmpp.example", "text"));
    }
    assert_eq!(world.take_statuses(), [&[202; 8][..], &[480; 2]].concat());
    assert_eq!(world.entries(), 8);
    // All of them.
    for n in 0..40 {
        world.proxy_sends(message(100 + n, &format!("user{n}@xmpp.example"), "text"));
    }
    let answers = world.take_statuses();
    assert_eq!(answers.iter().filter(|&&status| status == 202).count(), 24);
    assert_eq!(answers.iter().filter(|&&status| status == 504).count(), 16);
    assert_eq!(world.entries(), 32);
    let counters = world.engine.counters().journal.expect("a journal");
    assert_eq!((counters.entries, counters.conversations, counters.full), (32, 25, 18));
    // Octets.
    let mut world = World::keeping_with(When::Away, |settings| settings.journal.max_octets = 1000);
    world.break_stream();
    for n in 0..4 {
        world.proxy_sends(message(n, &format!("user{n}@xmpp.example"), &"x".repeat(300)));
    }
    assert_eq!(world.take_statuses(), [202, 202, 504, 504]);
    // One message.
    let mut world = World::keeping_with(When::Away, |settings| settings.journal.keep[0].largest = 600);
    world.break_stream();
    world.proxy_sends(message(1, "romeo@xmpp.example", &"x".repeat(600)));
    world.proxy_sends(message(2, "romeo@xmpp.example", "x"));
    world.proxy_sends(message(3, "romeo@xmpp.example", &"x".repeat(600)));
    assert_eq!(world.take_statuses(), [504, 202, 480], "the last must not overtake the one before it");
}

#[test]
fn an_operator_drops_entries() {
    let mut world = World::keeping(When::Away);
    world.break_stream();
    for n in 1..=3 {
        world.proxy_sends(message(n, "romeo@xmpp.example", &format!("text {n}")));
    }
    let rows = world.kept().store.rows(engine::journal::QUEUE);
    let described = engine::journal::describe(&rows[1].key, &rows[1].value).expect("an entry");
    assert_eq!(
        (described.source.as_str(), described.destination.as_str()),
        ("juliet@sip.example", "romeo@xmpp.example")
    );
    assert_eq!((described.content, described.why.as_str()), (&b"text 2"[..], "behind"));
    assert_eq!(described.expires, described.arrived.map(|at| at + DAY));
    assert_eq!(world.engine.drop_entries(&[&rows[1].key, &rows[1].key, b"nothing"]), 1);
    world.turn();
    assert_eq!(world.entries(), 2);
    world.advance(SECOND * 3);
    world.accept_component();
    let texts: Vec<String> = world.return_pings();
    assert!(texts.len() == 2 && texts[0].contains("text 1") && texts[1].contains("text 3"), "{texts:?}");
}
