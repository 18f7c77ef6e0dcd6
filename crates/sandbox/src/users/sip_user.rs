//! A user of a SIP domain: registers (RFC 3261 section 10), sends and takes MESSAGE requests (RFC 3428), over UDP.
//!
//! All its requests go to one proxy, which is also the registrar.

use super::Party;
use sip::auth::{self, Account, Challenge, Covered, Role, Secret};
use sip::endpoint::{self, Endpoint, Event, Outcome, RequestParts};
use sip::registrar::AddressOfRecord;
use sip::transaction::{Answer, Extra, Flow, ServerKey, Transport};
use sip::wire::{Essentials, HeaderName, Method, NameAddr, Request, Response, headers, print};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use turn::{Input, Minter, Minters, Output, SocketId};

/// Who registers, and where.
#[derive(Clone)]
pub struct Settings {
    /// The user part, unescaped; also the user name for digest authentication.
    pub user: String,
    /// The domain.
    pub domain: String,
    /// The password.
    pub password: String,
    /// The registrar and proxy.
    pub proxy: SocketAddr,
    /// The socket that the user sends from and listens on.
    pub socket: SocketId,
    /// Its host and port, for Contact and Via.
    pub contact: String,
    /// For how many seconds to register.
    pub expires: u32,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, domain, proxy, contact, .. } = self;
        f.debug_struct("Settings")
            .field("user", user)
            .field("domain", domain)
            .field("proxy", proxy)
            .field("contact", contact)
            .finish_non_exhaustive()
    }
}

/// What happened to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SipUserEvent {
    /// The registrar has taken the binding, the first time or again.
    Registered,
    /// It has not, or the binding is removed.
    Unregistered {
        /// Why, for people; empty when the user wanted it so.
        reason: String,
    },
    /// A message arrived and was answered with 200.
    Message {
        /// The URI of its From.
        from: String,
        /// The text.
        body: String,
    },
    /// A message of ours was answered.
    Answered {
        /// What [`SipUser::send`] gave.
        message: u64,
        /// The final status.
        status: u16,
        /// Its reason phrase.
        reason: String,
    },
    /// A message of ours could not be sent or was not answered.
    Unanswered {
        /// What [`SipUser::send`] gave.
        message: u64,
        /// Why.
        why: &'static str,
    },
}

/// A request that waits for its answer.
#[derive(Clone, Debug)]
struct Asked {
    what: What,
    call_id: Vec<u8>,
    from_tag: Vec<u8>,
    cseq: u32,
    /// It carries credentials already.
    proven: bool,
}

#[derive(Clone, Debug)]
enum What {
    Register { expires: u32 },
    Message { to: String, body: String },
}

/// A user of a SIP domain.
#[derive(Debug)]
pub struct SipUser {
    settings: Settings,
    endpoint: Endpoint,
    minter: Minter,
    /// `sip:user@domain`.
    address: Vec<u8>,
    /// `sip:user@host:port`.
    contact: Vec<u8>,
    asked: BTreeMap<u64, Asked>,
    next_token: u64,
    /// Call-ID of all registrations, and the number of the last one (10.2).
    registration: (Vec<u8>, u32),
    /// When to register, the first time or again.
    due: Option<Instant>,
    events: VecDeque<SipUserEvent>,
}

