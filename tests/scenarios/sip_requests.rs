//! What SIP senders may write and how, and what they are told when it cannot be done.

use entente_tests::world::{World, attribute, header, message, status};
use std::time::Duration;

/// The message of [`message`] to romeo with one part replaced.
fn changed(n: u32, from: &str, to: &str) -> String {
    let request = message(n, "romeo@xmpp.example", "hello");
    assert!(request.contains(from), "{from}");
    request.replace(from, to)
}

fn answer(world: &mut World, request: &str) -> String {
    world.proxy_sends(request);
    let answer = world.take_datagram().unwrap_or_else(|| panic!("no answer to\n{request}"));
    assert_eq!(world.take_message(), None, "what is refused is not delivered\n{request}");
    answer
}

fn refusal(world: &mut World, request: &str) -> u16 {
    status(&answer(world, request)).expect("a response")
}

#[test]
fn what_does_not_concern_us_changes_nothing() {
    let mut world = World::new();
    let before_content = [
        "X-Unheard-Of: ;;;\r\n",
        "Accept: application/sdp\r\nAccept-Encoding: gzip\r\nAccept-Language: tlh\r\nAllow: INVITE\r\n",
        "Supported: path, gruu\r\nUnsupported: x\r\n",
        "Proxy-Require: x\r\n",
        "Contact: <sip:juliet@192.0.2.20>\r\n",
        "Content-Disposition: render\r\nContent-Language: en\r\n",
        "User-Agent: x\r\nDate: yesterday\r\nExpires: 10\r\nPriority: urgent\r\nSubject: x\r\n",
        // Table 1 of RFC 3428 section 9: what may or may not stand in a MESSAGE, and says nothing here.
        "Alert-Info: <http://sip.example/ding.wav>\r\n",
        "Record-Route: <sip:192.0.2.66;lr>\r\nRoute: <sip:192.0.2.1;lr>\r\n",
        "Timestamp: 54\r\nOrganization: Capulet\r\nCall-Info: <http://sip.example/j>;purpose=info\r\n",
        "Error-Info: <sip:sorry@sip.example>\r\nAuthentication-Info: nextnonce=\"x\"\r\n",
        "Authorization: Digest username=\"j\", realm=\"elsewhere.example\", nonce=\"n\", uri=\"sip:x\", response=\"r\"\r\n",
        "Proxy-Authorization: Basic ajpwdw==\r\nProxy-Authorization: Digest  realm=\"a, b\"\r\n",
        // What belongs into responses (RFC 3261 section 7.3.2).
        "WWW-Authenticate: x\r\nProxy-Authenticate: x\r\nServer: x\r\nRetry-After: soon\r\nWarning: x\r\nMin-Expires: x\r\n",
        // What is malformed and not needed (8.2.2).
        "Contact: <sip:juliet@[::1\r\nContact: *\r\nDate: Fri, 01 Jan 2010 16:00:00 EST\r\nExpires: -1\r\nTimestamp: x\r\n",
        "Accept: ;;\r\nAllow: @\r\nSupported: \"\r\nReply-To: <\r\nIn-Reply-To: \r\nMIME-Version: 7\r\nUser-Agent: (\r\n",
        // A stream has no chunks in SIP (7.4.2).
        "Transfer-Encoding: chunked\r\n",
    ];
    for (n, lines) in before_content.iter().enumerate() {
        world.proxy_sends(changed(n as u32, "Content-Type:", &format!("{lines}Content-Type:")));
        let stanza = world.take_message().unwrap_or_else(|| panic!("{lines} {:?}", world.take_datagram()));
        assert!(stanza.contains("<body>hello</body>"), "{lines} {stanza}");
    }
    let request = message(99, "romeo@xmpp.example", "5\r\nhello\r\n0\r\n\r\n");
    world.proxy_sends(request.replace("Content-Type:", "Transfer-Encoding: chunked\r\nContent-Type:"));
    let stanza = world.take_message().expect("the message");
    assert!(stanza.contains("<body>5&#13;\nhello&#13;\n0&#13;\n&#13;\n</body>"), "{stanza}");
}

