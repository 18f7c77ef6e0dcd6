//! SIP users, and the next hops that they are behind.

use super::{Event, Simulation};
use crate::weather::Fault;
use entente_tests::world::{proxy, response, status};
use sip::auth::{Authenticator, Credentials, Refused, Role, Secret};
use sip::transaction::Transport;
use sip::wire::Method;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub(super) const SIP_USERS: [&str; 3] = ["juliet", "nurse", "tybalt"];
/// The second next hop.
pub(super) const SECOND: ([u8; 4], u16) = ([192, 0, 2, 10], 5060);
/// So long an answer is repeated (RFC 3261 17.2.2).
const TIMER_J: Duration = Duration::from_secs(32);
/// What the gateway has to know when a next hop asks who it is.
pub(super) const GATEWAY_USER: &[u8] = b"gateway";
pub(super) const PASSWORD: &[u8] = b"queen mab";

/// All of them.
pub(super) struct Phones {
    pub(super) transport: Transport,
    /// By number: who writes to whom, and the request.
    requests: BTreeMap<u32, ((usize, usize), String)>,
    /// Whose final answer has come.
    answered: BTreeSet<u32>,
    /// Whose final answer the gateway has sent, in which life first.
    sent_back: BTreeMap<u32, u32>,
    /// By branch, what was answered to a request of the gateway, and when it came.
    told: BTreeMap<String, (Instant, Option<String>)>,
    /// The next hops ask the gateway who it is.
    judge: Option<Authenticator>,
    /// Next hops that take nothing, until when, and whether the network says so.
    failing: BTreeMap<SocketAddr, (Instant, Fault)>,
}

impl Phones {
    pub(super) fn new(transport: Transport, judge: Option<Authenticator>) -> Self {
        Self {
            transport,
            requests: BTreeMap::new(),
            answered: BTreeSet::new(),
            sent_back: BTreeMap::new(),
            told: BTreeMap::new(),
            judge,
            failing: BTreeMap::new(),
        }
    }

    pub(super) fn plan(&mut self, n: u32, pair: (usize, usize), text: &str) {
        let text = match self.transport {
            Transport::Udp => text.to_owned(),
            Transport::Tcp => text.replace("SIP/2.0/UDP", "SIP/2.0/TCP"),
        };
        self.requests.insert(n, (pair, text));
    }

    pub(super) fn pair(&self, n: u32) -> (usize, usize) {
        self.requests[&n].0
    }

    /// Whether the gateway has sent the final answer before.
    pub(super) fn is_answered(&self, n: u32) -> bool {
        self.sent_back.contains_key(&n)
    }

    pub(super) fn is_answered_in_another_life(&self, n: u32, life: u32) -> bool {
        self.sent_back.get(&n).is_some_and(|first| *first != life)
    }

    pub(super) fn gateway_has_answered(&mut self, n: u32, life: u32) {
        self.sent_back.entry(n).or_insert(life);
    }

    pub(super) fn failure(&self, hop: SocketAddr, now: Instant) -> Option<Fault> {
        self.failing.get(&hop).filter(|(until, _)| now < *until).map(|&(_, fault)| fault)
    }

    pub(super) fn back_at(&self, hop: SocketAddr) -> Option<Instant> {
        self.failing.get(&hop).map(|&(until, _)| until)
    }
}

impl Simulation {
    pub(super) fn calls(&mut self, n: u32, interval: Duration, until: Instant) {
        if self.phones.answered.contains(&n) || self.now > until {
            return;
        }
        let text = self.phones.requests[&n].1.clone();
        match self.phones.transport {
            Transport::Udp => {
                self.travels_in(proxy(), text.as_bytes());
                let next = (interval * 2).min(Duration::from_secs(4));
                self.at(self.now + interval, Event::Calls { n, interval: next, until });
            }
            // Once: the connection repeats what has to be repeated (RFC 3261 17.1.2.2).
            Transport::Tcp => self.calls_by_connection(n, interval, until, &text),
        }
    }

    /// A next hop takes nothing until then.
    pub(super) fn hop_fails(&mut self, fault: Fault, until: Instant) {
        self.struck(fault);
        let hop = if self.dice.percent(70) { proxy() } else { SECOND.into() };
        self.phones.failing.insert(hop, (until, fault));
        if fault == Fault::HopGone {
            self.hop_drops_connections(hop);
        }
    }

    /// A datagram comes to a next hop.
    pub(super) fn reaches_hop(&mut self, hop: SocketAddr, bytes: &[u8]) {
        match self.phones.failure(hop, self.now) {
            None => self.hop_takes(hop, None, &String::from_utf8_lossy(bytes)),
            Some(Fault::HopGone) => {
                let delay = 1 + self.dice.below(5);
                self.after(delay, Event::Unreachable { peer: hop });
            }
            Some(_) => {}
        }
    }

