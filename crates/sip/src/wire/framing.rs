//! Finds the messages in a stream by their Content-Length (RFC 3261 section 18.3), and the keep-alives between them
//! (RFC 5626 section 3.5.1: a double CRLF asks for a single one).
//!
//! ```text
//! loop { match framer.scan(data) {
//!     Incomplete          => wait for more bytes behind the same `data`
//!     KeepAlive{consumed} => drop `consumed` bytes; a double CRLF wants a CRLF back
//!     Message{consumed,…} => drop `consumed` bytes after use
//!     Broken{…}           => answer what `bytes` allows, then close the stream
//! } }
//! ```

use super::Limits;
use super::chars;
use super::names::HeaderName;

/// Where the search stands in one stream. Bytes that were looked at are not looked at again.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    /// The end of the header has been looked for up to here, counted from the start of `data`.
    scanned: usize,
    /// Length of header and body, once the header is complete.
    length: Option<usize>,
    /// A CRLF was taken and nothing has come behind it: another one makes it a ping.
    line_end: bool,
}

/// What is next in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// Nothing whole yet.
    Incomplete,
    /// Line ends before a message.
    KeepAlive {
        /// How many bytes they are.
        consumed: usize,
        /// Whether they hold a double CRLF, which wants one CRLF in return.
        ping: bool,
    },
    /// One message, to be parsed with [`super::Carriage::Stream`].
    Message {
        /// The message.
        bytes: &'a [u8],
        /// How many bytes it takes.
        consumed: usize,
    },
    /// The stream cannot be followed any further.
    Broken(Broken<'a>),
}

/// The end of a stream's readability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken<'a> {
    /// Why.
    pub why: Breakage,
    /// The header of the message that broke it, if it is complete: [`super::parse`] and
    /// [`super::Request::check`] say how to answer it before the stream is closed. Empty otherwise.
    pub bytes: &'a [u8],
}

/// Why a stream cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Breakage {
    /// A message is longer than the limit.
    #[error("message too long")]
    TooLong,
    /// Content-Length is missing, malformed or contradicts itself: nobody knows where the next message starts.
    #[error("no usable Content-Length")]
    Length,
    /// It does not start like a SIP message.
    #[error("not SIP")]
    NotSip,
}

impl Framer {
    /// A framer for one stream.
    pub fn new(limits: &Limits) -> Self {
        Self { limit: limits.message, scanned: 0, length: None, line_end: false }
    }

    /// Looks at all unconsumed bytes of the stream.
    ///
    /// After `KeepAlive` and `Message` the next call gets what follows `consumed`; after `Incomplete` it gets the same
    /// bytes and more; after `Broken` there is none.
    pub fn scan<'a>(&mut self, data: &'a [u8]) -> Framed<'a> {
        if self.length.is_none() {
            if matches!(data.first(), Some(b'\r' | b'\n')) {
                return self.keep_alive(data);
            }
            self.line_end &= data.is_empty();
            if let Err(framed) = self.find_header(data) {
                return framed;
            }
        }
        match self.length {
            Some(length) => match data.get(..length) {
                Some(bytes) => {
                    self.scanned = 0;
                    self.length = None;
                    Framed::Message { bytes, consumed: length }
                }
                None => Framed::Incomplete,
            },
            None => Framed::Incomplete,
        }
    }

    /// Takes whole line ends. A CR that is the last byte may be the first half of one. Two in a row are a ping, also if they
    /// came apart.
    fn keep_alive<'a>(&mut self, data: &'a [u8]) -> Framed<'a> {
        let run = data.iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
        let whole = data.get(..run).unwrap_or_default();
        let whole = if run == data.len() { whole.strip_suffix(b"\r").unwrap_or(whole) } else { whole };
        if whole.is_empty() {
            return Framed::Incomplete;
        }
        let line_ends = memchr::memmem::find_iter(whole, b"\r\n").count().saturating_add(usize::from(self.line_end));
        self.line_end = line_ends % 2 == 1 && run == data.len();
        Framed::KeepAlive { consumed: whole.len(), ping: line_ends >= 2 }
    }

    /// Sets `length` if the header is complete.
    fn find_header<'a>(&mut self, data: &'a [u8]) -> Result<(), Framed<'a>> {
        if !data.first().is_none_or(|&byte| chars::is(byte, chars::TOKEN)) {
            return Err(broken(Breakage::NotSip, b""));
        }
        let from = self.scanned.saturating_sub(3);
        let Some(found) = memchr::memmem::find(data.get(from..).unwrap_or_default(), b"\r\n\r\n") else {
            self.scanned = data.len();
            return if data.len() >= self.limit { Err(broken(Breakage::TooLong, b"")) } else { Ok(()) };
        };
        let head_length = from + found + 4;
        // Told before anything in it: whether it came in one read must not matter.
        if head_length > self.limit {
            return Err(broken(Breakage::TooLong, b""));
        }
        let head = data.get(..head_length).unwrap_or_default();
        let body = content_length(head).ok_or_else(|| broken(Breakage::Length, head))?;
        let length = head_length.checked_add(body).filter(|&length| length <= self.limit);
        self.length = Some(length.ok_or_else(|| broken(Breakage::TooLong, head))?);
        Ok(())
    }
}

fn broken(why: Breakage, bytes: &[u8]) -> Framed<'_> {
    Framed::Broken(Broken { why, bytes })
}

/// The one Content-Length of a complete header. Lines are cut where the parser cuts them.
fn content_length(head: &[u8]) -> Option<usize> {
    let mut length = None;
    let mut lines = memchr::memmem::find_iter(head, b"\r\n");
    let mut start = lines.next()?.checked_add(2)?;
    for end in lines {
        let line = head.get(start..end)?;
        start = end.checked_add(2)?;
        // Whoever takes a lone CR or LF for a line end may see another Content-Length than we do.
        if memchr::memchr2(b'\r', b'\n', line).is_some() {
            return None;
        }
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = line.split_at_checked(colon)?;
        let name = name.trim_ascii_end();
        if HeaderName::classify(name) != HeaderName::ContentLength {
            continue;
        }
        // The number may stand on the continuation line of a fold.
        let folded = head.get(start..).unwrap_or_default();
        let value = if matches!(folded.first(), Some(b' ' | b'\t')) {
            let end = memchr::memchr(b'\r', folded).unwrap_or(folded.len());
            let before = chars::trim(value.get(1..)?);
            let behind = chars::trim(folded.get(..end)?);
            match (before.is_empty(), behind.is_empty()) {
                (true, _) => behind,
                (false, true) => before,
                (false, false) => return None,
            }
        } else {
            chars::trim(value.get(1..)?)
        };
        let value = usize::try_from(chars::decimal(value, u64::from(u32::MAX))?).ok()?;
        if length.replace(value).is_some_and(|before| before != value) {
            return None;
        }
    }
    length
}

#[cfg(test)]
mod tests;
