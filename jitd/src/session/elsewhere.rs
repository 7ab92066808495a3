//! Managers of other users that an elevation went on as (`sudo -u`, `su`): what begins there has that user's name and that manager's
//! audit session, and nothing says who began it (T15).
//!
//! So a manager with anything new in it ends whole, be it that user's own or not: what waits there for a time or an event, or restarts
//! itself, is no process that could be found. It ends once nothing of the elevation lives that could begin more there, and is started
//! anew where its user lingers or is logged in, with all that is enabled there by then.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use serde::Serialize;
use tokio::time::timeout;

use super::another::{changed, changed_at};
use super::cgroup::{self, Cgroup};
use super::held::{Held, Whose};
use super::pid1::{Pid1, Pid1Error};
use super::process::{self, Process};
use super::{Inner, manager};
use crate::accounts::Account;
use crate::residue::{OF_USER_MANAGER, is_local};

/// More units than this count as new ones: it is not worth the time to be sure.
const MOST_FILES: usize = 4096;

/// Folders of units lie no deeper in one another: x.target.wants, x.service.d.
const DEEPEST: usize = 2;

/// A manager whose units could not be looked at in this time counts as one with new ones.
const LOOKING: Duration = Duration::from_secs(2);

/// Units that a manager was given while it ran, below its runtime folder.
const AT_RUN_TIME: [&str; 3] = ["transient", "user", "user.control"];

impl Inner {
    /// Ends the managers of other users in which anything began since `held` did. True where there was one. `resumed`: jitd may have
    /// died between stopping one and starting it anew.
    pub(super) async fn end_elsewhere(self: &Arc<Self>, held: &Held, resumed: bool) -> bool {
        if !held.enforce {
            return false;
        }
        let ending: Vec<_> = held
            .others
            .iter()
            .map(|other| {
                let manager = Manager::of(other.clone());
                tokio::spawn(Arc::clone(self).end_manager(held.clone(), manager, resumed))
            })
            .collect();
        let mut any = false;
        for task in ending {
            any |= task.await.unwrap_or(true);
        }
        any
    }

    async fn end_manager(self: Arc<Self>, held: Held, manager: Manager, resumed: bool) -> bool {
        let running = manager.running();
        let has_news = match &running {
            Some(cgroup) => self.has_news(&held, &manager, cgroup).await,
            None => false,
        };
        if let Some(cgroup) = running.filter(|_| has_news)
            && let Err(error) = manager.stop().await
        {
            tracing::warn!(id = %held.id, unit = manager.unit, %error, "systemd did not stop another user's manager; it is killed");
            let _ = cgroup.kill();
        }
        let half_done = || resumed && manager.running().is_none() && manager.lingers();
        let start_anew = (has_news && manager.is_wanted()) || half_done();
        let started = start_anew
            && {
                let started = manager.start().await;
                if let Err(error) = &started {
                    tracing::error!(id = %held.id, unit = manager.unit, %error, "another user's manager was not started anew");
                }
                started.is_ok()
            };
        if has_news || start_anew {
            self.note_manager(&held, &manager, started);
        }
        has_news
    }

    async fn has_news(&self, held: &Held, manager: &Manager, cgroup: &Cgroup) -> bool {
        let (began, since) = (held.leader.start_time, self.began(held));
        let (manager, cgroup) = (manager.clone(), cgroup.clone());
        let homes = Arc::clone(&self.homes);
        let look = async {
            // One at a time: a disk that hangs keeps one thread, and no more.
            let turn = homes.acquire_owned().await;
            let look = move || {
                let _turn = turn;
                cgroup_has_new_process(&cgroup, began) || has_new_units(&manager.of, since)
            };
            tokio::task::spawn_blocking(look).await
        };
        !matches!(timeout(LOOKING, look).await, Ok(Ok(false)))
    }

    /// True where a unit of one of those users may yet begin something that `held` left behind. Waits for the disk; true also where
    /// another look does.
    pub(super) fn left_a_unit(&self, held: &Held) -> bool {
        let since = self.began(held);
        let Ok(_turn) = self.homes.try_acquire() else {
            return true;
        };
        let mut others = held.others.iter();
        others.any(|other| {
            Manager::of(other.clone()).running().is_some() && has_new_units(other, since)
        })
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
        self.note(held, "ended_manager", note);
    }
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

/// Another user's manager, where it runs.
#[derive(Clone)]
struct Manager {
    unit: String,
    of: Account,
}

impl Manager {
    fn of(account: Account) -> Self {
        Self {
            unit: format!("user@{}.service", account.uid),
            of: account,
        }
    }

    fn slice(&self) -> String {
        format!("/user.slice/user-{}.slice", self.of.uid)
    }

    fn running(&self) -> Option<Cgroup> {
        let cgroup = Cgroup::at(&format!("{}/{}", self.slice(), self.unit)).ok()?;
        cgroup.populated().then_some(cgroup)
    }

    fn lingers(&self) -> bool {
        Path::new(manager::LINGER).join(&self.of.name).exists()
    }

