//! Where responses go: RFC 3261 18.2.1, 18.2.2 and RFC 3581.

use super::*;

fn answered(stage: &mut Stage, flow: Flow, via: &str) -> Sent {
    let text = Text { via: via.into(), ..Text::default() }.print();
    let transaction = stage.accept(flow, &text);
    stage.respond(transaction, &Answer::new(200));
    let sent = stage.one();
    assert_eq!(stage.receive(flow, &text), Got::Nothing);
    assert_eq!(stage.one(), sent, "a repetition goes the same way");
    sent
}

#[test]
fn over_udp_the_top_via_and_the_source_decide() {
    let to = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let v4 = "192.0.2.7:40123";
    let v6 = "[2001:db8::9]:40123";
    // source, Via received, Via of the response, where it goes
    let cases = [
        // RFC 3581: with rport to where it came from, and received always.
        (v4, "h.example;rport;branch=z9hG4bK1", "h.example;rport=40123;branch=z9hG4bK1;received=192.0.2.7", v4),
        (
            v4,
            "192.0.2.7:5061;branch=z9hG4bK1;rport",
            "192.0.2.7:5061;branch=z9hG4bK1;rport=40123;received=192.0.2.7",
            v4,
        ),
        (v4, "10.0.0.1;branch=z9hG4bK1;RPORT ;x", "10.0.0.1;branch=z9hG4bK1;rport=40123;x;received=192.0.2.7", v4),
        (v6, "h.example;rport;branch=z9hG4bK1", "h.example;rport=40123;branch=z9hG4bK1;received=2001:db8::9", v6),
        // Without: to the source address and the port of sent-by, 5060 if it has none.
        (v4, "h.example:5071;branch=z9hG4bK1", "h.example:5071;branch=z9hG4bK1;received=192.0.2.7", "192.0.2.7:5071"),
        (v4, "h.example;branch=z9hG4bK1", "h.example;branch=z9hG4bK1;received=192.0.2.7", "192.0.2.7:5060"),
        (v4, "10.0.0.1:5071;branch=z9hG4bK1", "10.0.0.1:5071;branch=z9hG4bK1;received=192.0.2.7", "192.0.2.7:5071"),
        (v4, "192.0.2.7:5071;branch=z9hG4bK1", "192.0.2.7:5071;branch=z9hG4bK1", "192.0.2.7:5071"),
        (v4, "192.0.2.7 ;branch=z9hG4bK1", "192.0.2.7 ;branch=z9hG4bK1", "192.0.2.7:5060"),
        (v6, "[2001:DB8::0:9];branch=z9hG4bK1", "[2001:DB8::0:9];branch=z9hG4bK1", "[2001:db8::9]:5060"),
        (
            "[::ffff:192.0.2.7]:9",
            "192.0.2.7:99;branch=z9hG4bK1",
            "192.0.2.7:99;branch=z9hG4bK1",
            "[::ffff:192.0.2.7]:99",
        ),
        // What the sender claims to have been received from is not believed.
        (v4, "192.0.2.7:5071;received=9.9.9.9;branch=z9hG4bK1", "192.0.2.7:5071;branch=z9hG4bK1", "192.0.2.7:5071"),
        (
            v4,
            "h.example;branch=z9hG4bK1;rport=1;received=9.9.9.9",
            "h.example;branch=z9hG4bK1;rport=40123;received=192.0.2.7",
            v4,
        ),
        // maddr goes before all (18.2.2).
        (
            v4,
            "h.example:5071;maddr=192.0.2.50;branch=z9hG4bK1;rport",
            "h.example:5071;maddr=192.0.2.50;branch=z9hG4bK1;rport=40123;received=192.0.2.7",
            "192.0.2.50:5071",
        ),
        (
            v4,
            "192.0.2.7;maddr=192.0.2.50;branch=z9hG4bK1",
            "192.0.2.7;maddr=192.0.2.50;branch=z9hG4bK1",
            "192.0.2.50:5060",
        ),
        // Quoted semicolons separate nothing.
        (
            v4,
            "h.example;a=\";rport;\\\";\";branch=z9hG4bK1",
            "h.example;a=\";rport;\\\";\";branch=z9hG4bK1;received=192.0.2.7",
            "192.0.2.7:5060",
        ),
    ];
    for (source, via, expected, target) in cases {
        let mut stage = Stage::new();
        let flow = Flow { peer: to(source), ..udp(0) };
        let sent = answered(&mut stage, flow, &format!("SIP/2.0/UDP {via}"));
        assert!(matches!(sent, Sent::Datagram(peer, _) if peer == to(target)), "{via}: {sent:?}");
        assert_eq!(sent.header("Via"), format!("SIP/2.0/UDP {expected}"), "{via}");
    }
}

