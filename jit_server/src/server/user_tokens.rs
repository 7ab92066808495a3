//! People on other machines.

mod rotation;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jit_grant::{Principal, SecretHash, UserToken, UserTokenId};

use super::changes::alarm_of_token;
use super::{Server, alarms};
use crate::clock::seconds_after;
use crate::error::Error;
use crate::event::{Actor, Event, UserSet, UserTokenMade};
use crate::user_token::{MOST_OF_USER, Token, UserTokenRefused, WantedToken};
use crate::workflow::State;

/// When and from where a token was shown last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// When.
    pub at: Timestamp,
    /// The address at the other end of the connection.
    pub from: IpAddr,
}

/// Who wants something done.
#[derive(Debug, Clone)]
pub struct By {
    /// Who, for the record.
    pub actor: Actor,
    /// The token that he is known by. None: he needs none.
    pub token: Option<UserTokenMade>,
}

impl From<Actor> for By {
    fn from(actor: Actor) -> Self {
        Self { actor, token: None }
    }
}

/// The last use of each token since the server started.
#[derive(Debug, Default)]
pub(super) struct Uses {
    last: Mutex<HashMap<UserTokenId, Use>>,
}

impl Uses {
    fn note(&self, token: &UserTokenId, used: Use) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(token.clone(), used);
    }

    /// Forgets those of tokens that are `known` no more.
    pub(super) fn retain(&self, known: impl Fn(&UserTokenId) -> bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|token, _| known(token));
    }

    fn of(&self, token: &UserTokenId) -> Option<Use> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(token).copied()
    }
}

impl Server {
    /// Makes a token for `user`. It is told this once: only its secret's hash is kept.
    ///
    /// # Errors
    /// No such user, a locked one or one whose time is over, too many tokens, one that he may not have, or that it could not be kept.
    pub async fn make_user_token(
        self: &Arc<Self>,
        user: Principal,
        wanted: WantedToken,
    ) -> Result<(UserTokenMade, UserToken), Error> {
        self.uninterrupted(move |server, mut writer| async move {
            let now = server.now();
            let next = server.look(|state| may_have_another(state, &user, &wanted, now))?;
            let token = UserToken::generate()?;
            let made = UserTokenMade {
                token: UserTokenId::try_from(format!("u{next}"))
                    .map_err(|error| Error::Setup(error.to_string()))?,
                user,
                secret: token.hash(),
                expires: seconds_after(now, wanted.for_seconds),
                scopes: wanted.scopes,
                for_seconds: Some(wanted.for_seconds),
                renewable_until: wanted
                    .renewable_for_seconds
                    .map(|seconds| seconds_after(now, seconds)),
                replaces: None,
            };
            let actor = Actor::Administrator;
            let alarm = server.look(|state| alarm_of_token(state, &made, &actor, now));
            let mut events = vec![Event::UserTokenMade(made.clone())];
            events.extend(alarm);
            alarms::tell(&events);
            server.keep(&mut writer, now, actor, events).await?;
            Ok((made, token))
        })
        .await
    }

    /// Takes a token of `user` away, and all that came of it, also where it is over itself. Gives those that counted.
    ///
    /// # Errors
    /// None of them counts, or that it could not be kept.
    pub async fn revoke_user_token(
        self: &Arc<Self>,
        user: Principal,
        token: UserTokenId,
    ) -> Result<Vec<UserTokenId>, Error> {
        self.uninterrupted(move |server, mut writer| async move {
            let now = server.now();
            let ended: Vec<UserTokenId> = server.look(|state| {
                let line = state.user_tokens.line_of(&user, &token, now);
                line.map(|token| token.made.token.clone()).collect()
            });
            if ended.is_empty() {
                return Err(Error::NoSuchUserToken { user, token });
            }
            let events = ended.iter().cloned().map(|token| Event::UserTokenRevoked {
                token,
                user: user.clone(),
            });
            server
                .keep(&mut writer, now, Actor::Administrator, events.collect())
                .await?;
            Ok(ended)
        })
        .await
    }

