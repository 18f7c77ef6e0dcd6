//! Stanzas as RFC 6120 section 8 and RFC 6121 section 5 want them read, answered and left alone.

use entente_tests::world::{World, attribute, response};

const ORCHARD: &str = "romeo@xmpp.example/orchard";

/// Writes one stanza and gives what the gateway says to it at once.
fn answers(world: &mut World, stanza: &str) -> Vec<String> {
    world.server_writes(stanza);
    world.take_stanzas()
}

fn refused(kind: &str, from: &str, id: &str, error: &str, condition: &str) -> String {
    let id = if id.is_empty() { String::new() } else { format!(" id='{id}'") };
    format!(
        "<{kind} from='{from}' to='{ORCHARD}'{id} type='error'><error type='{error}'>\
         <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></{kind}>"
    )
}

#[test]
fn an_iq_that_is_none_is_a_bad_request() {
    let mut world = World::new();
    for (attributes, payload) in [
        ("", "<ping xmlns='urn:xmpp:ping'/>"),
        ("type='fetch'", "<ping xmlns='urn:xmpp:ping'/>"),
        ("type='get'", ""),
        ("type='set'", ""),
        ("type='get'", "<ping xmlns='urn:xmpp:ping'/><query xmlns='jabber:iq:version'/>"),
    ] {
        let iq = format!("<iq from='{ORCHARD}' to='sip.example' id='q' {attributes}>{payload}</iq>");
        assert_eq!(answers(&mut world, &iq), [refused("iq", "sip.example", "q", "modify", "bad-request")], "{iq}");
    }
    world.assert_quiet();
}

