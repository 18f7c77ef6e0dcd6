//! The SIP stack below the connector: transactions, the connections they go over, and what carries a request (RFC 3261
//! 18.1.1).

use crate::routes::{Journey, Routes, Verdict};
use crate::{LargeRequests, Settings};
use sip::endpoint::{self, Ended, Endpoint, Outcome, RequestParts, SendError};
use sip::route_set::Routed;
use sip::transaction::{Flow, Transport};
use sip::transport::{Arrived, Connections};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;
use turn::{Input, Minters, Output, SocketId};

/// What carries a request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Datagram,
    Connection,
    /// A connection that does not stand yet; if it is refused, datagrams will have to do.
    ConnectionOrDatagram,
}

/// Endpoint, connections and routes.
pub(crate) struct Stack {
    pub(crate) endpoint: Endpoint,
    pub(crate) connections: Connections,
    pub(crate) routes: Routes,
    large_requests: LargeRequests,
    scratch: Vec<u8>,
    closed: bool,
}

impl Stack {
    pub(crate) fn new(settings: &Settings, endpoint: endpoint::Settings, minters: &Minters) -> Self {
        Self {
            connections: Connections::new(&endpoint.limits, settings.connections),
            endpoint: Endpoint::new(endpoint, minters.derive("sip endpoint")),
            routes: Routes::new(&settings.routes),
            large_requests: settings.large_requests,
            scratch: Vec::new(),
            closed: false,
        }
    }

    /// Takes other limits, and what carries large requests. Which routes there are and how many connections there may be is
    /// settled at the start.
    pub(crate) fn reconfigure(&mut self, endpoint: &endpoint::Settings, large_requests: LargeRequests) {
        self.connections.set_limits(&endpoint.limits);
        self.endpoint.reconfigure(endpoint);
        self.large_requests = large_requests;
    }

    /// Takes one fact. Gives the number of octets consumed, and what came of the message in them. `is_known` tells of an address
    /// whether requests from there are anybody's.
    pub(crate) fn handle_input<'a>(
        &mut self,
        now: Instant,
        input: Input<'a>,
        is_known: impl Fn(IpAddr) -> bool,
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
                self.connections.handle_accepted(now, stream, listener, peer, !is_known(peer.ip()), out);
                (0, None)
            }
            Input::Connected { stream, .. } => {
                self.connections.handle_connected(now, stream);
                (0, None)
            }
            Input::Closed { stream, .. } => {
                if let Some(lost) = self.connections.handle_closed(stream) {
                    self.routes.on_lost(now, lost.peer, lost.stood);
                }
                self.endpoint.handle_closed(stream);
                (0, None)
            }
            Input::Secured { .. }
            | Input::Committed { .. }
            | Input::CommitFailed { .. }
            | Input::Loaded { .. }
            | Input::LoadFailed { .. }
            | Input::HandedOver { .. }
            | Input::HandOverFailed { .. } => (0, None),
        }
    }

    /// Sends a request to the next hop that its message is at. Route lines and Request-URI are written as the route set asks
    /// for them; `parts` name the remote target.
    pub(crate) fn request(
        &mut self,
        now: Instant,
        journey: Journey,
        parts: &RequestParts<'_>,
        token: u64,
        out: &mut Output,
    ) -> Result<Carrier, SendError> {
        let Some(leg) = self.routes.leg(now, journey) else { return Err(SendError::StreamGone) };
        let Routed { uri, lines } = leg.route_set.apply(parts.uri, &mut self.scratch);
        let parts = &RequestParts { uri, route: lines, ..*parts };
        let sender = &mut Sender { now, endpoint: &mut self.endpoint, connections: &mut self.connections, token, out };
        let flow = leg.flow;
        if !leg.congestion_safe {
            // Whatever carries it here, somebody further on may use UDP (RFC 3428 section 8).
            let sent = match flow.transport {
                Transport::Udp => sender.by_datagram(flow, leg.largest, parts).map(|()| Carrier::Datagram),
                Transport::Tcp => sender.by_connection(flow, leg.largest, parts).map(|_| Carrier::Connection),
            };
            if sent == Err(SendError::TooLarge) {
                self.routes.on_too_large();
            }
            return sent;
        }
        if flow.transport == Transport::Tcp {
            return sender.by_connection(flow, usize::MAX, parts).map(|_| Carrier::Connection);
        }
        let connects = match self.large_requests {
            LargeRequests::Udp => false,
            LargeRequests::Tcp => true,
            LargeRequests::TcpThenUdp => !leg.refused,
        };
        if !connects {
            return sender.by_datagram(flow, usize::MAX, parts).map(|()| Carrier::Datagram);
        }
        match sender.by_datagram(flow, leg.largest, parts) {
            Err(SendError::TooLarge) => {
                let connecting = sender.by_connection(flow, usize::MAX, parts)?;
                let tentative = connecting && self.large_requests == LargeRequests::TcpThenUdp;
                Ok(if tentative { Carrier::ConnectionOrDatagram } else { Carrier::Connection })
            }
            sent => sent.map(|()| Carrier::Datagram),
        }
    }

    /// A transaction has ended: notes what it says of the next hop, and tells what is to be done with its message.
    pub(crate) fn judge(&mut self, now: Instant, journey: Journey, carrier: Carrier, outcome: &Outcome<'_>) -> Verdict {
        let failed = matches!(outcome, Outcome::TransportFailed);
        if failed && carrier == Carrier::ConnectionOrDatagram && self.routes.is_refused(now, journey) {
            return Verdict::ByDatagram;
        }
        if carrier != Carrier::Datagram
            && matches!(outcome, Outcome::TimedOut { heard: false })
            && let Some(leg) = self.routes.leg(now, journey)
        {
            self.connections.retire(now, leg.flow.peer);
        }
        self.routes.judge(now, journey, carrier != Carrier::Datagram, outcome)
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
        if self.closed {
            return;
        }
        // Connections are made from whatever address the system finds; the socket tells nothing here.
        let target = Flow { transport: Transport::Tcp, socket: SocketId(0), peer, stream: None };
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

/// What sends one request.
struct Sender<'a> {
    now: Instant,
    endpoint: &'a mut Endpoint,
    connections: &'a mut Connections,
    token: u64,
    out: &'a mut Output,
}

impl Sender<'_> {
    fn by_datagram(&mut self, flow: Flow, largest: usize, parts: &RequestParts<'_>) -> Result<(), SendError> {
        let largest = largest.min(endpoint::LARGEST_DATAGRAM);
        self.endpoint.request_within(self.now, flow, largest, parts, self.token, self.out).map(drop)
    }

    /// Gives whether the connection is still being made.
    fn by_connection(&mut self, flow: Flow, largest: usize, parts: &RequestParts<'_>) -> Result<bool, SendError> {
        let flow = self.connections.reach(self.now, &flow, self.out).map_err(|_| SendError::TableFull)?;
        self.endpoint.request_within(self.now, flow, largest, parts, self.token, self.out)?;
        Ok(flow.stream.is_some_and(|stream| self.connections.is_connecting(stream)))
    }
}
