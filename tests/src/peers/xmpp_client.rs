//! slixmpp: an XMPP user, as a Python process that takes and gives JSON lines.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::ChildStdin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::clock::{Deadline, PATIENCE};
use super::folder::Folder;
use super::process::{Process, Program};
use super::prosody::PASSWORD;

const PYTHON: Program = Program { path: "/usr/bin/python3", package: "python3 python3-slixmpp" };
const SLIXMPP: &str = "/usr/lib/python3/dist-packages/slixmpp/__init__.py";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/clients/xmpp_client.py");

/// A message as the user's client got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Got {
    /// Who it says sent it.
    pub from: String,
    /// The type, `normal` where there was none.
    pub kind: String,
    /// The stanza id, empty where there was none.
    pub id: String,
    /// The text, if there was a body.
    pub body: Option<String>,
    /// The thread, if there was one.
    pub thread: Option<String>,
    /// Of an error: its type, condition and text.
    pub error: Option<(String, String, String)>,
    /// The whole stanza as slixmpp prints it.
    pub xml: String,
}

/// What protects the stream of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Nothing, on loopback.
    None,
    /// STARTTLS with whatever certificate.
    StartTls,
}

/// One user logged in with one resource.
#[derive(Debug)]
pub struct XmppClient {
    input: Option<ChildStdin>,
    events: Receiver<Value>,
    seen: Vec<Value>,
    /// Got before it was online, as what a server kept for it may be.
    early: VecDeque<Value>,
    // Last, so that its input closes before it is ended.
    _process: Process,
    /// The full JID.
    pub jid: String,
}

impl XmppClient {
    /// Logs `user` in at `port` of a server that this module set up, and waits until it is online.
    pub fn login(folder: &Folder, port: u16, user: &str, domain: &str, resource: &str) -> Self {
        Self::login_as(folder, port, &format!("{user}@{domain}/{resource}"), PASSWORD, Security::None)
    }

    /// Logs in at `port` and waits until it is online.
    pub fn login_as(folder: &Folder, port: u16, jid: &str, password: &str, security: Security) -> Self {
        let mut client = Self::start(folder, port, jid, password, security);
        client.expect_event("to be online", PATIENCE, |event| {
            assert!(event["event"] != "offline", "{jid} cannot log in: {event}");
            (event["event"] == "online").then_some(())
        });
        client.early = client.seen.iter().filter(|event| event["event"] == "message").cloned().collect();
        client
    }

    /// Tries to log in at `port` and returns what the client says of why it cannot.
    pub fn expect_refusal(folder: &Folder, port: u16, jid: &str, password: &str, security: Security) -> String {
        let mut client = Self::start(folder, port, jid, password, security);
        client.expect_event("to be refused", PATIENCE, |event| {
            assert!(event["event"] != "online", "{jid} logs in with the wrong password");
            (event["event"] == "offline").then(|| event["why"].as_str().unwrap_or_default().to_owned())
        })
    }

    fn start(folder: &Folder, port: u16, jid: &str, password: &str, security: Security) -> Self {
        assert!(
            Path::new(SLIXMPP).exists(),
            "{SLIXMPP} is missing: `apt-get install python3-slixmpp`, or let ./test install it"
        );
        let mut command = PYTHON.command();
        let security = if security == Security::StartTls { "tls" } else { "plain" };
        command.args([SCRIPT, "127.0.0.1", &port.to_string(), jid, password, security]);
        let log = folder.join(&format!("slixmpp-{}.log", jid.replace('/', "-")));
        let (process, input, output) = Process::start_piped(jid, command, &log);
        let (sender, events) = channel();
        // Ends with the process, whose output then closes.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                let event =
                    serde_json::from_str(&line).unwrap_or_else(|_| json!({"event": "unreadable", "line": line}));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let (seen, early) = (Vec::new(), VecDeque::new());
        Self { input: Some(input), events, seen, early, _process: process, jid: jid.to_owned() }
    }

    /// The JID without its resource.
    pub fn bare(&self) -> &str {
        self.jid.split('/').next().unwrap_or_default()
    }

    /// Sends a message of type chat.
    pub fn send(&mut self, to: &str, id: &str, body: &str) {
        self.send_typed(to, id, "chat", body);
    }

