use super::*;

fn namespaces(content: &str) -> StreamNamespaces {
    StreamNamespaces::new(content)
}

fn parse(input: &str) -> Stanza<'_> {
    parse_stanza(input.as_bytes(), &namespaces(ns::COMPONENT), &Limits::default())
        .unwrap_or_else(|error| panic!("{error}: {input}"))
}

fn message(input: &str) -> Message<'_> {
    match parse(input) {
        Stanza::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn presence(input: &str) -> Presence<'_> {
    match parse(input) {
        Stanza::Presence(presence) => presence,
        other => panic!("{other:?}"),
    }
}

fn iq(input: &str) -> Iq<'_> {
    match parse(input) {
        Stanza::Iq(iq) => iq,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_chat_message_of_a_client_with_everything() {
    let input = "<message from='juliet@xmpp.example/balcony' to='alice@sip.example' type='chat' xml:lang='en' id='m1'>\
        <body>hi &lt;&amp;&gt; &quot;q&quot; <![CDATA[<b>]]> 😀\r\nline2&#13;</body>\
        <body xml:lang='de'>hallo</body><subject>s</subject><thread parent='t0'>t1</thread>\
        <request xmlns='urn:xmpp:receipts'/><active xmlns='http://jabber.org/protocol/chatstates'/>\
        <markable xmlns='urn:xmpp:chat-markers:0'/><origin-id xmlns='urn:xmpp:sid:0' id='o1'/>\
        <stanza-id xmlns='urn:xmpp:sid:0' id='s1' by='xmpp.example'/>\
        <no-store xmlns='urn:xmpp:hints'/><no-copy xmlns='urn:xmpp:hints'/>\
        <headers xmlns='http://jabber.org/protocol/shim'><header name='Other'>1</header>\
        <header name='max-forwards'>69</header></headers>\
        <replace xmlns='urn:xmpp:message-correct:0' id='m0'/>\
        <delay xmlns='urn:xmpp:delay' from='xmpp.example' stamp='2026-11-20T17:46:18Z'>Offline</delay></message>";
    let message = message(input);
    assert_eq!(message.from.as_deref(), Some("juliet@xmpp.example/balcony"));
    assert_eq!(message.to.as_deref(), Some("alice@sip.example"));
    assert_eq!((message.kind, message.id.as_deref()), (MessageType::Chat, Some("m1")));
    assert_eq!(message.lang.as_deref(), Some("en"));
    assert_eq!(message.bodies.len(), 2);
    assert_eq!(message.bodies[0], Localized { lang: None, text: "hi <&> \"q\" <b> 😀\nline2\r".into() });
    assert_eq!(message.bodies[1], Localized { lang: Some("de".into()), text: "hallo".into() });
    assert_eq!(message.subjects[0].text, "s");
    assert_eq!((message.thread.as_deref(), message.thread_parent.as_deref()), (Some("t1"), Some("t0")));
    assert!(message.receipt_request && message.markable && message.receipt.is_none());
    assert_eq!(message.chat_state, Some(ChatState::Active));
    assert_eq!(message.origin_id.as_deref(), Some("o1"));
    assert_eq!(message.hints, Hints { no_store: true, no_copy: true, ..Hints::default() });
    assert_eq!(message.headers.max_forwards.as_deref(), Some("69"));
    assert_eq!(message.replaces.as_deref(), Some("m0"));
    assert_eq!(message.stanza_ids[0], StanzaId { id: "s1".into(), by: "xmpp.example".into() });
    let delay = &message.delays[0];
    assert_eq!((&*delay.stamp, delay.from.as_deref()), ("2026-11-20T17:46:18Z", Some("xmpp.example")));
    assert!(message.error.is_none() && !message.has_other_payload);
    assert_eq!(message.raw, input.as_bytes());
}

#[test]
fn types_of_messages() {
    for (attribute, expected) in [
        ("", MessageType::Normal),
        ("type='normal'", MessageType::Normal),
        ("type='chat'", MessageType::Chat),
        ("type='groupchat'", MessageType::GroupChat),
        ("type='headline'", MessageType::Headline),
        ("type='error'", MessageType::Error),
        ("type='Chat'", MessageType::Normal),
        ("type='x'", MessageType::Normal),
    ] {
        assert_eq!(message(&format!("<message {attribute}/>")).kind, expected, "{attribute}");
    }
}

#[test]
fn receipts_states_and_markers() {
    let receipt = message("<message><received xmlns='urn:xmpp:receipts' id='m1'/></message>");
    assert_eq!(receipt.receipt.as_deref(), Some("m1"));
    assert!(message("<message><received xmlns='urn:xmpp:receipts'/></message>").receipt.is_none());
    for state in ["active", "composing", "paused", "inactive", "gone"] {
        let input = format!("<message><{state} xmlns='http://jabber.org/protocol/chatstates'/></message>");
        assert_eq!(message(&input).chat_state.map(ChatState::as_str), Some(state));
    }
    let marked = message("<message><displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/></message>");
    assert_eq!(marked.marker, Some((Marker::Displayed, "m1".into())));
    // The same names in other namespaces are something else.
    let other = message("<message><request/><received id='a'/><active xmlns='urn:x'/><delay stamp='x'/></message>");
    assert!(other.has_other_payload && !other.receipt_request && other.receipt.is_none() && other.delays.is_empty());
    assert!(message("<message><x xmlns='jabber:x:oob'><body>no</body></x></message>").bodies.is_empty());
}

#[test]
fn what_surrounds_a_text() {
    let input = "<message><body>one</body><body xml:lang='de'>eins</body><body>another</body><body xml:lang='de'>x</body>\
        <thread>first</thread><thread>second</thread><nick xmlns='http://jabber.org/protocol/nick'>Ju &amp; Co</nick>\
        <origin-id xmlns='urn:xmpp:sid:0' id='o1'/><origin-id xmlns='urn:xmpp:sid:0' id='o2'/>\
        <stanza-id xmlns='urn:xmpp:sid:0' id='s1' by='a@xmpp.example'/><stanza-id xmlns='urn:xmpp:sid:0' id='s2'/>\
        <stanza-id xmlns='urn:xmpp:sid:0' id='s3' by='a@xmpp.example'/><stanza-id xmlns='urn:xmpp:sid:0' by='b@c'/>\
        <stanza-id xmlns='urn:xmpp:sid:0' id='s4' by='xmpp.example'>text</stanza-id>\
        <delay xmlns='urn:xmpp:delay' stamp='2026-11-20T17:46:18Z'>why</delay><delay xmlns='urn:xmpp:delay'/>\
        <delay xmlns='urn:xmpp:delay' stamp='2026-11-20T16:46:18Z'/><x xmlns='jabber:x:delay' stamp='20020910T23:08:25'/>\
        <headers xmlns='http://jabber.org/protocol/shim'><header name='Created'>2026-11-20T16:00:00Z</header>\
        <header name='urgency'>high</header><header name='TTL'>1</header><header>none</header><other/></headers>\
        <amp xmlns='http://jabber.org/protocol/amp'><rule condition='deliver' action='drop' value='stored'/>\
        <rule condition='expire-at' action='notify' value='1'/><rule condition='expire-at' action='drop' value='2'/></amp>\
        </message>";
    let message = message(input);
    let texts: Vec<&str> = message.bodies.iter().map(|body| &*body.text).collect();
    assert_eq!(texts, ["one", "eins"], "one for each language");
    assert_eq!(message.thread.as_deref(), Some("first"));
    assert_eq!(message.nick.as_deref(), Some("Ju & Co"));
    assert_eq!(message.origin_id.as_deref(), Some("o1"));
    let ids: Vec<(&str, &str)> = message.stanza_ids.iter().map(|known| (&*known.id, &*known.by)).collect();
    assert_eq!(ids, [("s1", "a@xmpp.example"), ("s4", "xmpp.example")]);
    let stamps: Vec<&str> = message.delays.iter().map(|delay| &*delay.stamp).collect();
    assert_eq!(stamps, ["2026-11-20T17:46:18Z", "2026-11-20T16:46:18Z"]);
    assert_eq!(message.headers.created.as_deref(), Some("2026-11-20T16:00:00Z"));
    assert_eq!(message.headers.urgency.as_deref(), Some("high"));
    assert_eq!(message.expire_at.as_deref(), Some("2"));
    assert_eq!(message.shown_again, None);
}

#[test]
fn more_of_a_kind_than_anybody_needs_is_passed_over() {
    let mut input = String::from("<message>");
    for n in 0..100 {
        input.push_str(&format!(
            "<body xml:lang='x-{n}'>{n}</body><delay xmlns='urn:xmpp:delay' stamp='{n}'/>\
             <stanza-id xmlns='urn:xmpp:sid:0' id='{n}' by='{n}'/>"
        ));
    }
    input.push_str("</message>");
    let message = message(&input);
    assert_eq!((message.bodies.len(), message.delays.len(), message.stanza_ids.len()), (8, 8, 8));
}

/// RFC 6121 section 5.2.3: a body holds text. Of one that holds markup the text that stands outside of it counts.
#[test]
fn markup_in_a_body_is_left_out() {
    let message = message("<message><body>a<b xmlns='urn:x'>no<i>pe</i></b>c</body></message>");
    assert_eq!(message.bodies[0].text, "ac");
}

#[test]
fn what_is_shown_again_is_told_from_what_is_said() {
    let forwarded =
        "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>old</body></message></forwarded>";
    for (wrapper, expected) in [
        ("<sent xmlns='urn:xmpp:carbons:2'>{}</sent>", Some(Wrapper::Carbon)),
        ("<received xmlns='urn:xmpp:carbons:2'>{}</received>", Some(Wrapper::Carbon)),
        ("<result xmlns='urn:xmpp:mam:2' id='1'>{}</result>", Some(Wrapper::Archive)),
        ("<result xmlns='urn:xmpp:mam:1' id='1'>{}</result>", Some(Wrapper::Archive)),
        ("<private xmlns='urn:xmpp:carbons:2'/>", None),
        ("{}", None),
    ] {
        let input = format!("<message>{}</message>", wrapper.replace("{}", forwarded));
        let message = message(&input);
        assert_eq!(message.shown_again, expected, "{input}");
        assert!(message.bodies.is_empty() && message.receipt.is_none(), "nothing of what is wrapped is said: {input}");
    }
}

#[test]
fn every_content_namespace_is_the_same_and_others_are_none() {
    for content in [ns::COMPONENT, ns::CLIENT, ns::SERVER] {
        let namespaces = namespaces(content);
        let stanza = parse_stanza(b"<message><body>x</body></message>", &namespaces, &Limits::default()).unwrap();
        assert!(matches!(stanza, Stanza::Message(message) if message.bodies.len() == 1), "{content}");
    }
    assert!(matches!(
        parse("<message xmlns='urn:x'/>"),
        Stanza::Other { name: "message", ns, raw: b"<message xmlns='urn:x'/>" } if ns == "urn:x"
    ));
    assert!(matches!(parse("<handshake/>"), Stanza::Other { name: "handshake", ns, .. } if ns == ns::COMPONENT));
}

#[test]
fn presences() {
    let full = presence(
        "<presence xml:lang='en' from='juliet@xmpp.example/balcony' to='alice@sip.example' id='p'><show>dnd</show>\
         <status>busy</status><priority>-5</priority><x xmlns='vcard-temp:x:update'><photo/></x>\
         <delay xmlns='urn:xmpp:delay' stamp='2026-11-20T17:46:18Z'/></presence>",
    );
    assert_eq!((full.kind, full.show, full.priority), (PresenceType::Available, Some(Show::Dnd), -5));
    assert_eq!(full.statuses[0].text, "busy");
    assert!(full.has_other_payload && full.delay.is_some());
    for kind in ["unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error"] {
        assert_eq!(presence(&format!("<presence type='{kind}'/>")).kind.as_str(), kind);
    }
    assert_eq!(presence("<presence type='available'/>").kind, PresenceType::Unknown);
    let odd = presence("<presence><show>online</show><priority>999</priority></presence>");
    assert_eq!((odd.show, odd.priority), (None, 0));
}

#[test]
fn requests_and_answers() {
    let input = "<iq from='juliet@xmpp.example/balcony' to='sip.example' type='get' id='d'>\
                 <query xmlns='http://jabber.org/protocol/disco#info' node='n'><x/></query></iq>";
    let request = iq(input);
    assert!(request.is_request() && request.asks(IqType::Get, ns::DISCO_INFO, "query"));
    let payload = request.payload.unwrap();
    assert_eq!(payload.node.as_deref(), Some("n"));
    assert_eq!(payload.raw, b"<query xmlns='http://jabber.org/protocol/disco#info' node='n'><x/></query>");
    let result = iq("<iq type='result' id='1'/>");
    assert!(result.kind == IqType::Result && result.payload.is_none() && !result.is_request());
    assert_eq!(iq("<iq type='get'><a/><b/></iq>").payloads, 2);
    assert_eq!(iq("<iq type='fetch'/>").kind, IqType::Unknown);
    assert_eq!(iq("<iq/>").kind, IqType::Unknown);
    let failed = iq("<iq type='error' id='1'><ping xmlns='urn:xmpp:ping'/><error type='cancel'>\
         <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>");
    assert_eq!(failed.payload.unwrap().name, "ping");
    assert_eq!(failed.error.unwrap().condition, Condition::ServiceUnavailable);
}

#[test]
fn every_condition_is_read_with_its_type() {
    assert_eq!(Condition::ALL.len(), 22);
    for condition in Condition::ALL {
        let name = condition.as_str();
        let input = format!(
            "<message type='error'><error><{name} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        );
        let error = message(&input).error.unwrap();
        assert_eq!((error.condition, error.kind), (*condition, condition.default_type()), "{name}");
        let mut out = Vec::new();
        write_error(StanzaKind::Message, b"a", b"b", b"c", &(*condition).into(), &mut out);
        let written = String::from_utf8(out).unwrap();
        assert_eq!(message(&written).error.unwrap(), error);
    }
}

/// RFC 6120 8.3.3.1 to 8.3.3.22. Where the RFC leaves a choice, ours stands first.
#[test]
fn every_condition_is_written_with_the_type_of_the_rfc() {
    for (condition, kind) in [
        ("bad-request", "modify"),
        ("conflict", "cancel"),
        ("feature-not-implemented", "cancel"),
        ("forbidden", "auth"),
        ("gone", "cancel"),
        ("internal-server-error", "cancel"),
        ("item-not-found", "cancel"),
        ("jid-malformed", "modify"),
        ("not-acceptable", "modify"),
        ("not-allowed", "cancel"),
        ("not-authorized", "auth"),
        ("policy-violation", "modify"),
        ("recipient-unavailable", "wait"),
        ("redirect", "modify"),
        ("registration-required", "auth"),
        ("remote-server-not-found", "cancel"),
        ("remote-server-timeout", "wait"),
        ("resource-constraint", "wait"),
        ("service-unavailable", "cancel"),
        ("subscription-required", "auth"),
        ("undefined-condition", "cancel"),
        ("unexpected-request", "wait"),
    ] {
        let alternate = matches!(condition, "gone" | "redirect").then_some(&b"xmpp:x@y"[..]);
        let error = OutError { alternate, ..Condition::parse(condition).unwrap().into() };
        let mut out = Vec::new();
        write_error(StanzaKind::Message, b"a", b"b", b"", &error, &mut out);
        let inside = match alternate {
            Some(_) => format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:x@y</{condition}>"),
            None => format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"),
        };
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("<message from='a' to='b' type='error'><error type='{kind}'>{inside}</error></message>")
        );
    }
}

#[test]
fn errors_as_servers_write_them() {
    let prosody = message(
        "<message type='error' from='user@elsewhere.example' to='alice@sip.example' id='7'>\
         <error type='wait' by='sip.example'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>Component unavailable</text>\
         <not-connected xmlns='xmpp:prosody.im/protocol/component'/></error></message>",
    );
    assert_eq!(
        prosody.error.unwrap(),
        Error {
            kind: ErrorType::Wait,
            condition: Condition::RemoteServerTimeout,
            text: Some("Component unavailable".into()),
            alternate: None,
            by: Some("sip.example".into()),
        }
    );
    let gone = message(
        "<message type='error'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>\
         xmpp:romeo@afterlife.example</gone></error></message>",
    );
    assert_eq!(gone.error.unwrap().alternate.as_deref(), Some("xmpp:romeo@afterlife.example"));
    // A type that nobody knows, a condition that nobody knows, no condition at all, two of them.
    for (inside, condition, kind) in [
        ("<error type='x'><forbidden xmlns='N'/></error>", Condition::Forbidden, ErrorType::Auth),
        ("<error type='wait'><payment-required xmlns='N'/></error>", Condition::UndefinedCondition, ErrorType::Wait),
        ("<error code='404'/>", Condition::UndefinedCondition, ErrorType::Cancel),
        (
            "<error><text xmlns='N'>t</text><gone xmlns='N'/><conflict xmlns='N'/></error>",
            Condition::Gone,
            ErrorType::Cancel,
        ),
    ] {
        let inside = inside.replace("'N'", "'urn:ietf:params:xml:ns:xmpp-stanzas'");
        let input = format!("<message type='error'>{inside}</message>");
        let error = message(&input).error.unwrap();
        assert_eq!((error.condition, error.kind), (condition, kind), "{inside}");
    }
}

#[test]
fn what_is_written() {
    let mut out = Vec::new();
    let all = OutMessage {
        from: b"a@sip.example",
        to: b"b@xmpp.example",
        id: b"i1",
        kind: MessageType::Chat,
        lang: Some(b"de"),
        subject: Some(b"s&"),
        subjects: &[Localized { lang: Some("it".into()), text: "<s>".into() }],
        body: Some(b"b<\r\n"),
        translations: &[Localized { lang: Some("it".into()), text: "<b>".into() }],
        html: &[Localized { lang: Some("it".into()), text: "<em>b</em>".into() }],
        e2e: Some("A: b\n\nc]]>d]]]>>&"),
        thread: Some(b"t"),
        nick: Some(b"A & B"),
        origin_id: true,
        max_forwards: Some(69),
        urgency: Some("high"),
        request_receipt: true,
        receipt: Some(b"i0"),
        delay: Some((b"2026-11-20T17:46:18Z", b"sip.example")),
    };
    assert_eq!(write_message(&all, &mut out), 0);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "<message from='a@sip.example' to='b@xmpp.example' id='i1' type='chat' xml:lang='de'><subject>s&amp;</subject><subject xml:lang='it'>&lt;s&gt;</subject>\
         <body>b&lt;&#13;\n</body><body xml:lang='it'>&lt;b&gt;</body><html xmlns='http://jabber.org/protocol/xhtml-im'>\
         <body xmlns='http://www.w3.org/1999/xhtml' xml:lang='it'><em>b</em></body></html>\
         <e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'><![CDATA[A: b\n\nc]]]]><![CDATA[>d]]]]]><![CDATA[>>&]]></e2e>\
         <thread>t</thread>\
         <request xmlns='urn:xmpp:receipts'/><received xmlns='urn:xmpp:receipts' id='i0'/>\
         <origin-id xmlns='urn:xmpp:sid:0' id='i1'/><nick xmlns='http://jabber.org/protocol/nick'>A &amp; B</nick>\
         <headers xmlns='http://jabber.org/protocol/shim'><header name='Max-Forwards'>69</header>\
         <header name='Urgency'>high</header></headers>\
         <delay xmlns='urn:xmpp:delay' stamp='2026-11-20T17:46:18Z' from='sip.example'/></message>"
    );
    let presence = OutPresence {
        from: b"a@b",
        to: b"c@d",
        id: b"",
        kind: PresenceType::Available,
        show: Some(Show::Xa),
        status: Some(b"far"),
        priority: -128,
    };
    out.clear();
    write_presence(&presence, &mut out);
    write_presence(
        &OutPresence { kind: PresenceType::Probe, from: b"a", to: b"b", ..OutPresence::default() },
        &mut out,
    );
    write_ping(b"sip.example", b"sip.example", b"p1", &mut out);
    write_iq(IqType::Result, b"a", b"b", b"i'", b"", &mut out);
    let error = OutError {
        condition: Condition::Redirect,
        kind: Some(ErrorType::Cancel),
        text: Some(b"over there"),
        alternate: Some(b"xmpp:x@y"),
    };
    write_error(StanzaKind::Iq, b"a", b"b", b"i", &error, &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "<presence from='a@b' to='c@d'><show>xa</show><status>far</status><priority>-128</priority></presence>\
         <presence from='a' to='b' type='probe'/>\
         <iq from='sip.example' to='sip.example' id='p1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>\
         <iq from='a' to='b' id='i&apos;' type='result'/>\
         <iq from='a' to='b' id='i' type='error'><error type='cancel'>\
         <redirect xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:x@y</redirect>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>over there</text></error></iq>"
    );
}

