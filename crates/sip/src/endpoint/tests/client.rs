//! Client transactions: RFC 3261 17.1.2, 17.1.3, 17.1.4, 18.1.2 and 8.1.3.3.

use super::*;
use crate::transaction::ClientKey;

fn parts() -> RequestParts<'static> {
    RequestParts {
        method: Method::Message,
        uri: b"sip:juliet@sip.example",
        from: b"<sip:romeo@xmpp.example>",
        from_tag: None,
        to: b"<sip:juliet@sip.example>",
        call_id: b"abc@gw.example",
        cseq: 7,
        max_forwards: 69,
        route: b"",
        more: b"Date: Fri, 20 Nov 2026 18:02:25 GMT\r\n",
        content_type: Some(b"text/plain"),
        body: b"hello",
        branch: None,
    }
}

fn request(stage: &mut Stage, flow: Flow, parts: &RequestParts<'_>, token: u64) -> Result<ClientKey, SendError> {
    let now = stage.now();
    stage.endpoint.request(now, flow, parts, token, &mut stage.out)
}

/// The response of a peer to what was sent.
fn response(sent: &Sent, status: u16) -> String {
    let copy = |name| format!("{name}: {}\r\n", sent.header(name));
    format!(
        "SIP/2.0 {status} Whatever\r\n{}{}{};tag=far\r\n{}{}Content-Length: 0\r\n\r\n",
        copy("Via"),
        copy("From"),
        copy("To").trim_end(),
        copy("Call-ID"),
        copy("CSeq")
    )
}

/// RFC 3261 18.1.1: the Via names the transport that is used, and where we are reached over it; 18.1.2: responses come back
/// with it.
#[test]
fn each_transport_has_its_sent_by() {
    let mut stage = Stage::with(|settings| settings.sent_by_tcp = Some(b"gw.example:5071".to_vec()));
    let tcp = stage.tcp();
    request(&mut stage, tcp, &parts(), 1).unwrap();
    let sent = stage.one();
    assert!(sent.header("Via").starts_with("SIP/2.0/TCP gw.example:5071;"), "{}", sent.text());
    let answer = response(&sent, 200);
    assert_eq!(stage.receive(tcp, &answer.replace("gw.example:5071", "gw.example:5070")), Got::Nothing);
    assert_eq!(stage.receive(tcp, &answer), Got::Final(1, 200));
    request(&mut stage, udp(5060), &parts(), 2).unwrap();
    let sent = stage.one();
    assert!(sent.header("Via").starts_with("SIP/2.0/UDP gw.example:5070;"), "{}", sent.text());
    assert_eq!(stage.receive(udp(5060), &response(&sent, 200)), Got::Final(2, 200));
    stage.assert_empty();
}

#[test]
fn what_is_too_large_for_the_datagram_is_not_sent() {
    let mut stage = Stage::new();
    let now = stage.now();
    let mut send = |largest, token| {
        stage.endpoint.request_within(now, udp(5060), largest, &parts(), token, &mut stage.out).map(|_| stage.one())
    };
    let length = send(1300, 1).unwrap().text().len();
    assert!(send(length, 2).is_ok());
    assert_eq!(send(length - 1, 3), Err(SendError::TooLarge));
    assert_eq!(stage.endpoint.clients(), 2);
}

