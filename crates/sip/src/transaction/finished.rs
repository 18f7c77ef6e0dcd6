//! Finished server transactions, kept until Timer J (RFC 3261 17.2.2).
//!
//! A row holds what is needed to recognise a retransmission and to build the same response from it once more: nothing of
//! the request. Timer J is the same for all, so rows expire in the order they were entered: they lie in a queue of chunks
//! without any timer, and a chunk carries the texts of its rows. The index is split into shards, so that its growth never
//! rehashes everything at once.

use hashbrown::HashTable;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// One finished transaction.
#[derive(Clone, Copy, Debug)]
struct Row {
    key: u128,
    request_hash: u64,
    /// Nanoseconds since the origin of the store.
    expires: u64,
    text_start: u32,
    text_len: u32,
    retry_after: u32,
    status: u16,
    shape: u8,
}

const _: () = assert!(std::mem::size_of::<Row>() <= 64);

/// What was answered, in the form the store keeps. `shape` and `text` mean something only to the printer of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept<'a> {
    pub(crate) status: u16,
    pub(crate) shape: u8,
    pub(crate) retry_after: u32,
    pub(crate) text: &'a [u8],
}

/// Rows of a chunk.
const CHUNK: usize = 512;
/// Shards of the index.
const SHARDS: usize = 64;
/// Empty chunks that wait for use.
const SPARE: usize = 64;
/// An empty chunk keeps so much room for texts.
const TEXT_KEPT: usize = 64 * 1024;

#[derive(Debug)]
struct Chunk {
    rows: Vec<Row>,
    texts: Vec<u8>,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The moment that `expires` counts from; set by the first row.
    origin: Option<Instant>,
    /// All full but the last.
    chunks: VecDeque<Chunk>,
    /// Number of the first row of the first chunk. Numbers count on and wrap; a row's place follows from its number.
    first: u32,
    /// Rows at the front of the first chunk that are forgotten.
    forgotten: usize,
    len: usize,
    text_len: usize,
    /// Numbers of rows, by key.
    shards: Vec<HashTable<u32>>,
    spare: Vec<Chunk>,
}

impl Finished {
    pub(crate) fn new() -> Self {
        Self {
            origin: None,
            chunks: VecDeque::new(),
            first: 0,
            forgotten: 0,
            len: 0,
            text_len: 0,
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            spare: Vec::new(),
        }
    }

    /// Transactions that are kept.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of text that are kept with them.
    pub(crate) fn text_len(&self) -> usize {
        self.text_len
    }

    /// Keeps an answer for `lifetime`, which must be the same at every call, but that what is left from an earlier run comes
    /// first and has less of it.
    pub(crate) fn insert(&mut self, now: Instant, lifetime: Duration, key: u128, request_hash: u64, kept: Kept<'_>) {
        let expires = self.nanoseconds(now).saturating_add(lifetime.as_nanos() as u64);
        if self.chunks.back().is_none_or(|chunk| chunk.rows.len() == CHUNK) {
            let chunk =
                self.spare.pop().unwrap_or_else(|| Chunk { rows: Vec::with_capacity(CHUNK), texts: Vec::new() });
            self.chunks.push_back(chunk);
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let Some(chunk) = self.chunks.back_mut() else { return };
        let number = self.first.wrapping_add((before + chunk.rows.len()) as u32);
        let text_start = chunk.texts.len() as u32;
        chunk.texts.extend_from_slice(kept.text);
        chunk.rows.push(Row {
            key,
            request_hash,
            expires,
            text_start,
            text_len: kept.text.len() as u32,
            retry_after: kept.retry_after,
            status: kept.status,
            shape: kept.shape,
        });
        self.len += 1;
        self.text_len += kept.text.len();
        let (chunks, first) = (&self.chunks, self.first);
        self.shards[shard(key)]
            .insert_unique(key as u64, number, |&number| row(chunks, first, number).map_or(0, |row| row.key as u64));
    }

    /// The answer to the transaction whose key and request these are.
    pub(crate) fn find(&self, now: Instant, key: u128, request_hash: u64) -> Option<Kept<'_>> {
        let number = *self.shards[shard(key)].find(key as u64, |&number| {
            row(&self.chunks, self.first, number).is_some_and(|row| row.key == key && row.request_hash == request_hash)
        })?;
        let row = row(&self.chunks, self.first, number)?;
        if row.expires <= self.origin.map_or(0, |origin| since(origin, now)) {
            return None;
        }
        let chunk = &self.chunks[place(self.first, number) / CHUNK];
        let text = &chunk.texts[row.text_start as usize..][..row.text_len as usize];
        Some(Kept { status: row.status, shape: row.shape, retry_after: row.retry_after, text })
    }

