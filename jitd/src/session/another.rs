//! What an elevation left with another user (`sudo -u`, `su`) as a job: in that user's crontab and at queue (T15). What it left in that
//! user's manager is in `elsewhere.rs`.
//!
//! Nothing of it says who began it. So what is new there since the elevation began counts as its own, be it that user's or not, and
//! ends with it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::held::{Held, Kind};
use super::types::SessionId;
use super::{Inner, Table};
use crate::accounts::Account;

/// Crontabs, each by its user's name.
const CRONTABS: &str = "/var/spool/cron/crontabs";

/// Jobs of at, each its user's file. While one runs, a second name of its file is in here.
const AT_JOBS: &str = "/var/spool/cron/atjobs";

/// A user's queue with more in it counts as changed: it is not worth the time to be sure.
const MOST_JOBS: usize = 4096;

/// The unit of `Process::start_time`, in milliseconds: USER_HZ is 100 on every architecture that Rust has.
const TICK: u64 = 10;

/// Times of files are compared in whole seconds.
const COARSE: Duration = Duration::from_secs(1);

impl Inner {
    /// The elevation `id` goes on as `account`.
    pub(super) fn goes_on_as(&self, id: &SessionId, account: Account) {
        let mut table = self.table();
        let Some(held) = table.held.get_mut(id) else {
            return;
        };
        let is_another = account.uid != 0 && account.name != held.query.login.as_str();
        if held.kind == Kind::Elevation && is_another && !held.others.contains(&account) {
            held.others.push(account);
            // What can't be saved is known until jitd restarts.
            let _ = self.registry.save(held);
        }
    }

    /// True where a job may yet begin that `held` left behind. Waits for the disk.
    pub(super) fn left_a_job(&self, held: &Held) -> bool {
        let since = self.began(held);
        held.others.iter().any(|other| {
            let crontab = Path::new(CRONTABS).join(&other.name);
            changed(&crontab, since) || queued(Path::new(AT_JOBS), other.uid, since)
        })
    }

    /// When `held` began, by the wall clock as it stands now.
    pub(super) fn began(&self, held: &Held) -> Timestamp {
        let began = Duration::from_millis(held.leader.start_time.saturating_mul(TICK));
        let age = self.clock.boot().saturating_sub(began) + COARSE;
        self.clock.wall() - age
    }
}

/// The jobs of other users that began since `held` did.
pub(super) fn jobs_begun_since<'a>(
    table: &'a Table,
    held: &'a Held,
) -> impl Iterator<Item = &'a Held> {
    let of_another = |job: &&Held| {
        let mut others = held.others.iter();
        others.any(|other| other.name == job.query.login.as_str())
    };
    let jobs = table.held.values().filter(|job| job.kind == Kind::Job);
    jobs.filter(of_another)
        .filter(|job| job.leader.start_time >= held.leader.start_time)
}

/// By the time of the last change of the file, which nobody but the kernel sets.
pub(super) fn changed(file: &Path, since: Timestamp) -> bool {
    fs::symlink_metadata(file).is_ok_and(|file| changed_at(&file) >= since)
}

fn queued(queue: &Path, uid: u32, since: Timestamp) -> bool {
    let entries = fs::read_dir(queue).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| entry.metadata().ok());
    let mut own = files.filter(|file| file.uid() == uid);
    let mut in_sight = own.by_ref().take(MOST_JOBS);
    in_sight.any(|file| changed_at(&file) >= since) || own.next().is_some()
}

pub(super) fn changed_at(file: &fs::Metadata) -> Timestamp {
    Timestamp::from_second(file.ctime()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn t15_a_crontab_or_a_job_of_that_user_that_changed_since_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a0001");
        fs::write(&file, "").unwrap();
        let uid = fs::metadata(&file).unwrap().uid();
        let now = Clock::start(None).wall();
        let (before, after) = (now - COARSE, now + COARSE);
        assert!(changed(&file, before) && !changed(&file, after));
        assert!(!changed(&folder.path().join("none"), before));
        assert!(queued(folder.path(), uid, before));
        assert!(!queued(folder.path(), uid, after));
        assert!(!queued(folder.path(), uid + 1, before));
        assert!(!queued(&folder.path().join("none"), uid, before));
    }
}
