//! The date, for machines that know no clock.

use std::time::{Duration, Instant, SystemTime};

/// What date it was when a machine was made, and so at every later moment of its time.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    made: Instant,
    made_at: Option<SystemTime>,
}

impl Calendar {
    /// At `made` it was `made_at`, where that is known.
    pub fn new(made: Instant, made_at: Option<SystemTime>) -> Self {
        Self { made, made_at }
    }

    /// The date at `moment`.
    pub fn date(&self, moment: Instant) -> Option<SystemTime> {
        let made_at = self.made_at?;
        match moment.checked_duration_since(self.made) {
            Some(since) => made_at.checked_add(since),
            None => made_at.checked_sub(self.made.duration_since(moment)),
        }
    }

    /// How long before `moment` the machine was made.
    pub fn age(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.made)
    }

    /// The moment of a date; none where the date is unknown, or too far away for one.
    pub fn moment(&self, date: SystemTime) -> Option<Instant> {
        match date.duration_since(self.made_at?) {
            Ok(since) => self.made.checked_add(since),
            Err(before) => self.made.checked_sub(before.duration()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_moments_lead_to_each_other() {
        let made = Instant::now();
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_201_200);
        let calendar = Calendar::new(made, Some(date));
        let hour = Duration::from_secs(3600);
        assert_eq!(calendar.date(made + hour), Some(date + hour));
        assert_eq!(calendar.moment(date + hour), Some(made + hour));
        assert_eq!((calendar.age(made + hour), calendar.age(made)), (hour, Duration::ZERO));
        // A date that no moment can be counted back to.
        if let Some(moment) = calendar.moment(SystemTime::UNIX_EPOCH) {
            assert_eq!(calendar.date(moment), Some(SystemTime::UNIX_EPOCH));
        }
        let unknown = Calendar::new(made, None);
        assert_eq!((unknown.date(made), unknown.moment(date)), (None, None));
    }
}
