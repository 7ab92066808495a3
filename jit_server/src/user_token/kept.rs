//! The tokens that are known, found without a look at all of them: a record has any number of rotations, and is replayed at each start.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use jit_grant::{Principal, SecretHash, UserTokenId};

use super::Token;

/// A token is known for so long after its end, so that whoever shows it is on record. That it was of a chain which goes on is
/// known for longer: [`UserTokens::line_of`](super::UserTokens::line_of).
pub(super) const KNOWN_AFTER_END: SignedDuration = SignedDuration::from_hours(30 * 24);

/// All that are known, by what is kept of their secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    tokens: BTreeMap<SecretHash, Token>,
    secrets: BTreeMap<UserTokenId, SecretHash>,
    /// Of each user those without an end.
    without_end: BTreeMap<Principal, BTreeSet<UserTokenId>>,
    /// Those without an end, in the order of their times.
    by_expiry: BTreeSet<(Timestamp, UserTokenId)>,
    /// Those with one, in the order of their ends.
    by_end: BTreeSet<(Timestamp, UserTokenId)>,
}

impl Kept {
    /// False where one of that id or of that secret is known: a second one would change whose it is.
    pub(super) fn has_place_for(&self, id: &UserTokenId, secret: &SecretHash) -> bool {
        !self.tokens.contains_key(secret) && !self.secrets.contains_key(id)
    }

    /// Adds one that there is a place for.
    pub(super) fn insert(&mut self, token: Token) {
        let (id, secret) = (token.made.token.clone(), token.made.secret.clone());
        self.enter(&token);
        self.secrets.insert(id, secret.clone());
        self.tokens.insert(secret, token);
    }

    pub(super) fn of_secret(&self, secret: &SecretHash) -> Option<&Token> {
        self.tokens.get(secret)
    }

    pub(super) fn named(&self, id: &UserTokenId) -> Option<&Token> {
        self.tokens.get(self.secrets.get(id)?)
    }

    /// Changes one where it is known.
    pub(super) fn change(&mut self, id: &UserTokenId, change: impl FnOnce(&mut Token)) {
        let found = self
            .secrets
            .get(id)
            .and_then(|secret| self.tokens.remove_entry(secret));
        let Some((secret, mut token)) = found else {
            return;
        };
        self.leave(&token);
        change(&mut token);
        self.enter(&token);
        self.tokens.insert(secret, token);
    }

    /// Those of `user` without an end.
    pub(super) fn of(&self, user: &Principal) -> impl Iterator<Item = &Token> {
        let ids = self.without_end.get(user).into_iter().flatten();
        ids.filter_map(|id| self.named(id))
    }

    /// Those without an end, the one whose time is over first before all others.
    pub(super) fn without_end(&self) -> impl Iterator<Item = &Token> {
        self.by_expiry.iter().filter_map(|(_, id)| self.named(id))
    }

    /// Forgets those that ended long before `now`.
    pub(super) fn forget(&mut self, now: Timestamp) -> Vec<Token> {
        let mut forgotten = Vec::new();
        while let Some((end, id)) = self.by_end.first()
            && now.duration_since(*end) >= KNOWN_AFTER_END
        {
            let id = id.clone();
            self.by_end.pop_first();
            let secret = self.secrets.remove(&id);
            forgotten.extend(secret.and_then(|secret| self.tokens.remove(&secret)));
        }
        forgotten
    }

    /// How many are known.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.tokens.len()
    }

    fn enter(&mut self, token: &Token) {
        let id = token.made.token.clone();
        if let Some((_, end)) = token.end {
            self.by_end.insert((end, id));
            return;
        }
        self.by_expiry.insert((token.made.expires, id.clone()));
        let user = token.made.user.clone();
        self.without_end.entry(user).or_default().insert(id);
    }

    fn leave(&mut self, token: &Token) {
        let id = token.made.token.clone();
        if let Some((_, end)) = token.end {
            self.by_end.remove(&(end, id));
            return;
        }
        if let Some(his) = self.without_end.get_mut(&token.made.user) {
            his.remove(&id);
            if his.is_empty() {
                self.without_end.remove(&token.made.user);
            }
        }
        self.by_expiry.remove(&(token.made.expires, id));
    }
}
