//! What a record may not have a service account do, and what becomes of a user who turns into one.

use super::State;
use crate::event::{Entry, Event, UserSet};

impl State {
    /// True where a service account would decide by it. What takes access away stands, whoever did it.
    pub(super) fn is_decided_by_service(&self, entry: &Entry) -> bool {
        if matches!(entry.event, Event::Revoked { .. } | Event::Locked { .. }) {
            return false;
        }
        let by = entry.event.decided_by(&entry.actor);
        let by = by.and_then(|name| self.directory.user(name));
        by.is_some_and(UserSet::is_service)
    }

    /// True where `user` is known and becomes a service account by this, or a person.
    #[must_use]
    pub fn turns(&self, user: &UserSet) -> bool {
        let before = self.directory.user(&user.name);
        before.is_some_and(|before| before.is_service() != user.is_service())
    }
}
