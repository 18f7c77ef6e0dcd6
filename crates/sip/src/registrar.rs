//! Registrar (RFC 3261 section 10.3): which contacts the users of a domain can be reached at.
//!
//! It keeps bindings and decides about REGISTER requests. That the request is for this domain, that the user exists and is
//! who he says he is (10.3 steps 1 to 5), the caller has found out before. Nothing is stored durably.
//!
//! A binding also remembers the [`Flow`] its registration came over, so that whoever forwards can reach a user whose
//! Contact names an address that only he can see.

use crate::transaction::Flow;
use crate::wire::headers::params;
use crate::wire::{CSeq, Essentials, HeaderName, NameAddr, Refusal, Request, Scheme, Uri, print};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use turn::StreamId;

/// An address of record in its canonical form: the unescaped user part, `@`, the domain in lower case (10.3 step 5). URI
/// parameters and the port do not count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressOfRecord(Vec<u8>);

impl AddressOfRecord {
    /// The address of record that a URI names. `None` for one without a user part, or not of SIP.
    pub fn of(uri: &Uri<'_>) -> Option<Self> {
        if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
            return None;
        }
        let mut canonical = Vec::new();
        print::unescape(uri.user.filter(|user| !user.is_empty())?, &mut canonical);
        canonical.push(b'@');
        canonical.extend(uri.host.iter().map(u8::to_ascii_lowercase));
        Some(Self(canonical))
    }

    /// The unescaped user part.
    pub fn user(&self) -> &[u8] {
        self.0.rsplitn(2, |&byte| byte == b'@').nth(1).unwrap_or_default()
    }

    /// The canonical form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a registrar takes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Expiry of a contact that asks for none.
    pub default_expires: u32,
    /// Longest expiry; longer ones are shortened.
    pub max_expires: u32,
    /// Shortest expiry; below it 423 is answered. At most an hour (10.3 step 7).
    pub min_expires: u32,
    /// Most contacts of one address of record; beyond it 403.
    pub max_contacts: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { default_expires: 3600, max_expires: 7200, min_expires: 60, max_contacts: 10 }
    }
}

/// A contact of an address of record.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The URI of the Contact, as it was written.
    pub uri: Vec<u8>,
    /// The parameters of the Contact without `expires`, each with its `;`.
    pub params: Vec<u8>,
    /// Preference, in thousandths (20.10).
    pub q: u16,
    /// When it ends.
    pub expires: Instant,
    /// Where the registration came from.
    pub flow: Flow,
    call_id: Vec<u8>,
    cseq: u32,
}

/// Why a REGISTER changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The answer. Never 6xx (10.3).
    pub refusal: Refusal,
    /// Value of Min-Expires, in a 423.
    pub min_expires: Option<u32>,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, min_expires: None }
    }
}

/// The bindings of a domain.
#[derive(Debug)]
pub struct Registrar {
    settings: Settings,
    /// The latest binding last.
    bindings: BTreeMap<AddressOfRecord, Vec<Binding>>,
    /// When any binding of an address ends.
    expiries: BTreeSet<(Instant, AddressOfRecord)>,
}

/// One contact of a request, read.
struct Asked<'a> {
    contact: NameAddr<'a>,
    q: u16,
    expires: u32,
}

impl Registrar {
    /// A registrar without bindings.
    pub fn new(settings: Settings) -> Self {
        let min_expires = settings.min_expires.min(3600);
        let settings = Settings { min_expires, ..settings };
        Self { settings, bindings: BTreeMap::new(), expiries: BTreeSet::new() }
    }

