//! Who can confirm changes from then on, and is known by a token already.

use jiff::Timestamp;
use jit_grant::{Principal, UserTokenId};

use crate::event::UserSet;
use crate::policy::Policy;
use crate::workflow::State;

/// A token without scopes that counts, and whose it is.
pub(crate) type HisToken = (Principal, UserTokenId);

/// The tokens of those among `users` who can confirm changes once `policy` is in force, and can't by how things are. Root made each of them,
/// or the first one of its line, and may have kept the secret.
pub(crate) fn newly_able<'u>(
    state: &State,
    policy: &Policy,
    users: impl Iterator<Item = &'u UserSet>,
    now: Timestamp,
) -> Vec<HisToken> {
    let Some(confirmers) = &policy.changes_need else {
        return Vec::new();
    };
    let able = users.filter(|user| confirmers.include(user) && !user.has_ended(now));
    let newly = able.filter(|user| !state.may_confirm(&user.name, now));
    newly
        .flat_map(|user| {
            let his = state.user_tokens.of(&user.name, now);
            let his = his.filter(|token| token.made.scopes.are_none());
            his.map(|token| (user.name.clone(), token.made.token.clone()))
        })
        .collect()
}

/// What is said of them, a line each.
pub(super) fn lines(tokens: &[HisToken]) -> impl Iterator<Item = String> {
    tokens.iter().map(|(name, token)| {
        format!(
            "{name} can confirm changes from then on, and token {token}, which root made or the first of its line, counts already: everybody is told"
        )
    })
}
