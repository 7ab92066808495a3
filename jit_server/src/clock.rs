//! The one place of this program that reads the time.

use std::sync::Mutex;
use std::sync::PoisonError;

use jiff::{SignedDuration, Timestamp, Unit};

/// Where the time comes from. Tests bring their own.
pub trait Clock: Send + Sync + 'static {
    /// The time now, in whole milliseconds. Never earlier than an answer given before.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock, which this never lets run backwards.
#[derive(Debug)]
pub struct WallClock {
    highest: Mutex<Timestamp>,
}

impl WallClock {
    /// A clock that never says less than `highest_seen`: the time of the last recorded event.
    #[must_use]
    pub fn starting_at(highest_seen: Timestamp) -> Self {
        Self {
            highest: Mutex::new(highest_seen),
        }
    }
}

impl Clock for WallClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        *highest = (*highest).max(whole_milliseconds(Timestamp::now()));
        *highest
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

    #[test]
    fn the_clock_never_says_less_than_what_was_recorded() {
        let recorded: Timestamp = "2099-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(WallClock::starting_at(recorded).now(), recorded);
    }
}