/// RFC 3428 sections 4 and 9: a MESSAGE makes no dialog, so neither its Record-Route nor its Contact says where the next one
/// goes.
#[test]
fn what_a_message_says_about_ways_back_shapes_no_request_of_ours() {
    let mut world = World::new();
    let lines = "Record-Route: <sip:192.0.2.66;lr>\r\nContact: <sip:juliet@192.0.2.20>\r\nContent-Type:";
    world.proxy_sends(changed(1, "Content-Type:", lines));
    assert!(world.take_message().is_some());
    world.server_writes(
        "<message from='romeo@xmpp.example/x' to='juliet@sip.example' id='m1'><body>Neither</body></message>",
    );
    let (peer, bytes) = world.datagrams.pop_front().expect("the request");
    let request = String::from_utf8(bytes).expect("UTF-8");
    assert_eq!(peer, entente_tests::world::proxy());
    assert!(request.starts_with("MESSAGE sip:juliet@sip.example SIP/2.0\r\n"), "{request}");
    assert!(!request.contains("192.0.2.66") && !request.contains("192.0.2.20"), "{request}");
    assert_eq!((header(&request, "Route"), header(&request, "Contact")), (None, None), "{request}");
}

/// RFC 3261 section 8.2.2.1: To is for people; whatever scheme it has.
#[test]
fn to_may_name_anybody() {
    let mut world = World::new();
    for (n, to) in ["tel:+15551234", "gopher:somebody", "mailto:r@x.example", "urn:service:sos", "sip:list.example"]
        .iter()
        .enumerate()
    {
        world.proxy_sends(changed(n as u32, "To: <sip:romeo@xmpp.example>", &format!("To: \"R\" <{to}>")));
        let stanza = world.take_message().unwrap_or_else(|| panic!("{to} {:?}", world.take_datagram()));
        assert_eq!(attribute(&stanza, "to"), Some("romeo@xmpp.example"), "{to}");
    }
}

#[test]
fn a_uri_may_be_written_in_many_ways() {
    let mut world = World::new();
    for (n, uri) in [
        "SIP:romeo@xmpp.example",
        "sip:romeo@XMPP.Example",
        "sip:%72omeo@xmpp.example",
        "sip:romeo@xmpp.example:5070",
        "sip:romeo@xmpp.example;transport=udp;unheard-of=5",
        "sip:romeo:secret@xmpp.example",
        "im:romeo@xmpp.example",
        "PRES:romeo@xmpp.example",
    ]
    .iter()
    .enumerate()
    {
        world.proxy_sends(changed(n as u32, "sip:romeo@xmpp.example", uri));
        let stanza = world.take_message().unwrap_or_else(|| panic!("{uri} {:?}", world.take_datagram()));
        assert_eq!(attribute(&stanza, "to"), Some("romeo@xmpp.example"), "{uri}");
    }
}

#[test]
fn compact_and_folded_headers_are_headers() {
    let mut world = World::new();
    let request = "MESSAGE sip:romeo@xmpp.example SIP/2.0\r\n\
                   v : SIP / 2.0 / UDP 192.0.2.9:5060\r\n\t;branch=z9hG4bKc\r\n\
                   f: Juliet\r\n  <sip:juliet@sip.example>;tag=1\r\nTo\t: sip:romeo@xmpp.example;x=y\r\n\
                   i: c\r\ncseq: 1\r\n MESSAGE\r\nMAX-FORWARDS:70\r\nc: text/plain\r\nl: 5\r\n\r\nhello";
    world.proxy_sends(request);
    let stanza = world.take_message().expect("the message");
    assert_eq!(
        (attribute(&stanza, "from"), attribute(&stanza, "to")),
        (Some("juliet@sip.example"), Some("romeo@xmpp.example"))
    );
}

#[test]
fn the_request_uri_decides_and_not_to() {
    let mut world = World::new();
    world.proxy_sends(changed(1, "To: <sip:romeo@xmpp.example>", "To: <sip:friends@list.example>"));
    assert_eq!(attribute(&world.take_message().expect("the message"), "to"), Some("romeo@xmpp.example"));
}

#[test]
fn sips_in_the_request_uri_to_or_from_is_not_carried() {
    let mut world = World::new();
    for (n, (from, to)) in [
        ("MESSAGE sip:", "MESSAGE sips:"),
        ("To: <sip:", "To: <sips:"),
        ("To: <sip:", "To: <SIPS:"),
        ("From: <sip:", "From: <sips:"),
    ]
    .iter()
    .enumerate()
    {
        let answer = answer(&mut world, &changed(n as u32, from, to));
        assert!(answer.starts_with("SIP/2.0 403 ") && header(&answer, "Warning").is_some(), "{to}: {answer}");
    }
    world.assert_quiet();
}

