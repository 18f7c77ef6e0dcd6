//! What surrounds a text: dates and expiry, names, languages, and what is no new text at all.

use entente_tests::world::{World, attribute, header, message, response};
use std::time::Duration;

const ORCHARD: &str = "romeo@xmpp.example/orchard";

fn stanza(inside: &str) -> String {
    format!("<message from='{ORCHARD}' to='juliet@sip.example' type='chat' id='m'>{inside}</message>")
}

/// The request that a stanza becomes; it is answered with 200.
fn request(world: &mut World, stanza: &str) -> String {
    world.server_writes(stanza);
    let request = world.take_datagram().unwrap_or_else(|| panic!("a request for {stanza}"));
    world.proxy_sends(response(&request, "200 OK", ""));
    request
}

fn with_lines(n: u32, lines: &str) -> String {
    message(n, "romeo@xmpp.example", "hi").replace("Content-Length:", &format!("{lines}Content-Length:"))
}

/// RFC 3428 section 7. It is 19:00 when the world begins.
#[test]
fn what_has_expired_is_not_delivered() {
    for (lines, delivered) in [
        ("", true),
        ("Expires: 60\r\n", true),
        ("Expires: 0\r\n", true),
        ("Date: Fri, 20 Nov 2026 18:59:00 GMT\r\nExpires: 61\r\n", true),
        ("Date: Fri, 20 Nov 2026 18:59:00 GMT\r\nExpires: 59\r\n", false),
        ("Date: Fri, 20 Nov 2026 18:59:59 GMT\r\nExpires: 0\r\n", true),
        ("Date: Fri, 20 Nov 2026 19:30:00 GMT\r\nExpires: 1\r\n", true),
        ("Date: Sat, 20 Nov 1926 19:00:00 GMT\r\nExpires: 60\r\n", false),
        ("Date: Sat, 20 Nov 1926 19:00:00 GMT\r\nExpires: 4294967295\r\n", true),
        ("Date: nonsense\r\nExpires: 1\r\n", true),
        ("Date: Fri, 20 Nov 2026 18:00:00 GMT\r\nExpires: soon\r\n", true),
        ("Date: Mon, 02 Mar 2026 18:00:00 GMT\r\n", true),
    ] {
        let mut world = World::new();
        world.proxy_sends(with_lines(1, lines));
        let stanza = world.take_stanza();
        assert_eq!(stanza.is_some(), delivered, "{lines}");
        if !delivered {
            let answer = world.take_datagram().expect("an answer");
            assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
            assert!(
                answer.contains("\r\nWarning: 399 gw.example \"not delivered: the message had expired\"\r\n"),
                "{answer}"
            );
            world.assert_quiet();
        }
    }
}

#[test]
fn an_old_date_becomes_a_stamp_and_refuses_nothing() {
    for (lines, stamp) in [
        ("Date: Mon, 02 Mar 2026 18:00:00 GMT\r\n", Some("2026-03-02T18:00:00Z")),
        ("Date: Fri, 20 Nov 2026 18:58:59 GMT\r\n", Some("2026-11-20T18:58:59Z")),
        ("Date: Fri, 20 Nov 2026 18:59:30 GMT\r\n", None),
        ("Date: Fri, 20 Nov 2099 18:59:30 GMT\r\n", None),
    ] {
        let mut world = World::new();
        world.proxy_sends(with_lines(1, lines));
        let stanza = world.take_message().expect("a message");
        let expected = stamp.map(|stamp| format!("<delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>"));
        match expected {
            Some(delay) => assert!(stanza.contains(&delay), "{stanza}"),
            None => assert!(!stanza.contains("urn:xmpp:delay"), "{stanza}"),
        }
    }
}

