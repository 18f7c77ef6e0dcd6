//! Entries on their way out, when the way is free.

use super::conversations::{EntryKey, Slot};
use super::{AT_HAND, DAMAGED, Damaged, Journal, Note, QUEUE, entry};
use cpim::{Failure, OperationKey, Reason, Side};
use std::time::Instant;
use turn::{Output, Query, StoredRow, Ticket};

/// Entries under way at a time to each side, each of another conversation.
const UNDER_WAY: usize = 256;
/// Entries looked at in one turn.
const PER_TURN: usize = 64;
/// Entries loaded at once.
const LOADED: usize = 4;
/// Orders to load something under way at a time.
const LOADS: usize = 16;

/// What is to be done for an entry.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send its message, then [`Journal::on_sent`].
    Send {
        key: EntryKey,
        entry: Vec<u8>,
        /// How often it was sent before.
        attempt: u32,
    },
    /// Tell its sender that it will not be delivered, then [`Journal::on_told`].
    Tell { key: EntryKey, entry: Vec<u8>, failure: Failure<'static> },
}

impl Journal {
    /// The next thing to do; what is for XMPP waits while there is no way to it.
    pub(crate) fn poll_step(&mut self, now: Instant, xmpp_is_up: bool, out: &mut Output) -> Option<Step> {
        if self.steps >= PER_TURN {
            return None;
        }
        self.steps += 1;
        self.conversations.end_pauses(now);
        while let Some(key) = self.conversations.pop_expired(now) {
            self.counters.expired += 1;
            let text = Some("it was kept and became too old".into());
            self.give_up(key, Failure { text, ..Failure::from(Reason::Expired) });
            self.conversations.list(key.conversation);
        }
        if let Some((key, entry, failure)) = self.poll_undeliverable(now, xmpp_is_up, out) {
            return Some(Step::Tell { key, entry, failure });
        }
        // In turns: what one side is slow with holds nothing up that goes to the other.
        let sides = if self.steps.is_multiple_of(2) { [Side::Sip, Side::Xmpp] } else { [Side::Xmpp, Side::Sip] };
        sides.into_iter().find_map(|side| self.poll_attempt(side, xmpp_is_up, out))
    }

    fn may_attempt(&self, side: Side) -> bool {
        !self.drains && self.under_way_counts[side as usize] < UNDER_WAY
    }

    /// The next attempt for a side.
    fn poll_attempt(&mut self, side: Side, xmpp_is_up: bool, out: &mut Output) -> Option<Step> {
        while self.may_attempt(side) {
            let may_load = self.may_load();
            let id = self.conversations.pop_ready(side)?;
            let Some(row) = self.conversations.get_mut(id) else { continue };
            // The way to XMPP becoming free brings it back.
            if row.side == Side::Xmpp && !xmpp_is_up {
                continue;
            }
            let Some(head) = row.slots.front_mut() else { continue };
            // Its becoming durable brings it back.
            if head.pending.is_some() {
                continue;
            }
            let key = EntryKey { conversation: id, number: head.number };
            match head.entry.take() {
                Some(mut entry) => {
                    let attempt = head.attempts;
                    self.at_hand -= entry.len();
                    if entry::attempt(&entry) != attempt {
                        entry::note_attempt(&mut entry, attempt);
                        // Without it the attempt is taken for another one after a crash.
                        if self.orders.has_room(entry.len()) {
                            self.orders.put(QUEUE, &key.octets(), &entry, Note::Mark);
                        }
                    }
                    return Some(Step::Send { key, entry, attempt });
                }
                None if may_load => {
                    row.loads = true;
                    self.load(key, LOADED, out);
                }
                // An answer of the store brings it back.
                None => {
                    self.conversations.put_back(id);
                    return None;
                }
            }
        }
        None
    }

    pub(super) fn may_load(&self) -> bool {
        self.loads.len() < LOADS
    }

    pub(super) fn load(&mut self, first: EntryKey, limit: usize, out: &mut Output) {
        let before = EntryKey { number: first.number.saturating_sub(1), ..first };
        let query = Query {
            table: QUEUE,
            prefix: first.conversation.octets().to_vec(),
            after: Some(before.octets().to_vec()),
            limit,
        };
        self.loads.push((out.load(query), first));
    }

    /// The message of an entry is about to be sent.
    pub(crate) fn on_sent(&mut self, key: EntryKey, operation: OperationKey) {
        self.counters.attempts += 1;
        self.conversations.opened(key, operation);
        if let Some(slot) = self.conversations.slot(key) {
            self.counters.possible_duplicates += u64::from(slot.doubtful);
        }
        let side = self.conversations.get_mut(key.conversation).map_or(Side::Sip, |row| row.side);
        self.begin_attempt(key, side, operation);
    }

