//! What becomes of each kind of content that an XMPP user sends.

use cpim::{AcceptedBy, Accepts, DomainPattern};
use entente_tests::book;
use entente_tests::world::{World, response};

/// A world whose SIP users are known to take these types.
fn taking(types: &[&str]) -> World {
    World::with(|settings| {
        let accepts = Accepts::new(types).expect("types");
        let accepted = AcceptedBy::new(vec![(DomainPattern::Exactly("sip.example".into()), accepts)]);
        settings.xmpp.foreign = accepted.clone();
        settings.sip.accepted = accepted;
    })
}

/// Writes a stanza and takes the request: its header, its body.
fn sent(world: &mut World, attributes: &str, inside: &str) -> (String, String) {
    world.server_writes(format!(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m' {attributes}>{inside}</message>"
    ));
    let request = world.take_datagram().expect("a request");
    let (head, body) = request.split_once("\r\n\r\n").expect("a header");
    (format!("{head}\r\n"), body.to_owned())
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The header and body of each part. Fails where the closing line is missing.
fn parts(head: &str, body: &str) -> Vec<(String, String)> {
    let boundary = field(head, "Content-Type").and_then(|value| value.split('"').nth(1)).expect("a boundary");
    let all = body.strip_suffix(&format!("\r\n--{boundary}--\r\n")).expect("the end");
    let all = format!("\r\n{all}");
    let line = format!("\r\n--{boundary}\r\n");
    let parts = all.split(&line).skip(1);
    parts
        .map(|part| part.split_once("\r\n\r\n").map(|(head, body)| (head.into(), body.into())).expect("a part"))
        .collect()
}

const FORMATTED: &str = "<body>Hi there</body><html xmlns='http://jabber.org/protocol/xhtml-im'><body \
    xmlns='http://www.w3.org/1999/xhtml'><p style='color:red' onclick='x()'>Hi <strong>there</strong><script>x</script></p>\
    </body></html>";
const HTML: &str = "<p style=\"color:red\">Hi <strong>there</strong></p>";
const LANGUAGES: &str = "<subject>Gruss</subject><subject xml:lang='en'>greeting</subject><body>Hallo</body>\
    <body xml:lang='en'>Hello</body><body xml:lang='fr'>Salut</body>";

const PART: &str = "Content-Disposition: render;handling=optional";

#[test]
fn whom_nobody_knows_gets_plain_text() {
    for inside in [FORMATTED, LANGUAGES] {
        let mut world = taking(&[]);
        let (head, body) = sent(&mut world, "xml:lang='de'", inside);
        assert_eq!(field(&head, "Content-Type"), Some("text/plain;charset=utf-8"), "{head}");
        assert!(["Hi there", "Hallo"].contains(&&*body), "{body}");
    }
}

#[test]
fn a_text_in_several_languages_is_an_alternative_where_it_is_taken() {
    let mut world = taking(&["multipart/alternative"]);
    let (head, body) = sent(&mut world, "xml:lang='de'", LANGUAGES);
    // RFC 5621 section 8.2: the whole is required, of the parts any, all for the same purpose.
    assert_eq!(field(&head, "Content-Disposition"), Some("render;handling=required"));
    assert_eq!((field(&head, "Subject"), field(&head, "Content-Language")), (Some("Gruss"), None));
    let part = |language: &str, text: &str| {
        let head = format!("Content-Type: text/plain;charset=utf-8\r\nContent-Language: {language}\r\n{PART}");
        (head, text.to_owned())
    };
    // The last one is the best (RFC 2046 section 5.1.4): the sender's own language.
    assert_eq!(parts(&head, &body), [part("en", "Hello"), part("fr", "Salut"), part("de", "Hallo")]);
    assert!(!body.contains("Content-Transfer-Encoding"), "RFC 5621 section 3.2: binary");
}

#[test]
fn of_many_languages_a_few_go_with_the_text() {
    let others: String = (1..=8).map(|n| format!("<body xml:lang='x-{n}'>{n}</body>")).collect();
    let mut world = taking(&["multipart/alternative"]);
    let (head, body) = sent(&mut world, "xml:lang='de'", &format!("<body>Hallo</body>{others}"));
    let texts: Vec<_> = parts(&head, &body).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["1", "2", "3", "4", "Hallo"]);
}

