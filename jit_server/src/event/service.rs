//! Service accounts: users who are programs.

use serde::{Deserialize, Serialize};

use super::{Event, UserSet};
use crate::event::Actor;
use crate::policy::{Hours, Window, WindowDocument};
use jit_grant::Principal;

/// What a service account has beside what every user has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// It asks within these hours alone. None: at any time. As they were written: a record is read also where a zone is not known any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<WindowDocument>,
}

impl Service {
    /// One that asks within these windows alone; at any time where there are none.
    #[must_use]
    pub fn within(windows: &[Window]) -> Self {
        Self {
            hours: windows.iter().map(WindowDocument::from).collect(),
        }
    }

    /// Its hours. None: any time.
    ///
    /// # Errors
    /// That they can't be understood here.
    pub fn hours(&self) -> Result<Option<Hours>, String> {
        Hours::of(&self.hours)
    }
}

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
            (Self::ChangeConfirmed(confirmed), _) => Some(&confirmed.by),
            (Self::ChangeDenied(denied), _) => Some(&denied.by),
            (
                Self::Revoked { .. } | Self::Locked { .. } | Self::Unlocked { .. },
                Actor::Principal(name),
            ) => Some(name),
            _ => None,
        }
    }
}
