//! Hosts as they come in, and the tokens that let them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use jit_grant::{HostId, HostName, SecretHash, TokenId};
use serde::{Deserialize, Serialize};

use crate::label::{LabelKey, LabelValue};

/// A host as it is from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEnrolled {
    /// The name people type.
    pub name: HostName,
    /// Its identity.
    pub host_id: HostId,
    /// The raw Ed25519 public key: 32 bytes, base64url without padding.
    pub public_key: String,
    /// What the enrolment token said of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Silent for so many seconds, it is removed. None: it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapse_seconds: Option<u32>,
    /// The enrolment token that let it in. None: the administrator of the server's machine did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// The address that it came from. None: the socket of the server's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

/// An enrolment token as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    /// What people call it.
    pub token: TokenId,
    /// Of its secret, which is not kept.
    pub secret: SecretHash,
    /// The one name that it enrols, also in the place of a host that has it. None: any name that no host has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<HostName>,
    /// What its hosts are labelled with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Its hosts are removed when they are silent for so many seconds. None: they stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapse_seconds: Option<u32>,
    /// So many hosts.
    pub uses: u32,
    /// From this instant on it lets nobody in.
    pub expires: Timestamp,
}
