//! Server transactions: RFC 3261 17.2.2, 17.2.3, 8.2.2.2, 9.2 and RFC 4320.

use super::*;

#[test]
fn a_retransmission_in_trying_is_discarded() {
    let mut stage = Stage::new();
    stage.accept(udp(5061), &message());
    for at in [0, 500, 1500, 3499] {
        stage.at = ms(at);
        assert_eq!(stage.receive(udp(5061), &message()), Got::Nothing);
        assert_eq!(stage.sent(), []);
    }
    assert_eq!(stage.endpoint.counters().retransmissions_in, 4);
    assert_eq!(stage.endpoint.ongoing(), 1);
}

#[test]
fn a_retransmission_in_proceeding_gets_the_100_again() {
    let mut stage = Stage::new();
    let text = Text { more: "Timestamp: 54\r\n".into(), ..Text::default() }.print();
    stage.accept(udp(5061), &text);
    let (sent, _) = stage.run_until(ms(3600));
    let [(at, trying)] = &sent[..] else { panic!("{sent:#?}") };
    assert_eq!((*at, trying.status()), (ms(3500), 100));
    assert_eq!(trying.header("Timestamp"), "54 3.500", "RFC 3261 8.2.6.1");
    assert_eq!(stage.receive(udp(5061), &text), Got::Nothing);
    assert_eq!(stage.one(), *trying);
    let (sent, _) = stage.run_until(ms(31_000));
    assert_eq!(sent, [], "there is only one");
}

#[test]
fn a_100_is_sent_on_streams_too_and_not_after_the_answer() {
    let mut stage = Stage::new();
    let flow = stage.tcp();
    let tcp = Text { via: "SIP/2.0/TCP a.example;branch=z9hG4bKt".into(), ..Text::default() }.print();
    stage.accept(flow, &tcp);
    let answered = stage.accept(udp(5061), &Text { call_id: "other".into(), ..Text::default() }.print());
    stage.at = ms(3000);
    stage.respond(answered, &Answer::new(200));
    stage.sent();
    let (sent, _) = stage.run_until(ms(5000));
    let [(at, trying)] = &sent[..] else { panic!("{sent:#?}") };
    assert_eq!((*at, trying.status()), (ms(3500), 100));
    assert!(matches!(trying, Sent::Stream(stream, _) if Some(*stream) == flow.stream));
}

#[test]
fn a_retransmission_in_completed_gets_the_same_bytes_until_timer_j() {
    let answers: [Answer<'_>; 6] = [
        Answer::new(200),
        Answer { reason: Some("Gone with the \r\nwind"), ..Answer::new(410) },
        Answer { warning: Some("delivery \"unknown\""), retry_after: Some(7), ..Answer::new(504) },
        Answer { extra: Extra::ALLOW | Extra::ACCEPT, ..Answer::new(405) },
        Answer { extra: Extra::UNSUPPORTED, ..Answer::new(420) },
        Answer { more: b"Contact: <sip:a@b>\r\nDate: now\r\n", extra: Extra::CAPABILITIES, ..Answer::new(200) },
    ];
    for answer in answers {
        let mut stage = Stage::with(|settings| settings.supported = b"path, gruu".to_vec());
        let text = Text { more: "Require: gruu, Path\r\nRequire: other\r\n".into(), ..Text::default() }.print();
        let transaction = stage.accept(udp(5061), &text);
        stage.at = ms(1000);
        stage.respond(transaction, &answer);
        let first = stage.one();
        assert_eq!(first.status(), answer.status);
        for at in [1000, 1500, 32_999] {
            stage.at = ms(at);
            assert_eq!(stage.receive(udp(5061), &text), Got::Nothing);
            assert_eq!(stage.one(), first, "{answer:?}");
        }
        stage.respond(transaction, &Answer::new(500));
        assert_eq!(stage.sent(), [], "a later final answer is dropped");
        stage.at = ms(33_000);
        assert!(matches!(stage.receive(udp(5061), &text), Got::Request(..)), "Timer J is 64*T1 = 32 s");
    }
}

