//! The accepting side of a client's stream (RFC 6120 with the roles of a server): header, STARTTLS, SASL, resource binding,
//! and then stanzas.
//!
//! ```text
//!                 ┌──────────── Secured ◄── Securing ◄─ starttls ─┐
//!                 ▼                                               │
//!  accept ──► Header ──────────── not authenticated ──────► Negotiating ◄─► Exchange
//!                 ▲                                                            │
//!                 ├──────────────────────────────── success ───────────────────┘
//!                 └── authenticated ──► Unbound ── iq bind ──► Binding ── bind() ──► Bound
//!
//!  any ── stream error, timeout, loss ──► Ended          any ── close() ──► Closing ── </stream:stream> ──► Ended
//! ```
//!
//! It does not offer stream compression, stream management or the -PLUS mechanisms, and it does not know who else is
//! connected: which resource a client gets is the owner's answer to [`ClientEvent::Bind`].

mod negotiation;
#[cfg(test)]
mod tests;

use crate::jid::JidParts;
use crate::ns;
use crate::sasl::{Accounts, Exchange};
use crate::stanza::{Condition, Stanza, parse_stanza};
use crate::stream::StreamError;
use std::sync::Arc;
use std::time::{Duration, Instant};
use turn::{Input, Minter, Output, StreamId};
use xml::{Frame, Framer, Limits, Reader, StreamNamespaces};

/// Whether a stream can be encrypted, or must be (RFC 6120 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// STARTTLS is not offered.
    Absent,
    /// STARTTLS is offered; SCRAM is allowed without it.
    Offered,
    /// Nothing but STARTTLS is allowed before encryption.
    Required,
}

/// What all streams of a listener share.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The domain that is served, in normal form.
    pub domain: String,
    /// Limits for the stanzas of an authenticated client.
    pub limits: Limits,
    /// Encryption.
    pub tls: Tls,
    /// Whether a password may cross a stream that is not encrypted (RFC 4616; RFC 6120 13.8.4 says no).
    pub plain_in_clear: bool,
    /// Failed attempts to authenticate after which the stream ends (RFC 6120 6.4.5).
    pub tries: u32,
    /// Refused bind requests after which one more ends the stream (RFC 6120 7.7.3: five to ten).
    pub bind_retries: u32,
    /// How long a client may take until its resource is bound.
    pub negotiation: Duration,
    /// How long the peer may take to answer our end of the stream.
    pub closing: Duration,
    /// Octets that may wait for a client that does not read; more end its stream.
    pub unsent: usize,
}

impl ClientSettings {
    /// Settings for a domain: TLS required, no password in clear.
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            limits: Limits::default(),
            tls: Tls::Required,
            plain_in_clear: false,
            tries: 3,
            bind_retries: 5,
            negotiation: Duration::from_secs(30),
            closing: Duration::from_secs(5),
            unsent: 4 << 20,
        }
    }
}

/// Limits before a client has authenticated: enough for a header, SASL and a bind request (RFC 6120 13.12).
fn stranger_limits(limits: &Limits) -> Limits {
    Limits {
        stanza: limits.stanza.min(10_000),
        depth: limits.depth.min(8),
        attributes: limits.attributes.min(32),
        ..*limits
    }
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order: both ends were said.
    Closed,
    /// We ended it with an error.
    Error(StreamError),
    /// The connection is gone.
    Lost,
}

/// What an input meant.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it lives on the stack for one call; a box would cost an allocation")]
pub enum ClientEvent<'a> {
    /// Nothing for the owner; all that could be consumed is.
    None,
    /// The client wants a resource bound; the owner answers with [`ClientAcceptor::bind`] or
    /// [`ClientAcceptor::refuse_bind`] before its next input.
    Bind {
        /// The resourcepart it asks for, in normal form.
        resource: Option<String>,
    },
    /// A message, presence or iq of the bound client that does not claim a foreign `from`; its octets are to be read with
    /// [`ClientAcceptor::namespaces`].
    Stanza(Stanza<'a>),
    /// The stream is over. Comes once; nothing can be written any more.
    Ended(Ended),
}

