//! Who confirms what an administrator changes: the policy, users, and hosts' labels.

use super::parse::changes::KEY;
use super::{People, Policy};
use crate::event::{Event, UserSet};

/// Confirmations that can be asked for at most.
pub(super) const MOST_CONFIRMATIONS: u32 = 10;

/// Those who may confirm a change, and how many of them have to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmers {
    /// Who.
    pub people: People,
    /// How many, each of them another person; 1 at least.
    pub count: u32,
}

impl Confirmers {
    /// True where `user` is one of them. A service account is not, whatever its groups are.
    #[must_use]
    pub fn include(&self, user: &UserSet) -> bool {
        self.people.entrust(user)
    }
}

impl Policy {
    /// That it comes into force. The record has its text where it holds changes, and from then on always (`on_record`): a server whose file
    /// has something else would go by that as soon as the record had no text any more.
    pub(crate) fn taken(&self, on_record: bool) -> Event {
        let on_record = on_record || self.holds_changes();
        Event::PolicyTaken {
            policy: self.hash.clone(),
            roles: self.roles.len(),
            text: on_record.then(|| self.text.clone()),
            change: None,
        }
    }

    /// True where changes wait until others have confirmed them.
    #[must_use]
    pub fn holds_changes(&self) -> bool {
        self.changes_need.is_some()
    }

    /// What stands for a policy that is in force and that this server can't read: nobody may ask, approve, nor confirm anything. It holds
    /// changes unless its text is TOML that says nothing of them: what root changed under that, the record has without a confirmation.
    pub(crate) fn unreadable(hash: String, text: String) -> Self {
        let holds =
            toml::from_str::<toml::Table>(&text).map_or(true, |table| table.contains_key(KEY));
        Self {
            hash,
            text,
            changes_need: holds.then(|| Confirmers {
                people: People::default(),
                count: 1,
            }),
            ..Self::default()
        }
    }
}
