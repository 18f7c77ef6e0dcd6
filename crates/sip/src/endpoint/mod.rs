//! The endpoint: messages in, new requests and final outcomes out (RFC 3261 sections 8, 17 and 18).
//!
//! It does by itself what the rules of transactions decide: it absorbs and answers retransmissions, refuses what is
//! malformed, drops what nobody asked for, sends the one provisional response a non-INVITE request may get (RFC 4320), and
//! repeats requests until they are answered. What a request means is none of its business.
//!
//! It does not look up names, choose targets (RFC 3263) or open streams: a request is given a [`Flow`].

mod counters;
mod invite;
mod print;
mod restart;
mod sending;
mod settings;
mod streams;
#[cfg(test)]
mod tests;

pub use counters::Counters;
pub use print::{Forwarding, RequestParts};
pub use restart::Restored;
pub use sending::{LARGEST_DATAGRAM, SendError};
pub use settings::Settings;
pub use streams::Homeless;

use crate::transaction::answer::{self, Answer, Arrived, Extra, Phrases};
use crate::transaction::client::{Clients, Due};
use crate::transaction::finished::{Finished, Kept};
use crate::transaction::key::{Identity, Keys, read_branch};
use crate::transaction::open::{Memo, Open};
use crate::transaction::refused::Refused;
use crate::transaction::route::{back_to_sender, response_way};
use crate::transaction::{Blocked, Flow, ServerKey, Timers, Transport, Way};
use crate::wire::{self, Carriage, Essentials, HeaderName, Message, Method, Refusal, Request, Response, Unreadable};
use print::SentBy;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use turn::{Minters, Output, SocketId, StreamId};

/// Retry-After of a 503, in seconds: by then a good part of what fills the tables has left them.
const OVERLOAD_RETRY_AFTER: u32 = 10;
/// Finished transactions that have expired may lie about for so long before the endpoint asks to be called.
const EXPIRY_SLACK: Duration = Duration::from_millis(250);

/// What came of a message.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // taken apart at once; boxing would be an allocation per message
pub enum Event<'a> {
    /// Nothing: the endpoint has done what there was to do.
    None,
    /// A new request, which the caller answers once with [`Endpoint::respond`].
    Request {
        /// What to answer.
        transaction: ServerKey,
        /// The request.
        request: Request<'a>,
        /// Its fields that every request has.
        essentials: Essentials<'a>,
        /// A hash that only retransmissions of the same request share; over UDP also those that come after a restart with the
        /// same [lasting](Minters::lasting) minter.
        hash: u128,
    },
    /// A client transaction ended.
    Ended {
        /// What [`Endpoint::request`] was given.
        token: u64,
        /// How it ended.
        outcome: Outcome<'a>,
    },
}

/// How a client transaction ended.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // as for Event
pub enum Outcome<'a> {
    /// With this final response.
    Final(Response<'a>),
    /// Without one: Timer F. As good as a 408 (RFC 3261 8.1.3.1).
    TimedOut {
        /// A provisional response had come: somebody is there (RFC 3263 4.3).
        heard: bool,
    },
    /// The request cannot be delivered. As good as a 503 (8.1.3.1).
    TransportFailed,
}

/// A client transaction that ended without a response.
#[derive(Debug)]
pub struct Ended {
    /// What [`Endpoint::request`] was given.
    pub token: u64,
    /// [`Outcome::TimedOut`] or [`Outcome::TransportFailed`].
    pub outcome: Outcome<'static>,
}

