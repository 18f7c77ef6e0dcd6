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
    /// Where the type and the subtype are in it.
    main: Span,
    sub: Span,
}

/// A part of a value: where it begins and where it ends.
type Span = (usize, usize);

impl<'a> MediaType<'a> {
    /// `text/plain;charset=utf-8`.
    pub const PLAIN_TEXT: MediaType<'static> =
        MediaType { raw: Cow::Borrowed(b"text/plain;charset=utf-8"), main: (0, 4), sub: (5, 10) };
    /// `text/html;charset=utf-8`.
    pub const HTML: MediaType<'static> =
        MediaType { raw: Cow::Borrowed(b"text/html;charset=utf-8"), main: (0, 4), sub: (5, 9) };

    /// A view over `raw`; `None` where there is no type and subtype.
    pub fn parse(raw: impl Into<Cow<'a, [u8]>>) -> Option<Self> {
        let raw: Cow<'a, [u8]> = raw.into();
        let end = raw.iter().position(|&octet| octet == b';').unwrap_or(raw.len());
        let slash = raw[..end].iter().position(|&octet| octet == b'/')?;
        let (main, sub) = (trimmed(&raw, 0, slash), trimmed(&raw, slash + 1, end));
        (is_token(&raw[main.0..main.1]) && is_token(&raw[sub.0..sub.1])).then_some(Self { raw, main, sub })
    }

    /// The value as received.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The same, owning its octets.
    pub fn into_owned(self) -> MediaType<'static> {
        MediaType { raw: Cow::Owned(self.raw.into_owned()), main: self.main, sub: self.sub }
    }

    fn main(&self) -> &[u8] {
        &self.raw[self.main.0..self.main.1]
    }

    fn sub(&self) -> &[u8] {
        &self.raw[self.sub.0..self.sub.1]
    }

    /// Whether type and subtype are these, without regard to case.
    pub fn is(&self, main: &str, sub: &str) -> bool {
        self.is_a(main) && self.sub().eq_ignore_ascii_case(sub.as_bytes())
    }

    /// Whether the type is this one, whatever the subtype.
    pub fn is_a(&self, main: &str) -> bool {
        self.main().eq_ignore_ascii_case(main.as_bytes())
    }

    /// Whether this is a signed or encrypted entity (RFC 8551, RFC 3156): it crosses untouched or is refused, and nobody but
    /// its recipient looks into it.
    pub fn is_secured(&self) -> bool {
        let is_wrapped = self.is("multipart", "signed") || self.is("multipart", "encrypted");
        is_wrapped || self.is_sealed()
    }

    /// Whether this is a secured entity that is no text: as such it may be carried in any transfer encoding.
    pub fn is_sealed(&self) -> bool {
        const SEALED: [&[u8]; 4] = [b"pkcs7-mime", b"x-pkcs7-mime", b"pgp", b"pgp-encrypted"];
        self.is_a("application") && SEALED.iter().any(|sealed| self.sub().eq_ignore_ascii_case(sealed))
    }

    /// The value of a parameter; quotes are removed, escapes inside them resolved.
    pub fn param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        param(&self.raw, name)
    }
}

/// The part from `start` to `end` without the white space around it.
fn trimmed(raw: &[u8], start: usize, end: usize) -> Span {
    let kept = raw[start..end].trim_ascii_start();
    let start = end - kept.len();
    (start, start + kept.trim_ascii_end().len())
}

/// A view over the value of a `Content-Disposition` (RFC 2183, RFC 3261 section 20.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disposition<'a> {
    raw: &'a [u8],
}

