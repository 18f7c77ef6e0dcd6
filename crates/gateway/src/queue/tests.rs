//! The journal is asked, over the socket and in its folder, with a shelf that the test fills.

use super::ask::{self, Journal, Opened};
use super::command::carry_out;
use super::serve::serve;
use super::*;
use crate::driver::Control;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use turn::Batch;

type Key = (TableId, Vec<u8>);

/// Rows of all tables.
#[derive(Clone, Default)]
struct Rows(Arc<Mutex<BTreeMap<Key, Vec<u8>>>>, Arc<AtomicUsize>);

impl Rows {
    fn put(&self, table: TableId, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.lock().unwrap().insert((table, key.into()), value.into());
    }

    fn keys(&self) -> Vec<Key> {
        self.0.lock().unwrap().keys().cloned().collect()
    }
}

impl Shelf for Rows {
    fn find(&self, query: Query) -> Result<Vec<StoredRow>, String> {
        let Query { table, prefix, after, limit } = query;
        self.1.fetch_add(1, Ordering::SeqCst);
        let rows = self.0.lock().unwrap();
        let found = rows.iter().filter(|((of, key), _)| {
            *of == table && key.starts_with(&prefix) && after.as_ref().is_none_or(|after| key > after)
        });
        Ok(found.take(limit).map(|((_, key), value)| StoredRow { key: key.clone(), value: value.clone() }).collect())
    }
}

impl Opened for Rows {
    fn apply(&self, batch: &Batch) -> Result<(), String> {
        let mut rows = self.0.lock().unwrap();
        for (table, key, value) in batch.changes() {
            match value {
                Some(value) => rows.insert((table, key.to_vec()), value.to_vec()),
                None => rows.remove(&(table, key.to_vec())),
            };
        }
        Ok(())
    }
}

/// A shelf that nothing can be had from.
struct Broken;

impl Shelf for Broken {
    fn find(&self, _: Query) -> Result<Vec<StoredRow>, String> {
        Err("the disk is on fire".into())
    }
}

fn id(text: &str) -> EntryId {
    text.parse().unwrap()
}

/// What the command says on its two ways out, and how it ends.
fn said(journal: &Journal<'_>, command: Command) -> (String, String, Result<Exit, String>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = carry_out(journal, command, &mut out, &mut err).map_err(|error| error.to_string());
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), exit)
}

fn all(json: bool) -> Command {
    Command::List { filter: Filter::default(), json }
}

#[test]
fn names_are_keys_in_hexadecimal_digits() {
    assert_eq!(id("00ff10").key(), [0, 255, 16]);
    assert_eq!(id("00FF10").to_string(), "00ff10");
    let longest = "ab".repeat(LONGEST_KEY);
    assert_eq!(id(&longest).to_string(), longest);
    for wrong in ["", "0", "0g", "+1", "ab cd", "\u{e9}\u{e9}", &"ab".repeat(LONGEST_KEY + 1)] {
        assert_eq!(wrong.parse::<EntryId>(), Err(NoName), "{wrong}");
    }
}

#[test]
fn a_list_goes_from_page_to_page_through_all_tables() {
    let rows = Rows::default();
    let keys: Vec<[u8; 2]> = (0..2 * PAGE as u16 + 7).map(u16::to_be_bytes).collect();
    keys.iter().for_each(|key| rows.put(QUEUE, *key, "x"));
    rows.put(DAMAGED, [9; 3], "y");
    let journal = Journal::Stopped(Box::new(rows));
    let (out, err, exit) = said(&journal, all(true));
    assert_eq!((err.as_str(), exit), ("", Ok(Exit::Done)));
    let listed: Vec<Entry> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&[u8]> = listed.iter().map(|entry| entry.id.key()).collect();
    let expected: Vec<&[u8]> = keys.iter().map(|key| &key[..]).chain([&[9; 3][..]]).collect();
    assert_eq!(names, expected);
    // In text: one line for each.
    let (text, ..) = said(&journal, all(false));
    assert_eq!(text.lines().count(), listed.len());
    assert!(text.starts_with("0000  damaged   1 B are stored: "), "{}", &text[..100]);
}

