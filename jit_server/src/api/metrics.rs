//! Figures for Prometheus: what stands how, and how calls are answered. They name nobody.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::Problem;
use super::caller::Caller;
use crate::server::Server;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Upper bounds of what calls take. Seconds; a call that waits on purpose takes up to 60.
const BOUNDS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 90.0];
/// For so long a host counts as one that gave cause for an alarm.
const ALARMED: SignedDuration = SignedDuration::from_hours(24);

/// How calls were answered since the server started.
#[derive(Debug)]
pub(super) struct Calls {
    answered: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            answered: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BOUNDS)),
        }
    }
}

/// Counts every call, by its route and not by its path, so that callers can't make up new figures.
pub(super) async fn count(
    State(calls): State<Arc<Calls>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let route = path.map_or("none", MatchedPath::as_str).to_owned();
    let method = named(request.method());
    let began = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let seconds = began.elapsed().as_secs_f64();
    let by_route = Route {
        method,
        route: route.clone(),
    };
    calls.seconds.get_or_create(&by_route).observe(seconds);
    let answered = Answered {
        method,
        route,
        status,
    };
    calls.answered.get_or_create(&answered).inc();
    response
}

fn named(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// Figures of the server, as OpenMetrics has them. For every user, by his account or token.
#[utoipa::path(get, path = "/metrics", tag = "server", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text"),
    (status = 401, body = Problem, content_type = "application/problem+json", description = "over the network: no token, or none that counts"),
    (status = 403, body = Problem, content_type = "application/problem+json", description = "for users only"),
    (status = 500, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    Extension(calls): Extension<Arc<Calls>>,
    caller: Caller,
) -> Result<Response, Problem> {
    caller.person()?;
    let mut registry = Registry::with_prefix("jit_server");
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "What answers", version);
    of_state(&server, &mut registry);
    registry.register(
        "calls",
        "Calls answered since the server started",
        calls.answered.clone(),
    );
    registry.register_with_unit(
        "call_duration",
        "What they took; a call that waits for news takes as long as it was told to wait",
        Unit::Seconds,
        calls.seconds.clone(),
    );
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| {
        let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, format!("the figures can't be written: {error}"))
    })?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

fn of_state(server: &Server, registry: &mut Registry) {
    let now = server.now();
    let streams = server.streams();
    let figures = server.look(|state| {
        let hosts: Vec<_> = state.directory.hosts().map(|host| &host.enrolled).collect();
        let connected = |id: &&jit_grant::HostId| streams.standing(id).0;
        let ids = hosts.iter().map(|host| &host.host_id);
        let alarmed = ids.clone().filter(|id| {
            let last = state.last_alarm(id);
            last.is_some_and(|at| now.duration_since(at) < ALARMED)
        });
        [
            (
                "requests_pending",
                "Requests that nobody has decided",
                state.pending().count(),
            ),
            (
                "grants_live",
                "Grants in force, or to be later",
                state.live_grants(now).count(),
            ),
            ("hosts_enrolled", "Hosts enrolled", hosts.len()),
            (
                "hosts_connected",
                "Hosts that follow a stream of this server",
                ids.clone().filter(connected).count(),
            ),
            (
                "hosts_alarmed",
                "Hosts that gave cause for an alarm within a day",
                alarmed.count(),
            ),
            (
                "users_locked",
                "Users who are locked",
                state.locks().count(),
            ),
        ]
    });
    for (name, help, count) in figures {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        registry.register(name, help, ConstGauge::new(count));
    }
    let last = i64::try_from(*server.changes().borrow()).unwrap_or(i64::MAX);
    registry.register(
        "record_last",
        "The number of the last of the server's own events",
        ConstGauge::new(last),
    );
}
