//! The server's time across its restarts.
//!
//! The last recorded event says what time it was then, which may be long ago. Where the wall clock is behind, a server started from that
//! would be behind what it told the hosts since: their tokens would be from the future, and what it grants over when it comes (T25).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Reading, WallClock, since_boot};

/// A server that is killed falls back by no more than this, and by how long its restart takes.
const AT_MOST: Duration = Duration::from_secs(10);

/// What the file says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Kept {
    at: Timestamp,
    /// Milliseconds since boot.
    boot_ms: u64,
}

impl Kept {
    /// What it says of the present. In the boot that it is of, that is exact. A later boot has the time since it began to add, or
    /// that without as much as the earlier one had lasted: never too much.
    fn at(self, boot: Duration) -> Timestamp {
        let earlier = Duration::from_millis(self.boot_ms);
        let since = boot.checked_sub(earlier).unwrap_or(boot);
        self.at.checked_add(since).unwrap_or(Timestamp::MAX)
    }
}

/// Writes the time down for the next start.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    clock: Arc<WallClock>,
    /// When it was written last, since boot.
    written: Option<Duration>,
}

impl Keeper {
    /// The clock that goes on from the later of `recorded` and what the file says, and its keeper.
    #[must_use]
    pub fn start(path: PathBuf, recorded: Timestamp) -> (Arc<WallClock>, Self) {
        let boot = since_boot();
        let text = fs::read(&path).unwrap_or_default();
        let kept = serde_json::from_slice::<Kept>(&text).map(|kept| kept.at(boot));
        let at = kept.map_or(recorded, |kept| kept.max(recorded));
        let clock = Arc::new(WallClock::from_reading(Reading { at, boot }));
        let keeper = Self {
            path,
            clock: Arc::clone(&clock),
            written: None,
        };
        (clock, keeper)
    }

    /// Writes the time down where a restart would fall behind it. Call it often.
    ///
    /// # Errors
    /// Those of the disk. It is tried again with the next call.
    pub fn keep(&mut self) -> io::Result<()> {
        let (now, boot, ahead) = self.clock.against_wall();
        let lately = |written| boot.saturating_sub(written) < AT_MOST;
        if ahead <= AT_MOST || self.written.is_some_and(lately) {
            return Ok(());
        }
        self.write(now, boot)
    }

    /// Writes the time down at the end: whatever the wall clock says then, the next start has it.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn keep_last(&mut self) -> io::Result<()> {
        let (now, boot, _) = self.clock.against_wall();
        self.write(now, boot)
    }

    fn write(&mut self, at: Timestamp, boot: Duration) -> io::Result<()> {
        let boot_ms = u64::try_from(boot.as_millis()).unwrap_or(u64::MAX);
        let half = self.path.with_extension("half");
        let mut file = File::create(&half)?;
        file.write_all(&serde_json::to_vec(&Kept { at, boot_ms })?)?;
        file.sync_all()?;
        fs::rename(&half, &self.path)?;
        self.written = Some(boot);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Clock, whole_milliseconds};
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn event() -> Timestamp {
        "2099-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn t25_a_restart_while_its_time_is_ahead_does_not_take_it_back_to_the_last_event() {
        for stopped in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("time");
            let (clock, mut keeper) = Keeper::start(path.clone(), event());
            // An hour in which nothing is recorded, and hosts are told the time.
            let told = whole_milliseconds(clock.answer(event(), since_boot() + HOUR));
            let kept = if stopped {
                keeper.keep_last()
            } else {
                keeper.keep()
            };
            kept.unwrap();
            let (again, _keeper) = Keeper::start(path, event());
            assert!(again.now() >= told);
        }
    }

    #[test]
    fn a_restart_goes_on_by_the_boot_clock_and_a_reboot_by_the_new_one() {
        let kept = Kept {
            at: event(),
            boot_ms: 7_200_000,
        };
        assert_eq!(kept.at(3 * HOUR), event() + HOUR);
        assert_eq!(kept.at(HOUR), event() + HOUR);
    }

    #[test]
    fn nothing_is_written_while_the_wall_clock_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("time");
        let (_clock, mut keeper) = Keeper::start(path.clone(), Timestamp::UNIX_EPOCH);
        keeper.keep().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_can_t_be_read_leaves_the_last_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("time");
        fs::write(&path, "{\"at\":").unwrap();
        let (clock, _keeper) = Keeper::start(path, event());
        assert!(clock.now() < event() + HOUR);
    }
}
