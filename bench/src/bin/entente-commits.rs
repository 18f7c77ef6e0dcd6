//! How many entries a second a folder takes: batches of some sizes, each durable before the next.
//!
//! `entente-commits FOLDER SECONDS`. The folder is made in it and removed again; on another disk the numbers are others.

use anyhow::Context;
use gateway::store;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use turn::Batch;

/// Entries of a batch.
const SIZES: [u64; 3] = [1, 32, 256];
/// Octets of an entry: a short message with what is kept of it.
const VALUE: usize = 300;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, seconds] = &arguments[..] else { return usage() };
    let Ok(seconds) = seconds.parse() else { return usage() };
    match measure(Path::new(folder), Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: entente-commits FOLDER SECONDS");
    ExitCode::from(64)
}

/// For each size: entries are put for so long, and then as many of them are deleted.
#[allow(clippy::disallowed_methods, reason = "a benchmark takes the time")]
fn measure(folder: &Path, time: Duration) -> anyhow::Result<()> {
    println!("entries of a batch, batches/s, entries/s put, entries/s deleted");
    for size in SIZES {
        let folder = tempfile::tempdir_in(folder).context("the folder cannot be used")?;
        let mut opened = store::open(folder.path())?;
        let begun = Instant::now();
        let mut put = 0;
        while begun.elapsed() < time {
            let mut batch = Batch::default();
            for number in put..put + size {
                batch.put(store::QUEUE, &key(number), |octets| octets.resize(octets.len() + VALUE, number as u8));
            }
            opened.apply(&batch)?;
            put += size;
        }
        let putting = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let mut deleted = 0;
        while deleted < put && begun.elapsed() < time {
            let mut batch = Batch::default();
            for number in deleted..deleted + size {
                batch.delete(store::QUEUE, &key(number));
            }
            opened.apply(&batch)?;
            deleted += size;
        }
        let deleting = begun.elapsed().as_secs_f64();
        let batches = (put / size) as f64 / putting;
        println!("{size}, {batches:.0}, {:.0}, {:.0}", put as f64 / putting, deleted as f64 / deleting);
    }
    Ok(())
}

/// Of 32 conversations in turn.
fn key(number: u64) -> [u8; 24] {
    let mut key = [(number % 32) as u8; 24];
    key[16..].copy_from_slice(&number.to_be_bytes());
    key
}
