//! Domains in the one form in which the core compares them: A-labels in lower case, or an IP literal.
//!
//! XMPP shows internationalised names as U-labels (RFC 7622 section 3.2), URIs and the DNS hold A-labels (RFC 5890). The
//! core has A-labels, so that what SIP brings needs no conversion, and each domain has one spelling to look up.

use crate::UriError;
use crate::uri::PART_LIMIT;
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use std::borrow::Cow;
use std::net::Ipv6Addr;

/// Longest label of a domain name (RFC 1034 section 3.1).
const LABEL_LIMIT: usize = 63;

/// The form of the core of a domain in any spelling: U-labels or A-labels, upper case, a trailing dot, an IPv4 address, an
/// IPv6 address in brackets.
///
/// U-labels get the mappings of RFC 5895 (by UTS 46, non-transitional) and become A-labels; A-labels have to be what their
/// U-labels yield (RFC 5891 section 5.4). An IPv6 address is spelled by RFC 5952. One with a zone means nothing on another
/// host and is refused. An underscore is not for host names, but names in the wild have it.
///
/// Plain names in lower case are borrowed.
///
/// ```
/// assert_eq!(cpim::canonical_domain("B\u{fc}cher.Example.").unwrap(), "xn--bcher-kva.example");
/// assert_eq!(cpim::canonical_domain("[2001:DB8:0::1]").unwrap(), "[2001:db8::1]");
/// assert!(cpim::canonical_domain("a..example").is_err());
/// ```
pub fn canonical_domain(text: &str) -> Result<Cow<'_, str>, UriError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err(UriError::Empty);
    }
    if text.len() > PART_LIMIT {
        return Err(UriError::TooLong);
    }
    if let Some(literal) = text.strip_prefix('[') {
        let address: Ipv6Addr = literal.strip_suffix(']').and_then(|v6| v6.parse().ok()).ok_or(UriError::Domain)?;
        let canonical = format!("[{address}]");
        return Ok(if canonical == text { Cow::Borrowed(text) } else { Cow::Owned(canonical) });
    }
    match look_at(text.as_bytes()) {
        Spelling::Canonical => Ok(Cow::Borrowed(text)),
        Spelling::UpperCase => Ok(Cow::Owned(text.to_ascii_lowercase())),
        Spelling::International => international(text),
        Spelling::NoName => Err(UriError::Domain),
    }
}

/// What a name needs to get its form.
enum Spelling {
    Canonical,
    UpperCase,
    /// U-labels or A-labels.
    International,
    NoName,
}

/// Whether a name has only lower-case letters and digits in its labels, as nearly all have: it is canonical then.
fn is_plain(text: &[u8]) -> bool {
    let mut label = 0;
    for byte in text {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => label += 1,
            b'.' if (1..=LABEL_LIMIT).contains(&label) => label = 0,
            _ => return false,
        }
    }
    (1..=LABEL_LIMIT).contains(&label)
}

fn look_at(text: &[u8]) -> Spelling {
    if is_plain(text) {
        return Spelling::Canonical;
    }
    let mut spelling = Spelling::Canonical;
    for label in text.split(|&byte| byte == b'.') {
        if label.is_empty() || label.len() > LABEL_LIMIT || label.first() == Some(&b'-') || label.last() == Some(&b'-')
        {
            // Other dots than U+002E, and labels that get shorter, are for the mapping to see.
            return if text.is_ascii() { Spelling::NoName } else { Spelling::International };
        }
        if label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"xn--")) {
            return Spelling::International;
        }
        for &byte in label {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
                b'A'..=b'Z' => spelling = Spelling::UpperCase,
                0x80.. => return Spelling::International,
                _ => return Spelling::NoName,
            }
        }
    }
    spelling
}

