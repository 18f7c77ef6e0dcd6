//! docs/conformance.tsv is evidence: each row has a status, and what it names as shown by a test exists.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

#[test]
fn every_named_test_exists() {
    let table = std::fs::read_to_string(root().join("docs/conformance.tsv")).expect("docs/conformance.tsv");
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("id\tstatus\ttest or reason"));
    let mut seen = std::collections::BTreeSet::new();
    let mut done = 0;
    for line in lines {
        let [id, status, shown] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("three columns: {line}") };
        assert!(seen.insert(id.to_owned()), "{id} stands twice");
        assert!(!shown.trim().is_empty(), "{id} has neither test nor reason");
        match status {
            "done" => {
                done += 1;
                for test in shown.split(", ") {
                    assert_exists(id, test);
                }
            }
            "partial" | "missing" | "never" => {}
            _ => panic!("{id}: {status} is no status"),
        }
    }
    assert!(done > 0);
}

/// A test is `path/to/file.rs::function`, or the path of a transcript.
fn assert_exists(id: &str, test: &str) {
    let (file, function) = match test.split_once("::") {
        Some((file, function)) => (file, Some(function)),
        None => (test, None),
    };
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{id}: there is no {file}"));
    match function {
        Some(function) => assert!(text.contains(&format!("fn {function}(")), "{id}: there is no {function} in {file}"),
        None => assert!(file.ends_with(".txt"), "{id}: {file} names no function"),
    }
}
