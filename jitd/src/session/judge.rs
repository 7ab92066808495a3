//! Is it over? Asked at every deadline, for every new bundle, and whenever the wall clock was set.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::Code;

use super::deadline::Alarm;
use super::end::Why;
use super::held::Held;
use super::types::{Live, SessionId, Standing};
use super::warn::{self, Warning};
use super::{Inner, Table};

/// How soon a timer that PID 1 did not take is offered again.
const ARM_AGAIN: Duration = Duration::from_secs(1);

/// Whoever brought a bundle waits no longer than this for PID 1's timers to move.
const ARMING_TIME: Duration = Duration::from_secs(2);

/// What judging all sessions came to.
#[derive(Default)]
struct Verdicts {
    over: Vec<(SessionId, Why)>,
    moved: Vec<SessionId>,
    warnings: Vec<Warning>,
    /// In monitor mode: what would have been ended, with what held it open until now.
    spared: Vec<Held>,
}

impl Inner {
    /// Rings at the next deadline, for ever.
    pub(super) async fn keep_deadlines(self: Arc<Self>, alarm: Alarm) {
        loop {
            let set = match self.next_due() {
                Some((boot, wall)) => alarm.set(boot, wall),
                None => alarm.unset(),
            };
            if let Err(error) = set {
                tracing::error!(%error, "the timer for the next deadline could not be set; PID 1's timers stand");
            }
            tokio::select! {
                () = alarm.rings() => self.clone().reconsider_now(),
                () = self.changed.notified() => {}
            }
        }
    }

    pub(super) async fn reconsider(self: Arc<Self>) {
        let moved = self.clone().decide_all().into_iter();
        let arming: Vec<_> = moved
            .map(|id| tokio::spawn(self.clone().arm_or_try_again(id)))
            .collect();
        let all = async {
            for task in arming {
                let _ = task.await;
            }
        };
        // The next bundle may be a revocation. What has not moved by then goes on being tried.
        let _ = tokio::time::timeout(ARMING_TIME, all).await;
    }

    /// [`Inner::reconsider`] without waiting for PID 1.
    pub(super) fn reconsider_now(self: Arc<Self>) {
        for id in self.clone().decide_all() {
            tokio::spawn(self.clone().arm_or_try_again(id));
        }
    }

    /// Judges every session and begins to end what is over. Returns what has another end than PID 1 was told.
    fn decide_all(self: Arc<Self>) -> Vec<SessionId> {
        let verdicts = self.verdicts();
        for (id, why) in verdicts.over {
            Arc::clone(&self).end(&id, why);
        }
        for held in verdicts.spared {
            let _ = self
                .record
                .write(&held.kind.event("would_end"), held.whose());
        }
        if !verdicts.warnings.is_empty() {
            // Away from the daemon's one thread, so that no end waits for it.
            tokio::task::spawn_blocking(|| warn::show(verdicts.warnings));
        }
        self.changed.notify_one();
        verdicts.moved
    }

    fn verdicts(&self) -> Verdicts {
        let now = self.clock.now();
        let boot = self.clock.boot();
        let warn_before = self.warn_before().clone();
        let mut verdicts = Verdicts::default();
        let mut table = self.table();
        for held in table.held.values_mut().filter(|held| held.ending.is_none()) {
            if held.confirm_by.is_some_and(|by| by <= boot) {
                verdicts.over.push((
                    held.id.clone(),
                    Why {
                        code: Code::EndNoSession,
                        due: now,
                    },
                ));
                continue;
            }
            if self.join(held) {
                let _ = self.registry.save(held);
            }
            match (self.standing(held, now), held.enforce) {
                (Ok(live), _) => {
                    let changed = held.live.as_ref() != Some(&live);
                    if changed {
                        held.moves_to(live);
                    }
                    let warning = warn::take(held, &warn_before, now);
                    if changed || warning.is_some() {
                        let _ = self.registry.save(held);
                    }
                    verdicts.warnings.extend(warning);
                    if held.enforce && held.armed != held.to_arm() {
                        verdicts.moved.push(held.id.clone());
                    }
                }
                (Err(why), true) => verdicts.over.push((held.id.clone(), why)),
                (Err(_), false) => {
                    if held.live.is_some() {
                        verdicts.spared.push(held.clone());
                        held.live = None;
                        let _ = self.registry.save(held);
                    }
                }
            }
        }
        verdicts
    }

