//! The version of what is stored, and how a store of an earlier version becomes one of the next.

use super::disk::Disk;
use super::{Backend, Failed, LastingSecret, META, OpenError};
use std::path::Path;
use turn::{Batch, StoreFailure};

/// The version of stores that need no step.
const FIRST: u32 = 1;
/// What leads from each version to the next, from [`FIRST`] on. A step that has been in a release is never changed.
pub(super) const STEPS: &[Step] = &[];

/// Reads the tables as they are, and writes what changes into a batch, which becomes durable together with the new version: a
/// step that is cut short has not been taken.
pub(super) type Step = fn(&Disk, &mut Batch) -> Result<(), Failed>;

const VERSION: &[u8] = b"version";
const SECRET: &[u8] = b"secret";

/// Makes a store of empty tables.
pub(super) fn begin(disk: &mut Disk, folder: &Path, steps: &[Step]) -> Result<(), OpenError> {
    let mut secret = LastingSecret::default();
    let mut batch = Batch::default();
    getrandom::fill(&mut secret).map_err(|error| system(folder, format!("the system gives no randomness: {error}")))?;
    batch.put(META, SECRET, |value| value.extend_from_slice(&secret));
    put_version(&mut batch, latest(steps));
    disk.apply(&batch).map_err(|failed| system(folder, failed.cause))
}

/// Takes the steps that are missing, and gives the secret.
pub(super) fn enter(disk: &mut Disk, folder: &Path, steps: &[Step]) -> Result<LastingSecret, OpenError> {
    let known = latest(steps);
    let (version, secret) = read(disk).map_err(|failed| damaged(folder, failed.cause))?;
    if version > known {
        return Err(OpenError::Newer { folder: folder.to_owned(), found: version, known });
    }
    for (step, from) in steps.iter().zip(FIRST..).skip_while(|(_, from)| *from < version) {
        let mut batch = Batch::default();
        let taken = step(disk, &mut batch).and_then(|()| {
            put_version(&mut batch, from + 1);
            disk.apply(&batch)
        });
        let to = from + 1;
        taken.map_err(|Failed { cause, .. }| {
            system(folder, format!("it could not be brought to version {to}: {cause}"))
        })?;
        tracing::info!(folder = %folder.display(), version = to, "the store has a new version");
    }
    Ok(secret)
}

fn latest(steps: &[Step]) -> u32 {
    steps.iter().fold(FIRST, |version, _| version + 1)
}

fn put_version(batch: &mut Batch, version: u32) {
    batch.put(META, VERSION, |value| value.extend_from_slice(&version.to_le_bytes()));
}

fn read(disk: &Disk) -> Result<(u32, LastingSecret), Failed> {
    let wrong = |what| Failed { failure: StoreFailure::Broken, cause: format!("it does not say its {what}") };
    let version = disk.value(META, VERSION)?.and_then(|value| value.try_into().ok());
    let version =
        version.map(u32::from_le_bytes).filter(|version| *version >= FIRST).ok_or_else(|| wrong("version"))?;
    let secret = disk.value(META, SECRET)?.and_then(|value| value.try_into().ok()).ok_or_else(|| wrong("secret"))?;
    Ok((version, secret))
}

fn system(folder: &Path, cause: String) -> OpenError {
    OpenError::System { folder: folder.to_owned(), cause }
}

fn damaged(folder: &Path, cause: String) -> OpenError {
    OpenError::Damaged { folder: folder.to_owned(), cause }
}
