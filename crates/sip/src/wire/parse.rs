//! Splits a message into start line, header lines and body.
//!
//! One pass, one look at each line end, no allocation for up to 32 lines. Lines end with CRLF (RFC 3261 section 7); a
//! lone CR or LF in the header is a defect that gets a 400, because elements that disagree about where a line ends
//! disagree about everything behind it.

use smallvec::SmallVec;

use super::chars;
use super::head::{Head, Span};
use super::headers::Via;
use super::names::HeaderName;
use super::{Carriage, DropReason, Limits, Message, Method, Refusal, Request, Response, Unreadable};

const LINE_BREAK: Refusal = Refusal::bad("Bad Request: Lone CR or LF in Header");
const HEADER_LINE: Refusal = Refusal::bad("Bad Request: Malformed Header Line");
const REQUEST_LINE: Refusal = Refusal::bad("Bad Request: Malformed Request Line");
const VERSION: Refusal = Refusal { status: 505, reason: "Version Not Supported" };
const URI_LENGTH: Refusal = Refusal { status: 414, reason: "Request-URI Too Long" };
const TOO_LARGE: Refusal = Refusal { status: 513, reason: "Message Too Large" };
const LINE_COUNT: Refusal = Refusal::bad("Bad Request: Too Many Header Lines");
const LINE_LENGTH: Refusal = Refusal::bad("Bad Request: Header Line Too Long");
const VIA: Refusal = Refusal::bad("Bad Request: Malformed Via");
const UNFINISHED: Refusal = Refusal::bad("Bad Request: No Empty Line Behind Header");
const FOLDS: Refusal = Refusal::bad("Bad Request: Header Line Folded Too Often");
const CONTENT_LENGTH: Refusal = Refusal::bad("Bad Request: Malformed Content-Length");
const CONTENT_LENGTHS: Refusal = Refusal::bad("Bad Request: Contradicting Content-Length");
const CONTENT_LENGTH_MISSING: Refusal = Refusal::bad("Bad Request: Missing Content-Length");
const BODY_SHORT: Refusal = Refusal::bad("Bad Request: Content-Length Larger Than Body");

/// Splits one message.
///
/// A request comes out `Ok` whenever it can be answered; what is wrong with it is in [`Request::defect`]. Line ends before
/// the start line are skipped (RFC 3261 section 7.5), bytes behind the body of a datagram are ignored (section 18.3).
pub fn parse<'a>(bytes: &'a [u8], carriage: Carriage, limits: &Limits) -> Result<Message<'a>, Unreadable> {
    let skipped = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).ok_or(DropReason::Empty)?;
    let bytes = bytes.get(skipped..).unwrap_or_default();
    if u32::try_from(bytes.len()).is_err() {
        return Err(DropReason::TooLong.into());
    }
    let too_large = bytes.len() > limits.message;
    let (start_line, head_start, lone) = line(bytes, 0).ok_or(DropReason::Unfinished)?;
    let start = StartLine::read(start_line)?;
    if too_large && matches!(start, StartLine::Response { .. }) {
        return Err(DropReason::TooLong.into());
    }
    let mut defect = match (too_large, lone) {
        (true, _) => Some(TOO_LARGE),
        (false, true) => Some(LINE_BREAK),
        (false, false) => None,
    };
    let (head, body_start) = header_lines(bytes, head_start, carriage, limits, &mut defect)?;
    let rest = bytes.get(body_start..).unwrap_or_default();
    let body = match body_length(&head, rest.len(), carriage) {
        Ok(length) => rest.get(..length).unwrap_or_default(),
        Err(refusal) => {
            defect.get_or_insert(refusal);
            b""
        }
    };
    let bytes = bytes.get(..body_start.saturating_add(body.len())).unwrap_or_default();
    match start {
        StartLine::Response { status, reason } => {
            if defect.is_some() {
                return Err(DropReason::BadResponse.into());
            }
            Ok(Message::Response(Response { status, reason, head, body, bytes }))
        }
        StartLine::Request { method, uri, defect: in_start_line } => {
            let via = head.first(HeaderName::Via).and_then(|value| Via::read(value).ok());
            let (via, in_via) = via.ok_or(DropReason::NoVia)?;
            let too_long = (uri.len() > limits.uri).then_some(URI_LENGTH);
            let defect = in_start_line.or(too_long).or(defect).or(in_via.map(|_| VIA));
            Ok(Message::Request(Request { method, uri, via, head, body, bytes, defect }))
        }
    }
}

