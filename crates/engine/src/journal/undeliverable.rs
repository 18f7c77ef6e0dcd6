//! Entries that will not be delivered: their sender is told, and then, if somebody wants them, they are handed over.
//!
//! ```text
//!  given up ---> loaded ---> sender told ---> marked as dead ---> handed over ---> deleted
//!                   ^            |  no way to him           ^          |
//!                   '-- later ---'                          '- later --'  nobody took it
//! ```

use super::conversations::EntryKey;
use super::{DEAD, Damaged, Journal, Note, entry};
use crate::store::Pending;
use cpim::{Failure, ImUri, Keeping, Reason, Side};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use turn::{Letter, Output, Ticket};

/// A sender who cannot be told now is told after so long.
const TELL_AGAIN: Duration = Duration::from_secs(5);
/// Letters that are being handed over at a time, each with its entry in memory.
const LETTERS: usize = 4;
/// When one could not be handed over, no other is for so long; then one finds out whether they can be.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Each further time it is twice as long, and at last this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// An entry that will not be delivered.
#[derive(Debug)]
pub(super) struct Row {
    /// The side that its sender is on.
    sender: Side,
    pub(super) failure: Failure<'static>,
    pub(super) entry: Option<Vec<u8>>,
    pub(super) pending: Option<Pending>,
    told: bool,
    /// The store knows that its sender was told.
    pub(super) marked: bool,
    /// It is one of those that are being handed over.
    handing: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Undeliverable {
    rows: BTreeMap<EntryKey, Row>,
    /// Something is to be done for them.
    ready: VecDeque<EntryKey>,
    /// Something is to be done for them later.
    due: BTreeSet<(Instant, EntryKey)>,
    /// Their senders are on XMPP, and there is no way to it.
    cut_off: VecDeque<EntryKey>,
    /// They wait until they may be handed over.
    queue: VecDeque<EntryKey>,
    /// Those that are being handed over, or loaded for it.
    handing: usize,
    letters: Vec<(Ticket, EntryKey)>,
    /// How often in a row none could be handed over, and until when none is.
    failures: u32,
    pauses_until: Option<Instant>,
}

impl Undeliverable {
    pub(super) fn insert(
        &mut self,
        key: EntryKey,
        sender: Side,
        failure: Failure<'static>,
        entry: Option<Vec<u8>>,
        pending: Option<Pending>,
    ) {
        self.rows.insert(key, Row { sender, failure, entry, pending, told: false, marked: false, handing: false });
        self.ready.push_back(key);
    }

    pub(super) fn get_mut(&mut self, key: EntryKey) -> Option<&mut Row> {
        self.rows.get_mut(&key)
    }

    pub(super) fn remove(&mut self, key: EntryKey) -> Option<Row> {
        let row = self.rows.remove(&key)?;
        if row.handing {
            self.end_handing();
        }
        Some(row)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Something is to be done for an entry.
    pub(super) fn list(&mut self, key: EntryKey) {
        if self.rows.contains_key(&key) {
            self.ready.push_back(key);
        }
    }

    /// There is a way to XMPP again.
    pub(super) fn way_is_free(&mut self) {
        self.ready.append(&mut self.cut_off);
    }

    /// Something is to be done for it later: its sender or the store is not there now.
    pub(super) fn later(&mut self, now: Instant, key: EntryKey) {
        if self.rows.contains_key(&key) {
            self.due.insert((now + TELL_AGAIN, key));
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let pause = self.pauses_until.filter(|_| !self.queue.is_empty());
        self.due.first().map(|&(at, _)| at).into_iter().chain(pause).min()
    }

    fn pop_ready(&mut self, now: Instant) -> Option<EntryKey> {
        while let Some(&(at, key)) = self.due.first().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, key));
            self.ready.push_back(key);
        }
        if self.pauses_until.is_some_and(|until| until <= now) {
            self.pauses_until = None;
            self.ready.extend(self.queue.pop_front());
        }
        while let Some(key) = self.ready.pop_front() {
            if self.rows.contains_key(&key) {
                return Some(key);
            }
        }
        None
    }

    /// Whether an entry is, or may become now, one of those that are being handed over; if not, it waits.
    fn begin_handing(&mut self, key: EntryKey) -> bool {
        // After a failure one finds out how it is.
        let most = if self.failures > 0 { 1 } else { LETTERS };
        let may = self.handing < most && self.pauses_until.is_none();
        match self.rows.get_mut(&key) {
            Some(row) if row.handing => true,
            Some(row) if may => {
                row.handing = true;
                self.handing += 1;
                true
            }
            Some(row) => {
                // It is loaded again when its turn comes: many may wait.
                row.entry = None;
                self.queue.push_back(key);
                false
            }
            None => false,
        }
    }

    fn end_handing(&mut self) {
        self.handing -= 1;
        self.ready.extend(self.queue.pop_front());
    }

