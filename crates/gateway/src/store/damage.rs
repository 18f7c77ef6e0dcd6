//! What is damaged of the journal that fjall writes ahead of its tables.
//!
//! fjall cuts a journal where it finds something unreadable, without a word and with all that stands behind it, or refuses to
//! open at all. Here the journal is looked through first: what is not a whole batch is put aside and taken out, so that every
//! batch before *and* behind it is kept.
//!
//! The format is that of fjall 3.1 (its module `journal::entry`), where a batch is a start (tag 1, number of entries, u32, and
//! sequence number, u64), entries (tag 2 with a value or a tombstone, tag 4 for a table that was cleared) and an end (tag 3,
//! XXH3 of the entries, `FJL` 3), little-endian and without padding; behind the last batch there may be zeros. The version of
//! fjall is pinned, and a test reads a journal that it has written.

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";
/// No store comes to so many batches.
const HIGHEST: u64 = u64::MAX / 4;

/// What was taken out of a journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    journal: PathBuf,
    /// Octets that are no batch.
    pub(super) octets: usize,
    /// Batches stand behind it, so that this was not the end of a write that was cut short.
    pub(super) inside: bool,
    /// Where they are now. `None` where they could not be written anywhere.
    pub(super) aside: Option<PathBuf>,
}

impl Damage {
    pub(super) fn log(&self) {
        let Self { journal, octets, inside, aside } = self;
        let (journal, aside) = (journal.display(), aside.as_deref().unwrap_or(Path::new("nowhere")).display());
        match inside {
            true => {
                tracing::error!(%journal, octets, %aside, "the store was damaged: what could not be read was put aside")
            }
            false => {
                tracing::warn!(%journal, octets, %aside, "the last write to the store was cut short: it was put aside")
            }
        }
    }
}

/// Looks through the journals in `folder`, and puts into the folder `aside` what of them is no batch; what stands at the end
/// of one is cut off only where it is known that the last write has failed.
pub(super) fn repair(folder: &Path, aside: &Path, last_failed: bool) -> io::Result<Vec<Damage>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            journals.push(path);
        }
    }
    journals.sort_unstable();
    let mut damages = Vec::new();
    for journal in journals {
        let octets = fs::read(&journal)?;
        let octets = without_zeros(&octets);
        let batches = batches(octets);
        let gaps = gaps(&batches, octets.len());
        let Some(first) = gaps.first() else { continue };
        let end = batches.last().map_or(0, |batch| batch.end);
        if first.start == end {
            if !last_failed {
                let aside = put_aside(aside, &journal, first, octets).ok();
                damages.push(Damage { journal: journal.clone(), octets: first.len(), inside: false, aside });
            }
            let file = OpenOptions::new().write(true).open(&journal)?;
            file.set_len(end as u64)?;
            file.sync_all()?;
            continue;
        }
        for gap in &gaps {
            let put = put_aside(aside, &journal, gap, octets)?;
            damages.push(Damage { journal: journal.clone(), octets: gap.len(), inside: true, aside: Some(put) });
        }
        replace(&journal, batches.iter().map(|batch| &octets[batch.clone()]))?;
    }
    Ok(damages)
}

/// What stands before the room that was reserved.
pub(super) fn without_zeros(mut octets: &[u8]) -> &[u8] {
    const ZEROS: [u8; 4096] = [0; 4096];
    while let Some(rest) = octets.strip_suffix(&ZEROS) {
        octets = rest;
    }
    &octets[..octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1)]
}

