//! Typed header values, each a set of spans over the received bytes.
//!
//! RFC 3261 sections 20 and 25. They are read when somebody asks, not by the message parser. Two liberties, taken because
//! real senders take them and nothing is lost: an unquoted display name may hold any visible character and UTF-8 that
//! does not end it, and a parameter value may hold any visible character that separates nothing.

use std::borrow::Cow;

use super::Method;
use super::chars::{self, Cursor};
use super::uri::{self, Uri, UriError};

/// Why a header value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The value does not follow the grammar of its field.
    #[error("malformed header value")]
    Malformed,
    /// A quoted string or angle bracket is not closed.
    #[error("unbalanced quotes or angle brackets")]
    Unbalanced,
    /// A parameter that may occur once occurs again (RFC 3261 section 7.3.1).
    #[error("repeated parameter")]
    Repeated,
    /// A number is not in its range.
    #[error("number out of range")]
    Range,
    /// The URI in it cannot be read.
    #[error(transparent)]
    Uri(#[from] UriError),
}

/// One `Via` value (RFC 3261 section 20.42, RFC 3581).
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, `TLS` ..., as written.
    pub transport: &'a [u8],
    /// The host of sent-by; IPv6 brackets kept.
    pub host: &'a [u8],
    /// The port of sent-by.
    pub port: Option<u16>,
    /// `branch`.
    pub branch: Option<&'a [u8]>,
    /// `rport`: `Some(None)` is the request for it, `Some(Some(port))` the answer (RFC 3581).
    pub rport: Option<Option<u16>>,
    /// `received`, with or without IPv6 brackets (RFC 5118 section 4.5).
    pub received: Option<&'a [u8]>,
    /// `maddr`.
    pub maddr: Option<&'a [u8]>,
    /// `ttl`.
    pub ttl: Option<u8>,
    /// The parameters without the first `;`.
    pub params: &'a [u8],
    /// This one value.
    pub raw: &'a [u8],
    /// Whether another value follows in the same line.
    pub more_in_line: bool,
    /// What follows the comma.
    pub(super) rest: &'a [u8],
}

impl<'a> Via<'a> {
    /// Reads the first value of a `Via` line.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        match Self::read(value)? {
            (via, None) => Ok(via),
            (_, Some(error)) => Err(error),
        }
    }

    /// Reads as much as an answer needs: an error behind sent-by, or in the version, comes beside the value.
    pub(super) fn read(value: &'a [u8]) -> Result<(Self, Option<HeaderError>), HeaderError> {
        let mut cursor = Cursor::new(value);
        cursor.skip_white();
        let start = cursor.at();
        let protocol = cursor.run(chars::TOKEN);
        let slash = cursor.eat_separator(b'/');
        let version = cursor.run(chars::TOKEN);
        if !slash || !protocol.eq_ignore_ascii_case(b"SIP") || !cursor.eat_separator(b'/') {
            return Err(HeaderError::Malformed);
        }
        let transport = cursor.run(chars::TOKEN);
        let before = cursor.at();
        cursor.skip_white();
        if transport.is_empty() || cursor.at() == before {
            return Err(HeaderError::Malformed);
        }
        let host = cursor.host().ok_or(HeaderError::Malformed)?;
        let port = match cursor.eat_separator(b':') {
            true => Some(uri::port(&mut cursor).ok_or(HeaderError::Range)?),
            false => None,
        };
        let mut via = Self {
            transport,
            host,
            port,
            branch: None,
            rport: None,
            received: None,
            maddr: None,
            ttl: None,
            params: b"",
            raw: b"",
            more_in_line: false,
            rest: b"",
        };
        let version = (version != b"2.0").then_some(HeaderError::Malformed);
        let error = via.read_params(value, start, &mut cursor).err();
        Ok((via, version.or(error)))
    }

    fn read_params(&mut self, value: &'a [u8], start: usize, cursor: &mut Cursor<'a>) -> Result<(), HeaderError> {
        let mut params_start = None;
        let mut end = cursor.at();
        self.raw = value.get(start..end).unwrap_or_default();
        while let Some(Param { name, value }) = next_param(cursor, &mut params_start)? {
            end = cursor.at();
            match (name.len(), name.first().map(|byte| byte | 0x20)) {
                (6, Some(b'b')) if name.eq_ignore_ascii_case(b"branch") => {
                    set(&mut self.branch, value.filter(|value| !value.is_empty()).ok_or(HeaderError::Malformed)?)?;
                }
                (5, Some(b'r')) if name.eq_ignore_ascii_case(b"rport") => {
                    let port = match value {
                        None | Some(b"") => None,
                        Some(digits) => Some(number(digits)?),
                    };
                    set(&mut self.rport, port)?;
                }
                (8, Some(b'r')) if name.eq_ignore_ascii_case(b"received") => {
                    set(&mut self.received, value.ok_or(HeaderError::Malformed)?)?;
                }
                (5, Some(b'm')) if name.eq_ignore_ascii_case(b"maddr") => {
                    set(&mut self.maddr, value.ok_or(HeaderError::Malformed)?)?;
                }
                (3, Some(b't')) if name.eq_ignore_ascii_case(b"ttl") => {
                    set(&mut self.ttl, number(value.ok_or(HeaderError::Malformed)?)?)?;
                }
                _ => {}
            }
        }
        self.params = params_start.and_then(|from| value.get(from..end)).unwrap_or_default();
        self.raw = value.get(start..end).unwrap_or_default();
        cursor.skip_white();
        self.more_in_line = cursor.eat(b',');
        self.rest = cursor.rest();
        if !self.more_in_line && !cursor.is_done() {
            return Err(HeaderError::Malformed);
        }
        Ok(())
    }

    /// A parameter by its name: `None` if absent, `Some(None)` if it has no value.
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        params(self.params).find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Whether the branch carries the cookie of RFC 3261 section 8.1.1.7. It is compared without regard to case, as
    /// branches are.
    pub fn has_cookie(&self) -> bool {
        self.branch.and_then(|branch| branch.get(..7)).is_some_and(|cookie| cookie.eq_ignore_ascii_case(b"z9hG4bK"))
    }
}

