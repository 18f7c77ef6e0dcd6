//! Component streams: octets under way in both directions, and what crosses the engine's edge in them.

use super::server::{Meaning, Words};
use super::{Event, Simulation};
use crate::ledger::Breach;
use crate::mutant::Mutant;
use crate::weather::Fault;
use entente_tests::world::attribute;
use std::collections::VecDeque;
use turn::{Input, Machine, StreamId};

/// What a slow server reads at a time.
const SLOWLY: usize = 150;

/// One component stream.
pub(super) struct Link {
    /// The gateway's end, while that is there.
    pub(super) stream: Option<StreamId>,
    /// The server's end is there.
    pub(super) stands: bool,
    /// The handshake is done.
    pub(super) greeted: bool,
    /// The server has ended the stream, and says nothing more in it.
    pub(super) has_ended: bool,
    /// The gateway has ended the stream, and takes nothing more from it.
    closing: bool,
    /// Some bytes had to wait in the gateway.
    pub(super) piled: bool,
    /// With the kernel, not read by the server.
    pub(super) kernel: Vec<u8>,
    /// Read, and no whole stanza.
    pub(super) arrived: Vec<u8>,
    framer: xml::Framer,
    reads: bool,
    /// Said by the server and not arrived at the gateway.
    pipe: Vec<u8>,
    said: u64,
    heard: u64,
    /// Where in it stanzas end that mean something.
    ends: VecDeque<(u64, Meaning)>,
    unconsumed: Vec<u8>,
    /// Reads along what the engine writes, before any of it leaves.
    tap: xml::Framer,
    tapped: Vec<u8>,
    tapped_to: u64,
}

impl Link {
    pub(super) fn new(stream: StreamId) -> Self {
        Self {
            stream: Some(stream),
            stands: true,
            greeted: false,
            has_ended: false,
            closing: false,
            piled: false,
            kernel: Vec::new(),
            arrived: Vec::new(),
            framer: xml::Framer::new(xml::Limits::default()),
            reads: false,
            pipe: Vec::new(),
            said: 0,
            heard: 0,
            ends: VecDeque::new(),
            unconsumed: Vec::new(),
            tap: xml::Framer::new(xml::Limits::default()),
            tapped: Vec::new(),
            tapped_to: 0,
        }
    }

    /// The gateway's end is gone without a word.
    pub(super) fn cut(&mut self, reset: bool) {
        self.stream = None;
        self.greeted = false;
        if reset {
            self.stands = false;
            self.kernel.clear();
        }
    }
}

/// The next whole stanza of some octets: `header` for the beginning of the stream, and its end tag.
fn next_stanza(framer: &mut xml::Framer, octets: &mut Vec<u8>) -> Result<Option<String>, ()> {
    let (stanza, consumed) = match framer.scan(octets).map_err(|_| ())? {
        xml::Frame::Header { consumed, .. } => (Some("header".to_owned()), consumed),
        xml::Frame::Stanza { bytes, consumed } => (Some(String::from_utf8(bytes.to_vec()).map_err(|_| ())?), consumed),
        xml::Frame::Close { consumed } => (Some("</stream:stream>".to_owned()), consumed),
        xml::Frame::Incomplete { consumed } => (None, consumed),
        _ => return Err(()),
    };
    octets.drain(..consumed);
    Ok(stanza)
}

impl Simulation {
    /// What the server says is on its way.
    pub(super) fn say(&mut self, link: u64, what: Words) {
        let Words { mut text, meaning } = what;
        if let Meaning::Bounce { id, .. } = &meaning {
            let late = self.ledger.is_answered(id);
            if self.is_wrong(if late { Mutant::DropLateBounce } else { Mutant::DropBounce }) {
                text.clear();
            }
        }
        let Some(row) = self.server.links.get_mut(&link).filter(|row| row.stream.is_some()) else { return };
        if !row.stands || row.has_ended {
            return;
        }
        row.greeted |= matches!(meaning, Meaning::Handshake);
        let waits = row.said > row.heard || !row.ends.is_empty();
        row.pipe.extend_from_slice(text.as_bytes());
        row.said += text.len() as u64;
        row.ends.push_back((row.said, meaning));
        if !waits {
            self.piece(link);
        }
    }

