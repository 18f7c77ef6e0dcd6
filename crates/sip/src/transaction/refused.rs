//! Refused INVITE server transactions, until their refusal is acknowledged (RFC 3261 17.2.1).
//!
//! ```text
//!                Timer G: send again (UDP only)
//!                INVITE: send again
//!               +------+
//!  respond()    |      v    ACK                    Timer I: T4 (streams: 0)
//! -----------> Completed ----------> Confirmed ----------------------------> (nothing)
//!                  |                 INVITE, ACK: silence
//!                  |  Timer H: 64*T1, or the way has failed
//!                  +-------------------------------------------------------> (nothing)
//! ```
//!
//! These are few and rare beside MESSAGE, so their timers lie in an ordered set, and what they take together is bounded.

use super::finished::Kept;
use super::key::Identity;
use super::open::Memo;
use super::{Timers, Way};
use hashbrown::HashTable;
use slotmap::SlotMap;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

slotmap::new_key_type! {
    /// A refused INVITE.
    pub(crate) struct RefusedKey;
}

/// One transaction. Responses are printed from `memo` and `kept`.
#[derive(Debug)]
pub(crate) struct Row {
    identity: Identity,
    pub(crate) way: Way,
    pub(crate) memo: Memo,
    status: u16,
    shape: u8,
    retry_after: u32,
    text: Vec<u8>,
    /// Timer G and the interval that led to it; `None` on streams.
    resend: Option<Instant>,
    interval: Duration,
    /// Timer H, or I once it is confirmed.
    end: Instant,
    confirmed: bool,
}

impl Row {
    pub(crate) fn kept(&self) -> Kept<'_> {
        Kept { status: self.status, shape: self.shape, retry_after: self.retry_after, text: &self.text }
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    fn due(&self) -> Instant {
        self.resend.map_or(self.end, |at| at.min(self.end))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.memo.bytes.len() + self.text.len()
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct Refused {
    rows: SlotMap<RefusedKey, Row>,
    index: HashTable<RefusedKey>,
    due: BTreeSet<(Instant, RefusedKey)>,
    /// What all rows take, in bytes.
    size: usize,
    timers: Timers,
}

impl Refused {
    pub(crate) fn new(timers: Timers) -> Self {
        Self { rows: SlotMap::with_key(), index: HashTable::new(), due: BTreeSet::new(), size: 0, timers }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// What all rows take, in bytes.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Enters a transaction whose refusal has just been sent. Gives the memo back where that would make the table larger
    /// than `limit` bytes.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        limit: usize,
        identity: Identity,
        way: Way,
        memo: Memo,
        kept: &Kept<'_>,
    ) -> Result<(), Memo> {
        if self.size + size_of::<Row>() + memo.bytes.len() + kept.text.len() > limit {
            return Err(memo);
        }
        let row = Row {
            identity,
            way,
            memo,
            status: kept.status,
            shape: kept.shape,
            retry_after: kept.retry_after,
            text: kept.text.to_vec(),
            resend: matches!(way, Way::Datagram { .. }).then(|| now + self.timers.t1),
            interval: self.timers.t1,
            end: now + self.timers.end(),
            confirmed: false,
        };
        self.size += row.size();
        let due = row.due();
        let key = self.rows.insert(row);
        let rows = &self.rows;
        self.index.insert_unique(identity.key as u64, key, |&at| rows.get(at).map_or(0, |row| row.identity.key as u64));
        self.due.insert((due, key));
        Ok(())
    }

    /// The transaction that an INVITE is a retransmission of.
    pub(crate) fn find(&self, identity: Identity) -> Option<RefusedKey> {
        let place = |&key: &RefusedKey| self.rows.get(key).is_some_and(|row| row.identity == identity);
        self.index.find(identity.key as u64, place).copied()
    }

    pub(crate) fn row(&self, key: RefusedKey) -> Option<&Row> {
        self.rows.get(key)
    }

    /// Whether any transaction has this key, whatever its request is.
    pub(crate) fn contains(&self, key: u128) -> bool {
        self.any(key).is_some()
    }

    fn any(&self, key: u128) -> Option<RefusedKey> {
        self.index.find(key as u64, |&at| self.rows.get(at).is_some_and(|row| row.identity.key == key)).copied()
    }

    /// The INVITE has come again, by this way and with these Vias.
    pub(crate) fn move_to(&mut self, key: RefusedKey, way: Way, remember: impl FnOnce(&mut Memo)) {
        if let Some(row) = self.rows.get_mut(key) {
            self.size -= row.size();
            row.way = way;
            remember(&mut row.memo);
            self.size += row.size();
        }
    }

    /// An ACK. Whether it belongs to any of these; the repetition ends with the first.
    pub(crate) fn on_ack(&mut self, now: Instant, key: u128) -> bool {
        let Some(key) = self.any(key) else { return false };
        let Some(row) = self.rows.get_mut(key) else { return false };
        if row.confirmed {
            return true;
        }
        if let Way::Stream(_) = row.way {
            self.remove(key);
            return true;
        }
        self.due.remove(&(row.due(), key));
        row.confirmed = true;
        row.resend = None;
        row.end = now + self.timers.t4;
        self.due.insert((row.end, key));
        true
    }

    /// What goes this way cannot arrive (17.2.4).
    pub(crate) fn on_failed(&mut self, way: Way) {
        if self.rows.is_empty() {
            return;
        }
        let failed: Vec<RefusedKey> = self.rows.iter().filter(|(_, row)| row.way == way).map(|(key, _)| key).collect();
        failed.into_iter().for_each(|key| self.remove(key));
    }

    /// The next transaction whose refusal is to be sent again; called until `None`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<RefusedKey> {
        while let Some(&(at, key)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            let Some(row) = self.rows.get_mut(key) else { continue };
            let Some(resend) = row.resend.filter(|_| row.end > now) else {
                self.remove(key);
                continue;
            };
            row.interval = (row.interval * 2).min(self.timers.t2);
            // As for Timer E: lateness does not add up, and a long halt makes no burst.
            let next = resend + row.interval;
            row.resend = Some(if next <= now { now + row.interval } else { next });
            self.due.insert((row.due(), key));
            return Some(key);
        }
        None
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    fn remove(&mut self, key: RefusedKey) {
        let Some(row) = self.rows.remove(key) else { return };
        self.size -= row.size();
        self.due.remove(&(row.due(), key));
        if let Ok(entry) = self.index.find_entry(row.identity.key as u64, |&other| other == key) {
            entry.remove();
        }
    }
}
