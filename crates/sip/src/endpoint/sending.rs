//! How requests of ours are sent (RFC 3261 8.1.1, 16.6, 18.1.1).

use super::{Endpoint, Forwarding, RequestParts, print};
use crate::transaction::client::Start;
use crate::transaction::{Blocked, ClientKey, Flow, ServerKey, Transport, Way};
use std::time::Instant;
use turn::Output;

/// Largest payload of a UDP datagram over IPv4.
pub const LARGEST_DATAGRAM: usize = 65_507;

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// As many client transactions are open as [`Settings::max_client`](super::Settings::max_client) allows. Temporary.
    #[error("too many client transactions are open")]
    TableFull,
    /// The stream does not exist.
    #[error("the stream is gone")]
    StreamGone,
    /// More bytes wait for the peer than [`Settings::max_unsent`](super::Settings::max_unsent) allows. Temporary.
    #[error("the peer reads too slowly")]
    StreamFull,
    /// The request does not fit into a datagram. A stream takes it.
    #[error("the request does not fit into a datagram")]
    TooLarge,
    /// A transaction with this branch is open.
    #[error("the branch is in use")]
    BranchInUse,
    /// The server transaction whose request is to be passed on has ended.
    #[error("the request to be forwarded has been answered")]
    Answered,
}

impl Endpoint {
    /// Sends a request out of dialog that is no INVITE. Via, Content-Length and, where `parts` has none, branch and From
    /// tag are added. It ends with the token, once.
    pub fn request(
        &mut self,
        now: Instant,
        target: Flow,
        parts: &RequestParts<'_>,
        token: u64,
        out: &mut Output,
    ) -> Result<ClientKey, SendError> {
        let largest = if target.transport == Transport::Udp { LARGEST_DATAGRAM } else { usize::MAX };
        self.request_within(now, target, largest, parts, token, out)
    }

    /// The same for a request of at most `largest` bytes. A larger one is not sent: over UDP because it must go over a stream
    /// (18.1.1), over streams because whoever passes it on may use UDP (RFC 3428 section 8).
    pub fn request_within(
        &mut self,
        now: Instant,
        target: Flow,
        largest: usize,
        parts: &RequestParts<'_>,
        token: u64,
        out: &mut Output,
    ) -> Result<ClientKey, SendError> {
        let branch = parts.branch.unwrap_or_else(|| self.keys.mint());
        let tag = if parts.from_tag.is_none() { self.keys.mint() as u64 } else { 0 };
        let mut bytes = self.clients.pool.take();
        print::request(parts, target.transport, &self.settings, branch, tag, &mut bytes);
        // What we take, others take; and a peer that does not would end the connection, for all that go over it.
        if bytes.len() > largest.min(self.settings.limits.message) {
            self.clients.pool.give(bytes);
            return Err(SendError::TooLarge);
        }
        self.send(now, target, branch, bytes, parts.method.as_bytes(), false, token, out)
    }

    /// Passes on a request that came out (16.6): a copy with our Via on top, another Request-URI and Max-Forwards, and what
    /// else `forwarding` says. Its final response is for [`respond_forwarded`](Self::respond_forwarded).
    pub fn forward(
        &mut self,
        now: Instant,
        target: Flow,
        transaction: ServerKey,
        forwarding: &Forwarding<'_>,
        token: u64,
        out: &mut Output,
    ) -> Result<ClientKey, SendError> {
        let Some(row) = self.open.row(transaction) else { return Err(SendError::Answered) };
        let branch = self.keys.mint();
        let mut bytes = self.clients.pool.take();
        print::forward(forwarding, row.memo.vias(), target.transport, &self.settings, branch, &mut bytes);
        self.send(now, target, branch, bytes, forwarding.request.method.as_bytes(), true, token, out)
    }

    #[expect(clippy::too_many_arguments, reason = "the common end of the two ways to send a request")]
    fn send(
        &mut self,
        now: Instant,
        target: Flow,
        branch: u128,
        request: Vec<u8>,
        method: &[u8],
        forwarded: bool,
        token: u64,
        out: &mut Output,
    ) -> Result<ClientKey, SendError> {
        let now = self.clock(now);
        let checked = if self.clients.len() >= self.settings.max_client {
            Err(SendError::TableFull)
        } else if self.clients.contains_branch(branch) {
            Err(SendError::BranchInUse)
        } else if target.transport == Transport::Udp && request.len() > LARGEST_DATAGRAM {
            Err(SendError::TooLarge)
        } else {
            Way::of(&target).ok_or(SendError::StreamGone)
        };
        let sent = checked.and_then(|way| {
            way.send(out, self.settings.max_unsent, |to| to.extend_from_slice(&request)).map(|()| way).map_err(
                |blocked| match blocked {
                    Blocked::Gone => SendError::StreamGone,
                    Blocked::Full => SendError::StreamFull,
                },
            )
        });
        match sent {
            Ok(way) => {
                self.counters.requests_out += 1;
                Ok(self.clients.start(now, Start { branch, token, way, request, method, forwarded }))
            }
            Err(error) => {
                self.clients.pool.give(request);
                Err(error)
            }
        }
    }
}