#[derive(Debug)]
enum State {
    /// A stream header is awaited: the first, or the one after TLS or SASL.
    Header,
    /// STARTTLS or SASL is awaited.
    Negotiating,
    /// SASL is under way.
    Exchange(Exchange),
    /// The driver does the TLS handshake.
    Securing,
    /// Authenticated; a bind request is awaited.
    Unbound,
    /// The owner is choosing a resource.
    Binding { id: String },
    /// Stanzas flow.
    Bound,
    /// We have said the end, the peer has not.
    Closing,
    /// Over.
    Ended,
}

/// One stream of a client, accepted.
///
/// Contract: after [`accept`](Self::accept), every input of the stream goes to [`handle_input`](Self::handle_input). For
/// [`Input::Received`] it is called again with the rest of the data until it gives [`ClientEvent::None`]. After
/// [`ClientEvent::Ended`], or after the owner called [`fail`](Self::fail), the owner drops it with `Input::Closed`.
#[derive(Debug)]
pub struct ClientAcceptor {
    settings: Arc<ClientSettings>,
    stream: StreamId,
    framer: Framer,
    namespaces: StreamNamespaces,
    state: State,
    secured: bool,
    user: Option<String>,
    /// The `from` of a header that TLS protected (RFC 6120 6.4.6).
    claimed: Option<String>,
    failures: u32,
    /// Bind requests that were refused.
    refused_binds: u32,
    /// The full JID, once bound.
    address: String,
    deadline: Option<Instant>,
}

impl ClientAcceptor {
    /// A stream that the driver has accepted.
    pub fn accept(settings: Arc<ClientSettings>, stream: StreamId, now: Instant) -> Self {
        Self {
            framer: Framer::new(stranger_limits(&settings.limits)),
            namespaces: StreamNamespaces::new(ns::CLIENT),
            state: State::Header,
            secured: false,
            user: None,
            claimed: None,
            failures: 0,
            refused_binds: 0,
            address: String::new(),
            deadline: Some(now + settings.negotiation),
            stream,
            settings,
        }
    }

    /// The stream.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The localpart of the user, once authenticated.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The full JID, once bound; empty before.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the stream is encrypted.
    pub fn is_secured(&self) -> bool {
        self.secured
    }

    /// Whether stanzas flow.
    pub fn is_bound(&self) -> bool {
        matches!(self.state, State::Bound)
    }

    /// What the header of the client declares for its stanzas.
    pub fn namespaces(&self) -> &StreamNamespaces {
        &self.namespaces
    }

