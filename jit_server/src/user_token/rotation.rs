//! The next token in the place of one that counts: the same user, the same scopes, another secret.
//!
//! The old one counts for a while more, so that nobody who uses it is cut off. Until the new one is first shown, the old one may be rotated
//! once more by whoever made the new one, since the answer may have been lost on its way; then the one that nobody has seen ends. After that
//! the old one makes no other, and whoever tries is on record: he or the one who rotated before him has stolen it. What the administrator has
//! rotated its holder never rotates again: he may be the thief that it was rotated for.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use jit_grant::{Principal, UserTokenId};
use serde::{Deserialize, Serialize};

use super::{End, Token, UserTokens};
use crate::clock::seconds_after;
use crate::event::{Actor, UserTokenMade};

/// Rotations of one chain by its holder's hand within a day at most: the record keeps each for ever.
const MOST_A_DAY: usize = 48;
const ONE_DAY: SignedDuration = SignedDuration::from_hours(24);
/// A token counts for so long at most after another one has taken its place. Seconds.
pub const LONGEST_OVERLAP: u32 = 3_600;

/// The token whose place another one takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaces {
    /// Which.
    pub token: UserTokenId,
    /// From this instant on it counts no more.
    pub until: Timestamp,
}

/// What comes after a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// As the old one, but for its name and secret, which are left as they are there.
    pub made: UserTokenMade,
    /// The one before it in the same place, which nobody has shown: it ends.
    pub unseen: Option<UserTokenId>,
}

/// Why a token is not rotated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRotated {
    /// It is not there, or counts no more.
    #[error("there is no token {0} that counts")]
    Gone(UserTokenId),
    /// Another one has its place already.
    #[error(
        "{token} was rotated already, and {by} has its place; where that was neither you nor root, have root end it and all that came of it: `jit-server user token {user} --revoke {token}`"
    )]
    Already {
        /// Whose.
        user: Principal,
        /// Which.
        token: UserTokenId,
        /// The one in its place.
        by: UserTokenId,
    },
    /// Somebody rotates without end.
    #[error(
        "{0} was rotated {MOST_A_DAY} times within a day, with those before it in its place, which is as often as may be"
    )]
    TooOften(UserTokenId),
    /// The old one would count for too long.
    #[error("the old token may count for {LONGEST_OVERLAP} s more at most")]
    Overlap,
}

/// When the holder of a chain has rotated it, as far as that still bounds him.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rotations(VecDeque<Timestamp>);

impl Rotations {
    fn note(&mut self, at: Timestamp) {
        self.0.push_back(at);
        while self
            .0
            .front()
            .is_some_and(|first| !within_a_day(*first, at))
        {
            self.0.pop_front();
        }
    }

    fn within_a_day(&self, now: Timestamp) -> usize {
        self.0.iter().filter(|at| within_a_day(**at, now)).count()
    }
}

fn within_a_day(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) < ONE_DAY
}

impl UserTokenMade {
    /// As far as its holder may have it renewed.
    #[must_use]
    pub fn horizon(&self) -> Timestamp {
        self.renewable_until
            .map_or(self.expires, |until| until.max(self.expires))
    }

    /// For how long it is, made at `at`. Seconds.
    pub(super) fn lasts(&self, at: Timestamp) -> u32 {
        let until_its_end = || u32::try_from(self.expires.duration_since(at).as_secs());
        self.for_seconds
            .unwrap_or_else(|| until_its_end().unwrap_or(0))
    }
}

