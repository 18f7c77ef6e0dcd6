//! SIP URIs and the addresses of the core (RFC 7247 sections 6.2 to 6.5).

use cpim::{ImUri, PresentationError, Presentations, Presented};
use sip::wire::uri::{Scheme, Uri};
use std::borrow::Cow;

/// Why a SIP URI is no address of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A scheme that is not translated.
    #[error("the URI scheme is not supported here")]
    Scheme,
    /// `sips:` promises protection to the end, which XMPP cannot keep (RFC 7247 section 8).
    #[error("sips cannot be kept towards XMPP")]
    Secure,
    /// There is no user part.
    #[error("the URI names no user")]
    NoUser,
    /// Nobody can be behind it under the presentation rules.
    #[error("no user has this address")]
    Unknown,
    /// It holds octets that are not UTF-8, controls, or too many octets.
    #[error("the URI cannot be an address")]
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

/// The home address behind a SIP URI: user and host unescaped, and foreign users recovered by the presentation rules.
pub fn to_cpim<'a>(uri: &Uri<'a>, presentations: &Presentations) -> Result<ImUri<'a>, AddressError> {
    match uri.scheme {
        Scheme::Sip | Scheme::Im | Scheme::Pres => {}
        Scheme::Sips => return Err(AddressError::Secure),
        _ => return Err(AddressError::Scheme),
    }
    let local = unescape(uri.user.ok_or(AddressError::NoUser)?)?;
    let domain = std::str::from_utf8(uri.host).map_err(|_| AddressError::Malformed)?;
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    Ok(presentations.recover(local, Cow::Borrowed(domain))?)
}

/// Decodes `%hexhex` to octets, which must be UTF-8: an address is refused rather than repaired.
fn unescape(user: &[u8]) -> Result<Cow<'_, str>, AddressError> {
    if !user.contains(&b'%') {
        return std::str::from_utf8(user).map(Cow::Borrowed).map_err(|_| AddressError::Malformed);
    }
    let mut decoded = Vec::with_capacity(user.len());
    let mut bytes = user.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16)).ok_or(AddressError::Malformed);
        let (high, low) = (digit()?, digit()?);
        decoded.push((high * 16 + low) as u8);
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| AddressError::Malformed)
}

/// Appends the `sip:` URI under which a foreign user is shown here.
pub fn write_presented(presented: &Presented<'_>, out: &mut Vec<u8>) {
    write_sip(&presented.local, &presented.domain, out);
}

/// Appends the `sip:` URI of a user of this world.
pub fn write_native(address: &ImUri<'_>, out: &mut Vec<u8>) {
    write_sip(address.local(), address.domain(), out);
}

fn write_sip(local: &str, domain: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"sip:");
    sip::wire::print::escape_user(local.as_bytes(), out);
    out.push(b'@');
    out.extend_from_slice(domain.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpim::{DomainPattern, Presentation, Rule};
    use proptest::prelude::*;

    fn table(rule: Rule) -> Presentations {
        Presentations::new(vec![Presentation {
            home: DomainPattern::Exactly("xmpp.example".into()),
            shown_as: if rule == Rule::Same { "".into() } else { "gw.sip.example".into() },
            rule,
        }])
    }

    fn shown(address: &ImUri<'_>, presentations: &Presentations) -> String {
        let mut out = Vec::new();
        write_presented(&presentations.present(address).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// RFC 7247 sections 6.4 and 6.5, the SIP half of each row.
    #[test]
    fn rows_of_rfc_7247() {
        for (uri, local) in [
            ("sip:f%C3%BC@sip.example", "f\u{fc}"),
            ("sip:o'malley@sip.example", "o'malley"),
            ("sip:%23room@sip.example", "#room"),
            ("sip:m&m@sip.example", "m&m"),
            ("sip:tsch%C3%BCss@sip.example", "tsch\u{fc}ss"),
            ("sip:user;par=u%40e.net@sip.example", "user;par=u@e.net"),
        ] {
            let parsed = Uri::parse(uri.as_bytes()).unwrap();
            let address = to_cpim(&parsed, &Presentations::default()).unwrap();
            assert_eq!((address.local(), address.domain()), (local, "sip.example"), "{uri}");
            let mut out = Vec::new();
            write_native(&address, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), uri);
        }
    }

    #[test]
    fn each_rule_leads_there_and_back() {
        let romeo = ImUri::parse("im:romeo@xmpp.example").unwrap();
        for (rule, expected) in [
            (Rule::Same, "sip:romeo@xmpp.example"),
            (Rule::Map, "sip:romeo@gw.sip.example"),
            (Rule::Encode, "sip:romeo%40xmpp.example@gw.sip.example"),
        ] {
            let text = shown(&romeo, &table(rule));
            assert_eq!(text, expected);
            assert_eq!(to_cpim(&Uri::parse(text.as_bytes()).unwrap(), &table(rule)).unwrap(), romeo);
        }
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        for (uri, error) in [
            ("sips:a@sip.example", AddressError::Secure),
            ("tel:+15551234", AddressError::Scheme),
            ("sip:sip.example", AddressError::NoUser),
            ("sip:a%ff@sip.example", AddressError::Malformed),
            ("sip:a%00@sip.example", AddressError::Malformed),
            ("sip:a%0d%0aVia:x@sip.example", AddressError::Malformed),
            ("sip:nobody@gw.sip.example", AddressError::Unknown),
        ] {
            assert_eq!(to_cpim(&Uri::parse(uri.as_bytes()).unwrap(), &table(Rule::Encode)), Err(error), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn every_local_part_survives_the_sip_form(local in "[^\\p{Cc}]{1,40}") {
            let address = ImUri::from_parts(Cow::Owned(local), Cow::Borrowed("xmpp.example")).unwrap();
            for rule in [Rule::Same, Rule::Map, Rule::Encode] {
                let presentations = table(rule);
                let text = shown(&address, &presentations);
                prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()));
                let back = to_cpim(&Uri::parse(text.as_bytes()).unwrap(), &presentations).unwrap();
                prop_assert_eq!(back, address.clone());
            }
        }
    }
}