    /// True where logind would have it run: its user lingers, or is logged in.
    fn is_wanted(&self) -> bool {
        let slice = self.slice();
        let logged_in = || {
            let mut units = cgroup::units_in(&slice).filter_map(|unit| cgroup::written(&unit));
            units.any(|path| {
                let session = cgroup::ScopePath::parse(&path);
                session.is_some_and(|scope| scope.logind_session().is_some())
                    && Cgroup::at(&path).is_ok_and(|cgroup| cgroup.populated())
            })
        };
        self.lingers() || logged_in()
    }

    async fn stop(&self) -> Result<(), Pid1Error> {
        Pid1::connect().await?.stop_whole(&self.unit).await
    }

    async fn start(&self) -> Result<(), Pid1Error> {
        Pid1::connect().await?.run(&self.unit).await
    }
}

/// Looks at all processes: a user may have more cgroups below his manager than are gone through.
fn cgroup_has_new_process(cgroup: &Cgroup, began: u64) -> bool {
    let alive = process::pids().filter_map(Process::alive);
    let mut new = alive.filter(|process| process.start_time >= began);
    new.any(|process| cgroup::of_process(process.pid).is_ok_and(|path| cgroup.holds(&path)))
}

/// True where a unit's file, or the folder that one was taken from, changed since. A home on another machine is not looked at, nor what
/// a link in a home leads to outside of it.
fn has_new_units(of: &Account, since: Timestamp) -> bool {
    let mut left = MOST_FILES;
    let runtime = PathBuf::from(format!("/run/user/{}/systemd", of.uid));
    let mut at_run_time = AT_RUN_TIME.iter().map(|name| runtime.join(name));
    at_run_time.any(|folder| changed_within(&folder, DEEPEST, since, &mut left))
        || is_local(&of.home)
            && OF_USER_MANAGER
                .iter()
                .any(|name| changed_beneath(&of.home, name, since, &mut left))
}

/// [`changed_within`] for `name` in a home. Links are followed inside of the home and to no other file system.
fn changed_beneath(home: &Path, name: &str, since: Timestamp, left: &mut usize) -> bool {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV);
    let opened = open(home, flags, Mode::empty()).and_then(|home| openat2(&home, name, how));
    let Ok(opened) = opened else {
        return false;
    };
    // Through this path it is the file itself, whatever stands in its place by now.
    let path = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    fs::metadata(&path).is_ok_and(|found| {
        changed_at(&found) >= since
            || found.is_dir() && entry_changed_within(&path, DEEPEST, since, left)
    })
}

fn changed_within(path: &Path, deeper: usize, since: Timestamp, left: &mut usize) -> bool {
    changed(path, since)
        || fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
            && entry_changed_within(path, deeper, since, left)
}

fn entry_changed_within(folder: &Path, deeper: usize, since: Timestamp, left: &mut usize) -> bool {
    let Some(deeper) = deeper.checked_sub(1) else {
        return false;
    };
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| {
        let Some(fewer) = left.checked_sub(1) else {
            return true;
        };
        *left = fewer;
        changed_within(&entry.path(), deeper, since, left)
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{earlier, held, this};
    use super::super::held::Kind;
    use super::*;
    use crate::clock::Clock;
    use std::os::unix::fs::symlink;

    const SECOND: Duration = Duration::from_secs(1);

    fn alice(home: &Path) -> Account {
        Account {
            name: "alice".to_owned(),
            uid: 1001,
            home: home.to_owned(),
        }
    }

    #[test]
    fn t15_what_began_since_in_the_manager_of_whom_it_went_on_as_is_an_elevation_s() {
        let mut elevation = held(Kind::Elevation, 1, this());
        elevation.others = vec![alice(Path::new("/home/alice"))];
        let at = |uid| format!("/user.slice/user-{uid}.slice/user@{uid}.service");
        let unit = format!("{}/app.slice/x.service", at(1001));
        let later = Process {
            start_time: this().start_time + 1,
            ..this()
        };
        assert!(elevation.began_elsewhere(later, &unit));
        assert!(elevation.began_elsewhere(later, &format!("{}/init.scope", at(1001))));
        assert!(!elevation.began_elsewhere(earlier(this()), &unit));
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
        let now = Clock::start(None).wall();
        let (before, after) = (now - SECOND, now + SECOND);
        let of = Account {
            uid: u32::MAX,
            ..alice(home.path())
        };
        assert!(!has_new_units(&of, before), "there is none yet");
        for folder in [".config/systemd/user", ".config/systemd/user.control"] {
            let folder = home.path().join(folder);
            fs::create_dir_all(folder.join("default.target.wants")).unwrap();
            assert!(has_new_units(&of, before) && !has_new_units(&of, after));
            fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn t15_a_link_to_units_is_followed_in_its_home_and_no_further() {
        let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let before = Clock::start(None).wall() - SECOND;
        fs::create_dir_all(home.path().join("dotfiles")).unwrap();
        symlink("dotfiles", home.path().join("inside")).unwrap();
        symlink(elsewhere.path(), home.path().join("outside")).unwrap();
        let news = |name| changed_beneath(home.path(), name, before, &mut 9);
        assert!(news("inside") && !news("outside") && !news("none"));
    }

    #[test]
    fn t15_more_units_than_are_looked_at_are_news() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..5 {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        let after = Clock::start(None).wall() + SECOND;
        assert!(!changed_within(folder.path(), DEEPEST, after, &mut 5));
        assert!(changed_within(folder.path(), DEEPEST, after, &mut 4));
    }
}
