//! What happened, as it is kept: the state of the server is the replay of these and nothing else.
//!
//! A field may be added with a default; none may change its meaning or go, since old records are read for ever.

mod at_once;
mod needs;
mod service;
mod user;
mod via;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use jit_grant::{
    Action, GrantId, HostId, HostName, Limits, Login, Principal, PublicKey, RequestId, RoleName,
    SecretHash, TokenId, UserTokenId,
};
use serde::{Deserialize, Serialize};

use crate::alarm::Alarm;
use crate::attribute::Attributes;
use crate::directory::{GroupName, Standing};
use crate::label::{LabelKey, LabelValue};
use crate::logins::Logins;
use crate::origin::Origin;
use crate::scope::Scopes;
use crate::ssh_key::SshKey;
use crate::text::{Comment, Reason, Ticket};
use crate::user_token::Replaces;

pub use at_once::{AtOnce, Reviewed};
pub use needs::RecordNeeds;
pub use service::Service;
pub use via::Via;

/// One event in its place in the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number; later is higher.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who made it happen.
    pub actor: Actor,
    /// What happened.
    pub event: Event,
    /// The call that made it happen. None: no call did, it says itself where it came from, or it is of before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
}

/// Who makes something happen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Actor {
    /// uid 0 on the server's machine: manages users and hosts, and may revoke.
    Administrator,
    /// A person or machine identity.
    Principal(Principal),
    /// jit-server itself, because time passed or a file changed.
    Server,
}

impl fmt::Display for Actor {
    /// What is no principal begins with `@`, with which no principal's name can begin.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Administrator => f.pad("@administrator"),
            Self::Server => f.pad("@server"),
            Self::Principal(name) => name.fmt(f),
        }
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> String {
        actor.to_string()
    }
}

