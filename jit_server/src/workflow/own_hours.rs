//! The hours of a service account: it asks within them alone, and what it is given ends with them, whatever the role's own say.

use jiff::Timestamp;
use jit_grant::Principal;

use super::command::Desk;
use super::{Grant, WorkflowError};
use crate::event::Service;
use crate::policy::Hours;

impl Desk<'_> {
    /// The hours of `principal`. None: he asks at any time.
    pub(super) fn own_hours(&self, principal: &Principal) -> Result<Option<Hours>, WorkflowError> {
        let user = self.state.directory.user(principal);
        let service = user.and_then(|user| user.service.as_ref());
        let hours = service.map_or(Ok(None), Service::hours);
        // They were right when they were set: a zone may have gone from the tz database since.
        hours.map_err(|why| WorkflowError::OwnHoursUnreadable {
            principal: principal.clone(),
            why,
        })
    }

    /// Checks that `principal` may ask now, for what begins at `not_before`.
    pub(super) fn check_own_hours(
        &self,
        principal: &Principal,
        not_before: Option<Timestamp>,
    ) -> Result<(), WorkflowError> {
        for at in [self.now].into_iter().chain(not_before) {
            self.own_hours_until(principal, at, at)?;
        }
        Ok(())
    }

    /// Until when what `principal` is given from `start` on lasts: `limit`, or the end of his hours.
    pub(super) fn own_hours_until(
        &self,
        principal: &Principal,
        start: Timestamp,
        limit: Timestamp,
    ) -> Result<Timestamp, WorkflowError> {
        let Some(hours) = self.own_hours(principal)? else {
            return Ok(limit);
        };
        let until = hours.open_until(start, limit);
        until
            .map(|until| until.min(limit))
            .ok_or_else(|| WorkflowError::OutsideOwnHours {
                principal: principal.clone(),
                hours: hours.to_string(),
                opens: hours.next_opening(start),
            })
    }

    /// Checks that the hours of whoever has `grant` let it last until `expires`.
    pub(super) fn check_own_hours_of_extension(
        &self,
        grant: &Grant,
        expires: Timestamp,
    ) -> Result<(), WorkflowError> {
        let within = grant.not_before.max(self.now);
        let until = self.own_hours_until(&grant.principal, within, expires)?;
        if until < expires {
            return Err(WorkflowError::PastOwnHours {
                grant: grant.id.clone(),
                until,
            });
        }
        Ok(())
    }
}
