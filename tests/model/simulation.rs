//! The real engine on a simulated network with virtual time: SIP users behind a proxy, XMPP users behind a server, all of
//! them driven by one seed.

mod server;

use crate::ledger::Ledger;
use crate::mutant::Mutant;
use cpim::DomainPattern;
use engine::Engine;
use entente_tests::dice::Dice;
use entente_tests::world::{self, attribute, proxy, response, status};
use sip::auth::{Algorithm, Authenticator, Credentials, Refused, Role, Secret, Settings};
use sip::transaction::{Flow, Transport};
use sip::wire::Method;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use turn::{Action, CloseCause, Input, Machine, SocketId, StreamId};

const SIP_USERS: [&str; 3] = ["juliet", "nurse", "tybalt"];
const XMPP_USERS: [&str; 3] = ["romeo", "benvolio", "mercutio"];
/// Messages in each direction.
const MESSAGES: u32 = 40;
/// The second proxy.
const SECOND: ([u8; 4], u16) = ([192, 0, 2, 10], 5060);
/// What the gateway has to know when the proxy asks.
const PASSWORD: &[u8] = b"queen mab";
/// Octets that the kernel takes for a server that does not read.
const KERNEL: usize = 3000;

/// How bad the surroundings are, in percent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    loss: u64,
    duplicates: u64,
    slow: u64,
    faults: u64,
    bounces: u64,
    redirections: u64,
}

impl Weather {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            loss: dice.one_of(&[0, 5, 20, 40]),
            duplicates: dice.one_of(&[0, 5, 30]),
            slow: dice.one_of(&[0, 5, 30]),
            faults: dice.one_of(&[0, 0, 2, 6]),
            bounces: dice.one_of(&[0, 10, 40]),
            redirections: dice.one_of(&[0, 0, 20]),
        }
    }
}

enum Event {
    /// A SIP user sends his request, or sends it again.
    Calls { n: u32, interval: Duration, until: Instant },
    /// A datagram reaches the gateway.
    ToGateway(Vec<u8>),
    /// A datagram reaches the proxy.
    ToProxy(Vec<u8>),
    /// A SIP user answers.
    Answers { branch: String, answer: String },
    /// An XMPP user writes.
    Writes { n: u32 },
    /// The server looks at what has arrived.
    Reads { stream: StreamId },
    /// What the server has written reaches the gateway.
    Arrives { stream: StreamId, what: Arrival },
    /// The server accepts a connection, or does not.
    Accepts { stream: StreamId },
    /// A connection is gone.
    Gone { stream: StreamId, cause: CloseCause },
    /// The server does not read until then.
    Hangs { until: Instant },
}

enum Arrival {
    Text(String),
    Ping { id: String, text: String },
    Bounce { n: u32, text: String },
    Message { n: u32, pair: (usize, usize), wants_receipt: bool, text: String },
}

/// One run.
pub(crate) struct Simulation {
    engine: Engine,
    start: Instant,
    now: Instant,
    dice: Dice,
    weather: Weather,
    queue: BTreeMap<(Instant, u64), Event>,
    events: u64,
    /// What must be true.
    pub(crate) ledger: Ledger,
    requests: BTreeMap<u32, ((usize, usize), String)>,
    answered: BTreeSet<u32>,
    told: BTreeMap<String, Option<String>>,
    /// The proxy asks the gateway who it is.
    judge: Option<Authenticator>,
    stream: Option<StreamId>,
    standing: bool,
    hung: Option<Instant>,
    kernel: Vec<u8>,
    server: xml::Framer,
    arrived: Vec<u8>,
    /// Reads along what the engine writes, before any of it leaves.
    tap: xml::Framer,
    tapped: Vec<u8>,
    tapped_to: u64,
    unconsumed: Vec<u8>,
    mutant: Option<Mutant>,
    held: Option<((usize, usize), Vec<u8>)>,
    /// Whether the mutant found its occasion.
    pub(crate) applied: bool,
    trace: bool,
    /// What happened, where that is wanted.
    pub(crate) log: Vec<String>,
}

