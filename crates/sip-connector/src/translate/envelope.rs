//! What is said about a MESSAGE in its header: Call-ID, Date, Expires, Priority, the display name, the devices.

use super::address::{Party, Rules};
use super::date;
use super::device::{self, Gr};
use super::thread;
use cpim::{Device, Envelope, ImUri, Keeping, Urgency, clean_name};
use sip::wire::headers::{NameAddr, delta_seconds, unquote};
use sip::wire::print::{header, number_header};
use sip::wire::uri::Uri;
use sip::wire::{Essentials, HeaderName, Request};
use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};
use time::OffsetDateTime;
use turn::{Calendar, Minter};

/// What a translation depends on beside the request.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// How users of the other world are shown here.
    pub rules: &'c Rules,
    /// What stands behind `@` in our Call-IDs.
    pub host: &'c str,
    /// What names conversations.
    pub minter: &'c Minter,
    /// Dates and moments.
    pub calendar: &'c Calendar,
    /// When the request came.
    pub now: Instant,
}

/// Reads the envelope of a request from `source` to `destination`, whose Request-URI is `target`. `None` where that names a
/// device that cannot be.
pub fn to_cpim<'a>(
    request: &Request<'a>,
    essentials: &Essentials<'a>,
    source: &ImUri<'_>,
    destination: &ImUri<'_>,
    target: &Uri<'a>,
    context: Context<'_>,
) -> Option<Envelope<'a>> {
    let sent = request.head.first(HeaderName::Date).and_then(date::parse);
    let expires = request.head.first(HeaderName::Expires).and_then(delta_seconds);
    let destination_device = match device::gr(target) {
        Gr::None => None,
        Gr::Device(name) => Some(name),
        Gr::Unusable => return None,
    };
    Some(Envelope {
        thread: thread::conversation(essentials.call_id, context.host, context.minter, source, destination),
        sent,
        expires: expires.and_then(|seconds| end_of_validity(seconds, sent, context)),
        source_device: source_device(request, essentials, source, context.rules),
        destination_device,
        source_name: essentials.from.display.and_then(display_name),
        unique_id: None,
        urgency: request.head.first(HeaderName::Priority).and_then(urgency),
        // SIP has no word for it.
        keeping: Keeping::default(),
    })
}

/// RFC 3428 section 7: `seconds` after Date, or after the arrival where there is no Date. Zero is "now or never", for which
/// section 4 asks no Date: it ends with the arrival.
fn end_of_validity(seconds: u32, sent: Option<OffsetDateTime>, context: Context<'_>) -> Option<Instant> {
    let validity = Duration::from_secs(seconds.into());
    let sent = sent.filter(|_| seconds > 0).and_then(|sent| context.calendar.moment(SystemTime::from(sent)));
    sent.unwrap_or(context.now).checked_add(validity)
}

/// RFC 7572 table 2 note 1: the device that From names, else Contact, if that is the sender's.
fn source_device<'a>(
    request: &Request<'a>,
    essentials: &Essentials<'a>,
    source: &ImUri<'_>,
    rules: &Rules,
) -> Option<Device<'a>> {
    let named = match device::gr(&essentials.from.uri) {
        Gr::Device(name) => Some(name),
        Gr::Unusable => None,
        Gr::None => {
            let contact = request.head.first(HeaderName::Contact).and_then(|value| NameAddr::parse(value).ok());
            contact.filter(|contact| is_of(&contact.uri, source, rules)).and_then(|contact| {
                match device::gr(&contact.uri) {
                    Gr::Device(name) => Some(name),
                    _ => None,
                }
            })
        }
    };
    named.map(|name| Device { name, differs_by_case: false })
}

fn is_of(uri: &Uri<'_>, source: &ImUri<'_>, rules: &Rules) -> bool {
    rules.to_cpim(uri, Party::Native).is_ok_and(|address| address == *source)
}

/// A name is for people: octets that are not UTF-8 show as U+FFFD.
fn display_name(raw: &[u8]) -> Option<Cow<'_, str>> {
    match unquote(raw) {
        Cow::Borrowed(name) => match String::from_utf8_lossy(name) {
            Cow::Borrowed(name) => clean_name(name),
            Cow::Owned(name) => clean_name(&name).map(|name| Cow::Owned(name.into_owned())),
        },
        Cow::Owned(name) => clean_name(&String::from_utf8_lossy(&name)).map(|name| Cow::Owned(name.into_owned())),
    }
}

/// RFC 3261 section 20.26.
fn urgency(value: &[u8]) -> Option<Urgency> {
    [
        (&b"emergency"[..], Urgency::High),
        (b"urgent", Urgency::High),
        (b"normal", Urgency::Medium),
        (b"non-urgent", Urgency::Low),
    ]
    .into_iter()
    .find_map(|(word, urgency)| word.eq_ignore_ascii_case(value.trim_ascii()).then_some(urgency))
}

/// Appends Date, Expires and Priority, each where there is something to say.
pub fn write_lines(envelope: &Envelope<'_>, calendar: &Calendar, now: Instant, out: &mut Vec<u8>) {
    let moment = |date: OffsetDateTime| calendar.moment(SystemTime::from(date));
    let date = envelope.sent.and_then(date::writable).or_else(|| {
        // RFC 3428 section 4: whoever says how long, says since when.
        envelope.expires.and_then(|_| calendar.date(now)).map(OffsetDateTime::from)
    });
    if let Some(date) = date {
        out.extend_from_slice(b"Date: ");
        date::write(date, out);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(expires) = envelope.expires {
        let since = date.and_then(moment).unwrap_or(now);
        // RFC 3261 section 20.19 ends there.
        let seconds = expires.saturating_duration_since(since).as_secs().min(u32::MAX.into());
        number_header(HeaderName::Expires, seconds, out);
    }
    if let Some(urgency) = envelope.urgency {
        let word: &[u8] = match urgency {
            Urgency::High => b"urgent",
            Urgency::Medium => b"normal",
            Urgency::Low => b"non-urgent",
        };
        header(HeaderName::Priority, word, out);
    }
}
