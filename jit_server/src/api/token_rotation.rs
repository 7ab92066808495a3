//! The next token in the place of one: for root, and for whoever shows it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jit_grant::{Principal, UserToken, UserTokenId};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Problem;
use super::caller::{Administrator, Caller};
use super::input::{self, Path};
use super::user_tokens::UserTokenView;
use crate::event::UserTokenMade;
use crate::server::Server;
use crate::user_token::LONGEST_OVERLAP;

/// How a token is rotated.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// The old token counts for so long more, an hour at most and unless said; 0: it is over at once.
    #[serde(default = "an_hour")]
    #[schema(maximum = 3600, default = 3600)]
    overlap_seconds: u32,
}

fn an_hour() -> u32 {
    LONGEST_OVERLAP
}

/// Makes the next token in the place of one: the same user, scopes and length, which begins anew.
#[utoipa::path(post, path = "/v1/users/{name}/tokens/{id}/rotate", tag = "administration", params(("name" = String, Path), ("id" = String, Path)), request_body = Rotation, responses(
    (status = 201, body = UserTokenView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json", description = "the user is locked, or another token has its place and has been used"),
    (status = 429, body = Problem, content_type = "application/problem+json", description = "as many as may of those that came of one token count"),
))]
pub(super) async fn of_user(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Path((name, id)): Path<(String, String)>,
    input::Json(rotation): input::Json<Rotation>,
) -> Result<(StatusCode, Json<UserTokenView>), Problem> {
    let (user, token): (Principal, UserTokenId) = (input::id(name)?, input::id(id)?);
    let made = server.rotate_user_token(user, token, rotation.overlap_seconds);
    Ok(shown(&made.await?))
}

/// Makes the next token in the place of the one that is shown, for the same scopes and no longer than root has said.
#[utoipa::path(post, path = "/v1/token/rotate", tag = "people", request_body = Rotation, responses(
    (status = 201, body = UserTokenView),
    (status = 403, body = Problem, content_type = "application/problem+json", description = "no token was shown"),
    (status = 409, body = Problem, content_type = "application/problem+json", description = "another token has its place, and has been used or is root's"),
    (status = 429, body = Problem, content_type = "application/problem+json", description = "as many as may of those that came of one token count, it was rotated too often within a day, or too many calls"),
))]
pub(super) async fn own(
    State(server): State<Arc<Server>>,
    caller: Caller,
    input::Json(rotation): input::Json<Rotation>,
) -> Result<(StatusCode, Json<UserTokenView>), Problem> {
    let token = caller.token().cloned().ok_or_else(|| {
        Problem::forbidden(
            "no token was shown: who is known by his account has none to rotate; root makes the next one of a user with `jit-server user token NAME --rotate ID`",
        )
        .code("no-token-shown")
    })?;
    let made = server.rotate_own_token(token, rotation.overlap_seconds);
    Ok(shown(&made.await?))
}

fn shown((made, token): &(UserTokenMade, UserToken)) -> (StatusCode, Json<UserTokenView>) {
    (StatusCode::CREATED, Json(UserTokenView::of(made, token)))
}
