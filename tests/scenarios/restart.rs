//! What a SIP peer sees of a gateway that is started again.

use cpim::{
    Content, Envelope, ImUri, Incoming, InstantInbox, MaxForwards, Message, Origin, PeerId, Proof, Side, TransId,
};
use engine::journal::When;
use entente_tests::world::{self, World, attribute, header, message, status};
use sip::endpoint::{Endpoint, Event};
use sip::transaction::{Answer, Flow, Transport};
use sip_connector::Connector;
use std::time::{Duration, Instant, SystemTime};
use turn::{Action, Calendar, Input, Minters, Output, SocketId};

/// One run of the half of a gateway that talks SIP, with the relay before it.
struct Run {
    relay: cpim::Relay,
    sip: Connector,
    out: Output,
    now: Instant,
}

impl Run {
    #[allow(clippy::disallowed_methods, reason = "somewhere time has to begin")]
    fn start(seed: u8) -> Self {
        let now = Instant::now();
        let engine::Settings { relay, sip, made_at, .. } = world::settings();
        let minters = Minters::new([seed; 16], *b"the same key 123");
        let sip = Connector::new(sip, &minters, Calendar::new(now, made_at));
        Self { relay: cpim::Relay::new(relay, &minters), sip, out: Output::new(), now }
    }

    /// Hands over the one message of this story. Gives the request.
    fn send(&mut self, attempt: u32) -> String {
        let message = Message {
            source: InstantInbox(ImUri::parse("im:romeo@xmpp.example").expect("an address")),
            destination: InstantInbox(ImUri::parse("im:juliet@sip.example").expect("an address")),
            max_forwards: MaxForwards(70),
            trans_id: TransId::new(b"kept in the journal"),
            wire_id: b"m1"[..].into(),
            envelope: Envelope::default(),
            content: Content::text("Art thou there?".into()),
        };
        let origin = Origin { side: Side::Xmpp, peer: PeerId(2), proof: Proof::ComponentSecret };
        let mut admitted = self.relay.admit(self.now, Incoming { origin, near: 1, message }).expect("a route");
        admitted.attempt = attempt;
        self.sip.concretise(self.now, &admitted, &mut self.out).expect("a request");
        self.take().expect("a request")
    }

    fn take(&mut self) -> Option<String> {
        take(&mut self.out)
    }

    /// The proxy answers. Gives the request that follows, if there is one.
    fn answer(&mut self, bytes: &str) -> Option<String> {
        let input = Input::Datagram { socket: SocketId(0), peer: world::proxy(), bytes: bytes.as_bytes() };
        self.sip.handle_input(self.now, input, &mut self.out);
        self.take()
    }
}

fn take(out: &mut Output) -> Option<String> {
    let Some(Action::SendDatagram { bytes, .. }) = out.poll_action() else { return None };
    Some(String::from_utf8(out.datagram(&bytes).to_vec()).expect("UTF-8"))
}

/// Juliet's phone, which knows a request again as RFC 3261 17.2.3 has it.
struct Phone {
    endpoint: Endpoint,
    out: Output,
    shown: usize,
}

impl Phone {
    fn new() -> Self {
        let settings = sip::endpoint::Settings::new(world::PROXY);
        Self { endpoint: Endpoint::new(settings, Minters::new([1; 16], [1; 16])), out: Output::new(), shown: 0 }
    }

    /// Takes a request and gives the answer.
    fn take(&mut self, now: Instant, request: &str, answer: u16) -> String {
        let peer = world::GATEWAY.parse().expect("an address");
        let flow = Flow { transport: Transport::Udp, socket: SocketId(0), peer, stream: None };
        match self.endpoint.handle_message(now, flow, request.as_bytes(), &mut self.out) {
            Event::Request { transaction, .. } => {
                self.shown += 1;
                self.endpoint.respond(now, transaction, &Answer::new(answer), &mut self.out);
            }
            Event::None => {}
            other @ Event::Ended { .. } => panic!("{other:?}"),
        }
        take(&mut self.out).expect("an answer")
    }
}

fn branch(request: &str) -> &str {
    header(request, "Via").and_then(|via| via.split("branch=").nth(1)).expect("a branch")
}

fn cseq(request: &str) -> u32 {
    header(request, "CSeq").and_then(|cseq| cseq.split(' ').next()?.parse().ok()).expect("a CSeq")
}

