//! What a policy never gives to a service account, whatever its groups are.

use super::People;
use crate::event::UserSet;

impl People {
    /// True where `user` is among them and may decide about others, or read what is theirs. A service account may not: whoever has its
    /// token would, and nobody would know who that is. It is among those who may ask alone.
    #[must_use]
    pub fn entrust(&self, user: &UserSet) -> bool {
        !user.is_service() && self.include(user)
    }
}
