//! Grants: what is in force, and ending it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use jiff::Timestamp;
use jit_grant::{Action, GrantId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::caller::Caller;
use super::input::{self, Parameters, Path};
use super::page::{self, Page, older_than};
use super::requests::{self, ApprovalView, Because, Nothing, RequestView, may_see};
use crate::origin::Origin;
use crate::server::Server;
use crate::text::Reason;
use crate::workflow::{Command, Ended, Grant, GrantState, Request};

/// A grant and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GrantView {
    id: String,
    request: String,
    principal: String,
    login: String,
    role: String,
    host: String,
    #[schema(value_type = Vec<String>)]
    allow: Vec<Action>,
    not_before: Timestamp,
    expires: Timestamp,
    /// An extension may move `expires` as far as this. null: it can't be extended.
    extendable_until: Option<Timestamp>,
    #[schema(value_type = String)]
    state: GrantState,
    ended: Option<EndedView>,
    /// Those that counted when it was made; the request has all that were given.
    approvals: Vec<ApprovalView>,
    reason: String,
    ticket: Option<String>,
    /// The Unix groups that logins by it are in, beside those of the account.
    groups: Vec<String>,
}

/// The end of a grant before its time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndedView {
    /// A user, or `@administrator`.
    by: String,
    at: Timestamp,
    /// null: released by its own principal.
    reason: Option<String>,
}

impl From<&Ended> for EndedView {
    fn from(ended: &Ended) -> Self {
        Self {
            by: ended.by.to_string(),
            at: ended.at,
            reason: ended.reason.as_ref().map(ToString::to_string),
        }
    }
}

/// Which grants.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only those in force now or later (true), only ended ones (false).
    active: Option<bool>,
    /// Only those older than this one.
    #[param(value_type = Option<String>)]
    before: Option<GrantId>,
    /// No more than so many; 1 to 500, which it is where nothing is said.
    limit: Option<usize>,
}

/// The grants that the caller may see, newest first: his own, and those of roles that he may approve or review. `Link` leads to the next page.
#[utoipa::path(get, path = "/v1/grants", tag = "people", params(Which), responses((status = 200, body = Vec<GrantView>)))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    uri: Uri,
    Parameters(which): Parameters<Which>,
) -> Result<Page<GrantView>, Problem> {
    let limit = page::limit(which.limit)?;
    let person = caller.person()?;
    let (policy, now) = (server.policy(), server.now());
    Ok(server.look(|state| {
        let user = person.and_then(|name| state.directory.user(name));
        let is_older = older_than(which.before.as_ref(), |grant: &&Grant| &grant.id);
        let older = state.grants().rev().filter(is_older);
        let wanted = older.filter(|grant| {
            which
                .active
                .is_none_or(|active| grant.is_live(now) == active)
        });
        let seen = wanted.filter_map(|grant| {
            let request = state
                .request(&grant.request)
                .filter(|request| may_see(&policy, state, &caller, user, request))?;
            Some(view(grant, request, now))
        });
        Page::of(&uri, limit, seen, |grant| &grant.id)
    }))
}

/// One grant.
#[utoipa::path(get, path = "/v1/grants/{id}", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, body = GrantView),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<GrantView>, Problem> {
    seen(&server, &caller, &input::id(id)?).map(Json)
}

