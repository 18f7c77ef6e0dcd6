//! Arguments and exit codes of `entente`.

#![forbid(unsafe_code)]

use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand};
use engine::Engine;
use gateway::assembly;
use gateway::config::{self, Config, Log, LogFormat, Overrides};
use gateway::driver::{self, Ended};
use gateway::program::{self, Reloader, Surroundings};
use gateway::queue::{self, EntryId, Exit, Filter, Form, RunError};
use gateway::sandbox::{self, NewUser, Options, SandboxError};
use gateway::telemetry;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The configuration or the arguments are wrong (EX_USAGE).
const WRONG_USE: u8 = 64;
/// Something outside is not as the configuration says: an address is taken, a name unknown (EX_UNAVAILABLE).
const UNAVAILABLE: u8 = 69;
/// The gateway ended while something was open, or an entry was not there.
const UNFINISHED: u8 = 1;

/// A gateway between XMPP and SIP instant messaging.
#[derive(Parser)]
#[command(name = "entente", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway until a signal ends it: SIGTERM and SIGINT let it finish what is open, a second one does not; SIGHUP
    /// lets it read its configuration again.
    Run(Configured),
    /// Checks the configuration and tells everything that is wrong with it.
    Check(Configured),
    /// Runs an XMPP domain, a SIP domain and the gateway between them on this machine, to try it out or to test against.
    Sandbox(Sandbox),
    /// Looks at the messages that are kept, whether or not the gateway runs.
    Queue(Queue),
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

impl Configured {
    fn overrides(&self) -> Overrides {
        Overrides { log_level: self.log_level.clone(), log_format: self.log_format.clone() }
    }
}

#[derive(Args)]
struct Sandbox {
    /// Where the ports lie: SIP 60 above it, health and metrics 80, XMPP 222; 61 and 223 are the gateway's own.
    #[arg(long, value_name = "PORT", default_value_t = 25_000, value_parser = port_base)]
    port_base: u16,
    /// One more user of the XMPP domain; may be given several times.
    #[arg(long = "xmpp-user", value_name = "NAME:PASSWORD")]
    xmpp_users: Vec<NewUser>,
    /// One more user of the SIP domain; may be given several times.
    #[arg(long = "sip-user", value_name = "NAME:PASSWORD")]
    sip_users: Vec<NewUser>,
    /// Shows on standard error what the two domains send and receive.
    #[arg(long)]
    wire: bool,
    /// Writes JSON, one object per line, in place of text.
    #[arg(long)]
    json: bool,
    /// Written when everything is ready, with addresses and accounts as JSON; removed at the end.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Sends one message each way, tells what came of them, and ends: with 0, or with 1 and the reason.
    #[arg(long)]
    once: bool,
    /// What to log on standard error: off, error, warn, info, debug, trace, or a list such as info,sip=debug.
    #[arg(long, value_name = "LEVEL", default_value = "warn", value_parser = config::log_level)]
    log_level: String,
}

#[derive(Args)]
struct Queue {
    #[command(subcommand)]
    command: QueueCommand,
    /// The configuration: its journal.folder is looked into.
    #[arg(long, value_name = "FILE", default_value = "gateway.toml", global = true)]
    config: PathBuf,
}

#[derive(Subcommand)]
enum QueueCommand {
    /// One line for each entry: its name, where it stands, when it came, until when it is kept, its size, who wrote it to whom,
    /// and why it was kept.
    List {
        /// Only what this address, or whoever of this domain, wrote.
        #[arg(long, value_name = "ADDRESS")]
        from: Option<String>,
        /// Only what is for this address, or for whoever of this domain.
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
        /// Writes JSON, one object per line, in place of text.
        #[arg(long)]
        json: bool,
    },
    /// Everything of one entry, with what it says.
    Show {
        /// Its name, as the list has it.
        id: EntryId,
        /// Writes the bytes of its content, as they came, and nothing else.
        #[arg(long, conflicts_with = "json")]
        raw: bool,
        /// Writes JSON, with the content in base64, in place of text.
        #[arg(long)]
        json: bool,
    },
    /// Forgets entries: they will not be delivered, and nobody is told.
    Drop {
        /// Their names, as the list has them.
        #[arg(required = true)]
        ids: Vec<EntryId>,
    },
}

impl From<QueueCommand> for queue::Command {
    fn from(command: QueueCommand) -> Self {
        match command {
            QueueCommand::List { from, to, json } => Self::List { filter: Filter { from, to }, json },
            QueueCommand::Show { id, raw: true, .. } => Self::Show { id, form: Form::Raw },
            QueueCommand::Show { id, json: true, .. } => Self::Show { id, form: Form::Json },
            QueueCommand::Show { id, .. } => Self::Show { id, form: Form::Text },
            QueueCommand::Drop { ids } => Self::Drop { ids },
        }
    }
}

