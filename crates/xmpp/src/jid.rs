//! XMPP addresses (RFC 7622): parsing, preparation, enforcement and comparison.
//!
//! A part that is already in its normal form is borrowed; for plain ASCII addresses that is one pass and no allocation.
//! Everything else goes through PRECIS (UsernameCaseMapped for the localpart, OpaqueString for the resourcepart, RFC 8265)
//! and through IDNA for the domainpart (RFC 5890, 5895).
//!
//! What was legal only under the older stringprep profiles is accepted where a server has stamped it
//! ([`JidParts::parse_stamped`]) and nowhere else. Nothing is unescaped here: see [`crate::escape`].

mod stamped;

use precis_core::profile::PrecisFastInvocation;
use precis_core::{IdentifierClass, StringClass};
use precis_profiles::{OpaqueString, UsernameCaseMapped};
use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// Longest localpart, domainpart or resourcepart in octets of UTF-8, after normalisation (RFC 7622 3.1).
pub const PART_MAX: usize = 1023;

/// A part longer than this is refused before anything is normalised. Normalisation never shrinks text to a quarter, so
/// nothing legal is lost, and no peer makes us look at more.
const RAW_PART_MAX: usize = 4 * PART_MAX + 3;

/// Longest label of a domain name (RFC 1034 3.1), in its ASCII form.
const LABEL_MAX: usize = 63;

/// The parts of a JID, each in its normal form, so that equal addresses have equal octets.
///
/// ```
/// use xmpp::jid::JidParts;
///
/// let jid = JidParts::parse("Juliet@Example.COM/Balcony").unwrap();
/// assert_eq!(jid.local.as_deref(), Some("juliet"));
/// assert_eq!(jid.domain, "example.com");
/// assert_eq!(jid.resource.as_deref(), Some("Balcony"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JidParts<'a> {
    /// The localpart (RFC 7622 3.3), still escaped if it uses XEP-0106.
    pub local: Option<Cow<'a, str>>,
    /// The domainpart (RFC 7622 3.2): U-labels without a trailing dot, or an IP address.
    pub domain: Cow<'a, str>,
    /// The resourcepart (RFC 7622 3.4).
    pub resource: Option<Cow<'a, str>>,
}

/// Which part of an address an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Before the `@`.
    Local,
    /// The only part that every address has.
    Domain,
    /// Behind the first `/`.
    Resource,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Local => "localpart",
            Part::Domain => "domainpart",
            Part::Resource => "resourcepart",
        })
    }
}

/// Why a text is not a JID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JidError {
    /// The part is there and has no character, or the domainpart is missing.
    #[error("the {0} is empty")]
    Empty(Part),
    /// The part has more than 1023 octets.
    #[error("the {0} is longer than 1023 octets")]
    TooLong(Part),
    /// A character, or a combination of characters, that the profile of the part does not allow.
    #[error("the {0} has a character that is not allowed there")]
    Forbidden(Part),
    /// The domainpart is neither a domain name nor an IP address.
    #[error("the domainpart is not a domain name")]
    NotADomain,
}

impl<'a> JidParts<'a> {
    /// Splits and normalises an address. The separators are looked for first, in the order of RFC 7622 3.2: the first
    /// `/`, then the first `@` before it.
    pub fn parse(text: &'a str) -> Result<Self, JidError> {
        let (local, domain, resource) = split(text);
        Ok(Self {
            local: local.map(normal_local).transpose()?,
            domain: normal_domain(domain)?,
            resource: resource.map(normal_resource).transpose()?,
        })
    }

    /// Reads an address that a server has stamped: as [`parse`](Self::parse), and a part that RFC 7622 refuses is taken
    /// as it stands where RFC 6122 would leave it so.
    pub fn parse_stamped(text: &'a str) -> Result<Self, JidError> {
        let (local, domain, resource) = split(text);
        let normal_resource = |text| {
            normal_resource(text).or_else(|e| if stamped::is_resource(text) { Ok(Cow::Borrowed(text)) } else { Err(e) })
        };
        Ok(Self {
            local: local.map(known_local).transpose()?,
            domain: known_domain(domain)?,
            resource: resource.map(normal_resource).transpose()?,
        })
    }

    /// Whether both have the same localpart and domainpart (the same bare JID).
    pub fn bare_eq(&self, other: &JidParts<'_>) -> bool {
        self.local == other.local && self.domain == other.domain
    }