#[test]
fn an_iq_that_nobody_knows_is_answered_wherever_it_goes() {
    let mut world = World::new();
    for (to, payload, from) in [
        ("sip.example", "<unknown xmlns='urn:x'/>", "sip.example"),
        ("sip.example/resource", "<unknown xmlns='urn:x'/>", "sip.example/resource"),
        ("juliet@sip.example", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "juliet@sip.example"),
        ("juliet@sip.example/phone", "<query xmlns='jabber:iq:version'/>", "juliet@sip.example/phone"),
    ] {
        let iq = format!("<iq from='{ORCHARD}' to='{to}' id='q' type='get'>{payload}</iq>");
        assert_eq!(answers(&mut world, &iq), [refused("iq", from, "q", "cancel", "service-unavailable")], "{iq}");
    }
    let ping = format!("<iq from='{ORCHARD}' to='sip.example/x' id='p' type='get'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!(answers(&mut world, &ping), [format!("<iq from='sip.example/x' to='{ORCHARD}' id='p' type='result'/>")]);
    let message = format!("<message from='{ORCHARD}' to='sip.example/x' id='m'><body>hello</body></message>");
    let expected = refused("message", "sip.example/x", "m", "cancel", "service-unavailable");
    assert_eq!(answers(&mut world, &message), [expected]);
    assert_eq!(world.take_datagram(), None);
    world.assert_quiet();
}

/// XEP-0092 section 5: not more than the name.
#[test]
fn neither_the_exact_version_nor_the_system_is_told() {
    let mut world = World::new();
    let iq = format!("<iq from='{ORCHARD}' to='sip.example' id='v' type='get'><query xmlns='jabber:iq:version'/></iq>");
    let answer = answers(&mut world, &iq).concat();
    assert!(answer.contains("<version>0</version></query>") && !answer.contains("<os>"), "{answer}");
}

#[test]
fn what_is_malformed_or_elsewhere_reaches_nobody() {
    let mut world = World::new();
    for to in
        ["a b@sip.example", "@sip.example", "juliet@sip.example/", "\u{2654}@sip.example", "&quot;x&quot;@sip.example"]
    {
        let message = format!("<message from='{ORCHARD}' to='{to}' id='m'><body>hello</body></message>");
        let answer = answers(&mut world, &message).concat();
        assert!(answer.contains("<error type='modify'><jid-malformed "), "{to}: {answer}");
    }
    for from in ["a b@xmpp.example", "@xmpp.example/x", "romeo@xmpp.example/"] {
        let message = format!("<message from='{from}' to='juliet@sip.example' id='m'><body>hello</body></message>");
        let answer = answers(&mut world, &message).concat();
        assert!(answer.contains("<error type='modify'><jid-malformed "), "{from}: {answer}");
    }
    for to in ["juliet@other.example", "other.example", "juliet@sip.example.evil", "sip.example@other.example"] {
        let message = format!("<message from='{ORCHARD}' to='{to}' id='m'><body>hello</body></message>");
        assert!(answers(&mut world, &message).is_empty(), "nothing leaves in the name of {to}");
        let iq = format!("<iq from='{ORCHARD}' to='{to}' id='q' type='get'><ping xmlns='urn:xmpp:ping'/></iq>");
        assert!(answers(&mut world, &iq).is_empty(), "nothing leaves in the name of {to}");
    }
    assert_eq!(world.take_datagram(), None);
    assert_eq!(world.engine.counters().xmpp.misaddressed, 8);
    world.assert_quiet();
}

#[test]
fn what_is_known_of_a_message_crosses_and_the_rest_is_left() {
    let mut world = World::new();
    for (n, (attributes, inside)) in [
        ("type='chat'", "<body>hello</body><x xmlns='urn:x'><body>inner</body></x><thread>t</thread>"),
        ("type='normal'", "<x xmlns='urn:x'/><body>hello</body>"),
        ("type='whatever' other='1'", "<query/><body>hello</body>"),
        ("", "<q:body xmlns:q='jabber:component:accept'>hello</q:body><body xmlns='urn:x'>not this</body>"),
    ]
    .iter()
    .enumerate()
    {
        let stanza =
            format!("<message from='{ORCHARD}' to='juliet@sip.example' id='m{n}' {attributes}>{inside}</message>");
        assert!(answers(&mut world, &stanza).is_empty());
        let request = world.take_datagram().unwrap_or_else(|| panic!("a request for {stanza}"));
        assert!(request.ends_with("\r\n\r\nhello"), "{request}");
        world.proxy_sends(response(&request, "202 Accepted", ""));
    }
    for nothing in ["<x xmlns='urn:x'/>", "<body xmlns='urn:x'>not this</body>", "", "<subject> </subject>"] {
        let stanza = format!("<message from='{ORCHARD}' to='juliet@sip.example' id='n'>{nothing}</message>");
        assert!(answers(&mut world, &stanza).is_empty(), "{nothing}");
        assert_eq!(world.take_datagram(), None, "{nothing}");
    }
    assert_eq!(world.engine.counters().xmpp.without_body, 4);
    world.assert_quiet();
}

#[test]
fn an_error_has_the_id_of_what_failed_or_none() {
    let mut world = World::new();
    for id in ["", " id=''", " id='a&lt;b&apos;'"] {
        world.server_writes(format!("<message from='{ORCHARD}' to='juliet@sip.example'{id}><body>x</body></message>"));
        let request = world.take_datagram().expect("a request");
        world.proxy_sends(response(&request, "403 Forbidden", ""));
        let error = world.take_stanza().expect("an error");
        assert!(error.contains("<error type='auth'><forbidden "), "{error}");
        assert_eq!(attribute(&error, "id"), id.contains("a&").then_some("a&lt;b&apos;"), "{error}");
        assert!(!error.contains("<body"), "the payload is not repeated: {error}");
    }
    world.assert_quiet();
}

/// RFC 6120 section 8.3.3.21: it says nothing without an application's own condition, of which we have none.
#[test]
fn no_status_becomes_undefined_condition() {
    let mut world = World::new();
    for status in 300..700 {
        world.server_writes(format!(
            "<message from='{ORCHARD}' to='juliet@sip.example' id='m'><body>x</body></message>"
        ));
        let request = world.take_datagram().expect("a request");
        world.proxy_sends(response(&request, &format!("{status} Words"), ""));
        let error = world.take_stanza().unwrap_or_else(|| panic!("an error for {status}"));
        assert!(!error.contains("undefined-condition"), "{status}: {error}");
    }
}

/// XEP-0131: what is registered for another protocol does not go there by its name.
#[test]
fn headers_of_a_stanza_make_no_headers_of_a_request() {
    let mut world = World::new();
    for (n, (header, hops)) in [
        ("<header name='Max-Forwards'>20</header>", "19"),
        ("<header name='max-forwards'> 20 </header>", "19"),
        ("<header name='Route'>&lt;sip:evil.example></header><header name='Max-Forwards'>20</header>", "19"),
        ("<header name='Via'>SIP/2.0/UDP evil.example</header><header name='From'>sip:x@evil.example</header>", "69"),
        ("<header name='Subject'>a&#13;&#10;Route: &lt;sip:evil.example></header>", "69"),
        ("<header name='Max-Forwards'>255</header>", "69"),
        ("<header name='Max-Forwards'>300</header>", "69"),
        ("<header name='Max-Forwards'>-1</header>", "69"),
        ("<header name='Max-Forwards'>many</header>", "69"),
        ("<header name='Max-Forwards'>4294967296</header>", "69"),
        ("<header name='Max-Forwards'/>", "69"),
    ]
    .iter()
    .enumerate()
    {
        world.server_writes(format!(
            "<message from='{ORCHARD}' to='juliet@sip.example' id='m{n}'><headers xmlns='http://jabber.org/protocol/shim'>\
             {header}</headers><body>x</body></message>"
        ));
        let request = world.take_datagram().expect("a request");
        assert!(request.contains(&format!("\r\nMax-Forwards: {hops}\r\n")), "{header}: {request}");
        assert!(!request.contains("evil.example") && !request.contains("Route"), "{header}: {request}");
        world.proxy_sends(response(&request, "202 Accepted", ""));
    }
    world.assert_quiet();
}
