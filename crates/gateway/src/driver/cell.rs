//! One machine with its sockets: serves what is ready, carries out what the machine orders.

mod streams;

use super::Hosted;
use super::ready::{Part, ReadyQueue, Signal, Source};
use super::wiring::{Counters, Direction, Limits, Seen, Socket, WireTap, Wiring};
use crate::letters::{Office, Outcome};
use crate::net::names::Names;
use crate::net::udp::{BATCH, Datagrams, Inbox, Sent};
use crate::store::{Store, TurnLog};
use crate::telemetry::Metrics;
use slotmap::SecondaryMap;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;
use streams::{STREAM_READ, Stream};
use tokio::net::TcpListener;
use turn::{Action, CloseCause, Input, Output, SocketId, StoreAnswer, StoreFailure, StreamId, Ticket};

/// In a turn one socket is asked so often for the datagrams that it has: for 256 of them,
const RECEIVED_PER_TURN: usize = 256 / BATCH;
/// and not again when it gave so many bytes.
const BYTES_PER_TURN: usize = 1 << 16;

enum Port {
    Datagrams(Datagrams),
    Listener {
        listener: TcpListener,
        waker: Waker,
    },
    /// A listener that drained.
    Closed,
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
