//! Calls that were refused go on record, with who made them and how: an auditor looks for attempts, too.

use std::sync::{Arc, OnceLock};

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use jit_grant::{HostId, UserTokenId};

use super::{Peer, Problem, Remote};
use crate::event::{Actor, CallRefused};
use crate::server::Server;

/// Characters of a call and of why it was refused: the record is kept for ever, and callers choose both.
const MOST_CHARACTERS: usize = 300;

/// Who a call is made by, as far as it is certain.
#[derive(Debug, Clone)]
pub(super) enum Who {
    /// The administrator, or a user with the token that made him known.
    Person(Actor, Option<UserTokenId>),
    /// An account at the socket that is no user's, or several users'.
    Account(Peer),
    /// A host whose token is its own.
    Host(HostId),
}

/// Who turned out to make a call, where it is somebody whom the record can name.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(Arc<OnceLock<Who>>);

impl Known {
    /// The caller of what `parts` begin is `who`.
    pub(super) fn note(parts: &Parts, who: Who) {
        if let Some(Self(known)) = parts.extensions.get() {
            // A call is made by one caller, whoever asks for him first.
            let _ = known.set(who);
        }
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
    let (Some(who), Some(problem)) = (known.0.get(), response.extensions().get::<Problem>()) else {
        return response;
    };
    if response.status().is_client_error() && !has_an_alarm(who, problem) {
        let refused = CallRefused {
            call: beginning(&call),
            status: response.status().as_u16(),
            code: problem.word().map(str::to_owned),
            why: beginning(problem.detail()),
            token: None,
            from,
            account: None,
            uid: None,
            host: None,
            left_out: 0,
        };
        let (actor, refused) = made_by(who, &server, refused);
        server.refused(actor, refused, problem.word()).await;
    }
    response
}

/// With who made it.
fn made_by(who: &Who, server: &Server, refused: CallRefused) -> (Actor, CallRefused) {
    match who {
        Who::Person(actor, token) => {
            let token = token.clone();
            (actor.clone(), CallRefused { token, ..refused })
        }
        Who::Account(peer) => {
            let account = peer.account.as_deref().map(beginning);
            let uid = Some(peer.uid);
            let refused = CallRefused {
                account,
                uid,
                ..refused
            };
            (Actor::Server, refused)
        }
        Who::Host(host) => {
            let host = server.look(|state| {
                let host = state.directory.host_by_id(host)?;
                Some(host.enrolled.name.clone())
            });
            (Actor::Server, CallRefused { host, ..refused })
        }
    }
}

/// Lines that do not follow a host's chain are an alarm already.
fn has_an_alarm(who: &Who, problem: &Problem) -> bool {
    matches!(who, Who::Host(_)) && problem.word() == Some("chain")
}

fn beginning(text: &str) -> String {
    text.chars().take(MOST_CHARACTERS).collect()
}