#[test]
fn an_expiry_is_told_with_the_moment_that_it_counts_from() {
    let amp = |action: &str, value: &str| {
        stanza(&format!(
            "<body>hi</body><amp xmlns='http://jabber.org/protocol/amp'><rule condition='expire-at' action='{action}' \
             value='{value}'/></amp>"
        ))
    };
    let mut world = World::new();
    world.advance(Duration::from_secs(90));
    let sent = request(&mut world, &amp("drop", "2026-11-20T20:00:00Z"));
    assert_eq!(header(&sent, "Expires"), Some("3510"), "{sent}");
    assert_eq!(header(&sent, "Date"), Some("Fri, 20 Nov 2026 19:01:30 GMT"), "{sent}");
    // What was held back counts from when it was written.
    let delayed = amp("error", "2026-11-20T20:00:00Z")
        .replace("<amp", "<delay xmlns='urn:xmpp:delay' stamp='2026-11-20T19:00:00Z'/><amp");
    let sent = request(&mut world, &delayed);
    assert_eq!(header(&sent, "Expires"), Some("3600"), "{sent}");
    assert_eq!(header(&sent, "Date"), Some("Fri, 20 Nov 2026 19:00:00 GMT"), "{sent}");
    for unlimited in [amp("notify", "2026-11-20T20:00:00Z"), amp("drop", "later"), stanza("<body>hi</body>")] {
        let sent = request(&mut world, &unlimited);
        assert_eq!((header(&sent, "Expires"), header(&sent, "Date")), (None, None), "{sent}");
    }
    world.server_writes(amp("drop", "2026-11-20T19:00:00Z"));
    let refusal = world.take_stanza().expect("a refusal");
    assert!(refusal.contains("type='error'") && refusal.contains("<not-acceptable"), "{refusal}");
    world.assert_quiet();
}

/// Nobody can hold what is not written yet: the oldest moment that can be read is the one nearest to the writer. No text is
/// late, early or invalid for it.
#[test]
fn of_several_stamps_the_oldest_counts() {
    let mut world = World::new();
    let delay =
        |stamp: &str| format!("<delay xmlns='urn:xmpp:delay' from='xmpp.example' stamp='{stamp}'>Offline</delay>");
    let [early, late, bad] = ["2026-11-19T10:00:00Z", "2026-11-20T18:00:00.123456Z", "20261119T10:00:00"].map(delay);
    let created = "<headers xmlns='http://jabber.org/protocol/shim'><header name='Created'>2020-01-01T00:00:00Z</header></headers>";
    let legacy = "<x xmlns='jabber:x:delay' stamp='20200101T00:00:00'>x</x>";
    for (delays, date) in [
        (format!("{late}{early}"), Some("Thu, 19 Nov 2026 10:00:00 GMT")),
        (format!("{early}{late}"), Some("Thu, 19 Nov 2026 10:00:00 GMT")),
        (format!("{bad}{late}"), Some("Fri, 20 Nov 2026 18:00:00 GMT")),
        (format!("{created}{late}"), Some("Fri, 20 Nov 2026 18:00:00 GMT")),
        (format!("{bad}{legacy}"), None),
        (legacy.to_owned(), None),
    ] {
        let sent = request(&mut world, &stanza(&format!("<body>hi</body>{delays}")));
        assert_eq!(header(&sent, "Date"), date, "{delays}");
        assert!(sent.ends_with("\r\n\r\nhi"), "{sent}");
    }
}

/// Moments that no calendar of SIP has, or none at all.
#[test]
fn a_moment_out_of_all_time_says_nothing() {
    let mut world = World::new();
    for stamp in [
        "9999-12-31T23:59:59-23:59",
        "0000-01-01T00:00:00+23:59",
        "0001-01-01T00:00:00Z",
        "99999-01-01T00:00:00Z",
        "-1",
        "",
    ] {
        let inside = format!("<body>hi</body><delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>");
        assert_eq!(header(&request(&mut world, &stanza(&inside)), "Date"), None, "{stamp}");
    }
    let amp = "<amp xmlns='http://jabber.org/protocol/amp'><rule condition='expire-at' action='drop' \
        value='9999-12-31T23:59:59-23:59'/></amp>";
    let sent = request(&mut world, &stanza(&format!("<body>hi</body>{amp}")));
    assert_eq!(header(&sent, "Expires"), Some("4294967295"), "{sent}");
    for (n, date) in ["Fri, 31 Dec 9999 23:59:59 -2359", "Sat, 01 Jan 0000 00:00:00 +2359"].into_iter().enumerate() {
        world.proxy_sends(with_lines(n as u32, &format!("Date: {date}\r\nExpires: 4294967295\r\n")));
        assert!(world.take_message().expect("a message").contains("<body>hi</body>"), "{date}");
    }
}

