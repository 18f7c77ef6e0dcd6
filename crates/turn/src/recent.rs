//! What was seen a short while ago.

use std::time::{Duration, Instant};

/// Rows that share one place: the oldest of them gives way.
const WAYS: usize = 4;

/// A memory of fixed size for things that are known by a keyed hash ([`Minter::keyed`](crate::Minter::keyed), which nobody
/// can aim at). A row is forgotten when it is too old, or earlier when its place is needed: whoever uses it has to be right,
/// if less well, without it. It takes memory with the first row, all of it, and none after that.
#[derive(Clone, Debug)]
pub struct Recent<V> {
    rows: Vec<Option<Row<V>>>,
    places: usize,
    lifetime: Duration,
}

#[derive(Clone, Debug)]
struct Row<V> {
    key: u128,
    at: Instant,
    value: V,
}

impl<V: Default> Recent<V> {
    /// An empty memory for `size` rows that live for `lifetime` after they were touched.
    pub fn new(size: usize, lifetime: Duration) -> Self {
        Self { rows: Vec::new(), places: size.div_ceil(WAYS).max(1), lifetime }
    }

    fn place(&self, key: u128) -> std::ops::Range<usize> {
        let start = (key % self.places as u128) as usize * WAYS;
        start..start + WAYS
    }

    /// What is known of `key`.
    pub fn find(&self, now: Instant, key: u128) -> Option<&V> {
        let rows = self.rows.get(self.place(key))?;
        let row = rows.iter().flatten().find(|row| row.key == key)?;
        (now.saturating_duration_since(row.at) < self.lifetime).then_some(&row.value)
    }

    /// The same, to be changed; its life does not begin anew.
    pub fn find_mut(&mut self, now: Instant, key: u128) -> Option<&mut V> {
        let place = self.place(key);
        let row = self.rows.get_mut(place)?.iter_mut().flatten().find(|row| row.key == key)?;
        (now.saturating_duration_since(row.at) < self.lifetime).then_some(&mut row.value)
    }

    /// The row of `key`, whose life begins now, and whether it was known before. A row that takes the place of another one
    /// holds that one's value until it is set: its memory can be used again.
    pub fn touch(&mut self, now: Instant, key: u128) -> (&mut V, bool) {
        if self.rows.is_empty() {
            self.rows.resize_with(self.places * WAYS, || None);
        }
        let place = self.place(key);
        let rows = &mut self.rows[place];
        let own = rows.iter().position(|row| row.as_ref().is_some_and(|row| row.key == key));
        // `None` is less than any moment: what is free goes first.
        let index = own.or_else(|| (0..WAYS).min_by_key(|&way| rows[way].as_ref().map(|row| row.at))).unwrap_or(0);
        let lifetime = self.lifetime;
        let row = rows[index].get_or_insert_with(|| Row { key, at: now, value: V::default() });
        let known = own.is_some() && now.saturating_duration_since(row.at) < lifetime;
        row.key = key;
        row.at = now;
        (&mut row.value, known)
    }

    /// Remembers that `key` was seen; tells whether it was known already.
    pub fn see(&mut self, now: Instant, key: u128) -> bool {
        self.touch(now, key).1
    }

    /// Forgets `key`.
    pub fn forget(&mut self, key: u128) {
        let place = self.place(key);
        for row in self.rows.get_mut(place).into_iter().flatten() {
            if row.as_ref().is_some_and(|row| row.key == key) {
                *row = None;
            }
        }
    }

    /// Whether nothing was ever remembered.
    pub fn is_unused(&self) -> bool {
        self.rows.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_row_lives_for_its_time() {
        let mut recent = Recent::<u32>::new(8, 10 * SECOND);
        let now = Instant::now();
        assert!(recent.is_unused() && recent.find(now, 1).is_none());
        assert!(!recent.see(now, 1));
        *recent.touch(now, 1).0 = 7;
        assert_eq!(recent.find(now + 9 * SECOND, 1), Some(&7));
        assert_eq!(recent.find(now + 10 * SECOND, 1), None);
        assert!(recent.see(now + 9 * SECOND, 1), "touched, it lives anew");
        assert_eq!(recent.find(now + 18 * SECOND, 1), Some(&7));
        assert!(!recent.see(now + 19 * SECOND, 1));
        recent.forget(1);
        assert_eq!(recent.find(now + 19 * SECOND, 1), None);
        assert_eq!(recent.find_mut(now, 2), None);
    }

    #[test]
    fn the_oldest_in_a_place_gives_way_and_the_size_stays() {
        let mut recent = Recent::<()>::new(4, 1000 * SECOND);
        let now = Instant::now();
        for key in 0..5 {
            assert!(!recent.see(now + SECOND * key as u32, key));
        }
        let later = now + 10 * SECOND;
        let known: Vec<u128> = (0..5).filter(|&key| recent.find(later, key).is_some()).collect();
        assert_eq!(known, [1, 2, 3, 4]);
        for key in 0..10_000 {
            recent.see(later, key);
        }
        assert_eq!(recent.rows.len(), 4);
    }
}
