//! Descriptors that root handed to a login: what its processes may write to and could not have opened themselves (T17).
//!
//! No file is asked anything that another machine or a user's program would have to answer (AT_STATX_DONT_SYNC).

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags, statx};

use super::kind::{Kind, Place, written};
use super::snapshot::Mark;
use crate::session::{folders, units_of_users};

/// Cgroups are followed this deep below a login's.
const DEEPEST: usize = 8;
/// Looked at of one login or manager, so that no user hides what another holds; and listed of it.
const MOST_CGROUPS: usize = 256;
const MOST_PROCESSES: usize = 1024;
const MOST_DESCRIPTORS: usize = 8192;
const MOST_LISTED: usize = 64;
/// Of /proc/PID/status and of fdinfo so much is read: more than both have.
const LONGEST: u64 = 16 * 1024;
/// Being there is all that counts.
const THERE: Mark = 1;
/// The two bits that say how a file was opened (open(2)); not 0 is for writing.
const ACCESS_MODE: u32 = 0o3;

/// Files by their names, each once however many hold it.
pub(super) fn handed() -> Vec<(Place, Mark)> {
    let units = units_of_users().filter(|unit| is_of_login(unit));
    let mut files: Vec<PathBuf> = units.flat_map(|unit| handed_into(&unit)).collect();
    files.sort_unstable();
    files.dedup();
    let place = |file: PathBuf| Place {
        kind: Kind::Descriptor,
        path: written(file.as_os_str().as_bytes()),
    };
    files.into_iter().map(|file| (place(file), THERE)).collect()
}

fn handed_into(unit: &Path) -> Vec<PathBuf> {
    let mut processes = Vec::new();
    collect(unit, DEEPEST, &mut { MOST_CGROUPS }, &mut processes);
    let mut left = MOST_DESCRIPTORS;
    let mut files: Vec<PathBuf> = processes
        .into_iter()
        .flat_map(|pid| {
            handed_to(
                Path::new("/proc").join(pid.to_string()).as_path(),
                &mut left,
            )
        })
        .collect();
    files.sort_unstable();
    files.dedup();
    files.truncate(MOST_LISTED);
    files
}

/// What is in an elevation's own scope ends with it.
fn is_of_login(unit: &Path) -> bool {
    named(unit, "session-", ".scope") || named(unit, "user@", ".service")
}

fn named(path: &Path, begins: &str, ends: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(begins) && name.ends_with(ends)
}

fn collect(cgroup: &Path, deeper: usize, cgroups: &mut usize, found: &mut Vec<i32>) {
    let Some(fewer) = cgroups.checked_sub(1) else {
        return;
    };
    *cgroups = fewer;
    let room = MOST_PROCESSES.saturating_sub(found.len());
    let processes = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    found.extend(processes.lines().flat_map(str::parse::<i32>).take(room));
    if let Some(deeper) = deeper.checked_sub(1).filter(|_| room > 0) {
        let below = folders(cgroup).take(*cgroups);
        below.for_each(|below| collect(&below, deeper, cgroups, found));
    }
}

/// What the process of this folder of /proc holds and could not have opened, of `left` descriptors at most.
fn handed_to(process: &Path, left: &mut usize) -> Vec<PathBuf> {
    let Some(holder) = Holder::read(&process.join("status")).filter(|holder| holder.uid != 0)
    else {
        return Vec::new();
    };
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten();
    let mut found = Vec::new();
    for descriptor in descriptors.flatten() {
        let Some(fewer) = left.checked_sub(1) else {
            break;
        };
        *left = fewer;
        let link = descriptor.path();
        let number = descriptor.file_name();
        let mask = StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::UID | StatxFlags::GID;
        let Ok(file) = statx(CWD, &link, AtFlags::STATX_DONT_SYNC, mask) else {
            continue;
        };
        if is_file(&file)
            && !holder.may_write(&file)
            && is_for_writing(&process.join("fdinfo").join(number))
        {
            found.extend(fs::read_link(&link));
        }
    }
    found
}

fn is_file(file: &Statx) -> bool {
    use FileType::{BlockDevice, CharacterDevice, RegularFile};
    let kind = FileType::from_raw_mode(file.stx_mode.into());
    [RegularFile, BlockDevice, CharacterDevice].contains(&kind)
}

fn is_for_writing(information: &Path) -> bool {
    let Some(text) = read(information) else {
        return false;
    };
    let mut lines = text.lines();
    let flags = lines.find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & ACCESS_MODE != 0)
}

/// By whose rights a process opens files.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    uid: u32,
    groups: Vec<u32>,
}

impl Holder {
    fn read(status: &Path) -> Option<Self> {
        Self::parse(&read(status)?)
    }

    /// Of proc_pid_status(5): every group that it is or may become by itself. None for a program that runs as another than who runs it:
    /// what it opens it opens itself.
    fn parse(status: &str) -> Option<Self> {
        let numbers = |name: &str| -> Option<Vec<u32>> {
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix(name))?;
            Some(line.split_ascii_whitespace().flat_map(str::parse).collect())
        };
        let mut groups = numbers("Gid:")?;
        groups.extend(numbers("Groups:")?);
        let users = numbers("Uid:")?;
        let uid = *users.first()?;
        users
            .iter()
            .all(|user| *user == uid)
            .then_some(Self { uid, groups })
    }

    /// By owner, group and mode. An owner can give himself what he lacks.
    fn may_write(&self, file: &Statx) -> bool {
        let by_group = self.groups.contains(&file.stx_gid) && file.stx_mode & 0o020 != 0;
        file.stx_uid == self.uid || by_group || file.stx_mode & 0o002 != 0
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// This process, which holds `file` open, as `status` says it were.
    fn held(mode: u32, write: bool, status: &str) -> Vec<PathBuf> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mut options = File::options();
        let _file = options.read(true).write(write).open(&path).unwrap();
        let process = folder.path().join("process");
        fs::create_dir(&process).unwrap();
        for name in ["fd", "fdinfo"] {
            let own = Path::new("/proc/self").join(name);
            std::os::unix::fs::symlink(own, process.join(name)).unwrap();
        }
        fs::write(process.join("status"), status).unwrap();
        let found = handed_to(&process, &mut 1024);
        found.into_iter().filter(|file| *file == path).collect()
    }

    /// Nobody whose files these are.
    const STRANGER: &str = "Name:\tx\nUid:\t64321\t64321\t64321\t64321\nGid:\t64321\t64321\t64321\t64321\nGroups:\t64322 \n";

    #[test]
    fn t17_what_a_login_may_write_to_and_could_not_have_opened_was_handed_to_it() {
        assert_eq!(held(0o644, true, STRANGER).len(), 1);
    }

    #[test]
    fn t17_what_anybody_may_write_to_what_is_only_read_and_what_root_holds_was_not() {
        assert!(held(0o666, true, STRANGER).is_empty());
        assert!(held(0o600, false, STRANGER).is_empty());
        assert!(held(0o644, true, &STRANGER.replace("Uid:\t64321", "Uid:\t0")).is_empty());
    }

    #[test]
    fn a_holder_is_its_real_user_and_all_of_its_groups() {
        let holder = Holder::parse(STRANGER).unwrap();
        assert_eq!(holder.uid, 64321);
        assert!(holder.groups.contains(&64322) && holder.groups.contains(&64321));
        assert_eq!(Holder::parse("Name:\tx\n"), None);
        assert_eq!(
            Holder::parse(&STRANGER.replace("Uid:\t64321\t64321", "Uid:\t64321\t0")),
            None
        );
    }
}
