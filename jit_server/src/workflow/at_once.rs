//! Requests that nobody has to approve: the server grants them as it takes them.

use super::WorkflowError;
use super::command::Desk;
use crate::event::{AtOnce, Event, Granted, Requested};
use crate::policy::{Approval, Role};

impl Desk<'_> {
    /// What comes of `asked` at once. Nothing where people decide it.
    pub(super) fn granted_at_once(
        &self,
        asked: &Requested,
        rule: &Role,
    ) -> Result<Vec<Event>, WorkflowError> {
        let at_once = match &rule.approval {
            Approval::Stages(_) => return Ok(Vec::new()),
            Approval::Auto(because) => AtOnce::Auto {
                because: because.clone(),
            },
        };
        let granted = self.grant(asked, rule, asked.for_seconds)?;
        Ok(vec![Event::Granted(Granted {
            at_once: Some(at_once),
            ..granted
        })])
    }
}
