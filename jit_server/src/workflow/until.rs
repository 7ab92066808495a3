//! The end of a user's time: from then on he is nobody here, and nothing that is granted to him goes past it.

use jiff::Timestamp;
use jit_grant::Principal;

use super::command::Desk;
use super::{Grant, State, WorkflowError};
use crate::clock::seconds_after;
use crate::event::{Actor, UserSet};
use crate::until::Until;

impl State {
    /// Checks that the time of the user `name` is not over at `now`. Of somebody who is no user there is nothing to check.
    ///
    /// # Errors
    /// [`WorkflowError::UserEnded`]
    pub fn check_time_of(&self, name: &Principal, now: Timestamp) -> Result<(), WorkflowError> {
        let user = self.directory.user(name);
        match user.and_then(|user| user.until) {
            Some(since) if now >= since => Err(WorkflowError::UserEnded {
                principal: name.clone(),
                since,
            }),
            _ => Ok(()),
        }
    }

    /// True where `user` may have a part in what is decided at `now`: he is not locked, and his time is not over.
    #[must_use]
    pub fn may_act(&self, user: &UserSet, now: Timestamp) -> bool {
        self.lock(&user.name).is_none() && !user.has_ended(now)
    }

    /// The live grants that would outlive the time of `user`, were he so.
    pub(super) fn outliving<'a>(
        &'a self,
        user: &'a UserSet,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Grant> {
        self.live_grants(now)
            .filter(|grant| grant.principal == user.name && !user.covers_until(grant.expires))
    }
}

impl Desk<'_> {
    /// Whoever wants something is a user still.
    pub(super) fn check_not_ended(&self) -> Result<(), WorkflowError> {
        match self.actor {
            Actor::Principal(name) => self.state.check_time_of(name, self.now),
            Actor::Administrator | Actor::Server => Ok(()),
        }
    }

    /// Whoever asks is a user now, and when it is to begin.
    pub(super) fn check_within_time(&self, start: Option<Timestamp>) -> Result<(), WorkflowError> {
        self.check_not_ended()?;
        match (self.actor, start) {
            (Actor::Principal(name), Some(start)) => self.check_start_of(name, start),
            _ => Ok(()),
        }
    }

    /// `name` is a user at `start` still.
    pub(super) fn check_start_of(
        &self,
        name: &Principal,
        start: Timestamp,
    ) -> Result<(), WorkflowError> {
        match self.end_of(name) {
            Some(until) if start >= until => Err(WorkflowError::StartPastEnd {
                principal: name.clone(),
                until,
            }),
            _ => Ok(()),
        }
    }

    /// When the time of the user `name` ends, where that is said.
    pub(super) fn end_of(&self, name: &Principal) -> Option<Timestamp> {
        self.state.directory.user(name)?.until
    }

    /// By what the rule is met: until when he is a user, and what that makes of a grant.
    pub(super) fn time_met(
        &self,
        name: &Principal,
        start: Option<Timestamp>,
        for_seconds: u32,
    ) -> String {
        let Some(until) = self.end_of(name) else {
            return format!("nothing says that {name} is a user for a time only");
        };
        let ends = seconds_after(start.unwrap_or(self.now), for_seconds);
        let cut = if ends > until {
            "; a grant would end with that"
        } else {
            ""
        };
        format!("{name} is a user until {}{cut}", Until(until))
    }
}
