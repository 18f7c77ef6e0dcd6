//! What an endpoint knows again that was made after another one with the same lasting secret.

use super::*;
use std::time::SystemTime;
use turn::Calendar;

/// An endpoint of the same gateway after another start.
fn started_again(start: u8) -> Stage {
    started_with(start, |_| {})
}

/// The same with other settings. Each run begins at the same time of the same day.
fn started_with(start: u8, change: impl FnOnce(&mut Settings)) -> Stage {
    let mut stage = Stage::new();
    let mut settings = Settings::new("gw.example:5070");
    settings.turn_log = Some(Calendar::new(stage.now(), SystemTime::UNIX_EPOCH.checked_add(ms(1_795_201_200_000))));
    change(&mut settings);
    stage.endpoint = Endpoint::new(settings, Minters::new([start; 16], [8; 16]));
    stage
}

/// The log of a run that has answered so many requests.
fn log_of(requests: usize) -> Vec<u8> {
    let mut stage = started_again(1);
    for n in 0..requests {
        let transaction = stage.accept(udp(5061), &numbered(n));
        stage.respond(transaction, &Answer::new(200));
    }
    stage.out.logged().to_vec()
}

fn numbered(n: usize) -> String {
    Text { via: format!("SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bK{n}"), call_id: format!("{n}"), ..Text::default() }
        .print()
}

fn restore(stage: &mut Stage, log: &[u8]) -> Restored {
    let now = stage.now();
    stage.endpoint.restore(now, log)
}

#[test]
fn a_datagram_has_the_same_hash_after_a_restart_and_what_comes_on_a_stream_has_not() {
    let (mut first, mut second) = (started_again(1), started_again(2));
    let hashes = |stage: &mut Stage| {
        let flow = stage.tcp();
        let via = "SIP/2.0/TCP a.example;branch=z9hG4bKt".into();
        let tcp = Text { via, call_id: "other".into(), ..Text::default() }.print();
        [(udp(5061), message()), (flow, tcp)].map(|(flow, text)| match stage.receive(flow, &text) {
            Got::Request(_, hash) => hash,
            other => panic!("{other:?}"),
        })
    };
    let ([datagram, stream], [datagram_again, stream_again]) = (hashes(&mut first), hashes(&mut second));
    assert_eq!(datagram, datagram_again);
    assert_ne!(stream, stream_again, "the first connection of this run is not the first one of that run");
    let mut stranger = Stage::new();
    stranger.endpoint = Endpoint::new(Settings::new("gw.example:5070"), Minters::new([1; 16], [7; 16]));
    assert_ne!(datagram, hashes(&mut stranger)[0]);
}

#[test]
fn branches_do_not_begin_anew() {
    let [a, b] = [1, 2].map(|start| started_again(start).endpoint.keys.mint());
    assert_ne!(a, b);
}

#[test]
fn every_answer_that_is_kept_is_repeated_after_a_restart() {
    let mut before = started_again(1);
    let merged = Text { via: "SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bKfork".into(), ..Text::default() }.print();
    let options = Text { method: "OPTIONS", call_id: "o".into(), body: String::new(), ..Text::default() }.print();
    let transaction = before.accept(udp(5061), &message());
    assert_eq!(before.receive(udp(5061), &merged), Got::Nothing);
    let warning = Answer { warning: Some("delivery unknown"), retry_after: Some(9), ..Answer::new(504) };
    before.respond(transaction, &warning);
    let transaction = before.accept(udp(5061), &options);
    before.respond(transaction, &Answer { extra: Extra::CAPABILITIES, ..Answer::new(200) });
    let log = before.out.logged().to_vec();
    let answers = before.sent();
    assert_eq!(answers.iter().map(Sent::status).collect::<Vec<_>>(), [482, 504, 200]);
    before.out.end_turn();
    assert_eq!(before.receive(udp(5061), &message()), Got::Nothing);
    assert_eq!(before.out.logged(), b"", "a repetition is not written");

    let mut after = started_again(2);
    assert_eq!(restore(&mut after, &log), Restored { kept: 3, ..Restored::default() });
    assert_eq!(after.endpoint.finished(), 3);
    for request in [&merged, &message(), &options] {
        assert_eq!(after.receive(udp(5061), request), Got::Nothing);
    }
    assert_eq!(after.sent(), answers);
    after.assert_empty();
}

#[test]
fn what_needs_no_memory_is_not_written() {
    let mut stage = started_again(1);
    let flow = stage.tcp();
    let tcp = Text { via: "SIP/2.0/TCP a.example;branch=z9hG4bKt".into(), ..Text::default() }.print();
    let transaction = stage.accept(flow, &tcp);
    stage.respond(transaction, &Answer::new(200));
    let stranger = stage.accept(udp(5061), &message());
    stage.endpoint.make_stateless(stranger, &udp(5061));
    stage.respond(stranger, &Answer::new(403));
    let invite = Text { method: "INVITE", more: "Contact: <sip:a@b>\r\n".into(), ..Text::default() }.print();
    let transaction = stage.accept(udp(5061), &invite);
    stage.respond(transaction, &Answer::new(405));
    assert_eq!(stage.out.logged(), b"");
    assert_eq!(stage.sent().len(), 3);
}

#[test]
fn records_beyond_the_limits_are_counted_and_left() {
    let log = log_of(5);
    let mut stage = started_with(2, |settings| settings.max_finished = 3);
    assert_eq!(restore(&mut stage, &log), Restored { kept: 3, beyond: 2, ..Restored::default() });
    assert_eq!(stage.endpoint.finished(), 3);
    stage.assert_empty();
    let mut stage = started_with(2, |settings| settings.max_answer_text = 0);
    assert_eq!(restore(&mut stage, &log), Restored { beyond: 5, ..Restored::default() });
}

#[test]
fn a_broken_log_gives_what_is_whole_in_it() {
    let log = log_of(2);
    let record = log.len() / 2;
    let mut broken = log.clone();
    // A status that is none, and an end that is missing.
    broken[record + 35] = 0xff;
    broken.extend_from_slice(&log[..record + 7]);
    let mut stage = started_again(2);
    assert_eq!(restore(&mut stage, &broken), Restored { kept: 2, malformed: 2, ..Restored::default() });
    assert_eq!(stage.receive(udp(5061), &numbered(0)), Got::Nothing);
    assert_eq!(stage.one().status(), 200);
    assert!(matches!(stage.receive(udp(5061), &numbered(1)), Got::Request(..)));
}

#[test]
fn an_answer_that_is_too_long_for_the_log_is_repeated_by_this_run_only() {
    let mut stage = started_again(1);
    let more = format!("Contact: <sip:{}@b>\r\n", "a".repeat(1 << 16));
    let transaction = stage.accept(udp(5061), &message());
    stage.respond(transaction, &Answer { more: more.as_bytes(), ..Answer::new(302) });
    assert_eq!((stage.out.logged(), stage.endpoint.counters().unlogged), (&b""[..], 1));
    let first = stage.one();
    assert_eq!(stage.receive(udp(5061), &message()), Got::Nothing);
    assert_eq!(stage.one(), first);
}

#[test]
fn without_a_date_nothing_is_written_or_read() {
    let log = log_of(1);
    for calendar in [None, Some(Calendar::new(Stage::new().now(), None))] {
        let mut stage = started_with(2, |settings| settings.turn_log = calendar);
        assert_eq!(restore(&mut stage, &log), Restored::default());
        let transaction = stage.accept(udp(5061), &numbered(0));
        stage.respond(transaction, &Answer::new(200));
        assert_eq!(stage.out.logged(), b"");
    }
}