    /// What holds it open by now, or why it is over.
    pub(super) fn standing(&self, held: &Held, now: Timestamp) -> Result<Live, Why> {
        match self.judge.standing(&held.query) {
            Standing::Live(live) if live.until <= now => Err(Why {
                code: Code::EndExpired,
                due: live.until,
            }),
            Standing::Live(live) => Ok(live),
            Standing::Over { code, .. } => Err(why_over(held.live.as_ref(), code, now)),
        }
    }

    /// A timer that can't be moved now is moved as soon as it can; jitd's own is exact meanwhile.
    pub(super) async fn arm_or_try_again(self: Arc<Self>, id: SessionId) {
        while let Err(error) = self.arm(&id).await {
            tracing::warn!(%id, %error, "the timer in PID 1 behind a session could not be moved yet");
            tokio::time::sleep(ARM_AGAIN).await;
        }
    }

    /// When the alarm has to ring next, on the boot clock and on the wall clock.
    fn next_due(&self) -> Option<(Duration, Timestamp)> {
        let boot = self.clock.boot();
        let warn_before = self.warn_before().clone();
        let table = self.table();
        let (until, confirm) = earliest(&table);
        let warnings = table
            .held
            .values()
            .filter_map(|held| warn::next(held, &warn_before));
        let next = until.into_iter().chain(warnings).min();
        let by_grants = next.map(|next| boot + self.clock.until(next));
        let due = by_grants.into_iter().chain(confirm).min()?;
        Some((due, next.unwrap_or(Timestamp::MAX)))
    }
}

/// The earliest end by grants, and the earliest time since boot by which an elevation must be confirmed.
fn earliest(table: &Table) -> (Option<Timestamp>, Option<Duration>) {
    let waiting = || {
        table
            .held
            .values()
            .filter(|held| held.ending.is_none() && held.enforce)
    };
    let until = waiting()
        .filter_map(|held| Some(held.live.as_ref()?.until))
        .min();
    (until, waiting().filter_map(|held| held.confirm_by).min())
}

/// The code that an end is recorded and shown with, from the judge's and from what held the session until now.
fn why_over(was: Option<&Live>, code: Code, now: Timestamp) -> Why {
    let expired = was.map(|live| live.until).filter(|until| *until <= now);
    let code = match (expired, code) {
        (Some(_), _) | (_, Code::Expired) => Code::EndExpired,
        (None, Code::NoGrant) => Code::EndWithdrawn,
        (None, Code::ActionNotCovered | Code::OtherKey | Code::NeedsKey | Code::DemandsUnknown) => {
            Code::EndNotCovered
        }
        (None, other) => other,
    };
    Why {
        code,
        due: expired.unwrap_or(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn until(n: i64) -> Live {
        Live {
            grant: "g1".parse().unwrap(),
            principal: "ann".parse().unwrap(),
            until: second(n),
        }
    }

    fn why(was: Option<&Live>, code: Code) -> (Code, Timestamp) {
        let why = why_over(was, code, second(100));
        (why.code, why.due)
    }

    #[test]
    fn an_end_whose_time_has_come_is_expiry_and_its_lateness_counts_from_there() {
        assert_eq!(
            why(Some(&until(99)), Code::Expired),
            (Code::EndExpired, second(99))
        );
        assert_eq!(
            why(Some(&until(99)), Code::NoGrant),
            (Code::EndExpired, second(99))
        );
    }

    #[test]
    fn a_grant_that_is_gone_before_its_time_was_withdrawn() {
        assert_eq!(
            why(Some(&until(101)), Code::NoGrant),
            (Code::EndWithdrawn, second(100))
        );
    }

    #[test]
    fn a_grant_that_no_longer_opens_this_is_said_to_be_changed() {
        assert_eq!(
            why(Some(&until(101)), Code::ActionNotCovered),
            (Code::EndNotCovered, second(100))
        );
    }

    #[test]
    fn an_end_for_want_of_word_from_the_server_says_so() {
        assert_eq!(
            why(Some(&until(101)), Code::Stale),
            (Code::Stale, second(100))
        );
    }
}
