//! Failures that people were told of, for as long as the server may not have read them.
//!
//! Whoever is not told that a message failed believes that it arrived. So what was written is kept until a ping behind it is
//! back ([`crate::barrier`]); no ping is sent for it alone, so that it is also let go after a while. Where the stream breaks
//! before, it is written again on the next one: rather twice than never.

use crate::outgoing::append;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A server that has gone without a word is found out by then (TCP keep-alive, or a ping).
const KEPT: Duration = Duration::from_secs(120);

/// Those of one stream, in the order of writing.
#[derive(Debug, Default)]
pub(crate) struct Told {
    octets: VecDeque<u8>,
    rows: VecDeque<Row>,
}

#[derive(Debug)]
struct Row {
    length: usize,
    /// The ping whose return proves that it was read.
    proof: u64,
    /// The end of the turn in which it was written.
    at: Option<Instant>,
}

impl Told {
    /// Keeps what was just written, in at most `room` octets with all that is kept: the oldest goes first.
    pub(crate) fn keep(&mut self, stanza: &[u8], proof: u64, room: usize) {
        self.shrink(room.saturating_sub(stanza.len()));
        if stanza.len() <= room {
            self.octets.extend(stanza);
            self.rows.push_back(Row { length: stanza.len(), proof, at: None });
        }
    }

    /// A turn ends: what the pings that are back, `returned` of them, prove to be read is let go, and what is old.
    pub(crate) fn settle(&mut self, now: Instant, returned: u64) {
        for row in self.rows.iter_mut().rev().take_while(|row| row.at.is_none()) {
            row.at = Some(now);
        }
        let is_over = |row: &Row| row.proof <= returned || row.at.is_some_and(|at| at + KEPT <= now);
        while self.rows.front().is_some_and(is_over) {
            self.forget_first();
        }
    }

    /// The stream is gone: what its server may not have read is overdue again, before what nobody was told of, and the newest
    /// of it where all would be more than `room` octets. Gives how many that are.
    pub(crate) fn leave_to(&mut self, overdue: &mut Overdue, room: usize) -> usize {
        self.shrink(room.saturating_sub(overdue.len()));
        let again = self.rows.len();
        let rows = self.rows.drain(..).map(|row| (row.length, true));
        overdue.rows = rows.chain(overdue.rows.drain(..)).collect();
        let mut octets = Vec::from(std::mem::take(&mut self.octets));
        octets.append(&mut overdue.octets);
        overdue.octets = octets;
        again
    }

    fn shrink(&mut self, room: usize) {
        while self.octets.len() > room && !self.rows.is_empty() {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let length = self.rows.pop_front().map_or(0, |row| row.length);
        self.octets.drain(..length.min(self.octets.len()));
    }
}

/// What people have to be told and could not be written: whole stanzas, and whether each is a failure.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    octets: Vec<u8>,
    rows: Vec<(usize, bool)>,
}

impl Overdue {
    /// Octets that wait.
    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Adds a stanza, or nothing where it comes out longer than `limit`.
    pub(crate) fn add(&mut self, limit: usize, is_failure: bool, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let start = self.octets.len();
        let added = append(limit, &mut self.octets, write);
        if added {
            self.rows.push((self.octets.len() - start, is_failure));
        }
        added
    }

    /// Writes all of it.
    pub(crate) fn write(&mut self, buffer: &mut Vec<u8>, told: &mut Told, proof: u64, room: usize) {
        buffer.extend_from_slice(&self.octets);
        let mut start = 0;
        for (length, is_failure) in self.rows.drain(..) {
            let stanza = self.octets.get(start..start + length).unwrap_or_default();
            if is_failure {
                told.keep(stanza, proof, room);
            }
            start += length;
        }
        self.octets = Vec::new();
    }
}
