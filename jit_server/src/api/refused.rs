//! Calls that were refused go on record, with who made them and how: an auditor looks for attempts, too.

use std::sync::{Arc, OnceLock};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use jit_grant::UserTokenId;

use super::{Problem, Remote};
use crate::event::{Actor, CallRefused};
use crate::server::Server;

/// Characters of a call and of why it was refused: the record is kept for ever, and callers choose both.
const MOST_CHARACTERS: usize = 300;

/// Who turned out to make a call, where it is somebody whom the record can name.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(Arc<OnceLock<(Actor, Option<UserTokenId>)>>);

impl Known {
    pub(super) fn is(&self, actor: Actor, token: Option<UserTokenId>) {
        // A call is made by one caller, whoever asks for him first.
        let _ = self.0.set((actor, token));
    }
}

/// Records the call once it is refused, before whoever made it hears so.
pub(super) async fn record(
    State(server): State<Arc<Server>>,
    mut request: Request,
    next: Next,
) -> Response {
    let known = Known::default();
    request.extensions_mut().insert(known.clone());
    let remote = request.extensions().get::<Arc<Remote>>();
    let from = remote.map(|remote| remote.peer());
    let call = format!("{} {}", request.method(), request.uri().path());
    let response = next.run(request).await;
    let (Some((actor, token)), Some(problem)) =
        (known.0.get(), response.extensions().get::<Problem>())
    else {
        return response;
    };
    if response.status().is_client_error() {
        let refused = CallRefused {
            call: beginning(&call),
            status: response.status().as_u16(),
            code: problem.word().map(str::to_owned),
            why: beginning(problem.detail()),
            token: token.clone(),
            from,
            left_out: 0,
        };
        server.refused(actor.clone(), refused, problem.word()).await;
    }
    response
}

fn beginning(text: &str) -> String {
    text.chars().take(MOST_CHARACTERS).collect()
}
