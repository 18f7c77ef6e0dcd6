//! linphone: another SIP phone, driven by the lines that linphone-daemon reads and writes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::ChildStdin;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::clock::{Deadline, PATIENCE, wait_for};
use super::folder::Folder;
use super::process::{Process, Program};
use crate::ports::free_port;

const LINPHONE: Program = Program { path: "/usr/bin/linphone-daemon", package: "linphone-cli" };

/// A registered phone.
#[derive(Debug)]
pub struct Linphone {
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
    // Last, so that its input closes before it is ended.
    _process: Process,
    /// Address of record.
    pub aor: String,
}

impl Linphone {
    /// Starts a phone that registers `aor` (`sip:user@domain`) at the proxy on `proxy_port`, which asks for no password.
    pub fn start(folder: &Folder, aor: &str, proxy_port: u16) -> Self {
        Self::start_as(folder, aor, "unused", proxy_port)
    }

    /// Starts a phone as [`Linphone::start`] does, with a password for digest.
    pub fn start_as(folder: &Folder, aor: &str, password: &str, proxy_port: u16) -> Self {
        let mut phone = Self::start_unregistered(folder, aor, password, proxy_port);
        phone.expect_registration("Ok");
        phone
    }

    /// Starts a phone that tries to register, and waits until it says that it cannot.
    pub fn expect_refusal(folder: &Folder, aor: &str, password: &str, proxy_port: u16) {
        Self::start_unregistered(folder, aor, password, proxy_port).expect_registration("Failed");
    }

    fn start_unregistered(folder: &Folder, aor: &str, password: &str, proxy_port: u16) -> Self {
        let user = aor.trim_start_matches("sip:").split('@').next().unwrap_or_default();
        let home = folder.make(&format!("linphone-{user}"));
        // It crashes on its first message where it cannot make its database here.
        folder.make(&format!("linphone-{user}/.local/share/linphone"));
        let proxy = format!("<sip:127.0.0.1:{proxy_port};transport=udp;lr>");
        let config = format!(
            "[sip]\nsip_port={}\nsip_tcp_port=0\nsip_tls_port=0\nguess_hostname=0\ndefault_proxy=0\n\
             register_only_when_network_is_up=0\n\
             [proxy_0]\nreg_proxy={proxy}\nreg_route={proxy}\nreg_identity={aor}\nreg_expires=600\nreg_sendregister=1\npublish=0\n\
             [auth_info_0]\nusername={user}\npasswd={password}\n",
            free_port()
        );
        let config = folder.write(&format!("linphone-{user}/linphonerc"), config);
        let mut command = LINPHONE.command();
        command
            .arg("--config")
            .arg(config)
            .env("HOME", &home)
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME");
        let (process, input, output) =
            Process::start_piped(aor, command, &folder.join(&format!("linphone-{user}.log")));
        let (sender, lines) = channel();
        // Ends with the process, whose output then closes.
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                if sender.send(text).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Self { input: Some(input), lines, seen: Vec::new(), _process: process, aor: aor.to_owned() }
    }

    /// Waits until its registration is `Ok` or `Failed`, whichever is wanted, and panics if it is the other.
    fn expect_registration(&mut self, wanted: &str) {
        let found = wait_for(PATIENCE, || {
            self.order("register-status ALL");
            let state = self.expect("the state of its registration", PATIENCE, |line| {
                line.starts_with("State: LinphoneRegistration")
            });
            let state = state.trim_start_matches("State: LinphoneRegistration").to_owned();
            ["Ok", "Failed"].contains(&state.as_str()).then_some(state)
        });
        let seen = self.seen.join("\n");
        assert_eq!(found.as_deref(), Some(wanted), "the registration of {}; what it has said:\n{seen}", self.aor);
    }

    /// Sends a text of one line.
    pub fn send(&mut self, to: &str, text: &str) {
        self.order(&format!("message {to} {text}"));
    }

    /// Waits until the text it sent last is `Delivered` or `NotDelivered` to its mind.
    pub fn expect_fate(&mut self, span: Duration) -> String {
        let state = self.expect("the fate of its message", span, |line| {
            line.ends_with("MessageStateDelivered") || line.ends_with("MessageStateNotDelivered")
        });
        state.trim_start_matches("State: LinphoneChatMessageState").to_owned()
    }

    /// The sender and the text of the next message.
    pub fn expect_message(&mut self) -> (String, String) {
        self.expect("a message", PATIENCE, |line| line == "Event-type: message-received");
        let from = self.expect("its sender", PATIENCE, |line| line.starts_with("From: "));
        let first = self.expect("its text", PATIENCE, |line| line.starts_with("Content: \""));
        let mut text = first.trim_start_matches("Content: \"").to_owned();
        // The text in quotes, which ends with the quote before an empty line.
        while !text.ends_with('"') {
            text.push('\n');
            text.push_str(&self.expect("the rest of its text", PATIENCE, |_| true));
        }
        text.pop();
        (from.trim_start_matches("From: ").to_owned(), text)
    }

    fn order(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the phone has its input");
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .unwrap_or_else(|error| panic!("{} takes no orders: {error}", self.aor));
    }

    fn expect(&mut self, what: &str, span: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Deadline::after(span);
        while let Some(line) = deadline.left().and_then(|left| self.lines.recv_timeout(left).ok()) {
            // Its prompt has no line end, so it stands before what comes next.
            let line = line.trim_start_matches("daemon-linphone>").to_owned();
            self.seen.push(line.clone());
            if wanted(&line) {
                return line;
            }
        }
        panic!("{} waited {span:?} for {what}; what it has said:\n{}", self.aor, self.seen.join("\n"));
    }
}

impl Drop for Linphone {
    fn drop(&mut self) {
        self.input = None;
    }
}