/// The line that starts at `from`: its bytes without the line end, where the next one starts, and whether a lone CR or
/// LF was met.
#[inline]
fn line(bytes: &[u8], from: usize) -> Option<(&[u8], usize, bool)> {
    let mut lone = false;
    let mut at = from;
    loop {
        let found = at.checked_add(memchr::memchr2(b'\r', b'\n', bytes.get(at..)?)?)?;
        if bytes.get(found) == Some(&b'\r') {
            if bytes.get(found + 1) == Some(&b'\n') {
                return Some((bytes.get(from..found)?, found + 2, lone));
            }
            lone = true;
            at = found + 1;
        } else {
            return Some((bytes.get(from..found)?, found + 1, true));
        }
    }
}

enum StartLine<'a> {
    Request { method: Method<'a>, uri: &'a [u8], defect: Option<Refusal> },
    Response { status: u16, reason: &'a [u8] },
}

impl<'a> StartLine<'a> {
    /// RFC 3261 section 7.1: `Method SP Request-URI SP SIP-Version`; 7.2: `SIP-Version SP Status-Code SP Reason-Phrase`.
    fn read(line: &'a [u8]) -> Result<Self, DropReason> {
        if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
            return Self::read_response(line);
        }
        let first = memchr::memchr(b' ', line).ok_or(DropReason::NotSip)?;
        let (method, rest) = line.split_at_checked(first).ok_or(DropReason::NotSip)?;
        let rest = rest.get(1..).unwrap_or_default();
        if method.is_empty() || !chars::all(method, chars::TOKEN) {
            return Err(DropReason::NotSip);
        }
        let method = Method::from_bytes(method);
        if let Some(uri) = rest.strip_suffix(b" SIP/2.0")
            && !uri.is_empty()
            && !uri.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
        {
            return Ok(StartLine::Request { method, uri, defect: None });
        }
        // Not the usual form. It is still a request to be answered if its last word is a SIP version.
        let trimmed = chars::trim(rest);
        let last = memchr::memrchr2(b' ', b'\t', trimmed).ok_or(DropReason::NotSip)?;
        let (uri, version) = trimmed.split_at_checked(last).ok_or(DropReason::NotSip)?;
        let version = version.get(1..).unwrap_or_default();
        let Some(number) = version.get(4..).filter(|_| version.to_ascii_uppercase().starts_with(b"SIP/")) else {
            return Err(DropReason::NotSip);
        };
        let mut parts = number.split(|&byte| byte == b'.');
        let is_number =
            |part: Option<&[u8]>| part.is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit));
        if !is_number(parts.next()) || !is_number(parts.next()) || parts.next().is_some() {
            return Err(DropReason::NotSip);
        }
        let uri = chars::trim(uri);
        // "Implementations MUST send SIP/2.0"; the string is compared without regard to case (section 7.1).
        let plain = !uri.is_empty()
            && !uri.iter().any(|&byte| chars::is_white(byte))
            && uri.len() + version.len() + 1 == rest.len();
        let defect = match (number == b"2.0", plain) {
            (false, _) => Some(VERSION),
            (true, false) => Some(REQUEST_LINE),
            (true, true) => None,
        };
        Ok(StartLine::Request { method, uri, defect })
    }

    fn read_response(line: &'a [u8]) -> Result<Self, DropReason> {
        // The space behind the code is required by the grammar even before an empty phrase; some leave it out.
        let rest = line.get(4..).and_then(|rest| rest.strip_prefix(b"2.0 ")).ok_or(DropReason::BadResponse)?;
        let code = rest.get(..3).ok_or(DropReason::BadResponse)?;
        let status = chars::decimal(code, 699).filter(|&status| status >= 100).ok_or(DropReason::BadResponse)?;
        let status = u16::try_from(status).map_err(|_| DropReason::BadResponse)?;
        match rest.get(3..).unwrap_or_default() {
            [] => Ok(StartLine::Response { status, reason: b"" }),
            [b' ', reason @ ..] => Ok(StartLine::Response { status, reason }),
            _ => Err(DropReason::BadResponse),
        }
    }
}