    /// Whether there is no resourcepart.
    pub fn is_bare(&self) -> bool {
        self.resource.is_none()
    }

    /// The same address without its resourcepart.
    pub fn into_bare(self) -> Self {
        Self { resource: None, ..self }
    }

    /// The same address, owning its text.
    pub fn into_owned(self) -> JidParts<'static> {
        JidParts {
            local: self.local.map(|part| Cow::Owned(part.into_owned())),
            domain: Cow::Owned(self.domain.into_owned()),
            resource: self.resource.map(|part| Cow::Owned(part.into_owned())),
        }
    }

    /// Appends the whole address.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_bare(out);
        if let Some(resource) = &self.resource {
            out.push(b'/');
            out.extend_from_slice(resource.as_bytes());
        }
    }

    /// Appends the bare address.
    pub fn write_bare(&self, out: &mut Vec<u8>) {
        if let Some(local) = &self.local {
            out.extend_from_slice(local.as_bytes());
            out.push(b'@');
        }
        out.extend_from_slice(self.domain.as_bytes());
    }
}

impl fmt::Display for JidParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(local) = &self.local {
            write!(f, "{local}@")?;
        }
        f.write_str(&self.domain)?;
        if let Some(resource) = &self.resource {
            write!(f, "/{resource}")?;
        }
        Ok(())
    }
}

fn split_at_first(octet: u8, text: &str) -> Option<(&str, &str)> {
    let (before, behind) = text.split_at(memchr::memchr(octet, text.as_bytes())?);
    Some((before, &behind[1..]))
}

/// Localpart, domainpart and resourcepart as they stand.
fn split(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let (bare, resource) = match split_at_first(b'/', text) {
        Some((bare, resource)) => (bare, Some(resource)),
        None => (text, None),
    };
    match split_at_first(b'@', bare) {
        Some((local, domain)) => (Some(local), domain, resource),
        None => (None, bare, resource),
    }
}

/// Whether two texts are the same address (RFC 7622 3.2.3, 3.3, 3.4). A text that is not a JID equals nothing.
pub fn same_jid(one: &str, other: &str) -> bool {
    match (JidParts::parse(one), JidParts::parse(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Whether two texts have the same bare JID. A text that is not a JID equals nothing.
pub fn same_bare_jid(one: &str, other: &str) -> bool {
    match (JidParts::parse(one), JidParts::parse(other)) {
        (Ok(one), Ok(other)) => one.bare_eq(&other),
        _ => false,
    }
}

/// The characters that UsernameCaseMapped allows and a localpart must not have (RFC 7622 3.3.1).
const EXCLUDED: [char; 8] = ['"', '&', '\'', '/', ':', '<', '>', '@'];

/// The octets of a localpart that need no look at Unicode.
const PLAIN_IN_LOCAL: [bool; 256] = {
    let mut plain = [false; 256];
    let mut octet = 0x21;
    while octet <= 0x7e {
        plain[octet] = true;
        octet += 1;
    }
    let mut index = 0;
    while index < EXCLUDED.len() {
        plain[EXCLUDED[index] as usize] = false;
        index += 1;
    }
    plain
};

/// A localpart in its normal form (RFC 7622 3.3).
pub fn normal_local(text: &str) -> Result<Cow<'_, str>, JidError> {
    check_raw_length(text, Part::Local)?;
    let mut upper = false;
    let mut plain = true;
    for &byte in text.as_bytes() {
        upper |= byte.is_ascii_uppercase();
        plain &= PLAIN_IN_LOCAL[usize::from(byte)];
    }
    let normal = match (plain, upper) {
        (true, false) => Cow::Borrowed(text),
        (true, true) => Cow::Owned(text.to_ascii_lowercase()),
        (false, _) => {
            let normal = enforce::<UsernameCaseMapped>(text).ok_or(JidError::Forbidden(Part::Local))?;
            // Looked for in the result: width mapping makes an `@` of U+FF20.
            if normal.contains(EXCLUDED) {
                return Err(JidError::Forbidden(Part::Local));
            }
            normal
        }
    };
    check_length(normal, Part::Local)
}

/// A localpart that a server may know: as RFC 6122 leaves it where that is how it stands, else in its normal form. A server
/// whose tables do not know an upper case tells it from the lower case.
pub fn known_local(text: &str) -> Result<Cow<'_, str>, JidError> {
    match normal_local(text) {
        Ok(Cow::Borrowed(normal)) => Ok(Cow::Borrowed(normal)),
        _ if stamped::is_local(text) => Ok(Cow::Borrowed(text)),
        other => other,
    }
}

/// A localpart in its normal form, where servers that enforce RFC 6122 leave that as it is too. To them `fußball` is
/// `fussball`: whoever answered him would answer somebody else.
pub fn portable_local(text: &str) -> Result<Cow<'_, str>, JidError> {
    let normal = normal_local(text)?;
    if normal.is_ascii() || stamped::is_local(&normal) { Ok(normal) } else { Err(JidError::Forbidden(Part::Local)) }
}