#[test]
fn a_request_without_max_forwards_starts_with_the_configured_number() {
    for start in [70, 120] {
        let mut world = World::with(|settings| settings.sip.start_max_forwards = start);
        world.proxy_sends(changed(1, "Max-Forwards: 70\r\n", ""));
        let stanza = world.take_message().expect("the message");
        assert!(stanza.contains(&format!("<header name='Max-Forwards'>{}</header>", start - 1)), "{stanza}");
    }
}

#[test]
fn content_that_cannot_be_shown_is_refused_with_what_can() {
    let mut world = World::new();
    let cases = [
        ("Content-Type: text/plain\r\n", "", "Accept"),
        ("text/plain", "application/im-iscomposing+xml", "Accept"),
        ("text/plain", "text/plain;charset=x-unheard-of", "Accept"),
        ("text/plain", "image/png", "Accept"),
        ("text/plain", "text/plain\r\nContent-Encoding: x-unheard-of", "Accept-Encoding"),
    ];
    for (n, (from, to, name)) in cases.iter().enumerate() {
        let answer = answer(&mut world, &changed(n as u32, from, to));
        assert_eq!(status(&answer), Some(415), "{to}: {answer}");
        assert!(header(&answer, name).is_some(), "{to}: {answer}");
        assert!(*name != "Accept" || answer.contains("\r\nAccept: text/plain"), "{answer}");
    }
    world.proxy_sends(changed(20, "text/plain", "text/plain\r\nContent-Encoding: identity"));
    assert!(world.take_message().is_some(), "nothing is encoded");
}

/// RFC 6665 section 4.1.3.
#[test]
fn a_notification_that_nobody_asked_for_is_refused() {
    let mut world = World::new();
    let notify = |n: u32, lines: &str| {
        message(n, "romeo@xmpp.example", "").replace("MESSAGE", "NOTIFY").replace("Content-Type: text/plain\r\n", lines)
    };
    let unheard_of = "Event: message-summary\r\nSubscription-State: active\r\n";
    assert_eq!(refusal(&mut world, &notify(1, unheard_of)), 489);
    let in_dialog = notify(2, unheard_of).replace("To: <sip:romeo@xmpp.example>", "To: <sip:romeo@xmpp.example>;tag=x");
    assert_eq!(refusal(&mut world, &in_dialog), 481);
    world.assert_quiet();
}

/// RFC 3261 section 8.2: method, header fields, content.
#[test]
fn of_several_defects_the_first_in_the_order_of_the_checks_is_told() {
    let mut world = World::new();
    let spoiled = |n: u32, spoils: &[(&str, &str)]| {
        let start = message(n, "romeo@xmpp.example", "hello");
        spoils.iter().fold(start, |request, (from, to)| request.replace(from, to))
    };
    let unknown_method = ("MESSAGE", "SHOUT");
    let unsupported_method = ("MESSAGE", "SUBSCRIBE");
    let dialog = ("To: <sip:romeo@xmpp.example>", "To: <sip:romeo@xmpp.example>;tag=x");
    let extension = ("Content-Type", "Require: x\r\nContent-Type");
    let unknown_domain = ("sip:romeo@xmpp.example", "sip:romeo@elsewhere.example");
    let unknown_scheme = ("MESSAGE sip:", "MESSAGE gopher:");
    let kind = ("text/plain", "image/png");
    for (n, (spoils, expected)) in [
        (&[unknown_scheme, unknown_method, dialog, extension, unknown_domain, kind][..], 501),
        (&[unknown_scheme, unsupported_method, dialog, extension, unknown_domain, kind], 481),
        (&[unknown_scheme, unsupported_method, extension, unknown_domain, kind], 405),
        (&[unknown_scheme, kind], 416),
        (&[dialog, extension, unknown_domain, kind], 481),
        (&[extension, unknown_domain, kind], 420),
        (&[unknown_domain, kind], 404),
        (&[kind], 415),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(refusal(&mut world, &spoiled(n as u32, spoils)), *expected, "{spoils:?}");
    }
    world.assert_quiet();
}

