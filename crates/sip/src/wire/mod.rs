//! SIP messages on the wire: requests, responses, header fields, URIs (RFC 3261 sections 7, 18.3, 19, 20, 25).
//!
//! [`parse`] splits a message into spans and allocates nothing; [`Request::check`] and [`Response::essentials`] read the
//! values that every message must have; all other values are read by whoever wants them ([`headers`], [`uri`]). [`mod@print`]
//! writes, [`framing`] finds the messages in a stream. Lines, URIs and bodies keep their bytes: what is passed on is
//! passed on as it came.
//!
//! Deliberately not here: what a value means for a transaction or a dialog, and any decision that needs to know what
//! this element supports (405, 415, 420).

mod chars;
mod check;
pub mod framing;
mod head;
pub mod headers;
mod names;
#[cfg(test)]
mod oracles;
mod parse;
pub mod print;
mod status;
#[cfg(test)]
mod torture;
pub mod uri;

pub use check::Essentials;
pub use head::{Head, Line};
pub use headers::{CSeq, NameAddr, Via};
pub use names::HeaderName;
pub use parse::parse;
pub use status::status_phrase;
pub use uri::{Scheme, Uri, UriError};

/// What a message may take. All are checked before anything is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole message. More: 513 on a stream; a datagram cannot have more than 65535.
    pub message: usize,
    /// Header lines. More: 400.
    pub headers: usize,
    /// Bytes of one header line with its folds. More: 400.
    pub header_line: usize,
    /// Folds of one header line. More: 400.
    pub folds: usize,
    /// `Via` values. More: 400.
    pub vias: usize,
    /// `Route` values. More: 400.
    pub routes: usize,
    /// Bytes of the Request-URI. More: 414.
    pub uri: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 65_535, headers: 256, header_line: 8192, folds: 16, vias: 64, routes: 64, uri: 4096 }
    }
}

/// What carried the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// One datagram is one message; without Content-Length the body is the rest of it (RFC 3261 section 18.3).
    Datagram,
    /// The bytes of one message, cut out of a stream by [`framing::Framer`]; Content-Length is required.
    Stream,
}

/// A request or a response.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // both hold a Head; the difference is the typed Via of a request
pub enum Message<'a> {
    /// A request.
    Request(Request<'a>),
    /// A response.
    Response(Response<'a>),
}

/// A request that can at least be answered: it has a method and a readable top `Via`.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method<'a>,
    /// The Request-URI as received, not yet read.
    pub uri: &'a [u8],
    /// The topmost `Via` value, where the answer goes.
    pub via: Via<'a>,
    /// The header lines.
    pub head: Head<'a>,
    /// The body; empty if the request has a defect in its framing.
    pub body: &'a [u8],
    /// The message from its first to its last byte.
    pub bytes: &'a [u8],
    /// The first thing found wrong while splitting; [`Request::check`] reports it.
    pub defect: Option<Refusal>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response<'a> {
    /// The status code, 100 to 699.
    pub status: u16,
    /// The reason phrase, may be empty.
    pub reason: &'a [u8],
    /// The header lines.
    pub head: Head<'a>,
    /// The body.
    pub body: &'a [u8],
    /// The message from its first to its last byte.
    pub bytes: &'a [u8],
}

/// A method. Methods are tokens and compared with regard to case (RFC 3261 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method<'a> {
    /// `INVITE`
    Invite,
    /// `ACK`
    Ack,
    /// `BYE`
    Bye,
    /// `CANCEL`
    Cancel,
    /// `OPTIONS`
    Options,
    /// `REGISTER`
    Register,
    /// `MESSAGE` (RFC 3428)
    Message,
    /// `SUBSCRIBE` (RFC 6665)
    Subscribe,
    /// `NOTIFY` (RFC 6665)
    Notify,
    /// `PUBLISH` (RFC 3903)
    Publish,
    /// `INFO` (RFC 6086)
    Info,
    /// `PRACK` (RFC 3262)
    Prack,
    /// `UPDATE` (RFC 3311)
    Update,
    /// `REFER` (RFC 3515)
    Refer,
    /// Any other token.
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    /// The method that `token` names.
    pub fn from_bytes(token: &'a [u8]) -> Self {
        match token {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"OPTIONS" => Method::Options,
            b"REGISTER" => Method::Register,
            b"MESSAGE" => Method::Message,
            b"SUBSCRIBE" => Method::Subscribe,
            b"NOTIFY" => Method::Notify,
            b"PUBLISH" => Method::Publish,
            b"INFO" => Method::Info,
            b"PRACK" => Method::Prack,
            b"UPDATE" => Method::Update,
            b"REFER" => Method::Refer,
            other => Method::Other(other),
        }
    }

    /// How the method is written.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Method::Invite => b"INVITE",
            Method::Ack => b"ACK",
            Method::Bye => b"BYE",
            Method::Cancel => b"CANCEL",
            Method::Options => b"OPTIONS",
            Method::Register => b"REGISTER",
            Method::Message => b"MESSAGE",
            Method::Subscribe => b"SUBSCRIBE",
            Method::Notify => b"NOTIFY",
            Method::Publish => b"PUBLISH",
            Method::Info => b"INFO",
            Method::Prack => b"PRACK",
            Method::Update => b"UPDATE",
            Method::Refer => b"REFER",
            Method::Other(other) => other,
        }
    }
}

/// The answer to a request that is refused for what it is. The reason phrase says what is wrong (RFC 3261 section 21.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: &'static str,
}

impl Refusal {
    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }
}

/// Bytes that are no message anybody could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Drop silently and count under this name.
    #[error("{0}")]
    Drop(#[from] DropReason),
}

/// Why bytes are dropped without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DropReason {
    /// Nothing but line ends: a keep-alive (RFC 3261 section 7.5, RFC 5626 section 3.5.1).
    #[error("empty")]
    Empty,
    /// The first line is neither a request line nor a status line.
    #[error("not SIP")]
    NotSip,
    /// It ends within a line of the header.
    #[error("no end of header")]
    Unfinished,
    /// A request without a `Via` that says where an answer goes.
    #[error("no usable Via")]
    NoVia,
    /// A response that breaks the grammar or whose body is not all there (RFC 3261 section 18.3).
    #[error("malformed response")]
    BadResponse,
    /// Larger than [`Limits::message`].
    #[error("too long")]
    TooLong,
}

impl DropReason {
    /// A short name for counters.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::Empty => "keep_alive",
            DropReason::NotSip => "not_sip",
            DropReason::Unfinished => "unfinished",
            DropReason::NoVia => "no_via",
            DropReason::BadResponse => "bad_response",
            DropReason::TooLong => "too_long",
        }
    }
}
