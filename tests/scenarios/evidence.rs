//! docs/conformance.tsv is evidence: each row has a status, and what it names as shown by a test exists.

use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

#[test]
fn every_named_test_exists() {
    let table = std::fs::read_to_string(root().join("docs/conformance.tsv")).expect("docs/conformance.tsv");
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("id\tstatus\ttest or reason"));
    let mut before = String::new();
    let mut done = 0;
    for line in lines {
        let [id, status, shown] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("three columns: {line}") };
        assert!(*before < *id, "{id} stands twice, or not in its place behind {before}");
        before = id.to_owned();
        assert!(!shown.trim().is_empty(), "{id} has neither test nor reason");
        match status {
            "done" => {
                done += 1;
                for test in shown.split(", ") {
                    assert_exists(id, test);
                }
            }
            "partial" | "missing" | "never" => {
                assert!(shown.split(' ').count() >= 5, "{id}: what is missing, and why, takes words: {shown}");
                // Tests that are named on the way exist as well.
                let words = shown.split([' ', ',', ';', '(', ')']).map(|word| word.trim_end_matches([':', '.']));
                words.filter(|word| word.contains(".rs::")).for_each(|test| assert_exists(id, test));
            }
            _ => panic!("{id}: {status} is no status"),
        }
    }
    assert!(done > 0);
}

/// A test is `path/to/file.rs::function`, or the path of a transcript.
pub(crate) fn assert_exists(id: &str, test: &str) {
    let (file, function) = match test.split_once("::") {
        Some((file, function)) => (file, Some(function)),
        None => (test, None),
    };
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{id}: there is no {file}"));
    match function {
        Some(function) => assert!(is_test(&text, function), "{id}: there is no test {function} in {file}"),
        None => {
            let name = file.strip_prefix("tests/wire/").and_then(|name| name.strip_suffix(".txt"));
            let name = name.unwrap_or_else(|| panic!("{id}: {file} names no function and is no transcript"));
            let played = std::fs::read_to_string(root().join("tests/wire/main.rs")).expect("tests/wire/main.rs");
            assert!(played.contains(&format!("    {name},\n")), "{id}: {file} is not played");
        }
    }
}

/// Whether a function stands in a text behind an attribute that makes it a test.
fn is_test(text: &str, function: &str) -> bool {
    let start = format!("fn {function}(");
    let mut behind_attribute = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            behind_attribute |= line.ends_with("test]") || line.contains("test(");
        } else if !line.starts_with("//") {
            if behind_attribute && line.contains(&start) {
                return true;
            }
            behind_attribute = false;
        }
    }
    false
}