/// XEP-0131 section 5.5: it informs, and does nothing.
#[test]
fn a_ttl_neither_drops_nor_routes() {
    let mut world = World::new();
    let ttl = "<headers xmlns='http://jabber.org/protocol/shim'><header name='Created'>2020-01-01T00:00:00Z</header>\
        <header name='TTL'>1</header></headers>";
    let sent = request(&mut world, &stanza(&format!("<body>hi</body>{ttl}")));
    assert_eq!(header(&sent, "Expires"), None, "{sent}");
}

#[test]
fn a_header_of_a_stanza_stays_in_one_line() {
    let mut world = World::new();
    for value in ["high\r\nVia: SIP/2.0/UDP evil.example", "&lt;high&gt;", "hi\u{85}gh"] {
        let headers = format!(
            "<headers xmlns='http://jabber.org/protocol/shim'><header name='Urgency'>{value}</header>\
             <header name='Created'>{value}</header></headers>"
        );
        let sent = request(&mut world, &stanza(&format!("<body>hi</body>{headers}")));
        assert!(!sent.contains("evil") && header(&sent, "Priority").is_none(), "{sent}");
    }
}

#[test]
fn a_nick_is_a_display_name_and_nothing_more() {
    let mut world = World::new();
    let nick =
        |name: &str| stanza(&format!("<body>hi</body><nick xmlns='http://jabber.org/protocol/nick'>{name}</nick>"));
    for (name, from) in [
        ("Romeo", "\"Romeo\" "),
        ("  R. \"M\" \\ ", "\"R. \\\"M\\\" \\\\\" "),
        ("a&#13;&#10;Via: b", "\"a  Via: b\" "),
        ("\u{202e}oemoR", "\"oemoR\" "),
        ("juliet@sip.example&lt;sip:a@b&gt;;tag=x", "\"juliet@sip.example<sip:a@b>;tag=x\" "),
        ("\u{6f22}\u{5b57}", "\"\u{6f22}\u{5b57}\" "),
        (" ", ""),
    ] {
        let sent = request(&mut world, &nick(name));
        let expected = format!("{from}<sip:romeo@xmpp.example;gr=orchard>;tag=");
        assert!(header(&sent, "From").is_some_and(|value| value.starts_with(&expected)), "{sent}");
    }
    let long = request(&mut world, &nick(&"x".repeat(5000)));
    assert!(header(&long, "From").is_some_and(|value| value.len() < 250), "{long}");
}

