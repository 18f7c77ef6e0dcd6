//! XMPP to CPIM and back: component streams on one side, operations on the other.
//!
//! [`translate`] holds what can be said without state. The state: for each message written to XMPP a copy until its
//! fate is known (a bounce, a receipt, the `barrier`, the end of the stream, the end of the answer window), and for each
//! message that came from XMPP the addresses for its response. What stanzas of people lead to is in `incoming`, what is
//! written for operations in `outgoing`.

#![forbid(unsafe_code)]

mod barrier;
mod copies;
mod incoming;
mod outgoing;
mod people;
mod received;
mod services;
mod told;
pub mod translate;

use barrier::Barrier;
use copies::Copies;
use cpim::{
    AcceptedBy, Failure, ImUri, Incoming, OperationKey, Origin, PeerId, Presentations, Proof, Reason, Side, Status,
};
use outgoing::append;
use people::People;
use received::Received;
use services::Devices;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use told::{Overdue, Told};
use turn::{Calendar, Input, Minter, Output, Recent, StreamId, base32};
use xmpp::jid::known_domain;
use xmpp::stanza::{self, Iq, Stanza};
use xmpp::stream::component::{Component, ComponentEvent, ComponentSettings};

pub use xmpp::stream::component::DownReason;

/// Texts that are remembered so that they are not taken twice, and how long.
const REPLAYS: usize = 4096;
const REPLAYED: Duration = Duration::from_secs(3600);

/// What can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The components that we are.
    pub links: Vec<LinkSettings>,
    /// How users of the other world are shown here.
    pub presentations: Presentations,
    /// The home domain over there whose users are telephone numbers, for those who ask for the address of a number.
    pub numbers: Option<Box<str>>,
    /// Highest Max-Forwards taken from a stanza, and what one without it starts with.
    pub start_max_forwards: u8,
    /// Bytes that may wait for a stream; beyond them messages for it are refused.
    pub unsent_limit: usize,
    /// Ask for delivery receipts (XEP-0184) and let the answer wait for them within the window.
    pub ask_receipts: bool,
    /// What users of XMPP domains are known to take beside what every client shows.
    pub accepted: AcceptedBy,
    /// What users of the other world are known to take: whether XHTML-IM is worth being read, and what is said of their
    /// devices.
    pub foreign: AcceptedBy,
    /// Octets of addresses and ids that are kept of the messages under way to the other world, to answer their senders.
    pub octets_in_all: usize,
    /// Octets that a content may have once it is decoded.
    pub content_limit: usize,
}

/// One component.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// The stream.
    pub component: ComponentSettings,
    /// The neighbour it is to policy.
    pub peer: PeerId,
    /// The server that it is attached to: equal for components of one server.
    pub server: u16,
}

