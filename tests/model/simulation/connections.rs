//! SIP connections between the gateway and its next hops: in pieces, hung, refused, reset.

use super::phones::{branch_of, request_number, summary};
use super::{Event, Simulation};
use crate::mutant::Mutant;
use crate::weather::Fault;
use entente_tests::world::{TCP_LISTENER, proxy, status};
use sip::wire::Limits;
use sip::wire::framing::{Framed, Framer};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use turn::{CloseCause, Input, Machine, StreamId};

/// Octets that the kernel takes for a next hop that does not read.
const KERNEL: usize = 4000;

/// All connections, by a number that is never used again.
#[derive(Default)]
pub(super) struct Connections {
    rows: BTreeMap<u64, Connection>,
    count: u64,
}

struct Connection {
    /// The gateway's end of it, while that is there.
    stream: Option<StreamId>,
    /// The next hop's end is there.
    stands: bool,
    /// The next hop that it is to or from.
    hop: SocketAddr,
    /// The next hop has made it.
    of_hop: bool,
    /// Written by the next hop and not arrived.
    pipe: Vec<u8>,
    arrived: u64,
    written: u64,
    /// Where the messages of the next hop end, and what they are.
    ends: VecDeque<(u64, String)>,
    unconsumed: Vec<u8>,
    /// What the gateway has written, up to where it is known, and its beginning that is no whole message.
    tapped_to: u64,
    tapped: Vec<u8>,
    /// With the kernel, not read by the next hop.
    kernel: Vec<u8>,
    read: Vec<u8>,
}

impl Connections {
    fn enter(&mut self, stream: StreamId, hop: SocketAddr, of_hop: bool) -> u64 {
        self.count += 1;
        let row = Connection {
            stream: Some(stream),
            stands: of_hop,
            hop,
            of_hop,
            pipe: Vec::new(),
            arrived: 0,
            written: 0,
            ends: VecDeque::new(),
            unconsumed: Vec::new(),
            tapped_to: 0,
            tapped: Vec::new(),
            kernel: Vec::new(),
            read: Vec::new(),
        };
        self.rows.insert(self.count, row);
        self.count
    }

    /// The gateway wants a connection to a next hop.
    pub(super) fn order(&mut self, stream: StreamId, hop: SocketAddr) {
        self.enter(stream, hop, false);
    }

    pub(super) fn of(&self, stream: StreamId) -> Option<u64> {
        self.rows.iter().find(|(_, row)| row.stream == Some(stream)).map(|(number, _)| *number)
    }

    /// The gateway's end is gone.
    pub(super) fn leave(&mut self, connection: u64) {
        if let Some(row) = self.rows.get_mut(&connection) {
            row.stream = None;
        }
    }

    fn both_ends(&self, connection: u64) -> Option<(StreamId, &Connection)> {
        let row = self.rows.get(&connection).filter(|row| row.stands)?;
        Some((row.stream?, row))
    }
}

impl Simulation {
    pub(super) fn hop_accepts(&mut self, life: u32, stream: StreamId, peer: SocketAddr) {
        if life != self.life || self.down {
            return;
        }
        let Some(connection) = self.connections.of(stream) else { return };
        if self.phones.failure(peer, self.now) == Some(Fault::HopGone) {
            return self.stream_ends(stream, CloseCause::Refused);
        }
        if let Some(row) = self.connections.rows.get_mut(&connection) {
            row.stands = true;
        }
        self.feed(Input::Connected { stream, peer });
        self.drain_connection(connection);
    }

    /// A SIP user's request goes over the connection of its next hop, which is made if there is none.
    pub(super) fn calls_by_connection(&mut self, n: u32, interval: Duration, until: Instant, text: &str) {
        if self.down {
            return self.after(1000, Event::Calls { n, interval, until });
        }
        let known = self.connections.rows.iter().find(|(_, row)| row.of_hop && row.stands && row.stream.is_some());
        let connection = match known.map(|(number, _)| *number) {
            Some(known) => known,
            None => {
                let stream = self.engine.output().open();
                let connection = self.connections.enter(stream, proxy(), true);
                let peer = (proxy().ip(), 40_000 + connection as u16).into();
                self.feed(Input::Accepted { stream, listener: TCP_LISTENER, peer });
                connection
            }
        };
        self.hop_writes(connection, text);
    }

