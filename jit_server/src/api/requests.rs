//! Requests: asking, waiting, deciding.

mod review;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use jiff::Timestamp;
use jit_grant::{HostName, RequestId, RoleName};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::caller::Caller;
use super::input::{self, Parameters, Path};
use super::page::{self, Page, older_than};
use crate::event::UserSet;
use crate::label::Labelled;
use crate::origin::Origin;
use crate::policy::Policy;
use crate::server::Server;
use crate::text::{Comment, Reason, Ticket};
use crate::workflow::{Ask, Command, Progress, Request, RequestState, State as Known};

pub(super) use review::{__path_review, is_for as is_to_be_reviewed_by, review};
pub(super) use view::{ApprovalView, RequestView};

/// A long poll waits no longer. Seconds.
const LONGEST_WAIT: u64 = 60;

/// What somebody asks for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRequest {
    #[schema(value_type = String)]
    role: RoleName,
    /// None: every host of the role.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    hosts: BTreeSet<HostName>,
    /// None: for as long as the role says for that, where it does.
    for_seconds: Option<u32>,
    /// 3 to 500 characters on one line.
    #[schema(value_type = String)]
    reason: Reason,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    ticket: Option<Ticket>,
    /// Only the hosts of the role that have each of these keys with one of the values; not together with `hosts`.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, Vec<String>>)]
    labels: Labelled,
    /// From this instant on, as far ahead as the role allows. None: from the moment it is granted.
    not_before: Option<Timestamp>,
}

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only those that stand so: pending, approved, denied, withdrawn or lapsed.
    state: Option<String>,
    /// Only those that the caller can approve now.
    #[serde(default)]
    for_me: bool,
    /// Only those older than this one.
    #[param(value_type = Option<String>)]
    before: Option<RequestId>,
    /// No more than so many; 1 to 500, which it is where nothing is said.
    limit: Option<usize>,
    /// Only those of break-glass roles that the caller has to review, now or when they have ended.
    #[serde(default)]
    to_review: bool,
}

/// How long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    /// Answer no later than this; at most 60.
    #[serde(default)]
    wait_seconds: u64,
    /// Answer as soon as the request does not stand so any more.
    #[serde(rename = "while")]
    unchanged: Option<String>,
}

/// An approval.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewApproval {
    /// For less than was asked.
    for_seconds: Option<u32>,
    #[schema(value_type = Option<String>)]
    comment: Option<Comment>,
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Because {
    /// 3 to 500 characters on one line.
    #[schema(value_type = String)]
    pub(super) reason: Reason,
}

/// Nothing more to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Asks for a role.
#[utoipa::path(post, path = "/v1/requests", tag = "people", request_body = NewRequest, responses(
    (status = 201, body = RequestView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn ask(
    State(server): State<Arc<Server>>,
    caller: Caller,
    origin: Origin,
    input::Json(new): input::Json<NewRequest>,
) -> Result<(StatusCode, Json<RequestView>), Problem> {
    let NewRequest {
        role,
        hosts,
        for_seconds,
        reason,
        ticket,
        labels,
        not_before,
    } = new;
    if !hosts.is_empty() && !labels.is_empty() {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "name hosts, or labels that they have, not both",
        )
        .code("bad-body"));
    }
    let wanted = Command::Ask(Ask {
        role,
        hosts,
        labels,
        for_seconds,
        reason,
        ticket,
        not_before,
        origin,
    });
    let entries = server.execute(caller.by()?, wanted).await?;
    let made = entries.iter().find_map(|entry| entry.event.request());
    let made = made
        .ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "asking made no request"))?;
    Ok((StatusCode::CREATED, Json(seen(&server, &caller, made)?)))
}

/// The requests that the caller may see, newest first: his own, and those of roles that he may approve or review. `Link` leads to the next page.
#[utoipa::path(get, path = "/v1/requests", tag = "people", params(Which), responses((status = 200, body = Vec<RequestView>)))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    uri: Uri,
    Parameters(which): Parameters<Which>,
) -> Result<Page<RequestView>, Problem> {
    let limit = page::limit(which.limit)?;
    let wanted = which.state.as_deref().map(state_named).transpose()?;
    let person = caller.person()?;
    let (policy, now) = (server.policy(), server.now());
    Ok(server.look(|state| {
        let user = person.and_then(|name| state.directory.user(name));
        let fits = |request: &&Request| {
            may_see(&policy, state, &caller, user, request)
                && wanted.is_none_or(|wanted| view::state_at(request, now) == wanted)
                && (!which.to_review
                    || user.is_some_and(|user| review::is_for(&policy, user, request)))
                && (!which.for_me
                    || user.is_some_and(|user| is_for(&policy, state, user, request, now)))
        };
        let is_older = older_than(which.before.as_ref(), |request: &&Request| {
            &request.asked.request
        });
        let newest = state.requests().rev().filter(is_older).filter(fits);
        let views = newest.map(|request| RequestView::of(request, &policy, state, now));
        Page::of(&uri, limit, views, |view| &view.id)
    }))
}

