//! Non-INVITE client transactions (RFC 3261 17.1.2).
//!
//! ```text
//!              Timer E: send again            1xx
//!                 (UDP only)           +--------------+
//!  request()  +-----+                  |              v
//!  ---------> |     v   1xx            |   Timer E: send again, T2
//!            Trying --------------> Proceeding
//!              |                       |
//!              |  200..699 | Timer F | transport failed
//!              v                       v
//!             ended, told once; whatever comes later matches nothing and is dropped (what Timer K is for)
//! ```

use super::{ClientKey, Timers, Way};
use hashbrown::HashTable;
use slotmap::SlotMap;
use std::time::{Duration, Instant};
use turn::{Pool, Wheel};

/// One client transaction.
#[derive(Debug)]
pub(crate) struct Row {
    branch: u128,
    token: u64,
    way: Way,
    /// The printed request; on streams, where nothing is repeated, only its method.
    request: Vec<u8>,
    method_len: usize,
    /// The request carries Vias of others below ours, and so do its responses.
    forwarded: bool,
    proceeding: bool,
    /// Timer E, and the interval that led to it.
    resend: Option<Instant>,
    interval: Duration,
    /// Timer F.
    end: Instant,
    /// Neighbours among the transactions that go the same way.
    older: Option<ClientKey>,
    newer: Option<ClientKey>,
}

impl Row {
    pub(crate) fn method(&self) -> &[u8] {
        self.request.get(..self.method_len).unwrap_or_default()
    }

    pub(crate) fn is_forwarded(&self) -> bool {
        self.forwarded
    }
}

/// What a new transaction begins with.
pub(crate) struct Start<'a> {
    pub(crate) branch: u128,
    pub(crate) token: u64,
    pub(crate) way: Way,
    pub(crate) request: Vec<u8>,
    pub(crate) method: &'a [u8],
    pub(crate) forwarded: bool,
}

/// What a due timer asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Timer E: send the request of this transaction again.
    Resend(ClientKey),
    /// Timer F: the transaction of this token has timed out; it is gone.
    TimedOut { token: u64, heard: bool },
}

