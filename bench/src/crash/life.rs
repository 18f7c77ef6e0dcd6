//! The gateway, from its start until it is killed, and the folder that outlives it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::Addresses;
use super::ledger::{Account, Keeps};

const CONFIGURATION: &str = include_str!("../../gateway.toml");

/// For an answer of a gateway that has all it needs, on a machine that may stop for a while.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Home {
    folder: tempfile::TempDir,
    program: PathBuf,
    admin: SocketAddr,
}

impl Home {
    pub(crate) fn new(program: &Path, addresses: &Addresses, keeps: Keeps) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for the gateway")?;
        let when = match keeps {
            Keeps::Away => "away",
            Keeps::Every => "every",
        };
        let more = format!(
            "[answers]\nwindow = \"0.5s\"\n[admin]\nlisten = \"{}\"\n[journal]\nfolder = \"journal\"\n\
             [[journal.keep]]\ndomain = \"*\"\nwhen = \"{when}\"\n",
            addresses.admin
        );
        let configuration = CONFIGURATION
            .replace("{gateway-sip}", &addresses.gateway.to_string())
            .replace("{sip-listen}", &addresses.phones.to_string())
            .replace("{xmpp-listen}", &addresses.server.to_string())
            + &more;
        fs::write(folder.path().join("gateway.toml"), configuration).context("cannot write the configuration")?;
        let program = program.canonicalize().with_context(|| format!("there is no {}", program.display()))?;
        Ok(Self { folder, program, admin: addresses.admin })
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub(crate) fn last_words(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    pub(crate) fn start(&self) -> Result<Life> {
        let log = File::options().create(true).append(true).open(self.log()).context("cannot write the log")?;
        let child = Command::new(&self.program)
            .args(["run", "--config", "gateway.toml"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Life { child, admin: self.admin })
    }
}

/// Killed when dropped.
pub(crate) struct Life {
    child: Child,
    admin: SocketAddr,
}

impl Life {
    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the gateway ended by itself ({status})");
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// An error when it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the gateway ended by itself ({status})"),
            None => Ok(()),
        }
    }

    /// Whether it can be asked.
    pub(crate) fn is_there(&self) -> bool {
        TcpStream::connect(self.admin).is_ok()
    }

    /// What it says of itself, by its metrics.
    pub(crate) fn account(&mut self) -> Result<Account> {
        let text = self.metrics();
        match text {
            Ok(text) => read(&text),
            Err(error) => {
                self.check()?;
                Err(error)
            }
        }
    }

    fn metrics(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.admin).context("the gateway cannot be asked")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).context("the gateway does not say how it is")?;
        Ok(text)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // It may have ended, or been killed and waited for, already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(metrics: &str) -> Result<Account> {
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<f64>().ok())
            .map(|value| value as u64)
            .ok_or_else(|| anyhow!("no {name} among the metrics:\n{metrics}"))
    };
    Ok(Account {
        restored: value("entente_journal_restored_total")?,
        possible_duplicates: value("entente_journal_possible_duplicates_total")?,
        entries: value("entente_journal_entries")?,
        conversations: value("entente_journal_conversations")?,
        commits: value("entente_store_commits_total")?,
        in_flight: value("entente_operations_in_flight")?,
        orders: value("entente_store_orders_under_way")?,
        stored: value("entente_journal_stored_total")?,
        known: value("entente_journal_known_total")?,
        stream_is_up: value("entente_component_streams_up")? == 1,
    })
}

/// All that is in a folder, as it is now.
pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        let target = to.join(entry.file_name().unwrap_or_default());
        if kind.is_dir() {
            copy(&entry, &target)?;
        } else if kind.is_file() {
            fs::copy(&entry, &target)?;
        }
    }
    Ok(())
}
