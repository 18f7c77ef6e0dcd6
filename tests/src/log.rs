//! What an operator would read, kept for the test.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Level, Subscriber};

/// Keeps every event up to a level; a clone keeps the same ones.
#[derive(Clone)]
pub struct Log {
    level: Level,
    lines: Arc<Mutex<String>>,
}

impl Log {
    /// Nothing yet.
    pub fn up_to(level: Level) -> Self {
        Self { level, lines: Arc::default() }
    }

    /// Does something whose events are kept.
    pub fn during<T>(&self, what: impl FnOnce() -> T) -> T {
        tracing::subscriber::with_default(self.clone(), what)
    }

    /// All that was kept, an event a line: its level, then its fields.
    pub fn text(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes part in every event and keeps none. Without it, what says nothing while no log is kept could be taken for silent
/// for good by a test that begins to keep one at the same moment.
struct Listener;

/// To be called before anything says something.
pub fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    // Whoever has set another one listens too.
    LISTENING.get_or_init(|| drop(tracing::subscriber::set_global_default(Listener)));
}

impl Subscriber for Listener {
    fn register_callsite(&self, _: &'static tracing::Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        line.0.push('\n');
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push_str(&line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
