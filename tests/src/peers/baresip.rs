//! baresip: a SIP phone, driven over its ctrl_tcp module, its SIP trace read for what it sent and got.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::clock::{self, PATIENCE};
use super::folder::Folder;
use super::process::{Process, Program};
use super::sipwire::{Traced, without_retransmissions};
use crate::ports::{free_port, free_ports};

const BARESIP: Program = Program { path: "/usr/bin/baresip", package: "baresip-core" };
const MODULES: &str = "/usr/lib/baresip/modules";

/// A registered phone.
#[derive(Debug)]
pub struct Baresip {
    process: Process,
    control: TcpStream,
    contacts: Vec<String>,
    seen: usize,
    /// Address of record.
    pub aor: String,
    /// Its port for UDP and TCP.
    pub port: u16,
}

impl Baresip {
    /// Starts a phone that registers `aor` (`sip:user@domain`) at the proxy on `proxy_port`, which asks for no password.
    ///
    /// It sends only to its `contacts`: that is how baresip 1.0 sends messages.
    pub fn start(folder: &Folder, aor: &str, proxy_port: u16, contacts: &[&str]) -> Self {
        // It asks on its console for a password that it does not have and may need.
        Self::start_as(folder, aor, "unused", proxy_port, contacts)
    }

    /// Starts a phone as [`Baresip::start`] does, with a password for digest.
    pub fn start_as(folder: &Folder, aor: &str, password: &str, proxy_port: u16, contacts: &[&str]) -> Self {
        let mut phone = Self::start_unregistered(folder, aor, password, proxy_port, contacts);
        phone.expect("the answer to its REGISTER", PATIENCE, |traced| {
            !traced.sent
                && traced.status() == Some(200)
                && traced.header("CSeq").is_some_and(|cseq| cseq.ends_with("REGISTER"))
        });
        phone
    }

    /// Starts a phone that tries to register and returns the answer to its REGISTER with credentials.
    pub fn answer_to_credentials(folder: &Folder, aor: &str, password: &str, proxy_port: u16) -> Traced {
        let mut phone = Self::start_unregistered(folder, aor, password, proxy_port, &[]);
        let request = phone.expect("a REGISTER with credentials", PATIENCE, |traced| {
            traced.sent && traced.method() == Some("REGISTER") && traced.header("Authorization").is_some()
        });
        phone.expect("the answer to its credentials", PATIENCE, |traced| {
            !traced.sent && traced.status() >= Some(200) && traced.header("CSeq") == request.header("CSeq")
        })
    }

    fn start_unregistered(folder: &Folder, aor: &str, password: &str, proxy_port: u16, contacts: &[&str]) -> Self {
        // One more for TLS, which it opens unasked.
        let port = free_ports(2);
        let control_port = free_port();
        let user = aor.trim_start_matches("sip:").split('@').next().unwrap_or_default();
        let home = folder.make(&format!("baresip-{user}"));
        let write = |name: &str, content: String| folder.write(&format!("baresip-{user}/{name}"), content);
        write(
            "config",
            format!(
                "sip_listen 127.0.0.1:{port}\nmodule_path {MODULES}\nmodule g711.so\nmodule_app account.so\nmodule_app contact.so\n\
                 module_app menu.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:{control_port}\n"
            ),
        );
        write(
            "accounts",
            format!("<{aor}>;outbound=\"sip:127.0.0.1:{proxy_port};transport=udp\";auth_pass={password};regint=600\n"),
        );
        let list = contacts.iter().enumerate().map(|(at, contact)| format!("\"contact {at}\" <{contact}>\n"));
        write("contacts", list.collect());
        let mut command = BARESIP.command();
        command.arg("-s").arg("-f").arg(&home);
        let process = Process::start(aor, command, &folder.join(&format!("baresip-{user}.log")));
        let control = clock::wait_for(PATIENCE, || TcpStream::connect(("127.0.0.1", control_port)).ok())
            .unwrap_or_else(|| panic!("baresip of {aor} does not listen on port {control_port}"));
        control.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
        let contacts = contacts.iter().map(|&contact| contact.to_owned()).collect();
        Self { process, control, contacts, seen: 0, aor: aor.to_owned(), port }
    }

