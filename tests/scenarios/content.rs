//! What becomes of each kind of content that a SIP user sends.

use entente_tests::world::{World, status};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use std::io::Write as _;

/// A MESSAGE from juliet with these header lines (each ended by CRLF) and this body.
fn message(n: usize, lines: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "MESSAGE sip:romeo@xmpp.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-content-{n}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:juliet@sip.example>;tag=j{n}\r\n\
         To: <sip:romeo@xmpp.example>\r\n\
         Call-ID: content-{n}@192.0.2.9\r\n\
         CSeq: 1 MESSAGE\r\n\
         {lines}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// What came of a MESSAGE.
#[derive(Debug, PartialEq)]
enum Fate {
    /// This stood in the stanza between the start tag and the id that follows the texts.
    Shown(String),
    /// The answer.
    Refused { status: u16, response: String },
}

impl Fate {
    fn status(&self) -> u16 {
        match self {
            Fate::Shown(_) => 0,
            Fate::Refused { status, .. } => *status,
        }
    }

    fn body(&self) -> &str {
        let Fate::Shown(texts) = self else { panic!("shown, not {self:?}") };
        let start = texts.find("<body>").expect("a body") + "<body>".len();
        texts[start..].split("</body>").next().expect("the end of it")
    }
}

/// Sends, and says what came of it. The world is a new one: what one message does, no other sees.
fn fate(lines: &str, body: &[u8]) -> Fate {
    let mut world = World::new();
    world.proxy_sends(message(1, lines, body));
    let shown = world.take_stanza();
    let answer = world.take_datagram();
    match (shown, answer) {
        (Some(stanza), None) => {
            let start = stanza.find('>').expect("a start tag") + 1;
            let end = stanza.find("<thread>").expect("the thread");
            Fate::Shown(stanza[start..end].to_owned())
        }
        (None, Some(response)) => {
            world.assert_quiet();
            Fate::Refused { status: status(&response).expect("a status"), response }
        }
        other => panic!("a stanza or an answer, not {other:?}"),
    }
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).expect("all is taken");
    encoder.finish().expect("all is taken")
}

fn raw_deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).expect("all is taken");
    encoder.finish().expect("all is taken")
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).expect("all is taken");
    encoder.finish().expect("all is taken")
}

#[test]
fn text_in_any_charset_is_shown_as_its_characters() {
    for (charset, body, shown) in [
        ("", "Gr\u{fc}\u{df}e \u{1f600}".as_bytes(), "Gr\u{fc}\u{df}e \u{1f600}"),
        (";charset=UTF-8", "Gr\u{fc}\u{df}e".as_bytes(), "Gr\u{fc}\u{df}e"),
        ("; charset=\"iso-8859-1\"", b"Gr\xfc\xdfe", "Gr\u{fc}\u{df}e"),
        (";charset=windows-1251", b"\xcf\xf0\xe8\xe2\xe5\xf2", "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}"),
        (";charset=utf-16", b"\xff\xfe<\0&\0", "&lt;&amp;"),
        (";format=flowed;charset=big5", b"\xa4\xa4\xa4\xe5", "\u{4e2d}\u{6587}"),
    ] {
        assert_eq!(fate(&format!("Content-Type: text/plain{charset}\r\n"), body).body(), shown, "{charset}");
    }
}

#[test]
fn an_unknown_charset_and_a_broken_text_are_told_apart() {
    let unknown = fate("Content-Type: text/plain;charset=klingon\r\n", b"nuqneH");
    let Fate::Refused { status: 415, response } = unknown else { panic!("415, not {unknown:?}") };
    assert!(response.contains("\r\nAccept: text/plain"), "{response}");
    for (charset, body) in [("", &b"Gr\xfc\xdfe"[..]), (";charset=us-ascii", b"Gr\xc3\xbc"), (";charset=big5", b"\xa4")]
    {
        let broken = fate(&format!("Content-Type: text/plain{charset}\r\n"), body);
        let Fate::Refused { status: 400, response } = broken else { panic!("400, not {broken:?}") };
        assert!(response.contains("Warning: 399 gw.example \"the body is not valid in its charset\""), "{response}");
    }
}

