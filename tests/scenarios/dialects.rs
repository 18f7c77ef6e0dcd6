//! What real programs were recorded to say, with the names of this world: each stanza and each answer as it came.

use entente_tests::world::{World, attribute, header};

/// Header lines of a request that left.
fn head(request: &str) -> &str {
    request.split("\r\n\r\n").next().unwrap_or_default()
}

fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// A 200 of pjsua 2.17-dev: `received` before everything else in Via, the tag of To is the branch.
fn pjsua_answers(request: &str) -> String {
    let via = header(request, "Via").expect("a Via");
    let branch = via.split("branch=").nth(1).unwrap_or_default();
    format!(
        "SIP/2.0 200 OK\r\nVia: {};received=192.0.2.1;branch={branch}\r\nCall-ID: {}\r\nFrom: {}\r\nTo: {};tag={branch}\r\n\
         CSeq: {}\r\nContent-Length:  0\r\n\r\n",
        via.split(';').next().unwrap_or_default(),
        header(request, "Call-ID").expect("a Call-ID"),
        header(request, "From").expect("From"),
        header(request, "To").expect("To"),
        header(request, "CSeq").expect("a CSeq"),
    )
}

/// A 200 of finch 2.14.12: all headers of the request in its order, but for Content-Length and what a tag would add.
fn finch_answers(request: &str) -> String {
    let lines = head(request).lines().skip(1).filter(|line| !line.starts_with("Content-Length"));
    let echoed: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("SIP/2.0 200 OK\r\n{echoed}Content-Length: 0\r\n\r\n")
}

/// A 415 of baresip 1.0.0.
fn baresip_refuses(request: &str) -> String {
    let line = |name: &str| format!("{name}: {}\r\n", header(request, name).unwrap_or_default());
    format!(
        "SIP/2.0 415 Unsupported Media Type\r\n{}{}To: {};tag=a380cf4a9a28a0da\r\n{}{}\
         Server: baresip v1.0.0 (x86_64/linux)\r\nAccept: text/plain\r\nContent-Length: 0\r\n\r\n",
        line("Via"),
        line("From"),
        header(request, "To").unwrap_or_default(),
        line("CSeq"),
        line("Call-ID"),
    )
}

/// Plays what a client wrote, each with the text that has to cross, if any; answered as pjsua does.
fn plays(stanzas: &[(&str, Option<&str>)]) -> Vec<String> {
    let mut world = World::new();
    let mut requests = Vec::new();
    for (stanza, text) in stanzas {
        world.server_writes(*stanza);
        let request = world.take_datagram();
        let crossed = request.as_deref().map(|request| body(request).replace("\r\n", "\n"));
        assert_eq!(crossed.as_deref(), *text, "{stanza}");
        if let Some(request) = request {
            world.proxy_sends(pjsua_answers(&request));
            requests.push(request);
        }
        // Receipts at most: no error, and nothing that anybody would read.
        for stanza in world.take_stanzas() {
            assert!(stanza.contains("<received xmlns='urn:xmpp:receipts'") && !stanza.contains("<body"), "{stanza}");
        }
        assert_eq!(world.take_datagram(), None, "{stanza}");
    }
    world.assert_quiet();
    requests
}

/// profanity 0.13.1 on Prosody 0.12.3: chat states, receipts asked for and sent (of type normal), a correction.
#[test]
fn profanity_chats() {
    let requests = plays(&[
        (
            "<message from='juliet@xmpp.example/profanity.QQAW' to='alice@sip.example' type='chat' xml:lang='en' \
             id='BWUu5zubyw6Oebc84396d7f2834ffa4e0d926045a2c88bef5708b8c'>\
             <body>hi &lt;&amp;&gt; &quot;q&quot; 😀 from profanity</body>\
             <active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>",
            Some("hi <&> \"q\" 😀 from profanity"),
        ),
        (
            "<message xml:lang='en' from='juliet@xmpp.example/profanity.QQAW' to='alice@sip.example' \
             id='SaeNsxyRJ5ZsTYDcbb8c336141b0d9a1aabd0cd136365838651ca92'><received xmlns='urn:xmpp:receipts' \
             id='a-BWUu5zubyw6Oebc84396d7f2834ffa4e0d926045a2c88bef5708b8c'/></message>",
            None,
        ),
        (
            "<message from='juliet@xmpp.example/profanity.QQAW' to='alice@sip.example' type='chat' xml:lang='en' \
             id='XuBOQHA8FcSxZXP28263a59bd764363b3d24d3b83ed794b11010ed4'>\
             <composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
            None,
        ),
        (
            "<message from='juliet@xmpp.example/profanity.QQAW' to='alice@sip.example' type='chat' xml:lang='en' \
             id='39VIrpAfNVWX7k4f0a836b7b48aeb889a64188231244aa6076535f7'><body>second message, corrected</body>\
             <active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>\
             <replace xmlns='urn:xmpp:message-correct:0' \
             id='p5Bl0zbtYS8qYAg2750ac4d9fefea196b95f1d2bb8899f1d1f288fe'/></message>",
            Some("second message, corrected"),
        ),
        (
            "<message from='juliet@xmpp.example/profanity.QQAW' to='alice@sip.example' type='chat' xml:lang='en' \
             id='SQXvpG92sbYyrUXbacf38a7e4445b92f284d1b3ce1487738c6f25b9'>\
             <gone xmlns='http://jabber.org/protocol/chatstates'/></message>",
            None,
        ),
    ]);
    assert!(requests.iter().all(|request| header(request, "Content-Language") == Some("en")), "{requests:?}");
}

