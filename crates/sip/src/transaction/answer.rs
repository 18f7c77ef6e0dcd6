//! Responses: what the user of a transaction asks for, how it is kept, and how it is printed (RFC 3261 8.2.6).
//!
//! The first response and every repetition of it are printed by the same function from the same kept form, one with the
//! head that was copied at arrival, the other with the head of the retransmission: that is what makes them identical.

use super::Flow;
use super::finished::Kept;
use super::key::{span_in, write_tag};
use super::open::Memo;
use super::route::write_received_via;
use crate::wire::{self, Head, HeaderName, Via};
use std::io::Write as _;
use std::ops::BitOr;
use std::time::Duration;

/// Header fields that the endpoint adds to an answer from its [`Settings`](crate::endpoint::Settings) and the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extra(u8);

impl Extra {
    /// None.
    pub const NONE: Extra = Extra(0);
    /// Allow: the methods we understand. Must stand in a 405.
    pub const ALLOW: Extra = Extra(1);
    /// Accept: the types we take. Stands in a 415.
    pub const ACCEPT: Extra = Extra(1 << 1);
    /// Accept-Encoding. Stands in a 415 for a body's encoding.
    pub const ACCEPT_ENCODING: Extra = Extra(1 << 2);
    /// Accept-Language.
    pub const ACCEPT_LANGUAGE: Extra = Extra(1 << 3);
    /// Supported: the option tags we know.
    pub const SUPPORTED: Extra = Extra(1 << 4);
    /// Unsupported: those option tags in the request's Require that we do not know. Must stand in a 420.
    pub const UNSUPPORTED: Extra = Extra(1 << 5);
    /// All that a 200 to OPTIONS tells (11.2).
    pub const CAPABILITIES: Extra = Extra(0b1_1111);

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Extra) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Extra {
    type Output = Extra;
    fn bitor(self, other: Extra) -> Extra {
        Extra(self.0 | other.0)
    }
}

/// A final answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// Status code, 200 to 699; others are not sent (RFC 4320 4.1 forbids other provisionals).
    pub status: u16,
    /// Reason phrase, if not the usual one.
    pub reason: Option<&'a str>,
    /// Header fields that the endpoint knows.
    pub extra: Extra,
    /// Retry-After, in seconds.
    pub retry_after: Option<u32>,
    /// Text of a Warning with code 399 (20.43).
    pub warning: Option<&'a str>,
    /// Further header lines, each ended by CRLF.
    pub more: &'a [u8],
}

impl<'a> Answer<'a> {
    /// An answer that consists of its status.
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

/// `text` is the rest of a forwarded response from its From line on.
const FORWARDED: u8 = 1 << 6;
const HAS_RETRY_AFTER: u8 = 1 << 7;
/// Reason phrases and warnings are cut to this.
const LONGEST_TEXT: usize = 512;

/// Texts of our own side that answers are made with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phrases {
    /// The lines for the bits of [`Extra`], the one for Unsupported left out.
    lines: [Vec<u8>; 5],
    server: Vec<u8>,
    warn_agent: Vec<u8>,
}

impl Phrases {
    pub(crate) fn new(values: [&[u8]; 5], server: &[u8], warn_agent: &[u8]) -> Self {
        let names = ["Allow", "Accept", "Accept-Encoding", "Accept-Language", "Supported"];
        let mut lines: [Vec<u8>; 5] = Default::default();
        for ((line, name), value) in lines.iter_mut().zip(names).zip(values) {
            write_line(name, value, line);
        }
        let mut server_line = Vec::new();
        if !server.is_empty() {
            write_line("Server", server, &mut server_line);
        }
        Self { lines, server: server_line, warn_agent: warn_agent.to_vec() }
    }
}

