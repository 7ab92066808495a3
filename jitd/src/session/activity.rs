//! What somebody does at a login: what he types at its terminals, and where there is more than terminals, what goes over the connection.
//!
//! The terminals are those that the login's sshd opened, one for each channel that has one; not those that programs such as tmux opened
//! in it. All of it is read from /proc, so not on the daemon's one thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::process::{Process, Stat};

/// No more children of one process are looked at, and no more threads: sshd has one thread, and a child for each of ten channels. Where
/// there are so many, there is more than terminals.
const MOST_CHILDREN: usize = 256;
const MOST_THREADS: usize = 64;

/// No more descriptors of one process: sshd opens some ten for each channel, and ten channels.
const MOST_DESCRIPTORS: usize = 1024;

/// In /proc/net/tcp: the connection stands.
const ESTABLISHED: &str = "01";

/// What is seen of a login at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The second of each terminal's last input, by the N of /dev/pts/N. None where it can't be read.
    pub(super) terminals: BTreeMap<u32, Option<i64>>,
    /// Bytes that its sshd has read. The outer None: that does not count, all there is are terminals, whose output it is. The inner: it
    /// can't be read.
    pub(super) traffic: Option<Option<u64>>,
    /// More than before where a command, a copy or a terminal's shell has ended since: what sshd says of those that it has waited for.
    pub(super) ended: u64,
}

/// What is seen of the login of `leader`, the process that opened it. None where it can't be read. Where sshd has gone nobody can do
/// anything at it any more.
pub(super) fn seen(leader: Process) -> Option<Seen> {
    if leader.open().is_none() {
        return Some(Seen::default());
    }
    // sshd opens the session as root, and serves its channels from a child that is the user's.
    let served = children(leader.pid)?;
    let ended = served.iter().map(|(_, stat)| stat.ended).sum();
    let serving: Vec<i32> = served.iter().map(|(pid, _)| *pid).collect();
    let sshd: Vec<i32> = std::iter::once(leader.pid).chain(serving.clone()).collect();
    let mut numbers = BTreeSet::new();
    for pid in &sshd {
        numbers.extend(opened_terminals(&Path::new("/proc").join(pid.to_string()))?);
    }
    let mut only_terminals = !numbers.is_empty();
    for pid in &serving {
        let commands = children(*pid)?;
        only_terminals &= commands.len() < MOST_CHILDREN
            && commands
                .iter()
                .all(|(_, command)| is_at_one_of(command, &numbers))
            && !forwards(*pid, leader.pid)?;
    }
    Some(Seen {
        terminals: numbers
            .iter()
            .map(|number| (*number, last_input(*number)))
            .collect(),
        traffic: (!only_terminals).then(|| sshd.iter().map(|pid| bytes_read(*pid)).sum()),
        ended,
    })
}

/// The children of all its threads, `MOST_CHILDREN` of them at most, in whatever cgroup: what sshd starts may have been moved into the
/// scope of an elevation. None where they can't be read; who has gone meanwhile is none.
fn children(pid: i32) -> Option<Vec<(i32, Stat)>> {
    let mut found = Vec::new();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    for thread in threads.take(MOST_THREADS) {
        let children = fs::read_to_string(thread.ok()?.path().join("children")).ok()?;
        let children = children.split_ascii_whitespace();
        found.extend(
            children
                .filter_map(|child| child.parse().ok())
                .take(MOST_CHILDREN - found.len())
                .filter_map(|child| Some((child, Stat::of(child).ok()?))),
        );
    }
    Some(found)
}

fn is_at_one_of(command: &Stat, terminals: &BTreeSet<u32>) -> bool {
    let terminal = command.pseudo_terminal();
    terminal.is_some_and(|number| terminals.contains(&number))
}

/// The terminals whose other side the process of this folder of /proc holds: each is named in fdinfo (`tty-index`, Linux 4.20). None
/// where one of them can't be read: it is not to be taken for no terminal, and its output for somebody's work.
fn opened_terminals(process: &Path) -> Option<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for (number, target) in links(process)? {
        if !target.ends_with("/ptmx") {
            continue;
        }
        let info = fs::read_to_string(process.join("fdinfo").join(number));
        if let Some(info) = unless_gone(info)? {
            found.insert(terminal_in(&info)?);
        }
    }
    Some(found)
}

fn terminal_in(info: &str) -> Option<u32> {
    let mut lines = info.lines();
    let index = lines.find_map(|line| line.strip_prefix("tty-index:"))?;
    index.trim().parse().ok()
}

/// Descriptors by their numbers, with what they stand for. None where they can't be read.
fn links(process: &Path) -> Option<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(process.join("fd"))
        .ok()?
        .take(MOST_DESCRIPTORS)
    {
        let entry = entry.ok()?;
        if let Some(target) = unless_gone(fs::read_link(entry.path()))? {
            let target = target.to_string_lossy().into_owned();
            found.push((entry.file_name().into(), target));
        }
    }
    Some(found)
}

