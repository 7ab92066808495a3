//! Which file systems there are, and which of them are this machine's own.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::libc;

/// File systems whose files are this machine's: looking at them waits for no other machine and for no program.
const LOCAL: &[&str] = &[
    "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "reiserfs",
    "tmpfs", "xfs", "zfs",
];

/// Mount tables longer than this are not read.
const LONGEST: u64 = 8 * 1024 * 1024;

/// A line of proc_pid_mountinfo(5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// `major:minor`.
    device: String,
    /// The folder of the file system that is seen here.
    root: PathBuf,
    point: PathBuf,
    nosuid: bool,
    kind: String,
}

/// What is mounted where.
#[derive(Debug, Default)]
pub(super) struct Mounts(Vec<Mount>);

/// True where `path` is on a disk of this machine, as far as jitd sees.
pub(crate) fn is_local(path: &Path) -> bool {
    Mounts::own().is_local(path)
}

impl Mounts {
    /// As this process sees them.
    pub(super) fn own() -> Self {
        Self::read(Path::new("/proc/self/mountinfo"))
    }

    /// As PID 1 sees them: systemd shows this process each of them as nosuid.
    pub(super) fn of_the_host() -> Self {
        let host = Self::read(Path::new("/proc/1/mountinfo"));
        if host.0.is_empty() { Self::own() } else { host }
    }

    fn read(path: &Path) -> Self {
        let file = std::fs::File::open(path);
        let mut text = Vec::new();
        let read = file.and_then(|file| {
            std::io::Read::read_to_end(&mut std::io::Read::take(file, LONGEST), &mut text)
        });
        read.map_or_else(|_| Self::default(), |_| Self::parse(&text))
    }

    fn parse(text: &[u8]) -> Self {
        Self(
            text.split(|byte| *byte == b'\n')
                .filter_map(mount)
                .collect(),
        )
    }

    /// True where `path` lies on a file system of this machine.
    pub(super) fn is_local(&self, path: &Path) -> bool {
        let holding = self.0.iter().filter(|mount| path.starts_with(&mount.point));
        // Of several at one place the last lies on top.
        let deepest = holding.max_by_key(|mount| mount.point.as_os_str().len());
        deepest.is_some_and(|mount| LOCAL.contains(&mount.kind.as_str()))
    }

    /// Where each file system of this machine is to be searched for programs that run as somebody else: once, and not where such bits
    /// count for nothing. Overlays but the root itself are containers', whose files lie on another of these.
    pub(super) fn to_search(&self) -> Vec<PathBuf> {
        let mut chosen: Vec<&Mount> = Vec::new();
        let counts = |mount: &&Mount| {
            !mount.nosuid
                && LOCAL.contains(&mount.kind.as_str())
                && (mount.kind != "overlay" || mount.point == Path::new("/"))
        };
        for mount in self.0.iter().filter(counts) {
            match chosen.iter_mut().find(|other| other.device == mount.device) {
                Some(other) if mount.root.as_os_str().len() < other.root.as_os_str().len() => {
                    *other = mount
                }
                Some(_) => {}
                None => chosen.push(mount),
            }
        }
        chosen.iter().map(|mount| mount.point.clone()).collect()
    }

    /// True where something is mounted at `path`.
    pub(super) fn is_point(&self, path: &Path) -> bool {
        self.0.iter().any(|mount| mount.point == path)
    }
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (_, _, device) = (fields.next()?, fields.next()?, fields.next()?);
    let (root, point, options) = (fields.next()?, fields.next()?, fields.next()?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mount {
        device: String::from_utf8(device.to_vec()).ok()?,
        root: unescaped(root),
        point: unescaped(point),
        nosuid: options
            .split(|byte| *byte == b',')
            .any(|option| option == b"nosuid"),
        kind: String::from_utf8(kind.to_vec()).ok()?,
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len().min(libc::PATH_MAX as usize));
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten();
        let byte =
            octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match byte {
            Some(byte) => {
                path.push(byte);
                rest = &after[3..];
            }
            None => {
                path.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:20 / /proc rw,nosuid - proc proc rw
24 22 8:1 /srv/data /mnt/da\\040ta rw - ext4 /dev/sda1 rw
25 22 0:30 / /tmp rw,nosuid,nodev - tmpfs tmpfs rw
26 22 0:31 / /home rw shared:2 master:1 - nfs4 server:/home rw
27 22 8:2 / /home/ann rw - xfs /dev/sdb rw
28 22 0:40 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
29 22 0:41 / /var/tmp rw - tmpfs tmpfs rw
";

    #[test]
    fn each_local_file_system_is_searched_once_and_only_where_setuid_counts() {
        let searched = Mounts::parse(TABLE).to_search();
        assert_eq!(searched, ["/", "/home/ann", "/var/tmp"].map(PathBuf::from));
    }

    #[test]
    fn a_home_on_another_machine_is_not_local() {
        let mounts = Mounts::parse(TABLE);
        assert!(mounts.is_local(Path::new("/root")));
        assert!(mounts.is_local(Path::new("/home/ann/.ssh")));
        assert!(!mounts.is_local(Path::new("/home/bob")));
        assert!(mounts.is_point(Path::new("/mnt/da ta")));
    }

    #[test]
    fn this_machine_s_own_table_is_read() {
        assert!(Mounts::own().is_point(Path::new("/proc")));
    }
}
