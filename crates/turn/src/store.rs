//! What a machine has written to a store that outlives it, and read from it.
//!
//! A machine never waits for its store: it orders, goes on, and is told later. What must be durable before it is said waits
//! in the machine for the input that says so. A store has tables, each a map from octets to octets in the order of its keys.

use crate::Input;
use std::ops::Range;

/// A table of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub u8);

/// Names an order until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Why a store did not do what it was told. Nothing of the order was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreFailure {
    /// There is no room.
    Full,
    /// It cannot be written or read, or what was read is not what was written.
    Broken,
}

/// Puts and deletes that become durable together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    octets: Vec<u8>,
    changes: Vec<Change>,
    cancelled: usize,
}

#[derive(Clone, Debug)]
struct Change {
    table: TableId,
    key: Range<usize>,
    value: Option<Range<usize>>,
    cancelled: bool,
}

/// The place of a change in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeId(usize);

impl Batch {
    /// Writes a value under a key, whether or not there is one. `write` appends the value to the vector it is given.
    pub fn put(&mut self, table: TableId, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) -> ChangeId {
        let key = self.copy(key);
        let start = self.octets.len();
        write(&mut self.octets);
        let value = Some(start..self.octets.len());
        self.push(Change { table, key, value, cancelled: false })
    }

    /// Removes a key, whether or not there is one.
    pub fn delete(&mut self, table: TableId, key: &[u8]) -> ChangeId {
        let key = self.copy(key);
        self.push(Change { table, key, value: None, cancelled: false })
    }

    /// Takes a change back, as if it had never been made.
    pub fn cancel(&mut self, change: ChangeId) {
        if let Some(change) = self.changes.get_mut(change.0).filter(|change| !change.cancelled) {
            change.cancelled = true;
            self.cancelled += 1;
        }
    }

    fn copy(&mut self, octets: &[u8]) -> Range<usize> {
        let start = self.octets.len();
        self.octets.extend_from_slice(octets);
        start..self.octets.len()
    }

    fn push(&mut self, change: Change) -> ChangeId {
        self.changes.push(change);
        ChangeId(self.changes.len() - 1)
    }

    /// The changes in the order in which they were made: table, key, and the value or `None` for a delete.
    pub fn changes(&self) -> impl Iterator<Item = (TableId, &[u8], Option<&[u8]>)> {
        let octets = |range: &Range<usize>| self.octets.get(range.clone()).unwrap_or_default();
        let done = self.changes.iter().filter(|change| !change.cancelled);
        done.map(move |change| (change.table, octets(&change.key), change.value.as_ref().map(octets)))
    }

    /// Changes that were made and not taken back.
    pub fn len(&self) -> usize {
        self.changes.len() - self.cancelled
    }

    /// Octets of keys and values, those of changes that were taken back included.
    pub fn octets(&self) -> usize {
        self.octets.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether any change was taken back.
    pub fn has_cancelled(&self) -> bool {
        self.cancelled > 0
    }

    /// Forgets all changes and keeps the room for others, up to `kept` octets.
    pub fn clear(&mut self, kept: usize) {
        self.octets.clear();
        self.octets.shrink_to(kept);
        self.changes.clear();
        self.cancelled = 0;
    }
}

/// Asks for rows of a table in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The table.
    pub table: TableId,
    /// What the keys begin with.
    pub prefix: Vec<u8>,
    /// Only keys behind this one.
    pub after: Option<Vec<u8>>,
    /// At most so many rows.
    pub limit: usize,
}

/// A row of a table, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// What a store has to say about an order, until the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAnswer {
    /// The batch is durable.
    Committed(Ticket),
    /// Nothing of the batch is or will be.
    CommitFailed(Ticket, StoreFailure),
    /// What was found.
    Loaded {
        /// That of the query.
        ticket: Ticket,
        /// The rows, as many as were asked for or there are.
        rows: Vec<StoredRow>,
        /// There are more behind them.
        more: bool,
    },
    /// The query could not be answered.
    LoadFailed(Ticket, StoreFailure),
}

impl StoreAnswer {
    /// The order that is answered.
    pub fn ticket(&self) -> Ticket {
        match *self {
            Self::Committed(ticket) | Self::CommitFailed(ticket, _) | Self::LoadFailed(ticket, _) => ticket,
            Self::Loaded { ticket, .. } => ticket,
        }
    }

    /// What the machine is told.
    pub fn input(&self) -> Input<'_> {
        match *self {
            Self::Committed(ticket) => Input::Committed { ticket },
            Self::CommitFailed(ticket, failure) => Input::CommitFailed { ticket, failure },
            Self::Loaded { ticket, ref rows, more } => Input::Loaded { ticket, rows, more },
            Self::LoadFailed(ticket, failure) => Input::LoadFailed { ticket, failure },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: TableId = TableId(1);

    #[test]
    fn changes_keep_their_order_and_what_is_taken_back_is_not_among_them() {
        let mut batch = Batch::default();
        let first = batch.put(TABLE, b"a", |value| value.extend_from_slice(b"one"));
        batch.delete(TABLE, b"b");
        batch.put(TableId(2), b"a", |_| {});
        batch.cancel(first);
        batch.cancel(first);
        let changes: Vec<_> = batch.changes().collect();
        assert_eq!(changes, [(TABLE, &b"b"[..], None), (TableId(2), &b"a"[..], Some(&b""[..]))]);
        assert_eq!((batch.len(), batch.is_empty()), (2, false));
        batch.clear(0);
        assert_eq!((batch.len(), batch.changes().count()), (0, 0));
    }
}