/// None where it can't be read. The inner None: it has gone meanwhile.
fn unless_gone<T>(read: io::Result<T>) -> Option<Option<T>> {
    match read {
        Ok(read) => Some(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(None),
        Err(_) => None,
    }
}

/// When the terminal was last read from by what runs at it: that is when something was typed.
fn last_input(number: u32) -> Option<i64> {
    let terminal = fs::symlink_metadata(format!("/dev/pts/{number}")).ok()?;
    terminal
        .file_type()
        .is_char_device()
        .then(|| terminal.atime())
}

/// True where the process that serves the channels has a connection that is not the client's, which its parent has, too. None where that
/// can't be read.
fn forwards(serving: i32, parent: i32) -> Option<bool> {
    let own: BTreeSet<String> = sockets(serving)?
        .difference(&sockets(parent)?)
        .cloned()
        .collect();
    // There is no tcp6 on a host without IPv6.
    for table in ["tcp", "tcp6"] {
        let connections = fs::read_to_string(format!("/proc/{serving}/net/{table}"));
        let connections = unless_gone(connections)?.unwrap_or_default();
        let is_own = connections.lines().skip(1).any(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
            let is_own = fields.get(9).is_some_and(|inode| own.contains(*inode));
            fields.get(3) == Some(&ESTABLISHED) && is_own
        });
        if is_own {
            return Some(true);
        }
    }
    Some(false)
}

/// The sockets of a process by their inodes.
fn sockets(pid: i32) -> Option<BTreeSet<String>> {
    let links = links(&Path::new("/proc").join(pid.to_string()))?;
    let inodes = links.into_iter().filter_map(|(_, target)| {
        let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(inode.to_owned())
    });
    Some(inodes.collect())
}

/// What it has read since it began, from anywhere: its own thread's, without that of commands that it has waited for.
fn bytes_read(pid: i32) -> Option<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/task/{pid}/io")).ok()?;
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: "))?;
    read.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{BufRead, BufReader, Write};
    use std::os::fd::AsRawFd;
    use std::process::{Command, Stdio};

    use super::super::fixture::{earlier, this};
    use super::*;

    #[test]
    fn a_terminal_that_a_process_opened_is_known_by_its_other_side() {
        let master = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/ptmx")
            .unwrap();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", master.as_raw_fd()));
        let number = terminal_in(&info.unwrap()).unwrap();
        let process = Path::new("/proc/self");
        assert!(opened_terminals(process).unwrap().contains(&number));
        assert!(last_input(number).is_some());
        drop(master);
        assert_eq!(terminal_in("pos:\t0\nflags:\t0100002\n"), None);
    }

    #[test]
    fn what_has_gone_does_nothing_and_what_can_not_be_read_is_not_taken_for_that() {
        assert_eq!(seen(earlier(this())), Some(Seen::default()));
        assert_eq!(children(0), None);
        assert_eq!(opened_terminals(Path::new("/proc/0")), None);
        assert_eq!((last_input(u32::MAX), bytes_read(0)), (None, None));
    }

    #[test]
    fn a_terminal_of_which_nothing_can_be_read_is_not_taken_for_none() {
        let process = tempfile::tempdir().unwrap();
        let path = |name: &str| process.path().join(name);
        fs::create_dir(path("fd")).unwrap();
        std::os::unix::fs::symlink("/dev/pts/ptmx", path("fd/7")).unwrap();
        fs::create_dir(path("fdinfo")).unwrap();
        let closed_meanwhile = Some(BTreeSet::new());
        assert_eq!(opened_terminals(process.path()), closed_meanwhile);
        fs::write(path("fdinfo/7"), "pos:\t0\ntty-index:\t3\n").unwrap();
        assert_eq!(opened_terminals(process.path()), Some([3].into()));
        fs::write(path("fdinfo/7"), "pos:\t0\n").unwrap();
        assert_eq!(opened_terminals(process.path()), None);
        fs::remove_file(path("fdinfo/7")).unwrap();
        fs::create_dir(path("fdinfo/7")).unwrap();
        assert_eq!(opened_terminals(process.path()), None);
    }

    /// As sshd is with one terminal: a process, and a child of it that serves. They have its other side.
    #[test]
    fn a_command_beside_a_terminal_is_seen_wherever_it_is_and_when_it_has_ended() {
        let serves = "echo there; read go; sleep 7507 & echo runs; read go; kill $!; wait $!; echo ended; read go";
        let master = OpenOptions::new().read(true).write(true).open("/dev/ptmx");
        let mut sshd = Command::new("/bin/sh")
            .args(["-c", &format!("sh -c '{serves}'; :")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(master.unwrap())
            .spawn()
            .unwrap();
        let leader = Process::alive(i32::try_from(sshd.id()).unwrap()).unwrap();
        let mut says = BufReader::new(sshd.stdout.take().unwrap()).lines();
        let mut goes = sshd.stdin.take().unwrap();
        let mut once = |said: &str| {
            assert_eq!(says.next().unwrap().unwrap(), said);
            let seen = seen(leader).unwrap();
            goes.write_all(b"\n").unwrap();
            seen
        };
        let (before, beside, after) = (once("there"), once("runs"), once("ended"));
        sshd.wait().unwrap();
        assert_eq!((before.terminals.len(), before.traffic), (1, None));
        assert!(matches!(beside.traffic, Some(Some(_))), "{beside:?}");
        assert_eq!((beside.ended, after.traffic), (before.ended, None));
        assert!(after.ended > before.ended, "{before:?}, {after:?}");
    }

    #[test]
    fn what_a_process_reads_is_counted() {
        let pid = this().pid;
        let read = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/io")).is_ok();
        let before = bytes_read(pid).unwrap();
        assert!(read());
        assert!(bytes_read(pid).unwrap() >= before);
    }
}
