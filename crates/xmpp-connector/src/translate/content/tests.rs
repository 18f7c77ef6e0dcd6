use super::*;
use cpim::{Content, Envelope, InstantInbox, MaxForwards, TransId};
use proptest::prelude::*;
use time::macros::datetime;

const LIMIT: usize = 10_000;

fn message<'a>(media_type: &'a str, encoding: Option<&'a str>, body: &'a [u8]) -> Message<'a> {
    Message {
        source: InstantInbox(ImUri::parse("im:juliet@sip.example").unwrap()),
        destination: InstantInbox(ImUri::parse("im:romeo@xmpp.example").unwrap()),
        max_forwards: MaxForwards(70),
        trans_id: TransId::new(b"t"),
        wire_id: Cow::Borrowed(b""),
        envelope: Envelope::default(),
        content: Content {
            media_type: MediaType::parse(media_type.as_bytes()),
            encoding: encoding.map(str::as_bytes),
            body: Cow::Borrowed(body),
            ..Content::default()
        },
    }
}

fn shown(media_type: &str, encoding: Option<&str>, body: &[u8]) -> Result<String, Reason> {
    let message = message(media_type, encoding, body);
    present(&message, &Accepts::default(), LIMIT)
        .map(|presented| presented.body.into_owned())
        .map_err(|failure| failure.reason)
}

#[test]
fn each_refusal_has_its_reason() {
    type Case = (&'static str, Option<&'static str>, &'static [u8], Result<&'static str, Reason>);
    let cases: &[Case] = &[
        ("text/plain", None, b"hello", Ok("hello")),
        ("Text/PLAIN;charset=ISO-8859-1", None, b"f\xfcr", Ok("f\u{fc}r")),
        ("text/plain;charset=klingon", None, b"hello", Err(Reason::UnsupportedMedia)),
        ("text/plain", None, b"f\xfcr", Err(Reason::BadRequest)),
        ("text/plain", Some("identity"), b"hello", Ok("hello")),
        ("text/plain", Some("br"), b"hello", Err(Reason::UnsupportedEncoding)),
        ("text/plain", Some("deflate"), b"hello", Err(Reason::BadRequest)),
        ("image/png", None, b"\x89PNG", Err(Reason::UnsupportedMedia)),
        ("image/png", Some("deflate"), b"not even deflated", Err(Reason::UnsupportedMedia)),
        ("message/imdn+xml", None, b"<imdn/>", Err(Reason::UnsupportedMedia)),
        ("application/im-iscomposing+xml", None, b"<isComposing/>", Err(Reason::UnsupportedMedia)),
    ];
    for (media_type, encoding, body, expected) in cases {
        let found = shown(media_type, *encoding, body);
        assert_eq!(found.as_deref().map_err(|reason| *reason), *expected, "{media_type} {encoding:?}");
    }
}

#[test]
fn plain_text_is_borrowed() {
    let message = message("text/plain", None, b"hello");
    assert!(matches!(
        present(&message, &Accepts::default(), LIMIT),
        Ok(Presented { body: Cow::Borrowed("hello"), .. })
    ));
}

fn cpim(headers: &str, content: &str) -> Result<Presented<'static>, Failure<'static>> {
    let body = format!("{}\r\n\r\n{}", headers.replace('\n', "\r\n"), content.replace('\n', "\r\n"));
    present(&message("message/cpim", None, body.as_bytes()), &Accepts::default(), LIMIT).map(Presented::into_owned)
}

const HELLO: &str = "Content-Type: text/plain\n\nhello";

#[test]
fn a_wrapped_text_is_shown_with_its_headers() {
    let presented = cpim(
        "From: Juliet <im:Juliet@SIP.example>\nTo: <im:somebody@else.example>\nDateTime: 2026-11-20T18:14:37+01:00\n\
         Subject: plain\nSubject:;lang=de Wetter \\u0041\nSubject:;lang=de again\nX-Unknown: header\nNS: i <urn:x>\ni.y: z",
        "Content-type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nf=FCr",
    )
    .unwrap();
    assert_eq!(presented.body, "f\u{fc}r\r\n".trim_end());
    assert_eq!(presented.sent, Some(datetime!(2026-11-20 17:14:37 UTC)));
    let subjects: Vec<_> = presented.subjects.iter().map(|s| (s.lang.as_deref(), &*s.text)).collect();
    assert_eq!(subjects, [(None, "plain"), (Some("de"), "Wetter A")]);
}

#[test]
fn a_wrapper_says_nothing_that_was_not_proven() {
    let reason = |headers: &str, content: &str| cpim(headers, content).map_err(|failure| failure.reason).err();
    for from in [
        "From: <im:mallory@sip.example>",
        "From: <im:juliet@evil.example>",
        "From: <tel:+15551234>",
        "From: <sip:juliet@sip.example>\nFrom: <im:mallory@sip.example>",
    ] {
        assert_eq!(reason(from, HELLO), Some(Reason::Forbidden), "{from}");
    }
    for from in ["X: y", "From: \"J\"<sip:juliet@sip.example;user=phone>", "From: <sips:juliet:p@sip.example:5061>"] {
        assert_eq!(reason(from, HELLO), None, "{from}");
    }
    for (headers, content, expected) in [
        ("From: juliet", HELLO, Reason::BadRequest),
        ("Require: imdn.Disposition-Notification", HELLO, Reason::UnsupportedMedia),
        ("From:<im:juliet@sip.example>", HELLO, Reason::BadRequest),
        ("X: y", "hello", Reason::BadRequest),
        ("X: y", "Content-Type: message/imdn+xml\n\n<imdn/>", Reason::UnsupportedMedia),
        ("X: y", "Content-Type: application/im-iscomposing+xml\n\n<isComposing/>", Reason::UnsupportedMedia),
        ("X: y", "Content-Type: message/cpim\n\nX: y\n\nContent-Type: text/plain\n\nhi", Reason::UnsupportedMedia),
        ("X: y", "Content-Type: text/plain\nContent-Encoding: gzip\n\nhi", Reason::UnsupportedMedia),
        ("X: y", "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n*", Reason::BadRequest),
        ("X: y", "Content-Type: text/plain\nContent-Transfer-Encoding: x\n\nhi", Reason::UnsupportedMedia),
    ] {
        assert_eq!(reason(headers, content), Some(expected), "{headers} {content}");
    }
    let undated = cpim("DateTime: yesterday", HELLO).unwrap();
    assert_eq!((undated.sent, &*undated.body), (None, "hello"));
}

