//! An entry of the journal: one message with all that is needed to deliver it later, or to tell its sender that it was not.
//!
//! Written as an octet of version, one for why it is kept, two for the number of its next attempt, a CRC-32 over the rest, and
//! the rest in postcard: what is read is what was written, or is not read at all.

use cpim::{
    Admitted, Alternative, Content, Device, Envelope, ImUri, InstantInbox, Keeping, Mark, MaxForwards, MediaType,
    Message, Reason, Side, Subject, Thread, TransId, Urgency,
};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes;
use std::time::{Duration, Instant, SystemTime};
use time::{OffsetDateTime, UtcOffset};
use turn::Calendar;

/// The form in which entries are written.
const VERSION: u8 = 1;
/// Version, reason, attempt and checksum.
const HEAD: usize = 8;
/// Where the reason stands,
const WHY: usize = 1;
/// the number of the attempt,
const ATTEMPT: std::ops::Range<usize> = 2..4;
/// and the checksum.
const CHECKSUM: std::ops::Range<usize> = 4..HEAD;

/// What was read is not an entry, or not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// It is written in a form that this program does not know.
    #[error("it has the unknown version {0}")]
    Version(u8),
    /// Octets are missing or others.
    #[error("its checksum is wrong")]
    Checksum,
    /// It says what cannot be.
    #[error("it cannot be read")]
    Form,
}

/// One entry, as it stands in the store.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry<'a> {
    /// When the message arrived, in milliseconds since 1970.
    pub(crate) arrived: i64,
    /// Until when it is kept.
    pub(crate) expires: i64,
    to_xmpp: bool,
    pub(crate) mark: &'a str,
    #[serde(borrow)]
    trans_id: &'a Bytes,
    #[serde(borrow)]
    wire_id: &'a Bytes,
    max_forwards: u8,
    #[serde(borrow)]
    source: Address<'a>,
    #[serde(borrow)]
    destination: Address<'a>,
    #[serde(borrow)]
    envelope: EnvelopeRow<'a>,
    #[serde(borrow)]
    content: ContentRow<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Address<'a> {
    local: &'a str,
    domain: &'a str,
}

#[derive(Debug, Serialize, Deserialize)]
struct EnvelopeRow<'a> {
    #[serde(borrow)]
    thread: ThreadRow<'a>,
    sent: Option<Moment>,
    /// In milliseconds since 1970.
    expires: Option<i64>,
    #[serde(borrow)]
    source_device: Option<(&'a str, bool)>,
    #[serde(borrow)]
    destination_device: Option<&'a str>,
    #[serde(borrow)]
    source_name: Option<&'a str>,
    #[serde(borrow)]
    unique_id: Option<&'a str>,
    urgency: u8,
    keeping: u8,
}

#[derive(Debug, Serialize, Deserialize)]
enum ThreadRow<'a> {
    None,
    Named(&'a str),
    Unnamed(u128),
}

/// A moment with the offset it was written in, so that it is written in the same again.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Moment {
    seconds: i64,
    nanoseconds: u32,
    offset: i32,
}

#[derive(Debug, Serialize, Deserialize)]
struct ContentRow<'a> {
    #[serde(borrow)]
    media_type: Option<&'a Bytes>,
    #[serde(borrow)]
    encoding: Option<&'a Bytes>,
    #[serde(borrow)]
    disposition: Option<&'a Bytes>,
    #[serde(borrow)]
    body: &'a Bytes,
    #[serde(borrow)]
    subjects: Vec<(Option<&'a str>, &'a str)>,
    #[serde(borrow)]
    language: Option<&'a str>,
    #[serde(borrow)]
    alternatives: Vec<(&'a Bytes, Option<&'a str>, &'a Bytes)>,
}

/// Milliseconds since 1970 at a moment; zero where the date is not known.
pub(crate) fn date(calendar: &Calendar, moment: Instant) -> i64 {
    let since = calendar.date(moment).and_then(|date| date.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The moment of a date in milliseconds since 1970; `now` where it is too long ago to be counted.
pub(crate) fn moment(calendar: &Calendar, now: Instant, date: i64) -> Instant {
    system_time(date).and_then(|date| calendar.moment(date)).unwrap_or(now)
}

/// When a message arrived, by the milliseconds that stand in its entry.
pub(crate) fn arrival(date: i64) -> Option<OffsetDateTime> {
    system_time(date).filter(|_| date > 0).map(OffsetDateTime::from)
}

fn system_time(date: i64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(date).ok()?))
}

