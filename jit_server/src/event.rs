//! What happened, as it is kept: the state of the server is the replay of these and nothing else.
//!
//! A field may be added with a default; none may change its meaning or go, since old records are read for ever.

mod at_once;
mod changes;
mod hosts;
mod needs;
mod requests;
mod service;
mod user;
mod via;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use jit_grant::{
    ChangeId, GrantId, HostId, HostName, Principal, PublicKey, RequestId, SecretHash, TokenId,
    UserTokenId,
};
use serde::{Deserialize, Serialize};

use crate::alarm::Alarm;
use crate::directory::Standing;
use crate::label::{LabelKey, LabelValue};
use crate::scope::Scopes;
use crate::text::Reason;
use crate::user_token::Replaces;

pub use at_once::{AtOnce, Reviewed};
pub use changes::{ChangeConfirmed, ChangeDenied, ChangeDone, ChangeProposed, WantedChange};
pub use hosts::{HostEnrolled, TokenMade};
pub use needs::RecordNeeds;
pub use requests::{Approved, Counted, Denied, Extended, Granted, GrantedHost, Requested};
pub use service::Service;
pub use user::UserSet;
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
        /// The text itself, where changes need others by this policy or by the one before: the record has it then, and no file counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The change that it comes of. None: it needed nobody else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<ChangeId>,
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
    /// A call of somebody known was refused: of a user, an account at the socket, or a host.
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
    /// An administrator wants to change something that others have to confirm.
    ChangeProposed(ChangeProposed),
    /// One person confirmed a change. Nothing is different yet.
    ChangeConfirmed(ChangeConfirmed),
    /// A change is made: the events after this one are what it comes to.
    ChangeDone(ChangeDone),
    /// Somebody who may confirm a change said no.
    ChangeDenied(ChangeDenied),
    /// An administrator took a change back.
    ChangeWithdrawn {
        /// Which.
        change: ChangeId,
    },
    /// Not enough people confirmed a change in time.
    ChangeLapsed {
        /// Which.
        change: ChangeId,
    },
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
            Self::ChangeProposed(_) => "change_proposed",
            Self::ChangeConfirmed(_) => "change_confirmed",
            Self::ChangeDone(_) => "change_done",
            Self::ChangeDenied(_) => "change_denied",
            Self::ChangeWithdrawn { .. } => "change_withdrawn",
            Self::ChangeLapsed { .. } => "change_lapsed",
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
    /// Of an account at the socket that is no user's, or several users': its name, where it has one; 300 characters at most. The actor is
    /// [`Actor::Server`] then, and for a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Its uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The host that called. None: none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// Calls of his that were refused with the same code before it and are not in the record.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
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