impl TryFrom<String> for Actor {
    type Error = jit_grant::NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "@administrator" => Ok(Self::Administrator),
            "@server" => Ok(Self::Server),
            _ => Principal::try_from(text).map(Self::Principal),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A user was added, or became different.
    UserSet(UserSet),
    /// A user was removed: his grants and tokens ended, what he asked was withdrawn, and what he approved counts no more where it is not
    /// decided yet. A lock stays. Whoever has the name later has nothing of it.
    UserRemoved {
        /// The name that he had.
        name: Principal,
        /// Why his grants were revoked.
        reason: Reason,
    },
    /// A host was enrolled; it takes the place of an older one of the same name.
    HostEnrolled(HostEnrolled),
    /// A host is no longer known.
    HostRemoved {
        /// The name that it had.
        name: HostName,
        /// Its identity.
        host_id: HostId,
    },
    /// A host stands differently than it did, as it says itself.
    HostState {
        /// Its name.
        name: HostName,
        /// Its identity.
        host_id: HostId,
        /// How it stands.
        #[serde(flatten)]
        standing: Standing,
    },
    /// A host has these labels from now on.
    HostLabelled {
        /// Which.
        name: HostName,
        /// All of them.
        labels: BTreeMap<LabelKey, LabelValue>,
    },
    /// An enrolment token was made.
    TokenMade(TokenMade),
    /// A known enrolment token was shown and did not let the host in.
    EnrolmentRefused {
        /// Which.
        token: TokenId,
        /// The name that the host wanted.
        name: HostName,
        /// Why not.
        why: String,
        /// The address that it was shown from. None: at the socket of the server's machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<IpAddr>,
    },
    /// An enrolment token is over, with uses left.
    TokenExpired {
        /// Which.
        token: TokenId,
    },
    /// An enrolment token was taken away.
    TokenRevoked {
        /// Which.
        token: TokenId,
    },
    /// Another key signs from now on.
    KeyRotated(KeyRotated),
    /// A token was made for a user.
    UserTokenMade(UserTokenMade),
    /// A known token of a user was shown after its end.
    UserTokenRefused {
        /// Which.
        token: UserTokenId,
        /// Whose it was.
        user: Principal,
        /// Why it counts no more.
        why: String,
        /// The address that it was shown from.
        from: IpAddr,
    },
    /// A user's token was taken away.
    UserTokenRevoked {
        /// Which.
        token: UserTokenId,
        /// Whose it was.
        user: Principal,
    },
    /// A user's token came to its end.
    UserTokenExpired {
        /// Which.
        token: UserTokenId,
        /// Whose it was.
        user: Principal,
    },
    /// Somebody asked for a role.
    Requested(Requested),
    /// One person approved. Not yet a grant.
    Approved(Approved),
    /// Enough had approved: the grants are made.
    Granted(Granted),
    /// An approver said no.
    Denied(Denied),
    /// The one who asked took it back.
    Withdrawn {
        /// What was asked.
        request: RequestId,
    },
    /// Nobody decided in time.
    Lapsed {
        /// What was asked.
        request: RequestId,
    },
    /// A grant was taken away.
    Revoked {
        /// Which.
        grant: GrantId,
        /// Why.
        reason: Reason,
    },
    /// The one who had a grant gave it back.
    Released {
        /// Which.
        grant: GrantId,
    },
    /// A grant lasts longer.
    Extended(Extended),
    /// Somebody was locked: his grants and tokens ended, what he asked was denied, and what he approved counts no more where it is not
    /// decided yet. He can do nothing until he is unlocked.
    Locked {
        /// Who.
        principal: Principal,
        /// Why.
        reason: Reason,
    },
    /// Somebody may ask and approve again. Nothing of before comes back.
    Unlocked {
        /// Who.
        principal: Principal,
    },
    /// A policy came into force.
    PolicyTaken {
        /// SHA-256 of the file, in hexadecimal.
        policy: String,
        /// How many roles it has.
        roles: usize,
    },
    /// The policy file is wrong; the one before stays in force.
    PolicyRefused {
        /// The mistakes, each with file, line and key; at most ten of them.
        mistakes: Vec<String>,
    },
    /// An older copy of the database was put back. Grants, undecided requests and tokens have ended, since any of them may have been taken
    /// away after the copy was made; and nobody may ask or approve until that is confirmed.
    Restored(Restored),
    /// An administrator has seen to what the copy does not know.
    RestoreConfirmed,
    /// Something that an administrator has to look at.
    Alarm {
        /// The host that it is about. None: this server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<HostName>,
        /// What gave cause.
        alarm: Alarm,
        /// Alarms of this cause and host before it that are not in the record, for their number.
        #[serde(default, skip_serializing_if = "is_zero")]
        left_out: u64,
    },
    /// A call of somebody known was refused.
    CallRefused(CallRefused),
    /// Somebody has looked at what was done with a break-glass role.
    Reviewed(Reviewed),
    /// A token that took another one's place was shown for the first time: the other one makes no next one any more.
    UserTokenSeen {
        /// Which.
        token: UserTokenId,
        /// Whose it is.
        user: Principal,
    },
    /// From here on the record has what servers of a version before would leave out: they can't read this, and go no further.
    RecordNeeds(RecordNeeds),
}