#[test]
fn formatted_text_stands_beside_the_plain_one_where_both_are_taken() {
    let mut world = taking(&["multipart/alternative", "text/html"]);
    let (head, body) = sent(&mut world, "", FORMATTED);
    let plain = (format!("Content-Type: text/plain;charset=utf-8\r\n{PART}"), "Hi there".to_owned());
    let html = (format!("Content-Type: text/html;charset=utf-8\r\n{PART}"), HTML.to_owned());
    assert_eq!(parts(&head, &body), [plain, html]);
    // Without a format there is nothing to choose from.
    let (head, body) = sent(&mut taking(&["multipart/alternative", "text/html"]), "", "<body>Hi</body>");
    assert_eq!((field(&head, "Content-Type"), &*body), (Some("text/plain;charset=utf-8"), "Hi"));
    let (head, body) = sent(&mut taking(&["text/html"]), "", FORMATTED);
    assert_eq!((field(&head, "Content-Type"), &*body), (Some("text/html;charset=utf-8"), HTML));
    let (head, _) = sent(&mut taking(&["multipart/alternative"]), "", FORMATTED);
    assert_eq!(field(&head, "Content-Type"), Some("text/plain;charset=utf-8"), "nobody takes HTML");
    // What is formatted says less than the text (XEP-0071 section 8): nobody is kept from the text.
    let mismatched = FORMATTED.replace("<body>Hi there", "<body>Hi there, and farewell");
    let (head, body) = sent(&mut taking(&["multipart/alternative", "text/html"]), "", &mismatched);
    assert_eq!((field(&head, "Content-Type"), &*body), (Some("text/plain;charset=utf-8"), "Hi there, and farewell"));
}

/// Strict readers want the addresses of the request, in brackets and without names, CRLF, no empty line in front, one space
/// behind each colon (the recordings of linphone 5.1.65: docs/src/quirks.md).
#[test]
fn what_is_wrapped_is_what_linphone_takes() {
    let mut world = taking(&["message/cpim"]);
    let inside = "<nick xmlns='http://jabber.org/protocol/nick'>Romeo M.</nick>\
        <subject>Gruss</subject><subject xml:lang='en'>a &lt;greeting&gt;\\</subject><thread>t</thread><body>Hallo</body>";
    let (head, body) = sent(&mut world, "type='chat'", inside);
    assert_eq!(field(&head, "Content-Type"), Some("message/cpim"));
    world = taking(&["message/cpim"]);
    let from = field(&head, "From").and_then(|value| value.rsplit('<').next()?.split('>').next()).expect("a URI");
    let to = head.split(' ').nth(1).expect("a Request-URI");
    let (wrapper, content) = body.split_once("\r\n\r\n").expect("an empty line");
    let mut lines: Vec<_> = wrapper.split("\r\n").collect();
    lines.retain(|line| !line.starts_with("DateTime: "));
    let from = format!("From: <{from}>");
    let to = format!("To: <{to}>");
    assert_eq!(lines, [&*from, &*to, "Subject: Gruss", "Subject:;lang=en a <greeting>\\\\"]);
    assert_eq!(content, "Content-Type: text/plain;charset=utf-8\r\n\r\nHallo");
    assert!(!body.replace("\r\n", "").contains(['\r', '\n']), "{body}");
    cpim::msgfmt::parse(body.as_bytes()).expect("what we write we read");
    let held = "<delay xmlns='urn:xmpp:delay' stamp='2026-11-20T10:00:00.5Z'/><body>Hallo</body>";
    let (_, body) = sent(&mut world, "", held);
    assert!(body.contains("\r\nDateTime: 2026-11-20T10:00:00.5Z\r\n"), "{body}");
}

/// The types that are tried one after the other where each is refused but the last.
fn tried(accepts: &[&str], refusal: &str) -> Vec<String> {
    let mut world = taking(accepts);
    let stanza = FORMATTED.replace("</body><html", "</body><body xml:lang='fr'>Hi là</body><html");
    world.server_writes(format!(
        "<message from='romeo@xmpp.example/o' to='juliet@sip.example' id='m'>{stanza}</message>"
    ));
    let mut types = Vec::new();
    while let Some(request) = world.take_datagram() {
        let (head, body) = request.split_once("\r\n\r\n").expect("a header");
        let kind = field(head, "Content-Type").expect("a type").split(';').next().expect("a type").to_owned();
        assert!(body.contains("Hi "), "{body}");
        let last = kind == "text/plain";
        types.push(kind);
        world.proxy_sends(response(&request, if last { "200 OK" } else { refusal }, ""));
    }
    world.assert_quiet();
    types
}

