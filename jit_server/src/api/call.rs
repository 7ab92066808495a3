//! Each call is known to whatever is recorded because of it, and done once where its caller gave it a key.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::once::{self, UnderWay};
use super::{Peer, Remote};
use crate::origin::Origin;
use crate::server::{Call, Server};

/// Answers a call; what is recorded meanwhile says that it came by it.
pub(super) async fn answer(
    State((server, under_way)): State<(Arc<Server>, Arc<UnderWay>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let call = Arc::new(of(&request));
    request.extensions_mut().insert(Arc::clone(&call));
    call.around(once::answer(server, under_way, request, next))
        .await
}

fn of(request: &Request) -> Call {
    let remote = request.extensions().get::<Arc<Remote>>();
    let uid = request.extensions().get::<Peer>().map(|peer| peer.uid);
    let here = uid.map(|_| Origin::Socket);
    let from = remote.map(|remote| Origin::Address(remote.peer()));
    Call::new(from.or(here), uid)
}
