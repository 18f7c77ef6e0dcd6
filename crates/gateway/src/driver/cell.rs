//! One machine with its sockets: serves what is ready, carries out what the machine orders.

use super::Hosted;
use super::ready::{Part, ReadyQueue, Signal, Source};
use super::wiring::{Counters, Direction, Limits, Seen, Socket, WireTap, Wiring};
use crate::letters::{Office, Outcome};
use crate::net::names::{Connecting, Names, connect_to_address, connect_to_name};
use crate::net::tcp::{Connection, Read};
use crate::net::tls::Ingested;
use crate::net::udp::{BATCH, Datagrams, Inbox, Sent};
use crate::store::{Store, TurnLog};
use crate::telemetry::Metrics;
use slotmap::SecondaryMap;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use turn::{Action, CloseCause, Input, Output, SocketId, StoreAnswer, StoreFailure, StreamId, Target, Ticket};

/// In a turn one socket is asked so often for the datagrams that it has: for 256 of them,
const RECEIVED_PER_TURN: usize = 256 / BATCH;
/// and not again when it gave so many bytes.
const BYTES_PER_TURN: usize = 1 << 16;
/// At most so many bytes of a stream are read at once.
const STREAM_READ: usize = 1 << 16;
/// At most so many connections of one listener are accepted in one turn.
const ACCEPTED_PER_TURN: usize = 64;
/// How long a listener rests that could not accept, for want of file descriptors for example.
const LISTENER_REST: Duration = Duration::from_millis(100);
/// How long the peer of a stream that we close may take to read our last words and close too.
const LINGER: Duration = Duration::from_millis(500);

enum Port {
    Datagrams(Datagrams),
    Listener {
        listener: TcpListener,
        waker: Waker,
    },
    /// A listener that drained.
    Closed,
}

enum Stream {
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

/// Where what is read is put before a machine sees it. Lent to one cell after the other.
pub(super) struct Space {
    /// One read of a stream.
    stream: Vec<u8>,
    datagrams: Inbox,
}

impl Space {
    pub(super) fn new() -> Self {
        Self { stream: vec![0; STREAM_READ], datagrams: Inbox::new() }
    }
}

pub(super) struct Cell {
    index: u16,
    name: &'static str,
    machine: Box<dyn Hosted>,
    ports: Vec<Port>,
    streams: SecondaryMap<StreamId, Stream>,
    accepted: usize,
    targets: Vec<String>,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: Limits,
    tap: Option<Box<dyn WireTap>>,
    names: Arc<Names>,
    queue: Arc<ReadyQueue>,
    /// Rests and lingerings.
    timers: BinaryHeap<Reverse<(Instant, Part)>>,
    /// Streams that were found to have ended in this turn. What the machine wrote in it still leaves.
    ending: Vec<(StreamId, CloseCause)>,
    /// Streams whose socket is closed; the machine is told at the beginning of the next turn.
    gone: VecDeque<(StreamId, CloseCause)>,
    /// Peers that datagrams could not be sent to; the machine is told likewise.
    unreachable: Vec<(SocketId, SocketAddr)>,
    /// Streams that are to be written to although the machine wrote nothing new.
    unfinished: Vec<StreamId>,
    letters: Option<Office>,
    store: Option<Store>,
    turn_log: Option<TurnLog>,
    /// Orders that no store has taken. The machine is told at the beginning of the next turn.
    unstored: Vec<StoreAnswer>,
    /// Letters that nobody took; the machine is told likewise.
    refused_letters: Vec<Ticket>,
    /// The machine had an input in this turn.
    touched: bool,
    counters: Counters,
}

impl Cell {
    pub(super) fn new(
        index: u16,
        machine: Box<dyn Hosted>,
        mut wiring: Wiring,
        names: Arc<Names>,
        queue: Arc<ReadyQueue>,
    ) -> io::Result<Self> {
        let mut ports = Vec::with_capacity(wiring.sockets.len());
        for (socket, place) in wiring.sockets.into_iter().zip(0..) {
            let waker = Signal::waker(Source { machine: index, part: Part::Socket(place) }, &queue);
            // The first look registers the waker.
            waker.wake_by_ref();
            ports.push(match socket {
                Socket::Datagrams(socket) => Port::Datagrams(Datagrams::new(socket, waker)?),
                Socket::Listener(listener) => Port::Listener { listener: TcpListener::from_std(listener)?, waker },
            });
        }
        let told = Signal::waker(Source { machine: index, part: Part::Letters }, &queue);
        let letters = wiring.letters.map(|settings| Office::open(settings, told)).transpose()?;
        if let Some(store) = &mut wiring.store {
            store.attach(Signal::waker(Source { machine: index, part: Part::Store }, &queue));
        }
        Ok(Self {
            index,
            name: wiring.name,
            machine,
            ports,
            streams: SecondaryMap::new(),
            accepted: 0,
            targets: wiring.targets,
            tls: wiring.tls,
            limits: wiring.limits,
            tap: wiring.tap,
            names,
            queue,
            timers: BinaryHeap::new(),
            ending: Vec::new(),
            gone: VecDeque::new(),
            unreachable: Vec::new(),
            unfinished: Vec::new(),
            store: wiring.store,
            turn_log: wiring.turn_log,
            unstored: Vec::new(),
            letters,
            refused_letters: Vec::new(),
            // A machine may order something before its first input.
            touched: true,
            counters: Counters::default(),
        })
    }

