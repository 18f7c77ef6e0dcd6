//! The gateway's side of the socket: one connection at a time, one question each, and a bound for everything.

use super::{EntryId, MOST_DROPPED, Request, Response, SOCKET, Shelf, TABLES, look_up, row};
use crate::driver::Control;
use crate::store;
use engine::journal::DAMAGED;
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use turn::{Query, StoredRow, TableId};

/// How long a connection may last. Who asks waits a little longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long what was dropped may take to be durable, of that time.
const DURABLE: Duration = Duration::from_secs(8);
/// Octets of a question.
const LONGEST_QUESTION: u64 = 1 << 16;
/// Connections that wait for their turn.
const WAITING: i32 = 16;
/// How long to rest where no connection can be taken, for want of file descriptors for example.
const REST: Duration = Duration::from_millis(100);
/// How often to look whether something is durable.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The socket, where it is listened to. Its file goes when this does.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Door {
    /// Makes the socket in the folder of the journal, which has to be the caller's alone: one that lies there is nobody's.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Before it has a name, so that at no moment anybody else can use it.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        socket.bind(&SockAddr::unix(&path)?)?;
        socket.listen(WAITING)?;
        socket.set_nonblocking(true)?;
        Ok(Self { listener: socket.into(), path })
    }

    /// The socket as [`serve`] takes it.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // The next start makes room for itself.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Shelf for store::Reader {
    fn find(&self, query: Query) -> Result<Vec<StoredRow>, String> {
        store::Reader::find(self, query).map(|(rows, _)| rows).map_err(|error| error.to_string())
    }
}

/// Answers for as long as it is polled.
pub async fn serve(
    listener: UnixListener,
    shelf: Arc<dyn Shelf + Send + Sync>,
    driver: mpsc::Sender<Control>,
) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match tokio::time::timeout(PATIENCE, converse(stream, &shelf, &driver)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a question about the journal was not answered"),
                Err(_) => tracing::debug!("a question about the journal took too long"),
            },
            Err(error) => {
                tracing::warn!(%error, "questions about the journal cannot be taken");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

async fn converse(
    mut stream: UnixStream,
    shelf: &SharedShelf,
    driver: &mpsc::Sender<Control>,
) -> Result<(), io::Error> {
    let mut line = Vec::new();
    BufReader::new((&mut stream).take(LONGEST_QUESTION)).read_until(b'\n', &mut line).await?;
    let response = match serde_json::from_slice(&line) {
        Ok(Request::Drop { ids }) if ids.len() > MOST_DROPPED => {
            Err(format!("more than {MOST_DROPPED} entries cannot be dropped at once"))
        }
        Ok(Request::Drop { ids }) => drop_entries(ids, shelf, driver).await,
        Ok(request) => away(shelf, move |shelf| Ok(look_up(shelf, request))).await,
        Err(error) => Err(format!("this is no question: {error}")),
    };
    let response = response.unwrap_or_else(|what| Response::Failed { what });
    let mut answer = serde_json::to_vec(&response)?;
    answer.push(b'\n');
    stream.write_all(&answer).await?;
    stream.shutdown().await
}

type SharedShelf = Arc<dyn Shelf + Send + Sync>;

/// Looks away from this thread: the disk may be slow.
async fn away<T: Send + 'static>(
    shelf: &SharedShelf,
    look: impl FnOnce(&dyn Shelf) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let shelf = shelf.clone();
    let looked = tokio::task::spawn_blocking(move || look(&*shelf)).await;
    looked.unwrap_or_else(|error| Err(error.to_string()))
}

/// The engine forgets them; what it has forgotten is gone when the store has forgotten it too.
async fn drop_entries(
    ids: Vec<EntryId>,
    shelf: &SharedShelf,
    driver: &mpsc::Sender<Control>,
) -> Result<Response, String> {
    const ENDS: &str = "the gateway ends";
    let asked = ids.clone();
    // The engine forgets what was put aside as well, and does not know whether there was something.
    let aside = away(shelf, move |shelf| there(shelf, &[DAMAGED], &asked)).await?;
    let (sender, answer) = oneshot::channel();
    let keys = ids.iter().map(|id| id.key().to_vec()).collect();
    driver.send(Control::DropEntries(keys, sender)).await.map_err(|_| ENDS)?;
    let known = answer.await.map_err(|_| ENDS)?;
    let found = ids.into_iter().zip(known).filter(|(id, known)| *known || aside.contains(id));
    let ids: Vec<EntryId> = found.map(|(id, _)| id).collect();
    let gone = tokio::time::timeout(DURABLE, until_gone(shelf, &ids)).await;
    gone.map_err(|_| "they were dropped, and it is not known yet whether that is durable")??;
    Ok(Response::Dropped { ids })
}

/// A row is seen until its end is durable.
async fn until_gone(shelf: &SharedShelf, ids: &[EntryId]) -> Result<(), String> {
    loop {
        let asked = ids.to_vec();
        if away(shelf, move |shelf| there(shelf, &TABLES, &asked)).await?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Those that stand in one of the tables.
fn there(shelf: &dyn Shelf, tables: &[TableId], ids: &[EntryId]) -> Result<BTreeSet<EntryId>, String> {
    let mut found = BTreeSet::new();
    for id in ids {
        for table in tables {
            if row(shelf, *table, id)?.is_some() {
                found.insert(id.clone());
            }
        }
    }
    Ok(found)
}
