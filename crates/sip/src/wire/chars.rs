//! Character classes of RFC 3261 section 25.1, one bit each in one table, and a cursor over a header value.
//!
//! A value that comes out of the message parser may still contain line folds; to the cursor a fold is white space.

use std::net::Ipv6Addr;

use smallvec::SmallVec;

/// `token`.
pub(super) const TOKEN: u8 = 1;
/// Unescaped characters of a URI's user part: `unreserved / user-unreserved`.
pub(super) const USER: u8 = 1 << 1;
/// Unescaped characters of a URI's password.
pub(super) const PASSWORD: u8 = 1 << 2;
/// Unescaped characters of a URI parameter: `param-unreserved / unreserved`.
pub(super) const PARAM: u8 = 1 << 3;
/// Characters of a host name. The grammar has no underscore; names in the wild have.
pub(super) const HOST: u8 = 1 << 4;
/// Unescaped characters of a URI's header part, with the `=` and `&` that separate them.
pub(super) const HEADERS: u8 = 1 << 5;
/// What an unquoted value of a header parameter is read as: `token`, `host`, and what is seen beyond the grammar
/// (bare IPv6 addresses, base64 in tags) as long as it separates nothing.
pub(super) const VALUE: u8 = 1 << 6;
/// Visible ASCII.
pub(super) const VISIBLE: u8 = 1 << 7;

static TABLE: [u8; 256] = table();

const fn table() -> [u8; 256] {
    let mut table = [0_u8; 256];
    let mut byte = 0_usize;
    while byte < 128 {
        let b = byte as u8;
        let mut bits = 0;
        let alphanumeric = b.is_ascii_alphanumeric();
        let mark = matches!(b, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')');
        let unreserved = alphanumeric || mark;
        if alphanumeric || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~') {
            bits |= TOKEN;
        }
        if unreserved || matches!(b, b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/') {
            bits |= USER;
        }
        if unreserved || matches!(b, b'&' | b'=' | b'+' | b'$' | b',') {
            bits |= PASSWORD;
        }
        if unreserved || matches!(b, b'[' | b']' | b'/' | b':' | b'&' | b'+' | b'$') {
            bits |= PARAM;
        }
        if alphanumeric || matches!(b, b'-' | b'.' | b'_') {
            bits |= HOST;
        }
        if unreserved || matches!(b, b'[' | b']' | b'/' | b'?' | b':' | b'+' | b'$' | b'=' | b'&') {
            bits |= HEADERS;
        }
        if b.is_ascii_graphic() {
            bits |= VISIBLE;
            if !matches!(b, b';' | b',' | b'"' | b'<' | b'>' | b'\\') {
                bits |= VALUE;
            }
        }
        table[byte] = bits;
        byte += 1;
    }
    table
}

/// Whether `byte` is in `class`.
#[inline]
pub(super) fn is(byte: u8, class: u8) -> bool {
    TABLE[usize::from(byte)] & class != 0
}

/// Whether every byte is in `class`.
#[inline]
pub(super) fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&byte| is(byte, class))
}

/// Whether every byte is in `class` or part of an `escaped` (`%` and two hexadecimal digits).
pub(super) fn all_escaped(bytes: &[u8], class: u8) -> bool {
    // No class has the percent sign. Nearly always nothing is escaped.
    all(bytes, class) || all_escaped_or(bytes, |byte| is(byte, class))
}

/// Whether every byte is `legal` or part of an `escaped`.
pub(super) fn all_escaped_or(bytes: &[u8], legal: impl Fn(u8) -> bool) -> bool {
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = if byte == b'%' {
            match tail {
                [high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => tail,
                _ => return false,
            }
        } else if legal(byte) {
            tail
        } else {
            return false;
        };
    }
    true
}

/// White space of a value, line folds included.
#[inline]
pub(super) fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `bytes` without white space and folds around it.
#[inline]
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        if !is_white(first) {
            break;
        }
        rest = tail;
    }
    while let Some((&last, head)) = rest.split_last() {
        if !is_white(last) {
            break;
        }
        rest = head;
    }
    rest
}

/// Decimal digits to a number, refusing everything else and what does not fit.
pub(super) fn decimal(bytes: &[u8], largest: u64) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    let mut value = 0_u64;
    for &byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        if value > largest {
            return None;
        }
    }
    Some(value)
}

/// A place in a header value. Nothing it does can leave the value.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// What lies between `from` and here.
    pub(super) fn since(&self, from: usize) -> &'a [u8] {
        self.bytes.get(from..self.at).unwrap_or_default()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Steps over `byte` if it is next.
    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    #[inline]
    pub(super) fn skip_white(&mut self) {
        while self.peek().is_some_and(is_white) {
            self.at += 1;
        }
    }

    /// Steps over white space, `byte` and white space (`SEMI`, `SLASH`, `COLON`, `EQUAL`); stays if it is not there.
    #[inline]
    pub(super) fn eat_separator(&mut self, byte: u8) -> bool {
        let before = self.at;
        self.skip_white();
        if self.eat(byte) {
            self.skip_white();
            true
        } else {
            self.at = before;
            false
        }
    }

    /// The run of bytes of `class` that is next; may be empty.
    #[inline]
    pub(super) fn run(&mut self, class: u8) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|&byte| !is(byte, class)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// Steps forward to `byte` and returns what was before it; stays if there is none.
    pub(super) fn until(&mut self, byte: u8) -> Option<&'a [u8]> {
        let from = self.at;
        let distance = memchr::memchr(byte, self.rest())?;
        self.at = from.checked_add(distance)?;
        Some(self.since(from))
    }

    /// The quoted string that is next, with its quotes (`quoted-string`). A backslash takes the next byte with it.
    pub(super) fn quoted(&mut self) -> Option<&'a [u8]> {
        let from = self.at;
        if !self.eat(b'"') {
            return None;
        }
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Some(self.since(from));
                }
                Some(b'\\') if self.at + 1 < self.bytes.len() => self.at += 2,
                Some(byte) if byte != b'\\' => self.at += 1,
                _ => {
                    self.at = from;
                    return None;
                }
            }
        }
    }

    /// The host that is next: a name, an IPv4 address, or an IPv6 address in brackets (RFC 3261 section 25.1, `host`).
    pub(super) fn host(&mut self) -> Option<&'a [u8]> {
        let from = self.at;
        if self.eat(b'[') {
            let address = self.until(b']')?;
            self.eat(b']');
            is_ipv6(address).then(|| self.since(from))
        } else {
            let name = self.run(HOST);
            // No label is empty; the root may be named by a dot at the end.
            let labels = name.strip_suffix(b".").unwrap_or(name);
            labels.split(|&byte| byte == b'.').all(|label| !label.is_empty()).then_some(name)
        }
    }
}

/// Whether `address` is an IPv6 address in one of the forms of RFC 4291 section 2.2, without brackets and zone, or in the
/// one form with a third colon that the grammar of RFC 3261 can produce and RFC 5118 section 4.10 says to tolerate.
fn is_ipv6(address: &[u8]) -> bool {
    let is_address = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    is_address(address)
        || memchr::memmem::find(address, b":::").is_some_and(|at| {
            let mut mended = SmallVec::<[u8; 48]>::from_slice(address.get(..at).unwrap_or_default());
            mended.extend_from_slice(address.get(at.saturating_add(1)..).unwrap_or_default());
            address.len() <= 48 && address.contains(&b'.') && is_address(&mended)
        })
}
