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
                        call_id: b"id", cseq: 1, max_forwards: 70, more: b"", content_type: None, body: b"", branch: None,
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
