//! A SIP domain in memory: registrar and proxy for its users (RFC 3261 sections 10 and 16), over UDP and TCP.
//!
//! Users register with a password (digest, RFC 8760) and may send requests to each other and, through one configured next
//! hop, to every other domain. From outside only that next hop may send to them. All requests but INVITE and its kin are
//! passed on, to all bindings of a user at once; MESSAGE and OPTIONS are what it is made for.
//!
//! Everything is lost with the process, everything is bounded, and no address is treated in a special way. There is no DNS:
//! a Contact that names a host is reached where its REGISTER came from.

mod realm;
mod streams;
#[cfg(test)]
mod tests;

pub use realm::UserError;
pub use sip::auth::Algorithm;

use realm::{Proof, Realm};
use sip::auth::Role;
use sip::endpoint::{self, Counters, Ended, Endpoint, Event, Forwarding, Outcome};
use sip::proxy::{self, Destination, Domain, Fork, Verdict};
use sip::registrar::{AddressOfRecord, Binding, Registrar};
use sip::transaction::{Answer, Extra, Flow, ServerKey, Transport};
use sip::wire::framing::Framed;
use sip::wire::{Essentials, Head, HeaderName, Method, Refusal, Request, Scheme, Uri};
use slotmap::{Key, KeyData, SlotMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;
use streams::Streams;
use turn::{Input, Machine, Minter, Minters, Output, SocketId, StreamId};

/// What the domain is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub domain: String,
    /// Host and port of the proxy, for its Via.
    pub sent_by: String,
    /// Sockets for datagrams. The first one serves what has no other.
    pub datagrams: Vec<SocketId>,
    /// Listeners for streams.
    pub listeners: Vec<SocketId>,
    /// Who takes requests to all other domains, over UDP, and may send requests of theirs.
    pub next_hop: Option<SocketAddr>,
    /// Digest algorithms on offer, the most preferred first.
    pub algorithms: Vec<Algorithm>,
    /// How the User-Agent of a client begins that takes a challenge with any other algorithm than MD5 for no challenge at
    /// all: it is challenged with MD5 only, if that is on offer.
    ///
    /// COMPAT: baresip 1.0.0 gives up on the first challenge with another algorithm, wherever it stands (test:
    /// `a_client_that_knows_md5_only_is_asked_for_nothing_else`).
    pub md5_only: Vec<String>,
    /// What a REGISTER may ask for.
    pub registrar: sip::registrar::Settings,
    /// Limits of messages and transactions, timers. `sent_by` above goes before the one in it.
    pub endpoint: endpoint::Settings,
    /// Most streams at a time; more are closed at once.
    pub streams: usize,
}

impl Settings {
    /// A domain without listeners and next hop.
    pub fn new(domain: &str, sent_by: &str) -> Self {
        let mut endpoint = endpoint::Settings::new(sent_by);
        // The methods that are answered here; others go to whom they are for.
        endpoint.allow = b"REGISTER, MESSAGE, OPTIONS, ACK, CANCEL".to_vec();
        endpoint.accept = Vec::new();
        endpoint.server_name = b"entente-sandbox".to_vec();
        endpoint.refuse_merged = false;
        Self {
            domain: domain.to_owned(),
            sent_by: sent_by.to_owned(),
            datagrams: Vec::new(),
            listeners: Vec::new(),
            next_hop: None,
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            md5_only: Vec::new(),
            registrar: sip::registrar::Settings::default(),
            endpoint,
            streams: 1000,
        }
    }
}

slotmap::new_key_type! {
    /// A request that was passed on.
    struct ForkKey;
}

/// A request that was passed on, and what became of it.
struct Passed {
    transaction: ServerKey,
    fork: Fork,
}

/// A SIP domain, as a machine.
pub struct SipDomain {
    settings: Settings,
    realm: Realm,
    endpoint: Endpoint,
    registrar: Registrar,
    passed: SlotMap<ForkKey, Passed>,
    streams: Streams,
    minter: Minter,
    output: Output,
    /// The moment of the start, and its place on the calendar in seconds since 1970.
    started: (Instant, u64),
    now: Instant,
    draining: bool,
}

