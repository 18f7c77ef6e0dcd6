//! Replays what fuzzing has found: `fuzz/corpus/NAME.txt` reaches every corner that is known, `fuzz/found/NAME.txt` once
//! broke a promise. How to look for more stands in `docs/src/fuzzing.md`.

use entente_tests::fuzz::{TARGETS, corpus, try_on};
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("fuzz").join(name)
}

fn replay(kind: &str, target: &str) -> usize {
    let file = folder(kind).join(target).with_extension("txt");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut count = 0;
    for input in corpus::inputs(&text) {
        let outcome = std::panic::catch_unwind(|| try_on(target, &input));
        assert!(outcome.is_ok(), "{target} breaks on {}", corpus::line(&input));
        count += 1;
    }
    count
}

#[test]
fn what_is_known_breaks_nothing() {
    for (target, _) in TARGETS {
        let count = replay("corpus", target);
        assert!(count > 10, "{target}: a corpus of {count} inputs");
        println!("{target}: {count} inputs");
    }
}

#[test]
fn what_was_found_stays_mended() {
    for (target, _) in TARGETS {
        println!("{target}: {} inputs", replay("found", target));
    }
}

/// Each target has its program, and nothing else is there.
#[test]
fn every_target_can_be_fuzzed() {
    let manifest = std::fs::read_to_string(folder("Cargo.toml")).expect("fuzz/Cargo.toml");
    for (target, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"\n")), "{target}");
        let program = std::fs::read_to_string(folder("fuzz_targets").join(target).with_extension("rs"));
        assert!(program.expect(target).contains(&format!("\"{target}\"")), "{target}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
