//! The policy's file: read again when it has changed; a wrong one never takes the place of a right one.

use std::fs::{Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parse::{Checked, check_closely};
use super::{Mistake, Policy};

const MAX_BYTES: u64 = 1024 * 1024;

/// A policy file, and the last right policy that it held.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    seen: Option<Stamp>,
    current: Arc<Policy>,
}

/// What looking at the file brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The same as before.
    None,
    /// This policy is in force from now on.
    Taken(Arc<Policy>),
    /// The file is wrong; what was in force stays so.
    Refused(Vec<Mistake>),
}

/// Tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stamp {
    Missing,
    File {
        inode: u64,
        size: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
}

impl PolicyFile {
    /// Nothing is read yet: until [`Self::look`] nothing is allowed.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            seen: None,
            current: Arc::new(Policy::default()),
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn current(&self) -> Arc<Policy> {
        Arc::clone(&self.current)
    }

    /// Takes `policy` into force before the file has it. Whoever calls this writes the file; until then a restart goes back to what it
    /// has.
    pub fn precede(&mut self, policy: Policy) {
        self.current = Arc::new(policy);
    }

    /// Looks whether the file has changed since the last time, and reads it where it has.
    pub fn look(&mut self) -> Change {
        let stamp = std::fs::metadata(&self.path)
            .as_ref()
            .map_or(Stamp::Missing, Stamp::of);
        if self.seen.as_ref() == Some(&stamp) {
            return Change::None;
        }
        self.seen = Some(stamp);
        match read(&self.path) {
            Ok(policy) => {
                self.current = Arc::new(policy);
                Change::Taken(self.current())
            }
            Err(mistakes) => Change::Refused(mistakes),
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self::File {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// Every mistake; one without a line's meaning (line 1) where the file can't be read or others may write it.
pub fn read(path: &Path) -> Result<Policy, Vec<Mistake>> {
    check(path).map(|checked| checked.policy)
}

/// Reads and checks the file at `path`, and says what is unwise in it, too.
///
/// # Errors
/// As of [`read`].
pub fn check(path: &Path) -> Result<Checked, Vec<Mistake>> {
    let file = path.display().to_string();
    match read_text(path) {
        Ok(text) => check_closely(&file, &text),
        Err(problem) => Err(vec![Mistake {
            file,
            line: 1,
            key: String::new(),
            problem,
        }]),
    }
}

/// The text of a file that only its owner may write, 1 MiB at most.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    // Opening a pipe to which nobody writes would wait for ever.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| format!("can't be opened: {error}"))?;
    let metadata = file
        .metadata()
        .map_err(|error| format!("can't be looked at: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    if metadata.permissions().mode() & 0o022 != 0 {
        return Err("may be written by others than its owner; run chmod go-w on it".to_owned());
    }
    let mut text = String::new();
    let read = file
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("can't be read: {error}"))?;
    if u64::try_from(read).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err("is larger than 1 MiB".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        nix::unistd::mkfifo(&path, Mode::S_IRUSR).unwrap();
        let (said, told) = mpsc::channel();
        std::thread::spawn(move || said.send(read_text(&path)));
        let told = told.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(told, Err("is not a regular file".to_owned()));
    }
}
