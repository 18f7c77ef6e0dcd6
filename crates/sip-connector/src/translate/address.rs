//! URIs of SIP and the addresses of the core (RFC 7247 sections 6.2 to 6.5; `tel:` by a rule of our own).

use cpim::{ImUri, PresentationError, Presentations, Presented, UriError, telephone};
use sip::wire::print::escape_user;
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
    /// Its user part holds octets that are not UTF-8, controls, or too many octets.
    #[error("the URI cannot be an address")]
    Malformed,
}

impl From<PresentationError> for AddressError {
    fn from(error: PresentationError) -> Self {
        match error {
            PresentationError::Unknown | PresentationError::NotEncoded => AddressError::Unknown,
            PresentationError::Address(UriError::Domain) => AddressError::Unknown,
            _ => AddressError::Malformed,
        }
    }
}

/// Whose address a URI is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// A user of SIP.
    Native,
    /// A user of the other world, as he is shown here.
    Foreign,
}

/// How a user who is a telephone number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberForm {
    /// As every user: `sip:+3012345@sip.example`.
    Plain,
    /// With `user=phone` (RFC 3261 section 19.1.1).
    Phone,
    /// `tel:+3012345`.
    Tel,
}

/// A domain whose users are telephone numbers too: `tel:+30-12345` is its user `+3012345`. A number that is local, or has
/// an extension, has its parameters in the user part, as RFC 3261 section 19.1.6 has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The home domain, in the form of [`cpim::canonical_domain`].
    pub domain: Box<str>,
    /// How its numbers are written.
    pub form: NumberForm,
}

/// How addresses of the two worlds are read and written in this one.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// How foreign users are shown.
    pub presentations: Presentations,
    /// The SIP domain of telephone numbers.
    pub native_numbers: Option<Numbers>,
    /// The foreign one.
    pub foreign_numbers: Option<Numbers>,
}

impl Rules {
    fn numbers(&self, party: Party) -> Option<&Numbers> {
        match party {
            Party::Native => self.native_numbers.as_ref(),
            Party::Foreign => self.foreign_numbers.as_ref(),
        }
    }

    /// In which form an address is written that may be a number.
    fn form(&self, party: Party, address: &ImUri<'_>) -> NumberForm {
        self.numbers(party)
            .filter(|numbers| numbers.form != NumberForm::Plain && *numbers.domain == *address.domain())
            .filter(|_| matches!(telephone::canonical(address.local()), Some(Cow::Borrowed(_))))
            .map_or(NumberForm::Plain, |numbers| numbers.form)
    }

    /// The home address behind a URI: user and host unescaped, numbers in their one spelling, foreign users recovered by
    /// the presentation rules. What else a URI may hold (password, port, parameters, headers) says nothing about who it
    /// is (RFC 3261 section 19.1.1: it is ignored where it is not allowed).
    pub fn to_cpim<'a>(&self, uri: &Uri<'a>, party: Party) -> Result<ImUri<'a>, AddressError> {
        match uri.scheme {
            Scheme::Sip | Scheme::Im | Scheme::Pres => {}
            Scheme::Tel => {
                let numbers = self.numbers(party).ok_or(AddressError::Scheme)?;
                return self.number(uri, numbers);
            }
            Scheme::Sips => return Err(AddressError::Secure),
            Scheme::Other(_) => return Err(AddressError::Scheme),
        }
        let local = unescape(uri.user.ok_or(AddressError::NoUser)?)?;
        let domain = std::str::from_utf8(uri.host).map_err(|_| AddressError::Malformed)?;
        let address = self.presentations.recover(local, without_third_colon(domain))?;
        let is_phone = || matches!(uri.param("user"), Some(Some(value)) if value.eq_ignore_ascii_case(b"phone"));
        match self.numbers(party) {
            Some(numbers) if *numbers.domain == *address.domain() && is_phone() => respelled(address),
            _ => Ok(address),
        }
    }

    /// The user behind a `tel:` URI.
    fn number<'a>(&self, uri: &Uri<'a>, numbers: &Numbers) -> Result<ImUri<'a>, AddressError> {
        let subscriber = uri.raw.get("tel:".len()..).and_then(|rest| std::str::from_utf8(rest).ok());
        let subscriber = subscriber.ok_or(AddressError::Malformed)?;
        let number = telephone::canonical(subscriber).ok_or(AddressError::Malformed)?;
        ImUri::from_parts(number, Cow::Owned(numbers.domain.to_string())).map_err(|_| AddressError::Malformed)
    }

    /// Appends the URI of a user of SIP.
    pub fn write_native(&self, address: &ImUri<'_>, out: &mut Vec<u8>) {
        let presented = Presented { user: address.local(), home: None, domain: address.domain() };
        write(&presented, self.form(Party::Native, address), out);
    }

    /// Appends the URI under which a foreign user is shown here.
    pub fn write_foreign(&self, address: &ImUri<'_>, out: &mut Vec<u8>) -> Result<(), PresentationError> {
        let presented = self.presentations.present(address)?;
        write(&presented, self.form(Party::Foreign, address), out);
        Ok(())
    }
}

