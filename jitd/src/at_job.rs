//! The group that atd begins a job with. `at` writes that of whoever left the job into it, and a login that had the group from a grant
//! would have it beyond that (T16).
//!
//! By the time that atd asks PAM it has opened the job and taken its name away (at 3.2): it is found among the files that atd has open.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::peer::Peer;

/// Where jobs of at lie: on Debian, and on Fedora and its kin.
const QUEUES: &[&str] = &["/var/spool/cron/atjobs", "/var/spool/at"];

/// What every job begins with: see [`group_in`].
const HEAD_BYTES: usize = 64;

/// A process with more than this open is not one that is about to begin a job.
const MOST_FILES: usize = 256;

/// The number of the group that the job of `peer` is to begin with. None where it has no job of at open: one of cron's begins with its
/// user's groups.
///
/// # Errors
/// Where the process can't be looked at, has gone, or has a job open that does not begin as `at` writes it.
pub(crate) fn group_of(peer: &Peer) -> io::Result<Option<u32>> {
    let files = fs::read_dir(format!("/proc/{}/fd", peer.pid))?;
    let mut group = None;
    for (count, file) in files.enumerate() {
        if count == MOST_FILES {
            return Err(io::Error::other("the caller has too many files open"));
        }
        let file = file?.path();
        if fs::read_link(&file).is_ok_and(|target| is_job(&target)) {
            group = Some(read_group(&file)?);
        }
    }
    if peer.still_there() {
        Ok(group)
    } else {
        Err(io::Error::other("the caller has gone"))
    }
}

fn is_job(target: &Path) -> bool {
    let folder = target.parent();
    folder.is_some_and(|folder| QUEUES.iter().any(|queue| Path::new(queue) == folder))
}

fn read_group(job: &Path) -> io::Result<u32> {
    let job = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(job)?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    job.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    group_in(&head).ok_or_else(|| io::Error::other("the job does not begin as at writes it"))
}

/// The second line of a job is `# atrun uid=1000 gid=1000`: atd goes by it.
fn group_in(head: &[u8]) -> Option<u32> {
    let line = head.strip_prefix(b"#!/bin/sh\n# atrun uid=")?;
    let end = line.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&line[..end]).ok()?;
    let (uid, gid) = line.split_once(" gid=")?;
    uid.parse::<u32>().ok()?;
    gid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t16_the_group_is_read_as_atd_reads_it() {
        for (head, group) in [
            ("#!/bin/sh\n# atrun uid=1000 gid=4\n# mail bob 0\n", Some(4)),
            ("#!/bin/sh\n# atrun uid=1000 gid=4", None),
            ("#!/bin/sh\n# atrun uid=1000 gid=4 gid=5\n", None),
            ("#!/bin/sh\n# atrun uid=1000 gid=-1\n", None),
            ("#!/bin/sh\n# atrun uid= gid=4\n", None),
            ("#!/bin/sh\n\n# atrun uid=1000 gid=4\n", None),
            ("# atrun uid=1000 gid=4\n", None),
            ("", None),
        ] {
            assert_eq!(group_in(head.as_bytes()), group, "{head:?}");
        }
        assert_eq!(group_in(b"#!/bin/sh\n# atrun uid=1 gid=\xff\n"), None);
    }

    #[test]
    fn t16_what_lies_in_a_queue_is_a_job_also_without_a_name() {
        for (target, is) in [
            ("/var/spool/cron/atjobs/a0000101cafe12", true),
            ("/var/spool/cron/atjobs/a0000101cafe12 (deleted)", true),
            ("/var/spool/at/a0000101cafe12 (deleted)", true),
            ("/var/spool/at/spool/a0000101cafe12", false),
            ("/var/spool/cron/atspool/a0000101cafe12", false),
            ("/var/spool/cron/atjobs", false),
            ("socket:[4711]", false),
        ] {
            assert_eq!(is_job(Path::new(target)), is, "{target}");
        }
    }
}
