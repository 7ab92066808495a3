//! Requests that nobody has to approve: the server grants them as it takes them.

use jit_grant::{HostName, RoleName};

use super::WorkflowError;
use super::command::Desk;
use crate::alarm::Alarm;
use crate::clock::seconds_after;
use crate::event::{AtOnce, Event, Granted, Requested, UserSet};
use crate::policy::{Approval, Role};

/// Live grants of one principal, role and host at most before the server gives no other at once. More than one, since whoever breaks the
/// glass has no other way to more time; few, since nobody would stop one who asks without end.
pub(super) const MOST_AT_ONCE: usize = 3;

impl Desk<'_> {
    /// Where nobody has to approve, that `user` does not have the role on one of the hosts several times already.
    pub(super) fn check_not_had_already(
        &self,
        user: &UserSet,
        name: &RoleName,
        role: &Role,
        wanted: impl Fn(&HostName) -> bool,
    ) -> Result<(), WorkflowError> {
        if matches!(role.approval, Approval::Stages(_)) {
            return Ok(());
        }
        let live = self.state.live_grants(self.now);
        let mut same: Vec<_> = live
            .filter(|grant| grant.principal == user.name && grant.role == *name)
            .filter(|grant| wanted(&grant.host))
            .collect();
        same.sort_by(|a, b| (&a.host, b.expires).cmp(&(&b.host, a.expires)));
        let of_one_host = same.chunk_by(|a, b| a.host == b.host);
        match of_one_host
            .filter(|of| of.len() >= MOST_AT_ONCE)
            .flatten()
            .next()
        {
            Some(longest) => Err(WorkflowError::HadAlready {
                grant: longest.id.clone(),
                host: longest.host.clone(),
                until: longest.expires,
            }),
            None => Ok(()),
        }
    }

    /// What comes of `asked` at once. Nothing where people decide it.
    pub(super) fn granted_at_once(
        &self,
        asked: &Requested,
        rule: &Role,
    ) -> Result<Vec<Event>, WorkflowError> {
        let granted = |at_once: AtOnce, granted: Granted| {
            Event::Granted(Granted {
                at_once: Some(at_once),
                ..granted
            })
        };
        let grant = || self.grant(asked, rule, asked.for_seconds);
        Ok(match &rule.approval {
            Approval::Stages(_) => Vec::new(),
            Approval::Auto(because) => {
                let because = because.clone();
                vec![granted(AtOnce::Auto { because }, grant()?)]
            }
            Approval::BreakGlass(review) => {
                let grant = grant()?;
                let review_by = seconds_after(grant.expires, review.within_seconds);
                let alarm = Alarm::GlassBroken {
                    request: asked.request.clone(),
                    principal: asked.principal.clone(),
                    role: asked.role.clone(),
                    hosts: asked.hosts.clone(),
                    reason: asked.reason.clone(),
                };
                vec![
                    granted(AtOnce::BreakGlass { review_by }, grant),
                    Event::Alarm {
                        host: None,
                        alarm,
                        left_out: 0,
                    },
                ]
            }
        })
    }
}
