//! What only INVITE brings along: the repetition of its refusal, and the ACK that ends it (RFC 3261 17.2.1).

use super::Endpoint;
use crate::transaction::Flow;
use crate::transaction::answer;
use crate::transaction::refused::RefusedKey;
use crate::wire::Request;
use std::time::Instant;
use turn::Output;

impl Endpoint {
    /// Refused INVITEs whose ACK has not come, or that absorb further ones.
    pub fn refused(&self) -> usize {
        self.refused.len()
    }

    /// An ACK is never answered, and nobody but us wants to know of one for a refusal.
    pub(super) fn on_ack(&mut self, now: Instant, flow: &Flow, ack: &Request<'_>) {
        let known = ack.check(&self.settings.limits).is_ok_and(|essentials| {
            let keys = self.keys.keys_of_ack(flow, ack, &essentials);
            keys.into_iter().flatten().any(|key| self.refused.on_ack(now, key))
        });
        match known {
            true => self.counters.acks += 1,
            false => self.counters.dropped_ack += 1,
        }
    }

    /// Timer G.
    pub(super) fn repeat_refusals(&mut self, now: Instant, out: &mut Output) {
        while let Some(key) = self.refused.pop_due(now) {
            self.repeat_refusal(key, out);
        }
    }

    /// Sends a refusal again, if its ACK has not come.
    pub(super) fn repeat_refusal(&mut self, key: RefusedKey, out: &mut Output) {
        let Some(row) = self.refused.row(key).filter(|row| !row.is_confirmed()) else { return };
        self.counters.answers_repeated += 1;
        let way = row.way;
        let sent = way.send(out, self.settings.max_unsent, |to| {
            answer::print(&row.kept(), &row.memo, &self.phrases, to);
        });
        self.on_sent(way, sent, out);
    }
}
