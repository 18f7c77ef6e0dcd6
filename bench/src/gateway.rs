//! The gateway as a child process: its configuration, its CPU, its end.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::clock::{Clock, SECOND};
use crate::options::{Journal, Options};

/// Every address under its own name on both sides, the UAS as next hop, this generator as XMPP server.
const CONFIGURATION: &str = include_str!("../gateway.toml");

/// A gateway that is told to end may first finish what is open, but its XMPP server is no longer there: after the first of
/// these times it is told again, after the second it is ended.
const PATIENCE: [u64; 2] = [SECOND, 5 * SECOND];

/// A gateway that we started, or one that others did.
pub(crate) enum Gateway {
    Ours(Running),
    Theirs { pids: Vec<u32>, pidfiles: Vec<PathBuf> },
}

/// Our child; ended when dropped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
    /// Configuration and data; removed with it.
    _directory: TempDir,
}

impl Gateway {
    pub(crate) fn start(options: &Options) -> Result<Self> {
        let gateway = &options.gateway;
        if gateway.no_gateway {
            return Ok(Self::Theirs { pids: gateway.pid.clone(), pidfiles: gateway.pidfile.clone() });
        }
        let directory = tempfile::tempdir().context("cannot make a directory for the gateway")?;
        let log = gateway.gateway_log.clone().unwrap_or_else(|| directory.path().join("log"));
        let mut command = match &gateway.gateway {
            Some(program) => {
                let template = match &gateway.gateway_config {
                    Some(file) => {
                        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
                    }
                    None => [CONFIGURATION, journal_section(gateway.journal)].concat(),
                };
                let configuration = template
                    .replace("{gateway-sip}", &options.gateway_sip.to_string())
                    .replace("{sip-listen}", &options.sip_listen.to_string())
                    .replace("{xmpp-listen}", &options.xmpp_listen.to_string())
                    .replace("{directory}", &directory.path().to_string_lossy());
                let file = directory.path().join("gateway.toml");
                fs::write(&file, configuration).context("cannot write the gateway's configuration")?;
                // The child has another working directory; what is no path is looked for by the system.
                let mut command = Command::new(program.canonicalize().unwrap_or_else(|_| program.clone()));
                command.arg("run").arg("--config").arg(file);
                command
            }
            None => mirror_command(options)?,
        };
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).current_dir(directory.path());
        // A child inherits the affinity of who starts it: so all its threads have it from their first instruction.
        let own = sched_getaffinity(Pid::this())?;
        if let Some(cpu) = gateway.gateway_cpu {
            stay_on(cpu)?;
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()));
        sched_setaffinity(Pid::this(), &own)?;
        Ok(Self::Ours(Running { child: child?, log, _directory: directory }))
    }

    /// The processes to observe. Files that name them are read now: the gateway must be up.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        match self {
            Self::Ours(running) => Ok(vec![running.child.id()]),
            Self::Theirs { pids, pidfiles } => {
                let mut all = pids.clone();
                for file in pidfiles {
                    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
                    all.push(text.trim().parse().with_context(|| format!("no process number in {}", file.display()))?);
                }
                Ok(all)
            }
        }
    }

    /// An error with what the gateway last said when our child has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Self::Ours(running) = self
            && let Some(status) = running.child.try_wait()?
        {
            bail!("the gateway ended ({status}); its last words:\n{}", running.last_words());
        }
        Ok(())
    }

    pub(crate) fn last_words(&self) -> String {
        match self {
            Self::Ours(running) => running.last_words(),
            Self::Theirs { .. } => String::new(),
        }
    }
}

impl Running {
    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn stop(&mut self) -> Option<ExitStatus> {
        // A process number is never negative nor as large as this conversion would mind.
        let pid = Pid::from_raw(i32::try_from(self.child.id()).ok()?);
        for patience in PATIENCE {
            let clock = Clock::start();
            // It may have ended by itself meanwhile.
            let _ = kill(pid, Signal::SIGTERM);
            while clock.now() < patience {
                if let Ok(Some(status)) = self.child.try_wait() {
                    return Some(status);
                }
                pause(Duration::from_millis(10));
            }
        }
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.stop();
    }
}

fn journal_section(journal: Option<Journal>) -> &'static str {
    match journal {
        None => "",
        Some(Journal::Away) => "\n[journal]\nfolder = \"{directory}/journal\"\n",
        Some(Journal::Every) => concat!(
            "\n[journal]\nfolder = \"{directory}/journal\"\n",
            "[[journal.keep]]\ndomain = \"*\"\nwhen = \"every\"\n"
        ),
    }
}

fn mirror_command(options: &Options) -> Result<Command> {
    let address = |address: SocketAddr| address.to_string();
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.arg("mirror").args([
        address(options.gateway_sip),
        address(options.sip_listen),
        address(options.xmpp_listen),
    ]);
    if options.gateway.mirror_barrier {
        command.arg("barrier");
    }
    if let Some(fault) = options.gateway.mirror_fault {
        command.arg(format!("{fault:?}").to_lowercase());
    }
    Ok(command)
}

/// Keeps this thread, and what it starts, on one CPU.
pub(crate) fn stay_on(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("there is no CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}

#[expect(clippy::disallowed_methods, reason = "waits for a real process to end")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