/// Appends an entry for a message to a vector.
pub(crate) fn write(admitted: &Admitted<'_>, calendar: &Calendar, arrived: i64, expires: i64, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend_from_slice(&[VERSION, Why::Every.octet(), 0, 0, 0, 0, 0, 0]);
    let message = &admitted.message;
    let (envelope, content) = (&message.envelope, &message.content);
    let entry = Entry {
        arrived,
        expires,
        to_xmpp: admitted.side == Side::Xmpp,
        mark: admitted.mark.as_str(),
        trans_id: Bytes::new(&message.trans_id.0),
        wire_id: Bytes::new(&message.wire_id),
        max_forwards: message.max_forwards.0,
        source: Address { local: message.source.0.local(), domain: message.source.0.domain() },
        destination: Address { local: message.destination.0.local(), domain: message.destination.0.domain() },
        envelope: EnvelopeRow {
            thread: match &envelope.thread {
                None => ThreadRow::None,
                Some(Thread::Named(thread)) => ThreadRow::Named(thread),
                Some(Thread::Unnamed(hash)) => ThreadRow::Unnamed(*hash),
            },
            sent: envelope.sent.map(|sent| Moment {
                seconds: sent.unix_timestamp(),
                nanoseconds: sent.nanosecond(),
                offset: sent.offset().whole_seconds(),
            }),
            expires: envelope.expires.map(|at| date(calendar, at)),
            source_device: envelope.source_device.as_ref().map(|device| (&*device.name, device.differs_by_case)),
            destination_device: envelope.destination_device.as_deref(),
            source_name: envelope.source_name.as_deref(),
            unique_id: envelope.unique_id.as_deref(),
            urgency: match envelope.urgency {
                None => 0,
                Some(Urgency::Low) => 1,
                Some(Urgency::Medium) => 2,
                Some(Urgency::High) => 3,
            },
            keeping: match envelope.keeping {
                Keeping::Anywhere => 0,
                Keeping::NotForGood => 1,
                Keeping::Nowhere => 2,
            },
        },
        content: ContentRow {
            media_type: content.media_type.as_ref().map(|media_type| Bytes::new(media_type.raw())),
            encoding: content.encoding.map(Bytes::new),
            disposition: content.disposition.as_deref().map(Bytes::new),
            body: Bytes::new(&content.body),
            subjects: content.subjects.iter().map(|subject| (subject.language.as_deref(), &*subject.text)).collect(),
            language: content.language.as_deref(),
            alternatives: content
                .alternatives
                .iter()
                .map(|other| (Bytes::new(other.media_type.raw()), other.language.as_deref(), Bytes::new(&other.body)))
                .collect(),
        },
    };
    let flavor = Appended(bytes);
    // Nothing of it can fail: a vector takes any octets, and postcard any of these types.
    let written = postcard::serialize_with_flavor(&entry, flavor);
    debug_assert!(written.is_ok());
    let checksum = crc32fast::hash(bytes.get(start + HEAD..).unwrap_or_default()).to_le_bytes();
    if let Some(place) = bytes.get_mut(start + CHECKSUM.start..start + CHECKSUM.end) {
        place.copy_from_slice(&checksum);
    }
}

/// What postcard writes into.
struct Appended<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appended<'_> {
    type Output = ();

    fn try_push(&mut self, octet: u8) -> postcard::Result<()> {
        self.0.push(octet);
        Ok(())
    }

    fn try_extend(&mut self, octets: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(octets);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Why an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// All messages to its destination are.
    Every,
    /// Others of its conversation were kept before.
    Behind,
    /// It was not delivered.
    Failed(Reason),
}

impl Why {
    fn octet(self) -> u8 {
        match self {
            Why::Every => 0,
            Why::Behind => 1,
            Why::Failed(reason) => 2 + reason as u8,
        }
    }

    /// Notes in an entry why it is kept.
    pub(crate) fn note(self, entry: &mut [u8]) {
        if let Some(place) = entry.get_mut(WHY) {
            *place = self.octet();
        }
    }

    /// Why an entry is kept. It stands outside of the checksum and explains only.
    pub(crate) fn of(entry: &[u8]) -> Self {
        match entry.get(WHY) {
            Some(1) => Why::Behind,
            Some(&octet) if octet > 1 => {
                Why::Failed(Reason::ALL.get(usize::from(octet - 2)).copied().unwrap_or(Reason::Undefined))
            }
            _ => Why::Every,
        }
    }

    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Every => "every",
            Why::Behind => "behind",
            Why::Failed(reason) => reason.as_str(),
        }
    }
}

