//! A child process that ends with the value that stands for it.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::clock;

/// A program and the Debian package it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Absolute path.
    pub path: &'static str,
    /// What to install where the path is missing.
    pub package: &'static str,
}

impl Program {
    /// Its path, once it is known to be there.
    pub fn path(&self) -> &'static str {
        assert!(
            Path::new(self.path).exists(),
            "{} is missing: `apt-get install {}`, or let ./test install it",
            self.path,
            self.package
        );
        self.path
    }

    /// A command for it that ends when the calling thread does, however that happens.
    ///
    /// Call it on the thread of the test: Linux sends the signal when that *thread* ends.
    pub fn command(&self) -> Command {
        tethered(Path::new(self.path()))
    }
}

/// A command for any program that ends when the calling thread does.
pub fn tethered(program: &Path) -> Command {
    // A test run that is killed runs no destructors: the kernel then ends the children instead.
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

/// A running child in a process group of its own.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: bool,
}

impl Process {
    /// Starts `command`, its output going to `log`.
    pub fn start(name: &str, command: Command, log: &Path) -> Self {
        Self::spawn(name, command, log, false)
    }

    /// Starts `command` with pipes to its standard input and output; errors go to `log`.
    pub fn start_piped(name: &str, command: Command, log: &Path) -> (Self, ChildStdin, ChildStdout) {
        let mut process = Self::spawn(name, command, log, true);
        let input = process.child.stdin.take().expect("standard input is piped");
        let output = process.child.stdout.take().expect("standard output is piped");
        (process, input, output)
    }

    fn spawn(name: &str, mut command: Command, log: &Path, piped: bool) -> Self {
        let file = File::create(log).unwrap_or_else(|error| panic!("cannot write {}: {error}", log.display()));
        let copy = file.try_clone().expect("a file handle can be doubled");
        command.stderr(file).process_group(0);
        if piped {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.stdin(Stdio::null()).stdout(copy);
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), child, log: log.to_owned(), ended: false }
    }

    /// All it has written to its log so far.
    pub fn log(&self) -> String {
        read_lossy(&self.log)
    }

    /// Waits until the log contains `text`.
    pub fn wait_for_log(&mut self, text: &str) {
        let found = clock::wait_for(clock::PATIENCE, || {
            if self.log().contains(text) {
                return Some(true);
            }
            self.has_exited().then_some(false)
        });
        match found {
            Some(true) => {}
            Some(false) => panic!("{} ended before it said {text:?}", self.name),
            None => panic!("{} did not say {text:?} within {:?}", self.name, clock::PATIENCE),
        }
    }

    /// Whether it has ended by itself.
    pub fn has_exited(&self) -> bool {
        // WNOWAIT leaves the ended child in the table, so its number, which is also that of its group, stays ours.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(waitid(Id::Pid(self.pid()), flags), Ok(WaitStatus::StillAlive))
    }

    /// Waits until it has ended by itself and returns its exit code.
    pub fn wait(&mut self, span: Duration) -> Option<i32> {
        clock::wait_for(span, || self.has_exited().then_some(()))?;
        self.stop();
        self.child.try_wait().ok().flatten().and_then(|status| status.code())
    }

    /// Sends it a signal (SIGSTOP and SIGCONT make a peer that is there and does not answer).
    pub fn signal(&self, signal: Signal) {
        killpg(self.pid(), signal).unwrap_or_else(|error| panic!("{}: {signal}: {error}", self.name));
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id fits"))
    }

    /// Asks it to end, as an operator would, without waiting.
    pub fn ask_to_end(&self) {
        // Fails if it has ended already.
        let _ = kill(self.pid(), Signal::SIGTERM);
    }

    /// Asks it to end, waits until it has, then ends what is left of its group.
    pub fn stop(&mut self) {
        self.stop_within(clock::PATIENCE);
    }

    fn stop_within(&mut self, span: Duration) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.ask_to_end();
        // Lets a stopped one act on the SIGTERM; fails if it has ended already, as does the SIGKILL.
        let _ = killpg(self.pid(), Signal::SIGCONT);
        let _ = clock::wait_for(span, || self.has_exited().then_some(()));
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody asks any more how it ends.
        self.stop_within(Duration::from_secs(3));
        if std::thread::panicking() {
            print_tail(&self.name, &self.log());
        }
    }
}

/// Prints the end of a log where the output of a failed test goes.
pub fn print_tail(name: &str, log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(60);
    let mut text = format!("---- {name}, last {} of {} lines of its log\n", lines.len() - from, lines.len());
    for line in &lines[from..] {
        text.push_str(line);
        text.push('\n');
    }
    // eprint! is what the test harness captures per test.
    eprint!("{text}");
    let _ = std::io::stderr().flush();
}

/// Waits until somebody takes connections at this path.
pub fn wait_for_socket(path: &Path) {
    // A file is there before anybody listens.
    let open = clock::wait_for(clock::PATIENCE, || UnixStream::connect(path).ok());
    assert!(open.is_some(), "nobody listens at {}", path.display());
}

/// A file as text, empty where it does not exist yet.
pub fn read_lossy(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