#[test]
fn characters_that_xml_forbids_are_replaced_and_counted() {
    let mut world = World::new();
    world.proxy_sends(message(1, "Content-Type: text/plain\r\n", b"a\0b\x1bc\xef\xbf\xbfd\te\r\n"));
    let stanza = world.take_stanza().expect("a stanza");
    assert!(stanza.contains("<body>a\u{fffd}b\u{fffd}c\u{fffd}d\te&#13;\n</body>"), "{stanza}");
    assert_eq!(xmpp_counters(&world).replaced_characters, 3);
}

/// In a charset of single octets every octet is a character; in UTF-8 most are none.
#[test]
fn every_octet_is_shown_or_refused() {
    let octets: Vec<u8> = (0..=255).collect();
    for charset in ["iso-8859-1", "koi8-r", "macintosh", "x-user-defined"] {
        let mut world = World::new();
        world.proxy_sends(message(1, &format!("Content-Type: text/plain;charset={charset}\r\n"), &octets));
        let stanza = world.take_stanza().expect("a stanza");
        let body = stanza.split("<body>").nth(1).and_then(|rest| rest.split("</body>").next()).expect("a body");
        let shown = body.replace("&#13;", "\r").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        assert_eq!(shown.chars().count(), 256, "{charset}");
        // All controls below the space but TAB, LF and CR.
        assert_eq!(xmpp_counters(&world).replaced_characters, 29, "{charset}");
    }
    assert_eq!(fate("Content-Type: text/plain\r\n", &octets).status(), 400);
    assert_eq!(fate("Content-Type: text/html\r\n", &octets).status(), 400);
    assert_eq!(fate("Content-Type: image/png\r\n", &octets).status(), 415);
}

fn xmpp_counters(world: &World) -> xmpp_connector::Counters {
    world.engine.counters().xmpp
}

#[test]
fn coded_text_is_shown_decoded() {
    let text = "Neither, fair saint, if either thee dislike.";
    for (coding, body) in [
        ("deflate", zlib(text.as_bytes())),
        ("Deflate", raw_deflate(text.as_bytes())),
        ("gzip", gzip(text.as_bytes())),
        ("x-gzip", gzip(text.as_bytes())),
        ("deflate, gzip", gzip(&zlib(text.as_bytes()))),
        ("identity", text.into()),
    ] {
        let shown = fate(&format!("Content-Type: text/plain\r\nContent-Encoding: {coding}\r\n"), &body);
        assert_eq!(shown.body(), text, "{coding}");
    }
    let latin = fate("Content-Type: text/plain;charset=iso-8859-1\r\nContent-Encoding: deflate\r\n", &zlib(b"f\xfcr"));
    assert_eq!(latin.body(), "f\u{fc}r", "first the coding, then the charset");
}

#[test]
fn what_cannot_be_decoded_is_refused_with_its_reason() {
    let coded =
        |coding: &str, body: &[u8]| fate(&format!("Content-Type: text/plain\r\nContent-Encoding: {coding}\r\n"), body);
    let Fate::Refused { status: 415, response } = coded("br", b"hello") else { panic!("415") };
    assert!(response.contains("\r\nAccept-Encoding: deflate, gzip, identity\r\n"), "{response}");
    assert_eq!(coded("deflate\r\nContent-Encoding: gzip", &gzip(&zlib(b"hello"))).status(), 415);
    let whole = zlib(b"Neither, fair saint, if either thee dislike.");
    for broken in [&b""[..], b"hello", &whole[..whole.len() - 5], &[&whole[..], b"x"].concat()] {
        let Fate::Refused { status: 400, response } = coded("deflate", broken) else { panic!("400") };
        assert!(response.contains("Warning: 399 gw.example"), "{response}");
    }
}

