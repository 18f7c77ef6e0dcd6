//! `entente-bench`: the load generator of entente. `--help` says what it does and how it is used.
//!
//! It is a witness from outside: it knows the two protocols from the wire only and shares no code with the gateway, so an error
//! there cannot hide here. Everything runs in one thread: [`run`] turns the two ends, [`sip_end`] and [`xmpp_end`]; each books
//! what it sees in [`course`].

#![forbid(unsafe_code)]

mod addresses;
mod clock;
mod course;
mod crash;
mod gateway;
mod gauge;
mod latency;
mod mark;
mod mirror;
mod net;
mod options;
mod report;
mod run;
mod sip_end;
mod sip_text;
mod traffic;
mod xml_scan;
mod xmpp_end;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use nix::sys::prctl;

use crate::gateway::Gateway;
use crate::options::Options;
use crate::run::Bench;

fn main() -> ExitCode {
    let outcome = match std::env::args_os().nth(1) {
        // How this program starts itself for `--mirror`.
        Some(word) if word == "mirror" => mirror::run(std::env::args().skip(2)).map(|()| true),
        Some(word) if word == "crash" => crash::run(std::env::args_os().skip(1)),
        _ => options::expand(std::env::args_os()).and_then(|arguments| measure(&Options::parse_from(arguments))),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("entente-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// False when the run was to be strict and was not clean.
fn measure(options: &Options) -> Result<bool> {
    if let Some(cpu) = options.cpu {
        gateway::stay_on(cpu)?;
    }
    // The system would else round our waits up by 50 microseconds, which shows in an open loop.
    prctl::set_timerslack(1_000).context("cannot set the timer slack")?;
    // Messages of an earlier run that a gateway still holds must not count: the process number tells runs apart well enough.
    let mut bench = Bench::new(options, std::process::id() as u16)?;
    let mut gateway = Gateway::start(options)?;
    let measures = bench.run(&mut gateway)?;
    drop(gateway);
    if options.json {
        println!("{}", report::as_json(options, &bench, &measures));
    } else {
        print!("{}", report::as_table(options, &bench, &measures));
    }
    Ok(!options.strict || report::is_clean(&bench))
}