    /// A next hop writes a message.
    pub(super) fn hop_writes(&mut self, connection: u64, text: &str) {
        let Some(row) = self.connections.rows.get_mut(&connection).filter(|row| row.stands) else { return };
        let waits = !row.pipe.is_empty();
        row.pipe.extend_from_slice(text.as_bytes());
        row.written += text.len() as u64;
        row.ends.push_back((row.written, text.to_owned()));
        if !waits {
            self.after(5, Event::SipPiece { connection });
        }
    }

    pub(super) fn sip_piece(&mut self, connection: u64) {
        let Some((_, row)) = self.connections.both_ends(connection) else { return };
        let whole = row.pipe.len();
        let cut = whole > 1 && self.strikes(Fault::SipPieces);
        let length = if cut { 1 + self.dice.below(whole as u64 - 1) as usize } else { whole };
        if length < whole {
            let delay = 1 + self.dice.below(20);
            self.after(delay, Event::SipPiece { connection });
        }
        self.sip_arrives(connection, length);
    }

    fn sip_arrives(&mut self, connection: u64, length: usize) {
        let now = self.now;
        let Some(row) = self.connections.rows.get_mut(&connection) else { return };
        let Some(stream) = row.stream.filter(|_| length > 0) else { return };
        let piece: Vec<u8> = row.pipe.drain(..length.min(row.pipe.len())).collect();
        row.arrived += piece.len() as u64;
        let mut whole = Vec::new();
        while row.ends.front().is_some_and(|(end, _)| *end <= row.arrived) {
            whole.extend(row.ends.pop_front().map(|(_, text)| text));
        }
        let mut data = std::mem::take(&mut row.unconsumed);
        for text in whole {
            self.note(|| format!("> {} {}", text.lines().next().unwrap_or_default(), branch_of(&text)));
            if let Some(status) = status(&text) {
                let retry_after = text.contains("Retry-After: 3\r\n").then_some(Duration::from_secs(3));
                self.ledger.response_in(branch_of(&text), status, retry_after, now);
            } else {
                let n = request_number(&text);
                self.ledger.request_in(n, self.phones.pair(n), false, now);
            }
        }
        if !data.is_empty() && self.is_wrong_once(Mutant::LoseSeam) {
            data.clear();
        }
        data.extend_from_slice(&piece);
        let consumed = self.engine.handle_input(now, Input::Received { stream, data: &data });
        if let Some(row) = self.connections.rows.get_mut(&connection) {
            row.unconsumed = data[consumed..].to_vec();
        }
        if !self.crowded {
            self.turn();
        }
    }

    /// Reads along what the engine has written.
    pub(super) fn look_at_connection(&mut self, connection: u64, stream: StreamId) {
        let output = self.engine.output();
        let (sent, unsent) = (output.total_sent(stream), output.unsent(stream));
        let Some(row) = self.connections.rows.get_mut(&connection) else { return };
        let new = unsent[(row.tapped_to - sent) as usize..].to_vec();
        row.tapped_to = sent + unsent.len() as u64;
        row.tapped.extend_from_slice(&new);
        let hop = row.hop;
        let tapped = std::mem::take(&mut row.tapped);
        let (messages, rest) = self.messages(tapped);
        if let Some(row) = self.connections.rows.get_mut(&connection) {
            row.tapped = rest;
        }
        for text in messages {
            self.note(|| format!("< {}", summary(&text)));
            match status(&text) {
                Some(code) => {
                    let elsewhere = !self.connections.rows.get(&connection).is_some_and(|row| row.of_hop);
                    if elsewhere && self.is_wrong(Mutant::DropHomeless) {
                        continue;
                    }
                    self.answer_leaves(&text, code);
                }
                None => self.request_leaves(&text, hop, Some(connection)),
            }
        }
    }

