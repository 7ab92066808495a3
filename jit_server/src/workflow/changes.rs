//! Whether somebody may confirm a change, or end it.

use jiff::Timestamp;
use jit_grant::{ChangeId, Principal};

use super::{Change, ChangeState, State, WorkflowError};
use crate::event::Event;
use crate::once::Digest;

/// Changes that may wait at a time.
pub(crate) const MOST_PENDING: usize = 16;
/// So long a change waits. Seconds.
pub(crate) const PENDING_SECONDS: u32 = 7 * 24 * 60 * 60;

/// The change `id`, which waits still at `now`.
///
/// # Errors
/// There is none of that name, or it has ended.
pub fn pending_change<'s>(
    state: &'s State,
    id: &ChangeId,
    now: Timestamp,
) -> Result<&'s Change, WorkflowError> {
    let change = state.change(id);
    let change = change.ok_or_else(|| WorkflowError::NoChange(id.clone()))?;
    let stands = match change.state {
        ChangeState::Pending if now >= change.lapses_at => ChangeState::Lapsed,
        stands => stands,
    };
    if stands == ChangeState::Pending {
        return Ok(change);
    }
    Err(WorkflowError::ChangeEnded {
        change: id.clone(),
        state: stands,
    })
}

/// Checks that `by` may confirm the change `id` at `now`, which comes to `digest`, where he saw that it comes to `shown`. True where that
/// is enough.
///
/// # Errors
/// The first rule against it.
pub fn check_confirm(
    state: &State,
    id: &ChangeId,
    by: &Principal,
    digest: &Digest,
    shown: &Digest,
    now: Timestamp,
) -> Result<bool, WorkflowError> {
    let change = check_deny(state, id, by, now)?;
    if digest != shown {
        return Err(WorkflowError::ChangeMoved(id.clone()));
    }
    let mut given = change.confirmed.iter();
    if given.any(|given| given.by == *by && state.counts(given, digest, now)) {
        return Err(WorkflowError::ConfirmedAlready(id.clone()));
    }
    Ok(state.is_confirmed(change, digest, Some(by), now))
}

/// Checks that `by` has a say in the change `id` at `now`, and gives it.
///
/// # Errors
/// The first rule against it.
pub fn check_deny<'s>(
    state: &'s State,
    id: &ChangeId,
    by: &Principal,
    now: Timestamp,
) -> Result<&'s Change, WorkflowError> {
    if let Some(lock) = state.lock(by) {
        return Err(WorkflowError::Locked {
            principal: by.clone(),
            at: lock.at,
            reason: lock.reason.clone(),
        });
    }
    state.check_time_of(by, now)?;
    if !state.may_confirm(by, now) {
        return Err(WorkflowError::MayNotConfirm(by.clone()));
    }
    pending_change(state, id, now)
}

/// The events of time passing.
pub(super) fn lapsed(state: &State, now: Timestamp) -> impl Iterator<Item = Event> {
    let late = state.pending_changes();
    let late = late.filter(move |change| now >= change.lapses_at);
    late.map(|change| Event::ChangeLapsed {
        change: change.id.clone(),
    })
}
