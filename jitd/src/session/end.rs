//! The end: SIGTERM and SIGHUP to everything, a grace, then cgroup.kill. Neither the bus nor a disk nor a terminal is waited for until
//! all of it is dead.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::Code;
use rustix::process::Signal;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use super::cgroup::Cgroup;
use super::held::{Ending, Held, Kind, Whose};
use super::pid1::Pid1;
use super::types::SessionId;
use super::{Inner, manager, notice};

/// From cgroup.kill to noting that something is stuck in the kernel.
const DEATH: Duration = Duration::from_secs(3);

/// sshd needs a moment to pass a notice on before it is told to go itself.
const NOTICE_LEAD: Duration = Duration::from_millis(20);

/// SIGCONT last: what is stopped gets the others as soon as it runs.
pub(super) const SIGNALS: [Signal; 3] = [Signal::TERM, Signal::HUP, Signal::CONT];

/// A manager that gets SIGHUP starts all its generators anew before it goes (systemd(1)), a dozen processes for nothing.
const SIGNALS_TO_A_MANAGER: [Signal; 2] = [Signal::TERM, Signal::CONT];

/// So many processes of a scope get their signals before anything else is done: some hundredths of a second.
const AT_ONCE: usize = 256;

/// Why a session ends, and since when it should have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Why {
    pub(super) code: Code,
    pub(super) due: Timestamp,
}

/// Of all that belonged to it, strays too.
#[derive(Clone, Copy)]
struct LastDeath {
    at: Timestamp,
    /// Since the first signal.
    took: Duration,
}

impl Inner {
    /// Begins to end `id` and every elevation that was started from it. What is ending already goes on ending.
    pub(super) fn end(self: Arc<Self>, id: &SessionId, why: Why) {
        let mut table = self.table();
        let family = Self::family(&table, id);
        for member in family {
            let Some(held) = table
                .held
                .get_mut(&member)
                .filter(|held| held.ending.is_none())
            else {
                continue;
            };
            held.ending = Some(Ending {
                code: why.code,
                due: why.due,
                signalled: None,
            });
            let held = held.clone();
            tokio::spawn(Arc::clone(&self).finish(held, why));
        }
    }

    /// Goes on with an end that jitd died in.
    pub(super) fn resume_end(self: Arc<Self>, held: Held) {
        if let Some(Ending { code, due, .. }) = held.ending {
            tokio::spawn(self.finish(held, Why { code, due }));
        }
    }

    async fn finish(self: Arc<Self>, held: Held, why: Why) {
        if held.kind == Kind::Manager {
            // On a thread of its own: the disk is not waited for.
            let login = held.query.login.clone();
            tokio::task::spawn_blocking(move || manager::forget_linger(&login));
        }
        let cgroups: Vec<Cgroup> = held
            .scopes
            .iter()
            .map(|scope| scope.cgroup.clone())
            .collect();
        let signalled = held.ending.and_then(|ending| ending.signalled);
        let resumed = signalled.is_some();
        let begun = match signalled {
            Some(begun) => begun,
            None => self.send_signals(&held, &cgroups, why).await,
        };
        let told = tokio::spawn(Arc::clone(&self).tell_strays(held.clone()));
        let stopping = tokio::spawn(Arc::clone(&self).leave_to_pid1(held.clone()));
        let left = (begun + *self.grace()).saturating_sub(self.clock.boot());
        let killed = timeout(left, self.all_empty(&cgroups)).await.is_err();
        for cgroup in cgroups.iter().filter(|cgroup| cgroup.populated()) {
            if let Err(error) = cgroup.kill() {
                tracing::error!(cgroup = cgroup.path, %error, "cgroup.kill failed; systemd was asked to stop the scope");
            }
        }
        let stuck = timeout(DEATH, self.all_empty(&cgroups)).await.is_err();
        let mut last_death = self.clock.boot();
        if told.await.is_ok_and(|told| told > 0) {
            let left = (begun + *self.grace()).saturating_sub(self.clock.boot());
            sleep(left).await;
        }
        let strays = self.kill_strays(&held).await;
        // Nothing of it is left that could begin more there.
        if self.end_elsewhere(&held, resumed).await || strays {
            last_death = self.clock.boot();
        }
        let late = self.clock.boot().saturating_sub(last_death);
        let last_death = LastDeath {
            at: self.clock.now() - late,
            took: last_death.saturating_sub(begun),
        };
        self.note_ended(&held, why, Some(last_death), killed, stuck);
        let _ = stopping.await;
        self.disarm(&held.id).await;
        // A process that the kernel can't let go of stays listed until it has gone.
        self.all_empty(&cgroups).await;
        self.forget(&held.id);
    }

