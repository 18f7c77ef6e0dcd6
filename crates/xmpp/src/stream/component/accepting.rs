//! The server's side.

use super::{END, Header, Secret, begin_header};
use crate::ns;
use crate::stanza::{Stanza, parse_stanza};
use crate::stream::StreamError;
use std::sync::Arc;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use turn::{Input, Minter, Output, StreamId};
use xml::{Frame, Framer, Limits, StreamNamespaces};

/// What all component streams of a server share.
#[derive(Clone, Debug)]
pub struct AcceptorSettings {
    /// The domains that may attach themselves, in lower case, and their secrets.
    pub domains: Vec<(String, Secret)>,
    /// Limits of the streams.
    pub limits: Limits,
    /// How long a component may take until its handshake is accepted.
    pub handshake: Duration,
}

impl AcceptorSettings {
    /// Settings for these domains.
    pub fn new(domains: Vec<(String, Secret)>) -> Self {
        Self { domains, limits: Limits::default(), handshake: Duration::from_secs(10) }
    }
}

/// What an input meant.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it lives on the stack for one call; a box would cost an allocation")]
pub enum AcceptorEvent<'a> {
    /// Nothing for the owner; all that could be consumed is.
    None,
    /// The handshake is right. The owner answers before the next input: with [`ComponentAcceptor::admit`], or with
    /// [`ComponentAcceptor::fail`] and `conflict` if it has that component already.
    Handshake,
    /// A stanza from an address of the component's domain. It is never [`Stanza::Other`].
    Stanza(Stanza<'a>),
    /// The stream is over. Comes once; nothing can be written any more.
    Ended {
        /// What we said, if it was an error of the component.
        error: Option<StreamError>,
    },
}

/// ```text
///   Header -------> Handshake -------> Claimed -------> Up
///          header             digest           admit()
///
///   any -- stream error, timeout, </stream:stream>, loss --> Ended
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has come.
    Header,
    /// The digest is awaited.
    Handshake,
    /// The owner decides.
    Claimed,
    /// Stanzas flow.
    Up,
    /// Over.
    Ended,
}

/// One stream of a component, accepted.
///
/// Contract: after [`accept`](Self::accept), every input of the stream goes to [`handle_input`](Self::handle_input). For
/// [`Input::Received`] it is called again with the rest of the data until it gives [`AcceptorEvent::None`]. After
/// [`AcceptorEvent::Ended`], or after [`fail`](Self::fail), the owner drops it with [`Input::Closed`].
#[derive(Debug)]
pub struct ComponentAcceptor {
    settings: Arc<AcceptorSettings>,
    stream: StreamId,
    state: State,
    framer: Framer,
    namespaces: StreamNamespaces,
    /// The place of the component in the settings.
    domain: Option<usize>,
    id: String,
    deadline: Option<Instant>,
}

impl ComponentAcceptor {
    /// A stream that the driver has accepted.
    pub fn accept(settings: Arc<AcceptorSettings>, stream: StreamId, now: Instant) -> Self {
        Self {
            framer: Framer::new(settings.limits),
            state: State::Header,
            namespaces: StreamNamespaces::default(),
            domain: None,
            id: String::new(),
            deadline: Some(now + settings.handshake),
            stream,
            settings,
        }
    }

    /// The stream.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The domain that the component claims; proven from [`AcceptorEvent::Handshake`] on. Empty before its header.
    pub fn domain(&self) -> &str {
        self.row().map_or("", |(domain, _)| domain)
    }

    /// Whether stanzas flow.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// What the header of the component declares for its stanzas.
    pub fn namespaces(&self) -> &StreamNamespaces {
        &self.namespaces
    }

