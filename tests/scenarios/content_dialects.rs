//! Contents as clients in use were recorded to send and to refuse them, with the names of this world.

use cpim::{AcceptedBy, Accepts, DomainPattern};
use entente_tests::world::{World, response, status};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::Write as _;

/// A MESSAGE of linphone 5.1.65, whose header lines stand in this order. It deflates what it pleases.
fn linphone(n: usize, deflated: bool, kind: &str, more: &str, body: &str) -> Vec<u8> {
    let mut octets = body.replace('\n', "\r\n").into_bytes();
    let mut coding = "";
    if deflated {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&octets).expect("all is taken");
        octets = encoder.finish().expect("all is taken");
        assert!(octets.starts_with(&[0x78, 0x9c]), "as recorded");
        coding = "Content-Encoding: deflate\r\n";
    }
    let head = format!(
        "MESSAGE sip:romeo@xmpp.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK.9k-hSAg{n};rport\r\n\
         From: <sip:juliet@sip.example>;tag=SCVwsyFt{n}\r\nTo: sip:romeo@xmpp.example\r\nCSeq: 21 MESSAGE\r\n\
         Call-ID: O5EF~0GZL{n}\r\nMax-Forwards: 70\r\nSupported: replaces, outbound, gruu\r\n\
         Date: Fri, 20 Nov 2026 18:59:37 GMT\r\n{coding}Content-Type: {kind}\r\nContent-Length: {}\r\n{more}\
         User-Agent: Unknown\r\n\r\n",
        octets.len()
    );
    [head.as_bytes(), &octets].concat()
}

const TEXT: &str = "From: <sip:juliet@sip.example>\nTo: <sip:romeo@xmpp.example>\nDateTime: 2026-11-20T18:59:37Z\n\
    NS: imdn <urn:ietf:params:imdn>\nimdn.Message-ID: w1A3c~o9DyZX\n\
    imdn.Disposition-Notification: positive-delivery, negative-delivery, display\n\n\
    Content-Type: text/plain\nContent-Length: 22\n\nhi\nfrom cpim mode \u{1f600}\n";
const TYPING: &str = "From: <sip:juliet@sip.example>\nTo: <sip:romeo@xmpp.example>\nDateTime: 2026-11-20T18:59:41Z\n\n\
    Content-Type: application/im-iscomposing+xml\nContent-Length: 170\n\n\
    <?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\" ?><isComposing \
    xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state><refresh>60</refresh></isComposing>";
const DISPLAYED: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\" ?><imdn \
    xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>w1A3c~o9DyZX</message-id><datetime>2026-11-20T18:14:37Z</datetime>\
    <display-notification><status><displayed/></status></display-notification></imdn>";

/// A conversation in its CPIM mode: a text, deflated or not, is a text; what is no text is refused and never shown raw.
#[test]
fn linphone_in_cpim_mode() {
    let mut world = World::new();
    let urgent = "Priority: non-urgent\r\n";
    let fleeting = "Priority: non-urgent\r\nExpires: 0\r\n";
    for (n, deflated) in [(1, false), (2, true)] {
        world.proxy_sends(linphone(n, deflated, "message/cpim", "", TEXT));
        let stanza =
            std::iter::from_fn(|| world.take_stanza()).find(|stanza| stanza.starts_with("<message ")).expect("a text");
        assert!(stanza.contains("<body>hi&#13;\nfrom cpim mode \u{1f600}&#13;\n</body>"), "{stanza}");
        assert!(!stanza.contains("imdn") && !stanza.contains("DateTime"), "{stanza}");
    }
    for (n, kind, more, body) in [(3, "message/imdn+xml", urgent, DISPLAYED), (4, "message/cpim", fleeting, TYPING)] {
        for deflated in [false, true] {
            let mut world = World::new();
            world.proxy_sends(linphone(n, deflated, kind, more, body));
            let answer = world.take_datagram();
            assert_eq!(world.take_stanza(), None, "{kind}");
            assert_eq!(answer.as_deref().and_then(status), Some(415), "{kind} {deflated}: {answer:?}");
        }
    }
}