fn first_stage() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Event {
    /// The name of its kind, as in JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UserSet(_) => "user_set",
            Self::UserRemoved { .. } => "user_removed",
            Self::HostEnrolled(_) => "host_enrolled",
            Self::HostRemoved { .. } => "host_removed",
            Self::HostState { .. } => "host_state",
            Self::HostLabelled { .. } => "host_labelled",
            Self::TokenMade(_) => "token_made",
            Self::EnrolmentRefused { .. } => "enrolment_refused",
            Self::TokenExpired { .. } => "token_expired",
            Self::TokenRevoked { .. } => "token_revoked",
            Self::KeyRotated(_) => "key_rotated",
            Self::UserTokenMade(_) => "user_token_made",
            Self::UserTokenRefused { .. } => "user_token_refused",
            Self::UserTokenRevoked { .. } => "user_token_revoked",
            Self::UserTokenExpired { .. } => "user_token_expired",
            Self::Requested(_) => "requested",
            Self::Approved(_) => "approved",
            Self::Granted(_) => "granted",
            Self::Denied(_) => "denied",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Lapsed { .. } => "lapsed",
            Self::Revoked { .. } => "revoked",
            Self::Released { .. } => "released",
            Self::Extended(_) => "extended",
            Self::Locked { .. } => "locked",
            Self::Unlocked { .. } => "unlocked",
            Self::PolicyTaken { .. } => "policy_taken",
            Self::PolicyRefused { .. } => "policy_refused",
            Self::Restored(_) => "restored",
            Self::RestoreConfirmed => "restore_confirmed",
            Self::Alarm { .. } => "alarm",
            Self::CallRefused(_) => "call_refused",
            Self::Reviewed(_) => "reviewed",
            Self::UserTokenSeen { .. } => "user_token_seen",
            Self::RecordNeeds(_) => "record_needs",
        }
    }

    /// The request that it is about, where it is about one.
    #[must_use]
    pub fn request(&self) -> Option<&RequestId> {
        match self {
            Self::Requested(Requested { request, .. })
            | Self::Approved(Approved { request, .. })
            | Self::Granted(Granted { request, .. })
            | Self::Denied(Denied { request, .. })
            | Self::Reviewed(Reviewed { request, .. })
            | Self::Withdrawn { request }
            | Self::Lapsed { request } => Some(request),
            Self::Alarm { alarm, .. } => alarm.request(),
            _ => None,
        }
    }

    /// The token of a user that it is about, and that user, where it is about one.
    #[must_use]
    pub fn user_token(&self) -> Option<(&UserTokenId, &Principal)> {
        match self {
            Self::UserTokenMade(UserTokenMade { token, user, .. })
            | Self::UserTokenRefused { token, user, .. }
            | Self::UserTokenRevoked { token, user }
            | Self::UserTokenExpired { token, user }
            | Self::UserTokenSeen { token, user } => Some((token, user)),
            _ => None,
        }
    }

    /// The grant that it ends or extends, where it does.
    #[must_use]
    pub fn grant(&self) -> Option<&GrantId> {
        match self {
            Self::Revoked { grant, .. }
            | Self::Released { grant }
            | Self::Extended(Extended { grant, .. }) => Some(grant),
            _ => None,
        }
    }
}

/// A call that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRefused {
    /// Its method and path; 300 characters at most.
    pub call: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The word for programs in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What the caller was told; 300 characters at most.
    pub why: String,
    /// The token that he showed. None: he was known by his account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<UserTokenId>,
    /// The address that he called from. None: the socket of the server's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// Calls of his that were refused with the same code before it and are not in the record.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// A user as it is from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSet {
    /// The name, which never changes.
    pub name: Principal,
    /// The Unix account on hosts.
    pub login: Login,
    /// The groups that the policy may name.
    pub groups: BTreeSet<GroupName>,
    /// The ssh keys.
    pub keys: BTreeSet<SshKey>,
    /// From this instant on he is nobody here, and nothing that is granted to him goes past it. None: there is no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What he is beside his groups, which the policy may ask for.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// What it has as a service account. None: it is a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// On which hosts the Unix account is another one.
    #[serde(default, skip_serializing_if = "Logins::is_empty")]
    pub logins: Logins,
}

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

/// A rotation of the server's signing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotated {
    /// Its number, from 1.
    pub seq: u64,
    /// The key before.
    pub before: PublicKey,
    /// The key that signs from now on.
    pub next: PublicKey,
    /// `jit-next-key+jwt`: what leads hosts from the one to the other.
    pub document: String,
}

