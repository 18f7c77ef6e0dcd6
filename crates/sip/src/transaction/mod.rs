//! Transactions (RFC 3261 section 17): one request and its responses.
//!
//! * `key` tells which transaction a message belongs to (17.1.3, 17.2.3).
//! * An *open* server transaction (`open`) has come out of the endpoint and waits for its final answer.
//! * A *finished* one (`finished`) is kept until Timer J, as little of it as is needed to repeat its answer.
//! * A *refused* INVITE (`refused`) repeats its refusal until the ACK.
//! * A client transaction (`client`) repeats its request by Timer E and ends with a final response, with Timer F, or with a
//!   failure of the transport.
//! * What is finished may be written to a `log`, and be read from it after a restart.
//! * `route` tells where responses go (18.2.2, RFC 3581), `answer` prints them.
//!
//! These are tables and functions over their rows; [`Endpoint`](crate::endpoint::Endpoint) drives them. An INVITE comes out
//! like any other request and must be answered in the same turn: no 100 is sent for it before 3.5 s (17.2.1 wants one where
//! the answer takes more than 200 ms). It is only ever refused here.
//!
//! ```text
//!                request out of the endpoint          respond()                64*T1 (streams: 0)
//!   (nothing) ------------------------------> open -------------> finished ---------------------> (nothing)
//!                  retransmission: silence,    |      retransmission: the same response again
//!                  after 3.5 s "100 Trying"    +-- 3.5 s: 100 Trying (RFC 4320)
//!                                              |
//!                                              +-- INVITE, 300 to 699 --> refused
//! ```

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod finished;
pub(crate) mod key;
pub(crate) mod log;
pub(crate) mod open;
pub(crate) mod refused;
pub(crate) mod route;

pub use answer::{Answer, Extra};

use std::net::SocketAddr;
use std::time::Duration;
use turn::{Output, SocketId, StreamId};

slotmap::new_key_type! {
    /// A server transaction that waits for its final answer.
    pub struct ServerKey;
    /// A client transaction that waits for its final response.
    pub struct ClientKey;
}

/// What carries a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram, one message; may be lost, repeated, reordered.
    Udp,
    /// A stream that delivers in order or fails.
    Tcp,
}

impl Transport {
    /// As a Via header field names it (RFC 3261 20.42).
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }
}

/// Where a message came from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// What carries it.
    pub transport: Transport,
    /// The local socket, or the listener that accepted the stream.
    pub socket: SocketId,
    /// The other end.
    pub peer: SocketAddr,
    /// The stream, on stream transports.
    pub stream: Option<StreamId>,
}

/// Timer base values (RFC 3261 table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Estimate of the round trip.
    pub t1: Duration,
    /// Longest interval between repetitions of a request.
    pub t2: Duration,
    /// How long a message may stay in the network.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl Timers {
    /// Timers F, H and J: 64*T1.
    pub fn end(&self) -> Duration {
        self.t1 * 64
    }

    /// When the sender's Timer E is reset to T2, counted from the first sending: 3.5 s with the usual values. Before it no
    /// 100 may be sent over UDP, at it one must be (RFC 4320 section 4.1).
    pub fn trying(&self) -> Duration {
        let mut passed = Duration::ZERO;
        let mut interval = self.t1.max(Duration::from_millis(1));
        while interval < self.t2 {
            passed += interval;
            interval *= 2;
        }
        passed
    }
}

/// How bytes leave: to an address, or over a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    Datagram { socket: SocketId, peer: SocketAddr },
    Stream(StreamId),
}

/// Why bytes cannot leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// The stream is gone.
    Gone,
    /// The peer does not read, and too much waits for it already.
    Full,
}

impl Way {
    /// The way to the other end of a flow. `None` for a stream transport without a stream.
    pub(crate) fn of(flow: &Flow) -> Option<Way> {
        match flow.transport {
            Transport::Udp => Some(Way::Datagram { socket: flow.socket, peer: flow.peer }),
            Transport::Tcp => flow.stream.map(Way::Stream),
        }
    }

    /// Sends what `write` appends. On a stream at most `max_unsent` bytes may wait already.
    pub(crate) fn send(
        self,
        out: &mut Output,
        max_unsent: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Blocked> {
        match self {
            Way::Datagram { socket, peer } => out.send_datagram(socket, peer, write),
            Way::Stream(stream) => {
                if out.unsent_len(stream) > max_unsent {
                    return Err(Blocked::Full);
                }
                write(out.stream(stream).ok_or(Blocked::Gone)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_provisional_is_due_when_timer_e_reaches_t2() {
        let Timers { t1, t2, t4 } = Timers::default();
        assert_eq!([t1, t2, t4].map(|timer| timer.as_millis()), [500, 4000, 5000], "RFC 3261 table 4");
        assert_eq!(Timers::default().trying(), Duration::from_millis(3500));
        assert_eq!(Timers::default().end(), Duration::from_secs(32));
        let slow = Timers { t1: Duration::from_secs(1), t2: Duration::from_secs(4), t4: Duration::from_secs(5) };
        assert_eq!(slow.trying(), Duration::from_secs(3));
    }
}