#[test]
fn multiparts_show_their_text() {
    let multipart = |kind: &str, parts: &[(&str, &str)]| {
        let mut body = String::new();
        for (head, text) in parts {
            body.push_str(&format!("--x\r\n{}\r\n\r\n{text}\r\n", head.replace('\n', "\r\n")));
        }
        shown(&format!("multipart/{kind}; boundary=x"), None, (body + "--x--\r\n").as_bytes())
    };
    const PLAIN: &str = "Content-Type: text/plain";
    const PNG: &str = "Content-Type: image/png";
    const OPTIONAL: &str = "Content-Type: image/png\nContent-Disposition: inline; handling=optional";
    const HIDDEN: &str = "Content-Type: text/plain\nContent-Disposition: by-reference;handling=Optional";
    let inner = "--y\r\n\r\ninner\r\n--y\r\nContent-Type: text/html\r\n\r\n<p>\r\n--y--";
    let nested = "Content-Type: multipart/alternative; boundary=y";
    let unsupported = Err(Reason::UnsupportedMedia);
    for (kind, parts, expected) in [
        ("alternative", &[(PLAIN, "text"), ("Content-Type: text/html", "<b>")][..], Ok("text")),
        ("alternative", &[(PNG, "p"), ("Content-Type: text/plain;charset=x", "1"), (PLAIN, "2")], Ok("2")),
        ("alternative", &[(PNG, "p")], unsupported),
        // Who shows no formats sees the text too.
        ("alternative", &[(PLAIN, ""), ("Content-Type: text/html", "<p>rich</p>")], Ok("rich")),
        ("alternative", &[(PLAIN, " \r\n"), ("Content-Type: text/html", "<p>rich</p>")], Ok("rich")),
        ("alternative", &[(PLAIN, " "), ("Content-Type: text/html", "<p> </p>")], Ok(" ")),
        ("alternative", &[(PLAIN, ""), ("Content-Type: text/plain\nContent-Language: fr", "oui")], Ok("oui")),
        ("mixed", &[(PLAIN, "one"), (PLAIN, "two")], Ok("one\ntwo")),
        ("mixed", &[(PLAIN, "one"), (OPTIONAL, "p"), (HIDDEN, "no")], Ok("one")),
        ("mixed", &[(PLAIN, "one"), (PNG, "p")], unsupported),
        ("mixed", &[(PLAIN, "one"), ("Content-Type: text/plain\nContent-Disposition: icon", "no")], unsupported),
        ("mixed", &[(OPTIONAL, "p")], unsupported),
        ("mixed", &[(PLAIN, "one"), (nested, inner)], Ok("one\ninner")),
        ("related", &[(PLAIN, "one")], Ok("one")),
    ] {
        let found = multipart(kind, parts);
        assert_eq!(found.as_deref().map_err(|reason| *reason), expected, "{kind} {parts:?}");
    }
    assert_eq!(shown("multipart/mixed", None, b"--x--"), Err(Reason::BadRequest));
    assert_eq!(shown("multipart/mixed;boundary=x", None, b"--x\r\n\r\ncut off"), Err(Reason::BadRequest));
    let mut deep = "deep".to_owned();
    for level in 0..6 {
        deep = format!(
            "--b{level}\r\nContent-Type: multipart/mixed;boundary=b{}\r\n\r\n{deep}\r\n--b{level}--",
            level - 1
        );
    }
    assert_eq!(shown("multipart/mixed;boundary=b5", None, deep.as_bytes()), unsupported.map(str::to_owned));
}

proptest! {
    #[test]
    fn no_octets_panic(
        bytes in "(--x\r\n|--x--|\r\n|From: <im:a@b>\r\n|Content-Type: (text/plain|multipart/mixed;boundary=x)\r\n|.){0,30}"
    ) {
        for media_type in ["message/cpim", "multipart/mixed;boundary=x", "multipart/alternative;boundary=x"] {
            let _ = shown(media_type, None, bytes.as_bytes());
        }
    }
}

#[test]
fn the_work_for_all_html_in_a_message_is_bounded() {
    let part = |tags: usize| format!("--b\r\nContent-Type: text/html\r\n\r\nx{}\r\n", "<i>".repeat(tags));
    let body = |tags: usize| part(tags).repeat(4) + "--b--";
    let most = xhtml::MOST_TAGS / 4;
    assert_eq!(shown("multipart/mixed;boundary=b", None, body(most).as_bytes()).as_deref(), Ok("x\nx\nx\nx"));
    assert_eq!(shown("multipart/mixed;boundary=b", None, body(most + 1).as_bytes()), Err(Reason::TooLarge));
}
