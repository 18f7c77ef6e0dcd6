//! Random interleavings: whatever is repeated, delayed, refused or cancelled, each request has exactly one final answer,
//! byte for byte, as long as it is remembered.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    /// The request of this number arrives, for the first time or again.
    Arrive(usize),
    /// The request of this number is answered, if it is open.
    Answer(usize, u8),
    /// A request of ours is sent.
    Ask,
    /// A response arrives for our request of this number.
    Response(usize, u16),
    /// The peer of our requests cannot be reached.
    Unreachable,
    /// Time passes.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12usize).prop_map(Step::Arrive),
        4 => (0..12usize, 0..4u8).prop_map(|(n, kind)| Step::Answer(n, kind)),
        2 => Just(Step::Ask),
        3 => (0..8usize, prop_oneof![Just(100u16), Just(200), Just(404), Just(503)]).prop_map(|(n, s)| Step::Response(n, s)),
        1 => Just(Step::Unreachable),
        3 => (0..9_000u64).prop_map(Step::Wait),
    ]
}

/// Twelve requests that are alike in all the ways in which requests can be alike.
fn request(n: usize) -> (Flow, String) {
    let via = format!("SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bK{};rport", n % 3);
    let body = if n.is_multiple_of(2) { "one" } else { "two" };
    let port = if n < 6 { 5061 } else { 5062 };
    (udp(port), Text { via, body: body.into(), call_id: n.to_string(), ..Text::default() }.print())
}

#[derive(Default)]
struct Model {
    /// The open transaction of each number.
    open: BTreeMap<usize, ServerKey>,
    /// The answer for each number, and when it was given.
    answered: BTreeMap<usize, (Sent, Duration)>,
    /// Tokens of ours that have not ended, with their request.
    asked: Vec<(u64, Sent)>,
    ended: Vec<u64>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn one_final_answer_per_request(steps in proptest::collection::vec(step(), 1..120)) {
        let mut stage = Stage::new();
        let mut model = Model::default();
        let mut token = 0;
        for step in steps {
            match step {
                Step::Arrive(n) => {
                    let (flow, text) = request(n);
                    let got = stage.receive(flow, &text);
                    let sent = stage.sent();
                    let remembered = model.answered.get(&n).filter(|(_, at)| stage.at < *at + ms(32_000));
                    match (got, model.open.get(&n), remembered) {
                        (Got::Nothing, Some(_), _) => {
                            let trying = sent.iter().all(|sent| sent.status() == 100);
                            prop_assert!(sent.len() <= 1 && trying, "{sent:?}");
                        }
                        (Got::Nothing, None, Some((answer, _))) => prop_assert_eq!(&sent[..], std::slice::from_ref(answer)),
                        (Got::Request(transaction, _), None, None) => {
                            prop_assert!(sent.is_empty());
                            model.open.insert(n, transaction);
                        }
                        other => prop_assert!(false, "{n}: {other:?}"),
                    }
                }
                Step::Answer(n, kind) => {
                    let Some(transaction) = model.open.remove(&n) else { continue };
                    let text = format!("text {n}");
                    let answer = match kind {
                        0 => Answer::new(202),
                        1 => Answer { warning: Some(&text), ..Answer::new(504) },
                        2 => Answer { reason: Some(&text), retry_after: Some(n as u32), ..Answer::new(480) },
                        _ => Answer { extra: Extra::ALLOW, ..Answer::new(405) },
                    };
                    stage.respond(transaction, &answer);
                    let sent = stage.one();
                    prop_assert_eq!(sent.status(), answer.status);
                    model.answered.insert(n, (sent, stage.at));
                    stage.respond(transaction, &Answer::new(500));
                    prop_assert_eq!(stage.sent(), vec![]);
                }
                Step::Ask => {
                    let parts = RequestParts {
                        method: Method::Message, uri: b"sip:a@b", from: b"<sip:c@d>", from_tag: None, to: b"<sip:a@b>",
                        call_id: b"id", cseq: 1, max_forwards: 70, route: b"", more: b"", content_type: None, body: b"", branch: None,
                    };
                    token += 1;
                    let now = stage.now();
                    stage.endpoint.request(now, udp(7000), &parts, token, &mut stage.out).unwrap();
                    model.asked.push((token, stage.one()));
                }
                Step::Response(n, status) => {
                    let Some((token, sent)) = model.asked.get(n) else { continue };
                    let head = sent.text().split_once("\r\n").unwrap().1;
                    let got = stage.receive(udp(7000), &format!("SIP/2.0 {status} X\r\n{head}"));
                    if status >= 200 && !model.ended.contains(token) {
                        prop_assert_eq!(got, Got::Final(*token, status));
                        model.ended.push(*token);
                    } else {
                        prop_assert_eq!(got, Got::Nothing);
                    }
                    prop_assert_eq!(stage.sent(), vec![]);
                }
                Step::Unreachable => {
                    stage.endpoint.handle_unreachable(US, peer(7000));
                    let (_, got) = stage.run_until(stage.at);
                    for (_, got) in got {
                        let Got::Failed(token, _) = got else { panic!("{got:?}") };
                        prop_assert!(!model.ended.contains(&token));
                        model.ended.push(token);
                    }
                    prop_assert_eq!(stage.endpoint.clients(), 0);
                }
                Step::Wait(time) => {
                    let (_, got) = stage.run_until(stage.at + ms(time));
                    for (_, got) in got {
                        let Got::Failed(token, _) = got else { panic!("{got:?}") };
                        prop_assert!(!model.ended.contains(&token));
                        model.ended.push(token);
                    }
                }
            }
            prop_assert_eq!(stage.endpoint.ongoing(), model.open.len());
            prop_assert_eq!(stage.endpoint.clients(), model.asked.len() - model.ended.len());
        }
        for transaction in std::mem::take(&mut model.open).into_values() {
            stage.respond(transaction, &Answer::new(500));
        }
        stage.assert_empty();
    }
}

