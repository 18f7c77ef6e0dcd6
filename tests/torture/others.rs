//! The nurse on the SIP side and benvolio on the XMPP side, who have nothing to do with it all.

use entente_tests::world::{World, message, proxy, response, status};
use sip::wire::{self, CSeq, Carriage, HeaderName, Limits, Message, Method, NameAddr};
use std::time::Duration;
use turn::StreamId;

/// What the engine said to something, everything that follows by itself included.
pub(crate) struct Said {
    /// Datagrams in their order.
    pub(crate) datagrams: Vec<Vec<u8>>,
    /// Stanzas in their order, pings of the barrier left out.
    pub(crate) stanzas: Vec<String>,
}

/// Returns every ping until nothing more follows. Nobody but the neighbour is sent anything.
pub(crate) fn settle(world: &mut World) -> Said {
    settle_with(world, |world| {
        let mut peers = world.datagrams.iter().map(|(peer, _)| peer.ip());
        assert!(peers.all(|peer| peer == proxy().ip()), "nobody else is sent anything: {:?}", world.datagrams);
    })
}

/// The same where strangers get answers too.
pub(crate) fn settle_all(world: &mut World) -> Said {
    settle_with(world, |_| {})
}

fn settle_with(world: &mut World, check: impl FnOnce(&World)) -> Said {
    let mut stanzas = Vec::new();
    while let Some(stanza) = world.take_stanza() {
        if stanza.contains("<ping xmlns='urn:xmpp:ping'/>") {
            world.server_writes(&stanza);
        } else {
            stanzas.push(stanza);
        }
    }
    check(world);
    Said { datagrams: world.datagrams.drain(..).map(|(_, bytes)| bytes).collect(), stanzas }
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

/// Somebody else writes over a connection that stands.
pub(crate) fn go_on_over(world: &mut World, stream: StreamId, n: u32, after: &str) {
    let text = format!("over my connection, {n}");
    let request = message(2_000_000 + n, "benvolio@xmpp.example", &text).replace("/UDP", "/TCP");
    world.sip_writes(stream, request.replace("juliet", "nurse"));
    let said = settle(world);
    assert_eq!(said.stanzas.len(), 1, "after {after}: {:?}", said.stanzas);
    assert!(said.stanzas[0].contains(&format!("<body>{text}</body>")), "after {after}: {:?}", said.stanzas);
    assert_eq!(world.sip_reads(stream).as_deref().and_then(status), Some(202), "after {after}");
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
    await_connection(world, after);
    world.accept_component();
}

/// Lets time pass until the gateway connects to the server.
pub(crate) fn await_connection(world: &mut World, after: &str) {
    let start = world.now;
    while world.connects.is_empty() {
        world.advance(Duration::from_millis(100));
        assert!(world.now - start < Duration::from_secs(31), "after {after}: it comes back");
    }
}

/// Acknowledges the refusal of an INVITE as its sender does (RFC 3261 17.1.1.3); other answers ask for nothing.
pub(crate) fn acknowledge(world: &mut World, request: &[u8], said: &Said) {
    let limits = Limits::default();
    let Ok(Message::Request(request)) = wire::parse(request, Carriage::Datagram, &limits) else { return };
    let refused = said.datagrams.iter().find(|answer| !String::from_utf8_lossy(answer).starts_with("SIP/2.0 1"));
    let Some(answer) = refused.filter(|_| request.method == Method::Invite) else { return };
    let Ok(Message::Response(answer)) = wire::parse(answer, Carriage::Datagram, &limits) else { panic!("a response") };
    let Some(number) = request.head.first(HeaderName::CSeq).and_then(|value| CSeq::parse(value).ok()) else { return };
    let mut ack = Vec::new();
    wire::print::request_line(Method::Ack, request.uri, &mut ack);
    wire::print::header(HeaderName::Via, request.via.raw, &mut ack);
    wire::print::header(HeaderName::MaxForwards, b"70", &mut ack);
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId] {
        wire::print::header(name, answer.head.first(name).unwrap_or_default(), &mut ack);
    }
    wire::print::cseq(number.number, Method::Ack, &mut ack);
    wire::print::body(b"", &mut ack);
    world.proxy_sends(ack);
    assert!(settle(world).datagrams.is_empty(), "an ACK is never answered");
}

