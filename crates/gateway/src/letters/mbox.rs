//! The dead-letter file: an mbox (RFC 4155, lines that begin with `From ` quoted as in "mboxrd"), which mail programs read.
//!
//! A letter is in it when it is on the disk. Whoever looks after the gateway moves the file away and reads it there: the next
//! letter finds it gone and begins a new one.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::macros::format_description;

/// Why a letter is not in the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum MboxError {
    /// It would be too long.
    #[error("it holds as much as it may: move it away")]
    Full,
    /// It is something else.
    #[error("it is not a regular file")]
    NotAFile,
    /// The system says so.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// The file at a path, whichever that is at the moment.
#[derive(Debug)]
pub(super) struct Mbox {
    path: PathBuf,
    limit: u64,
    open: Option<File>,
}

impl Mbox {
    /// The file at `path`, which grows up to `limit` bytes. It is made when it is needed.
    pub(super) fn new(path: &Path, limit: u64) -> Self {
        Self { path: path.to_owned(), limit, open: None }
    }

    /// Puts an e-mail behind the others. When it returns, the disk has all of it or none.
    pub(super) fn append(&mut self, email: &[u8], now: SystemTime) -> Result<(), MboxError> {
        let limit = self.limit;
        let file = self.file()?;
        let entry = entry(email, now);
        let appended = append(file, &entry, limit);
        if appended.is_err() {
            // What became of it is looked at anew.
            self.open = None;
        }
        appended
    }

    /// The file that is at the path now.
    fn file(&mut self) -> Result<&mut File, MboxError> {
        let there = match std::fs::metadata(&self.path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let open = match (self.open.take(), there) {
            (Some(open), Some(there)) if same(&open.metadata()?, &there) => open,
            (_, there) => open(&self.path, there.is_none())?,
        };
        Ok(self.open.insert(open))
    }
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn open(path: &Path, new: bool) -> Result<File, MboxError> {
    let mut options = OpenOptions::new();
    // Nobody else reads what people wrote. A pipe without a reader is refused, not waited for.
    options.read(true).append(true).create(true).mode(0o600).custom_flags(nix::libc::O_NONBLOCK);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(MboxError::NotAFile);
    }
    if new {
        // Its name is to outlive the machine too.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

/// What is asked of the file.
trait Paper: Write {
    fn length(&self) -> io::Result<u64>;
    /// The last two bytes, or what there is of them.
    fn tail(&mut self) -> io::Result<Vec<u8>>;
    fn sync(&self) -> io::Result<()>;
    fn cut(&self, length: u64) -> io::Result<()>;
}

impl Paper for File {
    fn length(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn tail(&mut self) -> io::Result<Vec<u8>> {
        let start = self.length()?.saturating_sub(2);
        self.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        self.take(2).read_to_end(&mut tail)?;
        Ok(tail)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

fn append(file: &mut impl Paper, entry: &[u8], limit: u64) -> Result<(), MboxError> {
    let before = file.length()?;
    // An entry that was torn, or that somebody else wrote, ends here: a new one stands behind an empty line.
    let missing: &[u8] = match *file.tail()? {
        [] | [b'\n', b'\n'] => b"",
        [.., b'\n'] => b"\n",
        _ => b"\n\n",
    };
    let added = (missing.len() + entry.len()) as u64;
    if before.saturating_add(added) > limit {
        return Err(MboxError::Full);
    }
    let written = file.write_all(missing).and_then(|()| file.write_all(entry)).and_then(|()| file.sync());
    written.map_err(|error| {
        // Half a letter is taken out again. Where even that fails, it stays, and the next one stands behind an empty line.
        match file.cut(before) {
            Ok(()) => error.into(),
            Err(_) => MboxError::System(io::Error::new(error.kind(), format!("{error}; half a letter stays in it"))),
        }
    })
}

/// The e-mail with its `From ` line before it, LF at the ends of lines, and an empty line behind it.
fn entry(email: &[u8], now: SystemTime) -> Vec<u8> {
    let mut entry = Vec::with_capacity(email.len() + 64);
    entry.extend_from_slice(b"From MAILER-DAEMON ");
    entry.extend_from_slice(asctime(now).as_bytes());
    entry.push(b'\n');
    for line in email.split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let unquoted = line.iter().position(|octet| *octet != b'>').unwrap_or(line.len());
        if line.get(unquoted..).is_some_and(|rest| rest.starts_with(b"From ")) {
            entry.push(b'>');
        }
        entry.extend_from_slice(line);
        entry.push(b'\n');
    }
    entry.push(b'\n');
    entry
}

/// `Thu Jan  1 00:00:00 1970`, in UTC.
fn asctime(now: SystemTime) -> String {
    let format = format_description!(
        "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
    );
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let moment = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    moment.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    const EMAIL: &[u8] = b"Subject: one\r\n\r\nFrom here\r\n>From there\r\n";
    const ENTRY: &str = "From MAILER-DAEMON Sat Feb  1 09:08:07 2025\nSubject: one\n\n>From here\n>>From there\n\n";
    const LIMIT: u64 = 1 << 20;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_738_400_887)
    }

    fn mbox(name: &str) -> (tempfile::TempDir, PathBuf, Mbox) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let mbox = Mbox::new(&path, LIMIT);
        (folder, path, mbox)
    }

    #[test]
    fn letters_follow_each_other_in_a_file_that_nobody_else_reads() {
        let (_folder, path, mut mbox) = mbox("dead");
        mbox.append(EMAIL, now()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        mbox.append(EMAIL, now()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), [ENTRY, ENTRY].concat());
    }

    #[test]
    fn a_file_that_is_moved_away_is_begun_anew() {
        let (folder, path, mut mbox) = mbox("dead");
        mbox.append(EMAIL, now()).unwrap();
        let away = folder.path().join("dead.1");
        std::fs::rename(&path, &away).unwrap();
        mbox.append(EMAIL, now()).unwrap();
        // Somebody else has begun it.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        mbox.append(EMAIL, now()).unwrap();
        for path in [&away, &path] {
            assert_eq!(std::fs::read_to_string(path).unwrap(), ENTRY);
        }
        // Cut to nothing in its place.
        std::fs::File::options().write(true).truncate(true).open(&path).unwrap();
        mbox.append(EMAIL, now()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), ENTRY);
    }

    #[test]
    fn a_torn_letter_does_not_swallow_the_next() {
        for (found, between) in [("x", "\n\n"), ("x\n", "\n"), ("x\n\n", ""), ("\n", "\n"), ("", "")] {
            let (_folder, path, mut mbox) = mbox("dead");
            std::fs::write(&path, found).unwrap();
            mbox.append(EMAIL, now()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), [found, between, ENTRY].concat(), "{found:?}");
        }
    }