impl UserTokens {
    /// What comes after the token `id` when `by` has it rotated at `now`. Root's begins its time anew; what its holder has himself never ends
    /// later than root has said.
    ///
    /// # Errors
    /// Why there is none.
    pub fn after(
        &self,
        id: &UserTokenId,
        by: &Actor,
        now: Timestamp,
        overlap_seconds: u32,
    ) -> Result<Next, NotRotated> {
        if overlap_seconds > LONGEST_OVERLAP {
            return Err(NotRotated::Overlap);
        }
        let old = self.tokens.named(id).filter(|old| old.counts(now));
        let old = old.ok_or_else(|| NotRotated::Gone(id.clone()))?;
        let rotations = self.rotations.get(&old.first);
        let rotations = rotations.map_or(0, |rotations| rotations.within_a_day(now));
        if *by != Actor::Administrator && rotations >= MOST_A_DAY {
            return Err(NotRotated::TooOften(id.clone()));
        }
        let unseen = match self.in_its_place(old) {
            Some(next) if !next.may_be_taken_back(by) => {
                return Err(NotRotated::Already {
                    user: old.made.user.clone(),
                    token: id.clone(),
                    by: next.made.token.clone(),
                });
            }
            next => next.filter(|next| next.counts(now)),
        };
        let expires = seconds_after(now, old.for_seconds);
        let horizon = old.horizon;
        let (expires, horizon) = match by {
            Actor::Administrator => (expires, horizon.max(expires)),
            _ => (expires.min(horizon), horizon),
        };
        Ok(Next {
            unseen: unseen.map(|next| next.made.token.clone()),
            made: UserTokenMade {
                expires,
                renewable_until: (horizon > expires).then_some(horizon),
                for_seconds: Some(old.for_seconds),
                replaces: Some(Replaces {
                    token: id.clone(),
                    until: seconds_after(now, overlap_seconds).min(old.made.expires),
                }),
                ..old.made.clone()
            },
        })
    }

    /// True where `by` could have made it at `at`: root whatever he likes, somebody else nothing but the next of his own tokens, for no more and no longer.
    pub(super) fn may_be_made(&self, made: &UserTokenMade, by: &Actor, at: Timestamp) -> bool {
        let Some(replaces) = &made.replaces else {
            return *by == Actor::Administrator;
        };
        let overlap = at.duration_since(replaces.until).abs();
        let Ok(next) = self.after(
            &replaces.token,
            by,
            at,
            u32::try_from(overlap.as_secs()).unwrap_or(u32::MAX),
        ) else {
            return false;
        };
        let his = *by == Actor::Administrator || *by == Actor::Principal(made.user.clone());
        his && next.unseen.is_none()
            && made.user == next.made.user
            && made.scopes == next.made.scopes
            && made.expires <= next.made.expires
            && made.horizon() <= next.made.horizon()
            && made.lasts(at) <= next.made.lasts(at)
            && replaces.until <= seconds_after(at, LONGEST_OVERLAP)
    }

    /// Takes in that `by` has made `made`: what it replaces ends sooner. Gives the first one of its chain.
    pub(super) fn replace(
        &mut self,
        made: &UserTokenMade,
        by: &Actor,
        at: Timestamp,
    ) -> UserTokenId {
        let next = made.token.clone();
        let Some(Replaces { token, until }) = &made.replaces else {
            return next;
        };
        let old = self.tokens.named(token);
        let first = old.map_or_else(|| next.clone(), |old| old.first.clone());
        self.tokens.change(token, |old| {
            old.made.expires = old.made.expires.min(*until);
            old.replaced_by = Some(next);
        });
        if *by != Actor::Administrator {
            self.rotations.entry(first.clone()).or_default().note(at);
        }
        first
    }

    /// The token `id` of `user` and all that came of it, as far as they count at `now`: also of one that is not known any more, while
    /// something that came of it has no end.
    pub fn line_of<'a>(
        &'a self,
        user: &'a Principal,
        id: &UserTokenId,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Token> {
        let line = std::iter::successors(self.tokens.named(id), |token| self.in_its_place(token));
        let first = self.forgotten.iter().find(|(_, ids)| ids.contains(id));
        // Whatever has no end by now came later than it.
        let after = first.into_iter().flat_map(move |(first, _)| {
            let his = self.of(user, now);
            his.filter(move |token| token.first == *first)
        });
        line.chain(after)
            .filter(move |token| token.made.user == *user && token.counts(now))
    }