    /// The whole messages at the beginning of some bytes, and what follows them.
    fn messages(&mut self, mut bytes: Vec<u8>) -> (Vec<String>, Vec<u8>) {
        let mut messages = Vec::new();
        loop {
            match Framer::new(&Limits::default()).scan(&bytes) {
                Framed::Message { bytes: message, consumed } => {
                    messages.push(String::from_utf8_lossy(message).into_owned());
                    bytes.drain(..consumed);
                }
                Framed::KeepAlive { consumed, .. } => drop(bytes.drain(..consumed)),
                Framed::Incomplete => return (messages, bytes),
                Framed::Broken(_) => {
                    self.malformed("a SIP connection", &bytes);
                    return (messages, Vec::new());
                }
            }
        }
    }

    /// The kernel takes what fits.
    pub(super) fn drain_connection(&mut self, connection: u64) {
        let Some((stream, _)) = self.connections.both_ends(connection) else { return };
        self.look_at_connection(connection, stream);
        let Some((stream, row)) = self.connections.both_ends(connection) else { return };
        let room = KERNEL - row.kernel.len().min(KERNEL);
        let output = self.engine.output();
        let unsent = output.unsent(stream);
        let taken = unsent[..unsent.len().min(room)].to_vec();
        output.sent(stream, taken.len());
        if taken.is_empty() {
            return;
        }
        if let Some(row) = self.connections.rows.get_mut(&connection) {
            row.kernel.extend_from_slice(&taken);
        }
        self.after(5, Event::HopReads { connection });
    }

    pub(super) fn hop_reads(&mut self, connection: u64) {
        let Some(row) = self.connections.rows.get_mut(&connection).filter(|row| row.stands) else { return };
        let hop = row.hop;
        if let Some(back) = self.phones.back_at(hop).filter(|back| self.now < *back) {
            return self.at(back, Event::HopReads { connection });
        }
        let bytes = std::mem::take(&mut row.kernel);
        row.read.extend_from_slice(&bytes);
        let read = std::mem::take(&mut row.read);
        let (messages, rest) = self.messages(read);
        if let Some(row) = self.connections.rows.get_mut(&connection) {
            row.read = rest;
        }
        for text in messages {
            self.hop_takes(hop, Some(connection), &text);
        }
        self.drain_connection(connection);
    }

    /// One of the connections that stand is reset, the one with half a message before the others.
    pub(super) fn some_connection_is_reset(&mut self) {
        let stands = |number: &&u64| self.connections.both_ends(**number).is_some();
        let standing: Vec<u64> = self.connections.rows.keys().filter(stands).copied().collect();
        let half = standing.iter().find(|number| !self.connections.rows[number].unconsumed.is_empty());
        let Some(&connection) = half.or(standing.last()) else { return };
        let row = &self.connections.rows[&connection];
        let half = row.pipe.len() / 2;
        if half > 0 {
            self.sip_arrives(connection, half);
        }
        self.sip_reset(connection);
    }

    fn sip_reset(&mut self, connection: u64) {
        let Some((stream, _)) = self.connections.both_ends(connection) else { return };
        self.struck(Fault::SipReset);
        if let Some(row) = self.connections.rows.get_mut(&connection) {
            row.stands = false;
        }
        self.stream_ends(stream, CloseCause::Failed);
    }

    /// A next hop is gone, and its connections with it.
    pub(super) fn hop_drops_connections(&mut self, hop: SocketAddr) {
        let numbers: Vec<u64> = self.connections.rows.keys().copied().collect();
        for connection in numbers {
            let Some((stream, row)) = self.connections.both_ends(connection) else { continue };
            if row.hop == hop {
                if let Some(row) = self.connections.rows.get_mut(&connection) {
                    row.stands = false;
                }
                self.stream_ends(stream, CloseCause::Failed);
            }
        }
    }

    /// The gateway's ends of all connections are gone; what the kernels have on the other side is read.
    pub(super) fn connections_are_cut(&mut self) {
        for row in self.connections.rows.values_mut() {
            row.stream = None;
            row.pipe.clear();
            row.ends.clear();
        }
    }
}
