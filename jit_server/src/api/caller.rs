//! Who calls: the account at the other end of the socket, over the network a user by his token, or a host by its own.

use std::cell::Cell;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::{Method, StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jit_grant::{DocumentRefused, HostId, HostToken, Principal, PublicKey, UserToken};
use tokio::time::Instant;

use super::refused::{Known, Who};
use super::remote::Whose;
use super::{Problem, Remote, reach};
use crate::error::Error;
use crate::event::{Actor, UserTokenMade};
use crate::server::{By, Call, Server};

/// What the kernel says of the other end of a connection. The listener puts it into every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its uid.
    pub uid: u32,
    /// The name of that account, where it has one.
    pub account: Option<String>,
}

/// Refuses calls without `Jit-Client: NAME/VERSION`, which no browser or X client can be tricked into sending (T20).
pub(super) async fn demand_client_header(request: Request, next: Next) -> Response {
    let named = request
        .headers()
        .get("jit-client")
        .and_then(|value| value.to_str().ok())
        .is_some_and(names_a_client);
    if named {
        next.run(request).await
    } else {
        Problem::bad_request("every call carries the header Jit-Client: NAME/VERSION")
            .code("no-client")
            .into_response()
    }
}

fn names_a_client(value: &str) -> bool {
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._+~-".contains(&b))
    };
    value.len() <= 64
        && value
            .split_once('/')
            .is_some_and(|(name, version)| plain(name) && plain(version))
}

/// A person, or the administrator of this machine, who is never known by a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// uid 0.
    Administrator,
    /// A user, and the token that made him known, where he is elsewhere.
    Person(Principal, Option<Box<UserTokenMade>>),
    /// An account of this machine that is no user.
    Stranger(String),
}

impl Caller {
    /// Who did it, for the record.
    pub(super) fn actor(&self) -> Result<Actor, Problem> {
        match self {
            Self::Administrator => Ok(Actor::Administrator),
            Self::Person(name, _) => Ok(Actor::Principal(name.clone())),
            Self::Stranger(who) => Err(Problem::forbidden(format!(
                "{who} is no user of jit; an administrator adds one with `jit-server user add NAME --login LOGIN`"
            ))
            .code("no-user")),
        }
    }

    /// Who wants something done. His token is admitted once more when it is: while his call came in, it may have ended.
    pub(super) fn by(&self) -> Result<By, Problem> {
        Ok(By {
            actor: self.actor()?,
            token: self.token().cloned(),
        })
    }

    /// Asked by a call that waits, at each of its turns: whoever is nobody here any more, or shows a token that counts no more, is told
    /// nothing that happened since.
    ///
    /// # Errors
    /// He would not be known now.
    pub(super) fn is_still_known(&self, server: &Server) -> Result<(), Problem> {
        match self {
            Self::Administrator | Self::Stranger(_) => Ok(()),
            Self::Person(_, Some(token)) => Ok(server.still_admits(token).map_err(Error::from)?),
            Self::Person(name, None) => {
                if server.look(|state| state.directory.user(name).is_none()) {
                    Self::Stranger(name.to_string()).actor()?;
                }
                Ok(server.check_time_of(name)?)
            }
        }
    }

    /// The token that he is known by, where he is by one.
    pub(super) fn token(&self) -> Option<&UserTokenMade> {
        match self {
            Self::Person(_, token) => token.as_deref(),
            Self::Administrator | Self::Stranger(_) => None,
        }
    }

    /// The user's name. None for the administrator.
    pub(super) fn person(&self) -> Result<Option<&Principal>, Problem> {
        match self {
            Self::Administrator => Ok(None),
            Self::Person(name, _) => Ok(Some(name)),
            Self::Stranger(_) => self.actor().map(|_| None),
        }
    }