    /// As much of it as comes at once.
    pub(super) fn piece(&mut self, link: u64) {
        let Some(row) = self.server.links.get(&link) else { return };
        let whole = row.pipe.len();
        let cut = whole > 1 && self.strikes(Fault::Pieces);
        let length = if cut { 1 + self.dice.below(whole as u64 - 1) as usize } else { whole };
        if length < whole {
            let delay = 1 + self.dice.below(20);
            self.after(delay, Event::Piece { link });
        }
        self.arrives(link, length);
    }

    /// So much of what the server has said is handed to the engine.
    pub(super) fn arrives(&mut self, link: u64, length: usize) {
        let Some(row) = self.server.links.get_mut(&link) else { return };
        let Some(stream) = row.stream.filter(|_| row.stands) else { return };
        let piece: Vec<u8> = row.pipe.drain(..length.min(row.pipe.len())).collect();
        row.heard += piece.len() as u64;
        let mut whole = Vec::new();
        while row.ends.front().is_some_and(|(end, _)| *end <= row.heard) {
            whole.extend(row.ends.pop_front().map(|(_, meaning)| meaning));
        }
        let closing = row.closing;
        let mut data = std::mem::take(&mut row.unconsumed);
        if !data.is_empty() && self.is_wrong_once(Mutant::LoseSeam) {
            data.clear();
        }
        for meaning in whole {
            match meaning {
                Meaning::Nothing | Meaning::Handshake => {}
                Meaning::Ping { id } => self.ledger.ping_in(&id),
                Meaning::Bounce { id, status } => self.ledger.bounce_in(&id, status),
                Meaning::Message { .. } if closing => self.ledger.see("said to a stream that is given up"),
                Meaning::Message { n, pair, wants_receipt } => self.ledger.message_in(n, pair, wants_receipt),
            }
        }
        if piece.is_empty() {
            return;
        }
        self.note(|| format!("> {}", String::from_utf8_lossy(&piece)));
        data.extend_from_slice(&piece);
        let consumed = self.engine.handle_input(self.now, Input::Received { stream, data: &data });
        if let Some(row) = self.server.links.get_mut(&link) {
            row.unconsumed = data[consumed..].to_vec();
        }
        if !self.crowded {
            self.turn();
        }
    }

    /// The kernel takes what fits.
    pub(super) fn drain(&mut self, link: u64) {
        if let Some(stream) = self.server.links.get(&link).and_then(|row| row.stream) {
            self.look_at(link, stream);
        }
        let capacity = self.server.kernel;
        let slow = self.server.is_slow(self.now);
        let Some(row) = self.server.links.get_mut(&link).filter(|row| row.stands) else { return };
        let Some(stream) = row.stream else { return };
        let capacity = if slow { capacity.min(3 * SLOWLY) } else { capacity };
        let output = self.engine.output();
        let unsent = output.unsent(stream);
        let taken = unsent[..unsent.len().min(capacity - row.kernel.len().min(capacity))].to_vec();
        let piles = taken.len() < unsent.len();
        output.sent(stream, taken.len());
        row.piled |= piles;
        let wakes = !taken.is_empty() && !row.reads;
        row.reads |= wakes;
        row.kernel.extend_from_slice(&taken);
        if piles && slow {
            self.struck(Fault::SlowReader);
        }
        if wakes {
            let delay = 1 + self.dice.below(5);
            self.after(delay, Event::Reads { link });
        }
        if self.server.stands() && self.ledger.is_idle() && self.is_wrong_once(Mutant::IdlePing) {
            self.ledger.ping_out("idle");
        }
    }

    pub(super) fn server_reads(&mut self, link: u64) {
        if let Some(until) = self.server.hung_until(self.now) {
            return self.at(until, Event::Reads { link });
        }
        let slow = self.server.is_slow(self.now);
        let Some(row) = self.server.links.get_mut(&link).filter(|row| row.stands) else { return };
        let rest = if slow { row.kernel.split_off(row.kernel.len().min(SLOWLY)) } else { Vec::new() };
        row.reads = !rest.is_empty();
        self.read(link);
        if let Some(row) = self.server.links.get_mut(&link).filter(|_| !rest.is_empty()) {
            row.kernel = rest;
            self.after(20, Event::Reads { link });
        }
        self.drain(link);
    }