    /// The beginning of the end. Returns when it was, since boot.
    async fn send_signals(&self, held: &Held, cgroups: &[Cgroup], why: Why) -> Duration {
        if notice::show(cgroups, why.code) {
            sleep(NOTICE_LEAD).await;
        }
        let begun = self.clock.boot();
        let signals: &'static [Signal] = match held.kind {
            Kind::Manager => &SIGNALS_TO_A_MANAGER,
            _ => &SIGNALS,
        };
        let signalled: usize = cgroups
            .iter()
            .map(|cgroup| signal_all(cgroup, signals))
            .sum();
        let first_signal = self.clock.now();
        // Only now: neither may hold up the signals. Neither failing stops the end.
        self.note_ending(held, why, first_signal, signalled);
        self.change(&held.id, |held| {
            if let Some(ending) = &mut held.ending {
                ending.signalled = Some(begun);
            }
        });
        begun
    }

    /// Has systemd stop the scopes too: it goes on with that whatever becomes of jitd, kills after a grace of its own, and keeps
    /// nothing of them. So the timer behind this end has nothing left to do, unless it is to end scopes of others.
    async fn leave_to_pid1(self: Arc<Self>, held: Held) {
        let stopped = async {
            let _turn = self.turns.acquire().await;
            let mut pid1 = Pid1::connect().await?;
            for scope in &held.scopes {
                pid1.stop_run(&scope.invocation).await?;
            }
            match held.also_ends.as_slice() {
                [] => self.disarm_by(&held.id, &mut pid1).await,
                _ => Ok(()),
            }
        };
        if let Err(error) = stopped.await {
            tracing::warn!(id = %held.id, %error, "systemd was not told to stop a scope");
        }
    }

    /// It was over, and gone, when jitd came back.
    pub(super) async fn ended_unseen(
        self: Arc<Self>,
        held: &Held,
        Ending { code, due, .. }: Ending,
    ) {
        self.disarm(&held.id).await;
        self.kill_strays(held).await;
        self.end_elsewhere(held, true).await;
        self.note_ended(held, Why { code, due }, None, false, false);
        self.forget(&held.id);
    }

    /// Returns when nothing is left in any of them.
    pub(super) async fn all_empty(&self, cgroups: &[Cgroup]) {
        for cgroup in cgroups {
            self.watcher.empty(cgroup).await;
        }
    }

    fn note_ending(&self, held: &Held, why: Why, first_signal: Timestamp, signalled: usize) {
        #[derive(Serialize)]
        struct Note<'a> {
            #[serde(flatten)]
            whose: Whose<'a>,
            code: Code,
            due: Timestamp,
            #[serde(skip_serializing_if = "Option::is_none")]
            idle_since: Option<Timestamp>,
            first_signal_late_ms: i64,
            processes: usize,
        }
        let note = Note {
            whose: held.whose(),
            code: why.code,
            due: why.due,
            idle_since: self.idle_since(held, why.code),
            first_signal_late_ms: milliseconds_between(why.due, first_signal),
            processes: signalled,
        };
        self.note(held, "ending", note);
    }

    /// `last_death` where jitd was there to see it.
    fn note_ended(
        &self,
        held: &Held,
        why: Why,
        last_death: Option<LastDeath>,
        killed: bool,
        stuck: bool,
    ) {
        #[derive(Serialize)]
        struct Note<'a> {
            #[serde(flatten)]
            whose: Whose<'a>,
            code: Code,
            due: Timestamp,
            #[serde(skip_serializing_if = "Option::is_none")]
            idle_since: Option<Timestamp>,
            #[serde(skip_serializing_if = "Option::is_none")]
            last_death_late_ms: Option<i64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            took_ms: Option<u128>,
            killed: bool,
            left: Vec<i32>,
        }
        let left = held
            .scopes
            .iter()
            .filter(|_| stuck)
            .flat_map(|scope| scope.cgroup.pids())
            .take(64)
            .collect();
        let note = Note {
            whose: held.whose(),
            code: why.code,
            due: why.due,
            idle_since: self.idle_since(held, why.code),
            last_death_late_ms: last_death.map(|last| milliseconds_between(why.due, last.at)),
            took_ms: last_death.map(|last| last.took.as_millis()),
            killed,
            left,
        };
        self.note(held, "ended", note);
    }

    pub(super) fn note(&self, held: &Held, what: &str, note: impl Serialize) {
        if let Err(error) = self.record.write(&held.kind.event(what), note) {
            tracing::error!(id = %held.id, %error, "an end goes on unrecorded");
        }
    }
}

