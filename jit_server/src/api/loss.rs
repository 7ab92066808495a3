//! What people lose by a change, as it is shown.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::event::{Requested, UserTokenMade};
use crate::loss::Loss;
use crate::workflow::Grant;

/// What ends before its time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LossView {
    /// Grants that are revoked.
    grants: Vec<LostGrant>,
    /// Undecided requests that are withdrawn, or of somebody whose time is over: nobody can approve those.
    requests: Vec<LostRequest>,
    /// Users' tokens that count no more, or make nobody known since their user's time is over.
    tokens: Vec<LostToken>,
}

/// A grant that is revoked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LostGrant {
    id: String,
    principal: String,
    login: String,
    role: String,
    host: String,
    /// When it would have ended.
    expires: Timestamp,
}

/// A request that is withdrawn.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LostRequest {
    id: String,
    principal: String,
    role: String,
}

/// A user's token that counts no more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LostToken {
    id: String,
    user: String,
    /// When it would have ended.
    expires: Timestamp,
}

impl From<&Loss> for LossView {
    fn from(loss: &Loss) -> Self {
        Self {
            grants: loss.grants.iter().map(LostGrant::from).collect(),
            requests: loss.requests.iter().map(LostRequest::from).collect(),
            tokens: loss.tokens.iter().map(LostToken::from).collect(),
        }
    }
}

impl From<&Grant> for LostGrant {
    fn from(grant: &Grant) -> Self {
        Self {
            id: grant.id.to_string(),
            principal: grant.principal.to_string(),
            login: grant.login.to_string(),
            role: grant.role.to_string(),
            host: grant.host.to_string(),
            expires: grant.expires,
        }
    }
}

impl From<&Requested> for LostRequest {
    fn from(asked: &Requested) -> Self {
        Self {
            id: asked.request.to_string(),
            principal: asked.principal.to_string(),
            role: asked.role.to_string(),
        }
    }
}

impl From<&UserTokenMade> for LostToken {
    fn from(made: &UserTokenMade) -> Self {
        Self {
            id: made.token.to_string(),
            user: made.user.to_string(),
            expires: made.expires,
        }
    }
}
