//! What must not be lost when jitd restarts: the newest snapshot and the elevations that are open. On a file system in memory.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ledger::{Ledger, Seen};
use crate::atomic;

const SEEN: &str = "seen.json";
const WINDOWS: &str = "windows.json";
const LARGEST: u64 = 16 * 1024 * 1024;

/// The folder of both files.
#[derive(Debug)]
pub(super) struct Store(PathBuf);

impl Store {
    /// Below `run_dir`, which is jitd's own.
    pub(super) fn open(run_dir: &Path) -> io::Result<Self> {
        let folder = run_dir.join("residue");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        Ok(Self(folder))
    }

    /// What was kept; nothing where there is nothing that can be read. Windows without the snapshot that they began with are kept:
    /// nothing can be said of them but that.
    pub(super) fn load(&self) -> Ledger {
        let seen: Option<Seen> = self.read(SEEN);
        let windows = self.read(WINDOWS).unwrap_or_default();
        let mut ledger = Ledger {
            seen: Seen::default(),
            windows,
        };
        match seen {
            Some(seen) => ledger.seen = seen,
            None => ledger.forget_looks(),
        }
        ledger
    }

    pub(super) fn save_seen(&self, ledger: &Ledger) {
        self.write(SEEN, &ledger.seen);
    }

    pub(super) fn save_windows(&self, ledger: &Ledger) {
        self.write(WINDOWS, &ledger.windows);
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        match atomic::read(&self.0.join(name), LARGEST) {
            Ok(content) => serde_json::from_slice(&content).ok(),
            Err(_) => None,
        }
    }

    /// A failure costs a list that is complete after a restart, and no more.
    fn write(&self, name: &str, content: &impl Serialize) {
        let written = serde_json::to_vec(content)
            .map_err(io::Error::from)
            .and_then(|content| atomic::write(&self.0.join(name), &content));
        if let Err(error) = written {
            tracing::warn!(
                "{name}: {error}; what elevations leave may be listed incompletely after a restart"
            );
            let _ = fs::remove_file(self.0.join(name));
        }
    }
}
