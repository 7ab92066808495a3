//! What left the scopes of a login or an elevation and still carries the login's audit session: found by /proc/PID/sessionid, which
//! pam_loginuid sets for each login, every descendant inherits, and neither sudo nor a move to another cgroup changes (T12). What
//! began in another user's manager (T15), whose audit session is that manager's, is found here and ended in `elsewhere.rs`.
//!
//! The id alone says whose login it was, not whose end has come: at an elevation's end the login and its other elevations go on. So
//! whatever sits in a scope that is held is spared, since that ends with whatever it is held by, and what is on its way into one.

use std::collections::HashSet;
use std::fs;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde::Serialize;
use tokio::sync::oneshot;

use super::cgroup::{self, ScopePath};
use super::end::SIGNALS;
use super::held::{Held, Kind, Whose};
use super::process::{self, Process, Stat};
use super::types::{Opening, SessionId};
use super::{Inner, Table, manager};
use crate::peer::Peer;

/// The kernel's word for "no audit session": (u32) -1.
const UNSET: u32 = u32::MAX;

/// Killing goes on for so long while new ones are found: a fork bomb is met in each round with fewer members.
const LONGEST: Duration = Duration::from_secs(3);

/// The services of sshd. What listens in there is everybody's door, whoever started it by hand from inside a login.
const LISTENERS: [&str; 2] = ["/system.slice/ssh.service", "/system.slice/sshd.service"];

/// One look through /proc at a time, and one for all that was asked for while the last went on: where many end at once, the looks of
/// some must not keep the processor from the first signals of others.
#[derive(Default)]
pub(super) struct Looks {
    asked: Mutex<Vec<Asked>>,
    turn: tokio::sync::Mutex<()>,
}

struct Asked {
    held: Held,
    /// What its strays are told; none where they are only to be found.
    signals: &'static [Signal],
    found: oneshot::Sender<Vec<Process>>,
}

impl Asked {
    fn is_of(&self, audit_session: Option<u32>) -> bool {
        audit_session.is_some() && self.held.audit_session == audit_session
    }

    /// What a login with groups had moved into its user's manager (`systemd-run --user --scope`) has these groups there, too. That
    /// manager ends with them (`shared_groups.rs`), but goes on where this login ends before, or somebody else who shares the account
    /// has such a grant. What the manager itself began has neither groups nor this audit session.
    fn looks_in_its_manager(&self, cgroup: &str) -> bool {
        self.held.has_groups() && in_a_manager(cgroup)
    }

    /// In other users' managers, which are ended as units.
    fn looks_elsewhere(&self) -> bool {
        self.signals.is_empty() && !self.held.others.is_empty()
    }
}

impl Looks {
    fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The audit session of what is being opened. An elevation has its login's, never its caller's: a sudo that a user manager
    /// started carries the manager's (T18).
    pub(super) fn audit_session(table: &Table, kind: Kind, opening: &Opening) -> Option<u32> {
        let parent = || table.held.get(opening.parent.as_ref()?);
        match kind {
            Kind::Elevation => parent()?.audit_session,
            Kind::Login => of_login(table, &opening.peer),
            Kind::Job | Kind::Manager => None,
        }
    }

    /// Whether what leaves the scope of the login that `peer` opens can be found.
    pub(super) fn has_audit_session(&self, peer: &Peer) -> bool {
        of_login(&self.table(), peer).is_some()
    }

    /// Tells what is left of `held` outside of its scopes to go. Says how many were told.
    pub(super) async fn tell_strays(self: Arc<Self>, held: Held) -> usize {
        self.signal_strays(&held, &SIGNALS).await.len()
    }

    /// Kills what is left outside by now, what left the scopes on being told to go too. Returns when a look finds nothing new, and
    /// whether one found anything.
    pub(super) async fn kill_strays(self: &Arc<Self>, held: &Held) -> bool {
        let mut known: HashSet<Process> = HashSet::new();
        let started = self.clock.boot();
        loop {
            let killed = self.signal_strays(held, &[Signal::KILL]).await;
            let before = known.len();
            known.extend(killed);
            if known.len() == before || self.clock.boot() > started + LONGEST {
                break;
            }
        }
        if !known.is_empty() {
            self.note_strays(held, &known);
        }
        !known.is_empty()
    }

