//! When the sender on the SIP side is told what. The server is scripted: it delays, drops and reorders the returns of the
//! pings and sends the bounce just before, between and after them.

use entente_tests::world::{World, attribute, message};
use std::time::Duration;

/// Writes one message and gives the id of its stanza and the first ping.
fn one_message(world: &mut World, n: u32) -> (String, String) {
    world.proxy_sends(message(n, "romeo@xmpp.example", "hello"));
    let stanza = world.take_stanza().expect("the message");
    let ping = world.take_stanza().expect("a ping");
    assert!(ping.contains("urn:xmpp:ping"), "{ping}");
    (attribute(&stanza, "id").expect("an id").to_owned(), ping)
}

fn bounce(id: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example' to='juliet@sip.example' id='{id}' type='error'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )
}

fn next_ping(world: &mut World) -> String {
    let ping = world.take_stanza().expect("another ping");
    assert!(ping.contains("urn:xmpp:ping"), "{ping}");
    ping
}

#[test]
fn two_returns_without_a_bounce_answer_202() {
    let mut world = World::new();
    let (_, first) = one_message(&mut world, 1);
    world.server_writes(&first);
    assert!(world.take_statuses().is_empty(), "one return proves too little");
    let second = next_ping(&mut world);
    world.server_writes(&second);
    assert_eq!(world.take_statuses(), [202]);
    assert!(world.take_stanza().is_none(), "nothing waits, so nothing is asked");
    world.assert_quiet();
}

#[test]
fn a_bounce_before_the_first_return_answers_404() {
    let mut world = World::new();
    let (id, first) = one_message(&mut world, 1);
    world.server_writes(bounce(&id));
    assert_eq!(world.take_statuses(), [404]);
    world.server_writes(&first);
    assert!(world.take_stanza().is_none(), "nothing waits, so no second ping is sent");
    world.assert_quiet();
}

#[test]
fn a_bounce_between_the_returns_answers_404() {
    let mut world = World::new();
    let (id, first) = one_message(&mut world, 1);
    world.server_writes(&first);
    let second = next_ping(&mut world);
    world.server_writes(bounce(&id));
    assert_eq!(world.take_statuses(), [404]);
    world.server_writes(&second);
    assert!(world.take_stanza().is_none());
    world.assert_quiet();
}

#[test]
fn a_bounce_in_one_read_with_the_second_return_decides_by_its_place() {
    let mut world = World::new();
    let (id, first) = one_message(&mut world, 1);
    world.server_writes(&first);
    let second = next_ping(&mut world);
    world.server_writes(&(bounce(&id) + &second));
    assert_eq!(world.take_statuses(), [404], "the bounce stands before the return");
    world.assert_quiet();
}

#[test]
fn a_bounce_after_both_returns_is_a_late_failure() {
    let mut world = World::new();
    let (id, first) = one_message(&mut world, 1);
    world.server_writes(&first);
    let second = next_ping(&mut world);
    world.server_writes(&(second + &bounce(&id)));
    let answer = world.take_datagram().expect("the answer");
    assert!(answer.starts_with("SIP/2.0 202 "), "{answer}");
    let notice = world.take_datagram().expect("a text that says so");
    assert!(notice.starts_with("MESSAGE sip:juliet@sip.example "), "{notice}");
    assert!(notice.contains("From: <sip:romeo@xmpp.example>"), "{notice}");
    assert!(notice.ends_with("Your message to romeo@xmpp.example was not delivered (not found)"), "{notice}");
    assert_eq!(world.engine.counters().late_failures, 1);
    world.proxy_sends(entente_tests::world::response(&notice, "200 OK", ""));
    world.assert_quiet();
}

#[test]
fn returns_that_come_too_late_answer_504_at_the_end_of_the_window() {
    let mut world = World::new();
    let (_, first) = one_message(&mut world, 1);
    world.advance(Duration::from_millis(1990));
    assert!(world.take_statuses().is_empty());
    world.advance(Duration::from_millis(20));
    let answer = world.take_datagram().expect("the answer");
    assert!(answer.starts_with("SIP/2.0 504 "), "{answer}");
    assert!(answer.contains("Warning: 399 gw.example \"delivery unknown\"\r\n"), "{answer}");
    world.server_writes(&first);
    assert!(world.take_stanza().is_none(), "nothing waits any more");
    world.assert_quiet();
}