/// `maddr` has a response sent to somebody else (18.2.2). So it is followed only for requests that are good and whose sender
/// may: nobody gets our refusals of what a stranger has sent.
#[test]
fn maddr_is_not_followed_for_everybody() {
    let via = |branch: u32| format!("SIP/2.0/UDP h.example:5071;maddr=192.0.2.50;branch=z9hG4bK{branch}");
    let text = |branch: u32| Text { via: via(branch), call_id: branch.to_string(), ..Text::default() };
    let there = SocketAddr::from(([192, 0, 2, 50], 5071));
    let to = |sent: Sent| match sent {
        Sent::Datagram(to, _) => to,
        Sent::Stream(..) => panic!("{sent:?}"),
    };
    let mut stage = Stage::with(|settings| settings.max_ongoing = 1);
    let open = stage.accept(udp(40_000), &text(1).print());
    assert_eq!(stage.receive(udp(40_000), &text(2).print()), Got::Nothing);
    assert_eq!(to(stage.one()), peer(40_000), "503");
    assert_eq!(stage.receive(udp(40_000), &text(3).print().replace("70", "x")), Got::Nothing);
    assert_eq!(to(stage.one()), peer(40_000), "400");
    for (branch, expected) in [(1, there), (4, peer(40_000))] {
        let cancel = Text { method: "CANCEL", body: String::new(), ..text(branch) }.print();
        assert_eq!(stage.receive(udp(40_000), &cancel), Got::Nothing);
        assert_eq!(to(stage.one()), expected, "200 to what is known, 481 to the rest");
    }
    stage.respond(open, &Answer::new(200));
    assert_eq!(to(stage.one()), there);
    let stranger = stage.accept(udp(40_000), &text(5).print());
    stage.endpoint.make_stateless(stranger, &udp(40_000));
    stage.respond(stranger, &Answer::new(403));
    assert_eq!(to(stage.one()), peer(40_000));
    stage.assert_empty();
}

#[test]
fn over_a_stream_they_take_the_stream() {
    let mut stage = Stage::new();
    let flow = stage.tcp();
    let text =
        Text { via: "SIP/2.0/TCP h.example:5071;branch=z9hG4bK1;rport;maddr=192.0.2.50".into(), ..Text::default() };
    let transaction = stage.accept(flow, &text.print());
    stage.respond(transaction, &Answer::new(200));
    let sent = stage.one();
    assert!(matches!(sent, Sent::Stream(stream, _) if Some(stream) == flow.stream));
    assert_eq!(
        sent.header("Via"),
        "SIP/2.0/TCP h.example:5071;branch=z9hG4bK1;rport=40000;maddr=192.0.2.50;received=192.0.2.7"
    );
}

#[test]
fn a_response_for_a_stream_that_is_gone_is_dropped_and_counted() {
    let mut stage = Stage::new();
    let flow = stage.tcp();
    let text = Text { via: "SIP/2.0/TCP h.example;branch=z9hG4bK1".into(), ..Text::default() }.print();
    let transaction = stage.accept(flow, &text);
    stage.endpoint.handle_closed(flow.stream.unwrap());
    stage.out.forget(flow.stream.unwrap());
    stage.respond(transaction, &Answer::new(200));
    assert_eq!(stage.sent(), []);
    assert_eq!(stage.endpoint.counters().dropped_no_stream, 1);
    stage.assert_empty();
}

