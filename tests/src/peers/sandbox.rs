//! `entente sandbox`: both worlds and the gateway in one process, for clients that come from outside.

use serde_json::Value;

use super::clock::{PATIENCE, wait_for};
use super::entente::Entente;
use super::folder::Folder;
use super::process::{Process, read_lossy};
use crate::ports::free_ports;

/// How far above its base the ports of a sandbox reach.
const PORTS: u16 = 224;

/// A running sandbox.
#[derive(Debug)]
pub struct Sandbox {
    process: Process,
    ready: Value,
}

/// Somebody who can log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// A bare JID or a SIP URI.
    pub address: String,
    /// The password.
    pub password: String,
}

impl Sandbox {
    /// Starts it with free ports and waits until it is ready.
    pub fn start(folder: &Folder) -> Self {
        Self::start_with(folder, &[])
    }

    /// Starts it as [`Sandbox::start`] does, with more arguments.
    pub fn start_with(folder: &Folder, more: &[&str]) -> Self {
        let ready_file = folder.join("ready.json");
        let mut command = Entente::command();
        command.args(["sandbox", "--wire", "--port-base", &free_ports(PORTS).to_string(), "--ready-file"]);
        command.arg(&ready_file).args(more);
        let process = Process::start("sandbox", command, &folder.join("sandbox.log"));
        let ready = wait_for(PATIENCE, || {
            assert!(!process.has_exited(), "the sandbox ended before it was ready");
            serde_json::from_str(&read_lossy(&ready_file)).ok()
        });
        Self { process, ready: ready.expect("the sandbox becomes ready") }
    }

    /// The port for XMPP clients.
    pub fn xmpp_port(&self) -> u16 {
        self.port("xmpp")
    }

    /// The port for SIP phones.
    pub fn sip_port(&self) -> u16 {
        self.port("sip")
    }

    /// The first account of a side, `xmpp` or `sip`.
    pub fn account(&self, side: &str) -> Account {
        self.account_where(|account| account["side"] == side)
    }

    /// The account of somebody on a side.
    pub fn account_of(&self, side: &str, user: &str) -> Account {
        self.account_where(|account| account["side"] == side && account["user"] == user)
    }

    /// The lines it prints for a client, as they are to be typed or run.
    pub fn printed_for(&self, client: &str) -> Vec<String> {
        let title = format!("  {client:<12}");
        let indent = " ".repeat(title.len());
        let found = wait_for(PATIENCE, || {
            let log = self.process.log();
            let mut lines = log.lines().skip_while(|line| !line.starts_with(&title));
            let first = lines.next()?.get(title.len()..)?.to_owned();
            let mut printed = vec![first];
            loop {
                // All are there once there is one of another client.
                match lines.next()?.strip_prefix(&indent) {
                    Some(line) => printed.push(line.to_owned()),
                    None => return Some(printed),
                }
            }
        });
        found.unwrap_or_else(|| panic!("the sandbox prints nothing for {client}"))
    }

    /// The process, for signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn account_where(&self, wanted: impl Fn(&Value) -> bool) -> Account {
        let accounts = self.ready["accounts"].as_array().expect("the ready file lists accounts");
        let account = accounts.iter().find(|account| wanted(account)).expect("the ready file lists the account");
        let text = |key: &str| account[key].as_str().expect("an account says who it is").to_owned();
        Account { address: text("address"), password: text("password") }
    }

    fn port(&self, side: &str) -> u16 {
        let port = self.ready[side]["port"].as_u64().expect("the ready file says where it listens");
        u16::try_from(port).expect("a port fits")
    }
}