/// Holds an answer against its request (RFC 3261 8.2.6): every field is a copy, To but for its tag and the top Via but for
/// what the server transport notes in it (18.2.1, RFC 3581); what else stands there is what the status asks for.
pub(crate) fn assert_made_of(request: &[u8], answer: &[u8], context: &str) {
    let (asked, told) = (fields(request), fields(answer));
    let all = |of: &[(String, Vec<u8>)], name: &str| -> Vec<Vec<u8>> {
        of.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    };
    let shown = || format!("{context}: {}\n{}", request.escape_ascii(), String::from_utf8_lossy(answer));
    let (mut vias, expected) = (all(&told, "via"), all(&asked, "via"));
    assert_eq!(vias.len(), expected.len(), "{}", shown());
    let top = without_notes(&vias[0]);
    assert_eq!(top.escape_ascii().to_string(), without_notes(&expected[0]).escape_ascii().to_string(), "{}", shown());
    vias[0] = expected[0].clone();
    assert_eq!(vias, expected, "{}", shown());
    for name in ["from", "call-id", "cseq"] {
        assert_eq!(all(&told, name).first(), all(&asked, name).first(), "{name} of {}", shown());
        assert!(all(&told, name).len() <= 1, "{name} of {}", shown());
    }
    let (to, asked_to) = (all(&told, "to"), all(&asked, "to"));
    if let Some(asked_to) = asked_to.first() {
        let tag = to[0].strip_prefix(&asked_to[..]).unwrap_or_else(|| panic!("To of {}", shown()));
        let needed = NameAddr::parse(asked_to).is_ok_and(|to| to.tag.is_none());
        let minted = tag.strip_prefix(b";tag=").is_some_and(|tag| tag.len() == 13);
        assert!(if needed { minted } else { tag.is_empty() }, "the tag of {}", shown());
    }
    let status = status(&String::from_utf8_lossy(answer)).unwrap_or_default();
    let mut rest: Vec<&str> = told.iter().map(|(name, _)| &**name).collect();
    rest.retain(|name| !["via", "from", "to", "call-id", "cseq", "warning"].contains(name));
    let options = request.starts_with(b"OPTIONS ");
    let due: &[&[&str]] = match status {
        200 if options => &[&["allow", "accept", "accept-encoding", "accept-language", "supported", "content-length"]],
        405 => &[&["allow", "content-length"]],
        415 => &[&["accept", "content-length"], &["accept-encoding", "content-length"]],
        420 => &[&["unsupported", "content-length"]],
        // Some of them are answered before anybody knows what is allowed here.
        501 => &[&["allow", "content-length"], &["content-length"]],
        _ => &[&["content-length"]],
    };
    assert!(due.contains(&&rest[..]), "{rest:?} in {}", shown());
    assert!(answer.ends_with(b"\r\nContent-Length: 0\r\n\r\n"), "{}", shown());
}

/// The header fields of a message, read as simply as can be: names in lower case and in their long form, values without white
/// space around them.
fn fields(message: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let start = message.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(0);
    for line in message[start..].split_inclusive(|&byte| byte == b'\n') {
        if line == b"\r\n" || line == b"\n" {
            break;
        }
        match lines.last_mut().filter(|_| line.starts_with(b" ") || line.starts_with(b"\t")) {
            Some(before) => before.extend_from_slice(line),
            None => lines.push(line.to_vec()),
        }
    }
    let named = lines.iter().skip(1).filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = String::from_utf8_lossy(line[..colon].trim_ascii()).to_lowercase();
        let name = match &*name {
            "v" => "via".into(),
            "f" => "from".into(),
            "t" => "to".into(),
            "i" => "call-id".into(),
            _ => name,
        };
        Some((name, line[colon + 1..].trim_ascii().to_vec()))
    });
    named.collect()
}

/// A Via without `received` and without the value of `rport`.
fn without_notes(via: &[u8]) -> Vec<u8> {
    let (top, rest) = via.split_at(via.iter().position(|&byte| byte == b',').unwrap_or(via.len()));
    let parts = top.split(|&byte| byte == b';').filter(|part| !part.trim_ascii().starts_with(b"received"));
    let parts = parts.map(|part| if part.trim_ascii().starts_with(b"rport") { b"rport" } else { part });
    [parts.collect::<Vec<_>>().join(&b';'), rest.to_vec()].concat()
}

/// A request of ours is one that we would take ourselves: whatever somebody wrote, it makes no header field too long, too
/// many, or of another kind.
pub(crate) fn assert_usable(request: &[u8]) {
    const WRITTEN: [&str; 17] = [
        "via",
        "max-forwards",
        "from",
        "to",
        "call-id",
        "cseq",
        "contact",
        "subject",
        "content-type",
        "content-language",
        "content-length",
        "date",
        "expires",
        "priority",
        "user-agent",
        "allow",
        "route",
    ];
    let shown = || String::from_utf8_lossy(request).into_owned();
    let limits = Limits::default();
    let Ok(Message::Request(read)) = wire::parse(request, Carriage::Datagram, &limits) else { panic!("{}", shown()) };
    assert!(read.check(&limits).is_ok(), "{}", shown());
    let mut names: Vec<String> = fields(request).into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a field twice: {}", shown());
    assert!(names.iter().all(|name| WRITTEN.contains(&&**name)), "{names:?} in {}", shown());
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