    /// Adds the counters of the machine, and of what was done for it.
    pub(super) fn measure(&self, metrics: &mut Metrics) {
        self.counters.measure(self.name, metrics);
        metrics.gauge(
            "entente_streams",
            "Streams that are open, being made or being closed.",
            &[("machine", self.name)],
            self.streams.len() as u64,
        );
        if let Some(store) = &self.store {
            store.measure(metrics);
        }
        if let Some(turn_log) = &self.turn_log {
            turn_log.measure(metrics);
        }
        self.machine.measure(metrics);
    }

    /// Hands the machine other settings.
    pub(super) fn reconfigure(&mut self, settings: &engine::Settings) {
        self.machine.reconfigure(settings);
    }

    /// Lets the machine drop what it keeps; what it orders for that is carried out in the next turn.
    pub(super) fn drop_entries(&mut self, keys: &[Vec<u8>]) -> Vec<bool> {
        self.touched = true;
        self.machine.drop_entries(keys)
    }

    /// A machine whose store is full can do everything that needs no store, and says so to whom it refuses.
    pub(super) fn is_ready(&self) -> bool {
        let broken = self.store.as_ref().is_some_and(|store| store.failure() == Some(StoreFailure::Broken));
        !broken && self.machine.is_ready()
    }

    /// Whether a turn has something to do without any socket being ready.
    pub(super) fn has_work(&self) -> bool {
        let told = self.gone.is_empty() && self.unreachable.is_empty();
        let answered = self.unstored.is_empty() && self.refused_letters.is_empty();
        !told || !answered || self.touched
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let machine = self.machine.poll_timeout().map(|(at, _)| at);
        let own = self.timers.peek().map(|Reverse((at, _))| *at);
        machine.into_iter().chain(own).min()
    }

    /// Accepts no more streams, and lets the machine finish.
    pub(super) fn drain(&mut self, now: Instant) {
        for port in &mut self.ports {
            if let Port::Listener { .. } = port {
                *port = Port::Closed;
            }
        }
        self.machine.drain(now);
        self.touched = true;
    }

    pub(super) fn is_quiet(&mut self) -> bool {
        let nothing_waits = !self.has_work()
            && self.store.as_ref().is_none_or(|store| store.under_way() == 0)
            && self.machine.output().unsent_total() == 0
            && self.letters.as_ref().is_none_or(|office| office.under_way() == 0)
            && !self.ports.iter().any(|port| matches!(port, Port::Datagrams(datagrams) if datagrams.has_waiting()));
        nothing_waits && self.machine.is_quiet()
    }

    /// Tells the machine what was found out since its last turn.
    pub(super) fn begin_turn(&mut self, now: Instant) {
        while let Some((stream, cause)) = self.gone.pop_front() {
            self.feed(now, Input::Closed { stream, cause });
            self.machine.output().forget(stream);
            self.counters.streams_closed += 1;
        }
        for (socket, peer) in std::mem::take(&mut self.unreachable) {
            self.counters.unreachable += 1;
            self.feed(now, Input::Unreachable { socket, peer });
        }
        for answer in std::mem::take(&mut self.unstored) {
            self.feed(now, answer.input());
        }
        for ticket in std::mem::take(&mut self.refused_letters) {
            self.counters.letters_failed += 1;
            self.feed(now, Input::HandOverFailed { ticket });
        }
        while self.timers.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            match self.timers.pop() {
                Some(Reverse((_, Part::Stream(stream)))) => {
                    if let Some(Stream::Lingering { .. }) = self.streams.get(stream) {
                        self.drop_stream(stream, CloseCause::Ours);
                    }
                }
                Some(Reverse((_, Part::Letters))) => {}
                Some(Reverse((_, Part::Socket(place)))) => {
                    if let Some(Port::Listener { waker, .. }) = self.ports.get(usize::from(place)) {
                        waker.wake_by_ref();
                    }
                }
                Some(Reverse((_, Part::Store))) => debug_assert!(false, "a store has no timer"),
                None => break,
            }
        }
    }

