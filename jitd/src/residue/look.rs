//! One look at every place: names and what stat(2) says of them, never a file's content.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::descriptors;
use super::kind::{Kind, Place};
use super::mounts::Mounts;
use super::places::{GENERATED, OF_SSH, OF_USER_MANAGER, SYSTEM, is_passing};
use super::services;
use super::snapshot::{Mark, Snapshot};
use crate::atomic;

/// A folder is followed so deep.
const DEEPEST: usize = 8;
/// A folder of the system with more files than this, and one of a user's with more than the second, is one entry: what is in it counts
/// together.
const MOST_OF_SYSTEM: usize = 4096;
const MOST_OF_USER: usize = 64;
/// So many entries in all: from there on every folder is one.
const MOST: usize = 20_000;
/// Of a folder that is one entry so many files count.
const MOST_COUNTED: usize = 16_384;
/// Homes looked at.
const MOST_HOMES: usize = 4096;
/// Generated units are small; a longer one counts by its size and times.
const LARGEST_GENERATED: u64 = 64 * 1024;

/// Looks. It takes some milliseconds and waits for no other machine.
pub(super) fn look() -> Snapshot {
    let mut sight = Sight::default();
    for (kind, paths) in SYSTEM {
        for path in *paths {
            sight.add(*kind, Path::new(path), MOST_OF_SYSTEM, by_times);
        }
    }
    for folder in GENERATED {
        sight.add(Kind::Unit, Path::new(folder), MOST_OF_SYSTEM, by_content);
    }
    let mounts = Mounts::own();
    for home in homes().iter().filter(|home| mounts.is_local(home)) {
        sight.add_home(home);
    }
    sight.seen.extend(services::modules());
    sight.seen.extend(services::running());
    sight.seen.extend(descriptors::handed());
    Snapshot::new(sight.seen)
}

type Marking = fn(&Path, &Metadata) -> Mark;

#[derive(Default)]
struct Sight {
    seen: Vec<(Place, Mark)>,
}

impl Sight {
    fn add(&mut self, kind: Kind, path: &Path, most: usize, marking: Marking) {
        let Ok(metadata) = fs::symlink_metadata(path) else {
            return;
        };
        let mut found = vec![(path.to_owned(), marking(path, &metadata))];
        if metadata.is_dir() {
            walk(path, DEEPEST, marking, &mut found);
        }
        if found.len() > most.min(MOST.saturating_sub(self.seen.len())) {
            let all = found.iter().flat_map(|(path, mark)| {
                [
                    path.as_os_str().as_bytes().to_vec(),
                    mark.to_ne_bytes().to_vec(),
                ]
            });
            found = vec![(path.to_owned(), hash(all))];
        }
        self.seen.extend(
            found
                .iter()
                .map(|(path, mark)| (Place::new(kind, path), *mark)),
        );
    }

    fn add_home(&mut self, home: &Path) {
        let ssh = home.join(".ssh");
        if fs::symlink_metadata(&ssh).is_ok() {
            for name in OF_SSH {
                self.add(Kind::AuthorizedKeys, &ssh.join(name), 1, by_times);
            }
        }
        for name in OF_USER_MANAGER {
            self.add(Kind::UserUnit, &home.join(name), MOST_OF_USER, by_times);
        }
    }
}

/// In the order of names, so that what counts together is the same at every look.
fn walk(folder: &Path, deeper: usize, marking: Marking, found: &mut Vec<(PathBuf, Mark)>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let room = MOST_COUNTED.saturating_sub(found.len());
    let mut entries: Vec<_> = entries.flatten().take(room).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if is_passing(folder, &entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        found.push((path.clone(), marking(&path, &metadata)));
        if let Some(deeper) = deeper.checked_sub(1).filter(|_| metadata.is_dir()) {
            walk(&path, deeper, marking, found);
        }
    }
}

/// All that stat(2) says. A folder's size and times follow from what is in it, which is listed itself.
fn by_times(_: &Path, file: &Metadata) -> Mark {
    let owner = [
        file.dev(),
        file.ino(),
        file.mode().into(),
        file.uid().into(),
        file.gid().into(),
    ];
    let times = [
        file.mtime(),
        file.mtime_nsec(),
        file.ctime(),
        file.ctime_nsec(),
    ];
    let rest = times
        .map(i64::cast_unsigned)
        .into_iter()
        .chain([file.len()]);
    let rest = rest.take(if file.is_dir() { 0 } else { 5 });
    hash(owner.into_iter().chain(rest).map(u64::to_ne_bytes))
}