/// Whether a server that enforces RFC 6122 says `stamped` of whom it was told as `local`.
pub fn is_older_form(stamped: &str, local: &str) -> bool {
    !local.is_ascii() && stringprep::nodeprep(local).is_ok_and(|older| older == stamped)
}

/// A domainpart that a server may have: in its normal form, or as IDNA2003 leaves it (RFC 6122 section 2.2), or with
/// underscores.
pub fn known_domain(text: &str) -> Result<Cow<'_, str>, JidError> {
    normal_domain(text).or_else(|error| {
        let bare = text.strip_suffix('.').unwrap_or(text);
        if stamped::is_ascii_domain(bare) {
            return Ok(Cow::Borrowed(bare));
        }
        match international_domain(bare) {
            Ok((domain, _)) if bare.len() <= PART_MAX => check_length(domain, Part::Domain),
            _ => Err(error),
        }
    })
}

/// A resourcepart in its normal form (RFC 7622 3.4; a leading space is legal by erratum 4560).
pub fn normal_resource(text: &str) -> Result<Cow<'_, str>, JidError> {
    check_raw_length(text, Part::Resource)?;
    let normal = if text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        Cow::Borrowed(text)
    } else {
        enforce::<OpaqueString>(text).ok_or(JidError::Forbidden(Part::Resource))?
    };
    check_length(normal, Part::Resource)
}

/// A domainpart in its normal form (RFC 7622 3.2 with errata 4534, 5769 and 5789): one trailing dot removed, then lower
/// case and U-labels, or an IP address as it stands.
pub fn normal_domain(text: &str) -> Result<Cow<'_, str>, JidError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    check_raw_length(text, Part::Domain)?;
    if let Some(literal) = text.strip_prefix('[') {
        let literal = literal.strip_suffix(']').ok_or(JidError::NotADomain)?;
        return check_length(ip_literal(text, literal)?, Part::Domain);
    }
    let normal = match ascii_domain(text) {
        Ascii::Normal => Cow::Borrowed(text),
        Ascii::UpperCase => Cow::Owned(text.to_ascii_lowercase()),
        Ascii::Not => match international_domain(text)? {
            (domain, true) => domain,
            (_, false) => return Err(JidError::Forbidden(Part::Domain)),
        },
    };
    check_length(normal, Part::Domain)
}

fn check_raw_length(text: &str, part: Part) -> Result<(), JidError> {
    match text.len() {
        0 => Err(JidError::Empty(part)),
        length if length > RAW_PART_MAX => Err(JidError::TooLong(part)),
        _ => Ok(()),
    }
}

fn check_length(text: Cow<'_, str>, part: Part) -> Result<Cow<'_, str>, JidError> {
    match text.len() {
        0 => Err(JidError::Empty(part)),
        length if length > PART_MAX => Err(JidError::TooLong(part)),
        _ => Ok(text),
    }
}

/// Applies a profile until its result does not change any more, at most four times (RFC 8264 7: else it is refused), so
/// that the normal form of a normal form is itself.
fn enforce<P: PrecisFastInvocation>(text: &str) -> Option<Cow<'_, str>> {
    let mut current = P::enforce(text).ok()?;
    for _ in 0..3 {
        let next = P::enforce(&*current).ok()?.into_owned();
        if *next == *current {
            return Some(if *next == *text { Cow::Borrowed(text) } else { Cow::Owned(next) });
        }
        current = Cow::Owned(next);
    }
    None
}

enum Ascii {
    /// NR-LDH labels in lower case.
    Normal,
    /// NR-LDH labels with upper-case letters.
    UpperCase,
    /// Something else: it may still be an internationalised name.
    Not,
}

