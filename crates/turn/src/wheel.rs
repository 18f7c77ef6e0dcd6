//! A hashed timer wheel.

use std::time::{Duration, Instant};

/// Timers of one machine. An entry is a small copyable name of a row and what is due; there is no cancelling: whoever
/// takes a due entry looks whether its row still stands and still waits for that moment.
#[derive(Debug)]
pub struct Wheel<T> {
    /// Moment of tick zero; set by the first use.
    start: Option<Instant>,
    /// The next tick to be looked at.
    next: u64,
    slots: Vec<Vec<(u64, T)>>,
    /// One bit per slot that holds anything.
    filled: Vec<u64>,
    due: Vec<T>,
    count: usize,
}

/// Length of a tick. Timers fire at the end of the tick they fall into, so up to this much late and never early.
const TICK: Duration = Duration::from_millis(5);
const SLOTS: usize = 8192;

impl<T: Copy> Default for Wheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy> Wheel<T> {
    /// An empty wheel: 5 ms a tick, 41 s a round.
    pub fn new() -> Self {
        Self {
            start: None,
            next: 0,
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            filled: vec![0; SLOTS / 64],
            due: Vec::new(),
            count: 0,
        }
    }

    /// Entries that are not due yet.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.due.is_empty()
    }

    fn tick_of(&mut self, at: Instant) -> u64 {
        let start = *self.start.get_or_insert(at);
        (at.saturating_duration_since(start).as_nanos() / TICK.as_nanos()) as u64
    }

    /// Enters `entry`, due at `at`. `now` is the time of the turn.
    pub fn arm(&mut self, now: Instant, at: Instant, entry: T) {
        self.tick_of(now);
        // The end of the tick: never early.
        let tick = (self.tick_of(at) + 1).max(self.next);
        let slot = (tick % SLOTS as u64) as usize;
        self.slots[slot].push((tick, entry));
        self.filled[slot / 64] |= 1 << (slot % 64);
        self.count += 1;
    }

    /// The next entry that is due at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<T> {
        if let Some(entry) = self.due.pop() {
            return Some(entry);
        }
        if self.count == 0 {
            if self.start.is_some() {
                self.next = self.tick_of(now);
            }
            return None;
        }
        let tick = self.tick_of(now);
        while self.next <= tick {
            let Some(found) = self.next_filled(tick) else {
                self.next = tick + 1;
                break;
            };
            self.next = found + 1;
            let slot = (found % SLOTS as u64) as usize;
            let entries = &mut self.slots[slot];
            let mut kept = 0;
            for index in 0..entries.len() {
                let (due, entry) = entries[index];
                if due <= found {
                    self.due.push(entry);
                } else {
                    entries[kept] = entries[index];
                    kept += 1;
                }
            }
            self.count -= entries.len() - kept;
            entries.truncate(kept);
            if kept == 0 {
                self.filled[slot / 64] &= !(1 << (slot % 64));
            }
            if !self.due.is_empty() {
                // First armed, first due.
                self.due.reverse();
                return self.due.pop();
            }
        }
        None
    }

    /// When the next entry may be due. An answer may be early by whole rounds for entries that lie further ahead than one
    /// round; then nothing is due and the question is asked again.
    pub fn next_due(&self) -> Option<Instant> {
        let start = self.start?;
        if !self.due.is_empty() {
            return Some(start);
        }
        if self.count == 0 {
            return None;
        }
        let tick = self.next_filled(self.next + SLOTS as u64)?;
        Some(start + TICK * u32::try_from(tick).unwrap_or(u32::MAX))
    }

    /// The first tick from `next` to `last` whose slot holds anything.
    fn next_filled(&self, last: u64) -> Option<u64> {
        let last = last.min(self.next + SLOTS as u64 - 1);
        let mut tick = self.next;
        while tick <= last {
            let slot = (tick % SLOTS as u64) as usize;
            let word = self.filled[slot / 64] >> (slot % 64);
            if word != 0 {
                let found = tick + u64::from(word.trailing_zeros());
                return (found <= last).then_some(found);
            }
            tick += 64 - (slot % 64) as u64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(wheel: &mut Wheel<u32>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| wheel.pop_due(now)).collect()
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn entries_come_when_due_in_the_order_they_were_armed() {
        let start = Instant::now();
        let mut wheel = Wheel::new();
        let ms = |n| start + Duration::from_millis(n);
        wheel.arm(start, ms(500), 1);
        wheel.arm(start, ms(500), 2);
        wheel.arm(start, ms(32_000), 3);
        wheel.arm(start, ms(100_000), 4);
        assert!(drain(&mut wheel, ms(499)).is_empty());
        assert_eq!(drain(&mut wheel, ms(505)), [1, 2]);
        assert_eq!(drain(&mut wheel, ms(33_000)), [3]);
        assert!(drain(&mut wheel, ms(99_999)).is_empty());
        assert_eq!(drain(&mut wheel, ms(100_010)), [4]);
        assert!(wheel.is_empty());
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn against_a_sorted_list() {
        let start = Instant::now();
        let mut minter = crate::Minter::new([7; 16]);
        let mut wheel = Wheel::new();
        let mut expected: Vec<(u64, u32)> = Vec::new();
        let mut now = 0u64;
        for n in 0..5000u32 {
            let random = minter.mint();
            let ahead = (random as u64) % 90_000;
            wheel.arm(start + Duration::from_millis(now), start + Duration::from_millis(now + ahead), n);
            expected.push((now + ahead, n));
            now += (random >> 64) as u64 % 50;
            let mut fired = Vec::new();
            while let Some(entry) = wheel.pop_due(start + Duration::from_millis(now)) {
                fired.push(entry);
            }
            for entry in fired {
                let place = expected.iter().position(|(_, e)| *e == entry).expect("armed once, fired once");
                assert!(expected[place].0 <= now, "never early");
                expected.remove(place);
            }
            assert!(expected.iter().all(|(due, _)| *due + 10 > now), "never later than two ticks");
        }
        assert_eq!(wheel.len(), expected.len());
    }
}