    /// Takes one input of this stream. Gives how many bytes of it were consumed, and what it meant.
    pub fn handle_input<'a>(
        &mut self,
        input: &Input<'a>,
        accounts: &dyn Accounts,
        minter: &mut Minter,
        out: &mut Output,
    ) -> (usize, ClientEvent<'a>) {
        match *input {
            Input::Received { data, .. } => self.on_received(data, accounts, minter, out),
            Input::Secured { .. } => {
                if matches!(self.state, State::Securing) {
                    self.secured = true;
                    self.restart();
                }
                (0, ClientEvent::None)
            }
            Input::Closed { .. } => {
                let event = match self.state {
                    State::Ended => ClientEvent::None,
                    _ => ClientEvent::Ended(Ended::Lost),
                };
                self.state = State::Ended;
                self.deadline = None;
                (0, event)
            }
            _ => (0, ClientEvent::None),
        }
    }

    /// Answers [`ClientEvent::Bind`] with the resource that the client gets (RFC 6120 7.7.2.2: not always the one it asked
    /// for).
    pub fn bind(&mut self, resource: &str, out: &mut Output) {
        let (State::Binding { id }, Some(user)) = (&self.state, &self.user) else {
            debug_assert!(false, "bind() answers ClientEvent::Bind");
            return;
        };
        self.address = format!("{user}@{}/{resource}", self.settings.domain);
        if let Some(buffer) = out.stream(self.stream) {
            negotiation::write_bound(id, &self.address, buffer);
        }
        self.framer.set_limits(self.settings.limits);
        self.state = State::Bound;
        self.deadline = None;
    }

    /// Answers [`ClientEvent::Bind`] with an error, after which the client may ask again, so many times (RFC 6120 7.7.3);
    /// `false` says that this was once too often, and that the stream is over.
    #[must_use]
    pub fn refuse_bind(&mut self, condition: Condition, out: &mut Output) -> bool {
        let State::Binding { id } = std::mem::replace(&mut self.state, State::Unbound) else {
            debug_assert!(false, "refuse_bind() answers ClientEvent::Bind");
            return true;
        };
        self.count_refused_bind(&id, condition, out)
    }

    /// Writes to a bound client. A client that does not read is cut off; `false` says that the stream is over.
    #[must_use]
    pub fn deliver(&mut self, out: &mut Output, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        if !self.is_bound() {
            return false;
        }
        if out.unsent_len(self.stream) > self.settings.unsent {
            self.fail(StreamError::ResourceConstraint, "too much is waiting to be read", out);
            return false;
        }
        match out.stream(self.stream) {
            Some(buffer) => {
                write(buffer);
                true
            }
            None => false,
        }
    }

    /// Ends the stream with an error (RFC 6120 4.9). No [`ClientEvent::Ended`] follows.
    pub fn fail(&mut self, error: StreamError, text: &str, out: &mut Output) {
        if matches!(self.state, State::Ended) {
            return;
        }
        // During the handshake nothing may be written in between (RFC 6120 5.4.3.1).
        if !matches!(self.state, State::Securing | State::Closing)
            && let Some(buffer) = out.stream(self.stream)
        {
            error.write(text, buffer);
        }
        out.close(self.stream);
        self.state = State::Ended;
        self.deadline = None;
    }

    /// Says the end of the stream and waits for the peer's (RFC 6120 4.4). [`ClientEvent::Ended`] follows.
    pub fn close(&mut self, now: Instant, out: &mut Output) {
        match self.state {
            State::Closing | State::Ended => {}
            State::Header | State::Securing => {
                out.close(self.stream);
                self.state = State::Ended;
                self.deadline = None;
            }
            _ => {
                if let Some(buffer) = out.stream(self.stream) {
                    buffer.extend_from_slice(b"</stream:stream>");
                }
                self.state = State::Closing;
                self.deadline = Some(now + self.settings.closing);
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout<'a>(&mut self, now: Instant, out: &mut Output) -> ClientEvent<'a> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return ClientEvent::None;
        }
        self.deadline = None;
        match self.state {
            State::Ended | State::Bound => ClientEvent::None,
            State::Closing => {
                out.close(self.stream);
                self.state = State::Ended;
                ClientEvent::Ended(Ended::Closed)
            }
            State::Header => self.end_before_header(StreamError::ConnectionTimeout, "", out),
            _ => self.end(StreamError::ConnectionTimeout, "", out),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let reason =
            if matches!(self.state, State::Closing) { "end of a client's stream" } else { "login of a client" };
        self.deadline.map(|deadline| (deadline, reason))
    }

    fn on_received<'a>(
        &mut self,
        data: &'a [u8],
        accounts: &dyn Accounts,
        minter: &mut Minter,
        out: &mut Output,
    ) -> (usize, ClientEvent<'a>) {
        let mut consumed = 0;
        loop {
            // What comes behind <starttls/> in clear must not be taken for something that TLS protected, and what comes
            // after the end means nothing.
            if matches!(self.state, State::Securing | State::Ended) {
                return (data.len(), ClientEvent::None);
            }
            let frame = match self.framer.scan(data.get(consumed..).unwrap_or_default()) {
                Ok(frame) => frame,
                Err(error) => return (data.len(), self.end_unreadable(error, out)),
            };
            let event = match frame {
                Frame::Incomplete { consumed: more } => return (consumed + more, ClientEvent::None),
                Frame::Header { bytes, consumed: more } => {
                    consumed += more;
                    self.on_header(bytes, minter, out)
                }
                Frame::Stanza { bytes, consumed: more } => {
                    consumed += more;
                    self.on_element(bytes, accounts, minter, out)
                }
                // Told by a tolerant framer only.
                Frame::Excess { error, .. } => return (data.len(), self.end_unreadable(error, out)),
                Frame::Close { .. } => {
                    consumed = data.len();
                    if !matches!(self.state, State::Closing)
                        && let Some(buffer) = out.stream(self.stream)
                    {
                        buffer.extend_from_slice(b"</stream:stream>");
                    }
                    out.close(self.stream);
                    self.state = State::Ended;
                    self.deadline = None;
                    ClientEvent::Ended(Ended::Closed)
                }
            };
            match event {
                ClientEvent::None => {}
                event => return (consumed, event),
            }
        }
    }

    fn on_element<'a>(
        &mut self,
        bytes: &'a [u8],
        accounts: &dyn Accounts,
        minter: &mut Minter,
        out: &mut Output,
    ) -> ClientEvent<'a> {
        match self.state {
            State::Bound => match self.read_stanza(bytes) {
                Ok(stanza) => ClientEvent::Stanza(stanza),
                Err((error, text)) => self.end(error, text, out),
            },
            State::Closing => ClientEvent::None,
            _ => self.negotiate(bytes, accounts, minter, out),
        }
    }

    /// Reads a whole stanza and checks what the stream answers for.
    fn read_stanza<'a>(&self, bytes: &'a [u8]) -> Result<Stanza<'a>, (StreamError, &'static str)> {
        let unreadable = |error: xml::Error| (StreamError::from(error), "");
        let limits = &self.settings.limits;
        let stanza = parse_stanza(bytes, &self.namespaces, limits).map_err(unreadable)?;
        let mut reader = Reader::new(bytes, &self.namespaces, limits).map_err(unreadable)?;
        reader.next().map_err(unreadable)?;
        if matches!(stanza, Stanza::Other { .. }) {
            return Err((StreamError::UnsupportedStanzaType, ""));
        }
        // RFC 6120 4.8.3: a stanza of another kind of stream.
        if reader.namespace() != ns::CLIENT {
            return Err((StreamError::InvalidNamespace, ""));
        }
        match reader.attribute("from").map_err(unreadable)? {
            Some(from) if !self.is_own(&from) => Err((StreamError::InvalidFrom, "")),
            _ => Ok(stanza),
        }
    }

    /// RFC 6120 8.1.2.1: the bare or the full address of the client itself.
    fn is_own(&self, from: &str) -> bool {
        match (JidParts::parse(&self.address), JidParts::parse(from)) {
            (Ok(own), Ok(claimed)) => own.bare_eq(&claimed) && (claimed.is_bare() || own.resource == claimed.resource),
            _ => false,
        }
    }

    /// A new stream over the same connection (RFC 6120 4.3.3).
    fn restart(&mut self) {
        self.framer.restart();
        self.namespaces = StreamNamespaces::new(ns::CLIENT);
        self.claimed = None;
        self.state = State::Header;
    }

    fn end_unreadable<'a>(&mut self, error: xml::Error, out: &mut Output) -> ClientEvent<'a> {
        let text = error.to_string();
        match self.state {
            State::Header => self.end_before_header(error.into(), &text, out),
            _ => self.end(error.into(), &text, out),
        }
    }

    fn end<'a>(&mut self, error: StreamError, text: &str, out: &mut Output) -> ClientEvent<'a> {
        self.fail(error, text, out);
        ClientEvent::Ended(Ended::Error(error))
    }
}