/// One request; waits where that is asked.
#[utoipa::path(get, path = "/v1/requests/{id}", tag = "people", params(("id" = String, Path), Wait), responses(
    (status = 200, body = RequestView),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(wait): Parameters<Wait>,
) -> Result<Json<RequestView>, Problem> {
    let id = input::id::<RequestId>(id)?;
    let unchanged = wait.unchanged.as_deref().map(state_named).transpose()?;
    let mut changes = server.changes();
    let mut stopping = server.stopping();
    let deadline = tokio::time::sleep(Duration::from_secs(wait.wait_seconds.min(LONGEST_WAIT)));
    tokio::pin!(deadline);
    loop {
        changes.mark_unchanged();
        caller.is_still_known(&server)?;
        let found = seen(&server, &caller, &id)?;
        if unchanged != Some(found.state) {
            return Ok(Json(found));
        }
        tokio::select! {
            _ = changes.changed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(Json(found)),
            () = &mut deadline => {
                caller.is_still_known(&server)?;
                return Ok(Json(seen(&server, &caller, &id)?));
            }
        }
    }
}

/// Approves the stage that is due; the last approval of the last stage makes the grants.
#[utoipa::path(post, path = "/v1/requests/{id}/approve", tag = "people", params(("id" = String, Path)), request_body = NewApproval, responses(
    (status = 200, body = RequestView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn approve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
    input::Json(approval): input::Json<NewApproval>,
) -> Result<Json<RequestView>, Problem> {
    let NewApproval {
        for_seconds,
        comment,
    } = approval;
    act(&server, &caller, id, |request| Command::Approve {
        request,
        for_seconds,
        comment,
    })
    .await
}

/// Says no.
#[utoipa::path(post, path = "/v1/requests/{id}/deny", tag = "people", params(("id" = String, Path)), request_body = Because, responses(
    (status = 200, body = RequestView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn deny(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
    input::Json(because): input::Json<Because>,
) -> Result<Json<RequestView>, Problem> {
    act(&server, &caller, id, |request| Command::Deny {
        request,
        reason: because.reason,
    })
    .await
}

/// Takes the caller's own request back.
#[utoipa::path(post, path = "/v1/requests/{id}/withdraw", tag = "people", params(("id" = String, Path)), request_body = Nothing, responses(
    (status = 200, body = RequestView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn withdraw(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
    input::Json(Nothing {}): input::Json<Nothing>,
) -> Result<Json<RequestView>, Problem> {
    act(&server, &caller, id, |request| Command::Withdraw {
        request,
    })
    .await
}

async fn act(
    server: &Arc<Server>,
    caller: &Caller,
    id: String,
    wanted: impl FnOnce(RequestId) -> Command,
) -> Result<Json<RequestView>, Problem> {
    let by = caller.by()?;
    let id = input::id::<RequestId>(id)?;
    // Whoever may not see it is told that it is not there.
    seen(server, caller, &id)?;
    server.execute(by, wanted(id.clone())).await?;
    seen(server, caller, &id).map(Json)
}

/// The request, where the caller may see it.
pub(super) fn seen(
    server: &Server,
    caller: &Caller,
    id: &RequestId,
) -> Result<RequestView, Problem> {
    let person = caller.person()?;
    let (policy, now) = (server.policy(), server.now());
    let found = server.look(|state| {
        let user = person.and_then(|name| state.directory.user(name));
        let request = state
            .request(id)
            .filter(|request| may_see(&policy, state, caller, user, request))?;
        Some(RequestView::whole(request, &policy, state, now))
    });
    found.ok_or_else(|| Problem::missing(format!("there is no request {id}")).code("no-request"))
}

/// Administrators see all; people see their own, what they have decided, and what they may approve or review. What somebody asked or
/// decided who was removed is not that of whoever has his name now.
pub(super) fn may_see(
    policy: &Policy,
    state: &Known,
    caller: &Caller,
    user: Option<&UserSet>,
    request: &Request,
) -> bool {
    match (caller, user) {
        (Caller::Administrator, _) => true,
        (Caller::Person(name, _), Some(user)) => {
            state.is_own(name, request)
                || state.has_decided(name, request)
                || policy.oversees(user, &request.asked.role)
        }
        _ => false,
    }
}

/// True where `user` could approve the stage that is due now.
fn is_for(
    policy: &Policy,
    state: &Known,
    user: &UserSet,
    request: &Request,
    now: Timestamp,
) -> bool {
    let progress = || Progress::of(request, view::stages(request, policy), state, now);
    view::state_at(request, now) == RequestState::Pending
        && request.asked.principal != user.name
        && state.may_act(user, now)
        && progress().check(user, now).is_ok()
}

fn state_named(name: &str) -> Result<RequestState, Problem> {
    match name {
        "pending" => Ok(RequestState::Pending),
        "approved" => Ok(RequestState::Approved),
        "denied" => Ok(RequestState::Denied),
        "withdrawn" => Ok(RequestState::Withdrawn),
        "lapsed" => Ok(RequestState::Lapsed),
        _ => Err(Problem::bad_request(
            "a request is pending, approved, denied, withdrawn or lapsed",
        )),
    }
}
