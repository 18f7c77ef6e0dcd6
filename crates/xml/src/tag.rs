//! Start tags, from left to right in one pass.

use crate::Error;
use crate::text::is_nc_name;
use memchr::memchr;

/// A qualified name (Namespaces in XML 1.0 section 4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    pub(crate) qualified: &'a str,
    /// Empty if there is none.
    pub(crate) prefix: &'a str,
    pub(crate) local: &'a str,
}

/// An attribute as it stands there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written<'a> {
    pub(crate) name: Name<'a>,
    pub(crate) raw: &'a str,
    /// The value is what stands there: no reference, no white space to be made spaces.
    pub(crate) plain: bool,
}

/// How a tag ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagEnd {
    /// `>`
    Open,
    /// `/>`
    Empty,
    /// `?>`, of the XML declaration.
    Declaration,
}

/// What comes next in a tag.
pub(crate) enum Part<'a> {
    Attribute(Written<'a>),
    End(TagEnd),
}

/// Reads a tag behind its `<`.
#[derive(Debug)]
pub(crate) struct Tag<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tag<'a> {
    pub(crate) fn new(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// How far it has been read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The name of the element, or of an attribute.
    pub(crate) fn name(&mut self) -> Result<Name<'a>, Error> {
        let rest = self.rest();
        let mut seen = 0;
        let behind = rest.iter().position(|octet| {
            let class = CLASS[usize::from(*octet)];
            seen |= class;
            class & IN_NAME == 0
        });
        let end = behind.unwrap_or(rest.len());
        let qualified = self.text.get(self.at..self.at + end).unwrap_or_default();
        self.at += end;
        let starts = |part: &str| {
            part.as_bytes().first().is_some_and(|octet| CLASS[usize::from(*octet)] & (STARTS | FOREIGN) != 0)
        };
        if !starts(qualified) {
            return Err(Error::Name);
        }
        if seen & (COLON | FOREIGN) == 0 {
            return Ok(Name { qualified, prefix: "", local: qualified });
        }
        let (prefix, local) = match memchr(b':', qualified.as_bytes()) {
            None => ("", qualified),
            Some(colon) => (qualified.get(..colon).unwrap_or_default(), qualified.get(colon + 1..).unwrap_or_default()),
        };
        if !starts(local) || memchr(b':', local.as_bytes()).is_some() {
            return Err(Error::Name);
        }
        if seen & FOREIGN != 0 && !(is_nc_name(local) && (prefix.is_empty() || is_nc_name(prefix))) {
            return Err(Error::Name);
        }
        Ok(Name { qualified, prefix, local })
    }

    /// The next attribute, or the end of the tag (XML 1.0 section 3.1).
    pub(crate) fn part(&mut self) -> Result<Part<'a>, Error> {
        let spaced = self.skip_white_space();
        let end = match self.rest() {
            [] => return Err(Error::Unclosed),
            [b'>', ..] => TagEnd::Open,
            [b'/', b'>', ..] => TagEnd::Empty,
            [b'?', b'>', ..] => TagEnd::Declaration,
            _ if spaced => return self.attribute().map(Part::Attribute),
            _ => return Err(Error::Attribute),
        };
        self.at += if end == TagEnd::Open { 1 } else { 2 };
        Ok(Part::End(end))
    }

    fn attribute(&mut self) -> Result<Written<'a>, Error> {
        let name = self.name()?;
        self.skip_white_space();
        if self.rest().first() != Some(&b'=') {
            return Err(Error::Attribute);
        }
        self.at += 1;
        self.skip_white_space();
        let Some(&quote @ (b'\'' | b'"')) = self.rest().first() else { return Err(Error::Attribute) };
        self.at += 1;
        let start = self.at;
        let mut plain = true;
        while let Some(place) = self.rest().iter().position(|octet| CLASS[usize::from(*octet)] & IN_VALUE != 0) {
            let end = self.at + place;
            self.at = end + 1;
            match self.text.as_bytes().get(end) {
                Some(octet) if *octet == quote => {
                    let raw = self.text.get(start..end).unwrap_or_default();
                    return Ok(Written { name, raw, plain });
                }
                Some(b'\'' | b'"') => {}
                Some(b'<') => return Err(Error::LessThan),
                _ => plain = false,
            }
        }
        Err(Error::Unclosed)
    }

    fn skip_white_space(&mut self) -> bool {
        let before = self.at;
        while self.text.as_bytes().get(self.at).is_some_and(|octet| is_white_space(*octet)) {
            self.at += 1;
        }
        self.at > before
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }
}

/// The `S` production.
pub(crate) fn is_white_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        class[octet] = match octet as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => STARTS,
            b'0'..=b'9' | b'-' | b'.' => CONTINUES,
            b':' => COLON,
            0x80.. => FOREIGN,
            b'\'' | b'"' | b'<' | b'&' | b'\t' | b'\r' | b'\n' => IN_VALUE,
            _ => 0,
        };
        octet += 1;
    }
    class
};
const STARTS: u8 = 1;
const CONTINUES: u8 = 2;
const COLON: u8 = 4;
/// Part of a character beyond ASCII, to be looked at as such.
const FOREIGN: u8 = 8;
const IN_NAME: u8 = STARTS | CONTINUES | COLON | FOREIGN;
/// Means something in the value of an attribute.
const IN_VALUE: u8 = 16;