#[test]
fn who_refuses_a_form_gets_a_plainer_one() {
    let tables = book::tables(&book::page("content.md"));
    let table = tables.iter().find(|table| table.columns[0] == "the domain accepts").expect("the table");
    assert!(table.rows.len() >= 7);
    for row in &table.rows {
        let (accepts, expected) = (book::code(&row[0]), book::code(&row[1]));
        for refusal in ["415 Unsupported Media Type", "488 Not Acceptable Here"] {
            assert_eq!(tried(&accepts, refusal), expected, "{row:?}");
        }
    }
}

/// RFC 7572 section 6: a way that takes 1300 bytes. The format is what is given up first.
#[test]
fn a_form_that_is_too_long_for_the_way_is_followed_by_a_plainer_one() {
    let mut world = World::with(|settings| {
        let accepts = Accepts::new(["multipart/alternative", "text/html"]).expect("types");
        let accepted = AcceptedBy::new(vec![(DomainPattern::Any, accepts)]);
        settings.xmpp.foreign = accepted.clone();
        settings.sip.accepted = accepted;
        for route in &mut settings.sip.routes {
            route.congestion_safe = false;
        }
    });
    let long = "x".repeat(500);
    let inside = FORMATTED.replace("Hi there", &long).replace("Hi <strong>there", &format!("<strong>{long}"));
    let (head, body) = sent(&mut world, "", &inside);
    assert_eq!((field(&head, "Content-Type"), &*body), (Some("text/plain;charset=utf-8"), &*long));
}

fn e2e(entity: &str) -> String {
    let entity = entity.replace("]]>", "]]]]><![CDATA[>");
    format!("<body>secret</body><e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'><![CDATA[{entity}]]></e2e>")
}

#[test]
fn an_entity_is_sent_as_it_is() {
    let signed =
        "--b\nContent-Type: text/plain\n\n<hi> ]]>\n--b\nContent-Type: application/pkcs7-signature\n\nMA==\n--b--\n";
    let (head, body) = sent(
        &mut taking(&[]),
        "",
        &e2e(&format!(
            "Content-Type: multipart/signed;boundary=b;\n micalg=sha-256\nContent-Disposition: render\n\n{signed}"
        )),
    );
    assert_eq!(field(&head, "Content-Type"), Some("multipart/signed;boundary=b; micalg=sha-256"));
    assert_eq!(field(&head, "Content-Disposition"), Some("render"));
    assert_eq!(body, signed.replace('\n', "\r\n"));
    let sealed = "Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\naGVs\nbG8=\n";
    let (head, body) = sent(&mut taking(&[]), "", &e2e(sealed));
    assert_eq!((field(&head, "Content-Type"), &*body), (Some("application/pkcs7-mime"), "hello"));
    assert_eq!(field(&head, "Content-Transfer-Encoding"), None, "RFC 3923 section 6.4: binary");
    let image = "Content-Type: image/svg+xml\n\n<svg/>";
    let (head, body) = sent(&mut taking(&["image/*"]), "", &e2e(image));
    assert_eq!((field(&head, "Content-Type"), &*body), (Some("image/svg+xml"), "<svg/>"));
}

