//! The cgroup of a scope: who is in it, ending them all, and knowing that it is still the same one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fstat};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::process;

const ROOT: &str = "/sys/fs/cgroup";

/// Cgroups below a scope are followed this deep: more than cgroup.max.depth of any host seen.
const DEEPEST: usize = 64;

/// No more of them are gone through in one scope: a user may make as many as he likes below his manager, and every end waits
/// meanwhile. What is in others is not told to go; cgroup.kill needs no list.
const MOST_CGROUPS: usize = 1024;

/// The directories of all units in users' slices: logins, elevations, user managers.
pub(crate) fn units_of_users() -> impl Iterator<Item = PathBuf> {
    let slices = folders(&Path::new(ROOT).join("user.slice"));
    slices.flat_map(|slice| folders(&slice))
}

/// The directories of the units in the slice of this cgroup.
pub(super) fn units_in(slice: &str) -> impl Iterator<Item = PathBuf> + use<> {
    folders(&directory(slice))
}

/// The directory of a cgroup as /proc/PID/cgroup writes it.
pub(super) fn written(directory: &Path) -> Option<String> {
    let path = directory.strip_prefix(ROOT).ok()?;
    Some(format!("/{}", path.display()))
}

/// The folders in `folder`; none where it can't be read.
pub(crate) fn folders(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path())
}

/// Where a unit that we end lies: `/user.slice/user-UID.slice/NAME.scope`, user@UID.service beside it, or a job's scope in
/// `/system.slice`; nothing above, below or beside these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScopePath {
    /// The path itself.
    pub(crate) path: String,
    /// `user-UID.slice`, or `system.slice`.
    pub(crate) slice: String,
    /// The unit's name.
    pub(crate) unit: String,
}

impl ScopePath {
    /// Reads the path of a `0::` line of /proc/PID/cgroup. None for everything that is not exactly a login's, an elevation's
    /// or a job's scope or a user manager's service.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        if let Some(unit) = path.strip_prefix("/system.slice/") {
            return is_own("jit-job-", unit).then(|| Self {
                path: path.to_owned(),
                slice: "system.slice".to_owned(),
                unit: unit.to_owned(),
            });
        }
        let (slice, unit) = path.strip_prefix("/user.slice/")?.split_once('/')?;
        let uid = slice.strip_prefix("user-")?.strip_suffix(".slice")?;
        let numeric = uid
            .parse::<u32>()
            .is_ok_and(|number| number.to_string() == uid);
        let known = logind_session(unit).is_some()
            || is_own("jit-elevation-", unit)
            || unit.strip_prefix("user@") == Some(&format!("{uid}.service"));
        (numeric && known).then(|| Self {
            path: path.to_owned(),
            slice: slice.to_owned(),
            unit: unit.to_owned(),
        })
    }

    /// logind's id of the session whose scope this is.
    pub(crate) fn logind_session(&self) -> Option<&str> {
        logind_session(&self.unit)
    }
}

/// The ID of `session-ID.scope`. logind makes them of letters and digits (`3`, `c12`).
fn logind_session(unit: &str) -> Option<&str> {
    let id = unit.strip_prefix("session-")?.strip_suffix(".scope")?;
    ((1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .then_some(id)
}

fn is_own(prefix: &str, unit: &str) -> bool {
    let id = unit
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(".scope"));
    id.is_some_and(|id| id.parse::<super::types::SessionId>().is_ok())
}

/// One cgroup, and no later one of the same path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cgroup {
    /// As /proc/PID/cgroup writes it.
    pub(crate) path: String,
    /// Inode of its directory: the kernel's id of the cgroup, not given out twice in one boot.
    id: u64,
}

