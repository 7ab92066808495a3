//! The end: SIGTERM and SIGHUP to everything, a grace, then cgroup.kill. Neither the bus nor a disk nor a terminal is waited for.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::Code;
use rustix::process::Signal;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout, timeout_at};

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
const SIGNALS: [Signal; 3] = [Signal::TERM, Signal::HUP, Signal::CONT];

/// Why a session ends, and since when it should have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Why {
    pub(super) code: Code,
    pub(super) due: Timestamp,
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
            });
            let held = held.clone();
            tokio::spawn(Arc::clone(&self).finish(held, why));
        }
    }

    /// Goes on with an end that jitd died in.
    pub(super) fn resume_end(self: Arc<Self>, held: Held) {
        if let Some(Ending { code, due }) = held.ending {
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
        if notice::show(&cgroups, why.code) {
            sleep(NOTICE_LEAD).await;
        }
        let grace = *self.grace();
        let began = Instant::now();
        let signalled: usize = cgroups.iter().map(|cgroup| cgroup.signal(&SIGNALS)).sum();
        let first_signal = self.clock.now();
        // Only now: neither may hold up the signals. Neither failing stops the end.
        self.note_ending(&held, why, first_signal, signalled);
        let _ = self.registry.save(&held);

        let killed = timeout_at(began + grace, self.all_empty(&cgroups))
            .await
            .is_err();
        for cgroup in cgroups.iter().filter(|cgroup| cgroup.populated()) {
            if let Err(error) = cgroup.kill() {
                tracing::error!(cgroup = cgroup.path, %error, "cgroup.kill failed; systemd is asked to stop the scope");
            }
        }
        stop_scopes(&held).await;
        let stuck = timeout(DEATH, self.all_empty(&cgroups)).await.is_err();
        self.note_ended(&held, why, began.elapsed(), killed, stuck);
        self.disarm(&held.id).await;
        // A process that the kernel can't let go of stays listed until it has gone.
        self.all_empty(&cgroups).await;
        self.forget(&held.id);
    }

    /// What jitd had begun to end was gone when it came back.
    pub(super) async fn ended_unseen(&self, held: &Held, Ending { code, due }: Ending) {
        self.disarm(&held.id).await;
        self.note_ended(held, Why { code, due }, Duration::ZERO, false, false);
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
            first_signal_late_ms: i64,
            processes: usize,
        }
        let note = Note {
            whose: held.whose(),
            code: why.code,
            due: why.due,
            first_signal_late_ms: milliseconds_between(why.due, first_signal),
            processes: signalled,
        };
        self.note(held, "ending", note);
    }

    fn note_ended(&self, held: &Held, why: Why, took: Duration, killed: bool, stuck: bool) {
        #[derive(Serialize)]
        struct Note<'a> {
            #[serde(flatten)]
            whose: Whose<'a>,
            code: Code,
            due: Timestamp,
            last_death_late_ms: i64,
            took_ms: u128,
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
            last_death_late_ms: milliseconds_between(why.due, self.clock.now()),
            took_ms: took.as_millis(),
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

/// Tells systemd, so that nothing of the scope stays behind there. The processes are dead or dying by now.
async fn stop_scopes(held: &Held) {
    if held.scopes.is_empty() {
        return;
    }
    let stopped = async {
        let mut pid1 = Pid1::connect().await?;
        for scope in &held.scopes {
            let loaded = pid1.unit(&scope.unit).await?;
            if loaded.is_some_and(|loaded| loaded.invocation == scope.invocation) {
                pid1.stop(&scope.unit).await?;
            }
        }
        Ok::<(), super::pid1::Pid1Error>(())
    };
    if let Err(error) = stopped.await {
        tracing::warn!(id = %held.id, %error, "systemd was not told that a scope has ended");
    }
}

fn milliseconds_between(earlier: Timestamp, later: Timestamp) -> i64 {
    later.as_millisecond() - earlier.as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::super::held::Scope;
    use super::super::process::{Process, Stat};
    use super::super::registry::Registry;
    use super::super::{Judge, Live, Opening, Sessions, Standing};
    use super::*;
    use crate::clock::Clock;
    use crate::peer::Peer;
    use crate::record::Record;
    use jit_grant::{Action, Credential, Query};
    use serde_json::{Value, json};
    use std::path::Path;

    struct Over;

    impl Judge for Over {
        fn standing(&self, _: &Query) -> Standing {
            Standing::Over {
                code: Code::NoGrant,
                message: "a long text for a person".to_owned(),
            }
        }
    }

    /// An elevation whose process is this one, and whose scope has gone: there is nothing to kill.
    fn elevation() -> Held {
        let pid = i32::try_from(std::process::id()).unwrap();
        let opening = Opening {
            peer: Peer {
                pid,
                start_time: Stat::of(pid).unwrap().start_time,
                pidfd: None,
                uid: 0,
                real_uid: 1000,
            },
            query: Query {
                login: "ann".parse().unwrap(),
                action: Action::Sudo,
                credential: Credential::Unbound,
                rhost: None,
                tty: None,
                service: "sudo".to_owned(),
                now: Timestamp::UNIX_EPOCH,
            },
            standing: Some(Live {
                grant: "g7".parse().unwrap(),
                principal: "ann@example".parse().unwrap(),
                until: Timestamp::MAX,
            }),
            parent: None,
            enforce: true,
        };
        let id = SessionId::from_bytes([1; 10]);
        let mut held = Held::new(id, Kind::Elevation, &opening, Timestamp::UNIX_EPOCH);
        assert_eq!(held.leader, Process::of(&opening.peer));
        let gone = json!({ "path": "/no.slice/such.scope", "id": 1 });
        held.scopes = vec![Scope {
            unit: "such.scope".to_owned(),
            invocation: String::new(),
            cgroup: serde_json::from_value(gone).unwrap(),
        }];
        held
    }

    async fn ended_at_start(folder: &Path) -> Vec<Value> {
        let clock = Clock::start(None);
        let record =
            Record::open(&folder.join("events"), &folder.join("log"), clock.clone()).unwrap();
        Registry::open(folder).unwrap().save(&elevation()).unwrap();
        tokio::spawn(Arc::clone(&record).keep());
        let mut written = record.synced();
        let _sessions = Sessions::start(
            folder,
            clock,
            Arc::new(Over),
            Arc::clone(&record),
            Duration::ZERO,
        )
        .await
        .unwrap();
        written.wait_for(|last| *last >= 2).await.unwrap();
        let (lines, _) = record.read_after(0, u64::MAX, 1 << 20).unwrap();
        lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].take())
            .collect()
    }

    #[tokio::test]
    async fn the_record_of_an_end_says_whose_it_was_by_which_grant_and_why_in_one_code() {
        let folder = tempfile::tempdir().unwrap();
        let events = ended_at_start(folder.path()).await;
        let kinds: Vec<_> = events.iter().map(|event| &event["kind"]).collect();
        assert_eq!(kinds, ["elevation.ending", "elevation.ended"]);
        for event in events {
            assert_eq!(
                (&event["login"], &event["principal"], &event["grant"]),
                (&json!("ann"), &json!("ann@example"), &json!("g7"))
            );
            assert_eq!(event["code"], "JIT-302");
            assert!(!event.to_string().contains("a long text for a person"));
        }
    }
}
