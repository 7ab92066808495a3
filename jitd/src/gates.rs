//! The gates of this host: which PAM services have lines of ours, and what these do. An upgrade, a tool or a hand can take them out, and
//! PAM asks nobody then: so they are looked at whenever their folder changes and with every question to the server (T8).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jit_gate::{BootId, Mode, State};
use jit_grant::{GateChange, GateMode, Gates, HostState, Service};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::atomic;
use crate::clock::Clock;
use crate::session::Ready;

/// A look that takes longer has found nothing: the folder hangs.
const LOOKING_TIME: Duration = Duration::from_secs(1);
/// So long a look waits for what it found to be on disk.
const KEEPING_TIME: Duration = Duration::from_secs(1);
/// Of a file so many bytes are read, and of the folder so many files.
const MOST_BYTES: u64 = 64 * 1024;
const MOST_FILES: usize = 512;

/// Where the gates are, and how they were when last looked at.
#[derive(Debug)]
pub struct Watched {
    folder: PathBuf,
    kept: PathBuf,
    boot: Option<BootId>,
    last: Mutex<Last>,
    /// One look at a time, so that changes are told in their order. A folder that hangs keeps one thread, and no more.
    turn: Arc<AsyncMutex<()>>,
    /// The same of writing `kept`.
    keeping: Arc<AsyncMutex<()>>,
}

/// What is known from the last look; kept on disk, so that a change while no jitd runs is one, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Last {
    gates: Gates,
    /// Gates that became weaker otherwise than by jitctl, and how they were.
    lost: Gates,
}

impl Last {
    /// Takes in what a look found; gives what is different.
    fn look(&mut self, gates: Gates) -> Vec<GateChange> {
        let changes = GateChange::between(&self.gates, &gates);
        for change in &changes {
            let lapsed =
                (change.was, change.is) == (Some(GateMode::Provisional), Some(GateMode::Monitor));
            let full = self.lost.len() >= HostState::MAX_GATES;
            if let Some(was) = change
                .was
                .filter(|_| change.is_weaker() && !lapsed && !full)
            {
                self.lost.entry(change.service.clone()).or_insert(was);
            }
        }
        self.lost
            .retain(|service, was| gates.get(service).is_none_or(|is| is < was));
        self.gates = gates;
        changes
    }
}

fn late(_: Elapsed) -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// How the gates are.
    pub gates: Gates,
    /// Those of them that have the line by which logins get the groups of their grants.
    pub with_groups: BTreeSet<Service>,
    /// What is different from the look before, also where another jitd had it.
    pub changes: Vec<GateChange>,
}