/// ```text
/// run 1             phone
///   | MESSAGE -------> |  shown
///   x  <---------- 200 |          the answer is lost with the run
/// run 2                |
///   | MESSAGE -------> |  the same branch: absorbed
///   | <----------- 200 |  the same answer
/// ```
#[test]
fn what_was_sent_before_a_crash_is_absorbed_when_it_is_sent_again() {
    let mut phone = Phone::new();
    let (mut before, mut after) = (Run::start(1), Run::start(2));
    let first = before.send(0);
    let answer = phone.take(before.now, &first, 200);
    drop(before);
    let again = after.send(0);
    assert_eq!(again, first, "Call-ID, CSeq, From tag and branch among the rest");
    assert_eq!(phone.take(after.now, &again, 500), answer);
    assert_eq!((phone.shown, status(&answer)), (1, Some(200)));
}

/// A transaction that has had its final answer, or none in 32 s, cannot be tried again by repeating its request: who took it
/// would repeat its answer.
#[test]
fn another_attempt_is_another_transaction_of_the_same_call() {
    let mut phone = Phone::new();
    let mut run = Run::start(1);
    let mut before: Option<String> = None;
    for attempt in 0..3 {
        let request = run.send(attempt);
        let answer = phone.take(run.now, &request, if attempt < 2 { 480 } else { 200 });
        assert_eq!(run.answer(&answer), None);
        if let Some(before) = before {
            for same in ["From", "To", "Call-ID"] {
                assert_eq!(header(&request, same), header(&before, same));
            }
            assert_ne!(branch(&request), branch(&before));
            // RFC 3261 8.1.3.5: a number that is higher, or who still keeps the other one may call it merged (8.2.2.2).
            assert!(cseq(&request) > cseq(&before), "{request}");
        }
        before = Some(request);
    }
    assert_eq!(phone.shown, 3);
}

/// Two next hops: what moved on to the second one moves there after the restart, under the same branch as before.
#[test]
fn each_sending_of_an_attempt_has_a_branch_that_it_has_again() {
    let start = |seed| {
        let mut run = Run::start(seed);
        let mut settings = world::settings().sip;
        let mut other = settings.routes[0].next_hops[0];
        other.peer.set_port(5070);
        settings.routes[0].next_hops.push(other);
        let minters = Minters::new([seed; 16], *b"the same key 123");
        run.sip = Connector::new(settings, &minters, Calendar::new(run.now, None));
        run
    };
    let sent = |mut run: Run| {
        let first = run.send(0);
        let second = run.answer(&world::response(&first, "503 Service Unavailable", "")).expect("the other next hop");
        assert_ne!(branch(&first), branch(&second));
        [first, second]
    };
    assert_eq!(sent(start(1)), sent(start(2)));
}

/// The gateway, and when it was started by the clock of its machine.
fn gateway(run: u8, clock: Duration, turn_log: &[u8]) -> World {
    World::run([run; 16], turn_log, |settings| settings.made_at = SystemTime::UNIX_EPOCH.checked_add(clock))
}

/// When the first run begins.
const CLOCK: Duration = Duration::from_secs(1_795_201_200);

/// A bounce of the message with this id.
fn bounce(id: &str, condition: &str, text: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example' to='juliet@sip.example' id='{id}' type='error'><error type='cancel'>\
         <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>{text}</text></error></message>"
    )
}

/// Has a message delivered, with this fate. Gives its answer and its stanza.
fn deliver(world: &mut World, request: &str, fate: &str) -> (String, Option<String>) {
    world.proxy_sends(request);
    let stanza = world.take_stanza();
    let id = stanza.as_deref().and_then(|stanza| attribute(stanza, "id")).unwrap_or_default();
    match fate {
        "received" => world.server_writes(format!(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example'><received xmlns='urn:xmpp:receipts' id='{id}'/>\
             </message>"
        )),
        "accepted" => {}
        condition => world.server_writes(bounce(id, condition, "words of the server")),
    }
    world.advance(Duration::from_millis(10));
    world.return_pings();
    (world.take_datagram().expect("an answer"), stanza)
}

