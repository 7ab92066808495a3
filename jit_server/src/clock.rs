//! The one place of this program that reads the time.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp, Unit};

/// Where the time comes from. Tests bring their own.
pub trait Clock: Send + Sync + 'static {
    /// The time now, in whole milliseconds. Never earlier than an answer given before.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock, which this never lets run backwards nor stand still. Hosts keep what it signed and let it rise with their
/// boot clocks: were it to stand still after a wrong forward step was taken back, their time would leave it behind, and whatever it
/// grants would be over when it comes.
#[derive(Debug)]
pub struct WallClock {
    last: Mutex<(Timestamp, Instant)>,
}

impl WallClock {
    /// A clock that never says less than `highest_seen`: the time of the last recorded event.
    #[must_use]
    pub fn starting_at(highest_seen: Timestamp) -> Self {
        Self {
            last: Mutex::new((highest_seen, Instant::now())),
        }
    }

    fn answer(&self, wall: Timestamp, now: Instant) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, then) = *last;
        let risen = at
            .checked_add(now.saturating_duration_since(then))
            .unwrap_or(Timestamp::MAX);
        *last = (wall.max(risen), now.max(then));
        last.0
    }
}

impl Clock for WallClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        whole_milliseconds(self.answer(Timestamp::now(), Instant::now()))
    }
}

/// `at` without what is finer than a millisecond.
fn whole_milliseconds(at: Timestamp) -> Timestamp {
    at.round(
        jiff::TimestampRound::new()
            .smallest(Unit::Millisecond)
            .mode(jiff::RoundMode::Trunc),
    )
    .unwrap_or(at)
}

/// `at` and `seconds` more; the end of time where that is past it.
#[must_use]
pub fn seconds_after(at: Timestamp, seconds: u32) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(i64::from(seconds)))
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_clock_never_says_less_than_what_was_recorded() {
        let recorded: Timestamp = "2099-01-01T00:00:00Z".parse().unwrap();
        assert!(WallClock::starting_at(recorded).now() >= recorded);
    }

    #[test]
    fn t25_after_a_forward_step_that_is_taken_back_it_goes_on_and_does_not_stand_still() {
        let today: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let (day, minute) = (Duration::from_secs(86400), Duration::from_secs(60));
        let (clock, then) = (WallClock::starting_at(today), Instant::now());
        let tomorrow = clock.answer(today + day, then);
        assert_eq!(tomorrow, today + day);
        assert_eq!(clock.answer(today, then + minute), tomorrow + minute);
        assert_eq!(
            clock.answer(today, then + 2 * minute),
            tomorrow + 2 * minute
        );
        // The wall clock counts again where it is ahead.
        assert_eq!(clock.answer(today + 2 * day, then), today + 2 * day);
    }
}
