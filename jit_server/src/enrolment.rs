//! Enrolment tokens: who may bring in which hosts, how many, and until when.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jit_grant::{HostName, SecretHash, TokenId};

use crate::event::TokenMade;

/// Refusals of one token that are kept in the record; further ones are in the log alone.
const MOST_REFUSALS: u32 = 20;
/// A token lets in so many hosts at most.
pub const MOST_USES: u32 = 10_000;
/// A token lasts so many seconds at most: 90 days.
pub const LONGEST_SECONDS: u32 = 90 * 24 * 3_600;
/// A host that lapses may be silent for so many seconds at least: it asks for a word every 30 s.
pub const SHORTEST_LAPSE: u32 = 5 * 60;
/// Tokens that count at a time at most.
pub const MOST_TOKENS: usize = 1_000;

/// Why a token lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentRefused {
    /// No token of this server has that secret.
    #[error("the enrolment token is not one of this server's")]
    Unknown,
    /// Its time is over.
    #[error("enrolment token {0} is over")]
    Over(TokenId),
    /// As many hosts as it may have it has let in.
    #[error("enrolment token {0} has let in as many hosts as it may")]
    Used(TokenId),
    /// It enrols another name.
    #[error("enrolment token {token} enrols {name} alone")]
    OtherName {
        /// Which.
        token: TokenId,
        /// The one name.
        name: HostName,
    },
    /// A host has the name, and the token does not say that it may be replaced.
    #[error(
        "there is a host {name} already, and enrolment token {token} is not for that name, so it may not replace it"
    )]
    Taken {
        /// Which.
        token: TokenId,
        /// The name.
        name: HostName,
    },
}

impl EnrolmentRefused {
    /// The token, where it is a known one.
    #[must_use]
    pub fn token(&self) -> Option<&TokenId> {
        match self {
            Self::Unknown => None,
            Self::Over(token) | Self::Used(token) => Some(token),
            Self::OtherName { token, .. } | Self::Taken { token, .. } => Some(token),
        }
    }
}

/// An enrolment token and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// As it was made.
    pub made: TokenMade,
    /// Hosts that it has let in.
    pub used: u32,
    refusals: u32,
    expired: bool,
}

/// All enrolment tokens there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    tokens: BTreeMap<SecretHash, Token>,
}

impl Tokens {
    /// Takes in a new one.
    pub fn made(&mut self, made: TokenMade) {
        let token = Token {
            made,
            used: 0,
            refusals: 0,
            expired: false,
        };
        self.tokens.insert(token.made.secret.clone(), token);
    }

    /// Takes in that one let a host in.
    pub fn used(&mut self, id: &TokenId) {
        self.change(id, |token| token.used += 1);
    }

    /// Takes in that one did not.
    pub fn refused(&mut self, id: &TokenId) {
        self.change(id, |token| token.refusals += 1);
    }

    /// Takes in that one is over.
    pub fn expired(&mut self, id: &TokenId) {
        self.change(id, |token| token.expired = true);
    }

    fn change(&mut self, id: &TokenId, change: impl FnOnce(&mut Token)) {
        self.tokens
            .values_mut()
            .find(|token| token.made.token == *id)
            .map(change);
    }

    /// The number of the token to come.
    #[must_use]
    pub fn next(&self) -> usize {
        self.tokens.len() + 1
    }

    /// Those that still let a host in at `now`.
    pub fn open(&self, now: Timestamp) -> impl Iterator<Item = &Token> {
        let open = move |token: &&Token| now < token.made.expires && token.used < token.made.uses;
        self.tokens.values().filter(open)
    }

    /// Those whose end is not in the record yet.
    pub fn lapsed(&self, now: Timestamp) -> impl Iterator<Item = &TokenId> {
        let lapsed = move |token: &&Token| {
            now >= token.made.expires && token.used < token.made.uses && !token.expired
        };
        self.tokens
            .values()
            .filter(lapsed)
            .map(|token| &token.made.token)
    }

    /// Whether a refusal of this token is still to be kept.
    #[must_use]
    pub fn keeps_refusal(&self, id: &TokenId) -> bool {
        let token = self.tokens.values().find(|token| token.made.token == *id);
        token.is_some_and(|token| token.refusals < MOST_REFUSALS)
    }

    /// True where a token has that secret, whether it lets anybody in or not.
    #[must_use]
    pub fn know(&self, secret: &SecretHash) -> bool {
        self.tokens.contains_key(secret)
    }