#[test]
fn what_was_answered_before_a_restart_is_answered_alike_after_it_and_not_delivered_again() {
    for (fate, expected) in [
        ("received", 200),
        ("accepted", 202),
        ("item-not-found", 404),
        ("recipient-unavailable", 480),
        ("not-acceptable", 406),
    ] {
        let request = message(1, "romeo@xmpp.example", "Art thou not Romeo?");
        let mut before = World::run([1; 16], b"", |settings| settings.xmpp.ask_receipts = fate == "received");
        let (answer, _) = deliver(&mut before, &request, fate);
        assert!(fate != "item-not-found" || answer.contains("words of the server"), "{answer}");
        let log = std::mem::take(&mut before.turn_log);
        drop(before);
        let mut after = gateway(2, CLOCK + Duration::from_secs(5), &log);
        after.proxy_sends(&request);
        assert_eq!(after.take_datagram().as_deref(), Some(&*answer), "the very same answer");
        assert_eq!(status(&answer), Some(expected), "{answer}");
        assert_eq!(after.take_message(), None, "nothing is delivered a second time");
        assert_eq!(after.turn_log, b"", "and nothing is written of it again");
        after.return_pings();
        after.assert_quiet();
    }
}

/// A refusal that nobody had to be asked for.
#[test]
fn a_refusal_is_the_same_after_a_restart() {
    let request = message(1, "romeo@nowhere.example", "Art thou not Romeo?");
    let mut before = gateway(1, CLOCK, b"");
    before.proxy_sends(&request);
    let answer = before.take_datagram().expect("a refusal");
    for log in [&before.turn_log[..], b""] {
        let mut after = gateway(2, CLOCK, log);
        after.proxy_sends(&request);
        assert_eq!(after.take_datagram().as_deref(), Some(&*answer));
    }
}

#[test]
fn what_is_delivered_a_second_time_has_the_same_id_and_thread() {
    let request = message(1, "romeo@xmpp.example", "Art thou not Romeo?");
    let mut before = gateway(1, CLOCK, b"");
    before.proxy_sends(&request);
    let stanza = before.take_message().expect("the message");
    assert_eq!(before.turn_log, b"", "it was not answered");
    let mut after = gateway(2, CLOCK + Duration::from_secs(1), b"");
    let (answer, again) = deliver(&mut after, &request, "accepted");
    assert_eq!(again.as_deref(), Some(&*stanza));
    assert_eq!(status(&answer), Some(202));
    after.assert_quiet();
}

/// A bounce that comes after the restart still names its message, and its sender is told.
#[test]
fn a_late_bounce_is_known_after_a_restart() {
    let request = message(1, "romeo@xmpp.example", "Art thou not Romeo?");
    let mut before = gateway(1, CLOCK, b"");
    let (_, stanza) = deliver(&mut before, &request, "accepted");
    let id = attribute(stanza.as_deref().expect("the message"), "id").expect("an id").to_owned();
    let mut after = gateway(2, CLOCK + Duration::from_secs(1), &before.turn_log);
    after.server_writes(bounce(&id, "item-not-found", "gone"));
    let notice = after.take_datagram().expect("a notice to the sender");
    assert!(notice.starts_with("MESSAGE sip:juliet@sip.example"), "{notice}");
    assert_eq!(after.engine.counters().late_failures, 1);
}

/// Some clients use the same branches again after each start of theirs.
#[test]
fn another_request_under_the_same_branch_is_new_after_a_restart_too() {
    let mut before = gateway(1, CLOCK, b"");
    let (answer, _) = deliver(&mut before, &message(1, "romeo@xmpp.example", "one"), "item-not-found");
    let mut after = gateway(2, CLOCK, &before.turn_log);
    let (other, stanza) = deliver(&mut after, &message(1, "romeo@xmpp.example", "two"), "accepted");
    assert_eq!([&answer, &other].map(|answer| status(answer)), [Some(404), Some(202)]);
    assert!(stanza.expect("a message").contains("two"));
    after.proxy_sends(message(1, "romeo@xmpp.example", "one"));
    assert_eq!(after.take_datagram(), Some(answer), "the first one is still known");
}

#[test]
fn an_answer_is_repeated_until_timer_j_by_the_clock_of_the_machine() {
    let request = message(1, "romeo@xmpp.example", "Art thou not Romeo?");
    let mut before = gateway(1, CLOCK, b"");
    before.advance(Duration::from_secs(1000));
    let (answer, _) = deliver(&mut before, &request, "accepted");
    let log = std::mem::take(&mut before.turn_log);
    let answered = CLOCK + Duration::from_secs(1000);
    for (later, waits, known) in [(20, 11, true), (20, 13, false), (31, 0, true), (33, 0, false), (100_000, 0, false)] {
        let mut after = gateway(2, answered + Duration::from_secs(later), &log);
        after.advance(Duration::from_secs(waits));
        after.return_pings();
        after.proxy_sends(&request);
        assert_eq!(after.take_datagram().as_deref(), known.then_some(&*answer), "{later} s and {waits} s");
        assert_eq!(after.take_message().is_some(), !known, "{later} s and {waits} s");
    }
}

