//! `entente sandbox` over real sockets, as people and CI jobs call it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use entente_tests::ports::free_ports;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port base that nobody else uses.
fn port_base() -> u16 {
    free_ports(224)
}

fn sandbox(base: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entente"));
    command.args(["sandbox", "--port-base", &base.to_string()]).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Kills what a failed test leaves.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

fn await_file(path: &Path) -> serde_json::Value {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Ok(text) = std::fs::read_to_string(path) {
            return serde_json::from_str(&text).expect("whole as soon as it is there");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it does not get ready");
}

#[test]
fn once_a_message_goes_each_way_and_is_answered() {
    let Output { status, stdout, stderr } = sandbox(port_base(), &["--once"]).output().unwrap();
    assert_eq!(status.code(), Some(0), "{}", text(&stderr));
    let mut lines: Vec<&str> = text(&stdout).lines().collect();
    lines.sort_unstable();
    let [from_xmpp, from_sip] = lines[..] else { panic!("two lines: {lines:?}") };
    let start = "romeo@xmpp.localhost -> sip:juliet@sip.localhost  delivered in ";
    assert!(from_xmpp.starts_with(start), "{from_xmpp}");
    assert!(from_xmpp.ends_with(" ms, answered 200 OK (nothing to tell in XMPP)"), "{from_xmpp}");
    let start = "sip:juliet@sip.localhost -> romeo@xmpp.localhost  delivered in ";
    assert!(from_sip.starts_with(start) && from_sip.contains(" ms, answered 202 Accepted after "), "{from_sip}");
    assert_eq!(text(&stderr), "");
}

#[test]
fn once_for_programs_with_the_wire_beside() {
    let Output { status, stdout, stderr } = sandbox(port_base(), &["--once", "--json", "--wire"]).output().unwrap();
    assert_eq!(status.code(), Some(0), "{}", text(&stderr));
    let mut told = Vec::new();
    for line in text(&stdout).lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["event"], "crossed");
        assert!(line["delivered_ms"].as_f64().unwrap() > 0.0);
        told.push((line["from"].as_str().unwrap().to_owned(), line["status"].as_u64().unwrap()));
    }
    told.sort_unstable();
    assert_eq!(told, [("romeo@xmpp.localhost".to_owned(), 200), ("sip:juliet@sip.localhost".to_owned(), 202)]);
    let wire = text(&stderr);
    for seen in [
        "sip   domain -> gateway\n    MESSAGE sip:romeo@xmpp.localhost SIP/2.0\n",
        "xmpp  gateway -> domain\n    <message from='juliet@sip.localhost' to='romeo@xmpp.localhost",
        "    Art thou not Romeo, and a Montague?\n",
    ] {
        assert!(wire.contains(seen), "{seen:?} is not in\n{wire}");
    }
}

#[test]
fn it_runs_until_it_is_interrupted_and_says_when_it_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready.json");
    let ready_option = ["--ready-file", ready.to_str().unwrap()];
    let users = ["--xmpp-user", "mercutio:queen:mab", "--sip-user", "nurse:ancient"];
    let base = port_base();
    let mut running = Running(sandbox(base, &[&ready_option[..], &users].concat()).spawn().unwrap());
    let told = await_file(&ready);
    assert_eq!(
        (told["xmpp"]["port"].as_u64(), told["sip"]["port"].as_u64()),
        (Some(u64::from(base) + 222), Some(u64::from(base) + 60))
    );
    let certificate = told["xmpp"]["certificate"].as_str().unwrap();
    assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"), "{certificate}");
    let accounts: Vec<_> = told["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|account| (account["address"].as_str().unwrap(), account["password"].as_str().unwrap()))
        .collect();
    assert_eq!(
        accounts,
        [
            ("romeo@xmpp.localhost", "montague"),
            ("mercutio@xmpp.localhost", "queen:mab"),
            ("sip:juliet@sip.localhost", "capulet"),
            ("sip:nurse@sip.localhost", "ancient"),
        ]
    );

    // The ports are those that it says.
    let mut xmpp = TcpStream::connect(("127.0.0.1", base + 222)).unwrap();
    xmpp.set_read_timeout(Some(PATIENCE)).unwrap();
    let header = "<stream:stream to='xmpp.localhost' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>";
    xmpp.write_all(header.as_bytes()).unwrap();
    let mut answer = String::new();
    let mut reader = BufReader::new(&xmpp);
    while !answer.ends_with("</stream:features>") {
        let mut octets = Vec::new();
        assert!(reader.read_until(b'>', &mut octets).unwrap() > 0, "{answer}");
        answer.push_str(text(&octets));
    }
    assert!(answer.contains("<starttls") && answer.contains("<mechanism>SCRAM-SHA-256</mechanism>"), "{answer}");
    let mut admin = TcpStream::connect(("127.0.0.1", base + 80)).unwrap();
    admin.set_read_timeout(Some(PATIENCE)).unwrap();
    admin.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    admin.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("ready\n"), "{answer}");

    // A second one finds the ports taken, and says so.
    let second = sandbox(base, &["--once"]).output().unwrap();
    assert_eq!((second.status.code(), text(&second.stdout)), (Some(1), ""));
    let why = text(&second.stderr);
    assert!(
        why.contains(&format!("cannot listen on 127.0.0.1:{}", base + 222)) && why.contains("--port-base"),
        "{why}"
    );

    running.signal(Signal::SIGINT);
    assert_eq!(running.exit_code(), Some(0));
    assert!(!ready.exists());
    // The end of the stream was said to who was connected.
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("<system-shutdown") && rest.ends_with("</stream:stream>"), "{rest}");
    let mut out = String::new();
    running.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    for said in ["sip:nurse@sip.localhost", "mercutio@xmpp.localhost", "profanity", "baresip", "linphone", "slixmpp"] {
        assert!(out.contains(said), "{said} is not in\n{out}");
    }
}

#[test]
fn what_cannot_be_is_wrong_use() {
    for (arguments, told) in [
        (&["--port-base", "99"][..], "must be between 1000 and 65000"),
        (&["--sip-user", "nurse"], "write NAME:PASSWORD"),
        (&["--sip-user", "juliet:again", "--once"], "sip:juliet@sip.localhost: "),
        (&["--xmpp-user", "a b:c", "--once"], "a b@xmpp.localhost: "),
        (&["--log-level", "loud"], "must be off, error, warn"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_entente"));
        let output = command.arg("sandbox").args(arguments).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {stderr}");
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
    }
}
