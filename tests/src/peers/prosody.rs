//! Prosody: the XMPP server that the gateway is a component of.

use std::path::PathBuf;

use super::clock;
use super::folder::Folder;
use super::process::{Process, Program};
use crate::ports::free_port;

const PROSODY: Program = Program { path: "/usr/bin/prosody", package: "prosody" };
const TEMPLATE: &str = include_str!("../../peers/servers/prosody.cfg.lua");

/// What it logs when the component has shown that it knows the secret.
pub const COMPONENT_IS_UP: &str = "External component successfully authenticated";

/// The password of every account.
pub const PASSWORD: &str = "a password";

/// A running Prosody with one domain and places for components.
#[derive(Debug)]
pub struct Prosody {
    process: Process,
    config: PathBuf,
    log: PathBuf,
    starts: u32,
    /// Where clients connect.
    pub c2s_port: u16,
    /// Where components connect.
    pub component_port: u16,
}

impl Prosody {
    /// Starts it for `domain` with these accounts, and components that must know `secret`.
    pub fn start(folder: &Folder, domain: &str, components: &[&str], secret: &str, users: &[&str]) -> Self {
        let components: String = components
            .iter()
            .map(|component| format!("\nComponent \"{component}\"\n\tcomponent_secret = \"{secret}\"\n"))
            .collect();
        Self::start_as(folder, domain, users, |config, _| config + &components)
    }

    /// Starts it with another configuration than usual: `change` gets that and the port for components.
    pub fn start_as(folder: &Folder, domain: &str, users: &[&str], change: impl FnOnce(String, u16) -> String) -> Self {
        let c2s_port = free_port();
        let component_port = free_port();
        let home = folder.make("prosody");
        let config = TEMPLATE
            .replace("@FOLDER@", &home.display().to_string())
            .replace("@C2S_PORT@", &c2s_port.to_string())
            .replace("@COMPONENT_PORT@", &component_port.to_string())
            .replace("@DOMAIN@", domain);
        let config = folder.write("prosody/prosody.cfg.lua", change(config, component_port));
        for user in users {
            // The form in which mod_auth_internal_plain stores an account; folder names are percent-encoded.
            let domain = domain.replace('.', "%2e").replace('-', "%2d");
            let account = format!("return {{ [\"password\"] = \"{PASSWORD}\"; }};\n");
            folder.write(&format!("prosody/data/{domain}/accounts/{user}.dat"), account);
        }
        let log = folder.join("prosody.log");
        let process = launch(&config, &log);
        let mut prosody = Self { process, config, log, starts: 1, c2s_port, component_port };
        prosody.wait_until_listening();
        prosody
    }

    /// All it has logged since its last start.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process, for signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it as an operator would, so that its streams are closed properly.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it again after [`Prosody::stop`], with the same ports, accounts and stored messages.
    pub fn restart(&mut self) {
        self.starts += 1;
        let log = self.log.with_extension(format!("{}.log", self.starts));
        self.process = launch(&self.config, &log);
        self.wait_until_listening();
    }

    fn wait_until_listening(&mut self) {
        for port in [self.c2s_port, self.component_port] {
            let open = clock::wait_for(clock::PATIENCE, || {
                (std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() || self.process.has_exited()).then_some(())
            });
            assert!(open.is_some() && !self.process.has_exited(), "Prosody does not listen on port {port}");
        }
    }
}

fn launch(config: &std::path::Path, log: &std::path::Path) -> Process {
    let mut command = PROSODY.command();
    command.arg("-F").arg("--config").arg(config);
    Process::start("prosody", command, log)
}