/// RFC 3860 section 3.4.1: an address that is none, a destination that nobody has, a sender who may not.
#[test]
fn the_checks_of_the_core_come_in_their_order() {
    let mut world = World::new();
    let stranger = ([203, 0, 113, 5], 5060).into();
    let cases = [("a%ff@elsewhere.example", 484), ("romeo@elsewhere.example", 404), ("romeo@xmpp.example", 403)];
    for (n, (to, expected)) in cases.iter().enumerate() {
        world.sends_from(stranger, message(n as u32, to, "hello"));
        assert_eq!(world.take_statuses(), [*expected], "{to}");
        assert_eq!(world.take_message(), None);
    }
}

#[test]
fn a_request_that_cannot_be_read_is_told_what_is_wrong() {
    let mut world = World::new();
    for (n, (from, to, line)) in [
        ("Call-ID: call-", "X: ", "SIP/2.0 400 Bad Request: Missing Call-ID"),
        ("CSeq: 1 ", "CSeq: 4294967296 ", "SIP/2.0 400 Bad Request: Malformed CSeq"),
        ("Max-Forwards: 70", "Max-Forwards: 256", "SIP/2.0 400 Bad Request: Malformed Max-Forwards"),
        ("sip:romeo@xmpp.example SIP/2.0", "sip:romeo@xmpp.example SIP/3.0", "SIP/2.0 505 Version Not Supported"),
    ]
    .iter()
    .enumerate()
    {
        let answer = answer(&mut world, &changed(n as u32, from, to));
        assert_eq!(answer.split("\r\n").next(), Some(*line), "{to}");
    }
    world.assert_quiet();
}

#[test]
fn a_message_larger_than_the_limit_gets_513() {
    let mut world = World::with(|settings| settings.sip.endpoint.limits.message = 1300);
    assert_eq!(refusal(&mut world, &message(1, "romeo@xmpp.example", &"x".repeat(1300))), 513);
    world.proxy_sends(message(2, "romeo@xmpp.example", &"x".repeat(500)));
    assert!(world.take_message().is_some());
}

/// RFC 3261 section 17.2.2: Timer J is 32 s, and 5 s as elsewhere would be too few for Timer E at the other end.
#[test]
fn a_retransmission_is_recognised_for_32_seconds() {
    let mut world = World::new();
    let request = message(1, "romeo@xmpp.example", "hello");
    world.proxy_sends(&request);
    let delivered = world.return_pings().len();
    let first = world.take_datagram().expect("the answer");
    assert_eq!((delivered, status(&first)), (1, Some(202)));
    for pause in [500, 1000, 2000, 3000, 4000, 6500, 14_999] {
        world.advance(Duration::from_millis(pause));
        world.proxy_sends(&request);
        assert_eq!(world.take_datagram().as_ref(), Some(&first));
        assert_eq!(world.take_stanzas(), Vec::<String>::new(), "delivered once");
    }
    world.assert_quiet();
}

/// RFC 3428 section 3: a MESSAGE makes no dialog, so nobody can continue one.
#[test]
fn an_answered_message_leaves_no_dialog() {
    let mut world = World::new();
    world.proxy_sends(message(1, "romeo@xmpp.example", "hello"));
    let stanza = world.take_message().expect("the message");
    let id = attribute(&stanza, "id").expect("an id");
    world.server_writes(format!(
        "<message from='romeo@xmpp.example' to='juliet@sip.example' id='{id}' type='error'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    let answer = world.take_datagram().expect("the answer");
    let to = header(&answer, "To").expect("To");
    assert!(to.contains(";tag="), "{answer}");
    let next = message(2, "romeo@xmpp.example", "again")
        .replace("To: <sip:romeo@xmpp.example>", &format!("To: {to}"))
        .replace("tag=j2", "tag=j1")
        .replace("call-2@", "call-1@")
        .replace("CSeq: 1", "CSeq: 2");
    assert_eq!(refusal(&mut world, &next), 481);
    assert_eq!(world.engine.open(), 0, "only the finished transactions are kept");
}

/// RFC 7572 table 2: the transaction identifier becomes the id.
#[test]
fn the_id_of_the_stanza_follows_from_the_transaction() {
    let id = |n: u32| {
        let mut world = World::new();
        world.proxy_sends(message(n, "romeo@xmpp.example", "hello"));
        attribute(&world.take_message().expect("the message"), "id").expect("an id").to_owned()
    };
    assert_eq!(id(1), id(1), "redelivered after a restart, it is the same message");
    assert_ne!(id(1), id(2));
}