/// A request that came out of the endpoint.
struct Asked<'r, 'a> {
    transaction: ServerKey,
    flow: Flow,
    request: &'r Request<'a>,
    essentials: &'r Essentials<'a>,
}

impl SipDomain {
    /// An empty domain. `started` is the moment of the start and its place on the calendar, in seconds since 1970.
    pub fn new(settings: Settings, minter: Minter, started: (Instant, u64)) -> Self {
        let mut endpoint = settings.endpoint.clone();
        endpoint.sent_by = settings.sent_by.clone().into_bytes();
        Self {
            realm: Realm::new(
                &settings.domain,
                &settings.sent_by,
                settings.algorithms.clone(),
                &minter.derive("realm"),
            ),
            endpoint: Endpoint::new(endpoint, Minters::of_one_run(minter.derive("endpoint"))),
            registrar: Registrar::new(settings.registrar),
            passed: SlotMap::with_key(),
            streams: Streams::default(),
            minter,
            output: Output::new(),
            started,
            now: started.0,
            draining: false,
            settings,
        }
    }

    /// Adds a user.
    pub fn add_user(&mut self, name: &str, password: &str) -> Result<(), UserError> {
        self.realm.add(name, password)
    }

    /// Whether a user can be reached.
    pub fn is_registered(&mut self, user: &str) -> bool {
        let now = self.now;
        self.realm.address(user.as_bytes()).is_some_and(|address| !self.registrar.bindings(now, &address).is_empty())
    }

    /// What the endpoint has counted.
    pub fn counters(&self) -> &Counters {
        self.endpoint.counters()
    }

    /// Ends all streams, and refuses new requests with 503.
    pub fn drain(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.draining = true;
        for stream in self.streams.all() {
            self.output.close(stream);
        }
    }

    /// Whether nothing waits for an answer and no stream is open.
    pub fn is_quiet(&self) -> bool {
        self.endpoint.ongoing() == 0 && self.endpoint.clients() == 0 && self.streams.len() == 0
    }

    fn seconds(&self) -> u64 {
        self.started.1.saturating_add(self.now.saturating_duration_since(self.started.0).as_secs())
    }

    fn on_message(&mut self, flow: Flow, bytes: &[u8]) {
        match self.endpoint.handle_message(self.now, flow, bytes, &mut self.output) {
            Event::None => {}
            Event::Request { transaction, request, essentials, .. } => {
                self.on_request(&Asked { transaction, flow, request: &request, essentials: &essentials });
            }
            Event::Ended { token, outcome } => self.on_ended(token, outcome),
        }
    }

    fn on_request(&mut self, asked: &Asked<'_, '_>) {
        if self.draining {
            return self.respond(asked, &Answer { retry_after: Some(30), ..Answer::new(503) });
        }
        let decided = match asked.request.method {
            Method::Register => self.on_register(asked),
            _ => self.on_other(asked),
        };
        if let Err(refusal) = decided {
            let extra = match refusal.status {
                405 => Extra::ALLOW,
                420 => Extra::UNSUPPORTED,
                _ => Extra::NONE,
            };
            self.respond(asked, &Answer { reason: Some(refusal.reason), extra, ..Answer::new(refusal.status) });
        }
    }

