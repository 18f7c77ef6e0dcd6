//! Files of a store, cut and changed in many places: what stands in them as a whole is found, and nothing else.

use super::*;
use crate::store::tests::{copy, put};
use crate::store::{DAMAGED, DEAD, META, OpenError, ROWS, open};
use std::collections::BTreeMap;
use tempfile::TempDir;

/// Batches of two rows each.
const PAIRS: u8 = 8;

fn pair(number: u8) -> [(Vec<u8>, Vec<u8>); 2] {
    [b"first", b"other"].map(|half| ([&[number][..], half].concat(), vec![number ^ half[0]; 20 + usize::from(number)]))
}

/// A store of [`PAIRS`], one after the other, and what its one journal is.
fn store() -> (TempDir, Vec<u8>) {
    let made = tempfile::tempdir().unwrap();
    let mut opened = open(made.path()).unwrap();
    for number in 0..PAIRS {
        let [first, other] = pair(number);
        opened.apply(&put(&[(&first.0, &first.1), (&other.0, &other.1)])).unwrap();
    }
    drop(opened);
    let folder = tempfile::tempdir().unwrap();
    copy(made.path(), folder.path());
    let octets = std::fs::read(journal(folder.path())).unwrap();
    (folder, octets)
}

fn journal(folder: &Path) -> PathBuf {
    folder.join(ROWS).join("0.jnl")
}

/// Opens a copy of a folder in which something was changed. Gives the numbers of the pairs that are there.
fn found(folder: &Path, change: impl FnOnce(&Path)) -> Result<Vec<u8>, OpenError> {
    let changed = tempfile::tempdir().unwrap();
    copy(folder, changed.path());
    change(changed.path());
    let opened = open(changed.path())?;
    let rows = opened.rows().collect::<Result<Vec<_>, _>>()?;
    drop(opened);
    // Also what was opened once can be opened again.
    let again = open(changed.path())?.rows().collect::<Result<Vec<_>, _>>()?;
    assert_eq!(again, rows);
    let rows: BTreeMap<Vec<u8>, Vec<u8>> = rows.into_iter().map(|(_, row)| (row.key, row.value)).collect();
    let mut numbers = Vec::new();
    for number in 0..PAIRS {
        let [first, other] = pair(number);
        assert_eq!(rows.contains_key(&first.0), rows.contains_key(&other.0), "half a batch: {number}");
        if let Some(value) = rows.get(&first.0) {
            assert_eq!([value, &rows[&other.0]], [&first.1, &other.1], "{number}");
            numbers.push(number);
        }
    }
    assert_eq!(rows.len(), numbers.len() * 2, "rows that nobody wrote");
    Ok(numbers)
}

#[test]
fn every_batch_of_fjall_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path()).unwrap();
    let mut batch = put(&[(b"a", b""), (b"b", &[1; 100_000]), (&[255; 65_535], b"x")]);
    batch.delete(DEAD, b"none");
    batch.put(META, b"more", |value| value.resize(value.len() + 9000, 2));
    opened.apply(&batch).unwrap();
    opened.apply(&put(&[(b"\x01", b"\x01\x02\x03")])).unwrap();
    opened.disk.clear(DEAD);
    drop(opened);
    let octets = std::fs::read(journal(folder.path())).unwrap();
    let octets = without_zeros(&octets);
    let batches = batches(octets);
    // One more with which it was made.
    assert_eq!((batches.len(), gaps(&batches, octets.len())), (4, vec![]));
    assert_eq!(repair(&folder.path().join(ROWS), &folder.path().join(DAMAGED), false).unwrap(), []);
    assert!(!folder.path().join(DAMAGED).exists());
}

#[test]
fn a_number_that_is_out_of_order_is_found() {
    for (numbers, places) in [
        (&[][..], &[][..]),
        (&[7], &[0]),
        (&[1, 2, 3], &[0, 1, 2]),
        (&[1, 900, 2, 3], &[0, 2, 3]),
        (&[10, 11, 2, 12], &[0, 1, 3]),
        (&[1 << 63, 1, 2], &[1, 2]),
        (&[1, 2, 1 << 63], &[0, 1]),
        (&[5, 5, 6], &[0, 2]),
        (&[2, 1, 4, 5], &[0, 2, 3]),
        (&[1, 9, 3], &[0, 1]),
    ] {
        assert_eq!(in_order(numbers), places, "{numbers:?}");
    }
}

#[test]
fn a_journal_that_is_cut_anywhere_has_all_batches_before_the_cut() {
    let (_, octets) = store();
    let whole = batches(&octets);
    assert_eq!(whole.len(), usize::from(PAIRS) + 1);
    for length in 0..=octets.len() {
        let found = batches(&octets[..length]);
        let expected: Vec<_> = whole.iter().filter(|batch| batch.end <= length).cloned().collect();
        assert_eq!(found, expected, "{length}");
    }
}

