//! The SIP stack below the connector: transactions, the connections they go over, and what carries a request (RFC 3261
//! 18.1.1).

use crate::{LargeRequests, Settings};
use sip::endpoint::{self, Ended, Endpoint, RequestParts, SendError};
use sip::transaction::{Flow, Transport};
use sip::transport::{Arrived, Connections};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use turn::{Input, Minter, Output};

/// RFC 3261 18.1.1: where the path MTU is not known, a request larger than this goes over a congestion controlled transport.
const LARGEST_DATAGRAM_REQUEST: usize = 1300;
/// A next hop that has refused a connection for a large request is not asked again for so long.
const REFUSAL_KEPT: Duration = Duration::from_secs(60);

/// What carries a request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Datagram,
    Connection,
    /// A connection that does not stand yet; if it is refused, datagrams will have to do.
    ConnectionOrDatagram,
}

/// Endpoint and connections.
pub(crate) struct Stack {
    pub(crate) endpoint: Endpoint,
    pub(crate) connections: Connections,
    next_hop: Flow,
    large_requests: LargeRequests,
    /// The next hop takes no connections, as far as is known.
    refused_until: Option<Instant>,
    closed: bool,
}

impl Stack {
    pub(crate) fn new(settings: &Settings, endpoint: endpoint::Settings, minter: &Minter) -> Self {
        Self {
            connections: Connections::new(&endpoint.limits, settings.connections),
            endpoint: Endpoint::new(endpoint, minter.derive("sip endpoint")),
            next_hop: settings.next_hop,
            large_requests: settings.large_requests,
            refused_until: None,
            closed: false,
        }
    }

    /// Takes one fact. Gives the number of octets consumed, and what came of the message in them.
    pub(crate) fn handle_input<'a>(
        &mut self,
        now: Instant,
        input: Input<'a>,
        out: &mut Output,
    ) -> (usize, Option<(Flow, endpoint::Event<'a>)>) {
        match input {
            Input::Datagram { socket, peer, bytes } => {
                let flow = Flow { transport: Transport::Udp, socket, peer, stream: None };
                (0, Some((flow, self.endpoint.handle_message(now, flow, bytes, out))))
            }
            Input::Unreachable { socket, peer } => {
                self.endpoint.handle_unreachable(socket, peer);
                (0, None)
            }
            Input::Received { stream, data } => {
                let (consumed, arrived) = self.connections.handle_received(now, stream, data, out);
                let event = match arrived {
                    Arrived::Nothing => None,
                    Arrived::Message(flow, bytes) => Some((flow, self.endpoint.handle_message(now, flow, bytes, out))),
                    Arrived::Broken(flow, broken) => {
                        self.endpoint.handle_broken(now, flow, &broken, out);
                        None
                    }
                };
                (consumed, event)
            }
            Input::Accepted { stream, listener, peer } => {
                self.connections.handle_accepted(now, stream, listener, peer, out);
                (0, None)
            }
            Input::Connected { stream, .. } => {
                self.connections.handle_connected(now, stream);
                (0, None)
            }
            Input::Closed { stream, .. } => {
                if let Some(lost) = self.connections.handle_closed(stream)
                    && lost.peer == self.next_hop.peer
                {
                    self.refused_until = (!lost.stood).then(|| now + REFUSAL_KEPT);
                }
                self.endpoint.handle_closed(stream);
                (0, None)
            }
            Input::Secured { .. } => (0, None),
        }
    }

    /// Sends a request to the next hop.
    pub(crate) fn request(
        &mut self,
        now: Instant,
        parts: &RequestParts<'_>,
        token: u64,
        out: &mut Output,
    ) -> Result<Carrier, SendError> {
        if self.next_hop.transport == Transport::Tcp {
            return self.request_by_connection(now, parts, token, out);
        }
        let by_connection = match self.large_requests {
            LargeRequests::Udp => false,
            LargeRequests::Tcp => true,
            LargeRequests::TcpThenUdp => !self.is_refused(now),
        };
        if by_connection {
            let (target, largest) = (self.next_hop, LARGEST_DATAGRAM_REQUEST);
            match self.endpoint.request_within(now, target, largest, parts, token, out) {
                Err(SendError::TooLarge) => self.request_by_connection(now, parts, token, out),
                sent => sent.map(|_| Carrier::Datagram),
            }
        } else {
            self.endpoint.request(now, self.next_hop, parts, token, out).map(|_| Carrier::Datagram)
        }
    }

    fn request_by_connection(
        &mut self,
        now: Instant,
        parts: &RequestParts<'_>,
        token: u64,
        out: &mut Output,
    ) -> Result<Carrier, SendError> {
        let flow = self.connections.reach(now, &self.next_hop, out).map_err(|_| SendError::TableFull)?;
        self.endpoint.request(now, flow, parts, token, out)?;
        let tentative = self.next_hop.transport == Transport::Udp
            && self.large_requests == LargeRequests::TcpThenUdp
            && flow.stream.is_some_and(|stream| self.connections.is_connecting(stream));
        Ok(if tentative { Carrier::ConnectionOrDatagram } else { Carrier::Connection })
    }

    /// Whether the next hop has refused the last connection, not long ago.
    pub(crate) fn is_refused(&self, now: Instant) -> bool {
        self.refused_until.is_some_and(|until| now < until)
    }

    /// Does what is due. Called until it returns `None`.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Output) -> Option<Ended> {
        self.connections.handle_timeout(now, out);
        while let Some(answer) = self.endpoint.poll_homeless() {
            self.send_elsewhere(now, answer.peer, &answer.bytes, out);
        }
        self.endpoint.handle_timeout(now, out)
    }

    /// Over another connection than the request came (18.2.2).
    fn send_elsewhere(&mut self, now: Instant, peer: SocketAddr, bytes: &[u8], out: &mut Output) {
        let target = Flow { transport: Transport::Tcp, peer, ..self.next_hop };
        if self.closed {
            return;
        }
        if let Ok(Flow { stream: Some(stream), .. }) = self.connections.reach(now, &target, out)
            && let Some(buffer) = out.stream(stream)
        {
            buffer.extend_from_slice(bytes);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        [self.endpoint.poll_timeout(), self.connections.poll_timeout()].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// Closes all connections.
    pub(crate) fn close(&mut self, out: &mut Output) {
        self.closed = true;
        self.connections.close_all(out);
    }
}
