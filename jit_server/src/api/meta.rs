//! About the server and the caller.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use jit_grant::Principal;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::Problem;
use super::caller::Caller;
use super::locks::LockView;
use super::requests::is_to_be_reviewed_by;
use crate::error::Error;
use crate::server::Server;

/// Reviews that somebody is told of at a time.
const MOST_REVIEWS: usize = 50;

/// Who the caller is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Whoami {
    /// True for uid 0.
    administrator: bool,
    /// The user's name. null for the administrator and for accounts that are no user.
    principal: Option<String>,
    /// The lock that keeps the user from asking and approving. null: not locked.
    lock: Option<LockView>,
    /// The token that was shown. null: the caller is known without one.
    token: Option<ShownToken>,
    /// Requests of break-glass roles whose use the user has to review, now or when they have ended; the newest 50.
    to_review: Vec<String>,
    /// From then on the user is nobody here. null: there is no end, or the caller is no user.
    until: Option<Timestamp>,
    /// How many more of them there are.
    to_review_more: usize,
    /// Changes that wait, and that the user may confirm and has not as they stand now.
    to_confirm: Vec<String>,
}

/// The token that a caller is known by.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownToken {
    /// What the record calls it.
    id: String,
    /// When it counts no more.
    expires: Timestamp,
    /// What it is for. None: whatever its user may do.
    scopes: Vec<String>,
}

/// Who the server takes the caller for.
#[utoipa::path(get, path = "/v1/whoami", tag = "people", responses(
    (status = 200, body = Whoami),
    (status = 403, body = Problem, content_type = "application/problem+json", description = "several users share this login, or the user's time is over"),
    (status = 401, body = Problem, content_type = "application/problem+json", description = "over the network: no token, or none that counts"),
))]
pub(super) async fn whoami(State(server): State<Arc<Server>>, caller: Caller) -> Json<Whoami> {
    let principal = match &caller {
        Caller::Person(name, _) => Some(name),
        Caller::Administrator | Caller::Stranger(_) => None,
    };
    let lock = principal.and_then(|name| server.look(|state| state.lock(name).map(LockView::from)));
    let policy = server.policy();
    let (to_review, to_review_more) = server.look(|state| {
        let user = principal.and_then(|name| state.directory.user(name));
        let mut his: Vec<_> = state
            .unreviewed()
            .filter(|request| user.is_some_and(|user| is_to_be_reviewed_by(&policy, user, request)))
            .collect();
        let more = his.len().saturating_sub(MOST_REVIEWS);
        let newest = his.split_off(more).into_iter();
        let newest = newest.map(|request| request.asked.request.to_string());
        (newest.collect(), more)
    });
    let to_confirm = principal.map(|name| waits_for(&server, name));
    let until = principal.and_then(|name| server.look(|state| state.directory.user(name)?.until));
    Json(Whoami {
        administrator: caller == Caller::Administrator,
        principal: principal.map(ToString::to_string),
        lock,
        token: caller.token().map(|made| ShownToken {
            id: made.token.to_string(),
            expires: made.expires,
            scopes: made.scopes.listed(),
        }),
        to_review,
        until,
        to_review_more,
        to_confirm: to_confirm.unwrap_or_default(),
    })
}

/// The changes that `name` may confirm and has not, as they stand now: what he confirmed before one of them moved is none of it.
fn waits_for(server: &Server, name: &Principal) -> Vec<String> {
    let now = server.now();
    let waiting: Vec<_> = server.look(|state| {
        let may = state.may_confirm(name, now);
        let waiting = state.pending_changes().filter(|_| may);
        let given = waiting.map(|change| {
            let mut given = change.confirmed.iter();
            (
                change.id.clone(),
                given.find(|given| given.by == *name).cloned(),
            )
        });
        given.collect()
    });
    let his = waiting.into_iter().filter(|(id, given)| {
        given.as_ref().is_none_or(|given| {
            let comes_to = server.change_now(id);
            comes_to.is_ok_and(|to| server.look(|state| !state.counts(given, &to.digest, now)))
        })
    });
    his.map(|(id, _)| id.to_string()).collect()
}

/// That the server lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`.
    status: &'static str,
    /// The server's version.
    version: &'static str,
}

/// Whether the server lives.
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// For so long what a look at the record came to is told to whoever asks, since anybody may.
const LOOKED_AT: Duration = Duration::from_secs(1);

/// What the last look at the record came to, and when.
#[derive(Debug, Default)]
pub(super) struct Readable(Mutex<Option<(Instant, Result<(), Problem>)>>);

impl Readable {
    /// What came of the last `look`, or of another one where that was a while ago. Whoever asks meanwhile waits for the same one.
    async fn ask(&self, look: impl Future<Output = Result<(), Problem>>) -> Result<(), Problem> {
        let mut last = self.0.lock().await;
        if let Some((at, came_to)) = &*last
            && at.elapsed() < LOOKED_AT
        {
            return came_to.clone();
        }
        let came_to = look.await;
        *last = Some((Instant::now(), came_to.clone()));
        came_to
    }
}

/// Whether the server can answer for what it knows: it is not stopping, its record can be read, and where others write to that, too, it has seen of late what they did. The record is read once a second at most, however many ask.
#[utoipa::path(get, path = "/readyz", tag = "server", responses(
    (status = 200, body = Health),
    (status = 503, body = Problem, content_type = "application/problem+json", description = "not now"),
))]
pub(super) async fn readyz(
    State(server): State<Arc<Server>>,
    Extension(readable): Extension<Arc<Readable>>,
) -> Result<Json<Health>, Problem> {
    if *server.stopping().borrow() {
        return Err(Error::Stopping.into());
    }
    server.in_contact()?;
    let look = async {
        // Not one more of them is there: it is the database that is asked.
        let last = *server.changes().borrow();
        server.record(last, 1).await?;
        Ok(())
    };
    readable.ask(look).await?;
    Ok(healthz().await)
}

/// It never changes while the server runs, and making it takes longer than most calls.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    // Texts and numbers always serialise.
    serde_json::to_vec(&super::document())
        .unwrap_or_default()
        .into()
});

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "server", responses((status = 200, description = "OpenAPI 3.1")))]
pub(super) async fn openapi() -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, DOCUMENT.clone()).into_response()
}

pub(super) async fn no_such_route(uri: Uri) -> Problem {
    Problem::missing(format!(
        "there is no {}; GET /v1/openapi.json lists what there is",
        uri.path()
    ))
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} can't be done with {method}", uri.path()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_the_record_is_looked_at_once_a_second_also_where_it_is_away() {
        let readable = Readable::default();
        let looks = std::cell::Cell::new(0);
        let look = |came_to: Result<(), Problem>| async {
            looks.set(looks.get() + 1);
            came_to
        };
        let away = || Err(Problem::from(Error::Away));
        for _ in 0..50 {
            assert_eq!(readable.ask(look(away())).await, away());
        }
        assert_eq!(looks.get(), 1);
        tokio::time::advance(LOOKED_AT).await;
        for _ in 0..50 {
            assert_eq!(readable.ask(look(Ok(()))).await, Ok(()));
        }
        assert_eq!(looks.get(), 2);
    }
}
