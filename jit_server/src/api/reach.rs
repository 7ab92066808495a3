//! What a caller may do at all, whatever the call is about. Asked once for each call, by whatever route it comes, as soon as it is known
//! who calls.

use jit_grant::Principal;

use super::Problem;
use super::caller::Caller;
use crate::server::Server;

/// Refuses whoever may not make this call.
///
/// # Errors
/// A service account that shows no token: who stands behind an account of this machine nobody knows, and it has no scope.
pub(super) fn check(server: &Server, caller: &Caller) -> Result<(), Problem> {
    match caller {
        Caller::Person(name, None) if is_service(server, name) => Err(Problem::forbidden(format!(
            "{name} is a service account, which is known by a token alone: over TLS, also from this machine, with one that root makes by `jit-server user token {name}`"
        ))
        .code("service-needs-token")),
        _ => Ok(()),
    }
}

fn is_service(server: &Server, name: &Principal) -> bool {
    server.look(|state| {
        let user = state.directory.user(name);
        user.is_some_and(crate::event::UserSet::is_service)
    })
}