fn put_aside(folder: &Path, journal: &Path, gap: &Range<usize>, octets: &[u8]) -> io::Result<PathBuf> {
    super::make_folder(folder)?;
    let name = journal.file_name().unwrap_or_default().to_string_lossy();
    let mut copy = 0u32;
    loop {
        let path = folder.join(format!("{name}.{}.{copy}", gap.start));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                file.write_all(&octets[gap.clone()])?;
                file.sync_all()?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => copy += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Writes these pieces in place of a journal.
fn replace<'a>(journal: &Path, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let repaired = journal.with_extension("repaired");
    let mut file = File::create(&repaired)?;
    for piece in pieces {
        file.write_all(piece)?;
    }
    file.sync_all()?;
    fs::rename(&repaired, journal)?;
    super::sync_folder(journal.parent().unwrap_or(Path::new(".")))
}

/// Where whole batches stand. Each has a higher sequence number than the one before.
fn batches(octets: &[u8]) -> Vec<Range<usize>> {
    let mut found: Vec<(Range<usize>, u64)> = Vec::new();
    let mut at = 0;
    while at < octets.len() {
        match batch(&octets[at..]) {
            Some((length, number)) => {
                found.push((at..at + length, number));
                at += length;
            }
            None => at += 1 + octets[at + 1..].iter().position(|octet| *octet == START).unwrap_or(octets.len()),
        }
    }
    // The checksum does not cover the number: one that is out of order is not what was written.
    let numbers: Vec<u64> = found.iter().map(|(_, number)| *number).collect();
    in_order(&numbers).into_iter().map(|place| found[place].0.clone()).collect()
}

/// The places of numbers that grow from each to the next, without one that is too low, or too high for both that follow it.
/// In doubt what stands before is kept.
fn in_order(numbers: &[u64]) -> Vec<usize> {
    let mut last = None;
    let mut places = Vec::with_capacity(numbers.len());
    for (place, number) in numbers.iter().enumerate() {
        let too_low = |number: &u64| last.is_some_and(|last| *number <= last);
        let too_high = match numbers[place + 1..] {
            [next, second, ..] => next < *number && second <= *number && !too_low(&next) && !too_low(&second),
            _ => false,
        };
        if !too_low(number) && !too_high && *number <= HIGHEST {
            last = Some(*number);
            places.push(place);
        }
    }
    places
}

/// What is not covered of `length` octets.
fn gaps(batches: &[Range<usize>], length: usize) -> Vec<Range<usize>> {
    let mut at = 0;
    let mut gaps = Vec::new();
    let end = length..length;
    for batch in batches.iter().chain([&end]) {
        if at < batch.start {
            gaps.push(at..batch.start);
        }
        at = batch.end;
    }
    gaps
}

/// The batch that these octets begin with: its length and its sequence number.
fn batch(octets: &[u8]) -> Option<(usize, u64)> {
    let mut rest = Rest(octets);
    if rest.octet()? != START {
        return None;
    }
    let count = u32::from_le_bytes(rest.octets()?);
    let number = u64::from_le_bytes(rest.octets()?);
    let entries = rest.0;
    for _ in 0..count {
        match rest.octet()? {
            ITEM => {
                // Value or tombstone, not compressed.
                let [kind, compression] = rest.octets()?;
                let _table: [u8; 8] = rest.octets()?;
                let key = u16::from_le_bytes(rest.octets()?);
                let [value, stored] = [u32::from_le_bytes(rest.octets()?), u32::from_le_bytes(rest.octets()?)];
                if kind > 2 || compression != 0 || value != stored {
                    return None;
                }
                rest.skip(usize::from(key))?;
                rest.skip(value as usize)?;
            }
            CLEAR => rest.skip(8)?,
            _ => return None,
        }
    }
    let entries = &entries[..entries.len() - rest.0.len()];
    let ends = rest.octet()? == END && u64::from_le_bytes(rest.octets()?) == xxh3_64(entries);
    (ends && rest.octets::<4>()? == *TRAILER).then(|| (octets.len() - rest.0.len(), number))
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn octets<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (octets, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*octets)
    }

    fn octet(&mut self) -> Option<u8> {
        self.octets().map(|[octet]| octet)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.0 = self.0.get(length..)?;
        Some(())
    }
}
