//! The component's side.

use super::{END, Header, Secret, begin_header, parse_stream_error};
use crate::ns;
use crate::stanza::{Condition, OutError, Stanza, StanzaKind, parse_head, parse_stanza, write_error};
use crate::stream::StreamError;
use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};
use turn::{CloseCause, Input, Minter, Output, StreamId, Target};
use xml::{Fault, Frame, Framer, Limits, StreamNamespaces};

/// Nothing is written about stanzas beyond a limit where so many octets wait for the server: one that writes and does not read
/// costs no more.
const MOST_UNSENT: usize = 1 << 18;

/// What a component needs to attach itself.
#[derive(Clone, Debug)]
pub struct ComponentSettings {
    /// The domain of the component.
    pub domain: String,
    /// What it shares with its server.
    pub secret: Secret,
    /// The server: its place in the configuration of the driver.
    pub target: u16,
    /// Limits of the stream.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
}

impl ComponentSettings {
    /// Settings with the usual limits and times.
    pub fn new(domain: impl Into<String>, secret: impl Into<Vec<u8>>, target: u16) -> Self {
        Self {
            domain: domain.into(),
            secret: Secret::new(secret),
            target,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// From then until the server has accepted the handshake.
    pub handshake: Duration,
    /// The wait before the second attempt; every further one doubles it.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// A stream that stood for so long was good: the next wait is the first again.
    pub good: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(30),
            good: Duration::from_secs(10),
        }
    }
}

/// What an input or a timeout meant.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it lives on the stack for one call; a box would cost an allocation")]
pub enum ComponentEvent<'a> {
    /// Nothing for the owner; all that could be consumed is.
    None,
    /// The server has accepted the handshake: stanzas flow.
    Up,
    /// A stanza. It is never [`Stanza::Other`].
    Stanza(Stanza<'a>),
    /// The stream, or the attempt at one, is over. Comes once for each; the next attempt comes by itself.
    Down {
        /// Why, for the operator.
        reason: DownReason<'a>,
    },
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason<'a> {
    /// The connection could not be made.
    Unreachable,
    /// It did not stand in time.
    ConnectTimeout,
    /// The server did not accept the handshake in time.
    HandshakeTimeout,
    /// The server said an error: `not-authorized` is a wrong secret, `host-unknown` a domain that it does not have as a
    /// component, `conflict` a second connection for it.
    Refused {
        /// Its condition.
        condition: StreamError,
        /// Its text.
        text: Option<Cow<'a, str>>,
    },
    /// We said an error, because of what the server sent.
    Ended {
        /// What we said.
        condition: StreamError,
        /// What was wrong.
        cause: Fatal,
    },
    /// The server ended the stream in order.
    Closed,
    /// The connection is gone without a word.
    Lost(CloseCause),
    /// The owner called [`Component::give_up`].
    Unresponsive,
    /// The owner called [`Component::stop`].
    Stopped,
}

