//! `entente queue` beside a gateway that runs, and where none does.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod stage;

use nix::sys::signal::Signal;
use serde_json::Value;
use stage::{Component, PATIENCE, Stage, message, uninterrupted};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A stage whose gateway has a journal.
fn config(stage: &Stage) -> String {
    format!("{}[journal]\nfolder = \"journal\"\n", stage.config())
}

fn queue(stage: &Stage, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entente"));
    command.arg("queue").args(arguments).arg("--config").arg(stage.folder.path().join("gateway.toml"));
    command.output().unwrap()
}

/// Its standard output, where nothing went wrong.
fn told(stage: &Stage, arguments: &[&str]) -> String {
    let output = queue(stage, arguments);
    // A store that was killed while it wrote may have something to say.
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All entries.
fn listed(stage: &Stage, more: &[&str]) -> Vec<Value> {
    let out = told(stage, &[&["list", "--json"], more].concat());
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn id(entry: &Value) -> String {
    entry["id"].as_str().unwrap().to_owned()
}

/// Waits until the gateway takes turns, whatever its links do.
fn wait_until_it_lives(stage: &Stage) {
    let start = Instant::now();
    while stage.health("/livez") != Some(200) {
        assert!(start.elapsed() < PATIENCE, "the gateway gets alive");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a text from Juliet to Romeo, for whom there is no way, and hears that it is kept. A disk that takes its time is asked
/// again.
fn kept(stage: &Stage, branch: &str, text: &str) {
    assert_eq!(text.len(), 22, "as long as the other");
    for attempt in 1..=5 {
        let branch = format!("{branch}{attempt}");
        let request = message(stage, &branch).replace("Art thou not Romeo, ho", text);
        stage.sip.send_to(request.as_bytes(), stage.listen).unwrap();
        let answer = stage.response(&branch);
        if answer.starts_with("SIP/2.0 202 ") {
            return;
        }
        assert!(answer.starts_with("SIP/2.0 503 ") && answer.contains("Retry-After"), "{answer}");
    }
    panic!("the disk is too slow");
}

/// Plays the XMPP server for as long as something is kept: hands back the pings that ask what became of a message. Gives the
/// messages, each once: one whose ping came back late is sent again.
fn delivered(stage: &Stage, component: &mut Component) -> Vec<String> {
    component.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let (mut unread, mut messages): (String, Vec<String>) = Default::default();
    let start = Instant::now();
    while !listed(stage, &[]).is_empty() {
        assert!(start.elapsed() < PATIENCE, "the journal gets empty; so far: {messages:?}");
        let mut buffer = [0; 4096];
        match component.stream.read(&mut buffer) {
            Ok(length) => unread.push_str(std::str::from_utf8(&buffer[..length]).unwrap()),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted), "{error}"),
        }
        while let Some(end) = ["</message>", "</iq>"].iter().filter_map(|end| Some(unread.find(end)? + end.len())).min()
        {
            let stanza: String = unread.drain(..end).collect();
            let known = |id: &str| messages.iter().any(|message| id_of(message) == id);
            if stanza.starts_with("<iq") {
                component.write(&stanza);
            } else if !known(id_of(&stanza)) {
                messages.push(stanza);
            }
        }
    }
    component.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    messages
}

fn id_of(stanza: &str) -> &str {
    stanza.split(" id=").nth(1).unwrap().get(1..20).unwrap()
}

/// The component's link is down: three messages are kept. One is dropped, another shown; the link comes up, and those that are
/// left come in their order and no other.
#[test]
fn a_running_gateway_lists_shows_and_drops_what_it_keeps() {
    let stage = Stage::new();
    let mut gateway = stage.run_with(&config(&stage));
    wait_until_it_lives(&stage);
    kept(&stage, "one", "But soft! What light t");
    kept(&stage, "two", "hrough yonder window b");
    kept(&stage, "three", "reaks? It is the east,");

    let entries = listed(&stage, &[]);
    assert_eq!(entries.len(), 3, "{entries:?}");
    for (entry, why) in entries.iter().zip(["link_down", "behind", "behind"]) {
        assert_eq!((&entry["state"], &entry["octets"]), (&"waiting".into(), &22.into()), "{entry}");
        assert_eq!((&entry["from"], &entry["to"]), (&"juliet@sip.example".into(), &"romeo@xmpp.example".into()));
        assert_eq!(entry["why"], why, "{entry}");
        assert!(entry["since"].as_str().unwrap() < entry["until"].as_str().unwrap(), "{entry}");
    }
    assert_eq!(listed(&stage, &["--to", "xmpp.example", "--from", "juliet@sip.example"]), entries);
    assert_eq!(listed(&stage, &["--to", "tybalt@xmpp.example"]), [] as [Value; 0]);
    let text = told(&stage, &["list"]);
    assert_eq!(text.lines().count(), 3);
    assert!(text.starts_with(&id(&entries[0])) && text.contains("juliet@sip.example -> romeo@xmpp.example"), "{text}");

    // Who reads the list may have seen enough of it.
    let mut command = Command::new(env!("CARGO_BIN_EXE_entente"));
    command.args(["queue", "list", "--config"]).arg(stage.folder.path().join("gateway.toml"));
    let mut unread = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(unread.stdout.take());
    let output = unread.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));

    let shown = told(&stage, &["show", &id(&entries[1])]);
    assert!(shown.contains("To:      romeo@xmpp.example\n"), "{shown}");
    assert!(shown.ends_with("\n\nhrough yonder window b\n"), "{shown}");
    assert_eq!(told(&stage, &["show", "--raw", &id(&entries[0])]), "But soft! What light t");
    let whole: Value = serde_json::from_str(&told(&stage, &["show", "--json", &id(&entries[2])])).unwrap();
    assert_eq!((&whole["mark"], &whole["content"]), (&entries[2]["mark"], &"cmVha3M/IEl0IGlzIHRoZSBlYXN0LA==".into()));

    let second = id(&entries[1]);
    assert_eq!(told(&stage, &["drop", &second]), format!("{second} dropped\n"));
    let again = queue(&stage, &["drop", &second]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(String::from_utf8(again.stderr).unwrap(), format!("{second} is not there\n"));
    assert_eq!(queue(&stage, &["show", &second]).status.code(), Some(1));
    assert_eq!(listed(&stage, &[]).len(), 2);

    let mut component = stage.accept();
    let messages = delivered(&stage, &mut component);
    assert_eq!(messages.len(), 2, "{messages:?}");
    for (stanza, text) in messages.iter().zip(["But soft! What light t", "reaks? It is the east,"]) {
        assert!(stanza.contains(&format!("<body>{text}</body>")) && stanza.contains("urn:xmpp:delay"), "{stanza}");
    }
    gateway.signal(Signal::SIGTERM);
    component.read_until("</stream:stream", ">");
    component.write("</stream:stream>");
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(!stage.folder.path().join("journal/control").exists(), "nobody listens any more");
    assert_eq!(listed(&stage, &[]).len(), 0);
}

/// The gateway is killed: what it kept is listed, shown and dropped all the same, and the next one delivers the rest.
#[test]
fn what_a_gateway_kept_that_does_not_run_can_be_looked_at_and_dropped() {
    let stage = Stage::new();
    let mut gateway = stage.run_with(&config(&stage));
    // A server that says nothing.
    let silent = stage.xmpp.accept().unwrap();
    wait_until_it_lives(&stage);
    kept(&stage, "one", "But soft! What light t");
    kept(&stage, "two", "hrough yonder window b");
    gateway.signal(Signal::SIGKILL);
    gateway.wait();
    drop(silent);

    let entries = listed(&stage, &["--from", "sip.example"]);
    assert_eq!(entries.len(), 2);
    let first = id(&entries[0]);
    assert_eq!(told(&stage, &["show", "--raw", &first]), "But soft! What light t");
    assert_eq!(told(&stage, &["drop", &first]), format!("{first} dropped\n"));
    let left = listed(&stage, &[]);
    assert_eq!(left.iter().map(id).collect::<Vec<_>>(), [id(&entries[1])]);

    let mut gateway = stage.run_with(&config(&stage));
    let mut component = stage.accept();
    let messages = delivered(&stage, &mut component);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("<body>hrough yonder window b</body>"), "{messages:?}");
    gateway.signal(Signal::SIGTERM);
    component.read_until("</stream:stream", ">");
    component.write("</stream:stream>");
    assert_eq!(gateway.wait().code(), Some(0));
}

