//! An older copy of the database that was put back, for the administrator.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use jit_grant::HostName;
use serde::Serialize;
use utoipa::ToSchema;

use super::Problem;
use super::caller::Administrator;
use super::input;
use super::requests::Nothing;
use crate::server::Server;

/// Whether an older copy of the database was put back.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RestoredView {
    /// null: none was, or it is confirmed.
    unconfirmed: Option<UnconfirmedView>,
}

/// A restoration that is not confirmed: nobody may ask or approve.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnconfirmedView {
    /// When it was noticed.
    at: Timestamp,
    /// `@server`, or `@administrator` where it was declared.
    by: String,
    /// The last event of the copy, and when that was.
    copy_seq: u64,
    copy_at: Timestamp,
    /// The last event that this machine knows of. null: it knows of none.
    mark: Option<u64>,
    /// Hosts that were told something after the copy was made, with the revision that they held.
    #[schema(value_type = BTreeMap<String, u64>)]
    ahead: BTreeMap<HostName, u64>,
    /// Hosts of the copy that were not heard of since.
    unheard: Vec<String>,
}

/// Whether an older copy of the database was put back, and what is known to differ.
#[utoipa::path(get, path = "/v1/restored", tag = "administration", responses(
    (status = 200, body = RestoredView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    _: Administrator,
) -> Json<RestoredView> {
    Json(standing(&server))
}

/// Says that an older copy was put back where the server could not notice, as with a snapshot of the whole machine. Grants and tokens end.
#[utoipa::path(post, path = "/v1/restored", tag = "administration", request_body = Nothing, responses(
    (status = 200, body = RestoredView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn declare(
    State(server): State<Arc<Server>>,
    _: Administrator,
    input::Json(Nothing {}): input::Json<Nothing>,
) -> Result<Json<RestoredView>, Problem> {
    server.declare_restored().await?;
    Ok(Json(standing(&server)))
}

/// Lets people ask and approve again.
#[utoipa::path(post, path = "/v1/restored/confirm", tag = "administration", request_body = Nothing, responses(
    (status = 200, body = RestoredView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn confirm(
    State(server): State<Arc<Server>>,
    _: Administrator,
    input::Json(Nothing {}): input::Json<Nothing>,
) -> Result<Json<RestoredView>, Problem> {
    server.confirm_restored().await?;
    Ok(Json(standing(&server)))
}

fn standing(server: &Server) -> RestoredView {
    let unconfirmed = server.look(|state| {
        let unconfirmed = state.unconfirmed()?;
        let unheard = state.directory.hosts().filter(|host| {
            let (connected, seen) = server.streams().standing(&host.enrolled.host_id);
            !connected && seen.is_none()
        });
        Some(UnconfirmedView {
            at: unconfirmed.at,
            by: unconfirmed.by.to_string(),
            copy_seq: unconfirmed.restored.copy_seq,
            copy_at: unconfirmed.restored.copy_at,
            mark: unconfirmed.restored.mark,
            ahead: unconfirmed.ahead.clone(),
            unheard: unheard.map(|host| host.enrolled.name.to_string()).collect(),
        })
    });
    RestoredView { unconfirmed }
}
