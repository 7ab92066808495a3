//! How a call came in that made something happen.

use jit_grant::UserTokenId;
use serde::{Deserialize, Serialize};

use crate::once::Once;
use crate::origin::Origin;

/// How a call came in that made something happen. An auditor reads it; what the caller did is in the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Via {
    /// The token that the caller showed. None: he was known by his account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<UserTokenId>,
    /// Where he called from.
    pub from: Origin,
    /// His uid on the server's machine, at its socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// In the first event that it made, where its caller gave it a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Once>,
}
