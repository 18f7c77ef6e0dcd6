//! What every message must have, read in the order RFC 3261 section 8.2 looks at it.

use super::chars;
use super::headers::{CSeq, ListValues, NameAddr, Via};
use super::names::HeaderName;
use super::uri::{Scheme, Uri};
use super::{Head, Limits, Method, Refusal, Request, Response};

/// The values that identify a message (RFC 3261 section 8.1.1), read.
#[derive(Clone, Copy, Debug)]
pub struct Essentials<'a> {
    /// The Request-URI; `None` in a response.
    pub uri: Option<Uri<'a>>,
    /// The topmost `Via`.
    pub via: Via<'a>,
    /// `From`.
    pub from: NameAddr<'a>,
    /// `To`.
    pub to: NameAddr<'a>,
    /// `Call-ID`.
    pub call_id: &'a [u8],
    /// `CSeq`.
    pub cseq: CSeq<'a>,
    /// `Max-Forwards`; RFC 2543 elements send none.
    pub max_forwards: Option<u8>,
}

/// The values that may occur once, unread.
#[derive(Default)]
struct Singles<'a> {
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
    call_id: Option<&'a [u8]>,
    cseq: Option<&'a [u8]>,
    max_forwards: Option<&'a [u8]>,
    via_lines: usize,
    route_lines: usize,
    contact_lines: usize,
}

impl<'a> Singles<'a> {
    /// One pass over the lines; an error names the field that occurs twice.
    fn collect(head: &Head<'a>, of_request: bool) -> Result<Self, &'static str> {
        let mut singles = Self::default();
        for span in &head.spans {
            let (place, again) = match span.name {
                HeaderName::From => (&mut singles.from, "Bad Request: Several From"),
                HeaderName::To => (&mut singles.to, "Bad Request: Several To"),
                HeaderName::CallId => (&mut singles.call_id, "Bad Request: Several Call-ID"),
                HeaderName::CSeq => (&mut singles.cseq, "Bad Request: Several CSeq"),
                HeaderName::MaxForwards if of_request => {
                    (&mut singles.max_forwards, "Bad Request: Several Max-Forwards")
                }
                HeaderName::Via => {
                    singles.via_lines += 1;
                    continue;
                }
                HeaderName::Route => {
                    singles.route_lines += 1;
                    continue;
                }
                HeaderName::Contact => {
                    singles.contact_lines += 1;
                    continue;
                }
                _ => continue,
            };
            let value = head.bytes.get(span.value_start as usize..span.value_end as usize).unwrap_or_default();
            if place.replace(value).is_some() {
                return Err(again);
            }
        }
        Ok(singles)
    }
}

impl<'a> Request<'a> {
    /// Reads what every request must have (RFC 3261 sections 8.1.1 and 8.2, 16.3), in this order: what the parser found
    /// wrong (505, 414, 400), missing, repeated and malformed values (400), the Request-URI (400).
    ///
    /// Whether method (405, 501), scheme (416), extensions (420) and content (415) are supported is not known here.
    pub fn check(&self, limits: &Limits) -> Result<Essentials<'a>, Refusal> {
        if let Some(defect) = self.defect {
            return Err(defect);
        }
        let singles = Singles::collect(&self.head, true).map_err(Refusal::bad)?;
        let required = |value: Option<&'a [u8]>, reason| value.ok_or(Refusal::bad(reason));
        let to = required(singles.to, "Bad Request: Missing To")?;
        let from = required(singles.from, "Bad Request: Missing From")?;
        let cseq = required(singles.cseq, "Bad Request: Missing CSeq")?;
        let call_id = required(singles.call_id, "Bad Request: Missing Call-ID")?;

