//! Single processes, each known by pid and start time, and signalled through a pidfd only.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process, told apart from whoever has its pid next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Clock ticks from boot to its start: field 22 of /proc/PID/stat.
    pub(crate) start_time: u64,
}

impl Process {
    /// Whoever has this pid now. None where nobody has, or it has died and has not been waited for.
    pub(crate) fn alive(pid: i32) -> Option<Self> {
        let stat = Stat::of(pid).ok().filter(|stat| !stat.zombie)?;
        Some(Self {
            pid,
            start_time: stat.start_time,
        })
    }

    /// A descriptor of exactly this process. None where it has died, be it waited for or not.
    pub(crate) fn open(self) -> Option<OwnedFd> {
        let pidfd = open(self.pid)?;
        // Whoever holds the pid after the descriptor was opened, the descriptor is of the one that held it then.
        let stat = Stat::of(self.pid).ok()?;
        (stat.start_time == self.start_time && !stat.zombie).then_some(pidfd)
    }
}

/// A descriptor of the process that has this pid now. None where there is none.
pub(crate) fn open(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::NONBLOCK).ok()
}

/// Sends `signal`. A process that has gone needs none.
pub(crate) fn send(pidfd: &OwnedFd, signal: Signal) -> bool {
    pidfd_send_signal(pidfd, signal).is_ok()
}

/// What /proc/PID/stat says, as far as it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// It has died, and nobody has asked how.
    pub(crate) zombie: bool,
    pub(crate) parent: i32,
    /// Device number of the controlling terminal, 0 for none.
    pub(crate) terminal: i32,
    /// Page faults of the children that have ended and that it has asked about: none ends without one, so this grows with each.
    pub(crate) ended: u64,
    pub(crate) start_time: u64,
}

impl Stat {
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&stat).ok_or_else(|| {
            io::Error::other(format!("/proc/{pid}/stat is not as proc_pid_stat(5) says"))
        })
    }

    /// The program's name, in brackets, may hold anything but NUL: fields are counted from the last closing bracket.
    fn parse(stat: &[u8]) -> Option<Self> {
        let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(stat.get(name_ends + 1..)?).ok()?;
        // Counting from 0 at the state, which is field 3.
        let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
        Some(Self {
            // A main thread that has ended is one too, for as long as others of its process run (field 20: num_threads).
            zombie: *fields.first()? == "Z" && fields.get(17)?.parse::<u32>().ok()? <= 1,
            parent: fields.get(1)?.parse().ok()?,
            terminal: fields.get(4)?.parse().ok()?,
            ended: fields.get(8)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }

    /// The number N of /dev/pts/N, where the terminal is one: majors 136 to 143 (Documentation/admin-guide/devices.txt).
    pub(crate) fn pseudo_terminal(self) -> Option<u32> {
        let device = u32::try_from(self.terminal).ok()?;
        let (major, minor) = (
            (device >> 8) & 0xfff,
            (device & 0xff) | ((device >> 12) & 0xf_ff00),
        );
        (136..=143)
            .contains(&major)
            .then(|| (major - 136) * 256 + minor)
    }
}

/// `root` and what descends from it now, by the parents that /proc names.
pub(crate) fn tree(root: Process) -> Vec<Process> {
    let everyone: Vec<(Process, i32)> = all().collect();
    let mut found: Vec<Process> = everyone
        .iter()
        .map(|(process, _)| *process)
        .filter(|process| *process == root)
        .collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = everyone
            .iter()
            .filter(|(_, of)| *of == parent.pid)
            .map(|(process, _)| *process);
        let new: Vec<Process> = children.filter(|child| !found.contains(child)).collect();
        found.extend(new);
        next += 1;
    }
    found
}

/// The parent of `pid`, its parent, and so on; more than this many are a race with somebody who forks.
pub(crate) fn ancestors(pid: i32) -> impl Iterator<Item = i32> {
    let parent = |pid: &i32| {
        Stat::of(*pid)
            .ok()
            .map(|stat| stat.parent)
            .filter(|parent| *parent > 0)
    };
    std::iter::successors(Some(pid), parent).skip(1).take(64)
}

/// Every process of this host, with its parent.
pub(crate) fn all() -> impl Iterator<Item = (Process, i32)> {
    pids().filter_map(|pid| {
        let stat = Stat::of(pid).ok()?;
        let process = Process {
            pid,
            start_time: stat.start_time,
        };
        Some((process, stat.parent))
    })
}

/// Every pid of this host.
pub(crate) fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{earlier, waiting};
    use super::*;

    #[test]
    fn a_program_name_cannot_shift_the_fields() {
        let stat = b"7 (x) R 1 (y) S 42 7 7 34817 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 100 200";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!(
            stat,
            Stat {
                zombie: false,
                parent: 42,
                terminal: 34817,
                ended: 2,
                start_time: 4711
            }
        );
        assert_eq!(stat.pseudo_terminal(), Some(1));
        assert_eq!(Stat::parse(b"7 (x"), None);
    }

    #[test]
    fn a_process_whose_main_thread_alone_has_ended_lives() {
        let zombie = |threads: u32| {
            let stat = format!("7 (x) Z 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 {threads} 0 4711");
            Stat::parse(stat.as_bytes()).unwrap().zombie
        };
        assert!(zombie(1) && zombie(0));
        assert!(!zombie(2));
    }

    #[test]
    fn only_pseudo_terminals_have_a_number() {
        let on = |terminal| {
            Stat {
                zombie: false,
                parent: 1,
                terminal,
                ended: 0,
                start_time: 1,
            }
            .pseudo_terminal()
        };
        assert_eq!(on(0), None);
        assert_eq!(on(4 << 8 | 1), None);
        assert_eq!(on(137 << 8 | 3), Some(259));
    }

    #[test]
    fn a_process_that_has_the_pid_of_another_is_not_opened() {
        let (mut child, process) = waiting("read line");
        assert!(process.open().is_some());
        assert!(earlier(process).open().is_none());
        child.kill().unwrap();
        let dead = || Stat::of(process.pid).is_ok_and(|stat| stat.zombie);
        while !dead() {
            std::thread::yield_now();
        }
        assert!(process.open().is_none());
        child.wait().unwrap();
        assert!(process.open().is_none());
    }

    #[test]
    fn a_tree_is_the_process_and_its_descendants_and_nobody_else() {
        let (mut child, process) = waiting("sh -c 'read line; :' ; :");
        let (mut other, bystander) = waiting("read line");
        let found = loop {
            let found = tree(process);
            if found.len() == 2 {
                break found;
            }
        };
        assert!(found.contains(&process));
        assert!(!found.contains(&bystander));
        drop(child.stdin.take());
        drop(other.stdin.take());
        child.wait().unwrap();
        other.wait().unwrap();
        assert!(tree(process).is_empty());
    }
}