    /// A next hop has got a message, over a connection or not.
    pub(super) fn hop_takes(&mut self, hop: SocketAddr, by: Option<u64>, text: &str) {
        if let Some(code) = status(text) {
            if code >= 200 {
                self.phones.answered.insert(request_number(text));
            }
            return;
        }
        if let Some(n) = message_number(text) {
            self.ledger.reached(n, branch_of(text));
        }
        let branch = branch_of(text).to_owned();
        let known = self.phones.told.get(&branch).filter(|(at, _)| self.now < *at + TIMER_J);
        match known {
            Some((_, Some(answer))) => {
                let again = answer.clone();
                self.answer_travels(hop, by, &again);
            }
            Some((_, None)) => {}
            None => {
                self.phones.told.insert(branch.clone(), (self.now, None));
                self.hop_answers(hop, by, branch, text);
            }
        }
    }

    fn hop_answers(&mut self, hop: SocketAddr, by: Option<u64>, branch: String, request: &str) {
        if let Some((line, more)) = self.not_like_this(request) {
            let delay = self.dice.below(100);
            let answer = response(request, line, &more);
            return self.after(delay, Event::Answers { hop, by, branch, answer });
        }
        let silent = self.strikes(Fault::SilentUser);
        if silent && self.dice.percent(50) {
            return;
        }
        let line = self.dice.one_of(&[
            "200 OK",
            "200 OK",
            "200 OK",
            "200 OK",
            "202 Accepted",
            "404 Not Found",
            "486 Busy Here",
            "480 Temporarily Unavailable",
            "503 Service Unavailable",
            "603 Decline",
        ]);
        if line.starts_with('2')
            && let (Some(n), Some(cseq)) = (message_number(request), cseq_of(request))
        {
            self.ledger.taken(n, cseq);
        }
        if self.dice.percent(10) {
            let trying = response(request, "100 Trying", "");
            self.answer_travels(hop, by, &trying);
        }
        let delay = match (silent, self.dice.below(4)) {
            (true, 0) => 40_000,
            (true, _) => self.dice.below(5000),
            _ => self.dice.below(100),
        };
        let more = if line.starts_with("503") { self.dice.one_of(&["", "Retry-After: 3\r\n"]) } else { "" };
        let answer = response(request, line, more);
        self.after(delay, Event::Answers { hop, by, branch, answer });
    }

    pub(super) fn answers(&mut self, hop: SocketAddr, by: Option<u64>, branch: String, answer: String) {
        self.answer_travels(hop, by, &answer);
        let at = self.now;
        self.phones.told.insert(branch, (at, Some(answer)));
    }

    fn answer_travels(&mut self, hop: SocketAddr, by: Option<u64>, answer: &str) {
        if self.phones.failure(hop, self.now).is_some() {
            return;
        }
        match by {
            None => self.travels_in(hop, answer.as_bytes()),
            Some(connection) => self.hop_writes(connection, answer),
        }
    }

    /// What a next hop wants to have otherwise.
    fn not_like_this(&mut self, request: &str) -> Option<(&'static str, String)> {
        let now = (self.now - self.start).as_secs();
        if let Some(judge) = &mut self.phones.judge {
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
        if !self.strikes(Fault::Unwilling) {
            return None;
        }
        let uri = request.split(' ').nth(1).unwrap_or_default();
        let place = uri.find('@').unwrap_or(uri.len());
        Some(("302 Moved", format!("Contact: <{}-next{}>\r\n", &uri[..place], &uri[place..])))
    }
}

pub(super) fn branch_of(text: &str) -> &str {
    let rest = text.split_once("branch=").map_or("", |(_, rest)| rest);
    rest.split([';', '\r', ',']).next().unwrap_or_default()
}

/// What a message that leaves is about, for the log.
pub(super) fn summary(text: &str) -> String {
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    format!("{} {} {body}", text.lines().next().unwrap_or_default(), branch_of(text))
}

fn cseq_of(text: &str) -> Option<u32> {
    text.split_once("CSeq: ")?.1.split(' ').next()?.parse().ok()
}

/// The number of a SIP user's request, or of the answer to it.
pub(super) fn request_number(text: &str) -> u32 {
    let number = branch_of(text).trim_start_matches("z9hG4bK-");
    number.split('.').next().unwrap_or_default().parse().expect("one of our branches")
}

/// The same request of a SIP user under another name.
pub(super) fn wrong_branch(text: &str, salt: u64) -> String {
    let branch = branch_of(text);
    text.replacen(branch, &format!("{branch}.{salt}"), 1)
}

/// The number of the XMPP user's message that a request carries; what the gateway itself has to say carries none.
pub(super) fn message_number(text: &str) -> Option<u32> {
    text.split_once("\r\n\r\n")?.1.strip_prefix("xmpp ")?.strip_suffix('.')?.parse().ok()
}
