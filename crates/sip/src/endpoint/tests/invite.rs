//! INVITE server transactions that are refused: RFC 3261 17.2.1, 17.2.3, 9.2.

use super::*;

fn invite() -> Text {
    Text {
        method: "INVITE",
        body: String::new(),
        more: "Contact: <sip:juliet@192.0.2.7>\r\n".into(),
        ..Text::default()
    }
}

/// The ACK for an answer (17.1.1.3): the Via, From, Call-ID and number of the request, the To of the answer.
fn ack(of: &Text, answer: &Sent) -> String {
    let ack = Text { method: "ACK", body: String::new(), more: String::new(), ..of.clone() }.print();
    ack.replace(&format!("To: {}\r\n", of.to), &format!("To: {}\r\n", answer.header("To")))
}

fn refused(stage: &mut Stage, flow: Flow, text: &Text) -> Sent {
    let transaction = stage.accept(flow, &text.print());
    stage.respond(transaction, &Answer { extra: Extra::ALLOW, ..Answer::new(405) });
    let answer = stage.one();
    assert_eq!(answer.status(), 405);
    assert!(answer.header("To").contains(";tag=") && answer.header("Allow").contains("MESSAGE"), "{answer:?}");
    answer
}

#[test]
fn a_refusal_is_repeated_by_timer_g_until_timer_h() {
    let mut stage = Stage::new();
    let answer = refused(&mut stage, udp(5061), &invite());
    let (sent, _) = stage.run_until(ms(40_000));
    let moments: Vec<u64> = sent.iter().map(|(at, _)| at.as_millis() as u64).collect();
    assert_eq!(moments, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert!(sent.iter().all(|(_, sent)| *sent == answer));
    assert_eq!(stage.endpoint.refused(), 0);
    assert_eq!(stage.endpoint.poll_timeout(), None);
}

#[test]
fn an_ack_ends_the_repetition_and_is_absorbed() {
    let mut stage = Stage::new();
    let answer = refused(&mut stage, udp(5061), &invite());
    assert_eq!(stage.run_until(ms(600)).0.len(), 1);
    assert_eq!(stage.receive(udp(5061), &ack(&invite(), &answer)), Got::Nothing);
    assert_eq!(stage.run_until(ms(5_599)).0, [], "Confirmed");
    for text in [ack(&invite(), &answer), invite().print()] {
        assert_eq!(stage.receive(udp(5061), &text), Got::Nothing);
        assert_eq!(stage.sent(), [], "until Timer I nothing is said to it");
    }
    assert_eq!((stage.endpoint.counters().acks, stage.endpoint.counters().dropped_ack), (2, 0));
    stage.run_until(ms(5_600));
    assert_eq!(stage.endpoint.refused(), 0, "Timer I is T4");
    assert_eq!(stage.receive(udp(5061), &ack(&invite(), &answer)), Got::Nothing);
    assert_eq!(stage.endpoint.counters().dropped_ack, 1);
    stage.assert_empty();
}

#[test]
fn an_invite_that_comes_again_gets_the_same_refusal_where_it_comes_from() {
    let mut stage = Stage::new();
    let answer = refused(&mut stage, udp(5061), &invite());
    assert_eq!(stage.receive(udp(5061), &invite().print()), Got::Nothing);
    assert_eq!(stage.one(), answer);
    // A NAT gives it another port: there the answer goes from now on (RFC 3581), and from there the ACK comes.
    assert_eq!(stage.receive(udp(40_000), &invite().print()), Got::Nothing);
    let Sent::Datagram(to, moved) = stage.one() else { panic!() };
    assert_eq!((to, moved), (peer(40_000), answer.text().replace("rport=5061", "rport=40000")));
    let (sent, _) = stage.run_until(ms(500));
    assert!(matches!(&sent[..], [(_, Sent::Datagram(to, _))] if *to == peer(40_000)), "{sent:?}");
    assert_eq!(stage.receive(udp(40_000), &ack(&invite(), &answer)), Got::Nothing);
    assert_eq!(stage.run_until(ms(40_000)).0, []);
    stage.assert_empty();
}

#[test]
fn on_a_stream_nothing_is_repeated_and_the_ack_is_the_end() {
    let mut stage = Stage::new();
    let flow = stage.tcp();
    let text = Text { via: "SIP/2.0/TCP h.example;branch=z9hG4bKt".into(), ..invite() };
    let answer = refused(&mut stage, flow, &text);
    assert_eq!(stage.run_until(ms(31_999)).0, []);
    assert_eq!(stage.receive(flow, &text.print()), Got::Nothing);
    assert_eq!(stage.one(), answer);
    assert_eq!(stage.receive(flow, &ack(&text, &answer)), Got::Nothing);
    assert_eq!(stage.endpoint.refused(), 0, "Timer I is zero");
    let text = Text { via: text.via.replace("4bKt", "4bKu"), call_id: "u".into(), ..text };
    refused(&mut stage, flow, &text);
    assert_eq!(stage.endpoint.refused(), 1);
    assert_eq!(stage.run_until(ms(64_000)).0, []);
    assert_eq!(stage.endpoint.refused(), 0, "Timer H runs on streams, too");
    stage.assert_empty();
}

/// 17.2.3: without the cookie all that identifies the INVITE counts, and To with our tag.
#[test]
fn an_ack_of_rfc_2543_is_matched_by_its_fields() {
    for via in ["SIP/2.0/UDP 192.0.2.7:5061", "SIP/2.0/UDP 192.0.2.7:5061;branch=1"] {
        let mut stage = Stage::new();
        let text = Text { via: via.into(), ..invite() };
        let answer = refused(&mut stage, udp(5061), &text);
        let right = ack(&text, &answer);
        for wrong in [
            right.replace(";tag=", ";tag=x"),
            right.replace("CSeq: 1", "CSeq: 2"),
            right.replace("call@example", "other@example"),
            right.replace(via, &format!("{via};x=y")),
            right.replace("ACK sip:romeo", "ACK sip:benvolio"),
            right.replace("Max-Forwards: 70", "Max-Forwards: x"),
        ] {
            assert_ne!(wrong, right);
            assert_eq!(stage.receive(udp(5061), &wrong), Got::Nothing);
        }
        assert_eq!((stage.endpoint.counters().acks, stage.endpoint.counters().dropped_ack), (0, 6));
        assert_eq!(stage.receive(udp(5061), &right), Got::Nothing);
        assert_eq!(stage.endpoint.counters().acks, 1);
        assert_eq!(stage.run_until(ms(40_000)).0, []);
        // Within a dialog the tag was theirs.
        let text = Text { to: "<sip:romeo@xmpp.example>;tag=theirs", ..text };
        let transaction = stage.accept(udp(5061), &text.print());
        stage.respond(transaction, &Answer::new(481));
        let answer = stage.one();
        assert_eq!(stage.receive(udp(5061), &ack(&text, &answer)), Got::Nothing);
        assert_eq!(stage.endpoint.counters().acks, 2);
        stage.assert_empty();
    }
}

/// 9.2: the INVITE has its final response, so the CANCEL changes nothing.
#[test]
fn a_cancel_of_a_refused_invite_is_too_late() {
    let mut stage = Stage::new();
    let answer = refused(&mut stage, udp(5061), &invite());
    let cancel = Text { method: "CANCEL", more: "Require: x\r\nProxy-Require: y\r\n".into(), ..invite() }.print();
    assert_eq!(stage.receive(udp(5061), &cancel), Got::Nothing);
    let cancelled = stage.one();
    assert_eq!((cancelled.status(), cancelled.header("CSeq")), (200, "1 CANCEL"));
    assert_eq!(cancelled.header("To"), answer.header("To"));
    assert_eq!(stage.run_until(ms(500)).0, [(ms(500), answer)], "no 487, and the refusal goes on");
    stage.assert_empty();
}

#[test]
fn what_repeats_refusals_is_bounded() {
    let mut stage = Stage::with(|settings| settings.max_refused = 1024);
    let nth = |n: u32| Text {
        via: format!("SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bK{n}"),
        call_id: n.to_string(),
        ..invite()
    };
    let answers: Vec<_> = (0..3).map(|n| refused(&mut stage, udp(5061), &nth(n))).collect();
    assert_eq!((stage.endpoint.refused(), stage.endpoint.finished()), (2, 1), "the third is not repeated by itself");
    let (sent, _) = stage.run_until(ms(500));
    assert_eq!(sent.iter().map(|(_, sent)| sent).collect::<Vec<_>>(), [&answers[0], &answers[1]]);
    for n in 0..3 {
        assert_eq!(stage.receive(udp(5061), &nth(n).print()), Got::Nothing);
        assert_eq!(stage.one(), answers[n as usize], "but all are known");
    }
    stage.assert_empty();
    for n in 3..5 {
        refused(&mut stage, udp(5061), &nth(n));
    }
    assert_eq!(stage.endpoint.refused(), 2, "the room is free again");
    stage.assert_empty();
}

#[test]
fn a_peer_that_cannot_be_reached_is_not_told_again() {
    let mut stage = Stage::new();
    refused(&mut stage, udp(5061), &invite());
    let other =
        Text { via: "SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bKother;rport".into(), call_id: "o".into(), ..invite() };
    refused(&mut stage, udp(5062), &other);
    stage.endpoint.handle_unreachable(US, peer(5061));
    let (sent, _) = stage.run_until(ms(500));
    assert!(matches!(&sent[..], [(_, Sent::Datagram(to, _))] if *to == peer(5062)), "{sent:?}");
    stage.assert_empty();
}
