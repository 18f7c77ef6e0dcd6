//! What a SIP peer sees of a gateway that is started again.

use cpim::{
    Content, Envelope, ImUri, Incoming, InstantInbox, MaxForwards, Message, Origin, PeerId, Proof, Side, TransId,
};
use entente_tests::world::{self, header, status};
use sip::endpoint::{Endpoint, Event};
use sip::transaction::{Answer, Flow, Transport};
use sip_connector::Connector;
use std::time::Instant;
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
            let number = |request: &str| {
                header(request, "CSeq").and_then(|cseq| cseq.split(' ').next()?.parse::<u32>().ok()).expect("a CSeq")
            };
            assert!(number(&request) > number(&before), "{request}");
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