/// XEP-0172 section 4.2.
#[test]
fn a_display_name_is_told_to_those_who_do_not_know_it() {
    let named = |n: u32, name: &str, to: &str| {
        message(n, to, "hi").replace("From: <sip:juliet@", &format!("From: {name}<sip:juliet@"))
    };
    let nick = |stanza: &str| {
        let start = stanza.find("<nick xmlns='http://jabber.org/protocol/nick'>")? + 46;
        stanza[start..].split("</nick>").next().map(str::to_owned)
    };
    let mut world = World::new();
    let mut n = 0;
    let mut says = |world: &mut World, name: &str, to: &str| {
        n += 1;
        world.proxy_sends(named(n, name, to));
        let stanza = world.take_stanza().expect("the message");
        // The server reads on.
        while let Some(ping) = world.take_stanza() {
            world.server_writes(ping);
        }
        world.datagrams.clear();
        nick(&stanza)
    };
    assert_eq!(says(&mut world, "", "romeo@xmpp.example"), None);
    assert_eq!(
        says(&mut world, "\"Juliet \\\"C\\\" & Co\" ", "romeo@xmpp.example"),
        Some("Juliet \"C\" &amp; Co".into())
    );
    assert_eq!(says(&mut world, "\"Juliet\" ", "romeo@xmpp.example"), None, "not with each one");
    assert_eq!(says(&mut world, "Juliet ", "benvolio@xmpp.example"), Some("Juliet".into()));
    // To somebody who wrote first nobody has to introduce himself.
    request(&mut world, &stanza("<body>hi</body>").replace("romeo@", "tybalt@"));
    assert_eq!(says(&mut world, "\"Juliet\" ", "tybalt@xmpp.example"), None);
    world.advance(Duration::from_secs(24 * 3600));
    assert_eq!(says(&mut world, "\"Juliet\" ", "romeo@xmpp.example"), Some("Juliet".into()), "after a day");
    assert_eq!(says(&mut world, "\"\t\" ", "mercutio@xmpp.example"), None);
}

/// From an archive, a queue or a resumed stream: known by the id that its sender gave it, and by nobody else's.
#[test]
fn what_was_sent_before_is_no_new_text() {
    let text = |from: &str, ids: &str| {
        format!("<message from='{from}' to='juliet@sip.example' type='chat' id='m'><body>ok</body>{ids}</message>")
    };
    let origin = "<origin-id xmlns='urn:xmpp:sid:0' id='de305d54'/>";
    let by = |by: &str| format!("<stanza-id xmlns='urn:xmpp:sid:0' id='5f3dbc5e' by='{by}'/>");
    let delay = "<delay xmlns='urn:xmpp:delay' stamp='2026-11-20T18:00:00Z'/>";
    for (ids, again, is_new) in [
        (origin.to_owned(), text(ORCHARD, origin), false),
        (origin.to_owned(), text("romeo@xmpp.example/balcony", &format!("{origin}{delay}")), false),
        (origin.to_owned(), text("benvolio@xmpp.example/o", origin), true),
        (origin.to_owned(), text(ORCHARD, &origin.replace("de305d54", "other")), true),
        (by("romeo@xmpp.example"), text(ORCHARD, &by("romeo@xmpp.example")), false),
        (by("xmpp.example"), text(ORCHARD, &by("xmpp.example")), false),
        // Whoever is not the sender's account or server has no word in it, and least of all we.
        (by("sip.example"), text(ORCHARD, &by("sip.example")), true),
        (by("benvolio@xmpp.example"), text(ORCHARD, &by("benvolio@xmpp.example")), true),
        (by("evil.example"), text(ORCHARD, &by("evil.example")), true),
        // People repeat themselves.
        (String::new(), text(ORCHARD, ""), true),
        // Clients count from one again after each start, or give no id at all.
        (origin.to_owned(), text(ORCHARD, origin).replace(">ok<", ">no<"), true),
        (by("xmpp.example"), text(ORCHARD, &by("xmpp.example")).replace(">ok<", ">no<"), true),
        (origin.replace("de305d54", ""), text(ORCHARD, &origin.replace("de305d54", "")), true),
        (by("xmpp.example").replace("5f3dbc5e", ""), text(ORCHARD, &by("xmpp.example").replace("5f3dbc5e", "")), true),
    ] {
        let mut world = World::new();
        request(&mut world, &text(ORCHARD, &ids));
        world.server_writes(&again);
        let sent = world.take_datagram();
        assert_eq!(sent.is_some(), is_new, "{ids} then {again}");
        assert_eq!(world.engine.counters().xmpp.shown_again, u64::from(!is_new), "{again}");
        assert_eq!(world.take_stanzas(), Vec::<String>::new(), "nobody is told about it");
    }
}