/// finch 2.14.12 as an XMPP client: the state before the body, a second form of the text, typing.
#[test]
fn finch_chats() {
    plays(&[
        (
            "<message from='romeo@xmpp.example/finch' to='alice@sip.example' type='chat' xml:lang='en' \
             id='purple57ecb3ee'><active xmlns='http://jabber.org/protocol/chatstates'/>\
             <body>hi &lt;&amp;&gt; bold 😀\nline2</body><html xmlns='http://jabber.org/protocol/xhtml-im'>\
             <body xmlns='http://www.w3.org/1999/xhtml'><p>hi &lt;&amp;&gt; <span style='font-weight: bold;'>bold\
             </span> 😀<br/>line2</p></body></html></message>",
            Some("hi <&> bold 😀\nline2"),
        ),
        (
            "<message from='romeo@xmpp.example/finch' to='alice@sip.example' type='chat' xml:lang='en' \
             id='purple57ecb3ef'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
            None,
        ),
        (
            "<message from='romeo@xmpp.example/finch' to='alice@sip.example' type='chat' xml:lang='en' \
             id='purple57ecb3f0'><active xmlns='http://jabber.org/protocol/chatstates'/><body>after typing</body>\
             </message>",
            Some("after typing"),
        ),
    ]);
}

/// slixmpp 1.8.3 through Prosody 0.12.3: what the server leaves as it is.
#[test]
fn slixmpp_chats() {
    let requests = plays(&[
        (
            "<message to='alice@sip.example' type='chat' from='juliet@xmpp.example/balcony' xml:lang='en' \
             id='8893da7a9ae94b47bd1f37e9ae353b43'><body>hi &lt;&amp;&gt; &quot;q&quot; &apos;a&apos; 😀\nline2</body>\
             <request xmlns='urn:xmpp:receipts'/><active xmlns='http://jabber.org/protocol/chatstates'/>\
             <markable xmlns='urn:xmpp:chat-markers:0'/><origin-id xmlns='urn:xmpp:sid:0' id='o1'/></message>",
            Some("hi <&> \"q\" 'a' 😀\nline2"),
        ),
        (
            "<message to='alice@sip.example' type='chat' from='juliet@xmpp.example/balcony' xml:lang='en' \
             id='035d2e1b0f0840d2bd1ad5cdc7405a17'><paused xmlns='http://jabber.org/protocol/chatstates'/></message>",
            None,
        ),
        (
            "<message to='alice@sip.example' type='normal' from='juliet@xmpp.example/balcony' xml:lang='en' \
             id='a8065a2021044c9d9df04a7a1a585fb8'><body>with a subject</body><subject>subj &amp; &lt;x&gt;</subject>\
             </message>",
            Some("with a subject"),
        ),
        (
            "<message to='alice@sip.example' type='chat' from='juliet@xmpp.example/balcony' xml:lang='en' \
             id='96de7041570e491c8da70c35c5ffe802'><body>https://example.org/f.jpg</body><x xmlns='jabber:x:oob'>\
             <url>https://example.org/f.jpg</url></x></message>",
            Some("https://example.org/f.jpg"),
        ),
        (
            "<message to='alice@sip.example' type='headline' from='juliet@xmpp.example/balcony' xml:lang='en' \
             id='6ffced47f6b64c40b36ee67c75197564'><body>x</body></message>",
            None,
        ),
    ]);
    assert_eq!(header(&requests[1], "Subject"), Some("subj & <x>"));
}

/// libpurple answers without a tag in To and with the headers of the request: it has taken the text, and the sender who
/// asked for a receipt gets one.
#[test]
fn finch_answers_without_a_tag() {
    let mut world = World::new();
    world.server_writes(
        "<message from='romeo@xmpp.example/o' to='bob@sip.example' id='m'><body>hello</body>\
         <request xmlns='urn:xmpp:receipts'/></message>",
    );
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(finch_answers(&request));
    let receipt = world.take_stanza().expect("a receipt");
    assert!(receipt.contains("<received xmlns='urn:xmpp:receipts' id='m'/>"), "{receipt}");
    // The next one does not wait for anything.
    world
        .server_writes("<message from='romeo@xmpp.example/o' to='bob@sip.example' id='n'><body>again</body></message>");
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(finch_answers(&request));
    world.assert_quiet();
}

/// baresip says what it takes when it refuses: the sender is told what kind of failure it was.
#[test]
fn baresip_refuses_what_it_does_not_know() {
    let mut world = World::new();
    world.server_writes(
        "<message from='romeo@xmpp.example/o' to='carol@sip.example' id='m'><body>hello</body></message>",
    );
    let request = world.take_datagram().expect("a request");
    world.proxy_sends(baresip_refuses(&request));
    let error = world.take_stanza().expect("an error");
    assert_eq!((attribute(&error, "from"), attribute(&error, "id")), (Some("carol@sip.example"), Some("m")), "{error}");
    assert!(error.contains("<error type='modify'><not-acceptable "), "{error}");
    world.assert_quiet();
}
