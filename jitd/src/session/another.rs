//! What an elevation left with another user (`sudo -u`, `su`): in that user's manager, crontab and at queue (T15).
//!
//! Nothing of it says who began it. So what is new there since the elevation began counts as its own, be it that user's or not, and
//! ends with it. A manager with anything new in it ends whole, since what waits there for a time or an event, or restarts itself, is
//! no process that could be found; one that ran before is started anew, with what its user has enabled.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::timeout;

use super::cgroup::{self, Cgroup};
use super::held::{Held, Kind, Whose};
use super::pid1::{Pid1, Pid1Error};
use super::process::{self, Process};
use super::types::SessionId;
use super::{Inner, Table, manager};
use crate::accounts::Account;
use crate::residue::OF_USER_MANAGER;

/// Crontabs, each by its user's name.
const CRONTABS: &str = "/var/spool/cron/crontabs";

/// Jobs of at, each its user's file. While one runs, a second name of its file is in here.
const AT_JOBS: &str = "/var/spool/cron/atjobs";

/// A user's queue or units that are more than this count as changed: it is not worth the time to be sure.
const MOST_FILES: usize = 4096;

/// Folders of units lie no deeper in one another: x.target.wants, x.service.d.
const DEEPEST: usize = 2;

/// A home on another machine is not waited for any longer: its manager counts as one that began since.
const LOOKING: Duration = Duration::from_secs(2);

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
            changed(&crontab, since)
                || queued(Path::new(AT_JOBS), other.uid, since)
                || Manager::of(other).is_some_and(|_| has_new_units(other, since))
        })
    }

    /// When `held` began, by the wall clock as it stands now.
    fn began(&self, held: &Held) -> Timestamp {
        let began = Duration::from_millis(held.leader.start_time.saturating_mul(TICK));
        let age = self.clock.boot().saturating_sub(began) + COARSE;
        self.clock.wall() - age
    }

    /// Ends the managers of other users in which anything began since `held` did. True where there was one.
    pub(super) async fn end_elsewhere(self: Arc<Self>, held: Held) -> bool {
        if held.others.is_empty() || !held.enforce {
            return false;
        }
        let running: Vec<Manager> = held.others.iter().filter_map(Manager::of).collect();
        let unsure = running.clone();
        let (began, since) = (held.leader.start_time, self.began(&held));
        let look = tokio::task::spawn_blocking(move || {
            let with_news = running
                .into_iter()
                .filter(|manager| manager.has_begun_anything(began, since));
            let aged = with_news.map(|manager| (manager.ran_before(began), manager));
            aged.collect::<Vec<_>>()
        });
        let found = match timeout(LOOKING, look).await {
            Ok(Ok(found)) => found,
            _ => unsure.into_iter().map(|manager| (false, manager)).collect(),
        };
        for (start_anew, manager) in &found {
            self.note_manager(&held, manager, *start_anew);
            if let Err(error) = manager.end(*start_anew).await {
                tracing::warn!(id = %held.id, unit = manager.unit, %error, "systemd did not stop another user's manager; it is killed");
                let _ = manager.cgroup.kill();
            }
        }
        !found.is_empty()
    }

    fn note_manager(&self, held: &Held, manager: &Manager, started_anew: bool) {
        #[derive(Serialize)]
        struct Note<'a> {
            #[serde(flatten)]
            whose: Whose<'a>,
            unit: &'a str,
            started_anew: bool,
        }
        let note = Note {
            whose: held.whose(),
            unit: &manager.unit,
            started_anew,
        };
        self.note(held, "ends_manager", note);
    }
}

/// Another user's manager that runs.
#[derive(Clone)]
struct Manager {
    unit: String,
    cgroup: Cgroup,
    of: Account,
}

impl Manager {
    fn of(account: &Account) -> Option<Self> {
        let uid = account.uid;
        let unit = format!("user@{uid}.service");
        let cgroup = Cgroup::at(&format!("/user.slice/user-{uid}.slice/{unit}")).ok()?;
        let of = account.clone();
        cgroup.populated().then_some(Self { unit, cgroup, of })
    }

    /// By its processes and its units. Waits for the disk.
    fn has_begun_anything(&self, began: u64, since: Timestamp) -> bool {
        has_new_units(&self.of, since)
            || self
                .processes()
                .any(|(process, _)| process.start_time >= began)
    }

    /// Found among all processes: the cgroups below it may be more than are gone through.
    fn processes(&self) -> impl Iterator<Item = (Process, String)> {
        let alive = process::pids().filter_map(Process::alive);
        let placed =
            alive.filter_map(|process| Some((process, cgroup::of_process(process.pid).ok()?)));
        placed.filter(|(_, cgroup)| self.cgroup.holds(cgroup))
    }

