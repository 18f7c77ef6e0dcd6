//! SIPp: SIP requests and answers written out in a scenario, and the trace of what crossed the wire.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::clock::{self, PATIENCE};
use super::folder::Folder;
use super::kamailio::Carrier;
use super::process::{Process, Program, print_tail, read_lossy};
use super::sipwire::{Traced, without_retransmissions};
use crate::ports::free_port;

const SIPP: Program = Program { path: "/usr/bin/sipp", package: "sip-tester" };
const REQUEST: &str = include_str!("../../peers/scenarios/request.xml");
const ANSWERER: &str = include_str!("../../peers/scenarios/answerer.xml");

/// One request, written by a test.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// Request-URI, also in To.
    pub to: &'a str,
    /// In From.
    pub from: &'a str,
    /// Further header lines.
    pub more: &'a [&'a str],
    /// The type of the body.
    pub content_type: Option<&'a str>,
    /// The body; a line feed goes out as CRLF.
    pub body: &'a str,
}

impl Request<'_> {
    fn scenario(&self, status: u16) -> String {
        let mut more: String = self.more.iter().map(|line| format!("{line}\n")).collect();
        if let Some(content_type) = self.content_type {
            more.push_str(&format!("Content-Type: {content_type}\n"));
        }
        REQUEST
            .replace("@METHOD@", self.method)
            .replace("@URI@", self.to)
            .replace("@FROM@", self.from)
            .replace("@MORE@", &more)
            .replace("@BODY@", self.body)
            .replace("@STATUS@", &status.to_string())
    }
}

/// A finished run.
#[derive(Debug)]
pub struct Conversation {
    /// Every message that crossed the wire, each once, in order.
    pub messages: Vec<Traced>,
    /// From the start of SIPp to its end.
    pub took: Duration,
    errors: String,
}

impl Conversation {
    /// The final answer.
    pub fn answer(&self) -> &Traced {
        self.messages
            .iter()
            .rfind(|traced| !traced.sent && traced.status() >= Some(200))
            .expect("a run has a final answer")
    }

    fn expect_final(&self, status: u16) {
        let finals: Vec<&Traced> =
            self.messages.iter().filter(|traced| !traced.sent && traced.status() >= Some(200)).collect();
        match finals.as_slice() {
            [one] if one.status() == Some(status) => {}
            _ => {
                let trace: String = self
                    .messages
                    .iter()
                    .map(|traced| format!("{}\n{}\n", if traced.sent { ">>>" } else { "<<<" }, traced.text))
                    .collect();
                panic!("wanted exactly one final answer, with status {status}; the trace:\n{trace}\n{}", self.errors);
            }
        }
    }
}

/// SIPp as the sender of one request.
#[derive(Clone, Copy, Debug)]
pub struct Sipp;

impl Sipp {
    /// Sends `request` to `port` from a port of its own and waits for the final answer, with retransmissions as RFC 3261 wants them.
    ///
    /// Panics with the whole trace unless there was exactly one final answer, sent once or again and again, with this status.
    pub fn send(folder: &Folder, port: u16, carrier: Carrier, request: &Request<'_>, status: u16) -> Conversation {
        let scenario = request.scenario(status);
        let conversation = Self::run(folder, port, free_port(), carrier, &scenario);
        conversation.expect_final(status);
        conversation
    }

    /// Registers `user` at the registrar on `port`, reachable at `contact_port`.
    pub fn register(folder: &Folder, port: u16, aor: &str, contact_port: u16) {
        let user = aor.trim_start_matches("sip:").split('@').next().unwrap_or_default();
        let registrar = format!("sip:{}", aor.rsplit('@').next().unwrap_or_default());
        let scenario = REQUEST
            .replace("To: <@URI@>", &format!("To: <{aor}>"))
            .replace("@METHOD@", "REGISTER")
            .replace("@URI@", &registrar)
            .replace("@FROM@", aor)
            .replace("@MORE@", &format!("Contact: <sip:{user}@127.0.0.1:{contact_port}>\nExpires: 600\n"))
            .replace("@BODY@", "")
            .replace("@STATUS@", "200");
        Self::run(folder, port, free_port(), Carrier::Udp, &scenario).expect_final(200);
    }

    /// Sends `request` as [`Sipp::send`] does, over UDP from another loopback address than all peers use.
    pub fn send_from_elsewhere(folder: &Folder, port: u16, request: &Request<'_>, status: u16) -> Conversation {
        let conversation =
            Self::run_from("127.0.0.2", folder, port, free_port(), Carrier::Udp, &request.scenario(status));
        conversation.expect_final(status);
        conversation
    }

    /// Runs a whole scenario against `port`.
    pub fn run(folder: &Folder, port: u16, own_port: u16, carrier: Carrier, scenario: &str) -> Conversation {
        Self::run_from("127.0.0.1", folder, port, own_port, carrier, scenario)
    }

