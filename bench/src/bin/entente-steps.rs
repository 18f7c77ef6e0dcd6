//! Runs messages through the engine without sockets, to see what the engine itself costs: the time of a message, or its
//! instructions when run under callgrind.
//!
//! `entente-steps sip-to-xmpp|xmpp-to-sip COUNT`

use entente_tests::steady::Steady;
use std::process::ExitCode;
use std::time::Instant;

#[allow(clippy::disallowed_methods, reason = "a benchmark takes the time")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (step, count): (fn(&mut Steady), u64) = match &arguments[..] {
        [workload, count] => match (&**workload, count.parse()) {
            ("sip-to-xmpp", Ok(count)) => (Steady::sip_to_xmpp, count),
            ("xmpp-to-sip", Ok(count)) => (Steady::xmpp_to_sip, count),
            _ => return usage(),
        },
        _ => return usage(),
    };
    let mut steady = Steady::new();
    let start = Instant::now();
    for _ in 0..count {
        step(&mut steady);
    }
    let each = start.elapsed().as_nanos() / u128::from(count.max(1));
    println!("{count} messages, {each} ns each");
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: entente-steps sip-to-xmpp|xmpp-to-sip COUNT");
    ExitCode::from(64)
}
