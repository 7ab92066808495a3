//! What time it is, for every decision of jitd: the only place that reads a clock.
//!
//! Wall time alone is not to be believed: root, NTP and a dead battery move it. So time is the later of the wall clock and a
//! line that starts at the latest time a server signed and rises with the boot clock, which nobody sets. Setting the wall clock
//! back never takes time below that line. A forward step counts while it lasts and is forgotten when it is taken back, because
//! it never moves the line.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// Where the readings come from: the kernel, or a test.
pub trait Readings: Send + Sync {
    /// The wall clock (CLOCK_REALTIME).
    fn wall(&self) -> Timestamp;
    /// Time since boot, suspend included (CLOCK_BOOTTIME).
    fn boot(&self) -> Duration;
}

/// Trusted time. Clones share what they learn.
#[derive(Clone)]
pub struct Clock {
    readings: Arc<dyn Readings>,
    line: Arc<Mutex<Line>>,
}

/// At `boot` since boot, it was `at` or later.
#[derive(Debug, Clone, Copy)]
struct Line {
    at: Timestamp,
    boot: Duration,
}

impl Line {
    fn reaches(self, boot: Duration) -> Timestamp {
        later(self.at, boot.saturating_sub(self.boot))
    }
}

impl Clock {
    /// A clock on the kernel's readings. `highest_seen` is what [`Clock::highest`] said before the last stop.
    #[must_use]
    pub fn start(highest_seen: Option<Timestamp>) -> Self {
        Self::on(Arc::new(Kernel), highest_seen)
    }

    /// A clock on readings of the caller's choice, for tests.
    #[must_use]
    pub fn on(readings: Arc<dyn Readings>, highest_seen: Option<Timestamp>) -> Self {
        let line = Line {
            at: highest_seen.unwrap_or(Timestamp::UNIX_EPOCH),
            boot: readings.boot(),
        };
        Self {
            readings,
            line: Arc::new(Mutex::new(line)),
        }
    }

    /// The time: the later of wall clock and line.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.readings.wall().max(self.highest())
    }

    /// Time since boot, suspend included.
    #[must_use]
    pub fn boot(&self) -> Duration {
        self.readings.boot()
    }

    /// The wall clock itself, which anybody may have set: for comparing with the times of files, which are of that clock.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.readings.wall()
    }

    /// Raises the line to a time that the server signed. Call it when the signed word is heard: the word may have been on its way
    /// for a while, so its time is a lower bound of the present, never an overestimate. A lower time changes nothing.
    pub fn learn(&self, signed: Timestamp) {
        let boot = self.readings.boot();
        let mut line = self.line();
        if line.reaches(boot) < signed {
            *line = Line { at: signed, boot };
        }
    }

    /// How far the line reaches now: what to keep on disk for the next start. The wall clock has no part in it, so that one
    /// forward step can't lock the host out for ever.
    #[must_use]
    pub fn highest(&self) -> Timestamp {
        let boot = self.readings.boot();
        self.line().reaches(boot)
    }

    /// How long until `instant`, zero where it has come.
    #[must_use]
    pub fn until(&self, instant: Timestamp) -> Duration {
        Duration::try_from(instant.duration_since(self.now())).unwrap_or(Duration::ZERO)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock")
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}

/// `instant + by`, at most the last timestamp there is.
fn later(instant: Timestamp, by: Duration) -> Timestamp {
    instant.checked_add(by).unwrap_or(Timestamp::MAX)
}

struct Kernel;

impl Readings for Kernel {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place in jitd that reads the wall clock"
    )]
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn boot(&self) -> Duration {
        // Fails only where the kernel has no such clock; every kernel since 2.6.39 has.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
    }
}

/// Readings that a test sets.
#[cfg(test)]
pub(crate) struct Set(Mutex<(Timestamp, Duration)>);

#[cfg(test)]
impl Set {
    pub(crate) fn at(wall: Timestamp, boot: Duration) -> Arc<Self> {
        Arc::new(Self(Mutex::new((wall, boot))))
    }

    pub(crate) fn set_wall(&self, wall: Timestamp) {
        self.0.lock().unwrap().0 = wall;
    }