impl Simulation {
    /// Draws the world of a seed.
    #[allow(clippy::disallowed_methods, reason = "somewhere time has to begin")]
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>, trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let weather = Weather::draw(&mut dice);
        let mut settings = world::settings();
        settings.xmpp.unsent_limit = dice.one_of(&[1 << 20, 4000]);
        settings.relay.max_in_flight = dice.one_of(&[1000, 10]);
        let judge = dice.percent(40).then(|| {
            let key = sip_connector::Account {
                realm: b"sip.example".to_vec(),
                domains: Vec::new(),
                username: b"gateway".to_vec(),
                // Sometimes the operator is wrong.
                password: if dice.percent(80) { PASSWORD.to_vec() } else { b"wrong".to_vec() },
            };
            settings.sip.accounts = vec![key];
            let lifetime = dice.one_of(&[1, 300]);
            let algorithms = vec![Algorithm::Sha256];
            Authenticator::new(Settings { realm: "sip.example".into(), algorithms, lifetime, nonces: 100 }, [9; 32])
        });
        // Sometimes there is a second proxy.
        if dice.percent(50) {
            let second = Flow { transport: Transport::Udp, socket: SocketId(0), peer: SECOND.into(), stream: None };
            settings.sip.routes[0].next_hops.push(second);
        }
        settings.sip.redirects.followed = vec![DomainPattern::Exactly("sip.example".into())];
        let now = Instant::now();
        let mut simulation = Self {
            engine: Engine::new(settings, [seed as u8; 16], now),
            start: now,
            now,
            dice,
            weather,
            queue: BTreeMap::new(),
            events: 0,
            ledger: Ledger::default(),
            requests: BTreeMap::new(),
            answered: BTreeSet::new(),
            told: BTreeMap::new(),
            judge,
            stream: None,
            standing: false,
            hung: None,
            kernel: Vec::new(),
            server: xml::Framer::new(xml::Limits::default()),
            arrived: Vec::new(),
            tap: xml::Framer::new(xml::Limits::default()),
            tapped: Vec::new(),
            tapped_to: 0,
            unconsumed: Vec::new(),
            mutant,
            held: None,
            applied: false,
            trace,
            log: Vec::new(),
        };
        simulation.plan();
        simulation
    }

    fn plan(&mut self) {
        let spread = self.dice.one_of(&[500, 5_000, 60_000]);
        for n in 0..MESSAGES {
            let pair = (self.dice.below(3) as usize, self.dice.below(3) as usize);
            let text = world::message(n, &format!("{}@xmpp.example", XMPP_USERS[pair.1]), &format!("sip {n}."))
                .replace("juliet", SIP_USERS[pair.0]);
            self.requests.insert(n, (pair, text));
            let at = self.now + Duration::from_millis(1000 + self.dice.below(spread));
            // The last repetition may take 3 s, and Timer J forgets the request 32 s after its answer.
            let until = at + Duration::from_secs(28);
            self.at(at, Event::Calls { n, interval: Duration::from_millis(500), until });
            let at = self.now + Duration::from_millis(1000 + self.dice.below(spread));
            self.at(at, Event::Writes { n });
        }
        for _ in 0..self.weather.faults {
            let at = self.now + Duration::from_millis(self.dice.below(spread + 3000));
            let until = at + Duration::from_millis(self.dice.one_of(&[300, 1500, 6000, 40_000]));
            self.at(at, Event::Hangs { until });
        }
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

    /// Whether the mutant strikes: once, at its first occasion.
    fn strikes(&mut self, mutant: Mutant) -> bool {
        let strikes = self.mutant == Some(mutant) && !self.applied;
        self.applied |= strikes;
        strikes
    }

    /// Runs until everything is said and every timer has passed.
    pub(crate) fn run(&mut self) {
        self.turn();
        let mut quiet = None;
        loop {
            let event = self.queue.keys().next().copied();
            let due = self.engine.poll_timeout().map(|(at, _)| at.max(self.now));
            match (event, due) {
                (Some((at, _)), due) if due.is_none_or(|due| at <= due) => {
                    self.now = self.now.max(at);
                    let key = event.unwrap_or((at, 0));
                    if let Some(event) = self.queue.remove(&key) {
                        self.happens(event);
                    }
                }
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
            } else if self.now > *quiet.get_or_insert(self.now) + Duration::from_secs(70) {
                break;
            }
            assert!(self.now < self.start + Duration::from_secs(3600), "it comes to an end");
        }
        self.ledger.end(self.engine.open());
    }

    /// Whether every random thing has to be the same again.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{:?} {:?}", self.ledger.seen, self.engine.counters())
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Calls { n, interval, until } => {
                if self.answered.contains(&n) || self.now > until {
                    return;
                }
                let bytes = self.requests[&n].1.clone().into_bytes();
                self.travels(bytes, Event::ToGateway);
                let next = (interval * 2).min(Duration::from_secs(4));
                self.at(self.now + interval, Event::Calls { n, interval: next, until });
            }
            Event::ToGateway(bytes) => self.reaches_gateway(bytes),
            Event::ToProxy(bytes) => self.reaches_proxy(&bytes),
            Event::Answers { branch, answer } => {
                self.told.insert(branch, Some(answer.clone()));
                self.travels(answer.into_bytes(), Event::ToGateway);
            }
            Event::Writes { n } => self.xmpp_user_writes(n),
            Event::Reads { stream } => self.server_reads(stream),
            Event::Arrives { stream, what } => self.arrives(stream, what),
            Event::Accepts { stream } => self.accepts(stream),
            Event::Gone { stream, cause } => self.gone(stream, cause),
            Event::Hangs { until } => {
                let seconds = (until - self.now).as_secs_f64();
                self.note(|| format!("the server hangs for {seconds} s"));

                self.hung = Some(until);
                if let Some(stream) = self.stream {
                    if self.dice.percent(60) {
                        // It resets the connection, before or while it reads again.
                        let after = (until - self.now).as_millis() as u64;
                        let after = self.dice.below(after + 50);
                        self.after(after, Event::Gone { stream, cause: CloseCause::Failed });
                    }
                    self.at(until, Event::Reads { stream });
                }
            }
        }
    }

    /// A datagram on the network: lost, doubled, late.
    fn travels(&mut self, bytes: Vec<u8>, arrival: fn(Vec<u8>) -> Event) {
        if self.dice.percent(self.weather.loss) {
            return;
        }
        let copies = 1 + u64::from(self.dice.percent(self.weather.duplicates));
        for _ in 0..copies {
            let delay =
                if self.dice.percent(self.weather.slow) { self.dice.below(3000) } else { 1 + self.dice.below(20) };
            self.after(delay, arrival(bytes.clone()));
        }
    }

    fn reaches_gateway(&mut self, bytes: Vec<u8>) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.note(|| format!("> {} {}", text.lines().next().unwrap_or_default(), branch_of(&text)));
        if let Some(status) = status(&text) {
            let retry_after = text.contains("Retry-After: 3\r\n").then_some(Duration::from_secs(3));
            self.ledger.response_in(branch_of(&text), status, retry_after, self.now);
            return self.datagram(&bytes);
        }
        let n = request_number(&text);
        let pair = self.requests[&n].0;
        let first = self.ledger.request_in(n, pair, self.now);
        if first && self.strikes(Mutant::AnswerEarly) {
            self.leaves(proxy(), response(&text, "202 Accepted", "").into_bytes());
        }
        if !first && self.held.as_ref().is_some_and(|(_, held)| *held == bytes) {
            return;
        }
        if first && self.mutant == Some(Mutant::SwapRequests) {
            match self.held.take() {
                None if !self.applied && self.standing => {
                    self.held = Some((pair, bytes));
                    return;
                }
                Some((same, held)) if same == pair => {
                    self.applied = true;
                    self.datagram(&bytes);
                    return self.datagram(&held);
                }
                Some((_, held)) => self.datagram(&held),
                None => {}
            }
        }
        self.datagram(&bytes);
    }

    fn datagram(&mut self, bytes: &[u8]) {
        self.engine.handle_input(self.now, Input::Datagram { socket: SocketId(0), peer: proxy(), bytes });
        self.turn();
    }

    /// A datagram leaves the gateway.
    fn leaves(&mut self, peer: SocketAddr, bytes: Vec<u8>) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.note(|| format!("< {} {}", text.lines().next().unwrap_or_default(), branch_of(&text)));
        if let Some(code) = status(&text) {
            let n = request_number(&text);
            if self.mutant == Some(Mutant::SwallowAnswer) && n == 0 {
                self.applied = true;
                return;
            }
            let mut bytes = bytes;
            if self.answered.contains(&n) && self.strikes(Mutant::ChangeAnswer) {
                bytes.splice(8..11, *b"500");
            }
            self.ledger.answer_out(n, &bytes, self.now);
            if code == 504 && text.contains("not delivered") && self.strikes(Mutant::DeliverAfterFailure) {
                self.ledger.stanza_read(n);
            }
            return self.travels(bytes, Event::ToProxy);
        }
        let branch = branch_of(&text).to_owned();
        let uri = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let n = message_number(&text);
        let repeated = self.ledger.is_open(&branch);
        let peer = if repeated && self.strikes(Mutant::MoveRepetition) { SECOND.into() } else { peer };
        self.ledger.request_out(&branch, peer, &uri, n, self.now);
        if self.strikes(Mutant::SkipQueue) {
            self.ledger.request_out(&format!("{branch}x"), peer, &uri, None, self.now);
        }
        self.travels(bytes, Event::ToProxy);
    }

    fn reaches_proxy(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Some(code) = status(&text) {
            if code >= 200 {
                self.answered.insert(request_number(&text));
            }
            return;
        }
        let branch = branch_of(&text).to_owned();
        match self.told.get(&branch) {
            Some(Some(answer)) => {
                let again = answer.clone().into_bytes();
                self.travels(again, Event::ToGateway);
            }
            Some(None) => {}
            None => {
                self.told.insert(branch.clone(), None);
                if let Some((line, more)) = self.not_like_this(&text) {
                    let delay = self.dice.below(100);
                    return self.after(delay, Event::Answers { branch, answer: response(&text, line, &more) });
                }
                let line = self.dice.one_of(&[
                    "200 OK",
                    "200 OK",
                    "200 OK",
                    "200 OK",
                    "202 Accepted",
                    "404 Not Found",
                    "486 Busy Here",
                    "503 Service Unavailable",
                    "603 Decline",
                    "",
                ]);
                if line.is_empty() {
                    return;
                }
                if self.dice.percent(10) {
                    let trying = response(&text, "100 Trying", "").into_bytes();
                    self.travels(trying, Event::ToGateway);
                }
                let delay = match self.dice.below(20) {
                    0 => 40_000,
                    1..4 => self.dice.below(5000),
                    _ => self.dice.below(100),
                };
                let more = if line.starts_with("503") { self.dice.one_of(&["", "Retry-After: 3\r\n"]) } else { "" };
                let answer = response(&text, line, more);
                self.after(delay, Event::Answers { branch, answer });
            }
        }
    }

    /// What the proxy wants to have otherwise.
    fn not_like_this(&mut self, request: &str) -> Option<(&'static str, String)> {
        let now = (self.now - self.start).as_secs();
        if let Some(judge) = &mut self.judge {
            let value = request.split("\r\n").find_map(|line| line.strip_prefix("Proxy-Authorization: "));
            let verdict = value.map(|value| {
                let credentials = Credentials::parse(value.as_bytes()).expect("credentials of the gateway");
                judge.verify(now, Method::Message, &credentials, Secret::Password(PASSWORD))
            });
            if verdict != Some(Ok(())) {
                let stale = verdict == Some(Err(Refused::Stale));
                let salt = self.events.to_le_bytes();
                let mut lines = Vec::new();
                judge.challenge(Role::Proxy, now, salt, stale, &mut lines);
                return Some(("407 Who Are You", String::from_utf8(lines).expect("a challenge")));
            }
        }
        if !self.dice.percent(self.weather.redirections) {
            return None;
        }
        let uri = request.split(' ').nth(1).unwrap_or_default();
        let place = uri.find('@').unwrap_or(uri.len());
        Some(("302 Moved", format!("Contact: <{}-next{}>\r\n", &uri[..place], &uri[place..])))
    }

    fn xmpp_user_writes(&mut self, n: u32) {
        let Some(stream) = self.stream.filter(|_| self.standing) else { return };
        let pair = (self.dice.below(3) as usize, self.dice.below(3) as usize);
        let wants_receipt = self.dice.percent(30);
        let receipt = if wants_receipt { "<request xmlns='urn:xmpp:receipts'/>" } else { "" };
        let text = format!(
            "<message from='{}@xmpp.example/x' to='{}@sip.example' id='m{n}'><body>xmpp {n}.</body>{receipt}</message>",
            XMPP_USERS[pair.0], SIP_USERS[pair.1]
        );
        self.arrives(stream, Arrival::Message { n, pair, wants_receipt, text });
    }

    /// What the server has written is handed to the engine.
    fn arrives(&mut self, stream: StreamId, what: Arrival) {
        if self.stream != Some(stream) {
            return;
        }
        let text = match what {
            Arrival::Text(text) => text,
            Arrival::Ping { id, text } => {
                self.ledger.ping_in(&id);
                text
            }
            Arrival::Bounce { n, text } => {
                self.ledger.bounce_in(n);
                if !self.answered_by_gateway(n) && self.strikes(Mutant::DropBounce) {
                    return;
                }
                text
            }
            Arrival::Message { n, pair, wants_receipt, text } => {
                self.ledger.message_in(n, pair, wants_receipt, self.now);
                text
            }
        };
        self.note(|| format!("> {text}"));
        self.unconsumed.extend_from_slice(text.as_bytes());
        let data = std::mem::take(&mut self.unconsumed);
        let consumed = self.engine.handle_input(self.now, Input::Received { stream, data: &data });
        self.unconsumed = data[consumed..].to_vec();
        self.turn();
    }

    fn answered_by_gateway(&self, n: u32) -> bool {
        self.ledger.is_answered(n)
    }

    /// Ends a turn as the driver does.
    fn turn(&mut self) {
        self.engine.handle_timeout(self.now);
        let mut written = None;
        while let Some(action) = self.engine.output().poll_action() {
            match action {
                Action::SendDatagram { peer, bytes, .. } => {
                    let payload = self.engine.output().datagram(&bytes).to_vec();
                    self.leaves(peer, payload);
                }
                Action::Connect { stream, .. } => {
                    let delay = self.dice.below(300);
                    self.after(delay, Event::Accepts { stream });
                }
                Action::Close { stream } => self.after(5, Event::Gone { stream, cause: CloseCause::Ours }),
                Action::Write { stream } => written = Some(stream),
                Action::StartTls { .. } => panic!("the gateway never accepts TLS"),
                Action::Commit { .. } | Action::Load { .. } | Action::HandOver { .. } => {
                    panic!("this gateway keeps nothing")
                }
            }
        }
        self.engine.output().end_turn();
        if let Some(stream) = written.filter(|stream| self.stream == Some(*stream)) {
            self.look_at(stream);
            self.drain(stream);
        }
    }

    /// Reads along what has been written since the last turn.
    fn look_at(&mut self, stream: StreamId) {
        let output = self.engine.output();
        let (sent, unsent) = (output.total_sent(stream), output.unsent(stream));
        let new = unsent[(self.tapped_to - sent) as usize..].to_vec();
        self.tapped_to = sent + unsent.len() as u64;
        self.tapped.extend_from_slice(&new);
        loop {
            let (stanza, consumed) = match self.tap.scan(&self.tapped).expect("what the gateway writes is XML") {
                xml::Frame::Header { consumed, .. } => (Some(String::new()), consumed),
                xml::Frame::Stanza { bytes, consumed } => {
                    (Some(String::from_utf8(bytes.to_vec()).expect("UTF-8")), consumed)
                }
                xml::Frame::Incomplete { consumed } => (None, consumed),
                _ => return,
            };
            self.tapped.drain(..consumed);
            let Some(stanza) = stanza else { break };
            self.was_written(&stanza);
        }
    }

    fn was_written(&mut self, stanza: &str) {
        self.note(|| format!("< {stanza}"));
        let id = attribute(stanza, "id").unwrap_or_default();
        let number = |id: &str| id.strip_prefix('m').and_then(|n| n.parse().ok());
        if stanza.contains("urn:xmpp:ping") {
            self.ledger.ping_out(id);
            if self.strikes(Mutant::SecondPing) {
                self.ledger.ping_out("again");
            }
        } else if stanza.contains("type='error'") {
            let Some(n) = number(id) else { return };
            if self.strikes(Mutant::SwallowError) {
                return;
            }
            let condition = stanza.split_once("'><").and_then(|(_, rest)| rest.split_once("'><"));
            let condition = condition.and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default();
            self.ledger.error_out(n, condition);
            if self.strikes(Mutant::DoubleError) {
                self.ledger.error_out(n, condition);
            }
        } else if let Some((_, received)) = stanza.split_once("<received ") {
            let id = received.split_once("id='").and_then(|(_, id)| id.split('\'').next()).unwrap_or_default();
            if let Some(n) = number(id) {
                self.ledger.receipt_out(n);
                if self.strikes(Mutant::FalseReceipt) {
                    self.ledger.receipt_out(n);
                }
            }
        } else if let Some(n) = body_number(stanza, "sip ") {
            self.ledger.stanza_out(n);
        }
    }
}

fn branch_of(text: &str) -> &str {
    let rest = text.split_once("branch=").map_or("", |(_, rest)| rest);
    rest.split([';', '\r', ',']).next().unwrap_or_default()
}

/// The number of a SIP user's request, or of the answer to it.
fn request_number(text: &str) -> u32 {
    branch_of(text).trim_start_matches("z9hG4bK-").parse().expect("one of our branches")
}

/// The number of the XMPP user's message that a request carries; what the gateway itself has to say carries none.
fn message_number(text: &str) -> Option<u32> {
    text.split_once("\r\n\r\n")?.1.strip_prefix("xmpp ")?.strip_suffix('.')?.parse().ok()
}

fn body_number(stanza: &str, before: &str) -> Option<u32> {
    stanza.split_once("<body>")?.1.strip_prefix(before)?.split('.').next()?.parse().ok()
}
