//! Users, hosts and policy as files say them: what they say, and what has to change for it. Pure.

mod change;
mod parse;
mod plan;

use std::collections::BTreeMap;

use jit_grant::{HostName, Principal};

use crate::event::UserSet;
use crate::label::{LabelKey, LabelValue};
use crate::policy::{Mistake, Policy};

pub use parse::{HOSTS, POLICY, Texts, USERS, read};
pub use plan::{Change, Plan, Sign, Thing, plan};
pub(crate) use plan::{HisToken, newly_able, user_details};

/// How things are to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The policy. None: it stays.
    pub policy: Option<Policy>,
    /// What is right in the policy and unwise.
    pub advice: Vec<Mistake>,
    /// All users, so whoever is not among them is removed. None: they stay.
    pub users: Option<BTreeMap<Principal, UserSet>>,
    /// Some of the hosts; others stay as they are.
    pub hosts: BTreeMap<HostName, WantedHost>,
}

/// How a host is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedHost {
    /// With exactly these labels.
    Labelled(BTreeMap<LabelKey, LabelValue>),
    /// Not there any more.
    Removed,
}