#[test]
fn a_bomb_is_too_large() {
    let zeros = vec![0; 20_000_000];
    for (coding, bomb) in [
        ("deflate", zlib(&zeros)),
        ("deflate", raw_deflate(&zeros)),
        ("gzip", gzip(&zeros)),
        ("gzip, gzip", gzip(&gzip(&zeros))),
        ("deflate, deflate", zlib(&zlib(&zeros))),
    ] {
        assert!(bomb.len() < 65_000, "{coding}: it fits a datagram");
        let told = fate(&format!("Content-Type: text/plain\r\nContent-Encoding: {coding}\r\n"), &bomb);
        assert_eq!(told.status(), 413, "{coding}: {told:?}");
    }
    // Not a bomb, but more than a server takes in one stanza once `&` is `&amp;`.
    let ampersands = fate("Content-Type: text/plain\r\n", &vec![b'&'; 60_000]);
    assert_eq!(ampersands.status(), 413);
}

/// Notifications come from a client in use without being asked for, deflated or not. Nobody here can show them yet; what
/// must not happen is that a user sees XML or compressed octets.
#[test]
fn notifications_are_refused_and_never_shown_raw() {
    let imdn = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?><imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\
        <message-id>abc</message-id><datetime>2026-11-20T17:45:22Z</datetime><delivery-notification><status>\
        <delivered/></status></delivery-notification></imdn>";
    let typing = b"<isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state></isComposing>";
    for (kind, body) in [("message/imdn+xml", &imdn[..]), ("application/im-iscomposing+xml", typing)] {
        for (coding, coded) in [("", body.to_vec()), ("Content-Encoding: deflate\r\n", zlib(body))] {
            let told = fate(&format!("{coding}Content-Type: {kind}\r\nPriority: non-urgent\r\n"), &coded);
            assert_eq!(told.status(), 415, "{kind} {coding}: {told:?}");
        }
    }
}

fn wrapped(headers: &str, content: &str) -> Vec<u8> {
    format!("{headers}\n\n{content}").replace('\n', "\r\n").into_bytes()
}

/// As a client in use wraps a text: its own notification headers, a Content-Length inside, now and then deflated.
#[test]
fn a_wrapped_text_is_shown_without_its_wrapper() {
    let body = wrapped(
        "From: <sip:juliet@sip.example>\nTo: <sip:romeo@xmpp.example>\nDateTime: 2026-11-20T18:59:37Z\n\
         NS: imdn <urn:ietf:params:imdn>\nimdn.Message-ID: w1A3c~o9DyZX\n\
         imdn.Disposition-Notification: positive-delivery, negative-delivery, display",
        "Content-Type: text/plain\nContent-Length: 23\n\nhi\nfrom the mode \u{1f600}",
    );
    for (coding, coded) in [("", body.clone()), ("Content-Encoding: deflate\r\n", zlib(&body))] {
        let shown = fate(&format!("Content-Type: message/cpim\r\n{coding}"), &coded);
        assert_eq!(shown, Fate::Shown("<body>hi&#13;\nfrom the mode \u{1f600}</body>".into()), "{coding}");
    }
}

#[test]
fn wrapped_notifications_and_broken_wrappers_are_refused() {
    let from = "From: <sip:juliet@sip.example>\nTo: <sip:romeo@xmpp.example>";
    let hello = "Content-Type: text/plain\n\nhello";
    let cases = [
        (from, "Content-Type: message/imdn+xml\n\n<imdn/>", 415),
        (from, "Content-Type: application/im-iscomposing+xml\n\n<isComposing/>", 415),
        (from, "Content-Type: image/png\n\nx", 415),
        ("From: <sip:mallory@sip.example>", hello, 403),
        ("From: <sip:juliet@elsewhere.example>", hello, 403),
        ("From: juliet", hello, 400),
        ("Subject: folded\n line", hello, 400),
        ("Require: Something", hello, 415),
    ];
    for (headers, content, status) in cases {
        for coding in ["", "Content-Encoding: deflate\r\n"] {
            let body = wrapped(headers, content);
            let body = if coding.is_empty() { body } else { zlib(&body) };
            let told = fate(&format!("Content-Type: message/cpim\r\n{coding}"), &body);
            assert_eq!(told.status(), status, "{headers} {content}: {told:?}");
            let Fate::Refused { response, .. } = told else { panic!("refused") };
            assert_eq!(
                response.contains("\r\nAccept: text/plain, text/html, message/cpim"),
                status == 415,
                "{response}"
            );
        }
    }
    assert_eq!(fate("Content-Type: message/cpim\r\n", b"no wrapper at all").status(), 400);
}

