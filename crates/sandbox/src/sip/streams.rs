//! The streams of clients: framing, keep-alives, idle ends.

use sip::transaction::{Flow, Transport};
use sip::wire::Limits;
use sip::wire::framing::Framer;
use slotmap::SecondaryMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use turn::{SocketId, StreamId, Wheel};

/// A stream on which nothing has arrived for so long is closed. Clients with a binding over it keep it alive (RFC 5626
/// 4.4.1 asks them to, every two minutes).
const IDLE: Duration = Duration::from_secs(900);

/// One stream.
pub(super) struct Peer {
    pub(super) framer: Framer,
    pub(super) flow: Flow,
    heard: Instant,
    /// It is to be closed; nothing more is read from it.
    pub(super) ending: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Streams {
    peers: SecondaryMap<StreamId, Peer>,
    wheel: Wheel<StreamId>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn accept(
        &mut self,
        now: Instant,
        stream: StreamId,
        listener: SocketId,
        peer: SocketAddr,
        limits: &Limits,
    ) {
        let flow = Flow { transport: Transport::Tcp, socket: listener, peer, stream: Some(stream) };
        self.peers.insert(stream, Peer { framer: Framer::new(limits), flow, heard: now, ending: false });
        self.wheel.arm(now, now + IDLE, stream);
    }

    /// A stream that something arrived on.
    pub(super) fn heard(&mut self, now: Instant, stream: StreamId) -> Option<&mut Peer> {
        let peer = self.peers.get_mut(stream)?;
        peer.heard = now;
        Some(peer)
    }

    pub(super) fn remove(&mut self, stream: StreamId) {
        self.peers.remove(stream);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = StreamId> {
        self.peers.keys()
    }

    /// A stream that has been idle for too long; called until `None`.
    pub(super) fn pop_idle(&mut self, now: Instant) -> Option<StreamId> {
        while let Some(stream) = self.wheel.pop_due(now) {
            let Some(peer) = self.peers.get_mut(stream) else { continue };
            if peer.heard + IDLE <= now {
                peer.ending = true;
                return Some(stream);
            }
            self.wheel.arm(now, peer.heard + IDLE, stream);
        }
        None
    }

    pub(super) fn next_idle(&self) -> Option<Instant> {
        if self.peers.is_empty() { None } else { self.wheel.next_due() }
    }
}
