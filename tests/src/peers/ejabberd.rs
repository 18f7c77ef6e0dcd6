//! ejabberd: the other XMPP server that the gateway is a component of.
//!
//! Started as an Erlang node without a name: no epmd, no cookie, nothing shared with an ejabberd of this machine.

use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::ports::free_port;
use super::process::{Process, Program};
use super::prosody::PASSWORD;

const ERL: Program = Program { path: "/usr/bin/erl", package: "ejabberd" };
const TEMPLATE: &str = include_str!("../../peers/servers/ejabberd.yml");

/// What it logs when the component has shown that it knows the secret.
pub const COMPONENT_IS_UP: &str = "Accepted external component handshake authentication";

/// A running ejabberd with one domain and one place for a component.
#[derive(Debug)]
pub struct Ejabberd {
    process: Process,
    /// Where clients connect.
    pub c2s_port: u16,
    /// Where the component connects.
    pub component_port: u16,
}

impl Ejabberd {
    /// Starts it for `domain` with these accounts, and a component `component` that must know `secret`.
    pub fn start(folder: &Folder, domain: &str, component: &str, secret: &str, users: &[&str]) -> Self {
        let libraries = PathBuf::from(format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH));
        let installed = libraries.read_dir().is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("ejabberd-"))
        });
        assert!(installed, "ejabberd is missing: `apt-get install ejabberd`, or let ./test install it");
        let c2s_port = free_port();
        let component_port = free_port();
        let home = folder.make("ejabberd");
        let config = TEMPLATE
            .replace("@C2S_PORT@", &c2s_port.to_string())
            .replace("@COMPONENT_PORT@", &component_port.to_string())
            .replace("@DOMAIN@", domain)
            .replace("@COMPONENT@", component)
            .replace("@SECRET@", secret);
        let config = folder.write("ejabberd/ejabberd.yml", config);

        let mut command = ERL.command();
        command
            .current_dir(&home)
            .env("ERL_LIBS", libraries)
            .env("ERL_CRASH_DUMP", home.join("crash.dump"))
            .env("HOME", &home);
        command.args(["-noinput", "-mnesia", "dir", &quoted(&home.join("database"))]);
        command.args(["-ejabberd", "config", &quoted(&config), "log_path", &quoted(&home.join("ejabberd.log"))]);
        let accounts: Vec<String> = users.iter().map(|user| format!("<<\"{user}\">>")).collect();
        let register = format!(
            "[ok = ejabberd_auth:try_register(User, <<\"{domain}\">>, <<\"{PASSWORD}\">>) || User <- [{}]], \
             io:format(\"accounts are there~n\").",
            accounts.join(", ")
        );
        command.args(["-s", "ejabberd", "-eval", &register]);
        let mut process = Process::start("ejabberd", command, &folder.join("ejabberd.log"));
        process.wait_for_log("accounts are there");
        Self { process, c2s_port, component_port }
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process, for signals.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// A path as an Erlang string.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}
