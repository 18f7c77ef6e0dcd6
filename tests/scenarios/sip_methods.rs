//! Requests that are no MESSAGE: what each of them is told.

use entente_tests::world::{World, header, message, status};
use std::time::Duration;

/// The message of [`message`] to romeo with another method, and without a body.
fn asking(n: u32, method: &str) -> String {
    message(n, "romeo@xmpp.example", "").replace("MESSAGE", method).replace("Content-Type: text/plain\r\n", "")
}

fn answer(world: &mut World, request: &str) -> String {
    world.proxy_sends(request);
    let answer = world.take_datagram().unwrap_or_else(|| panic!("no answer to\n{request}"));
    assert_eq!(world.take_datagram(), None, "one answer to\n{request}");
    assert_eq!(world.take_stanzas(), Vec::<String>::new(), "nothing crosses of\n{request}");
    answer
}

fn acknowledge(world: &mut World, n: u32, answer: &str) {
    let to = header(answer, "To").expect("To");
    world.proxy_sends(asking(n, "ACK").replace("To: <sip:romeo@xmpp.example>", &format!("To: {to}")));
    assert_eq!(world.take_datagram(), None, "an ACK is never answered");
}

const ALLOW: &str = "MESSAGE, OPTIONS, ACK, CANCEL";

/// RFC 3261 sections 8.2.1, 8.2.6.2 and 21.4.6.
#[test]
fn every_method_that_is_not_offered_is_refused_with_what_is() {
    let mut world = World::new();
    let known = ["INVITE", "BYE", "REGISTER", "SUBSCRIBE", "PUBLISH", "INFO", "PRACK", "UPDATE", "REFER"];
    let unknown = ["SHOUT", "message", "Invite", "OPTION", "MESSAGES"];
    let cases = known.map(|method| (method, 405)).into_iter().chain(unknown.map(|method| (method, 501)));
    for (n, (method, expected)) in (1..).zip(cases) {
        let answer = answer(&mut world, &asking(n, method));
        assert_eq!(status(&answer), Some(expected), "{method}: {answer}");
        assert_eq!(header(&answer, "Allow"), Some(ALLOW), "{answer}");
        assert!(header(&answer, "To").is_some_and(|to| to.contains(";tag=")), "{answer}");
        assert_eq!(header(&answer, "CSeq"), Some(&*format!("1 {method}")), "{answer}");
        if method == "INVITE" {
            acknowledge(&mut world, n, &answer);
        }
    }
    world.assert_quiet();
}

/// RFC 3261 section 12.2.2: no dialog of ours exists, whatever it is that wants to continue one.
#[test]
fn what_continues_a_dialog_that_does_not_stand_is_told_so() {
    let mut world = World::new();
    let methods = ["MESSAGE", "OPTIONS", "INVITE", "BYE", "NOTIFY", "INFO", "PRACK", "UPDATE", "REFER", "SUBSCRIBE"];
    for (n, method) in (1..).zip(methods) {
        let request = asking(n, method).replace("To: <sip:romeo@xmpp.example>", "To: <sip:romeo@xmpp.example>;tag=old");
        let answer = answer(&mut world, &request);
        assert_eq!(status(&answer), Some(481), "{method}: {answer}");
        assert_eq!(header(&answer, "To"), Some("<sip:romeo@xmpp.example>;tag=old"), "{answer}");
        if method == "INVITE" {
            acknowledge(&mut world, n, &answer);
            assert_eq!(world.engine.counters().sip.acks, 1, "the ACK of a refused re-INVITE is absorbed");
        }
    }
    world.assert_quiet();
}

/// RFC 3261 section 12.1.1: a caller of RFC 2543 has no tag, and that is no error.
#[test]
fn a_caller_without_a_tag_is_refused_like_any_other() {
    let mut world = World::new();
    let request = asking(1, "INVITE").replace(";tag=j1", "");
    let answer = answer(&mut world, &request);
    assert_eq!((status(&answer), header(&answer, "From")), (Some(405), Some("<sip:juliet@sip.example>")));
    let to = header(&answer, "To").expect("To").to_owned();
    let ack = asking(1, "ACK").replace(";tag=j1", "").replace("To: <sip:romeo@xmpp.example>", &format!("To: {to}"));
    world.proxy_sends(ack);
    world.assert_quiet();
}

/// RFC 3261 section 17.2.1: a 100 is due only where the answer takes more than 200 ms.
#[test]
fn an_invite_has_its_final_answer_in_the_same_turn() {
    let mut world = World::new();
    let answer = answer(&mut world, &asking(1, "INVITE"));
    assert_eq!(status(&answer), Some(405));
    acknowledge(&mut world, 1, &answer);
    assert_eq!(world.engine.counters().sip.trying_out, 0);
    world.assert_quiet();
}