#[test]
fn what_was_not_taken_may_be_sent_again() {
    let mut world = World::new();
    let text = stanza("<body>ok</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/>");
    world.server_writes(&text);
    let sent = world.take_datagram().expect("a request");
    world.proxy_sends(response(&sent, "480 Not here", ""));
    assert!(world.take_stanza().expect("an error").contains("type='error'"));
    request(&mut world, &text);
    world.server_writes(&text);
    assert_eq!(world.take_datagram(), None, "now it was");
    // Nothing is remembered for ever.
    world.advance(Duration::from_secs(3600));
    request(&mut world, &text);
}

#[test]
fn copies_and_finds_of_archives_are_no_new_texts() {
    let mut world = World::new();
    let inner = "<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-11-20T18:00:00Z'/>\
        <message xmlns='jabber:client' from='romeo@xmpp.example/orchard' to='juliet@sip.example'><body>old</body></message>\
        </forwarded>";
    for (wrapper, more) in [
        (format!("<sent xmlns='urn:xmpp:carbons:2'>{inner}</sent>"), ""),
        (format!("<received xmlns='urn:xmpp:carbons:2'>{inner}</received>"), ""),
        (format!("<received xmlns='urn:xmpp:carbons:2'>{inner}</received>"), "<body>beside</body>"),
        (format!("<result xmlns='urn:xmpp:mam:2' queryid='f27' id='28482'>{inner}</result>"), ""),
    ] {
        world.server_writes(stanza(&format!("{more}{wrapper}")));
    }
    assert_eq!(world.engine.counters().xmpp.shown_again, 4);
    // A stanza that only forwards something says nothing of its own either.
    world.server_writes(stanza(inner));
    assert_eq!(world.engine.counters().xmpp.without_body, 1);
    world.assert_quiet();
}

/// RFC 6120 sections 4.7.4 and 8.1.5. The stream of this server is in German.
#[test]
fn the_language_is_that_of_the_text_the_stanza_or_the_stream() {
    let mut world = World::disconnected(|_| {});
    world.accept_component_in("de");
    let lang = |stanza: &str| format!("<message xml:lang='{stanza}'");
    for (text, language, body) in [
        (stanza("<body>a</body>"), "de", "a"),
        (stanza("<body>a</body>").replace("<message", &lang("el")), "el", "a"),
        (stanza("<body xml:lang='fr'>a</body>").replace("<message", &lang("el")), "fr", "a"),
        (stanza("<body>a</body>").replace("<message", &lang("no such_tag")), "de", "a"),
        // Of several texts the one in the language of the stanza.
        (stanza("<body xml:lang='fr'>a</body><body>b</body>"), "de", "b"),
        (
            stanza("<body xml:lang='fr'>a</body><body xml:lang='el'>b</body>").replace("<message", &lang("el")),
            "el",
            "b",
        ),
        (stanza("<body xml:lang='fr'>a</body><body xml:lang='it'>b</body>"), "fr", "a"),
        (stanza("<body>a</body><body>b</body>"), "de", "a"),
        // One that says nothing is not it, if there is another.
        (stanza("<body/><body xml:lang='fr'>b</body>"), "fr", "b"),
        (stanza("<body xml:lang='fr'> </body><body xml:lang='it'>b</body>"), "it", "b"),
        (stanza("<body> </body><body xml:lang='fr'/>"), "de", " "),
    ] {
        let sent = request(&mut world, &text);
        assert_eq!(header(&sent, "Content-Language"), Some(language), "{text}");
        assert!(sent.ends_with(&format!("\r\n\r\n{body}")), "{sent}");
    }
    let subjects =
        "<subject xml:lang='fr'>un</subject><subject>eins</subject><subject xml:lang='it'>uno</subject><body>a</body>";
    assert_eq!(header(&request(&mut world, &stanza(subjects)), "Subject"), Some("eins"));
    // An error says in what language its words are, whatever that of the stream is.
    world.server_writes(stanza("<body>a</body>"));
    let sent = world.take_datagram().expect("a request");
    world.proxy_sends(response(&sent, "404 Not Found", ""));
    let error = world.take_stanza().expect("an error");
    assert!(error.contains("<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>Not Found<"), "{error}");
}

