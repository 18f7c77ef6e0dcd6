//! SIP over TCP: the connections of SIP neighbours to the gateway, and of the gateway to them.

use super::World;
use sip::wire::framing::{Framed, Framer};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use turn::{CloseCause, Input, Machine, SocketId, StreamId, Target};

/// The listener for SIP over TCP.
pub const TCP_LISTENER: SocketId = SocketId(1);

/// All connections for SIP, as the neighbours see them.
pub struct SipStreams {
    /// The neighbours read at once. When not, what the gateway writes stays with it.
    pub is_reading: bool,
    open: BTreeMap<StreamId, Stream>,
    /// Ordered by the gateway and not yet answered.
    ordered: VecDeque<(StreamId, SocketAddr)>,
    /// The gateway closes them.
    closing: Vec<StreamId>,
    /// Connections that were ordered so far.
    pub connects: usize,
}

impl Default for SipStreams {
    fn default() -> Self {
        Self { is_reading: true, open: BTreeMap::new(), ordered: VecDeque::new(), closing: Vec::new(), connects: 0 }
    }
}

#[derive(Default)]
struct Stream {
    /// What the gateway wrote.
    received: Vec<u8>,
    /// What was written to the gateway and not consumed.
    unconsumed: Vec<u8>,
}

impl SipStreams {
    pub(super) fn on_connect(&mut self, stream: StreamId, target: Target) -> bool {
        let Target::Address(peer) = target else { return false };
        self.connects += 1;
        self.ordered.push_back((stream, peer));
        true
    }

    /// Notes an order to close. False if the stream is none of these.
    pub(super) fn on_close(&mut self, stream: StreamId) -> bool {
        let ordered = self.ordered.iter().position(|(other, _)| *other == stream);
        if let Some(place) = ordered {
            self.ordered.remove(place);
        }
        let ours = ordered.is_some() || self.open.contains_key(&stream);
        if ours {
            self.closing.push(stream);
        }
        ours
    }
}

impl World {
    pub(super) fn drain_sip(&mut self, stream: StreamId) {
        if let Some(peer) = self.sip.open.get_mut(&stream).filter(|_| self.sip.is_reading) {
            let output = self.engine.output();
            let bytes = output.unsent(stream).to_vec();
            output.sent(stream, bytes.len());
            peer.received.extend_from_slice(&bytes);
        }
    }

    /// Carries out the orders to close, with what was still to be written.
    pub(super) fn close_sip_streams(&mut self) {
        for stream in std::mem::take(&mut self.sip.closing) {
            self.drain_sip(stream);
            self.closed_streams.push(stream);
            self.close_input(stream, CloseCause::Ours);
        }
    }

    /// A neighbour connects to the gateway.
    pub fn sip_connects(&mut self, peer: SocketAddr) -> StreamId {
        let stream = self.engine.output().open();
        self.sip.open.insert(stream, Stream::default());
        self.input(Input::Accepted { stream, listener: TCP_LISTENER, peer });
        stream
    }

    /// A neighbour writes to its connection.
    pub fn sip_writes(&mut self, stream: StreamId, bytes: impl AsRef<[u8]>) {
        let mut data = std::mem::take(&mut self.sip.open.get_mut(&stream).expect("a connection").unconsumed);
        data.extend_from_slice(bytes.as_ref());
        let consumed = self.engine.handle_input(self.now, Input::Received { stream, data: &data });
        data.drain(..consumed);
        if let Some(open) = self.sip.open.get_mut(&stream) {
            open.unconsumed = data;
        }
        self.turn();
    }

    /// The next message, or run of line ends, that the gateway wrote to a connection.
    pub fn sip_reads(&mut self, stream: StreamId) -> Option<String> {
        self.sip_reads_bytes(stream).map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
    }

    /// The same where it may be no UTF-8.
    pub fn sip_reads_bytes(&mut self, stream: StreamId) -> Option<Vec<u8>> {
        let received = &mut self.sip.open.get_mut(&stream)?.received;
        let taken = match Framer::new(&sip::wire::Limits::default()).scan(received) {
            Framed::Message { consumed, .. } | Framed::KeepAlive { consumed, .. } => consumed,
            Framed::Incomplete if received.is_empty() => return None,
            other => panic!("a whole message, not {other:?} in {}", String::from_utf8_lossy(received)),
        };
        Some(received.drain(..taken).collect())
    }

    /// The address of the oldest connection that the gateway has ordered.
    pub fn sip_ordered(&self) -> Option<SocketAddr> {
        self.sip.ordered.front().map(|(_, peer)| *peer)
    }

    /// The neighbour takes the oldest connection that the gateway has ordered.
    pub fn sip_takes_connection(&mut self) -> StreamId {
        let (stream, peer) = self.sip.ordered.pop_front().expect("a connection was ordered");
        self.sip.open.insert(stream, Stream::default());
        self.drain_sip(stream);
        self.input(Input::Connected { stream, peer });
        stream
    }

    /// The neighbour refuses the oldest connection that the gateway has ordered.
    pub fn sip_refuses_connection(&mut self) {
        let (stream, _) = self.sip.ordered.pop_front().expect("a connection was ordered");
        self.close_input(stream, CloseCause::Refused);
    }

    /// The neighbour closes a connection.
    pub fn sip_closes(&mut self, stream: StreamId) {
        self.sip.open.remove(&stream).expect("a connection");
        self.close_input(stream, CloseCause::Peer);
    }

    /// Whether the gateway has closed a connection.
    pub fn is_closed_by_gateway(&self, stream: StreamId) -> bool {
        self.closed_streams.contains(&stream)
    }
}