/// What its parser for message/cpim was seen to answer with 488.
fn linphone_takes(request: &str) -> Result<(), &'static str> {
    let (head, body) = request.split_once("\r\n\r\n").ok_or("no header")?;
    let (wrapper, content) = body.split_once("\r\n\r\n").ok_or("no empty line")?;
    let headers = content.split("\r\n\r\n").next().unwrap_or_default();
    if [wrapper, headers].iter().any(|lines| lines.replace("\r\n", "").contains(['\r', '\n'])) {
        return Err("LF line ends");
    }
    if wrapper.is_empty() {
        return Err("a leading blank line");
    }
    let value = |text: &str, name: &str| {
        text.split("\r\n").find_map(|line| line.strip_prefix(name)).map(|value| value.trim_start().to_owned())
    };
    let of = |name| value(wrapper, name).ok_or("missing From/To");
    let sip_from = value(head, "From:").ok_or("no From")?;
    let sip_uri = sip_from.rsplit('<').next().and_then(|uri| uri.split('>').next()).ok_or("no URI")?;
    for (name, value) in [("From", of("From: ")?), ("To", of("To: ")?)] {
        let uri = value.strip_prefix('<').and_then(|uri| uri.strip_suffix('>')).ok_or("a display name")?;
        if !uri.starts_with("sip:") {
            return Err("im: URIs");
        }
        if name == "From" && uri != sip_uri {
            return Err("a CPIM From unlike the SIP From");
        }
    }
    if wrapper.split("\r\n").any(|line| line.strip_prefix("NS: ").is_some_and(|ns| !ns.contains(" <"))) {
        return Err("NS without a space");
    }
    if !content.starts_with("Content-Type: ") {
        return Err("Content-type");
    }
    if value(wrapper, "DateTime: ").is_some_and(|date| !date.starts_with("2026-11")) {
        return Err("a DateTime months in the past");
    }
    Ok(())
}

fn taking(types: &[&str]) -> World {
    World::with(|settings| {
        let accepts = Accepts::new(types).expect("types");
        settings.sip.accepted = AcceptedBy::new(vec![(DomainPattern::Any, accepts)]);
    })
}

#[test]
fn linphone_takes_what_we_wrap() {
    for inside in [
        "<body>hi</body>",
        "<body>two\nlines &amp; \u{1f600}</body>",
        "<subject>a \"subject\" \\ &lt;x&gt;\nof two lines </subject><body>hi</body>",
        "<subject xml:lang='de'>Gruss</subject><body xml:lang='de'>Hallo</body><body xml:lang='en'>Hello</body>",
        "<nick xmlns='http://jabber.org/protocol/nick'>\"Romeo\" &lt;M&gt;</nick><thread>t&amp;1</thread><body>hi</body>",
        "<delay xmlns='urn:xmpp:delay' stamp='2026-11-20T10:00:00Z'/><body>hi</body>",
    ] {
        for from in ["romeo@xmpp.example/orchard", "r\u{f6}meo@xmpp.example/a b", "o\\27mara@xmpp.example"] {
            let mut world = taking(&["message/cpim"]);
            world.server_writes(format!("<message from='{from}' to='juliet@sip.example' id='m'>{inside}</message>"));
            let request = world.take_datagram().expect("a request");
            assert!(request.contains("\r\nContent-Type: message/cpim\r\n"), "{request}");
            assert_eq!(linphone_takes(&request), Ok(()), "{request}");
        }
    }
}

/// A DateTime of long ago is what it refuses with 488; the text goes plain then.
#[test]
fn linphone_gets_an_old_text_plain() {
    let mut world = taking(&["message/cpim"]);
    world.server_writes(
        "<message from='romeo@xmpp.example/o' to='juliet@sip.example' id='m'><body>old</body>\
         <delay xmlns='urn:xmpp:delay' stamp='2026-03-01T10:00:00Z'/></message>",
    );
    let request = world.take_datagram().expect("a request");
    assert_eq!(linphone_takes(&request), Err("a DateTime months in the past"), "{request}");
    world.proxy_sends(response(&request, "488 Not acceptable here", ""));
    let plain = world.take_datagram().expect("another form");
    assert!(plain.contains("\r\nContent-Type: text/plain;charset=utf-8\r\n"), "{plain}");
    assert!(plain.ends_with("\r\n\r\nold"), "{plain}");
    world.proxy_sends(response(&plain, "200 OK", ""));
    world.assert_quiet();
}

/// finch shows text/plain as HTML, so that `<b>` disappears for its user. What is sent is what was written all the same: nobody
/// else would undo an escape.
#[test]
fn finch_gets_what_was_written() {
    let mut world = taking(&[]);
    world.server_writes(
        "<message from='romeo@xmpp.example/o' to='juliet@sip.example' id='m'><body>&lt;b&gt;bold&lt;/b&gt; &amp;amp;</body></message>",
    );
    assert!(world.take_datagram().expect("a request").ends_with("\r\n\r\n<b>bold</b> &amp;"));
}
