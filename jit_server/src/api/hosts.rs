//! Hosts as people see them, and their enrolment.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use jiff::Timestamp;
use jit_grant::{Gates, HostName, PublicKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::caller::{Administrator, Caller};
use super::enrolment::ListedToken;
use super::input::{self, Json, Parameters, Path};
use super::page::{ByName, Page};
use crate::directory::Host;
use crate::label::{LabelKey, LabelValue};
use crate::server::{Enrolment, Server};

/// A host that wants to trust this server.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewHost {
    #[schema(value_type = String)]
    name: HostName,
    /// Raw Ed25519 public key: 32 bytes in base64url without padding.
    #[schema(value_type = String)]
    public_key: PublicKey,
}

/// What the host keeps.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Enrolled {
    host_id: String,
    name: String,
    /// The key that signs; for a host with a token the earlier ones after it, of which it believes the one that the token names.
    server_keys: Vec<ServerKey>,
}

/// A key of this server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServerKey {
    kid: String,
    /// Raw Ed25519 public key: 32 bytes in base64url without padding.
    public_key: String,
}

impl From<Enrolment> for Enrolled {
    fn from(enrolment: Enrolment) -> Self {
        Self {
            host_id: enrolment.host.host_id.to_string(),
            name: enrolment.host.name.to_string(),
            server_keys: vec![enrolment.server_key.into()],
        }
    }
}

impl Enrolled {
    /// With the earlier keys, too, of which the host believes the one that its token names and goes on from there.
    pub(super) fn for_a_token(mut enrolment: Enrolment) -> Self {
        let earlier = std::mem::take(&mut enrolment.earlier_keys);
        let mut enrolled = Self::from(enrolment);
        enrolled
            .server_keys
            .extend(earlier.into_iter().map(Into::into));
        enrolled
    }
}

impl From<PublicKey> for ServerKey {
    fn from(key: PublicKey) -> Self {
        Self {
            kid: key.kid(),
            public_key: key.to_string(),
        }
    }
}

/// A host that is no longer known.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Removed {
    name: String,
    /// The grants that ended with it.
    revoked: Vec<String>,
    /// The enrolment token that it came with, where that lets in more hosts: it counts on until it is revoked. null: none does.
    token: Option<ListedToken>,
}

/// A host as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HostStanding {
    name: String,
    host_id: String,
    enrolled_at: Timestamp,
    /// What its enrolment token said of it, or a file that was applied since.
    #[schema(value_type = BTreeMap<String, String>)]
    labels: BTreeMap<LabelKey, LabelValue>,
    /// True while it listens.
    connected: bool,
    /// The revision that it should be at.
    revision: u64,
    /// When it was last heard of, since this server runs.
    last_seen: Option<Timestamp>,
    /// When it gave cause for an alarm last; to be seen by the administrator alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_alarm: Option<Timestamp>,
    /// jitd's version there, as the host says itself; for the administrator alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// The PAM services with a gate, and what it does (`enforce`, `provisional`, `monitor`, `damaged`), as the host says itself; for the
    /// administrator alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    gates: Option<Gates>,
}

/// Enrols a host. The same name and key again answers the same; another key makes it another host.
#[utoipa::path(post, path = "/v1/hosts", tag = "administration", request_body = NewHost, responses(
    (status = 201, body = Enrolled),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json", description = "the key is another host's"),
))]
pub(super) async fn enrol(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Json(new): Json<NewHost>,
) -> Result<(StatusCode, axum::Json<Enrolled>), Problem> {
    let enrolment = server.enrol(new.name, new.public_key).await?;
    Ok((StatusCode::CREATED, axum::Json(enrolment.into())))
}

/// Forgets a host: its stream ends, its tokens count no more, and what was granted on it is revoked.
#[utoipa::path(delete, path = "/v1/hosts/{name}", tag = "administration", params(
    ("name" = String, Path, description = "the host's name"),
), responses(
    (status = 200, body = Removed),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn remove(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Path(name): Path<String>,
) -> Result<axum::Json<Removed>, Problem> {
    removed(&server, input::id(name)?).await
}

/// Forgets the host that is called `tokens`, as any other.
#[utoipa::path(delete, path = "/v1/hosts/tokens", tag = "administration", responses(
    (status = 200, body = Removed),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn remove_tokens(
    State(server): State<Arc<Server>>,
    _: Administrator,
) -> Result<axum::Json<Removed>, Problem> {
    removed(&server, input::id("tokens".to_owned())?).await
}

async fn removed(server: &Arc<Server>, name: HostName) -> Result<axum::Json<Removed>, Problem> {
    let removal = server.remove_host(name.clone()).await?;
    let now = server.now();
    Ok(axum::Json(Removed {
        name: name.to_string(),
        revoked: removal.revoked.iter().map(ToString::to_string).collect(),
        token: removal.token.map(|token| ListedToken::of(token, now)),
    }))
}

/// The hosts: all of them for the administrator, for people those of roles that they may ask for, approve or review. By name; `Link` leads
/// to the next page.
#[utoipa::path(get, path = "/v1/hosts", tag = "people", params(ByName), responses((status = 200, body = Vec<HostStanding>)))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    uri: Uri,
    Parameters(which): Parameters<ByName>,
) -> Result<Page<HostStanding>, Problem> {
    let (after, limit) = which.part::<HostName>()?;
    let person = caller.person()?;
    let policy = server.policy();
    let hosts = server.look(|state| {
        let user = person.and_then(|name| state.directory.user(name));
        let roles: Vec<_> = policy
            .roles
            .values()
            .filter(|role| {
                user.is_some_and(|user| role.may_ask.include(user) || role.is_overseen_by(user))
            })
            .collect();
        let seen = |host: &Host| {
            person.is_none()
                || roles
                    .iter()
                    .any(|role| role.hosts.cover(&host.enrolled.name, &host.enrolled.labels))
        };
        let all = state.directory.hosts();
        let wanted = all.filter(|host| {
            let name = &host.enrolled.name;
            after.as_ref().is_none_or(|after| name > after) && seen(host)
        });
        Page::by_name(&uri, limit, wanted.cloned(), |host: &Host| {
            host.enrolled.name.as_str()
        })
    });
    Ok(hosts.map(|host| standing(&server, host, person.is_none())))
}

fn standing(server: &Server, host: Host, for_administrator: bool) -> HostStanding {
    let (connected, last_seen) = server.streams().standing(&host.enrolled.host_id);
    let last_alarm = server.look(|state| state.last_alarm(&host.enrolled.host_id));
    let said = host.standing.filter(|_| for_administrator);
    let (version, gates) = said.map(|said| (said.version, said.gates)).unzip();
    HostStanding {
        last_alarm: last_alarm.filter(|_| for_administrator),
        version,
        gates,
        revision: server.revision(&host.enrolled.host_id),
        name: host.enrolled.name.into(),
        host_id: host.enrolled.host_id.into(),
        enrolled_at: host.at,
        labels: host.enrolled.labels,
        connected,
        last_seen,
    }
}
