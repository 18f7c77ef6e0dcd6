//! JIDs and the addresses of the core (RFC 7247 sections 6.2 to 6.5, XEP-0106).

use cpim::{ImUri, PresentationError, Presentations, fold_case};
use std::borrow::Cow;
use xmpp::escape::{escape_local, is_escaping, unescape_local};
use xmpp::jid::{JidError, JidParts, known_domain, known_local, normal_domain, portable_local};

/// Why a JID is no address of the core, or an address has no JID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The JID has no localpart: it is a server or the gateway itself.
    #[error("the address names a domain and no user")]
    NoUser,
    /// Nobody can be behind it under the presentation rules.
    #[error("no user has this address")]
    Unknown,
    /// It breaks the rules of RFC 7622, or its plain form the rules of the core.
    #[error("the text cannot be an address")]
    Malformed,
}

impl From<PresentationError> for AddressError {
    fn from(error: PresentationError) -> Self {
        match error {
            PresentationError::Unknown | PresentationError::NotEncoded => AddressError::Unknown,
            _ => AddressError::Malformed,
        }
    }
}

impl From<JidError> for AddressError {
    fn from(_: JidError) -> Self {
        AddressError::Malformed
    }
}

/// Reads the address of somebody whom the server has vouched for, borrowing where it can.
pub fn parse_stamped(text: Cow<'_, str>) -> Result<JidParts<'_>, JidError> {
    match text {
        Cow::Borrowed(text) => JidParts::parse_stamped(text),
        Cow::Owned(text) => JidParts::parse_stamped(&text).map(JidParts::into_owned),
    }
}

/// Reads the address of somebody of the other world as a user of this one has written it, borrowing where it can.
pub fn parse(text: Cow<'_, str>) -> Result<JidParts<'_>, JidError> {
    match text {
        Cow::Borrowed(text) => JidParts::parse(text),
        Cow::Owned(text) => JidParts::parse(&text).map(JidParts::into_owned),
    }
}

/// Stands in front of a localpart that is no escaped text, such as `a\5cb`: XEP-0106 never writes it, so its plain text
/// would lead to another JID. No escaped text begins with a space, so the two cannot be confused.
const NOT_ESCAPED: char = ' ';

/// The home address behind a JID; its resource is left aside. The way there and back is the identity for every JID
/// (RFC 7247 section 6).
pub fn to_cpim<'a>(jid: &JidParts<'a>, presentations: &Presentations) -> Result<ImUri<'a>, AddressError> {
    let local = match jid.local.as_ref().ok_or(AddressError::NoUser)? {
        local if local.contains('\\') && !is_escaping(local) => Cow::Owned(format!("{NOT_ESCAPED}{local}")),
        Cow::Borrowed(local) => unescape_local(local),
        Cow::Owned(local) => Cow::Owned(unescape_local(local).into_owned()),
    };
    Ok(presentations.recover(local, jid.domain.clone())?)
}

