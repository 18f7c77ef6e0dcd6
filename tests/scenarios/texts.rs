//! A text arrives as it was written, in either direction (RFC 7572 sections 7 and 8).

use entente_tests::world::{World, attribute, message, response};

const TEXTS: &[&str] = &[
    "hello",
    "  spaces, front and back  ",
    "\r\nlines\r\n\r\nand empty ones\r\n",
    "<b>no markup</b> & \"quotes\" 'too' ]]> &amp; &#65;",
    "🌹 e\u{301} ü \u{1F469}\u{200D}\u{1F469}\u{200D}\u{1F467} \u{05D0} 漢字",
    "\ttab\t",
];

/// The text of `<body/>`, its references resolved.
fn body(stanza: &str) -> String {
    let start = stanza.find("<body>").expect("a body") + 6;
    let end = stanza.find("</body>").expect("its end");
    let text = &stanza[start..end];
    assert!(!text.contains('<'), "markup is escaped: {stanza}");
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#13;", "\r")
        .replace("&#xD;", "\r")
        .replace("&amp;", "&")
}

#[test]
fn from_sip_to_xmpp() {
    let mut world = World::new();
    for (n, text) in TEXTS.iter().enumerate() {
        world.proxy_sends(message(n as u32, "romeo@xmpp.example", text));
        let stanzas = world.take_stanzas();
        let stanza = stanzas.iter().find(|stanza| stanza.starts_with("<message")).expect("the message");
        assert_eq!(body(stanza), *text, "{stanza}");
        assert_eq!(attribute(stanza, "type"), None, "page mode: {stanza}");
    }
}

#[test]
fn from_xmpp_to_sip() {
    let mut world = World::new();
    for text in TEXTS {
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#13;");
        world.server_writes(format!(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example'><body>{escaped}</body></message>"
        ));
        let request = world.take_datagram().expect("the request");
        let (head, body) = request.split_once("\r\n\r\n").expect("a body");
        assert_eq!(body, *text);
        assert!(head.contains(&format!("\r\nContent-Length: {}", text.len())), "octets: {head}");
        world.proxy_sends(response(&request, "200 OK", ""));
    }
    world.assert_quiet();
}