    fn feed(&mut self, now: Instant, input: Input<'_>) -> usize {
        self.touched = true;
        self.machine.handle_input(now, input)
    }

    /// Reads what a ready socket has, within the limits of a turn.
    pub(super) fn serve(&mut self, now: Instant, part: Part, space: &mut Space) {
        match part {
            Part::Stream(stream) => self.serve_stream(now, stream, &mut space.stream),
            Part::Letters => self.serve_letters(now),
            Part::Store => self.serve_store(now),
            Part::Socket(place) => match self.ports.get(usize::from(place)) {
                Some(Port::Datagrams(_)) => self.serve_datagrams(now, place, &mut space.datagrams),
                Some(Port::Listener { .. }) => self.serve_listener(now, place),
                Some(Port::Closed) | None => {}
            },
        }
    }

    fn serve_letters(&mut self, now: Instant) {
        while let Some((ticket, outcome)) = self.letters.as_mut().and_then(Office::poll) {
            let (counter, told) = match outcome {
                Outcome::Written => (&mut self.counters.letters_written, Input::HandedOver { ticket }),
                Outcome::Mailed => (&mut self.counters.letters_mailed, Input::HandedOver { ticket }),
                Outcome::Failed => (&mut self.counters.letters_failed, Input::HandOverFailed { ticket }),
            };
            *counter += 1;
            self.feed(now, told);
        }
    }

    fn serve_store(&mut self, now: Instant) {
        let answers = self.store.as_mut().map(Store::take_answers).unwrap_or_default();
        for answer in answers {
            self.feed(now, answer.input());
        }
    }

    fn serve_datagrams(&mut self, now: Instant, place: u16, inbox: &mut Inbox) {
        let Some(Port::Datagrams(datagrams)) = self.ports.get_mut(usize::from(place)) else { return };
        let socket = SocketId(place);
        if datagrams.has_errors() {
            datagrams.take_unreachable(|peer| self.unreachable.push((socket, peer)));
        }
        let local = datagrams.local();
        let mut received = 0;
        for _ in 0..RECEIVED_PER_TURN {
            let more = datagrams.receive(inbox).unwrap_or_else(|error| {
                // One of the queue, told once in place of a datagram.
                tracing::debug!(machine = self.name, %local, %error, "a socket reported an error");
                true
            });
            for (peer, bytes) in inbox.datagrams() {
                self.counters.datagrams_in += 1;
                tap(&mut self.tap, self.name, Direction::In, true, local, peer, bytes);
                self.touched = true;
                self.machine.handle_input(now, Input::Datagram { socket, peer, bytes });
                received += bytes.len();
            }
            if !more {
                return;
            }
            if received >= BYTES_PER_TURN {
                break;
            }
        }
        // There may be more: behind the others, in the next turn.
        datagrams.waker().wake_by_ref();
    }

