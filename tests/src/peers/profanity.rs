//! profanity: an XMPP client for people at a terminal, which here is a tmux of its own: keys go in, the screen is read.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::clock::{PATIENCE, wait_for};
use super::folder::Folder;
use super::process::{Process, Program, print_tail, read_lossy};

const PROFANITY: Program = Program { path: "/usr/bin/profanity", package: "profanity" };
const TMUX: Program = Program { path: "/usr/bin/tmux", package: "tmux" };
const SESSION: &str = "profanity";
/// How long it may take to close its stream and end.
const QUIT: Duration = Duration::from_secs(2);

/// A profanity on a terminal.
#[derive(Debug)]
pub struct Profanity {
    /// The tmux that is its terminal, and ends it.
    _terminal: Process,
    socket: PathBuf,
    log: PathBuf,
}

impl Profanity {
    /// Starts one that nobody has ever used, and waits until it takes commands.
    pub fn start(folder: &Folder) -> Self {
        let home = folder.make("profanity");
        let socket = folder.join("tmux.sock");
        let mut command = TMUX.command();
        // In the foreground, or it would leave the process group that ends with the test.
        command.args(["-D", "-u", "-f", "/dev/null", "-S"]).arg(&socket);
        command.env("HOME", &home).env("LC_ALL", "C.UTF-8").env_remove("TMUX");
        command.env("XDG_CONFIG_HOME", home.join("config")).env("XDG_DATA_HOME", home.join("data"));
        let terminal = Process::start("tmux", command, &folder.join("tmux.log"));
        let log = home.join("profanity.log");
        let profanity = Self { _terminal: terminal, socket, log };
        wait_for(PATIENCE, || profanity.socket.exists().then_some(())).expect("tmux opens its socket");
        let log = profanity.log.to_str().expect("temporary folders have plain names");
        let size = ["new-session", "-d", "-s", SESSION, "-x", "200", "-y", "50"];
        let started = profanity.tmux(&[size.as_slice(), &[PROFANITY.path(), "-l", "DEBUG", "-f", log]].concat());
        assert!(started.is_some(), "tmux starts no profanity");
        profanity.expect_screen("its greeting", |screen| screen.contains("Type '/help'"));
        profanity
    }

    /// Types the `/connect` line and the password it asks for, and waits until it is online.
    pub fn connect(&self, line: &str, password: &str) {
        self.try_to_connect(line, password);
        self.expect_screen("to be online", |screen| {
            assert!(!screen.contains("Login failed."), "profanity cannot log in");
            screen.contains(" logged in successfully, online")
        });
    }

    /// Types the `/connect` line and the password it asks for, and waits until it says that it cannot log in.
    pub fn expect_refusal(&self, line: &str, password: &str) {
        self.try_to_connect(line, password);
        self.expect_screen("to be refused", |screen| {
            assert!(!screen.contains(" logged in "), "profanity logs in with the wrong password");
            screen.contains(" - Login failed.")
        });
    }

    /// Types one line and the Enter key.
    pub fn enter(&self, line: &str) {
        assert!(!line.contains(char::is_control), "{line:?} is not one line");
        let typed = self.tmux(&["send-keys", "-t", SESSION, "-l", "--", line]);
        let entered = typed.and_then(|_| self.tmux(&["send-keys", "-t", SESSION, "Enter"]));
        assert!(entered.is_some(), "profanity takes no keys");
    }

    /// Writes to somebody, whose window it then shows.
    pub fn send(&self, to: &str, text: &str) {
        self.enter(&format!("/msg {to} {text}"));
    }

    /// Waits until the window it shows has a text of this line from somebody, and panics if it has it twice.
    pub fn expect_text(&self, from: &str, line: &str) {
        let wanted = format!(" - {from}: {line}");
        let screen =
            self.expect_screen(&wanted, |screen| screen.lines().any(|shown| shown.trim_end().ends_with(&wanted)));
        assert_eq!(screen.matches(&wanted).count(), 1, "{wanted:?} is there more than once");
    }

    /// What it shows, once that is what is wanted.
    pub fn expect_screen(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let found = wait_for(PATIENCE, || Some(self.screen()).filter(|screen| wanted(screen)));
        found.unwrap_or_else(|| panic!("profanity waited {PATIENCE:?} for {what:?}"))
    }

    fn try_to_connect(&self, line: &str, password: &str) {
        // What it said of an earlier attempt is not what it says of this one.
        self.enter("/clear");
        self.expect_screen("an empty window", |screen| !screen.contains(" - "));
        self.enter(line);
        self.expect_screen("to be asked for the password", |screen| screen.contains("Enter password:"));
        self.enter(password);
    }

    /// What it shows now, nothing once it has ended.
    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", SESSION]).unwrap_or_default()
    }

    /// What a command to the terminal prints, `None` if it fails.
    fn tmux(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new(TMUX.path());
        let output = command.args(["-u", "-S"]).arg(&self.socket).args(arguments).env_remove("TMUX").output();
        let output = output.expect("tmux can be run");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Profanity {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print_tail("profanity, screen", &self.screen());
            print_tail("profanity", &read_lossy(&self.log));
        }
        // The terminal ends what does not quit.
        for keys in [["-l", "/quit"].as_slice(), &["Enter"]] {
            let command = ["send-keys", "-t", SESSION];
            self.tmux(&[command.as_slice(), keys].concat());
        }
        let _ = wait_for(QUIT, || self.tmux(&["has-session", "-t", SESSION]).is_none().then_some(()));
    }
}