fn by_content(path: &Path, file: &Metadata) -> Mark {
    let content = if file.is_symlink() {
        fs::read_link(path).map(|target| target.as_os_str().as_bytes().to_vec())
    } else if file.is_dir() {
        Ok(Vec::new())
    } else {
        atomic::read(path, LARGEST_GENERATED)
    };
    match content {
        Ok(content) => hash([content, file.mode().to_ne_bytes().to_vec()]),
        Err(_) => by_times(path, file),
    }
}

fn hash(parts: impl IntoIterator<Item: AsRef<[u8]>>) -> Mark {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.as_ref().len() as u64).to_ne_bytes());
        sha.update(part);
    }
    let first = sha.finalize().first_chunk().copied();
    Mark::from_ne_bytes(first.unwrap_or_default())
}

/// Homes of local accounts, and what lies in /home: those of directories' users.
fn homes() -> BTreeSet<PathBuf> {
    const LARGEST_PASSWD: u64 = 1024 * 1024;
    let passwd = atomic::read(Path::new("/etc/passwd"), LARGEST_PASSWD).unwrap_or_default();
    let fields = passwd.split(|byte| *byte == b'\n');
    let of_accounts = fields.filter_map(|line| line.split(|byte| *byte == b':').nth(5));
    let of_accounts = of_accounts.map(|home| PathBuf::from(std::ffi::OsStr::from_bytes(home)));
    let below_home = fs::read_dir("/home").into_iter().flatten().flatten();
    let all = of_accounts.chain(below_home.map(|entry| entry.path()));
    all.filter(|home| home.is_absolute() && home.parent().is_some())
        .take(MOST_HOMES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::residue::kind::{Change, Item};
    use crate::residue::snapshot::change;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn seen(folder: &Path, most: usize) -> Snapshot {
        let mut sight = Sight::default();
        sight.add(Kind::Cron, folder, most, by_times);
        Snapshot::new(sight.seen)
    }

    fn left(before: &Snapshot, after: &Snapshot, folder: &Path) -> Vec<(String, Change)> {
        let items = before.compare(after).into_iter().map(|found| Item {
            change: change(found.before, found.after).unwrap(),
            place: found.place,
        });
        let prefix = folder.to_str().unwrap();
        items
            .map(|item| {
                (
                    item.place.path.strip_prefix(prefix).unwrap().to_owned(),
                    item.change,
                )
            })
            .collect()
    }

    #[test]
    fn a_new_a_changed_and_a_gone_file_are_told_apart_and_their_folder_is_not_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["same", "written", "mode", "gone"] {
            write(path(name), "1").unwrap();
        }
        symlink("a", path("link")).unwrap();
        let before = seen(folder.path(), 100);
        assert_eq!(before.compare(&seen(folder.path(), 100)), vec![]);
        write(path("written"), "2").unwrap();
        set_permissions(path("mode"), Permissions::from_mode(0o4755)).unwrap();
        fs::remove_file(path("gone")).unwrap();
        fs::remove_file(path("link")).unwrap();
        symlink("b", path("link")).unwrap();
        fs::create_dir(path("sub")).unwrap();
        write(path("sub/new"), "1").unwrap();
        assert_eq!(
            left(&before, &seen(folder.path(), 100), folder.path()),
            [
                ("/gone".to_owned(), Change::Gone),
                ("/link".to_owned(), Change::Changed),
                ("/mode".to_owned(), Change::Changed),
                ("/sub".to_owned(), Change::New),
                ("/sub/new".to_owned(), Change::New),
                ("/written".to_owned(), Change::Changed),
            ]
        );
    }

    #[test]
    fn a_folder_with_too_much_in_it_is_one_entry_that_still_tells_of_a_change() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..20 {
            write(folder.path().join(number.to_string()), "1").unwrap();
        }
        let before = seen(folder.path(), 10);
        assert_eq!(before.compare(&seen(folder.path(), 10)), vec![]);
        write(folder.path().join("7"), "22").unwrap();
        assert_eq!(
            left(&before, &seen(folder.path(), 10), folder.path()),
            [(String::new(), Change::Changed)]
        );
    }

    #[test]
    fn what_a_generator_writes_anew_is_the_same_where_its_content_is() {
        let folder = tempfile::tempdir().unwrap();
        let unit = folder.path().join("a.mount");
        let mark = |path: &Path| by_content(path, &fs::symlink_metadata(path).unwrap());
        write(&unit, "1").unwrap();
        let first = mark(&unit);
        fs::remove_file(&unit).unwrap();
        write(folder.path().join("other"), "").unwrap();
        write(&unit, "1").unwrap();
        assert_eq!(first, mark(&unit));
        write(&unit, "2").unwrap();
        assert_ne!(first, mark(&unit));
    }

    #[test]
    fn this_machine_can_be_looked_at_and_is_the_same_twice() {
        let passwd = Place::new(Kind::Account, Path::new("/etc/passwd"));
        assert!(look().mark(&passwd).is_some());
    }
}
