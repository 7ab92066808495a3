//! A grant that lasts longer: at once, or by a request that needs the approvals of its role.

use std::collections::BTreeSet;

use jit_grant::GrantId;

use super::command::Desk;
use super::{Grant, Request, WorkflowError, span};
use crate::clock::seconds_after;
use crate::event::{Event, Extended, Requested, UserSet};
use crate::origin::Origin;
use crate::policy::{Extension, Role, Stated, Wanted};
use crate::text::Reason;

impl<'a> Desk<'a> {
    pub(super) fn extend(
        &self,
        id: &GrantId,
        for_seconds: u32,
        reason: Option<Reason>,
        origin: Origin,
    ) -> Result<Vec<Event>, WorkflowError> {
        let user = self.user()?;
        let grant = self.known(id)?;
        self.check_is(&grant.principal)?;
        self.live(id)?;
        self.check_own_hours(&user.name, None)?;
        let (rule, extension) = self.check_extension(user, grant, for_seconds)?;
        let first = &self.first_request(grant)?.asked;
        let reason = reason.unwrap_or_else(|| first.reason.clone());
        let stated = Stated {
            ticket: first.ticket.as_ref(),
            reason: &reason,
            origin: Some(origin),
        };
        rule.check_stated(&grant.role, &stated)?;
        if extension.without_approval {
            self.check_few_today(user)?;
            return Ok(vec![self.extended(grant, for_seconds, reason, None)]);
        }
        let hosts = BTreeSet::from([grant.host.clone()]);
        self.check_not_asked_already(user, &grant.role, |host| *host == grant.host)?;
        self.check_few_enough(user, rule)?;
        let request = Requested {
            request: self.request_id()?,
            principal: user.name.clone(),
            login: user.login.clone(),
            role: grant.role.clone(),
            logins: self.other_logins(user, &hosts),
            hosts,
            actions: first.actions.clone(),
            for_seconds,
            reason,
            ticket: first.ticket.clone(),
            extends: Some(id.clone()),
            lapses_at: seconds_after(self.now, rule.pending_seconds).min(grant.expires),
            policy: self.policy.hash.clone(),
            not_before: None,
            asked_from: Some(origin),
            groups: grant.limits.groups.clone(),
        };
        Ok(vec![Event::Requested(request)])
    }

    pub(super) fn extension_approved(
        &self,
        request: &Request,
        id: &GrantId,
        for_seconds: u32,
    ) -> Result<Event, WorkflowError> {
        let (grant, asked) = (self.live(id)?, &request.asked);
        let answered = Some(asked.request.clone());
        Ok(self.extended(grant, for_seconds, asked.reason.clone(), answered))
    }

    /// That the policy still gives `user` what the grant opens, and lets it last so much longer. Neither what the role allowed
    /// when the grant was made nor what it allows now is passed.
    pub(super) fn check_extension(
        &self,
        user: &UserSet,
        grant: &Grant,
        for_seconds: u32,
    ) -> Result<(&'a Role, Extension), WorkflowError> {
        if for_seconds == 0 {
            return Err(WorkflowError::NoTime);
        }
        if self.state.is_for_another_login(grant, user) {
            return Err(WorkflowError::LoginChanged(grant.principal.clone()));
        }
        let wanted = Wanted {
            hosts: &BTreeSet::from([grant.host.clone()]),
            directory: &self.state.directory,
            actions: &self.first_request(grant)?.asked.actions,
            for_seconds: 0,
            // The extension's own are judged with it.
            stated: None,
        };
        let rule = self.policy.covers(user, &grant.role, &wanted)?;
        let (Some(extension), Some(limit)) = (rule.extension, grant.extendable_until) else {
            return Err(WorkflowError::NotExtendable {
                grant: grant.id.clone(),
                role: grant.role.clone(),
            });
        };
        self.check_same_limits(grant, rule)?;
        if for_seconds > extension.most_seconds {
            return Err(WorkflowError::ExtensionTooLong {
                most: extension.most_seconds,
                asked: for_seconds,
            });
        }
        let expires = seconds_after(grant.expires, for_seconds);
        if let Some(until) = user.until.filter(|until| expires > *until) {
            return Err(WorkflowError::PastEnd {
                grant: grant.id.clone(),
                until,
            });
        }
        self.check_hours_of_extension(&grant.role, rule, grant, expires)?;
        self.check_own_hours_of_extension(grant, expires)?;
        let asked = &self.first_request(grant)?.asked;
        let limit = limit.min(span::longest_until(rule, asked, grant.not_before));
        if expires > limit {
            let left = limit.duration_since(grant.expires).as_secs().max(0);
            return Err(WorkflowError::PastLimit {
                grant: grant.id.clone(),
                left: u32::try_from(left).unwrap_or(u32::MAX),
            });
        }
        Ok((rule, extension))
    }

    fn extended(
        &self,
        grant: &Grant,
        for_seconds: u32,
        reason: Reason,
        request: Option<jit_grant::RequestId>,
    ) -> Event {
        Event::Extended(Extended {
            grant: grant.id.clone(),
            for_seconds,
            expires: seconds_after(grant.expires, for_seconds),
            reason,
            request,
            policy: self.policy.hash.clone(),
        })
    }

    fn known(&self, id: &GrantId) -> Result<&'a Grant, WorkflowError> {
        let grant = self.state.grant(id);
        grant.ok_or_else(|| WorkflowError::NoGrant(id.clone()))
    }

    /// The grant, where it has not ended.
    pub(super) fn live(&self, id: &GrantId) -> Result<&'a Grant, WorkflowError> {
        let grant = self.known(id)?;
        if grant.is_live(self.now) {
            Ok(grant)
        } else {
            Err(WorkflowError::GrantEnded(id.clone()))
        }
    }

    fn first_request(&self, grant: &Grant) -> Result<&'a Request, WorkflowError> {
        let request = self.state.request(&grant.request);
        request.ok_or_else(|| WorkflowError::NoRequest(grant.request.clone()))
    }
}