#[test]
fn endless_headers_are_refused_in_bounded_work() {
    let endless = "NS: x <mid:y>\n".repeat(4000);
    assert_eq!(fate("Content-Type: message/cpim\r\n", &wrapped(endless.trim_end(), "")).status(), 400);
    // A megabyte of headers that fits a datagram once it is deflated.
    for line in [format!("Subject: {}", "x".repeat(1 << 20)), "X: y\n".repeat(200_000)] {
        let bomb = zlib(&wrapped(line.trim_end(), "Content-Type: text/plain\n\nhi"));
        let told = fate("Content-Type: message/cpim\r\nContent-Encoding: deflate\r\n", &bomb);
        assert_eq!(told.status(), 413, "{told:?}");
    }
    // No line is too long for as long as the whole is not.
    let long = wrapped(&format!("X: {}", "x".repeat(50_000)), "Content-Type: text/plain\n\nhi");
    assert_eq!(fate("Content-Type: message/cpim\r\n", &long).body(), "hi");
    let nested = "--x\r\nContent-Type: multipart/mixed;boundary=x\r\n\r\n".repeat(1000);
    assert!([400, 415].contains(&fate("Content-Type: multipart/mixed;boundary=x\r\n", nested.as_bytes()).status()));
}

/// The clock of the world says 19:00.
#[test]
fn a_message_from_long_ago_is_stamped() {
    let stamp = |date_time: &str| {
        let mut world = World::new();
        let body = wrapped(&format!("DateTime: {date_time}"), "Content-Type: text/plain\n\nhi");
        world.proxy_sends(message(1, "Content-Type: message/cpim\r\n", &body));
        let stanza = world.take_stanza().expect("a stanza");
        stanza.split_once("<delay ").map(|(_, rest)| rest.split("/>").next().expect("its end").to_owned())
    };
    let delay = |stamp: &str| Some(format!("xmlns='urn:xmpp:delay' stamp='{stamp}'"));
    assert_eq!(stamp("2026-11-20T12:00:00+02:00"), delay("2026-11-20T10:00:00Z"));
    assert_eq!(stamp("2026-11-20T18:58:59.5Z"), delay("2026-11-20T18:58:59.5Z"));
    for now in ["2026-11-20T18:59:30Z", "2026-11-20T19:00:00Z", "2026-11-20T19:30:00Z", "2027-11-20T19:30:00Z", "soon"]
    {
        assert_eq!(stamp(now), None, "{now}");
    }
}

#[test]
fn subject_and_language_cross() {
    let shown = fate("Subject: Balcony & more\r\nContent-Language: en\r\nContent-Type: text/plain\r\n", b"hi");
    assert_eq!(shown, Fate::Shown("<subject>Balcony &amp; more</subject><body>hi</body>".into()));
    let mut world = World::new();
    world.proxy_sends(message(1, "Content-Language: de-CH, fr\r\nContent-Type: text/plain\r\n", b"Salue"));
    let stanza = world.take_stanza().expect("a stanza");
    assert!(stanza.split('>').next().is_some_and(|tag| tag.ends_with(" xml:lang='de-CH'")), "{stanza}");
    for tag in ["no such_tag", "en'><x/>", ""] {
        let mut world = World::new();
        world.proxy_sends(message(1, &format!("Content-Language: {tag}\r\nContent-Type: text/plain\r\n"), b"hi"));
        let stanza = world.take_stanza().expect("a stanza");
        assert!(stanza.contains("<body>hi</body>") && !stanza.contains("xml:lang"), "{tag}: {stanza}");
    }
    // What the wrapper says is nearer to the text than what the request says.
    let body = wrapped("Subject: inside\nSubject:;lang=fr dedans", "Content-Type: text/plain\n\nhi");
    let shown = fate("Subject: outside\r\nContent-Type: message/cpim\r\n", &body);
    let subjects = "<subject>inside</subject><subject xml:lang='fr'>dedans</subject>";
    assert_eq!(shown, Fate::Shown(format!("{subjects}<body>hi</body>")));
}