    /// True where the manager itself did.
    fn ran_before(&self, began: u64) -> bool {
        let its_own = format!("{}/init.scope", self.cgroup.path);
        self.processes()
            .any(|(process, cgroup)| process.start_time < began && cgroup == its_own)
    }

    async fn end(&self, start_anew: bool) -> Result<(), Pid1Error> {
        let mut pid1 = Pid1::connect().await?;
        pid1.stop_whole(&self.unit).await?;
        if start_anew {
            pid1.run(&self.unit).await?;
        }
        Ok(())
    }
}

/// True where a unit's file, or the folder that one was taken from, changed since.
fn has_new_units(of: &Account, since: Timestamp) -> bool {
    let runtime = PathBuf::from(format!("/run/user/{}/systemd", of.uid));
    let runtime = ["transient", "user"].map(|name| runtime.join(name));
    let own = OF_USER_MANAGER.iter().map(|name| of.home.join(name));
    let mut left = MOST_FILES;
    runtime
        .into_iter()
        .chain(own)
        .any(|folder| changed_within(&folder, DEEPEST, since, &mut left))
}

fn changed_within(path: &Path, deeper: usize, since: Timestamp, left: &mut usize) -> bool {
    let Some(fewer) = left.checked_sub(1) else {
        return true;
    };
    *left = fewer;
    if changed(path, since) {
        return true;
    }
    let is_folder = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
    is_folder
        && deeper > 0
        && entries.any(|entry| changed_within(&entry.path(), deeper - 1, since, left))
}

impl Held {
    /// True where `process`, of this cgroup, began in the manager of another user that this elevation went on as, since it did: the
    /// manager itself where that did.
    pub(super) fn began_elsewhere(&self, process: Process, cgroup: &str) -> bool {
        let uid = manager::uid_around(cgroup);
        let is_of = |uid| self.others.iter().any(|other| other.uid == uid);
        uid.is_some_and(is_of) && process.start_time >= self.leader.start_time
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
fn changed(file: &Path, since: Timestamp) -> bool {
    fs::symlink_metadata(file).is_ok_and(|file| changed_at(&file) >= since)
}

fn queued(queue: &Path, uid: u32, since: Timestamp) -> bool {
    let entries = fs::read_dir(queue).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| entry.metadata().ok());
    let mut own = files.filter(|file| file.uid() == uid);
    let mut in_sight = own.by_ref().take(MOST_FILES);
    in_sight.any(|file| changed_at(&file) >= since) || own.next().is_some()
}

fn changed_at(file: &fs::Metadata) -> Timestamp {
    Timestamp::from_second(file.ctime()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{held, this};
    use super::*;
    use crate::clock::Clock;

    fn alice() -> Account {
        Account {
            name: "alice".to_owned(),
            uid: 1001,
            home: "/home/alice".into(),
        }
    }

    #[test]
    fn t15_what_began_since_in_the_manager_of_whom_it_went_on_as_is_an_elevation_s() {
        let mut elevation = held(Kind::Elevation, 1, this());
        elevation.others = vec![alice()];
        let at = |uid| format!("/user.slice/user-{uid}.slice/user@{uid}.service");
        let unit = format!("{}/app.slice/x.service", at(1001));
        let later = Process {
            start_time: this().start_time + 1,
            ..this()
        };
        let earlier = super::super::fixture::earlier(this());
        assert!(elevation.began_elsewhere(later, &unit));
        assert!(elevation.began_elsewhere(later, &format!("{}/init.scope", at(1001))));
        assert!(!elevation.began_elsewhere(earlier, &unit));
        for cgroup in [
            format!("{}/app.slice/x.service", at(1002)),
            "/user.slice/user-1001.slice/session-1.scope".to_owned(),
            "/system.slice/cron.service".to_owned(),
        ] {
            assert!(!elevation.began_elsewhere(later, &cgroup), "{cgroup}");
        }
    }

    #[test]
    fn t15_a_unit_of_that_user_that_was_made_changed_or_taken_away_since_is_news() {
        let home = tempfile::tempdir().unwrap();
        let units = home.path().join(".config/systemd/user");
        fs::create_dir_all(units.join("default.target.wants")).unwrap();
        let of = Account {
            home: home.path().to_owned(),
            uid: u32::MAX,
            ..alice()
        };
        let now = Clock::start(None).wall();
        let (before, after) = (now - COARSE, now + COARSE);
        assert!(has_new_units(&of, before) && !has_new_units(&of, after));
        let nowhere = Account {
            home: home.path().join("none"),
            ..of
        };
        assert!(!has_new_units(&nowhere, before));
    }

    #[test]
    fn t15_more_units_than_are_looked_at_are_news() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..5 {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        let after = Clock::start(None).wall() + COARSE;
        assert!(!changed_within(folder.path(), DEEPEST, after, &mut 6));
        assert!(changed_within(folder.path(), DEEPEST, after, &mut 5));
    }

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