/// Transactions of one SIP element.
///
/// The caller hands in every message with [`handle_message`](Self::handle_message), and in each turn calls
/// [`handle_timeout`](Self::handle_timeout) until it returns `None`. Each [`Event::Request`] is answered once, each
/// [`request`](Self::request) ends once: with [`Event::Ended`] or [`Ended`].
#[derive(Debug)]
pub struct Endpoint {
    settings: Settings,
    timers: Timers,
    sent_by: SentBy,
    sent_by_tcp: SentBy,
    phrases: Phrases,
    keys: Keys,
    open: Open,
    finished: Finished,
    refused: Refused,
    clients: Clients,
    /// Client transactions that ended outside of `handle_message`.
    ended: VecDeque<Ended>,
    /// Answers whose connection is gone.
    homeless: VecDeque<Homeless>,
    /// The latest time that was seen: time does not go back.
    clock: Option<Instant>,
    scratch: Vec<u8>,
    counters: Counters,
}

impl Endpoint {
    /// An endpoint without transactions.
    pub fn new(settings: Settings, minters: Minters) -> Self {
        let timers = settings.timers();
        let hasher = |purpose| {
            let seed = u128::from_le_bytes(minters.fresh.table_seed(purpose));
            let (high, low) = ((seed >> 64) as u64, seed as u64);
            ahash::RandomState::with_seeds(high, low, high.rotate_left(32), low.rotate_left(32))
        };
        let (requests, ways) = (hasher("requests"), hasher("ways"));
        let values = [
            &settings.allow[..],
            &settings.accept,
            &settings.accept_encoding,
            &settings.accept_language,
            &settings.supported,
        ];
        Self {
            timers,
            sent_by: SentBy::new(&settings.sent_by),
            sent_by_tcp: SentBy::new(settings.sent_by_tcp.as_ref().unwrap_or(&settings.sent_by)),
            phrases: Phrases::new(values, &settings.server_name, &settings.warn_agent),
            keys: Keys::new(minters, requests),
            open: Open::new(),
            finished: Finished::new(),
            refused: Refused::new(timers),
            clients: Clients::new(timers, ways),
            ended: VecDeque::new(),
            homeless: VecDeque::new(),
            clock: None,
            scratch: Vec::new(),
            counters: Counters::default(),
            settings,
        }
    }

    /// Other limits for what comes from here on. What it says of itself and its timers stay as they were made: a response
    /// that is repeated is the same, and responses find their way to requests that are open.
    pub fn reconfigure(&mut self, settings: &Settings) {
        let Settings {
            limits,
            max_ongoing,
            max_ongoing_octets,
            max_finished,
            max_answer_text,
            max_refused,
            max_client,
            max_unsent,
            max_homeless,
            refuse_merged,
            sent_by: _,
            sent_by_tcp: _,
            t1: _,
            t2: _,
            t4: _,
            allow: _,
            accept: _,
            accept_encoding: _,
            accept_language: _,
            supported: _,
            server_name: _,
            warn_agent: _,
            turn_log: _,
        } = settings;
        self.settings.limits = *limits;
        self.settings.max_ongoing = *max_ongoing;
        self.settings.max_ongoing_octets = *max_ongoing_octets;
        self.settings.max_finished = *max_finished;
        self.settings.max_answer_text = *max_answer_text;
        self.settings.max_refused = *max_refused;
        self.settings.max_client = *max_client;
        self.settings.max_unsent = *max_unsent;
        self.settings.max_homeless = *max_homeless;
        self.settings.refuse_merged = *refuse_merged;
    }

    /// What has been counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Server transactions that wait for their answer.
    pub fn ongoing(&self) -> usize {
        self.open.len()
    }

    /// Finished server transactions that are kept for retransmissions.
    pub fn finished(&self) -> usize {
        self.finished.len()
    }

    /// Client transactions that wait for their final response.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Whether host and port of a URI are those of our Via, over whatever transport.
    pub fn is_ours(&self, uri: &wire::Uri<'_>) -> bool {
        [&self.sent_by, &self.sent_by_tcp].into_iter().any(|sent_by| sent_by.is(uri.host, uri.port))
    }

