//! What leaves at the end of a turn: datagrams in one arena, bytes of streams in one buffer each, and orders.

use crate::SocketId;
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

    // What the driver calls.

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

#[cfg(test)]
mod tests {
    use super::*;

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