/// Says how many are told: some at once, and the others, each of them still to be found there, on a thread of its own. Who has thousands
/// of processes must not hold up the ends of others.
fn signal_all(cgroup: &Cgroup, signals: &'static [Signal]) -> usize {
    let mut pids = cgroup.pids();
    let later = pids.split_off(pids.len().min(AT_ONCE));
    let more = later.len();
    if more > 0 {
        let cgroup = cgroup.clone();
        tokio::task::spawn_blocking(move || cgroup.signal(&later, signals));
    }
    cgroup.signal(&pids, signals) + more
}

fn milliseconds_between(earlier: Timestamp, later: Timestamp) -> i64 {
    later.as_millisecond() - earlier.as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{events, gone, held, kinds, live, over, restarted, this};
    use super::*;
    use serde_json::json;

    /// An elevation whose process is this one, and whose scope has gone.
    fn elevation() -> Held {
        let mut held = held(Kind::Elevation, 1, this());
        held.scopes = vec![gone()];
        held
    }

    #[tokio::test]
    async fn the_record_of_an_end_says_whose_it_was_by_which_grant_and_why_in_one_code() {
        let folder = tempfile::tempdir().unwrap();
        let (_sessions, record) = restarted(folder.path(), &[elevation()], over()).await;
        let events = events(&record, 2).await;
        assert_eq!(kinds(&events), ["elevation.ending", "elevation.ended"]);
        for event in events {
            assert_eq!(
                (&event["login"], &event["principal"], &event["grant"]),
                (&json!("ann"), &json!("ann@example"), &json!("g7"))
            );
            assert_eq!(event["code"], "JIT-302");
            assert!(!event.to_string().contains("a long text for a person"));
        }
    }

    /// The grace counts from the first signal, whichever jitd sent it. And it was decided: a grant that came since changes nothing.
    #[tokio::test]
    async fn an_end_that_jitd_died_in_goes_on_from_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut half_ended = elevation();
        half_ended.ending = Some(Ending {
            code: Code::EndWithdrawn,
            due: Timestamp::UNIX_EPOCH,
            signalled: Some(Duration::ZERO),
        });
        let (sessions, record) = restarted(folder.path(), &[half_ended], live()).await;
        let events = events(&record, 1).await;
        assert_eq!(kinds(&events), ["elevation.ended"]);
        assert_eq!(events[0]["code"], "JIT-302");
        while !sessions.list().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}
