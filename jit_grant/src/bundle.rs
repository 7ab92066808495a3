//! What a host is told: the grants that are in force or will be, in one document.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::limits::Limits;
use crate::name::{GrantId, HostId, Login, Principal, RequestId, RoleName};

/// What a grant may open. Configuration maps PAM services to these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A login over ssh, and all that rides on it: sftp, scp, forwards.
    Ssh,
    /// sudo, `sudo -i` and polkit.
    Sudo,
    /// su and `su -`.
    Su,
    /// What cron and at run in the login's name.
    Jobs,
}

/// All grants of one host. Its order carries no meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The host it is for; the `aud` claim of the signed form.
    pub host: HostId,
    /// Rises with every change; a host never goes back to a lower one.
    pub revision: u64,
    /// When the server made it.
    pub issued_at: Timestamp,
    /// The grants, at most [`Bundle::MAX_GRANTS`].
    pub grants: Vec<Grant>,
    /// Grants that this host must not honour, since they demand (`crit`) what it does not know.
    pub void: Vec<VoidGrant>,
}

impl Bundle {
    /// More grants than this for one host are refused.
    pub const MAX_GRANTS: usize = 4_096;
    /// A signed bundle of more bytes than this is refused unread.
    pub const MAX_BYTES: usize = 4 * 1024 * 1024;
}

/// A grant that names in `crit` something this host does not know, by its name or by its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoidGrant {
    /// Its id as written, cleaned and cut to 64 characters.
    pub id: String,
    /// Whose login it would have opened, where that could be read.
    pub login: Option<Login>,
    /// The first field of `crit` whose name is not known. Where all are: all of them, since one of them has a shape that is not.
    pub unknown: String,
}

/// Leave for one principal to do some actions with one login on one host for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Unique at the server.
    pub id: GrantId,
    /// Who.
    pub principal: Principal,
    /// The Unix account it opens.
    pub login: Login,
    /// The role that was asked for.
    pub role: RoleName,
    /// In force from this instant …
    pub not_before: Timestamp,
    /// … until just before this one.
    pub expires: Timestamp,
    /// An extension may move `expires` as far as this. None: it can't be extended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extendable_until: Option<Timestamp>,
    /// What it opens.
    pub allow: Allow,
    /// Where an elevation is ended before it finished, the login that it was started from ends too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end_login_with_elevation: bool,
    /// Fingerprints of the principal's ssh keys (`SHA256:…`), where known. When there are any, no other key opens the login.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Fingerprint>,
    /// Several principals have this login on this host: only a key in `keys` tells them apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// To what else it is limited; `crit` names each, so that no host passes over one.
    #[serde(flatten)]
    pub limits: Limits,
    /// The request it answers.
    pub request: RequestNote,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// Names of fields that the host must enforce, members of `allow` as `allow.ssh`. A host that lacks one of them
    /// (see [`ENFORCED`](crate::ENFORCED)) treats this grant as void.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
    /// Reserved: the canonical statement that approvers sign with keys of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// Reserved: the approvers' signatures over `statement`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<String>,
}

/// What a grant opens. What is absent is not allowed; what this host does not know opens nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allow {
    /// [`Action::Ssh`].
    #[serde(default)]
    pub ssh: bool,
    /// [`Action::Sudo`].
    #[serde(default)]
    pub sudo: bool,
    /// [`Action::Su`].
    #[serde(default)]
    pub su: bool,
    /// [`Action::Jobs`].
    #[serde(default)]
    pub jobs: bool,
}

impl Allow {
    /// True where `action` is among them.
    #[must_use]
    pub fn covers(self, action: Action) -> bool {
        match action {
            Action::Ssh => self.ssh,
            Action::Sudo => self.sudo,
            Action::Su => self.su,
            Action::Jobs => self.jobs,
        }
    }
}

/// The request behind a grant, as evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestNote {
    /// Its id.
    pub id: RequestId,
    /// The reason given.
    pub reason: String,
    /// A ticket, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// One approval behind a grant, as evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who approved.
    pub by: Principal,
    /// When.
    pub at: Timestamp,
    /// Which stage of the role's approval it counted for, from 1.
    #[serde(default)]
    pub stage: u32,
}
