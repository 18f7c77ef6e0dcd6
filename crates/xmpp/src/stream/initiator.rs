//! The initiating side of a client's stream (RFC 6120): SASL with SCRAM (6), resource binding (7), then stanzas.
//!
//! ```text
//! client:  <stream:stream to='xmpp.example'>          server:  <stream:stream><stream:features><mechanisms/>
//! client:  <auth mechanism='SCRAM-SHA-256'/>          server:  <challenge/>
//! client:  <response/>                                server:  <success/>
//! client:  <stream:stream to='xmpp.example'>          server:  <stream:stream><stream:features><bind/>
//! client:  <iq type='set'><bind/></iq>                server:  <iq type='result'><bind><jid/></bind></iq>
//! ```
//!
//! STARTTLS is not used: the password does not cross the stream, and a server that demands encryption is reported. It
//! connects once; whoever wants another attempt makes another [`ClientInitiator`].

use crate::jid::JidParts;
use crate::ns;
use crate::sasl::Mechanism;
use crate::sasl::client::{Distrust, Proof};
use crate::stanza::{Condition, Iq, IqType, Stanza, parse_stanza, write_iq};
use crate::stream::StreamError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;
use std::time::{Duration, Instant};
use turn::{CloseCause, Input, Minter, Output, StreamId, Target};
use xml::{Frame, Framer, Limits, Reader, StreamNamespaces, writer};
use zeroize::Zeroizing;

const TLS_NAMESPACE: &str = "urn:ietf:params:xml:ns:xmpp-tls";
const SASL_NAMESPACE: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const BIND_NAMESPACE: &str = "urn:ietf:params:xml:ns:xmpp-bind";
const BIND_ID: &[u8] = b"bind";

/// Who logs in, and where.
#[derive(Clone)]
pub struct InitiatorSettings {
    /// The localpart.
    pub user: String,
    /// The domain.
    pub domain: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// The resource that is asked for; the server may give another.
    pub resource: Option<String>,
    /// Limits for what the server sends.
    pub limits: Limits,
    /// How long it may take until the resource is bound.
    pub negotiation: Duration,
}

