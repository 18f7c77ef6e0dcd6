//! The tables in a folder, kept by fjall.

use super::{Backend, DEAD, Damage, Failed, META, OpenError, QUEUE, UNREADABLE, damage, files};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::io::{self, Write};
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use turn::{Batch, Query, StoreFailure, StoredRow, TableId};

/// The tables and what fjall calls them.
const TABLES: [(TableId, &str); 4] = [(META, "meta"), (QUEUE, "queue"), (DEAD, "dead"), (UNREADABLE, "unreadable")];
/// Octets of a table that are kept in memory before they are sorted into files of their own.
const MEMTABLE: u64 = 16 << 20;
/// Octets of the journal: beyond it tables of which little is written are sorted too.
const JOURNAL: u64 = 128 << 20;
/// Octets of files that are kept in memory.
const CACHE: u64 = 8 << 20;
/// Octets that are written to find out whether there is room.
const PROBE: usize = 1 << 16;
/// What is written when the tables are opened again, to see that they can be written.
const OPENED: &[u8] = b"opened";

/// Why tables could not be opened.
#[derive(Debug)]
pub(super) enum DiskError {
    InUse,
    /// They are not as they were written.
    Damaged(String),
    Failed(Failed),
}

impl DiskError {
    pub(super) fn told_of(self, folder: &Path) -> OpenError {
        let folder = folder.to_owned();
        match self {
            Self::InUse => OpenError::InUse { folder },
            Self::Damaged(cause) => OpenError::Damaged { folder, cause },
            Self::Failed(Failed { cause, .. }) => OpenError::System { folder, cause },
        }
    }
}

pub(super) struct Disk {
    folder: PathBuf,
    /// What the system knows the folder by: device and number.
    place: (u64, u64),
    aside: PathBuf,
    tables: Option<Tables>,
    /// What takes back the batch that failed last, as long as it may be there.
    undo: Option<Batch>,
    damages: Vec<Damage>,
}

/// Open tables.
struct Tables {
    database: Database,
    tables: [Keyspace; TABLES.len()],
    folder: PathBuf,
}

impl Disk {
    /// Makes tables in an empty folder.
    pub(super) fn make(folder: PathBuf, aside: PathBuf) -> Result<Self, DiskError> {
        let mut disk = Self::closed(folder, aside)?;
        disk.tables = Some(Tables::open(&disk.folder, true)?);
        Ok(disk)
    }

    /// Opens the tables in `folder`. What of them is damaged is put into the folder `aside`.
    pub(super) fn open(folder: PathBuf, aside: PathBuf) -> Result<Self, DiskError> {
        match files::damage(&folder) {
            Ok(None) => {}
            Ok(Some(cause)) => return Err(DiskError::Damaged(cause)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DiskError::Damaged(error.to_string())),
            Err(error) => return Err(DiskError::Failed(error.into())),
        }
        let mut disk = Self::closed(folder, aside)?;
        disk.open_tables(false)?;
        Ok(disk)
    }

    fn closed(folder: PathBuf, aside: PathBuf) -> Result<Self, DiskError> {
        let place = place(&folder).map_err(|error| DiskError::Failed(error.into()))?;
        Ok(Self { folder, place, aside, tables: None, undo: None, damages: Vec::new() })
    }

    /// What was removed or moved away can still be written, and nobody would find it at the next start. What is in its place is
    /// not ours.
    fn is_in_place(&self) -> Result<(), Failed> {
        match place(&self.folder) {
            Ok(place) if place == self.place => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => {
                let cause = "its folder was removed, or moved to another place".into();
                Err(Failed { failure: StoreFailure::Broken, cause })
            }
        }
    }

    fn open_tables(&mut self, last_failed: bool) -> Result<(), DiskError> {
        // The old ones first: they hold the lock.
        self.tables = None;
        self.damages.extend(
            damage::repair(&self.folder, &self.aside, last_failed).map_err(|error| DiskError::Failed(error.into()))?,
        );
        // What fjall reads is not ours: it may be made to stumble.
        let opened = catch_unwind(AssertUnwindSafe(|| Tables::open(&self.folder, false)));
        let tables = opened.unwrap_or_else(|_| Err(DiskError::Damaged("its files contradict each other".into())))?;
        self.tables = Some(tables);
        Ok(())
    }

