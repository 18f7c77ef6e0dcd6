//! A snapshot of counters in the text format of Prometheus.
//!
//! Machines count in plain numbers; a snapshot is made only when somebody asks for one. Labels are words of the program,
//! never addresses.

use std::fmt::Write;

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
    labels: Vec<(&'static str, &'static str)>,
    value: u64,
}

impl Metrics {
    /// Nothing counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a number that only grows. Its name ends in `_total`.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &'static str)],
        value: u64,
    ) {
        debug_assert!(name.starts_with("entente_") && name.ends_with("_total"), "{name}");
        self.add(name, help, "counter", labels, value);
    }

    /// Adds a number that goes up and down.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &'static str)],
        value: u64,
    ) {
        debug_assert!(name.starts_with("entente_") && !name.ends_with("_total"), "{name}");
        self.add(name, help, "gauge", labels, value);
    }

    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: &'static str,
        labels: &[(&'static str, &'static str)],
        value: u64,
    ) {
        let sample = Sample { labels: labels.to_vec(), value };
        match self.families.iter_mut().find(|family| family.name == name) {
            Some(family) => {
                debug_assert!(
                    family.kind == kind && family.samples.iter().all(|known| known.labels != labels),
                    "{name}"
                );
                family.samples.push(sample);
            }
            None => self.families.push(Family { name, help, kind, samples: vec![sample] }),
        }
    }

    /// One number.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let family = self.families.iter().find(|family| family.name == name)?;
        Some(family.samples.iter().find(|sample| sample.labels == labels)?.value)
    }

    /// The text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for family in &self.families {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {}", family.name, family.help, family.name, family.kind);
            for sample in &family.samples {
                text.push_str(family.name);
                for ((label, word), place) in sample.labels.iter().zip(0..) {
                    let _ = write!(text, "{}{label}={word:?}", if place == 0 { "{" } else { "," });
                }
                if !sample.labels.is_empty() {
                    text.push('}');
                }
                let _ = writeln!(text, " {}", sample.value);
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
}
