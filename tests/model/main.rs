//! The real engine against a reference model: seeds draw the traffic, the weather and the faults, and after each run what
//! was told is held against what was true.
//!
//! `ENTENTE_MODEL_SEED=n` replays one seed with all that happened in it; `ENTENTE_MODEL_RUNS=n` runs so many, from
//! `ENTENTE_MODEL_FROM=n` on.

mod ledger;
mod mutant;
mod simulation;
mod store;
mod weather;

use entente_tests::book;
use ledger::BREACHES;
use mutant::MUTANTS;
use simulation::{Simulation, Wrong};
use std::collections::{BTreeMap, BTreeSet};
use weather::{FAULTS, Fault, Weather};

/// Seeds of every run of the tests.
const RUNS: u64 = 150;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// Things that are no faults and have to happen too: a set of seeds in which one of them never does proves nothing about it.
const WANTED: &[&str] = &[
    "answer 202",
    "answer 404",
    "answer 480",
    "answer 503",
    "answer 504",
    "answer 504 unknown",
    "bounce before the answer",
    "bounce after the answer",
    "stream gone",
    "retransmission",
    "receipt",
    "request again after a restart",
    "delivered again",
    "request again after a restart with its branch",
    "answer 202 for what is kept",
    "answer 500",
    "kept and tried again after a refusal",
    "kept and tried again after silence",
    "kept and tried again after a failure of the network",
    "durable and nobody was told",
    "torn batch",
    "torn log",
    "killed in a turn",
    "stanza again",
    "dead letter",
    "error remote-server-timeout",
    "error resource-constraint",
    "error recipient-unavailable",
    "error internal-server-error",
    "again after 302",
    "again after 407",
    "again after 503",
    "destination held off",
    "next hop held off",
    "again after silence",
    "again after a failure of the network",
];

