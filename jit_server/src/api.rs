//! The HTTP API. One handler a request; every one of them is in the OpenAPI document, since both come from one list.

mod allowances;
mod apply;
mod audit;
mod call;
mod caller;
mod changes;
mod enrolment;
mod grants;
mod host_side;
mod hosts;
mod in_time;
mod input;
mod key;
mod left_behind;
mod limits;
mod locks;
mod loss;
mod meta;
mod metrics;
mod once;
mod origin;
mod page;
mod policy;
mod problem;
mod reach;
mod refusals;
mod refused;
mod remote;
mod requests;
mod restored;
mod roles;
mod sessions;
mod token_rotation;
mod unread;
mod user_tokens;
mod users;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::{Extension, Router};
use utoipa::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::server::Server;

pub use caller::Peer;
pub use limits::Limits;
pub use problem::Problem;
pub use remote::{Remote, RemoteLimits};

/// The largest body of most requests.
const MAX_BODY: usize = 64 * 1024;

#[derive(OpenApi)]
#[openapi(info(
    title = "jit-server",
    description = "Just-in-time access: requests, approvals, grants, and what hosts are told. People are known by the uid at \
                   the other end of the Unix socket, over TLS by `Authorization: Bearer jit-user.…`; hosts, at both, by a token they sign. Every call but openapi.json and healthz carries \
                   the header `Jit-Client: NAME/VERSION`. A POST of a person's with the header `Idempotency-Key` is done once however often it is \
                   sent within a day; rotations of tokens, and hosts' own calls, which do nothing twice anyway, take none."
))]
struct Document;

/// The routes, and the document that describes them.
fn described() -> OpenApiRouter<Arc<Server>> {
    people().merge(hosts()).merge(rotations())
}

/// What people and the administrator call.
fn people() -> OpenApiRouter<Arc<Server>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(meta::whoami))
        .routes(routes!(users::list, users::set))
        .routes(routes!(users::remove))
        .routes(routes!(user_tokens::list, user_tokens::make))
        .routes(routes!(user_tokens::revoke))
        .routes(routes!(locks::list))
        .routes(routes!(locks::lock))
        .routes(routes!(locks::unlock))
        .routes(routes!(hosts::list, hosts::enrol))
        .routes(routes!(hosts::remove))
        .routes(routes!(
            enrolment::list_tokens,
            enrolment::make_token,
            hosts::remove_tokens
        ))
        .routes(routes!(enrolment::revoke_token))
        .routes(routes!(apply::apply).layer(apply::files_limit()))
        .routes(routes!(key::rotate))
        .routes(routes!(restored::show, restored::declare))
        .routes(routes!(restored::confirm))
        .routes(routes!(policy::show))
        .routes(routes!(policy::explain))
        .routes(routes!(roles::list))
        .routes(routes!(requests::list, requests::ask))
        .routes(routes!(requests::show))
        .routes(routes!(requests::approve))
        .routes(routes!(requests::deny))
        .routes(routes!(requests::withdraw))
        .routes(routes!(requests::review))
        .routes(routes!(grants::list))
        .routes(routes!(grants::show))
        .routes(routes!(grants::revoke))
        .routes(routes!(grants::release))
        .routes(routes!(grants::extend))
        .routes(routes!(left_behind::show))
        .routes(routes!(sessions::list))
        .routes(routes!(audit::list))
        .routes(routes!(changes::list))
        .routes(routes!(changes::show))
        .routes(routes!(changes::confirm))
        .routes(routes!(changes::deny))
        .routes(routes!(changes::withdraw))
        .routes(routes!(changes::alone))
}

/// What hosts call.
fn hosts() -> OpenApiRouter<Arc<Server>> {
    OpenApiRouter::new()
        .routes(routes!(enrolment::enrol))
        .routes(routes!(host_side::stream))
        .routes(routes!(host_side::bundle))
        .routes(routes!(host_side::word))
        .routes(routes!(host_side::events).layer(host_side::events_limit()))
}

/// What people and the administrator call, and is done anew each time that it is sent: where its answer was lost, what was made is taken back.
fn rotations() -> OpenApiRouter<Arc<Server>> {
    OpenApiRouter::new()
        .routes(routes!(token_rotation::of_user))
        .routes(routes!(token_rotation::own))
}

fn open_to_all() -> OpenApiRouter<Arc<Server>> {
    OpenApiRouter::new()
        .routes(routes!(meta::healthz))
        .routes(routes!(meta::openapi))
        .routes(routes!(meta::readyz))
}

/// What monitoring asks: it needs a caller, and not the header `Jit-Client`.
fn figures() -> OpenApiRouter<Arc<Server>> {
    OpenApiRouter::new().routes(routes!(metrics::show))
}

/// The document of the whole API.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = described()
        .merge(open_to_all())
        .merge(figures())
        .into_openapi();
    refusals::describe(&mut document);
    once::describe(&mut document);
    document
}

/// The API of `server`, called within `limits`.
pub fn router(server: Arc<Server>, limits: Arc<Limits>) -> Router {
    let calls = Arc::new(metrics::Calls::default());
    let calling = (Arc::clone(&server), Arc::default());
    let guarded = Router::from(people())
        .layer(middleware::from_fn_with_state(calling, call::answer))
        .merge(Router::from(rotations()).layer(middleware::from_fn(call::answer_anew)))
        .merge(Router::from(hosts()))
        .layer(middleware::from_fn(caller::demand_client_header))
        .merge(Router::from(figures()))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&server),
            refused::record,
        ));
    guarded
        .merge(Router::from(open_to_all()))
        .fallback(meta::no_such_route)
        .method_not_allowed_fallback(meta::no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(in_time::answer))
        .layer(middleware::from_fn_with_state(
            limits,
            limits::demand_moderation,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&calls),
            metrics::count,
        ))
        .layer(middleware::from_fn(unread::read_off))
        .layer(Extension(calls))
        .layer(Extension(Arc::<meta::Readable>::default()))
        .with_state(server)
}

#[cfg(test)]
mod tests;