impl Watched {
    /// The gates in `folder`, and what `kept`, a file of jitd's own, has of the last look.
    #[must_use]
    pub fn new(folder: PathBuf, kept: PathBuf, boot_id: &str) -> Self {
        let last = match atomic::read(&kept, MOST_BYTES) {
            Ok(text) => serde_json::from_slice(&text)
                .inspect_err(|error| tracing::warn!("{}: {error}", kept.display()))
                .unwrap_or_default(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("{}: {error}", kept.display());
                }
                Last::default()
            }
        };
        Self {
            folder,
            kept,
            boot: boot_id.parse().ok(),
            last: Mutex::new(last),
            turn: Arc::default(),
            keeping: Arc::default(),
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gates that became weaker otherwise than by jitctl, and how they were.
    #[must_use]
    pub fn lost(&self) -> Gates {
        self.last().lost.clone()
    }

    /// jitctl has changed these: what is weaker there is meant to be.
    pub async fn meant(self: &Arc<Self>, services: &[String]) {
        let changed = {
            let lost = &mut self.last().lost;
            let before = lost.len();
            lost.retain(|service, _| !services.iter().any(|name| name == service.as_str()));
            lost.len() < before
        };
        if changed {
            self.keep().await;
        }
    }

    /// Looks now. `clock` says which enforcements have gone by.
    ///
    /// # Errors
    /// Where the folder can't be read in time.
    pub async fn look(self: &Arc<Self>, clock: &Clock) -> io::Result<Look> {
        let turn = Arc::clone(&self.turn).lock_owned();
        let turn = timeout(LOOKING_TIME, turn).await.map_err(late)?;
        let watched = Arc::clone(self);
        let now = clock.boot().as_secs();
        let look = tokio::task::spawn_blocking(move || (watched.read(now), turn));
        let (gates, turn) = timeout(LOOKING_TIME, look)
            .await
            .map_err(late)?
            .map_err(io::Error::other)?;
        let (gates, with_groups) = gates?;
        let changes = self.last().look(gates.clone());
        drop(turn);
        if !changes.is_empty() {
            self.keep().await;
        }
        Ok(Look {
            gates,
            with_groups,
            changes,
        })
    }

    /// Where it can't be kept in time, the jitd that starts next tells of the same changes once more.
    async fn keep(self: &Arc<Self>) {
        let watched = Arc::clone(self);
        let keeping = Arc::clone(&self.keeping).lock_owned();
        let kept = async move {
            let keeping = keeping.await;
            let write = move || {
                let _keeping = keeping;
                // As it is now: whatever was decided first, the newest is written last.
                let last = watched.last().clone();
                atomic::write(&watched.kept, &serde_json::to_vec(&last)?)
            };
            tokio::task::spawn_blocking(write).await?
        };
        let kept = timeout(KEEPING_TIME, kept).await;
        if let Err(error) = kept.unwrap_or_else(|elapsed| Err(late(elapsed))) {
            tracing::warn!("{}: {error}", self.kept.display());
        }
    }

    fn read(&self, boot_seconds: u64) -> io::Result<(Gates, BTreeSet<Service>)> {
        let (mut gates, mut with_groups) = (Gates::new(), BTreeSet::new());
        let files = match fs::read_dir(&self.folder) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((gates, with_groups));
            }
            Err(error) => return Err(error),
        };
        for file in files.take(MOST_FILES) {
            let file = file?;
            let Some(service) = service(&file.file_name()) else {
                continue;
            };
            // What can't be read has no lines of ours: PAM could not read it either.
            let Ok(text) = text(&file.path()) else {
                continue;
            };
            if gates.len() < HostState::MAX_GATES
                && let Some(mode) = self.mode(&text, boot_seconds)
            {
                if jit_gate::gives_groups(&text) {
                    with_groups.insert(service.clone());
                }
                gates.insert(service, mode);
            }
        }
        Ok((gates, with_groups))
    }

    /// What the lines of ours in a text do. None: there are none.
    fn mode(&self, text: &[u8], boot_seconds: u64) -> Option<GateMode> {
        match jit_gate::state(text) {
            State::Ungated => None,
            State::Damaged(_) => Some(GateMode::Damaged),
            State::Gated(Mode::Monitor) => Some(GateMode::Monitor),
            State::Gated(Mode::Enforce) => Some(GateMode::Enforce),
            State::Gated(Mode::Provisional { until, boot }) => {
                let lasts = self.boot.as_ref() == Some(&boot) && boot_seconds < until;
                Some(if lasts {
                    GateMode::Provisional
                } else {
                    GateMode::Monitor
                })
            }
        }
    }
}

/// The service of a file's name. What package tools and people leave beside a file are none that PAM is asked for.
fn service(name: &OsStr) -> Option<Service> {
    let name = name.to_str()?;
    let leftover = [
        ".dpkg-", ".ucf-", ".rpmnew", ".rpmsave", ".bak", ".old", ".orig", ".save",
    ];
    if leftover.iter().any(|part| name.contains(part)) {
        return None;
    }
    name.parse().ok()
}

/// The beginning of a file, which may be a link as PAM follows it.
fn text(path: &Path) -> io::Result<Vec<u8>> {
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// Tells of changes in the folder.
pub(crate) struct Changes {
    folder: PathBuf,
    inotify: Ready<Inotify>,
}

impl Changes {
    /// # Errors
    /// Where the kernel has no inotify instance or watch left.
    pub(crate) fn of(watched: &Watched) -> io::Result<Self> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let changes = Self {
            folder: watched.folder.clone(),
            inotify: Ready::new(Inotify::init(flags)?)?,
        };
        changes.watch()?;
        Ok(changes)
    }

    /// A folder put in the place of the one before is another one to the kernel: so this is done after each change.
    fn watch(&self) -> io::Result<()> {
        let inside = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE;
        let itself = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
        self.inotify
            .get()
            .add_watch(&self.folder, inside | itself)?;
        Ok(())
    }

    /// Waits for the next, and takes all that came with it.
    ///
    /// # Errors
    /// Where there is no folder to watch any more.
    pub(crate) async fn next(&self) -> io::Result<()> {
        self.inotify
            .take(|inotify| inotify.read_events().ok())
            .await;
        while self.inotify.get().read_events().is_ok() {}
        self.watch()
    }
}

#[cfg(test)]
mod tests;
