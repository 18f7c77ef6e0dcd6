//! SIP to CPIM and back: an [`Endpoint`](endpoint::Endpoint) on one side, operations on the other.
//!
//! [`translate`] holds what can be said without state; this file holds the state: which server transaction waits for which
//! response is the endpoint's matter, and what waits for whom towards SIP is `outgoing`'s.

#![forbid(unsafe_code)]

mod outgoing;
mod parts;
mod repeats;
mod routes;
mod spelling;
mod stack;
pub mod translate;

use cpim::{
    AcceptedBy, Admitted, DomainPattern, Failure, ImUri, Incoming, InstantInbox, MaxForwards, Message, OperationKey,
    Origin, PeerId, Presentations, Proof, Reason, Response, Side, Status, TransId,
};
use ipnet::IpNet;
use outgoing::Outgoing;
use sip::endpoint;
use sip::route_set::target_behind;
use sip::transaction::{Answer, Extra, Flow, ServerKey};
use sip::wire::{Essentials, HeaderName, Method, Request, Scheme, Uri};
use slotmap::{Key, KeyData};
use stack::Stack;
use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Instant;
use translate::address::Rules;
use translate::envelope::Context;
use turn::{Calendar, Input, Minter, Minters, Output, StreamId};

pub use repeats::Counters as RepeatCounters;
pub use routes::{
    Counters as RouteCounters, FAILURE_KEPT, LONGEST_HOLD_OFF, LONGEST_JOURNEY, MOST_NEXT_HOPS, NextHopChange,
    NextHopNews, Route, USUAL_MTU,
};
pub use sip::auth::Key as Account;
pub use sip::endpoint::{Counters as EndpointCounters, Restored};
pub use sip::transport::Counters as ConnectionCounters;
pub use translate::address::{NumberForm, Numbers};

/// Most answers whose connection is gone that are sent over another one in one turn.
const MAX_HOMELESS: usize = 1000;

/// What can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The stack below.
    pub endpoint: endpoint::Settings,
    /// How users of the other world are shown here.
    pub presentations: Presentations,
    /// The SIP domain whose users are telephone numbers.
    pub native_numbers: Option<Numbers>,
    /// The domain of the other world whose users are telephone numbers.
    pub foreign_numbers: Option<Numbers>,
    /// Networks that requests may come from, and whose they are; where they overlap, the narrowest counts.
    pub trusted: Vec<(IpNet, PeerId)>,
    /// Where requests to SIP users go.
    pub routes: Vec<Route>,
    /// What users of SIP domains are known to take beside plain text.
    pub accepted: AcceptedBy,
    /// What carries a request that is large for a datagram, where the next hop is reached over UDP.
    pub large_requests: LargeRequests,
    /// Most connections at a time, accepted and ordered ones together.
    pub connections: usize,
    /// What stands behind `@` in our Call-IDs.
    pub host: String,
    /// Accounts with which challenges are answered (RFC 3261 section 22).
    pub accounts: Vec<Account>,
    /// Which redirections are believed.
    pub redirects: Redirects,
    /// Status of the final response to what was handed on with no word to come: 202 or 200.
    pub on_acceptance: u16,
    /// Max-Forwards of a message that came without one.
    pub start_max_forwards: u8,
    /// MESSAGE transactions of ours that may be open per destination URI; RFC 3428 section 8 says one.
    pub parallel: usize,
    /// Messages that may wait for one destination.
    pub queue_per_destination: usize,
    /// Messages that may wait in all.
    pub queue_in_all: usize,
    /// Octets of the messages that are under way to SIP users, waiting or open.
    pub octets_in_all: usize,
}

/// Which redirections are believed. Whoever follows one sends a message, and those that come after it, to somebody else.
#[derive(Clone, Debug, Default)]
pub struct Redirects {
    /// Domains of SIP URIs that a 300, 301 or 302 may send a message to (RFC 3261 section 8.1.3.4). About any other the
    /// sender is told.
    pub followed: Vec<DomainPattern>,
    /// Domains of XMPP users that SIP senders may be told of with 301 and 302; about any other they get 410 and 480.
    pub told: Vec<Box<str>>,
}

impl Settings {
    fn rules(&self) -> Rules {
        Rules {
            presentations: self.presentations.clone(),
            native_numbers: self.native_numbers.clone(),
            foreign_numbers: self.foreign_numbers.clone(),
        }
    }
}

/// What carries requests larger than 1300 bytes to a next hop that is reached over UDP (RFC 3261 18.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeRequests {
    /// TCP at the same address, and UDP where that is refused.
    TcpThenUdp,
    /// TCP at the same address, or nothing.
    Tcp,
    /// UDP like all others: the network takes fragments.
    Udp,
}