    /// True where nothing of the token `id` and what came of it counts at `now`, since it was taken away. That its time was over is none of that.
    #[must_use]
    pub fn was_taken_away(&self, id: &UserTokenId, now: Timestamp) -> bool {
        let line =
            || std::iter::successors(self.tokens.named(id), |token| self.in_its_place(token));
        let is_taken = |token: &Token| !matches!(token.end, None | Some((End::Expired, _)));
        line().any(is_taken) && !line().any(|token| token.counts(now))
    }

    /// True where it counts, or ended lately.
    #[must_use]
    pub fn knows(&self, id: &UserTokenId) -> bool {
        self.tokens.named(id).is_some()
    }

    /// The first token of the chain of rotations that `id` is of; itself where there was no rotation.
    #[must_use]
    pub fn first_of(&self, id: &UserTokenId) -> UserTokenId {
        let token = self.tokens.named(id);
        token.map_or_else(|| id.clone(), |token| token.first.clone())
    }

    /// How many tokens of the chain of `next` will count once `next` is there, but for itself.
    #[must_use]
    pub fn counting_beside(&self, next: &Next, now: Timestamp) -> usize {
        let replaced = next.made.replaces.as_ref();
        let old = replaced.and_then(|replaced| self.tokens.named(&replaced.token));
        let Some(old) = old else {
            return 0;
        };
        let chain = self.of(&old.made.user, now);
        let chain = chain.filter(|token| token.first == old.first);
        chain
            .filter(|token| next.unseen.as_ref() != Some(&token.made.token))
            .count()
    }

    /// How many tokens of `user` count at `now` that no other one has taken the place of.
    #[must_use]
    pub fn places_of(&self, user: &Principal, now: Timestamp) -> usize {
        let his = self.of(user, now);
        his.filter(|token| token.replaced_by.is_none()).count()
    }

    /// Forgets what nothing needs any more.
    pub(super) fn forget(&mut self, now: Timestamp) {
        for token in self.tokens.forget(now) {
            let mut without_end = self.tokens.of(&token.made.user);
            if without_end.any(|other| other.first == token.first) {
                let members = self.forgotten.entry(token.first.clone()).or_default();
                members.insert(token.made.token.clone());
            } else {
                self.forgotten.remove(&token.first);
            }
            let rotations = self.rotations.get(&token.first);
            if rotations.is_some_and(|rotations| rotations.within_a_day(now) == 0) {
                self.rotations.remove(&token.first);
            }
        }
    }

    /// Takes in that somebody has shown it.
    pub fn seen(&mut self, id: &UserTokenId) {
        self.tokens.change(id, |token| token.seen = true);
    }

    fn in_its_place(&self, old: &Token) -> Option<&Token> {
        let next = old.replaced_by.as_ref()?;
        self.tokens.named(next)
    }
}

impl Token {
    /// True where another one may come in the place that it took: nobody is known to have shown it, nothing came of it, and `by` is no less
    /// than whoever made it.
    fn may_be_taken_back(&self, by: &Actor) -> bool {
        let may = *by == Actor::Administrator || !self.of_administrator;
        may && !self.seen && self.replaced_by.is_none()
    }

    /// Its holder may have it renewed until then. None: he has its secret alone, or another one has its place.
    #[must_use]
    pub fn renewable_until(&self) -> Option<Timestamp> {
        let is_longer = self.replaced_by.is_none() && self.horizon > self.made.expires;
        is_longer.then_some(self.horizon)
    }

    /// True where it took another one's place and nobody is known to have shown it.
    #[must_use]
    pub fn is_unseen_successor(&self) -> bool {
        self.made.replaces.is_some() && !self.seen
    }
}

#[cfg(test)]
mod tests;
