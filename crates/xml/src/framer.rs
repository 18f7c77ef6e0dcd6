//! Where the stanzas of a stream begin and end, found without parsing them.

use crate::text::is_white_space;
use crate::{Error, Limits};
use memchr::{memchr, memchr2};

/// Cuts a stream into its header, its depth-1 elements and its end.
///
/// ```text
///            declaration, white space
///   Prolog ---------------------------> Prolog
///   Prolog --<stream:stream>----------> Between     Frame::Header
///   Between --<name ...>--------------> Content     depth 1
///   Content --<name ...>, </name>-----> Content     depth +1, -1
///   Content --</name>, depth 0--------> Between     Frame::Stanza
///   Between --</name>-----------------> Between     Frame::Close
/// ```
///
/// It remembers how far it has looked, so octets that arrive one by one are looked at once. Its place is counted from the
/// start of the data it is given: whoever calls it drops exactly the octets that a frame says are consumed, and gives what
/// remains, with what arrived since, to the next call.
#[derive(Clone, Debug)]
pub struct Framer {
    limits: Limits,
    /// A stanza over a limit is passed over instead of ending the stream.
    tolerant: bool,
    /// The rest of such a stanza is being passed over.
    excess: bool,
    /// Where the start tag of the current stanza ends; zero before.
    head_end: usize,
    /// The header has been seen.
    open: bool,
    /// The XML declaration has been seen.
    declared: bool,
    /// Elements open inside the current stanza; zero between stanzas.
    depth: usize,
    /// How far the data has been looked at.
    at: usize,
    place: Place,
}

/// What the octet at `Framer::at` is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Text, or white space between stanzas.
    Content,
    /// A start tag, behind its `<`; attributes seen so far.
    Tag { attributes: usize },
    /// A value in a start tag, and the quote that ends it.
    Value { quote: u8, attributes: usize },
    /// An end tag, behind its `</`.
    EndTag,
    /// A CDATA section, behind its `<![CDATA[`.
    CData,
    /// The XML declaration, behind its `<?`.
    Declaration,
}

/// What the octets of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Nothing whole yet. White space in front may be dropped.
    Incomplete {
        /// Octets to drop.
        consumed: usize,
    },
    /// The start tag of the stream.
    Header {
        /// From `<` to `>`.
        bytes: &'a [u8],
        /// Octets to drop.
        consumed: usize,
    },
    /// An element of depth one.
    Stanza {
        /// From `<` to `>`.
        bytes: &'a [u8],
        /// Octets to drop.
        consumed: usize,
    },
    /// A stanza over a limit, seen by a [tolerant](Framer::tolerant) framer only. What is left of it is passed over.
    Excess {
        /// Its start tag, to know whom to tell; empty if even that is over the limit.
        head: &'a [u8],
        /// The limit.
        error: Error,
        /// Octets to drop.
        consumed: usize,
    },
    /// The end tag of the stream.
    Close {
        /// Octets to drop.
        consumed: usize,
    },
}

/// The octets in front of a `>` that say what it ends: `/`, `]]`, `?`.
const LOOKED_BACK: usize = 2;
const CDATA: &[u8] = b"<![CDATA[";

