use proptest::prelude::*;

use super::super::HeaderName;
use super::*;

const MESSAGE: &[u8] = b"MESSAGE sip:romeo@example.net SIP/2.0\r\n\
Via: SIP/2.0/UDP orchard.example:5060;rport;branch=z9hG4bKnashds7\r\n\
Max-Forwards: 70\r\n\
From: \"Juliet\" <sip:juliet@example.com>;tag=49583\r\n\
To: <sip:romeo@example.net>\r\n\
Call-ID: asd88asd77a@1.2.3.4\r\n\
CSeq: 1 MESSAGE\r\n\
Content-Type: text/plain\r\n\
Content-Length: 24\r\n\
\r\n\
Art thou not Romeo,\r\n\x00\xff?";

fn request(bytes: &[u8]) -> Request<'_> {
    match parse(bytes, Carriage::Datagram, &Limits::default()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn replaced(from: &str, to: &str) -> Vec<u8> {
    let at = memchr::memmem::find(MESSAGE, from.as_bytes()).expect("is in the message");
    [&MESSAGE[..at], to.as_bytes(), &MESSAGE[at + from.len()..]].concat()
}

/// The refusal of the message with one part replaced.
fn refusal(from: &str, to: &str) -> String {
    let bytes = replaced(from, to);
    match request(&bytes).check(&Limits::default()) {
        Ok(_) => "accepted".into(),
        Err(refusal) => format!("{} {}", refusal.status, refusal.reason),
    }
}

#[test]
fn a_message_is_taken_apart() {
    let request = request(MESSAGE);
    assert_eq!(request.method, Method::Message);
    assert_eq!(request.uri, b"sip:romeo@example.net");
    assert_eq!(request.body, b"Art thou not Romeo,\r\n\x00\xff?");
    assert_eq!(request.head.len(), 8);
    assert!(!request.head.spans.spilled());
    let essentials = request.check(&Limits::default()).expect("sound");
    assert_eq!(essentials.via.host, b"orchard.example");
    assert_eq!(essentials.via.branch, Some(&b"z9hG4bKnashds7"[..]));
    assert_eq!(essentials.via.rport, Some(None));
    assert_eq!(essentials.from.display, Some(&b"\"Juliet\""[..]));
    assert_eq!(essentials.from.tag, Some(&b"49583"[..]));
    assert_eq!(essentials.to.tag, None);
    assert_eq!(essentials.call_id, b"asd88asd77a@1.2.3.4");
    assert_eq!((essentials.cseq.number, essentials.cseq.method), (1, Method::Message));
    assert_eq!(essentials.max_forwards, Some(70));
    assert_eq!(essentials.uri.map(|uri| uri.host), Some(&b"example.net"[..]));
}

#[test]
fn what_is_wrong_is_named() {
    let table = [
        ("MESSAGE sip", "FOO sip", "501 Not Implemented"),
        ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia", "505 Version Not Supported"),
        ("SIP/2.0\r\nVia", "sip/2.0\r\nVia", "accepted"),
        ("sip:romeo@example.net SIP", "sip:romeo@example.net  SIP", "400 Bad Request: Malformed Request Line"),
        ("sip:romeo@example.net SIP", "sip: SIP", "400 Bad Request: Malformed Request-URI"),
        ("sip:romeo@example.net SIP", "http://example.net SIP", "accepted"),
        ("sip:romeo@example.net SIP", "im:romeo@example.net SIP", "accepted"),
        ("Max-Forwards: 70\r\n", "", "accepted"),
        ("Max-Forwards: 70", "Max-Forwards: 256", "400 Bad Request: Malformed Max-Forwards"),
        ("Max-Forwards: 70", "Max-Forwards: -1", "400 Bad Request: Malformed Max-Forwards"),
        ("Max-Forwards: 70", "Max-Forwards: ", "400 Bad Request: Malformed Max-Forwards"),
        ("Max-Forwards: 70", "Max-Forwards: 70\r\nMax-Forwards: 70", "400 Bad Request: Several Max-Forwards"),
        ("Max-Forwards: 70", "Max-Forwards\t:\r\n 70", "accepted"),
        ("Max-Forwards: 70", "Max Forwards: 70", "400 Bad Request: Malformed Header Line"),
        ("Max-Forwards: 70", "no colon", "400 Bad Request: Malformed Header Line"),
        ("Max-Forwards: 70", ": 70", "400 Bad Request: Malformed Header Line"),
        ("Max-Forwards: 70\r\n", "Max-Forwards: 70\n", "400 Bad Request: Lone CR or LF in Header"),
        ("Max-Forwards: 70\r\n", "Max-Forwards: 70\r", "400 Bad Request: Lone CR or LF in Header"),
        ("CSeq: 1 ", "CSeq: 4294967295 ", "accepted"),
        ("CSeq: 1 ", "CSeq: 4294967296 ", "400 Bad Request: Malformed CSeq"),
        ("CSeq: 1 MESSAGE", "CSeq: 1MESSAGE", "400 Bad Request: Malformed CSeq"),
        ("CSeq: 1 MESSAGE", "CSeq: 1 message", "400 Bad Request: CSeq Method Differs From Request"),
        ("CSeq: 1 MESSAGE\r\n", "", "400 Bad Request: Missing CSeq"),
        ("From: ", "X-From: ", "400 Bad Request: Missing From"),
        ("To: ", "X-To: ", "400 Bad Request: Missing To"),
        ("To: ", "t: <sip:a@b.example>\r\nTo: ", "400 Bad Request: Several To"),
        ("Call-ID: asd", "Call-ID: as d", "400 Bad Request: Malformed Call-ID"),
        ("Call-ID: ", "X: ", "400 Bad Request: Missing Call-ID"),
        ("<sip:romeo@example.net>\r", "<sip:romeo@exa mple.net>\r", "400 Bad Request: Malformed To"),
        (";tag=49583", ";tag=1;tag=2", "400 Bad Request: Malformed From"),
        (";rport", ";rport;rport", "400 Bad Request: Malformed Via"),
        ("SIP/2.0/UDP orchard", "SIP/3.0/UDP orchard", "400 Bad Request: Malformed Via"),
        ("branch=z9hG4bKnashds7", "branch=z9hG4bK", "400 Bad Request: Branch Without Identifier"),
        ("Content-Length: 24", "Content-Length: 25", "400 Bad Request: Content-Length Larger Than Body"),
        ("Content-Length: 24", "Content-Length: 23", "accepted"),
        ("Content-Length: 24", "l: 24\r\nContent-Length: 0024", "accepted"),
        ("Content-Length: 24", "l: 24\r\nContent-Length: 23", "400 Bad Request: Contradicting Content-Length"),
        ("Content-Length: 24", "Content-Length: +24", "400 Bad Request: Malformed Content-Length"),
        (
            "Content-Length: 24",
            "Content-Length: 18446744073709551616",
            "400 Bad Request: Content-Length Larger Than Body",
        ),
        ("Content-Length: 24\r\n", "", "accepted"),
        ("Content-Type: ", "Contact: <sip:a@b.example\r\nContent-Type: ", "accepted"),
        ("Content-Type: ", "Contact: *\r\nContent-Type: ", "accepted"),
        ("Content-Type: ", "Route: sip:a@b.example\r\nContent-Type: ", "400 Bad Request: Malformed Route"),
        ("Content-Type: ", "Route: <sip:b.example;lr>\r\nContent-Type: ", "accepted"),
        ("Max-Forwards", "Via: SIP/2.0/UDP \r\nMax-Forwards", "400 Bad Request: Malformed Via"),
        ("Max-Forwards", "v: SIP/2.0/TCP b.example, SIP / 2.0 / UDP c.example:5\r\nMax-Forwards", "accepted"),
    ];
    for (from, to, expected) in table {
        assert_eq!(refusal(from, to), expected, "{from} -> {to}");
    }
}

/// RFC 3261 section 8.2.2: what is not needed may be malformed. A Contact is, where it binds or names a remote target.
#[test]
fn a_malformed_contact_matters_where_a_contact_does() {
    for (method, refused) in [
        ("MESSAGE", false),
        ("OPTIONS", false),
        ("BYE", false),
        ("PUBLISH", false),
        ("INVITE", true),
        ("REGISTER", true),
        ("SUBSCRIBE", true),
        ("NOTIFY", true),
        ("REFER", true),
        ("UPDATE", true),
    ] {
        let text = String::from_utf8_lossy(MESSAGE).replace("MESSAGE", method);
        let text = text.replace("Content-Type: ", "Contact: <sip:a@b.example\r\nContent-Type: ");
        let checked = request(text.as_bytes()).check(&Limits::default()).map(|_| ());
        assert_eq!(checked.is_err(), refused, "{method}");
        assert!(checked.is_ok() || checked == Err(Refusal::bad("Bad Request: Malformed Contact")), "{method}");
    }
}

#[test]
fn what_cannot_be_answered_is_dropped() {
    let no_via = replaced("Via", "X-Via");
    let bad_via = replaced("SIP/2.0/UDP orchard", "HTTP/2.0/UDP orchard");
    let no_host = replaced("orchard.example:5060", "");
    let table: [(&[u8], DropReason); 14] = [
        (b"", DropReason::Empty),
        (b"\r\n\r\n", DropReason::Empty),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", DropReason::NotSip),
        (b"\x00\x01\x02\r\n\r\n", DropReason::NotSip),
        (b"MESSAGE sip:a@b.example SIP/2.0", DropReason::Unfinished),
        (b"MESSAGE sip:a@b.example SIP/2.0\r\nVia: x", DropReason::Unfinished),
        (b"MESSAGE sip:a@b.example SIP/2.0\r\n\r\n", DropReason::NoVia),
        (b"SIP/2.0 099 Low\r\n\r\n", DropReason::BadResponse),
        (b"SIP/2.0 700 High\r\n\r\n", DropReason::BadResponse),
        (b"SIP/2.0 2000 Long\r\n\r\n", DropReason::BadResponse),
        (b"SIP/2.0 200 OK\r\nContent-Length: 1\r\n\r\n", DropReason::BadResponse),
        (&no_via, DropReason::NoVia),
        (&bad_via, DropReason::NoVia),
        (&no_host, DropReason::NoVia),
    ];
    for (bytes, reason) in table {
        match parse(bytes, Carriage::Datagram, &Limits::default()) {
            Err(Unreadable::Drop(dropped)) => assert_eq!(dropped, reason, "{}", bytes.escape_ascii()),
            Ok(message) => panic!("{message:?}"),
        }
    }
}

#[test]
fn every_limit_is_reached() {
    let limits = Limits { message: 2000, headers: 12, header_line: 60, folds: 2, vias: 3, routes: 2, uri: 30 };
    let base = replaced("orchard.example:5060;rport", "o");
    let at = memchr::memmem::find(&base, b"Max").expect("is in the message");
    let with = |to: &str| [&base[..at], to.as_bytes(), &base[at + 3..]].concat();
    let line = |length: usize| format!("X: {}\r\nMax", "x".repeat(length - 3));
    let many = |line: &str, count: usize| format!("{}Max", line.repeat(count));
    let verdict = |to: &str| {
        let bytes = with(to);
        match parse(&bytes, Carriage::Datagram, &limits) {
            Ok(Message::Request(request)) => {
                request.check(&limits).map_or_else(|refusal| refusal.reason, |_| "accepted")
            }
            Ok(Message::Response(_)) => "response",
            Err(Unreadable::Drop(reason)) => reason.name(),
        }
        .to_owned()
    };
    assert_eq!(verdict(&line(60)), "accepted");
    assert_eq!(verdict(&line(61)), "Bad Request: Header Line Too Long");
    assert_eq!(verdict(&many("X: y\r\n", 4)), "accepted");
    assert_eq!(verdict(&many("X: y\r\n", 5)), "Bad Request: Too Many Header Lines");
    assert_eq!(verdict("X: y\r\n z\r\n z\r\nMax"), "accepted");
    assert_eq!(verdict("X: y\r\n z\r\n z\r\n z\r\nMax"), "Bad Request: Header Line Folded Too Often");
    assert_eq!(verdict("v: SIP/2.0/UDP a, SIP/2.0/UDP b\r\nMax"), "accepted");
    assert_eq!(verdict("v: SIP/2.0/UDP a, SIP/2.0/UDP b\r\nv: SIP/2.0/UDP c\r\nMax"), "Bad Request: Too Many Via");
    assert_eq!(verdict("Route: <sip:a>, <sip:b>\r\nMax"), "accepted");
    assert_eq!(verdict("Route: <sip:a>, <sip:b>, <sip:c>\r\nMax"), "Bad Request: Too Many Route");
    assert_eq!(verdict(&many("X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 50)), "Message Too Large");
}

#[test]
fn what_is_larger_than_the_limit_gets_a_513_or_is_dropped() {
    let small = Limits { message: MESSAGE.len() - 1, ..Limits::default() };
    let Ok(Message::Request(request)) = parse(MESSAGE, Carriage::Datagram, &small) else { panic!() };
    assert_eq!(request.check(&small).map(|_| ()).unwrap_err().status, 513);
    let response = [b"SIP/2.0 200 OK\r\n".as_slice(), &MESSAGE[39..]].concat();
    assert!(parse(&response, Carriage::Datagram, &Limits::default()).is_ok());
    let dropped = parse(&response, Carriage::Datagram, &Limits { message: response.len() - 1, ..small });
    assert!(matches!(dropped, Err(Unreadable::Drop(DropReason::TooLong))), "{dropped:?}");
    // On a stream the framer hands over the header of what is too large.
    let head = &MESSAGE[..MESSAGE.len() - request.body.len()];
    let Ok(Message::Request(request)) = parse(head, Carriage::Stream, &small) else { panic!() };
    assert_eq!(request.check(&small).map(|_| ()).unwrap_err().status, 513);
}

#[test]
fn without_content_length_the_body_is_the_rest_of_the_datagram() {
    let bytes = replaced("Content-Length: 24\r\n", "");
    assert_eq!(request(&bytes).body, b"Art thou not Romeo,\r\n\x00\xff?");
    let bytes = replaced("Content-Length: 24", "Content-Length: 3");
    assert_eq!(request(&bytes).body, b"Art", "what lies beyond is not looked at");
}

#[test]
fn a_long_request_uri_gets_a_414() {
    let uri = format!("sip:{}@example.net SIP", "r".repeat(5000));
    assert_eq!(refusal("sip:romeo@example.net SIP", &uri), "414 Request-URI Too Long");
}

#[test]
fn more_than_32_lines_are_all_kept() {
    let lines: String = (0..100).map(|number| format!("X-{number}: {number}\r\n")).collect();
    let bytes = replaced("Max-Forwards", &(lines + "Max-Forwards"));
    let request = request(&bytes);
    assert_eq!(request.head.len(), 108);
    assert_eq!(request.head.other("x-99"), Some(&b"99"[..]));
    assert_eq!(request.head.other("cseq"), request.head.first(HeaderName::CSeq));
    assert_eq!(request.head.other("X-100"), None);
    assert_eq!(
        request.head.lines().map(|line| line.whole.len()).sum::<usize>(),
        request.head.end as usize - "MESSAGE sip:romeo@example.net SIP/2.0\r\n".len()
    );
}

#[test]
fn bytes_that_are_no_utf8_lose_no_header() {
    let at = memchr::memmem::find(MESSAGE, b"Juliet").expect("is in the message");
    let bytes = [&MESSAGE[..at], b"J\xfcrgen\xff", &MESSAGE[at + 6..]].concat();
    let request = request(&bytes);
    assert_eq!(request.head.len(), 8);
    let essentials = request.check(&Limits::default()).expect("sound");
    assert_eq!(essentials.from.display, Some(&b"\"J\xfcrgen\xff\""[..]));
}

#[test]
fn a_folded_value_is_one_value() {
    let bytes = replaced("Max-Forwards", "Subject: I know\r\n\tthou  \r\n   art\r\n \r\nMax-Forwards");
    let request = request(&bytes);
    let subject = request.head.first(HeaderName::Subject).expect("there");
    assert_eq!(subject, b"I know\r\n\tthou  \r\n   art");
    assert_eq!(&*super::super::headers::unfold(subject), b"I know thou art");
    let line = request.head.lines().find(|line| line.name == HeaderName::Subject).expect("there");
    assert_eq!(line.whole, b"Subject: I know\r\n\tthou  \r\n   art\r\n \r\n");
}

#[test]
fn on_a_stream_content_length_is_required() {
    let bytes = replaced("Content-Length: 24\r\n", "");
    let Ok(Message::Request(request)) = parse(&bytes, Carriage::Stream, &Limits::default()) else { panic!() };
    assert_eq!(
        request.check(&Limits::default()).map(|_| ()).unwrap_err().reason,
        "Bad Request: Missing Content-Length"
    );
}

#[test]
fn a_body_holds_every_byte() {
    let body: Vec<u8> = (0..=255_u8).chain(*b"\r\n\r\n").collect();
    let head = b"MESSAGE sip:a@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nContent-Length: 260\r\n\r\n";
    let bytes = [&head[..], &body, b"trailing"].concat();
    let request = request(&bytes);
    assert_eq!(request.body, body);
    assert_eq!(request.bytes.len(), head.len() + 260);
}

#[test]
fn a_response_is_taken_apart() {
    let bytes = b"SIP/2.0 200 Tr\xc3\xa8s bien\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nf: <sip:a@b.example>;tag=1\r\nt: <sip:c@d.example>;tag=2\r\ni: 1\r\nCSeq: 1 MESSAGE\r\nl: 0\r\n\r\n";
    let Ok(Message::Response(response)) = parse(bytes, Carriage::Stream, &Limits::default()) else { panic!() };
    assert_eq!((response.status, response.reason), (200, "Tr\u{e8}s bien".as_bytes()));
    let essentials = response.essentials().expect("whole");
    assert_eq!((essentials.to.tag, essentials.from.tag), (Some(&b"2"[..]), Some(&b"1"[..])));
    // What belongs into requests is not looked at (section 7.3.2).
    let echoed = "Max-Forwards: x\r\nMax-Forwards: 70\r\nRequire: x\r\nRoute: nowhere\r\nCSeq: ";
    let text = String::from_utf8_lossy(bytes).replace("CSeq: ", echoed);
    let Ok(Message::Response(response)) = parse(text.as_bytes(), Carriage::Stream, &Limits::default()) else {
        panic!()
    };
    assert!(response.essentials().is_some());
    for missing in ["Via: ", "f: ", "t: ", "i: ", "CSeq: "] {
        let text = String::from_utf8_lossy(bytes).replace(missing, "X: ");
        let Ok(Message::Response(response)) = parse(text.as_bytes(), Carriage::Stream, &Limits::default()) else {
            panic!()
        };
        assert!(response.essentials().is_none(), "{missing}");
    }
}

/// Bytes that look like SIP often enough to reach every branch.
fn sip_like() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"MESSAGE sip:a@b.example SIP/2.0\r\n".to_vec()),
        Just(b"SIP/2.0 200 OK\r\n".to_vec()),
        Just(b"Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n".to_vec()),
        Just(b"From: \"a\\\"<\" <sip:%61@[::1]:5;a=b?c=d>;tag=1\r\n".to_vec()),
        Just(b"To: sip:a@b;tag=1\r\n".to_vec()),
        Just(b"Call-ID: 1\r\nCSeq: 1 MESSAGE\r\n".to_vec()),
        Just(b"Contact: *, <sip:a@b>;expires=1\r\n".to_vec()),
        Just(b"Content-Length: 5\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        "[\r\n \t:;,=\"<>@\\\\%\\[\\]/0-9a-z]{0,12}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(part, 0..14).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_bytes_are_read_without_harm(bytes in sip_like(), stream: bool, cut in 0..400_usize) {
        let limits = Limits { headers: 20, ..Limits::default() };
        let carriage = if stream { Carriage::Stream } else { Carriage::Datagram };
        let bytes = &bytes[..bytes.len().min(cut.max(1))];
        match parse(bytes, carriage, &limits) {
            Ok(Message::Request(request)) => {
                let _ = request.check(&limits);
                let total: usize = request.head.lines().map(|line| line.whole.len()).sum();
                prop_assert!(total <= request.bytes.len());
                for line in request.head.lines() {
                    prop_assert!(line.whole.ends_with(b"\n") || request.defect.is_some());
                    let _ = super::super::NameAddr::parse(line.value).map(|address| address.uri.equivalent(&address.uri));
                    let _ = super::super::Via::parse(line.value);
                    let _ = super::super::headers::unquote(line.value);
                }
            }
            Ok(Message::Response(response)) => { let _ = response.essentials(); }
            Err(Unreadable::Drop(_)) => {}
        }
    }

    #[test]
    fn a_printed_request_reads_as_what_was_printed(
        user in "[^\\x00-\\x1f]{1,12}", display in "[^\\p{Cc}]{0,12}", number: u32, body: Vec<u8>, tag in "[a-z0-9]{1,8}",
    ) {
        use super::super::{headers, print};
        let mut uri = b"sip:".to_vec();
        print::escape_user(user.as_bytes(), &mut uri);
        uri.extend_from_slice(b"@example.net");
        let mut from = Vec::new();
        print::quoted_string(display.as_bytes(), &mut from);
        from.extend_from_slice(b" <sip:a@b.example>;tag=");
        from.extend_from_slice(tag.as_bytes());
        let mut bytes = Vec::new();
        print::request_line(Method::Message, &uri, &mut bytes);
        print::via(b"UDP", b"a.example:5060", true, |out| out.extend_from_slice(b"1"), &mut bytes);
        print::header(HeaderName::From, &from, &mut bytes);
        print::header(HeaderName::To, &[b"<", &uri[..], b">"].concat(), &mut bytes);
        print::header(HeaderName::CallId, b"1", &mut bytes);
        print::cseq(number, Method::Message, &mut bytes);
        print::body(&body, &mut bytes);
        let request = request(&bytes);
        let essentials = request.check(&Limits::default()).map_err(|refusal| TestCaseError::fail(refusal.reason))?;
        prop_assert_eq!(request.body, &body[..]);
        prop_assert_eq!(essentials.cseq.number, number);
        prop_assert_eq!(essentials.from.tag, Some(tag.as_bytes()));
        let text = headers::unquote(essentials.from.display.unwrap_or_default());
        prop_assert_eq!(&*text, display.as_bytes());
        let mut unescaped = Vec::new();
        print::unescape(essentials.to.uri.user.unwrap_or_default(), &mut unescaped);
        prop_assert_eq!(unescaped, user.as_bytes());
        prop_assert_eq!(request.bytes, &bytes[..]);
    }
}
