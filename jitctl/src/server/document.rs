//! What the server's API answers with, as far as jitctl shows it. Fields that are not known here are ignored; `--json` prints
//! answers as they came.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jit_grant::UserToken;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who the server takes the caller for.
#[derive(Debug, Deserialize)]
pub(crate) struct Whoami {
    pub(crate) principal: Option<String>,
    #[serde(default)]
    pub(crate) lock: Option<Ending>,
    #[serde(default)]
    pub(crate) token: Option<ShownToken>,
    /// Requests of break-glass roles that the caller has to review.
    #[serde(default)]
    pub(crate) to_review: Vec<String>,
    /// From then on the caller is nobody at the server.
    #[serde(default)]
    pub(crate) until: Option<Timestamp>,
    /// How many more of them there are.
    #[serde(default)]
    pub(crate) to_review_more: usize,
    /// Changes that the caller may confirm and has not.
    #[serde(default)]
    pub(crate) to_confirm: Vec<String>,
}

/// The token that the caller is known by.
#[derive(Debug, Deserialize)]
pub(crate) struct ShownToken {
    pub(crate) id: String,
    pub(crate) expires: Timestamp,
    /// What it is for. None: whatever the caller may do.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
}

/// The token in the place of the one that was shown.
#[derive(Debug, Deserialize)]
pub(crate) struct Rotated {
    pub(crate) id: String,
    /// Secret.
    pub(crate) token: UserToken,
    pub(crate) expires: Timestamp,
}

/// Somebody who is locked.
#[derive(Debug, Deserialize)]
pub(crate) struct Locked {
    pub(crate) principal: String,
    #[serde(flatten)]
    pub(crate) lock: Ending,
}

/// What may be asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Role {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    /// Which its hosts have: each key with one of the values.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, Vec<String>>,
    /// Under which it may be had, in words.
    #[serde(default)]
    pub(crate) conditions: Vec<String>,
    #[serde(default)]
    pub(crate) actions: Vec<String>,
    pub(crate) longest_seconds: i64,
    /// Where nobody says for how long.
    #[serde(default)]
    pub(crate) default_seconds: Option<i64>,
    pub(crate) approval: RoleApproval,
}

/// Who decides about a role.
#[derive(Debug, Deserialize)]
pub(crate) struct RoleApproval {
    #[serde(flatten)]
    pub(crate) first: RoleStage,
    /// All stages. Empty from a server that knows of one only.
    #[serde(default)]
    pub(crate) stages: Vec<RoleStage>,
    /// Why nobody has to.
    #[serde(default)]
    pub(crate) because: Option<String>,
    /// Who looks at what was done, where it is a break-glass role.
    #[serde(default)]
    pub(crate) review: Option<RoleReview>,
}

/// Who looks at what was done with a role.
#[derive(Debug, Deserialize)]
pub(crate) struct RoleReview {
    pub(crate) reviewers: Approvers,
    pub(crate) within_seconds: i64,
}

/// Who decides about one stage of it.
#[derive(Debug, Deserialize)]
pub(crate) struct RoleStage {
    pub(crate) by: Approvers,
    pub(crate) count: u32,
    #[serde(default)]
    pub(crate) later: Vec<Later>,
    #[serde(default)]
    pub(crate) same_person_again: bool,
}

/// Who may approve a stage, too, when it is not done in time.
#[derive(Debug, Deserialize)]
pub(crate) struct Later {
    pub(crate) approvers: Approvers,
    pub(crate) after_seconds: i64,
    /// From when on, where the stage is due.
    #[serde(default)]
    pub(crate) from: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Approvers {
    #[serde(default)]
    pub(crate) users: Vec<String>,
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    /// True, false or a text each.
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, serde_json::Value>,
}

/// Somebody asked for a role.
#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) principal: String,
    pub(crate) role: String,
    /// The grant that is to last longer.
    #[serde(default)]
    pub(crate) extends: Option<String>,
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    pub(crate) for_seconds: i64,
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) ticket: Option<String>,
    pub(crate) state: String,
    pub(crate) asked_at: Timestamp,
    pub(crate) lapses_at: Timestamp,
    #[serde(default)]
    pub(crate) approvals: Vec<Approval>,
    #[serde(default)]
    pub(crate) needed: u32,
    /// The stage that is due, from 1.
    #[serde(default)]
    pub(crate) stage: Option<u32>,
    /// All stages. Empty where it is decided, and from a server that knows of one only.
    #[serde(default)]
    pub(crate) stages: Vec<Stage>,
    /// Why nobody had to approve.
    #[serde(default)]
    pub(crate) at_once: Option<AtOnce>,
    #[serde(default)]
    pub(crate) review: Option<Review>,
    #[serde(default)]
    pub(crate) denied: Option<Ending>,
    #[serde(default)]
    pub(crate) grants: Vec<String>,
    #[serde(default)]
    pub(crate) timeline: Vec<Moment>,
    /// It is to begin then. None: when it is approved.
    #[serde(default)]
    pub(crate) not_before: Option<Timestamp>,
    /// An address, or `socket`: the server's machine.
    #[serde(default)]
    pub(crate) asked_from: Option<String>,
    /// By host.
    #[serde(default)]
    pub(crate) logins: BTreeMap<String, String>,
    /// Unix groups of its logins, beside those of the account.
    #[serde(default)]
    pub(crate) groups: Vec<String>,
}

