//! What hosts have to enforce of a grant. One that says not that it does would take the grant for void, so it is not given there.

use std::collections::BTreeSet;

use jit_grant::{HostName, Limits, RoleName};

use super::command::Desk;
use super::{Grant, WorkflowError};
use crate::event::Requested;
use crate::policy::Role;

impl Desk<'_> {
    /// Checks that each of `hosts` says that it enforces the limits of the role, called `name`.
    pub(super) fn check_enforced(
        &self,
        name: &RoleName,
        role: &Role,
        hosts: &BTreeSet<HostName>,
    ) -> Result<(), WorkflowError> {
        let lacking = hosts.iter().find_map(|host| {
            let what = self.lacking(host, &role.limits)?;
            Some((host, what))
        });
        match lacking {
            None => Ok(()),
            Some((host, what)) => Err(WorkflowError::NotEnforced {
                role: name.clone(),
                host: host.clone(),
                what,
            }),
        }
    }

    /// The first of `limits` that `host` does not say that it enforces.
    fn lacking(&self, host: &HostName, limits: &Limits) -> Option<&'static str> {
        let standing = self.state.directory.host(host);
        let standing = standing.and_then(|host| host.standing.as_ref());
        let enforces =
            |what: &str| standing.is_some_and(|standing| standing.enforces.contains(what));
        limits.names().into_iter().find(|what| !enforces(what))
    }

    /// Checks that the role of `grant` has the limits that the grant has: what is extended goes on with those that it was given with. So does
    /// whether the end of an elevation ends its login, where the role has come to say that it does.
    pub(super) fn check_same_limits(
        &self,
        grant: &Grant,
        role: &Role,
    ) -> Result<(), WorkflowError> {
        let lets_logins_go_on = role.end_login_with_elevation && !grant.end_login_with_elevation;
        if grant.limits == role.limits && !lets_logins_go_on {
            return Ok(());
        }
        Err(WorkflowError::LimitsChanged {
            grant: grant.id.clone(),
            role: grant.role.clone(),
        })
    }
}

/// Checks that the role still gives the Unix groups that were asked for, and no others: they are what approvers saw.
///
/// # Errors
/// [`WorkflowError::GroupsChanged`]
pub(super) fn check_same_groups(asked: &Requested, role: &Role) -> Result<(), WorkflowError> {
    if asked.groups == role.limits.groups {
        return Ok(());
    }
    Err(WorkflowError::GroupsChanged {
        request: asked.request.clone(),
        role: asked.role.clone(),
    })
}