    pub(super) fn begin_attempt(&mut self, key: EntryKey, side: Side, operation: OperationKey) {
        self.under_way.insert(operation, (key, side));
        self.under_way_counts[side as usize] += 1;
    }

    /// The entry whose attempt has ended, if the operation was one.
    pub(super) fn end_attempt(&mut self, operation: OperationKey) -> Option<EntryKey> {
        let (key, side) = self.under_way.remove(operation)?;
        self.under_way_counts[side as usize] -= 1;
        Some(key)
    }

    /// Takes the memory of an entry back.
    pub(crate) fn give(&mut self, entry: Vec<u8>) {
        self.pool.give(entry);
    }

    /// Rows that were asked for.
    pub(crate) fn on_loaded(&mut self, ticket: Ticket, rows: &[StoredRow]) {
        let Some(first) = self.end_load(ticket) else { return };
        for row in rows {
            let Ok(key) = EntryKey::parse(&row.key) else { continue };
            // The first is what was asked for; the others are at hand as long as there is room.
            let fits = key == first || self.at_hand + row.value.len() <= AT_HAND;
            if let Some(undeliverable) = self.undeliverable.get_mut(key) {
                undeliverable.entry.get_or_insert_with(|| row.value.clone());
            } else if let Some(slot) = self.conversations.slot(key)
                && slot.entry.is_none()
                && slot.open.is_none()
                && fits
            {
                slot.entry = Some(row.value.clone());
                self.at_hand += row.value.len();
            }
        }
        let is_lost = match self.undeliverable.get_mut(first) {
            Some(row) => row.entry.is_none(),
            None => self.conversations.slot(first).is_some_and(|slot| slot.entry.is_none() && slot.open.is_none()),
        };
        if is_lost {
            self.counters.damaged += 1;
            tracing::error!(entry = %super::queue::Id(first.octets()), "an entry of the journal is gone from the store");
            self.remove_slot(first);
            self.bury(first);
        }
        self.undeliverable.list(first);
        self.conversations.list(first.conversation);
    }

    /// Rows that were asked for cannot be had now.
    pub(crate) fn on_load_failed(&mut self, now: Instant, ticket: Ticket) {
        let Some(first) = self.end_load(ticket) else { return };
        self.undeliverable.later(now, first);
        self.conversations.pause(now, first.conversation);
    }

    fn end_load(&mut self, ticket: Ticket) -> Option<EntryKey> {
        let place = self.loads.iter().position(|&(other, _)| other == ticket)?;
        let (_, first) = self.loads.swap_remove(place);
        if let Some(row) = self.conversations.get_mut(first.conversation) {
            row.loads = false;
        }
        Some(first)
    }

    /// An entry cannot be read. It is put aside for people to look at; its conversation goes on.
    pub(crate) fn on_damaged(&mut self, key: EntryKey, entry: &[u8], damaged: Damaged) {
        self.put_aside(&key.octets(), entry, damaged);
        self.remove_slot(key);
        self.bury(key);
        self.conversations.list(key.conversation);
    }

    /// Moves a row out of the queue that cannot be read.
    pub(super) fn put_aside(&mut self, key: &[u8], value: &[u8], damaged: Damaged) {
        self.counters.damaged += 1;
        tracing::error!(entry = %super::queue::Hex(key), %damaged, "an entry of the journal cannot be read and is put aside");
        self.orders.put(DAMAGED, key, value, Note::Mark);
        self.orders.delete(QUEUE, key, Note::Mark);
    }

    fn remove_slot(&mut self, key: EntryKey) {
        if let Some(Slot { entry: Some(entry), .. }) = self.conversations.remove(key) {
            self.at_hand -= entry.len();
        }
    }

    /// Orders what the turn has brought.
    pub(crate) fn end_turn(&mut self, now: Instant, out: &mut Output) {
        let has_ready = [Side::Sip, Side::Xmpp]
            .into_iter()
            .any(|side| self.conversations.has_ready(side) && self.may_attempt(side));
        // What has to be loaded goes on when something else is.
        self.more = (self.may_load() && (has_ready || self.undeliverable.has_ready())).then_some(now);
        self.steps = 0;
        self.orders.end_turn(now, out);
    }

    /// When the journal has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let patience = self.patience.front().map(|&(until, ..)| (until, "a message is not durable yet"));
        let conversations = self.conversations.poll_timeout().map(|at| (at, "kept messages"));
        let orders = self.orders.poll_timeout().map(|at| (at, "the store rests"));
        let undeliverable = self.undeliverable.poll_timeout().map(|at| (at, "undeliverable messages"));
        let more = self.more.map(|at| (at, "more kept messages"));
        [patience, conversations, orders, undeliverable, more].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}
