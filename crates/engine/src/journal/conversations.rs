//! What is kept of whom, in the order in which it arrived.

use super::entry::Damaged;
use crate::store::Pending;
use cpim::{ImUri, OperationKey, Side, fold_case};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};
use turn::Minter;

/// An entry after a failed attempt is tried again after so long,
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// twice as long after each further one, and at last so long.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Two users, in one direction. Conversations to one destination lie beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConversationId {
    pub(crate) destination: [u8; 8],
    pub(crate) source: [u8; 8],
}

/// The place of an entry: its conversation, and its place in the order of all arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryKey {
    pub(crate) conversation: ConversationId,
    pub(crate) number: u64,
}

/// No gateway comes to so many entries.
const HIGHEST: u64 = u64::MAX / 4;

/// Octets of an [`EntryKey`] in the store.
pub(crate) const KEY: usize = 24;

impl ConversationId {
    pub(crate) fn new(minter: &Minter, source: &ImUri<'_>, destination: &ImUri<'_>) -> Self {
        Self { destination: user(minter, destination), source: user(minter, source) }
    }

    pub(crate) fn octets(&self) -> [u8; 16] {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&self.destination);
        octets[8..].copy_from_slice(&self.source);
        octets
    }
}

/// The places of all conversations to a user.
fn all_to(destination: [u8; 8]) -> RangeInclusive<ConversationId> {
    ConversationId { destination, source: [0; 8] }..=ConversationId { destination, source: [u8::MAX; 8] }
}

/// What a user is known by. Case does not count, as on XMPP.
pub(crate) fn user(minter: &Minter, address: &ImUri<'_>) -> [u8; 8] {
    let local = address.local();
    let hash = if local.is_ascii() && !local.bytes().any(|octet| octet.is_ascii_uppercase()) {
        minter.keyed(&[local.as_bytes(), address.domain().as_bytes()])
    } else {
        minter.keyed(&[fold_case(local).as_bytes(), address.domain().as_bytes()])
    };
    (hash as u64).to_be_bytes()
}

impl EntryKey {
    pub(crate) fn octets(&self) -> [u8; KEY] {
        let mut octets = [0; KEY];
        octets[..16].copy_from_slice(&self.conversation.octets());
        octets[16..].copy_from_slice(&self.number.to_be_bytes());
        octets
    }

    pub(crate) fn parse(octets: &[u8]) -> Result<Self, Damaged> {
        let octets: &[u8; KEY] = octets.try_into().map_err(|_| Damaged::Form)?;
        let part = |start: usize| {
            let mut part = [0; 8];
            part.copy_from_slice(&octets[start..start + 8]);
            part
        };
        let conversation = ConversationId { destination: part(0), source: part(8) };
        let number = u64::from_be_bytes(part(16));
        // Others are never given.
        if number == 0 || number > HIGHEST {
            return Err(Damaged::Form);
        }
        Ok(Self { conversation, number })
    }
}

/// An entry, as far as it is known without looking into the store.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) number: u64,
    /// Octets that it takes in the store.
    pub(crate) octets: usize,
    pub(crate) expires: Instant,
    /// What its mark is found by.
    pub(crate) mark: u64,
    /// It is for one device: that it is away is final.
    pub(crate) has_device: bool,
    /// It was ordered, and is not durable yet.
    pub(crate) pending: Option<Pending>,
    /// Its sender waits for it to be durable.
    pub(crate) waits: Option<OperationKey>,
    /// It is under way.
    pub(crate) open: Option<OperationKey>,
    /// It may have been delivered already.
    pub(crate) doubtful: bool,
    /// The number of its next attempt, or of the one that it makes.
    pub(crate) attempts: u32,
    /// Where it is at hand.
    pub(crate) entry: Option<Vec<u8>>,
}

/// What has to happen before a conversation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It may go on.
    Ready,
    /// Its destination was away a short while ago.
    Pauses(Instant),
}

