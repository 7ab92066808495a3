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
    /// Undecided requests that are withdrawn, or of somebody whose time is over: nobody can approve those.
    pub requests: Vec<Requested>,
    /// Users' tokens that count no more, or make nobody known since their user's time is over.
    pub tokens: Vec<UserTokenMade>,
}

impl Loss {
    /// What `events`, made by an administrator's change at `now`, end; seen from the state before them.
    #[must_use]
    pub fn of(state: &State, events: &[Event], now: Timestamp) -> Self {
        let mut revoked: BTreeSet<&GrantId> = BTreeSet::new();
        let mut removed: BTreeSet<&Principal> = BTreeSet::new();
        let mut turned: BTreeSet<&Principal> = BTreeSet::new();
        let mut ended: BTreeSet<&Principal> = BTreeSet::new();
        let is_over = |name: &Principal| {
            let user = state.directory.user(name);
            user.is_some_and(|user| user.has_ended(now))
        };
        for event in events {
            if let Event::UserSet(user) = event
                && user.has_ended(now)
                && !is_over(&user.name)
            {
                ended.insert(&user.name);
            }
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
            .filter(|asked| {
                let name = &asked.principal;
                now < asked.lapses_at && (removed.contains(name) || ended.contains(name))
            });
        let tokens = &(&removed | &turned) | &ended;
        let tokens = tokens
            .into_iter()
            .flat_map(|name| state.user_tokens.of(name, now));
        Self {
            grants: grants.cloned().collect(),
            requests: requests.cloned().collect(),
            tokens: tokens.map(|token| token.made.clone()).collect(),
        }
    }
}
