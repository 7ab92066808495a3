//! What a caller may do at all, whatever the call is about. Asked once for each call, by whatever route it comes, as soon as it is known
//! who calls.

use axum::extract::MatchedPath;
use axum::http::Method;
use axum::http::request::Parts;
use jit_grant::Principal;

use super::Problem;
use super::caller::Caller;
use crate::error::Error;
use crate::event::UserSet;
use crate::scope::Need;
use crate::server::Server;

/// Refuses whoever may not make this call.
///
/// # Errors
/// A service account that shows no token: who stands behind an account of this machine nobody knows, and it has no scope. A token that is not
/// for such calls.
pub(super) fn check(server: &Server, caller: &Caller, parts: &Parts) -> Result<(), Problem> {
    let Caller::Person(name, token) = caller else {
        return Ok(());
    };
    match token {
        None if is_service(server, name) => Err(Problem::forbidden(format!(
            "{name} is a service account, which is known by a token alone: over TLS, also from this machine, with one that root makes by `jit-server user token {name} --scope …`; jitctl asks this socket first, a login kept or not, unless JIT_SERVER=https://… names the server"
        ))
        .code("service-needs-token")),
        None => Ok(()),
        Some(token) => {
            let path = parts.extensions.get::<MatchedPath>();
            let need = path.map_or(Need::Everything, |path| need(&parts.method, path.as_str()));
            Ok(token.scopes.meet(need).map_err(Error::from)?)
        }
    }
}

fn is_service(server: &Server, name: &Principal) -> bool {
    server.look(|state| state.directory.user(name).is_some_and(UserSet::is_service))
}

/// What an operation needs a token with scopes to be for. One that is not here changes something and is for no scope, so that nothing that
/// is added to the API is open to tokens made before.
fn need(method: &Method, path: &str) -> Need {
    match (method.as_str(), path) {
        (
            "GET",
            "/v1/whoami"
            | "/v1/roles"
            | "/v1/hosts"
            | "/v1/requests"
            | "/v1/requests/{id}"
            | "/v1/grants"
            | "/v1/grants/{id}"
            | "/v1/grants/{id}/sessions"
            | "/v1/grants/{id}/left-behind",
        ) => Need::Any,
        // It gives nothing that the token which is shown did not.
        ("POST", "/v1/token/rotate") => Need::Any,
        ("GET", _) => Need::Read,
        (
            "POST",
            "/v1/requests"
            | "/v1/requests/{id}/withdraw"
            | "/v1/grants/{id}/extend"
            | "/v1/grants/{id}/release",
        ) => Need::Ask,
        (
            "POST",
            "/v1/requests/{id}/approve"
            | "/v1/requests/{id}/deny"
            | "/v1/requests/{id}/review"
            | "/v1/grants/{id}/revoke",
        ) => Need::Approve,
        _ => Need::Everything,
    }
}
