//! Waiting for a cgroup to become empty, without asking again and again.
//!
//! One inotify instance serves all: root has 128 of them on a common host, and there may be more sessions than that.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::cgroup::Cgroup;
use super::ready::Ready;

/// How often to look where the kernel has no watch left to give.
const WITHOUT_A_WATCH: Duration = Duration::from_millis(100);

/// Knows when cgroups change. Clones share the watches.
#[derive(Clone)]
pub(crate) struct Watcher(Arc<Inner>);

struct Inner {
    inotify: Ready<Inotify>,
    waiting: Mutex<HashMap<WatchDescriptor, Waiting>>,
}

struct Waiting {
    changed: Arc<Notify>,
    waiters: usize,
}

impl Watcher {
    /// Starts watching, in a task of the current runtime.
    ///
    /// # Errors
    /// Where the kernel has no inotify instance left.
    pub(crate) fn start() -> io::Result<Self> {
        let inotify = Ready::new(Inotify::init(
            InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK,
        )?)?;
        let inner = Arc::new(Inner {
            inotify,
            waiting: Mutex::default(),
        });
        tokio::spawn(pass_on(Arc::clone(&inner)));
        Ok(Self(inner))
    }

    /// Returns when no process is left in `cgroup` and below it, or it has gone.
    pub(crate) async fn empty(&self, cgroup: &Cgroup) {
        loop {
            // Watched first and read then: what changes in between is not missed. The kernel puts off telling of a change that follows
            // another within 10 ms, and never tells where the cgroup is removed meanwhile: so its removal is watched for, too.
            let emptied = self.watch(&cgroup.events_file(), AddWatchFlags::IN_MODIFY);
            let removed = self.watch(&cgroup.parent(), AddWatchFlags::IN_DELETE);
            let emptied = emptied.as_ref().map(Watch::told);
            let removed = removed.as_ref().map(Watch::told);
            if !cgroup.populated() {
                return;
            }
            match (emptied, removed) {
                (Some(emptied), Some(removed)) => tokio::select! {
                    () = emptied => {}
                    () = removed => {}
                },
                // No watch to be had (fs.inotify.max_user_watches).
                _ => tokio::time::sleep(WITHOUT_A_WATCH).await,
            }
        }
    }

    /// Whoever waits for what this says is told when something is moved into `folder`. None where there is no such folder or no watch to
    /// be had.
    pub(crate) fn moved_into(&self, folder: &Path) -> Option<Watch> {
        self.watch(folder, AddWatchFlags::IN_MOVED_TO)
    }

    fn watch(&self, path: &Path, what: AddWatchFlags) -> Option<Watch> {
        let mut waiting = self.0.waiting();
        let descriptor = self.0.inotify.get().add_watch(path, what).ok()?;
        let entry = waiting.entry(descriptor).or_insert_with(|| Waiting {
            changed: Arc::default(),
            waiters: 0,
        });
        entry.waiters += 1;
        Some(Watch {
            of: Arc::clone(&self.0),
            descriptor,
            changed: Arc::clone(&entry.changed),
        })
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, HashMap<WatchDescriptor, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass_on(&self, events: Vec<InotifyEvent>) {
        let waiting = self.waiting();
        for event in events {
            if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                waiting
                    .values()
                    .for_each(|entry| entry.changed.notify_waiters());
            } else if let Some(entry) = waiting.get(&event.wd) {
                entry.changed.notify_waiters();
            }
        }
    }
}

/// One waiter's share in a watch. The kernel's watch goes with the last: it would outlive the cgroup otherwise.
pub(crate) struct Watch {
    of: Arc<Inner>,
    descriptor: WatchDescriptor,
    changed: Arc<Notify>,
}

impl Watch {
    /// Returns at the first change after this was called.
    pub(crate) fn told(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiting = self.of.waiting();
        let Some(entry) = waiting.get_mut(&self.descriptor) else {
            return;
        };
        entry.waiters -= 1;
        if entry.waiters == 0 {
            waiting.remove(&self.descriptor);
            // EINVAL: the kernel removed it with the file.
            let _ = self.of.inotify.get().rm_watch(self.descriptor);
        }
    }
}

async fn pass_on(inner: Arc<Inner>) {
    loop {
        let events = inner
            .inotify
            .take(|inotify| inotify.read_events().ok())
            .await;
        inner.pass_on(events);
    }
}