#[test]
fn an_empty_journal_is_an_empty_list() {
    let journal = Journal::Stopped(Box::new(Rows::default()));
    assert_eq!(said(&journal, all(false)), (String::new(), String::new(), Ok(Exit::Done)));
}

#[test]
fn addresses_and_domains_are_what_is_asked_for() {
    let summary = Summary::Whole {
        since: None,
        until: None,
        from: "juliet@sip.example".into(),
        to: "romeo@xmpp.example".into(),
        why: "link".into(),
        mark: "m".into(),
        content_type: "text/plain".into(),
        octets: 3,
    };
    let damaged = Summary::Damaged { damaged: "its checksum is wrong".into() };
    let filter = |from: &str, to: &str| {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Filter { from: given(from), to: given(to) }
    };
    for (from, to, expected) in [
        ("", "", (true, true)),
        ("juliet@sip.example", "", (true, false)),
        ("", "romeo@xmpp.example", (true, false)),
        ("SIP.example", "xmpp.example", (true, false)),
        ("", "xmpp", (false, false)),
        ("", "romeo", (false, false)),
        ("romeo@xmpp.example", "", (false, false)),
        ("juliet@sip.example", "tybalt@xmpp.example", (false, false)),
    ] {
        let filter = filter(from, to);
        assert_eq!((filter.takes(&summary), filter.takes(&damaged)), expected, "{from:?} {to:?}");
    }
}

/// What strangers wrote neither moves the cursor nor hides where it came from.
#[test]
fn nothing_that_is_shown_commands_the_terminal() {
    let summary = Summary::Whole {
        since: Some("2026-01-01T00:00:00Z".into()),
        until: None,
        from: "a\u{1b}[2Jb@sip.example".into(),
        to: "c\u{202e}d@xmpp.example".into(),
        why: "e\nf".into(),
        mark: "g".into(),
        content_type: "text/plain\r\nState: waiting".into(),
        octets: 3,
    };
    let entry = Entry { id: id("ab"), state: State::GivenUp, stored: 9, summary };
    let mut out = Vec::new();
    print::line(&entry, &mut out).unwrap();
    let line = String::from_utf8(out).unwrap();
    let expected = "ab  given up  2026-01-01T00:00:00Z  unknown                     3 B  \
                    a\u{fffd}[2Jb@sip.example -> c\u{fffd}d@xmpp.example  (e\u{fffd}f)\n";
    assert_eq!(line, expected);

    let mut out = Vec::new();
    print::text(&entry, Some(b"one\r\n\ttwo\x1b]0;x\x07\n"), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("\n\none\n\ttwo\u{fffd}]0;x\u{fffd}\n\n"), "{text:?}");
    assert_eq!(text.lines().filter(|line| line.starts_with("State:")).count(), 1, "{text}");
    let mut out = Vec::new();
    print::text(&entry, Some(b"\xff\xfe"), &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().ends_with("\n\nThis is no text: --raw gives the bytes.\n"));
}

#[test]
fn what_is_dropped_in_the_folder_is_gone_from_every_table() {
    let rows = Rows::default();
    for (table, key) in [(QUEUE, [1]), (QUEUE, [2]), (DEAD, [2]), (QUEUE, [3]), (DAMAGED, [4])] {
        rows.put(table, key, "x");
    }
    let journal = Journal::Stopped(Box::new(rows.clone()));
    let drop = |ids: &[&str]| Command::Drop { ids: ids.iter().map(|text| id(text)).collect() };
    let (out, err, exit) = said(&journal, drop(&["02", "04", "05", "02"]));
    assert_eq!(out, "02 dropped\n04 dropped\n02 dropped\n");
    assert_eq!((err.as_str(), exit), ("05 is not there\n", Ok(Exit::Missing)));
    assert_eq!(rows.keys(), [(QUEUE, vec![1]), (QUEUE, vec![3])]);
    // A part of a name names nobody.
    rows.put(QUEUE, [6, 6], "x");
    let show = Command::Show { id: id("06"), form: Form::Text };
    assert_eq!(said(&journal, show), (String::new(), "06 is not there\n".into(), Ok(Exit::Missing)));
    assert_eq!(said(&journal, drop(&["06"])).2, Ok(Exit::Missing));
    assert_eq!(said(&journal, drop(&["0606"])), ("0606 dropped\n".into(), String::new(), Ok(Exit::Done)));
}