#[derive(Clone, Debug)]
enum Call {
    /// The INVITE of this number, for the first time or again; from another port or not.
    Invite(usize, bool),
    /// Its ACK, whether there is anything to acknowledge or not.
    Ack(usize),
    /// Its CANCEL.
    Cancel(usize),
    Wait(u64),
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => (0..5usize, any::<bool>()).prop_map(|(n, moved)| Call::Invite(n, moved)),
        2 => (0..5usize).prop_map(Call::Ack),
        1 => (0..5usize).prop_map(Call::Cancel),
        4 => (0..12_000u64).prop_map(Call::Wait),
    ]
}

/// A refused call as RFC 3261 17.2.1 has it.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    since: Duration,
    port: u16,
    acknowledged: Option<Duration>,
}

impl Refusal {
    /// Timer H, or Timer I.
    fn end(&self) -> Duration {
        self.acknowledged.map_or(self.since + ms(32_000), |at| at + ms(5_000))
    }

    /// The moments of Timer G in a span.
    fn repeated(&self, from: Duration, to: Duration) -> Vec<Duration> {
        let marks = [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        let moments = marks.map(|mark| self.since + ms(mark));
        moments.into_iter().filter(|&at| at > from && at <= to && self.acknowledged.is_none()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn refusals_of_calls_go_out_when_they_are_due(calls in proptest::collection::vec(call(), 1..80)) {
        let mut stage = Stage::new();
        let mut refused: BTreeMap<usize, Refusal> = BTreeMap::new();
        let text = |n: usize, method| {
            let via = format!("SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bKc{n};rport");
            Text { method, via, call_id: n.to_string(), body: String::new(), ..Text::default() }.print()
        };
        for call in calls {
            refused.retain(|_, refusal| refusal.end() > stage.at);
            match call {
                Call::Invite(n, moved) => {
                    let port = if moved { 5062 } else { 5061 };
                    let got = stage.receive(udp(port), &text(n, "INVITE"));
                    match (got, refused.get_mut(&n)) {
                        (Got::Request(transaction, _), None) => {
                            stage.respond(transaction, &Answer::new(405));
                            refused.insert(n, Refusal { since: stage.at, port, acknowledged: None });
                        }
                        (Got::Nothing, Some(refusal)) if refusal.acknowledged.is_some() => {
                            prop_assert_eq!(stage.sent(), vec![]);
                            continue;
                        }
                        (Got::Nothing, Some(refusal)) => refusal.port = port,
                        other => prop_assert!(false, "{n}: {other:?}"),
                    }
                    let Sent::Datagram(to, _) = stage.one() else { panic!() };
                    prop_assert_eq!(to, peer(port));
                }
                Call::Ack(n) => {
                    let before = *stage.endpoint.counters();
                    prop_assert_eq!(stage.receive(udp(5061), &text(n, "ACK")), Got::Nothing);
                    prop_assert_eq!(stage.sent(), vec![]);
                    let known = refused.get_mut(&n);
                    prop_assert_eq!(stage.endpoint.counters().acks - before.acks, u64::from(known.is_some()));
                    if let Some(refusal) = known {
                        refusal.acknowledged.get_or_insert(stage.at);
                    }
                }
                Call::Cancel(n) => {
                    prop_assert_eq!(stage.receive(udp(5061), &text(n, "CANCEL")), Got::Nothing);
                    prop_assert_eq!(stage.one().status(), if refused.contains_key(&n) { 200 } else { 481 });
                }
                Call::Wait(time) => {
                    let start = stage.at;
                    let (sent, got) = stage.run_until(start + ms(time));
                    prop_assert!(got.is_empty());
                    let mut expected: Vec<(Duration, SocketAddr)> = refused
                        .values()
                        .flat_map(|refusal| {
                            let moments = refusal.repeated(start, stage.at);
                            moments.into_iter().map(|at| (at, peer(refusal.port)))
                        })
                        .collect();
                    expected.sort();
                    let mut found: Vec<(Duration, SocketAddr)> = sent
                        .iter()
                        .map(|(at, sent)| match sent {
                            Sent::Datagram(to, _) => (*at, *to),
                            Sent::Stream(..) => panic!("{sent:?}"),
                        })
                        .collect();
                    found.sort();
                    prop_assert_eq!(found, expected);
                }
            }
            refused.retain(|_, refusal| refusal.end() > stage.at);
            prop_assert_eq!(stage.endpoint.refused(), refused.len());
        }
        stage.assert_empty();
    }
}

/// A message with a few bytes changed, cut or doubled.
fn spoiled() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4u8);
    let seed = prop_oneof![
        Just(message()),
        Just(
            Text { more: "Require: a,\"b,c\"\r\nTimestamp: 1 2\r\nRoute: <sip:h;lr>\r\n".into(), ..Text::default() }
                .print()
        ),
        Just(
            Text {
                via: "SIP/2.0/UDP [::1]:1 ;rport;received=1;maddr=h;x=\"a;b\\\"\", SIP/2.0/TCP b;branch=z9hG4bK1"
                    .into(),
                ..Text::default()
            }
            .print()
        ),
        Just(message().replacen("MESSAGE sip:romeo@xmpp.example SIP/2.0", "SIP/2.0 200 OK", 1)),
    ];
    (seed, proptest::collection::vec(change, 0..6)).prop_map(|(text, changes)| {
        let mut bytes = text.into_bytes();
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len().max(1));
            match kind {
                _ if at >= bytes.len() => bytes.push(byte),
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]
    #[test]
    fn whatever_arrives_is_answered_once_or_dropped_and_counted(bytes in spoiled(), stream: bool) {
        let mut stage = Stage::new();
        let flow = if stream { stage.tcp() } else { udp(5061) };
        let now = stage.now();
        match stage.endpoint.handle_message(now, flow, &bytes, &mut stage.out) {
            Event::Request { transaction, .. } => {
                prop_assert_eq!(stage.out.poll_action(), None);
                let answer = Answer { extra: Extra::CAPABILITIES | Extra::UNSUPPORTED, ..Answer::new(420) };
                stage.endpoint.respond(now, transaction, &answer, &mut stage.out);
                let action = stage.out.poll_action();
                let sent = match &action {
                    Some(Action::SendDatagram { bytes, .. }) => stage.out.datagram(bytes),
                    Some(Action::Write { stream }) => stage.out.unsent(*stream),
                    other => panic!("{other:?}"),
                };
                // What was whole enough to come out is whole enough to be answered: whoever asked can read it.
                let Ok(Message::Response(response)) = wire::parse(sent, Carriage::Stream, &stage.endpoint.settings.limits) else {
                    panic!("{}", String::from_utf8_lossy(sent))
                };
                prop_assert!(response.status == 420 && response.essentials().is_some());
            }
            Event::None => {
                let counters = *stage.endpoint.counters();
                let refused = counters.refused + counters.cancels;
                let sent = std::iter::from_fn(|| stage.out.poll_action()).count() as u64;
                prop_assert_eq!(sent, refused);
                let dropped = counters.dropped_keep_alive + counters.dropped_not_sip + counters.dropped_unfinished
                    + counters.dropped_no_via + counters.dropped_too_long + counters.dropped_ack
                    + counters.dropped_malformed_response + counters.dropped_foreign_response
                    + counters.dropped_stray_response + counters.dropped_vias;
                prop_assert_eq!(refused + dropped, 1, "{:?}", counters);
            }
            event => prop_assert!(false, "{event:?}"),
        }
    }
}
