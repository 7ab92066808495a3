//! The policy's file: read again when it has changed; a wrong one never takes the place of a right one.

use std::fs::{Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::parse::{Checked, check_closely};
use super::{Mistake, Policy};

/// Bytes of a file at most.
pub(crate) const MAX_BYTES: u64 = 1024 * 1024;

/// A policy file, and the last right policy that it held. Where the record has the policy, the file is only compared with it.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    seen: Option<Stamp>,
    held: Arc<Policy>,
    record: Option<OnRecord>,
    /// What the file has instead of what is in force, by their hashes.
    differs: Option<[String; 2]>,
}

/// The policy in force as the record has it.
#[derive(Debug, Clone)]
struct OnRecord {
    policy: Arc<Policy>,
    since: Timestamp,
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
    /// The file is right and does not count: it has this policy, by its hash, and another one is in force whose changes others confirm.
    Differs(String),
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
            held: Arc::new(Policy::default()),
            record: None,
            differs: None,
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn current(&self) -> Arc<Policy> {
        let record = self.record.as_ref();
        Arc::clone(record.map_or(&self.held, |record| &record.policy))
    }

    /// The hash of the policy that the file has and that does not count. None: it has what is in force.
    #[must_use]
    pub fn differing(&self) -> Option<&str> {
        self.differs.as_ref().map(|[file, _]| file.as_str())
    }

    /// Takes `policy` into force before the file has it. Whoever calls this writes the file; until then a restart goes back to what it
    /// has.
    pub fn precede(&mut self, policy: Policy) {
        self.held = Arc::new(policy);
    }

    /// What the last look brought could not be kept: the next one brings it again.
    pub fn look_anew(&mut self) {
        self.seen = None;
        self.differs = None;
    }

    /// Goes by the policy that the record has since then. None: the file counts.
    pub fn go_by_record(&mut self, record: Option<(Arc<Policy>, Timestamp)>) {
        self.record = record.map(|(policy, since)| OnRecord { policy, since });
    }

    /// Looks whether the file has changed since the last time, and reads it where it has. Where the policy in force is the record's and
    /// holds changes, the file is compared with it; where that holds none, a file counts again that was changed since.
    pub fn look(&mut self) -> Change {
        let stamp = std::fs::metadata(&self.path)
            .as_ref()
            .map_or(Stamp::Missing, Stamp::of);
        let is_new = self.seen.as_ref() != Some(&stamp);
        if is_new {
            self.seen = Some(stamp);
            match read(&self.path) {
                Ok(policy) => self.held = Arc::new(policy),
                Err(mistakes) => return Change::Refused(mistakes),
            }
        }
        match self.record.clone() {
            None if is_new => Change::Taken(self.current()),
            None => Change::None,
            Some(record) if record.policy.holds_changes() => self.compare(&record.policy),
            Some(record) => {
                self.differs = None;
                let is_later = self.seen.as_ref().is_some_and(|s| s.is_after(record.since));
                if !is_new || self.held.hash == record.policy.hash || !is_later {
                    return Change::None;
                }
                self.record = None;
                Change::Taken(self.current())
            }
        }
    }

    /// Says once that the file has something else than is in force.
    fn compare(&mut self, in_force: &Policy) -> Change {
        let nothing_read = self.held.hash.is_empty();
        let differs = (!nothing_read && self.held.hash != in_force.hash)
            .then(|| [self.held.hash.clone(), in_force.hash.clone()]);
        if differs == self.differs {
            return Change::None;
        }
        self.differs = differs;
        match self.differing() {
            Some(file) => Change::Differs(file.to_owned()),
            None => Change::None,
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

    /// True where the file was last changed after `at`. When that was nobody can set, as he can when it was modified.
    fn is_after(&self, at: Timestamp) -> bool {
        match self {
            Self::Missing => false,
            Self::File {
                changed: (seconds, nanoseconds),
                ..
            } => (*seconds, *nanoseconds) > (at.as_second(), at.subsec_nanosecond().into()),
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
