//! Arguments and exit codes of `entente`.

#![forbid(unsafe_code)]

use clap::{Args, Parser, Subcommand};
use gateway::config::{self, Config, Overrides};
use std::path::PathBuf;
use std::process::ExitCode;

/// The configuration or the arguments are wrong (EX_USAGE).
const WRONG_USE: u8 = 64;

/// A gateway between XMPP and SIP instant messaging.
#[derive(Parser)]
#[command(name = "entente", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks the configuration and tells everything that is wrong with it.
    Check(Configured),
}

#[derive(Args)]
struct Configured {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "gateway.toml")]
    config: PathBuf,
    /// Wins over log.level: off, error, warn, info, debug, trace, or a list such as info,sip=debug.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Wins over log.format: text or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for and go to standard output.
            let code = if error.use_stderr() { WRONG_USE } else { 0 };
            // Nowhere to say that nothing can be said.
            let _ = error.print();
            return code.into();
        }
    };
    match arguments.command {
        Command::Check(configured) => match load(&configured) {
            Ok(config) => {
                for warning in &config.warnings {
                    eprintln!("warning: {warning}");
                }
                println!("OK");
                ExitCode::SUCCESS
            }
            Err(code) => code,
        },
    }
}

/// Loads the configuration, or tells what is wrong with it.
fn load(configured: &Configured) -> Result<Config, ExitCode> {
    let overrides = Overrides { log_level: configured.log_level.clone(), log_format: configured.log_format.clone() };
    config::load(&configured.config, &overrides).map_err(|errors| {
        eprintln!("{errors}");
        WRONG_USE.into()
    })
}