impl<'a> Disposition<'a> {
    /// A view over `raw`. `None` where its parameters are not separated by semicolons: it is malformed then and says nothing
    /// (RFC 3261 section 23.3 as erratum 6645 corrects it).
    pub fn parse(raw: &'a [u8]) -> Option<Self> {
        let mut rest = raw;
        let mut first = true;
        loop {
            let mut quoted = false;
            let mut escaped = false;
            let end = rest.iter().position(|&octet| {
                let ends = octet == b';' && !quoted;
                quoted ^= octet == b'"' && !escaped;
                escaped = octet == b'\\' && quoted && !escaped;
                ends
            });
            let (segment, behind) = rest.split_at(end.unwrap_or(rest.len()));
            let value = match segment.iter().position(|&octet| octet == b'=') {
                _ if first => segment,
                Some(equals) if is_token(segment[..equals].trim_ascii()) => &segment[equals + 1..],
                Some(_) => return None,
                None => segment,
            };
            let value = value.trim_ascii();
            let is_quoted = value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"");
            if !(is_token(value) || is_quoted && !first) {
                return None;
            }
            first = false;
            match behind.split_first() {
                Some((_, behind)) => rest = behind,
                None => return Some(Self { raw }),
            }
        }
    }

    /// Whether the disposition type is this one, without regard to case.
    pub fn is(&self, kind: &str) -> bool {
        let found = self.raw.split(|&octet| octet == b';').next().unwrap_or_default();
        found.trim_ascii().eq_ignore_ascii_case(kind.as_bytes())
    }

    /// Whether who does not understand the body may ignore it: only where it is said (RFC 5621 section 8.1).
    pub fn is_optional(&self) -> bool {
        param(self.raw, "handling").is_some_and(|handling| handling.eq_ignore_ascii_case(b"optional"))
    }

    /// Whether it is said that the body must be understood. What says nothing is taken so too, where the body stands alone.
    pub fn is_required(&self) -> bool {
        param(self.raw, "handling").is_some_and(|handling| handling.eq_ignore_ascii_case(b"required"))
    }

    /// The value as received.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

/// Whether a body of this type is there to be shown: `render` and `inline` are, and what says nothing, unless it is a session
/// description (RFC 3261 section 20.11).
pub fn is_for_show(disposition: Option<Disposition<'_>>, media_type: Option<&MediaType<'_>>) -> bool {
    match disposition {
        Some(disposition) => disposition.is("render") || disposition.is("inline"),
        None => !media_type.is_some_and(|media_type| media_type.is("application", "sdp")),
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
    let is_special = |octet: u8| b"()<>@,;:\\\"/[]?=".contains(&octet);
    let belongs = |octet: u8| octet.is_ascii_alphanumeric() || octet.is_ascii_graphic() && !is_special(octet);
    !bytes.is_empty() && bytes.iter().all(|&octet| belongs(octet))
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

    #[test]
    fn dispositions_as_strangers_write_them() {
        for (raw, kind, optional) in [
            ("render", "render", false),
            ("INLINE ; Handling = OPTIONAL", "inline", true),
            ("attachment;filename=\"a;b \\\" c\";handling=optional", "attachment", true),
            ("attachment; handling=required; filename=smime.p7s", "attachment", false),
            ("icon;x;handling=\"optional\"", "icon", true),
        ] {
            let disposition = Disposition::parse(raw.as_bytes()).unwrap();
            assert_eq!((disposition.is(kind), disposition.is_optional()), (true, optional), "{raw}");
            assert!(!disposition.is("signal"), "{raw}");
        }
        for malformed in [
            "",
            ";handling=optional",
            "render handling=optional",
            "attachment; filename=smime.p7s handling=optional",
            "attachment;;handling=optional",
            "attachment;handling=",
            "attachment;=optional",
            "\"render\"",
        ] {
            assert_eq!(Disposition::parse(malformed.as_bytes()), None, "{malformed}");
        }
    }

    #[test]
    fn what_says_nothing_is_for_show_but_for_session_descriptions() {
        let shown = |disposition: Option<&str>, media_type: &str| {
            let disposition = disposition.and_then(|raw| Disposition::parse(raw.as_bytes()));
            is_for_show(disposition, MediaType::parse(media_type.as_bytes()).as_ref())
        };
        for (disposition, media_type, expected) in [
            (None, "text/plain", true),
            (None, "", true),
            (None, "image/png", true),
            (None, "application/SDP", false),
            (Some("render"), "application/sdp", true),
            (Some("session"), "text/plain", false),
            (Some("by-reference"), "text/plain", false),
            (Some("inline handling=optional"), "application/sdp", false),
        ] {
            assert_eq!(shown(disposition, media_type), expected, "{disposition:?} {media_type}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_octets_panic(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            if let Some(media_type) = MediaType::parse(&raw) {
                let _ = media_type.param("charset");
            }
            if let Some(disposition) = Disposition::parse(&raw) {
                let _ = (disposition.is("render"), disposition.is_optional());
            }
        }
    }
}