impl Cgroup {
    /// The cgroup that is at `path` now.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn at(path: &str) -> io::Result<Self> {
        let directory = open(&directory(path), flags(), Mode::empty())?;
        Ok(Self {
            path: path.to_owned(),
            id: fstat(&directory)?.st_ino,
        })
    }

    /// True where a process whose cgroup is `path` is in it or below it.
    pub(crate) fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&self.path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The file that the kernel touches when the cgroup becomes populated, empty or frozen.
    pub(crate) fn events_file(&self) -> PathBuf {
        directory(&self.path).join("cgroup.events")
    }

    /// The folder that it is removed from.
    pub(crate) fn parent(&self) -> PathBuf {
        let path = self.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        directory(path)
    }

    /// True while there is a process in it or below it, or it can't be looked at. A cgroup that has gone has none.
    pub(crate) fn populated(&self) -> bool {
        self.event("populated")
    }

    /// True where it is frozen: by itself or by one above it; or where it can't be looked at.
    pub(crate) fn frozen(&self) -> bool {
        self.event("frozen")
    }

    /// True where there is no such cgroup any more, be there another of the same path or not.
    pub(crate) fn has_gone(&self) -> bool {
        matches!(self.open(), Ok(None))
    }

    /// The processes in it and below it, at this moment: all of them where there are no more than [`MOST_CGROUPS`] cgroups.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let mut found = Vec::new();
        if let Ok(Some(directory)) = self.open() {
            collect_pids(&directory, DEEPEST, &mut MOST_CGROUPS.clone(), &mut found);
        }
        found
    }

    /// Sends the signals, in this order, to those of `pids` that are in it or below it. Returns how many processes got one.
    pub(crate) fn signal(&self, pids: &[i32], signals: &[Signal]) -> usize {
        let reached = |pid: &i32| {
            // The pidfd first: whose cgroup is read then is the one that gets the signal, or nobody does.
            let Some(pidfd) = process::open(*pid) else {
                return false;
            };
            if !of_process(*pid).is_ok_and(|path| self.holds(&path)) {
                return false;
            }
            let sent = signals
                .iter()
                .filter(|signal| process::send(&pidfd, **signal));
            sent.count() > 0
        };
        pids.iter().filter(|pid| reached(pid)).count()
    }

    /// Kills everything in it and below it at once, what is forked meanwhile, stopped or frozen too (cgroup.kill, Linux 5.14).
    ///
    /// # Errors
    /// Where the kernel refuses. A cgroup that has gone is no error.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let Some(directory) = self.open()? else {
            return Ok(());
        };
        match openat(
            &directory,
            "cgroup.kill",
            OFlag::O_WRONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        ) {
            Ok(file) => File::from(file).write_all(b"1"),
            Err(Errno::ENOENT | Errno::ENODEV) if self.has_gone() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Its directory. None where it has gone, be there another of the same path or not.
    fn open(&self) -> io::Result<Option<OwnedFd>> {
        let directory = match open(&directory(&self.path), flags(), Mode::empty()) {
            Err(Errno::ENOENT | Errno::ENODEV) => return Ok(None),
            opened => opened?,
        };
        Ok((fstat(&directory)?.st_ino == self.id).then_some(directory))
    }

    fn event(&self, name: &str) -> bool {
        let Ok(opened) = self.open() else {
            return true;
        };
        let Some(directory) = opened else {
            return false;
        };
        match read_at(&directory, "cgroup.events") {
            Ok(events) => flag(&events, name),
            // It may have gone since.
            Err(_) => !self.has_gone(),
        }
    }
}

/// The cgroup of process `pid`: the path of its `0::` line.
///
/// # Errors
/// Where the process has gone or the host has no unified hierarchy.
pub(crate) fn of_process(pid: i32) -> io::Result<String> {
    let lines = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let unified = lines.lines().find_map(|line| line.strip_prefix("0::"));
    unified
        .map(str::to_owned)
        .ok_or_else(|| io::Error::other("no unified cgroup hierarchy (cgroup v2) on this host"))
}

/// A cgroup's path begins with a slash, and `join` would take that for the file system's root.
fn directory(path: &str) -> PathBuf {
    Path::new(ROOT).join(path.trim_start_matches('/'))
}

