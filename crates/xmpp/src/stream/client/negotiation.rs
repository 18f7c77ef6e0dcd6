//! What a client and its server say before stanzas flow: headers and features (RFC 6120 4), STARTTLS (5), SASL (6),
//! resource binding (7).

use super::{ClientAcceptor, ClientEvent, State, Tls};
use crate::jid::{JidParts, normal_domain, normal_resource, same_bare_jid};
use crate::ns;
use crate::sasl::{Accounts, Exchange, Failure, Mechanism, Step};
use crate::stanza::{Condition, StanzaKind, write_error};
use crate::stream::StreamError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use turn::{Minter, Output};
use xml::{Reader, StreamNamespaces, writer};
use zeroize::Zeroizing;

const TLS_NAMESPACE: &str = "urn:ietf:params:xml:ns:xmpp-tls";
const SASL_NAMESPACE: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const BIND_NAMESPACE: &str = "urn:ietf:params:xml:ns:xmpp-bind";

/// What an element before the first stanza asks for.
enum Request {
    StartTls,
    Auth { mechanism: String, initial: Option<Message> },
    Response(Message),
    Abort,
    Bind { id: String, resource: Result<Option<String>, ()> },
    OtherIq { id: String, answer: bool },
    Stanza,
    Unknown,
}

/// A SASL message; `None` inside if its base64 is wrong.
type Message = Option<Zeroizing<Vec<u8>>>;

impl ClientAcceptor {
    /// A stream header (RFC 6120 4.7).
    pub(super) fn on_header<'a>(&mut self, bytes: &[u8], minter: &mut Minter, out: &mut Output) -> ClientEvent<'a> {
        let header = match Header::read(bytes, &self.settings.limits) {
            Ok(header) => header,
            Err((error, text)) => return self.end_before_header(error, &text, out),
        };
        self.write_header(header.from.as_deref(), minter, out);
        self.state = State::Negotiating;
        if let Some(error) = header.fault {
            return self.end(error, "", out);
        }
        // RFC 6120 4.7.2 asks to be liberal where `to` is missing.
        if let Some(to) = &header.to
            && normal_domain(to).ok().as_deref() != Some(self.settings.domain.as_str())
        {
            return self.end(StreamError::HostUnknown, "", out);
        }
        if !header.version_supported {
            return self.end(StreamError::UnsupportedVersion, "", out);
        }
        self.namespaces = header.namespaces;
        if self.secured {
            self.claimed = header.from;
        }
        self.write_features(out);
        if self.user.is_some() {
            self.state = State::Unbound;
        }
        ClientEvent::None
    }