fn international(text: &str) -> Result<Cow<'_, str>, UriError> {
    let ascii = Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Ignore)
        .map_err(|_| UriError::Domain)?;
    // A final dot of another script is one too, and only one may be there.
    let ascii = match ascii.strip_suffix('.') {
        Some(bare) => Cow::Owned(bare.to_owned()),
        None => ascii,
    };
    if ascii.len() > PART_LIMIT || ascii.split('.').any(|label| label.is_empty() || label.len() > LABEL_LIMIT) {
        return Err(UriError::Domain);
    }
    Ok(ascii)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_of_a_domain_has_one_form() {
        let longest = [["d"; 63].concat().as_str(); 16].join(".");
        for (text, canonical) in [
            ("sip.example", "sip.example"),
            ("SIP.Example", "sip.example"),
            ("sip.example.", "sip.example"),
            ("localhost", "localhost"),
            ("b_c.example", "b_c.example"),
            ("a--b.example", "a--b.example"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("B\u{dc}CHER.example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.Example", "xn--bcher-kva.example"),
            ("\u{ff33}ip.example", "sip.example"),
            ("sip\u{3002}example\u{3002}", "sip.example"),
            ("fa\u{df}.example", "xn--fa-hia.example"),
            ("fass.example", "fass.example"),
            ("\u{3b2}\u{3cc}\u{3bb}\u{3bf}\u{3c2}.example", "xn--nxasmm1c.example"),
            ("\u{5d0}.example", "xn--4db.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("[2001:db8:0:0:0:0:0:1]", "[2001:db8::1]"),
            ("[::FFFF:192.0.2.1]", "[::ffff:192.0.2.1]"),
            (&longest, &longest),
        ] {
            assert_eq!(canonical_domain(text).as_deref(), Ok(canonical), "{text}");
            assert_eq!(canonical_domain(canonical).as_deref(), Ok(canonical), "{canonical}");
        }
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        let label = "a".repeat(64);
        let long = [["d"; 63].concat().as_str(); 16].join(".") + ".d";
        for (text, error) in [
            ("", UriError::Empty),
            (".", UriError::Empty),
            ("a..example", UriError::Domain),
            (".example", UriError::Domain),
            ("sip.example..", UriError::Domain),
            ("sip\u{3002}\u{3002}example", UriError::Domain),
            ("-a.example", UriError::Domain),
            ("a-.example", UriError::Domain),
            ("a b", UriError::Domain),
            ("a@b", UriError::Domain),
            ("a/b", UriError::Domain),
            ("a%41.example", UriError::Domain),
            ("a;lr", UriError::Domain),
            ("a:5060", UriError::Domain),
            ("a>", UriError::Domain),
            ("a\r\n.example", UriError::Domain),
            ("a\u{0}", UriError::Domain),
            ("xn--.example", UriError::Domain),
            ("xn--a.example", UriError::Domain),
            ("xn--abc-.example", UriError::Domain),
            ("\u{200d}.example", UriError::Domain),
            ("a\u{5d0}.example", UriError::Domain),
            ("2001:db8::1", UriError::Domain),
            ("[2001:db8::1", UriError::Domain),
            ("[example.com]", UriError::Domain),
            ("[v1.x]", UriError::Domain),
            ("[fe80::1%25eth0]", UriError::Domain),
            (&label, UriError::Domain),
            (&long, UriError::TooLong),
        ] {
            assert_eq!(canonical_domain(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_plain_name_is_borrowed() {
        for text in ["sip.example", "sip.example.", "[::1]", "192.0.2.1"] {
            assert!(matches!(canonical_domain(text), Ok(Cow::Borrowed(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_form_of_a_form_is_itself(text in "[a-zA-Z0-9._\\[\\]:\u{df}\u{e0}-\u{fc}\u{3b1}-\u{3c9}\u{5d0}\u{3002}\u{ff21}-\u{ff3a}-]{1,16}|\\PC{1,16}") {
            if let Ok(canonical) = canonical_domain(&text) {
                prop_assert!(canonical.is_ascii(), "{}", canonical);
                prop_assert!(canonical.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.[]:".contains(&b)));
                let again = canonical_domain(&canonical);
                prop_assert_eq!(again.as_deref(), Ok(&*canonical));
            }
        }
    }
}
