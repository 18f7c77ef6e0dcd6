//! Who is answered where: threads, chats that go on, devices (RFC 6121 section 5.1, RFC 7572 notes of tables 1 and 2,
//! docs/src/decisions/threads.md and devices.md).

use entente_tests::world::{World, attribute, header, message, response};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A stanza of romeo at a device, and the request that it becomes.
fn writes(world: &mut World, resource: &str, kind: &str, inside: &str) -> String {
    writes_to(world, resource, "juliet@sip.example", kind, inside)
}

fn writes_to(world: &mut World, resource: &str, to: &str, kind: &str, inside: &str) -> String {
    world.server_writes(format!(
        "<message from='romeo@xmpp.example/{resource}' to='{to}' type='{kind}' id='m'><body>hello</body>{inside}</message>"
    ));
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(response(&request, "202 Accepted", ""));
    request
}

/// A MESSAGE of juliet with another Call-ID, and the stanza that it becomes.
fn answers(world: &mut World, n: u32, call_id: Option<&str>) -> String {
    let mut request = message(n, "romeo@xmpp.example", "hi");
    if let Some(call_id) = call_id {
        request = request.replace(&format!("call-{n}@192.0.2.9"), call_id);
    }
    world.proxy_sends(request);
    world.take_message().expect("a message")
}

fn thread(stanza: &str) -> Option<&str> {
    assert!(stanza.matches("<thread").count() <= 1, "never more than one: {stanza}");
    stanza.split("<thread>").nth(1)?.split("</thread>").next()
}

fn presence(world: &mut World, resource: &str, kind: &str) {
    world.server_writes(format!("<presence from='romeo@xmpp.example/{resource}' to='juliet@sip.example' {kind}/>"));
}

#[test]
fn a_thread_comes_back_with_the_call_id_that_carried_it() {
    let mut world = World::new();
    for (n, (written, opaque)) in [
        ("e0ffe42b28561960c6b12b944a092794b9683a38", "e0ffe42b28561960c6b12b944a092794b9683a38"),
        ("A &amp; B &lt;c@d&gt; \u{e9}", "A &amp; B &lt;c@d&gt; \u{e9}"),
        ("%41", "%41"),
        (" space ", " space "),
    ]
    .into_iter()
    .enumerate()
    {
        let sent = writes(&mut world, "orchard", "normal", &format!("<thread parent='p'>{written}</thread>"));
        let again = writes(&mut world, "orchard", "normal", &format!("<thread>{written}</thread>"));
        let [one, two] = [&sent, &again].map(|request| header(request, "Call-ID").expect("a Call-ID"));
        assert_ne!(one, two, "no two messages share one");
        for (m, call_id) in [one, two].into_iter().enumerate() {
            let answer = answers(&mut world, (2 * n + m) as u32, Some(call_id));
            assert_eq!(thread(&answer), Some(opaque), "{call_id}");
            assert!(!answer.contains("parent"), "{answer}");
        }
    }
}

#[test]
fn a_message_without_a_thread_leads_to_none() {
    let mut world = World::new();
    let sent = writes(&mut world, "orchard", "normal", "");
    let answer = answers(&mut world, 1, header(&sent, "Call-ID"));
    assert_eq!(thread(&answer), None, "{answer}");
}

#[test]
fn a_thread_that_would_fill_the_request_is_left_out() {
    let mut world = World::new();
    let sent = writes(&mut world, "orchard", "normal", &format!("<thread>{}</thread>", "x".repeat(60_000)));
    assert!(header(&sent, "Call-ID").expect("a Call-ID").len() < 60, "{sent}");
}

/// Some clients make the same Call-IDs after every start: what they name is a conversation of two people at most, and never a
/// message (finch, docs/src/quirks.md).
#[test]
fn a_call_id_is_no_name_of_a_message() {
    let mut world = World::new();
    let first = answers(&mut world, 1, Some("finch@192.0.2.77"));
    let again = answers(&mut world, 2, Some("finch@192.0.2.77"));
    assert_ne!(attribute(&first, "id"), attribute(&again, "id"));
    assert_eq!(thread(&first), thread(&again), "one conversation");
    world.proxy_sends(message(3, "benvolio@xmpp.example", "hi").replace("call-3@192.0.2.9", "finch@192.0.2.77"));
    let other = world.take_message().expect("a message");
    assert_ne!(thread(&first), thread(&other), "another recipient, another conversation");
    for stanza in [&first, &again, &other] {
        assert!(!stanza.contains("finch") && !stanza.contains("192.0.2.77"), "it tells where somebody is: {stanza}");
    }
}

