//! Locking people, and letting them ask again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use jiff::Timestamp;
use jit_grant::Principal;
use serde::Serialize;
use utoipa::ToSchema;

use super::Problem;
use super::caller::Caller;
use super::input::{self, Parameters, Path};
use super::page::{ByName, Page};
use super::requests::{Because, Nothing};
use crate::error::Error;
use crate::server::Server;
use crate::workflow::{Command, Said, WorkflowError};

/// A lock.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LockView {
    /// A user, or `@administrator`.
    by: String,
    at: Timestamp,
    reason: String,
}

impl From<&Said> for LockView {
    fn from(said: &Said) -> Self {
        Self {
            by: said.by.to_string(),
            at: said.at,
            reason: said.reason.to_string(),
        }
    }
}

/// Somebody who is locked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LockedView {
    principal: String,
    #[serde(flatten)]
    lock: LockView,
}

/// How somebody stands after a call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Standing {
    principal: String,
    /// null: not locked.
    lock: Option<LockView>,
    /// False where it stood so already.
    changed: bool,
    /// The grants that this lock ended.
    ended: Vec<String>,
}

/// Everybody who is locked, by name. For the administrator and those whom `may_lock` in the policy names; whoami tells a user of his
/// own lock. `Link` leads to the next page.
#[utoipa::path(get, path = "/v1/locks", tag = "administration", params(ByName), responses(
    (status = 200, body = Vec<LockedView>),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    uri: Uri,
    Parameters(which): Parameters<ByName>,
) -> Result<Page<LockedView>, Problem> {
    let (after, limit) = which.part::<Principal>()?;
    let person = caller.person()?;
    let policy = server.policy();
    let locks = server.look(|state| {
        let may = person.is_none_or(|name| {
            let user = state.directory.user(name);
            user.is_some_and(|user| policy.may_lock.entrust(user))
        });
        let locked = state.locks();
        let locked = locked.filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
        let views = locked.map(|(principal, said)| LockedView {
            principal: principal.to_string(),
            lock: said.into(),
        });
        may.then(|| Page::by_name(&uri, limit, views, |locked| &locked.principal))
    });
    locks.ok_or_else(|| Error::from(WorkflowError::MayNotLock).into())
}

/// Ends all that somebody has, everywhere and at once, denies what he asked, and keeps him from asking and approving. For the
/// administrator and those whom `may_lock` in the policy names.
#[utoipa::path(post, path = "/v1/users/{name}/lock", tag = "administration", params(("name" = String, Path)), request_body = Because, responses(
    (status = 200, body = Standing),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn lock(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(name): Path<String>,
    input::Json(because): input::Json<Because>,
) -> Result<Json<Standing>, Problem> {
    let reason = because.reason;
    act(&server, &caller, name, |principal| Command::Lock {
        principal,
        reason,
    })
    .await
}

/// Lets somebody ask and approve again. What the lock ended stays so.
#[utoipa::path(post, path = "/v1/users/{name}/unlock", tag = "administration", params(("name" = String, Path)), request_body = Nothing, responses(
    (status = 200, body = Standing),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn unlock(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(name): Path<String>,
    input::Json(Nothing {}): input::Json<Nothing>,
) -> Result<Json<Standing>, Problem> {
    act(&server, &caller, name, |principal| Command::Unlock {
        principal,
    })
    .await
}

async fn act(
    server: &Arc<Server>,
    caller: &Caller,
    name: String,
    wanted: impl FnOnce(Principal) -> Command,
) -> Result<Json<Standing>, Problem> {
    let by = caller.by()?;
    let principal: Principal = input::id(name)?;
    let entries = server.execute(by, wanted(principal.clone())).await?;
    Ok(Json(server.look(|state| {
        let lock = state.lock(&principal);
        let ended = state.grants().filter(|grant| {
            let ended = grant.ended.as_ref();
            grant.principal == principal
                && lock.is_some_and(|lock| ended.is_some_and(|end| end.at == lock.at))
        });
        Standing {
            principal: principal.to_string(),
            lock: lock.map(LockView::from),
            changed: !entries.is_empty(),
            ended: ended.map(|grant| grant.id.to_string()).collect(),
        }
    })))
}