impl InitiatorSettings {
    /// Settings with the usual limits, for any resource.
    pub fn new(user: &str, domain: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            domain: domain.to_owned(),
            password: Zeroizing::new(password.to_owned()),
            resource: None,
            limits: Limits::default(),
            negotiation: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for InitiatorSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InitiatorSettings")
            .field("user", &self.user)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// What an input or a timeout meant.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it lives on the stack for one call; a box would cost an allocation")]
pub enum InitiatorEvent<'a> {
    /// Nothing for the owner; all that could be consumed is.
    None,
    /// A resource is bound: stanzas flow.
    Bound,
    /// A stanza. It is never [`Stanza::Other`].
    Stanza(Stanza<'a>),
    /// The stream is over. Comes once.
    Ended(Over),
}

/// Why a stream is over, or never was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    /// The connection could not be made or is gone.
    #[error("the connection {}", match .0 { CloseCause::Refused => "could not be made", _ => "is gone" })]
    Lost(CloseCause),
    /// No resource was bound in time.
    #[error("the login took too long")]
    TimedOut,
    /// The server wants STARTTLS before anything else.
    #[error("the server demands encryption")]
    EncryptionRequired,
    /// It has neither SCRAM-SHA-256 nor SCRAM-SHA-1.
    #[error("the server does not offer SCRAM")]
    NoMechanism,
    /// It did not accept the credentials (RFC 6120 6.5).
    #[error("the server refused the login: {0}")]
    Refused(String),
    /// What it said in SASL is not to be trusted.
    #[error("{0}")]
    Distrust(#[from] Distrust),
    /// It bound no resource.
    #[error("the server bound no resource: {0}")]
    NotBound(&'static str),
    /// It ended the stream with an error (RFC 6120 4.9).
    #[error("the server ended the stream: {0}")]
    Error(StreamError),
    /// We ended the stream with an error, because of what it sent.
    #[error("the server's stream is not as it must be: {0}")]
    Broken(StreamError),
    /// In order.
    #[error("the stream was closed")]
    Closed,
}

/// How far the stream is.
///
/// ```text
///             Connected         header, features        success           header, features         result
///   Connecting ------> Header --------------------> Proving ---> Header ---------------------> Binding ----> Bound
///                      authenticated: false                      authenticated: true
/// ```
#[derive(Debug)]
enum State {
    Connecting,
    /// A stream header is awaited, then features.
    Header {
        authenticated: bool,
    },
    Features {
        authenticated: bool,
    },
    Proving(Box<Proof>),
    Binding,
    Bound,
    /// We have said the end, the server has not.
    Closing,
    Ended,
}

/// One stream to a server, as its client.
///
/// Contract: [`connect`](Self::connect) orders the connection; then every input of [`stream`](Self::stream) goes to
/// [`handle_input`](Self::handle_input), which for [`Input::Received`] is called again with the rest of the data until it
/// gives [`InitiatorEvent::None`]. While [`is_bound`](Self::is_bound), stanzas are written to the buffer of the stream.
#[derive(Debug)]
pub struct ClientInitiator {
    settings: InitiatorSettings,
    minter: Minter,
    stream: StreamId,
    framer: Framer,
    namespaces: StreamNamespaces,
    state: State,
    address: String,
    deadline: Option<Instant>,
}

impl ClientInitiator {
    /// Orders a connection to `target`.
    pub fn connect(
        settings: InitiatorSettings,
        target: Target,
        minter: Minter,
        now: Instant,
        out: &mut Output,
    ) -> Self {
        Self {
            stream: out.connect(target),
            minter,
            framer: Framer::new(settings.limits),
            namespaces: StreamNamespaces::new(ns::CLIENT),
            state: State::Connecting,
            address: String::new(),
            deadline: Some(now + settings.negotiation),
            settings,
        }
    }

    /// The stream.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Whether stanzas flow.
    pub fn is_bound(&self) -> bool {
        matches!(self.state, State::Bound)
    }

    /// The full JID that the server gave, once bound; empty before.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Takes one input of this stream. Gives how many bytes of it were consumed, and what it meant.
    pub fn handle_input<'a>(&mut self, input: &Input<'a>, out: &mut Output) -> (usize, InitiatorEvent<'a>) {
        match *input {
            Input::Connected { .. } => {
                if matches!(self.state, State::Connecting) {
                    self.write_header(out);
                    self.state = State::Header { authenticated: false };
                }
                (0, InitiatorEvent::None)
            }
            Input::Received { data, .. } => self.on_received(data, out),
            Input::Closed { cause, .. } => {
                let event = match self.state {
                    State::Ended => InitiatorEvent::None,
                    State::Closing => InitiatorEvent::Ended(Over::Closed),
                    _ => InitiatorEvent::Ended(Over::Lost(cause)),
                };
                self.state = State::Ended;
                self.deadline = None;
                (0, event)
            }
            _ => (0, InitiatorEvent::None),
        }
    }

    /// Ends the stream in order (RFC 6120 4.4). [`InitiatorEvent::Ended`] follows with the answer or the end of the connection.
    pub fn close(&mut self, out: &mut Output) {
        match self.state {
            State::Closing | State::Ended => {}
            State::Connecting => {
                self.state = State::Closing;
                out.close(self.stream);
            }
            _ => {
                if let Some(buffer) = out.stream(self.stream) {
                    writer::close("stream:stream", buffer);
                }
                self.state = State::Closing;
                self.deadline = None;
                out.close(self.stream);
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout<'a>(&mut self, now: Instant, out: &mut Output) -> InitiatorEvent<'a> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return InitiatorEvent::None;
        }
        self.end(Over::TimedOut, out)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.deadline.map(|deadline| (deadline, "login at a server"))
    }

    fn on_received<'a>(&mut self, data: &'a [u8], out: &mut Output) -> (usize, InitiatorEvent<'a>) {
        let mut consumed = 0;
        loop {
            if matches!(self.state, State::Closing | State::Ended) {
                return (data.len(), InitiatorEvent::None);
            }
            let frame = match self.framer.scan(data.get(consumed..).unwrap_or_default()) {
                Ok(frame) => frame,
                Err(error) => return (data.len(), self.end(Over::Broken(error.into()), out)),
            };
            let event = match frame {
                Frame::Incomplete { consumed: more } => return (consumed + more, InitiatorEvent::None),
                Frame::Header { bytes, consumed: more } => {
                    consumed += more;
                    self.on_header(bytes)
                }
                Frame::Stanza { bytes, consumed: more } => {
                    consumed += more;
                    self.on_element(bytes, out)
                }
                // Told by a tolerant framer only.
                Frame::Excess { error, .. } => Err(Over::Broken(error.into())),
                Frame::Close { .. } => {
                    consumed = data.len();
                    Err(Over::Closed)
                }
            };
            match event {
                Ok(InitiatorEvent::None) => {}
                Ok(event) => return (consumed, event),
                Err(over) => return (data.len(), self.end(over, out)),
            }
        }
    }

    fn on_header<'a>(&mut self, bytes: &[u8]) -> Result<InitiatorEvent<'a>, Over> {
        let none = StreamNamespaces::default();
        let mut reader = Reader::header(bytes, &none, &self.settings.limits).map_err(broken)?;
        reader.next().map_err(broken)?;
        let namespaces = reader.stream_namespaces().map_err(broken)?;
        if !reader.is(ns::STREAM, "stream") || !ns::may_be_default(namespaces.find(""), ns::CLIENT) {
            return Err(Over::Broken(StreamError::InvalidNamespace));
        }
        self.namespaces = namespaces;
        if let State::Header { authenticated } = self.state {
            self.state = State::Features { authenticated };
        }
        Ok(InitiatorEvent::None)
    }

    fn on_element<'a>(&mut self, bytes: &'a [u8], out: &mut Output) -> Result<InitiatorEvent<'a>, Over> {
        let stanza = parse_stanza(bytes, &self.namespaces, &self.settings.limits).map_err(broken)?;
        if let Stanza::Other { name: "error", ns: space, .. } = &stanza
            && space == ns::STREAM
        {
            return Err(Over::Error(self.stream_error(bytes)?));
        }
        match (std::mem::replace(&mut self.state, State::Ended), stanza) {
            (State::Bound, Stanza::Other { .. }) => {
                self.state = State::Bound;
                Ok(InitiatorEvent::None)
            }
            (State::Bound, stanza) => {
                self.state = State::Bound;
                Ok(InitiatorEvent::Stanza(stanza))
            }
            (State::Features { authenticated }, Stanza::Other { name: "features", ns: space, .. })
                if space == ns::STREAM =>
            {
                let features = Features::read(bytes, &self.namespaces, &self.settings.limits).map_err(broken)?;
                if authenticated { self.bind(features, out) } else { self.prove(features, out) }
            }
            (State::Proving(proof), Stanza::Other { name, ns: space, .. }) if space == SASL_NAMESPACE => {
                self.on_sasl(proof, name, bytes, out)
            }
            (State::Binding, Stanza::Iq(iq)) if iq.id.as_deref().map(str::as_bytes) == Some(BIND_ID) => {
                self.on_bound(&iq, bytes)
            }
            (State::Binding, _) => {
                self.state = State::Binding;
                Ok(InitiatorEvent::None)
            }
            _ => Err(Over::Broken(StreamError::UnsupportedStanzaType)),
        }
    }

