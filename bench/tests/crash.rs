//! The gateway is killed under load, again and again: nothing is lost that it has answered for, nothing comes twice that it
//! does not count, and order is kept. How fast any of it is does not matter here.
//!
//! `ENTENTE_CRASH_CYCLES` sets how often it is killed with each policy, `ENTENTE_CRASH_SEED` repeats what the dice have said.

mod entente;

use std::process::Command;

use entente_tests::ports::free_address;
use serde_json::Value;

const CYCLES: u32 = 14;
/// Something wrong shows within a few lives, most of the time within one or two.
const CYCLES_UNTIL_NOTICED: u32 = 60;

/// The report, and whether the generator found it good.
fn crash(journal: &str, cycles: u32, more: &[&str]) -> (Value, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entente-bench"));
    command.args(["crash", "--journal", journal, "--cycles", &cycles.to_string(), "--gateway"]).arg(entente::program());
    command.arg("--addresses").args([(); 4].map(|()| free_address().to_string())).args(more);
    let output = command.output().expect("the generator can be started");
    let words = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words}"));
    assert!(words.is_empty(), "{words}\n{report:#}");
    (report, output.status.success())
}

fn number(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    assert!(value.parse::<u32>().is_ok(), "{name} is a number");
    Some(value)
}

fn nothing_is_lost(journal: &str) {
    let cycles = number("ENTENTE_CRASH_CYCLES").map_or(CYCLES, |cycles| cycles.parse().expect("a number"));
    let seed = number("ENTENTE_CRASH_SEED");
    let more: Vec<&str> = seed.iter().flat_map(|seed| ["--seed", seed]).collect();
    let (report, good) = crash(journal, cycles, &more);
    println!("{report:#}");
    assert!(good && report["breaches"] == serde_json::json!({}), "{report:#}");
    let count = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a count is missing: {report:#}"));
    assert_eq!(count(&report["kills"]["all"]), u64::from(cycles) + 1, "{report:#}");
    // A test in which nothing happens would say nothing.
    for happened in ["accepted", "delivered", "stored", "restored"] {
        assert!(count(&report[happened]) > 0, "{happened}: {report:#}");
    }
    assert!(count(&report["kills"]["with_entries"]) > 0, "{report:#}");
    assert!(count(&report["sent"]["xmpp-to-sip"]) > 0, "{report:#}");
}

#[test]
fn nothing_is_lost_where_the_away_are_kept_for() {
    nothing_is_lost("away");
}

#[test]
fn nothing_is_lost_where_every_message_is_kept() {
    nothing_is_lost("every");
}

/// Fails unless the checker finds one of these.
#[track_caller]
fn is_noticed(wrong: &str, as_one_of: &[&str]) {
    let (report, good) = crash("every", CYCLES_UNTIL_NOTICED, &["--first", "--wrong", wrong]);
    assert!(!good, "{report:#}");
    assert!(as_one_of.iter().any(|breach| report["breaches"][breach].is_u64()), "{report:#}");
}

#[test]
fn a_gateway_that_answers_before_anything_is_on_disk_is_noticed() {
    let (report, good) = crash("away", 8, &["--wrong", "answers-early"]);
    assert!(!good && report["breaches"]["LostAccepted"].is_u64(), "{report:#}");
}

#[test]
fn a_gateway_that_forgets_its_journal_is_noticed() {
    is_noticed("forgets-entries", &["AnotherName", "OtherEntries", "LostAccepted", "LostKept"]);
}

#[test]
fn a_gateway_that_revives_what_was_delivered_is_noticed() {
    is_noticed("revives-entries", &["OtherEntries", "UncountedDuplicate", "TakenTwice"]);
}

#[test]
fn a_gateway_that_forgets_its_answers_is_noticed() {
    is_noticed("forgets-answers", &["TakenTwice"]);
}

#[test]
fn a_gateway_that_says_something_twice_is_noticed() {
    is_noticed("repeats", &["UncountedDuplicate", "TakenTwice"]);
}

#[test]
fn a_gateway_that_swaps_messages_is_noticed() {
    is_noticed("swaps", &["Disordered"]);
}
