//! What was delivered from the journal a short while ago.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Whoever has no answer repeats his message for 32 s.
const LIFETIME: Duration = Duration::from_secs(64);
/// Beyond it the oldest are forgotten.
const MOST: usize = 1 << 18;

/// Marks of messages. All that were delivered right after a start may be repeated at once, and none may be taken twice: it is
/// exact, and takes memory for what it holds.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    marks: BTreeSet<u64>,
    /// In the order in which they were delivered.
    order: VecDeque<(Instant, u64)>,
}

impl Delivered {
    pub(super) fn insert(&mut self, now: Instant, mark: u64) {
        self.forget(now);
        if self.order.len() >= MOST
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.marks.remove(&oldest);
        }
        if self.marks.insert(mark) {
            self.order.push_back((now, mark));
        }
    }

    pub(super) fn contains(&mut self, now: Instant, mark: u64) -> bool {
        self.forget(now);
        self.marks.contains(&mark)
    }

    fn forget(&mut self, now: Instant) {
        while let Some((_, mark)) = self.order.pop_front_if(|(at, _)| now.saturating_duration_since(*at) >= LIFETIME) {
            self.marks.remove(&mark);
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_known_for_their_time_and_the_oldest_give_way() {
        let (mut delivered, now) = (Delivered::default(), Instant::now());
        for mark in 0..MOST as u64 {
            delivered.insert(now, mark);
        }
        assert!((0..MOST as u64).all(|mark| delivered.contains(now + LIFETIME / 2, mark)));
        delivered.insert(now + LIFETIME / 2, u64::MAX);
        assert!(!delivered.contains(now + LIFETIME / 2, 0) && delivered.contains(now + LIFETIME / 2, 1));
        assert!(!delivered.contains(now + LIFETIME, 1) && delivered.contains(now + LIFETIME, u64::MAX));
        assert_eq!((delivered.marks.len(), delivered.order.len()), (1, 1));
    }
}