/// Takes a grant away, at once and for good. For the administrator and whoever may approve or review its role.
#[utoipa::path(post, path = "/v1/grants/{id}/revoke", tag = "people", params(("id" = String, Path)), request_body = Because, responses(
    (status = 200, body = GrantView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn revoke(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
    input::Json(because): input::Json<Because>,
) -> Result<Json<GrantView>, Problem> {
    act(&server, &caller, id, |grant| Command::Revoke {
        grant,
        reason: because.reason,
    })
    .await
}

/// Gives the caller's own grant back.
#[utoipa::path(post, path = "/v1/grants/{id}/release", tag = "people", params(("id" = String, Path)), request_body = Nothing, responses(
    (status = 200, body = GrantView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn release(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
    input::Json(Nothing {}): input::Json<Nothing>,
) -> Result<Json<GrantView>, Problem> {
    act(&server, &caller, id, |grant| Command::Release { grant }).await
}

/// An extension.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewExtension {
    /// By how much.
    for_seconds: u32,
    /// None: the reason that the grant was asked for with.
    #[schema(value_type = Option<String>)]
    reason: Option<Reason>,
}

/// What became of an extension.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExtensionView {
    grant: GrantView,
    /// The request that has to be approved first. null: the grant is extended.
    request: Option<RequestView>,
}

/// Extends the caller's own grant, under the same id: at once, or by a request where its role needs approval for it.
#[utoipa::path(post, path = "/v1/grants/{id}/extend", tag = "people", params(("id" = String, Path)), request_body = NewExtension, responses(
    (status = 200, body = ExtensionView, description = "extended"),
    (status = 202, body = ExtensionView, description = "asked for"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn extend(
    State(server): State<Arc<Server>>,
    caller: Caller,
    origin: Origin,
    Path(id): Path<String>,
    input::Json(new): input::Json<NewExtension>,
) -> Result<(StatusCode, Json<ExtensionView>), Problem> {
    let by = caller.by()?;
    let id = input::id::<GrantId>(id)?;
    seen(&server, &caller, &id)?;
    let wanted = Command::Extend {
        grant: id.clone(),
        for_seconds: new.for_seconds,
        reason: new.reason,
        origin,
    };
    let entries = server.execute(by, wanted).await?;
    let asked = entries.iter().find_map(|entry| entry.event.request());
    let request = asked
        .map(|request| requests::seen(&server, &caller, request))
        .transpose()?;
    let status = match request {
        Some(_) => StatusCode::ACCEPTED,
        None => StatusCode::OK,
    };
    let grant = seen(&server, &caller, &id)?;
    Ok((status, Json(ExtensionView { grant, request })))
}

async fn act(
    server: &Arc<Server>,
    caller: &Caller,
    id: String,
    wanted: impl FnOnce(GrantId) -> Command,
) -> Result<Json<GrantView>, Problem> {
    let by = caller.by()?;
    let id = input::id::<GrantId>(id)?;
    seen(server, caller, &id)?;
    server.execute(by, wanted(id.clone())).await?;
    seen(server, caller, &id).map(Json)
}

/// The grant, where the caller may see it.
pub(super) fn seen(server: &Server, caller: &Caller, id: &GrantId) -> Result<GrantView, Problem> {
    let person = caller.person()?;
    let (policy, now) = (server.policy(), server.now());
    let found = server.look(|state| {
        let user = person.and_then(|name| state.directory.user(name));
        let grant = state.grant(id)?;
        let request = state
            .request(&grant.request)
            .filter(|request| may_see(&policy, state, caller, user, request))?;
        Some(view(grant, request, now))
    });
    found.ok_or_else(|| Problem::missing(format!("there is no grant {id}")).code("no-grant"))
}

fn view(grant: &Grant, request: &Request, now: Timestamp) -> GrantView {
    GrantView {
        id: grant.id.to_string(),
        request: grant.request.to_string(),
        principal: grant.principal.to_string(),
        login: grant.login.to_string(),
        role: grant.role.to_string(),
        host: grant.host.to_string(),
        allow: request.asked.actions.iter().copied().collect(),
        not_before: grant.not_before,
        expires: grant.expires,
        extendable_until: grant.extendable_until,
        state: grant.state(now),
        ended: grant.ended.as_ref().map(EndedView::from),
        approvals: request.counted().map(ApprovalView::from).collect(),
        reason: request.asked.reason.to_string(),
        ticket: request.asked.ticket.as_ref().map(ToString::to_string),
        groups: grant.limits.groups.listed(),
    }
}
