//! The reference: what was true at each moment, kept by what crossed the engine's edges, and what must follow from it.
//!
//! Of what was said there is one row for each message of a user, in `requests` for those of SIP and in `messages` for those
//! of XMPP. A *life* of the gateway begins with each start.

mod breach;
mod messages;
mod requests;

use messages::{Doubt, Heard, Message, Sent};
use requests::Request;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

pub(crate) use breach::{BREACHES, Breach};

/// A message of a user, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Text {
    /// Of a SIP user.
    Sip(u32),
    /// Of an XMPP user.
    Xmpp(u32),
}

/// The reference.
#[derive(Default)]
pub(crate) struct Ledger {
    requests: BTreeMap<u32, Request>,
    /// Whose stanza has which id.
    stanzas: BTreeMap<String, u32>,
    messages: BTreeMap<u32, Message>,
    sent: BTreeMap<String, Sent>,
    open: BTreeMap<String, String>,
    /// Next hops that have asked to be left alone, until when.
    held_off: BTreeMap<SocketAddr, Instant>,
    /// Destinations about which a next hop has said so, and nothing else about others since.
    doubted: BTreeMap<SocketAddr, Doubt>,
    /// What next hops have answered in this turn.
    heard: Vec<Heard>,
    /// Requests of this turn that went where none may go, as far as was known before it.
    astray: Vec<(String, SocketAddr, String, Instant)>,
    last_written: BTreeMap<(usize, usize), usize>,
    last_read: BTreeMap<(usize, usize), usize>,
    last_sent: BTreeMap<(usize, usize), usize>,
    last_reached: BTreeMap<(usize, usize), usize>,
    /// Requests that have come again and want their answer in this turn.
    repeated: BTreeSet<u32>,
    clock: usize,
    streams: usize,
    life: u32,
    ping: Option<String>,
    /// It has, in this turn.
    ping_has_returned: bool,
    late_bounces: u64,
    /// The gateway has a secret and a log of its answers that outlive it.
    pub(crate) lasts: bool,
    /// It has a journal.
    pub(crate) keeps: bool,
    /// Requests come in datagrams, and are known again.
    pub(crate) udp: bool,
    /// Nothing that is to be told is dropped for want of room.
    pub(crate) roomy: bool,
    /// What the journal has, as the store would find it after a crash.
    durable: BTreeSet<Text>,
    ever_kept: BTreeSet<Text>,
    /// What was handed over as a dead letter.
    letters: BTreeSet<Text>,
    /// What was damaged in the store.
    damaged: BTreeSet<Text>,
    late_failures: u64,
    possible_duplicates: u64,
    found_damaged: u64,
    unanswerable: u64,
    breaches: BTreeMap<Breach, String>,
    /// How often something of each kind was seen: a run in which nothing happens proves nothing.
    pub(crate) seen: BTreeMap<String, usize>,
}

/// How the gateway stands when a life of it is over.
#[derive(Default)]
pub(crate) struct Rest {
    /// Rows of its tables.
    pub(crate) open: usize,
    /// The component stream stands.
    pub(crate) up: bool,
    /// Late failures that it has counted in this life.
    pub(crate) late_failures: u64,
    /// Answers towards XMPP that it has counted as not to be written.
    pub(crate) unanswerable: u64,
    /// Possible duplicates that it has counted.
    pub(crate) possible_duplicates: u64,
    /// Entries of the journal that it has found damaged.
    pub(crate) damaged: u64,
    /// Rows of the journal in the store, and entries that it counts.
    pub(crate) entries: usize,
    /// Somebody takes dead letters.
    pub(crate) dead_letters: bool,
}

impl Ledger {
    /// What was found, each kind with its first case.
    pub(crate) fn breaches(&self) -> &BTreeMap<Breach, String> {
        &self.breaches
    }

    /// Notes something wrong.
    pub(crate) fn breach(&mut self, breach: Breach, words: String) {
        self.breaches.entry(breach).or_insert(words);
    }

    /// Notes that something has happened.
    pub(crate) fn see(&mut self, what: impl Into<String>) {
        *self.seen.entry(what.into()).or_default() += 1;
    }

    fn tick(&mut self) -> usize {
        self.clock += 1;
        self.clock
    }

