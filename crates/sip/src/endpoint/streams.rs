//! What only happens on streams: messages that cannot be followed, connections that are gone.

use super::Endpoint;
use crate::transaction::Flow;
use crate::transaction::answer;
use crate::transaction::finished::Kept;
use crate::transaction::open::Memo;
use crate::transaction::route::return_address;
use crate::wire::framing::{Breakage, Broken};
use crate::wire::{self, Carriage, Message, Refusal, Unreadable};
use std::net::SocketAddr;
use std::time::Instant;
use turn::Output;

/// An answer whose connection is gone: it goes over another one to where its request came from (RFC 3261 18.2.2).
#[derive(Debug, PartialEq, Eq)]
pub struct Homeless {
    /// Where to connect to.
    pub peer: SocketAddr,
    /// The response.
    pub bytes: Vec<u8>,
}

impl Endpoint {
    /// Takes what a stream could not be followed through, and answers it as far as it can be answered: 513 to what is too
    /// long, 400 to what has no end (18.3). The caller closes the stream behind it.
    pub fn handle_broken(&mut self, now: Instant, flow: Flow, broken: &Broken<'_>, out: &mut Output) {
        let now = self.clock(now);
        self.counters.received += 1;
        let refusal = match broken.why {
            Breakage::TooLong => Refusal { status: 513, reason: "Message Too Large" },
            Breakage::Length => Refusal { status: 400, reason: "Bad Request: No Usable Content-Length" },
            Breakage::NotSip => {
                self.counters.dropped_not_sip += 1;
                return;
            }
        };
        if broken.bytes.is_empty() {
            self.counters.dropped_too_long += 1;
            return;
        }
        self.finished.expire(now);
        match wire::parse(broken.bytes, Carriage::Stream, &self.settings.limits) {
            Ok(Message::Request(request)) if request.method == wire::Method::Ack => self.counters.dropped_ack += 1,
            Ok(Message::Request(request)) => self.on_refused(&flow, &request, refusal, out),
            Ok(Message::Response(_)) => self.counters.dropped_malformed_response += 1,
            Err(Unreadable::Drop(reason)) => self.counters.on_unreadable(reason),
        }
    }

    /// The next answer that wants a connection of its own.
    pub fn poll_homeless(&mut self) -> Option<Homeless> {
        let homeless = self.homeless.pop_front()?;
        self.counters.answers_elsewhere += 1;
        Some(homeless)
    }

    pub(super) fn on_homeless(&mut self, memo: &Memo, kept: &Kept<'_>) {
        let peer = return_address(memo.vias()).filter(|_| self.homeless.len() < self.settings.max_homeless);
        let Some(peer) = peer else {
            self.counters.dropped_no_stream += 1;
            return;
        };
        let mut bytes = Vec::new();
        answer::print(kept, memo, &self.phrases, &mut bytes);
        self.homeless.push_back(Homeless { peer, bytes });
    }
}