#[test]
fn what_xml_forbids_is_replaced_and_counted() {
    let mut out = Vec::new();
    let odd =
        OutMessage { to: b"a\0", id: b"\x01", body: Some(b"x\xFFy\x0B"), origin_id: true, ..OutMessage::default() };
    assert_eq!(write_message(&odd, &mut out), 5);
    let written = String::from_utf8(out).unwrap();
    assert_eq!(message(&written).bodies[0].text, "x\u{FFFD}y\u{FFFD}");
}

#[test]
fn formatted_bodies_are_read_without_their_prefixes() {
    let html = |inside: &str| {
        let input = format!(
            "<message xmlns:x='http://www.w3.org/1999/xhtml'><body>b</body><html \
             xmlns='http://jabber.org/protocol/xhtml-im'>{inside}</html></message>"
        );
        let parsed = message(&input);
        assert!(!parsed.has_other_payload);
        parsed
            .html
            .iter()
            .map(|body| (body.lang.as_deref().map(str::to_owned), body.text.to_string()))
            .collect::<Vec<_>>()
    };
    let plain = "<body xmlns='http://www.w3.org/1999/xhtml' style='color:red'>a<br/>&lt;b<p>c</p></body>";
    assert_eq!(html(plain), [(None, "<body style='color:red'>a<br></br>&lt;b<p>c</p></body>".to_owned())]);
    let prefixed = "<x:body xml:lang='de'><x:em x:a='1' b='&apos;2'>c</x:em><y xmlns='z'>d<x:p>e</x:p></y></x:body>";
    let de = (Some("de".to_owned()), "<body><em b='&apos;2'>c</em>d<p>e</p></body>".to_owned());
    assert_eq!(html(prefixed), std::slice::from_ref(&de));
    let both = format!("<head/>{prefixed}{plain}");
    assert_eq!(html(&both).len(), 2);
    assert_eq!(html(&both)[0], de);
    // A body of another namespace is none.
    assert_eq!(html("<body>x</body>text"), []);
}