        let to = NameAddr::parse(to).map_err(|_| Refusal::bad("Bad Request: Malformed To"))?;
        let from = NameAddr::parse(from).map_err(|_| Refusal::bad("Bad Request: Malformed From"))?;
        let cseq = CSeq::parse(cseq).map_err(|_| Refusal::bad("Bad Request: Malformed CSeq"))?;
        if cseq.method != self.method {
            // A method that nobody knows may have been renamed on the way: 501 outlives extensions (RFC 4475 section
            // 3.1.2.18).
            if matches!(self.method, Method::Other(_)) {
                return Err(Refusal { status: 501, reason: "Not Implemented" });
            }
            return Err(Refusal::bad("Bad Request: CSeq Method Differs From Request"));
        }
        if !is_call_id(call_id) {
            return Err(Refusal::bad("Bad Request: Malformed Call-ID"));
        }
        let max_forwards = match singles.max_forwards {
            Some(value) => {
                let value = chars::decimal(value, 255).and_then(|value| u8::try_from(value).ok());
                Some(value.ok_or(Refusal::bad("Bad Request: Malformed Max-Forwards"))?)
            }
            None => None,
        };
        if self.via.branch.is_some_and(|branch| branch.eq_ignore_ascii_case(b"z9hG4bK")) {
            return Err(Refusal::bad("Bad Request: Branch Without Identifier"));
        }
        if singles.via_lines > 1 || self.via.more_in_line {
            check_vias(&self.head, &self.via, limits)?;
        }
        if singles.route_lines > 0 {
            check_routes(&self.head, limits)?;
        }
        // What nobody needs may be malformed (section 8.2.2): a Contact matters where it is a binding or a remote target.
        if singles.contact_lines > 0 && uses_contact(self.method) {
            check_contacts(&self.head, self.method)?;
        }
        let uri = Uri::parse(self.uri).map_err(|_| Refusal::bad("Bad Request: Malformed Request-URI"))?;
        // Table 1 of RFC 3261 section 19.1.1: no headers in a Request-URI.
        if matches!(uri.scheme, Scheme::Sip | Scheme::Sips) && !uri.headers.is_empty() {
            return Err(Refusal::bad("Bad Request: Headers in Request-URI"));
        }
        Ok(Essentials { uri: Some(uri), via: self.via, from, to, call_id, cseq, max_forwards })
    }
}

impl<'a> Response<'a> {
    /// Reads what every response must have; `None` means drop it (RFC 3261 section 8.1.3, 18.1.2). What belongs into requests
    /// only is not looked at (section 7.3.2).
    pub fn essentials(&self) -> Option<Essentials<'a>> {
        let singles = Singles::collect(&self.head, false).ok()?;
        let call_id = singles.call_id.filter(|value| is_call_id(value))?;
        Some(Essentials {
            uri: None,
            via: Via::parse(self.head.first(HeaderName::Via)?).ok()?,
            from: NameAddr::parse(singles.from?).ok()?,
            to: NameAddr::parse(singles.to?).ok()?,
            call_id,
            cseq: CSeq::parse(singles.cseq?).ok()?,
            max_forwards: None,
        })
    }
}

/// `word [ "@" word ]`, read as any visible characters: nobody looks into a Call-ID.
fn is_call_id(value: &[u8]) -> bool {
    !value.is_empty() && chars::all(value, chars::VISIBLE)
}

/// Every `Via` value; the topmost has been read.
fn check_vias(head: &Head<'_>, top: &Via<'_>, limits: &Limits) -> Result<(), Refusal> {
    let mut count = 0_usize;
    for (place, line) in head.all(HeaderName::Via).enumerate() {
        let mut rest = line;
        loop {
            count += 1;
            if count > limits.vias {
                return Err(Refusal::bad("Bad Request: Too Many Via"));
            }
            let via = match (place, count) {
                (0, 1) => *top,
                _ => Via::parse(rest).map_err(|_| Refusal::bad("Bad Request: Malformed Via"))?,
            };
            if !via.more_in_line {
                break;
            }
            rest = via.rest;
        }
    }
    Ok(())
}

/// `Route` values are `name-addr`: the angle brackets are required (RFC 3261 section 20.34).
fn check_routes(head: &Head<'_>, limits: &Limits) -> Result<(), Refusal> {
    let mut count = 0_usize;
    for value in head.list(HeaderName::Route) {
        count += 1;
        if count > limits.routes {
            return Err(Refusal::bad("Bad Request: Too Many Route"));
        }
        NameAddr::parse(value)
            .ok()
            .filter(|route| memchr::memchr(b'<', route.raw).is_some())
            .ok_or(Refusal::bad("Bad Request: Malformed Route"))?;
    }
    Ok(())
}

fn uses_contact(method: Method<'_>) -> bool {
    use Method::*;
    matches!(method, Register | Invite | Update | Subscribe | Notify | Refer)
}

/// `Contact` values; `*` alone and only in REGISTER (RFC 3261 section 20.10).
fn check_contacts(head: &Head<'_>, method: Method<'_>) -> Result<(), Refusal> {
    const CONTACT: Refusal = Refusal::bad("Bad Request: Malformed Contact");
    let star = head.all(HeaderName::Contact).any(|value| value == b"*");
    if star {
        let alone = head.all(HeaderName::Contact).flat_map(ListValues::new).count() == 1;
        return if alone && method == Method::Register { Ok(()) } else { Err(CONTACT) };
    }
    for value in head.list(HeaderName::Contact) {
        NameAddr::parse(value).map_err(|_| CONTACT)?;
    }
    Ok(())
}
