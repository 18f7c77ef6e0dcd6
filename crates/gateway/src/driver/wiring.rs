//! What a machine is connected to, and who may look on.

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
    /// Sees every byte, if wanted.
    pub tap: Option<Box<dyn WireTap>>,
}

impl Wiring {
    /// A machine without sockets.
    pub fn new(name: &'static str) -> Self {
        Self { name, sockets: Vec::new(), targets: Vec::new(), tls: None, limits: Limits::default(), tap: None }
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Turns.
    pub turns: u64,
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Datagrams dropped because too many waited for the kernel.
    pub datagrams_dropped: u64,
    /// Times that a peer of datagrams was found to be unreachable.
    pub unreachable: u64,
    /// Bytes received on streams (with TLS: decrypted).
    pub stream_bytes_in: u64,
    /// Bytes handed to the kernel on streams (with TLS: to be encrypted).
    pub stream_bytes_out: u64,
    /// Streams accepted.
    pub streams_accepted: u64,
    /// Streams closed at once because too many were open.
    pub streams_turned_away: u64,
    /// Streams connected.
    pub streams_connected: u64,
    /// Streams whose end the machine was told.
    pub streams_closed: u64,
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