    /// Carries out a REGISTER for `aor`, wholly or not at all (10.3 steps 6 to 8). On success the Contact lines of the 200
    /// are appended to `contacts`: every current binding, with the expiry that was chosen.
    pub fn register(
        &mut self,
        now: Instant,
        aor: &AddressOfRecord,
        request: &Request<'_>,
        essentials: &Essentials<'_>,
        flow: Flow,
        contacts: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        self.expire(now);
        let (call_id, cseq) = (essentials.call_id, essentials.cseq);
        let header_expires = request.head.first(HeaderName::Expires).map(parse_expires);
        if request.head.list(HeaderName::Contact).any(|contact| contact == b"*") {
            if request.head.list(HeaderName::Contact).count() != 1 || header_expires != Some(0) {
                return Err(refusal(400, "Bad Request: Contact * Without Expires 0").into());
            }
            let bindings = self.bindings.get(aor).map_or(&[][..], Vec::as_slice);
            if bindings.iter().any(|binding| binding.outdates(call_id, cseq)) {
                return Err(OUT_OF_ORDER.into());
            }
            self.replace(aor, Vec::new());
            return Ok(());
        }
        let current = self.bindings.get(aor).cloned().unwrap_or_default();
        let mut next = current.clone();
        for contact in request.head.list(HeaderName::Contact) {
            let asked = self.parse_contact(contact, header_expires)?;
            let same = |binding: &Binding| Uri::parse(&binding.uri).is_ok_and(|uri| uri.equivalent(&asked.contact.uri));
            // The order of Call-ID and CSeq is that of requests: two contacts of this one do not stand in each other's way.
            if current.iter().any(|binding| same(binding) && binding.outdates(call_id, cseq)) {
                return Err(OUT_OF_ORDER.into());
            }
            next.retain(|binding| !same(binding));
            if asked.expires > 0 {
                next.push(Binding {
                    uri: asked.contact.uri.raw.to_vec(),
                    params: kept_params(asked.contact.params),
                    q: asked.q,
                    expires: now + Duration::from_secs(asked.expires.into()),
                    flow,
                    call_id: call_id.to_vec(),
                    cseq: cseq.number,
                });
            }
        }
        if next.len() > self.settings.max_contacts {
            return Err(refusal(403, "Too Many Contacts").into());
        }
        for binding in &next {
            binding.write_contact(now, contacts);
        }
        self.replace(aor, next);
        Ok(())
    }

    fn parse_contact<'a>(&self, value: &'a [u8], header_expires: Option<u32>) -> Result<Asked<'a>, Rejection> {
        let contact = NameAddr::parse(value).map_err(|_| refusal(400, "Bad Request: Malformed Contact"))?;
        if !matches!(contact.uri.scheme, Scheme::Sip | Scheme::Sips) {
            return Err(refusal(400, "Bad Request: Contact Is No SIP URI").into());
        }
        let q = match contact.param("q") {
            Some(value) => value.and_then(parse_q).ok_or(refusal(400, "Bad Request: Malformed q"))?,
            None => 1000,
        };
        let asked = contact.param("expires").map(|value| parse_expires(value.unwrap_or_default()));
        let expires = asked.or(header_expires).unwrap_or(self.settings.default_expires);
        if expires > 0 && expires < self.settings.min_expires {
            let min_expires = Some(self.settings.min_expires);
            return Err(Rejection { refusal: refusal(423, "Interval Too Brief"), min_expires });
        }
        Ok(Asked { contact, q, expires: expires.min(self.settings.max_expires) })
    }

    /// The current bindings of an address, the most wanted first; of equals the latest (16.6).
    pub fn bindings(&mut self, now: Instant, aor: &AddressOfRecord) -> Vec<&Binding> {
        self.expire(now);
        let mut bindings: Vec<_> = self.bindings.get(aor).into_iter().flatten().rev().collect();
        bindings.sort_by_key(|binding| std::cmp::Reverse(binding.q));
        bindings
    }

    /// A stream is gone: what was registered over it cannot be reached any more.
    pub fn handle_closed(&mut self, stream: StreamId) {
        let over = |binding: &Binding| binding.flow.stream == Some(stream);
        let concerned: Vec<_> =
            self.bindings.iter().filter(|(_, of)| of.iter().any(over)).map(|(aor, _)| aor.clone()).collect();
        for aor in concerned {
            let left = self.bindings.get(&aor).into_iter().flatten().filter(|&of| !over(of)).cloned().collect();
            self.replace(&aor, left);
        }
    }

    /// Forgets what has expired.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
    }

    /// When the next binding expires.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Addresses with a binding.
    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Whether nobody is registered.
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, _)) = self.expiries.first()
            && *at <= now
            && let Some((_, aor)) = self.expiries.pop_first()
        {
            if let Some(bindings) = self.bindings.get_mut(&aor) {
                bindings.retain(|binding| binding.expires > now);
                if bindings.is_empty() {
                    self.bindings.remove(&aor);
                }
            }
        }
    }

    fn replace(&mut self, aor: &AddressOfRecord, next: Vec<Binding>) {
        for binding in self.bindings.remove(aor).unwrap_or_default() {
            self.expiries.remove(&(binding.expires, aor.clone()));
        }
        for binding in &next {
            self.expiries.insert((binding.expires, aor.clone()));
        }
        if !next.is_empty() {
            self.bindings.insert(aor.clone(), next);
        }
    }
}