/// All transactions that go one way, so that a failure of the way ends them without a search.
#[derive(Debug)]
struct Shared {
    way: Way,
    oldest: ClientKey,
    newest: ClientKey,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Clients {
    rows: SlotMap<ClientKey, Row>,
    branches: HashTable<ClientKey>,
    ways: HashTable<Shared>,
    hasher: ahash::RandomState,
    /// One entry for each row: the earlier of E and F.
    wheel: Wheel<ClientKey>,
    timers: Timers,
    pub(crate) pool: Pool,
}

impl Clients {
    pub(crate) fn new(timers: Timers, hasher: ahash::RandomState) -> Self {
        Self {
            rows: SlotMap::with_key(),
            branches: HashTable::new(),
            ways: HashTable::new(),
            hasher,
            wheel: Wheel::new(),
            timers,
            pool: Pool::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Ways that any transaction goes.
    #[cfg(test)]
    pub(crate) fn ways(&self) -> usize {
        self.ways.len()
    }

    pub(crate) fn row(&self, key: ClientKey) -> Option<&Row> {
        self.rows.get(key)
    }

    pub(crate) fn contains_branch(&self, branch: u128) -> bool {
        self.find(branch).is_some()
    }

    /// The transaction of a branch. Branches are ours and unguessable, so their own bits serve as hash.
    pub(crate) fn find(&self, branch: u128) -> Option<ClientKey> {
        self.branches.find(branch as u64, |&key| self.rows.get(key).is_some_and(|row| row.branch == branch)).copied()
    }

    /// Enters a transaction whose request has just been sent.
    pub(crate) fn start(&mut self, now: Instant, start: Start<'_>) -> ClientKey {
        let Start { branch, token, way, mut request, method, forwarded } = start;
        let repeats = matches!(way, Way::Datagram { .. });
        if !repeats {
            request.truncate(method.len());
        }
        let end = now + self.timers.end();
        let resend = repeats.then(|| now + self.timers.t1);
        let key = self.rows.insert(Row {
            branch,
            token,
            way,
            request,
            method_len: method.len(),
            forwarded,
            proceeding: false,
            resend,
            interval: self.timers.t1,
            end,
            older: None,
            newer: None,
        });
        let rows = &self.rows;
        self.branches.insert_unique(branch as u64, key, |&key| rows.get(key).map_or(0, |row| row.branch as u64));
        self.link(key, way);
        self.wheel.arm(now, resend.map_or(end, |at| at.min(end)), key);
        key
    }

    /// The bytes of the request and where they go.
    pub(crate) fn request(&self, key: ClientKey) -> Option<(Way, &[u8])> {
        self.rows.get(key).map(|row| (row.way, &row.request[..]))
    }

    /// A provisional response: Timer E, when it fires next, is reset to T2.
    pub(crate) fn on_provisional(&mut self, key: ClientKey) {
        if let Some(row) = self.rows.get_mut(key) {
            row.proceeding = true;
        }
    }

    /// Ends a transaction and gives its token.
    pub(crate) fn end(&mut self, key: ClientKey) -> Option<u64> {
        let row = self.rows.remove(key)?;
        if let Ok(entry) = self.branches.find_entry(row.branch as u64, |&other| other == key) {
            entry.remove();
        }
        self.unlink(key, &row);
        self.pool.give(row.request);
        Some(row.token)
    }

    /// Ends the oldest transaction that goes this way and gives its token.
    pub(crate) fn end_oldest(&mut self, way: Way) -> Option<u64> {
        let hash = self.hasher.hash_one(way);
        let oldest = self.ways.find(hash, |shared| shared.way == way)?.oldest;
        self.end(oldest)
    }

    /// What is due at `now`; called until `None`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Due> {
        while let Some(key) = self.wheel.pop_due(now) {
            let Some(row) = self.rows.get_mut(key) else { continue };
            if row.end <= now {
                let heard = row.proceeding;
                return self.end(key).map(|token| Due::TimedOut { token, heard });
            }
            let end = row.end;
            let Some(at) = row.resend else {
                self.wheel.arm(now, end, key);
                continue;
            };
            row.interval = if row.proceeding { self.timers.t2 } else { (row.interval * 2).min(self.timers.t2) };
            // From the moment it was meant for, so that lateness of the turn does not add up; after a long halt from now,
            // so that what was missed is not made up for in a burst.
            let next = at + row.interval;
            let next = if next <= now { now + row.interval } else { next };
            row.resend = Some(next);
            self.wheel.arm(now, next.min(end), key);
            return Some(Due::Resend(key));
        }
        None
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        // The wheel may still hold entries of rows that are gone; without rows nothing is due.
        if self.rows.is_empty() { None } else { self.wheel.next_due() }
    }

    fn link(&mut self, key: ClientKey, way: Way) {
        let hash = self.hasher.hash_one(way);
        let Some(shared) = self.ways.find_mut(hash, |shared| shared.way == way) else {
            let hasher = &self.hasher;
            let shared = Shared { way, oldest: key, newest: key };
            self.ways.insert_unique(hash, shared, |shared| hasher.hash_one(shared.way));
            return;
        };
        let before = std::mem::replace(&mut shared.newest, key);
        if let Some(row) = self.rows.get_mut(before) {
            row.newer = Some(key);
        }
        if let Some(row) = self.rows.get_mut(key) {
            row.older = Some(before);
        }
    }

    fn unlink(&mut self, key: ClientKey, row: &Row) {
        if let Some(older) = row.older.and_then(|older| self.rows.get_mut(older)) {
            older.newer = row.newer;
        }
        if let Some(newer) = row.newer.and_then(|newer| self.rows.get_mut(newer)) {
            newer.older = row.older;
        }
        if row.older.is_some() && row.newer.is_some() {
            return;
        }
        let hash = self.hasher.hash_one(row.way);
        let Ok(mut entry) = self.ways.find_entry(hash, |shared| shared.way == row.way) else { return };
        let shared = entry.get_mut();
        match (row.older, row.newer) {
            (None, None) => {
                entry.remove();
            }
            (None, Some(newer)) => shared.oldest = newer,
            (Some(older), None) => shared.newest = older,
            (Some(_), Some(_)) => debug_assert!(shared.oldest != key),
        }
    }
}