/// The home address behind the `xmpp:` URI or IRI (RFC 5122) that `<gone/>` and `<redirect/>` carry. `None` for other schemes,
/// which are no address of an XMPP user, and for what no rule leads back from.
pub fn from_uri(text: &str, presentations: &Presentations) -> Option<ImUri<'static>> {
    let text = text.trim();
    let path = text.split_at_checked(5).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("xmpp:"))?.1;
    // An authority names the account that is to be used, which here is nobody's business.
    let path = match path.strip_prefix("//") {
        Some(rest) => rest.split_once('/')?.1,
        None => path,
    };
    let jid = path.split(['?', '#']).next()?;
    let mut octets = jid.bytes();
    let mut decoded = Vec::with_capacity(jid.len());
    while let Some(octet) = octets.next() {
        decoded.push(match octet {
            b'%' => {
                let mut digit = || char::from(octets.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    let jid = parse_stamped(Cow::Owned(String::from_utf8(decoded).ok()?)).ok()?;
    to_cpim(&jid, presentations).ok().map(ImUri::into_owned)
}

/// Appends the bare JID under which a foreign user is shown here, and gives the domain's place in it.
pub fn write_presented(
    address: &ImUri<'_>,
    presentations: &Presentations,
    out: &mut Vec<u8>,
) -> Result<usize, AddressError> {
    let presented = presentations.present(address)?;
    let local = presented.local(shown_domain);
    write(&local, presented.domain, portable_local, out)
}

/// Appends the IRI (RFC 5122 section 2.2) of a foreign user as he is shown here.
pub fn write_iri(address: &ImUri<'_>, presentations: &Presentations, out: &mut Vec<u8>) -> Result<(), AddressError> {
    let mut jid = Vec::new();
    let domain_start = write_presented(address, presentations, &mut jid)?;
    let (local, domain) = jid.split_at(domain_start.saturating_sub(1));
    out.extend_from_slice(b"xmpp:");
    for &byte in local {
        // `inodeid`: what is not ASCII stands as it is.
        if byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"-._~!$()*+,;=".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out.extend_from_slice(domain);
    Ok(())
}

/// Appends the bare JID of a user of this world.
pub fn write_native(address: &ImUri<'_>, out: &mut Vec<u8>) -> Result<usize, AddressError> {
    write(address.local(), address.domain(), known_local, out)
}

/// A domain within a localpart, as people read it: in U-labels, where a localpart can hold them.
fn shown_domain(domain: &str) -> Cow<'_, str> {
    match normal_domain(domain) {
        Ok(shown) if portable_local(&shown).is_ok_and(|local| *local == *shown) => shown,
        _ => Cow::Borrowed(domain),
    }
}

fn write(
    local: &str,
    domain: &str,
    normalise: fn(&str) -> Result<Cow<'_, str>, JidError>,
    out: &mut Vec<u8>,
) -> Result<usize, AddressError> {
    let escaped = match local.strip_prefix(NOT_ESCAPED) {
        // Nor may it become one when its case is folded, as `\2F` does.
        Some(raw) if !is_escaping(raw) && !is_escaping(&fold_case(raw)) => Cow::Borrowed(raw),
        _ => escape_local(local).map_err(|_| AddressError::Malformed)?,
    };
    let normal = normalise(&escaped)?;
    // XMPP folds case, and that is all that may be lost on the way: other mappings, of full-width letters for example,
    // would turn one SIP user into another.
    if let Cow::Owned(folded) = &normal
        && *folded != fold_case(&escaped)
    {
        return Err(AddressError::Malformed);
    }
    // A server could only drop what is written to a domain that is none, and its bounce would match nothing.
    let domain = known_domain(domain)?;
    out.extend_from_slice(normal.as_bytes());
    out.push(b'@');
    let domain_start = out.len();
    out.extend_from_slice(domain.as_bytes());
    Ok(domain_start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpim::{DomainPattern, Presentation, Rule};
    use std::collections::BTreeMap;

    fn table(rule: Rule) -> Presentations {
        Presentations::new(vec![Presentation {
            home: DomainPattern::Exactly("sip.example".into()),
            shown_as: if rule == Rule::Same { "".into() } else { "gw.xmpp.example".into() },
            rule,
        }])
    }

    #[test]
    fn what_would_become_an_escape_by_its_case_is_no_user() {
        for (local, written) in [(" a\\5cb", Ok("a\\5cb@x.example")), (" \\2F", Err(AddressError::Malformed))] {
            let address = ImUri::from_parts(local.to_owned().into(), "x.example".into()).unwrap();
            let mut out = Vec::new();
            let found = write_native(&address, &mut out).map(|_| String::from_utf8(out).unwrap());
            assert_eq!(found.as_deref().map_err(|error| *error), written);
        }
    }

    #[test]
    fn a_new_address_is_an_xmpp_uri() {
        for (text, expected) in [
            ("xmpp:romeo@afterlife.example", Some("romeo@afterlife.example")),
            ("\n  XMPP:romeo@afterlife.example/tomb?message;body=x#y\n", Some("romeo@afterlife.example")),
            ("xmpp://guest@xmpp.example/romeo@afterlife.example", Some("romeo@afterlife.example")),
            (
                "xmpp:nasty!%23$%25()*+,-.;=%3F%5B%5C%5D%5E_%60%7B%7C%7D~node@example.com",
                Some("nasty!#$%()*+,-.;=?[\\]^_`{|}~node@example.com"),
            ),
            ("xmpp:juliet\\40sip.example@gw.xmpp.example", Some("juliet@sip.example")),
            ("xmpp:afterlife.example", None),
            ("romeo@afterlife.example", None),
            ("sip:romeo@afterlife.example", None),
            ("xmpp://guest@xmpp.example", None),
            ("xmpp:a%zz@b.example", None),
            ("xmpp:a%c3@b.example", None),
            ("xmpp:a%00@b.example", None),
            ("xmpp:", None),
            ("\u{fc}\u{fc}\u{fc}", None),
        ] {
            let found = from_uri(text, &table(Rule::Encode));
            let found = found.map(|address| format!("{}@{}", address.local(), address.domain()));
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    /// RFC 7247 sections 6.4 and 6.5, the XMPP half of each row.
    #[test]
    fn rows_of_rfc_7247() {
        for (local, jid) in [
            ("f\u{fc}", "f\u{fc}@xmpp.example"),
            ("o'malley", r"o\27malley@xmpp.example"),
            ("m&m", r"m\26m@xmpp.example"),
            ("tsch\u{fc}ss", "tsch\u{fc}ss@xmpp.example"),
            ("a/b:c<d>e@f\"g h", r"a\2fb\3ac\3cd\3ee\40f\22g\20h@xmpp.example"),
            (r"c:\5commas", r"c\3a\5c5commas@xmpp.example"),
        ] {
            let address = ImUri::from_parts(local.into(), "xmpp.example".into()).unwrap();
            let mut out = Vec::new();
            write_native(&address, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), jid);
            assert_eq!(to_cpim(&JidParts::parse(jid).unwrap(), &Presentations::default()).unwrap(), address);
        }
    }

    /// RFC 7247 section 6.2 table 2: what a localpart holds as it is, and what XEP-0106 escapes.
    #[test]
    fn each_character_of_a_localpart() {
        for byte in b' '..=b'~' {
            let character = char::from(byte);
            let escaped = b" \"&'/:<>@".contains(&byte);
            let expected = if escaped { format!(r"\{byte:02x}") } else { character.to_lowercase().to_string() };
            let address = ImUri::from_parts(format!("x{character}x").into(), "xmpp.example".into()).unwrap();
            let mut out = Vec::new();
            write_native(&address, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{expected}x@xmpp.example"));
        }
    }

    #[test]
    fn each_rule_leads_there_and_back() {
        let juliet = ImUri::parse("im:juliet@sip.example").unwrap();
        for (rule, expected) in [
            (Rule::Same, "juliet@sip.example"),
            (Rule::Map, "juliet@gw.xmpp.example"),
            (Rule::Encode, r"juliet\40sip.example@gw.xmpp.example"),
        ] {
            let mut out = Vec::new();
            write_presented(&juliet, &table(rule), &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text, expected);
            assert_eq!(to_cpim(&JidParts::parse(&text).unwrap(), &table(rule)).unwrap(), juliet);
        }
    }

    /// RFC 3922 section 3.2 step 1.
    #[test]
    fn a_resource_is_no_part_of_an_address() {
        for text in ["romeo@xmpp.example", "romeo@xmpp.example/orchard", "Romeo@XMPP.example/a@b/c d"] {
            let address = to_cpim(&JidParts::parse(text).unwrap(), &Presentations::default()).unwrap();
            assert_eq!(address.to_string(), "im:romeo@xmpp.example", "{text}");
        }
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        let jid = |text: &'static str| to_cpim(&JidParts::parse(text).unwrap(), &table(Rule::Encode));
        assert_eq!(jid("gw.xmpp.example"), Err(AddressError::NoUser));
        assert_eq!(jid("nobody@gw.xmpp.example"), Err(AddressError::Unknown));
        assert_eq!(jid(r"nobody\40elsewhere@gw.xmpp.example"), Err(AddressError::Unknown));
        for local in [" edge", "edge ", " ", "  ", "\u{ff4a}uliet", "e\u{301}", "a\u{200d}b", "\u{2163}", "\u{2665} "] {
            let address = ImUri::from_parts(local.into(), "xmpp.example".into()).unwrap();
            assert_eq!(write_native(&address, &mut Vec::new()), Err(AddressError::Malformed), "{local:?}");
        }
    }

    #[test]
    fn an_iri_names_the_user_and_is_read_back() {
        for (local, iri) in [
            ("juliet", "xmpp:juliet@sip.example"),
            ("o'malley", "xmpp:o%5C27malley@sip.example"),
            ("f\u{fc}", "xmpp:f\u{fc}@sip.example"),
            ("a%20b", "xmpp:a%2520b@sip.example"),
            ("a#b?c", "xmpp:a%23b%3Fc@sip.example"),
            ("[a]^`{|}\\", "xmpp:%5Ba%5D%5E%60%7B%7C%7D%5C@sip.example"),
        ] {
            let address = ImUri::from_parts(local.into(), "sip.example".into()).unwrap();
            let mut out = Vec::new();
            write_iri(&address, &table(Rule::Same), &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), iri);
            assert_eq!(from_uri(iri, &table(Rule::Same)), Some(address));
        }
    }

    /// One SIP user, one JID, for each character there is: alone, and between letters (not the ideographs and syllables,
    /// which are all alike and take long).
    #[test]
    fn every_character_of_unicode_has_one_jid_or_none() {
        let same = table(Rule::Same);
        let mut jids: BTreeMap<String, String> = BTreeMap::new();
        let mut count = 0;
        for character in (0..=0x10_ffff).filter_map(char::from_u32) {
            let alike = matches!(character, '\u{3400}'..='\u{d7ff}' | '\u{20000}'..='\u{3ffff}');
            let between = (!alike).then(|| format!("x{character}x"));
            for user in between.into_iter().chain([character.to_string()]) {
                let Ok(address) = ImUri::from_parts(user.as_str().into(), "sip.example".into()) else { continue };
                let mut jid = Vec::new();
                if write_presented(&address, &same, &mut jid).is_err() {
                    continue;
                }
                count += 1;
                let jid = String::from_utf8(jid).unwrap();
                let parsed = JidParts::parse(&jid).unwrap();
                assert_eq!(parsed.to_string(), jid, "{user:?}: enforced before a server sees it");
                let folded = fold_case(&user).into_owned();
                assert_eq!(to_cpim(&parsed, &same).unwrap().local(), folded, "{user:?}");
                if let Some(other) = jids.insert(jid, folded.clone()) {
                    assert_eq!(other, folded, "{user:?}");
                }
            }
        }
        assert!(count > 100_000, "{count}");
    }

    proptest::proptest! {
        #[test]
        fn the_way_there_and_back_is_the_identity_for_every_jid(
            local in "([a-z0-9.\u{e0}-\u{f6}]|\\\\|\\\\5c|\\\\20|\\\\2[0-9a-f]|\\\\40){1,12}"
        ) {
            let text = format!("{local}@xmpp.example");
            if let Ok(jid) = JidParts::parse(&text) {
                for rule in [Rule::Same, Rule::Map, Rule::Encode] {
                    let presentations = table(rule);
                    let address = to_cpim(&jid, &presentations).unwrap();
                    let mut out = Vec::new();
                    write_native(&address, &mut out).unwrap();
                    proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), jid.to_string());
                }
            }
        }
    }
}
