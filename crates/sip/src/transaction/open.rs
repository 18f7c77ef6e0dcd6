//! Open server transactions: requests that came out of the endpoint and wait for their final answer.

use super::key::Identity;
use super::route::back_to_sender;
use super::{Flow, ServerKey, Way};
use hashbrown::HashTable;
use slotmap::SlotMap;
use std::collections::VecDeque;
use std::time::Instant;
use turn::Pool;

/// One open transaction.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) identity: Identity,
    /// See [`Keys::merge_hash`](super::key::Keys::merge_hash).
    merge_hash: Option<u64>,
    pub(crate) way: Way,
    /// Whether Timer J applies: the transport may repeat requests, and their answers are to be kept.
    pub(crate) repeats: bool,
    /// Whether a refusal is repeated until its ACK.
    pub(crate) invite: bool,
    /// The provisional response has been sent.
    pub(crate) proceeding: bool,
    pub(crate) memo: Memo,
    /// Octets of the memo when it was entered.
    octets: usize,
}

/// What responses are made from, in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    pub(crate) bytes: Vec<u8>,
    /// End of the Via lines, which are the first.
    pub(crate) vias_end: usize,
    /// End of From, To, Call-ID, CSeq.
    pub(crate) head_end: usize,
    /// End of the list for Unsupported.
    pub(crate) unsupported_end: usize,
    // Behind it: the value of Timestamp.
}

impl Memo {
    fn slice(&self, from: usize, to: usize) -> &[u8] {
        self.bytes.get(from..to).unwrap_or_default()
    }

    pub(crate) fn vias(&self) -> &[u8] {
        self.slice(0, self.vias_end)
    }

    pub(crate) fn head(&self) -> &[u8] {
        self.slice(0, self.head_end)
    }

    pub(crate) fn unsupported(&self) -> &[u8] {
        self.slice(self.head_end, self.unsupported_end)
    }

    pub(crate) fn timestamp(&self) -> &[u8] {
        self.slice(self.unsupported_end, self.bytes.len())
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct Open {
    rows: SlotMap<ServerKey, Row>,
    index: HashTable<ServerKey>,
    merges: HashTable<ServerKey>,
    /// Who gets a provisional response, and when. The delay is the same for all, so the queue is in order.
    trying: VecDeque<(Instant, ServerKey)>,
    octets: usize,
    pub(crate) pool: Pool,
}

impl Open {
    pub(crate) fn new() -> Self {
        Self {
            rows: SlotMap::with_key(),
            index: HashTable::new(),
            merges: HashTable::new(),
            trying: VecDeque::new(),
            octets: 0,
            pool: Pool::new(),
        }
    }

    /// Octets of all memos.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn row(&self, key: ServerKey) -> Option<&Row> {
        self.rows.get(key)
    }

    /// The transaction that a request is a retransmission of.
    pub(crate) fn find(&mut self, identity: Identity) -> Option<&mut Row> {
        let place = |&key: &ServerKey| self.rows.get(key).is_some_and(|row: &Row| row.identity == identity);
        let key = *self.index.find(identity.key as u64, place)?;
        self.rows.get_mut(key)
    }

    /// Nothing of this transaction is kept once it is answered, and the answer goes to whom the request came from.
    pub(crate) fn keep_nothing(&mut self, key: ServerKey, flow: &Flow) {
        if let Some(row) = self.rows.get_mut(key) {
            row.repeats = false;
            row.invite = false;
            row.way = back_to_sender(row.way, flow);
        }
    }

    /// Whether any transaction has this key, whatever its request is.
    pub(crate) fn contains(&self, key: u128) -> bool {
        self.index.find(key as u64, |&at| self.rows.get(at).is_some_and(|row| row.identity.key == key)).is_some()
    }

    /// The open transaction whose request is the same and came another way (8.2.2.2).
    pub(crate) fn merged(&self, identity: Identity, merge_hash: u64) -> Option<&Row> {
        let other = |row: &Row| row.merge_hash == Some(merge_hash) && row.identity.key != identity.key;
        let key = self.merges.find(merge_hash, |&at| self.rows.get(at).is_some_and(other))?;
        self.rows.get(*key)
    }

    pub(crate) fn insert(
        &mut self,
        trying_at: Instant,
        identity: Identity,
        merge_hash: Option<u64>,
        way: Way,
        invite: bool,
        memo: Memo,
    ) -> ServerKey {
        let repeats = matches!(way, Way::Datagram { .. });
        let octets = memo.bytes.len();
        self.octets += octets;
        let key = self.rows.insert(Row { identity, merge_hash, way, repeats, invite, proceeding: false, memo, octets });
        let rows = &self.rows;
        self.index.insert_unique(identity.key as u64, key, |&at| rows.get(at).map_or(0, |row| row.identity.key as u64));
        if let Some(hash) = merge_hash {
            self.merges.insert_unique(hash, key, |&at| rows.get(at).and_then(|row| row.merge_hash).unwrap_or(0));
        }
        self.trying.push_back((trying_at, key));
        key
    }

    /// Takes a transaction out; the caller gives its buffer back to the pool.
    pub(crate) fn remove(&mut self, key: ServerKey) -> Option<Row> {
        let row = self.rows.remove(key)?;
        self.octets -= row.octets;
        if let Ok(entry) = self.index.find_entry(row.identity.key as u64, |&other| other == key) {
            entry.remove();
        }
        if let Some(hash) = row.merge_hash
            && let Ok(entry) = self.merges.find_entry(hash, |&other| other == key)
        {
            entry.remove();
        }
        Some(row)
    }

    /// A transaction that is still open and gets its provisional response now; called until `None`.
    pub(crate) fn pop_trying(&mut self, now: Instant) -> Option<&Row> {
        while let Some(&(at, key)) = self.trying.front() {
            let open = self.rows.contains_key(key);
            if open && at > now {
                break;
            }
            self.trying.pop_front();
            if open && let Some(row) = self.rows.get_mut(key) {
                row.proceeding = true;
                return self.rows.get(key);
            }
        }
        None
    }

    /// When the next provisional response is due.
    pub(crate) fn next_trying(&self) -> Option<Instant> {
        // Whoever stands in front may be finished; then nothing is sent and the question is asked again.
        if self.rows.is_empty() { None } else { self.trying.front().map(|&(at, _)| at) }
    }
}
