//! Is it over? Asked at every deadline, for every new bundle, and whenever the wall clock was set.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::{Code, Query};

use super::deadline::Alarm;
use super::end::Why;
use super::held::Held;
use super::idle::Idle;
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
    /// What another grant holds open from now on.
    carried_on: Vec<Held>,
    /// Logins that may have been left alone for too long.
    to_look_at: Vec<SessionId>,
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

    /// Judges every session and begins to end what is over. Returns what has another end than PID 1 was told, and is not being moved
    /// already: each of them is to be given to [`Inner::arm_or_try_again`].
    pub(super) fn decide_all(self: Arc<Self>) -> Vec<SessionId> {
        let mut verdicts = self.verdicts();
        // What is over itself ends for its own reason, and not for that of a login that is taken along.
        let taken_along = |(_, why): &(SessionId, Why)| why.code == Code::EndWithElevation;
        verdicts.over.sort_by_key(taken_along);
        for (id, why) in verdicts.over {
            Arc::clone(&self).end(&id, why);
        }
        for held in verdicts.carried_on {
            self.note(&held, "carried_on", held.whose());
        }
        for held in verdicts.spared {
            let _ = self
                .record
                .write(&held.kind.event("would_end"), held.whose());
        }
        for id in verdicts.to_look_at {
            tokio::spawn(Arc::clone(&self).look_at(id));
        }
        let warnings = self.of_what_goes_on(verdicts.warnings);
        if !warnings.is_empty() {
            // Away from the daemon's one thread, so that no end waits for it.
            tokio::task::spawn_blocking(|| warn::show(warnings));
        }
        self.changed.notify_one();
        verdicts.moved
    }

    /// Nobody is warned of a later end where another has just taken what he has open with it.
    fn of_what_goes_on(&self, mut warnings: Vec<Warning>) -> Vec<Warning> {
        let table = self.table();
        let goes_on = |id: &SessionId| table.held.get(id).is_some_and(|held| held.ending.is_none());
        warnings.retain(|warning| goes_on(&warning.of));
        warnings
    }

    fn verdicts(&self) -> Verdicts {
        let now = self.clock.now();
        let boot = self.clock.boot();
        let warn_before = self.warn_before().clone();
        let mut verdicts = Verdicts::default();
        let mut table = self.table();
        let Table { held, moving, .. } = &mut *table;
        for held in held.values_mut().filter(|held| held.ending.is_none()) {
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
            let before = held.until();
            let standing = self
                .standing(held, now)
                .and_then(|live| Ok((live, self.elevated_standing(held, now)?)));
            match (standing, held.enforce) {
                (Ok((live, elevated_changed)), _) => {
                    let changed = elevated_changed || held.live.as_ref() != Some(&live);
                    let was = held.live.replace(live);
                    let grant = |live: &Option<Live>| live.as_ref().map(|live| live.grant.clone());
                    if grant(&was) != grant(&held.live) {
                        verdicts.carried_on.push(held.clone());
                    }
                    held.ends_otherwise_than(before);
                    let idling_changed = self.follow_idling(held);
                    if self.is_to_look_at(held) {
                        verdicts.to_look_at.push(held.id.clone());
                    }
                    let warning = warn::take(held, &warn_before, now);
                    if changed || idling_changed || warning.is_some() {
                        let _ = self.registry.save(held);
                    }
                    verdicts.warnings.extend(warning);
                    if held.enforce && held.armed != held.to_arm() && moving.insert(held.id.clone())
                    {
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
        self.standing_of(&held.query, held.live.as_ref(), now)
    }

    /// What says yes to `query` by now, or why nothing does any more; `was` did before.
    pub(super) fn standing_of(
        &self,
        query: &Query,
        was: Option<&Live>,
        now: Timestamp,
    ) -> Result<Live, Why> {
        match self.judge.standing(query) {
            Standing::Live(live) if live.until <= now => Err(Why {
                code: Code::EndExpired,
                due: live.until,
            }),
            Standing::Live(live) => Ok(live),
            Standing::Over { code, .. } => {
                let withdrawn = was.is_some_and(|live| !self.judge.knows(&live.grant));
                Err(why_over(was, withdrawn, code, now))
            }
        }
    }

    /// A timer that can't be moved now is moved as soon as it can; jitd's own is exact meanwhile.
    async fn arm_or_try_again(self: Arc<Self>, id: SessionId) {
        while !self.moved(&id) {
            let armed = {
                // Never closed, so there is always a turn to be had.
                let _turn = self.turns.acquire().await;
                self.arm(&id).await
            };
            if let Err(error) = armed {
                tracing::warn!(%id, %error, "the timer in PID 1 behind a session could not be moved yet");
                tokio::time::sleep(ARM_AGAIN).await;
            }
        }
    }

    /// True where PID 1's timer is what it should be by now; the next change of it is then another's to take up.
    fn moved(&self, id: &SessionId) -> bool {
        let mut table = self.table();
        let to_do = table.held.get(id).is_some_and(|held| {
            let wanted = held.to_arm();
            wanted.is_some() && held.armed != wanted
        });
        if !to_do {
            table.moving.remove(id);
        }
        !to_do
    }

    /// When the alarm has to ring next, on the boot clock and on the wall clock.
    fn next_due(&self) -> Option<(Duration, Timestamp)> {
        let boot = self.clock.boot();
        let warn_before = self.warn_before().clone();
        let table = self.table();
        let (until, boot_times) = earliest(&table);
        let warnings = table
            .held
            .values()
            .filter_map(|held| warn::next(held, &warn_before));
        let next = until.into_iter().chain(warnings).min();
        let by_grants = next.map(|next| boot + self.clock.until(next));
        let due = by_grants.into_iter().chain(boot_times).min()?;
        Some((due, next.unwrap_or(Timestamp::MAX)))
    }
}

/// The earliest instant at which grants say something else, and the earliest time since boot by which an elevation must be confirmed or
/// a login looked at.
fn earliest(table: &Table) -> (Option<Timestamp>, Option<Duration>) {
    let waiting = || {
        table
            .held
            .values()
            .filter(|held| held.ending.is_none() && held.enforce)
    };
    let until = waiting().filter_map(Held::until);
    let idling = waiting().filter_map(|held| held.idling_until);
    let confirm = waiting().filter_map(|held| held.confirm_by);
    let idle = waiting().filter_map(|held| held.idle.as_ref());
    let looks = idle.filter(|idle| !idle.being_looked_at);
    let looks = looks.map(Idle::next_look);
    (until.chain(idling).min(), confirm.chain(looks).min())
}

/// The code that an end is recorded and shown with: what became of the grant that held the session until now. The judge's `code` says
/// why none holds it any more, which is about others where that one was withdrawn.
fn why_over(was: Option<&Live>, withdrawn: bool, code: Code, now: Timestamp) -> Why {
    let expired = was.map(|live| live.until).filter(|until| *until <= now);
    let code = match code {
        _ if expired.is_some() => Code::EndExpired,
        Code::NoGrant => Code::EndWithdrawn,
        Code::Expired
        | Code::NotYetStarted
        | Code::ActionNotCovered
        | Code::OtherKey
        | Code::NeedsKey
        | Code::DemandsUnknown
        | Code::NotFromThere
        | Code::UsedUp
        | Code::GroupNotGiven
            if withdrawn =>
        {
            Code::EndWithdrawn
        }
        Code::Expired => Code::EndExpired,
        Code::NotYetStarted
        | Code::ActionNotCovered
        | Code::OtherKey
        | Code::NeedsKey
        | Code::DemandsUnknown
        | Code::NotFromThere
        | Code::UsedUp
        | Code::GroupNotGiven => Code::EndNotCovered,
        // The grants don't count now, whatever they say.
        other => other,
    };
    Why {
        code,
        due: expired.unwrap_or(now),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, held, id, live, restarted, this, unreadable};
    use super::super::held::Kind;
    use super::*;

    #[tokio::test]
    async fn t17_a_login_that_is_taken_is_not_warned_of_the_end_that_its_own_grant_has() {
        let folder = tempfile::tempdir().unwrap();
        let mut login = held(Kind::Login, 1, this());
        login.scopes = vec![unreadable()];
        let (sessions, _record) = restarted(folder.path(), &[login.clone()], live()).await;
        login.live = Some(until(100));
        let mut warnings = || {
            login.warned = None;
            let minute = [Duration::from_secs(60)];
            Vec::from_iter(warn::take(&mut login, &minute, second(50)))
        };
        assert_eq!(sessions.0.of_what_goes_on(warnings()).len(), 1);
        let why = Why {
            code: Code::EndWithElevation,
            due: second(50),
        };
        Arc::clone(&sessions.0).end(&id(1), why);
        assert!(sessions.0.of_what_goes_on(warnings()).is_empty());
    }

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn until(n: i64) -> Live {
        Live {
            grant: "g1".parse().unwrap(),
            principal: "ann".parse().unwrap(),
            until: second(n),
            ends_login: false,
        }
    }

    fn why(was: Option<&Live>, code: Code) -> (Code, Timestamp) {
        let why = why_over(was, false, code, second(100));
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
    fn a_grant_that_is_gone_was_withdrawn_whatever_others_there_are_say() {
        let withdrawn = |until: Live, code| why_over(Some(&until), true, code, second(100)).code;
        for code in [
            Code::NoGrant,
            Code::Expired,
            Code::NotYetStarted,
            Code::ActionNotCovered,
            Code::OtherKey,
            Code::NeedsKey,
            Code::DemandsUnknown,
            Code::NotFromThere,
            Code::UsedUp,
            Code::GroupNotGiven,
        ] {
            assert_eq!(withdrawn(until(101), code), Code::EndWithdrawn, "{code}");
            assert_eq!(withdrawn(until(99), code), Code::EndExpired, "{code}");
        }
        assert_eq!(withdrawn(until(101), Code::Stale), Code::Stale);
    }

    #[test]
    fn an_end_for_want_of_word_from_the_server_says_so() {
        assert_eq!(
            why(Some(&until(101)), Code::Stale),
            (Code::Stale, second(100))
        );
    }

    #[tokio::test]
    async fn a_timer_that_is_being_moved_is_taken_up_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let before = Held {
            scopes: vec![fixture::unreadable()],
            ..fixture::held(Kind::Login, 1, fixture::this())
        };
        let (sessions, _record) =
            fixture::restarted(folder.path(), &[before], fixture::live()).await;
        let taken_up = (0..3).map(|_| Arc::clone(&sessions.0).decide_all().len());
        assert!(taken_up.sum::<usize>() <= 1);
        assert!(sessions.0.table().moving.contains(&fixture::id(1)));
    }
}
