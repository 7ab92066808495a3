//! Programs that run as somebody else: setuid, setgid, or with capabilities, wherever they lie.
//!
//! There is no list of them from before: every file whose inode changed since then is one that root may have made so, for chmod,
//! chown, setcap and every write move its ctime, which no call sets.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::setpriority_process;

use super::kind::{Change, Item, Kind, Place};
use super::mounts::Mounts;

/// Where one search ends, done or not.
const MOST_FILES: usize = 5_000_000;
const LONGEST: Duration = Duration::from_secs(300);
/// Found ones kept.
const MOST_FOUND: usize = 2000;
/// Before a time that the wall clock showed, since files are stamped with the time of the last tick.
const BEFORE: Duration = Duration::from_millis(20);

/// What a search found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) programs: Vec<Program>,
    /// False where it was cut short.
    pub(super) whole: bool,
}

/// A program that runs as somebody else.
#[derive(Debug)]
pub(super) struct Program {
    /// When its inode changed last.
    pub(super) at: Timestamp,
    /// When it was made, where the file system knows.
    pub(super) made: Option<Timestamp>,
    pub(super) item: Item,
    /// The group that it runs as, where that is its file's.
    pub(super) runs_as: Option<u32>,
}

/// Searches this machine's file systems for what changed since `since`, at the lowest priority: for a thread of its own.
pub(super) fn search(since: Timestamp) -> Found {
    // Not being let only makes it less polite.
    let _ = setpriority_process(None, 19);
    let mounts = Mounts::of_the_host();
    search_below(mounts.to_search(), since, |path| mounts.is_point(path))
}

fn search_below(roots: Vec<PathBuf>, since: Timestamp, elsewhere: impl Fn(&Path) -> bool) -> Found {
    let began = Instant::now();
    let since = since.checked_sub(BEFORE).unwrap_or(since);
    let (mut found, mut looked_at) = (Found::default(), 0);
    let mut folders = roots;
    while let Some(folder) = folders.pop() {
        if began.elapsed() > LONGEST {
            return found;
        }
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            looked_at += 1;
            if looked_at > MOST_FILES || found.programs.len() >= MOST_FOUND {
                return found;
            }
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                let path = entry.path();
                if !elsewhere(&path) {
                    folders.push(path);
                }
            } else if kind.is_file()
                && let Ok(metadata) = entry.metadata()
                && let Some(at) = changed(&metadata).filter(|at| *at >= since)
                && let Some(kind) = powers(&entry.path(), &metadata)
            {
                let made = metadata
                    .created()
                    .ok()
                    .and_then(|made| Timestamp::try_from(made).ok());
                let change = if made.is_some_and(|made| made >= since) {
                    Change::New
                } else {
                    Change::Changed
                };
                let place = Place::new(kind, &entry.path());
                found.programs.push(Program {
                    at,
                    made,
                    item: Item { place, change },
                    runs_as: is_setgid(&metadata).then(|| metadata.gid()),
                });
            }
        }
    }
    found.whole = true;
    found
}

fn changed(file: &Metadata) -> Option<Timestamp> {
    Timestamp::new(file.ctime(), i32::try_from(file.ctime_nsec()).ok()?).ok()
}

fn powers(path: &Path, file: &Metadata) -> Option<Kind> {
    const SETUID: u32 = 0o4000;
    const RUN: u32 = 0o111;
    let mode = file.mode();
    if mode & SETUID != 0 {
        return Some(Kind::Setuid);
    }
    if is_setgid(file) {
        return Some(Kind::Setgid);
    }
    let capable = mode & RUN != 0
        && rustix::fs::lgetxattr_query(path, "security.capability").is_ok_and(|length| length > 0);
    capable.then_some(Kind::Capability)
}

/// Without the group's x the bit means mandatory locking, or nothing.
fn is_setgid(file: &Metadata) -> bool {
    const SETGID_AND_RUN: u32 = 0o2010;
    file.mode() & SETGID_AND_RUN == SETGID_AND_RUN
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    fn ctime(path: &Path) -> Timestamp {
        changed(&fs::symlink_metadata(path).unwrap()).unwrap()
    }

    #[test]
    fn only_what_became_one_since_is_found_also_deep_down_and_not_on_another_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a/b", "other"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for (name, mode) in [
            ("old", 0o4755),
            ("plain", 0o755),
            ("a/b/chmod", 0o755),
            ("other/hidden", 0o4755),
        ] {
            write(path(name), "").unwrap();
            set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        }
        // Two ticks later.
        let since = loop {
            write(path("clock"), "x").unwrap();
            let now = ctime(&path("clock"));
            if now.duration_since(ctime(&path("other/hidden"))) > (BEFORE * 2).try_into().unwrap() {
                break now;
            }
        };
        set_permissions(path("a/b/chmod"), Permissions::from_mode(0o4755)).unwrap();
        write(path("new"), "").unwrap();
        set_permissions(path("new"), Permissions::from_mode(0o2755)).unwrap();
        let elsewhere = path("other");
        let found = search_below(vec![folder.path().to_owned()], since, |path| {
            path == elsewhere
        });
        assert!(found.whole);
        let runs_as: Vec<_> = found
            .programs
            .iter()
            .filter_map(|program| program.runs_as)
            .collect();
        assert_eq!(runs_as, [fs::metadata(path("new")).unwrap().gid()]);
        let mut items: Vec<_> = found
            .programs
            .into_iter()
            .map(|program| program.item)
            .collect();
        items.sort_by(|a, b| a.place.cmp(&b.place));
        assert_eq!(
            items,
            [
                Item {
                    place: Place::new(Kind::Setuid, &path("a/b/chmod")),
                    change: Change::Changed
                },
                Item {
                    place: Place::new(Kind::Setgid, &path("new")),
                    change: Change::New
                },
            ]
        );
    }
}