/// A `From`, `To`, `Contact`, `Route`, ... value: `name-addr` or `addr-spec`, and parameters (RFC 3261 section 20.10).
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// The display name as written, quotes kept; see [`unquote`].
    pub display: Option<&'a [u8]>,
    /// The address.
    pub uri: Uri<'a>,
    /// `tag`.
    pub tag: Option<&'a [u8]>,
    /// The header parameters without the first `;`. In a value without `<>` everything behind the first `;` is here.
    pub params: &'a [u8],
    /// The whole value.
    pub raw: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// Reads one value, which fills `raw`.
    pub fn parse(raw: &'a [u8]) -> Result<Self, HeaderError> {
        let raw = chars::trim(raw);
        let mut cursor = Cursor::new(raw);
        let display;
        let uri;
        if cursor.peek() == Some(b'"') {
            display = Some(cursor.quoted().ok_or(HeaderError::Unbalanced)?);
            cursor.skip_white();
            if cursor.peek() != Some(b'<') {
                return Err(HeaderError::Malformed);
            }
            uri = bracketed(&mut cursor)?;
        } else if let Some(name) = cursor.until(b'<') {
            let name = chars::trim(name);
            if !name.iter().all(|&byte| is_display(byte)) {
                return Err(HeaderError::Malformed);
            }
            display = (!name.is_empty()).then_some(name);
            uri = bracketed(&mut cursor)?;
        } else {
            // "If the URI contains a comma, question mark or semicolon, the URI MUST be enclosed in angle brackets";
            // without them what follows a semicolon is a header parameter (RFC 3261 section 20.10).
            display = None;
            let end = raw.iter().position(|&byte| byte == b';' || chars::is_white(byte)).unwrap_or(raw.len());
            let bare = raw.get(..end).unwrap_or_default();
            if bare.iter().any(|byte| matches!(byte, b',' | b'?' | b'"')) {
                return Err(HeaderError::Malformed);
            }
            uri = bare;
            cursor = Cursor::new(raw.get(end..).unwrap_or_default());
        }
        let uri = Uri::parse(uri)?;
        let rest = cursor.rest();
        let mut cursor = Cursor::new(rest);
        let mut params_start = None;
        let mut tag = None;
        while let Some(Param { name, value }) = next_param(&mut cursor, &mut params_start)? {
            if name.eq_ignore_ascii_case(b"tag") {
                let value = value.filter(|value| !value.is_empty() && value.first() != Some(&b'"'));
                set(&mut tag, value.ok_or(HeaderError::Malformed)?)?;
            }
        }
        cursor.skip_white();
        if !cursor.is_done() {
            return Err(HeaderError::Malformed);
        }
        let params = params_start.and_then(|from| rest.get(from..)).unwrap_or_default();
        Ok(Self { display, uri, tag, params, raw })
    }

    /// A header parameter by its name: `None` if absent, `Some(None)` if it has no value.
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        params(self.params).find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }
}

fn bracketed<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], HeaderError> {
    cursor.eat(b'<');
    let inside = cursor.until(b'>').ok_or(HeaderError::Unbalanced)?;
    cursor.eat(b'>');
    Ok(inside)
}

fn is_display(byte: u8) -> bool {
    match byte {
        b'"' | b'<' | b'>' | b',' | b';' | b'\\' => false,
        _ => byte.is_ascii_graphic() || chars::is_white(byte) || byte >= 0x80,
    }
}

/// A `CSeq` value (RFC 3261 section 20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number.
    pub number: u32,
    /// The method.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Reads a `CSeq` value.
    pub fn parse(value: &'a [u8]) -> Result<Self, HeaderError> {
        let mut cursor = Cursor::new(chars::trim(value));
        let digits = cursor.run(chars::TOKEN);
        let before = cursor.at();
        cursor.skip_white();
        let method = cursor.run(chars::TOKEN);
        if before == cursor.at() || method.is_empty() || !cursor.is_done() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(HeaderError::Malformed);
        }
        Ok(Self { number: number(digits)?, method: Method::from_bytes(method) })
    }
}