#[test]
fn a_dropped_second_return_answers_504_and_the_link_is_given_up() {
    let mut world = World::new();
    let (_, first) = one_message(&mut world, 1);
    world.server_writes(&first);
    next_ping(&mut world);
    world.advance(Duration::from_millis(2100));
    assert_eq!(world.take_statuses(), [504]);
    // A server that does not hand a ping back for half a minute is taken for hung.
    world.advance(Duration::from_secs(31));
    world.carry_out_close().expect("the stream is ended");
    world.advance(Duration::from_secs(1));
    world.accept_component();
    let (_, first) = one_message(&mut world, 2);
    world.server_writes(&first);
    let second = next_ping(&mut world);
    world.server_writes(&second);
    assert_eq!(world.take_statuses(), [202], "the new stream serves as the old one did");
    world.assert_quiet();
}

#[test]
fn returns_out_of_order_prove_nothing() {
    let mut world = World::new();
    let (_, first) = one_message(&mut world, 1);
    // A return of a ping that was never sent, from us and from a stranger.
    world.server_writes(
        "<iq from='sip.example' to='sip.example' id='aaaaaaaaaaaaaaaaaaaaaaaaaa' type='result'/>\
         <iq from='mallory@xmpp.example/x' to='sip.example' id='aaaaaaaaaaaaaaaaaaaaaaaaaa' type='result'/>",
    );
    let id = attribute(&first, "id").unwrap();
    // The right id from somebody else is no return.
    world.server_writes(format!("<iq from='mallory@xmpp.example/x' to='sip.example' id='{id}' type='result'/>"));
    assert!(world.take_statuses().is_empty());
    assert!(world.take_stanza().is_none());
    world.server_writes(&first);
    // The first return twice is not the second.
    world.server_writes(&first);
    assert!(world.take_statuses().is_empty());
    let second = next_ping(&mut world);
    // Our own ping, handed back once more, was answered neither as a request nor as a return.
    let stray = world.take_stanzas();
    world.server_writes(&second);
    assert_eq!(world.take_statuses(), [202]);
    assert!(stray.iter().all(|stanza| stanza.starts_with("<iq")), "{stray:?}");
    world.assert_quiet();
}

#[test]
fn one_ping_serves_all_that_was_written_since() {
    let mut world = World::new();
    let (_, first) = one_message(&mut world, 1);
    for n in 2..=5 {
        world.proxy_sends(message(n, "romeo@xmpp.example", "more"));
    }
    let stanzas = world.take_stanzas();
    assert_eq!(stanzas.len(), 4, "messages and no ping: one is in flight at most");
    world.server_writes(&first);
    let second = next_ping(&mut world);
    world.server_writes(&second);
    assert_eq!(world.take_statuses(), [202], "the first was before both pings");
    let third = next_ping(&mut world);
    world.server_writes(&third);
    assert_eq!(world.take_statuses(), [202; 4], "the others were before two as well");
    assert!(world.take_stanza().is_none());
    world.assert_quiet();
}

#[test]
fn only_whom_we_wrote_to_can_bounce() {
    let mut world = World::new();
    let (id, first) = one_message(&mut world, 1);
    world.server_writes(bounce(&id).replace("from='romeo@", "from='mallory@"));
    world.server_writes(bounce(&id).replace("from='romeo@xmpp.example'", "from='other.example'"));
    world.server_writes(bounce(&format!("x{id}")));
    assert!(world.take_statuses().is_empty());
    // His server may speak for him.
    world.server_writes(bounce(&id).replace("from='romeo@xmpp.example'", "from='xmpp.example'"));
    assert_eq!(world.take_statuses(), [404]);
    world.server_writes(&first);
    world.assert_quiet();
}

#[test]
fn a_receipt_is_the_only_way_to_know() {
    let mut world = World::with(|settings| settings.xmpp.ask_receipts = true);
    let receipt = |id: &str| {
        format!(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example'><received xmlns='urn:xmpp:receipts' \
             id='{id}'/></message>"
        )
    };
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    let stanza = world.take_stanza().unwrap();
    assert!(stanza.contains("<request xmlns='urn:xmpp:receipts'/>"), "{stanza}");
    let first = next_ping(&mut world);
    world.server_writes(&first);
    let second = next_ping(&mut world);
    world.server_writes(&second);
    assert!(world.take_statuses().is_empty(), "the answer waits for the receipt");
    world.server_writes(receipt(attribute(&stanza, "id").unwrap()));
    assert_eq!(world.take_statuses(), [200]);
    // Without one the window decides, by what the barrier has proven.
    let (_, first) = one_message(&mut world, 2);
    world.server_writes(&first);
    let second = next_ping(&mut world);
    world.server_writes(&second);
    world.advance(Duration::from_millis(2100));
    assert_eq!(world.take_statuses(), [202]);
    world.assert_quiet();
}

