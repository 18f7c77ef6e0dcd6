//! The log of the turns: what was answered, so that a repetition after a restart gets the same answer.
//!
//! What a turn adds is with the system before anything of the turn leaves: one write, and no `fsync`. It outlives the process,
//! and not a loss of power. There are two files: while one is written the other is kept, and when the newest in the other is
//! old enough to mean nothing any more, it is emptied and becomes the one that is written.
//!
//! The log knows no more of a record than that its first two octets say how many follow them (u16, little-endian, not zero).

#[cfg(test)]
mod tests;

use crate::telemetry::Metrics;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const NAMES: [&str; 2] = ["turns.0", "turns.1"];
/// How long a file is written: longer than anything in it means something (64*T1, 32 s), so that what is forgotten has not
/// meant anything for a while.
const PERIOD: Duration = Duration::from_secs(40);
/// Octets of one file. Where more is said in that time, what is oldest is forgotten earlier.
const LIMIT: u64 = 256 << 20;
/// Octets in front of the records: which of the files is the later one.
const HEAD: usize = 8;

/// What was done with the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnLogCounters {
    /// Octets that were written.
    pub octets: u64,
    /// Turns whose records could not be written.
    pub failed: u64,
    /// Files that were begun before their time, for want of room in the one before.
    pub early: u64,
}

/// The log.
#[derive(Debug)]
pub struct TurnLog {
    folder: PathBuf,
    limit: u64,
    /// Open for writing at their ends.
    files: [File; 2],
    /// The place of the one that is written, and how many times one was begun.
    current: usize,
    generation: u64,
    /// Octets of the one that is written, up to the end of its last whole record.
    length: u64,
    begun: Option<Instant>,
    failing: bool,
    counters: TurnLogCounters,
}

impl TurnLog {
    /// Opens the log in `folder`, and gives what is in it: the records of both files, the older ones first, without one that
    /// was cut short.
    pub fn open(folder: &Path) -> io::Result<(Self, Vec<u8>)> {
        Self::open_limited(folder, LIMIT)
    }

    pub(super) fn open_limited(folder: &Path, limit: u64) -> io::Result<(Self, Vec<u8>)> {
        let open = |name| OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(folder.join(name));
        let mut files = [open(NAMES[0])?, open(NAMES[1])?];
        let [first, second] = &mut files;
        let contents = [read(first, limit)?, read(second, limit)?];
        let generations = contents.each_ref().map(|(generation, _)| *generation);
        let current = usize::from(generations[1] > generations[0]);
        let [first, second] = contents.map(|(_, records)| records);
        let (mut records, newer) = if current == 0 { (second, first) } else { (first, second) };
        records.extend_from_slice(&newer);
        let length = if generations[current] == 0 { 0 } else { (HEAD + newer.len()) as u64 };
        // Behind a record that was cut short no other could be found.
        files[current].set_len(length)?;
        let (folder, generation) = (folder.to_owned(), generations[current]);
        let counters = TurnLogCounters::default();
        Ok((Self { folder, limit, files, current, generation, length, begun: None, failing: false, counters }, records))
    }

    /// Adds what a turn has to say: whole records, or nothing. Where that fails the gateway goes on without: a repetition of
    /// what was answered in this turn may then be taken for something new, if there is a restart within 32 s.
    pub fn append(&mut self, now: Instant, records: &[u8]) {
        if records.is_empty() {
            return;
        }
        match self.write(now, records) {
            Ok(()) => {
                self.counters.octets += records.len() as u64;
                if std::mem::take(&mut self.failing) {
                    tracing::info!(folder = %self.folder.display(), "the log of the turns is written again");
                }
            }
            Err(error) => {
                self.counters.failed += 1;
                if !std::mem::replace(&mut self.failing, true) {
                    let folder = self.folder.display();
                    tracing::error!(%folder, %error, "the log of the turns cannot be written: the gateway goes on without");
                }
            }
        }
    }

    fn write(&mut self, now: Instant, records: &[u8]) -> io::Result<()> {
        let begun = *self.begun.get_or_insert(now);
        let early = self.length + records.len() as u64 > self.limit;
        if self.length == 0 || early || now.saturating_duration_since(begun) >= PERIOD {
            self.begin(now)?;
            self.counters.early += u64::from(early);
        }
        match self.files[self.current].write(records) {
            Ok(written) if written == records.len() => {
                self.length += written as u64;
                Ok(())
            }
            result => {
                // What is behind half a record could not be read.
                self.files[self.current].set_len(self.length)?;
                Err(result.err().unwrap_or(io::ErrorKind::StorageFull.into()))
            }
        }
    }

    /// Empties the older file and goes on in it.
    fn begin(&mut self, now: Instant) -> io::Result<()> {
        let next = 1 - self.current;
        self.files[next].set_len(0)?;
        self.generation += 1;
        self.files[next].write_all(&self.generation.to_le_bytes())?;
        (self.current, self.length, self.begun) = (next, HEAD as u64, Some(now));
        Ok(())
    }

    /// What was done so far.
    pub fn counters(&self) -> TurnLogCounters {
        self.counters
    }

    pub(crate) fn measure(&self, metrics: &mut Metrics) {
        let TurnLogCounters { octets, failed, early } = self.counters;
        metrics.counter("entente_turn_log_written_bytes_total", "Octets written to the log of the turns.", &[], octets);
        let help = "Turns that could not be written to the log of the turns.";
        metrics.counter("entente_turn_log_failures_total", help, &[], failed);
        let help = "Files of the log of the turns that were full before their time.";
        metrics.counter("entente_turn_log_early_files_total", help, &[], early);
    }
}

/// Which one a file is, and its records up to the first that is not whole. Zero where it says nothing.
fn read(file: &mut File, limit: u64) -> io::Result<(u64, Vec<u8>)> {
    let mut octets = Vec::new();
    // No more than was ever written: a turn that says more than the limit begins a file of its own.
    file.take(limit.saturating_mul(2)).read_to_end(&mut octets)?;
    let Some((generation, records)) = octets.split_first_chunk() else { return Ok((0, Vec::new())) };
    let generation = u64::from_le_bytes(*generation);
    let mut whole = 0;
    while let Some((length, rest)) = records[whole..].split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length));
        if length == 0 || rest.len() < length {
            break;
        }
        whole += size_of::<u16>() + length;
    }
    Ok((generation, records[..whole].to_vec()))
}