    /// Sends a message of any type.
    pub fn send_typed(&mut self, to: &str, id: &str, kind: &str, body: &str) {
        self.order(&json!({"do": "message", "to": to, "id": id, "type": kind, "body": body}));
    }

    /// Sends a stanza as it is.
    pub fn send_raw(&mut self, xml: &str) {
        self.order(&json!({"do": "raw", "xml": xml}));
    }

    /// Sends a request and gives its answer: the payload as slixmpp prints it, or the condition of the error.
    pub fn ask(&mut self, to: &str, id: &str, kind: &str, payload: &str) -> Result<String, String> {
        self.send_raw(&format!("<iq to=\"{to}\" id=\"{id}\" type=\"{kind}\">{payload}</iq>"));
        self.expect_event(&format!("the answer to {id:?}"), PATIENCE, |event| {
            if event["event"] != "iq" || event["id"] != id || event["from"] != to {
                return None;
            }
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            match event["type"].as_str() {
                Some("result") => Some(Ok(text("xml"))),
                Some("error") => Some(Err(text("condition"))),
                _ => None,
            }
        })
    }

    /// Logs out and ends.
    pub fn logout(mut self) {
        self.order(&json!({"do": "quit"}));
        self.expect_event("to be offline", PATIENCE, |event| (event["event"] == "offline").then_some(()));
    }

    /// The next message with a body that is not an error, within [`PATIENCE`].
    pub fn expect_message(&mut self) -> Got {
        self.expect("a message", PATIENCE, |got| got.error.is_none() && got.body.is_some())
    }

    /// The next error for the message sent with this id, within `span`.
    pub fn expect_error(&mut self, id: &str, span: Duration) -> Got {
        self.expect(&format!("an error for {id:?}"), span, |got| got.kind == "error" && got.id == id)
    }

    /// The next message that `wanted` accepts; others are passed over but printed if it never comes.
    pub fn expect(&mut self, what: &str, span: Duration, wanted: impl Fn(&Got) -> bool) -> Got {
        self.expect_event(what, span, |event| read_message(event).filter(&wanted))
    }

    /// Passes `span` and panics if a message, error or not, comes within it.
    pub fn expect_nothing(&mut self, span: Duration) {
        let deadline = Deadline::after(span);
        while let Some(event) = self.next_event(deadline) {
            assert!(read_message(&event).is_none(), "{} got what it should not: {event}", self.jid);
        }
    }

    fn order(&mut self, order: &Value) {
        let input = self.input.as_mut().expect("the client has its input");
        writeln!(input, "{order}")
            .and_then(|()| input.flush())
            .unwrap_or_else(|error| panic!("{} takes no orders: {error}", self.jid));
    }

    fn expect_event<T>(&mut self, what: &str, span: Duration, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let deadline = Deadline::after(span);
        while let Some(event) = self.next_event(deadline) {
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
        let seen: String = self.seen.iter().map(|event| format!("  {event}\n")).collect();
        panic!("{} waited {span:?} for {what}; what it has seen:\n{seen}", self.jid);
    }

    fn next_event(&mut self, deadline: Deadline) -> Option<Value> {
        if let Some(event) = self.early.pop_front() {
            return Some(event);
        }
        match self.events.recv_timeout(deadline.left()?) {
            Ok(event) => {
                self.seen.push(event.clone());
                Some(event)
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }
}

impl Drop for XmppClient {
    fn drop(&mut self) {
        // End of input tells the script to log out.
        self.input = None;
    }
}

/// Runs a program of somebody else with slixmpp.
pub fn run_program(folder: &Folder, program: &str) -> Process {
    let mut command = PYTHON.command();
    // Unbuffered, or what it prints would be seen at its end only.
    command.arg("-u").arg(folder.write("program.py", program));
    Process::start("program.py", command, &folder.join("program.log"))
}

fn read_message(event: &Value) -> Option<Got> {
    if event["event"] != "message" {
        return None;
    }
    let text = |key: &str| event[key].as_str().map(str::to_owned);
    let error =
        text("error_type").map(|kind| (kind, text("condition").unwrap_or_default(), text("text").unwrap_or_default()));
    Some(Got {
        from: text("from").unwrap_or_default(),
        kind: text("type").unwrap_or_default(),
        id: text("id").unwrap_or_default(),
        body: text("body"),
        thread: text("thread"),
        error,
        xml: text("xml").unwrap_or_default(),
    })
}