#[test]
fn an_octet_that_is_changed_costs_one_batch_at_most_and_none_before_it() {
    let (_, octets) = store();
    let whole = batches(&octets);
    for place in 0..octets.len() {
        let hit = whole.iter().position(|batch| batch.contains(&place)).unwrap();
        for mask in [0x01, 0x02, 0x80, 0xff] {
            let mut octets = octets.clone();
            octets[place] ^= mask;
            let found = batches(&octets);
            let lost: Vec<_> = (0..whole.len()).filter(|batch| !found.contains(&whole[*batch])).collect();
            // Where a number has become that of the next batch, either of them could be the wrong one.
            let number = whole[hit].start + 5..whole[hit].start + 13;
            let next = number.contains(&place).then_some(hit + 1);
            assert!(
                lost.len() <= 1 && lost.iter().all(|lost| *lost == hit || Some(*lost) == next),
                "{place} {mask} {lost:?}"
            );
            assert_eq!(found.len() + lost.len(), whole.len(), "{place} {mask}");
        }
    }
}

/// Some places of every part of a journal: in the batches of the first, a middle and the last pair.
fn places(octets: &[u8]) -> Vec<(usize, Range<usize>, u8)> {
    let batches = batches(octets);
    let mut places = Vec::new();
    for number in [0, PAIRS / 2, PAIRS - 1] {
        let batch = &batches[usize::from(number) + 1];
        for place in [0, 1, 12, 13, 14, 25, 27, 31, 35, 40, batch.len() - 13, batch.len() - 1] {
            places.push((batch.start + place, batch.clone(), number));
        }
    }
    places
}

#[test]
fn a_store_whose_last_write_was_cut_short_opens_with_the_rest() {
    let (folder, octets) = store();
    for (place, _, number) in places(&octets) {
        let numbers = found(folder.path(), |folder| {
            // What was reserved is still there.
            std::fs::write(journal(folder), [&octets[..place], &[0; 5000]].concat()).unwrap();
        });
        assert_eq!(numbers.unwrap(), (0..number).collect::<Vec<_>>(), "{place}");
    }
}

#[test]
fn a_store_that_is_damaged_in_the_middle_opens_with_what_stands_on_both_sides() {
    let (folder, octets) = store();
    for (place, batch, number) in places(&octets) {
        let mut wrong = octets.clone();
        wrong[place] ^= 0x80;
        let numbers = found(folder.path(), |folder| {
            std::fs::write(journal(folder), &wrong).unwrap();
            let damages = repair(&folder.join(ROWS), &folder.join(DAMAGED), false).unwrap();
            let [damage] = &damages[..] else { panic!("one place, not {damages:?}") };
            assert_eq!((damage.octets, damage.inside), (batch.len(), number < PAIRS - 1));
            // Nothing was thrown away.
            assert_eq!(std::fs::read(damage.aside.as_ref().unwrap()).unwrap(), wrong[batch.clone()]);
        });
        let rest: Vec<_> = (0..PAIRS).filter(|other| *other != number).collect();
        assert_eq!(numbers.unwrap(), rest, "{place}");
    }
}

#[test]
fn a_store_that_does_not_say_what_it_is_is_refused() {
    let (folder, octets) = store();
    let first = batches(&octets)[0].clone();
    let error = found(folder.path(), |folder| {
        std::fs::write(journal(folder), &octets[first.end..]).unwrap();
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("the store is damaged and cannot be opened (it does not say its version)"), "{error}");
    let error = found(folder.path(), |folder| std::fs::remove_file(folder.join(ROWS).join("version")).unwrap());
    assert!(matches!(error, Err(OpenError::Damaged { .. })));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

/// The rows stand in a sorted file here, as they do in a store that has been in use for a while.
#[test]
fn a_damaged_file_of_the_tables_is_noticed() {
    let (made, _) = store();
    let opened = open(made.path()).unwrap();
    opened.disk.sort();
    drop(opened);
    let folder = tempfile::tempdir().unwrap();
    copy(made.path(), folder.path());
    let all: Vec<_> = (0..PAIRS).collect();
    assert_eq!(found(folder.path(), |_| {}).unwrap(), all);
    let mut outcomes = BTreeMap::<String, [usize; 2]>::new();
    for file in files(&folder.path().join(ROWS)) {
        let octets = std::fs::read(&file).unwrap();
        let name = file.strip_prefix(folder.path()).unwrap();
        let mut changes: Vec<Vec<u8>> = Vec::new();
        for part in 0..12 {
            let place = octets.len() * part / 12;
            if let Some(octet) = octets.get(place) {
                let mut wrong = octets.clone();
                wrong[place] = octet ^ 0x41;
                changes.push(wrong);
                changes.push(octets[..place].to_vec());
            }
        }
        for wrong in changes {
            let numbers = found(folder.path(), |folder| std::fs::write(folder.join(name), &wrong).unwrap());
            let refused = match numbers {
                Ok(numbers) => {
                    assert_eq!(numbers, all, "{} has lost rows without a word", name.display());
                    false
                }
                Err(_) => true,
            };
            outcomes.entry(name.display().to_string()).or_default()[usize::from(refused)] += 1;
        }
    }
    println!("{outcomes:#?}");
    assert!(outcomes.values().any(|[_, refused]| *refused > 0), "{outcomes:?}");
}