#[test]
fn what_continues_no_chat_is_normal_and_for_every_device() {
    let mut world = World::new();
    let first = answers(&mut world, 1, None);
    assert_eq!((attribute(&first, "type"), attribute(&first, "to")), (None, Some("romeo@xmpp.example")));
    // Nor does what answers a message of its own: a server drops what is normal and for a device that is gone.
    writes(&mut world, "orchard", "normal", "");
    let answer = answers(&mut world, 2, None);
    assert_eq!((attribute(&answer, "type"), attribute(&answer, "to")), (None, Some("romeo@xmpp.example")));
}

#[test]
fn a_chat_goes_on_with_the_device_that_wrote_last() {
    let mut world = World::new();
    writes(&mut world, "orchard", "chat", "<thread>t1</thread>");
    let answer = answers(&mut world, 1, None);
    assert_eq!(attribute(&answer, "type"), Some("chat"), "{answer}");
    assert_eq!(attribute(&answer, "to"), Some("romeo@xmpp.example/orchard"), "{answer}");
    assert_eq!(thread(&answer), Some("t1"), "{answer}");
    // Another device takes over, with a thread of its own or none.
    writes(&mut world, "balcony", "chat", "");
    let answer = answers(&mut world, 2, None);
    assert_eq!(attribute(&answer, "to"), Some("romeo@xmpp.example/balcony"), "{answer}");
    assert_eq!((attribute(&answer, "type"), thread(&answer)), (Some("chat"), None), "{answer}");
    // Somebody else's messages are no part of it.
    world.proxy_sends(message(3, "romeo@xmpp.example", "hi").replace("juliet", "nurse"));
    let other = world.take_message().expect("a message");
    assert_eq!((attribute(&other, "type"), attribute(&other, "to")), (None, Some("romeo@xmpp.example")), "{other}");
    // A message of its own ends it.
    writes(&mut world, "balcony", "normal", "");
    assert_eq!(attribute(&answers(&mut world, 4, None), "type"), None);
}

#[test]
fn a_thread_that_was_taken_up_is_kept_in_a_chat() {
    let mut world = World::new();
    let old = writes(&mut world, "orchard", "chat", "<thread>t1</thread>");
    writes(&mut world, "orchard", "chat", "<thread>t2</thread>");
    assert_eq!(thread(&answers(&mut world, 1, None)), Some("t2"));
    assert_eq!(thread(&answers(&mut world, 2, header(&old, "Call-ID"))), Some("t1"), "he answers the older one");
}

#[test]
fn a_chat_is_bound_to_no_device_once_another_one_shows_itself() {
    for (resource, kind, bound) in [
        ("orchard", "", true),
        ("balcony", "", false),
        ("orchard", "type='unavailable'", false),
        ("balcony", "type='unavailable'", true),
        ("orchard", "type='subscribe'", true),
    ] {
        let mut world = World::new();
        writes(&mut world, "orchard", "chat", "<thread>t</thread>");
        presence(&mut world, resource, kind);
        let answer = answers(&mut world, 1, None);
        let to = if bound { "romeo@xmpp.example/orchard" } else { "romeo@xmpp.example" };
        assert_eq!(attribute(&answer, "to"), Some(to), "{resource} {kind}");
        assert_eq!((attribute(&answer, "type"), thread(&answer)), (Some("chat"), Some("t")), "{resource} {kind}");
    }
}

#[test]
fn a_chat_ends_with_its_time() {
    let mut world = World::new();
    writes(&mut world, "orchard", "chat", "");
    world.advance(HOUR - Duration::from_secs(1));
    assert_eq!(attribute(&answers(&mut world, 1, None), "to"), Some("romeo@xmpp.example/orchard"));
    world.advance(Duration::from_secs(1));
    let late = answers(&mut world, 2, None);
    assert_eq!((attribute(&late, "type"), attribute(&late, "to")), (None, Some("romeo@xmpp.example")), "{late}");
}

