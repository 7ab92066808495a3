//! Users' tokens: who calls over the network, and until when.

mod kept;
mod rotation;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jit_grant::{Principal, SecretHash, UserTokenId};

use crate::event::{Actor, UserSet, UserTokenMade};
use crate::scope::{self, Scope, Scopes};

use kept::Kept;
use rotation::Rotations;

pub use rotation::{LONGEST_OVERLAP, Next, NotRotated, Replaces};

/// Refusals of one token that are kept in the record; further ones are in the log alone.
const MOST_REFUSALS: u32 = 20;
const ONE_DAY: u32 = 24 * 3_600;
/// A person's token lasts so many seconds at most: 90 days.
const LONGEST_OF_PERSON: u32 = 90 * ONE_DAY;
/// A service account's token lasts so many seconds at most: 365 days.
const LONGEST_OF_SERVICE: u32 = 365 * ONE_DAY;
/// Tokens of one user that count at a time at most, without those whose place others have taken.
pub const MOST_OF_USER: usize = 8;

/// How a token came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its time was over.
    Expired,
    /// An administrator took it away.
    Revoked,
    /// Its user was locked.
    Locked,
    /// Its user was removed.
    Removed,
    /// An older copy of the server's database was put back: it may have been taken away since.
    Restored,
    /// Its user became a service account, or a person.
    Turned,
}

/// Why a token makes nobody known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserTokenRefused {
    /// No token of this server has that secret.
    #[error("the token is not one of this server's")]
    Unknown,
    /// It is over, or its user is not there any more.
    #[error("token {} of {} {}", .0.token, .0.user, .1)]
    Ended(Box<UserTokenMade>, &'static str),
    /// The time of its user is over, as the words say; where it begins again, the token counts again.
    #[error("token {} makes nobody known: {}", .0.token, .1)]
    Over(Box<UserTokenMade>, String),
}

/// A token as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedToken {
    /// For so long. Seconds.
    pub for_seconds: u32,
    /// What it is for.
    pub scopes: Scopes,
    /// Its holder may have it renewed for so long from now, each time for its length. None: no longer than it counts. Seconds.
    pub renewable_for_seconds: Option<u32>,
}

/// Why no such token is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotMade {
    /// It would count for too long, or for no time.
    #[error("a token of {user} is for 1 s at least and {days} days at most")]
    Length {
        /// Whose.
        user: Principal,
        /// The most.
        days: u32,
    },
    /// Its holder could have it renewed for too long, or for less than it counts.
    #[error(
        "a token of {user} may be renewed for {days} days at most, and for no less than it counts"
    )]
    Renewable {
        /// Whose.
        user: Principal,
        /// The most.
        days: u32,
    },
    /// More scopes than one token has.
    #[error("a token has {} scopes at most", scope::MOST)]
    TooManyScopes,
    /// A program has to be told what it is for.
    #[error(
        "{0} is a service account, whose tokens say what they are for: --scope read, or --scope ask:ROLE[@HOSTS]"
    )]
    NeedsScope(Principal),
    /// A program never decides.
    #[error("{0} is a service account, which never approves: its tokens have no scope approve")]
    NeverApproves(Principal),
}

impl NotMade {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "token-too-long",
            Self::Renewable { .. } => "renewable-too-long",
            Self::TooManyScopes => "too-many-scopes",
            Self::NeedsScope(_) => "needs-scope",
            Self::NeverApproves(_) => "never-approves",
        }
    }
}

impl WantedToken {
    /// Checks that `user` may have it.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, user: &UserSet) -> Result<(), NotMade> {
        let longest = if user.is_service() {
            LONGEST_OF_SERVICE
        } else {
            LONGEST_OF_PERSON
        };
        if !(1..=longest).contains(&self.for_seconds) {
            return Err(NotMade::Length {
                user: user.name.clone(),
                days: longest / ONE_DAY,
            });
        }
        let renewable = self.renewable_for_seconds;
        if renewable.is_some_and(|seconds| !(self.for_seconds..=longest).contains(&seconds)) {
            return Err(NotMade::Renewable {
                user: user.name.clone(),
                days: longest / ONE_DAY,
            });
        }
        if self.scopes.count() > scope::MOST {
            return Err(NotMade::TooManyScopes);
        }
        if user.is_service() && self.scopes.are_none() {
            return Err(NotMade::NeedsScope(user.name.clone()));
        }
        if user.is_service() && self.scopes.have(&Scope::Approve) {
            return Err(NotMade::NeverApproves(user.name.clone()));
        }
        Ok(())
    }
}

