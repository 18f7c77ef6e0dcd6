//! The component stream fails: what senders are told, and how it comes back.

use entente_tests::world::{World, attribute, message, response};
use std::time::Duration;

#[test]
fn without_a_link_nothing_is_claimed() {
    let mut world = World::disconnected(|_| {});
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    let answer = world.take_datagram().expect("an answer");
    assert!(answer.starts_with("SIP/2.0 504 "), "{answer}");
    assert!(answer.contains("Warning: 399 gw.example \"not delivered: no link to the XMPP server\"\r\n"), "{answer}");
    world.accept_component();
    assert!(world.take_stanzas().is_empty(), "what was refused is not sent later");
}

#[test]
fn written_and_then_the_link_breaks_is_unknown() {
    let mut world = World::new();
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    world.break_stream();
    let answer = world.take_datagram().expect("an answer");
    assert!(answer.starts_with("SIP/2.0 504 ") && answer.contains("delivery unknown"), "{answer}");
}

#[test]
fn never_written_and_then_the_link_breaks_is_not_delivered() {
    let mut world = World::new();
    world.reading = false;
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    world.break_stream();
    let answer = world.take_datagram().expect("an answer");
    assert!(answer.starts_with("SIP/2.0 504 ") && answer.contains("not delivered"), "{answer}");
}

/// The driver still writes what is left when it closes a stream, so that it may arrive.
#[test]
fn what_waits_when_the_server_ends_the_stream_is_unknown() {
    let mut world = World::new();
    world.reading = false;
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    world.server_writes("</stream:stream>");
    let answer = world.take_datagram().expect("an answer");
    assert!(answer.starts_with("SIP/2.0 504 ") && answer.contains("delivery unknown"), "{answer}");
}

#[test]
fn a_hung_server_costs_an_honest_answer_and_bounded_memory() {
    let mut world = World::with(|settings| {
        settings.xmpp.unsent_limit = 10_000;
        settings.relay.max_in_flight = 1000;
    });
    world.reading = false;
    for n in 0..200 {
        world.proxy_sends(message(n, "romeo@xmpp.example", "hello"));
    }
    let refused = world.take_statuses();
    assert!(!refused.is_empty() && refused.iter().all(|&status| status == 480), "{refused:?}");
    world.advance(Duration::from_millis(2100));
    let unknown = world.take_statuses();
    assert!(unknown.iter().all(|&status| status == 504));
    assert_eq!(refused.len() + unknown.len(), 200, "each has one answer");
    assert!(world.engine.output_len() < 12_000, "what waits is bounded");
}

#[test]
fn the_old_socket_is_gone_before_a_new_one_is_asked_for() {
    let mut world = World::new();
    world.server_writes("<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
    world.server_writes("</stream:stream>");
    world.advance(Duration::from_secs(5));
    assert!(world.connects.is_empty(), "ejabberd takes two connections of a component and spreads stanzas over them");
    world.carry_out_close().expect("the stream is ended");
    world.advance(Duration::from_secs(1));
    assert_eq!(world.connects.len(), 1);
    world.accept_component();
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    assert!(world.take_stanza().is_some_and(|stanza| stanza.contains("hello")));
}

#[test]
fn reconnecting_slows_down_and_never_stops() {
    let mut world = World::disconnected(|_| {});
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let start = world.now;
        world.refuse_connection();
        assert!(world.connects.is_empty(), "not at once");
        while world.connects.is_empty() {
            world.advance(Duration::from_millis(10));
            assert!(world.now - start < Duration::from_secs(60), "it does not give up");
        }
        pauses.push(world.now - start);
    }
    assert!(pauses[0] <= Duration::from_millis(250), "the first try follows soon: {pauses:?}");
    assert!(pauses[11] >= Duration::from_secs(5), "later ones wait: {pauses:?}");
}

#[test]
fn a_bad_byte_from_the_server_ends_the_stream_and_it_comes_back() {
    let mut world = World::new();
    world.server_writes("<message from='romeo@xmpp.example' to='juliet@sip.example'><body>\u{1}</body></message>");
    assert!(world.take_datagram().is_none());
    world.carry_out_close().expect("the stream is ended");
    world.advance(Duration::from_secs(1));
    world.accept_component();
}

#[test]
fn a_bounce_on_the_new_stream_for_the_old_one_is_late() {
    let mut world = World::new();
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    let stanza = world.take_stanza().unwrap();
    world.break_stream();
    assert_eq!(world.take_statuses(), [504]);
    world.advance(Duration::from_secs(1));
    world.accept_component();
    let id = attribute(&stanza, "id").unwrap();
    world.server_writes(format!(
        "<message from='romeo@xmpp.example' to='juliet@sip.example' id='{id}' type='error'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    assert_eq!(world.engine.counters().late_failures, 1);
}

fn text(n: u32, more: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m{n}'><body>text {n}</body>{more}</message>"
    )
}

/// Who sent a text believes that it arrived until he is told otherwise.
#[test]
fn what_became_of_a_text_is_told_when_the_link_is_back() {
    let mut world = World::with(|settings| settings.sip.parallel = 2);
    world.server_writes(text(1, ""));
    world.server_writes(text(2, "<request xmlns='urn:xmpp:receipts'/>"));
    let [refused, taken] = [(); 2].map(|()| world.take_datagram().expect("a request"));
    world.break_stream();
    world.proxy_sends(response(&refused, "404 Not Found", ""));
    world.proxy_sends(response(&taken, "200 OK", ""));
    world.advance(Duration::from_secs(1));
    world.accept_component();
    let told = world.take_stanzas();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains(" id='m1' type='error'") && told[0].contains("<item-not-found "), "{told:?}");
    assert!(told[1].contains("<received xmlns='urn:xmpp:receipts' id='m2'/>"), "{told:?}");
    assert_eq!(world.engine.counters().xmpp.unanswerable, 0);
    assert_eq!(world.engine.counters().xmpp.told_again, 0);
}

