//! The journal as people see it.

use super::conversations::{EntryKey, KEY};
use super::{DAMAGED, Damaged, Journal, Note, Why, entry};
use cpim::Side;
use std::fmt;
use std::time::SystemTime;

/// The name of an entry for people: the octets of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(pub(super) [u8; KEY]);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

/// Octets in hexadecimal digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description<'a> {
    /// The side that its message goes to.
    pub side: Side,
    /// Who wrote it.
    pub source: String,
    /// Whom it is for.
    pub destination: String,
    /// When it arrived.
    pub arrived: Option<SystemTime>,
    /// Until when it is kept.
    pub expires: Option<SystemTime>,
    /// Why it was kept.
    pub why: Why,
    /// What its stanza id or Call-ID begins with.
    pub mark: &'a str,
    /// What the content is: a MIME type with its parameters, as it came.
    pub content_type: &'a [u8],
    /// The content, as it came.
    pub content: &'a [u8],
}

/// Reads a row of the table [`QUEUE`](super::QUEUE).
pub fn describe<'a>(key: &[u8], value: &'a [u8]) -> Result<Description<'a>, Damaged> {
    EntryKey::parse(key)?;
    let entry = entry::read(value)?;
    let address = |uri: cpim::ImUri<'_>| format!("{}@{}", uri.local(), uri.domain());
    Ok(Description {
        side: entry.side(),
        source: address(entry.source()?),
        destination: address(entry.destination()?),
        arrived: entry.arrived(),
        expires: entry.expires(),
        why: Why::of(value),
        mark: entry.mark,
        content_type: entry.content_type(),
        content: entry.body(),
    })
}

impl Journal {
    /// Drops the entries with these keys; gives how many of them there were. Nobody is told. One that is under way may arrive
    /// all the same. What is no entry here may be one that was put aside because it could not be read: that is gone too, and
    /// not counted.
    pub(crate) fn drop_entries(&mut self, keys: &[&[u8]]) -> usize {
        let mut dropped = 0;
        for octets in keys {
            match EntryKey::parse(octets) {
                Ok(key) if self.undeliverable.get_mut(key).is_some() => self.bury(key),
                // Its sender is still to be told that it is kept.
                Ok(key) if self.conversations.slot(key).is_some_and(|slot| slot.waits.is_some()) => continue,
                Ok(key) if self.drop_kept(key) => {}
                _ => {
                    self.orders.delete(DAMAGED, octets, Note::Mark);
                    continue;
                }
            }
            dropped += 1;
        }
        self.counters.dropped += dropped as u64;
        dropped
    }
}
