//! Where a 3xx sends a request (RFC 3261 sections 8.1.3.4 and 19.1.5).

use cpim::DomainPattern;
use sip::wire::headers::NameAddr;
use sip::wire::print::unescape;
use sip::wire::uri::{Scheme, Uri};
use sip::wire::{Head, HeaderName};

/// A Contact that may be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What becomes the Request-URI: without `method` and headers.
    pub uri: Vec<u8>,
    /// The host of the URI in lower case.
    pub domain: String,
    /// Header lines that the URI asks for, each ended by CRLF.
    pub lines: Vec<u8>,
    /// Preference in thousandths.
    pub q: u16,
}

/// Header fields that a Contact may ask for. RFC 3261 section 19.1.5 names those that are dangerous; what is left and means
/// something in a MESSAGE is little.
const ASKED_FOR: [&str; 2] = ["Call-Info", "Priority"];
/// More octets of them are not added.
const LONGEST_LINES: usize = 512;
/// A longer URI is not followed.
const LONGEST_URI: usize = 1024;
/// More Contacts are not looked at.
const MOST_CONTACTS: usize = 32;

/// The statuses whose Contacts are other places for the same request. 305 asks for the next hop to be changed, 380 for
/// another service.
pub fn is_redirection(status: u16) -> bool {
    matches!(status, 300..=302)
}

/// The Contacts of a redirection that lead to `allowed` domains, the preferred ones first. Other schemes than `sip` are left
/// out: `sips` promises what is not kept here, and the rest has no place on a SIP request of ours.
pub fn targets(head: &Head<'_>, allowed: &[DomainPattern]) -> Vec<Target> {
    let contacts = head.list(HeaderName::Contact).take(MOST_CONTACTS);
    let mut targets: Vec<Target> = contacts.filter_map(|value| target(value, allowed)).collect();
    // Of equal ones the first stays the first.
    targets.sort_by_key(|target| std::cmp::Reverse(target.q));
    targets
}

fn target(value: &[u8], allowed: &[DomainPattern]) -> Option<Target> {
    let contact = NameAddr::parse(value).ok()?;
    let uri = contact.uri;
    if uri.scheme != Scheme::Sip || uri.raw.len() > LONGEST_URI {
        return None;
    }
    let host = std::str::from_utf8(uri.host).ok()?.to_ascii_lowercase();
    let domain = host.strip_suffix('.').unwrap_or(&host).to_owned();
    if !allowed.iter().any(|pattern| pattern.matches(&domain)) {
        return None;
    }
    let q = match contact.param("q") {
        None => 1000,
        Some(value) => thousandths(value?)?,
    };
    let mut request_uri = Vec::with_capacity(uri.raw.len());
    uri.write_request_uri(&mut request_uri);
    Some(Target { uri: request_uri, domain, lines: asked_for(&uri), q })
}