    /// What `held` left outside, where it is an elevation: root alone moves a process out of a login, but into its user's manager. So of
    /// a login that counts where it had groups. What began before it was not left by it.
    pub(super) async fn strays_left_by(self: &Arc<Self>, held: &Held) -> Vec<Process> {
        if held.kind != Kind::Elevation && !held.has_groups() {
            return Vec::new();
        }
        let mut strays = self.signal_strays(held, &[]).await;
        strays.retain(|stray| stray.start_time >= held.leader.start_time);
        strays
    }

    /// On a thread of its own: no end waits while /proc is read.
    async fn signal_strays(
        self: &Arc<Self>,
        held: &Held,
        signals: &'static [Signal],
    ) -> Vec<Process> {
        if !held.enforce || (held.audit_session.is_none() && held.others.is_empty()) {
            return Vec::new();
        }
        let (found, strays) = oneshot::channel();
        self.looks.asked().push(Asked {
            held: held.clone(),
            signals,
            found,
        });
        let turn = self.looks.turn.lock().await;
        let asked = mem::take(&mut *self.looks.asked());
        // Where the look that has just ended, or its turn before this, took it along, there is nothing left to do.
        if !asked.is_empty() {
            let inner = Arc::clone(self);
            let _ = tokio::task::spawn_blocking(move || inner.look(asked)).await;
        }
        drop(turn);
        strays.await.unwrap_or_default()
    }

    /// Goes through /proc once for all that asked, and answers them.
    fn look(&self, asked: Vec<Asked>) {
        let mut found: Vec<Vec<Process>> = asked.iter().map(|_| Vec::new()).collect();
        for pid in process::pids() {
            let audit_session = of_process(pid);
            // Of most processes no more than this is read.
            let is_sought = |one: &Asked| one.is_of(audit_session) || one.looks_elsewhere();
            if !asked.iter().any(is_sought) {
                continue;
            }
            // The descriptor first: what is read then is of the one that gets the signals, or nobody does.
            let Some(pidfd) = process::open(pid) else {
                continue;
            };
            let (Some(process), Ok(cgroup)) = (Process::alive(pid), cgroup::of_process(pid)) else {
                continue;
            };
            let audit_session = of_process(pid);
            // What is held by now, not when the look began: whatever was let in since is no stray.
            let spared = self.table().spares(process, &cgroup);
            for (one, found) in asked.iter().zip(&mut found) {
                let spared = spared && !one.looks_in_its_manager(&cgroup);
                let left_a_scope = one.is_of(audit_session) && !spared;
                let elsewhere = one.looks_elsewhere() && one.held.began_elsewhere(process, &cgroup);
                if left_a_scope || elsewhere {
                    let sent = one
                        .signals
                        .iter()
                        .filter(|signal| process::send(&pidfd, **signal));
                    if sent.count() > 0 || one.signals.is_empty() {
                        found.push(process);
                    }
                }
            }
        }
        for (one, found) in asked.into_iter().zip(found) {
            let _ = one.found.send(found);
        }
    }

    fn note_strays(&self, held: &Held, strays: &HashSet<Process>) {
        #[derive(Serialize)]
        struct Note<'a> {
            #[serde(flatten)]
            whose: Whose<'a>,
            processes: usize,
            pids: Vec<i32>,
        }
        let note = Note {
            whose: held.whose(),
            processes: strays.len(),
            pids: strays.iter().map(|stray| stray.pid).take(64).collect(),
        };
        self.note(held, "strays", note);
    }
}

impl Table {
    /// True for what a look must not touch: all that is held, what ends by now too, since its scopes are ended as cgroups.
    fn spares(&self, process: Process, cgroup: &str) -> bool {
        let lives = |held: &Held| held.ending.is_none();
        let opened = |held: &Held| lives(held) && held.leader == process;
        let opening = self.openers.get(&process).and_then(|id| self.held.get(id));
        self.holds(cgroup)
            || in_a_manager(cgroup)
            || opening.is_some_and(lives)
            || self.held.values().any(opened)
            || process.pid == i32::try_from(std::process::id()).unwrap_or_default()
            || is_listener(process, cgroup)
    }

    /// In a scope of something held, or in one that was made for it and is being noted at this moment.
    fn holds(&self, cgroup: &str) -> bool {
        let being_made = || {
            let unit = ScopePath::parse(cgroup)?.unit;
            let id = unit
                .strip_prefix("jit-elevation-")?
                .strip_suffix(".scope")?;
            Some(self.held.contains_key(&id.parse::<SessionId>().ok()?))
        };
        let mut held = self.held.values();
        held.any(|held| held.scope_of(cgroup).is_some()) || being_made() == Some(true)
    }
}

