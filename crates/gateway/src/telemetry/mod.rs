//! The log and the metrics.
//!
//! The log is one line per event on standard error, for people or as JSON.
//!
//! No line is written per message above the level debug. Addresses of users are redacted where they are written, in the
//! engine; what this crate logs itself names machines and peers only.

mod metrics;

pub use metrics::Metrics;

use crate::config::{Log, LogFormat};
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// What is written can be changed while the log is written.
pub struct Levels(reload::Handle<Targets, Registry>);

impl Levels {
    /// Writes from here on what `level` says. `Err` where the log has ended.
    pub fn set(&self, level: &str) -> Result<(), reload::Error> {
        self.0.reload(targets(level))
    }
}

fn targets(level: &str) -> Targets {
    level.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO))
}

/// Writes events from here on as `log` says.
pub fn start(log: &Log) -> Result<Levels, TryInitError> {
    let (levels, handle) = reload::Layer::new(targets(&log.level));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    Registry::default().with(lines.with_filter(levels)).try_init()?;
    Ok(Levels(handle))
}