    /// Who is at the other end of the socket. Whoever is nobody here, or nobody any more, is on record by what he is there.
    fn of(peer: &Peer, server: &Server, parts: &Parts) -> Result<Self, Problem> {
        if peer.uid == 0 {
            return Ok(Self::Administrator);
        }
        let no_user = || Known::note(parts, Who::Account(peer.clone()));
        let Some(account) = &peer.account else {
            no_user();
            return Ok(Self::Stranger(format!("uid {}", peer.uid)));
        };
        match server.principal_of(account) {
            Ok(Some(principal)) => {
                let actor = Actor::Principal(principal.clone());
                Known::note(parts, Who::Person(actor, None));
                server.check_time_of(&principal)?;
                Ok(Self::Person(principal, None))
            }
            Ok(None) => {
                no_user();
                Ok(Self::Stranger(account.clone()))
            }
            Err(several) => {
                no_user();
                let names: Vec<&str> = several.iter().map(Principal::as_str).collect();
                let names = names.join(", ");
                let detail = format!(
                    "several users have the login {account} ({names}), so nobody can tell which of them you are; use an account of your own"
                );
                Err(Problem::forbidden(detail).code("shared-login"))
            }
        }
    }
}

impl FromRequestParts<Arc<Server>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Problem> {
        // Whoever was asked already, in this very call.
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let peer = parts.extensions.get::<Peer>().cloned();
        let shown = match peer {
            Some(peer) => Shown::Account(peer),
            None => Shown::Token(user_token(parts)?),
        };
        // Before it is known who calls: his token may have been taken away at another server a moment ago. Whoever shows nothing that
        // could make him known has nobody ask the database.
        if parts.method != Method::GET {
            server.look_again().await?;
        }
        let caller = match shown {
            Shown::Account(peer) => Self::of(&peer, server, parts)?,
            Shown::Token(token) => {
                let made = by_token(parts, server, &token).await?;
                Self::Person(made.user.clone(), Some(Box::new(made)))
            }
        };
        if let Ok(actor) = caller.actor() {
            let token = caller.token().map(|made| made.token.clone());
            Known::note(parts, Who::Person(actor, token));
        }
        if let Some(call) = parts.extensions.get::<Arc<Call>>() {
            call.is_of_person(caller.token().map(|made| made.token.clone()));
        }
        reach::check(server, &caller, parts)?;
        Ok(caller)
    }
}

/// What somebody may be known by.
enum Shown {
    Account(Peer),
    Token(UserToken),
}

/// The token that is shown over the network, whoever it is of.
fn user_token(parts: &Parts) -> Result<UserToken, Problem> {
    from(parts)?;
    let shown = bearer(
        parts,
        "over the network a person shows a token: `jitctl login` has it sent; root on the server makes one with `jit-server user token NAME`",
    )?;
    let token = std::str::from_utf8(shown).unwrap_or_default().parse();
    token.map_err(|error: jit_grant::NotAUserToken| {
        Problem::new(StatusCode::UNAUTHORIZED, error.to_string()).code("bad-token")
    })
}

fn from(parts: &Parts) -> Result<Arc<Remote>, Problem> {
    let remote = parts.extensions.get::<Arc<Remote>>().cloned();
    remote.ok_or_else(|| Problem::forbidden("nobody knows where this call is from"))
}

/// What the server knows of a token that is shown over the network.
async fn by_token(
    parts: &Parts,
    server: &Arc<Server>,
    token: &UserToken,
) -> Result<UserTokenMade, Problem> {
    let remote = from(parts)?;
    let made = server.user_of(token, remote.peer()).await;
    let made = made.inspect_err(|_| remote.refused())?;
    let whose = Whose::User(made.user.clone());
    // A token and what it was rotated to are one: else each rotation would have an allowance of its own.
    let first = server.look(|state| state.user_tokens.first_of(&made.token));
    remote.is_of(&whose, Some(&first), Instant::now())?;
    Ok(made)
}

/// The administrator; anybody else is refused.
#[derive(Debug)]
pub(super) struct Administrator;