    /// Both clocks go on.
    pub(crate) fn pass(&self, time: Duration) {
        let mut readings = self.0.lock().unwrap();
        readings.0 = later(readings.0, time);
        readings.1 += time;
    }
}

#[cfg(test)]
impl Readings for Set {
    fn wall(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn boot(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOOT: Duration = Duration::from_secs(100);

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn any_time() -> impl Strategy<Value = Timestamp> {
        (0i64..4_000_000_000).prop_map(second)
    }

    fn any_passing() -> impl Strategy<Value = Duration> {
        (0u64..100_000_000).prop_map(Duration::from_millis)
    }

    proptest! {
        #[test]
        fn time_never_falls_below_what_was_signed_plus_what_has_passed(
            start in any_time(), signed in any_time(), steps in prop::collection::vec((any_time(), any_passing()), 1..20)
        ) {
            let readings = Set::at(start, BOOT);
            let clock = Clock::on(readings.clone(), None);
            clock.learn(signed);
            let mut passed = Duration::ZERO;
            for (wall, time) in steps {
                readings.pass(time);
                readings.set_wall(wall);
                passed += time;
                prop_assert!(clock.now() >= later(signed, passed));
            }
        }

        #[test]
        fn while_the_wall_clock_is_behind_time_rises_with_the_boot_clock_and_nothing_else(
            seen in any_time(), steps in prop::collection::vec((any_time(), any_passing()), 1..20)
        ) {
            let readings = Set::at(Timestamp::UNIX_EPOCH, BOOT);
            let clock = Clock::on(readings.clone(), Some(seen));
            for (wall, time) in steps {
                let before = clock.now();
                readings.pass(time);
                readings.set_wall(wall.min(before));
                prop_assert_eq!(clock.now(), later(before, time));
            }
        }

        #[test]
        fn a_forward_step_that_is_taken_back_is_forgotten(seen in any_time(), wall in any_time(), wrong in any_time(), time in any_passing()) {
            let stepped = Set::at(wall, BOOT);
            let steady = Set::at(wall, BOOT);
            let (a, b) = (Clock::on(stepped.clone(), Some(seen)), Clock::on(steady.clone(), Some(seen)));
            stepped.set_wall(wrong);
            let _ = (a.now(), a.highest());
            stepped.set_wall(wall);
            stepped.pass(time);
            steady.pass(time);
            prop_assert_eq!(a.now(), b.now());
            prop_assert_eq!(a.highest(), b.highest());
        }

        #[test]
        fn learning_only_raises(words in prop::collection::vec((any_time(), any_passing()), 1..20)) {
            let readings = Set::at(Timestamp::UNIX_EPOCH, BOOT);
            let clock = Clock::on(readings.clone(), None);
            for (signed, time) in words {
                readings.pass(time);
                let before = clock.highest();
                clock.learn(signed);
                prop_assert_eq!(clock.highest(), before.max(signed));
            }
        }

        #[test]
        fn what_is_kept_for_the_next_start_is_never_the_wall_clock(seen in any_time(), wall in any_time(), time in any_passing()) {
            let readings = Set::at(wall, BOOT);
            let clock = Clock::on(readings.clone(), Some(seen));
            readings.pass(time);
            prop_assert_eq!(clock.highest(), later(seen, time));
        }
    }

    #[test]
    fn a_restart_goes_on_from_the_highest_time_seen() {
        let clock = Clock::on(Set::at(second(1_000), BOOT), Some(second(5_000)));
        assert_eq!(clock.now(), second(5_000));
    }

    #[test]
    fn what_has_come_is_zero_away() {
        let clock = Clock::on(Set::at(second(1_000), BOOT), None);
        assert_eq!(clock.until(second(999)), Duration::ZERO);
        assert_eq!(clock.until(second(1_002)), Duration::from_secs(2));
    }

    #[test]
    fn the_kernel_has_both_clocks() {
        let clock = Clock::start(None);
        assert!(clock.boot() > Duration::ZERO);
        assert!(clock.now() > second(1_700_000_000));
    }
}