    /// Whether any transaction with this key is kept, whatever its request was.
    pub(crate) fn contains(&self, now: Instant, key: u128) -> bool {
        let now = self.origin.map_or(0, |origin| since(origin, now));
        self.shards[shard(key)]
            .find(key as u64, |&number| {
                row(&self.chunks, self.first, number).is_some_and(|row| row.key == key && row.expires > now)
            })
            .is_some()
    }

    /// Forgets what has expired.
    pub(crate) fn expire(&mut self, now: Instant) {
        let Some(origin) = self.origin else { return };
        let now = since(origin, now);
        while let Some(chunk) = self.chunks.front()
            && let Some(front) = chunk.rows.get(self.forgotten)
            && front.expires <= now
        {
            let number = self.first.wrapping_add(self.forgotten as u32);
            let found = self.shards[shard(front.key)].find_entry(front.key as u64, |&other| other == number);
            debug_assert!(found.is_ok(), "each row is in the index");
            if let Ok(entry) = found {
                entry.remove();
            }
            self.len -= 1;
            self.text_len -= front.text_len as usize;
            self.forgotten += 1;
            if self.forgotten == chunk.rows.len() {
                self.forgotten = 0;
                self.first = self.first.wrapping_add(CHUNK as u32);
                if let Some(mut chunk) = self.chunks.pop_front()
                    && self.spare.len() < SPARE
                {
                    chunk.rows.clear();
                    chunk.texts.clear();
                    chunk.texts.shrink_to(TEXT_KEPT);
                    self.spare.push(chunk);
                }
            }
        }
    }

    /// When the oldest row expires.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let front = self.chunks.front()?.rows.get(self.forgotten)?;
        Some(self.origin? + Duration::from_nanos(front.expires))
    }

    fn nanoseconds(&mut self, now: Instant) -> u64 {
        since(*self.origin.get_or_insert(now), now)
    }
}

fn since(origin: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(origin).as_nanos() as u64
}

fn shard(key: u128) -> usize {
    // Other bits than those the table of the shard uses: it takes the lowest for the place and the highest seven of the
    // lower half for its marks.
    (key >> 48) as usize % SHARDS
}

fn place(first: u32, number: u32) -> usize {
    number.wrapping_sub(first) as usize
}

fn row(chunks: &VecDeque<Chunk>, first: u32, number: u32) -> Option<&Row> {
    let place = place(first, number);
    chunks.get(place / CHUNK)?.rows.get(place % CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use turn::Minter;

    const LIFETIME: Duration = Duration::from_secs(32);

    fn kept(status: u16, text: &[u8]) -> Kept<'_> {
        Kept { status, shape: 3, retry_after: 7, text }
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn a_row_is_found_until_its_moment_and_not_at_it() {
        let start = Instant::now();
        let mut store = Finished::new();
        store.insert(start, LIFETIME, 5, 1, kept(200, b"text"));
        let late = start + LIFETIME - Duration::from_nanos(1);
        assert_eq!(store.find(late, 5, 1), Some(kept(200, b"text")));
        assert_eq!(store.find(late, 5, 2), None, "another request with the same key");
        assert_eq!(store.find(late, 6, 1), None);
        assert!(store.contains(late, 5));
        assert_eq!(store.find(start + LIFETIME, 5, 1), None);
        assert!(!store.contains(start + LIFETIME, 5));
        assert_eq!(store.next_expiry(), Some(start + LIFETIME));
        store.expire(late);
        assert_eq!(store.len(), 1);
        store.expire(start + LIFETIME);
        assert_eq!((store.len(), store.text_len(), store.next_expiry()), (0, 0, None));
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn against_a_list() {
        let start = Instant::now();
        let mut minter = Minter::new([3; 16]);
        let mut store = Finished::new();
        // The numbers of rows wrap in the middle of the run.
        store.first = u32::MAX - 3000;
        let mut list: VecDeque<(u64, u128, u64, u16)> = VecDeque::new();
        let mut now = 0u64;
        for n in 0..20_000u64 {
            let key = minter.mint();
            let at = start + Duration::from_millis(now);
            store.insert(at, LIFETIME, key, n, kept(n as u16, &n.to_le_bytes()));
            list.push_back((now + 32_000, key, n, n as u16));
            now += (key >> 64) as u64 % 40;
            let at = start + Duration::from_millis(now);
            store.expire(at);
            while list.front().is_some_and(|(expires, ..)| *expires <= now) {
                list.pop_front();
            }
            assert_eq!(store.len(), list.len());
            for index in [0, list.len() / 2, list.len().saturating_sub(1)] {
                if let Some((_, key, hash, status)) = list.get(index) {
                    assert_eq!(store.find(at, *key, *hash), Some(kept(*status, &hash.to_le_bytes())));
                }
            }
        }
        store.expire(start + Duration::from_millis(now) + LIFETIME);
        assert_eq!((store.len(), store.text_len(), store.chunks.len()), (0, 0, 0));
        assert!(store.shards.iter().all(HashTable::is_empty));
    }
}