impl SipUser {
    /// A user who registers at once.
    pub fn new(settings: Settings, mut minter: Minter, now: Instant) -> Self {
        let mut endpoint = endpoint::Settings::new(settings.contact.as_bytes());
        endpoint.server_name = b"entente-sandbox-user".to_vec();
        let address = uri(&settings.user, &settings.domain);
        let contact = uri(&settings.user, &settings.contact);
        let mut call_id = Vec::new();
        call_id.extend_from_slice(&turn::base32::<26>(minter.mint()));
        Self {
            endpoint: Endpoint::new(endpoint, Minters::of_one_run(minter.derive("endpoint"))),
            address,
            contact,
            asked: BTreeMap::new(),
            next_token: 0,
            registration: (call_id, 0),
            due: Some(now),
            events: VecDeque::new(),
            settings,
            minter,
        }
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<SipUserEvent> {
        self.events.pop_front()
    }

    /// Sends a text to a SIP URI. Gives the number that its answer comes with.
    pub fn send(&mut self, now: Instant, to: &str, body: &str, out: &mut Output) -> u64 {
        let what = What::Message { to: to.to_owned(), body: body.to_owned() };
        let (call_id, from_tag) = (self.mint(), self.mint());
        self.ask(now, Asked { what, call_id, from_tag, cseq: 1, proven: false }, b"", None, out)
    }

    /// Removes the binding. [`SipUserEvent::Unregistered`] follows.
    pub fn leave(&mut self, now: Instant, out: &mut Output) {
        self.register(now, 0, out);
    }

    fn register(&mut self, now: Instant, expires: u32, out: &mut Output) {
        self.due = None;
        self.registration.1 += 1;
        let (call_id, cseq) = self.registration.clone();
        let from_tag = self.mint();
        let what = What::Register { expires };
        self.ask(now, Asked { what, call_id, from_tag, cseq, proven: false }, b"", None, out);
    }

    fn mint(&mut self) -> Vec<u8> {
        let mut id = Vec::new();
        id.extend_from_slice(&turn::base32::<26>(self.minter.mint()));
        id
    }

    /// Sends a request, with `credentials` as further header lines, under a new number or an old one.
    fn ask(&mut self, now: Instant, asked: Asked, credentials: &[u8], token: Option<u64>, out: &mut Output) -> u64 {
        let token = token.unwrap_or_else(|| {
            self.next_token += 1;
            self.next_token
        });
        let mut more = credentials.to_vec();
        let own = name_addr(&self.address);
        let registrar = [b"sip:", self.settings.domain.as_bytes()].concat();
        let (method, request_uri, to, body) = match &asked.what {
            What::Register { expires } => {
                print::header(HeaderName::Contact, &name_addr(&self.contact), &mut more);
                print::number_header(HeaderName::Expires, (*expires).into(), &mut more);
                (Method::Register, &registrar[..], own.clone(), None)
            }
            What::Message { to, body } => {
                (Method::Message, to.as_bytes(), name_addr(to.as_bytes()), Some(body.as_bytes()))
            }
        };
        let parts = RequestParts {
            method,
            uri: request_uri,
            from: &own,
            from_tag: Some(&asked.from_tag),
            to: &to,
            call_id: &asked.call_id,
            cseq: asked.cseq,
            max_forwards: 70,
            route: b"",
            more: &more,
            content_type: body.map(|_| &b"text/plain"[..]),
            body: body.unwrap_or_default(),
            branch: None,
        };
        let Settings { socket, proxy, .. } = self.settings;
        let target = Flow { transport: Transport::Udp, socket, peer: proxy, stream: None };
        let sent = self.endpoint.request(now, target, &parts, token, out);
        self.asked.insert(token, asked);
        if sent.is_err() {
            self.on_ended(now, token, Outcome::TransportFailed, out);
        }
        token
    }

    fn on_ended(&mut self, now: Instant, token: u64, outcome: Outcome<'_>, out: &mut Output) {
        let Some(asked) = self.asked.remove(&token) else { return };
        let response = match outcome {
            Outcome::Final(response) => response,
            Outcome::TimedOut { .. } => return self.on_unanswered(token, &asked, "no answer came in time"),
            Outcome::TransportFailed => return self.on_unanswered(token, &asked, "the proxy cannot be reached"),
        };
        if let Some(credentials) = self.prove(&asked, &response) {
            // 22.2 and 8.1.3.5: the same request again, Call-ID, To and From included, with a higher CSeq.
            let cseq = match asked.what {
                What::Register { .. } => {
                    self.registration.1 += 1;
                    self.registration.1
                }
                What::Message { .. } => asked.cseq + 1,
            };
            self.ask(now, Asked { cseq, proven: true, ..asked }, &credentials, Some(token), out);
            return;
        }
        let reason = String::from_utf8_lossy(response.reason).into_owned();
        match asked.what {
            What::Message { .. } => {
                self.events.push_back(SipUserEvent::Answered { message: token, status: response.status, reason });
            }
            What::Register { expires: 0 } => {
                self.events.push_back(SipUserEvent::Unregistered { reason: String::new() });
            }
            What::Register { expires } if (200..300).contains(&response.status) => {
                let granted = self.granted(&response).unwrap_or(expires);
                self.due = Some(now + Duration::from_secs(u64::from(granted.max(2) / 2)));
                self.events.push_back(SipUserEvent::Registered);
            }
            What::Register { .. } => {
                let reason = format!("{} {reason}", response.status);
                self.events.push_back(SipUserEvent::Unregistered { reason });
            }
        }
    }

    fn on_unanswered(&mut self, message: u64, asked: &Asked, why: &'static str) {
        self.events.push_back(match asked.what {
            What::Register { .. } => SipUserEvent::Unregistered { reason: why.to_owned() },
            What::Message { .. } => SipUserEvent::Unanswered { message, why },
        });
    }

    /// The header line that answers a challenge, unless credentials have just been refused (22.1: no second try with the
    /// same ones, but for a nonce that was too old).
    fn prove(&mut self, asked: &Asked, response: &Response<'_>) -> Option<Vec<u8>> {
        let role = Role::of_status(response.status)?;
        let challenge = Challenge::topmost(response.head.all(role.challenge()))?;
        if asked.proven && !challenge.stale {
            return None;
        }
        let account = Account {
            username: self.settings.user.as_bytes(),
            secret: Secret::Password(self.settings.password.as_bytes()),
        };
        let registrar = [b"sip:", self.settings.domain.as_bytes()].concat();
        let covered = match &asked.what {
            What::Register { .. } => Covered { method: Method::Register, uri: &registrar, body: b"" },
            What::Message { to, body } => {
                Covered { method: Method::Message, uri: to.as_bytes(), body: body.as_bytes() }
            }
        };
        let cnonce = self.minter.mint().to_be_bytes();
        let mut value = Vec::new();
        auth::answer(&challenge, &account, &covered, 1, &cnonce, &mut value).ok()?;
        let mut line = Vec::new();
        print::header(role.credentials(), &value, &mut line);
        Some(line)
    }

    /// For how long our own binding was taken (10.2.4, 10.3 step 8).
    fn granted(&self, response: &Response<'_>) -> Option<u32> {
        let contacts = response.head.list(HeaderName::Contact).filter_map(|value| NameAddr::parse(value).ok());
        let ours = contacts.into_iter().find(|contact| contact.uri.raw == self.contact);
        let parameter = ours.and_then(|contact| contact.param("expires").flatten());
        parameter.or(response.head.first(HeaderName::Expires)).and_then(headers::delta_seconds)
    }

    fn on_request(
        &mut self,
        now: Instant,
        transaction: ServerKey,
        request: &Request<'_>,
        essentials: &Essentials<'_>,
        out: &mut Output,
    ) {
        let answer = self.consider(request, essentials);
        self.endpoint.respond(now, transaction, &answer, out);
    }

    /// RFC 3261 8.2, RFC 3428 section 7.
    fn consider(&mut self, request: &Request<'_>, essentials: &Essentials<'_>) -> Answer<'static> {
        let with = |status, extra| Answer { extra, ..Answer::new(status) };
        if !matches!(request.method, Method::Message | Method::Options) {
            return with(405, Extra::ALLOW);
        }
        let wanted = essentials.uri.as_ref().and_then(AddressOfRecord::of);
        if wanted.is_none_or(|wanted| wanted.user() != self.settings.user.as_bytes()) {
            return Answer::new(404);
        }
        if request.head.list(HeaderName::Require).next().is_some() {
            return with(420, Extra::UNSUPPORTED);
        }
        if request.method == Method::Options {
            return with(200, Extra::CAPABILITIES);
        }
        let encoding = request.head.first(HeaderName::ContentEncoding);
        if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
            return with(415, Extra::ACCEPT_ENCODING);
        }
        let kind = request.head.first(HeaderName::ContentType).unwrap_or_default();
        let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let Ok(body) = std::str::from_utf8(request.body) else { return with(415, Extra::ACCEPT) };
        if !kind.eq_ignore_ascii_case(b"text/plain") {
            return with(415, Extra::ACCEPT);
        }
        let from = String::from_utf8_lossy(essentials.from.uri.raw).into_owned();
        self.events.push_back(SipUserEvent::Message { from, body: body.to_owned() });
        Answer::new(200)
    }

    fn settle(&mut self, now: Instant, out: &mut Output) {
        while let Some(ended) = self.endpoint.handle_timeout(now, out) {
            self.on_ended(now, ended.token, ended.outcome, out);
        }
    }
}

