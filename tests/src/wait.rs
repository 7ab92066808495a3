//! Waiting for an event with a deadline. Nothing in the tests sleeps for a while and hopes.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// An instant by which something must have happened.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    #[must_use]
    pub fn within(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// So many seconds from now.
    #[must_use]
    pub fn seconds(seconds: u64) -> Self {
        Self::within(Duration::from_secs(seconds))
    }

    /// What is left of it; nothing once it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// True once it has passed.
    #[must_use]
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }
}

/// Waits until `descriptor` has something to read (or is closed at the other end): false at the deadline.
///
/// # Errors
/// poll(2) fails.
pub fn readable(descriptor: impl AsFd, deadline: Deadline) -> Result<bool> {
    loop {
        let left = deadline.left();
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into()?,
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::new(&descriptor, PollFlags::IN)],
            Some(&timeout),
        ) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
    }
}

/// A process of the machine outside or of a host (by its number outside), whose end can be waited for.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// Holds on to the process with this number.
    ///
    /// # Errors
    /// There is none.
    pub fn open(pid: u32) -> Result<Self> {
        let pid = Pid::from_raw(pid.try_into()?).context("0 is no process")?;
        Ok(Self(
            pidfd_open(pid, PidfdFlags::empty())
                .with_context(|| format!("opening process {pid}"))?,
        ))
    }

    /// Waits for its end: false when it still lives at the deadline.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn ended(&self, deadline: Deadline) -> Result<bool> {
        readable(&self.0, deadline)
    }

    /// True while it lives.
    ///
    /// # Errors
    /// poll(2) fails.
    pub fn alive(&self) -> Result<bool> {
        Ok(!self.ended(Deadline::within(Duration::ZERO))?)
    }
}

/// Waits until nothing is at `path` any more; the folder it is in must exist.
///
/// # Errors
/// It is still there at the deadline.
pub fn gone(path: &Path, deadline: Deadline) -> Result<()> {
    changed(path, deadline, || !path.exists())
        .with_context(|| format!("{} is still there", path.display()))
}

/// Waits until something is at `path`; the folder it is in must exist.
///
/// # Errors
/// There is still nothing at the deadline.
pub fn there(path: &Path, deadline: Deadline) -> Result<()> {
    changed(path, deadline, || path.exists())
        .with_context(|| format!("{} is not there", path.display()))
}

fn changed(path: &Path, deadline: Deadline, done: impl Fn() -> bool) -> Result<()> {
    let folder = path.parent().context("no folder")?;
    let watch = Inotify::init(InitFlags::IN_CLOEXEC).context("inotify")?;
    watch
        .add_watch(
            folder,
            AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE,
        )
        .context("inotify")?;
    while !done() {
        if !readable(watch.as_fd(), deadline)? {
            bail!("nothing happened in {} in time", folder.display());
        }
        watch.read_events().context("inotify")?;
    }
    Ok(())
}

/// For what announces itself in no way that can be waited for: asks again, 20 ms after each answer, until there is a value.
///
/// # Errors
/// `ask` fails, or there is none at the deadline; the error says `what` was waited for.
pub fn eventually<T>(
    what: &str,
    deadline: Deadline,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    loop {
        if let Some(value) = ask()? {
            return Ok(value);
        }
        if deadline.passed() {
            bail!("in vain: {what}");
        }
        thread::sleep(Duration::from_millis(20).min(deadline.left()));
    }
}
