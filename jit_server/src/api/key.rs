//! The server's signing key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Problem;
use super::caller::Administrator;
use crate::server::Server;

/// A rotation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rotated {
    /// Its number, from 1.
    seq: u64,
    /// Id of the key before.
    before: String,
    /// Id of the key that signs from now on.
    kid: String,
    /// Its raw public half: 32 bytes in base64url without padding.
    public_key: String,
}

/// Makes the next signing key, which signs from now on. Hosts are led to it by the one before.
#[utoipa::path(post, path = "/v1/key/rotate", tag = "administration", responses(
    (status = 200, body = Rotated),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn rotate(
    State(server): State<Arc<Server>>,
    _: Administrator,
) -> Result<Json<Rotated>, Problem> {
    let rotated = server.rotate_key().await?;
    Ok(Json(Rotated {
        seq: rotated.seq,
        before: rotated.before.kid(),
        kid: rotated.next.kid(),
        public_key: rotated.next.to_string(),
    }))
}
