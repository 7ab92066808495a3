//! The policy's file: read again when it has changed; a wrong one never takes the place of a right one.

use std::fs::{Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// The hash of what the file had at the last look; empty where that was wrong. None: there was none since the start.
    had: Option<String>,
    /// The policy in force, where the record has it.
    record: Option<Arc<Policy>>,
    /// What the file has instead of what is in force, by their hashes.
    differs: Option<[String; 2]>,
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
    /// The file is right and does not count: it has this policy, by its hash, and another one is in force, which the record has.
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
            had: None,
            record: None,
            differs: None,
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn current(&self) -> Arc<Policy> {
        Arc::clone(self.record.as_ref().unwrap_or(&self.held))
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

    /// Goes by the policy that the record has. None: the file counts.
    pub fn go_by_record(&mut self, record: Option<Arc<Policy>>) {
        self.record = record;
    }

    /// Looks whether the file has changed since the last time, and reads it where it has. Where the policy in force is the record's and
    /// holds changes, the file is compared with it; where that holds none, a file counts again once it gets something else than it had,
    /// and is compared with it otherwise: what it had already, nobody wants by that.
    pub fn look(&mut self) -> Change {
        let stamp = std::fs::metadata(&self.path)
            .as_ref()
            .map_or(Stamp::Missing, Stamp::of);
        let is_new = self.seen.as_ref() != Some(&stamp);
        let had = self.had.clone();
        if is_new {
            self.seen = Some(stamp);
            let read = read(&self.path);
            self.had = Some(
                read.as_ref()
                    .map_or_else(|_| String::new(), |it| it.hash.clone()),
            );
            match read {
                Ok(policy) => self.held = Arc::new(policy),
                Err(mistakes) => return Change::Refused(mistakes),
            }
        }
        match self.record.clone() {
            None if is_new => Change::Taken(self.current()),
            None => Change::None,
            Some(record) => {
                let has_other = is_new && had.is_some_and(|had| had != self.held.hash);
                if record.holds_changes() || !has_other || self.held.hash == record.hash {
                    return self.compare(&record);
                }
                self.differs = None;
                self.record = None;
                Change::Taken(self.current())
            }
        }
    }

    /// Says once that the file has something else than is in force.
    fn compare(&mut self, in_force: &Policy) -> Change {
        let differs = (!self.held.is_none() && self.held.hash != in_force.hash)
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
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// Every mistake; one without a line's meaning (line 1) where the file can't be read or others may write it.
pub fn read(path: &Path) -> Result<Policy, Vec<Mistake>> {
    let text = read_text(path).map_err(|problem| vec![of_whole(path, problem)])?;
    check_closely(&path.display().to_string(), &text).map(|checked| checked.policy)
}

/// Checks the file at `path` where it is about what it says, and says what is unwise in it, too. That others may write it, as in a checkout
/// that a group shares, is among that.
///
/// # Errors
/// As of [`read`] otherwise.
pub fn check(path: &Path) -> Result<Checked, Vec<Mistake>> {
    let (text, unguarded) = read_whoever_writes(path)?;
    let mut checked = check_closely(&path.display().to_string(), &text)?;
    checked.warnings.splice(0..0, unguarded);
    Ok(checked)
}

/// The text of a file that only its owner may write, 1 MiB at most.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    match text_of(path)? {
        (text, true) => Ok(text),
        (_, false) => {
            Err("may be written by others than its owner; run chmod go-w on it".to_owned())
        }
    }
}

/// The text of a file, 1 MiB at most, and a warning where others than its owner may write it.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn read_whoever_writes(path: &Path) -> Result<(String, Option<Mistake>), Vec<Mistake>> {
    let read = text_of(path).map_err(|problem| vec![of_whole(path, problem)]);
    let (text, is_guarded) = read?;
    let problem = "may be written by others than its owner; jit-server and its `apply` take it only after chmod go-w";
    let unguarded = (!is_guarded).then(|| of_whole(path, problem.to_owned()));
    Ok((text, unguarded))
}

fn of_whole(path: &Path, problem: String) -> Mistake {
    Mistake {
        file: path.display().to_string(),
        line: 1,
        key: String::new(),
        problem,
    }
}

