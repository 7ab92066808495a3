//! The one place of this program that reads the time.

mod kept;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Unit};
use nix::time::{ClockId, clock_gettime};

pub use kept::Keeper;

/// Where the time comes from. Tests bring their own.
pub trait Clock: Send + Sync + 'static {
    /// The time now, in whole milliseconds. Never earlier than an answer given before.
    fn now(&self) -> Timestamp;

    /// It is `at` or later: another server's clock says so.
    fn raise(&self, _: Timestamp) {}
}

/// The machine's wall clock, which this never lets run backwards nor stand still. Hosts keep what it signed and let it rise with their
/// boot clocks: were it to stand still after a wrong forward step was taken back, or in suspend, their time would leave it behind, and
/// whatever it grants would be over when it comes.
#[derive(Debug)]
pub struct WallClock {
    last: Mutex<Reading>,
}

/// It was `at` or later when the boot clock stood at `boot`.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Timestamp,
    boot: Duration,
}

impl WallClock {
    /// A clock that never says less than `highest_seen`: what was recorded or kept before.
    #[must_use]
    pub fn starting_at(highest_seen: Timestamp) -> Self {
        Self::from_reading(Reading {
            at: highest_seen,
            boot: since_boot(),
        })
    }

    fn from_reading(reading: Reading) -> Self {
        Self {
            last: Mutex::new(reading),
        }
    }

    /// The time, the boot clock's, and by how much the first is ahead of the wall clock's.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn against_wall(&self) -> (Timestamp, Duration, Duration) {
        let (wall, boot) = (Timestamp::now(), since_boot());
        let now = self.answer(wall, boot);
        let ahead = Duration::try_from(now.duration_since(wall)).unwrap_or_default();
        (now, boot, ahead)
    }

    fn answer(&self, wall: Timestamp, boot: Duration) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let risen = last
            .at
            .checked_add(boot.saturating_sub(last.boot))
            .unwrap_or(Timestamp::MAX);
        *last = Reading {
            at: wall.max(risen),
            boot: boot.max(last.boot),
        };
        last.at
    }
}

impl Clock for Arc<WallClock> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn raise(&self, at: Timestamp) {
        (**self).raise(at);
    }
}

impl Clock for WallClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        whole_milliseconds(self.answer(Timestamp::now(), since_boot()))
    }

    fn raise(&self, at: Timestamp) {
        self.answer(at, since_boot());
    }
}

/// CLOCK_BOOTTIME, which goes on in suspend as the hosts' time does. `Instant` reads CLOCK_MONOTONIC, which stands meanwhile.
pub(crate) fn since_boot() -> Duration {
    // Fails only where the kernel has no such clock; every kernel since 2.6.39 has.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
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
        assert!(WallClock::starting_at(recorded).now() >= recorded);
    }

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86400);

    /// A clock at noon on a machine that was booted a minute ago.
    fn at_noon() -> (WallClock, Timestamp) {
        let at: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        (WallClock::from_reading(Reading { at, boot: MINUTE }), at)
    }

    #[test]
    fn t25_after_a_forward_step_that_is_taken_back_it_goes_on_and_does_not_stand_still() {
        let (clock, today) = at_noon();
        let tomorrow = clock.answer(today + DAY, MINUTE);
        assert_eq!(tomorrow, today + DAY);
        assert_eq!(clock.answer(today, 2 * MINUTE), tomorrow + MINUTE);
        assert_eq!(clock.answer(today, 3 * MINUTE), tomorrow + 2 * MINUTE);
        // The wall clock counts again where it is ahead.
        assert_eq!(clock.answer(today + 2 * DAY, MINUTE), today + 2 * DAY);
    }

    /// Says inside that this is inside.
    const DAY_ASLEEP: &str = "JIT_TEST_DAY_ASLEEP";

    /// In a time namespace the boot clock can be a day ahead of CLOCK_MONOTONIC, as it is after a day of suspend: time_namespaces(7).
    #[test]
    #[allow(clippy::print_stderr, reason = "says why nothing was tried")]
    fn t25_what_it_rises_with_goes_on_in_suspend() {
        if std::env::var_os(DAY_ASLEEP).is_some() {
            let awake = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
            assert!(since_boot() > awake + DAY - MINUTE);
            return;
        }
        let asleep = |command: &[&str]| {
            let mut unshare = std::process::Command::new("unshare");
            unshare
                .args("--user --map-root-user --time --boottime 86400".split(' '))
                .args(command)
                .env(DAY_ASLEEP, "1")
                .output()
        };
        if !asleep(&["true"]).is_ok_and(|tried| tried.status.success()) {
            eprintln!("not tried: this machine gives no time namespace");
            return;
        }
        let this = std::env::current_exe().unwrap();
        let name = "clock::tests::t25_what_it_rises_with_goes_on_in_suspend";
        let tried = asleep(&[this.to_str().unwrap(), "--exact", name]).unwrap();
        let said = String::from_utf8_lossy(&tried.stdout);
        assert!(
            tried.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }
}
