//! What the log shows of people: never what they write, their passwords or the secrets of the gateway; their addresses only
//! at the level trace, and not where `redact_addresses` is set.

use entente_tests::log::Log;
use entente_tests::world::{SECRET, World, attribute, message, response};
use std::time::Duration;
use tracing::Level;

/// Parts of addresses of the people of this file.
const PEOPLE: [&str; 7] = ["juliet", "romeo", "mercutio", "tybalt", "balcony", "orchard", "nurse"];
/// What they write, and what they would not want to be known.
const WORDS: [&str; 7] =
    ["wherefore", "tonight's the night", "The Girl Next Door", "hunter2", "honey", "so they say", SECRET];

/// Everything that can happen to a message, and some things that happen to none.
fn a_day(redact: bool) -> Log {
    let log = Log::up_to(Level::TRACE);
    log.during(|| {
        let mut world = World::with(|settings| {
            settings.redact_addresses = redact;
            settings.sip.queue_per_destination = 1;
            settings.xmpp.ask_receipts = true;
        });
        from_sip(&mut world);
        from_xmpp(&mut world);
        over_tcp(&mut world);
        links(&mut world);
        world.advance(Duration::from_secs(60));
        world.engine.drain();
        world.proxy_sends(message(90, "romeo@xmpp.example", "wherefore"));
        world.turn();
    });
    log
}

fn text(n: u32) -> String {
    message(n, "romeo@xmpp.example", "wherefore").replace(
        "From: <sip:juliet@sip.example>",
        "Subject: tonight's the night\r\nFrom: \"The Girl Next Door\" <sip:juliet:hunter2@sip.example;gr=balcony>",
    )
}

fn bounce(id: &str, condition: &str) -> String {
    format!(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='{id}' type='error'><body>wherefore</body>\
         <error type='cancel' by='mercutio@xmpp.example'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>so they say: ask mercutio@xmpp.example</text></error></message>"
    )
}

fn from_sip(world: &mut World) {
    let mut ids = Vec::new();
    for n in 1..=4 {
        world.proxy_sends(text(n));
        let written: Vec<String> = world.take_stanzas();
        let stanza = written.iter().find(|stanza| stanza.starts_with("<message")).expect("a message");
        ids.push(attribute(stanza, "id").expect("an id").to_owned());
        for ping in written.iter().filter(|stanza| stanza.starts_with("<iq")) {
            world.server_writes(ping);
        }
    }
    world.server_writes(bounce(&ids[0], "item-not-found"));
    world.server_writes(bounce(&ids[1], "gone"));
    world.server_writes(format!(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example'><received xmlns='urn:xmpp:receipts' id='{}'/>\
         </message>",
        ids[2]
    ));
    world.advance(Duration::from_secs(3));
    world.server_writes(bounce(&ids[3], "service-unavailable"));
    world.server_writes(bounce("nobody-wrote-this-to-mercutio", "conflict"));
    world.sends_from("198.51.100.7:5060".parse().expect("an address"), text(5));
    for (n, (here, there)) in [
        ("sip:romeo@xmpp.example SIP/2.0", "sip:romeo@elsewhere.example SIP/2.0"),
        ("sip:romeo@xmpp.example SIP/2.0", "sip:rom\u{1}eo@xmpp.example SIP/2.0"),
        ("juliet:hunter2@sip.example", "juliet@@sip.example"),
        ("juliet:hunter2@sip.example", "tybalt@xmpp.example"),
        ("Content-Length", "Content-Type: text/nurse\r\nContent-Length"),
        ("CSeq: 1 MESSAGE\r\n", ""),
        ("Max-Forwards: 70", "Max-Forwards: 0"),
        ("Max-Forwards: 70", "Require: nurse"),
        ("MESSAGE", "NURSE"),
        ("text/plain", "text/plain;charset=mercutio"),
    ]
    .into_iter()
    .enumerate()
    {
        world.proxy_sends(text(20 + n as u32).replace(here, there));
    }
    world.proxy_sends("wherefore art thou romeo?\r\n\r\n");
    world.proxy_sends(response(&text(40), "200 OK", ""));
    world.return_pings();
    // The text that tells of the late failure is answered by nobody.
    world.advance(Duration::from_secs(40));
    world.datagrams.clear();
}

