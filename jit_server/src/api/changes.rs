//! Changes that others confirm.

mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jit_grant::ChangeId;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::caller::{Administrator, Caller};
use super::input::{self, Parameters, Path};
use super::requests::{Because, Nothing};
use crate::once::Digest;
use crate::server::Server;
use crate::text::Comment;
use crate::workflow::{State as Known, WorkflowError};

pub(super) use view::HeldView;
use view::{NowView, WaitingView};

/// Changes in a list at most.
const MOST_LISTED: usize = 100;

/// Which changes.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Those alone that wait.
    #[serde(default)]
    pending: bool,
}

/// What somebody confirms.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    /// `now.digest` of the change as he saw it: where it comes to something else by then, nothing is confirmed.
    #[schema(value_type = String)]
    digest: Digest,
    /// 1 to 500 characters on one line.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    comment: Option<Comment>,
}

/// Changes that others confirm, the newest first, 100 at most. For the administrator, those who may confirm them, and those whom `may_audit`
/// in the policy names.
#[utoipa::path(get, path = "/v1/changes", tag = "changes", params(Which), responses(
    (status = 200, body = Vec<WaitingView>),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Parameters(which): Parameters<Which>,
) -> Result<Json<Vec<WaitingView>>, Problem> {
    check_reader(&server, &caller)?;
    let now = server.now();
    Ok(Json(server.look(|state| {
        let changes = state.changes().rev();
        let changes = changes.filter(|change| !which.pending || change.wanted.is_some());
        let changes = changes.take(MOST_LISTED);
        changes
            .map(|change| WaitingView::of(state, change, now))
            .collect()
    })))
}

/// A change, and what it comes to now, or once it has ended what it wanted. For those who may see the list.
#[utoipa::path(get, path = "/v1/changes/{id}", tag = "changes", params(("id" = String, Path)), responses(
    (status = 200, body = WaitingView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<WaitingView>, Problem> {
    check_reader(&server, &caller)?;
    let id: ChangeId = input::id(id)?;
    server.look_at_policy().await?;
    shown(&server, &id).await
}

/// Confirms a change as it was shown. For those whom `changes_need` in the policy names, known by a token of their own; the last of them
/// that it needs makes it.
#[utoipa::path(post, path = "/v1/changes/{id}/confirm", tag = "changes", params(("id" = String, Path)), request_body = Seen, responses(
    (status = 200, body = WaitingView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json", description = "it comes to something else by now, has ended, or was confirmed by the caller already"),
))]
pub(super) async fn confirm(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
    input::Json(seen): input::Json<Seen>,
) -> Result<Json<WaitingView>, Problem> {
    let (by, id): (_, ChangeId) = (caller.by()?, input::id(id)?);
    server
        .confirm_change(by, id.clone(), seen.digest, seen.comment)
        .await?;
    shown(&server, &id).await
}

/// Says no to a change. For those who may confirm it, known by a token.
#[utoipa::path(post, path = "/v1/changes/{id}/deny", tag = "changes", params(("id" = String, Path)), request_body = Because, responses(
    (status = 200, body = WaitingView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn deny(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
    input::Json(because): input::Json<Because>,
) -> Result<Json<WaitingView>, Problem> {
    let (by, id): (_, ChangeId) = (caller.by()?, input::id(id)?);
    server.deny_change(by, id.clone(), because.reason).await?;
    shown(&server, &id).await
}

/// Takes a change back. For the administrator.
#[utoipa::path(post, path = "/v1/changes/{id}/withdraw", tag = "changes", params(("id" = String, Path)), request_body = Nothing, responses(
    (status = 200, body = WaitingView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn withdraw(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Path(id): Path<String>,
    input::Json(Nothing {}): input::Json<Nothing>,
) -> Result<Json<WaitingView>, Problem> {
    let id: ChangeId = input::id(id)?;
    server.withdraw_change(id.clone()).await?;
    shown(&server, &id).await
}

/// Makes a change without those who confirm it, where none of them is there, and tells everybody. For the administrator.
#[utoipa::path(post, path = "/v1/changes/{id}/alone", tag = "changes", params(("id" = String, Path)), request_body = Because, responses(
    (status = 200, body = WaitingView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn alone(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Path(id): Path<String>,
    input::Json(because): input::Json<Because>,
) -> Result<Json<WaitingView>, Problem> {
    let id: ChangeId = input::id(id)?;
    server.change_alone(id.clone(), because.reason).await?;
    shown(&server, &id).await
}

fn check_reader(server: &Server, caller: &Caller) -> Result<(), Problem> {
    let Some(name) = caller.person()? else {
        return Ok(());
    };
    let (policy, now) = (server.policy(), server.now());
    let audits = |state: &Known| {
        let user = state.directory.user(name);
        user.is_some_and(|user| state.may_act(user, now) && policy.may_audit.entrust(user))
    };
    if server.look(|state| state.may_confirm(name, now) || audits(state)) {
        return Ok(());
    }
    Err(crate::error::Error::from(WorkflowError::MayNotConfirm(name.clone())).into())
}

async fn shown(server: &Server, id: &ChangeId) -> Result<Json<WaitingView>, Problem> {
    let comes_to = server.change_now(id);
    let now = server.now();
    let digest = comes_to.as_ref().ok().map(|comes_to| comes_to.digest);
    let comes_to = NowView::of(comes_to, &server.policy());
    let view = server.look(|state| {
        let change = state.change(id)?;
        Some(WaitingView::of(state, change, now).coming_to(state, digest, comes_to, now))
    });
    let view = view.ok_or_else(|| WorkflowError::NoChange(id.clone()));
    let view = view.map_err(crate::error::Error::from)?;
    Ok(Json(match server.policies_of_ended(id).await? {
        Some((before, next)) => view.having_wanted(&before, &next),
        None => view,
    }))
}
