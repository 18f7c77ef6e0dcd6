//! What becomes of messages that are held or kept: from the far side, from the store, from the time that passes.

use super::conversations::EntryKey;
use super::{Journal, Note, QUEUE, Why};
use crate::store::Pending;
use cpim::{Failure, OperationKey, Reason, Status};
use std::time::Instant;
use turn::{StoreFailure, Ticket};

/// What the fate of an operation means for its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the response.
    Pass,
    /// The message is kept; its response comes when it is durable.
    Waits,
    /// The message is kept: it is as good as handed on.
    Kept,
    /// The response was given before.
    Answered,
}

/// What a sender is told who waited for his message to be durable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) operation: OperationKey,
    /// The far side may still speak about it.
    pub(crate) is_open: bool,
    /// Why it was not kept; `None` when it was.
    pub(crate) failure: Option<Failure<'static>>,
}

/// Whether a message that failed like this may find its destination later. A device that is gone may be gone for good.
fn is_away(reason: Reason, has_device: bool) -> bool {
    reason.is_temporary() && !(has_device && reason == Reason::RecipientUnavailable)
}

/// What the sender of a message is told that could not be kept. One that may have arrived all the same is as unknown as
/// without a journal.
fn not_kept(doubtful: bool, text: &'static str, reason: Reason) -> Failure<'static> {
    if doubtful {
        return Reason::DeliveryUnknown.into();
    }
    Failure { text: Some(text.into()), ..Failure::from(reason) }
}

impl Why {
    /// Nobody knows whether a message arrived that is kept for this.
    pub(super) fn is_doubtful(self) -> bool {
        matches!(self, Why::Failed(Reason::DeliveryUnknown | Reason::RemoteServerTimeout))
    }
}

impl Journal {
    /// The far side, or the way to it, has said what became of an operation; `unsure` where it may have arrived all the same.
    pub(crate) fn on_fate(
        &mut self,
        now: Instant,
        operation: OperationKey,
        status: &Status<'_>,
        unsure: bool,
    ) -> Verdict {
        if let Some(key) = self.end_attempt(operation) {
            return self.on_fate_of_entry(now, key, operation, status, unsure);
        }
        let Some(held) = self.held.remove(operation) else { return Verdict::Pass };
        let reason = match status {
            Status::Failure(failure) if is_away(failure.reason, held.has_device) => failure.reason,
            _ => {
                if held.put {
                    self.take_back(held.key, held.pending);
                }
                self.pool.give(held.entry);
                return Verdict::Pass;
            }
        };
        let (key, id) = (held.key, held.key.conversation);
        match self.store(now, operation, held, Why::Failed(reason)) {
            Ok(waits) => {
                if unsure && let Some(slot) = self.conversations.slot(key) {
                    slot.doubtful = true;
                }
                self.conversations.pause(now, id);
                if waits { Verdict::Waits } else { Verdict::Kept }
            }
            Err(held) => {
                self.counters.full += 1;
                if held.put {
                    self.take_back(held.key, held.pending);
                }
                self.pool.give(held.entry);
                Verdict::Pass
            }
        }
    }

    fn on_fate_of_entry(
        &mut self,
        now: Instant,
        key: EntryKey,
        operation: OperationKey,
        status: &Status<'_>,
        unsure: bool,
    ) -> Verdict {
        self.conversations.closed(key);
        // An operator may have dropped it in the meantime.
        let Some(slot) = self.conversations.slot(key) else { return Verdict::Answered };
        let waits = slot.waits == Some(operation);
        match status {
            Status::Success | Status::Indeterminate => {
                self.counters.delivered += 1;
                self.forget(now, key);
                self.conversations.go_on(key.conversation);
            }
            Status::Failure(failure) if is_away(failure.reason, slot.has_device) => {
                let doubtful = unsure || Why::Failed(failure.reason).is_doubtful();
                // Who waits for it to be durable has heard of no attempt but this one.
                slot.doubtful = doubtful || (slot.doubtful && !waits);
                slot.attempts = slot.attempts.saturating_add(1);
                self.conversations.pause(now, key.conversation);
                return if waits { Verdict::Waits } else { Verdict::Answered };
            }
            Status::Failure(_) if waits => {
                self.forget(now, key);
                self.conversations.go_on(key.conversation);
            }
            Status::Failure(failure) => {
                self.counters.refused += 1;
                self.give_up(key, failure.clone().into_owned());
                self.conversations.go_on(key.conversation);
            }
        }
        if !waits {
            return Verdict::Answered;
        }
        self.waiting.remove(operation);
        Verdict::Pass
    }

    /// The answer window of an operation has passed without a word: it is kept, and stays under way. Says whether it
    /// still has to become durable; `None` when it cannot be kept.
    pub(crate) fn on_silence(&mut self, now: Instant, operation: OperationKey) -> Option<bool> {
        let held = self.held.remove(operation)?;
        let (key, side) = (held.key, held.side);
        match self.store(now, operation, held, Why::Failed(Reason::DeliveryUnknown)) {
            Ok(waits) => {
                self.begin_attempt(key, side, operation);
                self.conversations.opened(key, operation);
                Some(waits)
            }
            Err(held) => {
                self.counters.full += 1;
                self.held.insert(operation, held);
                None
            }
        }
    }

    /// A batch is durable, or is not and will not be. Gives who has to be told.
    pub(crate) fn on_batch(&mut self, now: Instant, ticket: Ticket, failure: Option<StoreFailure>) -> Vec<Told> {
        let notes = self.orders.ended(now, ticket, failure);
        let mut told = Vec::new();
        for note in &notes {
            match (*note, failure) {
                (Note::Put(key, operation), None) => told.extend(self.on_durable(key, operation)),
                (Note::Put(key, operation), Some(failure)) => told.extend(self.on_not_kept(key, operation, failure)),
                (Note::Delete(table, key), Some(_)) => self.orders.delete(table, &key.octets(), *note),
                (Note::Delete(..) | Note::Mark, _) => {}
            }
        }
        self.orders.give(notes);
        told
    }

    fn on_durable(&mut self, key: EntryKey, operation: OperationKey) -> Option<Told> {
        if let Some(held) = self.held.get_mut(operation).filter(|held| held.key == key) {
            held.pending = None;
            return None;
        }
        let told = self.conversations.durable(key).map(|operation| self.told(operation, None));
        self.conversations.list(key.conversation);
        told
    }

    fn on_not_kept(&mut self, key: EntryKey, operation: OperationKey, failure: StoreFailure) -> Option<Told> {
        if let Some(held) = self.held.get_mut(operation).filter(|held| held.key == key) {
            // It goes on without being kept; if need be it is put once more.
            (held.put, held.pending) = (false, None);
            return None;
        }
        let slot = self.conversations.slot(key).filter(|slot| slot.pending.is_some())?;
        let waits = slot.waits.take()?;
        let (count, text, reason) = match failure {
            StoreFailure::Full => (&mut self.counters.full, "there is no room to keep messages", Reason::Overloaded),
            StoreFailure::Broken => (&mut self.counters.broken, "messages cannot be kept", Reason::InternalError),
        };
        *count += 1;
        let failure = not_kept(slot.doubtful, text, reason);
        self.drop_slot(key);
        self.conversations.list(key.conversation);
        Some(self.told(waits, Some(failure)))
    }

    /// The next one who has waited too long for his message to be durable. It is not kept.
    pub(crate) fn poll_impatient(&mut self, now: Instant) -> Option<Told> {
        while let Some(&(until, key, operation)) = self.patience.front() {
            let waits = self.conversations.slot(key).is_some_and(|slot| slot.waits == Some(operation));
            if waits && now < until {
                return None;
            }
            self.patience.pop_front();
            if waits {
                self.counters.slow += 1;
                let slot = self.drop_slot(key)?;
                self.take_back(key, slot.pending);
                self.conversations.list(key.conversation);
                let failure = not_kept(slot.doubtful, "keeping the message takes too long", Reason::Overloaded);
                return Some(self.told(operation, Some(failure)));
            }
        }
        None
    }

    fn told(&mut self, operation: OperationKey, failure: Option<Failure<'static>>) -> Told {
        self.waiting.remove(operation);
        let is_open = self.under_way.contains_key(operation);
        if failure.is_some() {
            self.end_attempt(operation);
        }
        Told { operation, is_open, failure }
    }

    /// An entry has met its fate.
    pub(super) fn forget(&mut self, now: Instant, key: EntryKey) {
        if let Some(slot) = self.drop_slot(key) {
            self.delivered.insert(now, slot.mark);
            self.take_back(key, slot.pending);
        }
    }

    /// Drops an entry that somebody does not want; `false` when there is none.
    pub(super) fn drop_kept(&mut self, key: EntryKey) -> bool {
        let Some(slot) = self.drop_slot(key) else { return false };
        self.take_back(key, slot.pending);
        self.conversations.list(key.conversation);
        true
    }

    fn drop_slot(&mut self, key: EntryKey) -> Option<super::Slot> {
        let mut slot = self.conversations.remove(key)?;
        if let Some(entry) = slot.entry.take() {
            self.at_hand -= entry.len();
            self.pool.give(entry);
        }
        Some(slot)
    }

    /// Deletes an entry from the store, or sees to it that it never gets there.
    pub(super) fn take_back(&mut self, key: EntryKey, pending: Option<Pending>) {
        if !pending.is_some_and(|pending| self.orders.cancel(pending)) {
            self.orders.delete(QUEUE, &key.octets(), Note::Delete(QUEUE, key));
        }
    }
}
