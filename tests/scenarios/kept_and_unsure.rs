//! Messages that are kept, and what is not known of them: nobody is told more, or less, than what is true.

use engine::journal::When;
use entente_tests::store::Condition;
use entente_tests::world::{World, attribute, message, proxy, response};
use sip::transaction::Flow;
use std::time::Duration;
use turn::{Input, Machine, SocketId};

const SECOND: Duration = Duration::from_secs(1);

fn bounce(stanza: &str, condition: &str) -> String {
    let [from, to, id] = ["to", "from", "id"].map(|name| attribute(stanza, name).expect("an attribute"));
    format!(
        "<message from='{from}' to='{to}' id='{id}' type='error'><error type='cancel'>\
         <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )
}

/// The second copy has the id of the first, of which the last word was said.
#[test]
fn a_bounce_after_a_second_delivery_is_a_late_failure() {
    let mut world = World::keeping(When::Away);
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    let [first, ping] = [(); 2].map(|()| world.take_stanza().expect("a message and a ping"));
    world.server_writes(bounce(&first, "recipient-unavailable"));
    world.server_writes(ping);
    assert_eq!(world.take_statuses(), [202], "it is kept");
    world.advance(SECOND * 10);
    let again = world.return_pings().into_iter().find(|stanza| stanza.contains("hello")).expect("once more");
    assert_eq!(attribute(&again, "id"), attribute(&first, "id"));
    assert_eq!(world.entries(), 0, "as far as anybody knows it has arrived");
    world.server_writes(bounce(&again, "item-not-found"));
    assert_eq!(world.engine.counters().late_failures, 1);
    let notice = world.take_datagram().expect("a text for its sender");
    assert!(notice.contains("was not delivered"), "{notice}");
}

/// It was written, and then the stream broke: that it cannot be kept either makes it no more certain.
#[test]
fn what_may_have_arrived_and_cannot_be_kept_is_unknown() {
    for (condition, delay) in [(Condition::Full, 0), (Condition::Broken, 0), (Condition::Working, 10)] {
        let mut world = World::keeping(When::Away);
        world.kept().store.condition = condition;
        world.kept().delay = SECOND * delay;
        world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
        world.break_stream();
        world.advance(SECOND * 3);
        let answer = world.take_datagram().expect("an answer");
        assert!(answer.starts_with("SIP/2.0 504 ") && answer.contains("delivery unknown"), "{condition:?}: {answer}");
    }
}

/// The first next hop was silent, and the second one refused it for now: the first may have delivered it.
#[test]
fn what_a_silent_next_hop_may_have_delivered_is_a_possible_duplicate() {
    let mut world = World::keeping_with(When::Away, |settings| {
        let hops = &mut settings.sip.routes[0].next_hops;
        hops.push(Flow { peer: ([192, 0, 2, 10], 5060).into(), ..hops[0] });
    });
    world.server_writes(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m1'><body>hello</body></message>",
    );
    world.advance(SECOND * 33);
    let (peer, moved) = world.datagrams.back().cloned().expect("a request");
    assert_eq!(peer, ([192, 0, 2, 10], 5060).into());
    world.datagrams.clear();
    let moved = String::from_utf8(moved).expect("UTF-8");
    world.sends_from(peer, response(&moved, "480 Temporarily Unavailable", ""));
    assert_eq!((world.entries(), world.take_stanzas()), (1, Vec::new()), "it is kept");
    world.advance(SECOND * 10);
    let (peer, again) = world.datagrams.pop_front().expect("once more");
    assert_eq!(world.engine.counters().journal.expect("a journal").possible_duplicates, 1);
    let again = String::from_utf8(again).expect("UTF-8");
    world.sends_from(peer, response(&again, "200 OK", ""));
    assert_eq!(world.entries(), 0);
}

/// The first one is refused for now, what waited behind it fails with it, and in the same turn comes another one.
#[test]
fn nothing_overtakes_what_waited_behind_a_message_that_is_kept() {
    let mut world = World::keeping(When::Away);
    let stanza = |n: u32| {
        format!(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m{n}'><body>number {n}</body></message>"
        )
    };
    world.server_writes(stanza(1));
    world.server_writes(stanza(2));
    let first = world.take_datagram().expect("a request");
    let refused = response(&first, "480 Temporarily Unavailable", "");
    let (now, stream) = (world.now, world.stream.expect("a stream"));
    world.engine.handle_input(now, Input::Datagram { socket: SocketId(0), peer: proxy(), bytes: refused.as_bytes() });
    world.engine.handle_input(now, Input::Received { stream, data: stanza(3).as_bytes() });
    world.turn();
    assert_eq!(world.take_datagram(), None, "all of them are kept");
    world.advance(SECOND * 10);
    for n in 1..=3 {
        let request = world.take_datagram().expect("the next one");
        assert!(request.ends_with(&format!("number {n}")), "{request}");
        world.datagrams.clear();
        world.proxy_sends(response(&request, "200 OK", ""));
    }
    assert_eq!(world.entries(), 0);
}

/// Whoever was told 202 and sends it again after a restart is told the same, however much there is to do.
#[test]
fn what_is_kept_is_known_even_when_there_is_no_room_for_more() {
    let mut world = World::keeping_with(When::Away, |settings| settings.relay.max_in_flight = 1);
    world.break_stream();
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    assert_eq!(world.take_statuses(), [202]);
    world.turn_log.clear();
    world.restart(0);
    world.accept_component();
    world.server_writes(
        "<message from='romeo@xmpp.example/orchard' to='nurse@sip.example' id='m1'><body>hello</body></message>",
    );
    assert!(world.take_datagram().is_some(), "a request is open");
    world.proxy_sends(message(2, "romeo@xmpp.example", "another"));
    assert_eq!(world.take_statuses(), [503], "there is no room");
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    assert_eq!(world.take_statuses(), [202]);
}