impl Framer {
    /// A framer for a stream that begins.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            tolerant: false,
            excess: false,
            head_end: 0,
            open: false,
            declared: false,
            depth: 0,
            at: 0,
            place: Place::Content,
        }
    }

    /// A framer for a stream that many users share, as that of a component: one who sends too much must not end it for
    /// all. It holds no more of the data than the other.
    pub fn tolerant(limits: Limits) -> Self {
        Self { tolerant: true, ..Self::new(limits) }
    }

    /// The stream begins anew with the next octet, as it does after STARTTLS and SASL (RFC 6120 sections 5.4.3.3, 6.4.6).
    pub fn restart(&mut self) {
        *self = Self { tolerant: self.tolerant, ..Self::new(self.limits) };
    }

    /// Other limits from here on, as after authentication.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether the next octet begins something new between two stanzas: nothing of what stands there has been looked at.
    pub fn is_between(&self) -> bool {
        self.open && self.depth == 0 && self.at == 0 && self.place == Place::Content && !self.excess
    }

    /// Looks for the next frame. After an error the stream has no further frames.
    pub fn scan<'a>(&mut self, data: &'a [u8]) -> Result<Frame<'a>, Error> {
        let mut start = 0;
        if self.depth == 0 && self.place == Place::Content && !self.excess {
            start = self.skip_white_space(data);
        }
        loop {
            match self.place {
                Place::Content => {
                    if self.depth == 0 {
                        // A declaration has just ended, or a stanza in excess: nothing of them is kept.
                        if self.at > start && (!self.open || self.excess) {
                            self.excess = false;
                            start = self.skip_white_space(data);
                        }
                        match data.get(self.at) {
                            None => return Ok(self.incomplete(start)),
                            Some(b'<') => {}
                            Some(_) => return Err(Error::StrayText),
                        }
                    } else {
                        let rest = data.get(self.at..).unwrap_or_default();
                        let Some(found) = memchr(b'<', rest) else {
                            return self.wait(data, start);
                        };
                        self.at += found;
                    }
                    if !self.enter_markup(data)? {
                        return self.wait(data, start);
                    }
                }
                Place::Tag { mut attributes } => {
                    let rest = data.get(self.at..).unwrap_or_default();
                    let Some(found) = rest.iter().position(|octet| matches!(octet, b'>' | b'\'' | b'"' | b'<')) else {
                        self.at = data.len();
                        return self.wait(data, start);
                    };
                    let octet = rest.get(found).copied().unwrap_or_default();
                    self.at += found + 1;
                    match octet {
                        b'<' => return Err(Error::LessThan),
                        b'>' => {
                            self.place = Place::Content;
                            let empty = self.at.checked_sub(2).and_then(|before| data.get(before)) == Some(&b'/');
                            if let Some(frame) = self.after_tag(data, start, empty)? {
                                return Ok(frame);
                            }
                        }
                        quote => {
                            attributes += 1;
                            self.place = Place::Value { quote, attributes };
                            if attributes > self.limits.attributes && !self.excess {
                                return self.exceed(data, start, Error::TooManyAttributes);
                            }
                        }
                    }
                }
                Place::Value { quote, attributes } => {
                    let rest = data.get(self.at..).unwrap_or_default();
                    let Some(found) = memchr2(quote, b'<', rest) else {
                        self.at = data.len();
                        return self.wait(data, start);
                    };
                    if rest.get(found) == Some(&b'<') {
                        return Err(Error::LessThan);
                    }
                    self.at += found + 1;
                    self.place = Place::Tag { attributes };
                }
                Place::EndTag => {
                    if !self.skip_behind(data, b"") {
                        return self.wait(data, start);
                    }
                    self.place = Place::Content;
                    if self.depth == 0 {
                        return Ok(Frame::Close { consumed: self.leave() });
                    }
                    self.depth -= 1;
                    if self.depth == 0 && !self.excess {
                        return self.whole(data, start, self.limits.stanza, |bytes, consumed| Frame::Stanza {
                            bytes,
                            consumed,
                        });
                    }
                }
                Place::CData => {
                    if !self.skip_behind(data, b"]]") {
                        return self.wait(data, start);
                    }
                    self.place = Place::Content;
                }
                Place::Declaration => {
                    if !self.skip_behind(data, b"?") {
                        return self.wait(data, start);
                    }
                    check_declaration(data.get(start..self.at).unwrap_or_default())?;
                    self.declared = true;
                    self.place = Place::Content;
                }
            }
        }
    }

    /// At a `<`: which markup begins. `false` when that cannot be said yet.
    fn enter_markup(&mut self, data: &[u8]) -> Result<bool, Error> {
        let markup = data.get(self.at..).unwrap_or_default();
        let (length, place) = match markup.get(1) {
            None => return Ok(false),
            Some(b'/') if self.open => (2, Place::EndTag),
            Some(b'/') => return Err(Error::Markup),
            Some(b'?') if !self.open && !self.declared => (2, Place::Declaration),
            Some(b'?') => return Err(Error::ProcessingInstruction),
            Some(b'!') => {
                if let Some(kind) = markup.get(2) {
                    match kind {
                        b'-' => return Err(Error::Comment),
                        b'D' | b'd' => return Err(Error::DocumentType),
                        _ => {}
                    }
                }
                // Decided by the first octet that can: where the reads end must not change the error.
                if self.depth == 0 && markup.get(2) == Some(&b'[') {
                    return Err(Error::StrayText);
                }
                let prefix = markup.get(..CDATA.len()).unwrap_or(markup);
                if !CDATA.starts_with(prefix) {
                    return Err(Error::Markup);
                }
                if prefix.len() < CDATA.len() {
                    return Ok(false);
                }
                (CDATA.len(), Place::CData)
            }
            Some(_) => (1, Place::Tag { attributes: 0 }),
        };
        self.at += length;
        self.place = place;
        Ok(true)
    }

    /// Behind the `>` of a start tag.
    fn after_tag<'a>(&mut self, data: &'a [u8], start: usize, empty: bool) -> Result<Option<Frame<'a>>, Error> {
        if !self.open {
            if empty {
                return Err(Error::Unclosed);
            }
            let limit = self.limits.header;
            let header = self.whole(data, start, limit, |bytes, consumed| Frame::Header { bytes, consumed })?;
            self.open = true;
            return Ok(Some(header));
        }
        if self.depth == 0 {
            self.head_end = self.at;
        }
        // An empty element is as deep as its start tag.
        let too_deep = self.depth >= self.limits.depth;
        if !empty {
            self.depth += 1;
        }
        if self.excess {
            return Ok(None);
        }
        if too_deep {
            return self.exceed(data, start, Error::TooDeep).map(Some);
        }
        if empty && self.depth == 0 {
            let limit = self.limits.stanza;
            return self.whole(data, start, limit, |bytes, consumed| Frame::Stanza { bytes, consumed }).map(Some);
        }
        Ok(None)
    }

    /// Steps over white space between stanzas.
    fn skip_white_space(&mut self, data: &[u8]) -> usize {
        let rest = data.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|octet| !is_white_space(*octet)).unwrap_or(rest.len());
        self.at
    }

    /// Moves behind the next `>` that has `before` in front of it, all of it inside the markup.
    fn skip_behind(&mut self, data: &[u8], before: &[u8]) -> bool {
        while let Some(found) = memchr(b'>', data.get(self.at..).unwrap_or_default()) {
            let end = self.at + found;
            self.at = end + 1;
            if data.get(..end).unwrap_or_default().ends_with(before) {
                return true;
            }
        }
        self.at = data.len();
        false
    }

    /// Nothing whole yet, with an element begun at `start`.
    fn wait<'a>(&mut self, data: &'a [u8], start: usize) -> Result<Frame<'a>, Error> {
        if self.place == Place::Content && self.depth > 0 {
            // A `<` whose kind is not known yet is looked at again; all other text is done.
            if data.get(self.at) != Some(&b'<') {
                self.at = data.len();
            }
        }
        if self.excess {
            // All that has been looked at may go, but for what the end of a tag or a section is told by.
            return Ok(self.incomplete(self.at.saturating_sub(LOOKED_BACK)));
        }
        let limit = if self.open { self.limits.stanza } else { self.limits.header };
        if data.len() - start.min(data.len()) > limit {
            return self.exceed(data, start, Error::TooLong);
        }
        Ok(self.incomplete(start))
    }

    /// A limit is reached inside the stanza that begins at `start`.
    fn exceed<'a>(&mut self, data: &'a [u8], start: usize, error: Error) -> Result<Frame<'a>, Error> {
        if !self.tolerant || !self.open {
            return Err(error);
        }
        let head = data.get(start..self.head_end).unwrap_or_default();
        let head = if head.len() <= self.limits.header.min(self.limits.stanza) { head } else { &[] };
        let consumed = self.at.saturating_sub(LOOKED_BACK);
        self.at -= consumed;
        self.head_end = 0;
        self.excess = true;
        Ok(Frame::Excess { head, error, consumed })
    }

    fn incomplete<'a>(&mut self, start: usize) -> Frame<'a> {
        self.at -= start.min(self.at);
        self.head_end = self.head_end.saturating_sub(start);
        Frame::Incomplete { consumed: start }
    }

    /// A frame that ends here.
    fn whole<'a>(
        &mut self,
        data: &'a [u8],
        start: usize,
        limit: usize,
        frame: fn(&'a [u8], usize) -> Frame<'a>,
    ) -> Result<Frame<'a>, Error> {
        let bytes = data.get(start..self.at).unwrap_or_default();
        if bytes.len() > limit {
            return self.exceed(data, start, Error::TooLong);
        }
        Ok(frame(bytes, self.leave()))
    }

    fn leave(&mut self) -> usize {
        self.head_end = 0;
        std::mem::take(&mut self.at)
    }
}

/// `<?xml version="1.x" encoding="UTF-8" ...?>` (XML 1.0 section 2.8; RFC 6120 section 11.5).
fn check_declaration(bytes: &[u8]) -> Result<(), Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8)?;
    let inner = text.strip_prefix("<?").and_then(|text| text.strip_suffix("?>")).ok_or(Error::Declaration)?;
    let Some(attributes) = inner.strip_prefix("xml").filter(|rest| rest.starts_with([' ', '\t', '\r', '\n'])) else {
        return Err(if inner.starts_with("xml") && inner.len() == 3 {
            Error::Declaration
        } else {
            Error::ProcessingInstruction
        });
    };
    let mut version = false;
    for (place, attribute) in crate::attribute::attributes(attributes, 0).enumerate() {
        let (name, value) = attribute?;
        match (place, name) {
            (0, "version") if value.starts_with("1.") => version = true,
            (_, "encoding") if value.eq_ignore_ascii_case("UTF-8") => {}
            (_, "encoding") => return Err(Error::Encoding),
            (_, "standalone") => {}
            _ => return Err(Error::Declaration),
        }
    }
    if version { Ok(()) } else { Err(Error::Declaration) }
}

#[cfg(test)]
#[path = "framer_tests.rs"]
mod tests;
