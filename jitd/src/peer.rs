//! Who is at the other end of a Unix socket, from the kernel and never from what that end says.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use pidfd_util::{PidFd, PidFdExt};

/// A process that connected to us, as it was when it connected.
///
/// The pid alone would name whoever has that number next, so it always goes with the start time and, from Linux 6.5, with a
/// pidfd that the kernel made for the very process that connected (`SO_PEERPIDFD`).
#[derive(Debug, Clone)]
pub struct Peer {
    /// Process id, in our pid namespace.
    pub pid: i32,
    /// See [`Peer::start_time`]. Read at once where there is no pidfd to tell the process from the next with its number.
    /// Clones share it, so that all say the same.
    pub started: Arc<OnceLock<u64>>,
    /// A descriptor of the process itself, where the kernel has `SO_PEERPIDFD`.
    pub pidfd: Option<Arc<OwnedFd>>,
    /// Effective uid at connect, from `SO_PEERCRED`. Zero for sudo and su, whoever runs them.
    pub uid: u32,
    /// Real uid: who runs sudo or su. Asked of the pidfd where the kernel answers that, else read in /proc/PID/status.
    pub real_uid: u32,
}

impl Peer {
    /// Reads who connected `socket`.
    ///
    /// # Errors
    /// Where the kernel does not say, the process is of another pid namespace, or it has already gone.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(socket, sockopt::PeerCredentials)?;
        let pid = credentials.pid();
        if pid <= 0 {
            return Err(io::Error::other(
                "the caller is a process of another pid namespace",
            ));
        }
        let pidfd = getsockopt(socket, sockopt::PeerPidfd).ok();
        let (pidfd, said) = pidfd.map(real_uid_of).unzip();
        let pidfd = pidfd.map(Arc::new);
        let started = match &pidfd {
            Some(_) => Arc::default(),
            None => Arc::new(OnceLock::from(start_time(pid)?)),
        };
        let peer = Self {
            pid,
            started,
            pidfd,
            uid: credentials.uid(),
            real_uid: match said.flatten() {
                Some(real_uid) => real_uid,
                None => real_uid(pid)?,
            },
        };
        // What was read from /proc belongs to the caller only where the caller still holds that pid.
        if peer.still_there() {
            Ok(peer)
        } else {
            Err(gone(pid))
        }
    }

    /// When it started, in clock ticks since boot: field 22 of /proc/PID/stat (proc_pid_stat(5)). Read when it is first asked for: most
    /// callers are answered without. A process that has gone by then has the start time of none.
    #[must_use]
    pub fn start_time(&self) -> u64 {
        *self.started.get_or_init(|| {
            let read = start_time(self.pid).ok().filter(|_| self.still_there());
            read.unwrap_or(u64::MAX)
        })
    }

    /// True while that very process exists.
    #[must_use]
    pub fn still_there(&self) -> bool {
        match &self.pidfd {
            Some(pidfd) => !exited(pidfd),
            None => start_time(self.pid).is_ok_and(|now| Some(&now) == self.started.get()),
        }
    }

    /// The cgroup that the process is in now: the path of the `0::` line of /proc/PID/cgroup, such as
    /// `/user.slice/user-1000.slice/session-3.scope`.
    ///
    /// # Errors
    /// Where the process has gone or the kernel has no unified hierarchy.
    pub fn cgroup(&self) -> io::Result<String> {
        let table = fs::read_to_string(format!("/proc/{}/cgroup", self.pid))?;
        if !self.still_there() {
            return Err(gone(self.pid));
        }
        table
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .map(str::to_owned)
            .ok_or_else(|| io::Error::other("no unified cgroup hierarchy (cgroup v2) on this host"))
    }
}

/// A pidfd becomes readable when its process has exited (pidfd_open(2)).
fn exited(pidfd: &OwnedFd) -> bool {
    let mut watched = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    !matches!(poll(&mut watched, PollTimeout::ZERO), Ok(0))
}

fn gone(pid: i32) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("process {pid} has gone"))
}

/// Field 22 of /proc/PID/stat. The second field is the program's name in brackets and may itself hold spaces and brackets, so
/// the fields are counted from the last closing one.
fn start_time(pid: i32) -> io::Result<u64> {
    read_beginning(pid, "stat", parse_start_time)
}

fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(after_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// `pidfd` again, with its process's real uid: PIDFD_GET_INFO, from Linux 6.13. A fraction of what /proc/PID/status costs, which
/// has all there is to say about a process.
fn real_uid_of(pidfd: OwnedFd) -> (OwnedFd, Option<u32>) {
    let pidfd = PidFd::from(pidfd);
    let real_uid = pidfd.get_creds().ok().map(|credentials| credentials.ruid);
    (pidfd.into(), real_uid)
}

/// The first number of the `Uid:` line of /proc/PID/status.
fn real_uid(pid: i32) -> io::Result<u32> {
    read_beginning(pid, "status", parse_real_uid)
}

/// What both fields lie well within: before them there is one text of another's choice, the program's name, of 64 bytes at most.
const BEGINNING_BYTES: usize = 1024;

/// Parses the beginning of a file of /proc/PID, taken with one read: this happens at every call, before anything is known of the
/// caller.
fn read_beginning<T>(pid: i32, file: &str, parse: fn(&[u8]) -> Option<T>) -> io::Result<T> {
    let path = format!("/proc/{pid}/{file}");
    let mut beginning = [0; BEGINNING_BYTES];
    let length = File::open(&path)?.read(&mut beginning)?;
    parse(&beginning[..length])
        .ok_or_else(|| io::Error::other(format!("{path} is not as proc(5) says")))
}

fn parse_real_uid(status: &[u8]) -> Option<u32> {
    let line = status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line)
        .ok()?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    #[test]
    fn a_connection_names_its_own_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        assert_eq!(peer.pid, std::process::id() as i32);
        assert_eq!(peer.real_uid, nix::unistd::getuid().as_raw());
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        assert!(peer.still_there());
        assert_eq!(peer.start_time(), start_time(peer.pid).unwrap());
        assert!(peer.cgroup().unwrap().starts_with('/'));
    }

    #[test]
    fn sudo_is_known_by_its_real_uid_with_and_without_a_pidfd() {
        let root = nix::unistd::geteuid().is_root();
        let words = if root {
            vec!["setpriv", "--ruid", "4242", "cat"]
        } else {
            vec!["cat"]
        };
        let mut sudo = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // What comes back comes from cat, so the uid has been changed.
        writeln!(sudo.stdin.as_ref().unwrap(), "there").unwrap();
        BufReader::new(sudo.stdout.as_mut().unwrap())
            .read_line(&mut String::new())
            .unwrap();
        let pid = sudo.id() as i32;
        let (_, said) =
            real_uid_of(pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap());
        let read = real_uid(pid).unwrap();
        sudo.kill().unwrap();
        sudo.wait().unwrap();
        assert_eq!(read == 4242, root);
        // Before Linux 6.13 a pidfd does not say.
        assert!(said.is_none_or(|said| said == read), "{said:?}");
    }

    #[test]
    fn a_process_that_ended_is_no_longer_there_with_and_without_a_pidfd() {
        let mut child = Command::new("/bin/cat")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let peer = Peer {
            pid,
            started: Arc::new(OnceLock::from(start_time(pid).unwrap())),
            pidfd: None,
            uid: 0,
            real_uid: 0,
        };
        assert!(peer.still_there());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!peer.still_there());
        assert!(peer.cgroup().is_err());
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_taken_for_the_caller() {
        let pid = std::process::id() as i32;
        let peer = Peer {
            pid,
            started: Arc::new(OnceLock::from(start_time(pid).unwrap() + 1)),
            pidfd: None,
            uid: 0,
            real_uid: 0,
        };
        assert!(!peer.still_there());
    }

    #[test]
    fn a_program_name_cannot_shift_the_fields_of_its_stat_line() {
        let stat = b"7 (a) 1 2 (b) R 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 100 200";
        assert_eq!(parse_start_time(stat), Some(4711));
        assert_eq!(parse_start_time(b"7 no name"), None);
    }

    #[test]
    fn a_program_name_cannot_forge_the_uid_line() {
        assert_eq!(
            parse_real_uid(b"Name:\tx\\nUid:\t0\nUmask:\t0022\nUid:\t1000\t0\t0\t0\n"),
            Some(1000)
        );
    }
}