    /// What was put aside since the last call.
    pub(super) fn take_damages(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damages)
    }

    fn tables(&self) -> Result<&Tables, Failed> {
        let closed = || Failed { failure: StoreFailure::Broken, cause: "it is closed".into() };
        self.tables.as_ref().ok_or_else(closed)
    }

    /// All rows of a table. After an error there may be more, which means nothing.
    pub(super) fn rows(&self, table: TableId) -> impl Iterator<Item = Result<StoredRow, Failed>> {
        let tables = self.tables.as_ref();
        let rows = tables.and_then(|tables| Some((tables, tables.table(table).ok()?.iter())));
        rows.into_iter().flat_map(|(tables, rows)| {
            rows.map(|row| row.into_inner().map(stored).map_err(|error| tables.failed(error)))
        })
    }

    /// The value under a key.
    pub(super) fn value(&self, table: TableId, key: &[u8]) -> Result<Option<Vec<u8>>, Failed> {
        self.tables()?.value(table, key)
    }
}

#[cfg(test)]
impl Disk {
    /// As if a batch had failed.
    pub(super) fn expect_undo(&mut self, batch: &Batch) {
        self.undo = Some(self.tables().unwrap().before(batch).unwrap());
    }

    /// Sorts what is in memory into files.
    pub(super) fn sort(&self) {
        for table in &self.tables().unwrap().tables {
            table.rotate_memtable_and_wait().unwrap();
        }
    }

    /// Empties a table.
    pub(super) fn clear(&self, table: TableId) {
        self.tables().unwrap().table(table).unwrap().clear().unwrap();
    }

    /// As if it had reached the journal nonetheless.
    pub(super) fn write_behind_its_back(&self, batch: &Batch) {
        self.tables().unwrap().write(batch).unwrap();
    }
}

impl Backend for Disk {
    fn apply(&mut self, batch: &Batch) -> Result<(), Failed> {
        let tables = self.tables()?;
        self.is_in_place()?;
        check(batch)?;
        if let Err(failed) = tables.write(batch) {
            // What has failed stands in no table that is read from, whatever may be in the journal.
            self.undo = Some(tables.before(batch)?);
            return Err(failed);
        }
        Ok(())
    }

    fn find(&mut self, query: &Query) -> Result<(Vec<StoredRow>, bool), Failed> {
        self.tables()?.find(query)
    }

    fn reopen(&mut self) -> Result<(), Failed> {
        self.is_in_place()?;
        self.open_tables(true).map_err(|error| match error {
            DiskError::Failed(failed) => failed,
            DiskError::Damaged(cause) => Failed { failure: StoreFailure::Broken, cause },
            DiskError::InUse => Failed { failure: StoreFailure::Broken, cause: "somebody else has its tables".into() },
        })?;
        for damage in self.take_damages() {
            damage.log();
        }
        let mut batch = self.undo.clone().unwrap_or_default();
        batch.put(META, OPENED, |value| value.resize(value.len() + PROBE, 0));
        self.tables()?.write(&batch)?;
        self.undo = None;
        Ok(())
    }
}