/// Why it was granted as soon as it was made.
#[derive(Debug, Deserialize)]
pub(crate) struct AtOnce {
    #[serde(default)]
    pub(crate) because: Option<String>,
}

/// The review of what was done with a break-glass role.
#[derive(Debug, Deserialize)]
pub(crate) struct Review {
    pub(crate) due: Timestamp,
    #[serde(default)]
    pub(crate) reviewed: Option<Reviewed>,
    /// Who could review it, where the server says so.
    #[serde(default)]
    pub(crate) able: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Reviewed {
    pub(crate) by: String,
    pub(crate) comment: String,
}

/// A stage of its approval.
#[derive(Debug, Deserialize)]
pub(crate) struct Stage {
    pub(crate) approvers: Approvers,
    pub(crate) needed: u32,
    #[serde(default)]
    pub(crate) approved_by: Vec<String>,
    /// Who could approve it, where the server says so.
    #[serde(default)]
    pub(crate) able: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) later: Vec<Later>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Approval {
    pub(crate) by: String,
    pub(crate) at: Timestamp,
    #[serde(default = "first_stage")]
    pub(crate) stage: u32,
    #[serde(default)]
    pub(crate) comment: Option<String>,
}

fn first_stage() -> u32 {
    1
}

/// Who ended it, and why.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) by: String,
    pub(crate) at: Timestamp,
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

/// One line of a request's story.
#[derive(Debug, Deserialize)]
pub(crate) struct Moment {
    pub(crate) at: Timestamp,
    pub(crate) actor: String,
    pub(crate) what: String,
}

/// Leave for one principal on one host.
#[derive(Debug, Deserialize)]
pub(crate) struct Grant {
    pub(crate) id: String,
    pub(crate) request: String,
    pub(crate) principal: String,
    pub(crate) login: String,
    pub(crate) role: String,
    pub(crate) host: String,
    #[serde(default)]
    pub(crate) allow: Vec<String>,
    pub(crate) not_before: Timestamp,
    pub(crate) expires: Timestamp,
    #[serde(default)]
    pub(crate) extendable_until: Option<Timestamp>,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) ended: Option<Ending>,
    #[serde(default)]
    pub(crate) approvals: Vec<Approval>,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    pub(crate) ticket: Option<String>,
    /// Unix groups of its logins, beside those of the account.
    #[serde(default)]
    pub(crate) groups: Vec<String>,
}

/// The answer to an extension.
#[derive(Debug, Deserialize)]
pub(crate) struct Extension {
    pub(crate) grant: Grant,
    /// A [`Request`] that has to be approved first.
    pub(crate) request: Option<Value>,
}

/// How somebody stands after a lock or its end.
#[derive(Debug, Deserialize)]
pub(crate) struct Standing {
    pub(crate) lock: Option<Ending>,
    pub(crate) changed: bool,
    #[serde(default)]
    pub(crate) ended: Vec<String>,
}

/// What was open under a grant.
#[derive(Debug, Deserialize)]
pub(crate) struct Sessions {
    /// None: not for the caller to see.
    pub(crate) events: Option<Vec<Event>>,
    pub(crate) complete: bool,
}

/// What changed on a host while elevations of a grant were open, and their end does not undo.
#[derive(Debug, Deserialize)]
pub(crate) struct LeftBehind {
    #[serde(default)]
    pub(crate) grant: Option<String>,
    pub(crate) items: Vec<Thing>,
    #[serde(default)]
    pub(crate) more: u64,
    pub(crate) complete: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Thing {
    pub(crate) at: Timestamp,
    pub(crate) kind: String,
    pub(crate) path: String,
    pub(crate) change: String,
    #[serde(default)]
    pub(crate) one_of_several: bool,
}

/// An enrolled host.
#[derive(Debug, Deserialize)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) host_id: String,
    pub(crate) enrolled_at: Timestamp,
    #[serde(default)]
    pub(crate) connected: bool,
    #[serde(default)]
    pub(crate) last_seen: Option<Timestamp>,
    /// When it gave cause for an alarm last.
    #[serde(default)]
    pub(crate) last_alarm: Option<Timestamp>,
    /// What its gates do, by service. None: it did not say, or it is not for the caller to know.
    #[serde(default)]
    pub(crate) gates: Option<BTreeMap<String, String>>,
    /// What roles and requests choose it by.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

/// The answer to an enrolment.
#[derive(Debug, Deserialize)]
pub(crate) struct Enrolled {
    pub(crate) host_id: jit_grant::HostId,
    pub(crate) name: jit_grant::HostName,
    pub(crate) server_keys: Vec<ServerKey>,
}

/// A key that the server signs with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerKey {
    pub(crate) kid: String,
    pub(crate) public_key: jit_grant::PublicKey,
}

/// A piece of the audit trail.
#[derive(Debug, Deserialize)]
pub(crate) struct AuditPage {
    pub(crate) events: Vec<Value>,
    /// Ask on from here; none at the end. A page may be empty and still not be the last.
    #[serde(default)]
    pub(crate) next: Option<u64>,
}

/// Something that happened.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) origin: String,
    #[serde(default)]
    pub(crate) actor: Option<String>,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) subject: Option<String>,
    #[serde(default)]
    pub(crate) detail: Value,
}