fn from_xmpp(world: &mut World) {
    let stanza = |n: u32, to: &str| {
        format!(
            "<message from='romeo@xmpp.example/orchard' to='{to}' id='honey-{n}'><subject>tonight's the night</subject>\
             <body>wherefore</body><nick xmlns='http://jabber.org/protocol/nick'>The Girl Next Door</nick></message>"
        )
    };
    for (n, answer) in ["200 so they say", "404 ask tybalt", "302 Moved", "486 nurse"].into_iter().enumerate() {
        world.server_writes(stanza(n as u32, "juliet@sip.example/balcony"));
        let request = world.take_datagram().unwrap_or_else(|| panic!("a request before {answer}"));
        world.proxy_sends(response(&request, answer, "Contact: <sip:tybalt@sip.example>\r\n"));
    }
    for n in 0..4 {
        world.server_writes(stanza(n, "juliet@sip.example"));
    }
    world.server_writes(stanza(8, "juliet@elsewhere.example"));
    world.server_writes(stanza(9, "ju\u{301}@sip.example"));
    world.server_writes(stanza(10, "nurse@sip.example").replace("from='romeo@", "from='@"));
    world.server_writes(
        "<iq from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='honey' type='get'><vCard \
         xmlns='vcard-temp'/></iq><presence from='romeo@xmpp.example' to='juliet@sip.example' type='subscribe'/>",
    );
    // Nobody answers what is open now.
    world.advance(Duration::from_secs(40));
    world.take_stanzas();
    world.datagrams.clear();
}

fn over_tcp(world: &mut World) {
    let stream = world.sip_connects("192.0.2.9:40000".parse().expect("an address"));
    world.sip_writes(stream, text(60).replace("SIP/2.0/UDP", "SIP/2.0/TCP"));
    world.sip_writes(stream, "wherefore art thou\r\nromeo\r\n\r\n");
    world.return_pings();
    let stream = world.sip_connects("192.0.2.9:40001".parse().expect("an address"));
    world.sip_writes(stream, &text(61)[..200]);
    world.advance(Duration::from_secs(30));
}

fn reconnect(world: &mut World) {
    while world.carry_out_close().is_some() {}
    for _ in 0..40 {
        if world.connects.is_empty() {
            world.advance(Duration::from_secs(1));
        }
    }
    world.accept_component();
}

fn links(world: &mut World) {
    world.proxy_sends(text(70));
    world.server_writes(
        "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text \
         xmlns='urn:ietf:params:xml:ns:xmpp-streams'>so they say: nurse@xmpp.example</text></stream:error></stream:stream>",
    );
    world.proxy_sends(text(71));
    reconnect(world);
    world.server_writes(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example'><body>wherefore</boddy></message>",
    );
    reconnect(world);
    world.server_writes("<message from='romeo@xmpp.example/orchard' to='juliet@sip.example'><body>wherefore");
    world.break_stream();
}

#[test]
fn with_redaction_no_line_names_a_user() {
    let log = a_day(true).text();
    // It was a full day.
    for line in
        ["component stream down", "component stream up", "concluded", "bounced after it was answered", "redacted"]
    {
        assert!(log.contains(line), "{line} in\n{log}");
    }
    for told in PEOPLE.iter().chain(&WORDS) {
        let line = log.lines().find(|line| line.contains(told));
        assert_eq!(line, None, "{told} is told");
    }
}

#[test]
fn without_redaction_addresses_stand_at_the_level_trace_and_what_is_written_nowhere() {
    let log = a_day(false).text();
    assert!(
        log.lines().any(|line| line.starts_with("TRACE") && line.contains("juliet") && line.contains("romeo")),
        "{log}"
    );
    for line in log.lines().filter(|line| !line.starts_with("TRACE") && !line.contains("component stream down")) {
        assert!(PEOPLE.iter().all(|name| !line.contains(name)), "{line}");
    }
    for told in WORDS {
        let line = log.lines().find(|line| line.contains(told) && !line.contains("component stream down"));
        assert_eq!(line, None, "{told} is told");
    }
}
