//! The real engine on a simulated network with virtual time: SIP users behind next hops, XMPP users behind a server, all of
//! them driven by one seed.
//!
//! `phones` has the SIP users and the next hops, `network` the datagrams and `connections` the SIP connections between them
//! and the gateway, `server` what the XMPP server does and `links` its streams, `life` how the gateway ends and begins.

mod connections;
mod disk;
mod life;
mod links;
mod network;
mod phones;
mod plan;
mod server;

use crate::ledger::{Breach, Ledger, Rest, Text};
use crate::mutant::Mutant;
use crate::weather::{FAULTS, Fault, Weather};
use connections::Connections;
use disk::Disk;
use engine::Engine;
use entente_tests::dice::Dice;
use life::Death;
use network::Held;
use phones::Phones;
use server::Server;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use turn::{Action, CloseCause, Input, Machine, StreamId, Target, Ticket};

/// Inputs so near to each other may fall into one turn.
const NEAR: Duration = Duration::from_millis(2);
/// After so long without anything said every timer has passed.
const QUIET: Duration = Duration::from_secs(70);
/// No run is longer: letters that nobody takes are handed over again after ever longer pauses.
const LONGEST: Duration = Duration::from_secs(86_400);
/// A wrong engine is not looked at for longer.
const LONGEST_WRONG: Duration = Duration::from_secs(2400);

/// What happens at a moment. What concerns a stream of a life of the gateway names it, as another life has other streams.
enum Event {
    /// A SIP user sends his request, or sends it again.
    Calls { n: u32, interval: Duration, until: Instant },
    /// A datagram reaches the gateway.
    ToGateway { peer: SocketAddr, bytes: Vec<u8> },
    /// A datagram that was held back reaches the engine.
    Sorted,
    /// A datagram reaches a next hop.
    ToHop { hop: SocketAddr, bytes: Vec<u8> },
    /// The network tells the gateway that a next hop is gone.
    Unreachable { peer: SocketAddr },
    /// A SIP user answers by way of a next hop.
    Answers { hop: SocketAddr, by: Option<u64>, branch: String, answer: String },
    /// An order to connect to a next hop is carried out, or not.
    HopAccepts { life: u32, stream: StreamId, peer: SocketAddr },
    /// A piece of a SIP connection reaches the gateway.
    SipPiece { connection: u64 },
    /// A next hop looks at what has come over a connection.
    HopReads { connection: u64 },
    /// An order to close is carried out.
    Closes { life: u32, stream: StreamId },
    /// An XMPP user writes.
    Writes { n: u32, tries: u32 },
    /// The server accepts a connection, or does not.
    Accepts { life: u32, stream: StreamId },
    /// The server looks at what has arrived.
    Reads { link: u64 },
    /// The server says something.
    Says { link: u64, what: server::Words },
    /// A piece of that reaches the gateway.
    Piece { link: u64 },
    /// The server ends its side of a connection.
    Ends { link: u64 },
    /// A returned ping that nobody has returned.
    FalseReturn { link: u64, id: String, text: String },
    /// Something goes wrong, as the seed has it.
    Strikes(Fault, Duration),
    /// A killed gateway stands again.
    Starts,
    /// The store has done something.
    StoreAnswers { life: u32 },
    /// The engine is told so, though it has not.
    Told { life: u32, ticket: Ticket },
    /// Somebody takes a letter, or does not.
    HandedOver { life: u32, ticket: Ticket, done: bool, text: Option<Text> },
}

/// A wrong engine, and the weather that it is looked at in.
#[derive(Clone)]
pub(crate) struct Wrong {
    pub(crate) mutant: Mutant,
    pub(crate) weather: Weather,
    /// It has a journal.
    pub(crate) keeps: bool,
}

/// One run.
pub(crate) struct Simulation {
    seed: u64,
    settings: engine::Settings,
    engine: Engine,
    disk: Disk,
    life: u32,
    /// It is killed in its next turn.
    death: Option<Death>,
    /// The gateway is not running.
    down: bool,
    start: Instant,
    now: Instant,
    dice: Dice,
    weather: Weather,
    queue: BTreeMap<(Instant, u64), Event>,
    events: u64,
    /// The turn is not over with this input.
    crowded: bool,
    /// What must be true.
    pub(crate) ledger: Ledger,
    phones: Phones,
    connections: Connections,
    server: Server,
    mutant: Option<Mutant>,
    held: Held,
    /// Whether the mutant found its occasion.
    pub(crate) applied: bool,
    trace: bool,
    /// What happened, where that is wanted.
    pub(crate) log: Vec<String>,
}