/// A gateway whose engine keeps what is on the shelf.
struct Gateway {
    folder: tempfile::TempDir,
    _door: Door,
}

impl Gateway {
    /// With `slow`, its store forgets only after somebody has looked whether it has.
    fn run(shelf: impl Shelf + Send + Sync + 'static, rows: Rows, slow: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let door = Door::open(folder.path()).unwrap();
        let listener = door.listener().unwrap();
        let (driver, mut controls) = tokio::sync::mpsc::channel(16);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, Arc::new(shelf), driver)).unwrap();
        });
        std::thread::spawn(move || {
            while let Some(control) = controls.blocking_recv() {
                let Control::DropEntries(keys, answer) = control else { panic!("{control:?}") };
                let there = |key: &Vec<u8>| rows.keys().contains(&(QUEUE, key.clone()));
                let known = keys.iter().map(there).collect();
                let looked = rows.1.load(Ordering::SeqCst);
                let _ = answer.send(known);
                while slow && rows.1.load(Ordering::SeqCst) == looked {
                    std::thread::yield_now();
                }
                for key in keys {
                    let mut rows = rows.0.lock().unwrap();
                    [QUEUE, DAMAGED].into_iter().for_each(|table| drop(rows.remove(&(table, key.clone()))));
                }
            }
        });
        Self { folder, _door: door }
    }

    fn find(&self) -> Journal<'_> {
        ask::find(self.folder.path(), |_| panic!("the gateway runs")).unwrap()
    }

    /// What it says to one line.
    fn says_to(&self, line: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.folder.path().join(SOCKET)).unwrap();
        // It may have heard enough before the end.
        let _ = stream.write_all(line);
        let mut answer = String::new();
        let _ = BufReader::new(stream).read_line(&mut answer);
        answer
    }
}

#[test]
fn a_running_gateway_answers_over_its_socket() {
    let rows = Rows::default();
    (1..=3).for_each(|key| rows.put(QUEUE, [key], "x"));
    rows.put(DAMAGED, [9], "y");
    let gateway = Gateway::run(rows.clone(), rows.clone(), true);
    let mode = std::fs::metadata(gateway.folder.path().join(SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else may ask");
    let journal = gateway.find();
    assert_eq!(said(&journal, all(false)).0.lines().count(), 4);
    let drop = Command::Drop { ids: vec![id("02"), id("07"), id("09")] };
    let out = "02 dropped\n09 dropped\n";
    assert_eq!(said(&journal, drop), (out.into(), "07 is not there\n".into(), Ok(Exit::Missing)));
    // It was told when it was so.
    assert_eq!(rows.keys(), [(QUEUE, vec![1]), (QUEUE, vec![3])]);
}

#[test]
fn more_entries_than_one_question_takes_are_dropped_by_several() {
    let rows = Rows::default();
    let ids: Vec<EntryId> = (0..MOST_DROPPED as u16 + 5).map(|n| EntryId(n.to_be_bytes().to_vec())).collect();
    ids.iter().for_each(|id| rows.put(QUEUE, id.key(), "x"));
    let gateway = Gateway::run(rows.clone(), rows.clone(), false);
    let at_once = serde_json::to_string(&Request::Drop { ids: ids.clone() }).unwrap() + "\n";
    assert!(gateway.says_to(at_once.as_bytes()).contains("more than 256 entries cannot be dropped at once"));
    assert_eq!(rows.keys().len(), ids.len());
    let (out, _, exit) = said(&gateway.find(), Command::Drop { ids: ids.clone() });
    assert_eq!((out.lines().count(), exit), (ids.len(), Ok(Exit::Done)));
    assert!(rows.keys().is_empty());
}

#[test]
fn what_is_no_question_is_told_so_and_the_next_one_is_answered() {
    let rows = Rows::default();
    rows.put(QUEUE, [1], "x");
    let gateway = Gateway::run(rows.clone(), rows, false);
    for wrong in ["\n", "hello\n", "{\"show\":{\"id\":\"zz\"}}\n", "{\"drop\":{}}\n", &("[".repeat(100_000) + "\n")] {
        let answer = gateway.says_to(wrong.as_bytes());
        assert!(answer.starts_with("{\"failed\":{\"what\":\"this is no question: "), "{answer}");
    }
    // Who says nothing and goes away, too.
    drop(UnixStream::connect(gateway.folder.path().join(SOCKET)).unwrap());
    assert_eq!(said(&gateway.find(), all(false)).2, Ok(Exit::Done));
}

/// Somebody who holds the line is sent away, and does not keep others from asking.
#[tokio::test(start_paused = true)]
async fn a_question_that_does_not_come_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let door = Door::open(folder.path()).unwrap();
    let rows = Rows::default();
    rows.put(QUEUE, [1], "x");
    let (driver, _controls) = tokio::sync::mpsc::channel(1);
    let serving = tokio::spawn(serve(door.listener().unwrap(), Arc::new(rows), driver));
    let mut silent = tokio::net::UnixStream::connect(folder.path().join(SOCKET)).await.unwrap();
    let mut nothing = Vec::new();
    let begun = tokio::time::Instant::now();
    tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut nothing).await.unwrap();
    assert_eq!((nothing.len(), begun.elapsed() >= serve::PATIENCE), (0, true));
    serving.abort();
}