/// A user's token and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// As it was made.
    pub made: UserTokenMade,
    /// When.
    pub at: Timestamp,
    /// How it ended, and when. None: nothing but its time ends it.
    end: Option<(End, Timestamp)>,
    refusals: u32,
    /// For how long it was made, also where it ended sooner. Seconds.
    for_seconds: u32,
    /// As far as its holder may have it renewed, whatever became of it.
    horizon: Timestamp,
    /// The first one of its chain: itself, where it took no other one's place.
    first: UserTokenId,
    /// The one that took its place.
    replaced_by: Option<UserTokenId>,
    /// Somebody has shown it, where it took another one's place.
    seen: bool,
    /// The administrator made it, and not its holder.
    of_administrator: bool,
}

impl Token {
    /// True where it makes its user known at `now`.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> bool {
        self.end.is_none() && now < self.made.expires
    }
}

/// The number in an id such as `u17`.
fn number(id: &str) -> u64 {
    id.get(1..)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// The tokens of users: all that count, and those that ended lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserTokens {
    tokens: Kept,
    /// By the first token of each chain.
    rotations: BTreeMap<UserTokenId, Rotations>,
    /// Of each chain of which some token has no end, by its first token: those that are not known any more.
    forgotten: BTreeMap<UserTokenId, BTreeSet<UserTokenId>>,
    /// The highest number given, or to be given to none.
    last: u64,
}

impl UserTokens {
    /// Takes in a new one that `by` made, where he may have.
    pub fn made(&mut self, made: UserTokenMade, by: &Actor, at: Timestamp) {
        self.last = self.last.max(number(made.token.as_str()));
        self.forget(at);
        let is_new = self.tokens.has_place_for(&made.token, &made.secret);
        if !is_new || !self.may_be_made(&made, by, at) {
            return;
        }
        let first = self.replace(&made, by, at);
        let token = Token {
            for_seconds: made.lasts(at),
            horizon: made.horizon(),
            first,
            made,
            at,
            end: None,
            refusals: 0,
            replaced_by: None,
            seen: false,
            of_administrator: *by == Actor::Administrator,
        };
        self.tokens.insert(token);
    }

    /// Takes in that one was refused.
    pub fn refused(&mut self, id: &UserTokenId) {
        self.tokens.change(id, |token| token.refusals += 1);
    }

    /// Takes in that one is over since `at`. The first end stays.
    pub fn ended(&mut self, id: &UserTokenId, end: End, at: Timestamp) {
        self.tokens.change(id, |token| {
            token.end.get_or_insert((end, at));
        });
    }

    /// Takes in that `user` was locked or removed at `at`: none of his tokens comes back.
    pub fn end_of(&mut self, user: &Principal, end: End, at: Timestamp) {
        let his = self.of(user, at).map(|token| token.made.token.clone());
        for id in his.collect::<Vec<_>>() {
            self.ended(&id, end, at);
        }
    }

    /// Takes in that an older copy of the database was put back at `at`: none counts any more, and numbers go on above `number`.
    pub fn end_all(&mut self, number: u64, at: Timestamp) {
        let open = self.tokens.without_end();
        let open = open.map(|token| token.made.token.clone());
        for id in open.collect::<Vec<_>>() {
            self.ended(&id, End::Restored, at);
        }
        self.last = self.last.max(number);
    }