    /// The server reads what the kernel has.
    pub(super) fn read(&mut self, link: u64) {
        let Some(row) = self.server.links.get_mut(&link) else { return };
        let octets = std::mem::take(&mut row.kernel);
        row.arrived.extend_from_slice(&octets);
        loop {
            let Some(row) = self.server.links.get_mut(&link) else { return };
            match next_stanza(&mut row.framer, &mut row.arrived) {
                Ok(Some(stanza)) => self.server_has_read(link, &stanza),
                Ok(None) => return,
                Err(()) => {
                    row.stands = false;
                    let octets = std::mem::take(&mut row.arrived);
                    return self.malformed("the component stream", &octets);
                }
            }
        }
    }

    /// Reads along what has been written since the last turn.
    pub(super) fn look_at(&mut self, link: u64, stream: StreamId) {
        let output = self.engine.output();
        let (sent, unsent) = (output.total_sent(stream), output.unsent(stream));
        let Some(row) = self.server.links.get_mut(&link) else { return };
        let new = unsent[(row.tapped_to - sent) as usize..].to_vec();
        row.tapped_to = sent + unsent.len() as u64;
        row.tapped.extend_from_slice(&new);
        loop {
            let Some(row) = self.server.links.get_mut(&link) else { return };
            match next_stanza(&mut row.tap, &mut row.tapped) {
                Ok(Some(stanza)) => self.was_written(link, &stanza),
                Ok(None) => return,
                Err(()) => {
                    let octets = std::mem::take(&mut row.tapped);
                    return self.malformed("the component stream", &octets);
                }
            }
        }
    }

    fn was_written(&mut self, link: u64, stanza: &str) {
        self.note(|| format!("< {stanza}"));
        let id = attribute(stanza, "id").unwrap_or_default();
        let number = |id: &str| id.strip_prefix('m').and_then(|n| n.parse().ok());
        if let Some(row) = self.server.links.get_mut(&link) {
            row.closing |= stanza.starts_with("<stream:error") || stanza == "</stream:stream>";
        }
        if stanza.starts_with("<stream:error") {
            // Whoever does not read may be told so.
            if !stanza.contains("<connection-timeout") {
                self.ledger.breach(Breach::StreamError, stanza.to_owned());
            }
        } else if stanza.contains("urn:xmpp:ping") {
            self.ledger.ping_out(id);
            if self.is_wrong_once(Mutant::SecondPing) {
                self.ledger.ping_out("again");
            }
            if self.is_wrong(Mutant::TrustKernel) {
                self.after(100, Event::FalseReturn { link, id: id.to_owned(), text: stanza.to_owned() });
            }
        } else if stanza.contains("type='error'") {
            let Some(n) = number(id) else { return };
            let condition = stanza.split_once("'><").and_then(|(_, rest)| rest.split_once("'><"));
            let condition = condition.and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default();
            if self.is_wrong_once(Mutant::SwallowError)
                || (condition == "remote-server-timeout" && self.is_wrong(Mutant::SwallowTimeout))
            {
                return;
            }
            self.ledger.error_out(n, condition);
            if self.is_wrong_once(Mutant::DoubleError) {
                self.ledger.error_out(n, condition);
            }
        } else if let Some((_, received)) = stanza.split_once("<received ") {
            let id = received.split_once("id='").and_then(|(_, id)| id.split('\'').next()).unwrap_or_default();
            if let Some(n) = number(id) {
                self.ledger.receipt_out(n);
                if self.is_wrong_once(Mutant::FalseReceipt) {
                    self.ledger.receipt_out(n);
                }
            }
        } else if let Some(n) = body_number(stanza, "sip ") {
            let stamped = stanza.contains("<delay ") && !self.is_wrong(Mutant::HideDate);
            let renamed = self.ledger.was_written(n) && self.is_wrong(Mutant::RenameEntry);
            let id = if renamed { format!("{id}x") } else { id.to_owned() };
            self.ledger.stanza_out(n, &id, stamped, self.now);
        }
    }
}

pub(super) fn body_number(stanza: &str, before: &str) -> Option<u32> {
    stanza.split_once("<body>")?.1.strip_prefix(before)?.split('.').next()?.parse().ok()
}
