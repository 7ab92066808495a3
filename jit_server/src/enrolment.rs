//! Enrolment tokens: who may bring in which hosts, how many, and until when.

use std::collections::BTreeMap;
use std::net::IpAddr;

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
    /// An administrator took it away.
    #[error("enrolment token {0} was revoked")]
    Revoked(TokenId),
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
            Self::Over(token) | Self::Revoked(token) | Self::Used(token) => Some(token),
            Self::OtherName { token, .. } | Self::Taken { token, .. } => Some(token),
        }
    }
}

/// How a token came to its end with uses left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Expired,
    Revoked,
}

/// When and for what a token was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// When.
    pub at: Timestamp,
    /// The host that it let in.
    pub host: HostName,
    /// The address that it came from. None: the socket of the server's machine.
    pub from: Option<IpAddr>,
}

/// An enrolment token and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// As it was made.
    pub made: TokenMade,
    /// When.
    pub at: Timestamp,
    /// Hosts that it has let in.
    pub used: u32,
    /// The last of them.
    pub last_use: Option<Use>,
    refusals: u32,
    end: Option<End>,
}

impl Token {
    /// Hosts that it lets in still at `now`; none where it is over or was revoked.
    #[must_use]
    pub fn uses_left(&self, now: Timestamp) -> u32 {
        if self.end.is_some() || now >= self.made.expires {
            return 0;
        }
        self.made.uses.saturating_sub(self.used)
    }
}

/// The number in an id such as `e17`.
fn number(id: &str) -> u64 {
    id.get(1..)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// All enrolment tokens there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    tokens: BTreeMap<SecretHash, Token>,
    /// The highest number given, or to be given to none.
    last: u64,
}

impl Tokens {
    /// Takes in a new one.
    pub fn made(&mut self, made: TokenMade, at: Timestamp) {
        self.last = self.last.max(number(made.token.as_str()));
        let token = Token {
            made,
            at,
            used: 0,
            last_use: None,
            refusals: 0,
            end: None,
        };
        self.tokens.insert(token.made.secret.clone(), token);
    }

    /// Takes in that one let a host in.
    pub fn used(&mut self, id: &TokenId, by: Use) {
        self.change(id, |token| {
            token.used += 1;
            token.last_use = Some(by);
        });
    }

    /// Takes in that one did not.
    pub fn refused(&mut self, id: &TokenId) {
        self.change(id, |token| token.refusals += 1);
    }

    /// Takes in that one is over.
    pub fn expired(&mut self, id: &TokenId) {
        self.end(id, End::Expired);
    }

    /// Takes in that one was taken away.
    pub fn revoked(&mut self, id: &TokenId) {
        self.end(id, End::Revoked);
    }

    /// The first end stays.
    fn end(&mut self, id: &TokenId, end: End) {
        self.change(id, |token| {
            token.end.get_or_insert(end);
        });
    }

    fn change(&mut self, id: &TokenId, change: impl FnOnce(&mut Token)) {
        self.tokens
            .values_mut()
            .find(|token| token.made.token == *id)
            .map(change);
    }

    /// Takes in that none lets anybody in any more, and that numbers go on above `number`.
    pub fn end_all(&mut self, number: u64) {
        for token in self.tokens.values_mut() {
            token.end.get_or_insert(End::Expired);
        }
        self.last = self.last.max(number);
    }

    /// The number of the token to come.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.last + 1
    }

    /// Those that still let a host in at `now`.
    pub fn open(&self, now: Timestamp) -> impl Iterator<Item = &Token> {
        let tokens = self.tokens.values();
        tokens.filter(move |token| token.uses_left(now) > 0)
    }

    /// Those whose end is not in the record yet.
    pub fn lapsed(&self, now: Timestamp) -> impl Iterator<Item = &TokenId> {
        let lapsed = move |token: &&Token| {
            now >= token.made.expires && token.used < token.made.uses && token.end.is_none()
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

    /// True where `id` is the token of that secret, and it was not revoked: the host that came with it is told the same again.
    #[must_use]
    pub fn is_of(&self, secret: &SecretHash, id: Option<&TokenId>) -> bool {
        let token = self.tokens.get(secret);
        token.is_some_and(|token| Some(&token.made.token) == id && token.end != Some(End::Revoked))
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
        if token.end == Some(End::Revoked) {
            return Err(EnrolmentRefused::Revoked(id()));
        }
        if token.end.is_some() || now >= token.made.expires {
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
        let made = TokenMade {
            token: "e1".parse().unwrap(),
            secret: secret.clone(),
            name: name.map(|name| name.parse().unwrap()),
            labels: BTreeMap::new(),
            lapse_seconds: None,
            uses,
            expires: at(100),
        };
        tokens.made(made, at(0));
        (tokens, secret)
    }

    fn by(host: &str) -> Use {
        Use {
            at: at(1),
            host: host.parse().unwrap(),
            from: None,
        }
    }

    #[test]
    fn a_token_lets_in_as_many_hosts_as_it_says_and_no_more() {
        let (mut tokens, secret) = tokens(None, 2);
        let name = "web-1".parse().unwrap();
        let id = "e1".parse().unwrap();
        for _ in 0..2 {
            assert!(tokens.admit(&secret, &name, false, at(1)).is_ok());
            tokens.used(&id, by("web-1"));
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
    fn a_revoked_token_lets_nobody_in_answers_nobody_again_and_does_not_expire_as_well() {
        let (mut tokens, secret) = tokens(None, 2);
        let (id, name) = ("e1".parse().unwrap(), "web-1".parse().unwrap());
        tokens.used(&id, by("web-1"));
        assert!(tokens.is_of(&secret, Some(&id)));
        assert_eq!(tokens.open(at(1)).next().unwrap().uses_left(at(1)), 1);
        tokens.revoked(&id);
        assert_eq!(tokens.open(at(1)).count(), 0);
        assert!(!tokens.is_of(&secret, Some(&id)));
        for when in [1, 100] {
            assert_eq!(
                tokens.admit(&secret, &name, false, at(when)),
                Err(EnrolmentRefused::Revoked(id.clone()))
            );
        }
        assert_eq!(tokens.lapsed(at(100)).count(), 0);
        tokens.expired(&id);
        assert!(matches!(
            tokens.admit(&secret, &name, false, at(100)),
            Err(EnrolmentRefused::Revoked(_))
        ));
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