/// The entries of two users.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) side: Side,
    pub(crate) slots: VecDeque<Slot>,
    /// How many of them are under way.
    pub(crate) open: usize,
    /// Rows of the store were ordered for it.
    pub(crate) loads: bool,
    turn: Turn,
    failures: u32,
    listed: bool,
}

impl Conversation {
    pub(crate) fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let place = self.slots.binary_search_by_key(&number, |slot| slot.number).ok()?;
        self.slots.get_mut(place)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    rows: BTreeMap<ConversationId, Conversation>,
    /// Those that may go on, by the side that they go to.
    ready: [VecDeque<ConversationId>; 2],
    pauses: BTreeSet<(Instant, ConversationId)>,
    expiries: BTreeSet<(Instant, EntryKey)>,
    by_mark: BTreeMap<u64, EntryKey>,
    entries: usize,
    octets: usize,
}

impl Conversations {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    pub(crate) fn get_mut(&mut self, id: ConversationId) -> Option<&mut Conversation> {
        self.rows.get_mut(&id)
    }

    pub(crate) fn count(&self, id: ConversationId) -> usize {
        self.rows.get(&id).map_or(0, |row| row.slots.len())
    }

    pub(crate) fn slot(&mut self, key: EntryKey) -> Option<&mut Slot> {
        self.rows.get_mut(&key.conversation)?.slot(key.number)
    }

    pub(crate) fn find_mark(&self, mark: u64) -> Option<EntryKey> {
        self.by_mark.get(&mark).copied()
    }

    /// Keeps an entry in its place.
    pub(crate) fn insert(&mut self, id: ConversationId, side: Side, slot: Slot) {
        let key = EntryKey { conversation: id, number: slot.number };
        self.entries += 1;
        self.octets += slot.octets;
        self.expiries.insert((slot.expires, key));
        self.by_mark.insert(slot.mark, key);
        let row = self.rows.entry(id).or_insert_with(|| Conversation {
            side,
            slots: VecDeque::new(),
            open: 0,
            loads: false,
            turn: Turn::Ready,
            failures: 0,
            listed: false,
        });
        row.open += usize::from(slot.open.is_some());
        let place = row.slots.partition_point(|other| other.number < slot.number);
        row.slots.insert(place, slot);
    }

    /// Takes an entry out. A conversation without entries is none.
    pub(crate) fn remove(&mut self, key: EntryKey) -> Option<Slot> {
        let row = self.rows.get_mut(&key.conversation)?;
        let place = row.slots.binary_search_by_key(&key.number, |slot| slot.number).ok()?;
        let slot = row.slots.remove(place)?;
        row.open -= usize::from(slot.open.is_some());
        if row.slots.is_empty()
            && let Some(row) = self.rows.remove(&key.conversation)
            && let Turn::Pauses(until) = row.turn
        {
            self.pauses.remove(&(until, key.conversation));
        }
        self.entries -= 1;
        self.octets -= slot.octets;
        self.expiries.remove(&(slot.expires, key));
        if self.by_mark.get(&slot.mark) == Some(&key) {
            self.by_mark.remove(&slot.mark);
        }
        Some(slot)
    }

    /// An entry goes on its way.
    pub(crate) fn opened(&mut self, key: EntryKey, operation: OperationKey) {
        if let Some(row) = self.rows.get_mut(&key.conversation)
            && let Some(slot) = row.slot(key.number)
        {
            slot.open = Some(operation);
            row.open += 1;
        }
    }

    /// An entry is not under way any more.
    pub(crate) fn closed(&mut self, key: EntryKey) {
        if let Some(row) = self.rows.get_mut(&key.conversation)
            && let Some(slot) = row.slot(key.number)
            && slot.open.take().is_some()
        {
            // It may have become too old in the meantime.
            self.expiries.insert((slot.expires, key));
            row.open -= 1;
        }
    }