/// Whether a name has only lower-case letters and digits in its labels, as nearly all have.
fn is_plain_domain(text: &str) -> bool {
    let mut label = 0;
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => label += 1,
            b'.' if (1..=LABEL_MAX).contains(&label) => label = 0,
            _ => return false,
        }
    }
    (1..=LABEL_MAX).contains(&label)
}

/// Looks at the labels of a name of letters, digits and hyphens. Labels with hyphens in the third and fourth place are
/// A-labels or reserved, so they are none of ours (RFC 5890 2.3.1).
fn ascii_domain(text: &str) -> Ascii {
    if is_plain_domain(text) {
        return Ascii::Normal;
    }
    let mut upper = false;
    for label in text.as_bytes().split(|&byte| byte == b'.') {
        if label.is_empty() || label.len() > LABEL_MAX || label.first() == Some(&b'-') || label.last() == Some(&b'-') {
            return Ascii::Not;
        }
        if label.get(2..4) == Some(b"--") {
            return Ascii::Not;
        }
        for &byte in label {
            if !byte.is_ascii_alphanumeric() && byte != b'-' {
                return Ascii::Not;
            }
            upper |= byte.is_ascii_uppercase();
        }
    }
    if upper { Ascii::UpperCase } else { Ascii::Normal }
}