    fn prove<'a>(&mut self, features: Features, out: &mut Output) -> Result<InitiatorEvent<'a>, Over> {
        if features.tls_required {
            return Err(Over::EncryptionRequired);
        }
        let mechanism = features.mechanism.ok_or(Over::NoMechanism)?;
        let begun = Proof::begin(mechanism, &self.settings.user, &self.settings.password, &mut self.minter);
        let (proof, initial) = begun.ok_or(Over::NoMechanism)??;
        if let Some(buffer) = out.stream(self.stream) {
            buffer.extend_from_slice(b"<auth");
            writer::attribute("xmlns", SASL_NAMESPACE, buffer);
            writer::attribute("mechanism", mechanism.name(), buffer);
            buffer.push(b'>');
            buffer.extend_from_slice(BASE64.encode(initial).as_bytes());
            writer::close("auth", buffer);
        }
        self.state = State::Proving(Box::new(proof));
        Ok(InitiatorEvent::None)
    }

    fn on_sasl<'a>(
        &mut self,
        mut proof: Box<Proof>,
        name: &str,
        bytes: &[u8],
        out: &mut Output,
    ) -> Result<InitiatorEvent<'a>, Over> {
        let mut reader = Reader::new(bytes, &self.namespaces, &self.settings.limits).map_err(broken)?;
        reader.next().map_err(broken)?;
        match name {
            "challenge" => {
                let challenge = sasl_message(&reader.text_content().map_err(broken)?)?;
                let answer = proof.respond(&challenge)?;
                if let Some(buffer) = out.stream(self.stream) {
                    buffer.extend_from_slice(b"<response");
                    writer::attribute("xmlns", SASL_NAMESPACE, buffer);
                    buffer.push(b'>');
                    buffer.extend_from_slice(BASE64.encode(answer).as_bytes());
                    writer::close("response", buffer);
                }
                self.state = State::Proving(proof);
            }
            "success" => {
                proof.finish(&sasl_message(&reader.text_content().map_err(broken)?)?)?;
                // RFC 6120 6.4.6: a new stream over the same connection.
                self.framer.restart();
                self.write_header(out);
                self.state = State::Header { authenticated: true };
            }
            "failure" => {
                let mut condition = String::from("no reason given");
                while reader.next_child().map_err(broken)? {
                    if reader.name() != "text" {
                        condition = reader.name().to_owned();
                    }
                    reader.skip_element().map_err(broken)?;
                }
                return Err(Over::Refused(condition));
            }
            _ => return Err(Over::Broken(StreamError::UnsupportedStanzaType)),
        }
        Ok(InitiatorEvent::None)
    }

    /// RFC 6120 7.5, 7.6.
    fn bind<'a>(&mut self, features: Features, out: &mut Output) -> Result<InitiatorEvent<'a>, Over> {
        if !features.bind {
            return Err(Over::NotBound("it does not offer to"));
        }
        let mut payload = b"<bind".to_vec();
        writer::attribute("xmlns", BIND_NAMESPACE, &mut payload);
        payload.push(b'>');
        if let Some(resource) = &self.settings.resource {
            writer::element("resource", resource, &mut payload);
        }
        writer::close("bind", &mut payload);
        if let Some(buffer) = out.stream(self.stream) {
            write_iq(IqType::Set, b"", b"", BIND_ID, &payload, buffer);
        }
        self.state = State::Binding;
        Ok(InitiatorEvent::None)
    }

    fn on_bound<'a>(&mut self, iq: &Iq<'_>, bytes: &[u8]) -> Result<InitiatorEvent<'a>, Over> {
        if let Some(error) = &iq.error {
            return Err(Over::NotBound(error.condition.as_str()));
        }
        let mut reader = Reader::new(bytes, &self.namespaces, &self.settings.limits).map_err(broken)?;
        reader.next().map_err(broken)?;
        while reader.next_child().map_err(broken)? {
            if !reader.is(BIND_NAMESPACE, "bind") {
                reader.skip_element().map_err(broken)?;
                continue;
            }
            while reader.next_child().map_err(broken)? {
                if reader.is(BIND_NAMESPACE, "jid") {
                    let jid = reader.text_content().map_err(broken)?;
                    let parsed = JidParts::parse(&jid);
                    self.address = parsed.map_err(|_| Over::NotBound(Condition::JidMalformed.as_str()))?.to_string();
                } else {
                    reader.skip_element().map_err(broken)?;
                }
            }
        }
        if self.address.is_empty() {
            return Err(Over::NotBound("it names no address"));
        }
        self.state = State::Bound;
        self.deadline = None;
        Ok(InitiatorEvent::Bound)
    }

    fn stream_error(&self, bytes: &[u8]) -> Result<StreamError, Over> {
        let mut reader = Reader::new(bytes, &self.namespaces, &self.settings.limits).map_err(broken)?;
        reader.next().map_err(broken)?;
        let mut condition = StreamError::UndefinedCondition;
        while reader.next_child().map_err(broken)? {
            if reader.namespace() == ns::STREAM_ERRORS && reader.name() != "text" {
                condition = StreamError::parse(reader.name());
            }
            reader.skip_element().map_err(broken)?;
        }
        Ok(condition)
    }

    fn write_header(&self, out: &mut Output) {
        let Some(buffer) = out.stream(self.stream) else { return };
        buffer.extend_from_slice(b"<?xml version='1.0'?><stream:stream");
        writer::attribute("xmlns", ns::CLIENT, buffer);
        writer::attribute("xmlns:stream", ns::STREAM, buffer);
        writer::attribute("to", &self.settings.domain, buffer);
        buffer.extend_from_slice(b" version='1.0'>");
    }

    fn end<'a>(&mut self, over: Over, out: &mut Output) -> InitiatorEvent<'a> {
        if let Some(buffer) = out.stream(self.stream)
            && !matches!(self.state, State::Connecting)
        {
            match &over {
                Over::Broken(error) => error.write("", buffer),
                _ => writer::close("stream:stream", buffer),
            }
        }
        out.close(self.stream);
        self.state = State::Ended;
        self.deadline = None;
        InitiatorEvent::Ended(over)
    }
}

