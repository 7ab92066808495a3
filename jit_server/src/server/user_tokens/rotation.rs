//! The next token in the place of one, for root and for whoever holds it.

use std::sync::Arc;

use jit_grant::{Principal, UserToken, UserTokenId};

use super::{Server, admit, alarm_of_token, alarms, known};
use crate::error::Error;
use crate::event::{Actor, Event, UserTokenMade};
use crate::user_token::Next;

/// Tokens of one chain that count at a time at most: the newest, and those whose place it and others have taken.
const MOST_OF_CHAIN: usize = 16;

impl Server {
    /// Makes the next one in the place of a token of `user`, for root; the old one counts for so many seconds more. It is told this once.
    ///
    /// # Errors
    /// No such user or token, a locked user, too many tokens, or that it could not be kept.
    pub async fn rotate_user_token(
        self: &Arc<Self>,
        user: Principal,
        token: UserTokenId,
        overlap_seconds: u32,
    ) -> Result<(UserTokenMade, UserToken), Error> {
        self.rotate(Actor::Administrator, user, token, overlap_seconds, None)
            .await
    }

    /// The same for whoever shows `shown`, which is admitted once more.
    ///
    /// # Errors
    /// That it does not count any more, that another one has its place, too many tokens, or that it could not be kept.
    pub async fn rotate_own_token(
        self: &Arc<Self>,
        shown: UserTokenMade,
        overlap_seconds: u32,
    ) -> Result<(UserTokenMade, UserToken), Error> {
        let (user, token) = (shown.user.clone(), shown.token.clone());
        let actor = Actor::Principal(user.clone());
        self.rotate(actor, user, token, overlap_seconds, Some(shown))
            .await
    }

    async fn rotate(
        self: &Arc<Self>,
        actor: Actor,
        user: Principal,
        token: UserTokenId,
        overlap_seconds: u32,
        shown: Option<UserTokenMade>,
    ) -> Result<(UserTokenMade, UserToken), Error> {
        self.uninterrupted(move |server, mut writer| async move {
            let now = server.now();
            let (next, number) = server.look(|state| {
                if let Some(shown) = &shown {
                    admit(state, &shown.secret, now)?;
                }
                known(state, &user)?;
                if state.lock(&user).is_some() {
                    return Err(Error::LockedUser(user.clone()));
                }
                state.check_time_of(&user, now)?;
                let mut his = state.user_tokens.of(&user, now);
                if !his.any(|found| found.made.token == token) {
                    let user = user.clone();
                    return Err(Error::NoSuchUserToken { user, token });
                }
                let tokens = &state.user_tokens;
                let next = tokens.after(&token, &actor, now, overlap_seconds)?;
                if tokens.counting_beside(&next, now) >= MOST_OF_CHAIN {
                    return Err(Error::TooManyUserTokens(user.clone()));
                }
                Ok((next, tokens.next()))
            })?;
            let secret = UserToken::generate()?;
            let Next { made, unseen } = next;
            let made = UserTokenMade {
                token: UserTokenId::try_from(format!("u{number}"))
                    .map_err(|error| Error::Setup(error.to_string()))?,
                secret: secret.hash(),
                ..made
            };
            let user = made.user.clone();
            let ended = unseen.map(|token| Event::UserTokenRevoked { token, user });
            let alarm = server.look(|state| alarm_of_token(state, &made, &actor, now));
            let events = ended
                .into_iter()
                .chain([Event::UserTokenMade(made.clone())])
                .chain(alarm);
            let events: Vec<Event> = events.collect();
            alarms::tell(&events);
            server.keep(&mut writer, now, actor, events).await?;
            Ok((made, secret))
        })
        .await
    }

    /// Records that a token which took another one's place is shown for the first time. Whoever shows it is let in also where that can't be
    /// kept: it is tried again at the next call.
    pub(super) async fn record_seen(self: &Arc<Self>, made: &UserTokenMade) {
        let (token, user) = (made.token.clone(), made.user.clone());
        let secret = made.secret.clone();
        let kept = self.uninterrupted(move |server, mut writer| async move {
            let now = server.now();
            let unseen = |state: &crate::workflow::State| {
                admit(state, &secret, now).is_ok_and(|token| token.is_unseen_successor())
            };
            if !server.look(unseen) {
                return Ok(());
            }
            // The server notices it by itself: it is not what the call that shows it is about.
            let event = vec![Event::UserTokenSeen { token, user }];
            let kept = server.keep(&mut writer, now, Actor::Server, event).await;
            kept.map(drop)
        });
        if let Err(error) = kept.await {
            tracing::warn!("that a token was seen is not on record: {error}");
        }
    }
}
