//! Service accounts: users who are programs.

use serde::{Deserialize, Serialize};

use super::{Event, UserSet};
use crate::event::Actor;
use jit_grant::Principal;

/// What a service account has beside what every user has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {}

impl UserSet {
    /// True where it is a program, which asks and never decides.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.service.is_some()
    }
}

impl Event {
    /// Who decides about others by it, where `actor` made it happen: what no service account does.
    #[must_use]
    pub fn decided_by<'a>(&'a self, actor: &'a Actor) -> Option<&'a Principal> {
        match (self, actor) {
            (Self::Approved(approved), _) => Some(&approved.by),
            (Self::Denied(denied), _) => Some(&denied.by),
            (Self::Reviewed(reviewed), _) => Some(&reviewed.by),
            (
                Self::Revoked { .. } | Self::Locked { .. } | Self::Unlocked { .. },
                Actor::Principal(name),
            ) => Some(name),
            _ => None,
        }
    }
}
