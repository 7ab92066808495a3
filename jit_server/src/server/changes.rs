//! Changes that others confirm: proposed, confirmed, made, and ended otherwise.

use std::sync::Arc;

use jit_grant::{ChangeId, Principal, UserTokenId};

use super::{By, Server, Writer, alarms, user_tokens};
use crate::alarm::Alarm;
use crate::apply::{HisToken, Plan};
use crate::clock::seconds_after;
use crate::error::Error;
use crate::event::{
    Actor, ChangeConfirmed, ChangeDenied, ChangeDone, ChangeProposed, Event, UserTokenMade,
    WantedChange,
};
use crate::once::Digest;
use crate::policy::Policy;
use crate::store::Kept;
use crate::text::{Comment, Reason};
use crate::workflow::{
    MOST_PENDING, PENDING_SECONDS, State, WorkflowError, check_confirm, check_deny, pending_change,
};

/// What a change comes to now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// What becomes different.
    pub plan: Plan,
    /// What whoever confirms it has to have seen.
    pub digest: Digest,
    /// The text of the policy that it wants. None: it wants none.
    pub policy: Option<String>,
}

/// What came of a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// Others have to confirm it, too.
    Waits,
    /// It is made.
    Done,
}

impl Server {
    /// What the change `id` comes to now.
    ///
    /// # Errors
    /// It has ended, or a rule is against it by now.
    pub fn change_now(&self, id: &ChangeId) -> Result<Now, Error> {
        let policy = self.policy();
        self.look(|state| now_of(state, &policy, id, self.now()))
    }

    /// The policy that was in force when the change `id` ended, and the one that it wanted, as the record has them. None: it waits, or wanted
    /// none.
    ///
    /// # Errors
    /// Where the record can't be read.
    pub async fn policies_of_ended(
        &self,
        id: &ChangeId,
    ) -> Result<Option<(String, String)>, Error> {
        let ended = self.look(|state| {
            let change = state.change(id)?;
            Some((change.seq, change.ended.as_ref()?.policy_seq))
        });
        let Some((seq, policy_seq)) = ended else {
            return Ok(None);
        };
        let Some(Event::ChangeProposed(ChangeProposed { wanted, .. })) = self.event(seq).await?
        else {
            return Ok(None);
        };
        let before = match policy_seq {
            Some(seq) => self.event(seq).await?,
            None => None,
        };
        let before = match before {
            Some(Event::PolicyTaken {
                text: Some(text), ..
            }) => text,
            _ => String::new(),
        };
        Ok(wanted.policy.map(|next| (before, next)))
    }

    /// The server's own event with this number.
    async fn event(&self, seq: u64) -> Result<Option<Event>, Error> {
        let kept = self.record(seq.saturating_sub(1), 1).await?;
        Ok(kept.found.into_iter().find_map(|kept| match kept {
            Kept::Own(entry) if entry.seq == seq => Some(entry.event),
            _ => None,
        }))
    }

    /// Proposes a change. Where the same waits already, that is meant.
    pub(super) async fn propose(
        &self,
        writer: &mut Writer,
        wanted: WantedChange,
        summary: Vec<String>,
        reason: Option<Reason>,
    ) -> Result<ChangeId, Error> {
        let now = self.now();
        let (same, pending, next) = self.look(|state| {
            let mut pending = state.pending_changes();
            let same = pending.find(|change| change.wanted.as_deref() == Some(&wanted));
            let same = same.map(|change| change.id.clone());
            (same, state.pending_changes().count(), state.next_change())
        });
        if let Some(same) = same {
            return Ok(same);
        }
        if pending >= MOST_PENDING {
            return Err(WorkflowError::TooManyChanges(pending).into());
        }
        let change = ChangeId::try_from(format!("c{next}"));
        let change = change.map_err(|error| Error::Setup(error.to_string()))?;
        let event = Event::ChangeProposed(ChangeProposed {
            change: change.clone(),
            wanted,
            summary,
            reason,
            lapses_at: seconds_after(now, PENDING_SECONDS),
            policy: self.policy().hash.clone(),
        });
        self.keep(writer, now, Actor::Administrator, vec![event])
            .await?;
        Ok(change)
    }

