//! Looking at what was done with a break-glass role, which nobody approved.

use jiff::Timestamp;
use jit_grant::RequestId;

use super::command::Desk;
use super::{State, WorkflowError};
use crate::alarm::Alarm;
use crate::event::{Event, Reviewed};
use crate::text::Comment;

impl Desk<'_> {
    /// Once, by somebody else than whoever used it, and when nothing of it is in force any more: what is reviewed is all of it.
    pub(super) fn review(
        &self,
        id: RequestId,
        comment: Comment,
    ) -> Result<Vec<Event>, WorkflowError> {
        let reviewer = self.user()?;
        let request = self.state.request(&id);
        let request = request.ok_or_else(|| WorkflowError::NoRequest(id.clone()))?;
        let asked = &request.asked;
        if asked.principal == reviewer.name {
            return Err(WorkflowError::OwnReview(id));
        }
        let role = self.policy.roles.get(&asked.role);
        if !role.is_some_and(|role| role.has_reviewer(reviewer)) {
            return Err(WorkflowError::MayNotReview(asked.role.clone()));
        }
        match &request.review {
            None => return Err(WorkflowError::NothingToReview(id)),
            Some(review) if review.done.is_some() => {
                return Err(WorkflowError::ReviewedAlready(id));
            }
            Some(_) => {}
        }
        let live = request.grants.iter().find(|grant| {
            let grant = self.state.grant(grant);
            grant.is_some_and(|grant| grant.is_live(self.now))
        });
        if let Some(grant) = live {
            return Err(WorkflowError::StillInForce(grant.clone()));
        }
        Ok(vec![Event::Reviewed(Reviewed {
            request: id,
            by: reviewer.name.clone(),
            comment,
            policy: self.policy.hash.clone(),
        })])
    }
}

/// Alarms of reviews that are overdue: one of each.
pub(super) fn overdue(state: &State, now: Timestamp) -> impl Iterator<Item = Event> {
    let overdue = state.unreviewed().filter(move |request| {
        let review = request.review.as_ref();
        review.is_some_and(|review| !review.is_overdue && now >= review.by)
    });
    overdue.map(|request| Event::Alarm {
        host: None,
        alarm: Alarm::ReviewOverdue {
            request: request.asked.request.clone(),
            principal: request.asked.principal.clone(),
            role: request.asked.role.clone(),
        },
        left_out: 0,
    })
}