    /// Takes one input of this stream. Gives how many bytes of it were consumed, and what it meant.
    pub fn handle_input<'a>(
        &mut self,
        input: &Input<'a>,
        minter: &mut Minter,
        out: &mut Output,
    ) -> (usize, AcceptorEvent<'a>) {
        match *input {
            Input::Received { data, .. } => self.on_received(data, minter, out),
            Input::Closed { .. } if self.state != State::Ended => (0, self.over(None)),
            _ => (0, AcceptorEvent::None),
        }
    }

    /// Answers [`AcceptorEvent::Handshake`]: stanzas may flow.
    pub fn admit(&mut self, out: &mut Output) {
        if self.state != State::Claimed {
            return;
        }
        if let Some(buffer) = out.stream(self.stream) {
            buffer.extend_from_slice(b"<handshake/>");
        }
        self.state = State::Up;
        self.deadline = None;
    }

    /// Ends the stream with an error (RFC 6120 section 4.9). No [`AcceptorEvent::Ended`] follows.
    pub fn fail(&mut self, error: StreamError, text: &str, out: &mut Output) {
        if self.state != State::Ended {
            let _: AcceptorEvent<'_> = self.end(error, text, out);
        }
    }

    /// Ends the stream in order. No [`AcceptorEvent::Ended`] follows.
    pub fn close(&mut self, out: &mut Output) {
        if self.state != State::Ended {
            self.say_end(out);
            let _: AcceptorEvent<'_> = self.over(None);
        }
    }

    /// Does what is due.
    pub fn handle_timeout<'a>(&mut self, now: Instant, out: &mut Output) -> AcceptorEvent<'a> {
        match self.deadline {
            Some(deadline) if deadline <= now => self.end(StreamError::ConnectionTimeout, "", out),
            _ => AcceptorEvent::None,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.deadline.map(|deadline| (deadline, "handshake of a component"))
    }

    fn row(&self) -> Option<&(String, Secret)> {
        self.domain.and_then(|place| self.settings.domains.get(place))
    }

    fn on_received<'a>(&mut self, data: &'a [u8], minter: &mut Minter, out: &mut Output) -> (usize, AcceptorEvent<'a>) {
        let mut consumed = 0;
        loop {
            if self.state == State::Ended {
                return (data.len(), AcceptorEvent::None);
            }
            let frame = match self.framer.scan(data.get(consumed..).unwrap_or_default()) {
                Ok(frame) => frame,
                Err(error) => return (data.len(), self.end_unreadable(error, out)),
            };
            let event = match frame {
                Frame::Incomplete { consumed: more } => return (consumed + more, AcceptorEvent::None),
                Frame::Header { bytes, consumed: more } => {
                    consumed += more;
                    self.on_header(bytes, minter, out)
                }
                Frame::Stanza { bytes, consumed: more } => {
                    consumed += more;
                    self.on_element(bytes, out)
                }
                // Told by a tolerant framer only.
                Frame::Excess { error, .. } => return (data.len(), self.end_unreadable(error, out)),
                Frame::Close { .. } => {
                    consumed = data.len();
                    self.say_end(out);
                    self.over(None)
                }
            };
            if !matches!(event, AcceptorEvent::None) {
                return (consumed, event);
            }
        }
    }

    /// XEP-0114 section 3: the header names the domain that the component wants to be.
    fn on_header<'a>(&mut self, bytes: &[u8], minter: &mut Minter, out: &mut Output) -> AcceptorEvent<'a> {
        let header = match Header::parse(bytes, &self.settings.limits) {
            Ok(header) => header,
            Err(error) => return self.end_unreadable(error, out),
        };
        let to = header.to.unwrap_or_default();
        self.domain = self.settings.domains.iter().position(|(domain, _)| domain.eq_ignore_ascii_case(&to));
        if self.domain.is_none() {
            return self.end(StreamError::HostUnknown, "no component of that name may attach itself here", out);
        }
        let mut id = Vec::new();
        id.extend_from_slice(&turn::base32::<26>(minter.mint()));
        self.id = String::from_utf8_lossy(&id).into_owned();
        self.write_header(out);
        self.state = State::Handshake;
        if let Some(error) = header.fault {
            return self.end(error, "", out);
        }
        self.namespaces = header.namespaces;
        AcceptorEvent::None
    }

    fn on_element<'a>(&mut self, bytes: &'a [u8], out: &mut Output) -> AcceptorEvent<'a> {
        let stanza = match parse_stanza(bytes, &self.namespaces, &self.settings.limits) {
            Ok(stanza) => stanza,
            Err(error) => return self.end_unreadable(error, out),
        };
        match (self.state, stanza) {
            (State::Handshake, Stanza::Other { name: "handshake", raw, .. }) => self.on_handshake(raw, out),
            (State::Handshake | State::Header, _) => self.end(StreamError::NotAuthorized, "", out),
            // A component that has met an error says so and is gone.
            (_, Stanza::Other { name: "error", ns: space, .. }) if space == ns::STREAM => {
                self.say_end(out);
                self.over(None)
            }
            (_, Stanza::Other { .. }) => self.end(StreamError::UnsupportedStanzaType, "", out),
            (State::Up, stanza) => {
                let from = match &stanza {
                    Stanza::Message(message) => &message.from,
                    Stanza::Presence(presence) => &presence.from,
                    Stanza::Iq(iq) => &iq.from,
                    Stanza::Other { .. } => &None,
                };
                // XEP-0114 section 4: `from` is an address at the component's domain.
                match from {
                    Some(from) if domain_of(from).eq_ignore_ascii_case(self.domain()) => AcceptorEvent::Stanza(stanza),
                    _ => self.end(StreamError::InvalidFrom, "", out),
                }
            }
            (State::Claimed | State::Ended, _) => {
                debug_assert!(self.state != State::Claimed, "the owner answers the handshake before the next input");
                AcceptorEvent::None
            }
        }
    }

    fn on_handshake<'a>(&mut self, raw: &[u8], out: &mut Output) -> AcceptorEvent<'a> {
        let said = xml::Reader::new(raw, &self.namespaces, &self.settings.limits)
            .and_then(|mut reader| reader.next().and_then(|_| reader.text_content().map(|text| text.into_owned())));
        let said = match said {
            Ok(said) => said,
            Err(error) => return self.end_unreadable(error, out),
        };
        let Some((_, secret)) = self.row() else { return self.end(StreamError::HostUnknown, "", out) };
        let right = secret.digest(&self.id).ct_eq(said.trim().as_bytes());
        if bool::from(right) {
            self.state = State::Claimed;
            AcceptorEvent::Handshake
        } else {
            self.end(StreamError::NotAuthorized, "the digest is not that of the secret", out)
        }
    }

    fn write_header(&mut self, out: &mut Output) {
        let domain = self.row().map_or("", |(domain, _)| domain.as_str());
        let Some(buffer) = out.stream(self.stream) else { return };
        begin_header(buffer);
        if !domain.is_empty() {
            xml::writer::attribute("from", domain, buffer);
        }
        xml::writer::attribute("id", &self.id, buffer);
        // RFC 6120 4.7.4: the language of our texts.
        buffer.extend_from_slice(b" xml:lang='en'>");
    }

    fn end_unreadable<'a>(&mut self, error: xml::Error, out: &mut Output) -> AcceptorEvent<'a> {
        self.end(error.into(), &error.to_string(), out)
    }

    /// Says a stream error, behind a header if that is still owed (RFC 6120 section 4.9.1.2), and closes.
    fn end<'a>(&mut self, error: StreamError, text: &str, out: &mut Output) -> AcceptorEvent<'a> {
        if self.state == State::Header {
            self.write_header(out);
        }
        if let Some(buffer) = out.stream(self.stream) {
            error.write(text, buffer);
        }
        out.close(self.stream);
        self.over(Some(error))
    }

    fn say_end(&mut self, out: &mut Output) {
        if self.state != State::Header
            && let Some(buffer) = out.stream(self.stream)
        {
            buffer.extend_from_slice(END);
        }
        out.close(self.stream);
    }

    fn over<'a>(&mut self, error: Option<StreamError>) -> AcceptorEvent<'a> {
        self.state = State::Ended;
        self.deadline = None;
        AcceptorEvent::Ended { error }
    }
}

/// The domainpart of an address (RFC 7622 section 3.2): behind the first `@` of what stands before the first `/`.
fn domain_of(address: &str) -> &str {
    let bare = address.split_once('/').map_or(address, |(bare, _)| bare);
    bare.split_once('@').map_or(bare, |(_, domain)| domain)
}