    #[test]
    fn what_is_no_file_is_not_written_to() {
        let (folder, _, mut below) = mbox("file/dead");
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(matches!(below.append(EMAIL, now()), Err(MboxError::System(_))));
        let mut at_folder = Mbox::new(folder.path(), LIMIT);
        assert!(matches!(at_folder.append(EMAIL, now()), Err(MboxError::System(_))));
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // Nobody reads it; a program that waited for one would wait here.
        assert!(Mbox::new(&pipe, LIMIT).append(EMAIL, now()).is_err());
        assert!(matches!(Mbox::new(Path::new("/dev/full"), LIMIT).append(EMAIL, now()), Err(MboxError::NotAFile)));
        // When the way is free, so is the letter.
        std::fs::remove_file(folder.path().join("file")).unwrap();
        std::fs::create_dir(folder.path().join("file")).unwrap();
        below.append(EMAIL, now()).unwrap();
    }

    #[test]
    fn it_grows_no_further_than_it_may() {
        let (_folder, path, _) = mbox("dead");
        let mut mbox = Mbox::new(&path, 2 * ENTRY.len() as u64);
        mbox.append(EMAIL, now()).unwrap();
        mbox.append(EMAIL, now()).unwrap();
        assert!(matches!(mbox.append(EMAIL, now()), Err(MboxError::Full)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), [ENTRY, ENTRY].concat());
        std::fs::rename(&path, path.with_extension("1")).unwrap();
        mbox.append(EMAIL, now()).unwrap();
    }

    /// A file on a disk that has room for some bytes, and may lose what it was given.
    struct Disk {
        held: std::cell::RefCell<Vec<u8>>,
        room: usize,
        syncs: bool,
        cuts: bool,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let held = self.held.get_mut();
            let taken = bytes.len().min(self.room - held.len());
            if taken == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            held.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper for Disk {
        fn length(&self) -> io::Result<u64> {
            Ok(self.held.borrow().len() as u64)
        }

        fn tail(&mut self) -> io::Result<Vec<u8>> {
            let held = self.held.borrow();
            Ok(held[held.len().saturating_sub(2)..].to_vec())
        }

        fn sync(&self) -> io::Result<()> {
            if self.syncs { Ok(()) } else { Err(io::Error::other("it is broken")) }
        }

        fn cut(&self, length: u64) -> io::Result<()> {
            if !self.cuts {
                return Err(io::Error::other("it is broken"));
            }
            self.held.borrow_mut().truncate(length as usize);
            Ok(())
        }
    }

    #[test]
    fn a_full_or_broken_disk_keeps_no_half_of_a_letter() {
        let entry = entry(EMAIL, now());
        let disk = |room, syncs, cuts| Disk { held: b"whole\n\n".to_vec().into(), room, syncs, cuts };
        for (mut disk, left, told) in [
            (disk(20, true, true), &b"whole\n\n"[..], io::Error::from(io::ErrorKind::StorageFull).to_string()),
            (disk(2000, false, true), b"whole\n\n", "it is broken".into()),
            (
                disk(10, true, false),
                b"whole\n\nFro",
                format!("{}; half a letter stays in it", io::Error::from(io::ErrorKind::StorageFull)),
            ),
        ] {
            let error = append(&mut disk, &entry, LIMIT).unwrap_err();
            assert_eq!((error.to_string(), &disk.held.borrow()[..]), (told, left));
        }
        // Behind the half that stays the next one is whole.
        let mut disk = disk(2000, true, true);
        disk.held.get_mut().extend_from_slice(b"Fro");
        append(&mut disk, &entry, LIMIT).unwrap();
        assert_eq!(*disk.held.borrow(), [b"whole\n\nFro\n\n", &entry[..]].concat());
    }
}