    /// Whether nobody waits and no ping is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.ping.is_none() && self.durable.is_empty() && self.requests.values().all(Request::is_answered)
    }

    /// The engine has written a ping.
    pub(crate) fn ping_out(&mut self, id: &str) {
        if let Some(before) = self.ping.replace(id.to_owned()) {
            self.breach(Breach::TwoPings, format!("{id} behind {before}"));
        }
        let stream = self.streams;
        // What is kept waits for its fate, though nobody waits for its answer.
        let waits = |(n, row): (&u32, &Request)| {
            row.is_on(stream) && (!row.is_answered() || self.ever_kept.contains(&Text::Sip(*n)))
        };
        if !self.requests.iter().any(waits) {
            self.breach(Breach::NeedlessPing, id.to_owned());
        }
    }

    /// A ping's return is handed to the engine.
    pub(crate) fn ping_in(&mut self, id: &str) {
        if self.ping.as_deref() == Some(id) {
            self.ping = None;
            self.ping_has_returned = true;
        }
    }

    /// The engine learns that the stream is gone.
    pub(crate) fn stream_gone(&mut self) {
        self.streams += 1;
        self.ping = None;
        self.see("stream gone");
    }

    /// A turn is over, and all that it has led to is noted.
    pub(crate) fn turn_ends(&mut self) {
        self.hop_turn_ends();
        if std::mem::take(&mut self.ping_has_returned) {
            self.be_sure();
        }
        if let Some(n) = std::mem::take(&mut self.repeated).first() {
            self.breach(Breach::RepetitionUnanswered, format!("request {n}"));
        }
    }

    /// This is what the store has of the journal now.
    pub(crate) fn kept(&mut self, durable: BTreeSet<Text>) {
        self.ever_kept.extend(&durable);
        self.durable = durable;
    }

    /// Whether a message was in the store once.
    pub(crate) fn was_kept(&self, text: Text) -> bool {
        self.ever_kept.contains(&text)
    }

    /// Somebody has taken a dead letter.
    pub(crate) fn letter(&mut self, text: Text) {
        self.see("dead letter");
        self.letters.insert(text);
    }

    /// Something in the store is not what was written.
    pub(crate) fn damage(&mut self, text: Text) {
        self.damaged.insert(text);
    }

    /// The gateway has been killed, and this is what the store still has. Where the machine has lost its power, what was
    /// answered since `since` may be forgotten.
    pub(crate) fn killed(&mut self, rest: &Rest, durable: BTreeSet<Text>, since: Option<Instant>, now: Instant) {
        self.kept(durable);
        self.end_requests_of_a_life(now);
        if let Some(since) = since {
            self.doubt_answers(since);
        }
        self.life_ends(rest);
        self.life += 1;
        self.streams += 1;
        self.ping = None;
        self.held_off.clear();
        self.doubted.clear();
        self.heard.clear();
        self.astray.clear();
        self.open.clear();
        self.repeated.clear();
    }

    fn life_ends(&mut self, rest: &Rest) {
        self.late_failures += rest.late_failures;
        self.possible_duplicates += rest.possible_duplicates;
        self.found_damaged += rest.damaged;
        self.unanswerable += rest.unanswerable;
        if !self.keeps && rest.late_failures < self.late_bounces {
            let words = format!("{} of {}", rest.late_failures, self.late_bounces);
            self.breach(Breach::LateUncounted, words);
        }
        self.late_bounces = 0;
    }

    /// All is over and quiet.
    pub(crate) fn end(&mut self, rest: &Rest) {
        self.life_ends(rest);
        if rest.open > 0 {
            self.breach(Breach::Leftover, format!("{} rows", rest.open));
        }
        if rest.entries > 0 {
            self.breach(Breach::JournalLeft, format!("{} entries", rest.entries));
        }
        if !rest.up {
            self.breach(Breach::StaysDown, String::new());
        }
        if self.found_damaged < self.damaged.len() as u64 {
            self.breach(Breach::DamageUnreported, format!("{} of {:?}", self.found_damaged, self.damaged));
        }
        self.end_requests(rest);
        self.end_messages();
        let duplicates = self.duplicates();
        if duplicates > self.possible_duplicates {
            let requests = self.requests.iter().filter(|(_, row)| row.duplicates() > 0).map(|(n, _)| Text::Sip(*n));
            let messages = self.messages.iter().filter(|(_, row)| row.duplicates() > 0).map(|(n, _)| Text::Xmpp(*n));
            let seen: Vec<_> = requests.chain(messages).collect();
            let words = format!("{} counted, {duplicates} seen: {seen:?}", self.possible_duplicates);
            self.breach(Breach::Uncounted, words);
        }
    }

    /// Deliveries of the same message beyond the first that nobody but the journal has brought about.
    fn duplicates(&self) -> u64 {
        if !self.keeps {
            return 0;
        }
        self.requests.values().map(Request::duplicates).sum::<u64>()
            + self.messages.values().map(Message::duplicates).sum::<u64>()
    }
}