impl Simulation {
    /// The world of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self::draw(seed, None)
    }

    /// The same that writes down what happens.
    pub(crate) fn traced(seed: u64) -> Self {
        Self { trace: true, ..Self::new(seed) }
    }

    /// The same with a wrong engine in a weather of its own.
    pub(crate) fn wrong(seed: u64, wrong: Wrong) -> Self {
        Self::draw(seed, Some(wrong))
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.events += 1;
        self.queue.insert((at.max(self.now), self.events), event);
    }

    fn after(&mut self, milliseconds: u64, event: Event) {
        self.at(self.now + Duration::from_millis(milliseconds), event);
    }

    fn note(&mut self, words: impl FnOnce() -> String) {
        if self.trace {
            let line = format!("{:>8.3} s {}", (self.now - self.start).as_secs_f64(), words());
            self.log.push(line);
        }
    }

    /// Whether the engine is wrong in this way; from here on the mutant has had its occasion.
    fn is_wrong(&mut self, mutant: Mutant) -> bool {
        let wrong = self.mutant == Some(mutant);
        self.applied |= wrong;
        wrong
    }

    /// The same, but only at its first occasion.
    fn is_wrong_once(&mut self, mutant: Mutant) -> bool {
        !self.applied && self.is_wrong(mutant)
    }

    /// Whether a fault happens at this occasion.
    fn strikes(&mut self, fault: Fault) -> bool {
        let chance = self.weather.chance(fault);
        // A throw for each occasion, so that the weather of one fault does not change the others'.
        let strikes = self.dice.percent(chance);
        if strikes {
            self.struck(fault);
        }
        strikes
    }

    fn struck(&mut self, fault: Fault) {
        self.ledger.see(FAULTS[fault as usize].name);
        self.note(|| format!("* {}", FAULTS[fault as usize].name));
    }

    /// Runs until everything is said and every timer has passed.
    pub(crate) fn run(&mut self) {
        self.turn();
        let mut quiet = None;
        loop {
            let event = self.queue.keys().next().map(|(at, _)| *at);
            let due = self.engine.poll_timeout().filter(|_| !self.down && !self.is_stopped());
            let due = due.map(|(at, _)| at.max(self.now));
            match (event, due) {
                (Some(at), due) if due.is_none_or(|due| at <= due) => self.next_turn(at),
                (_, Some(due)) => {
                    self.now = due;
                    let before = self.engine.poll_timeout();
                    self.turn();
                    if self.engine.poll_timeout() == before {
                        // A timer may be due only once its tick has ended.
                        self.now += Duration::from_millis(1);
                    }
                }
                _ => break,
            }
            if !self.queue.is_empty() {
                quiet = None;
            } else if self.now > *quiet.get_or_insert(self.now) + QUIET && self.kept() == 0 {
                break;
            }
            // Some wrong engines never come to rest.
            if self.mutant.is_some() && self.now > self.start + LONGEST_WRONG {
                break;
            }
            assert!(self.now < self.start + LONGEST, "seed {} comes to an end", self.seed);
        }
        let rest = self.rest();
        if rest.entries > 0 {
            let rows = self.disk.rows();
            self.note(|| rows);
        }
        self.ledger.end(&rest);
    }

    /// What is kept.
    fn kept(&self) -> usize {
        let counted = self.engine.counters().journal.map_or(0, |journal| journal.entries);
        counted.max(self.disk.entries())
    }

    fn rest(&self) -> Rest {
        let counters = self.engine.counters();
        let journal = counters.journal.unwrap_or_default();
        let uncounted = self.mutant == Some(Mutant::CountNoDuplicates);
        Rest {
            open: self.engine.open(),
            up: self.server.stands(),
            late_failures: counters.late_failures,
            unanswerable: counters.xmpp.unanswerable,
            possible_duplicates: if uncounted { 0 } else { journal.possible_duplicates },
            damaged: journal.damaged,
            entries: self.kept(),
            dead_letters: self.settings.journal.dead_letters,
        }
    }

    /// Whether every random thing has to be the same again.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{:?} {:?}", self.ledger.seen, self.engine.counters())
    }

    /// What comes at this moment, and what is so near to it that it falls into the same turn.
    fn next_turn(&mut self, at: Instant) {
        self.now = self.now.max(at);
        let near = self.queue.keys().take_while(|(other, _)| *other <= at + NEAR).count().min(5);
        if near < 2 || !self.strikes(Fault::Crowd) {
            return self.next_event();
        }
        if let Some((last, _)) = self.queue.keys().nth(near - 1) {
            self.now = self.now.max(*last);
        }
        self.crowded = true;
        let wrong = self.mutant == Some(Mutant::ReverseTurn);
        self.held.reversed = wrong.then(Vec::new);
        for _ in 0..near {
            self.next_event();
        }
        self.take_reversed();
        self.crowded = false;
        self.turn();
    }

    fn next_event(&mut self) {
        if let Some((_, event)) = self.queue.pop_first() {
            self.happens(event);
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Calls { n, interval, until } => self.calls(n, interval, until),
            Event::ToGateway { peer, bytes } => self.reaches_gateway(peer, &bytes),
            Event::Sorted => self.takes_sorted(),
            Event::ToHop { hop, bytes } => self.reaches_hop(hop, &bytes),
            Event::Unreachable { peer } => self.learns_unreachable(peer),
            Event::Answers { hop, by, branch, answer } => self.answers(hop, by, branch, answer),
            Event::HopAccepts { life, stream, peer } => self.hop_accepts(life, stream, peer),
            Event::SipPiece { connection } => self.sip_piece(connection),
            Event::HopReads { connection } => self.hop_reads(connection),
            Event::Closes { life, stream } => self.closes(life, stream),
            Event::Writes { n, tries } => self.xmpp_user_writes(n, tries),
            Event::Accepts { life, stream } => self.accepts(life, stream),
            Event::Reads { link } => self.server_reads(link),
            Event::Says { link, what } => self.server_says(link, what),
            Event::Piece { link } => self.piece(link),
            Event::Ends { link } => self.server_ends(link),
            Event::FalseReturn { link, id, text } => self.false_return(link, &id, text),
            Event::Strikes(fault, span) => self.trouble(fault, span),
            Event::Starts => self.starts(),
            Event::StoreAnswers { life } => self.store_answers(life),
            Event::Told { life, ticket } => self.told(life, ticket),
            Event::HandedOver { life, ticket, done, text } => self.handed_over(life, ticket, done, text),
        }
    }

    fn is_stopped(&self) -> bool {
        self.mutant == Some(Mutant::StopTimers) && self.now > self.start + Duration::from_millis(1500)
    }

    /// Hands one fact to the engine and ends the turn, where it ends with this. Gives the bytes that were consumed.
    fn feed(&mut self, input: Input<'_>) -> usize {
        let consumed = self.engine.handle_input(self.now, input);
        if !self.crowded {
            self.turn();
        }
        consumed
    }

    /// What the driver tells at the beginning of a turn only: what came before has had its own.
    fn begin_turn(&mut self) {
        if self.crowded {
            self.turn();
        }
    }

    /// Ends a turn as the driver does.
    fn turn(&mut self) {
        if self.down {
            return;
        }
        if self.is_stopped() {
            self.applied = true;
        } else {
            self.engine.handle_timeout(self.now);
        }
        self.write_log();
        let death = self.death.take();
        let mut left = death.map(|death| death.orders);
        let mut written = Vec::new();
        while let Some(action) = self.engine.output().poll_action() {
            match &mut left {
                Some(0) => continue,
                Some(left) => *left -= 1,
                None => {}
            }
            let life = self.life;
            match action {
                Action::SendDatagram { peer, bytes, .. } => {
                    let payload = self.engine.output().datagram(&bytes).to_vec();
                    self.datagram_leaves(peer, payload);
                }
                Action::Connect { stream, target: Target::Address(peer) } => {
                    self.connections.order(stream, peer);
                    let delay = 1 + self.dice.below(100);
                    self.after(delay, Event::HopAccepts { life, stream, peer });
                }
                Action::Connect { stream, target: Target::Configured(_) } => self.server_is_called(stream),
                Action::Close { stream } => self.after(5, Event::Closes { life, stream }),
                Action::Write { stream } => written.push(stream),
                Action::StartTls { .. } => panic!("the gateway never accepts TLS"),
                Action::Commit { .. } | Action::Load { .. } | Action::HandOver { .. } => self.order(&action),
            }
        }
        self.engine.output().end_turn();
        for stream in written {
            self.stream_is_written(stream);
        }
        match death {
            Some(death) => self.dies_of(death),
            None => self.ledger.turn_ends(),
        }
    }

    /// An order to close is carried out, with what is still to be written.
    fn closes(&mut self, life: u32, stream: StreamId) {
        if life != self.life || self.down {
            return;
        }
        self.stream_is_written(stream);
        self.stream_ends(stream, CloseCause::Ours);
    }

    fn stream_is_written(&mut self, stream: StreamId) {
        if let Some(link) = self.server.link_of(stream) {
            self.drain(link);
        } else if let Some(connection) = self.connections.of(stream) {
            self.look_at_connection(connection, stream);
            self.look_at_connection(connection, stream);
            self.drain_connection(connection);
        }
    }

    /// The engine learns that a stream is gone.
    fn stream_ends(&mut self, stream: StreamId, cause: CloseCause) {
        self.begin_turn();
        if let Some(link) = self.server.link_of(stream) {
            self.note(|| format!("stream {link} is gone: {cause:?}"));
            self.server.leave(link);
            self.ledger.stream_gone();
        } else if let Some(connection) = self.connections.of(stream) {
            self.note(|| format!("connection {connection} is gone: {cause:?}"));
            self.connections.leave(connection);
            self.ledger.connection_gone(connection);
        } else {
            self.server.give_up(stream);
        }
        self.engine.handle_input(self.now, Input::Closed { stream, cause });
        self.engine.output().forget(stream);
        if !self.crowded {
            self.turn();
        }
    }

    fn malformed(&mut self, what: &str, bytes: &[u8]) {
        self.ledger.breach(Breach::Malformed, format!("{what}: {}", String::from_utf8_lossy(bytes)));
    }
}