/// Finds the header lines; returns them and where the body starts. A datagram that ends behind a header line can still be
/// answered.
fn header_lines<'a>(
    bytes: &'a [u8],
    from: usize,
    carriage: Carriage,
    limits: &Limits,
    defect: &mut Option<Refusal>,
) -> Result<(Head<'a>, usize), DropReason> {
    let mut spans = SmallVec::new();
    let mut at = from;
    loop {
        let start = at;
        if start == bytes.len() && carriage == Carriage::Datagram {
            defect.get_or_insert(UNFINISHED);
            return Ok((Head { bytes, spans, end: offset(start) }, start));
        }
        let (mut text, mut next, mut lone) = line(bytes, start).ok_or(DropReason::Unfinished)?;
        if text.is_empty() {
            // A lone LF ends the header as well as any line, for the answer's sake.
            if lone {
                defect.get_or_insert(LINE_BREAK);
            }
            return Ok((Head { bytes, spans, end: offset(start) }, next));
        }
        let mut folds = 0_usize;
        while matches!(bytes.get(next), Some(b' ' | b'\t')) {
            let (folded, behind, lone_again) = line(bytes, next).ok_or(DropReason::Unfinished)?;
            lone |= lone_again;
            folds += 1;
            text = bytes.get(start..next.saturating_add(folded.len())).unwrap_or_default();
            next = behind;
        }
        at = next;
        if lone {
            defect.get_or_insert(LINE_BREAK);
        }
        if folds > limits.folds {
            defect.get_or_insert(FOLDS);
        }
        if text.len() > limits.header_line {
            defect.get_or_insert(LINE_LENGTH);
        }
        if spans.len() >= limits.headers {
            defect.get_or_insert(LINE_COUNT);
            continue;
        }
        spans.push(span(text, start).unwrap_or_else(|| {
            defect.get_or_insert(HEADER_LINE);
            let end = offset(start.saturating_add(text.len()));
            Span {
                start: offset(start),
                name_end: offset(start),
                value_start: offset(start),
                value_end: end,
                name: HeaderName::Other,
            }
        }));
    }
}

/// The parts of one header line: `token HCOLON value` (RFC 3261 section 7.3.1). `None` if it has no name.
#[inline]
fn span(text: &[u8], start: usize) -> Option<Span> {
    let colon = memchr::memchr(b':', text)?;
    let (mut name, value) = text.split_at_checked(colon)?;
    while let Some((b' ' | b'\t', shorter)) = name.split_last() {
        name = shorter;
    }
    let field = HeaderName::classify(name);
    if field == HeaderName::Other && (name.is_empty() || !chars::all(name, chars::TOKEN)) {
        return None;
    }
    let value = value.get(1..)?;
    let trimmed = chars::trim(value);
    let lead = value.iter().take_while(|&&byte| chars::is_white(byte)).count().min(value.len() - trimmed.len());
    let value_start = start + colon + 1 + lead;
    Some(Span {
        start: offset(start),
        name_end: offset(start + name.len()),
        value_start: offset(value_start),
        value_end: offset(value_start + trimmed.len()),
        name: field,
    })
}

/// A place in a message whose length is known to fit.
#[inline]
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// How long the body is (RFC 3261 sections 18.3 and 20.14). Several equal Content-Length values are one.
fn body_length(head: &Head<'_>, available: usize, carriage: Carriage) -> Result<usize, Refusal> {
    let mut length = None;
    for value in head.all(HeaderName::ContentLength) {
        let value = chars::decimal(value, u64::from(u32::MAX)).and_then(|value| usize::try_from(value).ok());
        let value = match value {
            Some(value) => value,
            None if head_is_number(head) => return Err(BODY_SHORT),
            None => return Err(CONTENT_LENGTH),
        };
        if length.replace(value).is_some_and(|before| before != value) {
            return Err(CONTENT_LENGTHS);
        }
    }
    match (length, carriage) {
        (None, Carriage::Datagram) => Ok(available),
        (None, Carriage::Stream) => Err(CONTENT_LENGTH_MISSING),
        // A stream's messages are cut out by their length; one that is not whole went beyond the limit.
        (Some(length), Carriage::Stream) if length > available => Err(TOO_LARGE),
        (Some(length), _) if length > available => Err(BODY_SHORT),
        (Some(length), _) => Ok(length),
    }
}

/// Whether every Content-Length is a number, however large.
fn head_is_number(head: &Head<'_>) -> bool {
    head.all(HeaderName::ContentLength).all(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests;