    /// A first-level element before stanzas flow.
    pub(super) fn negotiate<'a>(
        &mut self,
        bytes: &[u8],
        accounts: &dyn Accounts,
        minter: &mut Minter,
        out: &mut Output,
    ) -> ClientEvent<'a> {
        let request = match read_request(bytes, &self.namespaces, &super::stranger_limits(&self.settings.limits)) {
            Ok(request) => request,
            Err(error) => return self.end_unreadable(error, out),
        };
        let state = std::mem::replace(&mut self.state, State::Negotiating);
        match (state, request) {
            (State::Negotiating, Request::StartTls) => self.on_start_tls(out),
            // A new attempt discards one that has not ended (RFC 6120 6.4.2).
            (State::Negotiating | State::Exchange(_), Request::Auth { mechanism, initial }) => {
                let step = self.begin(&mechanism, initial, accounts, minter);
                self.on_step(step, out)
            }
            (State::Exchange(mut exchange), Request::Response(message)) => {
                let step = match message {
                    Some(message) => exchange.respond(&message, &self.settings.domain, accounts, minter),
                    None => Step::Failure(Failure::IncorrectEncoding),
                };
                self.state = State::Exchange(exchange);
                self.on_step(step, out)
            }
            (State::Negotiating | State::Exchange(_), Request::Abort) => {
                self.on_step(Step::Failure(Failure::Aborted), out)
            }
            (State::Negotiating, Request::Response(_)) => self.on_step(Step::Failure(Failure::MalformedRequest), out),
            (State::Unbound, Request::Bind { id, resource: Ok(resource) }) => {
                self.state = State::Binding { id };
                ClientEvent::Bind { resource }
            }
            (State::Unbound, Request::Bind { id, resource: Err(()) }) => {
                self.state = State::Unbound;
                if self.count_refused_bind(&id, Condition::BadRequest, out) {
                    ClientEvent::None
                } else {
                    ClientEvent::Ended(super::Ended::Error(StreamError::PolicyViolation))
                }
            }
            (State::Unbound, Request::OtherIq { id, answer }) => {
                self.state = State::Unbound;
                if answer { self.refuse(&id, Condition::NotAuthorized, out) } else { ClientEvent::None }
            }
            (State::Binding { .. }, _) => {
                debug_assert!(false, "the owner answers ClientEvent::Bind before its next input");
                self.end(StreamError::InternalServerError, "", out)
            }
            (_, Request::Unknown) if self.user.is_some() => self.end(StreamError::UnsupportedStanzaType, "", out),
            // RFC 6120 4.9.3.12 and 7.3.1: stanzas before the stream is ready, and whatever else.
            _ => self.end(StreamError::NotAuthorized, "", out),
        }
    }

    /// Ends a stream whose header is still owed: it is sent first (RFC 6120 4.9.1.2).
    pub(super) fn end_before_header<'a>(
        &mut self,
        error: StreamError,
        text: &str,
        out: &mut Output,
    ) -> ClientEvent<'a> {
        if let Some(buffer) = out.stream(self.stream) {
            open_header(&self.settings.domain, buffer);
            buffer.push(b'>');
        }
        self.end(error, text, out)
    }

    fn write_header(&mut self, from: Option<&str>, minter: &mut Minter, out: &mut Output) {
        let Some(buffer) = out.stream(self.stream) else { return };
        open_header(&self.settings.domain, buffer);
        buffer.extend_from_slice(b" id='");
        buffer.extend_from_slice(&turn::base32::<26>(minter.mint()));
        buffer.push(b'\'');
        if let Some(Ok(from)) = from.map(JidParts::parse) {
            let mut to = Vec::new();
            from.write_bare(&mut to);
            writer::attribute("to", to, buffer);
        }
        buffer.push(b'>');
    }

    /// RFC 6120 4.3.2.
    fn write_features(&mut self, out: &mut Output) {
        let Some(buffer) = out.stream(self.stream) else { return };
        buffer.extend_from_slice(b"<stream:features>");
        if self.user.is_some() {
            buffer.extend_from_slice(b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>");
            // COMPAT: clients written for RFC 3921 ask for a session, newer ones skip what is optional.
            buffer.extend_from_slice(b"<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>");
        } else {
            match self.settings.tls {
                _ if self.secured => {}
                Tls::Absent => {}
                Tls::Offered => buffer.extend_from_slice(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
                Tls::Required => buffer
                    .extend_from_slice(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"),
            }
            let mut opened = false;
            for mechanism in Mechanism::ALL.into_iter().filter(|mechanism| self.permits(*mechanism)) {
                if !opened {
                    buffer.extend_from_slice(b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>");
                    opened = true;
                }
                writer::element("mechanism", mechanism.name(), buffer);
            }
            if opened {
                buffer.extend_from_slice(b"</mechanisms>");
            }
        }
        buffer.extend_from_slice(b"</stream:features>");
    }

    fn permits(&self, mechanism: Mechanism) -> bool {
        let settings = &self.settings;
        self.secured || (settings.tls != Tls::Required && (mechanism != Mechanism::Plain || settings.plain_in_clear))
    }

    fn on_start_tls<'a>(&mut self, out: &mut Output) -> ClientEvent<'a> {
        let Some(buffer) = out.stream(self.stream) else { return ClientEvent::None };
        if self.secured || self.settings.tls == Tls::Absent || self.user.is_some() {
            // RFC 6120 5.4.2.2: a failure ends the stream and the connection.
            buffer.extend_from_slice(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>");
            out.close(self.stream);
            self.state = State::Ended;
            self.deadline = None;
            return ClientEvent::Ended(super::Ended::Closed);
        }
        buffer.extend_from_slice(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        out.start_tls(self.stream);
        self.state = State::Securing;
        ClientEvent::None
    }

    fn begin(&mut self, name: &str, initial: Option<Message>, accounts: &dyn Accounts, minter: &mut Minter) -> Step {
        let initial = match initial {
            None => None,
            Some(Some(message)) => Some(message),
            Some(None) => return Step::Failure(Failure::IncorrectEncoding),
        };
        match Mechanism::parse(name) {
            None => Step::Failure(Failure::InvalidMechanism),
            Some(mechanism) if !self.permits(mechanism) => Step::Failure(Failure::EncryptionRequired),
            Some(mechanism) => {
                let initial = initial.as_ref().map(|message| message.as_slice());
                let (exchange, step) = Exchange::begin(mechanism, initial, &self.settings.domain, accounts, minter);
                self.state = State::Exchange(exchange);
                step
            }
        }
    }

    fn on_step<'a>(&mut self, step: Step, out: &mut Output) -> ClientEvent<'a> {
        let step = match step {
            // RFC 6120 6.4.6: who it said it was in the header that TLS protected.
            Step::Success { user, .. } if !self.claim_holds(&user) => Step::Failure(Failure::NotAuthorized),
            step => step,
        };
        let Some(buffer) = out.stream(self.stream) else { return ClientEvent::None };
        match step {
            Step::Challenge(message) => write_sasl("challenge", &message, buffer),
            Step::Success { user, additional } => {
                write_sasl("success", &additional, buffer);
                self.user = Some(user);
                self.restart();
            }
            Step::Failure(failure) => {
                buffer.extend_from_slice(b"<failure");
                writer::attribute("xmlns", SASL_NAMESPACE, buffer);
                buffer.extend_from_slice(b"><");
                buffer.extend_from_slice(failure.name().as_bytes());
                buffer.extend_from_slice(b"/></failure>");
                self.state = State::Negotiating;
                self.failures += 1;
                if self.failures >= self.settings.tries {
                    return self.end(StreamError::PolicyViolation, "too many attempts", out);
                }
            }
        }
        ClientEvent::None
    }

    fn claim_holds(&self, user: &str) -> bool {
        let own = format!("{user}@{}", self.settings.domain);
        self.claimed.as_deref().is_none_or(|claimed| same_bare_jid(claimed, &own))
    }

    /// Refuses a bind request. `false` says that it was one too many, and that the stream is over.
    pub(super) fn count_refused_bind(&mut self, id: &str, condition: Condition, out: &mut Output) -> bool {
        self.refuse(id, condition, out);
        self.refused_binds += 1;
        let goes_on = self.refused_binds <= self.settings.bind_retries;
        if !goes_on {
            self.fail(StreamError::PolicyViolation, "too many attempts", out);
        }
        goes_on
    }

    fn refuse<'a>(&mut self, id: &str, condition: Condition, out: &mut Output) -> ClientEvent<'a> {
        if let Some(buffer) = out.stream(self.stream) {
            write_error(StanzaKind::Iq, b"", b"", id.as_bytes(), &condition.into(), buffer);
        }
        ClientEvent::None
    }
}

/// Up to the last attribute that every header of ours has.
fn open_header(domain: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<?xml version='1.0'?><stream:stream xmlns='jabber:client'");
    out.extend_from_slice(b" xmlns:stream='http://etherx.jabber.org/streams' version='1.0' xml:lang='en'");
    writer::attribute("from", domain, out);
}

fn write_sasl(name: &str, message: &[u8], out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    writer::attribute("xmlns", SASL_NAMESPACE, out);
    if message.is_empty() {
        out.extend_from_slice(b"/>");
        return;
    }
    out.push(b'>');
    out.extend_from_slice(BASE64.encode(message).as_bytes());
    writer::close(name, out);
}

/// RFC 6120 7.6.1.
pub(super) fn write_bound(id: &str, address: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<iq type='result'");
    writer::attribute("id", id, out);
    out.extend_from_slice(b"><bind");
    writer::attribute("xmlns", BIND_NAMESPACE, out);
    out.push(b'>');
    writer::element("jid", address, out);
    out.extend_from_slice(b"</bind></iq>");
}

struct Header {
    to: Option<String>,
    from: Option<String>,
    version_supported: bool,
    namespaces: StreamNamespaces,
    fault: Option<StreamError>,
}

impl Header {
    fn read(bytes: &[u8], limits: &xml::Limits) -> Result<Self, (StreamError, String)> {
        let unreadable = |error: xml::Error| (StreamError::from(error), error.to_string());
        let none = StreamNamespaces::default();
        let mut reader = Reader::header(header_tag(bytes), &none, limits).map_err(unreadable)?;
        reader.next().map_err(unreadable)?;
        let namespaces = reader.stream_namespaces().map_err(unreadable)?;
        let fault = if reader.namespace() != ns::STREAM || !ns::may_be_default(namespaces.find(""), ns::CLIENT) {
            Some(StreamError::InvalidNamespace)
        } else if reader.name() != "stream" {
            Some(StreamError::BadFormat)
        } else {
            None
        };
        let owned =
            |name| reader.attribute(name).map(|value| value.map(|value| value.into_owned())).map_err(unreadable);
        let version_supported = owned("version")?.is_some_and(|version| supports(&version));
        Ok(Self { to: owned("to")?, from: owned("from")?, version_supported, namespaces, fault })
    }
}

/// The start tag behind the XML declaration, if there is one.
fn header_tag(bytes: &[u8]) -> &[u8] {
    if !bytes.starts_with(b"<?") {
        return bytes;
    }
    let behind = bytes.windows(2).position(|pair| pair == b"?>").and_then(|end| bytes.get(end + 2..)).unwrap_or(bytes);
    behind.trim_ascii_start()
}

/// RFC 6120 4.7.5: two integers; everything from 1.0 on can be talked to.
fn supports(version: &str) -> bool {
    match version.split_once('.') {
        Some((major, minor)) => {
            minor.bytes().all(|digit| digit.is_ascii_digit()) && major.parse::<u32>().is_ok_and(|major| major >= 1)
        }
        None => false,
    }
}

fn read_request(bytes: &[u8], namespaces: &StreamNamespaces, limits: &xml::Limits) -> Result<Request, xml::Error> {
    let mut reader = Reader::new(bytes, namespaces, limits)?;
    reader.next()?;
    let request = if reader.is(TLS_NAMESPACE, "starttls") {
        Request::StartTls
    } else if reader.is(SASL_NAMESPACE, "auth") {
        let mechanism = reader.attribute("mechanism")?.unwrap_or_default().into_owned();
        let text = reader.text_content()?;
        Request::Auth { mechanism, initial: (!text.is_empty()).then(|| sasl_message(&text)) }
    } else if reader.is(SASL_NAMESPACE, "response") {
        Request::Response(sasl_message(&reader.text_content()?))
    } else if reader.is(SASL_NAMESPACE, "abort") {
        Request::Abort
    } else if reader.is(ns::CLIENT, "iq") {
        read_iq(&mut reader)?
    } else if reader.namespace() == ns::CLIENT {
        Request::Stanza
    } else {
        Request::Unknown
    };
    reader.finish()?;
    Ok(request)
}

fn read_iq(reader: &mut Reader<'_, '_>) -> Result<Request, xml::Error> {
    let id = reader.attribute("id")?.unwrap_or_default().into_owned();
    let kind = reader.attribute("type")?.unwrap_or_default();
    while reader.next_child()? {
        if kind != "set" || !reader.is(BIND_NAMESPACE, "bind") {
            reader.skip_element()?;
            continue;
        }
        let mut resource = Ok(None);
        while reader.next_child()? {
            if reader.is(BIND_NAMESPACE, "resource") {
                let text = reader.text_content()?;
                resource = match normal_resource(&text) {
                    _ if text.is_empty() => Ok(None),
                    Ok(normal) => Ok(Some(normal.into_owned())),
                    Err(_) => Err(()),
                };
            } else {
                reader.skip_element()?;
            }
        }
        return Ok(Request::Bind { id, resource });
    }
    Ok(Request::OtherIq { id, answer: matches!(&*kind, "get" | "set") })
}

/// Base64 without white space; `=` is a message of no octets (RFC 6120 6.4.2).
fn sasl_message(text: &str) -> Message {
    if text == "=" {
        return Some(Zeroizing::new(Vec::new()));
    }
    BASE64.decode(text).ok().map(Zeroizing::new)
}
