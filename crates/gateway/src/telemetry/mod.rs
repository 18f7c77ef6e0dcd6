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

/// What the store is made of tells of its files only where it is asked to, or where something is wrong.
const RETICENT: [&str; 2] = ["fjall", "lsm_tree"];

fn targets(level: &str) -> Targets {
    let targets: Targets = level.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let usual = targets.default_level().unwrap_or(LevelFilter::OFF).min(LevelFilter::WARN);
    let asked = |name: &str| targets.iter().any(|(target, _)| target.split("::").next() == Some(name));
    let unasked: Vec<_> = RETICENT.into_iter().filter(|name| !asked(name)).collect();
    unasked.into_iter().fold(targets, |targets, name| targets.with_target(name, usual))
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

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn the_store_tells_of_its_files_only_where_it_is_asked_to() {
        for (level, ours, store) in [
            ("info", Level::INFO, Level::WARN),
            ("trace", Level::TRACE, Level::WARN),
            ("error", Level::ERROR, Level::ERROR),
            ("warn,fjall=debug,lsm_tree::tree=debug", Level::WARN, Level::DEBUG),
        ] {
            let targets = targets(level);
            for target in ["fjall::db", "lsm_tree::tree"] {
                assert!(targets.would_enable(target, &store), "{level}: {target}");
                assert!(store == Level::TRACE || !targets.would_enable(target, &Level::TRACE), "{level}: {target}");
                assert!(store != Level::WARN || !targets.would_enable(target, &Level::INFO), "{level}: {target}");
            }
            assert!(targets.would_enable("engine", &ours), "{level}");
        }
        assert!(!targets("off").would_enable("fjall", &Level::ERROR));
    }
}