impl Tables {
    /// Opens tables, or makes those that are missing where `new` says that they may be.
    fn open(folder: &Path, new: bool) -> Result<Self, DiskError> {
        let damaged = |what: &str| DiskError::Damaged(what.into());
        // Without these fjall would begin with nothing.
        if !new && !folder.join("version").is_file() {
            return Err(damaged("the file rows/version is missing"));
        }
        let told = |error| told_by(&error, folder);
        let database = Database::builder(folder)
            .worker_threads(1)
            .max_journaling_size(JOURNAL)
            .cache_size(CACHE)
            .open()
            .map_err(told)?;
        if !new && !TABLES.iter().all(|(_, name)| database.keyspace_exists(name)) {
            return Err(damaged("a table is missing"));
        }
        let table = |(_, name): (TableId, &str)| {
            database.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE)).map_err(told)
        };
        let [meta, queue, dead, unreadable] = TABLES.map(table);
        let tables = [meta?, queue?, dead?, unreadable?];
        Ok(Self { database, tables, folder: folder.to_owned() })
    }

    fn table(&self, table: TableId) -> Result<&Keyspace, Failed> {
        let place = TABLES.iter().position(|(known, _)| *known == table);
        place
            .and_then(|place| self.tables.get(place))
            .ok_or_else(|| Failed { failure: StoreFailure::Broken, cause: format!("there is no table {}", table.0) })
    }

    fn write(&self, batch: &Batch) -> Result<(), Failed> {
        let mut changes = self.database.batch().durability(Some(PersistMode::SyncData));
        for (table, key, value) in batch.changes() {
            match value {
                Some(value) => changes.insert(self.table(table)?, key, value),
                None => changes.remove(self.table(table)?, key),
            }
        }
        changes.commit().map_err(|error| self.failed(error))
    }

    /// A batch that takes this one back.
    fn before(&self, batch: &Batch) -> Result<Batch, Failed> {
        let mut before = Batch::default();
        for (table, key, _) in batch.changes() {
            match self.value(table, key)? {
                Some(old) => before.put(table, key, |value| value.extend_from_slice(&old)),
                None => before.delete(table, key),
            };
        }
        Ok(before)
    }

    fn value(&self, table: TableId, key: &[u8]) -> Result<Option<Vec<u8>>, Failed> {
        let found = self.table(table)?.get(key).map_err(|error| self.failed(error))?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn find(&self, query: &Query) -> Result<(Vec<StoredRow>, bool), Failed> {
        let (from, to) = fjall::util::prefix_to_range(&query.prefix);
        let from = match &query.after {
            Some(after) if *after >= query.prefix => Bound::Excluded(after.as_slice().into()),
            _ => from,
        };
        if let (Bound::Excluded(from), Bound::Excluded(to)) = (&from, &to)
            && from >= to
        {
            return Ok((Vec::new(), false));
        }
        let found = self.table(query.table)?.range::<fjall::UserKey, _>((from, to));
        let mut rows = Vec::new();
        for row in found {
            if rows.len() == query.limit {
                return Ok((rows, true));
            }
            rows.push(stored(row.into_inner().map_err(|error| self.failed(error))?));
        }
        Ok((rows, false))
    }

    fn failed(&self, error: fjall::Error) -> Failed {
        failed_by(&error, &self.folder)
    }
}

fn place(folder: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(folder)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Whether fjall takes these keys: it would not say so.
fn check(batch: &Batch) -> Result<(), Failed> {
    match batch.changes().find(|(_, key, _)| key.is_empty() || u16::try_from(key.len()).is_err()) {
        None => Ok(()),
        Some((_, key, _)) => {
            let cause = format!("a key of {} octets cannot be kept", key.len());
            Err(Failed { failure: StoreFailure::Broken, cause })
        }
    }
}

/// Why tables could not be opened.
fn told_by(error: &fjall::Error, folder: &Path) -> DiskError {
    match (error, system_error(error).map(io::Error::kind)) {
        (fjall::Error::Locked, _) => DiskError::InUse,
        // Where something is missing or shorter than it was, the system is not to blame.
        (_, None | Some(io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)) => DiskError::Damaged(words(error)),
        _ => DiskError::Failed(failed_by(error, folder)),
    }
}

fn stored((key, value): fjall::KvPair) -> StoredRow {
    StoredRow { key: key.to_vec(), value: value.to_vec() }
}

/// What the system said, where it was the system.
fn system_error(error: &fjall::Error) -> Option<&io::Error> {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => Some(error),
        _ => None,
    }
}

fn failed_by(error: &fjall::Error, folder: &Path) -> Failed {
    match (system_error(error), error) {
        (Some(found), _) => Failed { cause: words(error), ..Failed::from(io::Error::from(found.kind())) },
        // One of its threads has met with something, and does not say what.
        (None, fjall::Error::Poisoned) => match probe(folder) {
            Err(error) => error.into(),
            Ok(()) => Failed { failure: StoreFailure::Broken, cause: "what was written before has failed".into() },
        },
        (None, _) => Failed { failure: StoreFailure::Broken, cause: words(error) },
    }
}

fn words(error: &fjall::Error) -> String {
    match system_error(error) {
        Some(error) => error.to_string(),
        None => format!("{error:?}"),
    }
}

/// Writes a little beside the tables, to see whether there is room.
fn probe(folder: &Path) -> io::Result<()> {
    let path = folder.with_file_name("probe");
    let written = std::fs::File::create(&path).and_then(|mut file| {
        file.write_all(&[0; PROBE])?;
        file.sync_all()
    });
    // It may never have been there.
    let _ = std::fs::remove_file(path);
    written
}
