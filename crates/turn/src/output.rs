//! What leaves at the end of a turn: datagrams in one arena, bytes of streams in one buffer each, and orders.

use crate::{Batch, Letter, Query, SocketId, Ticket};
use slotmap::SlotMap;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

slotmap::new_key_type! {
    /// A stream (a TCP connection, with or without TLS) that the driver holds for a machine.
    pub struct StreamId;
}

/// Where a machine wants a connection to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A peer of the driver's configuration, whose name the driver resolves anew at each connection.
    Configured(u16),
    /// An address.
    Address(SocketAddr),
}

/// An order to the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the bytes of the arena that [`Output::datagram`] gives for `bytes`.
    SendDatagram {
        /// The local socket to send from.
        socket: SocketId,
        /// The receiver.
        peer: SocketAddr,
        /// A range of the arena.
        bytes: Range<u32>,
    },
    /// Connect; answered by `Input::Connected` or `Input::Closed`.
    Connect {
        /// The new stream.
        stream: StreamId,
        /// Where to.
        target: Target,
    },
    /// The buffer of this stream has bytes to write (at most one such action per stream and turn).
    Write {
        /// The stream.
        stream: StreamId,
    },
    /// Write what is buffered, then start TLS as the accepting side; answered by `Input::Secured` or `Input::Closed`.
    StartTls {
        /// The stream.
        stream: StreamId,
    },
    /// Write what is buffered as far as the peer takes it at once, then close; answered by `Input::Closed`.
    Close {
        /// The stream.
        stream: StreamId,
    },
    /// Make the batch that [`Output::take_batch`] gives durable; answered by `Input::Committed` or `Input::CommitFailed`.
    /// Batches become durable in the order of their tickets.
    Commit {
        /// Names the batch.
        ticket: Ticket,
    },
    /// Answer the query that [`Output::take_query`] gives, with all batches ordered before; answered by `Input::Loaded` or
    /// `Input::LoadFailed`.
    Load {
        /// Names the query.
        ticket: Ticket,
    },
    /// Put the letter that [`Output::take_letter`] gives into the hands of whoever looks after the gateway; answered by
    /// `Input::HandedOver` or `Input::HandOverFailed`, which may take minutes. Letters overtake each other.
    HandOver {
        /// Names the letter.
        ticket: Ticket,
    },
}

const _: () = assert!(std::mem::size_of::<Action>() <= 64);

/// Bytes of a stream that the driver has not written yet.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Bytes at the front that are already with the kernel.
    sent: usize,
    /// Bytes ever handed to the kernel.
    total_sent: u64,
    /// A `Write` stands in the actions of this turn.
    listed: bool,
}

/// The sink that machines write to and the driver drains.
#[derive(Debug, Default)]
pub struct Output {
    arena: Vec<u8>,
    actions: VecDeque<Action>,
    streams: SlotMap<StreamId, Buffer>,
    batches: VecDeque<(Ticket, Batch)>,
    queries: VecDeque<(Ticket, Query)>,
    letters: VecDeque<(Ticket, Letter)>,
    tickets: u64,
    /// What is appended to the log of the turns before this turn's orders are carried out.
    log: Vec<u8>,
}

/// The arena shrinks back to this after a turn that made it larger.
const ARENA_KEPT: usize = 1 << 20;
/// A stream's buffer shrinks back to this when it is empty.
const BUFFER_KEPT: usize = 1 << 18;

impl Output {
    /// An empty sink.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes one datagram straight into the arena. `write` appends the payload to the vector it is given.
    pub fn send_datagram(&mut self, socket: SocketId, peer: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        write(&mut self.arena);
        let bytes = start as u32..self.arena.len() as u32;
        self.actions.push_back(Action::SendDatagram { socket, peer, bytes });
    }

    /// Orders a connection and gives its stream; bytes may be written to it at once and leave when it stands.
    pub fn connect(&mut self, target: Target) -> StreamId {
        let stream = self.streams.insert(Buffer::default());
        self.actions.push_back(Action::Connect { stream, target });
        stream
    }

    /// Makes the stream of a connection that the driver accepted.
    pub fn open(&mut self) -> StreamId {
        self.streams.insert(Buffer::default())
    }