/// The comma-separated elements of one header value. Commas in quoted strings and in `<>` separate nothing; empty
/// elements are left out. What is not closed ends with the value.
#[derive(Clone, Debug)]
pub struct ListValues<'a> {
    rest: &'a [u8],
}

impl<'a> ListValues<'a> {
    /// Splits `value`.
    pub fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl<'a> Iterator for ListValues<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = element_end(self.rest);
            let element = chars::trim(self.rest.get(..end).unwrap_or_default());
            self.rest = self.rest.get(end.saturating_add(1)..).unwrap_or_default();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// Where the first element of a list ends: at its comma or with the value.
fn element_end(value: &[u8]) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    let mut bracket = false;
    for (at, &byte) in value.iter().enumerate() {
        if escaped {
            escaped = false;
            continue;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' if !bracket => quoted = !quoted,
            _ if quoted => {}
            b'<' => bracket = true,
            b'>' => bracket = false,
            b',' if !bracket => return at,
            _ => {}
        }
    }
    value.len()
}

/// The header parameters of a `;`-separated string without its first `;`, as name and value. Quoted values keep their
/// quotes. Ends at the first thing that is no parameter.
pub fn params(raw: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut cursor = Cursor::new(raw);
    let mut first = true;
    std::iter::from_fn(move || {
        if first {
            first = false;
            cursor.skip_white();
        } else if !cursor.eat_separator(b';') {
            return None;
        }
        one_param(&mut cursor).ok().map(|Param { name, value }| (name, value))
    })
}

struct Param<'a> {
    name: &'a [u8],
    value: Option<&'a [u8]>,
}

/// The next `;name[=value]`, `None` where no `;` follows. `start` becomes the place behind the first `;`.
fn next_param<'a>(cursor: &mut Cursor<'a>, start: &mut Option<usize>) -> Result<Option<Param<'a>>, HeaderError> {
    if !cursor.eat_separator(b';') {
        return Ok(None);
    }
    start.get_or_insert(cursor.at());
    one_param(cursor).map(Some)
}

fn one_param<'a>(cursor: &mut Cursor<'a>) -> Result<Param<'a>, HeaderError> {
    let name = cursor.run(chars::TOKEN);
    if name.is_empty() {
        return Err(HeaderError::Malformed);
    }
    let value = match cursor.eat_separator(b'=') {
        true if cursor.peek() == Some(b'"') => Some(cursor.quoted().ok_or(HeaderError::Unbalanced)?),
        true => Some(cursor.run(chars::VALUE)),
        false => None,
    };
    Ok(Param { name, value })
}

fn set<T>(place: &mut Option<T>, value: T) -> Result<(), HeaderError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeaderError::Repeated),
    }
}

fn number<T: TryFrom<u64>>(digits: &[u8]) -> Result<T, HeaderError> {
    let value = chars::decimal(digits, u64::from(u32::MAX)).ok_or(HeaderError::Range)?;
    T::try_from(value).map_err(|_| HeaderError::Range)
}

/// Reads `delta-seconds` (`Expires`, `Min-Expires`) and other plain numbers: `1*DIGIT` up to 2^32 - 1, anything larger
/// being 2^32 - 1 (RFC 3261 section 20.19 gives that range). `None` is not a number.
pub fn delta_seconds(value: &[u8]) -> Option<u32> {
    let digits = chars::trim(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(chars::decimal(digits, u64::from(u32::MAX)).and_then(|value| u32::try_from(value).ok()).unwrap_or(u32::MAX))
}

/// Reads the seconds of a `Retry-After`, which a comment and parameters may follow (RFC 3261 section 20.33). `None` is not
/// one.
pub fn retry_after(value: &[u8]) -> Option<u32> {
    let value = chars::trim(value);
    let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    let (seconds, rest) = value.split_at_checked(end)?;
    let rest = chars::trim(rest);
    if rest.is_empty() || rest.starts_with(b"(") || rest.starts_with(b";") { delta_seconds(seconds) } else { None }
}

/// A value without its line folds, each of which counts as one space (RFC 3261 section 7.3.1).
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut unfolded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        let (before, behind) = rest.split_at(at);
        let kept = before.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |last| last + 1);
        unfolded.extend_from_slice(before.get(..kept).unwrap_or_default());
        unfolded.push(b' ');
        let skip = behind.iter().position(|&byte| !chars::is_white(byte)).unwrap_or(behind.len());
        rest = behind.get(skip..).unwrap_or_default();
    }
    unfolded.extend_from_slice(rest);
    Cow::Owned(unfolded)
}

/// The text of a quoted string, or of an unquoted display name: without quotes, with `\x` as `x`, without folds.
pub fn unquote(raw: &[u8]) -> Cow<'_, [u8]> {
    let Some(inside) = raw.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else { return unfold(raw) };
    let inside = unfold(inside);
    if memchr::memchr(b'\\', &inside).is_none() {
        return inside;
    }
    let mut text = Vec::with_capacity(inside.len());
    let mut escaped = false;
    for &byte in inside.iter() {
        if byte == b'\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            text.push(byte);
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests;