fn flags() -> OFlag {
    OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn read_at(directory: &OwnedFd, name: &str) -> io::Result<String> {
    let mut content = String::new();
    let file = openat(
        directory,
        name,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    File::from(file).read_to_string(&mut content)?;
    Ok(content)
}

/// The value of a `name 0|1` line.
fn flag(events: &str, name: &str) -> bool {
    events
        .lines()
        .filter_map(|line| line.split_once(' '))
        .any(|(key, value)| key == name && value == "1")
}

fn collect_pids(directory: &OwnedFd, deeper: usize, left: &mut usize, found: &mut Vec<i32>) {
    let Some(fewer) = left.checked_sub(1) else {
        return;
    };
    *left = fewer;
    // A process of another pid namespace, which this host has no number for, reads as 0.
    let procs = read_at(directory, "cgroup.procs").unwrap_or_default();
    found.extend(
        procs
            .lines()
            .filter_map(|line| line.parse::<i32>().ok())
            .filter(|pid| *pid > 0),
    );
    let Some(deeper) = deeper.checked_sub(1) else {
        return;
    };
    let Ok(mut entries) = Dir::openat(directory, ".", flags(), Mode::empty()) else {
        return;
    };
    let below = entries
        .iter()
        .flatten()
        .filter(|entry| entry.file_type() == Some(nix::dir::Type::Directory));
    for entry in below.filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")) {
        // Not even opened: there may be hundreds of thousands.
        if *left == 0 {
            return;
        }
        if let Ok(child) = openat(directory, entry.file_name(), flags(), Mode::empty()) {
            collect_pids(&child, deeper, left, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_login_scope_and_an_elevation_scope_are_known() {
        let login = ScopePath::parse("/user.slice/user-1000.slice/session-c3.scope").unwrap();
        assert_eq!(
            (login.slice.as_str(), login.logind_session()),
            ("user-1000.slice", Some("c3"))
        );
        let elevation =
            ScopePath::parse("/user.slice/user-0.slice/jit-elevation-abcdefgh23.scope").unwrap();
        assert_eq!(elevation.logind_session(), None);
    }

    #[test]
    fn no_other_cgroup_is_taken_for_a_scope_of_a_login() {
        for path in [
            "/",
            "",
            "/init.scope",
            "/system.slice/ssh.service",
            "/user.slice/user-1000.slice",
            "/user.slice/session-1.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/session-1.scope",
            "/user.slice/user-1000.slice/session-1.scope/x",
            "/user.slice/user-01000.slice/session-1.scope",
            "/user.slice/user-+1.slice/session-1.scope",
            "/user.slice/user-.slice/session-1.scope",
            "/user.slice/user-1000.slice/session-.scope",
            "/user.slice/user-1000.slice/session-1-2.scope",
            "/user.slice/user-1000.slice/session-1.scope ",
            "/user.slice/user-1000.slice/jit-elevation-short.scope",
            "/user.slice/user-1000.slice/run-r1.scope",
            "/x/user.slice/user-1000.slice/session-1.scope",
            "user.slice/user-1000.slice/session-1.scope",
            "/user.slice/user-1000.slice/../session-1.scope",
            "/system.slice/user-1000.slice/session-1.scope",
        ] {
            assert_eq!(ScopePath::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_cgroup_holds_itself_and_what_is_below_and_not_what_begins_alike() {
        let cgroup = Cgroup {
            path: "/user.slice/user-1.slice/session-1.scope".into(),
            id: 1,
        };
        assert!(cgroup.holds("/user.slice/user-1.slice/session-1.scope"));
        assert!(cgroup.holds("/user.slice/user-1.slice/session-1.scope/a/b"));
        assert!(!cgroup.holds("/user.slice/user-1.slice/session-1.scope2"));
        assert!(!cgroup.holds("/user.slice/user-1.slice"));
    }

    #[test]
    fn the_kernel_s_flags_are_read_by_name() {
        assert!(flag("populated 1\nfrozen 0\n", "populated"));
        assert!(!flag("populated 1\nfrozen 0\n", "frozen"));
        assert!(!flag("", "populated"));
    }

    /// Out of descriptors, mostly. What was taken for empty would be forgotten, and never ended.
    #[test]
    fn a_cgroup_that_can_not_be_looked_at_is_not_taken_for_empty_and_its_kill_has_failed() {
        let unreadable = Cgroup {
            path: format!("/{}", "x".repeat(300)),
            id: 1,
        };
        assert!(unreadable.populated());
        assert!(!unreadable.has_gone());
        assert!(unreadable.kill().is_err());
    }

    #[test]
    fn a_cgroup_that_has_gone_is_empty_and_needs_no_kill() {
        let gone = Cgroup {
            path: "/no.slice/such.scope".into(),
            id: 1,
        };
        assert!(!gone.populated());
        assert!(gone.has_gone());
        assert!(gone.pids().is_empty());
        assert!(gone.kill().is_ok());
    }

    proptest! {
        #[test]
        fn what_is_taken_for_a_scope_lies_three_levels_deep_in_a_user_slice(path in "(/[a-z0-9.@-]{0,12}){0,5}") {
            if let Some(scope) = ScopePath::parse(&path) {
                prop_assert_eq!(format!("/user.slice/{}/{}", scope.slice, scope.unit), path);
            }
        }
    }
}
