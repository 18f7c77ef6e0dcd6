use super::worker::ORDERS;
use super::*;
use entente_tests::store::Condition;
use entente_tests::store::contract::Subject;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use turn::{StoreAnswer, Ticket};

/// At once, so that nothing in here depends on time.
const NONE: Pauses = Pauses { first: Duration::ZERO, longest: Duration::ZERO };

/// The tables, with a disk that fails when it is told to. What fails has reached the journal nonetheless, as when `fdatasync`
/// fails behind a write, or fjall writes the rest of its buffer when it ends.
struct Faulty {
    disk: Disk,
    condition: Arc<Mutex<Condition>>,
    written: Option<Batch>,
}

impl Faulty {
    fn fails(&self) -> Result<(), Failed> {
        let failure = match *self.condition.lock().unwrap() {
            Condition::Working => return Ok(()),
            Condition::Full => StoreFailure::Full,
            Condition::Broken => StoreFailure::Broken,
        };
        Err(Failed { failure, cause: "the test wants it so".into() })
    }
}

impl Backend for Faulty {
    fn apply(&mut self, batch: &Batch) -> Result<(), Failed> {
        if let Err(failed) = self.fails() {
            self.disk.expect_undo(batch);
            self.written = Some(batch.clone());
            return Err(failed);
        }
        self.disk.apply(batch)
    }

    fn find(&mut self, query: &Query) -> Result<(Vec<StoredRow>, bool), Failed> {
        match self.fails() {
            Err(failed) if failed.failure == StoreFailure::Broken => Err(failed),
            _ => self.disk.find(query),
        }
    }

    fn reopen(&mut self) -> Result<(), Failed> {
        self.fails()?;
        if let Some(batch) = self.written.take() {
            self.disk.write_behind_its_back(&batch);
        }
        self.disk.reopen()
    }
}

/// A store on a real folder, with a disk that fails when it is told to.
struct OnDisk {
    folder: TempDir,
    condition: Arc<Mutex<Condition>>,
    store: Option<Store>,
    answers: std::collections::VecDeque<StoreAnswer>,
}

impl OnDisk {
    fn new() -> Self {
        let mut on_disk = Self {
            folder: tempfile::tempdir().unwrap(),
            condition: Arc::default(),
            store: None,
            answers: std::collections::VecDeque::new(),
        };
        on_disk.open();
        on_disk
    }

    fn open(&mut self) {
        let Opened { folder, disk, lock, .. } = open(self.folder.path()).unwrap();
        let backend = Faulty { disk, condition: self.condition.clone(), written: None };
        self.store = Some(Store::start(backend, folder, NONE, Some(lock)).unwrap());
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }
}

impl Subject for OnDisk {
    fn commit(&mut self, ticket: Ticket, batch: Batch) {
        assert_eq!(self.store().commit(ticket, batch), None);
    }

    fn load(&mut self, ticket: Ticket, query: Query) {
        assert_eq!(self.store().load(ticket, query), None);
    }

    fn answer(&mut self) -> StoreAnswer {
        if self.answers.is_empty() {
            self.answers = wait_for_answers(self.store.as_mut().unwrap());
        }
        self.answers.pop_front().unwrap()
    }

    fn set(&mut self, condition: Condition) {
        *self.condition.lock().unwrap() = condition;
    }

    fn reopen(&mut self) {
        self.store = None;
        self.open();
    }

    /// What is on the disk at this moment is what is found after the crash.
    fn crash(&mut self) {
        let found = tempfile::tempdir().unwrap();
        copy(self.folder.path(), found.path());
        self.store = None;
        self.answers.clear();
        self.folder = found;
        self.open();
    }
}

/// Waits until somebody is woken by a store.
#[derive(Default)]
struct Woken(Mutex<bool>, std::sync::Condvar);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

fn wait_for_answers(store: &mut Store) -> std::collections::VecDeque<StoreAnswer> {
    let woken = Arc::new(Woken::default());
    store.attach(woken.clone().into());
    loop {
        // An answer that came before the waker was there has woken nobody.
        let answers = store.take_answers();
        if !answers.is_empty() {
            return answers;
        }
        let mut awake = woken.1.wait_while(woken.0.lock().unwrap(), |awake| !*awake).unwrap();
        *awake = false;
    }
}

/// Copies a folder, without the zeros that a journal has room for.
pub(super) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy(&path, &to);
        } else {
            let octets = std::fs::read(&path).unwrap();
            let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
            let octets = if is_journal { damage::without_zeros(&octets) } else { &octets };
            std::fs::write(to, octets).unwrap();
        }
    }
}