/// The number of the attempt that an entry is about to make, or in whose middle the gateway was killed. It stands outside of
/// the checksum: with a wrong one a message is taken for another attempt.
pub(crate) fn attempt(entry: &[u8]) -> u32 {
    let octets = entry.get(ATTEMPT).and_then(|octets| octets.try_into().ok());
    u16::from_le_bytes(octets.unwrap_or_default()).into()
}

/// Notes the number of its next attempt in an entry.
pub(crate) fn note_attempt(entry: &mut [u8], attempt: u32) {
    if let Some(place) = entry.get_mut(ATTEMPT) {
        place.copy_from_slice(&u16::try_from(attempt).unwrap_or(u16::MAX).to_le_bytes());
    }
}

/// Reads an entry.
pub(crate) fn read(bytes: &[u8]) -> Result<Entry<'_>, Damaged> {
    let version = *bytes.first().ok_or(Damaged::Form)?;
    if version != VERSION {
        return Err(Damaged::Version(version));
    }
    let (checksum, rest) = bytes.get(CHECKSUM).zip(bytes.get(HEAD..)).ok_or(Damaged::Checksum)?;
    if crc32fast::hash(rest).to_le_bytes() != *checksum {
        return Err(Damaged::Checksum);
    }
    postcard::from_bytes(rest).map_err(|_| Damaged::Form)
}

impl<'a> Entry<'a> {
    /// The side that its message goes to.
    pub(crate) fn side(&self) -> Side {
        if self.to_xmpp { Side::Xmpp } else { Side::Sip }
    }

    /// Whether it is for one device of its recipient.
    pub(crate) fn has_device(&self) -> bool {
        self.envelope.destination_device.is_some()
    }

    pub(crate) fn source(&self) -> Result<ImUri<'a>, Damaged> {
        address(&self.source)
    }

    pub(crate) fn destination(&self) -> Result<ImUri<'a>, Damaged> {
        address(&self.destination)
    }

    pub(crate) fn keeping(&self) -> Keeping {
        match self.envelope.keeping {
            0 => Keeping::Anywhere,
            1 => Keeping::NotForGood,
            _ => Keeping::Nowhere,
        }
    }

    pub(crate) fn content_type(&self) -> &'a [u8] {
        self.content.media_type.map_or(&[], |raw| &raw[..])
    }

    pub(crate) fn body(&self) -> &'a [u8] {
        self.content.body
    }

    /// Until when it is kept.
    pub(crate) fn expires(&self) -> Option<SystemTime> {
        system_time(self.expires)
    }

    /// When its message arrived.
    pub(crate) fn arrived(&self) -> Option<SystemTime> {
        // Zero stands for a date that nobody knew.
        system_time(self.arrived).filter(|_| self.arrived != 0)
    }

    /// The identifier that its message goes out under.
    pub(crate) fn mark(&self) -> Result<Mark, Damaged> {
        Mark::parse(self.mark).ok_or(Damaged::Form)
    }

    /// Its message, as it was admitted.
    pub(crate) fn message(&self, calendar: &Calendar, now: Instant) -> Result<Message<'a>, Damaged> {
        let row = &self.envelope;
        let media_type = |raw: &'a Bytes| MediaType::parse(&raw[..]).ok_or(Damaged::Form);
        let content = &self.content;
        let alternative = |(raw, language, body): &(&'a Bytes, Option<&'a str>, &'a Bytes)| {
            Ok(Alternative {
                media_type: media_type(raw)?,
                language: language.map(Into::into),
                body: (&body[..]).into(),
            })
        };
        Ok(Message {
            source: InstantInbox(self.source()?),
            destination: InstantInbox(self.destination()?),
            max_forwards: MaxForwards(self.max_forwards),
            trans_id: TransId::new(self.trans_id),
            wire_id: self.wire_id[..].into(),
            envelope: Envelope {
                thread: match row.thread {
                    ThreadRow::None => None,
                    ThreadRow::Named(thread) => Some(Thread::Named(thread.into())),
                    ThreadRow::Unnamed(hash) => Some(Thread::Unnamed(hash)),
                },
                // Whoever gets it late wants to know when it was written, or at least when it came.
                sent: match row.sent {
                    Some(sent) => Some(sent.read().ok_or(Damaged::Form)?),
                    None => arrival(self.arrived),
                },
                expires: row.expires.map(|date| moment(calendar, now, date)),
                source_device: row
                    .source_device
                    .map(|(name, differs_by_case)| Device { name: name.into(), differs_by_case }),
                destination_device: row.destination_device.map(Into::into),
                source_name: row.source_name.map(Into::into),
                unique_id: row.unique_id.map(Into::into),
                urgency: match row.urgency {
                    1 => Some(Urgency::Low),
                    2 => Some(Urgency::Medium),
                    3 => Some(Urgency::High),
                    _ => None,
                },
                keeping: self.keeping(),
            },
            content: Content {
                media_type: content.media_type.map(media_type).transpose()?,
                encoding: content.encoding.map(|encoding| &encoding[..]),
                disposition: content.disposition.map(|raw| (&raw[..]).into()),
                body: (&content.body[..]).into(),
                subjects: content
                    .subjects
                    .iter()
                    .map(|&(language, text)| Subject { language: language.map(Into::into), text: text.into() })
                    .collect(),
                language: content.language.map(Into::into),
                alternatives: content.alternatives.iter().map(alternative).collect::<Result<_, Damaged>>()?,
            },
        })
    }
}