#[test]
fn the_request_on_the_wire() {
    let mut stage = Stage::with(|settings| settings.server_name = b"entente".to_vec());
    request(&mut stage, udp(5060), &RequestParts { branch: Some(0), from_tag: Some(b"tag"), ..parts() }, 1).unwrap();
    let expected = "MESSAGE sip:juliet@sip.example SIP/2.0\r\n\
        Via: SIP/2.0/UDP gw.example:5070;rport;branch=z9hG4bKaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\
        Max-Forwards: 69\r\nFrom: <sip:romeo@xmpp.example>;tag=tag\r\nTo: <sip:juliet@sip.example>\r\n\
        Call-ID: abc@gw.example\r\nCSeq: 7 MESSAGE\r\nDate: Fri, 20 Nov 2026 18:02:25 GMT\r\nUser-Agent: entente\r\n\
        Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(stage.sent(), [Sent::Datagram(peer(5060), expected.into())]);
    request(&mut stage, udp(5060), &parts(), 2).unwrap();
    request(&mut stage, udp(5060), &parts(), 3).unwrap();
    let sent = stage.sent();
    assert_ne!(sent[0].header("Via"), sent[1].header("Via"), "a new branch");
    assert_ne!(sent[0].header("From"), sent[1].header("From"), "a new tag (RFC 3261 8.1.1.3)");
}

/// Moments of all copies on the wire, against those of the RFC; a timer is never early and at most two ticks late.
fn assert_moments(sent: &[(Duration, Sent)], expected: &[u64]) {
    let moments: Vec<_> = sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(moments.len(), expected.len(), "{moments:?}");
    for (moment, expected) in moments.iter().zip(expected) {
        assert!(*moment >= ms(*expected) && *moment <= ms(*expected + 10), "{moments:?}");
    }
}