entente_tests::store_contract!(OnDisk::new);

pub(super) fn put(rows: &[(&[u8], &[u8])]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in rows {
        batch.put(QUEUE, key, |to| to.extend_from_slice(value));
    }
    batch
}

fn all() -> Query {
    Query { table: QUEUE, prefix: Vec::new(), after: None, limit: 1000 }
}

fn row(key: &[u8], value: &[u8]) -> StoredRow {
    StoredRow { key: key.to_vec(), value: value.to_vec() }
}

#[test]
fn only_one_gateway_has_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    let error = open(folder.path()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert_eq!(error.to_string(), format!("{}: another gateway works with this folder", folder.path().display()));
    let store = first.run().unwrap();
    assert!(open(folder.path()).is_err());
    drop(store);
    assert!(open(folder.path()).is_ok());
}

#[test]
fn what_is_made_is_for_the_gateway_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("above").join("store");
    let mut opened = open(&folder).unwrap();
    opened.apply(&put(&[(b"a", b"1")])).unwrap();
    let _log = TurnLog::open(&folder).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(&folder), mode(&folder.join("rows"))], [0o700, 0o700]);
    assert_eq!([mode(&folder.join("lock")), mode(&folder.join("turns.0"))], [0o600, 0o600]);
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = open(&file.join("store")).err().unwrap().to_string();
    assert!(error.starts_with(&format!("{}/store: the store cannot be opened: ", file.display())), "{error}");
}

/// What is in a folder that was removed nobody finds again, though the system writes it still.
#[test]
fn nothing_is_durable_in_a_folder_that_was_moved_away() {
    let above = tempfile::tempdir().unwrap();
    let (folder, away) = (above.path().join("store"), above.path().join("away"));
    let Opened { folder: path, disk, lock, .. } = open(&folder).unwrap();
    let mut store = Store::start(disk, path, NONE, Some(lock)).unwrap();
    let mut commit = |number, key: &[u8]| {
        assert_eq!(store.commit(Ticket(number), put(&[(key, b"1")])), None);
        wait_for_answers(&mut store).pop_front().unwrap()
    };
    assert_eq!(commit(1, b"a"), StoreAnswer::Committed(Ticket(1)));
    std::fs::rename(&folder, &away).unwrap();
    assert_eq!(commit(2, b"b"), StoreAnswer::CommitFailed(Ticket(2), StoreFailure::Broken));
    // Another one in its place has another secret.
    drop(open(&folder).unwrap());
    assert_eq!(commit(3, b"c"), StoreAnswer::CommitFailed(Ticket(3), StoreFailure::Broken));
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    assert_eq!(commit(4, b"d"), StoreAnswer::Committed(Ticket(4)));
    drop(store);
    let keys: Vec<_> = open(&folder).unwrap().rows().map(|row| row.unwrap().1.key).collect();
    assert_eq!(keys, [b"a", b"d"]);
}

#[test]
fn the_secret_is_drawn_once() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = open(folder.path()).unwrap().secret();
    assert_eq!(open(folder.path()).unwrap().secret(), secret);
    assert_ne!(open(other.path()).unwrap().secret(), secret);
}

#[test]
fn a_start_that_was_cut_short_leaves_nothing_half_made() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(UNFINISHED)).unwrap();
    std::fs::write(folder.path().join(UNFINISHED).join("0.jnl"), "half").unwrap();
    assert_eq!(open(folder.path()).unwrap().rows().count(), 0);
    assert!(!folder.path().join(UNFINISHED).exists());
}

#[test]
fn rows_of_both_tables_are_given_before_the_store_works() {
    let folder = tempfile::tempdir().unwrap();
    let mut batch = put(&[(b"b", b"2"), (b"a", b"1")]);
    batch.put(DEAD, b"a", |value| value.push(b'3'));
    open(folder.path()).unwrap().apply(&batch).unwrap();
    let opened = open(folder.path()).unwrap();
    let rows: Vec<_> = opened.rows().map(Result::unwrap).collect();
    assert_eq!(rows, [(QUEUE, row(b"a", b"1")), (QUEUE, row(b"b", b"2")), (DEAD, row(b"a", b"3"))]);
}

fn version(folder: &Path) -> Vec<u8> {
    let disk = Disk::open(folder.join(ROWS), folder.join(DAMAGED)).map_err(|error| error.told_of(folder)).unwrap();
    disk.value(META, b"version").unwrap().unwrap()
}

