//! What was open under a grant, as its host recorded it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jit_grant::GrantId;
use serde::Serialize;
use utoipa::ToSchema;

use super::Problem;
use super::audit::{EventView, of_host};
use super::caller::Caller;
use super::input::Path;
use super::{grants, input};
use crate::server::Server;
use crate::store::{Kept, Part};

/// Lines of a host in one answer at most, the newest.
const MOST_LINES: u32 = 500;

/// The logins, elevations and jobs that a grant held open at any time: how each began, what carried it on, and how it ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sessions {
    /// In order, as in the record. null for whoever is neither the grant's principal nor the administrator.
    events: Option<Vec<EventView>>,
    /// false: there are earlier ones, which the record has.
    complete: bool,
}

/// What was open under a grant. As in the record, people see their own sessions and the administrator sees all.
#[utoipa::path(get, path = "/v1/grants/{id}/sessions", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, body = Sessions),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Sessions>, Problem> {
    let id = input::id::<GrantId>(id)?;
    grants::seen(&server, &caller, &id)?;
    let is_his = match caller.person()? {
        None => true,
        Some(name) => server.look(|state| {
            let request = state.grant(&id).and_then(|of| state.request(&of.request));
            request.is_some_and(|request| state.is_own(name, request))
        }),
    };
    if !is_his {
        return Ok(Json(Sessions {
            events: None,
            complete: true,
        }));
    }
    let found = server.sessions_of(&id, MOST_LINES + 1).await?;
    let Part {
        found: mut lines,
        cut,
    } = found;
    let complete = !cut && lines.len() <= MOST_LINES as usize;
    lines.truncate(MOST_LINES as usize);
    let events = lines.iter().rev().filter_map(|kept| match kept {
        Kept::OfHost { seq, host, line } => of_host(*seq, host, line, &caller),
        Kept::Own(_) => None,
    });
    Ok(Json(Sessions {
        events: Some(events.collect()),
        complete,
    }))
}