    /// A letter was handed over, or could not be.
    fn end_letter(&mut self, now: Instant, ticket: Ticket, done: bool) -> Option<EntryKey> {
        let place = self.letters.iter().position(|&(other, _)| other == ticket)?;
        let (_, key) = self.letters.swap_remove(place);
        if done {
            self.failures = 0;
            // As many as may go beside the one that this one makes room for.
            let free = LETTERS.saturating_sub(self.handing).min(self.queue.len());
            self.ready.extend(self.queue.drain(..free));
            return Some(key);
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.pauses_until = Some(now + pause);
        if let Some(row) = self.rows.get_mut(&key).filter(|row| row.handing) {
            row.handing = false;
            self.handing -= 1;
            self.queue.push_front(key);
        }
        Some(key)
    }
}

impl Journal {
    /// The sender of an entry was told in another life; why, stands in the row of the dead.
    pub(super) fn restore_dead(&mut self, key: EntryKey, value: &[u8]) {
        let reason = value.first().and_then(|octet| Reason::ALL.get(usize::from(*octet)));
        self.give_up(key, Failure::from(reason.copied().unwrap_or(Reason::Undefined)));
        match self.undeliverable.get_mut(key) {
            Some(row) => (row.told, row.marked) = (true, true),
            // What is left of an entry that is gone.
            None => self.orders.delete(DEAD, &key.octets(), Note::Delete(DEAD, key)),
        }
    }

    /// An entry will not be delivered: its sender is told.
    pub(super) fn give_up(&mut self, key: EntryKey, failure: Failure<'static>) {
        let side = self.conversations.get_mut(key.conversation).map(|row| row.side);
        if let Some((slot, side)) = self.conversations.remove(key).zip(side) {
            if let Some(entry) = &slot.entry {
                self.at_hand -= entry.len();
            }
            self.undeliverable.insert(key, side.other(), failure, slot.entry, slot.pending);
        }
    }

    /// The next one whose sender is to be told.
    pub(super) fn poll_undeliverable(
        &mut self,
        now: Instant,
        xmpp_is_up: bool,
        out: &mut Output,
    ) -> Option<(EntryKey, Vec<u8>, Failure<'static>)> {
        while let Some(key) = self.undeliverable.pop_ready(now) {
            let may_load = self.may_load();
            let is_told = self.undeliverable.get_mut(key).is_some_and(|row| row.told);
            if is_told && !self.undeliverable.begin_handing(key) {
                continue;
            }
            let Some(row) = self.undeliverable.get_mut(key) else { continue };
            if !is_told && row.sender == Side::Xmpp && !xmpp_is_up {
                row.entry = None;
                self.undeliverable.cut_off.push_back(key);
                continue;
            }
            match row.entry.take() {
                None if may_load => self.load(key, 1, out),
                // An answer of the store brings it back.
                None => {
                    self.undeliverable.ready.push_front(key);
                    return None;
                }
                Some(entry) if row.told => self.hand_over(key, entry, out),
                Some(entry) => {
                    let failure = row.failure.clone();
                    return Some((key, entry, failure));
                }
            }
        }
        None
    }

    /// The sender of an entry was told that it will not be delivered, or cannot be told now.
    pub(crate) fn on_told(&mut self, now: Instant, key: EntryKey, entry: Vec<u8>, told: bool) {
        let for_good = entry::read(&entry).is_ok_and(|entry| entry.keeping() == Keeping::Anywhere);
        let Some(row) = self.undeliverable.get_mut(key) else { return };
        row.entry = Some(entry);
        row.told = told;
        if !told {
            self.undeliverable.later(now, key);
        } else if self.settings.dead_letters && for_good {
            row.marked = true;
            let reason = row.failure.reason as u8;
            self.orders.put(DEAD, &key.octets(), &[reason], Note::Mark);
            self.undeliverable.list(key);
        } else {
            self.bury(key);
        }
    }

    fn hand_over(&mut self, key: EntryKey, bytes: Vec<u8>, out: &mut Output) {
        // They may have been wanted when its sender was told, and not any more.
        if !self.settings.dead_letters {
            return self.bury(key);
        }
        match self.letter(key, &bytes) {
            Ok(letter) => self.undeliverable.letters.push((out.hand_over(letter), key)),
            Err(damaged) => return self.on_damaged(key, &bytes, damaged),
        }
        self.pool.give(bytes);
    }

    fn letter(&mut self, key: EntryKey, bytes: &[u8]) -> Result<Letter, Damaged> {
        let entry = entry::read(bytes)?;
        let reason = self.undeliverable.get_mut(key).map_or(Reason::Undefined, |row| row.failure.reason);
        let address = |uri: ImUri<'_>| format!("{}@{}", uri.local(), uri.domain());
        Ok(Letter {
            id: super::queue::Id(key.octets()).to_string(),
            source: address(entry.source()?),
            destination: address(entry.destination()?),
            arrived: entry.arrived(),
            reason: reason.as_str(),
            content_type: entry.content_type().to_vec(),
            content: entry.body().to_vec(),
        })
    }

    /// A letter was handed over, or could not be.
    pub(crate) fn on_handed_over(&mut self, now: Instant, ticket: Ticket, done: bool) {
        let Some(key) = self.undeliverable.end_letter(now, ticket, done) else { return };
        if done {
            self.counters.handed_over += 1;
            self.bury(key);
        } else {
            self.counters.not_handed_over += 1;
        }
    }

    /// Deletes what is left of an entry.
    pub(super) fn bury(&mut self, key: EntryKey) {
        let Some(row) = self.undeliverable.remove(key) else { return };
        if let Some(entry) = row.entry {
            self.pool.give(entry);
        }
        self.take_back(key, row.pending);
        if row.marked {
            self.orders.delete(DEAD, &key.octets(), Note::Delete(DEAD, key));
        }
    }
}
