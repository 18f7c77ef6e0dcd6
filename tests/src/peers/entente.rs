//! The gateway under test: the program `entente` as its users run it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::folder::Folder;
use super::process::{Process, tethered};

/// A running gateway.
#[derive(Debug)]
pub struct Entente {
    process: Process,
}

impl Entente {
    /// `entente run` with this configuration.
    pub fn start(folder: &Folder, config: &str) -> Self {
        let config = folder.write("gateway.toml", config);
        let mut command = Self::command();
        command.args(["run", "--config"]).arg(config).current_dir(folder.path());
        // As patient with its server as it can be: the server of a busy machine may take more than the usual two seconds.
        command.env("ENTENTE_ANSWERS__WINDOW", "3.2s");
        Self { process: Process::start("entente", command, &folder.join("entente.log")) }
    }

    /// The program, without arguments.
    pub fn command() -> Command {
        tethered(&binary())
    }

    /// All it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Whether it knows that it is the component for this domain, which its server knows before.
    pub fn is_component(&self, domain: &str) -> bool {
        let log = self.log();
        let of_domain =
            |line: &&str| line.contains("component stream ") && line.contains(&format!("domain=\"{domain}\""));
        log.lines().rfind(of_domain).is_some_and(|line| line.contains("component stream up"))
    }

    /// The process, for signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Asks it to end and returns its exit code, `None` if it has not ended within `span`.
    pub fn end(&mut self, span: Duration) -> Option<i32> {
        self.process.ask_to_end();
        self.process.wait(span)
    }
}

/// `ENTENTE_BIN`, or the program beside this test's own folder (`target/debug/entente` for `target/debug/deps/peers-…`).
fn binary() -> PathBuf {
    let path = std::env::var_os("ENTENTE_BIN").map_or_else(
        || {
            let test = std::env::current_exe().expect("a test knows its own path");
            let deps = test.parent().and_then(std::path::Path::parent).expect("tests lie in target/<profile>/deps");
            deps.join("entente")
        },
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "the gateway is not built: {} is missing; `cargo build -p entente`, or set ENTENTE_BIN, or run ./test, which does both",
        path.display()
    );
    path
}