/// What an input led to.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it lives on the stack for one call; a box would cost an allocation")]
pub enum Event<'a> {
    /// Nothing for the core.
    None,
    /// A message operation.
    Message(Incoming<'a>),
    /// The fate of an operation that was concretised here.
    Concluded(OperationKey, Status<'a>),
    /// A bounce for which no operation waits: it may speak of a message that was answered long ago.
    Bounce(Bounce<'a>),
    /// A component stream stands.
    Up(usize),
    /// A component stream is gone, or did not come about.
    Down(usize, DownReason<'a>),
}

/// A stanza error that answers nothing we know of any more.
#[derive(Debug)]
pub struct Bounce<'a> {
    /// The id of the stanza that bounced.
    pub id: Cow<'a, str>,
    /// Who it was written for.
    pub destination: ImUri<'a>,
    /// Who wrote it.
    pub source: ImUri<'a>,
    /// Why it bounced.
    pub failure: Failure<'a>,
    /// Where the bounce came in.
    pub origin: Origin,
}

/// What was counted beside operations.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Stanzas received.
    pub stanzas: u64,
    /// Headlines dropped.
    pub headlines: u64,
    /// Texts dropped that were sent before: copies for other devices, finds of archives, repetitions with the same id.
    pub shown_again: u64,
    /// Messages without a body dropped: chat states, markers, receipts.
    pub without_body: u64,
    /// Presence stanzas, of which nothing is made but where devices are.
    pub presences: u64,
    /// Stanzas without a usable sender, or for a domain that is not ours.
    pub misaddressed: u64,
    /// Errors that answer nothing of ours.
    pub stray_errors: u64,
    /// Answers not written: the id or address that they repeat, escaped, is too long for a stanza, or too much waits for
    /// the stream already.
    pub unanswerable: u64,
    /// Failures to be told again, because the stream broke before the server had read them for sure.
    pub told_again: u64,
    /// Pings of the barrier sent.
    pub pings: u64,
    /// Characters that XML forbids, replaced in what was written.
    pub replaced_characters: u64,
    /// Times a component stream came to stand.
    pub ups: u64,
    /// Times one was lost or could not be made.
    pub downs: u64,
}

struct Link {
    component: Component,
    domain: String,
    peer: PeerId,
    server: u16,
    barrier: Barrier,
    /// What tells people what became of their messages, and could not be written; at most as many octets as may wait for the
    /// stream.
    overdue: Overdue,
    told: Told,
}

/// Turns stanzas into operations, operations into stanzas, and gives each its answer.
pub struct Connector {
    links: Vec<Link>,
    copies: Copies,
    received: Received,
    people: People,
    devices: Devices,
    /// Texts that were taken, by sender, recipient, the id that their sender gave them, and what they say.
    replays: Recent<()>,
    /// Operations whose fate became known beside what an input led to; told one by one.
    settled: VecDeque<(OperationKey, Status<'static>)>,
    minter: Minter,
    scratch: Vec<u8>,
    calendar: Calendar,
    settings: Settings,
    counters: Counters,
}

impl Connector {
    /// A connector whose streams are down; the first [`handle_timeout`](Self::handle_timeout) connects them.
    pub fn new(settings: Settings, minter: &Minter, calendar: Calendar, now: Instant) -> Self {
        let links = settings
            .links
            .iter()
            .map(|link| Link {
                domain: link.component.domain.clone(),
                component: Component::new(link.component.clone(), minter.derive(&link.component.domain), now),
                peer: link.peer,
                server: link.server,
                barrier: Barrier::default(),
                overdue: Overdue::default(),
                told: Told::default(),
            })
            .collect();
        Self {
            links,
            copies: Copies::new(minter),
            received: Received::default(),
            people: People::new(minter),
            devices: Devices::new(minter),
            replays: Recent::new(REPLAYS, REPLAYED),
            settled: VecDeque::new(),
            minter: minter.derive("xmpp connector"),
            scratch: Vec::new(),
            calendar,
            settings,
            counters: Counters::default(),
        }
    }

    /// Takes other settings for what comes from here on. A link takes another secret for its next connection; which links
    /// there are, and when the connector was made, is settled at the start: of `settings` as many links are looked at as
    /// there are, in their order.
    pub fn reconfigure(&mut self, settings: Settings) {
        let Settings {
            links,
            presentations,
            numbers,
            start_max_forwards,
            unsent_limit,
            ask_receipts,
            accepted,
            foreign,
            octets_in_all,
            content_limit,
        } = settings;
        for (link, new) in self.links.iter_mut().zip(links) {
            link.component.reconfigure(new.component.secret, new.component.limits);
            link.peer = new.peer;
        }
        self.settings.presentations = presentations;
        self.settings.numbers = numbers;
        self.settings.start_max_forwards = start_max_forwards;
        self.settings.unsent_limit = unsent_limit;
        self.settings.ask_receipts = ask_receipts;
        self.settings.accepted = accepted;
        self.settings.foreign = foreign;
        self.settings.octets_in_all = octets_in_all;
        self.settings.content_limit = content_limit;
    }

    /// Takes one fact; see [`turn::Machine`]. Gives the number of octets consumed and what it led to. While octets are
    /// consumed there may be more in the rest; conclusions that follow come from
    /// [`poll_concluded`](Self::poll_concluded).
    pub fn handle_input<'a>(&mut self, now: Instant, input: &Input<'a>, out: &mut Output) -> (usize, Event<'a>) {
        let stream = match input {
            Input::Connected { stream, .. } | Input::Received { stream, .. } | Input::Closed { stream, .. } => *stream,
            _ => return (0, Event::None),
        };
        let Some(index) = self.links.iter().position(|link| link.component.stream() == Some(stream)) else {
            // A stream that nobody knows any more: its bytes are nobody's.
            let consumed = if let Input::Received { data, .. } = input { data.len() } else { 0 };
            return (consumed, Event::None);
        };
        if let Input::Received { data, .. } = input
            && let Some(consumed) = self.pass_return(index, data)
        {
            return (consumed, Event::None);
        }
        let (consumed, event) = self.links[index].component.handle_input(now, input, out);
        let is_gone = matches!(input, Input::Closed { .. });
        (consumed, self.on_component(now, index, stream, is_gone, event, out))
    }

    fn on_component<'a>(
        &mut self,
        now: Instant,
        index: usize,
        stream: StreamId,
        is_gone: bool,
        mut event: ComponentEvent<'a>,
        out: &mut Output,
    ) -> Event<'a> {
        match &mut event {
            ComponentEvent::None => Event::None,
            ComponentEvent::Up => {
                self.counters.ups += 1;
                Event::Up(index)
            }
            ComponentEvent::Down { reason } => {
                self.counters.downs += 1;
                self.tell_again(now, index);
                self.abandon(index, stream, is_gone, out);
                Event::Down(index, reason.clone())
            }
            ComponentEvent::Stanza(stanza) => {
                self.counters.stanzas += 1;
                match stanza {
                    Stanza::Message(message) => self.on_message(now, index, message, out),
                    Stanza::Iq(iq) => {
                        self.on_iq(now, index, iq, out);
                        Event::None
                    }
                    Stanza::Presence(presence) => {
                        self.on_presence(now, presence);
                        Event::None
                    }
                    _ => Event::None,
                }
            }
        }
    }

    /// The stream of a link is over: of what was written nothing is known, unless it is gone and what never left with it.
    /// From one that we are about to close the rest may still leave.
    fn abandon(&mut self, index: usize, stream: StreamId, is_gone: bool, out: &Output) {
        let sent = out.total_sent(stream);
        for operation in self.links[index].barrier.abandon() {
            if let Some(copy) = self.copies.get(operation) {
                let reason = if is_gone && copy.end > sent { Reason::LinkDown } else { Reason::DeliveryUnknown };
                self.settled.push_back((operation, reason.into_status()));
                self.copies.forget(operation);
            }
        }
    }

    fn origin(&self, index: usize) -> Origin {
        Origin { side: Side::Xmpp, peer: self.links[index].peer, proof: Proof::ComponentSecret }
    }

    /// The link in whose domain an address is that came by link `index`.
    ///
    /// COMPAT: ejabberd 23.01 gives every component of one listener the stanzas of all domains of that listener, each
    /// stanza to one of them by chance (`tests/peers/components.rs`). So the components of one server take each other's.
    fn home(&self, index: usize, to: Option<&str>) -> Option<usize> {
        let bare = to?.split('/').next().unwrap_or_default();
        let domain = bare.bytes().rposition(|octet| octet == b'@').map_or(bare, |at| &bare[at + 1..]);
        let server = self.links.get(index)?.server;
        let is_home = |link: &Link| link.server == server && same_domain(domain, &link.domain);
        // Nearly always it is the one it came by.
        if self.links.get(index).is_some_and(is_home) { Some(index) } else { self.links.iter().position(is_home) }
    }

    fn on_iq(&mut self, now: Instant, index: usize, iq: &Iq<'_>, out: &mut Output) {
        if let Some(id) = iq.id.as_deref()
            && let Some(pinged) = self.is_returned(index, id, iq.from.as_deref())
        {
            if pinged == index {
                self.links[index].barrier.learn(iq.raw, id);
            }
            return;
        }
        let home =
            self.home(index, iq.to.as_deref()).filter(|_| iq.from.as_deref().is_some_and(|from| !from.is_empty()));
        let Some(home) = home else {
            self.counters.misaddressed += 1;
            return;
        };
        let limit = self.longest(index);
        let (Some(link), Some(settings)) = (self.links.get(index), self.settings.links.get(index)) else { return };
        let site = services::Site {
            presentations: &self.settings.presentations,
            numbers: self.settings.numbers.as_deref(),
            foreign: &self.settings.foreign,
            devices: &self.devices,
            domain: self.domain(home),
            component: &link.component,
            settings: &settings.component,
            now,
            uptime: self.calendar.age(now),
            date: self.calendar.date(now).map(OffsetDateTime::from),
        };
        let written = self
            .buffer(index, out)
            .is_some_and(|buffer| append(limit, buffer, |buffer| services::answer(iq, &site, buffer)));
        if !written {
            self.counters.unanswerable += 1;
        }
    }

    /// Whether an iq is a ping of a barrier that came back: the stanza itself or any reply to it, from our own domain only,
    /// because nobody else can have been asked. Gives the link of the barrier.
    fn is_returned(&mut self, index: usize, id: &str, from: Option<&str>) -> Option<usize> {
        let server = self.links.get(index)?.server;
        for (pinged, link) in self.links.iter_mut().enumerate().filter(|(_, link)| link.server == server) {
            let Some(expected) = link.barrier.in_flight() else { continue };
            if expected == id.as_bytes() && from.is_some_and(|from| same_domain(from, &link.domain)) {
                link.barrier.on_return();
                return Some(pinged);
            }
        }
        None
    }

    /// Takes a ping that comes back in the form of the one before; gives its length.
    fn pass_return(&mut self, index: usize, data: &[u8]) -> Option<usize> {
        let link = self.links.get_mut(index)?;
        let length = link.barrier.known_return(data)?;
        if !link.component.pass_over() {
            return None;
        }
        link.barrier.on_return();
        self.counters.stanzas += 1;
        Some(length)
    }

    /// The next conclusion that followed from what was handled.
    pub fn poll_concluded(&mut self) -> Option<(OperationKey, Status<'static>)> {
        if let Some(settled) = self.settled.pop_front() {
            return Some(settled);
        }
        for index in 0..self.links.len() {
            while let Some(operation) = self.links[index].barrier.pop_proven() {
                let Some(copy) = self.copies.get_mut(operation) else { continue };
                if copy.awaits_receipt {
                    copy.proven = true;
                    continue;
                }
                self.copies.forget(operation);
                return Some((operation, Status::Indeterminate));
            }
        }
        None
    }

    /// Whether the last word about a message of ours has been said; if not, the bounce with this id is it. What another device
    /// says later does not change it, and no word is told twice.
    pub fn was_concluded(&mut self, now: Instant, id: &str) -> bool {
        self.copies.was_concluded(now, id)
    }

    /// The answer window of an operation has passed: what is known of it.
    pub fn expire(&mut self, operation: OperationKey) -> Status<'static> {
        let Some(copy) = self.copies.get(operation) else { return Reason::InternalError.into_status() };
        let proven = copy.proven;
        self.copies.forget(operation);
        if proven { Status::Indeterminate } else { Reason::DeliveryUnknown.into_status() }
    }

    /// Whether an operation was written and no word came about it, neither from its recipient nor from the server.
    pub fn is_unknown(&self, operation: OperationKey) -> bool {
        self.copies.get(operation).is_some_and(|copy| !copy.proven)
    }

    /// An operation was answered before its fate is known: the barrier alone decides it from here on.
    pub fn wait_for_no_receipt(&mut self, operation: OperationKey) {
        if let Some(copy) = self.copies.get_mut(operation) {
            copy.awaits_receipt = false;
        }
    }

    /// The longest stanza that is written on a link. A server ends the stream over one that it finds too long, with
    /// everybody else's messages on it; it is sent nothing that would not be taken from it.
    fn longest(&self, index: usize) -> usize {
        self.links.get(index).map_or(0, |link| link.component.limits().stanza)
    }

    /// Where answers go. A server that sends and does not read gets none beyond twice the limit for messages: what waits
    /// for it is bounded.
    fn buffer<'o>(&self, index: usize, out: &'o mut Output) -> Option<&'o mut Vec<u8>> {
        let link = self.links.get(index)?;
        let stream = link.component.stream().filter(|_| link.component.is_up())?;
        if out.unsent_len(stream) >= 2 * self.settings.unsent_limit {
            return None;
        }
        out.stream(stream)
    }

    /// Does what is due at the end of a turn: (re)connects, ends hung streams, and lets a ping follow what was written.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Output) -> Option<(usize, DownReason<'static>)> {
        for index in 0..self.links.len() {
            let stream = self.links[index].component.stream();
            let mut hung = None;
            if self.links[index].barrier.gives_up().is_some_and(|at| at <= now) {
                hung = Some(self.links[index].component.give_up(out));
            }
            let event = match hung {
                Some(event) => event,
                None => self.links[index].component.handle_timeout(now, out),
            };
            if let ComponentEvent::Down { reason } = event {
                self.counters.downs += 1;
                if let Some(stream) = stream {
                    self.tell_again(now, index);
                    self.abandon(index, stream, false, out);
                }
                return Some((index, reason));
            }
            self.tell_overdue(index, out);
            let link = &mut self.links[index];
            link.told.settle(now, link.barrier.returned());
            let copies = &self.copies;
            if link.component.is_up()
                && link.barrier.wants_ping(|operation| copies.contains(operation))
                && let Some(buffer) = link.component.stream().and_then(|stream| out.stream(stream))
            {
                let id = base32(self.minter.mint());
                stanza::write_ping(link.domain.as_bytes(), link.domain.as_bytes(), &id, buffer);
                link.barrier.pinged(now, id);
                self.counters.pings += 1;
            }
        }
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let machines = self.links.iter().filter_map(|link| link.component.poll_timeout());
        let pings = self.links.iter().filter_map(|link| link.barrier.gives_up().map(|at| (at, "hung server")));
        machines.chain(pings).min_by_key(|(at, _)| *at)
    }

    /// Ends all streams in order.
    pub fn close(&mut self, out: &mut Output) {
        for link in &mut self.links {
            // That we stop is no news.
            let _ = link.component.stop(out);
        }
    }

    /// Whether every component stream stands.
    pub fn is_up(&self) -> bool {
        self.links.iter().all(|link| link.component.is_up())
    }

    /// Whether any component stream stands.
    pub fn is_any_up(&self) -> bool {
        self.links.iter().any(|link| link.component.is_up())
    }

    /// Whether any component stream exists, standing or not.
    pub fn is_connected(&self) -> bool {
        self.links.iter().any(|link| link.component.stream().is_some())
    }

    /// The domain of a link.
    pub fn domain(&self, index: usize) -> &str {
        self.links.get(index).map_or("", |link| &link.domain)
    }

    /// Rows that stand for messages of either direction whose fate is open.
    pub fn open(&self) -> usize {
        self.copies.len() + self.received.len()
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// Whether a text is the domain `ours`, in whatever spelling (RFC 7622 section 3.2.3).
fn same_domain(text: &str, ours: &str) -> bool {
    text == ours || text.eq_ignore_ascii_case(ours) || known_domain(text).is_ok_and(|domain| domain == ours)
}
