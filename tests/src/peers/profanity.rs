//! profanity: an XMPP client for people at a terminal, which here is a tmux of its own: keys go in, the screen is read.

use std::path::PathBuf;
use std::time::Duration;

use super::clock::{PATIENCE, wait_for};
use super::folder::Folder;
use super::process::{Program, print_tail, read_lossy};
use super::terminal::Terminal;

const PROFANITY: Program = Program { path: "/usr/bin/profanity", package: "profanity" };
/// How long it may take to close its stream and end.
const QUIT: Duration = Duration::from_secs(2);

/// A profanity on a terminal.
#[derive(Debug)]
pub struct Profanity {
    terminal: Terminal,
    log: PathBuf,
}

impl Profanity {
    /// Starts one that nobody has ever used, and waits until it takes commands.
    pub fn start(folder: &Folder) -> Self {
        let home = folder.make("profanity");
        let log = home.join("profanity.log");
        let text = |path: PathBuf| path.to_str().expect("temporary folders have plain names").to_owned();
        let variables = [
            ("HOME", text(home.clone())),
            ("XDG_CONFIG_HOME", text(home.join("config"))),
            ("XDG_DATA_HOME", text(home.join("data"))),
        ];
        let program = [PROFANITY.path(), "-l", "DEBUG", "-f", &text(log.clone())];
        let terminal = Terminal::start(
            folder,
            "profanity",
            &program,
            &variables.each_ref().map(|(name, value)| (*name, &**value)),
        );
        let profanity = Self { terminal, log };
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
        self.terminal.enter(line);
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
        let found = wait_for(PATIENCE, || Some(self.terminal.screen()).filter(|screen| wanted(screen)));
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
}

impl Drop for Profanity {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print_tail("profanity, screen", &self.terminal.screen());
            print_tail("profanity", &read_lossy(&self.log));
        }
        self.terminal.leave("/quit", QUIT);
    }
}