/// Every value gets a mark.
fn mark(disk: &Disk, batch: &mut Batch) -> Result<(), Failed> {
    for row in disk.rows(QUEUE) {
        let row = row?;
        batch.put(QUEUE, &row.key, |value| value.extend_from_slice(&[b"marked ", &*row.value].concat()));
    }
    Ok(())
}

/// Everything is given up.
fn give_up(disk: &Disk, batch: &mut Batch) -> Result<(), Failed> {
    for row in disk.rows(QUEUE) {
        let row = row?;
        batch.delete(QUEUE, &row.key);
        batch.put(DEAD, &row.key, |value| value.extend_from_slice(&row.value));
    }
    Ok(())
}

fn fail(_: &Disk, batch: &mut Batch) -> Result<(), Failed> {
    batch.delete(QUEUE, b"a");
    Err(Failed { failure: StoreFailure::Broken, cause: "this step fails".into() })
}

#[test]
fn an_older_store_is_brought_to_the_version_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    open_with(folder.path(), &[]).unwrap().apply(&put(&[(b"a", b"1"), (b"b", b"2")])).unwrap();
    assert_eq!(version(folder.path()), 1u32.to_le_bytes());
    // Two steps at once, each once.
    for _ in 0..2 {
        let opened = open_with(folder.path(), &[mark, give_up]).unwrap();
        let rows: Vec<_> = opened.rows().map(Result::unwrap).collect();
        assert_eq!(rows, [(DEAD, row(b"a", b"marked 1")), (DEAD, row(b"b", b"marked 2"))]);
    }
    assert_eq!(version(folder.path()), 3u32.to_le_bytes());
    // One that is made by that program needs none.
    let other = tempfile::tempdir().unwrap();
    open_with(other.path(), &[fail, fail]).unwrap();
    assert_eq!(version(other.path()), 3u32.to_le_bytes());
}

#[test]
fn a_step_that_fails_has_not_been_taken() {
    let folder = tempfile::tempdir().unwrap();
    open_with(folder.path(), &[]).unwrap().apply(&put(&[(b"a", b"1")])).unwrap();
    let error = open_with(folder.path(), &[mark, fail]).err().unwrap().to_string();
    let folder_name = folder.path().display();
    let words =
        format!("{folder_name}: the store cannot be opened: it could not be brought to version 3: this step fails");
    assert_eq!(error, words);
    assert_eq!(version(folder.path()), 2u32.to_le_bytes());
    // It goes on where it was.
    let opened = open_with(folder.path(), &[fail, give_up]).unwrap();
    assert_eq!(opened.rows().map(Result::unwrap).collect::<Vec<_>>(), [(DEAD, row(b"a", b"marked 1"))]);
}

#[test]
fn a_newer_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    open_with(folder.path(), &[mark]).unwrap().apply(&put(&[(b"a", b"1")])).unwrap();
    let error = open_with(folder.path(), &[]).err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("the store is of version 2, and this program knows version 1"), "{error}");
    assert_eq!(open_with(folder.path(), &[mark]).unwrap().rows().count(), 1);
}

/// A backend that does nothing before it is allowed to.
struct Gate {
    turns: std::sync::mpsc::Receiver<Result<(), Failed>>,
    opened: Vec<Result<(), Failed>>,
}

impl Backend for Gate {
    fn apply(&mut self, _: &Batch) -> Result<(), Failed> {
        self.turns.recv().unwrap_or(Ok(()))
    }

    fn find(&mut self, _: &Query) -> Result<(Vec<StoredRow>, bool), Failed> {
        panic!("a mistake of somebody else");
    }

    fn reopen(&mut self) -> Result<(), Failed> {
        self.opened.pop().unwrap_or(Ok(()))
    }
}

fn gate(pauses: Pauses, opened: Vec<Result<(), Failed>>) -> (std::sync::mpsc::Sender<Result<(), Failed>>, Store) {
    let (sender, turns) = std::sync::mpsc::channel();
    (sender, Store::start(Gate { turns, opened }, "/nowhere".into(), pauses, None).unwrap())
}

fn answers(store: &mut Store, count: usize) -> Vec<StoreAnswer> {
    let mut answers = Vec::new();
    while answers.len() < count {
        answers.extend(wait_for_answers(store));
    }
    answers
}