    /// RFC 3261 10.3.
    fn on_register(&mut self, asked: &Asked<'_, '_>) -> Result<(), Refusal> {
        if asked.essentials.uri.is_some_and(|uri| matches!(uri.scheme, Scheme::Other(_))) {
            return Err(refusal(416, "Unsupported URI Scheme"));
        }
        if !asked.essentials.uri.is_some_and(|uri| self.realm.serves(&uri)) {
            return Err(refusal(403, "No Registrar For That Domain"));
        }
        if asked.request.head.list(HeaderName::Require).next().is_some() {
            return Err(refusal(420, "Bad Extension"));
        }
        let Some(user) = self.authenticated(asked, Role::Server)? else { return Ok(()) };
        let address = AddressOfRecord::of(&asked.essentials.to.uri).filter(|address| self.realm.knows(address));
        let Some(address) = address else { return Err(refusal(404, "Not Found")) };
        if address.user() != user {
            return Err(refusal(403, "Not Your Address"));
        }
        let mut contacts = Vec::new();
        let done =
            self.registrar.register(self.now, &address, asked.request, asked.essentials, asked.flow, &mut contacts);
        match done {
            Ok(()) => self.respond(asked, &Answer { more: &contacts, ..Answer::new(200) }),
            Err(rejection) => {
                let mut more = Vec::new();
                if let Some(min_expires) = rejection.min_expires {
                    sip::wire::print::number_header(HeaderName::MinExpires, min_expires.into(), &mut more);
                }
                let Refusal { status, reason } = rejection.refusal;
                self.respond(asked, &Answer { reason: Some(reason), more: &more, ..Answer::new(status) });
            }
        }
        Ok(())
    }

    /// RFC 3261 16.3 to 16.6.
    fn on_other(&mut self, asked: &Asked<'_, '_>) -> Result<(), Refusal> {
        let Asked { request, essentials, .. } = asked;
        if matches!(request.method, Method::Invite | Method::Bye | Method::Prack | Method::Update) {
            return Err(refusal(405, "Method Not Allowed"));
        }
        if let Err(refused) = proxy::admit(request, essentials) {
            if refused.status != 420 {
                return Err(refused);
            }
            let mut more = Vec::new();
            proxy::write_unsupported(&request.head, &mut more);
            self.respond(asked, &Answer { more: &more, ..Answer::new(420) });
            return Ok(());
        }
        let destination = proxy::resolve(request, essentials, &self.realm);
        if destination == Ok(Destination::Ourselves) {
            if request.method != Method::Options {
                return Err(refusal(404, "Not Found"));
            }
            if request.head.list(HeaderName::Require).next().is_some() {
                return Err(refusal(420, "Bad Extension"));
            }
            self.respond(asked, &Answer { extra: Extra::CAPABILITIES, ..Answer::new(200) });
            return Ok(());
        }
        if self.realm.is_ours(&essentials.from.uri) {
            let Some(user) = self.authenticated(asked, Role::Proxy)? else { return Ok(()) };
            let from = AddressOfRecord::of(&essentials.from.uri);
            if from.is_none() || from != self.realm.address(&user) {
                return Err(refusal(403, "Not Your Address"));
            }
        } else if !self.is_next_hop(&asked.flow) || destination == Ok(Destination::Elsewhere) {
            return Err(refusal(403, "Relaying Denied"));
        }
        match destination? {
            Destination::Elsewhere => {
                let (Some(peer), Some(socket)) = (self.settings.next_hop, self.settings.datagrams.first().copied())
                else {
                    return Err(refusal(404, "No Way To That Domain"));
                };
                let target = Flow { transport: Transport::Udp, socket, peer, stream: None };
                self.pass_on(asked, vec![(target, request.uri.to_vec())]);
            }
            Destination::User(address) => {
                let spare = self.settings.datagrams.first().copied();
                let bindings = self.registrar.bindings(self.now, &address);
                let targets: Vec<_> =
                    bindings.into_iter().filter_map(|to| Some((target(to, spare)?, to.uri.clone()))).collect();
                if targets.is_empty() {
                    return Err(refusal(480, "Temporarily Unavailable"));
                }
                self.pass_on(asked, targets);
            }
            Destination::Ourselves => {}
        }
        Ok(())
    }

    /// Who sent a request; `None` when he was asked to say so, and has his answer.
    fn authenticated(&mut self, asked: &Asked<'_, '_>, role: Role) -> Result<Option<Vec<u8>>, Refusal> {
        let now = self.seconds();
        match self.realm.verify(role, now, asked.request.method, &asked.request.head) {
            Proof::User(user) => Ok(Some(user)),
            Proof::Malformed => Err(refusal(400, "Bad Request: Malformed Credentials")),
            Proof::Missing { stale } => {
                let mut more = Vec::new();
                let salt = self.minter.mint();
                let md5_only = self.knows_md5_only(&asked.request.head);
                let wanted = |algorithm| !md5_only || algorithm == Algorithm::Md5;
                self.realm.challenge(wanted, role, now, salt, stale, &mut more);
                self.respond(asked, &Answer { more: &more, ..Answer::new(role.status()) });
                Ok(None)
            }
        }
    }

