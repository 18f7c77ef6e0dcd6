//! The program and the folder of its journal: what it says of a folder that it cannot work with.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod stage;

use gateway::store;
use stage::Stage;
use std::path::Path;
use turn::Batch;

/// Something outside is not as the configuration says (EX_UNAVAILABLE).
const UNAVAILABLE: i32 = 69;

fn with_journal(stage: &Stage, folder: &Path) -> String {
    format!("{}[journal]\nfolder = \"{}\"\n", stage.config(), folder.display())
}

/// Runs a gateway that does not start, and gives what it says.
fn refused(folder: &Path) -> String {
    let stage = Stage::new();
    let mut gateway = stage.run_with(&with_journal(&stage, folder));
    assert_eq!(gateway.wait().code(), Some(UNAVAILABLE));
    std::fs::read_to_string(stage.folder.path().join("log")).unwrap()
}

#[test]
fn a_second_gateway_does_not_touch_the_folder_of_the_first() {
    let stage = Stage::new();
    let folder = stage.folder.path().join("journal");
    let _gateway = stage.run_with(&with_journal(&stage, &folder));
    stage.told();
    let said = refused(&folder);
    let told = format!("journal.folder: {}: another gateway works with this folder\n", folder.display());
    assert!(said.ends_with(&told) && said.matches("another gateway").count() == 1, "{said}");
}

#[test]
fn a_gateway_says_which_file_of_its_store_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = store::open(folder.path()).unwrap();
    let mut batch = Batch::default();
    batch.put(store::DEAD, b"key", |value| value.extend_from_slice(b"value"));
    opened.apply(&batch).unwrap();
    drop(opened);
    let current = folder.path().join("rows").join("keyspaces").join("1").join("current");
    let mut octets = std::fs::read(&current).unwrap();
    octets[9] ^= 1;
    std::fs::write(&current, &octets).unwrap();
    let said = refused(folder.path());
    assert!(
        said.contains("the store is damaged and cannot be opened (rows/keyspaces/1/v0 is not what was written)"),
        "{said}"
    );
    // It was left as it is.
    octets[9] ^= 1;
    std::fs::write(&current, &octets).unwrap();
    assert_eq!(store::open(folder.path()).unwrap().rows().count(), 1);
}

#[test]
fn a_gateway_does_not_start_with_the_store_of_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut batch = Batch::default();
    batch.put(store::META, b"version", |value| value.extend_from_slice(&7u32.to_le_bytes()));
    store::open(folder.path()).unwrap().apply(&batch).unwrap();
    let said = refused(folder.path());
    assert!(said.contains("the store is of version 7, and this program knows version 1"), "{said}");
}