#[test]
fn too_many_orders_are_refused_and_wait_for_nobody() {
    let (gate, mut store) = gate(NONE, Vec::new());
    for ticket in 1..=ORDERS as u64 {
        assert_eq!(store.commit(Ticket(ticket), put(&[(b"a", b"1")])), None);
    }
    let refused = store.commit(Ticket(1000), put(&[(b"a", b"1")]));
    assert_eq!(refused, Some(StoreAnswer::CommitFailed(Ticket(1000), StoreFailure::Broken)));
    let refused = store.load(Ticket(1001), all());
    assert_eq!(refused, Some(StoreAnswer::LoadFailed(Ticket(1001), StoreFailure::Broken)));
    assert_eq!(store.under_way(), ORDERS);
    drop(gate);
    let answers = answers(&mut store, ORDERS);
    assert!(answers.iter().zip(1..).all(|(answer, ticket)| *answer == StoreAnswer::Committed(Ticket(ticket))));
    assert_eq!((store.under_way(), store.commit(Ticket(1002), Batch::default())), (0, None));
}

#[test]
fn a_failure_is_answered_at_once_until_the_pause_is_over() {
    let long = Pauses { first: Duration::from_secs(3600), longest: Duration::from_secs(3600) };
    let (gate, mut store) = gate(long, Vec::new());
    let full = Failed { failure: StoreFailure::Full, cause: "no space left".into() };
    gate.send(Err(full)).unwrap();
    // Whatever would be written from here on would succeed.
    drop(gate);
    for ticket in 1..=3 {
        store.commit(Ticket(ticket), put(&[(b"a", b"1")]));
    }
    // One that would not fail is among them: nothing is written while the store is not known to work.
    store.commit(Ticket(4), Batch::default());
    let failed = |ticket| StoreAnswer::CommitFailed(Ticket(ticket), StoreFailure::Full);
    assert_eq!(answers(&mut store, 4), [failed(1), failed(2), failed(3), failed(4)]);
    assert_eq!(store.failure(), Some(StoreFailure::Full));
    let counters = store.counters();
    assert_eq!((counters.commits, counters.failed_commits, counters.reopened), (0, [4, 0], 0));
}

#[test]
fn a_store_is_opened_again_until_it_works_without_being_asked() {
    let broken = || Failed { failure: StoreFailure::Broken, cause: "no such device".into() };
    let (gate, mut store) = gate(NONE, vec![Ok(()), Err(broken()), Err(broken())]);
    gate.send(Err(broken())).unwrap();
    store.commit(Ticket(1), put(&[(b"a", b"1")]));
    assert_eq!(answers(&mut store, 1), [StoreAnswer::CommitFailed(Ticket(1), StoreFailure::Broken)]);
    drop(gate);
    store.commit(Ticket(2), put(&[(b"a", b"1")]));
    let second = answers(&mut store, 1);
    assert!(matches!(second[..], [StoreAnswer::Committed(Ticket(2)) | StoreAnswer::CommitFailed(Ticket(2), _)]));
    while store.failure().is_some() {
        store.commit(Ticket(3), Batch::default());
        answers(&mut store, 1);
    }
    assert_eq!(store.counters().reopened, 1);
}

#[test]
fn a_panic_in_what_is_not_ours_is_a_failure() {
    let (_gate, mut store) = gate(NONE, Vec::new());
    store.load(Ticket(1), all());
    assert_eq!(answers(&mut store, 1), [StoreAnswer::LoadFailed(Ticket(1), StoreFailure::Broken)]);
    let error = store.reader().find(all()).unwrap_err();
    assert!(matches!(error, ReadError::Failed(_)), "{error}");
}

#[test]
fn others_can_read_what_the_machine_has_ordered() {
    let mut on_disk = OnDisk::new();
    let reader = on_disk.store().reader();
    on_disk.commit(Ticket(1), put(&[(b"a", b"1"), (b"b", b"2")]));
    let asked = reader.clone();
    let found = std::thread::spawn(move || asked.find(Query { limit: 1, ..all() })).join().unwrap();
    assert_eq!(found, Ok((vec![row(b"a", b"1")], true)));
    on_disk.store = None;
    assert_eq!(reader.find(all()), Err(ReadError::Ended));
}