/// RFC 3261 18.2.2: to the address the request came from, at the port of its sent-by.
#[test]
fn a_response_whose_stream_is_gone_can_go_elsewhere() {
    let mut stage = Stage::with(|settings| settings.max_homeless = 2);
    let flow = stage.tcp();
    let answered: Vec<_> = ["h.example:5071", "192.0.2.7", "192.0.2.8:5072"]
        .iter()
        .enumerate()
        .map(|(n, sent_by)| {
            let via = format!("SIP/2.0/TCP {sent_by};branch=z9hG4bK{n}");
            stage.accept(flow, &Text { via, call_id: n.to_string(), ..Text::default() }.print())
        })
        .collect();
    stage.endpoint.handle_closed(flow.stream.unwrap());
    stage.out.forget(flow.stream.unwrap());
    for transaction in answered {
        stage.respond(transaction, &Answer::new(200));
    }
    assert_eq!(stage.sent(), []);
    let due = stage.endpoint.poll_timeout();
    assert!(due.is_some_and(|(at, what)| at <= stage.now() && what == "an answer without a connection"), "{due:?}");
    let first = stage.endpoint.poll_homeless().unwrap();
    assert_eq!(first.peer, peer(5071));
    let text = String::from_utf8(first.bytes).unwrap();
    assert!(text.starts_with("SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP h.example:5071;"), "{text}");
    assert_eq!(stage.endpoint.poll_homeless().map(|answer| answer.peer), Some(peer(5060)));
    assert_eq!(stage.endpoint.poll_homeless(), None);
    assert_eq!(stage.endpoint.counters().dropped_no_stream, 1, "no room for the third");
    stage.assert_empty();
}

#[test]
fn what_breaks_a_stream_is_answered_where_it_can_be() {
    let mut stage = Stage::new();
    let flow = stage.tcp();
    let mut framer = wire::framing::Framer::new(&wire::Limits::default());
    let via = "SIP/2.0/TCP h.example;branch=z9hG4bK1".to_owned();
    let text = Text { via, ..Text::default() }.print();
    for (text, status) in [
        (text.replace("Content-Length: 5", "Content-Length: 70000"), 513),
        (text.replace("Content-Length: 5\r\n", ""), 400),
        (text.replace("Content-Length: 5", "Content-Length: five"), 400),
    ] {
        let wire::framing::Framed::Broken(broken) = framer.scan(text.as_bytes()) else { panic!("{text}") };
        let now = stage.now();
        stage.endpoint.handle_broken(now, flow, &broken, &mut stage.out);
        assert_eq!(stage.one().status(), status, "{text}");
        framer = wire::framing::Framer::new(&wire::Limits::default());
    }
    for text in ["hello\r\n\r\n", "ACK sip:a@b SIP/2.0\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "\x16\x03"] {
        let mut framer = wire::framing::Framer::new(&wire::Limits::default());
        let wire::framing::Framed::Broken(broken) = framer.scan(text.as_bytes()) else { panic!("{text}") };
        let now = stage.now();
        stage.endpoint.handle_broken(now, flow, &broken, &mut stage.out);
        assert_eq!(stage.sent(), [], "{text}");
    }
    stage.assert_empty();
}

#[test]
fn a_peer_that_does_not_read_loses_its_stream() {
    let mut stage = Stage::with(|settings| settings.max_unsent = 100);
    let flow = stage.tcp();
    for n in 0..2 {
        let via = format!("SIP/2.0/TCP h.example;branch=z9hG4bK{n}");
        let transaction = stage.accept(flow, &Text { via, call_id: n.to_string(), ..Text::default() }.print());
        stage.respond(transaction, &Answer::new(200));
    }
    assert_eq!(stage.endpoint.counters().dropped_slow_stream, 1);
    let stream = flow.stream.unwrap();
    assert_eq!(stage.out.poll_action(), Some(Action::Write { stream }));
    assert_eq!(stage.out.poll_action(), Some(Action::Close { stream }));
}
