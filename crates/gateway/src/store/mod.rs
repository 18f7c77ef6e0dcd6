//! The store behind the orders of a machine: a folder of the file system, and a thread that works on it.
//!
//! In the folder of the configuration stand `rows` (the tables, kept by fjall), `turns.0` and `turns.1` (the log of the turns,
//! see [`TurnLog`]), `damaged` (what could not be read and was put aside) and `lock`. Everything that is made in it is readable
//! for the user of the gateway alone.
//!
//! One thread takes orders one after the other, makes each batch durable with one `fdatasync`, and answers; it shares nothing
//! with the driver but a bounded queue each way. A batch that fails leaves nothing: where it is not known how much of it has
//! reached the disk, it is undone before anything else is written. After a failure the tables are opened anew, with growing
//! pauses, and whatever is ordered in between is answered with the failure at once.
//!
//! The store knows no entry: keys and values are octets. What the values mean is the engine's matter.

mod damage;
mod disk;
mod files;
mod turn_log;
mod versions;
mod worker;

#[cfg(test)]
mod tests;

pub use turn_log::{TurnLog, TurnLogCounters};
pub use worker::{Counters, ReadError, Reader, Store};

use damage::Damage;
use disk::Disk;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use turn::{Batch, Query, StoreFailure, StoredRow, TableId};

/// What the gateway itself has to remember: not for machines.
pub const META: TableId = TableId(0);
/// Messages on their way.
pub const QUEUE: TableId = TableId(1);
/// Messages that were given up, until they have been handed over.
pub const DEAD: TableId = TableId(2);
/// Messages that could not be read, for people to look at.
pub const UNREADABLE: TableId = TableId(3);

/// The octets that were drawn when the store was made.
pub type LastingSecret = [u8; 16];

/// The tables.
const ROWS: &str = "rows";
/// Tables that are being made.
const UNFINISHED: &str = "rows.new";
const DAMAGED: &str = "damaged";
const LOCK: &str = "lock";

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another gateway has it.
    #[error("{}: another gateway works with this folder", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// It was written by a later version of this program.
    #[error(
        "{}: the store is of version {found}, and this program knows version {known} and what was before: use the program \
         that wrote it, or a later one", folder.display()
    )]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// The version of the store.
        found: u32,
        /// The version that this program writes.
        known: u32,
    },
    /// What is there cannot be read.
    #[error(
        "{}: the store is damaged and cannot be opened ({cause}): see \"The store\" in the documentation of operations for \
         how to begin with a copy or an empty one", folder.display()
    )]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The system refuses something.
    #[error("{}: the store cannot be opened: {cause}", folder.display())]
    System {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        cause: String,
    },
}

/// Why something was not done, with words for the log.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) failure: StoreFailure,
    pub(crate) cause: String,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        let failure = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreFailure::Full,
            _ => StoreFailure::Broken,
        };
        Self { failure, cause: error.to_string() }
    }
}

/// What the thread works on.
pub(crate) trait Backend: Send {
    /// Makes a batch durable. After a failure it is not known how much of it is there, and nothing is applied before
    /// [`reopen`](Self::reopen) has succeeded.
    fn apply(&mut self, batch: &Batch) -> Result<(), Failed>;
    /// The rows that a query asks for, and whether there are more behind them.
    fn find(&mut self, query: &Query) -> Result<(Vec<StoredRow>, bool), Failed>;
    /// Begins anew after a failure: what failed is undone, and something was written to see that it can be.
    fn reopen(&mut self) -> Result<(), Failed>;
}

/// How often the tables are opened anew after a failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

const PAUSES: Pauses = Pauses { first: Duration::from_millis(100), longest: Duration::from_secs(5) };

/// A store that was opened, and does not work yet.
pub struct Opened {
    folder: PathBuf,
    disk: Disk,
    secret: LastingSecret,
    lock: File,
}

/// Opens the store in `folder`, or makes one.
pub fn open(folder: &Path) -> Result<Opened, OpenError> {
    open_with(folder, versions::STEPS)
}

fn open_with(folder: &Path, steps: &[versions::Step]) -> Result<Opened, OpenError> {
    let system = |error: io::Error| OpenError::System { folder: folder.to_owned(), cause: error.to_string() };
    make_folder(folder).map_err(system)?;
    let lock = lock(folder)?;
    let rows = folder.join(ROWS);
    if !rows.try_exists().map_err(system)? {
        make(folder, &rows, steps)?;
    }
    let mut disk = Disk::open(rows, folder.join(DAMAGED)).map_err(|error| error.told_of(folder))?;
    for damage in disk.take_damages() {
        damage.log();
    }
    let secret = versions::enter(&mut disk, folder, steps)?;
    Ok(Opened { folder: folder.to_owned(), disk, secret, lock })
}

/// Whether there is a store in `folder`.
pub(crate) fn is_made(folder: &Path) -> io::Result<bool> {
    folder.join(ROWS).try_exists()
}

/// The folder and those above it, closed to everybody else where they are made here.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let system = |error: io::Error| OpenError::System { folder: folder.to_owned(), cause: error.to_string() };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK));
    let file = file.map_err(system)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(system(error)),
    }
}

/// Makes the tables aside, so that a start that was cut short leaves none that are half made.
fn make(folder: &Path, rows: &Path, steps: &[versions::Step]) -> Result<(), OpenError> {
    let system = |error: io::Error| OpenError::System { folder: folder.to_owned(), cause: error.to_string() };
    let unfinished = folder.join(UNFINISHED);
    match std::fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(system(error)),
        _ => {}
    }
    make_folder(&unfinished).map_err(system)?;
    let mut disk = Disk::make(unfinished.clone(), folder.join(DAMAGED)).map_err(|error| error.told_of(folder))?;
    versions::begin(&mut disk, folder, steps)?;
    drop(disk);
    std::fs::rename(&unfinished, rows).map_err(system)?;
    sync_folder(folder).map_err(system)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Opened {
    /// What was drawn when the store was made: as long as the store lives, the same.
    pub fn secret(&self) -> LastingSecret {
        self.secret
    }

    /// All rows of [`QUEUE`] and then of [`DEAD`], in the order of their keys. After an error there is nothing more.
    pub fn rows(&self) -> impl Iterator<Item = Result<(TableId, StoredRow), OpenError>> {
        let rows = [QUEUE, DEAD].into_iter().flat_map(|table| self.disk.rows(table).map(move |row| (table, row)));
        let mut damaged = false;
        rows.map_while(move |(table, row)| {
            if std::mem::replace(&mut damaged, row.is_err()) {
                return None;
            }
            Some(row.map(|row| (table, row)).map_err(|failed| self.damaged(failed)))
        })
    }

    /// The rows that a query asks for, and whether there are more behind them.
    pub fn find(&mut self, query: &Query) -> Result<(Vec<StoredRow>, bool), OpenError> {
        self.disk.find(query).map_err(|failed| self.damaged(failed))
    }

    /// Makes a batch durable before the store works: for commands that run in the place of the gateway.
    pub fn apply(&mut self, batch: &Batch) -> Result<(), OpenError> {
        let told = |failed: Failed| OpenError::System { folder: self.folder.clone(), cause: failed.cause };
        self.disk.apply(batch).map_err(told)
    }

    fn damaged(&self, failed: Failed) -> OpenError {
        OpenError::Damaged { folder: self.folder.clone(), cause: failed.cause }
    }

    /// Starts the thread.
    pub fn run(self) -> io::Result<Store> {
        let Self { folder, disk, lock, .. } = self;
        Store::start(disk, folder, PAUSES, Some(lock))
    }
}
