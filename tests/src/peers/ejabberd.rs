//! ejabberd: the other XMPP server that the gateway is a component of.
//!
//! Started as an Erlang node without a name: no epmd, no cookie, nothing shared with an ejabberd of this machine.

use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::process::{Process, Program};
use super::prosody::PASSWORD;
use crate::ports::free_port;

const ERL: Program = Program { path: "/usr/bin/erl", package: "ejabberd" };
const TEMPLATE: &str = include_str!("../../peers/servers/ejabberd.yml");

/// What it prints once it has started and has its accounts.
const READY: &str = "accounts are there";

/// What it logs when the component has shown that it knows the secret.
pub const COMPONENT_IS_UP: &str = "Accepted external component handshake authentication";

/// A running ejabberd with one domain and places for components.
#[derive(Debug)]
pub struct Ejabberd {
    process: Process,
    home: PathBuf,
    log: PathBuf,
    starts: u32,
    /// Where clients connect.
    pub c2s_port: u16,
    /// Where components connect.
    pub component_port: u16,
}

impl Ejabberd {
    /// Starts it for `domain` with these accounts, and components that must know `secret`.
    pub fn start(folder: &Folder, domain: &str, components: &[&str], secret: &str, users: &[&str]) -> Self {
        let components: String = components
            .iter()
            .map(|component| format!("      \"{component}\":\n        password: \"{secret}\"\n"))
            .collect();
        Self::start_as(folder, domain, users, |config, _| config.replace("@COMPONENTS@", &components))
    }

    /// Starts it with another configuration than usual: `change` gets that, without components, and the port for them.
    pub fn start_as(folder: &Folder, domain: &str, users: &[&str], change: impl FnOnce(String, u16) -> String) -> Self {
        let installed = libraries().read_dir().is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("ejabberd-"))
        });
        assert!(installed, "ejabberd is missing: `apt-get install ejabberd`, or let ./test install it");
        let c2s_port = free_port();
        let component_port = free_port();
        let config = TEMPLATE
            .replace("@C2S_PORT@", &c2s_port.to_string())
            .replace("@COMPONENT_PORT@", &component_port.to_string())
            .replace("@DOMAIN@", domain);
        let home = folder.make("ejabberd");
        folder.write("ejabberd/ejabberd.yml", change(config, component_port));
        let accounts: Vec<String> = users.iter().map(|user| format!("<<\"{user}\">>")).collect();
        let register = format!(
            "[ok = ejabberd_auth:try_register(User, <<\"{domain}\">>, <<\"{PASSWORD}\">>) || User <- [{}]]",
            accounts.join(", ")
        );
        let log = folder.join("ejabberd.log");
        let process = launch(&home, &log, &register);
        let mut ejabberd = Self { process, home, log, starts: 1, c2s_port, component_port };
        ejabberd.process.wait_for_log(READY);
        ejabberd
    }

    /// Ends it as an operator would.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it again after [`Ejabberd::stop`], with the same ports, accounts and stored messages.
    pub fn restart(&mut self) {
        self.starts += 1;
        let log = self.log.with_extension(format!("{}.log", self.starts));
        self.process = launch(&self.home, &log, "ok");
        self.process.wait_for_log(READY);
    }

    /// All it has logged since its last start.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process, for signals.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// Where Debian keeps what Erlang loads.
fn libraries() -> PathBuf {
    PathBuf::from(format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH))
}

/// Starts a node that carries out `order`, an Erlang expression, once ejabberd has started.
fn launch(home: &Path, log: &Path, order: &str) -> Process {
    let mut command = ERL.command();
    command
        .current_dir(home)
        .env("ERL_LIBS", libraries())
        .env("ERL_CRASH_DUMP", home.join("crash.dump"))
        .env("HOME", home);
    // Its threads wait by giving way again and again, which on a core that is busy with others takes minutes: none of that.
    command.args(["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]);
    command.args(["-noinput", "-mnesia", "dir", &quoted(&home.join("database"))]);
    let config = quoted(&home.join("ejabberd.yml"));
    command.args(["-ejabberd", "config", &config, "log_path", &quoted(&home.join("ejabberd.log"))]);
    command.args(["-s", "ejabberd", "-eval", &format!("{order}, io:format(\"{READY}~n\").")]);
    Process::start("ejabberd", command, log)
}

/// A path as an Erlang string.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}