/// What nobody takes in time is told to its sender, written to the file of dead letters, and then forgotten.
#[test]
fn a_message_whose_time_is_over_ends_in_the_file_of_dead_letters() {
    let stage = Stage::new();
    let keep = "dead_letter_file = \"dead-letters\"\n[[journal.keep]]\ndomain = \"*\"\nfor = \"1s\"\n";
    let _gateway = stage.run_with(&format!("{}{keep}", config(&stage)));
    wait_until_it_lives(&stage);
    kept(&stage, "one", "But soft! What light t");
    // The late failure: a short message to Juliet.
    let mut buffer = [0; 65_536];
    let told = loop {
        let length = uninterrupted(|| stage.sip.recv(&mut buffer)).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        if text.starts_with("MESSAGE sip:juliet@sip.example ") {
            break text;
        }
    };
    assert!(told.contains("From: <sip:romeo@xmpp.example>"), "{told}");
    let (head, _) = told.split_once("\r\n\r\n").unwrap();
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let headers: Vec<&str> = head.lines().filter(|line| copied.iter().any(|name| line.starts_with(name))).collect();
    let ok = format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", headers.join("\r\n"));
    stage.sip.send_to(ok.as_bytes(), stage.listen).unwrap();

    let path = stage.folder.path().join("dead-letters");
    let start = Instant::now();
    while !listed(&stage, &[]).is_empty() {
        assert!(start.elapsed() < PATIENCE, "the journal gets empty");
        std::thread::sleep(Duration::from_millis(20));
    }
    let letters = std::fs::read_to_string(&path).unwrap();
    assert!(letters.starts_with("From ") && letters.contains("To:      romeo@xmpp.example"), "{letters}");
    assert!(letters.contains("QnV0IHNvZnQhIFdoYXQgbGlnaHQgdA=="), "{letters}");
    assert_eq!(letters.lines().filter(|line| line.starts_with("From ")).count(), 1, "{letters}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Each wrong use has its exit status and says what would be right.
#[test]
fn what_cannot_be_looked_at_is_told_so() {
    let stage = Stage::new();
    stage.write(&stage.config(), "no secret is needed");
    let said = |arguments: &[&str], status: i32| {
        let output = queue(&stage, arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(status), 0), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&["list"], 64).ends_with("gateway.toml: journal.folder is not set: nothing is kept\n"));
    // Nothing else has to be right, and no secret is looked for.
    let broken = "[journal]\nfolder = \"journal\"\nmax_entries = 0\n[[xmpp.component]]\nsecret = { env = \"NONE\" }\n";
    stage.write(broken, "");
    assert!(said(&["list"], 69).ends_with("journal: there is no journal here: no gateway has run with this folder\n"));
    // Whoever looks makes nothing.
    let journal = stage.folder.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    assert!(said(&["list"], 69).ends_with("journal: there is no journal here: no gateway has run with this folder\n"));
    assert_eq!(std::fs::read_dir(&journal).unwrap().count(), 0);
    assert!(said(&["show", "hello"], 64).contains("this is no name of an entry: copy one from the list"));
    assert!(said(&["drop"], 64).contains("required"));
    stage.write("[journal]\nfolder = 5\n", "");
    assert!(said(&["list"], 64).contains("journal.folder = 5: must be text"));
    // Somebody has the folder, and does not listen.
    stage.write(broken, "");
    let _opened = gateway::store::open(&journal).unwrap();
    let told = said(&["list"], 69);
    assert!(told.contains("another gateway works with this folder; it answers no questions yet"), "{told}");
}
