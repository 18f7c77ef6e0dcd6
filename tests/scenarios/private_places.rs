//! Where a SIP user's devices are is not for XMPP users to know (RFC 6120 section 13.10.1).

use cpim::{DomainPattern, Presentation, Presentations, Rule};
use entente_tests::world::{World, response};

/// The network of the device, which no stanza may name.
const PLACE: &str = "198.51.100.";

/// A SIP request as it comes through a proxy, with the place of the device wherever SIP has one.
fn request(n: u32, method: &str) -> String {
    format!(
        "{method} sip:romeo@xmpp.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-{n}\r\n\
         Via: SIP/2.0/UDP {PLACE}7:5062;branch=z9hG4bK-d{n};received={PLACE}8;rport=40000\r\n\
         Record-Route: <sip:{PLACE}9;lr>\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:juliet@sip.example>;tag=j{n}\r\n\
         To: <sip:romeo@xmpp.example>\r\n\
         Call-ID: call-{n}@{PLACE}7\r\n\
         CSeq: 1 {method}\r\n\
         Contact: <sip:juliet@{PLACE}7:5062;transport=tcp>;+sip.instance=\"<urn:uuid:1>\"\r\n\
         Content-Type: text/plain\r\n\
         Content-Length: 5\r\n\r\nhello"
    )
}

#[test]
fn a_message_does_not_say_where_it_was_written() {
    let mut world = World::new();
    world.proxy_sends(request(1, "MESSAGE"));
    let stanza = world.take_stanza().expect("a message");
    assert!(stanza.contains("<body>hello</body>") && stanza.contains("from='juliet@sip.example'"), "{stanza}");
    assert!(!stanza.contains(PLACE), "{stanza}");
}

#[test]
fn an_error_does_not_say_where_it_arose() {
    // The second rule could show the users of any domain, an IP address included.
    for (home, shown_as, rule, juliet) in [
        (DomainPattern::Exactly("sip.example".into()), "", Rule::Same, "juliet@sip.example"),
        (DomainPattern::Any, "sip.example", Rule::Encode, r"juliet\40sip.example@sip.example"),
    ] {
        let mut world = World::with(|settings| {
            let row = Presentation { home, shown_as: shown_as.into(), rule };
            settings.xmpp.presentations = Presentations::new(vec![row]);
        });
        for (n, status) in [301, 302, 305, 404, 480, 486, 503].into_iter().enumerate() {
            world.server_writes(format!(
                "<message from='romeo@xmpp.example/o' to='{juliet}' id='m{n}'><body>hello</body></message>"
            ));
            let request = world.take_datagram().expect("a request");
            let more = format!(
                "Contact: <sip:juliet@{PLACE}7:5062>\r\nWarning: 399 {PLACE}9 \"lost at {PLACE}7\"\r\n\
                 Server: {PLACE}7\r\n"
            );
            world.proxy_sends(response(&request, &format!("{status} Words"), &more));
            let error = world.take_stanza().expect("an error");
            assert!(!error.contains(PLACE), "{status}: {error}");
            if status < 400 {
                assert!(error.contains("<recipient-unavailable "), "{status}: {error}");
            }
        }
        world.assert_quiet();
    }
}