#[test]
fn the_answer_is_made_of_the_request() {
    let mut stage = Stage::with(|settings| settings.server_name = b"entente".to_vec());
    let text = Text {
        via: "SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bKone;rport , SIP/2.0/TLS p.example;branch=z9hG4bKx\r\n\
              v: SIP/2.0/UDP  last.example ; branch=z9hG4bKy"
            .into(),
        to: "\"Romeo; M.\" <sip:romeo@xmpp.example>;x=y",
        ..Text::default()
    }
    .print();
    let transaction = stage.accept(udp(5061), &text);
    stage.respond(transaction, &Answer { warning: Some("far \"away\""), retry_after: Some(60), ..Answer::new(480) });
    let sent = stage.one();
    let tag = sent.header("To").rsplit_once(";tag=").expect("a tag").1.to_owned();
    assert_eq!(tag.len(), 13, "at least 32 random bits (RFC 3261 19.3): {tag}");
    let expected = format!(
        "SIP/2.0 480 Temporarily Unavailable\r\n\
         Via: SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bKone;rport=5061;received=192.0.2.7 , SIP/2.0/TLS p.example;branch=z9hG4bKx\r\n\
         Via: SIP/2.0/UDP  last.example ; branch=z9hG4bKy\r\n\
         From: <sip:juliet@sip.example>;tag=a\r\n\
         To: \"Romeo; M.\" <sip:romeo@xmpp.example>;x=y;tag={tag}\r\n\
         Call-ID: call@example\r\nCSeq: 1 MESSAGE\r\nRetry-After: 60\r\n\
         Warning: 399 gw.example:5070 \"far \\\"away\\\"\"\r\nServer: entente\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(sent.text(), expected);
}

#[test]
fn a_to_tag_of_the_request_is_kept() {
    let mut stage = Stage::new();
    let text = Text { to: "<sip:romeo@xmpp.example>;tag=theirs", ..Text::default() }.print();
    let transaction = stage.accept(udp(5061), &text);
    stage.respond(transaction, &Answer::new(481));
    assert_eq!(stage.one().header("To"), "<sip:romeo@xmpp.example>;tag=theirs");
}

#[test]
fn extras_name_what_the_endpoint_knows() {
    let mut stage = Stage::with(|settings| settings.supported = b"gruu".to_vec());
    let text = Text { more: "Require: GRUU ,a\r\nRequire: b\r\n".into(), ..Text::default() }.print();
    let transaction = stage.accept(udp(5061), &text);
    stage.respond(transaction, &Answer { extra: Extra::UNSUPPORTED, ..Answer::new(420) });
    assert_eq!(stage.one().header("Unsupported"), "a, b");
    let options = Text { method: "OPTIONS", body: String::new(), ..Text::default() }.print();
    let transaction = stage.accept(udp(5061), &options);
    stage.respond(transaction, &Answer { extra: Extra::CAPABILITIES, ..Answer::new(200) });
    let sent = stage.one();
    assert_eq!(sent.header("Allow"), "MESSAGE, OPTIONS, ACK, CANCEL");
    assert_eq!(sent.header("Accept"), "text/plain");
    assert_eq!(sent.header("Accept-Encoding"), "");
    assert_eq!(sent.header("Accept-Language"), "");
    assert_eq!(sent.header("Supported"), "gruu");
}

/// Equal in what 17.2.3 looks at, and yet not retransmissions; each comes out and gets an answer of its own.
#[test]
fn what_is_not_the_same_request_is_a_transaction_of_its_own() {
    let one = Text::default();
    let cases = [
        ("other body", udp(5061), Text { body: "hellO".into(), call_id: "2".into(), ..one.clone() }),
        ("other source port", udp(5062), Text { call_id: "3".into(), ..one.clone() }),
        ("other sent-by", udp(5061), Text { via: one.via.replace("5061", "5062"), call_id: "4".into(), ..one.clone() }),
        ("other branch", udp(5061), Text { via: one.via.replace("one", "two"), call_id: "5".into(), ..one.clone() }),
        ("other method", udp(5061), Text { method: "OPTIONS", ..one.clone() }),
    ];
    let mut stage = Stage::new();
    let mut hashes = Vec::new();
    let Got::Request(first, hash) = stage.receive(udp(5061), &one.print()) else { panic!("a request") };
    hashes.push(hash);
    stage.respond(first, &Answer::new(202));
    let first = stage.one();
    for (name, flow, text) in &cases {
        let Got::Request(transaction, hash) = stage.receive(*flow, &text.print()) else { panic!("{name}") };
        assert!(!hashes.contains(&hash), "{name}");
        hashes.push(hash);
        stage.respond(transaction, &Answer::new(404));
        let sent = stage.one();
        assert_eq!(sent.status(), 404, "{name}");
        assert_eq!(stage.receive(*flow, &text.print()), Got::Nothing, "{name}");
        assert_eq!(stage.one(), sent, "{name}");
    }
    assert_eq!(stage.receive(udp(5061), &one.print()), Got::Nothing);
    assert_eq!(stage.one(), first, "the first is untouched by all of them");
    stage.assert_empty();
}

#[test]
fn what_only_differs_in_its_top_via_is_a_retransmission() {
    let mut stage = Stage::new();
    let first = Text { via: "SIP/2.0/UDP Host.Example:5061;branch=z9hG4bKone".into(), ..Text::default() };
    let again = Text { via: "SIP/2.0/UDP  host.example:5061 ;rport;branch=z9hG4bKone".into(), ..Text::default() };
    stage.accept(udp(5061), &first.print());
    assert_eq!(stage.receive(udp(5061), &again.print()), Got::Nothing);
    assert_eq!(stage.endpoint.counters().retransmissions_in, 1);
}

#[test]
fn branches_without_cookie_are_matched_as_rfc_2543_did() {
    let mut stage = Stage::new();
    let one = Text { via: "SIP/2.0/UDP 192.0.2.7:5061;branch=1".into(), ..Text::default() };
    let two = Text { cseq: 2, ..one.clone() };
    stage.accept(udp(5061), &one.print());
    stage.accept(udp(5061), &two.print());
    assert_eq!(stage.receive(udp(5061), &one.print()), Got::Nothing);
    assert_eq!(stage.receive(udp(5061), &two.print()), Got::Nothing);
    let bare = Text { via: "SIP/2.0/UDP 192.0.2.7:5061".into(), cseq: 3, ..Text::default() };
    stage.accept(udp(5061), &bare.print());
    assert_eq!(stage.receive(udp(5061), &bare.print()), Got::Nothing);
}

#[test]
fn a_merged_request_gets_482_only_while_the_first_is_open() {
    let mut stage = Stage::new();
    let first = stage.accept(udp(5061), &message());
    let via = |branch| format!("SIP/2.0/UDP proxy.example;branch=z9hG4bK{branch}");
    let merged = Text { via: via("m"), ..Text::default() }.print();
    assert_eq!(stage.receive(udp(5090), &merged), Got::Nothing);
    let refusal = stage.one();
    assert_eq!(refusal.status(), 482);
    stage.respond(first, &Answer::new(200));
    stage.sent();
    assert_eq!(stage.receive(udp(5090), &merged), Got::Nothing);
    assert_eq!(stage.one(), refusal, "its retransmission is not taken for a new request afterwards");
    let later = Text { via: via("n"), ..Text::default() }.print();
    stage.accept(udp(5090), &later);
    let in_dialog = Text { via: via("o"), to: "<sip:romeo@xmpp.example>;tag=x", ..Text::default() }.print();
    stage.accept(udp(5090), &in_dialog);
    assert_eq!(stage.endpoint.counters().merged, 1);
    stage.respond(first, &Answer::new(200));
    let mut proxy = Stage::with(|settings| settings.refuse_merged = false);
    proxy.accept(udp(5061), &message());
    proxy.accept(udp(5090), &merged);
}

/// RFC 3581: a NAT that gives the retransmission another port has it answered there.
#[test]
fn the_same_request_from_another_port_is_answered_there_and_once() {
    let mut stage = Stage::new();
    let transaction = stage.accept(udp(5061), &message());
    assert_eq!(stage.receive(udp(5090), &message()), Got::Nothing);
    assert_eq!(stage.sent(), vec![], "no 482 for what may be delivered");
    let (sent, _) = stage.run_until(ms(3600));
    assert!(matches!(&sent[..], [(_, Sent::Datagram(to, _))] if *to == peer(5090)), "the 100: {sent:?}");
    stage.respond(transaction, &Answer::new(202));
    let Sent::Datagram(to, answer) = stage.one() else { panic!() };
    assert_eq!(to, peer(5090));
    assert!(answer.contains(";rport=5090;received=192.0.2.7\r\n"), "{answer}");
    for port in [5061, 5091] {
        assert_eq!(stage.receive(udp(port), &message()), Got::Nothing, "it is not delivered again");
        let Sent::Datagram(to, again) = stage.one() else { panic!() };
        assert_eq!((to, again), (peer(port), answer.replace("rport=5090", &format!("rport={port}"))));
    }
    assert_eq!((stage.endpoint.counters().merged, stage.endpoint.counters().requests_in), (0, 1));
    stage.assert_empty();
}

#[test]
fn the_same_transaction_from_another_address_gets_no_second_answer() {
    let mut stage = Stage::new();
    let elsewhere = Flow { peer: SocketAddr::from(([192, 0, 2, 8], 5061)), ..udp(5061) };
    let transaction = stage.accept(udp(5061), &message());
    assert_eq!(stage.receive(elsewhere, &message()), Got::Nothing);
    assert_eq!(stage.sent(), vec![], "no 482 for what may be delivered");
    stage.respond(transaction, &Answer::new(202));
    assert!(matches!(stage.one(), Sent::Datagram(to, _) if to == peer(5061)));
    assert_eq!(stage.endpoint.counters().merged, 0);
    stage.assert_empty();
}

/// libpurple 2.14.12 never seeds its random numbers: two users who start at the same time have equal branches, tags,
/// Call-IDs and numbers, and behind a NAT even one address.
#[test]
fn clients_that_draw_the_same_numbers_are_kept_apart() {
    let mut stage = Stage::new();
    let of = |user: &str| message().replace("sip:juliet@", &format!("sip:{user}@")).replace(";rport", "");
    let elsewhere = Flow { peer: SocketAddr::from(([192, 0, 2, 8], 5061)), ..udp(5061) };
    let juliet = stage.accept(udp(5061), &of("juliet"));
    let nurse = stage.accept(udp(5061), &of("nurse"));
    let tybalt = stage.accept(elsewhere, &of("tybalt"));
    for (transaction, status) in [(tybalt, 202), (nurse, 404), (juliet, 200)] {
        stage.respond(transaction, &Answer::new(status));
        assert_eq!(stage.one().status(), status);
    }
    for (flow, user, status) in [(udp(5061), "juliet", 200), (udp(5061), "nurse", 404), (elsewhere, "tybalt", 202)] {
        assert_eq!(stage.receive(flow, &of(user)), Got::Nothing, "{user}");
        let answer = stage.one();
        assert_eq!(answer.status(), status, "{user}");
        assert!(answer.header("From").contains(user), "{answer:?}");
    }
    assert_eq!(stage.endpoint.counters().merged, 0);
    stage.assert_empty();
}

#[test]
fn cancel_of_a_message_changes_nothing() {
    let mut stage = Stage::new();
    let transaction = stage.accept(udp(5061), &message());
    let cancel = Text { method: "CANCEL", body: String::new(), ..Text::default() }.print();
    assert_eq!(stage.receive(udp(5061), &cancel), Got::Nothing);
    let answer = stage.one();
    assert_eq!((answer.status(), answer.header("CSeq")), (200, "1 CANCEL"));
    stage.respond(transaction, &Answer::new(200));
    let last = stage.one();
    assert_eq!((last.status(), last.header("CSeq")), (200, "1 MESSAGE"));
    assert_eq!(last.header("To"), answer.header("To"), "RFC 3261 9.2");
    assert_eq!(stage.receive(udp(5061), &cancel), Got::Nothing);
    assert_eq!(stage.one().status(), 200, "it matches a finished one, too");
    let stray = Text { via: "SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bKno".into(), method: "CANCEL", ..Text::default() };
    assert_eq!(stage.receive(udp(5061), &stray.print()), Got::Nothing);
    assert_eq!(stage.one().status(), 481);
    stage.assert_empty();
}

#[test]
fn an_ack_is_never_answered() {
    let mut stage = Stage::new();
    let ack = Text { method: "ACK", body: String::new(), ..Text::default() };
    assert_eq!(stage.receive(udp(5061), &ack.print()), Got::Nothing);
    let broken = ack.print().replace("Call-ID: call@example\r\n", "");
    assert_eq!(stage.receive(udp(5061), &broken), Got::Nothing);
    assert_eq!(stage.sent(), []);
    assert_eq!(stage.endpoint.counters().dropped_ack, 2);
}

#[test]
fn malformed_requests_are_answered_or_dropped_by_reason() {
    let whole = Text { more: "Max-Forwards: 300\r\n".into(), ..Text::default() }.print();
    let cases: &[(&str, String, Option<u16>)] = &[
        ("Max-Forwards out of range", message().replace("Max-Forwards: 70", "Max-Forwards: 300"), Some(400)),
        ("no Call-ID", message().replace("Call-ID: call@example\r\n", ""), Some(400)),
        ("no From", message().replace("From: <sip:juliet@sip.example>;tag=a\r\n", ""), Some(400)),
        ("no To", message().replace("To: <sip:romeo@xmpp.example>\r\n", ""), Some(400)),
        ("broken To", message().replace("To: <sip:romeo@xmpp.example>", "To: <sip:romeo@"), Some(400)),
        ("CSeq of another method", message().replace("1 MESSAGE", "1 INVITE"), Some(400)),
        ("other version", message().replace(" SIP/2.0\r\nVia", " SIP/3.0\r\nVia"), Some(505)),
        ("body shorter than said", message().replace("Content-Length: 5", "Content-Length: 6"), Some(400)),
        ("no Via", message().replace("Via: SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bKone;rport\r\n", ""), None),
        ("garbage", "\u{1}\u{2}\u{3}".into(), None),
        ("nothing", String::new(), None),
        ("two Max-Forwards", whole, Some(400)),
    ];
    for (name, text, status) in cases {
        let mut stage = Stage::new();
        assert_eq!(stage.receive(udp(5061), text), Got::Nothing, "{name}");
        let sent = stage.sent();
        match (status, &sent[..]) {
            (None, []) => {
                let counters = stage.endpoint.counters();
                let not_sip = counters.dropped_not_sip + counters.dropped_unfinished;
                assert_eq!(counters.dropped_no_via + not_sip + counters.dropped_keep_alive, 1, "{name}");
            }
            (Some(status), [answer]) => {
                assert_eq!(answer.status(), *status, "{name}: {}", answer.text());
                assert!(matches!(answer, Sent::Datagram(to, _) if *to == peer(5061)), "{name}");
                for header in ["From", "To", "Call-ID", "CSeq"] {
                    let line = text.split("\r\n").find(|line| line.starts_with(&format!("{header}: ")));
                    let value = line.map(|line| &line[header.len() + 2..]);
                    let copied = answer.headers(header).next().map(|value| value.split(";tag=").next().unwrap());
                    assert_eq!(copied, value.map(|value| value.split(";tag=").next().unwrap()), "{name}: {header}");
                }
                assert_eq!(stage.receive(udp(5061), text), Got::Nothing);
                assert_eq!(stage.one(), *answer, "{name}: the same again");
                assert_eq!(stage.endpoint.counters().refused, 2, "{name}");
            }
            _ => panic!("{name}: {sent:#?}"),
        }
        assert_eq!(stage.endpoint.ongoing() + stage.endpoint.finished(), 0, "{name}");
    }
}

#[test]
fn full_tables_answer_503_without_a_transaction() {
    let nth = |n: u32| {
        let via = format!("SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bK{n}");
        Text { via, call_id: n.to_string(), ..Text::default() }.print()
    };
    let mut stage = Stage::with(|settings| {
        settings.max_ongoing = 2;
        settings.max_finished = 4;
    });
    let first = [stage.accept(udp(5061), &nth(0)), stage.accept(udp(5061), &nth(1))];
    assert_eq!(stage.receive(udp(5061), &nth(2)), Got::Nothing);
    let refusal = stage.one();
    assert_eq!((refusal.status(), refusal.header("Retry-After")), (503, "10"));
    for transaction in first {
        stage.respond(transaction, &Answer::new(200));
    }
    for n in 2..4 {
        let transaction = stage.accept(udp(5061), &nth(n));
        stage.respond(transaction, &Answer::new(200));
    }
    stage.sent();
    assert_eq!(stage.receive(udp(5061), &nth(4)), Got::Nothing);
    assert_eq!(stage.one().status(), 503);
    assert_eq!(stage.receive(udp(5061), &nth(0)), Got::Nothing);
    assert_eq!(stage.one().status(), 200, "what is known is still answered");
    assert_eq!(stage.endpoint.counters().overloaded, 2);
    stage.at = ms(32_000);
    stage.accept(udp(5061), &nth(4));
    let mut stage = Stage::with(|settings| settings.max_answer_text = 1);
    let transaction = stage.accept(udp(5061), &nth(0));
    stage.respond(transaction, &Answer { warning: Some("text"), ..Answer::new(404) });
    stage.sent();
    assert_eq!(stage.receive(udp(5061), &nth(1)), Got::Nothing);
    assert_eq!(stage.one().status(), 503);
    stage.assert_empty();
}

/// RFC 3261 8.2.7.
#[test]
fn what_is_answered_without_state_leaves_nothing() {
    let mut stage = Stage::new();
    for method in ["MESSAGE", "INVITE"] {
        let text = Text { method, body: String::new(), ..Text::default() }.print();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let transaction = stage.accept(udp(5061), &text);
            stage.endpoint.make_stateless(transaction, &udp(5061));
            assert_eq!(stage.receive(udp(5061), &text), Got::Nothing, "open, it is a transaction like any other");
            assert_eq!(stage.sent(), []);
            stage.respond(transaction, &Answer::new(403));
            answers.push(stage.one());
            assert_eq!((stage.endpoint.ongoing(), stage.endpoint.finished(), stage.endpoint.refused()), (0, 0, 0));
            assert_eq!(stage.endpoint.poll_timeout(), None);
        }
        assert_eq!(answers[0], answers[1], "the same request, the same tag");
    }
    stage.assert_empty();
}