fn write_line(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Puts an answer into the form that is kept; `text` is an empty buffer for its words.
pub(crate) fn keep<'t>(answer: &Answer<'_>, text: &'t mut Vec<u8>) -> Kept<'t> {
    let reason = cut(answer.reason.unwrap_or_default());
    let warning = cut(answer.warning.unwrap_or_default());
    if !(reason.is_empty() && warning.is_empty() && answer.more.is_empty()) {
        text.extend_from_slice(&(reason.len() as u16).to_le_bytes());
        text.extend_from_slice(&(warning.len() as u16).to_le_bytes());
        text.extend_from_slice(reason.as_bytes());
        text.extend_from_slice(warning.as_bytes());
        text.extend_from_slice(answer.more);
    }
    let retry = if answer.retry_after.is_some() { HAS_RETRY_AFTER } else { 0 };
    Kept {
        status: answer.status,
        shape: answer.extra.0 | retry,
        retry_after: answer.retry_after.unwrap_or_default(),
        text,
    }
}

/// Puts a response that is passed on into the form that is kept: its status line, and all its lines but the Vias, with its
/// body.
pub(crate) fn keep_forwarded<'t>(response: &wire::Response<'_>, text: &'t mut Vec<u8>) -> Kept<'t> {
    let reason_len = response.reason.len().min(usize::from(u16::MAX));
    text.extend_from_slice(&(reason_len as u16).to_le_bytes());
    text.extend_from_slice(&response.reason[..reason_len]);
    let mut has_length = false;
    for line in response.head.lines() {
        if line.name != HeaderName::Via {
            has_length |= line.name == HeaderName::ContentLength;
            text.extend_from_slice(line.raw_name);
            text.extend_from_slice(b": ");
            text.extend_from_slice(line.value);
            text.extend_from_slice(b"\r\n");
        }
    }
    if !has_length {
        wire::print::number_header(HeaderName::ContentLength, response.body.len() as u64, text);
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(response.body);
    Kept { status: response.status, shape: FORWARDED, retry_after: 0, text }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

/// Whether this is the kept form of an answer, as far as can be seen: of one that was read from somewhere.
pub(crate) fn is_whole(kept: &Kept<'_>) -> bool {
    let length = |octets| usize::from(u16::from_le_bytes(octets));
    let has_text = match *kept.text {
        [a, b, ref rest @ ..] if kept.shape & FORWARDED != 0 => length([a, b]) <= rest.len(),
        _ if kept.shape & FORWARDED != 0 => false,
        [a, b, c, d, ref rest @ ..] => length([a, b]) + length([c, d]) <= rest.len(),
        ref text => text.is_empty(),
    };
    has_text && (200..700).contains(&kept.status)
}

/// What a response is printed from besides its kept form.
pub(crate) trait Source {
    /// Appends the Via lines of the response.
    fn write_vias(&self, out: &mut Vec<u8>);
    /// Appends From, To, Call-ID and CSeq.
    fn write_rest(&self, out: &mut Vec<u8>);
    /// Appends the option tags for Unsupported.
    fn write_unsupported(&self, out: &mut Vec<u8>);
}

impl Source for &Memo {
    fn write_vias(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.vias());
    }
    fn write_rest(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head()[self.vias_end.min(self.head_end)..]);
    }
    fn write_unsupported(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.unsupported());
    }
}

/// Mends a value that a response repeats. The request may be refused for the very line ends in it, and each of them could
/// begin a header of the stranger's own: only folds stay.
fn one_value(value: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', &value[from..]).map(|at| from + at) {
        if matches!(value[at..], [b'\r', b'\n', b' ' | b'\t', ..]) {
            from = at + 2;
        } else {
            value[at] = b' ';
            from = at + 1;
        }
    }
}

/// A request as it arrived.
#[derive(Clone, Copy)]
pub(crate) struct Arrived<'r, 'a> {
    pub(crate) head: &'r Head<'a>,
    pub(crate) flow: &'r Flow,
    pub(crate) via: &'r Via<'a>,
    /// What to add to the value of To; `None` where there is a tag, or where the value cannot be read.
    pub(crate) to_tag: Option<u64>,
    /// The option tags that we know, as the value of Supported.
    pub(crate) supported: &'r [u8],
}

impl Arrived<'_, '_> {
    /// Fills `memo`, so that it prints what this prints.
    pub(crate) fn remember(&self, memo: &mut Memo) {
        let bytes = &mut memo.bytes;
        bytes.clear();
        self.write_vias(bytes);
        memo.vias_end = bytes.len();
        self.write_rest(bytes);
        memo.head_end = bytes.len();
        self.write_unsupported(bytes);
        memo.unsupported_end = bytes.len();
        bytes.extend_from_slice(self.head.first(HeaderName::Timestamp).unwrap_or_default());
    }
}

impl Source for Arrived<'_, '_> {
    fn write_vias(&self, out: &mut Vec<u8>) {
        let mut top = true;
        for line in self.head.lines().filter(|line| line.name == HeaderName::Via) {
            out.extend_from_slice(b"Via: ");
            let start = out.len();
            match span_in(line.value, self.via.raw) {
                Some(span) if top => {
                    out.extend_from_slice(&line.value[..span.start]);
                    write_received_via(self.via, self.flow, out);
                    out.extend_from_slice(&line.value[span.end..]);
                }
                _ => out.extend_from_slice(line.value),
            }
            one_value(&mut out[start..]);
            out.extend_from_slice(b"\r\n");
            top = false;
        }
    }

