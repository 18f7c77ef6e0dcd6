//! A snapshot of counters in the text format of Prometheus.
//!
//! Machines count in plain numbers; a snapshot is made only when somebody asks for one. Labels are words of the program,
//! never addresses.

use std::fmt::Write;
use std::time::Duration;

/// The counters of one moment.
#[derive(Debug, Default)]
pub struct Metrics {
    /// In the order in which they were added first.
    families: Vec<Family>,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    /// What stands behind the name of the family.
    suffix: &'static str,
    labels: Vec<(&'static str, &'static str)>,
    value: Value,
}

/// Names and values.
type Labels<'a> = &'a [(&'static str, &'static str)];

#[derive(Clone, Copy, Debug)]
enum Value {
    Count(u64),
    Seconds(Duration),
}

impl Metrics {
    /// Nothing counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a number that only grows. Its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str, labels: Labels<'_>, value: u64) {
        debug_assert!(name.starts_with("entente_") && name.ends_with("_total"), "{name}");
        self.add(name, help, "counter", &[("", labels, Value::Count(value))]);
    }

    /// Adds a number that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, labels: Labels<'_>, value: u64) {
        debug_assert!(name.starts_with("entente_") && !name.ends_with("_total"), "{name}");
        self.add(name, help, "gauge", &[("", labels, Value::Count(value))]);
    }

    /// Adds durations, counted by class: one class for each bound (in seconds), and one for what is above all of them. The
    /// name ends in `_seconds`.
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        bounds: &[&'static str],
        classes: &[u64],
        sum: Duration,
    ) {
        debug_assert!(name.starts_with("entente_") && name.ends_with("_seconds"), "{name}");
        debug_assert_eq!(bounds.len() + 1, classes.len(), "{name}");
        let spelled = bounds.iter().copied().chain(["+Inf"]);
        let mut so_far = 0;
        for (bound, class) in spelled.zip(classes) {
            so_far += class;
            let labels = [labels, &[("le", bound)]].concat();
            self.add(name, help, "histogram", &[("_bucket", &labels, Value::Count(so_far))]);
        }
        let both = [("_sum", labels, Value::Seconds(sum)), ("_count", labels, Value::Count(so_far))];
        self.add(name, help, "histogram", &both);
    }

    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: &'static str,
        samples: &[(&'static str, Labels<'_>, Value)],
    ) {
        let place = self.families.iter().position(|family| family.name == name).unwrap_or_else(|| {
            self.families.push(Family { name, help, kind, samples: Vec::new() });
            self.families.len() - 1
        });
        let family = &mut self.families[place];
        for (suffix, labels, value) in samples {
            let twice = family.samples.iter().any(|known| known.suffix == *suffix && known.labels == *labels);
            debug_assert!(family.kind == kind && family.help == help && !twice, "{name}");
            family.samples.push(Sample { suffix, labels: labels.to_vec(), value: *value });
        }
    }

    /// One number.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let family = self.families.iter().find(|family| family.name == name)?;
        match family.samples.iter().find(|sample| sample.suffix.is_empty() && sample.labels == labels)?.value {
            Value::Count(count) => Some(count),
            Value::Seconds(_) => None,
        }
    }

    /// The text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for family in &self.families {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {}", family.name, family.help, family.name, family.kind);
            for sample in &family.samples {
                text.push_str(family.name);
                text.push_str(sample.suffix);
                for ((label, word), place) in sample.labels.iter().zip(0..) {
                    let _ = write!(text, "{}{label}={word:?}", if place == 0 { "{" } else { "," });
                }
                if !sample.labels.is_empty() {
                    text.push('}');
                }
                let _ = match sample.value {
                    Value::Count(count) => writeln!(text, " {count}"),
                    Value::Seconds(span) => writeln!(text, " {}.{:06}", span.as_secs(), span.subsec_micros()),
                };
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_name_stand_together() {
        let mut metrics = Metrics::new();
        metrics.counter("entente_drops_total", "Drops.", &[("side", "sip"), ("reason", "garbage")], 3);
        metrics.gauge("entente_open", "Open.", &[], 7);
        metrics.counter("entente_drops_total", "Drops.", &[("side", "xmpp"), ("reason", "garbage")], 4);
        assert_eq!(
            metrics.render(),
            "# HELP entente_drops_total Drops.\n\
             # TYPE entente_drops_total counter\n\
             entente_drops_total{side=\"sip\",reason=\"garbage\"} 3\n\
             entente_drops_total{side=\"xmpp\",reason=\"garbage\"} 4\n\
             # HELP entente_open Open.\n\
             # TYPE entente_open gauge\n\
             entente_open 7\n"
        );
        assert_eq!(metrics.value("entente_drops_total", &[("side", "xmpp"), ("reason", "garbage")]), Some(4));
        assert_eq!(metrics.value("entente_drops_total", &[]), None);
    }

    #[test]
    fn a_histogram_counts_what_is_not_above_each_bound() {
        let mut metrics = Metrics::new();
        let bounds = ["0.5", "2"];
        let sum = Duration::from_millis(4250);
        metrics.histogram("entente_wait_seconds", "Waits.", &[("side", "sip")], &bounds, &[3, 1, 1], sum);
        assert_eq!(
            metrics.render(),
            "# HELP entente_wait_seconds Waits.\n\
             # TYPE entente_wait_seconds histogram\n\
             entente_wait_seconds_bucket{side=\"sip\",le=\"0.5\"} 3\n\
             entente_wait_seconds_bucket{side=\"sip\",le=\"2\"} 4\n\
             entente_wait_seconds_bucket{side=\"sip\",le=\"+Inf\"} 5\n\
             entente_wait_seconds_sum{side=\"sip\"} 4.250000\n\
             entente_wait_seconds_count{side=\"sip\"} 5\n"
        );
    }
}