/// The text of a file, 1 MiB at most, and whether only its owner may write it.
fn text_of(path: &Path) -> Result<(String, bool), String> {
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
    let mut text = String::new();
    let read = file
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("can't be read: {error}"))?;
    if u64::try_from(read).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err("is larger than 1 MiB".to_owned());
    }
    Ok((text, metadata.permissions().mode() & 0o022 == 0))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use nix::sys::stat::Mode;

    use super::*;

    /// A file with a policy of one hour, as it was looked at, and the policy that came on record after that.
    fn beside_record(folder: &Path) -> (PolicyFile, Arc<Policy>) {
        write(folder, 1);
        let mut file = PolicyFile::new(folder.join("policy.toml"));
        assert!(matches!(file.look(), Change::Taken(_)));
        let policy = Arc::new(crate::policy::check_text("policy.toml", &text(2)).unwrap());
        file.go_by_record(Some(Arc::clone(&policy)));
        (file, policy)
    }

    fn text(hours: u8) -> String {
        let role = "[roles.web]\nhosts = [\"web-1\"]\nactions = [\"ssh\"]\nmay_ask = { users = [\"alice\"] }";
        format!("{role}\napprove = {{ users = [\"bob\"] }}\nlongest = \"{hours}h\"\n")
    }

    fn write(folder: &Path, hours: u8) {
        std::fs::write(folder.join("new"), text(hours)).unwrap();
        std::fs::rename(folder.join("new"), folder.join("policy.toml")).unwrap();
    }

    #[test]
    fn a_file_that_differs_from_the_record_is_said_once_and_counts_when_it_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, policy) = beside_record(folder.path());
        assert!(matches!(file.look(), Change::Differs(_)));
        assert_eq!(file.look(), Change::None);
        assert_eq!(file.current(), policy);
        // The record says it anew, and nothing else.
        file.go_by_record(Some(Arc::clone(&policy)));
        write(folder.path(), 3);
        let Change::Taken(taken) = file.look() else {
            panic!("an edit is not taken");
        };
        assert_ne!(taken, policy);
        assert_eq!(file.differing(), None);
    }

    #[test]
    fn what_the_file_had_when_the_record_came_never_counts_however_often_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, policy) = beside_record(folder.path());
        assert!(matches!(file.look(), Change::Differs(_)));
        write(folder.path(), 1);
        assert_eq!((file.look(), file.current()), (Change::None, policy));
    }

    #[test]
    fn at_a_start_a_file_that_differs_is_said_and_the_next_edit_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (_, policy) = beside_record(folder.path());
        let mut file = PolicyFile::new(folder.path().join("policy.toml"));
        file.go_by_record(Some(Arc::clone(&policy)));
        assert!(matches!(file.look(), Change::Differs(_)));
        assert_eq!(file.current(), policy);
        write(folder.path(), 5);
        assert!(matches!(file.look(), Change::Taken(_)));
    }

    #[test]
    fn whoever_goes_back_to_what_the_file_had_before_the_record_s_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, policy) = beside_record(folder.path());
        write(folder.path(), 2);
        assert_eq!((file.look(), file.current()), (Change::None, policy));
        write(folder.path(), 1);
        assert!(matches!(file.look(), Change::Taken(_)));
    }

    #[test]
    fn while_the_file_is_wrong_what_it_had_before_does_not_count_either() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, policy) = beside_record(folder.path());
        std::fs::write(folder.path().join("policy.toml"), "[roles").unwrap();
        assert!(matches!(file.look(), Change::Refused(_)));
        for _ in 0..2 {
            file.look();
            assert_eq!(file.current(), policy);
        }
    }

    #[test]
    fn a_file_that_was_wrong_at_a_start_counts_once_it_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let (_, policy) = beside_record(folder.path());
        std::fs::write(folder.path().join("policy.toml"), "[roles").unwrap();
        let mut file = PolicyFile::new(folder.path().join("policy.toml"));
        file.go_by_record(Some(policy));
        assert!(matches!(file.look(), Change::Refused(_)));
        write(folder.path(), 1);
        assert!(matches!(file.look(), Change::Taken(_)));
    }

    #[test]
    fn the_server_takes_no_policy_that_others_may_write() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1);
        let path = folder.path().join("policy.toml");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o664)).unwrap();
        let mut file = PolicyFile::new(path.clone());
        assert!(matches!(file.look(), Change::Refused(_)));
        assert_eq!(check(&path).unwrap().warnings.len(), 1);
    }

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
