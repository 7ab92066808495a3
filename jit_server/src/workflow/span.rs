//! From when until when a grant is in force.

use jiff::Timestamp;
use jit_grant::RoleName;

use super::command::Desk;
use super::{Grant, WorkflowError};
use crate::clock::seconds_after;
use crate::event::{Granted, Requested};
use crate::policy::Role;

/// The time of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// In force from this instant …
    pub(super) not_before: Timestamp,
    /// … until just before this one.
    pub(super) expires: Timestamp,
    /// Extensions may move `expires` as far as this. None: there are none.
    pub(super) extendable_until: Option<Timestamp>,
}

impl Desk<'_> {
    /// Of what was `asked` and is approved now, for so many seconds; the end of the asker's own time cuts it. Hours are those of this moment, whatever they were when it was asked.
    /// What was to begin earlier than this is for what is left of it: it ends when it would have ended.
    pub(super) fn span(
        &self,
        rule: &Role,
        asked: &Requested,
        for_seconds: u32,
    ) -> Result<Span, WorkflowError> {
        let later = asked.not_before.filter(|start| *start > self.now);
        let start = later.unwrap_or(self.now);
        rule.check_start(&asked.role, later, self.now)?;
        self.check_start_of(&asked.principal, start)?;
        let end = self.end_of(&asked.principal).unwrap_or(Timestamp::MAX);
        let within = |seconds| {
            let limit = seconds_after(start, seconds);
            let until = rule.lasts_until(&asked.role, start, limit, self.now)?;
            self.own_hours_until(&asked.principal, start, until.min(end))
        };
        let longest = rule.extension.map(|_| within(rule.longest_seconds));
        let at_most = longest_until(rule, asked, start);
        Ok(Span {
            not_before: start,
            expires: within(for_seconds)?.min(ends_by(asked).unwrap_or(Timestamp::MAX)),
            extendable_until: longest.transpose()?.map(|until| until.min(at_most)),
        })
    }

    /// Checks that the hours of the grant's role, which end where they do now, let it last until `expires`.
    pub(super) fn check_hours_of_extension(
        &self,
        role: &RoleName,
        rule: &Role,
        grant: &Grant,
        expires: Timestamp,
    ) -> Result<(), WorkflowError> {
        if rule
            .conditions
            .hours
            .as_ref()
            .is_none_or(|hours| hours.overrun)
        {
            return Ok(());
        }
        let within = grant.not_before.max(self.now);
        let until = rule.lasts_until(role, within, expires, self.now)?;
        if until < expires {
            return Err(WorkflowError::PastHours {
                grant: grant.id.clone(),
                until,
            });
        }
        Ok(())
    }
}

/// When what was asked to begin at a certain time ends at the latest. None: it was not.
pub(super) fn ends_by(asked: &Requested) -> Option<Timestamp> {
    let start = asked.not_before?;
    Some(seconds_after(start, asked.for_seconds))
}

/// How far extensions may carry what was `asked` and is in force from `start` on: the longest of its role, from when it was to begin.
pub(super) fn longest_until(rule: &Role, asked: &Requested, start: Timestamp) -> Timestamp {
    seconds_after(asked.not_before.unwrap_or(start), rule.longest_seconds)
}

/// True where the request could have come to these grants: the record may not open more than was asked, nor earlier or elsewhere.
pub(super) fn fits(asked: &Requested, granted: &Granted) -> bool {
    let late_enough = asked
        .not_before
        .is_none_or(|start| granted.not_before >= start);
    let soon_over = ends_by(asked).is_none_or(|end| granted.expires <= end);
    let short = granted.expires <= seconds_after(granted.not_before, asked.for_seconds);
    let there = granted
        .grants
        .iter()
        .all(|one| asked.hosts.contains(&one.host));
    late_enough && soon_over && short && there
}