#[test]
fn a_device_that_bounces_is_written_to_no_more() {
    let mut world = World::new();
    writes(&mut world, "orchard", "chat", "");
    let answer = answers(&mut world, 1, None);
    let id = attribute(&answer, "id").expect("an id");
    world.server_writes(format!(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='{id}' type='error'><body>hi</body>\
         <error type='wait'><recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    assert_eq!(world.take_statuses(), [480], "the body that a server repeats is no text");
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
    assert_eq!(attribute(&answers(&mut world, 2, None), "to"), Some("romeo@xmpp.example"));
}

/// ejabberd bounces late, from a process of its own.
#[test]
fn a_device_that_bounces_late_is_written_to_no_more() {
    let mut world = World::new();
    writes(&mut world, "orchard", "chat", "");
    world.proxy_sends(message(1, "romeo@xmpp.example", "hi"));
    let answer = world.take_stanza().expect("the message");
    while let Some(ping) = world.take_stanza() {
        world.server_writes(ping);
    }
    assert_eq!(world.take_statuses(), [202]);
    let id = attribute(&answer, "id").expect("an id");
    world.server_writes(format!(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='{id}' type='error'><error type='cancel'>\
         <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    assert_eq!(world.engine.counters().late_failures, 1);
    assert_eq!(attribute(&answers(&mut world, 2, None), "to"), Some("romeo@xmpp.example"));
}

#[test]
fn a_device_is_named_in_both_worlds() {
    let mut world = World::new();
    let sent = writes(&mut world, "yn0cl4bnw0yr3vym", "normal", "");
    assert!(sent.contains("\r\nFrom: <sip:romeo@xmpp.example;gr=yn0cl4bnw0yr3vym>;tag="), "{sent}");
    world.proxy_sends(
        message(1, "romeo@xmpp.example", "hi")
            .replace("<sip:juliet@sip.example>", "<sip:juliet@sip.example;gr=urn:uuid:f81d4fae-7dec>"),
    );
    let stanza = world.take_message().expect("a message");
    assert_eq!(attribute(&stanza, "from"), Some("juliet@sip.example/urn:uuid:f81d4fae-7dec"), "{stanza}");
    // A bounce to that address is known as the answer.
    let id = attribute(&stanza, "id").expect("an id");
    world.server_writes(format!(
        "<message from='romeo@xmpp.example' to='juliet@sip.example/urn:uuid:f81d4fae-7dec' id='{id}' type='error'>\
         <error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    assert_eq!(world.take_statuses(), [404]);
}

/// What cannot be a resource, or says none, leaves the bare address.
#[test]
fn a_gr_that_names_no_device_is_left_out() {
    let mut world = World::new();
    for (n, gr) in [";gr", ";gr=", ";gr=%ff", ";gr=a%00b", ";gr=%0d%0a"].into_iter().enumerate() {
        let from = format!("<sip:juliet@sip.example{gr}>");
        world.proxy_sends(message(n as u32, "romeo@xmpp.example", "hi").replace("<sip:juliet@sip.example>", &from));
        assert_eq!(attribute(&world.take_message().expect("a message"), "from"), Some("juliet@sip.example"), "{gr}");
    }
}

/// RFC 5627 section 6.1, for the devices of our users.
#[test]
fn a_device_of_an_xmpp_user_is_reached_while_it_is_there() {
    let mut world = World::new();
    let to = |gr: &str| format!("romeo@xmpp.example{gr}");
    let at = |world: &mut World, n: u32, gr: &str| {
        world.proxy_sends(message(n, &to(gr), "hi"));
        let stanzas = world.take_stanzas();
        let stanza = stanzas.iter().find(|stanza| stanza.starts_with("<message"));
        match stanza {
            Some(stanza) => Ok(attribute(stanza, "to").expect("a recipient").to_owned()),
            None => Err(world.take_statuses()),
        }
    };
    assert_eq!(at(&mut world, 1, ";gr=orchard"), Ok("romeo@xmpp.example".into()), "nobody was seen");
    writes(&mut world, "orchard", "normal", "");
    assert_eq!(at(&mut world, 2, ";gr=orchard"), Ok("romeo@xmpp.example/orchard".into()));
    assert_eq!(at(&mut world, 3, ";gr=ORCHARD"), Ok("romeo@xmpp.example/orchard".into()), "gr has no case");
    assert_eq!(at(&mut world, 4, ";gr=balcony"), Ok("romeo@xmpp.example".into()), "nothing is known of this one");
    assert_eq!(at(&mut world, 5, ";gr"), Ok("romeo@xmpp.example".into()), "a temporary one says nothing");
    assert_eq!(at(&mut world, 6, ";gr=%ff"), Err(vec![480]), "no device can have this name");
    presence(&mut world, "balcony", "");
    assert_eq!(at(&mut world, 7, ";gr=balcony"), Ok("romeo@xmpp.example/balcony".into()));
    presence(&mut world, "balcony", "type='unavailable'");
    assert_eq!(at(&mut world, 8, ";gr=balcony"), Err(vec![480]));

    let mut world = World::new();
    writes(&mut world, "orchard", "normal", "");
    world.advance(HOUR);
    assert_eq!(at(&mut world, 9, ";gr=orchard"), Ok("romeo@xmpp.example".into()), "it was not heard of for an hour");
}

/// Servers may drop what is `normal` and for a device that has just left without a word (RFC 6121 section 8.5.3.2.1).
#[test]
fn a_message_for_a_device_is_a_chat() {
    let mut world = World::new();
    writes(&mut world, "orchard", "normal", "");
    for (n, gr, kind) in [(1, ";gr=orchard", Some("chat")), (2, ";gr=elsewhere", None), (3, "", None)] {
        world.proxy_sends(message(n, &format!("romeo@xmpp.example{gr}"), "hi"));
        let stanzas = world.take_stanzas();
        let stanza = stanzas.iter().find(|stanza| stanza.starts_with("<message")).expect("a message");
        assert_eq!(attribute(stanza, "type"), kind, "{stanza}");
    }
}

#[test]
fn devices_that_differ_by_case_only_are_told_apart() {
    let mut world = World::new();
    let plain = writes(&mut world, "Phone", "normal", "");
    assert!(plain.contains(";gr=Phone>"), "{plain}");
    let lower = writes(&mut world, "phone", "normal", "");
    assert!(lower.contains(";gr=phone>"), "{lower}");
    let upper = writes(&mut world, "Phone", "normal", "");
    assert!(upper.contains(";gr=%50hone>"), "{upper}");
    for (n, gr, resource) in [(1, "phone", "/phone"), (2, "%50hone", "/Phone"), (3, "PHONE", "")] {
        world.proxy_sends(message(n, &format!("romeo@xmpp.example;gr={gr}"), "hi"));
        let stanzas = world.take_stanzas();
        let stanza = stanzas.iter().find(|stanza| stanza.starts_with("<message")).expect("a message");
        assert_eq!(attribute(stanza, "to"), Some(&*format!("romeo@xmpp.example{resource}")), "{gr}");
    }
    presence(&mut world, "phone", "type='unavailable'");
    let alone = writes(&mut world, "Phone", "normal", "");
    assert!(alone.contains(";gr=Phone>"), "the other one has left: {alone}");
}

/// RFC 6121 section 8.5.3.2.1 for SIP users, whatever became of the device: page mode goes to the user, and his proxy knows
/// where he is. No answer binds later messages to whoever gave it (RFC 3428 section 4).
#[test]
fn a_message_for_a_device_of_a_sip_user_goes_to_the_user() {
    let mut world = World::new();
    for kind in ["chat", "normal"] {
        for resource in ["/urn:uuid:f81d4fae-7dec", "/gone", ""] {
            let sent = writes_to(&mut world, "orchard", &format!("juliet@sip.example{resource}"), kind, "");
            assert!(sent.starts_with("MESSAGE sip:juliet@sip.example SIP/2.0\r\n"), "{kind}: {sent}");
        }
    }
    world.server_writes(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example/gone' type='headline'><body>news</body></message>",
    );
    world.assert_quiet();
    assert_eq!(world.engine.counters().xmpp.headlines, 1);
}

#[test]
fn a_200_of_one_device_binds_no_later_message() {
    let mut world = World::new();
    for _ in 0..2 {
        world.server_writes(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' type='chat'><body>hi</body></message>",
        );
        let sent = world.take_datagram().expect("a request");
        assert!(sent.starts_with("MESSAGE sip:juliet@sip.example SIP/2.0\r\n"), "{sent}");
        world.proxy_sends(response(&sent, "200 OK", "Contact: <sip:juliet@192.0.2.33:5099;gr=one>\r\n"));
    }
    world.assert_quiet();
}

/// More of everything than is remembered: nothing grows, and what is forgotten goes to the bare address.
#[test]
fn a_flood_of_devices_and_threads_is_forgotten() {
    let mut world = World::new();
    writes(&mut world, "first", "chat", "<thread>t</thread>");
    for n in 0..5 {
        writes(&mut world, &format!("device{n}"), "chat", "");
    }
    world.proxy_sends(message(1, "romeo@xmpp.example;gr=first", "hi"));
    let stanzas = world.take_stanzas();
    let stanza = stanzas.iter().find(|stanza| stanza.starts_with("<message")).expect("a message");
    assert_eq!(attribute(stanza, "to"), Some("romeo@xmpp.example"), "the device seen longest ago gave way");
    let long = "r".repeat(1000);
    let sent = writes(&mut world, &long, "chat", "");
    assert!(!sent.contains(";gr="), "{sent}");
    let answer = answers(&mut world, 2, None);
    assert_eq!((attribute(&answer, "type"), attribute(&answer, "to")), (Some("chat"), Some("romeo@xmpp.example")));
}