/// What an input led to.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it lives on the stack for one call; a box would cost an allocation")]
pub enum Event<'a> {
    /// Nothing for the core.
    None,
    /// A message operation.
    Message(Incoming<'a>),
    /// Somebody asks what could be sent to an address (RFC 3261 section 11.2); for [`Connector::respond_options`].
    Options {
        /// Our name for the request.
        near: u64,
        /// The address; `None` asks about ourselves.
        destination: Option<ImUri<'a>>,
    },
    /// The fate of an operation that was concretised here.
    Concluded(OperationKey, Status<'a>),
}

/// Turns requests into operations, operations into requests, and gives each its answer.
pub struct Connector {
    stack: Stack,
    outgoing: Outgoing,
    rules: Rules,
    calendar: Calendar,
    /// For the threads of conversations that have no name.
    threads: Minter,
    settings: Settings,
}

/// What a request that nothing is wrong with asks for.
#[allow(clippy::large_enum_variant, reason = "as for Event")]
enum Asked<'a> {
    Message(Message<'a>),
    Options(Option<ImUri<'a>>),
}

/// What an OPTIONS is told by somebody who takes messages.
fn capabilities() -> Answer<'static> {
    Answer { extra: Extra::CAPABILITIES, ..Answer::new(200) }
}

impl Connector {
    /// A connector at rest.
    pub fn new(mut settings: Settings, minters: &Minters, calendar: Calendar) -> Self {
        narrowest_first(&mut settings.trusted);
        let endpoint = endpoint::Settings {
            accept: translate::message::ACCEPT.into(),
            accept_encoding: cpim::coding::CODINGS.into(),
            max_homeless: MAX_HOMELESS,
            ..settings.endpoint.clone()
        };
        let rules = settings.rules();
        Self {
            stack: Stack::new(&settings, endpoint, minters),
            outgoing: Outgoing::new(&settings, rules.clone(), minters, calendar),
            rules,
            calendar,
            threads: minters.lasting.derive("threads"),
            settings,
        }
    }

    /// Takes other settings for what comes from here on; requests and messages that are open keep what they have. Settled at
    /// the start and not looked at: what the endpoint says of itself, the routes, the number of connections, the host.
    pub fn reconfigure(&mut self, settings: &Settings) {
        let Settings {
            endpoint,
            presentations: _,
            accepted: _,
            native_numbers: _,
            foreign_numbers: _,
            trusted,
            large_requests,
            accounts: _,
            redirects,
            on_acceptance,
            start_max_forwards,
            parallel: _,
            queue_per_destination: _,
            queue_in_all: _,
            octets_in_all: _,
            routes: _,
            connections: _,
            host: _,
        } = settings;
        let endpoint = endpoint::Settings { max_homeless: MAX_HOMELESS, ..endpoint.clone() };
        self.stack.reconfigure(&endpoint, *large_requests);
        self.rules = settings.rules();
        self.outgoing.reconfigure(settings, self.rules.clone());
        self.settings.trusted = trusted.clone();
        narrowest_first(&mut self.settings.trusted);
        self.settings.redirects = redirects.clone();
        self.settings.on_acceptance = *on_acceptance;
        self.settings.start_max_forwards = *start_max_forwards;
    }

    /// Takes up what an earlier run has written to the log of the turns, before anything else is handed in.
    pub fn restore(&mut self, now: Instant, turn_log: &[u8]) -> Restored {
        self.stack.endpoint.restore(now, turn_log)
    }

    /// Takes one fact; see [`turn::Machine`]. Gives the number of octets consumed and what it led to: of a stream at most one
    /// message at a time.
    pub fn handle_input<'a>(&mut self, now: Instant, input: Input<'a>, out: &mut Output) -> (usize, Event<'a>) {
        let is_known = |address| find_peer(&self.settings.trusted, address).is_some();
        let (consumed, mut event) = self.stack.handle_input(now, input, is_known, out);
        let event = match &mut event {
            Some((flow, event)) => self.on_endpoint(now, *flow, event, out),
            None => Event::None,
        };
        (consumed, event)
    }

    /// Whether a stream is a connection of ours.
    pub fn has_stream(&self, stream: StreamId) -> bool {
        self.stack.connections.contains(stream)
    }

    /// Whether any connection is open or being closed.
    pub fn is_connected(&self) -> bool {
        !self.stack.connections.is_empty()
    }

    /// The gateway is about to end: what no next hop has answered in time goes to no other one.
    pub fn drain(&mut self) {
        self.stack.routes.end();
    }

    /// Closes all connections; what is written to them in this turn still leaves.
    pub fn close(&mut self, out: &mut Output) {
        self.stack.close(out);
    }

    /// What came of a message. It is large, and so it is lent and not moved.
    fn on_endpoint<'a>(
        &mut self,
        now: Instant,
        flow: Flow,
        event: &mut endpoint::Event<'a>,
        out: &mut Output,
    ) -> Event<'a> {
        match event {
            endpoint::Event::None => Event::None,
            endpoint::Event::Request { transaction, request, essentials, hash } => {
                let (transaction, hash) = (*transaction, *hash);
                let endpoint = &self.stack.endpoint;
                let behind = |uri: Uri<'_>| target_behind(&uri, &request.head, |uri| endpoint.is_ours(uri));
                if let Some(target) = essentials.uri.and_then(behind) {
                    request.uri = target.raw;
                    essentials.uri = Some(target);
                }
                let near = transaction.data().as_ffi();
                let origin = self.origin(flow);
                // Whatever a stranger asks is refused or tells what anybody may know, so the answer is the same each time.
                if origin.proof == Proof::Nothing {
                    self.stack.endpoint.make_stateless(transaction, &flow);
                }
                match self.on_request(now, request, essentials, hash) {
                    Ok(Asked::Message(message)) => Event::Message(Incoming { origin, near, message }),
                    Ok(Asked::Options(destination)) => Event::Options { near, destination },
                    Err(answer) => {
                        self.stack.endpoint.respond(now, transaction, &answer, out);
                        Event::None
                    }
                }
            }
            endpoint::Event::Ended { token, outcome } => {
                match self.outgoing.ended(now, *token, outcome, &mut self.stack, out) {
                    Some((operation, status)) => Event::Concluded(operation, status),
                    None => Event::None,
                }
            }
        }
    }

    /// The checks of RFC 3261 section 8.2 that follow syntax: method, header fields, content. `Err` is the final answer.
    fn on_request<'a>(
        &self,
        now: Instant,
        request: &Request<'a>,
        essentials: &Essentials<'a>,
        hash: u128,
    ) -> Result<Asked<'a>, Answer<'static>> {
        use Method::{Bye, Info, Invite, Notify, Options, Prack, Refer, Subscribe, Update};
        match request.method {
            Method::Other(_) => return Err(Answer { extra: Extra::ALLOW, ..Answer::new(501) }),
            // What continues a dialog continues none of ours (RFC 3261 section 12.2.2). That says more than 405 would.
            Method::Message | Options | Invite | Bye | Info | Notify | Prack | Refer | Subscribe | Update
                if essentials.to.tag.is_some() =>
            {
                return Err(Answer::new(481));
            }
            Method::Message | Options => {}
            // We ask for no notifications (RFC 6665 section 4.1.3).
            Notify => return Err(Answer::new(489)),
            _ => return Err(Answer { extra: Extra::ALLOW, ..Answer::new(405) }),
        }
        // We support no extension, so whatever is required is what we do not support (RFC 3261 section 8.2.2.3).
        if request.head.all(HeaderName::Require).any(|value| !value.trim_ascii().is_empty()) {
            return Err(Answer { extra: Extra::UNSUPPORTED, ..Answer::new(420) });
        }
        if request.method == Options {
            // Whoever names no user asks about us, and where the hops are used up we answer for whom it was meant (section 11).
            let unnamed = |uri: Uri<'_>| uri.user.is_none() && !matches!(uri.scheme, Scheme::Other(_));
            let about_us = essentials.uri.is_some_and(unnamed) || essentials.max_forwards == Some(0);
            return match about_us {
                true => Ok(Asked::Options(None)),
                false => translate::message::destination(essentials, &self.rules).map(|to| Asked::Options(Some(to))),
            };
        }
        let context = Context {
            rules: &self.rules,
            host: &self.settings.host,
            minter: &self.threads,
            calendar: &self.calendar,
            now,
        };
        let abstracted = translate::message::to_cpim(request, essentials, context)?;
        Ok(Asked::Message(Message {
            source: InstantInbox(abstracted.source),
            destination: InstantInbox(abstracted.destination),
            max_forwards: MaxForwards(essentials.max_forwards.unwrap_or(self.settings.start_max_forwards)),
            trans_id: TransId::from_bits(hash),
            wire_id: Cow::Borrowed(essentials.call_id),
            envelope: abstracted.envelope,
            content: abstracted.content,
        }))
    }

    /// Who is behind a flow, by its source network.
    fn origin(&self, flow: Flow) -> Origin {
        match find_peer(&self.settings.trusted, flow.peer.ip()) {
            Some(peer) => Origin { side: Side::Sip, peer, proof: Proof::SourceNetwork },
            None => Origin { side: Side::Sip, peer: PeerId(0), proof: Proof::Nothing },
        }
    }

    /// Notes how a SIP user whom the relay has admitted spells himself, for what is sent to him.
    pub fn note_sender(&mut self, sender: &ImUri<'_>) {
        self.outgoing.spellings.note(sender);
    }

    /// Sends an admitted message as MESSAGE, or lets it wait for the one before it to the same destination. `Err` means
    /// that nothing was and will be sent.
    pub fn concretise(
        &mut self,
        now: Instant,
        admitted: &Admitted<'_>,
        out: &mut Output,
    ) -> Result<(), Failure<'static>> {
        self.outgoing.send(now, admitted, &mut self.stack, out)
    }

    /// Answers the request that `near` names with the response of its operation.
    pub fn respond(&mut self, now: Instant, near: u64, response: &Response<'_>, out: &mut Output) {
        let transaction = ServerKey::from(KeyData::from_ffi(near));
        let mut lines = Vec::new();
        let answer = match &response.status {
            Status::Failure(failure) => {
                translate::status::redirection(failure, &self.settings.redirects.told, &self.rules, &mut lines)
            }
            _ => None,
        };
        let usual = || translate::status::from_cpim(&response.status, self.settings.on_acceptance);
        let answer = answer.unwrap_or_else(usual);
        self.stack.endpoint.respond(now, transaction, &answer, out);
    }

    /// Answers the OPTIONS that `near` names: what we take, if a message to its address would be taken (RFC 3261 section 11.2).
    pub fn respond_options(&mut self, now: Instant, near: u64, resolved: Result<(), Reason>, out: &mut Output) {
        let transaction = ServerKey::from(KeyData::from_ffi(near));
        let refused = resolved.err().map(Reason::into_status);
        let answer = match &refused {
            None => capabilities(),
            Some(status) => translate::status::from_cpim(status, self.settings.on_acceptance),
        };
        self.stack.endpoint.respond(now, transaction, &answer, out);
    }

    /// The next operation that failed behind the one that was just concluded.
    pub fn poll_failed(&mut self) -> Option<(OperationKey, Status<'static>)> {
        self.outgoing.poll_failed()
    }

    /// Does what is due and gives the next conclusion that it led to; called until `None`.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Output) -> Option<(OperationKey, Status<'static>)> {
        loop {
            if let Some(failed) = self.poll_failed() {
                return Some(failed);
            }
            let ended = self.stack.handle_timeout(now, out)?;
            let outcome = ended.outcome;
            if let Some((operation, status)) = self.outgoing.ended(now, ended.token, &outcome, &mut self.stack, out) {
                return Some((operation, into_owned(status)));
            }
        }
    }

    /// Whether an operation that has just been concluded as failed may have arrived all the same: a next hop before the last
    /// one has said nothing about it. Asked once, of those that are [held](cpim::Admitted::held).
    pub fn take_unsure(&mut self, operation: OperationKey) -> bool {
        self.outgoing.take_unsure(operation)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.stack.poll_timeout()
    }

    /// Rows that stand for open requests of either direction and for messages that wait.
    pub fn open(&self) -> usize {
        let endpoint = &self.stack.endpoint;
        endpoint.ongoing() + endpoint.refused() + endpoint.clients() + self.outgoing.waiting()
    }

    /// The endpoint's counters.
    pub fn counters(&self) -> &endpoint::Counters {
        self.stack.endpoint.counters()
    }

    /// The counters of what was sent again.
    pub fn repeats(&self) -> &RepeatCounters {
        self.outgoing.repeats()
    }

    /// The counters of the routes.
    pub fn routes(&self) -> &RouteCounters {
        self.stack.routes.counters()
    }

    /// The next change of a next hop; to be asked for after inputs and timeouts, until `None`.
    pub fn poll_next_hop(&mut self) -> Option<NextHopNews> {
        self.stack.routes.poll_news()
    }

    /// Next hops that did not do their part when they were last asked.
    pub fn failing_next_hops(&self) -> usize {
        self.stack.routes.failing()
    }

    /// The counters of the connections.
    pub fn connections(&self) -> &ConnectionCounters {
        self.stack.connections.counters()
    }
}

/// Whose an address is, by the networks in the order of [`narrowest_first`].
fn find_peer(trusted: &[(IpNet, PeerId)], address: IpAddr) -> Option<PeerId> {
    let address = address.to_canonical();
    trusted.iter().find(|(network, _)| network.contains(&address)).map(|&(_, peer)| peer)
}

/// The narrowest network that holds an address says whose it is.
fn narrowest_first(trusted: &mut [(IpNet, PeerId)]) {
    trusted.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
}

fn into_owned(status: Status<'_>) -> Status<'static> {
    match status {
        Status::Success => Status::Success,
        Status::Indeterminate => Status::Indeterminate,
        Status::Failure(failure) => Status::Failure(failure.into_owned()),
    }
}
