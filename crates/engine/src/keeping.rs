//! The engine and its journal: what is kept goes out by the same door as everything else.

use crate::Engine;
use crate::journal::{Damaged, EntryKey, Step, Told, entry};
use cpim::{Admitted, Failure, Incoming, OperationKey, Side, Status};
use std::time::Instant;
use turn::{Input, StoredRow, TableId};

impl Engine {
    /// Takes what the store has from another life, before the first turn: all rows of the table
    /// [`QUEUE`](crate::journal::QUEUE), then all of [`DEAD`](crate::journal::DEAD). An engine without a
    /// [lasting](Self::with_lasting) secret has no use for them.
    pub fn restore(&mut self, now: Instant, rows: impl IntoIterator<Item = (TableId, StoredRow)>) {
        let Some(journal) = &mut self.journal else { return };
        for (table, row) in rows {
            journal.restore(now, table, &row.key, &row.value);
        }
    }

    /// Drops the entries with these keys from the journal; gives how many of them there were. Their senders are told nothing.
    pub fn drop_entries(&mut self, keys: &[&[u8]]) -> usize {
        self.journal.as_mut().map_or(0, |journal| journal.drop_entries(keys))
    }

    /// Whether a message that there is no room for is one that was promised to be delivered: who is told now that it failed
    /// sends it again.
    pub(crate) fn is_known_already(&mut self, now: Instant, incoming: &Incoming<'_>) -> bool {
        let Some(journal) = &mut self.journal else { return false };
        self.relay.mark_of_one_too_many(now, incoming).is_some_and(|mark| journal.knows(now, &mark))
    }

    pub(crate) fn way_is_free(&mut self, side: Side) {
        if let Some(journal) = &mut self.journal {
            journal.way_is_free(side);
        }
    }

    /// What the store has to say, or who takes dead letters.
    pub(crate) fn on_store(&mut self, now: Instant, input: &Input<'_>) {
        let Some(journal) = &mut self.journal else { return };
        let told = match *input {
            Input::Committed { ticket } => journal.on_batch(now, ticket, None),
            Input::CommitFailed { ticket, failure } => journal.on_batch(now, ticket, Some(failure)),
            Input::Loaded { ticket, rows, more: _ } => return journal.on_loaded(ticket, rows),
            Input::LoadFailed { ticket, failure: _ } => return journal.on_load_failed(now, ticket),
            Input::HandedOver { ticket } => return journal.on_handed_over(now, ticket, true),
            Input::HandOverFailed { ticket } => return journal.on_handed_over(now, ticket, false),
            _ => return,
        };
        for told in told {
            self.tell(now, told);
        }
    }

    /// Answers somebody who waited for his message to be kept.
    fn tell(&mut self, now: Instant, told: Told) {
        let Told { operation, is_open, failure } = told;
        let concluded = match failure {
            None if is_open => self.relay.answer(now, operation, Status::Indeterminate),
            None => self.relay.conclude(now, operation, Status::Indeterminate),
            // It was written, and whether it arrived is as little known as before.
            Some(_) if is_open => {
                let status = self.xmpp.expire(operation);
                self.relay.conclude(now, operation, status)
            }
            Some(failure) => self.relay.conclude(now, operation, Status::Failure(failure)),
        };
        if let Some(concluded) = concluded {
            self.respond(now, &concluded);
        }
    }

    /// Whether an operation needs no answer now although its window has passed: it is being kept.
    pub(crate) fn keep_silent(&mut self, now: Instant, operation: OperationKey) -> bool {
        let Some(journal) = &mut self.journal else { return false };
        if journal.is_waiting(operation) {
            return true;
        }
        if !journal.holds(operation) || !self.xmpp.is_unknown(operation) {
            return false;
        }
        let Some(waits) = journal.on_silence(now, operation) else { return false };
        self.xmpp.wait_for_no_receipt(operation);
        if !waits && let Some(concluded) = self.relay.answer(now, operation, Status::Indeterminate) {
            self.respond(now, &concluded);
        }
        true
    }

    /// Does what the journal has to do in this turn.
    pub(crate) fn take_steps(&mut self, now: Instant) {
        while let Some(told) = self.journal.as_mut().and_then(|journal| journal.poll_impatient(now)) {
            self.tell(now, told);
        }
        let xmpp_is_up = self.xmpp.is_any_up();
        loop {
            let Some(journal) = &mut self.journal else { return };
            match journal.poll_step(now, xmpp_is_up, &mut self.output) {
                None => return,
                Some(Step::Send { key, entry, attempt }) => {
                    let sent = self.send_again(now, key, &entry, attempt);
                    let Some(journal) = &mut self.journal else { return };
                    match sent {
                        Ok(()) => journal.give(entry),
                        Err(damaged) => journal.on_damaged(key, &entry, damaged),
                    }
                }
                Some(Step::Tell { key, entry, failure }) => {
                    let told = self.tell_undeliverable(now, &entry, &failure);
                    let Some(journal) = &mut self.journal else { return };
                    match told {
                        Ok(told) => journal.on_told(now, key, entry, told),
                        Err(damaged) => journal.on_damaged(key, &entry, damaged),
                    }
                }
            }
        }
    }

    fn send_again(&mut self, now: Instant, key: EntryKey, bytes: &[u8], attempt: u32) -> Result<(), Damaged> {
        let entry = entry::read(bytes)?;
        let message = entry.message(&self.calendar, now)?;
        let (side, mark) = (entry.side(), entry.mark()?);
        let operation = self.relay.resume(now, side.other(), message.trans_id.clone());
        if let Some(journal) = &mut self.journal {
            journal.on_sent(key, operation);
        }
        self.concretise(now, &Admitted { operation, side, message, mark, attempt, held: true, stored: true });
        Ok(())
    }

    /// Tells the sender of a message that was kept that it will not be delivered; `false` where there is no way to him now.
    fn tell_undeliverable(&mut self, now: Instant, bytes: &[u8], failure: &Failure<'_>) -> Result<bool, Damaged> {
        let entry = entry::read(bytes)?;
        let message = entry.message(&self.calendar, now)?;
        tracing::info!(
            side = entry.side().as_str(),
            id = entry.mark,
            reason = failure.reason.as_str(),
            "message that was kept is not delivered"
        );
        if entry.side() == Side::Sip {
            return Ok(self.xmpp.tell_failure(&message, failure, &mut self.output));
        }
        let (source, destination) = (&message.source.0, &message.destination.0);
        // Where no component shows his domain any more, nobody is there to speak to him.
        let origin = self.xmpp.origin_towards(source);
        let notice = origin.and_then(|origin| self.late.on_failure(now, source, destination, failure, origin));
        if let Some(notice) = notice {
            self.on_message(now, notice);
        }
        Ok(true)
    }
}
