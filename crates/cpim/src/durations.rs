//! How long operations take from the moment they came to their response.

use std::time::Duration;

/// Bounds of the classes, from below: what an idle gateway takes, what a network takes, the answer window, SIP's timers.
pub const BOUNDS: [Duration; 10] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_millis(3500),
    Duration::from_secs(8),
    Duration::from_secs(32),
];

/// Durations, counted by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many were in each class: above the bound before it and not above its own; the last class has none.
    pub classes: [u64; BOUNDS.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

impl Durations {
    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        let class = BOUNDS.partition_point(|bound| *bound < duration);
        self.classes[class] += 1;
        self.sum = self.sum.saturating_add(duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_class_below_it() {
        let mut durations = Durations::default();
        for millis in [0, 1, 2, 5, 31_999, 32_000, 32_001, 500_000] {
            durations.add(Duration::from_millis(millis));
        }
        assert_eq!(durations.classes, [2, 2, 0, 0, 0, 0, 0, 0, 0, 2, 2]);
        assert_eq!(durations.sum, Duration::from_millis(596_008));
    }
}
