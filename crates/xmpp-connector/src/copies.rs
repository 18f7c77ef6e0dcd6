//! Copies of what was written to XMPP, each until the fate of its message is known.

use cpim::{Mark, OperationKey};
use hashbrown::HashTable;
use slotmap::SecondaryMap;
use std::time::{Duration, Instant};
use turn::{Minter, Pool, Recent};
use xmpp::jid::{JidParts, is_older_form};

/// Final words that are remembered, and how long: a word that contradicts one comes soon after it, from another device of
/// the same user or from a server that says the same twice.
const CONCLUDED: usize = 4096;
const REMEMBERED: Duration = Duration::from_secs(3600);

/// A message written to XMPP whose fate is not known.
pub(crate) struct Copy {
    pub(crate) mark: Mark,
    /// Bare JID it was written for.
    pub(crate) to: Vec<u8>,
    /// Position in the stream behind its last octet.
    pub(crate) end: u64,
    /// The barrier has passed; only a receipt can add anything.
    pub(crate) proven: bool,
    /// Within its window a receipt is waited for, which says more than the barrier. Who was answered before waits for none.
    pub(crate) awaits_receipt: bool,
}

/// All of them, by operation and by the id of the stanza.
pub(crate) struct Copies {
    rows: SecondaryMap<OperationKey, Copy>,
    by_id: HashTable<OperationKey>,
    hasher: ahash::RandomState,
    pool: Pool,
    minter: Minter,
    concluded: Recent<()>,
}

impl Copies {
    pub(crate) fn new(minter: &Minter) -> Self {
        let [a, b] = [minter.keyed(&[b"copies", b"a"]), minter.keyed(&[b"copies", b"b"])];
        Self {
            rows: SecondaryMap::new(),
            by_id: HashTable::new(),
            hasher: ahash::RandomState::with_seeds(a as u64, (a >> 64) as u64, b as u64, (b >> 64) as u64),
            pool: Pool::new(),
            minter: minter.derive("copies"),
            concluded: Recent::new(CONCLUDED, REMEMBERED),
        }
    }

    /// An empty vector for the address of a copy.
    pub(crate) fn vector(&mut self) -> Vec<u8> {
        self.pool.take()
    }

    /// Takes such a vector back.
    pub(crate) fn give_back(&mut self, vector: Vec<u8>) {
        self.pool.give(vector);
    }

    pub(crate) fn insert(&mut self, operation: OperationKey, copy: Copy) {
        let hash = self.hasher.hash_one(copy.mark.as_bytes());
        self.rows.insert(operation, copy);
        let (hasher, rows) = (&self.hasher, &self.rows);
        self.by_id.insert_unique(hash, operation, |&operation| {
            rows.get(operation).map_or(0, |copy| hasher.hash_one(copy.mark.as_bytes()))
        });
    }

    pub(crate) fn get(&self, operation: OperationKey) -> Option<&Copy> {
        self.rows.get(operation)
    }

    pub(crate) fn get_mut(&mut self, operation: OperationKey) -> Option<&mut Copy> {
        self.rows.get_mut(operation)
    }

    pub(crate) fn contains(&self, operation: OperationKey) -> bool {
        self.rows.contains_key(operation)
    }

    /// The open copy with this id, if `from` may speak for it: whom it was written for, or his domain.
    pub(crate) fn find(&self, id: &str, from: Option<&str>) -> Option<OperationKey> {
        let hash = self.hasher.hash_one(id.as_bytes());
        let same_id = |operation: &OperationKey| {
            self.rows.get(*operation).is_some_and(|copy| copy.mark.as_bytes() == id.as_bytes())
        };
        let operation = *self.by_id.find(hash, same_id)?;
        let copy = self.rows.get(operation)?;
        let to = JidParts::parse_stamped(std::str::from_utf8(&copy.to).ok()?).ok()?;
        let from = JidParts::parse_stamped(from?).ok()?;
        let same_user = match (&from.local, &to.local) {
            (None, _) => true,
            (Some(from), Some(to)) => from == to || is_older_form(from, to),
            (Some(_), None) => false,
        };
        (same_user && from.domain == to.domain).then_some(operation)
    }

    /// The far side has said what became of a copy: that is its last word.
    pub(crate) fn conclude(&mut self, now: Instant, operation: OperationKey) {
        if let Some(copy) = self.rows.get(operation) {
            let key = self.minter.keyed(&[copy.mark.as_bytes()]);
            self.concluded.see(now, key);
        }
        self.forget(operation);
    }

    /// Whether the last word about the copy with this id, which is one of ours, has been said. If not, this was it.
    pub(crate) fn was_concluded(&mut self, now: Instant, id: &str) -> bool {
        let key = self.minter.keyed(&[id.as_bytes()]);
        self.concluded.see(now, key)
    }

    /// What was said about a message does not count for the copy that is written now: it has the same id.
    pub(crate) fn reopen(&mut self, mark: &Mark) {
        self.concluded.forget(self.minter.keyed(&[mark.as_bytes()]));
    }

    pub(crate) fn forget(&mut self, operation: OperationKey) {
        if let Some(copy) = self.rows.remove(operation) {
            let hash = self.hasher.hash_one(copy.mark.as_bytes());
            if let Ok(entry) = self.by_id.find_entry(hash, |&known| known == operation) {
                entry.remove();
            }
            self.pool.give(copy.to);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}
