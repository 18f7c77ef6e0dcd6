//! The command's side: over the socket while the gateway runs, in the folder itself while it does not.

use super::serve::PATIENCE;
use super::{EntryId, Request, Response, SOCKET, Shelf, TABLES, look_up, row};
use crate::store;
use engine::journal::DEAD;
use std::cell::RefCell;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use turn::{Batch, Query, StoredRow};

/// Octets of an answer: a content may have a MiB, which base64 makes longer by a third.
const LONGEST_ANSWER: u64 = 16 << 20;

/// Why nothing could be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// There is no journal in the folder.
    #[error("{0}: there is no journal here: no gateway has run with this folder")]
    NoJournal(String),
    /// The gateway is not this user's, and neither is what it would find in its folder.
    #[error("{folder}: the journal belongs to user {owner}: run this command as that user")]
    NotOurs {
        /// The folder.
        folder: String,
        /// The number of its owner.
        owner: u32,
    },
    /// The folder lies in one that this user may not look into.
    #[error("{0}: permission denied: run this command as the user that the gateway runs as")]
    Closed(String),
    /// The gateway is there and does not answer.
    #[error("the gateway does not answer: {0}")]
    Silent(io::Error),
    /// What is there cannot be had.
    #[error("{0}")]
    Refused(String),
}

/// A journal in the place of the gateway that does not run.
pub(super) trait Opened: Shelf {
    /// Makes a batch durable.
    fn apply(&self, batch: &Batch) -> Result<(), String>;
}

/// A store that is opened for a command.
struct Folder(RefCell<store::Opened>);

impl Shelf for Folder {
    fn find(&self, query: Query) -> Result<Vec<StoredRow>, String> {
        self.0.borrow_mut().find(&query).map(|(rows, _)| rows).map_err(|error| error.to_string())
    }
}

impl Opened for Folder {
    fn apply(&self, batch: &Batch) -> Result<(), String> {
        self.0.borrow_mut().apply(batch).map_err(|error| error.to_string())
    }
}

/// Opens the store in a folder where the gateway does not run.
pub(super) fn open(folder: &Path) -> Result<Box<dyn Opened>, Failed> {
    // Whoever looks makes nothing.
    match store::is_made(folder) {
        Ok(true) => {}
        Ok(false) => return Err(Failed::NoJournal(folder.display().to_string())),
        Err(error) => return Err(Failed::Refused(format!("{}: {error}", folder.display()))),
    }
    match store::open(folder) {
        Ok(opened) => Ok(Box::new(Folder(RefCell::new(opened)))),
        Err(error @ store::OpenError::InUse { .. }) => {
            Err(Failed::Refused(format!("{error}; it answers no questions yet, or no longer")))
        }
        Err(error) => Err(Failed::Refused(error.to_string())),
    }
}

/// Where questions go.
pub(super) enum Journal<'a> {
    /// To the gateway.
    Running(&'a Path),
    /// Into the folder.
    Stopped(Box<dyn Opened>),
}

impl Journal<'_> {
    pub(super) fn ask(&self, request: Request) -> Result<Response, Failed> {
        match self {
            Self::Running(folder) => {
                let stream = UnixStream::connect(folder.join(SOCKET)).map_err(Failed::Silent)?;
                converse(stream, &request).map_err(Failed::Silent)
            }
            Self::Stopped(journal) => Ok(answer(&**journal, request)),
        }
    }
}

/// Finds out whether the gateway runs. `open` opens the folder where it does not.
pub(super) fn find<'a>(
    folder: &'a Path,
    open: impl FnOnce(&Path) -> Result<Box<dyn Opened>, Failed>,
) -> Result<Journal<'a>, Failed> {
    let metadata = match fs::metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failed::NoJournal(folder.display().to_string()));
        }
        Err(error) => return Err(closed(folder, None, error)),
    };
    match UnixStream::connect(folder.join(SOCKET)) {
        Ok(_) => Ok(Journal::Running(folder)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            // Files that anybody else makes here the gateway could not write to when it starts again.
            if metadata.uid() != nix::unistd::geteuid().as_raw() {
                return Err(Failed::NotOurs { folder: folder.display().to_string(), owner: metadata.uid() });
            }
            open(folder).map(Journal::Stopped)
        }
        Err(error) => Err(closed(folder, Some(metadata.uid()), error)),
    }
}

/// Why neither the gateway nor its folder, of that owner, can be had.
pub(super) fn closed(folder: &Path, owner: Option<u32>, error: io::Error) -> Failed {
    let name = folder.display().to_string();
    match (error.kind(), owner) {
        (io::ErrorKind::PermissionDenied, Some(owner)) => Failed::NotOurs { folder: name, owner },
        (io::ErrorKind::PermissionDenied, None) => Failed::Closed(name),
        (_, Some(_)) => Failed::Silent(error),
        (_, None) => Failed::Refused(format!("{name}: {error}")),
    }
}

fn converse(mut stream: UnixStream, request: &Request) -> io::Result<Response> {
    // A little longer than the gateway takes.
    let patience = PATIENCE + Duration::from_secs(2);
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut question = serde_json::to_vec(request)?;
    question.push(b'\n');
    stream.write_all(&question)?;
    let mut line = Vec::new();
    BufReader::new(stream.take(LONGEST_ANSWER)).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without a word"));
    }
    Ok(serde_json::from_slice(&line)?)
}

fn answer(journal: &dyn Opened, request: Request) -> Response {
    match request {
        Request::Drop { ids } => {
            drop_entries(journal, &ids).map_or_else(|what| Response::Failed { what }, |ids| Response::Dropped { ids })
        }
        other => look_up(journal, other),
    }
}

fn drop_entries(journal: &dyn Opened, ids: &[EntryId]) -> Result<Vec<EntryId>, String> {
    let mut batch = Batch::default();
    let mut dropped: Vec<EntryId> = Vec::new();
    for id in ids {
        let mut found = false;
        for table in TABLES {
            if row(journal, table, id)?.is_some() {
                batch.delete(table, id.key());
                batch.delete(DEAD, id.key());
                found = true;
            }
        }
        if found && !dropped.contains(id) {
            dropped.push(id.clone());
        }
    }
    if !batch.is_empty() {
        journal.apply(&batch)?;
    }
    Ok(dropped)
}