fn address<'a>(address: &Address<'a>) -> Result<ImUri<'a>, Damaged> {
    ImUri::from_parts(address.local.into(), address.domain.into()).map_err(|_| Damaged::Form)
}

impl Moment {
    fn read(self) -> Option<OffsetDateTime> {
        let moment = OffsetDateTime::from_unix_timestamp(self.seconds).ok()?;
        let moment = moment.replace_nanosecond(self.nanoseconds).ok()?;
        moment.checked_to_offset(UtcOffset::from_whole_seconds(self.offset).ok()?)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Octets with the head of an entry before them, checksum and all.
    fn sealed(rest: &[u8]) -> Vec<u8> {
        let checksum = crc32fast::hash(rest).to_le_bytes();
        [&[VERSION, 0, 0, 0][..], &checksum, rest].concat()
    }

    fn look_at(octets: &[u8]) {
        let now = Instant::now();
        let calendar = Calendar::new(now, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_201_200)));
        if let Ok(entry) = read(octets) {
            let _ = (entry.message(&calendar, now).is_ok(), entry.mark().is_ok(), entry.arrived(), entry.expires());
            moment(&calendar, now, entry.expires);
        }
        let _ = (Why::of(octets).as_str(), attempt(octets));
    }

    fn written(body: &[u8], subject: &str, local: &str, sent: Option<OffsetDateTime>) -> Vec<u8> {
        let address = |local: &str| ImUri::from_parts(local.to_owned().into(), "a.example".into()).unwrap();
        let message = Message {
            source: InstantInbox(address(local)),
            destination: InstantInbox(address("romeo")),
            max_forwards: MaxForwards(69),
            trans_id: TransId::new(b"transaction"),
            wire_id: b"wire"[..].into(),
            envelope: Envelope {
                thread: Some(Thread::Named("thread".into())),
                sent,
                source_device: Some(Device { name: "orchard".into(), differs_by_case: true }),
                source_name: Some("Juliet".into()),
                urgency: Some(Urgency::High),
                keeping: Keeping::NotForGood,
                ..Envelope::default()
            },
            content: Content {
                body: body.into(),
                subjects: [Subject { language: Some("en".into()), text: subject.into() }].into_iter().collect(),
                ..Content::text("".into())
            },
        };
        let mark = Mark::parse(&"a".repeat(Mark::LENGTH)).unwrap();
        let operation = slotmap::SlotMap::with_key().insert(());
        let admitted = Admitted { operation, side: Side::Xmpp, message, mark, attempt: 0, held: false, stored: false };
        let mut bytes = Vec::new();
        write(&admitted, &Calendar::new(Instant::now(), None), 1, 2, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn no_octets_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            look_at(&octets);
            look_at(&sealed(&octets));
        }

        #[test]
        fn what_is_written_is_read_and_nothing_that_was_changed(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            subject in ".{0,40}",
            seconds in 0..4_000_000_000_i64,
            place in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let sent = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            let bytes = written(&body, &subject, "juliet", Some(sent));
            let now = Instant::now();
            let calendar = Calendar::new(now, None);
            let message = read(&bytes).unwrap().message(&calendar, now).unwrap();
            prop_assert_eq!(&message.content.body[..], &body[..]);
            prop_assert_eq!(&*message.content.subjects[0].text, &subject[..]);
            prop_assert_eq!(message.envelope.sent, Some(sent));
            prop_assert_eq!((message.envelope.keeping, message.envelope.urgency), (Keeping::NotForGood, Some(Urgency::High)));
            // Sealed again, whatever was changed has to be read or refused.
            let place = HEAD + place.index(bytes.len() - HEAD);
            let mut bytes = bytes.clone();
            bytes[place] ^= 1_u8 << bit;
            prop_assert_eq!(read(&bytes).map(|_| ()), Err(Damaged::Checksum));
            look_at(&sealed(&bytes[HEAD..]));
        }
    }
}