/// What the server offers, as far as it matters here.
struct Features {
    tls_required: bool,
    mechanism: Option<Mechanism>,
    bind: bool,
}

impl Features {
    fn read(bytes: &[u8], namespaces: &StreamNamespaces, limits: &Limits) -> Result<Self, xml::Error> {
        let mut features = Self { tls_required: false, mechanism: None, bind: false };
        let mut reader = Reader::new(bytes, namespaces, limits)?;
        reader.next()?;
        while reader.next_child()? {
            if reader.is(TLS_NAMESPACE, "starttls") {
                while reader.next_child()? {
                    features.tls_required |= reader.is(TLS_NAMESPACE, "required");
                    reader.skip_element()?;
                }
            } else if reader.is(SASL_NAMESPACE, "mechanisms") {
                while reader.next_child()? {
                    let offered = Mechanism::parse(&reader.text_content()?);
                    // The strongest is the least.
                    let usable = offered.filter(|mechanism| *mechanism != Mechanism::Plain);
                    features.mechanism = features.mechanism.into_iter().chain(usable).min();
                }
            } else {
                features.bind |= reader.is(BIND_NAMESPACE, "bind");
                reader.skip_element()?;
            }
        }
        reader.finish()?;
        Ok(features)
    }
}

fn broken(error: xml::Error) -> Over {
    Over::Broken(error.into())
}

/// Base64 without white space; `=` is a message of no octets (RFC 6120 6.4.2).
fn sasl_message(text: &str) -> Result<Vec<u8>, Over> {
    if text == "=" {
        return Ok(Vec::new());
    }
    BASE64.decode(text).map_err(|_| Over::Distrust(Distrust::Malformed))
}

#[cfg(test)]
mod tests;