impl Binding {
    /// Whether a request with this Call-ID and CSeq comes too late to change the binding (10.3 step 7).
    fn outdates(&self, call_id: &[u8], cseq: CSeq<'_>) -> bool {
        self.call_id == call_id && cseq.number <= self.cseq
    }

    fn write_contact(&self, now: Instant, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Contact: <");
        out.extend_from_slice(&self.uri);
        out.push(b'>');
        out.extend_from_slice(&self.params);
        out.extend_from_slice(b";expires=");
        // Rounded up: a binding that is listed lives.
        let left = self.expires.saturating_duration_since(now);
        print::decimal(left.as_secs() + u64::from(left.subsec_nanos() > 0), out);
        out.extend_from_slice(b"\r\n");
    }
}

const OUT_OF_ORDER: Refusal = refusal(400, "Bad Request: CSeq Not Higher Than Before");

const fn refusal(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

/// Reads an expiry. A malformed one counts as an hour, one that is too large as the largest (10.2, 20.19).
fn parse_expires(value: &[u8]) -> u32 {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return 3600;
    }
    std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX)
}

/// Reads a `qvalue` (25.1) in thousandths.
fn parse_q(value: &[u8]) -> Option<u16> {
    let (whole, fraction) = match value.split_first()? {
        (whole @ (b'0' | b'1'), [] | [b'.']) => (u16::from(whole - b'0'), &[][..]),
        (whole @ (b'0' | b'1'), [b'.', fraction @ ..]) if fraction.len() <= 3 => (u16::from(whole - b'0'), fraction),
        _ => return None,
    };
    let mut thousandths = whole * 1000;
    for (digit, weight) in fraction.iter().zip([100, 10, 1]) {
        thousandths += u16::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?) * weight;
    }
    (thousandths <= 1000).then_some(thousandths)
}

