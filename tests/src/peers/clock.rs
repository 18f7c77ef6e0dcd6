//! Real time, which only tests with real peers may wait for.
#![allow(clippy::disallowed_methods, reason = "the peers live in real time")]

use std::time::{Duration, Instant};

/// How long a peer may take to start, log in or answer before the test fails; generous, because machines that run tests are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A point in time after which waiting has failed.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// `span` from now.
    pub fn after(span: Duration) -> Self {
        Self(Instant::now() + span)
    }

    /// What is left of it, `None` once it has passed.
    pub fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

/// Asks `look` every 20 ms until it finds something; `None` once `span` has passed.
pub fn wait_for<T>(span: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(span);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        deadline.left()?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lets `span` pass, for the cases where a test says that nothing more happens.
pub fn let_pass(span: Duration) {
    std::thread::sleep(span);
}

/// What `work` returned and how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}
