//! Where a call came from, by the connection that carries it. No header is believed.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::sync::Arc;

use super::{Peer, Problem, Remote};
use crate::origin::Origin;
use crate::server::Server;

impl FromRequestParts<Arc<Server>> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Server>) -> Result<Self, Problem> {
        let remote = parts.extensions.get::<Arc<Remote>>();
        let remote = remote.map(|remote| Self::Address(remote.peer()));
        let here = || parts.extensions.get::<Peer>().map(|_| Self::Socket);
        remote
            .or_else(here)
            .ok_or_else(|| Problem::forbidden("nobody knows where this call is from"))
    }
}
