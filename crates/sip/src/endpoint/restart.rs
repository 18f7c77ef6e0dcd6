//! Finished server transactions in the log of the turns: how they come into it, and back (RFC 3261 17.2.2 over a restart).
//!
//! Everything that is kept for retransmissions is written, whatever its method and status: it is kept so that its answer is
//! the same each time. What is answered without state, as malformed requests and those of strangers are, gets the same answer
//! from a gateway that knows nothing of it.

use super::Endpoint;
use crate::transaction::finished::Kept;
use crate::transaction::key::Identity;
use crate::transaction::log::{self, Record};
use std::time::{Duration, Instant, SystemTime};
use turn::Output;

/// What became of the records of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Answers that will be repeated.
    pub kept: usize,
    /// Records whose Timer J has passed.
    pub expired: usize,
    /// Records that cannot be read.
    pub malformed: usize,
    /// Records that the tables had no room for.
    pub beyond: usize,
}

impl Endpoint {
    /// Keeps an answer until Timer J, here and in the log.
    pub(super) fn finish(&mut self, now: Instant, identity: Identity, kept: Kept<'_>, out: &mut Output) {
        let Identity { key, request_hash } = identity;
        let lifetime = self.timers.end();
        self.finished.insert(now, lifetime, key, request_hash, kept);
        let date = self.settings.turn_log.and_then(|calendar| calendar.date(now + lifetime));
        if let Some(date) = date {
            let record = Record { key, request_hash, expires: milliseconds(date), kept };
            if log::write(&record, out.log()).is_none() {
                self.counters.unlogged += 1;
            }
        }
    }

    /// Takes up what an earlier run has written to its log, before anything else is handed in: its retransmissions get its
    /// answers until its Timer J. Where the date is not known nothing is taken.
    ///
    /// A clock that was put back keeps nothing for longer than Timer J from now on; one that was put forward lets records
    /// expire early, and their retransmissions are new requests then.
    pub fn restore(&mut self, now: Instant, log: &[u8]) -> Restored {
        let now = self.clock(now);
        let mut restored = Restored::default();
        let Some(today) = self.settings.turn_log.and_then(|calendar| calendar.date(now)).map(milliseconds) else {
            return restored;
        };
        for record in log::read(log) {
            let Ok(Record { key, request_hash, expires, kept }) = record else {
                restored.malformed += 1;
                continue;
            };
            let left = Duration::from_millis(expires.saturating_sub(today)).min(self.timers.end());
            *if left.is_zero() {
                &mut restored.expired
            } else if self.finished.len() >= self.settings.max_finished
                || self.finished.text_len() >= self.settings.max_answer_text
            {
                &mut restored.beyond
            } else {
                self.finished.insert(now, left, key, request_hash, kept);
                &mut restored.kept
            } += 1;
        }
        restored
    }
}

fn milliseconds(date: SystemTime) -> u64 {
    date.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