    /// Confirms the change `id`, of which `by` saw what it comes to; where enough people have by then, it is made in the same step.
    ///
    /// # Errors
    /// A rule against it, or that it could not be kept.
    pub async fn confirm_change(
        self: &Arc<Self>,
        by: By,
        id: ChangeId,
        shown: Digest,
        comment: Option<Comment>,
    ) -> Result<Confirmed, Error> {
        self.uninterrupted(move |server, mut writer| async move {
            server.take_policy(&mut writer).await?;
            let (now, policy) = (server.now(), server.policy());
            let (by, events, is_done) = server.look(|state| {
                let (by, token) = known_by_token(state, by, now)?;
                check_deny(state, &id, &by, now)?;
                let comes_to = now_of(state, &policy, &id, now)?;
                let digest = comes_to.digest;
                let is_done = check_confirm(state, &id, &by, &digest, &shown, now)?;
                let mut events = vec![Event::ChangeConfirmed(ChangeConfirmed {
                    change: id.clone(),
                    by: by.clone(),
                    digest,
                    comment,
                    policy: policy.hash.clone(),
                    token: Some(token),
                })];
                if is_done {
                    events.extend(made(&id, comes_to, None, &policy));
                    alarms::tell(&events);
                }
                Ok::<_, Error>((by, events, is_done))
            })?;
            server
                .keep(&mut writer, now, Actor::Principal(by), events)
                .await?;
            Ok(if is_done {
                Confirmed::Done
            } else {
                Confirmed::Waits
            })
        })
        .await
    }

    /// Says no to the change `id`.
    ///
    /// # Errors
    /// A rule against it, or that it could not be kept.
    pub async fn deny_change(
        self: &Arc<Self>,
        by: By,
        change: ChangeId,
        reason: Reason,
    ) -> Result<(), Error> {
        self.uninterrupted(move |server, mut writer| async move {
            server.take_policy(&mut writer).await?;
            let now = server.now();
            let by = server.look(|state| {
                let (by, _) = known_by_token(state, by, now)?;
                check_deny(state, &change, &by, now)?;
                Ok::<_, Error>(by)
            })?;
            let event = Event::ChangeDenied(ChangeDenied {
                change,
                by: by.clone(),
                reason,
            });
            let kept = server.keep(&mut writer, now, Actor::Principal(by), vec![event]);
            kept.await.map(drop)
        })
        .await
    }

    /// Takes the change `id` back, for root.
    ///
    /// # Errors
    /// It has ended, or that could not be kept.
    pub async fn withdraw_change(self: &Arc<Self>, change: ChangeId) -> Result<(), Error> {
        self.uninterrupted(move |server, mut writer| async move {
            let now = server.now();
            server.look(|state| pending_change(state, &change, now).map(drop))?;
            let event = Event::ChangeWithdrawn { change };
            let kept = server.keep(&mut writer, now, Actor::Administrator, vec![event]);
            kept.await.map(drop)
        })
        .await
    }

    /// Makes the change `id` without those who confirm it, for root, and tells everybody in the same step.
    ///
    /// # Errors
    /// A rule against it, or that it could not be kept.
    pub async fn change_alone(self: &Arc<Self>, id: ChangeId, reason: Reason) -> Result<(), Error> {
        self.uninterrupted(move |server, mut writer| async move {
            server.take_policy(&mut writer).await?;
            let (now, policy) = (server.now(), server.policy());
            let comes_to = server.look(|state| now_of(state, &policy, &id, now))?;
            let alarm = Event::Alarm {
                host: None,
                alarm: Alarm::ChangedAlone {
                    change: id.clone(),
                    reason: reason.clone(),
                },
                left_out: 0,
            };
            let made = made(&id, comes_to, Some(reason), &policy);
            let events: Vec<Event> = [alarm].into_iter().chain(made).collect();
            alarms::tell(&events);
            let kept = server.keep(&mut writer, now, Actor::Administrator, events);
            kept.await.map(drop)
        })
        .await
    }
}