#[test]
fn streams_keep_no_finished_transactions() {
    let mut stage = Stage::new();
    let flow = stage.tcp();
    let text = Text { via: "SIP/2.0/TCP 192.0.2.7:5061;branch=z9hG4bKt".into(), ..Text::default() }.print();
    let transaction = stage.accept(flow, &text);
    assert_eq!(stage.receive(flow, &text), Got::Nothing, "while it is open, the same request is the same transaction");
    let other = stage.tcp();
    assert_eq!(stage.receive(other, &text), Got::Nothing, "on another stream it is a merged one");
    assert_eq!(stage.one().status(), 482);
    stage.respond(transaction, &Answer::new(200));
    assert!(matches!(stage.one(), Sent::Stream(stream, _) if Some(stream) == flow.stream));
    assert_eq!(stage.endpoint.finished(), 0, "Timer J is zero");
    stage.accept(flow, &text);
}

#[test]
fn time_that_goes_back_is_ignored() {
    let mut stage = Stage::new();
    stage.at = ms(10_000);
    let transaction = stage.accept(udp(5061), &message());
    stage.at = ms(5_000);
    stage.respond(transaction, &Answer::new(200));
    stage.sent();
    stage.at = ms(41_999);
    assert_eq!(stage.receive(udp(5061), &message()), Got::Nothing);
    assert_eq!(stage.one().status(), 200);
    stage.at = ms(42_000);
    stage.accept(udp(5061), &message());
}
