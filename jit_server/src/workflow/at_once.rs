//! Requests that nobody has to approve: the server grants them as it takes them.

use super::WorkflowError;
use super::command::Desk;
use crate::alarm::Alarm;
use crate::clock::seconds_after;
use crate::event::{AtOnce, Event, Granted, Requested};
use crate::policy::{Approval, Role};

impl Desk<'_> {
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
