//! Inputs of our own to the SIP side: a table of spoiled requests.

use crate::{others, table};
use entente_tests::world::World;

/// The parts of an ordinary request, each of which a row may replace.
struct Draft {
    start: Vec<u8>,
    via: Vec<u8>,
    max_forwards: Vec<u8>,
    from: Vec<u8>,
    to: Vec<u8>,
    call_id: Vec<u8>,
    cseq: Vec<u8>,
    content_type: Vec<u8>,
    content_length: Option<Vec<u8>>,
    more: Vec<u8>,
    body: Vec<u8>,
}

impl Draft {
    fn new(n: usize) -> Self {
        Self {
            start: b"MESSAGE sip:romeo@xmpp.example SIP/2.0".to_vec(),
            via: format!("Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-h{n}").into_bytes(),
            max_forwards: b"Max-Forwards: 70".to_vec(),
            from: format!("From: <sip:juliet@sip.example>;tag=h{n}").into_bytes(),
            to: b"To: <sip:romeo@xmpp.example>".to_vec(),
            call_id: format!("Call-ID: h{n}").into_bytes(),
            cseq: b"CSeq: 1 MESSAGE".to_vec(),
            content_type: b"Content-Type: text/plain".to_vec(),
            content_length: None,
            more: Vec::new(),
            body: b"hello".to_vec(),
        }
    }

