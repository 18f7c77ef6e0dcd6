//! The reference: what was true at each moment, kept by what crossed the engine's edges, and what must follow from it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What may be found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Breach {
    /// A request has no final answer.
    Unanswered,
    /// A request has two different final answers.
    TwoAnswers,
    /// A provisional answer before 3.5 s (RFC 4320).
    EarlyProvisional,
    /// A 2xx to what the server has not read, or has bounced.
    UntrueSuccess,
    /// A bounce in time that was not told as what it was.
    BounceIgnored,
    /// A failure told of what was delivered.
    UntrueFailure,
    /// One request, two stanzas.
    DeliveredTwice,
    /// Messages of one sender to one recipient have changed places.
    Order,
    /// A second ping while one is in flight.
    TwoPings,
    /// A ping for nobody.
    NeedlessPing,
    /// A request to a proxy that it must not go to.
    WrongHop,
    /// Two requests open to one destination.
    TwoOpen,
    /// A request sent again after its answer.
    SentAfterAnswer,
    /// A message from XMPP that ended neither in a 2xx nor in an error.
    Unended,
    /// A message from XMPP that ended twice, or in an error after a 2xx.
    EndedTwice,
    /// A receipt for what is not known to be delivered, none for what is, or two.
    Receipt,
    /// A table is not empty after quiet.
    Leftover,
}

/// A request of a SIP user, as far as it is known.
#[derive(Default)]
struct Request {
    pair: (usize, usize),
    arrived: Option<(usize, Instant)>,
    written: Option<usize>,
    answer: Option<Vec<u8>>,
    status: u16,
    unknown: bool,
    read: usize,
    bounced: bool,
}

/// A message of an XMPP user.
struct Message {
    pair: (usize, usize),
    handed: Option<(usize, Instant)>,
    wants_receipt: bool,
    branch: Option<String>,
    errors: usize,
    receipts: usize,
}

/// A request of ours.
struct Sent {
    first: Instant,
    peer: SocketAddr,
    answered: Option<u16>,
}

/// The reference.
#[derive(Default)]
pub(crate) struct Ledger {
    requests: BTreeMap<u32, Request>,
    messages: BTreeMap<u32, Message>,
    sent: BTreeMap<String, Sent>,
    open: BTreeMap<String, String>,
    /// Proxies that have asked to be left alone, until when.
    held_off: BTreeMap<SocketAddr, Instant>,
    last_written: BTreeMap<(usize, usize), usize>,
    last_sent: BTreeMap<(usize, usize), usize>,
    clock: usize,
    streams: usize,
    ping: Option<String>,
    /// When the stream was last not there.
    down: Option<Instant>,
    breaches: BTreeMap<Breach, String>,
    /// How often something of each kind was seen: a run in which nothing happens proves nothing.
    pub(crate) seen: BTreeMap<String, usize>,
}

impl Ledger {
    /// What was found, each kind with its first case.
    pub(crate) fn breaches(&self) -> &BTreeMap<Breach, String> {
        &self.breaches
    }

    fn breach(&mut self, breach: Breach, words: String) {
        self.breaches.entry(breach).or_insert(words);
    }

    fn see(&mut self, what: impl Into<String>) {
        *self.seen.entry(what.into()).or_default() += 1;
    }

    fn tick(&mut self) -> usize {
        self.clock += 1;
        self.clock
    }

    /// A request is handed to the engine. Whether for the first time.
    pub(crate) fn request_in(&mut self, n: u32, pair: (usize, usize), now: Instant) -> bool {
        let place = self.tick();
        let row = self.requests.entry(n).or_default();
        let first = row.arrived.is_none();
        if first {
            row.pair = pair;
            row.arrived = Some((place, now));
        }
        first
    }

