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
    last_sent: BTreeMap<(usize, usize), usize>,
    last_reached: BTreeMap<(usize, usize), usize>,
    /// Requests that have come again and want their answer in this turn.
    repeated: BTreeSet<u32>,
    clock: usize,
    streams: usize,
    life: u32,
    ping: Option<String>,
    late_bounces: u64,
    breaches: BTreeMap<Breach, String>,
    /// How often something of each kind was seen: a run in which nothing happens proves nothing.
    pub(crate) seen: BTreeMap<String, usize>,
}

/// How the gateway stands when all is over.
pub(crate) struct Rest {
    /// Rows of its tables.
    pub(crate) open: usize,
    /// The component stream stands.
    pub(crate) up: bool,
    /// Late failures that it has counted in this life.
    pub(crate) late_failures: u64,
    /// Answers towards XMPP that it has counted as not to be written in this life.
    pub(crate) unanswerable: u64,
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
        self.ping.is_none() && self.requests.values().all(Request::is_answered)
    }

    /// The engine has written a ping.
    pub(crate) fn ping_out(&mut self, id: &str) {
        if let Some(before) = self.ping.replace(id.to_owned()) {
            self.breach(Breach::TwoPings, format!("{id} behind {before}"));
        }
        let stream = self.streams;
        if !self.requests.values().any(|row| row.waits_on(stream)) {
            self.breach(Breach::NeedlessPing, id.to_owned());
        }
    }

    /// A ping's return is handed to the engine.
    pub(crate) fn ping_in(&mut self, id: &str) {
        if self.ping.as_deref() == Some(id) {
            self.ping = None;
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
        if let Some(n) = std::mem::take(&mut self.repeated).first() {
            self.breach(Breach::RepetitionUnanswered, format!("request {n}"));
        }
    }

    /// The gateway has been killed and starts again.
    pub(crate) fn restarted(&mut self, rest: &Rest) {
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
        if rest.late_failures < self.late_bounces {
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
        if !rest.up {
            self.breach(Breach::StaysDown, String::new());
        }
        self.end_requests();
        self.end_messages(rest.unanswerable);
    }
}