    fn run_from(
        own: &str,
        folder: &Folder,
        port: u16,
        own_port: u16,
        carrier: Carrier,
        scenario: &str,
    ) -> Conversation {
        let files = Files::write(folder, own_port, scenario);
        let mut command = SIPP.command();
        command.arg(format!("127.0.0.1:{port}"));
        files.add_to(&mut command, own, own_port, carrier);
        command.args(["-m", "1"]);
        // Longer than Timer F, so that a missing answer shows as what it is.
        command.args(["-timeout", "60s", "-timeout_error"]);
        let mut process = Process::start("sipp", command, &files.log);
        let (_, took) = clock::timed(|| process.wait(2 * PATIENCE));
        Conversation { messages: read_trace(&files.messages), took, errors: read_lossy(&files.errors) }
    }
}

/// SIPp as a user agent that gives one and the same answer to every request.
#[derive(Debug)]
pub struct Answerer {
    process: Process,
    files: Files,
    /// Where it listens.
    pub port: u16,
}

impl Answerer {
    /// Listens and answers every MESSAGE with `status` (`486 Busy Here`) and further header lines.
    pub fn start(folder: &Folder, status: &str, more: &[&str]) -> Self {
        let more: String = more.iter().map(|line| format!("{line}\n")).collect();
        let scenario = ANSWERER.replace("@STATUS@", status).replace("@MORE@", &more);
        let port = free_port();
        let files = Files::write(folder, port, &scenario);
        let mut command = SIPP.command();
        files.add_to(&mut command, "127.0.0.1", port, Carrier::Udp);
        command.args(["-timeout", "120s"]);
        let process = Process::start("sipp answerer", command, &files.log);
        // Bound as soon as nobody else can bind it.
        let bound = clock::wait_for(PATIENCE, || {
            (std::net::UdpSocket::bind(("127.0.0.1", port)).is_err() || process.has_exited()).then_some(())
        });
        assert!(bound.is_some() && !process.has_exited(), "SIPp does not listen on port {port}");
        Self { process, files, port }
    }

    /// Waits until it has got a MESSAGE.
    pub fn expect_message(&self) {
        let got = || read_trace(&self.files.messages).iter().any(|traced| traced.method() == Some("MESSAGE"));
        assert!(clock::wait_for(PATIENCE, || got().then_some(())).is_some(), "no MESSAGE comes");
    }

    /// Everything it has got and sent so far; its trace is complete only once it has ended, so this ends it.
    pub fn finish(mut self) -> Vec<Traced> {
        self.process.stop();
        read_trace(&self.files.messages)
    }
}

#[derive(Debug)]
struct Files {
    scenario: PathBuf,
    messages: PathBuf,
    errors: PathBuf,
    log: PathBuf,
}

impl Files {
    fn write(folder: &Folder, port: u16, scenario: &str) -> Self {
        Self {
            scenario: folder.write(&format!("sipp-{port}/scenario.xml"), scenario),
            messages: folder.join(&format!("sipp-{port}/messages.txt")),
            errors: folder.join(&format!("sipp-{port}/errors.txt")),
            log: folder.join(&format!("sipp-{port}/output.txt")),
        }
    }

    fn add_to(&self, command: &mut std::process::Command, own: &str, port: u16, carrier: Carrier) {
        command.args(["-i", own, "-p", &port.to_string()]);
        command.args(["-t", if carrier == Carrier::Udp { "u1" } else { "t1" }]);
        command.arg("-sf").arg(&self.scenario);
        command.args(["-nostdin", "-trace_msg", "-message_file"]).arg(&self.messages);
        command.args(["-trace_err", "-error_file"]).arg(&self.errors);
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print_tail("sipp, messages", &read_lossy(&self.messages));
            print_tail("sipp, errors", &read_lossy(&self.errors));
        }
    }
}

/// What `-trace_msg` writes: a rule with the time, a line saying `sent` or `received` with the length, a blank line, the message.
fn read_trace(path: &Path) -> Vec<Traced> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let rule = "-----------------------------------------------";
    let trace = text
        .split(rule)
        .filter_map(|block| {
            let (_, block) = block.split_once('\n')?;
            let (title, message) = block.split_once("\n\n")?;
            let sent = title.contains("message sent");
            (sent || title.contains("message received")).then(|| Traced { sent, text: cut(title, message) })
        })
        .collect();
    without_retransmissions(trace)
}

/// The message without the line end that the trace adds: the title says how many bytes it has.
fn cut(title: &str, message: &str) -> String {
    let digits = title.rsplit(['(', '[']).next().unwrap_or_default();
    let length = digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    length.and_then(|length: usize| message.get(..length)).unwrap_or(message).to_owned()
}
