//! Changes that an administrator wants and others have to confirm.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jit_grant::{ChangeId, HostName, Principal, UserTokenId};
use serde::{Deserialize, Serialize};

use super::{Event, UserSet};
use crate::label::{LabelKey, LabelValue};
use crate::once::Digest;
use crate::text::{Comment, Reason};

/// A change as it was proposed. Who did is the event's actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeProposed {
    /// What people call it.
    pub change: ChangeId,
    /// What is to be different.
    pub wanted: WantedChange,
    /// What it came to when it was proposed, a line each.
    pub summary: Vec<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Unconfirmed, it lapses then.
    pub lapses_at: Timestamp,
    /// The policy in force.
    pub policy: String,
}

/// What is to be different. Whatever is not in it stays as it is by then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedChange {
    /// The text of the policy, 1 MiB at most. None: it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Users that are added, or become different.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserSet>,
    /// Users that are removed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub removed_users: BTreeSet<Principal>,
    /// All labels of hosts that get other ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<HostName, BTreeMap<LabelKey, LabelValue>>,
    /// Hosts that are removed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub removed_hosts: BTreeSet<HostName>,
}

/// A confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeConfirmed {
    /// Of which change.
    pub change: ChangeId,
    /// Who confirmed it.
    pub by: Principal,
    /// SHA-256 of what it came to in his eyes. Where it comes to something else by then, it counts no more.
    pub digest: Digest,
    /// What he added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Comment>,
    /// The policy in force.
    pub policy: String,
    /// The token that he was known by. None: a record of before this was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<UserTokenId>,
}

/// A change that is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeDone {
    /// Which.
    pub change: ChangeId,
    /// SHA-256 of what it comes to.
    pub digest: Digest,
    /// So many events after this one are what it comes to; all of them are in the record, or none.
    pub events: u64,
    /// Why root alone made it, without those who confirm. None: enough of them confirmed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<Reason>,
    /// The policy in force until then.
    pub policy: String,
}

/// A change that somebody said no to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeDenied {
    /// Which.
    pub change: ChangeId,
    /// Who said no.
    pub by: Principal,
    /// Why.
    pub reason: Reason,
}

impl Event {
    /// The change that it is about, or comes of, where there is one.
    #[must_use]
    pub fn change(&self) -> Option<&ChangeId> {
        match self {
            Self::ChangeProposed(ChangeProposed { change, .. })
            | Self::ChangeConfirmed(ChangeConfirmed { change, .. })
            | Self::ChangeDone(ChangeDone { change, .. })
            | Self::ChangeDenied(ChangeDenied { change, .. })
            | Self::ChangeWithdrawn { change }
            | Self::ChangeLapsed { change } => Some(change),
            Self::PolicyTaken { change, .. } => change.as_ref(),
            Self::Alarm { alarm, .. } => alarm.change(),
            _ => None,
        }
    }
}