impl Party for SipUser {
    fn handle_input(&mut self, now: Instant, input: &Input<'_>, out: &mut Output) -> usize {
        match *input {
            Input::Datagram { socket, peer, bytes } if socket == self.settings.socket => {
                let flow = Flow { transport: Transport::Udp, socket, peer, stream: None };
                match self.endpoint.handle_message(now, flow, bytes, out) {
                    Event::None => {}
                    Event::Request { transaction, request, essentials, .. } => {
                        self.on_request(now, transaction, &request, &essentials, out);
                    }
                    Event::Ended { token, outcome } => self.on_ended(now, token, outcome, out),
                }
            }
            Input::Unreachable { socket, peer } => {
                self.endpoint.handle_unreachable(socket, peer);
                self.settle(now, out);
            }
            _ => {}
        }
        0
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Output) {
        if self.due.is_some_and(|due| due <= now) {
            self.register(now, self.settings.expires, out);
        }
        self.settle(now, out);
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let due = self.due.map(|due| (due, "a registration"));
        due.into_iter().chain(self.endpoint.poll_timeout()).min_by_key(|&(at, _)| at)
    }
}

/// `sip:` with the user part escaped.
fn uri(user: &str, host: &str) -> Vec<u8> {
    let mut uri = b"sip:".to_vec();
    print::escape_user(user.as_bytes(), &mut uri);
    uri.push(b'@');
    uri.extend_from_slice(host.as_bytes());
    uri
}

fn name_addr(uri: &[u8]) -> Vec<u8> {
    [b"<", uri, b">"].concat()
}
