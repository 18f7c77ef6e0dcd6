//! What a machine is connected to, and who may look on.

use crate::letters;
use crate::store::{Store, TurnLog};
use crate::telemetry::Metrics;
use std::net::SocketAddr;
use std::sync::Arc;

/// The sockets and peers of one machine.
pub struct Wiring {
    /// The machine's name, for the log.
    pub name: &'static str,
    /// Bound sockets: [`turn::SocketId`] is the place in this list.
    pub sockets: Vec<Socket>,
    /// `host:port` of peers: [`turn::Target::Configured`] is the place in this list.
    pub targets: Vec<String>,
    /// What [`turn::Action::StartTls`] uses; without it such streams fail.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Bounds.
    pub limits: Limits,
    /// Where [`turn::Action::HandOver`] leads; without it such orders fail.
    pub letters: Option<letters::Settings>,
    /// Sees every byte, if wanted.
    pub tap: Option<Box<dyn WireTap>>,
    /// Does what the machine orders of a store; without it the machine is told that its store is broken.
    pub store: Option<Store>,
    /// Gets what the machine has to say in [`turn::Output::log`].
    pub turn_log: Option<TurnLog>,
}

impl Wiring {
    /// A machine without sockets.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            sockets: Vec::new(),
            targets: Vec::new(),
            tls: None,
            limits: Limits::default(),
            letters: None,
            tap: None,
            store: None,
            turn_log: None,
        }
    }
}

/// A bound, non-blocking socket, as [`crate::net::bind_datagrams`] and [`crate::net::bind_listener`] make them.
#[derive(Debug)]
pub enum Socket {
    /// For datagrams.
    Datagrams(std::net::UdpSocket),
    /// Accepts streams.
    Listener(std::net::TcpListener),
}

/// Bounds of the driver for one machine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Accepted streams that may be open at once; more are closed at once.
    pub accepted: usize,
    /// Unconsumed bytes of one stream. The machine's own limits are lower and have an answer; a stream that gets here fails.
    pub unconsumed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { accepted: 10_000, unconsumed: 4 << 20 }
    }
}

/// What the driver did for one machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) turns: u64,
    pub(super) datagrams_in: u64,
    pub(super) datagrams_out: u64,
    /// Too many waited for the kernel.
    pub(super) datagrams_dropped: u64,
    pub(super) unreachable: u64,
    /// With TLS: decrypted.
    pub(super) stream_bytes_in: u64,
    /// With TLS: to be encrypted.
    pub(super) stream_bytes_out: u64,
    pub(super) streams_accepted: u64,
    /// Closed at once because too many were open.
    pub(super) streams_turned_away: u64,
    pub(super) streams_connected: u64,
    /// Streams whose end the machine was told.
    pub(super) streams_closed: u64,
    pub(super) letters_written: u64,
    pub(super) letters_mailed: u64,
    pub(super) letters_failed: u64,
}

impl Counters {
    pub(super) fn measure(&self, machine: &'static str, metrics: &mut Metrics) {
        let mut count = |name, help, value| metrics.counter(name, help, &[("machine", machine)], value);
        count("entente_turns_total", "Turns of the machine.", self.turns);
        count("entente_datagrams_received_total", "Datagrams received.", self.datagrams_in);
        count("entente_datagrams_sent_total", "Datagrams sent.", self.datagrams_out);
        count(
            "entente_datagrams_dropped_total",
            "Datagrams dropped for want of room in the kernel.",
            self.datagrams_dropped,
        );
        count("entente_datagram_peers_unreachable_total", "Reports that a peer cannot be reached.", self.unreachable);
        count("entente_stream_received_bytes_total", "Bytes received on streams, decrypted.", self.stream_bytes_in);
        count("entente_stream_sent_bytes_total", "Bytes sent on streams, before encryption.", self.stream_bytes_out);
        count("entente_streams_accepted_total", "Streams accepted.", self.streams_accepted);
        count(
            "entente_streams_turned_away_total",
            "Streams closed because too many were open.",
            self.streams_turned_away,
        );
        count("entente_streams_connected_total", "Streams connected.", self.streams_connected);
        count("entente_streams_closed_total", "Streams that ended.", self.streams_closed);
        for (outcome, value) in
            [("written", self.letters_written), ("mailed", self.letters_mailed), ("failed", self.letters_failed)]
        {
            let help =
                "Undelivered messages that were to be handed over, by what became of it; failed are tried again.";
            let labels = [("machine", machine), ("outcome", outcome)];
            metrics.counter("entente_letters_total", help, &labels, value);
        }
    }
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the machine.
    In,
    /// From the machine.
    Out,
}

/// Bytes on their way.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The machine's name.
    pub machine: &'static str,
    /// Which way they went.
    pub direction: Direction,
    /// A datagram, or a piece of a stream (with TLS: in the clear).
    pub datagram: bool,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Looks on.
pub trait WireTap: Send {
    /// Sees bytes go by, in order.
    fn see(&mut self, seen: &Seen<'_>);
}