    /// True where `id` is the token of that secret.
    #[must_use]
    pub fn is_of(&self, secret: &SecretHash, id: Option<&TokenId>) -> bool {
        let token = self.tokens.get(secret);
        token.is_some_and(|token| Some(&token.made.token) == id)
    }

    /// The token that lets a host of this `name` in at `now`; `taken` says that a host has the name.
    ///
    /// # Errors
    /// The first rule against it.
    pub fn admit(
        &self,
        secret: &SecretHash,
        name: &HostName,
        taken: bool,
        now: Timestamp,
    ) -> Result<&TokenMade, EnrolmentRefused> {
        let token = self.tokens.get(secret).ok_or(EnrolmentRefused::Unknown)?;
        let id = || token.made.token.clone();
        if now >= token.made.expires {
            return Err(EnrolmentRefused::Over(id()));
        }
        if token.used >= token.made.uses {
            return Err(EnrolmentRefused::Used(id()));
        }
        match &token.made.name {
            Some(only) if only != name => Err(EnrolmentRefused::OtherName {
                token: id(),
                name: only.clone(),
            }),
            None if taken => Err(EnrolmentRefused::Taken {
                token: id(),
                name: name.clone(),
            }),
            _ => Ok(&token.made),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn tokens(name: Option<&str>, uses: u32) -> (Tokens, SecretHash) {
        let secret: SecretHash = "a".repeat(64).parse().unwrap();
        let mut tokens = Tokens::default();
        tokens.made(TokenMade {
            token: "e1".parse().unwrap(),
            secret: secret.clone(),
            name: name.map(|name| name.parse().unwrap()),
            labels: BTreeMap::new(),
            lapse_seconds: None,
            uses,
            expires: at(100),
        });
        (tokens, secret)
    }

    #[test]
    fn a_token_lets_in_as_many_hosts_as_it_says_and_no_more() {
        let (mut tokens, secret) = tokens(None, 2);
        let name = "web-1".parse().unwrap();
        let id = "e1".parse().unwrap();
        for _ in 0..2 {
            assert!(tokens.admit(&secret, &name, false, at(1)).is_ok());
            tokens.used(&id);
        }
        assert_eq!(
            tokens.admit(&secret, &name, false, at(1)),
            Err(EnrolmentRefused::Used(id))
        );
        assert_eq!(tokens.open(at(1)).count(), 0);
        assert_eq!(tokens.lapsed(at(200)).count(), 0, "used up is not expired");
    }

    #[test]
    fn a_token_ends_on_time_and_its_end_is_recorded_once() {
        let (mut tokens, secret) = tokens(None, 1);
        let name = "web-1".parse().unwrap();
        assert!(tokens.admit(&secret, &name, false, at(99)).is_ok());
        assert!(matches!(
            tokens.admit(&secret, &name, false, at(100)),
            Err(EnrolmentRefused::Over(_))
        ));
        assert_eq!(tokens.lapsed(at(99)).count(), 0);
        let id = tokens.lapsed(at(100)).next().unwrap().clone();
        tokens.expired(&id);
        assert_eq!(tokens.lapsed(at(100)).count(), 0);
    }

    #[test]
    fn only_a_token_for_that_name_replaces_a_host() {
        let (any, secret) = tokens(None, 1);
        let (named, _) = tokens(Some("web-1"), 1);
        let (web1, web2) = ("web-1".parse().unwrap(), "web-2".parse().unwrap());
        assert!(matches!(
            any.admit(&secret, &web1, true, at(1)),
            Err(EnrolmentRefused::Taken { .. })
        ));
        assert!(named.admit(&secret, &web1, true, at(1)).is_ok());
        assert!(matches!(
            named.admit(&secret, &web2, false, at(1)),
            Err(EnrolmentRefused::OtherName { .. })
        ));
        let other = "b".repeat(64).parse().unwrap();
        assert_eq!(
            any.admit(&other, &web1, false, at(1)),
            Err(EnrolmentRefused::Unknown)
        );
    }

    #[test]
    fn refusals_of_one_token_do_not_fill_the_record() {
        let (mut tokens, _) = tokens(None, 1);
        let id = "e1".parse().unwrap();
        for _ in 0..MOST_REFUSALS {
            assert!(tokens.keeps_refusal(&id));
            tokens.refused(&id);
        }
        assert!(!tokens.keeps_refusal(&id));
    }
}
