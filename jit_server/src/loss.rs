//! What people lose by a change: told before it is made, and to whoever made it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jit_grant::{GrantId, Principal};

use crate::event::{Event, Requested, UserTokenMade};
use crate::workflow::{Grant, State};

/// What ends before its time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// Grants that are revoked.
    pub grants: Vec<Grant>,
    /// Undecided requests that are withdrawn.
    pub requests: Vec<Requested>,
    /// Users' tokens that count no more.
    pub tokens: Vec<UserTokenMade>,
}

impl Loss {
    /// What `events`, made by an administrator's change at `now`, end; seen from the state before them.
    #[must_use]
    pub fn of(state: &State, events: &[Event], now: Timestamp) -> Self {
        let mut revoked: BTreeSet<&GrantId> = BTreeSet::new();
        let mut removed: BTreeSet<&Principal> = BTreeSet::new();
        let mut turned: BTreeSet<&Principal> = BTreeSet::new();
        for event in events {
            match event {
                Event::Revoked { grant, .. } => _ = revoked.insert(grant),
                Event::UserRemoved { name, .. } => _ = removed.insert(name),
                Event::UserSet(user) if state.turns(user) => _ = turned.insert(&user.name),
                _ => {}
            }
        }
        let grants = state
            .live_grants(now)
            .filter(|grant| revoked.contains(&grant.id) || removed.contains(&grant.principal));
        let requests = state
            .pending()
            .map(|request| &request.asked)
            .filter(|asked| now < asked.lapses_at && removed.contains(&asked.principal));
        let tokens = removed
            .union(&turned)
            .flat_map(|name| state.user_tokens.of(name, now));
        Self {
            grants: grants.cloned().collect(),
            requests: requests.cloned().collect(),
            tokens: tokens.map(|token| token.made.clone()).collect(),
        }
    }
}