/// What root does not do unseen: whoever has a token of somebody who confirms root's changes confirms them in that name.
pub(super) fn alarm_of_token(
    state: &State,
    made: &UserTokenMade,
    actor: &Actor,
    now: jiff::Timestamp,
) -> Option<Event> {
    // Whom a policy names that can't be read here, another server knows.
    let may_confirm = state.may_confirm(&made.user, now) || state.policy_is_unreadable();
    let confirms = *actor == Actor::Administrator && made.scopes.are_none() && may_confirm;
    confirms.then(|| alarm((made.user.clone(), made.token.clone())))
}

/// What everybody is told of tokens whose holders could not confirm anything when root made them, and can from now on.
pub(super) fn alarms_of(tokens: Vec<HisToken>) -> impl Iterator<Item = Event> {
    tokens.into_iter().map(alarm)
}

fn alarm((user, token): HisToken) -> Event {
    Event::Alarm {
        host: None,
        alarm: Alarm::ConfirmersToken { token, user },
        left_out: 0,
    }
}

fn now_of(
    state: &State,
    policy: &Policy,
    id: &ChangeId,
    now: jiff::Timestamp,
) -> Result<Now, Error> {
    let change = pending_change(state, id, now)?;
    let wanted = change.wanted.as_deref();
    let wanted = wanted.ok_or_else(|| WorkflowError::NoChange(id.clone()))?;
    let plan = wanted.plan(state, policy, now)?;
    Ok(Now {
        digest: plan.digest(id, policy),
        plan,
        policy: wanted.policy.clone(),
    })
}

/// Who wants something, and the token that he is known by, which counts still.
fn known_by_token(
    state: &State,
    by: By,
    now: jiff::Timestamp,
) -> Result<(Principal, UserTokenId), Error> {
    match by {
        By {
            actor: Actor::Principal(name),
            token: Some(token),
        } => {
            user_tokens::admit(state, &token.secret, now)?;
            Ok((name, token.token))
        }
        _ => Err(WorkflowError::ConfirmNeedsToken.into()),
    }
}

/// The events that make a change: first that it is made, then what it comes to, and what everybody is told of that.
fn made(
    id: &ChangeId,
    comes_to: Now,
    alone: Option<Reason>,
    before: &Policy,
) -> impl Iterator<Item = Event> {
    let Now { plan, digest, .. } = comes_to;
    let done = Event::ChangeDone(ChangeDone {
        change: id.clone(),
        digest,
        events: plan.events.len() as u64,
        alone,
        policy: before.hash.clone(),
    });
    let events = plan.events.into_iter().map({
        let id = id.clone();
        move |event| match event {
            Event::PolicyTaken {
                policy,
                roles,
                text,
                change: None,
            } => Event::PolicyTaken {
                policy,
                roles,
                text,
                change: Some(id.clone()),
            },
            event => event,
        }
    });
    let told = alarms_of(plan.tokens);
    [done].into_iter().chain(events).chain(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Entry;
    use crate::policy::hash_of_text;

    #[test]
    fn while_a_policy_cant_be_read_every_token_that_root_makes_for_all_is_told() {
        let at = "2026-11-28T12:00:00Z".parse().unwrap();
        let made = UserTokenMade {
            token: "u1".parse().unwrap(),
            user: "alice".parse().unwrap(),
            secret: "a".repeat(64).parse().unwrap(),
            expires: seconds_after(at, 60),
            scopes: crate::scope::Scopes::default(),
            for_seconds: None,
            renewable_until: None,
            replaces: None,
        };
        let need = "changes_need = { users = [\"bob\", \"carol\"] }\n";
        for (more, is_told) in [("", false), ("from_another_version = true\n", true)] {
            let text = format!("{need}{more}");
            let mut state = State::default();
            state.apply(&Entry {
                seq: 1,
                at,
                actor: Actor::Server,
                event: Event::PolicyTaken {
                    policy: hash_of_text(&text),
                    roles: 0,
                    text: Some(text),
                    change: None,
                },
                via: None,
            });
            let told = alarm_of_token(&state, &made, &Actor::Administrator, at);
            assert_eq!(told.is_some(), is_told, "{more}");
        }
    }
}