    fn knows_md5_only(&self, head: &Head<'_>) -> bool {
        let agent = head.first(HeaderName::UserAgent).unwrap_or_default();
        self.settings.algorithms.contains(&Algorithm::Md5)
            && self.settings.md5_only.iter().any(|start| agent.starts_with(start.as_bytes()))
    }

    /// Whether a message came from the next hop. A stream has a port of its own at the other end.
    fn is_next_hop(&self, flow: &Flow) -> bool {
        self.settings.next_hop.is_some_and(|next_hop| match flow.transport {
            Transport::Udp => flow.peer == next_hop,
            Transport::Tcp => flow.peer.ip() == next_hop.ip(),
        })
    }

    /// Sends copies of a request to all targets (16.6).
    fn pass_on(&mut self, asked: &Asked<'_, '_>, targets: Vec<(Flow, Vec<u8>)>) {
        let routes_done = proxy::routes_done(&asked.request.head, &self.realm);
        let key = self.passed.insert(Passed { transaction: asked.transaction, fork: Fork::default() });
        let mut sent = 0usize;
        for (target, uri) in targets {
            let forwarding = Forwarding {
                request: asked.request,
                uri: &uri,
                max_forwards: proxy::next_max_forwards(asked.essentials),
                routes_done,
                without: &[HeaderName::ProxyAuthorization],
            };
            let token = key.data().as_ffi();
            let done = self.endpoint.forward(self.now, target, asked.transaction, &forwarding, token, &mut self.output);
            if done.is_ok()
                && let Some(passed) = self.passed.get_mut(key)
            {
                passed.fork.add();
                sent += 1;
            }
        }
        if sent == 0 {
            self.passed.remove(key);
            self.respond(asked, &Answer::new(480));
        }
    }

    /// A copy of a request has its end (16.7).
    fn on_ended(&mut self, token: u64, outcome: Outcome<'_>) {
        let key = ForkKey::from(KeyData::from_ffi(token));
        let Some(passed) = self.passed.get_mut(key) else { return };
        let transaction = passed.transaction;
        let verdict = match &outcome {
            Outcome::Final(response) => passed.fork.on_final(response),
            Outcome::TimedOut { .. } => passed.fork.on_failed(true),
            Outcome::TransportFailed => passed.fork.on_failed(false),
        };
        match (verdict, &outcome) {
            (Verdict::Forward, Outcome::Final(response)) => {
                self.endpoint.respond_forwarded(self.now, transaction, response, &mut self.output);
            }
            (Verdict::Best, _) => match passed.fork.best(&self.settings.endpoint.limits) {
                Ok(response) => self.endpoint.respond_forwarded(self.now, transaction, &response, &mut self.output),
                Err(status) => {
                    self.endpoint.respond(self.now, transaction, &Answer::new(status), &mut self.output);
                }
            },
            (Verdict::Silence, _) => self.endpoint.abandon(transaction),
            (Verdict::Wait | Verdict::Forward, _) => {}
        }
        if passed.fork.pending() == 0 {
            self.passed.remove(key);
        }
    }

    fn respond(&mut self, asked: &Asked<'_, '_>, answer: &Answer<'_>) {
        self.endpoint.respond(self.now, asked.transaction, answer, &mut self.output);
    }

