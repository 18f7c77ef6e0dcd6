//! Messages whose destination is away are kept, and delivered when it is back.

use engine::journal::When;
use entente_tests::world::{World, attribute, delivered, header, keep, message, request_of, response};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn stanza(id: &str, text: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='{id}'><body>{text}</body></message>"
    )
}

fn bounce(stanza: &str, condition: &str) -> String {
    let id = attribute(stanza, "id").expect("an id");
    format!(
        "<message type='error' from='romeo@xmpp.example' to='juliet@sip.example' id='{id}'><error type='cancel'>\
         <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )
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
        let stamp = "<delay xmlns='urn:xmpp:delay' stamp='2026-11-20T19:00:00Z' from='sip.example'/>";
        assert!(stanza.contains(stamp), "{stanza}");
    }
    assert_eq!(world.entries(), 0);
    let counters = world.engine.counters().journal.expect("a journal");
    assert_eq!((counters.stored, counters.delivered, counters.possible_duplicates), (3, 3, 0));
    world.assert_quiet();
}

#[test]
fn what_is_kept_may_be_told_as_200() {
    let mut world = World::keeping_with(When::Away, |settings| settings.sip.on_acceptance = 200);
    world.break_stream();
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    assert_eq!((world.take_statuses(), world.entries()), (vec![200], 1));
}

#[test]
fn the_answer_waits_for_the_store() {
    let mut world = World::keeping(When::Away);
    world.break_stream();
    world.kept().delay = SECOND;
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    world.advance(SECOND - Duration::from_millis(1));
    assert_eq!(world.take_statuses(), [0_u16; 0], "nothing is said before it is durable");
    world.advance(Duration::from_millis(1));
    assert_eq!(world.take_statuses(), [202]);
}

#[test]
fn who_keeps_nothing_answers_as_ever() {
    let mut world = World::keeping(When::Never);
    world.break_stream();
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    assert_eq!(world.take_statuses(), [504]);
    assert_eq!(world.entries(), 0);
}

#[test]
fn the_first_rule_that_matches_says_for_whom_messages_are_kept() {
    let mut world = World::keeping_with(When::Away, |settings| {
        let domain = cpim::DomainPattern::Exactly("xmpp.example".into());
        settings.journal.keep.insert(0, engine::journal::Keep { domain, ..keep(When::Never) });
    });
    world.server_writes(stanza("m1", "kept for Juliet"));
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(response(&request, "480 Temporarily Unavailable", ""));
    assert_eq!(world.entries(), 1);
    world.break_stream();
    world.proxy_sends(message(1, "romeo@xmpp.example", "not kept for Romeo"));
    assert!(world.take_statuses().contains(&504));
    assert_eq!(world.entries(), 1);
}

#[test]
fn a_phone_that_is_away_gets_its_messages_later_and_in_order() {
    let mut world = World::keeping(When::Away);
    world.server_writes(stanza("m1", "first"));
    world.server_writes(stanza("m2", "second"));
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(response(&request, "480 Temporarily Unavailable", ""));
    assert_eq!(world.take_datagram(), None, "of what waits nothing is tried before the first was");
    assert_eq!(world.take_stanzas(), Vec::<String>::new(), "nobody is told that it failed");
    assert_eq!(world.entries(), 2);
    world.advance(SECOND * 7);
    let again = request_of(&mut world).expect("the first once more");
    assert!(again.ends_with("first"), "{again}");
    assert_eq!(header(&again, "Call-ID"), header(&request, "Call-ID"));
    assert_ne!(header(&again, "Via"), header(&request, "Via"), "another transaction");
    assert!(header(&again, "Date").is_some(), "{again}");
    world.proxy_sends(response(&again, "200 OK", ""));
    let second = world.take_datagram().expect("the second");
    assert!(second.ends_with("second"), "{second}");
    world.proxy_sends(response(&second, "200 OK", ""));
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}

#[test]
fn a_phone_is_told_when_a_kept_message_came_and_until_when_it_is_wanted() {
    let mut world = World::keeping_with(When::Away, |settings| {
        let accepts = cpim::Accepts::new(["message/cpim"]).expect("a type");
        let accepted = cpim::AcceptedBy::new(vec![(cpim::DomainPattern::Any, accepts)]);
        settings.xmpp.foreign = accepted.clone();
        settings.sip.accepted = accepted;
    });
    let until = "<amp xmlns='http://jabber.org/protocol/amp'>\
                 <rule condition='expire-at' action='drop' value='2026-11-20T19:01:00Z'/></amp>";
    world.server_writes(stanza("m1", "art thou there?").replace("</message>", &format!("{until}</message>")));
    let refused = request_of(&mut world).expect("a request");
    world.proxy_sends(response(&refused, "480 Temporarily Unavailable", ""));
    world.advance(SECOND * 7);
    let again = request_of(&mut world).expect("the message once more");
    assert_eq!(header(&again, "Date"), Some("Fri, 20 Nov 2026 19:00:00 GMT"), "{again}");
    assert_eq!(header(&again, "Expires"), Some("60"), "counted from its date: {again}");
    assert!(again.contains("\r\nDateTime: 2026-11-20T19:00:00Z\r\n"), "{again}");
    world.proxy_sends(response(&again, "480 Temporarily Unavailable", ""));
    for _ in 0..11 {
        world.advance(SECOND * 5);
        if let Some(request) = request_of(&mut world) {
            world.proxy_sends(response(&request, "480 Temporarily Unavailable", ""));
        }
    }
    let told = world.take_stanza().expect("an error");
    assert!(told.contains("id='m1' type='error'") && told.contains("became too old"), "{told}");
    assert_eq!(world.entries(), 0, "its sender has said for how long");
    world.assert_quiet();
}