    /// An entry is durable. Gives whose sender waited for that.
    pub(crate) fn durable(&mut self, key: EntryKey) -> Option<OperationKey> {
        let slot = self.rows.get_mut(&key.conversation)?.slot(key.number)?;
        slot.pending = None;
        let waits = slot.waits.take();
        self.expiries.insert((slot.expires, key));
        waits
    }

    /// A conversation goes on as soon as nothing of it is under way.
    pub(crate) fn go_on(&mut self, id: ConversationId) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        row.failures = 0;
        if let Turn::Pauses(until) = std::mem::replace(&mut row.turn, Turn::Ready) {
            self.pauses.remove(&(until, id));
        }
        self.list(id);
    }

    /// Its destination is away: it goes on after a pause.
    pub(crate) fn pause(&mut self, now: Instant, id: ConversationId) {
        // What failed together with another one makes the pause no longer.
        let Some(row) = self.rows.get_mut(&id).filter(|row| row.turn == Turn::Ready) else { return };
        let pause = FIRST_PAUSE.saturating_mul(1 << row.failures.min(16)).min(LONGEST_PAUSE);
        row.failures = row.failures.saturating_add(1);
        // Those that stopped together do not all go on together.
        let spread = Duration::from_millis(u64::from(id.source[0]) * 4);
        row.turn = Turn::Pauses(now + pause + spread);
        self.pauses.insert((now + pause + spread, id));
    }

    /// Looks at a conversation when there is time.
    pub(crate) fn list(&mut self, id: ConversationId) {
        if let Some(row) = self.rows.get_mut(&id)
            && row.turn == Turn::Ready
            && !row.listed
        {
            row.listed = true;
            self.ready[row.side as usize].push_back(id);
        }
    }

    /// Whether something is kept for a user.
    pub(crate) fn has_any_to(&self, destination: [u8; 8]) -> bool {
        self.rows.range(all_to(destination)).next().is_some()
    }

    /// All conversations to a user go on: he is there.
    pub(crate) fn is_there(&mut self, destination: [u8; 8]) {
        let ids: Vec<_> = self.rows.range(all_to(destination)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.go_on(id));
    }

    /// All conversations to a side go on: the way is free.
    pub(crate) fn way_is_free(&mut self, side: Side) {
        let ids: Vec<_> = self.rows.iter().filter(|(_, row)| row.side == side).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.go_on(id));
    }

    /// Ends the pauses that are over.
    pub(crate) fn end_pauses(&mut self, now: Instant) {
        while let Some(&(until, id)) = self.pauses.first().filter(|(until, _)| *until <= now) {
            self.pauses.remove(&(until, id));
            if let Some(row) = self.rows.get_mut(&id) {
                row.turn = Turn::Ready;
            }
            self.list(id);
        }
    }

    /// The next conversation to a side that may go on.
    pub(crate) fn pop_ready(&mut self, side: Side) -> Option<ConversationId> {
        while let Some(id) = self.ready[side as usize].pop_front() {
            if let Some(row) = self.rows.get_mut(&id) {
                row.listed = false;
                if row.turn == Turn::Ready && row.open == 0 && !row.loads {
                    return Some(id);
                }
            }
        }
        None
    }

    /// It cannot go on now: it is the next one again.
    pub(crate) fn put_back(&mut self, id: ConversationId) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.listed = true;
            self.ready[row.side as usize].push_front(id);
        }
    }

    pub(crate) fn has_ready(&self, side: Side) -> bool {
        !self.ready[side as usize].is_empty()
    }

    /// The next entry that is too old. One that is under way, or not durable yet, is looked at again when it is no more.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<EntryKey> {
        while let Some(&(at, key)) = self.expiries.first().filter(|(at, _)| *at <= now) {
            self.expiries.remove(&(at, key));
            if self.slot(key).is_some_and(|slot| slot.open.is_none() && slot.waits.is_none()) {
                return Some(key);
            }
        }
        None
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let pause = self.pauses.first().map(|(until, _)| *until);
        let expiry = self.expiries.first().map(|(at, _)| *at);
        pause.into_iter().chain(expiry).min()
    }
}