/// The headers of a URI are escaped there, and stand unescaped in the request.
fn asked_for(uri: &Uri<'_>) -> Vec<u8> {
    let mut lines = Vec::new();
    for header in uri.headers.split(|&byte| byte == b'&') {
        let Some(equal) = header.iter().position(|&byte| byte == b'=') else { continue };
        let (name, escaped) = (&header[..equal], &header[equal + 1..]);
        let Some(name) = ASKED_FOR.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name)) else { continue };
        let mut value = Vec::with_capacity(escaped.len());
        unescape(escaped, &mut value);
        let fits = lines.len() + name.len() + value.len() <= LONGEST_LINES;
        if !fits || value.trim_ascii().is_empty() || value.iter().any(u8::is_ascii_control) {
            continue;
        }
        lines.extend_from_slice(name.as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(&value);
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

/// `qvalue` of RFC 3261 section 25.1: from 0 to 1 with at most three digits behind the point.
fn thousandths(value: &[u8]) -> Option<u16> {
    let (whole, digits) = match value.split_first()? {
        (b'0', rest) => (0, rest),
        (b'1', rest) => (1000, rest),
        _ => return None,
    };
    let digits = match digits.split_first() {
        None => digits,
        Some((b'.', digits)) if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        Some(_) => return None,
    };
    let part = digits.iter().zip([100, 10, 1]).map(|(digit, worth)| u16::from(digit - b'0') * worth).sum::<u16>();
    (whole + part <= 1000).then_some(whole + part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sip::wire::{Carriage, Limits, Message, parse};

    fn followed(contacts: &str, allowed: &[&str]) -> Vec<(String, String)> {
        let allowed: Vec<_> = allowed
            .iter()
            .map(|name| if *name == "*" { DomainPattern::Any } else { DomainPattern::Exactly((*name).into()) })
            .collect();
        let text = format!("SIP/2.0 302 Moved\r\n{contacts}Content-Length: 0\r\n\r\n");
        let Ok(Message::Response(response)) = parse(text.as_bytes(), Carriage::Datagram, &Limits::default()) else {
            panic!("{text}")
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        targets(&response.head, &allowed).into_iter().map(|target| (text(target.uri), text(target.lines))).collect()
    }

    fn uris(contacts: &str, allowed: &[&str]) -> Vec<String> {
        followed(contacts, allowed).into_iter().map(|(uri, _)| uri).collect()
    }

    #[test]
    fn contacts_come_by_preference_from_all_lines() {
        let contacts = "Contact: <sip:a@x.example>;q=0.25, \"B, <b>\" <sip:b@x.example>\r\n\
                        m: sip:c@x.example;q=0.9, <sip:d@x.example>;q=1.000, <sip:e@x.example>;q=0\r\n";
        let named = ["b", "d", "c", "a", "e"].map(|user| format!("sip:{user}@x.example"));
        assert_eq!(uris(contacts, &["x.example"]), named);
        for wrong in ["1.001", "0.1234", "2", "", "x", ".5", "-0"] {
            let contact = format!("Contact: <sip:a@x.example>;q={wrong}\r\n");
            assert!(uris(&contact, &["*"]).is_empty(), "{wrong}");
        }
    }

    #[test]
    fn only_sip_uris_in_allowed_domains_are_followed() {
        let contacts = "Contact: <sip:a@X.Example.:5070>, <sips:b@x.example>, <tel:+1555>, <mailto:c@x.example>,\
                        <im:d@x.example>, <sip:e@y.example>, <sip:f@192.0.2.5>, <sip:g@[2001:db8::5]>, *, <sip:h@\r\n";
        assert_eq!(uris(contacts, &["x.example"]), ["sip:a@X.Example.:5070"]);
        assert_eq!(uris(contacts, &["192.0.2.5", "[2001:db8::5]"]), ["sip:f@192.0.2.5", "sip:g@[2001:db8::5]"]);
        assert_eq!(uris(contacts, &["*"]).len(), 4);
        assert_eq!(uris(contacts, &[]), [""; 0]);
        assert_eq!(uris(&format!("Contact: <sip:{}@x.example>\r\n", "a".repeat(1100)), &["*"]), [""; 0]);
        let many = "Contact: <sip:a@x.example>\r\n".repeat(MOST_CONTACTS + 1);
        assert_eq!(uris(&many, &["*"]).len(), 32);
    }

    /// RFC 3261 section 8.1.3.4.
    #[test]
    fn method_and_headers_do_not_become_part_of_the_request_uri() {
        let contact = "Contact: <sip:a:pw@x.example:5070;transport=tcp;method=INVITE;x?Subject=Hi&Call-ID=1>\r\n";
        assert_eq!(followed(contact, &["*"]), [("sip:a:pw@x.example:5070;transport=tcp;x".into(), String::new())]);
        let contact = "Contact: <sip:a@x.example?Priority=urgent&x>\r\n";
        assert_eq!(followed(contact, &["*"]), [("sip:a@x.example".into(), "Priority: urgent\r\n".into())]);
    }

    /// The example of section 8.1.3.4 as erratum 1073 corrects it.
    #[test]
    fn escaped_headers_are_decoded_and_raw_angle_brackets_are_no_uri() {
        let contact = "Contact: <sip:user@host?Subject=foo&Call-Info=%3Chttp://www.foo.com%3E>\r\n";
        let lines = "Call-Info: <http://www.foo.com>\r\n";
        assert_eq!(followed(contact, &["host"]), [("sip:user@host".into(), lines.into())]);
        let raw = "Contact: <sip:user@host?Subject=foo&Call-Info=<http://www.foo.com>>\r\n";
        assert_eq!(uris(raw, &["*"]), [""; 0]);
        let smuggled = "Contact: <sip:user@host?Priority=a%0d%0aVia:%20x&Call-Info=%20&Route=%3Csip:x%3E>\r\n";
        assert_eq!(followed(smuggled, &["host"]), [("sip:user@host".into(), String::new())]);
        let long = format!("Contact: <sip:user@host?Priority={}>\r\n", "p".repeat(LONGEST_LINES));
        assert_eq!(followed(&long, &["host"]), [("sip:user@host".into(), String::new())]);
    }

    proptest! {
        /// What becomes a part of a request of ours is well-formed, whatever a stranger wrote.
        #[test]
        fn any_contact_gives_a_request_uri_or_nothing(value in "[ -~\u{e4}\t]{0,80}", sip in "<sip:[a-z%0-9@:;?&=<>,\"]{0,60}>") {
            for value in [&value, &sip, &format!("<sip:a@b{value}>"), &format!("<sip:a@b?Priority={value}>")] {
                for (uri, lines) in followed(&format!("Contact: {value}\r\n"), &["*"]) {
                    let read = Uri::parse(uri.as_bytes()).unwrap();
                    prop_assert!(read.scheme == Scheme::Sip && read.headers.is_empty() && read.param("method").is_none());
                    prop_assert!(uri.bytes().all(|byte| byte.is_ascii_graphic()), "{}", uri);
                    prop_assert!(lines.is_empty() || lines.ends_with("\r\n"));
                    let names = lines.lines().map(|line| line.split_once(": ").unwrap().0);
                    prop_assert!(names.into_iter().all(|name| ASKED_FOR.contains(&name)), "{}", lines);
                }
            }
        }
    }

    #[test]
    fn three_statuses_are_followed() {
        let followed: Vec<_> = (300..400).filter(|status| is_redirection(*status)).collect();
        assert_eq!(followed, [300, 301, 302]);
    }
}
