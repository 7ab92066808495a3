//! Users as the administrator has them: added, changed, removed. What a removal ends is ended by the event itself, see
//! [`State::apply`](super::State::apply): whoever is removed has nothing, and adding the name again brings nothing back.

use jit_grant::Principal;

use super::command::Desk;
use super::{WorkflowError, size};
use crate::event::{Actor, Event, UserSet};
use crate::text::Reason;

/// Why a grant is revoked that would go on when its user's time is over.
pub(super) const PAST_END: &str = "the user's time ends before this would";

/// Why a grant is revoked whose login its user has no more.
pub(super) const OTHER_LOGIN: &str = "the user has another login now";

impl Desk<'_> {
    /// Nothing happens where the user is so already. What is granted for another login than the one he has there from now on is revoked, and so is
    /// what would outlive his time.
    pub(super) fn set_user(&self, user: UserSet) -> Result<Vec<Event>, WorkflowError> {
        self.check_administrator()?;
        if self.state.directory.user(&user.name) == Some(&user) {
            return Ok(Vec::new());
        }
        size::check_keys(self.state, &user, self.now)?;
        let live = self.state.live_grants(self.now);
        let elsewhere = live.filter(|grant| {
            grant.principal == user.name && self.state.is_for_another_login(grant, &user)
        });
        let mut events: Vec<Event> = elsewhere
            .map(|grant| Event::Revoked {
                grant: grant.id.clone(),
                reason: Reason::ours(OTHER_LOGIN),
            })
            .collect();
        let past_end = self.state.outliving(&user, self.now);
        let past_end = past_end.filter(|grant| !self.state.is_for_another_login(grant, &user));
        events.extend(past_end.map(|grant| Event::Revoked {
            grant: grant.id.clone(),
            reason: Reason::ours(PAST_END),
        }));
        events.push(Event::UserSet(user));
        Ok(events)
    }

    pub(super) fn remove_user(&self, name: Principal) -> Result<Vec<Event>, WorkflowError> {
        self.check_administrator()?;
        if self.state.directory.user(&name).is_none() {
            return Err(WorkflowError::UnknownUser(name));
        }
        let reason = Reason::ours("the user was removed");
        Ok(vec![Event::UserRemoved { name, reason }])
    }

    fn check_administrator(&self) -> Result<(), WorkflowError> {
        if *self.actor == Actor::Administrator {
            Ok(())
        } else {
            Err(WorkflowError::NotAdministrator)
        }
    }
}