#[test]
fn what_the_store_says_is_passed_on() {
    let gateway = Gateway::run(Broken, Rows::default(), false);
    for command in [all(false), Command::Show { id: id("01"), form: Form::Raw }, Command::Drop { ids: vec![id("01")] }]
    {
        let expected = Err("the disk is on fire".to_owned());
        assert_eq!(said(&gateway.find(), command).2, expected);
    }
}

#[test]
fn a_socket_that_nobody_listens_to_is_no_gateway() {
    let folder = tempfile::tempdir().unwrap();
    drop(Door::open(folder.path()).unwrap());
    assert!(!folder.path().join(SOCKET).exists(), "who ends in order leaves none");
    // Who was killed leaves one, and who comes next makes room for itself.
    drop(std::os::unix::net::UnixListener::bind(folder.path().join(SOCKET)).unwrap());
    let opened = |_: &Path| Ok(Box::new(Rows::default()) as Box<dyn Opened>);
    assert!(matches!(ask::find(folder.path(), opened), Ok(Journal::Stopped(_))));
    let door = Door::open(folder.path()).unwrap();
    assert!(matches!(ask::find(folder.path(), |_| panic!("it runs")), Ok(Journal::Running(_))));
    drop(door);

    let missing = folder.path().join("missing");
    let told = ask::find(&missing, opened).err().unwrap().to_string();
    assert!(told.ends_with("missing: there is no journal here: no gateway has run with this folder"), "{told}");
    // A folder of somebody else's; only the superuser gets as far as to see it.
    if nix::unistd::geteuid().is_root() {
        nix::unistd::chown(folder.path(), Some(4711.into()), None).unwrap();
        let told = ask::find(folder.path(), opened).err().unwrap().to_string();
        assert!(told.ends_with("the journal belongs to user 4711: run this command as that user"), "{told}");
    }
}

#[test]
fn who_may_not_ask_is_told_who_may() {
    let said = |owner, kind: io::ErrorKind| ask::closed(Path::new("/j"), owner, kind.into()).to_string();
    let denied = io::ErrorKind::PermissionDenied;
    assert_eq!(said(Some(7), denied), "/j: the journal belongs to user 7: run this command as that user");
    assert_eq!(said(None, denied), "/j: permission denied: run this command as the user that the gateway runs as");
    assert!(said(Some(7), io::ErrorKind::TimedOut).starts_with("the gateway does not answer: "));
    assert!(said(None, io::ErrorKind::NotADirectory).starts_with("/j: "));
}
