//! Enrolment over the network, and the tokens for it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use jit_grant::{HostName, PublicKey, Secret, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Administrator;
use super::hosts::Enrolled;
use super::input::{self, Json, Path};
use super::{Problem, Remote};
use crate::enrolment::{LONGEST_SECONDS, MOST_USES, SHORTEST_LAPSE, Token};
use crate::label::{LabelKey, LabelValue, MOST_LABELS};
use crate::server::{self, Server, WithToken};

/// An enrolment token that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// The one name that it enrols, also in the place of a host that has it. null: any name that no host has.
    #[schema(value_type = Option<String>)]
    name: Option<HostName>,
    /// What its hosts are labelled with. With none, a host that takes the place of another keeps that one's labels.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    labels: BTreeMap<LabelKey, LabelValue>,
    /// Its hosts are removed when they are silent for so long: 5 minutes to 90 days. null: they stay.
    #[serde(default)]
    lapse_seconds: Option<u32>,
    /// So many hosts, 1 to 10000.
    uses: u32,
    /// For so long, at most 90 days.
    for_seconds: u32,
}

/// An enrolment token. It is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenView {
    /// What the record calls it.
    id: String,
    /// The secret text.
    token: String,
    expires: Timestamp,
}

/// Makes an enrolment token.
#[utoipa::path(post, path = "/v1/hosts/tokens", tag = "administration", request_body = NewToken, responses(
    (status = 201, body = TokenView),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn make_token(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, axum::Json<TokenView>), Problem> {
    let fits = (1..=MOST_USES).contains(&new.uses)
        && (1..=LONGEST_SECONDS).contains(&new.for_seconds)
        && new.labels.len() <= MOST_LABELS
        && new
            .lapse_seconds
            .is_none_or(|lapse| (SHORTEST_LAPSE..=LONGEST_SECONDS).contains(&lapse));
    if !fits {
        let detail = format!(
            "an enrolment token is for 1 to {MOST_USES} hosts, 90 days at most, has {MOST_LABELS} labels at most, and lets its hosts be silent for 5 minutes to 90 days"
        );
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let NewToken {
        name,
        labels,
        lapse_seconds,
        uses,
        for_seconds,
    } = new;
    let (made, token) = server
        .make_token(server::NewToken {
            name,
            labels,
            lapse_seconds,
            uses,
            for_seconds,
        })
        .await?;
    let view = TokenView {
        id: made.token.to_string(),
        token: token.reveal(),
        expires: made.expires,
    };
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// An enrolment token that counts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ListedToken {
    /// What the record calls it.
    id: String,
    /// The one name that it enrols. null: any name that no host has.
    name: Option<String>,
    #[schema(value_type = BTreeMap<String, String>)]
    labels: BTreeMap<LabelKey, LabelValue>,
    /// Its hosts are removed when they are silent for so long. null: they stay.
    lapse_seconds: Option<u32>,
    /// So many hosts.
    uses: u32,
    /// So many hosts still.
    uses_left: u32,
    made_at: Timestamp,
    expires: Timestamp,
    /// null: it has let nobody in yet.
    last_use: Option<TokenUse>,
}

/// When and for what an enrolment token was used.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenUse {
    at: Timestamp,
    /// The host that it let in.
    host: String,
    /// The address that it came from. null: the socket of the server's machine.
    #[schema(value_type = Option<String>)]
    from: Option<IpAddr>,
}

impl ListedToken {
    pub(super) fn of(token: Token, now: Timestamp) -> Self {
        let last_use = token.last_use.as_ref().map(|used| TokenUse {
            at: used.at,
            host: used.host.to_string(),
            from: used.from,
        });
        Self {
            uses_left: token.uses_left(now),
            id: token.made.token.to_string(),
            name: token.made.name.map(|name| name.to_string()),
            labels: token.made.labels,
            lapse_seconds: token.made.lapse_seconds,
            uses: token.made.uses,
            made_at: token.at,
            expires: token.made.expires,
            last_use,
        }
    }
}

/// An enrolment token that counts no more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevokedToken {
    id: String,
}

/// The enrolment tokens that count, without their secrets.
#[utoipa::path(get, path = "/v1/hosts/tokens", tag = "administration", responses(
    (status = 200, body = Vec<ListedToken>),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list_tokens(
    State(server): State<Arc<Server>>,
    _: Administrator,
) -> axum::Json<Vec<ListedToken>> {
    let now = server.now();
    let tokens = server.tokens().into_iter();
    axum::Json(tokens.map(|token| ListedToken::of(token, now)).collect())
}

/// Takes an enrolment token away: it lets nobody in from now on. The hosts that it let in stay.
#[utoipa::path(delete, path = "/v1/hosts/tokens/{id}", tag = "administration", params(("id" = String, Path)), responses(
    (status = 200, body = RevokedToken),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn revoke_token(
    State(server): State<Arc<Server>>,
    _: Administrator,
    Path(id): Path<String>,
) -> Result<axum::Json<RevokedToken>, Problem> {
    let token: TokenId = input::id(id)?;
    server.revoke_token(token.clone()).await?;
    Ok(axum::Json(RevokedToken {
        id: token.to_string(),
    }))
}

/// A host that wants in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Enrolling {
    /// The middle part of an enrolment token.
    #[schema(value_type = String)]
    secret: Secret,
    #[schema(value_type = String)]
    name: HostName,
    /// Raw Ed25519 public key: 32 bytes in base64url without padding.
    #[schema(value_type = String)]
    public_key: PublicKey,
    /// `jit-possession+jwt`: signed with that key, for this name and secret.
    proof: String,
}

/// Enrols a host that has an enrolment token. Again with the same token, name and key the answer is the same.
#[utoipa::path(post, path = "/v1/enrol", tag = "hosts", request_body = Enrolling, responses(
    (status = 201, body = Enrolled),
    (status = 403, body = Problem, content_type = "application/problem+json", description = "the token does not let it in, or it proves nothing"),
    (status = 409, body = Problem, content_type = "application/problem+json", description = "the key is another host's"),
))]
pub(super) async fn enrol(
    State(server): State<Arc<Server>>,
    remote: Option<Extension<Arc<Remote>>>,
    Json(wanted): Json<Enrolling>,
) -> Result<(StatusCode, axum::Json<Enrolled>), Problem> {
    let Enrolling {
        secret,
        name,
        public_key: key,
        proof,
    } = wanted;
    let enrolment = server
        .enrol_with_token(WithToken {
            secret,
            name,
            key,
            proof,
            from: remote.as_ref().map(|Extension(remote)| remote.peer()),
        })
        .await?;
    if let Some(Extension(remote)) = remote {
        remote.was_of_use();
    }
    Ok((
        StatusCode::CREATED,
        axum::Json(Enrolled::for_a_token(enrolment)),
    ))
}