/// RFC 3428 section 7: a 6xx says that the message was delivered and refused. It would be refused again.
#[test]
fn what_a_phone_declines_is_not_kept() {
    for status in ["600 Busy Everywhere", "603 Decline", "604 Does Not Exist Anywhere", "606 Not Acceptable", "699 No"]
    {
        let mut world = World::keeping(When::Away);
        world.server_writes(stanza("m1", "art thou there?"));
        let request = request_of(&mut world).expect("a request");
        world.proxy_sends(response(&request, status, ""));
        assert_eq!(world.entries(), 0, "{status}");
        assert!(world.take_stanza().is_some_and(|told| told.contains("id='m1' type='error'")), "{status}");
        // One that is kept ends with it too.
        world.server_writes(stanza("m2", "art thou there?"));
        let request = request_of(&mut world).expect("a request");
        world.proxy_sends(response(&request, "480 Temporarily Unavailable", ""));
        assert_eq!(world.entries(), 1, "{status}");
        world.advance(SECOND * 7);
        let again = request_of(&mut world).expect("the message once more");
        world.proxy_sends(response(&again, status, ""));
        assert_eq!(world.entries(), 0, "{status}");
        assert!(world.take_stanza().is_some_and(|told| told.contains("id='m2' type='error'")), "{status}");
        world.assert_quiet();
    }
}

#[test]
fn pauses_grow_and_end_when_the_user_is_heard_of() {
    let mut world = World::keeping(When::Away);
    world.server_writes(stanza("m1", "art thou there?"));
    let mut attempts = Vec::new();
    let begin = world.now;
    while attempts.len() < 8 {
        if let Some(request) = world.take_datagram() {
            attempts.push((world.now - begin).as_secs());
            world.proxy_sends(response(&request, "480 Temporarily Unavailable", ""));
        } else {
            world.advance(SECOND / 2);
        }
    }
    let pauses: Vec<u64> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, least) in pauses.iter().zip([5, 10, 20, 40, 80, 160, 300]) {
        assert!((least..=least + 2).contains(pause), "{pauses:?}");
    }
    world.proxy_sends(message(1, "romeo@xmpp.example", "I am back"));
    let all: Vec<String> = std::iter::from_fn(|| world.take_datagram()).collect();
    assert!(all.iter().any(|request| request.ends_with("art thou there?")), "who writes is there: {all:?}");
}

#[test]
fn what_a_hung_server_was_given_is_kept_and_delivered_once_when_it_goes_on() {
    let mut world = World::keeping(When::Away);
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    world.advance(SECOND * 2);
    assert_eq!(world.take_statuses(), [202], "no word came: it is kept until there is one");
    assert_eq!(world.entries(), 1);
    world.proxy_sends(message(2, "romeo@xmpp.example", "second"));
    assert_eq!(world.take_statuses(), [202], "it waits behind the first");
    assert!(delivered(&mut world).is_some_and(|stanza| stanza.contains("first")));
    assert!(delivered(&mut world).is_some_and(|stanza| stanza.contains("second")));
    assert_eq!(world.entries(), 0);
    let counters = world.engine.counters().journal.expect("a journal");
    assert_eq!((counters.attempts, counters.possible_duplicates), (1, 0), "the first was not sent again");
    world.assert_quiet();
}

#[test]
fn what_a_server_may_have_lost_is_sent_again_with_the_same_id() {
    let mut world = World::keeping(When::Away);
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    let first = world.take_message().expect("a message");
    world.advance(SECOND * 2);
    assert_eq!(world.take_statuses(), [202]);
    world.break_stream();
    world.advance(SECOND * 3);
    world.accept_component();
    let again = delivered(&mut world).expect("the message once more");
    assert_eq!(attribute(&again, "id"), attribute(&first, "id"));
    assert!(again.contains("<delay"), "{again}");
    let counters = world.engine.counters().journal.expect("a journal");
    assert_eq!((counters.attempts, counters.possible_duplicates), (1, 1));
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}

#[test]
fn a_reset_before_the_window_ends_loses_nothing() {
    let mut world = World::keeping(When::Away);
    for n in 1..=3 {
        world.proxy_sends(message(n, "romeo@xmpp.example", &format!("text {n}")));
    }
    world.break_stream();
    assert_eq!(world.take_statuses(), [202, 202, 202]);
    world.advance(SECOND * 3);
    world.accept_component();
    for n in 1..=3 {
        assert!(delivered(&mut world).is_some_and(|stanza| stanza.contains(&format!("text {n}"))));
    }
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}

