//! Users' tokens. For the administrator only.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use jit_grant::{Principal, UserToken, UserTokenId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::caller::Administrator;
use super::input::{self, Path};
use crate::event::UserTokenMade;
use crate::scope::Scope;
use crate::server::{Server, Use};
use crate::user_token::{Token, WantedToken};

/// A token that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUserToken {
    /// For so long: a person's at most 90 days, a service account's 365.
    for_seconds: u32,
    /// What it is for: `read`, `approve`, `ask:ROLE`, `ask:ROLE@HOSTS`; 16 at most. None: whatever its user may do, which a service account's
    /// can't be for.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 16)]
    scopes: BTreeSet<Scope>,
    /// Whoever holds it may have it renewed for so long from now, each time for its length. null: its secret alone, and it ends when it does.
    #[serde(default)]
    renewable_for_seconds: Option<u32>,
}

/// A user's token. It is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserTokenView {
    /// What the record calls it.
    id: String,
    user: String,
    /// The secret text.
    token: String,
    expires: Timestamp,
    /// What it is for. None: whatever its user may do.
    scopes: Vec<String>,
    /// Whoever holds it may have it renewed until then. null: its secret alone.
    renewable_until: Option<Timestamp>,
}

/// A user's token that counts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ListedUserToken {
    id: String,
    made_at: Timestamp,
    expires: Timestamp,
    /// What it is for. None: whatever its user may do.
    scopes: Vec<String>,
    /// The token whose place it took. null: it was made as a new one.
    replaces: Option<String>,
    /// Whoever holds it may have it renewed until then. null: its secret alone, or another one has its place.
    renewable_until: Option<Timestamp>,
    /// null: not since the server started.
    last_use: Option<UseView>,
}

/// When and from where a token was shown.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UseView {
    at: Timestamp,
    #[schema(value_type = String)]
    from: IpAddr,
}

/// A user's token that counts no more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevokedUserToken {
    id: String,
    user: String,
    /// Those that came of it by rotation, counted, and count no more either.
    successors: Vec<String>,
}

impl UserTokenView {
    pub(super) fn of(made: &UserTokenMade, token: &UserToken) -> Self {
        let horizon = made.horizon();
        Self {
            id: made.token.to_string(),
            user: made.user.to_string(),
            token: token.reveal(),
            expires: made.expires,
            scopes: made.scopes.listed(),
            renewable_until: (horizon > made.expires).then_some(horizon),
        }
    }
}

impl From<(Token, Option<Use>)> for ListedUserToken {
    fn from((token, used): (Token, Option<Use>)) -> Self {
        Self {
            id: token.made.token.to_string(),
            made_at: token.at,
            expires: token.made.expires,
            scopes: token.made.scopes.listed(),
            renewable_until: token.renewable_until(),
            replaces: token
                .made
                .replaces
                .map(|replaces| replaces.token.to_string()),
            last_use: used.map(|Use { at, from }| UseView { at, from }),
        }
    }
}

/// Makes a token that a user is known by over the network.
#[utoipa::path(post, path = "/v1/users/{name}/tokens", tag = "administration", params(("name" = String, Path)), request_body = NewUserToken, responses(
    (status = 201, body = UserTokenView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json", description = "the user may not have such a token"),
    (status = 409, body = Problem, content_type = "application/problem+json", description = "the user is locked"),
    (status = 429, body = Problem, content_type = "application/problem+json", description = "the user has as many as may count at a time"),
))]
pub(super) async fn make(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Path(name): Path<String>,
    input::Json(new): input::Json<NewUserToken>,
) -> Result<(StatusCode, Json<UserTokenView>), Problem> {
    let user: Principal = input::id(name)?;
    let wanted = WantedToken {
        for_seconds: new.for_seconds,
        scopes: new.scopes.into(),
        renewable_for_seconds: new.renewable_for_seconds,
    };
    let (made, token) = server.make_user_token(user, wanted).await?;
    let view = UserTokenView::of(&made, &token);
    Ok((StatusCode::CREATED, Json(view)))
}

/// The user's tokens that count, without their secrets.
#[utoipa::path(get, path = "/v1/users/{name}/tokens", tag = "administration", params(("name" = String, Path)), responses(
    (status = 200, body = Vec<ListedUserToken>),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Path(name): Path<String>,
) -> Result<Json<Vec<ListedUserToken>>, Problem> {
    let tokens = server.user_tokens(&input::id(name)?)?;
    Ok(Json(tokens.into_iter().map(Into::into).collect()))
}

/// Takes a user's token away, and all that came of it by rotation, also where it is over itself: none counts any more from now on.
#[utoipa::path(delete, path = "/v1/users/{name}/tokens/{id}", tag = "administration", params(("name" = String, Path), ("id" = String, Path)), responses(
    (status = 200, body = RevokedUserToken),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn revoke(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<RevokedUserToken>, Problem> {
    let (user, token): (Principal, UserTokenId) = (input::id(name)?, input::id(id)?);
    let ended = server.revoke_user_token(user.clone(), token.clone());
    let successors = ended.await?.into_iter().filter(|ended| *ended != token);
    Ok(Json(RevokedUserToken {
        successors: successors.map(|ended| ended.to_string()).collect(),
        id: token.to_string(),
        user: user.to_string(),
    }))
}