fn port_base(text: &str) -> Result<u16, String> {
    let ports = sandbox::PORTS;
    let base = text.parse().ok().filter(|base| ports.contains(base));
    base.ok_or_else(|| format!("must be between {} and {}", ports.start(), ports.end()))
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
        Command::Run(configured) => match load(&configured) {
            Ok(config) => match run(config, configured) {
                Ok(Ended::Quiet) => ExitCode::SUCCESS,
                Ok(Ended::Overdue | Ended::Stopped) => UNFINISHED.into(),
                Err(error) => {
                    eprintln!("{error:#}");
                    UNAVAILABLE.into()
                }
            },
            Err(code) => code,
        },
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
        Command::Sandbox(arguments) => match play(arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                let wrong_user = matches!(error.downcast_ref(), Some(SandboxError::User(_)));
                if wrong_user { WRONG_USE.into() } else { ExitCode::FAILURE }
            }
        },
        Command::Queue(arguments) => look(arguments),
    }
}

fn look(arguments: Queue) -> ExitCode {
    let folder = match config::journal_folder(&arguments.config) {
        Ok(Some(folder)) => folder,
        Ok(None) => {
            eprintln!("{}: journal.folder is not set: nothing is kept", arguments.config.display());
            return WRONG_USE.into();
        }
        Err(errors) => {
            eprintln!("{errors}");
            return WRONG_USE.into();
        }
    };
    // Whoever opens a damaged store is told what was put aside: nobody else will be.
    let log = Log { format: LogFormat::Text, level: "warn".into(), redact_addresses: false };
    if let Err(error) = telemetry::start(&log) {
        eprintln!("the log cannot be started: {error}");
    }
    let (mut out, mut err) = (BufWriter::new(std::io::stdout().lock()), std::io::stderr());
    let ended = queue::run(&folder, arguments.command.into(), &mut out, &mut err);
    match ended.and_then(|exit| Ok(out.flush().map(|()| exit)?)) {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Missing) => UNFINISHED.into(),
        // Who reads it has seen enough.
        Err(RunError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            UNAVAILABLE.into()
        }
    }
}

/// Loads the configuration, or tells what is wrong with it.
fn load(configured: &Configured) -> Result<Config, ExitCode> {
    config::load(&configured.config, &configured.overrides()).map_err(|errors| {
        eprintln!("{errors}");
        WRONG_USE.into()
    })
}

fn run(config: Config, configured: Configured) -> anyhow::Result<Ended> {
    let levels = telemetry::start(&config.log).context("the log cannot be started")?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let Surroundings { next_hops, mut wiring, names, admin, journal } = program::prepare(&config)?;
    let settings = assembly::engine_settings(&config, &next_hops);
    let (engine, questions) = match journal {
        Some(kept) => {
            let (engine, questions) = kept.take_up(settings, seed()?, &mut wiring)?;
            (engine, Some(questions))
        }
        None => (Engine::new(settings, seed()?, driver::now()), None),
    };
    let version = env!("CARGO_PKG_VERSION");
    let listen: Vec<String> = config.sip.listen.iter().map(ToString::to_string).collect();
    tracing::info!(version, ?listen, next_hops = ?next_hops.peers(), "entente runs");
    let overrides = configured.overrides();
    let reloader = Reloader { path: configured.config, overrides, config, next_hops, levels };
    let ended = program::run(vec![(Box::new(engine), wiring)], names, admin, questions, reloader)?;
    tracing::info!(?ended, "entente ends");
    Ok(ended)
}

fn seed() -> anyhow::Result<turn::Seed> {
    let mut seed = turn::Seed::default();
    getrandom::fill(&mut seed).map_err(|error| anyhow!("the system gives no randomness: {error}"))?;
    Ok(seed)
}

fn play(arguments: Sandbox) -> anyhow::Result<()> {
    let Sandbox { port_base, xmpp_users, sip_users, wire, json, ready_file, once, log_level } = arguments;
    let format = if json { LogFormat::Json } else { LogFormat::Text };
    telemetry::start(&Log { format, level: log_level, redact_addresses: false })
        .context("the log cannot be started")?;
    let options = Options { port_base, xmpp_users, sip_users, wire, json, ready_file, once };
    Ok(sandbox::run(&options, seed()?)?)
}