    /// Sends a text; the final answer can then be had from [`Baresip::expect_answer`].
    pub fn send(&mut self, to: &str, body: &str) {
        assert!(self.contacts.iter().any(|contact| contact == to), "{to} is not among the contacts of {}", self.aor);
        // From the first contact on to the wanted one.
        for _ in 0..self.contacts.len() {
            self.command("contact_prev", None);
        }
        let mark = format!("<{to}>");
        let mut current = self.command("contact_prev", None);
        for _ in 0..self.contacts.len() {
            if current.contains(&mark) {
                break;
            }
            current = self.command("contact_next", None);
        }
        assert!(current.contains(&mark), "{} cannot choose {to}: {current}", self.aor);
        self.command("message", Some(body));
    }

    /// The final answer to the next MESSAGE of its own, within `span`; challenges are not final.
    pub fn expect_answer(&mut self, span: Duration) -> Traced {
        self.expect("a final answer to its MESSAGE", span, |traced| {
            !traced.sent
                && traced.status().is_some_and(|status| status >= 200 && ![401, 407].contains(&status))
                && traced.header("CSeq").is_some_and(|cseq| cseq.ends_with("MESSAGE"))
        })
    }

    /// The next MESSAGE it gets, within [`PATIENCE`].
    pub fn expect_message(&mut self) -> Traced {
        self.expect("a MESSAGE", PATIENCE, |traced| !traced.sent && traced.method() == Some("MESSAGE"))
    }

    /// The next message of the trace that `wanted` accepts, within `span`.
    pub fn expect(&mut self, what: &str, span: Duration, wanted: impl Fn(&Traced) -> bool) -> Traced {
        let found = clock::wait_for(span, || {
            let trace = self.trace();
            let at = trace.iter().skip(self.seen).position(&wanted)? + self.seen;
            self.seen = at + 1;
            trace.get(at).cloned()
        });
        found.unwrap_or_else(|| panic!("{} waited {span:?} for {what}", self.aor))
    }

    /// How many MESSAGE requests it has got so far.
    pub fn messages_got(&self) -> usize {
        self.trace().iter().filter(|traced| !traced.sent && traced.method() == Some("MESSAGE")).count()
    }

    /// The process, for signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it; it un-registers first.
    pub fn stop(mut self) {
        self.process.stop();
    }

    /// Everything it has sent and got, each message once.
    pub fn trace(&self) -> Vec<Traced> {
        without_retransmissions(read_trace(&self.process.log(), self.port))
    }

    /// One command and its answer: a netstring holding JSON, both ways.
    fn command(&mut self, name: &str, parameter: Option<&str>) -> String {
        let mut order = json!({"command": name, "token": "test"});
        if let Some(parameter) = parameter {
            order["params"] = json!(parameter);
        }
        let order = order.to_string();
        write!(self.control, "{}:{order},", order.len())
            .unwrap_or_else(|error| panic!("{} takes no commands: {error}", self.aor));
        loop {
            let answer = self.read_netstring();
            let answer: Value = serde_json::from_slice(&answer).unwrap_or_else(|error| panic!("{}: {error}", self.aor));
            if answer["response"] == true {
                assert_eq!(answer["ok"], true, "{} refuses {name}: {answer}", self.aor);
                return answer["data"].as_str().unwrap_or_default().to_owned();
            }
        }
    }

    fn read_netstring(&mut self) -> Vec<u8> {
        let mut length = 0;
        loop {
            match self.read_byte() {
                b':' => break,
                digit => length = length * 10 + usize::from(digit - b'0'),
            }
        }
        let mut content = vec![0; length];
        self.control.read_exact(&mut content).unwrap_or_else(|error| panic!("{} is cut short: {error}", self.aor));
        assert_eq!(self.read_byte(), b',', "a netstring ends with a comma");
        content
    }

    fn read_byte(&mut self) -> u8 {
        let mut byte = [0];
        self.control.read_exact(&mut byte).unwrap_or_else(|error| panic!("{} does not answer: {error}", self.aor));
        byte[0]
    }
}

/// The trace that `-s` prints: a mark, a line with the addresses, the message, a mark.
fn read_trace(log: &str, own_port: u16) -> Vec<Traced> {
    let own = format!("127.0.0.1:{own_port} -> ");
    log.split("\u{1b}[36;1m#\n")
        .skip(1)
        .filter_map(|block| {
            let (addresses, rest) = block.split_once('\n')?;
            let (text, _) = rest.split_once("\u{1b}[;m\n")?;
            Some(Traced { sent: addresses.contains(&own), text: text.to_owned() })
        })
        .collect()
}