impl fmt::Display for DownReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("the connection could not be made"),
            Self::ConnectTimeout => f.write_str("the connection did not stand in time"),
            Self::HandshakeTimeout => f.write_str("the server did not accept the handshake in time"),
            Self::Refused { condition, text } => {
                write!(f, "the server says {}", condition.name())?;
                f.write_str(match condition {
                    StreamError::NotAuthorized => ": the secret is not the one it has",
                    StreamError::HostUnknown => ": it has no component of this domain",
                    StreamError::Conflict => ": this component is connected already",
                    StreamError::InvalidNamespace => ": the port is not one for components",
                    _ => "",
                })?;
                text.as_ref().map_or(Ok(()), |text| write!(f, " ({})", text.escape_debug()))
            }
            Self::Ended { condition, cause } => write!(f, "ended with {}: {cause}", condition.name()),
            Self::Closed => f.write_str("the server closed the stream"),
            Self::Lost(_) => f.write_str("the connection is lost"),
            Self::Unresponsive => f.write_str("the server does not answer"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// What of the server's could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// It is not XML as streams allow it.
    #[error("unreadable: {0}")]
    Xml(#[from] xml::Error),
    /// Its header is not one of XEP-0114.
    #[error("a header that is not one of XEP-0114")]
    Header,
    /// A stanza came before the handshake was accepted.
    #[error("a stanza before the handshake")]
    Early,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections tried.
    pub attempts: u64,
    /// Handshakes accepted.
    pub handshakes: u64,
    /// Stanzas received and given to the owner.
    pub stanzas: u64,
    /// Stanzas over a limit, passed over and where possible answered with `policy-violation`.
    pub excess: u64,
    /// Of those, the ones whose sender was not told, because the server does not read what waits for it.
    pub untold: u64,
    /// Elements that are no stanzas, passed over.
    pub unknown: u64,
}

/// The connection and how far it is.
///
/// ```text
///              due            Connected          header             <handshake/>
///   Waiting ---------> Connecting ------> Opening ------> Handshaking ----------> Up
///      ^                   |                 |                 |                  |
///      |                   | timeout         | timeout, error, </stream:stream>,  |
///      |                   |                 | what cannot be read                |
///      |    Closed         v                 v                 v                  v
///      +----------------------------------- Closing <-----------------------------+
///      |                                                                          |
///      +---- Closed without a word, in any state with a stream -------------------+
/// ```
///
/// In Closing we have said what was to be said and wait for [`Input::Closed`]: a server that still knows the old
/// connection would refuse the new one with `conflict`.
#[derive(Debug)]
enum State {
    Waiting { until: Instant },
    Connecting { stream: StreamId, deadline: Instant },
    Opening { stream: StreamId, deadline: Instant },
    Handshaking { stream: StreamId, deadline: Instant },
    Up { stream: StreamId },
    Closing { stream: StreamId },
    Stopped,
}

/// One domain attached to one server, and attached again whenever the stream is lost.
///
/// Contract: [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) is due, the first time at
/// once; all inputs of [`stream`](Self::stream) go to [`handle_input`](Self::handle_input). For [`Input::Received`] it is
/// called again with the rest of the data until it gives [`ComponentEvent::None`]. What is to be sent is written to the
/// buffer of the stream while [`is_up`](Self::is_up); a server that does not read shows in `Output::unsent_len`.
#[derive(Debug)]
pub struct Component {
    settings: ComponentSettings,
    /// Those of the stream after this one.
    next_limits: Limits,
    minter: Minter,
    state: State,
    framer: Framer,
    namespaces: StreamNamespaces,
    /// Attempts in a row that did not lead to a good stream.
    failures: u32,
    /// Since when the current stream is up.
    up_since: Option<Instant>,
    stopping: bool,
    counters: Counters,
}

impl Component {
    /// A component that wants its first connection at `now`.
    pub fn new(settings: ComponentSettings, minter: Minter, now: Instant) -> Self {
        Self {
            framer: Framer::tolerant(settings.limits),
            next_limits: settings.limits,
            settings,
            minter,
            state: State::Waiting { until: now },
            namespaces: StreamNamespaces::default(),
            failures: 0,
            up_since: None,
            stopping: false,
            counters: Counters::default(),
        }
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        &self.settings.domain
    }

    /// Whether stanzas flow.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// The stream, if there is one in any state.
    pub fn stream(&self) -> Option<StreamId> {
        match self.state {
            State::Waiting { .. } | State::Stopped => None,
            State::Connecting { stream, .. }
            | State::Opening { stream, .. }
            | State::Handshaking { stream, .. }
            | State::Up { stream }
            | State::Closing { stream } => Some(stream),
        }
    }

    /// Another secret and other limits for the next connection; the stream that stands is not touched.
    pub fn reconfigure(&mut self, secret: Secret, limits: Limits) {
        self.settings.secret = secret;
        self.next_limits = limits;
    }

    /// The limits of the stream.
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// What the header of the server declares for its stanzas.
    pub fn namespaces(&self) -> &StreamNamespaces {
        &self.namespaces
    }

    /// Counts since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes one input. Gives how many bytes of it were consumed, and what it meant.
    pub fn handle_input<'a>(
        &mut self,
        now: Instant,
        input: &Input<'a>,
        out: &mut Output,
    ) -> (usize, ComponentEvent<'a>) {
        match *input {
            Input::Connected { stream, .. } if self.stream() == Some(stream) => {
                self.on_connected(now, stream, out);
                (0, ComponentEvent::None)
            }
            Input::Received { stream, data } if self.stream() == Some(stream) => {
                self.on_received(now, stream, data, out)
            }
            Input::Closed { stream, cause } if self.stream() == Some(stream) => (0, self.on_closed(now, cause)),
            _ => (0, ComponentEvent::None),
        }
    }

    /// Passes over a stanza that begins where the stream stands, and that the owner knows without reading it: another one was
    /// read on this stream that differs from it in letters of a value alone. `false` where the stream stands elsewhere.
    pub fn pass_over(&mut self) -> bool {
        let passes = self.is_up() && self.framer.is_between();
        self.counters.stanzas += u64::from(passes);
        passes
    }

    /// Does what is due.
    pub fn handle_timeout<'a>(&mut self, now: Instant, out: &mut Output) -> ComponentEvent<'a> {
        match self.state {
            State::Waiting { until } if until <= now => {
                self.counters.attempts += 1;
                let stream = out.connect(Target::Configured(self.settings.target));
                self.state = State::Connecting { stream, deadline: now + self.settings.timeouts.connect };
                ComponentEvent::None
            }
            State::Connecting { stream, deadline } if deadline <= now => {
                self.close(stream, DownReason::ConnectTimeout, out)
            }
            State::Opening { stream, deadline } | State::Handshaking { stream, deadline } if deadline <= now => {
                if let Some(buffer) = out.stream(stream) {
                    StreamError::ConnectionTimeout.write("", buffer);
                }
                self.close(stream, DownReason::HandshakeTimeout, out)
            }
            _ => ComponentEvent::None,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next, and for what.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self.state {
            State::Waiting { until } => Some((until, "component: next attempt")),
            State::Connecting { deadline, .. } => Some((deadline, "component: connecting")),
            State::Opening { deadline, .. } | State::Handshaking { deadline, .. } => {
                Some((deadline, "component: handshake"))
            }
            State::Up { .. } | State::Closing { .. } | State::Stopped => None,
        }
    }

    /// Ends the stream in order, for good.
    pub fn stop<'a>(&mut self, out: &mut Output) -> ComponentEvent<'a> {
        self.stopping = true;
        match self.state {
            State::Waiting { .. } => {
                self.state = State::Stopped;
                ComponentEvent::None
            }
            State::Closing { .. } | State::Stopped => ComponentEvent::None,
            State::Connecting { stream, .. } => self.close(stream, DownReason::Stopped, out),
            State::Opening { stream, .. } | State::Handshaking { stream, .. } | State::Up { stream } => {
                write_end(stream, out);
                self.close(stream, DownReason::Stopped, out)
            }
        }
    }

    /// Ends a stream whose server does not react any more (RFC 6120 4.6.2); the next attempt comes by itself.
    pub fn give_up<'a>(&mut self, out: &mut Output) -> ComponentEvent<'a> {
        match self.state {
            State::Up { stream } => {
                if let Some(buffer) = out.stream(stream) {
                    StreamError::ConnectionTimeout.write("", buffer);
                }
                self.close(stream, DownReason::Unresponsive, out)
            }
            _ => ComponentEvent::None,
        }
    }

    fn on_connected(&mut self, now: Instant, stream: StreamId, out: &mut Output) {
        if !matches!(self.state, State::Connecting { .. }) {
            return;
        }
        self.settings.limits = self.next_limits;
        self.framer = Framer::tolerant(self.settings.limits);
        if let Some(buffer) = out.stream(stream) {
            begin_header(buffer);
            xml::writer::attribute("to", &self.settings.domain, buffer);
            buffer.push(b'>');
        }
        self.state = State::Opening { stream, deadline: now + self.settings.timeouts.handshake };
    }

    fn on_received<'a>(
        &mut self,
        now: Instant,
        stream: StreamId,
        data: &'a [u8],
        out: &mut Output,
    ) -> (usize, ComponentEvent<'a>) {
        let mut consumed = 0;
        loop {
            if matches!(self.state, State::Closing { .. }) {
                return (data.len(), ComponentEvent::None);
            }
            let frame = match self.framer.scan(data.get(consumed..).unwrap_or_default()) {
                Ok(frame) => frame,
                Err(error) => return (data.len(), self.end_unreadable(stream, error, out)),
            };
            let event = match frame {
                Frame::Incomplete { consumed: more } => return (consumed + more, ComponentEvent::None),
                Frame::Header { bytes, consumed: more } => {
                    consumed += more;
                    self.on_header(stream, bytes, out)
                }
                Frame::Stanza { bytes, consumed: more } => {
                    consumed += more;
                    self.on_element(now, stream, bytes, out)
                }
                Frame::Excess { head, consumed: more, .. } => {
                    consumed += more;
                    self.refuse(stream, head, out);
                    ComponentEvent::None
                }
                Frame::Close { .. } => {
                    consumed = data.len();
                    write_end(stream, out);
                    self.close(stream, DownReason::Closed, out)
                }
            };
            if !matches!(event, ComponentEvent::None) {
                return (consumed, event);
            }
        }
    }

    fn on_header<'a>(&mut self, stream: StreamId, bytes: &'a [u8], out: &mut Output) -> ComponentEvent<'a> {
        let header = match Header::parse(bytes, &self.settings.limits) {
            Ok(header) => header,
            Err(error) => return self.end_unreadable(stream, error, out),
        };
        if let Some(condition) = header.fault {
            return self.end(stream, condition, Fatal::Header, out);
        }
        // COMPAT: ejabberd 23.01 hands on names with the prefixes that a user declared, and not the declarations, where they
        // stood on his stream or further out in the stanza (tests/peers/hostile_senders.rs).
        self.namespaces = header.namespaces.with_unbound_prefixes();
        let State::Opening { deadline, .. } = self.state else { return ComponentEvent::None };
        self.state = State::Handshaking { stream, deadline };
        // Without an id a stream error follows; a digest of the secret alone could be used again by whoever reads it.
        if let Some(id) = header.id.filter(|id| !id.is_empty())
            && let Some(buffer) = out.stream(stream)
        {
            xml::writer::element("handshake", self.settings.secret.digest(&id), buffer);
        }
        ComponentEvent::None
    }

    fn on_element<'a>(
        &mut self,
        now: Instant,
        stream: StreamId,
        bytes: &'a [u8],
        out: &mut Output,
    ) -> ComponentEvent<'a> {
        let up = self.is_up();
        match parse_stanza(bytes, &self.namespaces, &self.settings.limits) {
            Ok(Stanza::Other { name: "error", ns: space, raw }) if space == ns::STREAM => {
                write_end(stream, out);
                match parse_stream_error(raw, &self.namespaces, &self.settings.limits) {
                    Ok((condition, text)) => self.close(stream, DownReason::Refused { condition, text }, out),
                    Err(error) => self.end_unreadable(stream, error, out),
                }
            }
            Ok(Stanza::Other { name: "handshake", ns: space, .. }) if space == ns::COMPONENT && !up => {
                self.state = State::Up { stream };
                self.up_since = Some(now);
                self.counters.handshakes += 1;
                ComponentEvent::Up
            }
            Ok(Stanza::Other { .. }) => {
                self.counters.unknown += 1;
                ComponentEvent::None
            }
            Ok(stanza) if up => {
                self.counters.stanzas += 1;
                ComponentEvent::Stanza(stanza)
            }
            Ok(_) => self.end(stream, StreamError::NotAuthorized, Fatal::Early, out),
            // A limit of ours: the stream is still XML, and others use it too.
            Err(error) if error.fault() == Fault::Limit => {
                self.refuse(stream, bytes, out);
                ComponentEvent::None
            }
            Err(error) => self.end_unreadable(stream, error, out),
        }
    }

    /// A stanza over a limit is passed over; its sender is told if it can be found and wants to know.
    fn refuse(&mut self, stream: StreamId, head: &[u8], out: &mut Output) {
        self.counters.excess += 1;
        let Some(head) = parse_head(head, &self.namespaces, &self.settings.limits) else { return };
        let wanted = match (head.kind, head.stanza_type.as_deref()) {
            (StanzaKind::Message, stanza_type) => stanza_type != Some("error"),
            (StanzaKind::Iq, stanza_type) => matches!(stanza_type, Some("get" | "set")),
            (StanzaKind::Presence, _) => false,
        };
        if let (true, Some(from), Some(to)) = (wanted && self.is_up(), &head.from, &head.to) {
            let room = out.unsent_len(stream) < MOST_UNSENT;
            let Some(buffer) = out.stream(stream).filter(|_| room) else {
                self.counters.untold += 1;
                return;
            };
            let error = OutError { text: Some(b"the stanza is too large"), ..Condition::PolicyViolation.into() };
            let id = head.id.as_deref().unwrap_or_default();
            write_error(head.kind, to.as_bytes(), from.as_bytes(), id.as_bytes(), &error, buffer);
        }
    }

    fn on_closed<'a>(&mut self, now: Instant, cause: CloseCause) -> ComponentEvent<'a> {
        let event = match self.state {
            State::Closing { .. } | State::Waiting { .. } | State::Stopped => ComponentEvent::None,
            State::Connecting { .. } => ComponentEvent::Down { reason: DownReason::Unreachable },
            _ => ComponentEvent::Down { reason: DownReason::Lost(cause) },
        };
        let stood = self.up_since.take().map(|since| now.saturating_duration_since(since));
        if stood.is_some_and(|stood| stood >= self.settings.timeouts.good) {
            self.failures = 0;
        }
        self.state = if self.stopping { State::Stopped } else { State::Waiting { until: now + self.next_wait() } };
        event
    }

    /// Doubles with every failure, and lies between the half and the whole of that, so that components that lost the same
    /// server do not come back all at once.
    fn next_wait(&mut self) -> Duration {
        let Timeouts { first_wait, longest_wait, .. } = self.settings.timeouts;
        let wait = first_wait.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(longest_wait);
        self.failures = self.failures.saturating_add(1);
        let half = wait / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        half + Duration::from_micros((self.minter.mint() as u64) % micros)
    }

    fn end_unreadable<'a>(&mut self, stream: StreamId, error: xml::Error, out: &mut Output) -> ComponentEvent<'a> {
        self.end(stream, error.into(), error.into(), out)
    }

    /// Says a stream error and closes.
    fn end<'a>(
        &mut self,
        stream: StreamId,
        condition: StreamError,
        cause: Fatal,
        out: &mut Output,
    ) -> ComponentEvent<'a> {
        if let Some(buffer) = out.stream(stream) {
            condition.write("", buffer);
        }
        self.close(stream, DownReason::Ended { condition, cause }, out)
    }

    fn close<'a>(&mut self, stream: StreamId, reason: DownReason<'a>, out: &mut Output) -> ComponentEvent<'a> {
        out.close(stream);
        self.state = State::Closing { stream };
        ComponentEvent::Down { reason }
    }
}

fn write_end(stream: StreamId, out: &mut Output) {
    if let Some(buffer) = out.stream(stream) {
        buffer.extend_from_slice(END);
    }
}