#[test]
fn an_entity_is_the_same_octets_after_any_number_of_sections() {
    let e2e = |inside: &str| {
        let input = format!("<message><e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'>{inside}</e2e></message>");
        message(&input).e2e.map(|entity| entity.into_owned())
    };
    for inside in [
        "<![CDATA[A: b\n\n<c> & ]] > ]]]]><![CDATA[> d]]>",
        "<![CDATA[A: b\r\n\r\n<c> & ]] > ]]]]><![CDATA[>]]> d",
        "A: b\n\n&lt;c> &amp; ]] > <![CDATA[]]]]>]&gt; d",
    ] {
        let expected = if inside.starts_with('A') { "A: b\n\n<c> & ]] > ]]]> d" } else { "A: b\n\n<c> & ]] > ]]> d" };
        assert_eq!(e2e(inside).as_deref(), Some(expected), "{inside}");
    }
    assert_eq!(e2e("").as_deref(), Some(""));
}

#[test]
fn a_stanza_is_read_to_its_end() {
    for (input, expected) in [
        ("<message><body>x</body></presence>", xml::Error::MismatchedEnd),
        ("<handshake><a>&b;</a></handshake>", xml::Error::UnknownEntity),
        ("<iq><a:b/></iq>", xml::Error::UnboundPrefix),
        ("<message><x xmlns='u'>\u{1}</x></message>", xml::Error::ForbiddenCharacter),
    ] {
        let result = parse_stanza(input.as_bytes(), &namespaces(ns::COMPONENT), &Limits::default());
        assert_eq!(result.unwrap_err(), expected, "{input}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_survives(body in proptest::prelude::any::<String>(), id in "[ -~]{1,20}", lang in "[a-z]{0,3}") {
        let allowed: String = body.chars().filter(|c| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}')).collect();
        let text = format!("{allowed}\r\n\t\r\n{allowed}");
        let mut out = Vec::new();
        let entity = body.chars().filter(|c| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}')).collect::<String>() + "]]>\n]]";
        let written = OutMessage {
            e2e: Some(&entity),
            from: b"a", to: b"b", id: id.as_bytes(), lang: Some(lang.as_bytes()), body: Some(text.as_bytes()),
            subject: Some(text.as_bytes()), thread: Some(id.as_bytes()), origin_id: true, ..OutMessage::default()
        };
        proptest::prop_assert_eq!(write_message(&written, &mut out), 0);
        let wire = String::from_utf8(out).unwrap();
        let read = message(&wire);
        proptest::prop_assert_eq!(&*read.bodies[0].text, &*text);
        proptest::prop_assert_eq!(&*read.subjects[0].text, &*text);
        proptest::prop_assert_eq!(read.e2e.as_deref(), Some(&*entity));
        proptest::prop_assert_eq!(read.id.as_deref(), Some(&*id));
        proptest::prop_assert_eq!(read.origin_id.as_deref(), Some(&*id));
        proptest::prop_assert_eq!(read.thread.as_deref(), Some(&*id));
        proptest::prop_assert_eq!(read.lang.as_deref(), Some(&*lang));
    }

    #[test]
    fn any_bytes_are_read_or_refused(input in "<(message|presence|iq) [a-z='<>&;/ ]{0,40}") {
        let _ = parse_stanza(input.as_bytes(), &namespaces(ns::COMPONENT), &Limits::default());
    }
}