/// XEP-0334 section 5, and error stanzas that repeat what bounced: nothing of it is a text, and nobody is answered.
#[test]
fn hints_and_bodies_of_errors_mean_nothing() {
    let mut world = World::new();
    world.proxy_sends(message(1, "romeo@xmpp.example", "hi"));
    let id = attribute(&world.take_message().expect("a message"), "id").expect("an id").to_owned();
    let bounce = |id: &str| {
        format!(
            "<message from='romeo@xmpp.example' to='juliet@sip.example' type='error' id='{id}'><body>hi</body>\
             <no-store xmlns='urn:xmpp:hints'/><store xmlns='urn:xmpp:hints'/><error type='cancel'>\
             <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )
    };
    world.server_writes(bounce("somebody-elses"));
    world.server_writes(bounce(&id));
    assert_eq!(world.take_statuses(), [404]);
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
    assert_eq!(world.engine.open(), 0);
}

/// A receipt of one device and an error of another, and the same word twice: the first is the last.
#[test]
fn the_last_word_about_a_message_is_told_once() {
    let bounce = |id: &str| {
        format!(
            "<message from='romeo@xmpp.example/gone' to='juliet@sip.example' type='error' id='{id}'><error type='cancel'>\
             <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )
    };
    let mut world = World::with(|settings| settings.xmpp.ask_receipts = true);
    world.proxy_sends(message(1, "romeo@xmpp.example", "hi"));
    let id = attribute(&world.take_message().expect("a message"), "id").expect("an id").to_owned();
    world.server_writes(format!(
        "<message from='{ORCHARD}' to='juliet@sip.example'><received xmlns='urn:xmpp:receipts' id='{id}'/></message>"
    ));
    assert_eq!(world.take_statuses(), [200]);
    world.server_writes(bounce(&id));
    assert_eq!(world.take_datagram(), None, "it has arrived, whatever another device says");

    world.proxy_sends(message(2, "romeo@xmpp.example", "hi"));
    let id = attribute(&world.take_message().expect("a message"), "id").expect("an id").to_owned();
    world.server_writes(bounce(&id));
    assert_eq!(world.take_statuses(), [403]);
    world.server_writes(bounce(&id));
    assert_eq!(world.take_datagram(), None, "that was told");
    assert_eq!((world.engine.counters().late_failures, world.engine.open()), (0, 0));
}

/// An IMDN may overtake the answer to the message that it speaks of (linphone, docs/src/quirks.md). It is no text, and takes
/// nothing from the transaction.
#[test]
fn a_notification_that_overtakes_the_answer_is_no_text() {
    let mut world = World::new();
    world.server_writes(stanza("<body>hi</body><request xmlns='urn:xmpp:receipts'/>"));
    let sent = world.take_datagram().expect("a request");
    let call_id = header(&sent, "Call-ID").expect("a Call-ID");
    let imdn = format!(
        "<?xml version=\"1.0\"?><imdn xmlns='urn:ietf:params:xml:ns:imdn'><message-id>{call_id}</message-id></imdn>"
    );
    world.proxy_sends(message(1, "romeo@xmpp.example", &imdn).replace("text/plain", "message/imdn+xml"));
    assert_eq!(world.take_stanzas(), Vec::<String>::new());
    assert_eq!(world.take_statuses(), [415]);
    world.proxy_sends(response(&sent, "200 OK", ""));
    let receipt = world.take_stanza().expect("the receipt");
    assert!(receipt.contains("<received xmlns='urn:xmpp:receipts' id='m'/>"), "{receipt}");
    world.assert_quiet();
}