/// A clock that was put back by an hour or a year: what is known is known for Timer J from the start on, and not for that
/// hour or year.
#[test]
fn a_clock_that_was_put_back_neither_loses_an_answer_nor_keeps_it_for_long() {
    let request = message(1, "romeo@xmpp.example", "Art thou not Romeo?");
    let mut before = gateway(1, CLOCK, b"");
    let (answer, _) = deliver(&mut before, &request, "accepted");
    for back in [3600, 365 * 86_400, CLOCK.as_secs()] {
        for (waits, known) in [(0, true), (31, true), (33, false)] {
            let mut after = gateway(2, CLOCK - Duration::from_secs(back), &before.turn_log);
            after.advance(Duration::from_secs(waits));
            after.return_pings();
            after.proxy_sends(&request);
            assert_eq!(after.take_datagram().as_deref(), known.then_some(&*answer), "{back} s back, {waits} s later");
        }
    }
}

/// Three runs: what the first one has answered is not written by the second one, which has its own.
#[test]
fn logs_of_several_runs_stand_one_behind_the_other() {
    let requests = [1, 2].map(|n| message(n, "romeo@xmpp.example", "hello"));
    let mut first = gateway(1, CLOCK, b"");
    let (one, _) = deliver(&mut first, &requests[0], "item-not-found");
    let mut log = std::mem::take(&mut first.turn_log);
    let mut second = gateway(2, CLOCK + Duration::from_secs(1), &log);
    let (two, _) = deliver(&mut second, &requests[1], "accepted");
    log.extend_from_slice(&second.turn_log);
    let mut third = gateway(3, CLOCK + Duration::from_secs(2), &log);
    for (request, answer) in requests.iter().zip([one, two]) {
        third.proxy_sends(request);
        assert_eq!(third.take_datagram(), Some(answer));
    }
    third.return_pings();
    third.assert_quiet();
}

/// Without a journal nothing is written, and nothing lasts.
#[test]
fn a_gateway_that_keeps_nothing_writes_no_log() {
    let mut world = World::new();
    let (answer, _) = deliver(&mut world, &message(1, "romeo@xmpp.example", "hello"), "accepted");
    assert_eq!((status(&answer), &world.turn_log[..]), (Some(202), &b""[..]));
}

const FROM_ROMEO: &str =
    "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m1'><body>Art thou there?</body></message>";

/// A message that is kept until its fate is known: it was sent, and the gateway was killed before the answer came.
#[test]
fn what_the_journal_sends_again_after_a_crash_is_the_same_request() {
    let mut phone = Phone::new();
    let mut world = World::keeping(When::Every);
    world.server_writes(FROM_ROMEO);
    let before = world.take_datagram().expect("a request");
    let answer = phone.take(world.now, &before, 200);
    world.restart(usize::MAX);
    world.accept_component();
    let after = world.take_datagram().expect("the request again");
    assert_eq!(after, before, "what it says of when it was written among the rest");
    assert_eq!(phone.take(world.now, &after, 500), answer);
    assert_eq!(phone.shown, 1);
    world.proxy_sends(&answer);
    assert_eq!(world.entries(), 0);
    world.return_pings();
    world.assert_quiet();
}

/// The user was away twice.
#[test]
fn what_the_journal_tries_again_is_another_transaction_of_the_same_call() {
    let mut world = World::keeping(When::Away);
    world.server_writes(FROM_ROMEO);
    let mut requests = vec![world.take_datagram().expect("a request")];
    for _ in 0..2 {
        let last = requests.last().expect("a request");
        world.proxy_sends(world::response(last, "480 Temporarily Unavailable", ""));
        while world.datagrams.is_empty() {
            world.advance(Duration::from_millis(100));
            world.return_pings();
        }
        requests.push(world.take_datagram().expect("the next attempt"));
    }
    let [first, second, third] = &requests[..] else { panic!("{requests:#?}") };
    for (request, before) in [(second, first), (third, second)] {
        for same in ["From", "To", "Call-ID"] {
            assert_eq!(header(request, same), header(before, same));
        }
        assert_ne!(branch(request), branch(before));
        assert!(cseq(request) > cseq(before), "{request}");
    }
    world.proxy_sends(world::response(third, "200 OK", ""));
    assert_eq!(world.entries(), 0);
    world.return_pings();
    world.assert_quiet();
}
