//! Requests and what became of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jit_grant::{Action, GrantId, Groups, HostName, Limits, Login, Principal, RequestId, RoleName};
use serde::{Deserialize, Serialize};

use super::AtOnce;
use crate::origin::Origin;
use crate::text::{Comment, Reason, Ticket};

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
    /// The Unix groups that the role gives its logins: what approvers saw and approved. None in records of before they were kept.
    #[serde(default, skip_serializing_if = "Groups::is_empty")]
    pub groups: Groups,
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
    /// Whose approvals counted. None where nobody had to approve; in records of before this was kept none either, and all that were given
    /// are taken to have counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<Counted>,
}

/// An approval that counted for a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Whose.
    pub by: Principal,
    /// For which stage, from 1.
    pub stage: u32,
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

fn first_stage() -> u32 {
    1
}
