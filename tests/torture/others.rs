//! The nurse on the SIP side and benvolio on the XMPP side, who have nothing to do with it all.

use entente_tests::world::{World, message, proxy, response, status};
use std::time::Duration;

/// What the engine said to something, everything that follows by itself included.
pub(crate) struct Said {
    /// Datagrams in their order.
    pub(crate) datagrams: Vec<Vec<u8>>,
    /// Stanzas in their order, pings of the barrier left out.
    pub(crate) stanzas: Vec<String>,
}

/// Returns every ping until nothing more follows.
pub(crate) fn settle(world: &mut World) -> Said {
    let mut stanzas = Vec::new();
    while let Some(stanza) = world.take_stanza() {
        if stanza.contains("<ping xmlns='urn:xmpp:ping'/>") {
            world.server_writes(&stanza);
        } else {
            stanzas.push(stanza);
        }
    }
    let sent: Vec<_> = world.datagrams.drain(..).collect();
    assert!(sent.iter().all(|(peer, _)| peer.ip() == proxy().ip()), "nobody else is sent anything: {sent:?}");
    Said { datagrams: sent.into_iter().map(|(_, bytes)| bytes).collect(), stanzas }
}

/// Others write to each other in both directions, over the stream that stands.
pub(crate) fn go_on(world: &mut World, n: u32, after: &str) {
    let text = format!("the others, {n}");
    let request = message(1_000_000 + n, "benvolio@xmpp.example", &text).replace("juliet", "nurse");
    world.proxy_sends(request);
    let said = settle(world);
    assert_eq!(said.stanzas.len(), 1, "after {after}: {:?}", said.stanzas);
    assert!(said.stanzas[0].contains("from='nurse@sip.example'"), "after {after}: {:?}", said.stanzas);
    assert!(said.stanzas[0].contains(&format!("<body>{text}</body>")), "after {after}: {:?}", said.stanzas);
    assert_eq!(said.datagrams.len(), 1, "after {after}");
    assert_eq!(status(&String::from_utf8_lossy(&said.datagrams[0])), Some(202), "after {after}");

    world.server_writes(format!(
        "<message from='benvolio@xmpp.example/x' to='nurse@sip.example' id='o{n}'><body>{text}</body></message>"
    ));
    let said = settle(world);
    assert_eq!(said.datagrams.len(), 1, "after {after}");
    let request = String::from_utf8_lossy(&said.datagrams[0]).into_owned();
    assert!(request.starts_with("MESSAGE sip:nurse@sip.example SIP/2.0\r\n"), "after {after}: {request}");
    assert!(request.ends_with(&text), "after {after}: {request}");
    world.proxy_sends(response(&request, "200 OK", ""));
    let said = settle(world);
    assert!(said.datagrams.is_empty() && said.stanzas.is_empty(), "after {after}: {:?}", said.stanzas);
}

/// Lets every timer of a transaction pass: nothing more comes, and no table holds anything.
pub(crate) fn quiet(world: &mut World, after: &str) {
    world.advance(Duration::from_secs(40));
    let said = settle(world);
    let datagrams: Vec<String> = said.datagrams.iter().map(|bytes| String::from_utf8_lossy(bytes).into()).collect();
    assert_eq!(datagrams, Vec::<String>::new(), "after {after}");
    assert_eq!(said.stanzas, Vec::<String>::new(), "after {after}");
    assert_eq!(world.engine.open(), 0, "after {after}: something is left in a table");
    assert!(world.stream.is_some() && world.closes.is_empty() && world.engine.is_ready(), "after {after}");
}

/// The gateway connects again, and the server accepts it.
pub(crate) fn come_back(world: &mut World, after: &str) {
    let start = world.now;
    while world.connects.is_empty() {
        world.advance(Duration::from_millis(100));
        assert!(world.now - start < Duration::from_secs(31), "after {after}: it comes back");
    }
    world.accept_component();
}

/// A response as one line: its status line and, where it has one, the text of its Warning.
pub(crate) fn summary(response: &[u8]) -> String {
    let text = String::from_utf8_lossy(response);
    let Some(line) = text.lines().next().and_then(|line| line.strip_prefix("SIP/2.0 ")) else {
        return format!("no response: {text}");
    };
    assert!(text.ends_with("Content-Length: 0\r\n\r\n"), "a whole response: {text}");
    match text.lines().find_map(|line| line.strip_prefix("Warning: 399 gw.example \"")) {
        Some(warning) => format!("{line}; {}", warning.trim_end_matches('"')),
        None => line.to_owned(),
    }
}
