//! Kamailio: registrar and proxy of the SIP domain, and the gateway's next hop.

use std::path::PathBuf;

use super::clock;
use super::folder::Folder;
use super::process::{Process, Program};
use crate::ports::free_port;

const KAMAILIO: Program = Program { path: "/usr/sbin/kamailio", package: "kamailio" };
const TEMPLATE: &str = include_str!("../../peers/servers/kamailio.cfg");

/// How Kamailio reaches the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// One datagram per message.
    Udp,
    /// One stream for all.
    Tcp,
}

/// What the gateway is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Challenge<'c> {
    /// Its password in the realm `sip.example`.
    pub password: &'c str,
    /// How long a nonce is good, each count of it once.
    pub nonce_seconds: u32,
}

/// A running Kamailio.
#[derive(Debug)]
pub struct Kamailio {
    process: Process,
    config: PathBuf,
    home: PathBuf,
    log: PathBuf,
    starts: u32,
    /// Its port for UDP and TCP.
    pub port: u16,
}

impl Kamailio {
    /// Starts it for `domains`; whatever is for another domain goes to `gateway_port`.
    ///
    /// A user of `users` who has not registered is offline (480), anyone else is unknown (404). Nobody is asked for a password.
    pub fn start(folder: &Folder, domains: &[&str], users: &[&str], gateway_port: u16, carrier: Carrier) -> Self {
        Self::start_challenging(folder, domains, users, gateway_port, carrier, None)
    }

    /// The same, but the gateway has to say who it is, if there is a challenge.
    pub fn start_challenging(
        folder: &Folder,
        domains: &[&str],
        users: &[&str],
        gateway_port: u16,
        carrier: Carrier,
        challenge: Option<Challenge<'_>>,
    ) -> Self {
        let defined = if challenge.is_some() { "#!define CHALLENGE" } else { "" };
        let Challenge { password, nonce_seconds } = challenge.unwrap_or(Challenge { password: "", nonce_seconds: 1 });
        Self::start_as(folder, domains, users, |config| {
            config
                .replace("@CHALLENGE@", defined)
                .replace("@PASSWORD@", password)
                .replace("@NONCE_SECONDS@", &nonce_seconds.to_string())
                .replace("@GATEWAY_PORT@", &gateway_port.to_string())
                .replace("@GATEWAY_TRANSPORT@", if carrier == Carrier::Udp { "udp" } else { "tcp" })
        })
    }

    /// Starts it with another configuration than usual: `change` says what becomes of requests for other domains.
    pub fn start_as(folder: &Folder, domains: &[&str], users: &[&str], change: impl FnOnce(String) -> String) -> Self {
        let port = free_port();
        let home = folder.make("kamailio");
        let config = TEMPLATE
            .replace("@ALIASES@", &domains.iter().map(|domain| format!("alias=\"{domain}\"\n")).collect::<String>())
            .replace("@USERS@", &users.join("|"))
            .replace("@PORT@", &port.to_string())
            .replace("@MODULES@", &format!("/usr/lib/{}-linux-gnu/kamailio/modules/", std::env::consts::ARCH));
        let config = folder.write("kamailio/kamailio.cfg", change(config));
        let log = folder.join("kamailio.log");
        let process = launch(&config, &home, &log);
        let mut kamailio = Self { process, config, home, log, starts: 1, port };
        kamailio.wait_until_listening();
        kamailio
    }

    /// All it has logged since its last start.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process, for signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it again after [`Kamailio::stop`]; whoever was registered is forgotten.
    pub fn restart(&mut self) {
        self.starts += 1;
        let log = self.log.with_extension(format!("{}.log", self.starts));
        self.process = launch(&self.config, &self.home, &log);
        self.wait_until_listening();
    }

    fn wait_until_listening(&mut self) {
        let open = clock::wait_for(clock::PATIENCE, || {
            (std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() || self.process.has_exited()).then_some(())
        });
        assert!(open.is_some() && !self.process.has_exited(), "Kamailio does not listen on port {}", self.port);
    }
}

fn launch(config: &std::path::Path, home: &std::path::Path, log: &std::path::Path) -> Process {
    let mut command = KAMAILIO.command();
    // -DD: all processes, none in the background; -E: log to standard error; 32 MiB shared, 8 MiB private memory.
    command.args(["-DD", "-E", "-m", "32", "-M", "8", "-f"]).arg(config);
    command.arg("-w").arg(home).arg("-Y").arg(home);
    Process::start("kamailio", command, log)
}
