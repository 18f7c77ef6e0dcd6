//! What a message says: one MIME entity, opaque, and what is said about it.

use smallvec::SmallVec;
use std::borrow::Cow;

/// What a message is about, in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The language tag (RFC 5646), where it is known.
    pub language: Option<Cow<'a, str>>,
    /// The text.
    pub text: Cow<'a, str>,
}

/// Subjects: nearly always none or one.
pub type Subjects<'a> = SmallVec<[Subject<'a>; 1]>;

/// Whether a text can be a language tag (RFC 5646 section 2.1): letters, digits and hyphens, which every header and
/// attribute can carry.
pub fn is_language_tag(text: &str) -> bool {
    text.len() <= 35
        && text.split('-').all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// One MIME entity (RFC 2045) with its headers. The body is what was received, octet for octet: no path of the core turns
/// it into text and back. A connector may *present* a type that it knows; what it does not know crosses untouched or is
/// refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content<'a> {
    /// The type; `None` where the sender named none, which only an empty body may.
    pub media_type: Option<MediaType<'a>>,
    /// How the body is encoded (`Content-Encoding`), where it is.
    pub encoding: Option<&'a [u8]>,
    /// What the body is for (`Content-Disposition`), where it is said.
    pub disposition: Option<Cow<'a, [u8]>>,
    /// The octets.
    pub body: Cow<'a, [u8]>,
    /// What it is about.
    pub subjects: Subjects<'a>,
    /// The language of the text (`Content-Language`), where one is named.
    pub language: Option<Cow<'a, str>>,
    /// The same text in other languages or richer types, in no order; nearly always none. The body alone says everything:
    /// whoever cannot pass on several forms of a text passes on the body, or the form that its recipient reads best.
    pub alternatives: Vec<Alternative<'a>>,
}

/// Another form of the text that a [`Content`] holds (RFC 2046 section 5.1.4), without coding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative<'a> {
    /// Its type.
    pub media_type: MediaType<'a>,
    /// Its language, where it is known.
    pub language: Option<Cow<'a, str>>,
    /// The octets.
    pub body: Cow<'a, [u8]>,
}

impl<'a> Content<'a> {
    /// Plain text in UTF-8.
    pub fn text(body: Cow<'a, str>) -> Self {
        let body = match body {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self { media_type: Some(MediaType::PLAIN_TEXT), body, ..Self::default() }
    }
}

/// A lenient view over the value of a `Content-Type` header (RFC 2045 section 5.1), which is kept as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType<'a> {
    raw: Cow<'a, [u8]>,
}

impl<'a> MediaType<'a> {
    /// `text/plain;charset=utf-8`.
    pub const PLAIN_TEXT: MediaType<'static> = MediaType { raw: Cow::Borrowed(b"text/plain;charset=utf-8") };
    /// `text/html;charset=utf-8`.
    pub const HTML: MediaType<'static> = MediaType { raw: Cow::Borrowed(b"text/html;charset=utf-8") };

    /// A view over `raw`; `None` where there is no type and subtype.
    pub fn parse(raw: impl Into<Cow<'a, [u8]>>) -> Option<Self> {
        let media_type = Self { raw: raw.into() };
        let (main, sub) = media_type.essence()?;
        (is_token(main) && is_token(sub)).then_some(media_type)
    }

    /// The value as received.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The same, owning its octets.
    pub fn into_owned(self) -> MediaType<'static> {
        MediaType { raw: Cow::Owned(self.raw.into_owned()) }
    }

    fn essence(&self) -> Option<(&[u8], &[u8])> {
        let end = self.raw.iter().position(|&b| b == b';').unwrap_or(self.raw.len());
        let essence = &self.raw[..end];
        let slash = essence.iter().position(|&b| b == b'/')?;
        Some((essence[..slash].trim_ascii(), essence[slash + 1..].trim_ascii()))
    }

    /// Whether type and subtype are these, without regard to case.
    pub fn is(&self, main: &str, sub: &str) -> bool {
        self.essence()
            .is_some_and(|(m, s)| m.eq_ignore_ascii_case(main.as_bytes()) && s.eq_ignore_ascii_case(sub.as_bytes()))
    }

    /// Whether the type is this one, whatever the subtype.
    pub fn is_a(&self, main: &str) -> bool {
        self.essence().is_some_and(|(m, _)| m.eq_ignore_ascii_case(main.as_bytes()))
    }

    /// The value of a parameter; quotes are removed, escapes inside them resolved.
    pub fn param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        param(&self.raw, name)
    }
}

/// The value of a parameter of a MIME header field's value.
pub(crate) fn param<'a>(raw: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    let mut rest = raw;
    // Skip type and subtype, then read `; name = value` one after the other: a semicolon may stand inside quotes.
    let mut position = rest.iter().position(|&b| b == b';')?;
    loop {
        rest = &rest[position + 1..];
        let equals = rest.iter().position(|&b| b == b'=' || b == b';')?;
        if rest[equals] == b';' {
            position = equals;
            continue;
        }
        let key = rest[..equals].trim_ascii();
        let value_start = rest[equals + 1..].trim_ascii_start();
        let (value, after) = if value_start.first() == Some(&b'"') {
            let (value, used) = quoted(value_start)?;
            (value, &value_start[used..])
        } else {
            let end = value_start.iter().position(|&b| b == b';').unwrap_or(value_start.len());
            (Cow::Borrowed(value_start[..end].trim_ascii()), &value_start[end..])
        };
        if key.eq_ignore_ascii_case(name.as_bytes()) {
            return Some(value);
        }
        rest = after;
        position = rest.iter().position(|&b| b == b';')?;
    }
}

/// A quoted string at the front of `bytes` and how many octets it takes.
fn quoted(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, usize)> {
    let mut value = Vec::new();
    let mut index = 1;
    loop {
        match *bytes.get(index)? {
            b'"' => break,
            b'\\' => {
                index += 1;
                value.push(*bytes.get(index)?);
            }
            byte => value.push(byte),
        }
        index += 1;
    }
    Some((Cow::Owned(value), index + 1))
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_as_strangers_write_them() {
        let cases: &[(&str, bool, Option<&str>)] = &[
            ("text/plain", true, None),
            ("TEXT/Plain", true, None),
            ("text/plain ; charset=utf-8", true, Some("utf-8")),
            ("text/plain;charset=\"utf-8\"", true, Some("utf-8")),
            ("text / plain;x=\";charset=no\";CHARSET = iso-8859-1 ;y", true, Some("iso-8859-1")),
            ("text/plain;;charset=a", true, Some("a")),
            ("text/plainer", false, None),
            ("text/html;charset=utf-8", false, Some("utf-8")),
        ];
        for (raw, plain, charset) in cases {
            let media_type = MediaType::parse(raw.as_bytes()).unwrap();
            assert_eq!(media_type.is("text", "plain"), *plain, "{raw}");
            assert_eq!(media_type.param("charset").as_deref(), charset.map(str::as_bytes), "{raw}");
        }
        for raw in ["", "text", "text/", "/plain", "te xt/plain", "text/plain/x", ";charset=utf-8"] {
            assert!(MediaType::parse(raw.as_bytes()).is_none(), "{raw}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_octets_panic(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            if let Some(media_type) = MediaType::parse(&raw) {
                let _ = media_type.param("charset");
            }
        }
    }
}