    fn write_rest(&self, out: &mut Vec<u8>) {
        for name in [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
            let Some(value) = self.head.first(name) else { continue };
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            let start = out.len();
            out.extend_from_slice(value);
            one_value(&mut out[start..]);
            if let (HeaderName::To, Some(tag)) = (name, self.to_tag) {
                out.extend_from_slice(b";tag=");
                write_tag(tag, out);
            }
            out.extend_from_slice(b"\r\n");
        }
    }

    fn write_unsupported(&self, out: &mut Vec<u8>) {
        if self.head.first(HeaderName::Require).is_none() {
            return;
        }
        let start = out.len();
        for tag in self.head.list(HeaderName::Require) {
            if !has_option(self.supported, tag) {
                if out.len() > start {
                    out.extend_from_slice(b", ");
                }
                out.extend_from_slice(tag);
            }
        }
    }
}

/// Whether a list of option tags names this one.
pub(crate) fn has_option(list: &[u8], tag: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|known| known.trim_ascii().eq_ignore_ascii_case(tag))
}

/// Appends the final response.
pub(crate) fn print(kept: &Kept<'_>, source: impl Source, phrases: &Phrases, out: &mut Vec<u8>) {
    if kept.shape & FORWARDED != 0 {
        let Some((reason, rest)) = split_forwarded(kept.text) else { return };
        print_status_line(kept.status, reason, out);
        source.write_vias(out);
        out.extend_from_slice(rest);
        return;
    }
    let (reason, warning, more) = split_text(kept.text);
    let usual = wire::status_phrase(kept.status).as_bytes();
    print_status_line(kept.status, if reason.is_empty() { usual } else { reason }, out);
    source.write_vias(out);
    source.write_rest(out);
    for (bit, line) in phrases.lines.iter().enumerate() {
        if kept.shape & 1 << bit != 0 {
            out.extend_from_slice(line);
        }
    }
    if Extra(kept.shape).contains(Extra::UNSUPPORTED) {
        out.extend_from_slice(b"Unsupported: ");
        source.write_unsupported(out);
        out.extend_from_slice(b"\r\n");
    }
    if kept.shape & HAS_RETRY_AFTER != 0 {
        wire::print::number_header(HeaderName::RetryAfter, kept.retry_after.into(), out);
    }
    if !warning.is_empty() {
        out.extend_from_slice(b"Warning: 399 ");
        out.extend_from_slice(&phrases.warn_agent);
        out.push(b' ');
        wire::print::quoted_string(warning, out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(more);
    out.extend_from_slice(&phrases.server);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// Appends "100 Trying" (8.2.6.1, RFC 4320 4.1), with the request's Timestamp and how long it took.
pub(crate) fn print_trying(memo: &Memo, delay: Duration, phrases: &Phrases, out: &mut Vec<u8>) {
    print_status_line(100, wire::status_phrase(100).as_bytes(), out);
    out.extend_from_slice(memo.head());
    if let Some(stamp) = memo.timestamp().split(|byte| byte.is_ascii_whitespace()).next().filter(|s| !s.is_empty()) {
        out.extend_from_slice(b"Timestamp: ");
        out.extend_from_slice(stamp);
        let _ = write!(out, " {}.{:03}\r\n", delay.as_secs(), delay.subsec_millis());
    }
    out.extend_from_slice(&phrases.server);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

fn print_status_line(status: u16, reason: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"SIP/2.0 ");
    wire::print::decimal(status.into(), out);
    out.push(b' ');
    wire::print::one_line(reason, out);
    out.extend_from_slice(b"\r\n");
}

fn split_text(text: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let Some((&[r0, r1, w0, w1], rest)) = text.split_first_chunk() else { return (b"", b"", b"") };
    let (reason, rest) = split_at_most(rest, u16::from_le_bytes([r0, r1]));
    let (warning, more) = split_at_most(rest, u16::from_le_bytes([w0, w1]));
    (reason, warning, more)
}

fn split_forwarded(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[r0, r1], rest) = text.split_first_chunk()?;
    Some(split_at_most(rest, u16::from_le_bytes([r0, r1])))
}

fn split_at_most(bytes: &[u8], at: u16) -> (&[u8], &[u8]) {
    bytes.split_at(usize::from(at).min(bytes.len()))
}
