//! `im:` URIs (RFC 3860 section 3.2 and its ABNF in RFC 3861): the address of an instant inbox.

use crate::canonical_domain;
use std::borrow::Cow;
use std::fmt;

/// The longest local part and the longest domain, in octets of UTF-8 (RFC 7622 section 3.1 allows no more on the XMPP
/// side, so no more can cross).
pub(crate) const PART_LIMIT: usize = 1023;

/// An address of the core: a local part in plain text, with nothing escaped, and a domain in the form of
/// [`canonical_domain`].
///
/// Both connectors unescape on the way in and escape on the way out by the rules of their protocol (RFC 7247 section 6.2:
/// unescape the source, leave what the destination allows, escape what it reserves), so nothing is escaped twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImUri<'a> {
    local: Cow<'a, str>,
    domain: Cow<'a, str>,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Another scheme, or none.
    #[error("not an im: URI")]
    Scheme,
    /// The local part or the domain is empty.
    #[error("a part of the address is empty")]
    Empty,
    /// A part is longer than 1023 octets.
    #[error("a part of the address is longer than 1023 octets")]
    TooLong,
    /// Percent-encoding that is broken or decodes to something that is not UTF-8.
    #[error("the address is not UTF-8")]
    Encoding,
    /// A control character.
    #[error("the address holds a control character")]
    Control,
    /// Neither a domain name nor an IP address.
    #[error("the domain of the address is none")]
    Domain,
}

impl<'a> ImUri<'a> {
    /// An address from its parts in plain text; the domain in any spelling.
    pub fn from_parts(local: Cow<'a, str>, domain: Cow<'a, str>) -> Result<Self, UriError> {
        check_local(&local)?;
        let domain = match domain {
            Cow::Borrowed(domain) => canonical_domain(domain)?,
            Cow::Owned(domain) => Cow::Owned(canonical_domain(&domain)?.into_owned()),
        };
        Ok(Self { local, domain })
    }

    /// An address in a domain that is in the form of [`canonical_domain`].
    pub(crate) fn in_canonical_domain(local: Cow<'a, str>, domain: Cow<'a, str>) -> Result<Self, UriError> {
        debug_assert_eq!(canonical_domain(&domain).as_deref(), Ok(&*domain));
        check_local(&local)?;
        Ok(Self { local, domain })
    }

    /// Reads `im:romeo@example.net`. Headers behind `?` are ignored, as they say nothing about the inbox.
    pub fn parse(text: &'a str) -> Result<Self, UriError> {
        let rest = match text.get(..3) {
            Some(scheme) if scheme.eq_ignore_ascii_case("im:") => &text[3..],
            _ => return Err(UriError::Scheme),
        };
        let address = rest.split('?').next().unwrap_or_default();
        let (local, domain) = address.rsplit_once('@').ok_or(UriError::Empty)?;
        Self::from_parts(percent_decode(local)?, percent_decode(domain)?)
    }

    /// The local part, unescaped.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The user of the same domain whose local part is `local`, which has to be legal.
    pub fn with_local(self, local: Cow<'a, str>) -> Result<Self, UriError> {
        Self::in_canonical_domain(local, self.domain)
    }

    /// The domain, in the form of [`canonical_domain`].
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether both are the same user where case does not count, as on XMPP.
    pub fn same_user(&self, other: &ImUri<'_>) -> bool {
        self.domain == other.domain && fold_case(&self.local) == fold_case(&other.local)
    }

    /// The same address, owning its text.
    pub fn into_owned(self) -> ImUri<'static> {
        ImUri { local: Cow::Owned(self.local.into_owned()), domain: Cow::Owned(self.domain.into_owned()) }
    }

    /// The same address, borrowing from this one.
    pub fn borrowed(&self) -> ImUri<'_> {
        ImUri { local: Cow::Borrowed(&self.local), domain: Cow::Borrowed(&self.domain) }
    }
}

/// A local part without the case of its letters, as the localpart of a JID is (the case mapping of RFC 8265 section
/// 3.3.2, a character at a time). SIP tells users apart by case and XMPP does not.
pub fn fold_case(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return if text.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        };
    }
    let folded: String = text.chars().flat_map(char::to_lowercase).collect();
    if folded == text { Cow::Borrowed(text) } else { Cow::Owned(folded) }
}

fn check_local(local: &str) -> Result<(), UriError> {
    if local.is_empty() {
        return Err(UriError::Empty);
    }
    if local.len() > PART_LIMIT {
        return Err(UriError::TooLong);
    }
    if has_control(local) { Err(UriError::Control) } else { Ok(()) }
}

fn has_control(text: &str) -> bool {
    text.bytes().any(|b| b < 0x20 || b == 0x7f) || (!text.is_ascii() && text.chars().any(char::is_control))
}

/// Decodes `%hexhex`; refuses broken escapes and what is not UTF-8 (never replaces).
pub(crate) fn percent_decode(text: &str) -> Result<Cow<'_, str>, UriError> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16)).ok_or(UriError::Encoding);
        let (high, low) = (digit()?, digit()?);
        decoded.push((high * 16 + low) as u8);
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| UriError::Encoding)
}

/// Whether an octet stands unescaped in the printed form: the unreserved characters of RFC 3986 and the sub-delimiters
/// that the mailbox of RFC 3861 allows.
fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'*+=".contains(&byte)
}

impl fmt::Display for ImUri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("im:")?;
        for byte in self.local.bytes() {
            if plain(byte) { write!(f, "{}", char::from(byte))? } else { write!(f, "%{byte:02X}")? }
        }
        f.write_str("@")?;
        f.write_str(&self.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prints_what_it_reads() {
        for text in ["im:fred@example.com", "im:o'malley@sip.example", "im:a%40b@gw.example", "im:f%C3%BC@sip.example"]
        {
            assert_eq!(ImUri::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(ImUri::parse("IM:Fred@EXAMPLE.com?subject=x").unwrap().to_string(), "im:Fred@example.com");
    }

    #[test]
    fn refuses_what_is_no_inbox() {
        let long = format!("im:{}@example.com", "a".repeat(1024));
        for (text, error) in [
            ("sip:fred@example.com", UriError::Scheme),
            ("im", UriError::Scheme),
            ("im:example.com", UriError::Empty),
            ("im:@example.com", UriError::Empty),
            ("im:fred@", UriError::Empty),
            ("im:a%zz@example.com", UriError::Encoding),
            ("im:a%4", UriError::Empty),
            ("im:a%C3@example.com", UriError::Encoding),
            ("im:a%00@example.com", UriError::Control),
            ("im:a%C2%80@example.com", UriError::Control),
            (&long, UriError::TooLong),
        ] {
            assert_eq!(ImUri::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_printed_address_reads_back(local in "[^\\p{Cc}]{1,40}", domain in "[a-z0-9]{1,20}(\\.[a-z\u{e0}-\u{f6}]{1,20}){0,3}|\\[2001:db8::[1-9a-f]{1,4}\\]") {
            let uri = ImUri::from_parts(Cow::Owned(local), Cow::Owned(domain)).unwrap();
            let printed = uri.to_string();
            prop_assert_eq!(ImUri::parse(&printed).unwrap(), uri);
        }
    }
}