#[test]
fn of_a_multipart_the_text_is_shown() {
    let body = |part: &str| format!("--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n--b\r\n{part}\r\n--b--\r\n");
    let html = body("Content-Type: text/html\r\n\r\n<b>text</b>");
    assert_eq!(fate("Content-Type: multipart/alternative;boundary=b\r\n", html.as_bytes()).body(), "text");
    let required = body("Content-Type: image/png\r\n\r\nx");
    assert_eq!(fate("Content-Type: multipart/mixed;boundary=b\r\n", required.as_bytes()).status(), 415);
    let optional = body("Content-Type: image/png\r\nContent-Disposition: render;handling=optional\r\n\r\nx");
    assert_eq!(fate("Content-Type: multipart/mixed;boundary=b\r\n", optional.as_bytes()).body(), "text");
}

#[test]
fn the_subject_of_a_stanza_is_the_subject_of_the_request() {
    let crossed = |stanza: &str| {
        let mut world = World::new();
        world.server_writes(stanza);
        let request = world.take_datagram().expect("a request");
        let lines = ["Subject: ", "Content-Language: "]
            .map(|name| request.split("\r\n").find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned());
        (lines, request.split_once("\r\n\r\n").expect("a body").1.to_owned())
    };
    let told = |attributes: &str, texts: &str| {
        crossed(&format!(
            "<message from='romeo@xmpp.example/o' to='juliet@sip.example' id='m' {attributes}>{texts}</message>"
        ))
    };
    let lines = |subject: &str, language: &str| [subject.to_owned(), language.to_owned()];
    let hi = "<body>hi</body>";
    assert_eq!(told("", hi), (lines("", ""), "hi".into()));
    assert_eq!(told("", &format!("<subject>Balcony</subject>{hi}")), (lines("Balcony", ""), "hi".into()));
    let two = "<subject xml:lang='de'>Balkon</subject><subject xml:lang='it'>Balcone</subject><body xml:lang='it'>ciao</body>";
    assert_eq!(told("xml:lang='de'", two), (lines("Balcone", "it"), "ciao".into()));
    assert_eq!(told("xml:lang='de'", hi), (lines("", "de"), "hi".into()));
    // Alone it is the text too, as a SIP user would see nothing else.
    assert_eq!(told("", "<subject>Balcony</subject>"), (lines("Balcony", ""), "Balcony".into()));
    let alone = "<subject xml:lang='de'>Balkon</subject><subject xml:lang='it'>Balcone</subject>";
    assert_eq!(told("xml:lang='it'", alone), (lines("Balcone", "it"), "Balcone".into()));
    assert_eq!(told("", "<subject>Balcony</subject><body/>"), (lines("Balcony", ""), String::new()));
    let hostile = format!("<subject>a&#13;&#10;Via: SIP/2.0/UDP evil.example&#10;&#10;body</subject>{hi}");
    let ([subject, _], body) = told("xml:lang='d&#10;X: y'", &hostile);
    assert_eq!((&*subject, &*body), ("a  Via: SIP/2.0/UDP evil.example  body", "hi"));
}

/// One waits behind the other, and keeps its subject while it waits.
#[test]
fn a_subject_waits_with_its_message() {
    let mut world = World::new();
    for n in ["one", "two"] {
        world.server_writes(format!(
            "<message from='romeo@xmpp.example/o' to='juliet@sip.example' id='{n}'><subject>{n}</subject>\
             <body>text {n}</body></message>"
        ));
    }
    for n in ["one", "two"] {
        let request = world.take_datagram().expect("a request");
        assert!(request.contains(&format!("\r\nSubject: {n}\r\n")), "{request}");
        assert!(request.ends_with(&format!("\r\n\r\ntext {n}")), "{request}");
        world.proxy_sends(entente_tests::world::response(&request, "200 OK", ""));
    }
    world.assert_quiet();
}
