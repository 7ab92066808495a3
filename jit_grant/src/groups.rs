//! Unix groups that logins have by grants, for as long as these are in force.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, Grant};
use crate::decide::{Decision, Query, held_until};
use crate::name::{GroupName, Login};
use crate::uses::{Opening, Uses, decide_opening};

/// The groups of a grant, at most [`Groups::MOST`]; by default none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeSet<GroupName>", into = "BTreeSet<GroupName>")]
pub struct Groups(BTreeSet<GroupName>);

/// Why some groups are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} groups; there must be {most} at most", most = Groups::MOST)]
pub struct GroupsError(usize);

impl Groups {
    /// No more than so many.
    pub const MOST: usize = 16;

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True where `group` is one of them.
    #[must_use]
    pub fn has(&self, group: &GroupName) -> bool {
        self.0.contains(group)
    }

    /// Each, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &GroupName> {
        self.0.iter()
    }

    /// Each as it is written.
    #[must_use]
    pub fn listed(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl TryFrom<BTreeSet<GroupName>> for Groups {
    type Error = GroupsError;

    fn try_from(groups: BTreeSet<GroupName>) -> Result<Self, GroupsError> {
        match groups.len() {
            0..=Self::MOST => Ok(Self(groups)),
            other => Err(GroupsError(other)),
        }
    }
}

impl From<Groups> for BTreeSet<GroupName> {
    fn from(groups: Groups) -> Self {
        groups.0
    }
}

/// Every group that some grant of `login` has, in force or not: the host looks each up before it lets that login in.
#[must_use]
pub fn groups_of_login(bundle: &Bundle, login: &Login) -> BTreeSet<GroupName> {
    let grants = bundle.grants.iter().filter(|grant| grant.login == *login);
    grants
        .flat_map(|grant| grant.limits.groups.iter().cloned())
        .collect()
}

/// [`decide_opening`] for a login that gets groups: those of all grants in force that open it. From then on `query` names them, and the
/// answer is until when it has all of them.
#[must_use]
pub fn decide_login(bundle: &Bundle, query: &mut Query, uses: &Uses) -> Opening {
    query.groups.clear();
    let opening = decide_opening(bundle, query, uses);
    match &opening.decision {
        Decision::Allow(allowed) if !allowed.groups.is_empty() => {
            query.groups.clone_from(&allowed.groups);
            decide_opening(bundle, query, uses)
        }
        _ => opening,
    }
}

/// What the groups of a session leave of what `opening` holds open from `now`: the grant by which it ends first, and that end, which is
/// never later than that of all of `opening`.
/// `Err` names a group that no grant of them in force has.
pub(crate) fn first_to_end<'a>(
    opening: &[&'a Grant],
    groups: &BTreeSet<GroupName>,
    now: Timestamp,
) -> Result<Option<(&'a Grant, Timestamp)>, GroupName> {
    let mut first: Option<(&Grant, Timestamp)> = None;
    for group in groups {
        let having: Vec<&Grant> = opening
            .iter()
            .filter(|grant| grant.limits.groups.has(group))
            .copied()
            .collect();
        let in_force = having.iter().filter(|grant| grant.not_before <= now);
        let Some(last) = in_force.max_by_key(|grant| (grant.expires, &grant.id)) else {
            return Err(group.clone());
        };
        let until = held_until(&having, now);
        if first.is_none_or(|(_, before)| until < before) {
            first = Some((*last, until));
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_written_as_hosts_write_them_and_root_is_none() {
        for right in ["adm", "www-data", "_ssh", "a.b", &"a".repeat(32)] {
            assert!(right.parse::<GroupName>().is_ok(), "{right}");
        }
        for wrong in [
            "",
            "root",
            "Adm",
            "0",
            "4",
            "-x",
            "a b",
            "a:b",
            "a,b",
            "ä",
            &"a".repeat(33),
        ] {
            assert!(wrong.parse::<GroupName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn too_many_groups_are_refused() {
        let numbered = |count: u8| {
            let all = (0..count).map(|n| format!("g{n}").parse().unwrap());
            Groups::try_from(all.collect::<BTreeSet<GroupName>>())
        };
        assert!(numbered(0).unwrap().is_empty() && numbered(17).is_err());
        assert_eq!(numbered(16).unwrap().listed().len(), 16);
    }
}