    fn serve_listener(&mut self, now: Instant, place: u16) {
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

    fn serve_stream(&mut self, now: Instant, id: StreamId, buffer: &mut [u8]) {
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

    /// Does what is due, carries out what the machine ordered, and ends the streams that have ended.
    pub(super) fn finish_turn(&mut self, now: Instant) {
        let due = self.machine.poll_timeout().is_some_and(|(at, _)| at <= now);
        if !self.touched && !due && self.unfinished.is_empty() && self.ending.is_empty() && !self.datagrams_wait() {
            return;
        }
        self.touched = false;
        self.counters.turns += 1;
        self.machine.handle_timeout(now);
        if let Some(turn_log) = &mut self.turn_log {
            turn_log.append(now, self.machine.output().logged());
        }
        self.send_waiting();
        while let Some(action) = self.machine.output().poll_action() {
            self.carry_out(now, action);
        }
        self.send_posted();
        for id in std::mem::take(&mut self.unfinished) {
            self.write(id);
        }
        for (id, cause) in std::mem::take(&mut self.ending) {
            self.write(id);
            self.drop_stream(id, cause);
        }
        self.machine.output().end_turn();
    }

    fn datagrams_wait(&self) -> bool {
        self.ports.iter().any(|port| matches!(port, Port::Datagrams(datagrams) if datagrams.has_waiting()))
    }

    fn send_waiting(&mut self) {
        for (port, place) in self.ports.iter_mut().zip(0..) {
            let Port::Datagrams(datagrams) = port else { continue };
            while let Some(peer) = datagrams.send_waiting() {
                self.unreachable.push((SocketId(place), peer));
            }
        }
    }

    /// Lets the datagrams of this turn leave, all that one socket has at once.
    fn send_posted(&mut self) {
        let Self { ports, machine, counters, unreachable, .. } = self;
        let output: &Output = machine.output();
        for (port, place) in ports.iter_mut().zip(0..) {
            let Port::Datagrams(datagrams) = port else { continue };
            datagrams.send_posted(
                |bytes| output.datagram(bytes),
                |peer, sent| match sent {
                    Sent::Yes => counters.datagrams_out += 1,
                    Sent::Dropped => counters.datagrams_dropped += 1,
                    Sent::Unreachable => unreachable.push((SocketId(place), peer)),
                },
            );
        }
    }

    fn carry_out(&mut self, now: Instant, action: Action) {
        match action {
            Action::SendDatagram { socket, peer, bytes } => {
                let Some(Port::Datagrams(datagrams)) = self.ports.get_mut(usize::from(socket.0)) else {
                    debug_assert!(false, "{socket:?} is not for datagrams");
                    return;
                };
                let payload = self.machine.output().datagram(&bytes);
                tap(&mut self.tap, self.name, Direction::Out, true, datagrams.local(), peer, payload);
                datagrams.post(peer, bytes);
            }
            Action::Connect { stream, target } => self.connect(stream, target),
            Action::Write { stream } => self.write(stream),
            Action::StartTls { stream } => {
                if let Some(Stream::Open { start_tls, .. }) = self.streams.get_mut(stream) {
                    *start_tls = true;
                    self.write(stream);
                }
            }
            Action::Close { stream } => self.close(now, stream),
            Action::Commit { ticket } | Action::Load { ticket } => self.order(ticket, &action),
            Action::HandOver { ticket } => {
                let letter = self.machine.output().take_letter(ticket);
                debug_assert!(letter.is_some(), "{ticket:?} names a letter");
                let taken =
                    letter.zip(self.letters.as_mut()).is_some_and(|(letter, office)| office.take(ticket, letter));
                if !taken {
                    self.refused_letters.push(ticket);
                }
            }
        }
    }

    /// A machine that was given no store has one that is broken.
    fn order(&mut self, ticket: Ticket, action: &Action) {
        let output = self.machine.output();
        let (batch, query) = (output.take_batch(ticket), output.take_query(ticket));
        debug_assert!(batch.is_some() != query.is_some(), "{action:?} orders one thing");
        let refused = match (&mut self.store, batch, query) {
            (Some(store), Some(batch), _) => store.commit(ticket, batch),
            (Some(store), None, Some(query)) => store.load(ticket, query),
            (_, Some(_), _) => Some(StoreAnswer::CommitFailed(ticket, StoreFailure::Broken)),
            _ => Some(StoreAnswer::LoadFailed(ticket, StoreFailure::Broken)),
        };
        self.unstored.extend(refused);
    }

    fn connect(&mut self, stream: StreamId, target: Target) {
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
    fn write(&mut self, id: StreamId) {
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

    fn close(&mut self, now: Instant, id: StreamId) {
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
    fn drop_stream(&mut self, id: StreamId, cause: CloseCause) {
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

fn tap(
    tap: &mut Option<Box<dyn WireTap>>,
    machine: &'static str,
    direction: Direction,
    datagram: bool,
    local: SocketAddr,
    peer: SocketAddr,
    bytes: &[u8],
) {
    if let Some(tap) = tap
        && !bytes.is_empty()
    {
        tap.see(&Seen { machine, direction, datagram, local, peer, bytes });
    }
}