/// A user's token as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTokenMade {
    /// What people call it.
    pub token: UserTokenId,
    /// Whose it is.
    pub user: Principal,
    /// Of its secret, which is not kept.
    pub secret: SecretHash,
    /// From this instant on it counts no more.
    pub expires: Timestamp,
    /// What it is for. None: whatever its user may do.
    #[serde(default, skip_serializing_if = "Scopes::are_none")]
    pub scopes: Scopes,
    /// For how long root has made it, or the one that it came from. None: until `expires`, from the moment it was made. Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u32>,
    /// Its holder may have it renewed until then. None: until `expires`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewable_until: Option<Timestamp>,
    /// Whose place it takes. None: it is a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaces>,
}

/// An older copy of the database that was put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The last number in the copy's record, hosts' lines among it.
    pub copy_seq: u64,
    /// When the server's own last event in it was.
    pub copy_at: Timestamp,
    /// The last number that this machine knows of. None: it knows of none, or an administrator says that the copy was put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u64>,
    /// Ids of requests, grants and tokens go on above this, so that none is given twice.
    pub ids_above: u64,
    /// Why what was open has ended.
    pub reason: Reason,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// Its id.
    pub request: RequestId,
    /// Who asks.
    pub principal: Principal,
    /// The login that this opens.
    pub login: Login,
    /// The role.
    pub role: RoleName,
    /// The hosts, at least one.
    pub hosts: BTreeSet<HostName>,
    /// What the role opens there: what approvers saw and approved.
    pub actions: BTreeSet<Action>,
    /// For how long, from the moment it is granted. Seconds.
    pub for_seconds: u32,
    /// Why.
    pub reason: Reason,
    /// A ticket, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    /// The grant that is to last longer; it keeps its id. None: new grants are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<GrantId>,
    /// From this instant on nobody can decide it any more.
    pub lapses_at: Timestamp,
    /// The policy in force.
    pub policy: String,
    /// Grants are in force from this instant on and no earlier, and for `for_seconds` from it. None: from the moment they are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Where it was asked from. None: before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_from: Option<Origin>,
    /// On these of the hosts it opens another login.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub logins: BTreeMap<HostName, Login>,
}

/// One approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// What is approved.
    pub request: RequestId,
    /// Who approves.
    pub by: Principal,
    /// Which stage, from 1. In records of before there were stages there was one.
    #[serde(default = "first_stage")]
    pub stage: u32,
    /// For how long at most. Seconds.
    pub for_seconds: u32,
    /// What the approver adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Comment>,
    /// The policy in force.
    pub policy: String,
}

/// The grants that answer a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// What is answered.
    pub request: RequestId,
    /// The grants, one a host.
    pub grants: Vec<GrantedHost>,
    /// In force from this instant …
    pub not_before: Timestamp,
    /// … until just before this one.
    pub expires: Timestamp,
    /// Extensions may move `expires` as far as this. None: they can't be extended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extendable_until: Option<Timestamp>,
    /// The end of an elevation ends the login that it was started from, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end_login_with_elevation: bool,
    /// Why nobody had to approve. None: enough did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_once: Option<AtOnce>,
    /// What hosts hold them to.
    #[serde(default, skip_serializing_if = "Limits::are_none")]
    pub limits: Limits,
    /// The policy in force.
    pub policy: String,
}

/// One grant: one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedHost {
    /// Its id.
    pub grant: GrantId,
    /// Where.
    pub host: HostName,
}

/// An extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extended {
    /// Which grant.
    pub grant: GrantId,
    /// By how much. Seconds.
    pub for_seconds: u32,
    /// It is in force until just before this instant now.
    pub expires: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The request whose approval this is. None: the role needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// The policy in force.
    pub policy: String,
}

/// A refusal by an approver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// What is refused.
    pub request: RequestId,
    /// Who refuses.
    pub by: Principal,
    /// Why.
    pub reason: Reason,
    /// The policy in force.
    pub policy: String,
}