#[test]
fn too_many_readers_are_refused() {
    let (gate, mut store) = gate(NONE, Vec::new());
    store.commit(Ticket(1), put(&[(b"a", b"1")]));
    // They wait behind the batch; the first that comes too late is told so.
    let (sender, told) = std::sync::mpsc::channel();
    let readers: Vec<_> = (0..5)
        .map(|_| {
            let (reader, sender) = (store.reader(), sender.clone());
            std::thread::spawn(move || sender.send(reader.find(all()).unwrap_err()).unwrap())
        })
        .collect();
    assert_eq!(told.recv().unwrap(), ReadError::Busy);
    drop(gate);
    for reader in readers {
        reader.join().unwrap();
    }
    assert!(told.try_iter().all(|error| matches!(error, ReadError::Failed(_))));
}

#[test]
fn what_was_done_is_counted() {
    let mut on_disk = OnDisk::new();
    on_disk.commit(Ticket(1), put(&[(b"key", b"value"), (b"k", b"")]));
    on_disk.load(Ticket(2), all());
    assert_eq!([on_disk.answer().ticket(), on_disk.answer().ticket()], [Ticket(1), Ticket(2)]);
    let counters = on_disk.store().counters();
    assert_eq!((counters.commits, counters.octets, counters.loads), (1, 9, 1));
    assert_eq!(counters.commit_seconds.0.iter().sum::<u64>(), 1);
    let mut metrics = crate::telemetry::Metrics::new();
    on_disk.store().measure(&mut metrics);
    assert_eq!(metrics.value("entente_store_commits_total", &[]), Some(1));
    assert_eq!(metrics.value("entente_store_up", &[]), Some(1));
}

#[test]
fn full_is_told_from_broken() {
    for (kind, failure) in [
        (io::ErrorKind::StorageFull, StoreFailure::Full),
        (io::ErrorKind::QuotaExceeded, StoreFailure::Full),
        (io::ErrorKind::FileTooLarge, StoreFailure::Broken),
        (io::ErrorKind::ReadOnlyFilesystem, StoreFailure::Broken),
        (io::ErrorKind::Other, StoreFailure::Broken),
    ] {
        assert_eq!(Failed::from(io::Error::from(kind)).failure, failure, "{kind}");
    }
    // ENOSPC and EDQUOT of Linux.
    assert_eq!(Failed::from(io::Error::from_raw_os_error(28)).failure, StoreFailure::Full);
    assert_eq!(Failed::from(io::Error::from_raw_os_error(122)).failure, StoreFailure::Full);
}

#[test]
fn a_key_that_cannot_be_kept_fails_alone() {
    let mut on_disk = OnDisk::new();
    on_disk.commit(Ticket(1), put(&[(b"a", b"1"), (b"", b"2")]));
    assert_eq!(on_disk.answer(), StoreAnswer::CommitFailed(Ticket(1), StoreFailure::Broken));
    on_disk.commit(Ticket(2), put(&[(&[7; 70_000], b"2")]));
    assert_eq!(on_disk.answer(), StoreAnswer::CommitFailed(Ticket(2), StoreFailure::Broken));
    on_disk.commit(Ticket(3), put(&[(b"b", b"3")]));
    assert_eq!(on_disk.answer(), StoreAnswer::Committed(Ticket(3)));
    on_disk.load(Ticket(4), all());
    let StoreAnswer::Loaded { rows, .. } = on_disk.answer() else { panic!("rows") };
    assert_eq!(rows, [row(b"b", b"3")]);
}