/// RFC 3261 sections 11 and 11.2: what the address of a message would get, whoever asks.
#[test]
fn options_tell_whether_a_message_would_be_taken() {
    let mut world = World::new();
    for (n, (uri, hops, expected)) in (1..).zip([
        ("sip:romeo@xmpp.example", 70, 200),
        ("im:romeo@xmpp.example", 70, 200),
        ("sip:romeo@elsewhere.example", 70, 404),
        ("sip:juliet@sip.example", 70, 404),
        ("sip:a%ff@xmpp.example", 70, 484),
        ("sips:romeo@xmpp.example", 70, 403),
        ("tel:+15551234", 70, 416),
        ("gopher:romeo@xmpp.example", 70, 416),
        // About ourselves, under whatever name.
        ("sip:gw.example", 70, 200),
        ("sip:192.0.2.1:5060;transport=udp", 70, 200),
        ("sip:elsewhere.example", 70, 200),
        // Here the hops end, so here it is answered (11).
        ("sip:romeo@elsewhere.example", 0, 200),
        ("sip:romeo@xmpp.example", 0, 200),
    ]) {
        let request = asking(n, "OPTIONS")
            .replace("OPTIONS sip:romeo@xmpp.example ", &format!("OPTIONS {uri} "))
            .replace("Max-Forwards: 70", &format!("Max-Forwards: {hops}"))
            .replace("juliet@sip.example", "ping@nowhere.example");
        let answer = answer(&mut world, &request);
        assert_eq!(status(&answer), Some(expected), "{uri}: {answer}");
        assert!(header(&answer, "To").is_some_and(|to| to.contains(";tag=")), "{answer}");
        for name in ["Allow", "Accept", "Accept-Encoding", "Accept-Language", "Supported"] {
            assert_eq!(header(&answer, name).is_some(), expected == 200, "{name}: {answer}");
        }
        // Without an Accept it would have to be application/sdp (20.1), which we have not.
        assert!(answer.ends_with("\r\nContent-Length: 0\r\n\r\n") && header(&answer, "Content-Type").is_none());
    }
    world.assert_quiet();
}

/// Proxies ask with OPTIONS whom they may send to: a gateway that takes nothing more says so, as it does to messages.
#[test]
fn a_gateway_that_is_about_to_end_says_so_to_whoever_asks() {
    let mut world = World::new();
    // Something that is still open keeps it from ending.
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    world.take_stanzas();
    world.engine.drain();
    world.turn();
    for (n, uri) in (2..).zip(["sip:gw.example", "sip:romeo@xmpp.example", "sip:romeo@elsewhere.example"]) {
        let request = asking(n, "OPTIONS").replace("OPTIONS sip:romeo@xmpp.example ", &format!("OPTIONS {uri} "));
        let answer = answer(&mut world, &request);
        assert_eq!((status(&answer), header(&answer, "Retry-After")), (Some(503), Some("5")), "{uri}: {answer}");
    }
}

/// RFC 3261 section 8.2.2.3: what a CANCEL or an ACK may require does not matter.
#[test]
fn cancel_and_ack_may_require_what_they_like() {
    let mut world = World::new();
    let with = |request: String| request.replace("Max-Forwards", "Require: x\r\nProxy-Require: y\r\nMax-Forwards");
    let refused = answer(&mut world, &asking(1, "INVITE"));
    let to = header(&refused, "To").expect("To").to_owned();
    let cancel = answer(&mut world, &with(asking(1, "CANCEL")));
    assert_eq!((status(&cancel), header(&cancel, "To")), (Some(200), Some(&*to)), "{cancel}");
    world.proxy_sends(with(asking(1, "ACK")).replace("To: <sip:romeo@xmpp.example>", &format!("To: {to}")));
    assert_eq!(world.engine.counters().sip.acks, 1);
    let stray = answer(&mut world, &with(asking(2, "CANCEL")));
    assert_eq!(status(&stray), Some(481), "{stray}");
    world.assert_quiet();
}

/// RFC 3261 sections 8.2.6.1 and 17.2.2, RFC 4320 section 4.1: the one provisional there may be, with the time of the sender.
#[test]
fn a_late_answer_is_preceded_by_a_100_with_the_timestamp_of_the_request() {
    // Nobody answers later than the window, which ends before a 100 is due; T1 of a slow network brings it forward.
    let mut world = World::with(|settings| {
        settings.sip.endpoint.t1 = Duration::from_millis(100);
        settings.sip.endpoint.t2 = Duration::from_millis(800);
    });
    world.reading = false;
    let request =
        message(1, "romeo@xmpp.example", "hello").replace("Content-Type", "Timestamp: 54.21 7\r\nContent-Type");
    world.proxy_sends(request);
    world.advance(Duration::from_millis(699));
    assert_eq!(world.take_datagram(), None);
    world.advance(Duration::from_millis(1));
    let trying = world.take_datagram().expect("a 100");
    assert_eq!((status(&trying), header(&trying, "Timestamp")), (Some(100), Some("54.21 0.700")), "{trying}");
    world.advance(Duration::from_secs(2));
    let last = world.take_datagram().expect("the answer");
    assert_eq!((status(&last), header(&last, "Timestamp")), (Some(504), None), "{last}");
    world.resume_reading();
    world.take_stanzas();
}