    /// The buffer of a stream, to append to; lists one `Write` for the turn. `None` when the stream is gone.
    pub fn stream(&mut self, stream: StreamId) -> Option<&mut Vec<u8>> {
        let buffer = self.streams.get_mut(stream)?;
        if !buffer.listed {
            buffer.listed = true;
            self.actions.push_back(Action::Write { stream });
        }
        Some(&mut buffer.bytes)
    }

    /// Bytes of a stream that are not with the kernel yet. Zero for a stream that is gone.
    pub fn unsent_len(&self, stream: StreamId) -> usize {
        self.streams.get(stream).map_or(0, |buffer| buffer.bytes.len() - buffer.sent)
    }

    /// Bytes of a stream handed to the kernel since it was made. With [`unsent_len`](Self::unsent_len) added it is the
    /// position behind the last byte written, which tells later whether that byte ever left.
    pub fn total_sent(&self, stream: StreamId) -> u64 {
        self.streams.get(stream).map_or(0, |buffer| buffer.total_sent)
    }

    /// Orders TLS as the accepting side.
    pub fn start_tls(&mut self, stream: StreamId) {
        self.actions.push_back(Action::StartTls { stream });
    }

    /// Orders the end of a stream.
    pub fn close(&mut self, stream: StreamId) {
        if self.streams.contains_key(stream) {
            self.actions.push_back(Action::Close { stream });
        }
    }

    /// Orders a batch to be made durable.
    pub fn commit(&mut self, batch: Batch) -> Ticket {
        let ticket = self.ticket();
        self.batches.push_back((ticket, batch));
        self.actions.push_back(Action::Commit { ticket });
        ticket
    }

    /// Orders rows.
    pub fn load(&mut self, query: Query) -> Ticket {
        let ticket = self.ticket();
        self.queries.push_back((ticket, query));
        self.actions.push_back(Action::Load { ticket });
        ticket
    }

    /// Orders a letter to be handed over.
    pub fn hand_over(&mut self, letter: Letter) -> Ticket {
        let ticket = self.ticket();
        self.letters.push_back((ticket, letter));
        self.actions.push_back(Action::HandOver { ticket });
        ticket
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// The log of the turns, to append to: whatever is in it is with the system before anything else of this turn leaves, so
    /// that it outlives the process, though not a loss of power.
    pub fn log(&mut self) -> &mut Vec<u8> {
        &mut self.log
    }

    // What the driver calls.

    /// What this turn adds to the log of the turns; [`end_turn`](Self::end_turn) forgets it.
    pub fn logged(&self) -> &[u8] {
        &self.log
    }

    /// The batch of an [`Action::Commit`], which is taken once.
    pub fn take_batch(&mut self, ticket: Ticket) -> Option<Batch> {
        take(&mut self.batches, ticket)
    }

    /// The query of an [`Action::Load`], which is taken once.
    pub fn take_query(&mut self, ticket: Ticket) -> Option<Query> {
        take(&mut self.queries, ticket)
    }

    /// The letter of an [`Action::HandOver`], which is taken once.
    pub fn take_letter(&mut self, ticket: Ticket) -> Option<Letter> {
        take(&mut self.letters, ticket)
    }

    /// The next order.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front()?;
        if let Action::Write { stream } = action
            && let Some(buffer) = self.streams.get_mut(stream)
        {
            buffer.listed = false;
        }
        Some(action)
    }

    /// The payload of a datagram.
    pub fn datagram(&self, bytes: &Range<u32>) -> &[u8] {
        self.arena.get(bytes.start as usize..bytes.end as usize).unwrap_or_default()
    }

    /// What a stream has to write, the oldest first.
    pub fn unsent(&self, stream: StreamId) -> &[u8] {
        self.streams.get(stream).map_or(&[], |buffer| &buffer.bytes[buffer.sent..])
    }

    /// The kernel took `count` bytes of [`unsent`](Self::unsent).
    pub fn sent(&mut self, stream: StreamId, count: usize) {
        let Some(buffer) = self.streams.get_mut(stream) else { return };
        buffer.sent = (buffer.sent + count).min(buffer.bytes.len());
        buffer.total_sent += count as u64;
        if buffer.sent == buffer.bytes.len() {
            buffer.bytes.clear();
            buffer.bytes.shrink_to(BUFFER_KEPT);
            buffer.sent = 0;
        } else if buffer.sent >= BUFFER_KEPT {
            buffer.bytes.drain(..buffer.sent);
            buffer.sent = 0;
        }
    }

