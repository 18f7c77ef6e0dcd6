//! A terminal for programs that want one: a tmux of its own, where keys go in and the screen is read.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::clock::wait_for;
use super::folder::Folder;
use super::process::{Process, Program, wait_for_socket};

const TMUX: Program = Program { path: "/usr/bin/tmux", package: "tmux" };
const SESSION: &str = "program";

/// A terminal with one program on it, which ends with it.
#[derive(Debug)]
pub struct Terminal {
    _process: Process,
    socket: PathBuf,
}

impl Terminal {
    /// Starts `program` with these arguments and variables; `name` tells terminals of one test apart.
    pub fn start(folder: &Folder, name: &str, program: &[&str], variables: &[(&str, &str)]) -> Self {
        let socket = folder.join(&format!("{name}.tmux"));
        let mut command = TMUX.command();
        // In the foreground, or it would leave the process group that ends with the test.
        command.args(["-D", "-u", "-f", "/dev/null", "-S"]).arg(&socket);
        command.env("LC_ALL", "C.UTF-8").env_remove("TMUX").envs(variables.iter().copied());
        let process = Process::start("tmux", command, &folder.join(&format!("{name}.tmux.log")));
        let terminal = Self { _process: process, socket };
        wait_for_socket(&terminal.socket);
        let size = ["new-session", "-d", "-s", SESSION, "-x", "200", "-y", "50"];
        let started = terminal.tmux(&[size.as_slice(), program].concat());
        assert!(started.is_some(), "tmux does not start {name}");
        terminal
    }

    /// Types one line and the Enter key.
    pub fn enter(&self, line: &str) {
        assert!(!line.contains(char::is_control), "{line:?} is not one line");
        let typed = self.tmux(&["send-keys", "-t", SESSION, "-l", "--", line]);
        let entered = typed.and_then(|_| self.tmux(&["send-keys", "-t", SESSION, "Enter"]));
        assert!(entered.is_some(), "the program takes no keys");
    }

    /// What it shows now, nothing once the program has ended.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", SESSION]).unwrap_or_default()
    }

    /// Types a last line, and lets the program end by itself for `span`.
    pub fn leave(&self, line: &str, span: Duration) {
        for keys in [["-l", line].as_slice(), &["Enter"]] {
            self.tmux(&[["send-keys", "-t", SESSION].as_slice(), keys].concat());
        }
        // Dropping it ends what does not.
        let _ = wait_for(span, || self.has_ended().then_some(()));
    }

    /// Whether the program has ended.
    pub fn has_ended(&self) -> bool {
        self.tmux(&["has-session", "-t", SESSION]).is_none()
    }

    /// What a command to the terminal prints, `None` if it fails.
    fn tmux(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new(TMUX.path());
        // -N: never a server of its own, which nobody would end.
        let output = command.args(["-N", "-u", "-S"]).arg(&self.socket).args(arguments).env_remove("TMUX").output();
        let output = output.expect("tmux can be run");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