/// A name with labels beyond ASCII, or with A-labels, which become U-labels (RFC 7622 3.2.1), and whether all of them are
/// U-labels by IDNA2008.
fn international_domain(text: &str) -> Result<(Cow<'_, str>, bool), JidError> {
    use idna::uts46::{AsciiDenyList, Hyphens, Uts46};
    // UTS 46 without transitional processing does the mappings of RFC 5895 and checks the Bidi and joiner rules ...
    let (unicode, outcome) = Uts46::new().to_unicode(text.as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
    outcome.map_err(|_| JidError::NotADomain)?;
    // ... and its length check the labels as they will look in DNS.
    let ascii = idna::uts46::Uts46::new()
        .to_ascii(unicode.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, idna::uts46::DnsLength::Ignore)
        .map_err(|_| JidError::NotADomain)?;
    if ascii.split('.').any(|label| label.is_empty() || label.len() > LABEL_MAX) {
        return Err(JidError::NotADomain);
    }
    // UTS 46 lets symbols through that no U-label may have (RFC 5892). What survived the mapping is stable, and for stable
    // characters the IdentifierClass is the same set: letters, digits, marks and the contextual exceptions.
    let allowed = |label: &str| label.is_ascii() || IdentifierClass::default().allows(label).is_ok();
    let strict = unicode.split('.').all(allowed);
    Ok((if unicode == text { Cow::Borrowed(text) } else { Cow::Owned(unicode.into_owned()) }, strict))
}

/// `[` IPv6address `]`, with or without the zone of RFC 6874. Other literals are no XMPP domains (RFC 7622 3.2).
fn ip_literal<'a>(text: &'a str, literal: &str) -> Result<Cow<'a, str>, JidError> {
    let (address, zone) = match literal.split_once("%25") {
        Some((address, zone)) => (address, Some(zone)),
        None => (literal, None),
    };
    let address: Ipv6Addr = address.parse().map_err(|_| JidError::NotADomain)?;
    if let Some(zone) = zone
        && (zone.is_empty() || !zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)))
    {
        return Err(JidError::NotADomain);
    }
    // One address, one spelling (RFC 5952); the zone is the peer's own name and keeps its.
    let normal = match zone {
        None => format!("[{address}]"),
        Some(zone) => format!("[{address}%25{zone}]"),
    };
    Ok(if normal == text { Cow::Borrowed(text) } else { Cow::Owned(normal) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn borrowed(part: &Option<Cow<'_, str>>) -> bool {
        !matches!(part, Some(Cow::Owned(_)))
    }

    /// RFC 7622 3.5, table 1 (with erratum 4470), and row 18 of table 2, which erratum 4560 makes legal.
    #[test]
    fn legal_examples() {
        for (text, local, domain, resource) in [
            ("juliet@example.com", Some("juliet"), "example.com", None),
            ("juliet@example.com/foo", Some("juliet"), "example.com", Some("foo")),
            ("juliet@example.com/foo bar", Some("juliet"), "example.com", Some("foo bar")),
            ("juliet@example.com/foo@bar", Some("juliet"), "example.com", Some("foo@bar")),
            ("foo\\20bar@example.com", Some("foo\\20bar"), "example.com", None),
            ("fussball@example.com", Some("fussball"), "example.com", None),
            ("fu\u{df}ball@example.com", Some("fu\u{df}ball"), "example.com", None),
            ("\u{3c0}@example.com", Some("\u{3c0}"), "example.com", None),
            ("\u{3a3}@example.com/foo", Some("\u{3c3}"), "example.com", Some("foo")),
            ("\u{3c3}@example.com/foo", Some("\u{3c3}"), "example.com", Some("foo")),
            ("\u{3c2}@example.com/foo", Some("\u{3c2}"), "example.com", Some("foo")),
            ("king@example.com/\u{265a}", Some("king"), "example.com", Some("\u{265a}")),
            ("example.com", None, "example.com", None),
            ("example.com/foobar", None, "example.com", Some("foobar")),
            ("a.example.com/b@example.net", None, "a.example.com", Some("b@example.net")),
            ("juliet@example.com/ foo", Some("juliet"), "example.com", Some(" foo")),
        ] {
            let jid = JidParts::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (jid.local.as_deref(), &*jid.domain, jid.resource.as_deref()),
                (local, domain, resource),
                "{text}"
            );
        }
    }

    /// RFC 7622 3.5, table 2.
    #[test]
    fn illegal_examples() {
        for (text, error) in [
            ("\"juliet\"@example.com", JidError::Forbidden(Part::Local)),
            ("foo bar@example.com", JidError::Forbidden(Part::Local)),
            ("@example.com/", JidError::Empty(Part::Local)),
            ("henry\u{2163}@example.com", JidError::Forbidden(Part::Local)),
            ("\u{265a}@example.com", JidError::Forbidden(Part::Local)),
            ("juliet@", JidError::Empty(Part::Domain)),
            ("/foobar", JidError::Empty(Part::Domain)),
            ("", JidError::Empty(Part::Domain)),
            ("juliet@example.com/", JidError::Empty(Part::Resource)),
            ("a@b@example.com", JidError::NotADomain),
            ("juliet@exa mple.com", JidError::NotADomain),
            ("juliet@example..com", JidError::NotADomain),
            ("juliet@example.com..", JidError::NotADomain),
            ("juliet@.", JidError::Empty(Part::Domain)),
            ("juliet@-example.com", JidError::NotADomain),
            ("juliet@under_score.example", JidError::NotADomain),
            ("juliet@\u{265a}.example", JidError::Forbidden(Part::Domain)),
            ("a\u{ff20}b@example.com", JidError::Forbidden(Part::Local)),
            ("a\u{7f}@example.com", JidError::Forbidden(Part::Local)),
            ("juliet@example.com/a\u{7}", JidError::Forbidden(Part::Resource)),
            ("juliet@[::1", JidError::NotADomain),
            ("juliet@[v1.x]", JidError::NotADomain),
            ("juliet@[fe80::1%25]", JidError::NotADomain),
        ] {
            assert_eq!(JidParts::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn each_excluded_character_is_refused_in_a_localpart_and_legal_in_a_resource() {
        for c in "\"&':<>".chars() {
            assert_eq!(normal_local(&format!("a{c}b")), Err(JidError::Forbidden(Part::Local)));
            assert!(normal_resource(&format!("a{c}b")).is_ok());
        }
    }

    #[test]
    fn normal_forms() {
        for (text, normal) in [
            ("Juliet@EXAMPLE.com/Balcony", "juliet@example.com/Balcony"),
            ("juliet@example.com.", "juliet@example.com"),
            ("juliet@example.com./x", "juliet@example.com/x"),
            ("\u{c5}SA@example.com", "\u{e5}sa@example.com"),
            ("A\u{30a}@example.com", "\u{e5}@example.com"),
            ("\u{ff21}b@example.com", "ab@example.com"),
            ("x@b\u{fc}cher.example", "x@b\u{fc}cher.example"),
            ("x@B\u{dc}CHER.example", "x@b\u{fc}cher.example"),
            ("x@xn--bcher-kva.example", "x@b\u{fc}cher.example"),
            ("x@XN--BCHER-KVA.example", "x@b\u{fc}cher.example"),
            ("x@fa\u{df}.example", "x@fa\u{df}.example"),
            ("x@example\u{3002}com", "x@example.com"),
            ("x@127.0.0.1", "x@127.0.0.1"),
            ("x@[2001:DB8::1]", "x@[2001:db8::1]"),
            ("x@[2001:db8:0:0:0:0:0:1]", "x@[2001:db8::1]"),
            ("x@\u{ff25}xample.com", "x@example.com"),
            ("x@bu\u{308}cher.example", "x@b\u{fc}cher.example"),
            ("x@[fe80::1%25Eth0]/y", "x@[fe80::1%25Eth0]/y"),
            ("\u{5d0}1@example.com", "\u{5d0}1@example.com"),
            ("x@example.com/a\u{a0}b", "x@example.com/a b"),
            ("x@example.com/e\u{301}", "x@example.com/\u{e9}"),
            ("localhost", "localhost"),
        ] {
            let jid = JidParts::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(jid.to_string(), normal, "{text}");
            let mut written = Vec::new();
            jid.write(&mut written);
            assert_eq!(written, normal.as_bytes());
            assert!(same_jid(text, normal));
        }
    }

    /// What Prosody (with ICU, unassigned characters let through) and ejabberd leave of an address stays as it is.
    #[test]
    fn what_an_older_server_stamped_is_taken_as_it_stands() {
        for text in [
            "i\u{2665}u@example.com/x",
            "\u{265a}@example.com",
            "\u{1f600}@example.com",
            "a\u{20ac}@example.com",
            "juliet@\u{2665}.example/x",
            "juliet@under_score.example",
            "juliet@example.com/\u{f8ff}",
            "juliet@example.com/\u{10ffff}",
        ] {
            assert!(JidParts::parse(text).is_err(), "{text}");
            let jid = JidParts::parse_stamped(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(jid.to_string(), text);
        }
        for text in
            ["Juliet@EXAMPLE.com/Balcony", "fu\u{df}ball@xn--bcher-kva.example", "\u{3c2}@example.com", "a@[::1]"]
        {
            assert_eq!(JidParts::parse_stamped(text), JidParts::parse(text), "{text}");
        }
    }

    /// As Prosody 0.12.3 and ejabberd 23.01 prepare these.
    #[test]
    fn what_servers_of_either_age_leave_as_it_is_is_portable() {
        for (text, portable, older) in [
            ("juliet", true, ""),
            ("Juliet", true, ""),
            ("f\u{fc}r", true, "f\u{fc}r"),
            ("\u{3a3}a", true, "\u{3c3}a"),
            ("\u{5d0}\u{5d1}", true, "\u{5d0}\u{5d1}"),
            ("fu\u{df}ball", false, "fussball"),
            ("\u{3b1}\u{3c2}", false, "\u{3b1}\u{3c3}"),
            ("\u{915}\u{94d}\u{200d}\u{937}", false, "\u{915}\u{94d}\u{937}"),
            ("\u{5d0}1", false, ""),
        ] {
            assert!(normal_local(text).is_ok(), "{text}");
            assert_eq!(portable_local(text).is_ok(), portable, "{text}");
            assert_eq!(is_older_form(older, text), !older.is_empty(), "{text}");
            assert!(!is_older_form("somebody", text), "{text}");
        }
        // Sharp s got its upper case after Unicode 3.2: to such a server that is the case of nothing.
        assert_eq!(known_local("\u{1e9e}").as_deref(), Ok("\u{1e9e}"));
        assert_eq!(normal_local("\u{1e9e}").as_deref(), Ok("\u{df}"));
        assert_eq!(known_local("\u{c9}").as_deref(), Ok("\u{e9}"));
    }

    #[test]
    fn what_no_server_stamps_is_refused() {
        let long = "\u{2665}".repeat(342);
        for local in [
            "henry\u{2163}",
            "\u{265a}\u{ad}",
            "\u{265a}A",
            "\u{265a}\u{df}",
            "\u{265a}\u{ff41}",
            "\u{265a}\u{3c2}",
            "\u{265a}e\u{301}",
            "\u{265a} ",
            "\u{265a}\u{a0}",
            "\u{265a}\u{3000}",
            "\u{265a}@",
            "\u{265a}'",
            "\u{265a}\u{7f}",
            "\u{265a}\u{85}",
            "\u{265a}\u{200e}",
            "\u{265a}\u{202e}",
            "\u{265a}\u{e000}",
            "\u{265a}\u{fffd}",
            "\u{265a}\u{fdd0}",
            "\u{265a}\u{2ff0}",
            "\u{265a}\u{e0041}",
            "\u{5d0}a\u{265a}",
            "\u{265a}\u{5d0}",
            "",
            &long,
        ] {
            assert!(JidParts::parse_stamped(&format!("{local}@example.com")).is_err(), "{local:?}");
        }
        for rest in
            ["\u{2665}..example", "-\u{2665}", "a b", "under score", "_a.\u{2665}.example/", "example.com/a\u{7}"]
        {
            assert!(JidParts::parse_stamped(&format!("juliet@{rest}")).is_err(), "{rest:?}");
        }
    }

    #[test]
    fn what_is_normal_is_borrowed() {
        for text in ["juliet@example.com/Balcony 1", "fu\u{df}ball@b\u{fc}cher.example/\u{265a}", "x@[::1]/a"] {
            let jid = JidParts::parse(text).unwrap();
            assert!(
                borrowed(&jid.local) && borrowed(&jid.resource) && matches!(jid.domain, Cow::Borrowed(_)),
                "{text}"
            );
        }
    }

    #[test]
    fn each_part_may_have_1023_octets_and_no_more() {
        let label = "d".repeat(63);
        let domain = [label.as_str(); 16].join(".");
        assert_eq!(domain.len(), 1023);
        let long = "a".repeat(1023);
        let full = format!("{long}@{domain}/{long}");
        assert_eq!(full.len(), 3071);
        assert!(JidParts::parse(&full).is_ok());
        assert_eq!(normal_local(&format!("{long}a")), Err(JidError::TooLong(Part::Local)));
        assert_eq!(normal_resource(&format!("{long}a")), Err(JidError::TooLong(Part::Resource)));
        assert_eq!(normal_domain(&format!("{domain}.d")), Err(JidError::TooLong(Part::Domain)));
        assert_eq!(normal_domain(&"d".repeat(64)), Err(JidError::NotADomain));
        // Octets of the normal form count: 342 sharp s are 684, 342 euro-like three-octet letters too many.
        assert!(normal_local(&"\u{df}".repeat(511)).is_ok());
        assert_eq!(normal_local(&"\u{df}".repeat(512)), Err(JidError::TooLong(Part::Local)));
        assert!(normal_local(&"\u{ff41}".repeat(1023)).is_ok());
        assert_eq!(normal_resource(&"\u{301}".repeat(100_000)), Err(JidError::TooLong(Part::Resource)));
    }

    #[test]
    fn comparison_of_bare_addresses() {
        assert!(same_bare_jid("Juliet@example.com/a", "juliet@example.com./b"));
        assert!(!same_bare_jid("juliet@example.com", "example.com"));
        assert!(!same_jid("juliet@example.com/a", "juliet@example.com/A"));
        assert!(!same_jid("\"", "\""), "what is no address equals nothing");
    }

    proptest! {
        #[test]
        fn what_was_stamped_has_a_stable_form(text in "(\\PC|[\u{2600}-\u{26ff}a-z\u{5d0}]){1,12}@(\\PC|[a-z\u{2665}._]){1,12}") {
            if let Ok(jid) = JidParts::parse_stamped(&text) {
                let normal = jid.to_string();
                prop_assert_eq!(JidParts::parse_stamped(&normal).expect("a stamped form is legal"), jid);
            }
        }

        #[test]
        fn any_text_is_refused_or_has_a_stable_normal_form(text in "\\PC{0,40}") {
            if let Ok(jid) = JidParts::parse(&text) {
                let normal = jid.to_string();
                let again = JidParts::parse(&normal).expect("a normal form is legal");
                prop_assert_eq!(&again, &jid);
                prop_assert!(same_jid(&text, &normal));
            }
        }

        #[test]
        fn addresses_with_structure_have_a_stable_normal_form(
            text in "[\\w\\\\!#$.\u{df}\u{ff21}-\u{ff5a}\u{3a3}\u{130}]{1,12}@[a-zA-Z\u{e9}\u{fc}.-]{1,16}(/[\\PC]{1,12})?"
        ) {
            if let Ok(jid) = JidParts::parse(&text) {
                let normal = jid.to_string();
                prop_assert_eq!(JidParts::parse(&normal).expect("a normal form is legal"), jid);
            }
        }
    }
}
