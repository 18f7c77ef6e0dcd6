//! The shape of a turn: what goes into a machine, what comes out of it, and the tables that every machine keeps.
//!
//! A *machine* is protocol logic without I/O: an endpoint, the engine, a world of the sandbox. A driver runs it in turns:
//! any number of inputs, then the timers that are due, then everything leaves at once. This crate holds the vocabulary the
//! two share, so that languages that must not know each other write to the same [`Output`].
//!
//! It knows no protocol, no socket, no clock and no source of randomness.

#![forbid(unsafe_code)]

mod calendar;
mod ids;
mod letter;
mod output;
mod pool;
mod recent;
mod store;
mod wheel;

pub use calendar::Calendar;
pub use ids::{Minter, Minters, Seed, base32};
pub use letter::Letter;
pub use output::{Action, Output, StreamId, Target};
pub use pool::Pool;
pub use recent::Recent;
pub use store::{Batch, ChangeId, Query, StoreAnswer, StoreFailure, StoredRow, TableId, Ticket};
pub use wheel::Wheel;

use std::net::SocketAddr;
use std::time::Instant;

/// A local socket that datagrams arrive on and leave from, or a listener that accepts streams: its place in the
/// configuration of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u16);

/// A fact that the driver hands to a machine. Inputs borrow: what outlives the turn is copied by the machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram arrived.
    Datagram {
        /// The local socket it arrived on.
        socket: SocketId,
        /// Who sent it.
        peer: SocketAddr,
        /// Its payload.
        bytes: &'a [u8],
    },
    /// The network reported that datagrams to `peer` do not arrive (ICMP).
    Unreachable {
        /// The local socket that was used.
        socket: SocketId,
        /// Who cannot be reached.
        peer: SocketAddr,
    },
    /// A listener accepted a connection; the driver made `stream` with [`Output::open`].
    Accepted {
        /// The new stream.
        stream: StreamId,
        /// The listener.
        listener: SocketId,
        /// Who connected.
        peer: SocketAddr,
    },
    /// A connection that the machine asked for stands.
    Connected {
        /// The stream of the [`Action::Connect`].
        stream: StreamId,
        /// The address that was reached.
        peer: SocketAddr,
    },
    /// Bytes of a stream: everything received and not yet consumed, the oldest first. The machine says how many it has
    /// consumed; the rest comes again, with what arrived after it, in the next input of this stream.
    Received {
        /// The stream.
        stream: StreamId,
        /// All unconsumed bytes.
        data: &'a [u8],
    },
    /// The TLS handshake that the machine asked for is done.
    Secured {
        /// The stream of the [`Action::StartTls`].
        stream: StreamId,
    },
    /// The socket of the stream is surely gone: closed by the peer, failed, refused, or closed by [`Action::Close`].
    /// Nothing more will come from it, and its buffer is dropped after this input.
    Closed {
        /// The stream.
        stream: StreamId,
        /// Why, for the log.
        cause: CloseCause,
    },
    /// A batch is durable.
    Committed {
        /// That of the [`Action::Commit`].
        ticket: Ticket,
    },
    /// A batch is not and will not be durable, and neither is any part of it.
    CommitFailed {
        /// That of the [`Action::Commit`].
        ticket: Ticket,
        /// Why.
        failure: StoreFailure,
    },
    /// What was found for a query.
    Loaded {
        /// That of the [`Action::Load`].
        ticket: Ticket,
        /// The rows, as many as were asked for or there are.
        rows: &'a [StoredRow],
        /// There are more behind them.
        more: bool,
    },
    /// A query could not be answered.
    LoadFailed {
        /// That of the [`Action::Load`].
        ticket: Ticket,
        /// Why.
        failure: StoreFailure,
    },
    /// A letter is in other hands, and stays there whatever becomes of the machine.
    HandedOver {
        /// That of the [`Action::HandOver`].
        ticket: Ticket,
    },
    /// Nobody took a letter. It may be handed over again later; some of it may have been put down all the same.
    HandOverFailed {
        /// That of the [`Action::HandOver`].
        ticket: Ticket,
    },
}

/// Why a stream is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer closed it in order.
    Peer,
    /// We closed it with [`Action::Close`].
    Ours,
    /// The connection could not be made.
    Refused,
    /// It failed: reset, timed out, TLS error.
    Failed,
}

/// Protocol logic without I/O, run by a driver in turns.
///
/// Contract of a turn: the driver stamps `now` once, calls [`handle_input`](Machine::handle_input) any number of times,
/// then [`handle_timeout`](Machine::handle_timeout) once, then carries out every [`Action`] until
/// [`Output::poll_action`] is `None`, then calls [`Output::end_turn`]. It comes back with the next input or when
/// [`poll_timeout`](Machine::poll_timeout) is due. Late, repeated and early timeouts are normal; time that goes back is
/// ignored.
pub trait Machine {
    /// Takes one fact. Returns how many bytes of [`Input::Received`] it consumed (zero for all other inputs).
    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> usize;
    /// Does what is due at `now`.
    fn handle_timeout(&mut self, now: Instant);
    /// When [`handle_timeout`](Machine::handle_timeout) wants to be called next, and for what.
    fn poll_timeout(&self) -> Option<(Instant, &'static str)>;
    /// What is to leave.
    fn output(&mut self) -> &mut Output;
}
