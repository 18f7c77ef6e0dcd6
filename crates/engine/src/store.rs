//! What is ordered from the store, and what came of it.
//!
//! All changes of a turn are one batch. While two batches are under way the next one grows: the store makes as many
//! batches as it can, and each carries what came in the meantime.

use std::collections::VecDeque;
use std::time::{Duration, Instant};
use turn::{Batch, ChangeId, Output, StoreFailure, TableId, Ticket};

/// Batches under way at a time.
const UNDER_WAY: usize = 2;
/// A store that failed is left alone for so long.
const REST: Duration = Duration::from_secs(1);
/// Octets of the batch that grows. A store that takes so long has to do with what is there.
const LARGEST: usize = 16 << 20;
/// Memory that a batch keeps for the next one.
const KEPT: usize = 1 << 18;

/// A change that can be taken back until its batch is ordered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    batch: u64,
    change: ChangeId,
}

/// The batches, and for each change of them a note `N` on who wants to know when it is durable.
#[derive(Debug)]
pub(crate) struct Orders<N> {
    growing: Batch,
    notes: Vec<N>,
    /// The number of the growing batch.
    number: u64,
    under_way: VecDeque<(Ticket, Vec<N>)>,
    rests_until: Option<Instant>,
    failure: Option<StoreFailure>,
    free: Vec<Vec<N>>,
}

impl<N> Orders<N> {
    pub(crate) fn new() -> Self {
        Self {
            growing: Batch::default(),
            notes: Vec::new(),
            number: 0,
            under_way: VecDeque::new(),
            rests_until: None,
            failure: None,
            free: Vec::new(),
        }
    }

    /// Whether there is room for a value of so many octets in the batch that grows. What has to be written in any case, such as
    /// deletes, finds room without asking.
    pub(crate) fn has_room(&self, octets: usize) -> bool {
        self.growing.octets().saturating_add(octets) <= LARGEST
    }

    pub(crate) fn put(&mut self, table: TableId, key: &[u8], value: &[u8], note: N) -> Pending {
        let change = self.growing.put(table, key, |octets| octets.extend_from_slice(value));
        self.notes.push(note);
        Pending { batch: self.number, change }
    }

    pub(crate) fn delete(&mut self, table: TableId, key: &[u8], note: N) {
        self.growing.delete(table, key);
        self.notes.push(note);
    }

    /// Takes a change back; `false` when its batch has been ordered already.
    pub(crate) fn cancel(&mut self, pending: Pending) -> bool {
        let grows = pending.batch == self.number;
        if grows {
            self.growing.cancel(pending.change);
        }
        grows
    }

    /// Orders what has grown, if it is time.
    pub(crate) fn end_turn(&mut self, now: Instant, out: &mut Output) {
        if self.growing.is_empty() && self.growing.has_cancelled() {
            self.growing.clear(KEPT);
            self.notes.clear();
            self.number += 1;
        }
        if self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        self.rests_until = None;
        if self.under_way.len() >= UNDER_WAY {
            return;
        }
        // A store that failed is asked whether it is well again, even if there is nothing to write.
        let asks = self.failure.is_some() && self.under_way.is_empty();
        if self.growing.is_empty() && !asks {
            return;
        }
        self.number += 1;
        let notes = std::mem::replace(&mut self.notes, self.free.pop().unwrap_or_default());
        let ticket = out.commit(std::mem::take(&mut self.growing));
        self.under_way.push_back((ticket, notes));
    }

    /// A batch has ended: gives the notes of its changes, which [`give`](Self::give) takes back. Those of changes that were
    /// taken back are among them.
    pub(crate) fn ended(&mut self, now: Instant, ticket: Ticket, failure: Option<StoreFailure>) -> Vec<N> {
        self.failure = failure;
        self.rests_until = failure.map(|_| now + REST);
        match self.under_way.iter().position(|&(other, _)| other == ticket) {
            Some(place) => self.under_way.remove(place).map(|(_, notes)| notes).unwrap_or_default(),
            None => Vec::new(),
        }
    }

    pub(crate) fn give(&mut self, mut notes: Vec<N>) {
        notes.clear();
        self.free.push(notes);
        self.free.truncate(UNDER_WAY);
    }

    /// Why the last batch failed, if it did.
    pub(crate) fn failure(&self) -> Option<StoreFailure> {
        self.failure
    }

    /// Whether nothing is under way and nothing has to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.growing.is_empty()
    }

    /// When [`end_turn`](Self::end_turn) has something to do that no input brings about.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.rests_until
    }
}