fn kept_params(raw: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    for (name, value) in params(raw).filter(|(name, _)| !name.eq_ignore_ascii_case(b"expires")) {
        kept.push(b';');
        kept.extend_from_slice(name);
        if let Some(value) = value {
            kept.push(b'=');
            kept.extend_from_slice(value);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::Transport;
    use crate::wire::{Carriage, Limits, Message, parse};
    use slotmap::SlotMap;
    use std::net::SocketAddr;
    use turn::SocketId;

    struct Desk {
        registrar: Registrar,
        start: Instant,
        at: u64,
        stream: Option<StreamId>,
    }

    impl Desk {
        #[allow(clippy::disallowed_methods)]
        fn new() -> Self {
            let registrar = Registrar::new(Settings { max_contacts: 3, ..Settings::default() });
            Self { registrar, start: Instant::now(), at: 0, stream: None }
        }

        fn now(&self) -> Instant {
            self.start + Duration::from_millis(self.at)
        }

        /// Sends a REGISTER with these header lines; gives the Contact values of the 200, or the refusal.
        fn register(&mut self, call_id: &str, cseq: u32, lines: &[&str]) -> Result<Vec<String>, (u16, Option<u32>)> {
            let text = format!(
                "REGISTER sip:sip.example SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:j@sip.example>;tag=1\r\n\
                 To: <sip:J%75liet@SIP.example:5060;x=y>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n{}\
                 Content-Length: 0\r\n\r\n",
                lines.iter().map(|line| format!("{line}\r\n")).collect::<String>()
            );
            let limits = Limits::default();
            let Ok(Message::Request(request)) = parse(text.as_bytes(), Carriage::Datagram, &limits) else { panic!() };
            let essentials = request.check(&limits).map_err(|refusal| (refusal.status, None))?;
            let aor = AddressOfRecord::of(&essentials.to.uri).unwrap();
            let peer = SocketAddr::from(([192, 0, 2, 1], 5060));
            let flow = Flow { transport: Transport::Udp, socket: SocketId(0), peer, stream: self.stream };
            let mut contacts = Vec::new();
            let now = self.now();
            self.registrar
                .register(now, &aor, &request, &essentials, flow, &mut contacts)
                .map_err(|rejection| (rejection.refusal.status, rejection.min_expires))?;
            let contacts = String::from_utf8(contacts).unwrap();
            Ok(contacts.lines().map(|line| line.strip_prefix("Contact: ").unwrap().to_owned()).collect())
        }

        fn uris(&mut self) -> Vec<String> {
            let aor = AddressOfRecord::of(&Uri::parse(b"sip:Juliet@sip.example").unwrap()).unwrap();
            let now = self.now();
            let bindings = self.registrar.bindings(now, &aor);
            bindings.into_iter().map(|binding| String::from_utf8(binding.uri.clone()).unwrap()).collect()
        }
    }

    #[test]
    fn addresses_of_record() {
        let of = |uri: &str| AddressOfRecord::of(&Uri::parse(uri.as_bytes()).unwrap());
        assert_eq!(of("sip:a%40b@X.example;transport=tcp"), of("sips:%61%40%62@x.EXAMPLE:9"));
        assert_ne!(of("sip:A@x.example"), of("sip:a@x.example"), "user parts compare with case (19.1.4)");
        assert_eq!(of("sip:a%40b@x").unwrap().user(), b"a@b");
        assert_eq!(of("sip:x.example"), None);
        assert_eq!(of("tel:+1234"), None);
    }

    #[test]
    fn expiry_is_that_of_the_contact_then_of_the_header_then_the_default() {
        let mut desk = Desk::new();
        let mut register = |lines: &[&str]| {
            desk.at += 1;
            desk.register(&desk.at.to_string(), 1, lines)
        };
        type Case<'a> = (&'a [&'a str], Result<&'a str, (u16, Option<u32>)>);
        let cases: [Case<'_>; 11] = [
            (&["Contact: <sip:a@h>;expires=100", "Expires: 200"], Ok("<sip:a@h>;expires=100")),
            (&["Contact: <sip:a@h>", "Expires: 200"], Ok("<sip:a@h>;expires=200")),
            (&["Contact: <sip:a@h>"], Ok("<sip:a@h>;expires=3600")),
            (&["Contact: <sip:a@h>;expires=99999999999"], Ok("<sip:a@h>;expires=7200")),
            (&["Contact: <sip:a@h>;expires=soon"], Ok("<sip:a@h>;expires=3600")),
            (&["Contact: <sip:a@h>;expires=59"], Err((423, Some(60)))),
            (&["Contact: <sip:a@h>;q=0.5;+sip.x=\"y;z\";expires=60"], Ok("<sip:a@h>;q=0.5;+sip.x=\"y;z\";expires=60")),
            (&["Contact: <sip:a@h>;q=2"], Err((400, None))),
            (&["Contact: <mailto:a@h>"], Err((400, None))),
            (&["Contact: *"], Err((400, None))),
            (&["Contact: *", "Contact: <sip:a@h>", "Expires: 0"], Err((400, None))),
        ];
        for (lines, expected) in cases {
            let expected = expected.map(|contact| vec![contact.to_owned()]);
            assert_eq!(register(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn contacts_are_added_refreshed_and_removed() {
        let mut desk = Desk::new();
        desk.register("1", 1, &["Contact: <sip:a@h>;expires=100, <sip:b@h>;q=0.1;expires=200"]).unwrap();
        assert_eq!(desk.uris(), ["sip:a@h", "sip:b@h"]);
        assert_eq!(desk.register("q", 1, &[]).unwrap().len(), 2, "without Contact it only asks");
        desk.at = 50_500;
        // Equivalent by 19.1.4, though written otherwise.
        let listed = desk.register("1", 2, &["Contact: <SIP:%61@H;foo=bar>;expires=100"]).unwrap();
        assert_eq!(listed, ["<sip:b@h>;q=0.1;expires=150", "<SIP:%61@H;foo=bar>;expires=100"], "rounded up");
        assert_eq!(desk.register("2", 1, &["Contact: <sip:b@h>;expires=0"]).unwrap().len(), 1);
        assert_eq!(desk.uris(), ["SIP:%61@H;foo=bar"]);
        desk.at = 150_499;
        assert_eq!(desk.uris().len(), 1);
        desk.at = 150_500;
        assert_eq!(desk.uris().len(), 0);
        assert!(desk.registrar.is_empty() && desk.registrar.poll_timeout().is_none());
    }

    #[test]
    fn the_most_wanted_is_first_and_of_equals_the_latest() {
        let mut desk = Desk::new();
        desk.register("1", 1, &["Contact: <sip:a@h>;q=0.5", "Contact: <sip:b@h>;q=0.50, <sip:c@h>;q=0.7"]).unwrap();
        assert_eq!(desk.uris(), ["sip:c@h", "sip:b@h", "sip:a@h"]);
        assert_eq!(desk.register("2", 1, &["Contact: <sip:d@h>"]), Err((403, None)), "three are the limit here");
        assert_eq!(desk.uris().len(), 3, "nothing was changed");
    }

    #[test]
    fn an_older_request_of_the_same_call_id_changes_nothing() {
        let mut desk = Desk::new();
        desk.register("1", 5, &["Contact: <sip:a@h>", "Contact: <sip:b@h>"]).unwrap();
        for cseq in [4, 5] {
            let late = desk.register("1", cseq, &["Contact: <sip:c@h>, <sip:a@h>;expires=0"]);
            assert_eq!(late, Err((400, None)));
            assert_eq!(desk.register("1", cseq, &["Contact: *", "Expires: 0"]), Err((400, None)));
        }
        assert_eq!(desk.uris(), ["sip:b@h", "sip:a@h"], "neither in part");
        desk.register("2", 1, &["Contact: <sip:a@h>;expires=0"]).unwrap();
        assert_eq!(desk.uris(), ["sip:b@h"]);
        assert_eq!(desk.register("1", 6, &["Contact: *", "Expires: 0"]), Ok(vec![]));
        assert!(desk.registrar.is_empty() && desk.registrar.poll_timeout().is_none());
    }

    #[test]
    fn a_closed_stream_takes_its_bindings_along() {
        let mut streams: SlotMap<StreamId, ()> = SlotMap::with_key();
        let stream = streams.insert(());
        let mut desk = Desk::new();
        desk.register("1", 1, &["Contact: <sip:a@h>"]).unwrap();
        desk.stream = Some(stream);
        desk.register("1", 2, &["Contact: <sip:b@h>"]).unwrap();
        desk.registrar.handle_closed(stream);
        assert_eq!(desk.uris(), ["sip:a@h"]);
        desk.at = 3_600_000;
        let now = desk.now();
        desk.registrar.handle_timeout(now);
        assert_eq!((desk.registrar.len(), desk.registrar.poll_timeout()), (0, None));
    }
}
