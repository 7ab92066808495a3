//! The exact timer behind every end: on the boot clock, which nobody sets and suspend does not stop, and on the wall clock, so
//! that setting it is noticed at once.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::ready::Ready;

/// Rings when something is due, and when the wall clock was set.
pub(crate) struct Alarm {
    boot: Ready<TimerFd>,
    wall: Ready<TimerFd>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// Where the kernel has no timer to give.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            boot: timer(ClockId::CLOCK_BOOTTIME)?,
            wall: timer(ClockId::CLOCK_REALTIME)?,
        })
    }

    /// Rings at `boot` since boot, when the wall clock reaches `wall`, or when the wall clock is set: whichever comes first.
    ///
    /// # Errors
    /// Where the kernel refuses the times.
    pub(crate) fn set(&self, boot: Duration, wall: Timestamp) -> io::Result<()> {
        let absolute = TimerSetTimeFlags::TFD_TIMER_ABSTIME;
        let since_epoch =
            Duration::try_from(wall.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default();
        self.boot
            .get()
            .set(Expiration::OneShot(spec(boot)), absolute)?;
        let noticing_steps = absolute | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        match self
            .wall
            .get()
            .set(Expiration::OneShot(spec(since_epoch)), noticing_steps)
        {
            // The clock was set after the times were worked out: ring at once, so that they are worked out again.
            Err(Errno::ECANCELED) => Ok(self
                .boot
                .get()
                .set(Expiration::OneShot(spec(Duration::ZERO)), absolute)?),
            other => other.map_err(io::Error::from),
        }
    }

    /// Rings so long from now on the boot clock.
    ///
    /// # Errors
    /// Where the kernel refuses the time.
    pub(crate) fn set_in(&self, wait: Duration) -> io::Result<()> {
        let relative = TimerSetTimeFlags::empty();
        Ok(self
            .boot
            .get()
            .set(Expiration::OneShot(spec(wait)), relative)?)
    }

    /// Never rings until it is set.
    ///
    /// # Errors
    /// Those of the kernel.
    pub(crate) fn unset(&self) -> io::Result<()> {
        self.boot.get().unset()?;
        self.wall.get().unset()?;
        Ok(())
    }

    /// Returns when it rings.
    pub(crate) async fn rings(&self) {
        tokio::select! {
            () = rung(&self.boot) => {}
            () = rung(&self.wall) => {}
        }
    }
}

/// Elapsed, or cancelled (ECANCELED): the clock was set.
async fn rung(timer: &Ready<TimerFd>) {
    timer
        .take(|timer| (timer.wait() != Err(Errno::EAGAIN)).then_some(()))
        .await;
}

fn timer(clock: ClockId) -> io::Result<Ready<TimerFd>> {
    Ready::new(TimerFd::new(
        clock,
        TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
    )?)
}

/// A time of zero would unset the timer.
fn spec(time: Duration) -> TimeSpec {
    TimeSpec::from_duration(time.max(Duration::from_nanos(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const NEVER: Timestamp = Timestamp::MAX;

    #[tokio::test]
    async fn it_rings_at_its_time_on_the_boot_clock_and_not_before() {
        let (clock, alarm) = (Clock::start(None), Alarm::new().unwrap());
        let due = clock.boot() + Duration::from_millis(30);
        alarm.set(due, NEVER).unwrap();
        alarm.rings().await;
        assert!(clock.boot() >= due);
    }

    #[tokio::test]
    async fn it_rings_when_the_wall_clock_gets_there_first() {
        let (clock, alarm) = (Clock::start(None), Alarm::new().unwrap());
        let due = clock.now() + Duration::from_millis(30);
        alarm
            .set(clock.boot() + Duration::from_secs(600), due)
            .unwrap();
        alarm.rings().await;
        assert!(clock.now() >= due);
    }

    #[tokio::test]
    async fn what_is_long_due_rings_at_once() {
        let alarm = Alarm::new().unwrap();
        alarm.set(Duration::ZERO, Timestamp::MIN).unwrap();
        alarm.rings().await;
    }

    #[tokio::test]
    async fn it_rings_so_long_from_now() {
        let (clock, alarm) = (Clock::start(None), Alarm::new().unwrap());
        let due = clock.boot() + Duration::from_millis(30);
        alarm.set_in(Duration::from_millis(30)).unwrap();
        alarm.rings().await;
        assert!(clock.boot() >= due);
    }

    #[tokio::test]
    async fn unset_it_does_not_ring() {
        let alarm = Alarm::new().unwrap();
        alarm.set(Duration::ZERO, NEVER).unwrap();
        alarm.unset().unwrap();
        assert!(
            tokio::time::timeout(Duration::from_millis(30), alarm.rings())
                .await
                .is_err()
        );
    }
}