    /// Takes one datagram, or one message of a stream.
    pub fn handle_message<'a>(&mut self, now: Instant, flow: Flow, bytes: &'a [u8], out: &mut Output) -> Event<'a> {
        let now = self.clock(now);
        self.finished.expire(now);
        self.counters.received += 1;
        let carriage = match flow.transport {
            Transport::Udp => Carriage::Datagram,
            Transport::Tcp => Carriage::Stream,
        };
        match wire::parse(bytes, carriage, &self.settings.limits) {
            Ok(Message::Request(request)) => self.on_request(now, &flow, request, out),
            Ok(Message::Response(response)) => self.on_response(response),
            Err(Unreadable::Drop(reason)) => {
                self.counters.on_unreadable(reason);
                Event::None
            }
        }
    }

    fn on_request<'a>(&mut self, now: Instant, flow: &Flow, request: Request<'a>, out: &mut Output) -> Event<'a> {
        if request.method == Method::Ack {
            self.on_ack(now, flow, &request);
            return Event::None;
        }
        let essentials = match request.check(&self.settings.limits) {
            Ok(essentials) => essentials,
            Err(refusal) => {
                self.on_refused(flow, &request, refusal, out);
                return Event::None;
            }
        };
        let Some(way) = response_way(flow, &essentials.via) else {
            self.counters.dropped_no_stream += 1;
            return Event::None;
        };
        let identity = self.keys.identity(flow, &request, &essentials);
        let arrived = Arrived {
            head: &request.head,
            flow,
            via: &essentials.via,
            to_tag: essentials.to.tag.is_none().then(|| Identity::to_tag(identity.key)),
            supported: &self.settings.supported,
        };
        if request.method == Method::Cancel {
            // 9.2: a CANCEL for a request that is no INVITE changes nothing, and neither does one for an INVITE that has its
            // answer, as each has that comes out. It is hop by hop, so what it may require does not matter (8.2.2.3).
            let key = identity.key;
            let matches = self.open.contains(key) || self.finished.contains(now, key) || self.refused.contains(key);
            let kept = Kept { status: if matches { 200 } else { 481 }, shape: 0, retry_after: 0, text: b"" };
            self.counters.cancels += 1;
            let way = if matches { way } else { back_to_sender(way, flow) };
            let sent = way.send(out, self.settings.max_unsent, |to| answer::print(&kept, arrived, &self.phrases, to));
            self.on_sent(way, sent, out);
            return Event::None;
        }
        if let Some(row) = self.open.find(identity) {
            // 17.2.2: silence in Trying, the provisional response again in Proceeding.
            self.counters.retransmissions_in += 1;
            if row.way != way {
                row.way = way;
                arrived.remember(&mut row.memo);
            }
            if row.proceeding {
                self.counters.answers_repeated += 1;
                let (delay, phrases) = (self.timers.trying(), &self.phrases);
                let sent = way.send(out, self.settings.max_unsent, |to| {
                    answer::print_trying(&row.memo, delay, phrases, to);
                });
                self.on_sent(way, sent, out);
            }
            return Event::None;
        }
        let invite = request.method == Method::Invite;
        if invite && let Some(key) = self.refused.find(identity) {
            self.counters.retransmissions_in += 1;
            self.refused.move_to(key, way, |memo| arrived.remember(memo));
            self.repeat_refusal(key, out);
            return Event::None;
        }
        if let Some(kept) = self.finished.find(now, identity.key, identity.request_hash) {
            self.counters.retransmissions_in += 1;
            self.counters.answers_repeated += 1;
            let sent = way.send(out, self.settings.max_unsent, |to| answer::print(&kept, arrived, &self.phrases, to));
            self.on_sent(way, sent, out);
            return Event::None;
        }
        if self.open.len() >= self.settings.max_ongoing
            || self.open.octets() >= self.settings.max_ongoing_octets
            || self.open.len() + self.finished.len() >= self.settings.max_finished
            || self.finished.text_len() >= self.settings.max_answer_text
        {
            // Without a transaction: a retransmission may find room.
            self.counters.overloaded += 1;
            let way = back_to_sender(way, flow);
            let answer = Answer { retry_after: Some(OVERLOAD_RETRY_AFTER), ..Answer::new(503) };
            let mut text = std::mem::take(&mut self.scratch);
            let kept = answer::keep(&answer, &mut text);
            let sent = way.send(out, self.settings.max_unsent, |to| answer::print(&kept, arrived, &self.phrases, to));
            self.on_sent(way, sent, out);
            self.give_scratch(text);
            return Event::None;
        }
        let merge_hash = self.keys.merge_hash(&essentials);
        let repeats = flow.transport == Transport::Udp;
        let merged = merge_hash.and_then(|hash| self.open.merged(identity, hash));
        if let (Some(row), Some(branch), Transport::Udp) = (merged, essentials.via.branch, flow.transport)
            && row.identity.request_hash == identity.request_hash
            && memchr::memmem::find(row.memo.vias(), branch).is_some()
        {
            // The open transaction itself (17.2.3), from another address. It is answered once, where it came from first;
            // another answer here could only contradict that one.
            self.counters.retransmissions_in += 1;
            return Event::None;
        }
        if self.settings.refuse_merged && merged.is_some() {
            // Remembered like any other answer: the retransmission that comes when the first has ended is no new request.
            self.counters.merged += 1;
            let kept = Kept { status: 482, shape: 0, retry_after: 0, text: b"" };
            let sent = way.send(out, self.settings.max_unsent, |to| answer::print(&kept, arrived, &self.phrases, to));
            self.on_sent(way, sent, out);
            if repeats {
                self.finish(now, identity, kept, out);
            }
            return Event::None;
        }
        let mut memo = Memo { bytes: self.open.pool.take(), ..Memo::default() };
        arrived.remember(&mut memo);
        let trying_at = now + self.timers.trying();
        let transaction = self.open.insert(trying_at, identity, merge_hash, way, invite, memo);
        self.counters.requests_in += 1;
        Event::Request { transaction, request, essentials, hash: identity.hash() }
    }

    /// Answers a request that [`Request::check`] refused, with as much of it as can be read. The answer follows from the
    /// request alone, so no transaction is needed to repeat it.
    fn on_refused(&mut self, flow: &Flow, request: &Request<'_>, refusal: Refusal, out: &mut Output) {
        let via = &request.via;
        let Some(way) = response_way(flow, via).map(|way| back_to_sender(way, flow)) else {
            self.counters.dropped_no_stream += 1;
            return;
        };
        let to = request.head.first(HeaderName::To).and_then(|value| wire::NameAddr::parse(value).ok());
        let key = self.keys.key_of_refused(flow, via);
        let arrived = Arrived {
            head: &request.head,
            flow,
            via,
            to_tag: to.filter(|to| to.tag.is_none()).map(|_| Identity::to_tag(key)),
            supported: &self.settings.supported,
        };
        let extra = match refusal.status {
            405 => Extra::ALLOW,
            415 => Extra::ACCEPT,
            420 => Extra::UNSUPPORTED,
            _ => Extra::NONE,
        };
        let answer = Answer { reason: Some(refusal.reason), extra, ..Answer::new(refusal.status) };
        self.counters.refused += 1;
        let mut text = std::mem::take(&mut self.scratch);
        let kept = answer::keep(&answer, &mut text);
        let sent = way.send(out, self.settings.max_unsent, |to| answer::print(&kept, arrived, &self.phrases, to));
        self.on_sent(way, sent, out);
        self.give_scratch(text);
    }

    /// Sends the final answer to a request that came out. Later ones are ignored.
    ///
    /// A status that may not be sent is replaced: 408 by 504 (RFC 4320 4.2), provisionals and what is no status by 500.
    pub fn respond(&mut self, now: Instant, transaction: ServerKey, answer: &Answer<'_>, out: &mut Output) {
        let mut answer = *answer;
        debug_assert!((200..700).contains(&answer.status) && answer.status != 408, "{}", answer.status);
        match answer.status {
            408 => answer.status = 504,
            200..700 => {}
            _ => answer.status = 500,
        }
        let mut text = std::mem::take(&mut self.scratch);
        let kept = answer::keep(&answer, &mut text);
        self.on_answer(now, transaction, kept, out);
        self.give_scratch(text);
    }

    /// Passes on the final response to a request that [`forward`](Self::forward) sent (16.7): its status line, its header
    /// fields but the Vias, and its body stay as they are.
    pub fn respond_forwarded(
        &mut self,
        now: Instant,
        transaction: ServerKey,
        response: &Response<'_>,
        out: &mut Output,
    ) {
        debug_assert!((200..700).contains(&response.status));
        let mut text = std::mem::take(&mut self.scratch);
        let kept = answer::keep_forwarded(response, &mut text);
        self.on_answer(now, transaction, kept, out);
        self.give_scratch(text);
    }

    /// Answers a request without state (8.2.7), once it is answered: nothing is kept of it, and its answer is not repeated by
    /// itself. Its retransmission comes out as a new request, and has to lead to the same answer. For requests from strangers,
    /// which must not fill the tables, or have us write to others: the answer goes back to where the request came from by
    /// `flow`, whatever `maddr` says (18.2.2).
    pub fn make_stateless(&mut self, transaction: ServerKey, flow: &Flow) {
        self.open.keep_nothing(transaction, flow);
    }

    /// Forgets a request that came out, without an answer: for a proxy all whose branches have timed out, which must not say
    /// so (RFC 4320 4.2).
    pub fn abandon(&mut self, transaction: ServerKey) {
        if let Some(row) = self.open.remove(transaction) {
            self.counters.abandoned += 1;
            self.open.pool.give(row.memo.bytes);
        }
    }

    fn on_answer(&mut self, now: Instant, transaction: ServerKey, kept: Kept<'_>, out: &mut Output) {
        let now = self.clock(now);
        let Some(row) = self.open.remove(transaction) else {
            self.counters.dropped_late_answer += 1;
            return;
        };
        let sent = row.way.send(out, self.settings.max_unsent, |to| answer::print(&kept, &row.memo, &self.phrases, to));
        self.counters.answers_out += 1;
        match sent {
            Err(Blocked::Gone) => self.on_homeless(&row.memo, &kept),
            sent => self.on_sent(row.way, sent, out),
        }
        let mut memo = row.memo;
        if row.invite && kept.status >= 300 {
            let limit = self.settings.max_refused;
            match self.refused.insert(now, limit, row.identity, row.way, memo, &kept) {
                Ok(()) => return,
                Err(back) => memo = back,
            }
        }
        if row.repeats {
            self.finish(now, row.identity, kept, out);
        }
        self.open.pool.give(memo.bytes);
    }

    fn on_response<'a>(&mut self, response: Response<'a>) -> Event<'a> {
        let Some(essentials) = response.essentials() else {
            self.counters.dropped_malformed_response += 1;
            return Event::None;
        };
        let over_tcp = essentials.via.transport.eq_ignore_ascii_case(b"TCP");
        let sent_by = if over_tcp { &self.sent_by_tcp } else { &self.sent_by };
        if !sent_by.is_in(&essentials.via) {
            self.counters.dropped_foreign_response += 1;
            return Event::None;
        }
        let found = essentials.via.branch.and_then(read_branch).and_then(|branch| self.clients.find(branch));
        let Some((key, row)) = found.and_then(|key| self.clients.row(key).map(|row| (key, row))) else {
            self.counters.dropped_stray_response += 1;
            return Event::None;
        };
        if essentials.cseq.method.as_bytes() != row.method() {
            self.counters.dropped_stray_response += 1;
            return Event::None;
        }
        // 8.1.3.3 for what we asked ourselves; 16.7 for what we passed on, which has Vias below ours.
        if (essentials.via.more_in_line || response.head.all(HeaderName::Via).nth(1).is_some()) != row.is_forwarded() {
            self.counters.dropped_vias += 1;
            return Event::None;
        }
        if response.status < 200 {
            self.counters.provisionals_in += 1;
            self.clients.on_provisional(key);
            return Event::None;
        }
        self.counters.responses_in += 1;
        match self.clients.end(key) {
            Some(token) => Event::Ended { token, outcome: Outcome::Final(response) },
            None => Event::None,
        }
    }

    /// The network reported that datagrams to `peer` do not arrive (17.1.4, 17.2.4, 18.4): ends the client transactions with
    /// it, and the repetition of refusals.
    pub fn handle_unreachable(&mut self, socket: SocketId, peer: SocketAddr) {
        self.on_failed(Way::Datagram { socket, peer });
    }

    /// A stream is gone: ends the client transactions on it. Open server transactions on it stay until they are answered.
    pub fn handle_closed(&mut self, stream: StreamId) {
        self.on_failed(Way::Stream(stream));
    }

    fn on_failed(&mut self, way: Way) {
        self.refused.on_failed(way);
        while let Some(token) = self.clients.end_oldest(way) {
            self.counters.transport_failed += 1;
            self.ended.push_back(Ended { token, outcome: Outcome::TransportFailed });
        }
    }

    /// Does what is due. Called until it returns `None`.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Output) -> Option<Ended> {
        let now = self.clock(now);
        self.finished.expire(now);
        while let Some(row) = self.open.pop_trying(now) {
            self.counters.trying_out += 1;
            let (way, delay, phrases) = (row.way, self.timers.trying(), &self.phrases);
            let sent = way.send(out, self.settings.max_unsent, |to| {
                answer::print_trying(&row.memo, delay, phrases, to);
            });
            self.on_sent(way, sent, out);
        }
        self.repeat_refusals(now, out);
        if let Some(ended) = self.ended.pop_front() {
            return Some(ended);
        }
        while let Some(due) = self.clients.pop_due(now) {
            match due {
                Due::Resend(key) => {
                    if let Some((way, request)) = self.clients.request(key) {
                        self.counters.retransmissions_out += 1;
                        let sent = way.send(out, self.settings.max_unsent, |to| to.extend_from_slice(request));
                        self.on_sent(way, sent, out);
                    }
                }
                Due::TimedOut { token, heard } => {
                    self.counters.timed_out += 1;
                    return Some(Ended { token, outcome: Outcome::TimedOut { heard } });
                }
            }
        }
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, and for what.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let ended = (!self.ended.is_empty()).then_some(self.clock).flatten();
        let homeless = (!self.homeless.is_empty()).then_some(self.clock).flatten();
        [
            ended.map(|at| (at, "a failed request")),
            homeless.map(|at| (at, "an answer without a connection")),
            self.open.next_trying().map(|at| (at, "100 Trying")),
            self.refused.next_due().map(|at| (at, "Timer G, H or I")),
            self.clients.next_due().map(|at| (at, "Timer E or F")),
            self.finished.next_expiry().map(|at| (at + EXPIRY_SLACK, "Timer J")),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|&(at, _)| at)
    }

    /// Time as the endpoint sees it: it does not go back.
    fn clock(&mut self, now: Instant) -> Instant {
        let now = self.clock.map_or(now, |before| before.max(now));
        self.clock = Some(now);
        now
    }

    fn on_sent(&mut self, way: Way, sent: Result<(), Blocked>, out: &mut Output) {
        match sent {
            Ok(()) => {}
            Err(Blocked::Gone) => self.counters.dropped_no_stream += 1,
            Err(Blocked::Full) => {
                self.counters.dropped_slow_stream += 1;
                if let Way::Stream(stream) = way {
                    out.close(stream);
                }
            }
        }
    }

    fn give_scratch(&mut self, mut text: Vec<u8>) {
        text.clear();
        text.shrink_to(4096);
        self.scratch = text;
    }
}
