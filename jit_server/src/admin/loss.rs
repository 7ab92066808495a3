//! What people lose by a change, in lines.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::left;

/// What ends before its time.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Loss {
    grants: Vec<LostGrant>,
    requests: Vec<LostRequest>,
    tokens: Vec<LostToken>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LostGrant {
    id: String,
    principal: String,
    login: String,
    role: String,
    host: String,
    expires: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct LostRequest {
    id: String,
    principal: String,
    role: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct LostToken {
    id: String,
    user: String,
    expires: Timestamp,
}

impl Loss {
    /// One line for each thing, indented; empty where nothing is lost.
    pub(super) fn lines(&self, now: Timestamp) -> String {
        let grants = self.grants.iter().map(|lost| {
            let LostGrant {
                id,
                principal,
                login,
                role,
                host,
                ..
            } = lost;
            let left = left(lost.expires, now);
            format!("  grant {id} of {principal}: {role} on {host} as {login}, {left} left\n")
        });
        let requests = self.requests.iter().map(|lost| {
            let LostRequest {
                id,
                principal,
                role,
            } = lost;
            format!("  request {id} of {principal}: {role}, not decided yet\n")
        });
        let tokens = self.tokens.iter().map(|lost| {
            let left = left(lost.expires, now);
            format!("  token {} of {}, {left} left\n", lost.id, lost.user)
        });
        grants.chain(requests).chain(tokens).collect()
    }
}
