//! For how long nobody has done anything at a login, from what is seen of it now and then. Pure: what is seen is read in `activity.rs`.
//!
//! Everything here is on the boot clock, which nobody sets and suspend does not stop. A terminal's own time is of the wall clock: so only
//! that it changed is believed, and what it says only where the wall clock can't have been set since the last look.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::IdleTime;
use serde::{Deserialize, Serialize};

use super::activity::Seen;

/// People are told so long before the end, or in the middle of a time that is shorter than two of it.
const TOLD_BEFORE: Duration = Duration::from_secs(60);

/// What goes over a connection has no time of its own, and a copy beside a terminal is over in a second: it is looked at so often.
const LOOK: Duration = Duration::from_secs(15);

/// Bytes a second that sshd reads of a connection on which nothing but keepalives go: 52 bytes each
/// (OpenSSH 9.2 and 10.0), so one every 4 s at most.
const KEEPALIVES: u64 = 16;

/// One more, since a look may come just before it and the next just after.
const KEEPALIVE: u64 = 64;

/// After a longer time without a look nothing is taken for keepalives: what they would have come to could be somebody's work.
const LONGEST: Duration = Duration::from_secs(60);

/// The kernel moves the time of a terminal's last input in steps of 8 s, to the first input in each (`tty_update_time`).
const STEP: i64 = 8;

/// What is known of a login that must not be left alone. Times are since boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// So long it may be.
    time: IdleTime,
    /// Somebody did something then, as far as is known.
    last: Duration,
    looked: Duration,
    /// Terminals by number, with what the kernel said of their last input.
    terminals: BTreeMap<u32, i64>,
    /// What sshd had read, where that counts, and when that was seen.
    #[serde(default)]
    traffic: Option<(u64, Duration)>,
    /// What the commands that had ended by the last look had come to.
    #[serde(default)]
    ended: Option<u64>,
    /// People were told of the end that comes so long after this.
    told: Option<Duration>,
    /// Somebody looks at it now.
    #[serde(skip)]
    pub(super) being_looked_at: bool,
}

/// What comes of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Wait,
    /// It ends in so long, and people are to be told.
    Tell(Duration),
    /// It was left alone for too long.
    Over,
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) boot: Duration,
    pub(super) wall: Timestamp,
}

impl Idle {
    /// It counts from now on, whatever was done before.
    pub(super) fn begin(time: IdleTime, boot: Duration) -> Self {
        Self {
            time,
            last: boot,
            looked: boot,
            terminals: BTreeMap::new(),
            traffic: None,
            ended: None,
            told: None,
            being_looked_at: false,
        }
    }

    /// From now on it may be left alone for so long. False where that is as it was.
    pub(super) fn allow(&mut self, time: IdleTime) -> bool {
        std::mem::replace(&mut self.time, time) != time
    }

    pub(crate) fn time(&self) -> IdleTime {
        self.time
    }

    /// When somebody last did something, as far as is known.
    pub(super) fn last(&self) -> Duration {
        self.last
    }

    /// When it ends, unless somebody does something.
    pub(super) fn due(&self) -> Duration {
        self.last + self.time.duration()
    }

    /// When it has to be looked at.
    pub(super) fn next_look(&self) -> Duration {
        let told = self.told == Some(self.last);
        let next = if told { self.due() } else { self.tell_at() };
        next.min(self.looked + LOOK)
    }

    /// Takes what was seen. None: nothing could be read, and what was known stays.
    pub(super) fn see(&mut self, seen: Option<&Seen>, now: Now) {
        if let Some(seen) = seen {
            let typed = self.typed(&seen.terminals, now);
            let moved = self.moved(seen.traffic, now.boot);
            let before = self.ended.replace(seen.ended);
            let came_and_went = before.is_some_and(|before| seen.ended > before);
            let done = typed.max(moved).max(came_and_went.then_some(now.boot));
            self.last = self.last.max(done.unwrap_or_default());
        }
        self.looked = now.boot;
    }

    /// What comes of it.
    pub(super) fn judge(&mut self, boot: Duration) -> Verdict {
        let left = self.due().saturating_sub(boot);
        if left.is_zero() {
            return Verdict::Over;
        }
        if self.tell_at() > boot || self.told == Some(self.last) {
            return Verdict::Wait;
        }
        self.told = Some(self.last);
        Verdict::Tell(left)
    }

    fn tell_at(&self) -> Duration {
        self.due() - TOLD_BEFORE.min(self.time.duration() / 2)
    }

    /// When something was last typed, where that was since the last look. A terminal that can't be read is as it was.
    fn typed(&mut self, terminals: &BTreeMap<u32, Option<i64>>, now: Now) -> Option<Duration> {
        let mut latest = None;
        let mut known = BTreeMap::new();
        for (number, used) in terminals {
            let before = self.terminals.get(number);
            if let Some(used) = used.filter(|used| before != Some(used)) {
                latest = latest.max(Some(self.when(used, before.is_some(), now)));
            }
            known.extend(used.or(before.copied()).map(|used| (*number, used)));
        }
        self.terminals = known;
        latest
    }

    /// The end of the step in which the input was: nobody is ended too early. Where that was before the last look, the wall clock was set
    /// meanwhile; then what is known to have changed since that look counts as of now, and a terminal that is new as of that look.
    fn when(&self, used: i64, is_known: bool, now: Now) -> Duration {
        let step_ends = used - used.rem_euclid(STEP) + STEP;
        let age = now.wall.as_second().saturating_sub(step_ends);
        let at = match u64::try_from(age) {
            Ok(age) => now.boot.saturating_sub(Duration::from_secs(age)),
            // It goes on: what is typed until its end changes nothing.
            Err(_) if age >= -STEP => now.boot + Duration::from_secs(age.unsigned_abs()),
            Err(_) => now.boot,
        };
        match at >= self.looked {
            true => at,
            false if is_known => now.boot,
            false => self.looked,
        }
    }

    /// Now, where more went over the connection since that was last seen than keepalives, or it has begun to count since.
    fn moved(&mut self, traffic: Option<Option<u64>>, boot: Duration) -> Option<Duration> {
        let Some(read) = traffic else {
            self.traffic = None;
            return None;
        };
        let read = read?;
        let before = self.traffic.replace((read, boot));
        let moved = before.is_none_or(|(before, seen)| {
            read.saturating_sub(before) > keepalives(boot.saturating_sub(seen))
        });
        moved.then_some(boot)
    }
}

/// So many bytes in this time are nothing done.
fn keepalives(time: Duration) -> u64 {
    if time > LONGEST {
        return 0;
    }
    time.as_secs() * KEEPALIVES + KEEPALIVE
}

#[cfg(test)]
mod tests;
