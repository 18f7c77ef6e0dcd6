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
                draft.replace(part, table::octets(value));
                draft.print()
            }
        };
        assert!(bytes.len() <= 65_507, "{name}: {} octets are no datagram", bytes.len());
        world.proxy_sends(&bytes);
        let said = others::settle(&mut world);
        let answer = match &said.datagrams[..] {
            [] => "silence".to_owned(),
            [one] => {
                others::assert_made_of(&bytes, one, name);
                others::summary(one)
            }
            many => format!("{} datagrams", many.len()),
        };
        others::acknowledge(&mut world, &bytes, &said);
        let found = match &said.stanzas[..] {
            [] => answer,
            // What crosses is shown by its text, a long one by its length.
            [stanza] => {
                let from = entente_tests::world::attribute(stanza, "from").unwrap_or_default();
                let body = stanza.split_once("<body>").and_then(|(_, rest)| rest.split_once("</body>"));
                let body = body.map_or("no body", |(body, _)| body);
                format!("{answer}; {}: {}", shown(from), shown(body))
            }
            many => format!("{} stanzas", many.len()),
        };
        if found != expected {
            wrong += &format!("{name}\t{expected}\t{found}\n");
        }
        others::go_on(&mut world, n as u32, name);
        others::quiet(&mut world, name);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