/// The grammar of RFC 3261 lets an IPv6 reference have one colon too many, and RFC 5118 section 4.10 asks to bear with it.
fn without_third_colon(host: &str) -> Cow<'_, str> {
    match host.starts_with('[') && host.contains(":::") {
        true => Cow::Owned(host.replacen(":::", "::", 1)),
        false => Cow::Borrowed(host),
    }
}

/// A number in its one spelling; a user part that is none stays as it is.
fn respelled(address: ImUri<'_>) -> Result<ImUri<'_>, AddressError> {
    let spelling = match telephone::canonical(address.local()) {
        Some(Cow::Owned(spelling)) => spelling,
        _ => return Ok(address),
    };
    address.with_local(Cow::Owned(spelling)).map_err(|_| AddressError::Malformed)
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

fn write(presented: &Presented<'_>, form: NumberForm, out: &mut Vec<u8>) {
    if form == NumberForm::Tel {
        out.extend_from_slice(b"tel:");
        out.extend_from_slice(presented.user.as_bytes());
        return;
    }
    out.extend_from_slice(b"sip:");
    escape_user(presented.user.as_bytes(), out);
    if let Some(home) = presented.home {
        out.extend_from_slice(b"%40");
        escape_user(home.as_bytes(), out);
    }
    out.push(b'@');
    out.extend_from_slice(presented.domain.as_bytes());
    // With another domain behind it the user part is no number any more.
    if form == NumberForm::Phone && presented.home.is_none() {
        out.extend_from_slice(b";user=phone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpim::{DomainPattern, Presentation, Rule};
    use proptest::prelude::*;

    fn rules(rule: Rule) -> Rules {
        let shown_as = if rule == Rule::Same { "" } else { "gw.sip.example" };
        let row = Presentation { home: DomainPattern::Exactly("xmpp.example".into()), shown_as: shown_as.into(), rule };
        Rules { presentations: Presentations::new(vec![row]), ..Rules::default() }
    }

    fn with_numbers(native: NumberForm, foreign: NumberForm) -> Rules {
        let numbers = |domain: &str, form| Some(Numbers { domain: domain.into(), form });
        Rules {
            native_numbers: numbers("sip.example", native),
            foreign_numbers: numbers("xmpp.example", foreign),
            ..rules(Rule::Same)
        }
    }

    fn read(text: &str, party: Party, rules: &Rules) -> Result<String, AddressError> {
        let uri = Uri::parse(text.as_bytes()).unwrap();
        rules.to_cpim(&uri, party).map(|address| format!("{}@{}", address.local(), address.domain()))
    }

    fn shown(address: &ImUri<'_>, rules: &Rules) -> String {
        let mut out = Vec::new();
        rules.write_foreign(address, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn native(address: &ImUri<'_>, rules: &Rules) -> String {
        let mut out = Vec::new();
        rules.write_native(address, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_rule_leads_there_and_back() {
        let romeo = ImUri::parse("im:romeo@xmpp.example").unwrap();
        for (rule, expected) in [
            (Rule::Same, "sip:romeo@xmpp.example"),
            (Rule::Map, "sip:romeo@gw.sip.example"),
            (Rule::Encode, "sip:romeo%40xmpp.example@gw.sip.example"),
        ] {
            assert_eq!(shown(&romeo, &rules(rule)), expected);
            let uri = Uri::parse(expected.as_bytes()).unwrap();
            assert_eq!(rules(rule).to_cpim(&uri, Party::Foreign).unwrap(), romeo);
        }
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        for (uri, error) in [
            ("sips:a@sip.example", AddressError::Secure),
            ("tel:+15551234", AddressError::Scheme),
            ("urn:service:sos", AddressError::Scheme),
            ("sip:sip.example", AddressError::NoUser),
            ("sip:a%ff@sip.example", AddressError::Malformed),
            ("sip:a%c0%80@sip.example", AddressError::Malformed),
            ("sip:a%ed%a0%80@sip.example", AddressError::Malformed),
            ("sip:a%f4%90%80%80@sip.example", AddressError::Malformed),
            ("sip:a%00@sip.example", AddressError::Malformed),
            ("sip:a%0d%0aVia:x@sip.example", AddressError::Malformed),
            ("sip:a%c2%85@sip.example", AddressError::Malformed),
            ("sip:a@-a.example", AddressError::Unknown),
            ("sip:a@xn--.example", AddressError::Unknown),
            ("sip:nobody@gw.sip.example", AddressError::Unknown),
            ("sip:a%40b%20c@gw.sip.example", AddressError::Unknown),
        ] {
            assert_eq!(read(uri, Party::Foreign, &rules(Rule::Encode)), Err(error), "{uri}");
        }
        for (length, outcome) in [(1023, Ok(())), (1024, Err(AddressError::Malformed))] {
            let uri = format!("sip:{}@sip.example", "a".repeat(length));
            assert_eq!(read(&uri, Party::Native, &rules(Rule::Same)).map(|_| ()), outcome);
        }
    }

    #[test]
    fn a_number_is_written_as_its_domain_says() {
        for (local, plain, phone, tel) in [
            ("+3012345", "sip:+3012345@sip.example", "sip:+3012345@sip.example;user=phone", "tel:+3012345"),
            (
                "*21#;phone-context=a.example",
                "sip:*21%23;phone-context=a.example@sip.example",
                "sip:*21%23;phone-context=a.example@sip.example;user=phone",
                "tel:*21#;phone-context=a.example",
            ),
            ("+12;ext=5", "sip:+12;ext=5@sip.example", "sip:+12;ext=5@sip.example;user=phone", "tel:+12;ext=5"),
        ] {
            let address = ImUri::from_parts(local.into(), "sip.example".into()).unwrap();
            for (form, expected) in [(NumberForm::Plain, plain), (NumberForm::Phone, phone), (NumberForm::Tel, tel)] {
                let rules = with_numbers(form, NumberForm::Plain);
                assert_eq!(native(&address, &rules), expected);
                assert_eq!(read(expected, Party::Native, &rules).unwrap(), format!("{local}@sip.example"));
            }
        }
        for no_number in ["juliet", "+30-12345", "3012345", "+", "+12a"] {
            let address = ImUri::from_parts(no_number.into(), "sip.example".into()).unwrap();
            let expected = format!("sip:{no_number}@sip.example");
            assert_eq!(native(&address, &with_numbers(NumberForm::Tel, NumberForm::Tel)), expected);
        }
        let elsewhere = ImUri::parse("im:+3012345@pbx.example").unwrap();
        let rules = with_numbers(NumberForm::Tel, NumberForm::Tel);
        assert_eq!(native(&elsewhere, &rules), "sip:+3012345@pbx.example");
    }

    #[test]
    fn a_foreign_number_is_shown_as_its_domain_says() {
        let address = ImUri::parse("im:+3012345@xmpp.example").unwrap();
        for (rule, form, expected) in [
            (Rule::Same, NumberForm::Tel, "tel:+3012345"),
            (Rule::Encode, NumberForm::Tel, "tel:+3012345"),
            (Rule::Map, NumberForm::Phone, "sip:+3012345@gw.sip.example;user=phone"),
            (Rule::Encode, NumberForm::Phone, "sip:+3012345%40xmpp.example@gw.sip.example"),
            (Rule::Same, NumberForm::Plain, "sip:+3012345@xmpp.example"),
        ] {
            let rules = Rules { presentations: rules(rule).presentations, ..with_numbers(NumberForm::Plain, form) };
            assert_eq!(shown(&address, &rules), expected, "{rule:?}");
            assert_eq!(read(expected, Party::Foreign, &rules).unwrap(), "+3012345@xmpp.example");
        }
    }

    proptest! {
        #[test]
        fn every_local_part_survives_the_sip_form(
            local in "[^\\p{Cc}]{1,40}|[+]?[0-9*#;=a-z.-]{1,12}(;phone-context=[+a-z0-9.]{1,6})?"
        ) {
            let address = ImUri::from_parts(Cow::Owned(local), Cow::Borrowed("xmpp.example")).unwrap();
            for rule in [Rule::Same, Rule::Map, Rule::Encode] {
                for form in [NumberForm::Plain, NumberForm::Phone, NumberForm::Tel] {
                    let rules = Rules {
                        presentations: rules(rule).presentations,
                        ..with_numbers(NumberForm::Plain, form)
                    };
                    let text = shown(&address, &rules);
                    prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()));
                    let back = rules.to_cpim(&Uri::parse(text.as_bytes()).unwrap(), Party::Foreign).unwrap();
                    prop_assert_eq!(back, address.clone());
                }
            }
        }
    }
}
