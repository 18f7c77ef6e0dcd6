//! The XMPP server: accepts, reads, returns pings, bounces, hangs and resets.

use super::{Arrival, Event, KERNEL, Simulation, body_number};
use crate::mutant::Mutant;
use entente_tests::world::attribute;
use turn::{CloseCause, Input, Machine, StreamId};

impl Simulation {
    pub(super) fn accepts(&mut self, stream: StreamId) {
        if self.dice.percent(20) {
            return self.gone(stream, CloseCause::Refused);
        }
        self.stream = Some(stream);
        self.server = xml::Framer::new(xml::Limits::default());
        self.tap = xml::Framer::new(xml::Limits::default());
        self.tapped_to = 0;
        for buffer in [&mut self.kernel, &mut self.arrived, &mut self.tapped, &mut self.unconsumed] {
            buffer.clear();
        }
        self.engine.handle_input(self.now, Input::Connected { stream, peer: ([192, 0, 2, 7], 5347).into() });
        self.turn();
    }

    pub(super) fn gone(&mut self, stream: StreamId, cause: CloseCause) {
        let known = self.stream == Some(stream);
        if !known && cause == CloseCause::Failed {
            return;
        }
        self.note(|| format!("the stream is gone: {cause:?}"));
        if known {
            self.stream = None;
            self.standing = false;
            self.ledger.stream_gone(self.now);
        }
        self.engine.handle_input(self.now, Input::Closed { stream, cause });
        self.engine.output().forget(stream);
        self.turn();
    }

    pub(super) fn server_reads(&mut self, stream: StreamId) {
        if self.stream != Some(stream) || self.hung.is_some_and(|until| self.now < until) {
            return;
        }
        let bytes = std::mem::take(&mut self.kernel);
        self.arrived.extend_from_slice(&bytes);
        loop {
            let (stanza, consumed) = match self.server.scan(&self.arrived).expect("what the gateway writes is XML") {
                xml::Frame::Header { consumed, .. } => (Some("header".to_owned()), consumed),
                xml::Frame::Stanza { bytes, consumed } => {
                    (Some(String::from_utf8(bytes.to_vec()).expect("UTF-8")), consumed)
                }
                xml::Frame::Incomplete { consumed } => (None, consumed),
                _ => return,
            };
            self.arrived.drain(..consumed);
            let Some(stanza) = stanza else { break };
            self.server_has_read(stream, &stanza);
        }
        self.drain(stream);
    }

    fn server_has_read(&mut self, stream: StreamId, stanza: &str) {
        let text = |text: &str| Arrival::Text(text.to_owned());
        if stanza == "header" {
            let header = "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
                          xmlns='jabber:component:accept' from='sip.example' id='3BF96D32'>";
            return self.after(1, Event::Arrives { stream, what: text(header) });
        }
        if stanza.starts_with("<handshake") {
            self.standing = true;
            self.ledger.stream_up(self.now);
            return self.after(1, Event::Arrives { stream, what: text("<handshake/>") });
        }
        if stanza.contains("urn:xmpp:ping") {
            let delay = match self.dice.below(100) {
                0 if self.weather.faults > 0 => return,
                1..8 => self.dice.below(3000),
                _ => self.dice.below(30),
            };
            let id = attribute(stanza, "id").unwrap_or_default().to_owned();
            return self.after(delay, Event::Arrives { stream, what: Arrival::Ping { id, text: stanza.to_owned() } });
        }
        let Some(n) = body_number(stanza, "sip ") else { return };
        self.ledger.stanza_read(n);
        if self.strikes(Mutant::DuplicateStanza) {
            self.ledger.stanza_read(n);
        }
        if self.dice.percent(self.weather.bounces) {
            let (from, to) =
                (attribute(stanza, "to").unwrap_or_default(), attribute(stanza, "from").unwrap_or_default());
            let id = attribute(stanza, "id").unwrap_or_default();
            let bounce = format!(
                "<message from='{from}' to='{to}' id='{id}' type='error'><error type='cancel'>\
                 <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
            );
            let limit = self.dice.one_of(&[5, 60, 3000]);
            let delay = self.dice.below(limit);
            self.after(delay, Event::Arrives { stream, what: Arrival::Bounce { n, text: bounce } });
        }
    }

    /// The kernel takes what fits.
    pub(super) fn drain(&mut self, stream: StreamId) {
        let output = self.engine.output();
        let unsent = output.unsent(stream);
        let taken = unsent[..unsent.len().min(KERNEL - self.kernel.len().min(KERNEL))].to_vec();
        output.sent(stream, taken.len());
        if !taken.is_empty() {
            self.kernel.extend_from_slice(&taken);
            let delay = 1 + self.dice.below(5);
            self.after(delay, Event::Reads { stream });
        }
        if self.ledger.is_idle() && self.strikes_idle() {
            self.ledger.ping_out("idle");
        }
    }

    fn strikes_idle(&mut self) -> bool {
        self.standing && self.strikes(Mutant::IdlePing)
    }
}