    fn on_received(&mut self, stream: StreamId, data: &[u8]) -> usize {
        let mut consumed = 0;
        loop {
            let Some(peer) = self.streams.heard(self.now, stream) else { return data.len() };
            if peer.ending {
                return data.len();
            }
            let flow = peer.flow;
            match peer.framer.scan(data.get(consumed..).unwrap_or_default()) {
                Framed::Incomplete => return consumed,
                Framed::KeepAlive { consumed: line_ends, ping } => {
                    consumed += line_ends;
                    // RFC 5626 5.4.
                    if ping && let Some(out) = self.output.stream(stream) {
                        out.extend_from_slice(b"\r\n");
                    }
                }
                Framed::Message { bytes, consumed: length } => {
                    consumed += length;
                    self.on_message(flow, bytes);
                }
                Framed::Broken(broken) => {
                    peer.ending = true;
                    if !broken.bytes.is_empty() {
                        self.on_message(flow, broken.bytes);
                    }
                    self.output.close(stream);
                    return data.len();
                }
            }
        }
    }

    fn on_accepted(&mut self, stream: StreamId, listener: SocketId, peer: SocketAddr) {
        if self.draining || self.streams.len() >= self.settings.streams || !self.settings.listeners.contains(&listener)
        {
            self.output.close(stream);
        } else {
            self.streams.accept(self.now, stream, listener, peer, &self.settings.endpoint.limits);
        }
    }

    /// Takes what ended outside of a message.
    fn settle(&mut self) {
        while let Some(Ended { token, outcome }) = self.endpoint.handle_timeout(self.now, &mut self.output) {
            self.on_ended(token, outcome);
        }
    }
}

/// Where a binding is reached: over the stream that registered it, else at the address its Contact names, else where its
/// REGISTER came from.
fn target(binding: &Binding, spare: Option<SocketId>) -> Option<Flow> {
    let uri = Uri::parse(&binding.uri).ok()?;
    let transport = uri.param("transport").flatten();
    let udp = transport.is_some_and(|transport| transport.eq_ignore_ascii_case(b"udp"));
    if binding.flow.transport == Transport::Tcp && !udp {
        return Some(binding.flow);
    }
    let socket = if binding.flow.transport == Transport::Udp { Some(binding.flow.socket) } else { spare };
    let peer = literal(&uri).or((binding.flow.transport == Transport::Udp).then_some(binding.flow.peer))?;
    Some(Flow { transport: Transport::Udp, socket: socket?, peer, stream: None })
}

/// The address that a URI spells out.
fn literal(uri: &Uri<'_>) -> Option<SocketAddr> {
    let host = std::str::from_utf8(uri.host).ok()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address: IpAddr = host.parse().ok()?;
    (!address.is_unspecified()).then(|| SocketAddr::new(address, uri.port.unwrap_or(5060)))
}

const fn refusal(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

impl Machine for SipDomain {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> usize {
        self.now = self.now.max(now);
        let mut consumed = 0;
        match input {
            Input::Datagram { socket, peer, bytes } => {
                if self.settings.datagrams.contains(&socket) {
                    self.on_message(Flow { transport: Transport::Udp, socket, peer, stream: None }, bytes);
                }
            }
            Input::Unreachable { socket, peer } => {
                self.endpoint.handle_unreachable(socket, peer);
                self.settle();
            }
            Input::Accepted { stream, listener, peer } => self.on_accepted(stream, listener, peer),
            Input::Received { stream, data } => consumed = self.on_received(stream, data),
            Input::Closed { stream, .. } => {
                self.streams.remove(stream);
                self.registrar.handle_closed(stream);
                self.endpoint.handle_closed(stream);
                self.settle();
            }
            Input::Connected { .. } | Input::Secured { .. } => {}
            // It keeps nothing.
            Input::Committed { .. } | Input::CommitFailed { .. } | Input::Loaded { .. } | Input::LoadFailed { .. } => {}
            Input::HandedOver { .. } | Input::HandOverFailed { .. } => {}
        }
        consumed
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.settle();
        self.registrar.handle_timeout(self.now);
        while let Some(stream) = self.streams.pop_idle(self.now) {
            self.output.close(stream);
        }
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        [
            self.endpoint.poll_timeout(),
            self.registrar.poll_timeout().map(|at| (at, "the end of a registration")),
            self.streams.next_idle().map(|at| (at, "an idle stream")),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|&(at, _)| at)
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
}