#[test]
fn an_entity_that_cannot_cross_is_refused() {
    for (entity, condition) in [
        ("Content-Type: image/svg+xml\n\n<svg/>", "<not-acceptable "),
        ("Content-Type: message/cpim\n\nX: y\n\nContent-Type: text/plain\n\nhi", "<not-acceptable "),
        ("U2FsdGVkX19okeKTlLxa/1n1FE/upwn1D20GhPWqhDWlexKMUKYJInTWzERP+vcQ", "<bad-request "),
        ("", "<bad-request "),
        ("Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n*", "<bad-request "),
    ] {
        let mut world = taking(&[]);
        let inside = e2e(entity);
        world.server_writes(format!(
            "<message from='romeo@xmpp.example/o' to='juliet@sip.example' id='m'>{inside}</message>"
        ));
        assert_eq!(world.take_datagram(), None, "{entity}");
        let error = world.take_stanza().expect("an error");
        assert!(error.contains(" type='error'>") && error.contains(condition), "{entity}: {error}");
        world.assert_quiet();
    }
    // An echo of it in an error is no message (RFC 3923 section 7).
    let mut world = taking(&[]);
    let echo = e2e("Content-Type: application/pkcs7-mime\n\nx");
    world.server_writes(format!(
        "<message from='romeo@xmpp.example/o' to='juliet@sip.example' id='m' type='error'>{echo}<error type='modify'>\
         <not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    assert_eq!(world.take_datagram(), None);
    world.assert_quiet();
}

#[test]
fn the_table_of_secured_entities_has_a_case_for_each_class() {
    let tables = book::tables(&book::page("content.md"));
    let table = tables.iter().find(|table| table.columns[0] == "entity").expect("the table");
    let classes: Vec<_> = table.rows.iter().map(|row| row[0].as_str()).collect();
    let cases: Vec<_> = CLASSES.iter().map(|(class, ..)| *class).collect();
    assert_eq!(classes, cases);
    for &(class, content_type, body, crosses) in CLASSES {
        let mut world = taking(&["image/*"]);
        let back = there_and_back(&mut world, content_type, body);
        assert_eq!(back.is_some(), crosses, "{class}");
        if let Some((found_type, found)) = back {
            assert_eq!(found_type, content_type, "{class}");
            assert_eq!(sha256(&found), sha256(body), "{class}: the same octets");
        }
    }
}

/// A class, a content type, a body, whether it crosses.
type Class = (&'static str, &'static str, &'static [u8], bool);

const CLASSES: &[Class] = &[
    (
        "`multipart/signed`, `multipart/encrypted`, every line of it ended by CRLF",
        "multipart/signed;boundary=b;protocol=\"application/pgp-signature\"",
        "--b\r\n\r\n<a> ]]>&amp; \u{1f600}\t\r\n\r\n\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n-----\r\n--b--\r\n".as_bytes(),
        true,
    ),
    (
        "the same, otherwise: other line ends, octets that are not UTF-8, characters that XML forbids",
        "multipart/signed;boundary=b",
        b"--b\n\nx\n--b--\n",
        false,
    ),
    (
        "`application/pkcs7-mime`, `application/pgp-encrypted`, `application/pgp`",
        "application/pkcs7-mime;smime-type=signed-data",
        &EVERY_OCTET,
        true,
    ),
    ("a type that `accepts` names, with such lines", "image/svg+xml", b"<svg>\r\n</svg>\r\n", true),
    ("a type that `accepts` names, otherwise", "image/png", &EVERY_OCTET, true),
    ("any other type", "application/zip", b"PK", false),
    ("no type, or no header at all", "", b"x", false),
];

const EVERY_OCTET: [u8; 256] = {
    let mut octets = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        octets[octet] = octet as u8;
        octet += 1;
    }
    octets
};

fn sha256(octets: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(octets).into()
}

/// Sends an entity from SIP to XMPP, and what came there back to SIP. `None` where the first leg refuses it.
fn there_and_back(world: &mut World, content_type: &str, body: &[u8]) -> Option<(String, Vec<u8>)> {
    let domain = DomainPattern::Exactly("xmpp.example".into());
    let settings = entente_tests::world::settings();
    let accepts = Accepts::new(["image/*"]).expect("a type");
    let accepted = AcceptedBy::new(vec![(domain, accepts)]);
    *world = World::with(|new| {
        new.sip.accepted = AcceptedBy::new(vec![(DomainPattern::Any, Accepts::new(["image/*"]).expect("a type"))]);
        new.xmpp.accepted = accepted;
        new.made_at = settings.made_at;
    });
    let line = if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
    let head = format!(
        "MESSAGE sip:romeo@xmpp.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-there\r\n\
         Max-Forwards: 70\r\nFrom: <sip:juliet@sip.example>;tag=j\r\nTo: <sip:romeo@xmpp.example>\r\n\
         Call-ID: there@192.0.2.9\r\nCSeq: 1 MESSAGE\r\n{line}Content-Length: {}\r\n\r\n",
        body.len()
    );
    world.proxy_sends([head.as_bytes(), body].concat());
    let Some(stanza) = world.take_stanza() else {
        assert!(world.take_datagram().expect("an answer").starts_with("SIP/2.0 415 "));
        return None;
    };
    let start = stanza.find("<e2e ").expect("an entity");
    let end = stanza.find("</e2e>").expect("its end") + "</e2e>".len();
    let entity = &stanza[start..end];
    world.server_writes(format!(
        "<message from='romeo@xmpp.example/o' to='juliet@sip.example' id='m'>{entity}</message>"
    ));
    let (_, request) = world.datagrams.pop_front().expect("a request");
    let split = request.windows(4).position(|four| four == b"\r\n\r\n").expect("a header");
    let head = std::str::from_utf8(&request[..split]).expect("UTF-8");
    Some((field(head, "Content-Type").expect("a type").to_owned(), request[split + 4..].to_vec()))
}
