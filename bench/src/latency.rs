//! A histogram of times: buckets of 1/128 of their value, so a quantile is off by less than one per cent.

const FINE: u64 = 128;
const FINE_BITS: u32 = FINE.trailing_zeros();
const BUCKETS: usize = (FINE as usize) * (64 - FINE_BITS as usize + 1);

pub(crate) struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    largest: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS].into_boxed_slice(), count: 0, largest: 0 }
    }

    pub(crate) fn record(&mut self, value: u64) {
        self.buckets[bucket(value)] += 1;
        self.count += 1;
        self.largest = self.largest.max(value);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn largest(&self) -> u64 {
        self.largest
    }

    /// The smallest recorded value that is not below `share` of all values; 0 when nothing was recorded.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_end(index).min(self.largest);
            }
        }
        self.largest
    }
}

fn bucket(value: u64) -> usize {
    if value < FINE {
        return value as usize;
    }
    let shift = 63 - FINE_BITS - value.leading_zeros();
    (FINE as usize) * (shift as usize + 1) + ((value >> shift) - FINE) as usize
}

/// The largest value that falls into the bucket.
fn upper_end(index: usize) -> u64 {
    let index = index as u64;
    if index < FINE {
        return index;
    }
    let shift = index / FINE - 1;
    let first = u128::from(FINE + index % FINE) << shift;
    u64::try_from(first + (1u128 << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_ends_at_or_just_above_it() {
        for value in (0..64)
            .flat_map(|bit| [1u64 << bit, (1u64 << bit) - 1, (1u64 << bit) | (1u64 << bit >> 3)])
            .chain([u64::MAX])
        {
            let end = upper_end(bucket(value));
            assert!(end >= value && end - value <= value / FINE, "{value} -> {end}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), 0);
        (1..=1000u64).rev().for_each(|value| histogram.record(value * 1000));
        for (share, exact) in [(0.5, 500_000f64), (0.99, 990_000.0), (0.999, 999_000.0), (1.0, 1_000_000.0)] {
            let got = histogram.quantile(share) as f64;
            assert!((got - exact).abs() <= exact / 100.0, "{share}: {got}");
        }
        assert_eq!(histogram.largest(), 1_000_000);
    }
}
