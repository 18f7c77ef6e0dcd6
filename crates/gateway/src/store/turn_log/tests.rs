use super::*;

#[expect(clippy::disallowed_methods, reason = "somewhere time has to begin")]
fn now() -> Instant {
    Instant::now()
}

fn record(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

fn texts(mut records: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = records.split_first_chunk() {
        let (text, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)));
        texts.push(String::from_utf8(text.to_vec()).unwrap());
        records = rest;
    }
    assert!(records.is_empty());
    texts
}

fn said(folder: &Path) -> Vec<String> {
    texts(&TurnLog::open(folder).unwrap().1)
}

#[test]
fn what_was_said_is_there_after_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, before) = TurnLog::open(folder.path()).unwrap();
    assert!(before.is_empty());
    log.append(now(), &[record("one"), record("two")].concat());
    log.append(now(), &[]);
    log.append(now(), &record("three"));
    assert_eq!(log.counters(), TurnLogCounters { octets: 17, failed: 0, early: 0 });
    // Nobody has ended it: this is what a killed process leaves.
    let (mut log, found) = TurnLog::open(folder.path()).unwrap();
    assert_eq!(texts(&found), ["one", "two", "three"]);
    log.append(now(), &record("four"));
    assert_eq!(said(folder.path()), ["one", "two", "three", "four"]);
}

#[test]
fn a_file_is_kept_until_the_next_is_as_old_as_it_gets() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = TurnLog::open(folder.path()).unwrap().0;
    let begin = now();
    for (second, text) in [(0, "a"), (39, "b"), (40, "c"), (79, "d"), (80, "e")] {
        log.append(begin + Duration::from_secs(second), &record(text));
    }
    // The first file is gone since the third was begun, 41 s after the newest in it.
    assert_eq!(said(folder.path()), ["c", "d", "e"]);
    // Time that goes back changes nothing.
    log.append(begin, &record("f"));
    assert_eq!(said(folder.path()), ["c", "d", "e", "f"]);
    let sizes = ["turns.0", "turns.1"].map(|name| std::fs::metadata(folder.path().join(name)).unwrap().len());
    assert_eq!(sizes, [14, 14]);
}

#[test]
fn files_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = TurnLog::open_limited(folder.path(), 26).unwrap().0;
    for text in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"] {
        log.append(now(), &record(text));
    }
    assert_eq!(log.counters().early, 2);
    assert_eq!(said(folder.path()), ["g", "h", "i", "j", "k", "l", "m", "n"]);
}

#[test]
fn a_record_that_was_cut_short_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = TurnLog::open(folder.path()).unwrap().0;
    log.append(now(), &[record("one"), record("two"), record("three")].concat());
    let path = folder.path().join("turns.1");
    let whole = std::fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let (mut log, found) = TurnLog::open(folder.path()).unwrap();
        let count = [13, 18, 25].iter().filter(|end| **end <= length).count();
        assert_eq!(texts(&found), ["one", "two", "three"][..count], "{length}");
        log.append(now(), &record("more"));
        drop(log);
        assert_eq!(said(folder.path()).last().unwrap(), "more", "{length}");
        std::fs::write(folder.path().join("turns.0"), []).unwrap();
    }
    // What a loss of power leaves may be zeros.
    std::fs::write(&path, [&whole[..13], &[0; 40]].concat()).unwrap();
    assert_eq!(said(folder.path()), ["one"]);
}

#[test]
fn a_log_that_cannot_be_written_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = TurnLog::open(folder.path()).unwrap().0;
    log.append(now(), &record("one"));
    let closed = NAMES.map(|name| File::open(folder.path().join(name)).unwrap());
    let files = std::mem::replace(&mut log.files, closed);
    log.append(now(), &record("two"));
    log.append(now(), &record("three"));
    assert_eq!(log.counters(), TurnLogCounters { octets: 5, failed: 2, early: 0 });
    log.files = files;
    log.append(now(), &record("four"));
    assert_eq!(said(folder.path()), ["one", "four"]);
}