#[test]
fn timer_e_doubles_up_to_t2_and_timer_f_ends_it() {
    let mut stage = Stage::new();
    request(&mut stage, udp(5060), &parts(), 42).unwrap();
    let first = stage.one();
    let (sent, got) = stage.run_until(ms(60_000));
    assert_moments(&sent, &[500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    assert!(sent.iter().all(|(_, copy)| *copy == first));
    let [(at, Got::Failed(42, "timed out"))] = &got[..] else { panic!("{got:?}") };
    assert!(*at >= ms(32_000) && *at <= ms(32_010), "{at:?}");
    assert_eq!((stage.endpoint.counters().retransmissions_out, stage.endpoint.counters().timed_out), (10, 1));
    assert_eq!(stage.receive(udp(5060), &response(&first, 200)), Got::Nothing, "too late");
    assert_eq!(stage.endpoint.counters().dropped_stray_response, 1);
    stage.assert_empty();
}

#[test]
fn after_a_provisional_response_timer_e_repeats_at_t2() {
    let mut stage = Stage::new();
    request(&mut stage, udp(5060), &parts(), 1).unwrap();
    let first = stage.one();
    stage.run_until(ms(600));
    for status in [100, 183, 199] {
        assert_eq!(stage.receive(udp(5060), &response(&first, status)), Got::Nothing);
    }
    let (sent, got) = stage.run_until(ms(40_000));
    // The timer that runs already ends at 1.5 s (17.1.2.2).
    assert_moments(&sent, &[1500, 5500, 9500, 13_500, 17_500, 21_500, 25_500, 29_500]);
    assert!(matches!(got[..], [(_, Got::Failed(1, "timed out"))]));
    assert_eq!(stage.endpoint.counters().provisionals_in, 3);
}

#[test]
fn a_halted_clock_makes_no_burst() {
    let mut stage = Stage::new();
    request(&mut stage, udp(5060), &parts(), 1).unwrap();
    stage.sent();
    stage.at = ms(20_000);
    let (sent, _) = stage.run_until(ms(20_400));
    assert_eq!(sent.len(), 1);
}

#[test]
fn a_final_response_is_told_once_and_ends_the_repetition() {
    for status in [200, 202, 299, 302, 404, 503, 699] {
        let mut stage = Stage::new();
        request(&mut stage, udp(5060), &parts(), 5).unwrap();
        let text = response(&stage.one(), status);
        assert_eq!(stage.receive(udp(9), &text), Got::Final(5, status));
        assert_eq!(stage.receive(udp(9), &text), Got::Nothing, "what Timer K is for");
        assert_eq!(stage.endpoint.counters().dropped_stray_response, 1);
        let (sent, got) = stage.run_until(ms(40_000));
        assert_eq!((sent, got), (vec![], vec![]));
        stage.assert_empty();
    }
}

#[test]
fn responses_that_do_not_belong_are_dropped_by_reason() {
    let mut stage = Stage::new();
    request(&mut stage, udp(5060), &parts(), 5).unwrap();
    let text = response(&stage.one(), 200);
    let via = text.split("\r\n").nth(1).unwrap().to_owned();
    type Count = fn(&Counters) -> u64;
    let cases: [(&str, String, Count); 9] = [
        ("other method", text.replace("7 MESSAGE", "7 OPTIONS"), |c| c.dropped_stray_response),
        ("other branch", text.replace("z9hG4bK", "z9hG4bKx"), |c| c.dropped_stray_response),
        ("no branch", text.replace(";branch", ";b"), |c| c.dropped_stray_response),
        ("other host", text.replace("gw.example:5070", "other.example:5070"), |c| c.dropped_foreign_response),
        ("other port", text.replace("gw.example:5070", "gw.example"), |c| c.dropped_foreign_response),
        ("two Via lines", text.replace(&via, &format!("{via}\r\nVia: SIP/2.0/UDP x")), |c| c.dropped_vias),
        ("two Vias", text.replace(&via, &format!("{via}, SIP/2.0/UDP x")), |c| c.dropped_vias),
        ("no Via", text.replace(&format!("{via}\r\n"), ""), |c| c.dropped_malformed_response),
        ("no CSeq", text.replace("CSeq", "X-CSeq"), |c| c.dropped_malformed_response),
    ];
    for (name, text, count) in cases {
        let before = count(stage.endpoint.counters());
        assert_eq!(stage.receive(udp(5060), &text), Got::Nothing, "{name}");
        assert_eq!(count(stage.endpoint.counters()), before + 1, "{name}");
    }
    assert_eq!(stage.sent(), []);
    let upper = text.replace("gw.example", "GW.Example").replace("z9hG4bK", "Z9HG4BK");
    assert_eq!(stage.receive(udp(5060), &upper), Got::Final(5, 200));
}

/// RFC 3581 section 3: the response comes to the socket that the request left from, or to the port of our sent-by; from where
/// it comes says nothing (17.1.3).
#[test]
fn a_response_belongs_to_its_request_wherever_it_comes_in() {
    let mut stage = Stage::new();
    let other_socket = Flow { socket: SocketId(9), ..udp(5060) };
    let other_peer = Flow { peer: SocketAddr::from(([198, 51, 100, 1], 9)), ..udp(5060) };
    let stream = stage.tcp();
    for (token, flow) in [(1, udp(5060)), (2, udp(5061)), (3, other_socket), (4, other_peer), (5, stream)] {
        request(&mut stage, udp(5060), &parts(), token).unwrap();
        let sent = stage.one();
        assert!(sent.header("Via").contains(";rport;branch="), "asked for, and without a value: {sent:?}");
        assert_eq!(stage.receive(flow, &response(&sent, 200)), Got::Final(token, 200), "{flow:?}");
    }
    stage.assert_empty();
}

#[test]
fn an_unreachable_peer_ends_all_that_waits_for_it_at_once() {
    let mut stage = Stage::new();
    for token in 0..6 {
        let port = if token % 2 == 0 { 5060 } else { 5099 };
        request(&mut stage, udp(port), &parts(), token).unwrap();
    }
    let sent = stage.sent();
    // One out of the middle, and the oldest, have their answers.
    assert_eq!(stage.receive(udp(5060), &response(&sent[2], 200)), Got::Final(2, 200));
    assert_eq!(stage.receive(udp(5060), &response(&sent[1], 200)), Got::Final(1, 200));
    stage.at = ms(20);
    stage.endpoint.handle_unreachable(US, peer(5060));
    stage.endpoint.handle_unreachable(SocketId(0), peer(5099));
    assert_eq!(stage.endpoint.poll_timeout().map(|(_, why)| why), Some("a failed request"));
    let (sent, got) = stage.run_until(ms(30));
    assert_eq!(sent, []);
    assert_eq!(
        got,
        [(ms(20), Got::Failed(0, "transport failed")), (ms(20), Got::Failed(4, "transport failed"))],
        "oldest first, and none of the other peer or the other socket"
    );
    assert_eq!(stage.endpoint.clients(), 2);
    let (_, got) = stage.run_until(ms(40_000));
    assert_eq!(got.len(), 2);
    stage.assert_empty();
}

#[test]
fn on_a_stream_nothing_is_repeated_and_its_end_is_the_end() {
    let mut stage = Stage::new();
    let flow = stage.tcp();
    let stream = flow.stream.unwrap();
    request(&mut stage, flow, &parts(), 1).unwrap();
    let first = stage.one();
    assert!(
        first
            .text()
            .starts_with("MESSAGE sip:juliet@sip.example SIP/2.0\r\nVia: SIP/2.0/TCP gw.example:5070;rport;branch=")
    );
    let (sent, got) = stage.run_until(ms(31_999));
    assert_eq!((sent, got), (vec![], vec![]));
    let (_, got) = stage.run_until(ms(32_010));
    assert!(matches!(got[..], [(_, Got::Failed(1, "timed out"))]), "Timer F runs");
    request(&mut stage, flow, &parts(), 2).unwrap();
    let second = stage.one();
    assert_eq!(stage.receive(flow, &response(&second, 200)), Got::Final(2, 200));
    request(&mut stage, flow, &parts(), 3).unwrap();
    stage.sent();
    stage.endpoint.handle_closed(stream);
    stage.out.forget(stream);
    let (_, got) = stage.run_until(stage.at + ms(10));
    assert!(matches!(got[..], [(_, Got::Failed(3, "transport failed"))]));
    assert_eq!(request(&mut stage, flow, &parts(), 4), Err(SendError::StreamGone));
    assert_eq!(stage.endpoint.clients(), 0);
    stage.assert_empty();
}

#[test]
fn what_cannot_be_sent_is_refused_and_leaves_nothing() {
    let mut stage = Stage::with(|settings| {
        settings.max_client = 2;
        settings.max_unsent = 100;
        settings.limits.message = 67_000;
    });
    let large = vec![b'x'; 66_000];
    assert_eq!(request(&mut stage, udp(1), &RequestParts { body: &large, ..parts() }, 1), Err(SendError::TooLarge));
    request(&mut stage, udp(1), &RequestParts { branch: Some(77), ..parts() }, 1).unwrap();
    let again = request(&mut stage, udp(1), &RequestParts { branch: Some(77), ..parts() }, 1);
    assert_eq!(again, Err(SendError::BranchInUse));
    let flow = stage.tcp();
    request(&mut stage, flow, &RequestParts { body: &large, ..parts() }, 2).unwrap();
    let huge = vec![b'x'; 67_000];
    assert_eq!(request(&mut stage, flow, &RequestParts { body: &huge, ..parts() }, 2), Err(SendError::TooLarge));
    assert_eq!(request(&mut stage, udp(1), &parts(), 3), Err(SendError::TableFull));
    stage.endpoint.handle_unreachable(US, peer(1));
    assert_eq!(request(&mut stage, flow, &parts(), 4), Err(SendError::StreamFull), "66 kB wait for the peer");
    assert_eq!(stage.endpoint.clients(), 1);
}

/// RFC 3261 16.6 step 9: onto a stream with Content-Length, also where the datagram did without.
#[test]
fn what_is_passed_on_over_a_stream_has_its_length() {
    let mut stage = Stage::new();
    let text = Text::default().print();
    let without = text.replace("Content-Length: 5\r\n", "");
    assert_ne!(text, without);
    let now = stage.now();
    let event = stage.endpoint.handle_message(now, udp(5061), without.as_bytes(), &mut stage.out);
    let Event::Request { transaction, request, .. } = event else { panic!("{event:?}") };
    let forwarding =
        Forwarding { request: &request, uri: b"sip:romeo@192.0.2.99", max_forwards: 69, routes_done: 0, without: &[] };
    let target = stage.tcp();
    stage.endpoint.forward(now, target, transaction, &forwarding, 8, &mut stage.out).unwrap();
    let sent = stage.one();
    assert!(sent.header("Via").starts_with("SIP/2.0/TCP "), "{}", sent.text());
    assert!(sent.text().ends_with("Content-Length: 5\r\n\r\nhello"), "{}", sent.text());
}

#[test]
fn a_request_is_passed_on_with_all_it_has() {
    let mut stage = Stage::with(|settings| settings.refuse_merged = false);
    let text = Text {
        via: "SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bKone;rport\r\nv: SIP/2.0/UDP b.example;branch=z9hG4bKtwo".into(),
        more: "X-Own:  kept as it is \r\nProxy-Authorization: Digest x\r\nRoute: <sip:us;lr>, <sip:next;lr>\r\n".into(),
        ..Text::default()
    }
    .print();
    let now = stage.now();
    let event = stage.endpoint.handle_message(now, udp(5061), text.as_bytes(), &mut stage.out);
    let Event::Request { transaction, request, .. } = event else { panic!("{event:?}") };
    let forwarding = Forwarding {
        request: &request,
        uri: b"sip:romeo@192.0.2.99:6000",
        max_forwards: 69,
        routes_done: 1,
        without: &[HeaderName::ProxyAuthorization],
    };
    stage.endpoint.forward(now, udp(6000), transaction, &forwarding, 8, &mut stage.out).unwrap();
    let sent = stage.one();
    let ours = sent.header("Via").to_owned();
    let expected = format!(
        "MESSAGE sip:romeo@192.0.2.99:6000 SIP/2.0\r\nVia: {ours}\r\n\
         Via: SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bKone;rport=5061;received=192.0.2.7\r\n\
         Via: SIP/2.0/UDP b.example;branch=z9hG4bKtwo\r\nMax-Forwards: 69\r\nRoute: <sip:next;lr>\r\n\
         From: <sip:juliet@sip.example>;tag=a\r\nTo: <sip:romeo@xmpp.example>\r\nCall-ID: call@example\r\n\
         CSeq: 1 MESSAGE\r\nX-Own: kept as it is\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    );
    assert_eq!(sent.text(), expected);

    let vias: Vec<_> = sent.headers("Via").map(|via| format!("Via: {via}\r\n")).collect();
    let rest = "From: <sip:juliet@sip.example>;tag=a\r\nTo: <sip:romeo@xmpp.example>;tag=far\r\nCall-ID: call@example\r\n\
                CSeq: 1 MESSAGE\r\nX-Far: too\r\nContent-Length: 3\r\n\r\nend";
    let answer = format!("SIP/2.0 299 Fein\r\n{}{rest}", vias.concat());
    assert_eq!(
        stage.receive(udp(6000), &format!("SIP/2.0 200 OK\r\n{}{rest}", vias[0])),
        Got::Nothing,
        "Vias are missing"
    );
    let event = stage.endpoint.handle_message(now, udp(6000), answer.as_bytes(), &mut stage.out);
    let Event::Ended { token: 8, outcome: Outcome::Final(response) } = event else { panic!("{event:?}") };
    stage.endpoint.respond_forwarded(now, transaction, &response, &mut stage.out);
    let back = stage.one();
    assert_eq!(back, Sent::Datagram(peer(5061), format!("SIP/2.0 299 Fein\r\n{}{rest}", vias[1..].concat())));
    assert_eq!(stage.receive(udp(5061), &text), Got::Nothing);
    assert_eq!(stage.one(), back, "and again for a retransmission");
    let refused = stage.endpoint.forward(now, udp(6000), transaction, &forwarding, 9, &mut stage.out);
    assert_eq!(refused, Err(SendError::Answered));
    stage.assert_empty();
}