/// What a user manager started ends with that, which is a session of its own; where it is not gated, nothing of it is ended.
fn in_a_manager(cgroup: &str) -> bool {
    manager::unit_around(cgroup).is_some()
}

/// sshd itself, in its service and a child of PID 1. The name can be had by anybody, that cgroup by root alone.
fn is_listener(process: Process, cgroup: &str) -> bool {
    let named = || fs::read_to_string(format!("/proc/{}/comm", process.pid));
    LISTENERS.contains(&cgroup)
        && Stat::of(process.pid).is_ok_and(|stat| stat.parent == 1)
        && named().is_ok_and(|name| name.trim_end() == "sshd")
}

/// Of a login that is being opened, where it has one of its own.
fn of_login(table: &Table, peer: &Peer) -> Option<u32> {
    let own = of_process(peer.pid)?;
    // Where pam_loginuid could not set one, it is that of whoever started sshd.
    let listener = Stat::of(peer.pid).ok()?.parent;
    let mut held = table.held.values();
    let another_s =
        of_process(listener) == Some(own) || held.any(|held| held.audit_session == Some(own));
    (!another_s).then_some(own)
}

/// The audit session of process `pid`. None where it has none, or the kernel keeps none (CONFIG_AUDIT).
fn of_process(pid: i32) -> Option<u32> {
    parse(&fs::read_to_string(format!("/proc/{pid}/sessionid")).ok()?)
}

fn parse(text: &str) -> Option<u32> {
    text.trim_end().parse().ok().filter(|id| *id != UNSET)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{gone, held, id, this, unreadable, waiting};
    use super::super::held::Ending;
    use super::*;
    use jiff::Timestamp;
    use jit_grant::Code;

    fn sparing(held: Vec<Held>) -> Table {
        let held = held.into_iter().map(|held| (held.id.clone(), held));
        Table {
            held: held.collect(),
            ..Table::default()
        }
    }

    #[test]
    fn a_process_without_an_audit_session_is_nobody_s_stray() {
        assert_eq!(parse("4294967295"), None);
        assert_eq!(parse("17\n"), Some(17));
        assert_eq!(parse(""), None);
    }

    #[test]
    fn t12_at_an_elevation_s_end_its_login_and_what_else_lives_are_spared() {
        let (mut child, stray) = waiting("read line");
        let mut login = held(Kind::Login, 1, this());
        login.scopes = vec![gone()];
        let mut ends = held(Kind::Elevation, 2, stray);
        ends.scopes = vec![unreadable()];
        let own = ends.scopes[0].cgroup.path.clone();
        ends.ending = Some(Ending {
            code: Code::EndExpired,
            due: Timestamp::UNIX_EPOCH,
            signalled: None,
        });
        let spared = sparing(vec![login, ends, held(Kind::Elevation, 3, this())]);
        let made = |seed| format!("/user.slice/user-1.slice/jit-elevation-{}.scope", id(seed));
        let managed = "/user.slice/user-1.slice/user@1.service/app.slice/x.scope".to_owned();
        for cgroup in [
            own,
            "/no.slice/such.scope/below".to_owned(),
            made(3),
            managed,
        ] {
            assert!(spared.spares(stray, &cgroup), "{cgroup}");
        }
        for cgroup in ["/", "/system.slice/cron.service", LISTENERS[0], &made(4)] {
            assert!(!spared.spares(stray, cgroup), "{cgroup}");
        }
        assert!(spared.spares(this(), "/"));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn what_a_login_with_groups_moved_into_its_manager_is_a_stray_of_it_and_of_no_other() {
        let manager = "/user.slice/user-1.slice/user@1.service/app.slice/run-r1.scope";
        let asked = |groups: &[&str]| {
            let mut login = held(Kind::Login, 1, this());
            login.query.groups = groups.iter().map(|name| name.parse().unwrap()).collect();
            let (found, _) = oneshot::channel();
            let signals = &SIGNALS;
            Asked {
                held: login,
                signals,
                found,
            }
        };
        assert!(asked(&["adm"]).looks_in_its_manager(manager));
        assert!(!asked(&[]).looks_in_its_manager(manager));
        assert!(!asked(&["adm"]).looks_in_its_manager("/user.slice/user-1.slice/session-1.scope"));
    }
}