    fn print(&self) -> Vec<u8> {
        let length = format!("Content-Length: {}", self.body.len()).into_bytes();
        let mut bytes = Vec::new();
        let lines = [
            &self.start,
            &self.via,
            &self.max_forwards,
            &self.from,
            &self.to,
            &self.call_id,
            &self.cseq,
            &self.content_type,
            &self.more,
            self.content_length.as_ref().unwrap_or(&length),
        ];
        for line in lines.into_iter().filter(|line| !line.is_empty()) {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Replaces the parts that a row names, each with its value: `a+b` and `value of a | value of b`.
    fn replace_all(&mut self, parts: &str, values: &str, change: impl Fn(&str, Vec<u8>) -> Vec<u8>) {
        let several = parts.contains('+');
        let values: Vec<&str> = if several { values.split(" | ").collect() } else { vec![values] };
        assert_eq!(parts.split('+').count(), values.len(), "{parts}: a value for each");
        for (part, value) in parts.split('+').zip(values) {
            self.replace(part, change(part, table::octets(value)));
        }
    }

    fn replace(&mut self, part: &str, value: Vec<u8>) {
        *match part {
            "start" => &mut self.start,
            "via" => &mut self.via,
            "max-forwards" => &mut self.max_forwards,
            "from" => &mut self.from,
            "to" => &mut self.to,
            "call-id" => &mut self.call_id,
            "cseq" => &mut self.cseq,
            "content-type" => &mut self.content_type,
            "content-length" => self.content_length.insert(Vec::new()),
            "more" => &mut self.more,
            "body" => &mut self.body,
            _ => panic!("{part} is no part of a request"),
        } = value;
    }
}

/// What was said to a request, and what crossed of it.
fn found(said: &others::Said, request: &[u8], name: &str) -> String {
    let answer = match &said.datagrams[..] {
        [] => "silence".to_owned(),
        [one] => {
            others::assert_made_of(request, one, name);
            others::summary(one)
        }
        many => format!("{} answers", many.len()),
    };
    match &said.stanzas[..] {
        [] => answer,
        // What crosses is shown by its text, a long one by its length.
        [stanza] => {
            let from = entente_tests::world::attribute(stanza, "from").unwrap_or_default();
            let body = stanza.split_once("<body>").and_then(|(_, rest)| rest.split_once("</body>"));
            let body = body.map_or("no body", |(body, _)| body);
            format!("{answer}; {}: {}", shown(from), shown(body))
        }
        many => format!("{} stanzas", many.len()),
    }
}

fn shown(text: &str) -> String {
    if text.len() > 60 { format!("{} octets", text.len()) } else { text.escape_debug().to_string() }
}

#[test]
fn every_spoiled_request_gets_its_answer_and_hurts_nobody() {
    let mut world = World::new();
    let mut wrong = String::new();
    for (n, [name, part, value, expected]) in table::rows::<4>(include_str!("sip.tsv")).into_iter().enumerate() {
        let bytes = match part {
            "datagram" => table::octets(value),
            _ => {
                let mut draft = Draft::new(n);
                draft.replace_all(part, value, |_, octets| octets);
                draft.print()
            }
        };
        assert!(bytes.len() <= 65_507, "{name}: {} octets are no datagram", bytes.len());
        world.proxy_sends(&bytes);
        let said = others::settle(&mut world);
        let found = found(&said, &bytes, name);
        others::acknowledge(&mut world, &bytes, &said);
        if found != expected {
            wrong += &format!("{name}\t{expected}\t{found}\n");
        }
        others::go_on(&mut world, n as u32, name);
        others::quiet(&mut world, name);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// A Via of a row as it stands in a request over TCP.
fn over_tcp(part: &str, value: Vec<u8>) -> Vec<u8> {
    if part != "via" {
        return value;
    }
    let at = memchr::memmem::find(&value, b"/UDP");
    at.map_or(value.clone(), |at| [&value[..at], b"/TCP", &value[at + 4..]].concat())
}

/// The same over connections, each of one neighbour's own: the same answers, but for what no stream can be read past. Whoever
/// has sent that loses his connection, and nobody else does.
#[test]
fn every_spoiled_request_gets_its_answer_over_tcp_and_hurts_nobody() {
    let mut world = World::with(|settings| settings.sip.connections = 1000);
    let others_stream = world.sip_connects((entente_tests::world::proxy().ip(), 1).into());
    let differing = table::rows::<3>(include_str!("sip_tcp.tsv"));
    let mut met = 0;
    let mut wrong = String::new();
    for (n, [name, part, value, over_udp]) in table::rows::<4>(include_str!("sip.tsv")).into_iter().enumerate() {
        if part == "datagram" {
            continue;
        }
        let mut draft = Draft::new(n);
        draft.via = String::from_utf8_lossy(&draft.via).replace("/UDP", "/TCP").into_bytes();
        draft.replace_all(part, value, over_tcp);
        let bytes = draft.print();
        let stream = world.sip_connects((entente_tests::world::proxy().ip(), 10_000 + n as u16).into());
        world.sip_writes(stream, &bytes);
        let mut said = others::settle(&mut world);
        assert!(said.datagrams.is_empty(), "{name}");
        said.datagrams.extend(std::iter::from_fn(|| world.sip_reads_bytes(stream)));
        // Line ends in front of a request are a keep-alive as well.
        said.datagrams.retain(|answer| answer != b"\r\n");
        let (expected, end) = match differing.iter().find(|row| row[0] == name) {
            Some([_, expected, end]) => {
                met += 1;
                (*expected, *end)
            }
            None => (over_udp, "open"),
        };
        let found = found(&said, &bytes, name);
        world.advance(sip::transport::PATIENCE);
        let found_end = if world.is_closed_by_gateway(stream) { "closed" } else { "open" };
        if (&*found, found_end) != (expected, end) {
            wrong += &format!("{name}\t{found}\t{found_end}\n");
        }
        // Where many users share a connection, as behind a proxy, the next one's message goes over the same.
        if found_end == "open" {
            others::go_on_over(&mut world, stream, 10_000 + n as u32, name);
            world.sip_closes(stream);
        }
        others::go_on(&mut world, n as u32, name);
        others::go_on_over(&mut world, others_stream, n as u32, name);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert_eq!(met, differing.len(), "each row of sip_tcp.tsv is about one of sip.tsv");
    others::quiet(&mut world, "all of them");
}