#[test]
fn what_is_told_is_true() {
    let one = number("ENTENTE_MODEL_SEED");
    let from = number("ENTENTE_MODEL_FROM").unwrap_or(0);
    let runs = number("ENTENTE_MODEL_RUNS").unwrap_or(RUNS);
    let seeds = one.map_or(from..from + runs, |seed| seed..seed + 1);
    let mut seen = BTreeMap::<String, usize>::new();
    for seed in seeds {
        let mut simulation = if one.is_some() { Simulation::traced(seed) } else { Simulation::new(seed) };
        simulation.run();
        for line in &simulation.log {
            println!("{line}");
        }
        for (what, times) in &simulation.ledger.seen {
            *seen.entry(what.clone()).or_default() += times;
        }
        let breaches = simulation.ledger.breaches();
        assert!(breaches.is_empty(), "replay with ENTENTE_MODEL_SEED={seed}:\n{breaches:#?}");
    }
    println!("{seen:#?}");
    if one.is_none() {
        let names = FAULTS.iter().map(|row| row.name);
        for what in WANTED.iter().copied().chain(names) {
            assert!(seen.contains_key(what), "{what} never happened: {seen:#?}");
        }
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in [1, 2, 3] {
        let runs = [(); 2].map(|()| {
            let mut simulation = Simulation::new(seed);
            simulation.run();
            simulation.fingerprint()
        });
        assert_eq!(runs[0], runs[1]);
    }
}

fn wrong(seed: u64, row: &mutant::Row, weather: Weather) -> Simulation {
    Simulation::wrong(seed, Wrong { mutant: row.mutant, weather, keeps: row.keeps })
}

/// How often a mutant was caught in this weather, of how many occasions that it had.
fn caught(row: &mutant::Row, weather: &Weather) -> (u32, u32) {
    let (mut caught, mut occasions) = (0, 0);
    for seed in 0..60 {
        let mut simulation = wrong(seed, row, weather.clone());
        simulation.run();
        occasions += u32::from(simulation.applied);
        caught += u32::from(simulation.ledger.breaches().contains_key(&row.breach));
        if occasions == 40 || caught > 0 {
            break;
        }
    }
    (caught, occasions)
}

/// A checker that finds nothing might look at nothing.
#[test]
fn every_mutant_is_caught() {
    let mut missed = Vec::new();
    for row in MUTANTS {
        for (name, weather) in weathers(row) {
            let (caught, occasions) = caught(row, &weather);
            println!("{}: as {:?} in {name}: {caught} of {occasions}", row.what, row.breach);
            if caught == 0 {
                missed.push((row.mutant, name));
            }
        }
    }
    println!("{}", page_part());
    assert!(missed.is_empty(), "{missed:?} were never caught");
}

/// The weathers in which a mutant has to be found.
fn weathers(row: &mutant::Row) -> Vec<(&'static str, Weather)> {
    if row.faults.is_empty() {
        return vec![("any weather", calm(row))];
    }
    row.faults.iter().map(|&fault| (FAULTS[fault as usize].name, calm(row).with(fault))).collect()
}

/// The weather in which a mutant is not found.
fn calm(row: &mutant::Row) -> Weather {
    row.amid.iter().fold(Weather::calm(), |weather, &fault| weather.with(fault))
}

/// A fault that does not happen shows nothing: without it, what only it brings to light stays in the dark.
#[test]
fn a_mutant_that_needs_a_fault_does_no_harm_without_it() {
    for row in MUTANTS.iter().filter(|row| !row.faults.is_empty()) {
        for seed in 0..2 {
            let mut simulation = wrong(seed, row, calm(row));
            simulation.run();
            let found = simulation.ledger.breaches().get(&row.breach);
            assert_eq!(found, None, "{:?} in calm weather, seed {seed}", row.mutant);
        }
    }
}

#[test]
fn every_invariant_and_every_fault_has_a_mutant() {
    let faults: BTreeSet<Fault> = MUTANTS.iter().flat_map(|row| row.faults).copied().collect();
    for (place, row) in FAULTS.iter().enumerate() {
        assert_eq!(row.fault as usize, place, "the table is in order");
        assert!(faults.contains(&row.fault), "{:?} brings no mutant to light", row.fault);
    }
    for (place, (breach, _)) in BREACHES.iter().enumerate() {
        assert_eq!(*breach as usize, place, "the table is in order");
        assert!(MUTANTS.iter().any(|row| row.breach == *breach), "{breach:?} has no mutant");
    }
}

/// The part of the page that says the same.
fn page_part() -> String {
    let mut part =
        String::from("\n## Faults\n\n| fault | what happens | chance, in percent of the occasions |\n|---|---|---|\n");
    for row in FAULTS {
        let mut chances = row.chances.to_vec();
        chances.dedup();
        let chances: Vec<_> = chances.iter().map(u64::to_string).collect();
        part.push_str(&format!("| {} | {} | {} |\n", row.name, row.what, chances.join(", ")));
    }
    part.push_str("\n## Invariants\n\n| breach | what is wrong |\n|---|---|\n");
    for (breach, what) in BREACHES {
        part.push_str(&format!("| {breach:?} | {what} |\n"));
    }
    part.push_str("\n## Mutants\n\n| a wrong engine | is found in this weather | as |\n|---|---|---|\n");
    for row in MUTANTS {
        let names: Vec<_> = weathers(row).iter().map(|(name, _)| *name).collect();
        let amid: Vec<_> = row.amid.iter().map(|&fault| FAULTS[fault as usize].name).collect();
        let amid = if amid.is_empty() { String::new() } else { format!(" (amid: {})", amid.join(", ")) };
        part.push_str(&format!("| {} | {}{amid} | {:?} |\n", row.what, names.join("; "), row.breach));
    }
    part
}

#[test]
fn the_page_says_what_is_looked_for() {
    const MARK: &str = "<!-- From here on the page is made of tests/model. -->\n";
    let page = book::page("simulation.md");
    let (written, part) = page.split_once(MARK).expect("the mark");
    if std::env::var_os("ENTENTE_WRITE_BOOK").is_some() {
        let path = book::folder().join("simulation.md");
        std::fs::write(&path, format!("{written}{MARK}{}", page_part())).expect("the page is written");
    } else {
        assert!(
            part == page_part(),
            "write it anew: ENTENTE_WRITE_BOOK=1 cargo test -p entente-tests --test model the_page"
        );
    }
}
