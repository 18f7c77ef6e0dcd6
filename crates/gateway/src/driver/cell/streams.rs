//! The streams of a cell: accepted and connected, read and written, secured, closed.

use super::{Cell, Port, tap};
use crate::driver::ready::{Part, Signal, Source};
use crate::driver::wiring::Direction;
use crate::net::names::{Connecting, connect_to_address, connect_to_name};
use crate::net::tcp::{Connection, Read};
use crate::net::tls::Ingested;
use std::cmp::Reverse;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use turn::{CloseCause, Input, Output, SocketId, StreamId, Target};

/// At most so many bytes of a stream are read at once.
pub(super) const STREAM_READ: usize = 1 << 16;
/// At most so many connections of one listener are accepted in one turn.
const ACCEPTED_PER_TURN: usize = 64;
/// How long a listener rests that could not accept, for want of file descriptors for example.
const LISTENER_REST: Duration = Duration::from_millis(100);
/// How long the peer of a stream that we close may take to read our last words and close too.
const LINGER: Duration = Duration::from_millis(500);

pub(super) enum Stream {
    Connecting {
        connecting: Connecting,
        waker: Waker,
    },
    Open {
        connection: Connection,
        accepted: bool,
        start_tls: bool,
    },
    /// We closed it and wait a little for the peer to do so too.
    Lingering {
        connection: Connection,
        accepted: bool,
    },
}

impl Cell {
    pub(super) fn serve_listener(&mut self, now: Instant, place: u16) {
        for _ in 0..ACCEPTED_PER_TURN {
            let Some(Port::Listener { listener, waker }) = self.ports.get(usize::from(place)) else { return };
            match listener.poll_accept(&mut Context::from_waker(waker)) {
                Poll::Pending => return,
                Poll::Ready(Ok((socket, peer))) => self.accept(now, SocketId(place), socket, peer),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Poll::Ready(Err(error)) => {
                    tracing::warn!(machine = self.name, %error, "a listener cannot accept and rests");
                    self.timers.push(Reverse((now + LISTENER_REST, Part::Socket(place))));
                    return;
                }
            }
        }
        if let Some(Port::Listener { waker, .. }) = self.ports.get(usize::from(place)) {
            waker.wake_by_ref();
        }
    }

    fn accept(&mut self, now: Instant, listener: SocketId, socket: TcpStream, peer: SocketAddr) {
        if self.accepted >= self.limits.accepted {
            self.counters.streams_turned_away += 1;
            return;
        }
        let stream = self.machine.output().open();
        let waker = self.stream_waker(stream);
        match Connection::new(socket, waker) {
            Ok(connection) => {
                // The first look registers the waker.
                connection.waker().wake_by_ref();
                self.accepted += 1;
                self.counters.streams_accepted += 1;
                self.streams.insert(stream, Stream::Open { connection, accepted: true, start_tls: false });
                self.feed(now, Input::Accepted { stream, listener, peer });
            }
            // It was closed again before we looked at it.
            Err(_) => self.machine.output().forget(stream),
        }
    }

    fn stream_waker(&self, stream: StreamId) -> Waker {
        Signal::waker(Source { machine: self.index, part: Part::Stream(stream) }, &self.queue)
    }

    pub(super) fn serve_stream(&mut self, now: Instant, id: StreamId, buffer: &mut [u8]) {
        match self.streams.get_mut(id) {
            None => {}
            Some(Stream::Connecting { connecting, waker }) => {
                let Poll::Ready(result) = connecting.as_mut().poll(&mut Context::from_waker(waker)) else { return };
                let connected = result.and_then(|socket| Connection::new(socket, waker.clone()));
                self.on_connected(now, id, connected);
            }
            Some(Stream::Lingering { connection, .. }) => {
                let closed_too = connection.discard(buffer);
                if closed_too {
                    self.drop_stream(id, CloseCause::Ours);
                }
            }
            Some(Stream::Open { connection, start_tls, .. }) => {
                if connection.has_waiting() {
                    self.unfinished.push(id);
                }
                let ended = match connection.read(buffer) {
                    Read::Nothing if connection.write_failed() => Some(CloseCause::Failed),
                    // The waker is registered.
                    Read::Nothing => return,
                    Read::Plain(length) if *start_tls => {
                        connection.offer(&buffer[..length], |_| 0);
                        None
                    }
                    Read::Plain(length) => self.deliver(now, id, &buffer[..length]),
                    Read::Records(ingested) => self.on_records(now, id, &ingested),
                    Read::Ended => Some(CloseCause::Peer),
                    Read::Failed(error) => {
                        tracing::debug!(machine = self.name, peer = %connection.peer(), %error, "a stream failed");
                        Some(CloseCause::Failed)
                    }
                };
                match ended {
                    Some(cause) => self.ending.push((id, cause)),
                    None => {
                        if let Some(Stream::Open { connection, .. }) = self.streams.get(id) {
                            connection.expect_more();
                        }
                    }
                }
            }
        }
    }

    fn on_connected(&mut self, now: Instant, id: StreamId, connected: io::Result<Connection>) {
        match connected {
            Ok(connection) => {
                let peer = connection.peer();
                connection.waker().wake_by_ref();
                self.streams.insert(id, Stream::Open { connection, accepted: false, start_tls: false });
                self.counters.streams_connected += 1;
                // Bytes that were written before leave now.
                self.unfinished.push(id);
                self.feed(now, Input::Connected { stream: id, peer });
            }
            Err(error) => {
                tracing::debug!(machine = self.name, %error, "a connection could not be made");
                self.drop_stream(id, CloseCause::Refused);
            }
        }
    }

