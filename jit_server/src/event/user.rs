//! Until when somebody is a user.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jit_grant::{Login, Principal};

use super::UserSet;
use crate::attribute::Attributes;

impl UserSet {
    /// A user with that login and nothing else: no groups, no keys, no end, no attributes.
    #[must_use]
    pub fn new(name: Principal, login: Login) -> Self {
        Self {
            name,
            login,
            groups: BTreeSet::new(),
            keys: BTreeSet::new(),
            until: None,
            attributes: Attributes::default(),
            service: None,
        }
    }

    /// True where the user's time is over at `now`.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// True where something that is the user's until just before `end` does not outlive his time.
    #[must_use]
    pub fn covers_until(&self, end: Timestamp) -> bool {
        self.until.is_none_or(|until| end <= until)
    }
}