/// A disk that is really full. It needs a small file system of its own:
///
/// ```sh
/// mkdir /tmp/small && mount -t tmpfs -o size=8m none /tmp/small
/// ENTENTE_SMALL_FOLDER=/tmp/small cargo test -p entente --lib a_disk_that_is_full -- --ignored
/// umount /tmp/small
/// ```
#[test]
#[ignore = "needs a small file system of its own"]
fn a_disk_that_is_full_has_room_again() {
    let small =
        PathBuf::from(std::env::var("ENTENTE_SMALL_FOLDER").expect("ENTENTE_SMALL_FOLDER names a small file system"));
    let folder = small.join("store");
    // What is freed later.
    let ballasts = ["first", "second"].map(|name| small.join(name));
    for ballast in &ballasts {
        std::fs::write(ballast, vec![7; 1 << 20]).unwrap();
    }
    let mut store = open(&folder).unwrap().run().unwrap();
    let (mut turn_log, _) = TurnLog::open(&folder).unwrap();
    let mut kept = Vec::new();
    let mut ticket = 0u64;
    let mut commit = |store: &mut Store, kept: &mut Vec<u64>| {
        ticket += 1;
        let [first, other] = [b"a", b"b"].map(|half| [&ticket.to_be_bytes()[..], half].concat());
        store.commit(Ticket(ticket), put(&[(&first, &[1; 30_000]), (&other, &[2; 30_000])]));
        let answer = answers(store, 1).remove(0);
        if answer == StoreAnswer::Committed(Ticket(ticket)) {
            kept.push(ticket);
        }
        answer
    };
    let full = |answer: &StoreAnswer| matches!(answer, StoreAnswer::CommitFailed(_, StoreFailure::Full));
    let whole = |found: Result<(Vec<StoredRow>, bool), ReadError>, kept: &[u64]| {
        let keys: Vec<_> = found.unwrap().0.into_iter().map(|row| row.key).collect();
        let expected =
            kept.iter().flat_map(|ticket| [b"a", b"b"].map(|half| [&ticket.to_be_bytes()[..], half].concat()));
        assert_eq!(keys, expected.collect::<Vec<_>>());
    };
    let reader = store.reader();
    // Twice, with what the first time has left behind.
    for (ballast, round) in ballasts.iter().zip(1..) {
        let refused = loop {
            let answer = commit(&mut store, &mut kept);
            if !matches!(answer, StoreAnswer::Committed(_)) {
                break answer;
            }
            assert!(kept.len() < 1000, "this file system is not small");
        };
        assert!(full(&refused), "{refused:?}");
        // It stays full, and can be read.
        while store.counters().failed_commits[0] < round * 50 {
            let answer = commit(&mut store, &mut kept);
            assert!(full(&answer) || matches!(answer, StoreAnswer::Committed(_)), "{answer:?}");
        }
        turn_log.append(crate::driver::now(), &[&[0, 4][..], &[9; 1024]].concat().repeat(1000));
        whole(reader.find(all()), &kept);
        std::fs::remove_file(ballast).unwrap();
        let begun = kept.len();
        while kept.len() == begun {
            commit(&mut store, &mut kept);
        }
        whole(reader.find(all()), &kept);
    }
    assert!(!folder.join(DAMAGED).exists());
    println!("{:?} {:?}", store.counters(), turn_log.counters());
    drop(store);
    let store = open(&folder).unwrap().run().unwrap();
    whole(store.reader().find(all()), &kept);
}

/// Orders one batch, and is always ready.
struct Ordering(turn::Output);

impl turn::Machine for Ordering {
    fn handle_input(&mut self, _: std::time::Instant, _: turn::Input<'_>) -> usize {
        0
    }

    fn handle_timeout(&mut self, _: std::time::Instant) {}

    fn poll_timeout(&self) -> Option<(std::time::Instant, &'static str)> {
        None
    }

    fn output(&mut self) -> &mut turn::Output {
        &mut self.0
    }
}

impl crate::driver::Hosted for Ordering {}

#[test]
fn a_gateway_is_not_ready_while_its_store_is_broken_and_is_while_it_is_full() {
    use crate::driver::{Control, Driver, Wiring};
    for (failure, ready) in [(StoreFailure::Full, true), (StoreFailure::Broken, false)] {
        let long = Pauses { first: Duration::from_secs(3600), longest: Duration::from_secs(3600) };
        let (gate, store) = gate(long, Vec::new());
        let reader = store.reader();
        let mut machine = Ordering(turn::Output::new());
        machine.0.commit(put(&[(b"a", b"1")]));
        let wiring = Wiring { store: Some(store), ..Wiring::new("test") };
        let names = Arc::new(crate::net::Names::new());
        let (driver, controls) = Driver::new(vec![(Box::new(machine), wiring)], names);
        let driver = std::thread::spawn(move || driver.run().unwrap());
        let report = || {
            let (sender, told) = tokio::sync::oneshot::channel();
            controls.blocking_send(Control::Report(sender)).unwrap();
            told.blocking_recv().unwrap()
        };
        assert!(report().ready);
        gate.send(Err(Failed { failure, cause: "the test wants it so".into() })).unwrap();
        // It is done behind the batch.
        reader.find(all()).unwrap_err();
        let report = report();
        assert_eq!(report.ready, ready, "{failure:?}");
        assert_eq!(report.metrics.value("entente_store_up", &[]), Some(0));
        let labels = [("order", "commit"), ("reason", ["full", "broken"][failure as usize])];
        assert_eq!(report.metrics.value("entente_store_failures_total", &labels), Some(1));
        controls.blocking_send(Control::Stop).unwrap();
        driver.join().unwrap();
    }
}