    /// The engine answers a request.
    pub(crate) fn answer_out(&mut self, n: u32, bytes: &[u8], now: Instant) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status: u16 = text[8..11].parse().expect("a status");
        let Some(row) = self.requests.get_mut(&n) else { return };
        if status < 200 {
            if row.arrived.is_none_or(|(_, at)| now < at + Duration::from_millis(3500)) {
                self.breach(Breach::EarlyProvisional, text);
            }
            return;
        }
        if let Some(before) = &row.answer {
            if before != bytes {
                let before = String::from_utf8_lossy(before).into_owned();
                self.breach(Breach::TwoAnswers, format!("{before}{text}"));
            }
            return;
        }
        row.answer = Some(bytes.to_vec());
        row.status = status;
        row.unknown = text.contains("delivery unknown");
        let (read, bounced, unknown) = (row.read, row.bounced, row.unknown);
        self.see(format!("answer {status}{}", if unknown { " unknown" } else { "" }));
        if status < 300 && (read == 0 || bounced) {
            self.breach(Breach::UntrueSuccess, format!("{n}: read {read}, bounced {bounced}\n{text}"));
        }
        if bounced && status != 404 {
            self.breach(Breach::BounceIgnored, format!("{n}\n{text}"));
        }
        if status >= 300 && !unknown && !bounced && read > 0 {
            self.breach(Breach::UntrueFailure, format!("{n} was read before\n{text}"));
        }
    }

    /// The engine has written the stanza of a request.
    pub(crate) fn stanza_out(&mut self, n: u32) {
        let Some(row) = self.requests.get_mut(&n) else { return };
        if row.written.replace(self.streams).is_some() {
            return self.breach(Breach::DeliveredTwice, format!("{n} was written twice"));
        }
        let (pair, place) = (row.pair, row.arrived.map_or(0, |(place, _)| place));
        if self.last_written.insert(pair, place).is_some_and(|before| before > place) {
            self.breach(Breach::Order, format!("{n} of {pair:?} to XMPP"));
        }
    }

    /// The server has read the stanza of a request.
    pub(crate) fn stanza_read(&mut self, n: u32) {
        let Some(row) = self.requests.get_mut(&n) else { return };
        row.read += 1;
        let (read, failed) = (row.read, row.answer.is_some() && row.status >= 300 && !row.unknown && !row.bounced);
        if read > 1 {
            self.breach(Breach::DeliveredTwice, format!("{n} was read twice"));
        }
        if failed {
            self.breach(Breach::UntrueFailure, format!("{n} was read after its failure"));
        }
    }

    /// The server's bounce of a request is handed to the engine.
    pub(crate) fn bounce_in(&mut self, n: u32) {
        let stream = self.streams;
        let Some(row) = self.requests.get_mut(&n) else { return };
        let late = row.answer.is_some();
        // One that comes on another stream than its message counts as one that comes late.
        row.bounced = !late && row.written == Some(stream);
        self.see(if late { "late bounce" } else { "bounce" });
    }

    /// Whether the gateway has answered a request.
    pub(crate) fn is_answered(&self, n: u32) -> bool {
        self.requests.get(&n).is_some_and(|row| row.answer.is_some())
    }

    /// Whether nobody waits and no ping is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.ping.is_none() && self.requests.values().all(|row| row.answer.is_some())
    }

    /// The engine has written a ping.
    pub(crate) fn ping_out(&mut self, id: &str) {
        if let Some(before) = self.ping.replace(id.to_owned()) {
            self.breach(Breach::TwoPings, format!("{id} behind {before}"));
        }
        if !self.requests.values().any(|row| row.written == Some(self.streams) && row.answer.is_none()) {
            self.breach(Breach::NeedlessPing, id.to_owned());
        }
    }

    /// A ping's return is handed to the engine.
    pub(crate) fn ping_in(&mut self, id: &str) {
        if self.ping.as_deref() == Some(id) {
            self.ping = None;
        }
    }

    /// The stream is gone.
    pub(crate) fn stream_gone(&mut self, now: Instant) {
        self.streams += 1;
        self.ping = None;
        self.down = Some(now);
        self.see("stream gone");
    }

    /// A stream stands.
    pub(crate) fn stream_up(&mut self, now: Instant) {
        if self.streams > 0 {
            self.down = Some(now);
        }
    }

    /// A message of an XMPP user is handed to the engine.
    pub(crate) fn message_in(&mut self, n: u32, pair: (usize, usize), wants_receipt: bool, now: Instant) {
        let place = self.tick();
        let handed = Some((place, now));
        self.messages.insert(n, Message { pair, handed, wants_receipt, branch: None, errors: 0, receipts: 0 });
    }

    /// The engine has sent a request of its own; `n` where it carries a message of an XMPP user.
    pub(crate) fn request_out(&mut self, branch: &str, peer: SocketAddr, uri: &str, n: Option<u32>, now: Instant) {
        if let Some(sent) = self.sent.get(branch) {
            if sent.answered.is_some() {
                self.breach(Breach::SentAfterAnswer, branch.to_owned());
            } else if sent.peer != peer {
                self.breach(Breach::WrongHop, format!("{branch} is repeated to {peer}"));
            }
            return self.see("retransmission");
        }
        self.sent.insert(branch.to_owned(), Sent { first: now, peer, answered: None });
        if let Some(other) = self.open.insert(uri.to_owned(), branch.to_owned()) {
            let other = &self.sent[&other];
            if other.answered.is_none() && now < other.first + Duration::from_millis(31_900) {
                self.breach(Breach::TwoOpen, format!("{branch} to {uri}"));
            }
        }
        let Some((n, row)) = n.and_then(|n| self.messages.get_mut(&n).map(|row| (n, row))) else { return };
        let (pair, place) = (row.pair, row.handed.map_or(0, |(place, _)| place));
        let before = row.branch.replace(branch.to_owned());
        if self.held_off.get(&peer).is_some_and(|until| now < *until) {
            self.breach(Breach::WrongHop, format!("{branch} to {peer}, which holds us off"));
        }
        // Only a refusal may be followed by another try, or silence by one at another proxy.
        if let Some(Sent { first, peer: tried, answered }) = before.as_ref().map(|before| &self.sent[before]) {
            let (moved, tried) = (*tried != peer, *tried);
            match *answered {
                Some(503) if moved => self.see("again after 503"),
                Some(status) if status >= 300 && status != 503 => self.see(format!("again after {status}")),
                None if moved && now >= *first + Duration::from_millis(31_900) => self.see("again after silence"),
                status => {
                    let words = format!("message {n} in two requests, after {status:?} from {tried} to {peer}");
                    self.breach(Breach::DeliveredTwice, words);
                }
            }
        }
        if self.last_sent.insert(pair, place).is_some_and(|before| before > place) {
            self.breach(Breach::Order, format!("{n} of {pair:?} to SIP"));
        }
    }

    /// Whether a request of ours waits for its answer.
    pub(crate) fn is_open(&self, branch: &str) -> bool {
        self.sent.get(branch).is_some_and(|sent| sent.answered.is_none())
    }

    /// A response to a request of the engine's is handed to it.
    pub(crate) fn response_in(&mut self, branch: &str, status: u16, retry_after: Option<Duration>, now: Instant) {
        let Some(sent) = self.sent.get_mut(branch) else { return };
        if status >= 200 && sent.answered.is_none() && now < sent.first + Duration::from_secs(32) {
            sent.answered = Some(status);
            if let Some(span) = retry_after {
                self.held_off.insert(sent.peer, now + span);
            }
        }
    }

    /// The engine has written a stanza error for a message.
    pub(crate) fn error_out(&mut self, n: u32, condition: &str) {
        self.see(format!("error {condition}"));
        if let Some(row) = self.messages.get_mut(&n) {
            row.errors += 1;
        }
    }

    /// The engine has written a receipt for a message.
    pub(crate) fn receipt_out(&mut self, n: u32) {
        self.see("receipt");
        if let Some(row) = self.messages.get_mut(&n) {
            row.receipts += 1;
        }
    }

    /// All is over and quiet.
    pub(crate) fn end(&mut self, open: usize) {
        if open > 0 {
            self.breach(Breach::Leftover, format!("{open} rows"));
        }
        let unanswered = self.requests.iter().find(|(_, row)| row.arrived.is_some() && row.answer.is_none());
        if let Some((n, _)) = unanswered {
            self.breach(Breach::Unanswered, format!("request {n}"));
        }
        let mut found = Vec::new();
        for (n, row) in &self.messages {
            let status = row.branch.as_ref().and_then(|branch| self.sent[branch].answered);
            let success = status.is_some_and(|status| status < 300);
            // What the gateway had to say while it had nobody to say it to is excused.
            let excused = row.handed.is_some_and(|(_, at)| self.down.is_some_and(|down| down >= at));
            if row.errors > usize::from(!success) {
                found.push((Breach::EndedTwice, format!("message {n}: {status:?}, {} errors", row.errors)));
            }
            if !success && row.errors == 0 && !excused {
                found.push((Breach::Unended, format!("message {n}: {status:?}, no error")));
            }
            let due = usize::from(status == Some(200) && row.wants_receipt);
            if row.receipts > due || (row.receipts < due && !excused) {
                found.push((Breach::Receipt, format!("message {n}: {status:?}, {} receipts", row.receipts)));
            }
        }
        found.into_iter().for_each(|(breach, words)| self.breach(breach, words));
    }
}
