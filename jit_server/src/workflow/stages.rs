//! How far a request has come through its role's stages.
//!
//! The stages are those of the policy in force, and each approval that was given is looked at as if it were given under them, in the order
//! in which they came: it counts where the stage that it was given for is the one that is due, and takes it. So whatever a policy says
//! that changes while a request waits holds for all of it, and an approval that was right when it was given and does not fit any more
//! counts no more; whoever gave it may be asked again.

use jiff::{SignedDuration, Timestamp};
use jit_grant::Principal;

use super::{Given, Request, State, WorkflowError};
use crate::event::{Counted, UserSet};
use crate::policy::{PolicyRefusal, Stage};

/// What of a request's approvals counts, and which stage is due.
#[derive(Debug, Clone)]
pub struct Progress<'a> {
    request: &'a Request,
    stages: &'a [Stage],
    counted: Vec<&'a Given>,
    /// Of `stages`, from 0. The last one stays due when enough have approved: a policy that came to ask for fewer makes no grant by itself.
    due: usize,
    /// Since when it is due.
    since: Timestamp,
}

impl<'a> Progress<'a> {
    /// That of `request` through `stages`, at `now`: an approval by somebody whose time is over counts no more.
    #[must_use]
    pub fn of(request: &'a Request, stages: &'a [Stage], state: &'a State, now: Timestamp) -> Self {
        let mut progress = Self {
            request,
            stages,
            counted: Vec::new(),
            due: 0,
            since: request.asked_at,
        };
        for given in &request.approvals {
            let user = state.directory.user(&given.by);
            let user = user.filter(|user| !user.has_ended(now));
            let is_due = given.stage == progress.stage();
            if is_due && user.is_some_and(|user| progress.check(user, given.at).is_ok()) {
                progress.count(given);
            }
        }
        progress
    }

    /// The same with one more approval by `user`.
    ///
    /// # Errors
    /// That the stage which is due does not take it.
    pub fn with(mut self, user: &UserSet, given: &'a Given) -> Result<Self, WorkflowError> {
        self.check(user, given.at)?;
        self.count(given);
        Ok(self)
    }

    /// The number of the stage that is due, from 1.
    #[must_use]
    pub fn stage(&self) -> u32 {
        number(self.due)
    }

    /// True where the stage with this number, from 0, is the one that is due.
    #[must_use]
    pub fn is_due(&self, stage: usize) -> bool {
        stage == self.due
    }

    /// Since when that stage is due.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// True where all stages are done. Without any nothing ever is.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let last = self.stages.len().checked_sub(1);
        last == Some(self.due) && self.is_full(self.due)
    }

    /// The shortest time that one of the approvals which count is for. Seconds.
    #[must_use]
    pub fn shortest(&self) -> Option<u32> {
        self.counted.iter().map(|given| given.for_seconds).min()
    }

    /// The approvals which count, as the record names them.
    #[must_use]
    pub fn counted(&self) -> Vec<Counted> {
        let counted = self.counted.iter().map(|given| Counted {
            by: given.by.clone(),
            stage: given.stage,
        });
        counted.collect()
    }

    /// Who has approved the stage with this number, from 0.
    pub fn approved_by(&self, stage: usize) -> impl Iterator<Item = &'a Principal> {
        let all = self.counted.iter();
        all.filter(move |given| given.stage == number(stage))
            .map(|given| &given.by)
    }

    /// Who could approve the stage with this number, from 0, at `now`, or if it became due then: neither the one who asks, nor anybody
    /// who is locked, whose time is over, or who has approved what keeps him from it.
    pub fn able(
        &self,
        stage: usize,
        state: &'a State,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a UserSet> {
        let users = state.directory.users();
        users.filter(move |user| {
            user.name != self.request.asked.principal
                && state.may_act(user, now)
                && self.may(user, stage, now)
        })
    }

    /// Checks that the stage which is due takes an approval by `user`, who is not the one who asks, at `at`.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, user: &UserSet, at: Timestamp) -> Result<(), WorkflowError> {
        let asked = &self.request.asked;
        if !self.stages.iter().any(|stage| stage.ever_includes(user)) {
            let (principal, role) = (user.name.clone(), asked.role.clone());
            return Err(PolicyRefusal::MayNotApprove { principal, role }.into());
        }
        if self.may(user, self.due, at) {
            return Ok(());
        }
        let request = asked.request.clone();
        if self.counted.iter().any(|given| given.by == user.name) {
            return Err(WorkflowError::AlreadyApproved(request));
        }
        Err(WorkflowError::OtherStage {
            request,
            stage: self.stage(),
            stages: self.stages.len(),
        })
    }

    /// True where `stage` takes an approval by `user` at `at` beside those that count.
    fn may(&self, user: &UserSet, stage: usize, at: Timestamp) -> bool {
        let Some(rule) = self.stages.get(stage) else {
            return false;
        };
        let mut his = self.counted.iter().filter(|given| given.by == user.name);
        let used_up = his.any(|given| given.stage == number(stage) || !rule.same_person_again);
        let waited = if stage == self.due {
            at.duration_since(self.since)
        } else {
            SignedDuration::ZERO
        };
        rule.includes(user, waited) && !used_up
    }

    fn count(&mut self, given: &'a Given) {
        self.counted.push(given);
        if self.is_full(self.due) && self.due + 1 < self.stages.len() {
            self.due += 1;
            self.since = given.at;
        }
    }

    fn is_full(&self, stage: usize) -> bool {
        let count = self.approved_by(stage).count();
        let needed = self.stages.get(stage).map(|stage| stage.count);
        needed.is_some_and(|needed| u32::try_from(count).unwrap_or(u32::MAX) >= needed)
    }
}

/// As people and records number a stage, from 1.
fn number(stage: usize) -> u32 {
    u32::try_from(stage).unwrap_or(u32::MAX).saturating_add(1)
}