    /// All actions of the turn are carried out: the arena is free again.
    pub fn end_turn(&mut self) {
        debug_assert!(!self.actions.iter().any(|action| matches!(action, Action::SendDatagram { .. })));
        self.arena.clear();
        self.arena.shrink_to(ARENA_KEPT);
        self.log.clear();
        self.log.shrink_to(ARENA_KEPT);
    }

    /// Forgets a stream. The driver calls it after the machine has seen `Input::Closed`.
    pub fn forget(&mut self, stream: StreamId) {
        self.streams.remove(stream);
    }

    /// Bytes waiting in all streams.
    pub fn unsent_total(&self) -> usize {
        self.streams.values().map(|buffer| buffer.bytes.len() - buffer.sent).sum()
    }
}

fn take<T>(orders: &mut VecDeque<(Ticket, T)>, ticket: Ticket) -> Option<T> {
    let place = orders.iter().position(|&(other, _)| other == ticket)?;
    orders.remove(place).map(|(_, order)| order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TableId;

    #[test]
    fn orders_for_the_store_are_taken_once() {
        let mut output = Output::new();
        let mut batch = Batch::default();
        batch.delete(TableId(1), b"key");
        let query = Query { table: TableId(1), prefix: Vec::new(), after: None, limit: 1 };
        let (commit, load) = (output.commit(batch), output.load(query.clone()));
        assert_eq!(output.poll_action(), Some(Action::Commit { ticket: commit }));
        assert_eq!(output.poll_action(), Some(Action::Load { ticket: load }));
        assert_eq!(output.take_batch(commit).map(|batch| batch.len()), Some(1));
        assert_eq!(output.take_query(load), Some(query));
        assert!(output.take_batch(commit).is_none() && output.take_query(load).is_none());
    }

    #[test]
    fn letters_are_taken_once() {
        let mut output = Output::new();
        let letter = Letter {
            id: "1".into(),
            source: "juliet@example.com".into(),
            destination: "romeo@example.net".into(),
            arrived: None,
            reason: "too late",
            content_type: b"text/plain".to_vec(),
            content: b"Wherefore art thou?".to_vec(),
        };
        let ticket = output.hand_over(letter.clone());
        assert_eq!(output.poll_action(), Some(Action::HandOver { ticket }));
        assert_eq!(output.take_letter(ticket), Some(letter));
        assert_eq!(output.take_letter(ticket), None);
    }

    #[test]
    fn the_log_is_that_of_one_turn() {
        let mut output = Output::new();
        output.log().extend_from_slice(b"said");
        assert_eq!(output.logged(), b"said");
        output.end_turn();
        assert_eq!(output.logged(), b"");
    }

    #[test]
    fn one_write_per_stream_and_turn() {
        let mut output = Output::new();
        let stream = output.open();
        output.stream(stream).unwrap().extend_from_slice(b"one");
        output.stream(stream).unwrap().extend_from_slice(b"two");
        assert_eq!(output.poll_action(), Some(Action::Write { stream }));
        assert_eq!(output.poll_action(), None);
        assert_eq!(output.unsent(stream), b"onetwo");
        output.sent(stream, 4);
        assert_eq!(output.unsent(stream), b"wo");
        assert_eq!(output.total_sent(stream), 4);
        output.stream(stream).unwrap().extend_from_slice(b"!");
        assert_eq!(output.poll_action(), Some(Action::Write { stream }));
        assert_eq!(output.unsent(stream), b"wo!");
    }

    #[test]
    fn datagrams_keep_their_order_and_bytes() {
        let mut output = Output::new();
        let peer = SocketAddr::from(([127, 0, 0, 1], 5060));
        output.send_datagram(SocketId(0), peer, |arena| arena.extend_from_slice(b"first"));
        output.send_datagram(SocketId(0), peer, |arena| arena.extend_from_slice(b"second"));
        for expected in [&b"first"[..], b"second"] {
            let Some(Action::SendDatagram { bytes, .. }) = output.poll_action() else { panic!("a datagram") };
            assert_eq!(output.datagram(&bytes), expected);
        }
        output.end_turn();
    }

    #[test]
    fn a_forgotten_stream_takes_nothing() {
        let mut output = Output::new();
        let stream = output.open();
        output.forget(stream);
        assert!(output.stream(stream).is_none());
        output.close(stream);
        assert_eq!(output.poll_action(), None);
    }
}