#[test]
fn acceptance_may_be_told_as_200() {
    let mut world = World::with(|settings| settings.sip.on_acceptance = 200);
    let (_, first) = one_message(&mut world, 1);
    world.server_writes(&first);
    let second = next_ping(&mut world);
    world.server_writes(&second);
    assert_eq!(world.take_statuses(), [200]);
    world.assert_quiet();
}

#[test]
fn an_answer_that_carries_the_receipt_is_a_message_of_its_own() {
    for (inside, sent) in [
        ("<body>hello yourself</body>", "hello yourself"),
        ("<e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'>Content-Type: application/pkcs7-mime\n\nsealed</e2e>", "sealed"),
    ] {
        let mut world = World::with(|settings| settings.xmpp.ask_receipts = true);
        world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
        let stanza = world.take_stanza().unwrap();
        let id = attribute(&stanza, "id").unwrap();
        world.server_writes(format!(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example'>{inside}\
             <received xmlns='urn:xmpp:receipts' id='{id}'/></message>"
        ));
        let datagrams: Vec<String> = std::iter::from_fn(|| world.take_datagram()).collect();
        assert!(datagrams.iter().any(|text| text.starts_with("SIP/2.0 200 ")), "{datagrams:?}");
        assert!(datagrams.iter().any(|text| text.ends_with(sent)), "{datagrams:?}");
    }
}

/// The ping as a server writes it that puts the attributes in another order.
fn returned(ping: &str) -> String {
    let id = attribute(ping, "id").expect("an id");
    format!("<iq id='{id}' to='sip.example' from='sip.example' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
}

/// Two messages are answered: the returns of the first are read, those of the second are known by their form.
#[test]
fn returns_in_the_form_of_those_before_prove_as_much() {
    let whole = returned("<iq id='abcdefghijklmnopqrstuvwxyz'/>").len();
    for cut in 0..whole {
        let mut world = World::new();
        for n in 1..=2 {
            let (_, first) = one_message(&mut world, n);
            let first = returned(&first);
            let (before, behind) = first.split_at(cut);
            world.server_writes(before);
            world.server_writes(behind);
            let second = next_ping(&mut world);
            assert!(world.take_statuses().is_empty(), "message {n}, cut at {cut}");
            // What follows in the same read is not lost, white space in front does not matter.
            world.server_writes(format!(
                " {}<message to='juliet@sip.example' from='a@xmpp.example'/>",
                returned(&second)
            ));
            assert_eq!(world.take_statuses(), [202], "message {n}, cut at {cut}");
        }
        world.assert_quiet();
    }
}

#[test]
fn a_return_in_another_form_is_read_like_any_stanza() {
    let known = |world: &mut World| {
        let (_, first) = one_message(world, 1);
        world.server_writes(returned(&first));
        let second = next_ping(world);
        world.server_writes(returned(&second));
        assert_eq!(world.take_statuses(), [202]);
        let (_, first) = one_message(world, 2);
        returned(&first)
    };
    // Somebody else's stanza proves nothing.
    let mut world = World::new();
    let first = known(&mut world);
    world.server_writes(first.replace("from='sip.example'", "from='xmpp.example'"));
    assert!(world.take_stanza().is_some_and(|answer| answer.contains("type='result'")), "it is a request of somebody");
    world.server_writes(&first);
    let second = next_ping(&mut world);
    world.server_writes(returned(&second));
    assert_eq!(world.take_statuses(), [202]);
    world.assert_quiet();
    // What is not XML ends the stream.
    for broken in ["</ping></iq>", "</iqs>"] {
        let mut world = World::new();
        let first = known(&mut world);
        world.server_writes(first.replace("</iq>", broken));
        let end = world.take_stanza();
        assert!(end.is_some_and(|end| end.contains("stream:error")), "{broken}");
    }
}
