//! What is granted without anybody's approval, and what comes of it.

use jiff::Timestamp;
use jit_grant::{Principal, RequestId};
use serde::{Deserialize, Serialize};

use super::{Actor, Event, Granted};
use crate::text::{Comment, Grounds};

/// Why a request was granted by the server as soon as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum AtOnce {
    /// The policy says that nobody has to approve.
    Auto {
        /// Why that is safe, in the policy's words.
        because: Grounds,
    },
    /// It is a break-glass role: everybody is told, and its use is reviewed.
    BreakGlass {
        /// By this instant.
        review_by: Timestamp,
    },
}

/// A review of what was done with a break-glass role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// The request that brought it.
    pub request: RequestId,
    /// Who has looked at it.
    pub by: Principal,
    /// What he has to say of it.
    pub comment: Comment,
    /// The policy in force.
    pub policy: String,
}

impl Event {
    /// Who makes it happen, where it comes of something that `caller` wanted: what no person decides, the server does.
    #[must_use]
    pub fn actor(&self, caller: &Actor) -> Actor {
        match self {
            Self::Granted(Granted {
                at_once: Some(_), ..
            })
            | Self::Alarm { .. }
            | Self::RecordNeeds(_) => Actor::Server,
            _ => caller.clone(),
        }
    }
}