    /// The number of the token to come.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.last + 1
    }

    /// The tokens of `user` that count at `now`.
    pub fn of<'a>(
        &'a self,
        user: &'a Principal,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Token> {
        self.tokens.of(user).filter(move |token| token.counts(now))
    }

    /// Those whose end is not in the record yet.
    pub fn lapsed(&self, now: Timestamp) -> impl Iterator<Item = &UserTokenMade> {
        let made = self.tokens.without_end().map(|token| &token.made);
        made.take_while(move |made| now >= made.expires)
    }

    /// Whether a refusal of this token is still to be kept.
    #[must_use]
    pub fn keeps_refusal(&self, id: &UserTokenId) -> bool {
        let token = self.tokens.named(id);
        token.is_some_and(|token| token.refusals < MOST_REFUSALS)
    }

    /// The token of that secret, where it counts at `now`. It is looked up by the hash of what was shown, so how long that takes tells
    /// nothing of any secret.
    ///
    /// # Errors
    /// Why it does not.
    pub fn admit(&self, secret: &SecretHash, now: Timestamp) -> Result<&Token, UserTokenRefused> {
        let token = self
            .tokens
            .of_secret(secret)
            .ok_or(UserTokenRefused::Unknown)?;
        let why = match token.end.map(|(end, _)| end) {
            Some(End::Revoked) => "was revoked",
            Some(End::Locked) => "ended when that user was locked",
            Some(End::Removed) => "ended when that user was removed",
            Some(End::Restored) => "ended when an older copy of the server's database was put back",
            Some(End::Turned) => "ended when that user became a service account, or a person again",
            Some(End::Expired) | None
                if token.replaced_by.is_some() && now >= token.made.expires =>
            {
                "is over, since another one has taken its place"
            }
            Some(End::Expired) => "is over",
            None if now >= token.made.expires => "is over",
            None => return Ok(token),
        };
        Err(UserTokenRefused::Ended(Box::new(token.made.clone()), why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn hash(digit: &str) -> SecretHash {
        digit.repeat(64).parse().unwrap()
    }

    fn made(id: &str, user: &str, digit: &str) -> UserTokenMade {
        UserTokenMade {
            token: id.parse().unwrap(),
            user: user.parse().unwrap(),
            secret: hash(digit),
            expires: at(100),
            scopes: Scopes::default(),
            for_seconds: None,
            renewable_until: None,
            replaces: None,
        }
    }

    fn tokens() -> UserTokens {
        let mut tokens = UserTokens::default();
        tokens.made(made("u1", "alice", "a"), &Actor::Administrator, at(0));
        tokens.made(made("u2", "bob", "b"), &Actor::Administrator, at(0));
        tokens
    }

    #[test]
    fn a_token_is_its_users_until_its_time_and_its_end_is_recorded_once() {
        let mut tokens = tokens();
        let user = tokens
            .admit(&hash("a"), at(99))
            .unwrap()
            .made
            .user
            .to_string();
        assert_eq!(user, "alice");
        assert!(tokens.admit(&hash("a"), at(100)).is_err());
        let unknown = tokens.admit(&hash("c"), at(1));
        assert_eq!(unknown, Err(UserTokenRefused::Unknown));
        assert_eq!(tokens.lapsed(at(99)).count(), 0);
        assert_eq!(tokens.lapsed(at(100)).count(), 2);
        tokens.ended(&"u1".parse().unwrap(), End::Expired, at(100));
        assert_eq!(tokens.lapsed(at(100)).count(), 1);
    }

    #[test]
    fn a_revoked_token_counts_no_more_and_others_do() {
        let mut tokens = tokens();
        tokens.ended(&"u1".parse().unwrap(), End::Revoked, at(0));
        let refused = tokens.admit(&hash("a"), at(1)).unwrap_err().to_string();
        assert_eq!(refused, "token u1 of alice was revoked");
        assert!(tokens.admit(&hash("b"), at(1)).is_ok());
        assert_eq!(tokens.lapsed(at(200)).count(), 1, "revoked is not expired");
    }

    #[test]
    fn a_lock_ends_all_tokens_of_that_user_and_a_later_one_counts() {
        let mut tokens = tokens();
        let alice = "alice".parse().unwrap();
        tokens.end_of(&alice, End::Locked, at(10));
        assert!(tokens.admit(&hash("a"), at(11)).is_err());
        assert!(tokens.admit(&hash("b"), at(11)).is_ok());
        tokens.made(made("u3", "alice", "c"), &Actor::Administrator, at(12));
        assert!(tokens.admit(&hash("c"), at(13)).is_ok());
        assert_eq!(tokens.of(&alice, at(13)).count(), 1);
    }

    #[test]
    fn a_token_of_an_older_record_is_for_everything_its_user_may_do() {
        let old = format!(
            r#"{{"token":"u1","user":"alice","secret":"{}","expires":"2026-11-22T12:00:00Z"}}"#,
            "a".repeat(64)
        );
        let made: UserTokenMade = serde_json::from_str(&old).unwrap();
        assert!(made.scopes.are_none());
        assert_eq!(serde_json::to_string(&made).unwrap(), old);
    }

    #[test]
    fn no_later_event_makes_a_token_somebody_elses() {
        let mut tokens = tokens();
        tokens.made(made("u3", "mallory", "a"), &Actor::Administrator, at(1));
        tokens.made(made("u1", "mallory", "c"), &Actor::Administrator, at(1));
        assert!(tokens.admit(&hash("c"), at(2)).is_err());
        let user = &tokens.admit(&hash("a"), at(2)).unwrap().made.user;
        assert_eq!(user.as_str(), "alice");
    }

    #[test]
    fn refusals_of_one_token_do_not_fill_the_record() {
        let mut tokens = tokens();
        let id = "u1".parse().unwrap();
        for _ in 0..MOST_REFUSALS {
            assert!(tokens.keeps_refusal(&id));
            tokens.refused(&id);
        }
        assert!(!tokens.keeps_refusal(&id));
    }
}