/// A text of Romeo's fails, and he is told; the stanza.
fn told_of_a_failure(world: &mut World, n: u32) -> String {
    world.server_writes(text(n, ""));
    let refused = world.take_datagram().expect("a request");
    world.proxy_sends(response(&refused, "404 Not Found", ""));
    let told = world.take_stanzas();
    assert!(told.len() == 1 && told[0].contains(&format!(" id='m{n}' type='error'")), "{told:?}");
    told.concat()
}

fn link_is_back(world: &mut World) -> Vec<String> {
    world.advance(Duration::from_secs(1));
    world.accept_component();
    world.take_stanzas()
}

/// It is not known whether the server had read it when the stream broke.
#[test]
fn a_failure_that_the_stream_may_have_lost_is_told_again() {
    let mut world = World::new();
    let first = told_of_a_failure(&mut world, 1);
    let second = told_of_a_failure(&mut world, 2);
    world.break_stream();
    assert_eq!(link_is_back(&mut world), [first.clone(), second.clone()]);
    // Neither is it now. What comes while the stream is down follows.
    world.server_writes(text(3, ""));
    let refused = world.take_datagram().expect("a request");
    world.break_stream();
    world.proxy_sends(response(&refused, "404 Not Found", ""));
    let told = link_is_back(&mut world);
    assert_eq!(told[..2], [first.clone(), second.clone()]);
    assert!(told.len() == 3 && told[2].contains(" id='m3' type='error'"), "{told:?}");
    assert_eq!(world.engine.counters().xmpp.told_again, 4);
    world.advance(Duration::from_secs(60));
    world.assert_quiet();
}

#[test]
fn what_the_server_has_read_is_not_told_again() {
    let mut world = World::new();
    told_of_a_failure(&mut world, 1);
    // A ping follows what is for Romeo, and proves what was written before.
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    world.return_pings();
    assert_eq!(world.take_statuses(), [202]);
    let last = told_of_a_failure(&mut world, 2);
    world.break_stream();
    assert_eq!(link_is_back(&mut world), std::slice::from_ref(&last));
    // Nor what is so old that its stream would have been found dead long ago.
    world.advance(Duration::from_secs(121));
    world.break_stream();
    assert_eq!(link_is_back(&mut world), Vec::<String>::new());
    assert_eq!(world.engine.counters().xmpp.told_again, 1);
}

#[test]
fn what_is_kept_to_be_told_again_is_bounded() {
    let mut world = World::with(|settings| settings.xmpp.unsent_limit = 1000);
    let told: Vec<_> = (1..=10).map(|n| told_of_a_failure(&mut world, n)).collect();
    world.break_stream();
    let again = link_is_back(&mut world);
    assert!(!again.is_empty() && again.concat().len() <= 1000, "{again:?}");
    assert_eq!(again, told[10 - again.len()..], "the newest");
}

#[test]
fn what_became_of_a_text_is_told_when_the_server_reads_again() {
    let mut world = World::with(|settings| settings.xmpp.unsent_limit = 1000);
    world.server_writes(text(1, ""));
    let request = world.take_datagram().expect("a request");
    world.reading = false;
    let ping = "<iq from='romeo@xmpp.example/x' to='sip.example' id='i' type='get'><ping xmlns='urn:xmpp:ping'/></iq>";
    while world.engine.counters().xmpp.unanswerable == 0 {
        world.server_writes(ping);
    }
    world.proxy_sends(response(&request, "404 Not Found", ""));
    assert_eq!(world.engine.counters().xmpp.unanswerable, 1, "only the ping was not answered");
    world.resume_reading();
    world.turn();
    let told = world.take_stanzas();
    assert!(told.last().is_some_and(|last| last.contains(" id='m1' type='error'")), "{told:?}");
}

#[test]
fn what_waits_to_be_told_is_bounded_and_what_is_lost_is_counted() {
    let mut world = World::with(|settings| {
        settings.xmpp.unsent_limit = 1000;
        settings.sip.parallel = 20;
    });
    let requests: Vec<_> = (0..20)
        .map(|n| {
            world.server_writes(text(n, ""));
            world.take_datagram().expect("a request")
        })
        .collect();
    world.break_stream();
    for request in &requests {
        world.proxy_sends(response(request, "404 Not Found", ""));
    }
    world.advance(Duration::from_secs(1));
    world.accept_component();
    let told = world.take_stanzas();
    assert!(told.iter().map(String::len).sum::<usize>() <= 1000);
    assert!(!told.is_empty() && told.len() < requests.len(), "{}", told.len());
    assert_eq!(told.len() as u64 + world.engine.counters().xmpp.unanswerable, requests.len() as u64);
}