#[test]
fn a_bounce_while_a_message_becomes_durable_is_the_answer() {
    let mut world = World::keeping(When::Away);
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    let stanza = world.take_stanza().expect("a message");
    world.kept().delay = SECOND;
    world.advance(SECOND * 2);
    assert_eq!(world.take_statuses(), [0_u16; 0], "it is being kept");
    world.server_writes(bounce(&stanza, "item-not-found"));
    assert_eq!(world.take_statuses(), [404]);
    world.advance(SECOND * 3);
    world.return_pings();
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}

#[test]
fn a_bounce_after_the_answer_is_a_late_failure() {
    let mut world = World::keeping(When::Away);
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    let stanza = world.take_stanza().expect("a message");
    world.advance(SECOND * 2);
    assert_eq!(world.take_statuses(), [202]);
    world.server_writes(bounce(&stanza, "item-not-found"));
    let notice = world.take_datagram().expect("a text for the sender");
    assert!(notice.contains("was not delivered (not found)"), "{notice}");
    world.proxy_sends(response(&notice, "200 OK", ""));
    assert_eq!(world.entries(), 0);
    assert_eq!(world.engine.counters().late_failures, 1);
    world.return_pings();
    world.assert_quiet();
}

#[test]
fn where_every_message_is_kept_it_is_there_before_its_fate_and_gone_after_it() {
    let mut world = World::keeping(When::Every);
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    assert_eq!((world.entries(), world.take_statuses()), (1, Vec::<u16>::new()), "durable, and its fate is open");
    assert!(delivered(&mut world).is_some_and(|stanza| !stanza.contains("<delay")));
    assert_eq!((world.entries(), world.take_statuses()), (0, vec![202]));
    world.server_writes(stanza("m1", "and back"));
    assert_eq!(world.entries(), 1);
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(response(&request, "404 Not Found", ""));
    assert_eq!(world.entries(), 0);
    assert!(world.take_stanza().is_some_and(|error| error.contains("item-not-found")));
    assert_eq!(world.engine.counters().journal.expect("a journal").stored, 0, "none had to wait");
    world.assert_quiet();
}

#[test]
fn what_came_and_went_while_the_store_was_busy_is_never_written() {
    let mut world = World::keeping(When::Every);
    world.kept().delay = SECOND;
    // Two batches are under way.
    for n in 1..=2 {
        world.proxy_sends(message(n, &format!("user{n}@xmpp.example"), "text"));
    }
    world.proxy_sends(message(3, "romeo@xmpp.example", "text"));
    let others = world.return_pings();
    assert_eq!(others.len(), 3);
    assert_eq!(world.take_statuses(), [202, 202, 202], "all are with the server");
    let before = world.kept().store.under_way();
    assert_eq!(before, 2);
    world.advance(SECOND * 4);
    assert_eq!(world.entries(), 0);
    world.assert_quiet();
}

#[test]
fn a_dead_proxy_gives_its_queue_back_in_order() {
    let mut world = World::keeping(When::Away);
    for n in 1..=3 {
        world.server_writes(stanza(&format!("m{n}"), &format!("text {n}")));
    }
    world.advance(SECOND * 33);
    assert_eq!(world.take_stanzas(), Vec::<String>::new(), "nobody is told");
    assert_eq!(world.entries(), 3);
    while world.take_datagram().is_some() {}
    world.advance(SECOND * 10);
    for n in 1..=3 {
        let request = request_of(&mut world).expect("a request");
        assert!(request.ends_with(&format!("text {n}")), "{request}");
        world.proxy_sends(response(&request, "200 OK", ""));
    }
    assert_eq!(world.entries(), 0);
    assert_eq!(world.engine.counters().journal.expect("a journal").possible_duplicates, 1, "the one that was sent");
    world.assert_quiet();
}

#[test]
fn what_is_sent_from_the_journal_waits_for_no_receipt() {
    let mut world = World::keeping_with(When::Away, |settings| settings.xmpp.ask_receipts = true);
    world.break_stream();
    world.proxy_sends(message(1, "romeo@xmpp.example", "first"));
    world.proxy_sends(message(2, "romeo@xmpp.example", "second"));
    world.advance(SECOND * 3);
    world.accept_component();
    assert!(delivered(&mut world).is_some_and(|stanza| stanza.contains("first")));
    assert!(delivered(&mut world).is_some_and(|stanza| stanza.contains("second")));
    assert_eq!(world.entries(), 0);
    // Nor does what a hung server was given: its window is over.
    world.proxy_sends(message(3, "romeo@xmpp.example", "third"));
    world.advance(SECOND * 2);
    assert_eq!(world.entries(), 1);
    assert!(delivered(&mut world).is_some_and(|stanza| stanza.contains("third")));
    assert_eq!(world.entries(), 0);
    world.datagrams.clear();
    world.assert_quiet();
}