    /// Hands arrived plain bytes, behind the tail, to the machine. Gives the cause if the stream is to end.
    fn deliver(&mut self, now: Instant, id: StreamId, arrived: &[u8]) -> Option<CloseCause> {
        let Some(Stream::Open { connection, .. }) = self.streams.get_mut(id) else { return None };
        self.counters.stream_bytes_in += arrived.len() as u64;
        tap(&mut self.tap, self.name, Direction::In, false, connection.local(), connection.peer(), arrived);
        self.touched = true;
        let machine = &mut self.machine;
        connection.offer(arrived, |data| machine.handle_input(now, Input::Received { stream: id, data }));
        if connection.unconsumed_len() <= self.limits.unconsumed {
            return None;
        }
        tracing::warn!(machine = self.name, peer = %connection.peer(), "a stream holds too much that nobody reads");
        Some(CloseCause::Failed)
    }

    fn on_records(&mut self, now: Instant, id: StreamId, ingested: &Ingested) -> Option<CloseCause> {
        // The handshake has something to say.
        self.unfinished.push(id);
        if ingested.secured {
            self.feed(now, Input::Secured { stream: id });
        }
        let delivered = if ingested.plain.is_empty() { None } else { self.deliver(now, id, &ingested.plain) };
        delivered.or(ingested.ended.then_some(CloseCause::Peer))
    }

    pub(super) fn connect(&mut self, stream: StreamId, target: Target) {
        let waker = self.stream_waker(stream);
        // The first look begins it.
        waker.wake_by_ref();
        let connecting = match target {
            Target::Address(address) => connect_to_address(address),
            Target::Configured(place) => match self.targets.get(usize::from(place)) {
                Some(host_port) => connect_to_name(&self.names, host_port),
                None => {
                    debug_assert!(false, "target {place} is not configured");
                    self.gone.push_back((stream, CloseCause::Refused));
                    return;
                }
            },
        };
        self.streams.insert(stream, Stream::Connecting { connecting, waker });
    }

    /// Writes what a stream has to write as far as the kernel takes it, and starts TLS behind it if that is wanted.
    pub(super) fn write(&mut self, id: StreamId) {
        let Some(Stream::Open { connection, start_tls, .. }) = self.streams.get_mut(id) else { return };
        let output: &mut Output = self.machine.output();
        let unsent = output.unsent(id);
        let length = unsent.len();
        let written = connection.write(unsent);
        tap(
            &mut self.tap,
            self.name,
            Direction::Out,
            false,
            connection.local(),
            connection.peer(),
            unsent.get(..written).unwrap_or_default(),
        );
        if written > 0 {
            self.counters.stream_bytes_out += written as u64;
            output.sent(id, written);
        }
        if *start_tls && written == length {
            *start_tls = false;
            self.start_tls(id);
        }
    }

    fn start_tls(&mut self, id: StreamId) {
        let Some(Stream::Open { connection, .. }) = self.streams.get_mut(id) else { return };
        let started = match &self.tls {
            Some(config) if !connection.is_secure() => connection.start_tls(config.clone()),
            _ => Err(io::Error::other("TLS is not possible here")),
        };
        match started {
            Ok(ingested) => {
                // A handshake needs answers, so that nothing is secured yet and nothing decrypted.
                debug_assert!(!ingested.secured && !ingested.ended && ingested.plain.is_empty());
                connection.waker().wake_by_ref();
            }
            Err(error) => {
                tracing::debug!(machine = self.name, peer = %connection.peer(), %error, "TLS failed");
                connection.write(&[]);
                self.drop_stream(id, CloseCause::Failed);
            }
        }
    }

    pub(super) fn close(&mut self, now: Instant, id: StreamId) {
        match self.streams.remove(id) {
            None => {}
            Some(lingering @ Stream::Lingering { .. }) => {
                self.streams.insert(id, lingering);
            }
            Some(Stream::Connecting { .. }) => self.gone.push_back((id, CloseCause::Ours)),
            Some(open @ Stream::Open { .. }) => {
                self.streams.insert(id, open);
                self.write(id);
                if let Some(Stream::Open { mut connection, accepted, .. }) = self.streams.remove(id) {
                    connection.shut_down();
                    connection.waker().wake_by_ref();
                    self.timers.push(Reverse((now + LINGER, Part::Stream(id))));
                    self.streams.insert(id, Stream::Lingering { connection, accepted });
                }
            }
        }
    }

    /// Closes the socket of a stream; the machine is told in the next turn. Does nothing for a stream that is gone.
    pub(super) fn drop_stream(&mut self, id: StreamId, cause: CloseCause) {
        let Some(stream) = self.streams.remove(id) else { return };
        let (accepted, cause) = match stream {
            Stream::Connecting { .. } => (false, cause),
            Stream::Open { accepted, .. } => (accepted, cause),
            Stream::Lingering { accepted, .. } => (accepted, CloseCause::Ours),
        };
        if accepted {
            self.accepted -= 1;
        }
        self.gone.push_back((id, cause));
    }
}
