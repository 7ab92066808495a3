//! Locking somebody out of everything, and letting him ask again. What a lock ends is ended by the event itself, see
//! [`State::apply`](super::State::apply): whoever is locked has nothing.

use jit_grant::Principal;

use super::WorkflowError;
use super::command::Desk;
use crate::event::{Actor, Event};
use crate::text::Reason;

impl Desk<'_> {
    /// Nothing happens where he is locked already.
    pub(super) fn lock(
        &self,
        principal: Principal,
        reason: Reason,
    ) -> Result<Vec<Event>, WorkflowError> {
        if self.is_locked(&principal)? {
            return Ok(Vec::new());
        }
        Ok(vec![Event::Locked { principal, reason }])
    }

    /// Nothing happens where he is not locked.
    pub(super) fn unlock(&self, principal: Principal) -> Result<Vec<Event>, WorkflowError> {
        if !self.is_locked(&principal)? {
            return Ok(Vec::new());
        }
        Ok(vec![Event::Unlocked { principal }])
    }

    /// Whoever is locked can do nothing here, not even give up a lock of his own.
    pub(super) fn check_not_locked(&self) -> Result<(), WorkflowError> {
        let Actor::Principal(name) = self.actor else {
            return Ok(());
        };
        match self.state.lock(name) {
            None => Ok(()),
            Some(lock) => Err(WorkflowError::Locked {
                principal: name.clone(),
                at: lock.at,
                reason: lock.reason.clone(),
            }),
        }
    }

    fn is_locked(&self, principal: &Principal) -> Result<bool, WorkflowError> {
        if *self.actor != Actor::Administrator && !self.policy.may_lock.entrust(self.user()?) {
            return Err(WorkflowError::MayNotLock);
        }
        let locked = self.state.lock(principal).is_some();
        // The lock of a user who was removed stays until somebody ends it.
        if !locked && self.state.directory.user(principal).is_none() {
            return Err(WorkflowError::UnknownUser(principal.clone()));
        }
        Ok(locked)
    }
}
