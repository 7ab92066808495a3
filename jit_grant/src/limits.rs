//! What a grant is limited to, and what it gives, beside its login, its actions and its time. A host that does not know one of these must
//! not honour the grant.

use serde::{Deserialize, Serialize};

use crate::groups::Groups;
use crate::idle::IdleTime;
use crate::network::Networks;

/// The limits of a grant, and its groups; by default none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// It opens only to who comes from one of these networks. None: from anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_from: Option<Networks>,
    /// It opens one login, with the sudo and su in it; or one job, or one sudo or su outside of any login.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single_use: bool,
    /// A login by it at which nobody does anything for so long is ended. None: it may be left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdleTime>,
    /// A login by it is in these Unix groups, too, for as long as it is in force.
    #[serde(default, skip_serializing_if = "Groups::is_empty")]
    pub groups: Groups,
}

impl Limits {
    /// The names of those that there are, as [`Grant::crit`](crate::Grant::crit) has them and hosts announce that they enforce them.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let login_from = self.login_from.as_ref().map(|_| "login_from");
        let single_use = self.single_use.then_some("single_use");
        let idle = self.idle.map(|_| "idle");
        let groups = (!self.groups.is_empty()).then_some("groups");
        [login_from, single_use, idle, groups]
            .into_iter()
            .flatten()
            .collect()
    }

    /// True where there is none.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}
