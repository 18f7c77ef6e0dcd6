//! The header lines of one message: where they are, never what they mean.
//!
//! Order, spelling and white space of every line stay as received, so that what is passed on can be passed on byte for
//! byte (RFC 3261 section 7.3.1 lets nobody re-order what it does not know).

use smallvec::SmallVec;

use super::headers::ListValues;
use super::names::HeaderName;

/// Lines that fit without an allocation.
pub(super) const INLINE_LINES: usize = 32;

/// Where one header line is. It ends where the next one starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) name_end: u32,
    pub(super) value_start: u32,
    pub(super) value_end: u32,
    pub(super) name: HeaderName,
}

/// The header lines of a message, in order.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// The message from its first byte.
    pub(super) bytes: &'a [u8],
    pub(super) spans: SmallVec<[Span; INLINE_LINES]>,
    /// Behind the last header line, before the empty line.
    pub(super) end: u32,
}

/// One header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Which field it is.
    pub name: HeaderName,
    /// The name as it was written.
    pub raw_name: &'a [u8],
    /// The value without white space around it; folds inside it are kept.
    pub value: &'a [u8],
    /// The whole line with its folds and its final line end.
    pub whole: &'a [u8],
}

impl<'a> Head<'a> {
    fn slice(&self, from: u32, to: u32) -> &'a [u8] {
        self.bytes.get(from as usize..to as usize).unwrap_or_default()
    }

    /// The value of the first line with this name.
    pub fn first(&self, name: HeaderName) -> Option<&'a [u8]> {
        self.spans.iter().find(|span| span.name == name).map(|span| self.slice(span.value_start, span.value_end))
    }

    /// The values of all lines with this name, in order. One line may hold several comma-separated ones: see
    /// [`Head::list`].
    pub fn all(&self, name: HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.spans.iter().filter(move |span| span.name == name).map(|span| self.slice(span.value_start, span.value_end))
    }

    /// The comma-separated values of all lines with this name, in order (RFC 3261 section 7.3.1). Commas in quoted
    /// strings and in `<>` separate nothing. Empty elements are left out.
    pub fn list(&self, name: HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.all(name).flat_map(ListValues::new)
    }

    /// The value of the first line with this name, for fields that have no [`HeaderName`] of their own.
    pub fn other(&self, name: &str) -> Option<&'a [u8]> {
        let field = HeaderName::classify(name.as_bytes());
        if field != HeaderName::Other {
            return self.first(field);
        }
        self.lines()
            .find(|line| line.name == field && line.raw_name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|line| line.value)
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no line at all.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// All lines in order.
    pub fn lines(&self) -> impl Iterator<Item = Line<'a>> {
        let ends = self.spans.iter().skip(1).map(|next| next.start).chain(std::iter::once(self.end));
        self.spans.iter().zip(ends).map(|(span, end)| Line {
            name: span.name,
            raw_name: self.slice(span.start, span.name_end),
            value: self.slice(span.value_start, span.value_end),
            whole: self.slice(span.start, end),
        })
    }
}