    /// The tokens of `user` that count, the oldest first, with their last uses since the server started.
    ///
    /// # Errors
    /// No such user.
    pub fn user_tokens(&self, user: &Principal) -> Result<Vec<(Token, Option<Use>)>, Error> {
        let now = self.now();
        let mut tokens: Vec<Token> = self.look(|state| {
            known(state, user)?;
            Ok::<_, Error>(state.user_tokens.of(user, now).cloned().collect())
        })?;
        tokens.sort_by_key(|token| token.at);
        let with_use = tokens.into_iter().map(|token| {
            let used = self.uses.of(&token.made.token);
            (token, used)
        });
        Ok(with_use.collect())
    }

    /// Who shows `token`, from that address.
    ///
    /// # Errors
    /// Why it makes nobody known. A refusal of a known token is in the record, up to a number of them.
    pub async fn user_of(
        self: &Arc<Self>,
        token: &UserToken,
        from: IpAddr,
    ) -> Result<UserTokenMade, Error> {
        let (secret, at) = (token.hash(), self.now());
        match self.look(|state| admit(state, &secret, at).cloned()) {
            Ok(token) => {
                self.uses.note(&token.made.token, Use { at, from });
                if token.is_unseen_successor() {
                    self.record_seen(&token.made).await;
                }
                Ok(token.made)
            }
            Err(refused) => {
                self.record_user_refusal(&refused, from).await?;
                Err(refused.into())
            }
        }
    }

    /// Whether a token that made somebody known would do so now.
    ///
    /// # Errors
    /// Why it does not.
    pub fn still_admits(&self, token: &UserTokenMade) -> Result<(), UserTokenRefused> {
        let now = self.now();
        self.look(|state| admit(state, &token.secret, now).map(drop))
    }

    async fn record_user_refusal(
        self: &Arc<Self>,
        refused: &UserTokenRefused,
        from: IpAddr,
    ) -> Result<(), Error> {
        tracing::warn!(%from, "a caller is not known: {refused}");
        // Strangers can send any number of unknown ones: nothing is kept of them, and they have no turn.
        let (made, why) = match refused.clone() {
            UserTokenRefused::Unknown => return Ok(()),
            UserTokenRefused::Ended(made, why) => (made, why.to_owned()),
            UserTokenRefused::Over(made, why) => (made, why),
        };
        if !self.look(|state| state.user_tokens.keeps_refusal(&made.token)) {
            return Ok(());
        }
        self.uninterrupted(move |server, mut writer| async move {
            if !server.look(|state| state.user_tokens.keeps_refusal(&made.token)) {
                return Ok(());
            }
            let event = Event::UserTokenRefused {
                token: made.token,
                user: made.user,
                why,
                from,
            };
            let now = server.now();
            server
                .keep(&mut writer, now, Actor::Server, vec![event])
                .await
                .map(drop)
        })
        .await
    }
}

/// The token of that secret, where it counts at `now` and its user is there.
pub(super) fn admit<'s>(
    state: &'s State,
    secret: &SecretHash,
    now: Timestamp,
) -> Result<&'s Token, UserTokenRefused> {
    let token = state.user_tokens.admit(secret, now)?;
    if state.directory.user(&token.made.user).is_none() {
        return Err(UserTokenRefused::Ended(
            Box::new(token.made.clone()),
            "is of nobody any more",
        ));
    }
    if let Err(over) = state.check_time_of(&token.made.user, now) {
        return Err(UserTokenRefused::Over(
            Box::new(token.made.clone()),
            over.to_string(),
        ));
    }
    Ok(token)
}

fn known<'s>(state: &'s State, user: &Principal) -> Result<&'s UserSet, Error> {
    let known = state.directory.user(user);
    known.ok_or_else(|| Error::NoSuchUser(user.clone()))
}

/// The number of the token that `user` may have now, as it is wanted.
fn may_have_another(
    state: &State,
    user: &Principal,
    wanted: &WantedToken,
    now: Timestamp,
) -> Result<u64, Error> {
    wanted.check(known(state, user)?)?;
    if state.lock(user).is_some() {
        return Err(Error::LockedUser(user.clone()));
    }
    state.check_time_of(user, now)?;
    if state.user_tokens.places_of(user, now) >= MOST_OF_USER {
        return Err(Error::TooManyUserTokens(user.clone()));
    }
    Ok(state.user_tokens.next())
}
