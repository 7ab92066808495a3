//! Each call of a person's is known to whatever is recorded because of it, and most are done once where their caller gave them a key.

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

/// Answers a call that takes no key; what is recorded meanwhile says that it came by it.
pub(super) async fn answer_anew(mut request: Request, next: Next) -> Response {
    let call = Arc::new(of(&request));
    request.extensions_mut().insert(Arc::clone(&call));
    call.around(next.run(request)).await
}

fn of(request: &Request) -> Call {
    let remote = request.extensions().get::<Arc<Remote>>();
    let uid = request.extensions().get::<Peer>().map(|peer| peer.uid);
    let here = uid.map(|_| Origin::Socket);
    let from = remote.map(|remote| Origin::Address(remote.peer()));
    Call::new(from.or(here), uid)
}