impl FromRequestParts<Arc<Server>> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Problem> {
        match Caller::from_request_parts(parts, server).await? {
            Caller::Administrator => Ok(Self),
            _ => Err(Problem::forbidden(
                "only root on the server's machine may do this, at its socket",
            )
            .code("not-administrator")),
        }
    }
}

/// A host, by the token that its jitd signed.
#[derive(Debug)]
pub(super) struct HostCaller(pub(super) HostId);

impl FromRequestParts<Arc<Server>> for HostCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Problem> {
        let now = server.now();
        let token = shown_by_host(parts, server, |shown, key_of| {
            HostToken::verify(shown, now, key_of)
        })?;
        known(parts, &token.host)?;
        server.streams().saw(&token.host, now);
        Ok(Self(token.host))
    }
}

/// A host, by a token of any age. The server's time never runs back, also where its wall clock was wrong for a moment: a host that
/// did not hear of that makes tokens that are over already, and learns the time from nothing but a word.
#[derive(Debug)]
pub(super) struct HostAskingTheTime {
    pub(super) host: HostId,
    /// The token counts: what comes with it is the host's own word.
    pub(super) counts: bool,
}

impl FromRequestParts<Arc<Server>> for HostAskingTheTime {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Problem> {
        let now = server.now();
        let token = shown_by_host(parts, server, |shown, key_of| {
            HostToken::verify_of_any_age(shown, now, key_of)
        })?;
        // An old one may come from whoever found it.
        let counts = now < token.expires;
        if counts {
            known(parts, &token.host)?;
            server.streams().saw(&token.host, now);
        }
        let host = token.host;
        Ok(Self { host, counts })
    }
}

/// A connection over the network is the host's from now on, and the call is, where the host has not called too often.
fn known(parts: &Parts, host: &HostId) -> Result<(), Problem> {
    if let Some(remote) = parts.extensions.get::<Arc<Remote>>() {
        remote.is_of(&Whose::Host(host.clone()), None, Instant::now())?;
    }
    Known::note(parts, Who::Host(host.clone()));
    Ok(())
}

const HOSTS_SHOW: &str = "a host shows its token: Authorization: Bearer …";

/// The token that is shown; `missing` is said where there is none.
fn bearer<'a>(parts: &'a Parts, missing: &str) -> Result<&'a [u8], Problem> {
    let value = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer "));
    token
        .map(str::as_bytes)
        .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, missing).code("no-token"))
}

/// The token that a host shows, as `verify` believes it. A host that this server does not know is told just that: it must enrol again.
/// A server that is cut off can't know, and says that it is.
fn shown_by_host(
    parts: &Parts,
    server: &Server,
    verify: impl FnOnce(
        &[u8],
        &dyn Fn(&HostId) -> Option<PublicKey>,
    ) -> Result<HostToken, DocumentRefused>,
) -> Result<HostToken, Problem> {
    let unknown = Cell::new(false);
    let key_of = |host: &HostId| {
        let key = server.host_key(host);
        unknown.set(key.is_none());
        key
    };
    verify(bearer(parts, HOSTS_SHOW)?, &key_of).map_err(|error| {
        if unknown.get() {
            // Another server may have enrolled it since; a host that hears that it is unknown stays here and waits for nothing.
            let known_to_nobody = server.in_contact().err().unwrap_or(Error::UnknownHost);
            return known_to_nobody.into();
        }
        let detail = format!("the host's token is refused: {error}");
        Problem::new(StatusCode::UNAUTHORIZED, detail).code("bad-token")
    })
}

#[cfg(test)]
mod tests {
    use super::names_a_client;

    #[test]
    fn a_client_names_itself_and_its_version() {
        assert!(names_a_client("jitctl/0.1.0"));
        for wrong in ["", "jitctl", "jitctl/", "/1", "a b/1", "a/1\u{7f}", "a/b/c"] {
            assert!(!names_a_client(wrong), "{wrong}");
        }
    }
}
