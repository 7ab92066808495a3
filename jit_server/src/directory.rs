//! Who and what is known: users with their logins, groups and keys; hosts with their keys.

mod by_label;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jit_grant::{Gates, HostId, HostName, Login, Principal};
use serde::{Deserialize, Serialize};

use crate::event::{HostEnrolled, UserSet};
use crate::label::{LabelKey, LabelValue};
use by_label::ByLabel;

/// Groups and keys of one user at most, each.
pub const MOST_OF_USER: usize = 64;

/// A group of users that the policy may name. Not a Unix group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(String);

/// A text is no group's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid group: 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit")]
pub struct GroupNameError(String);

impl TryFrom<String> for GroupName {
    type Error = GroupNameError;

    fn try_from(text: String) -> Result<Self, GroupNameError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let valid = text.len() <= 64
            && text.bytes().next().is_some_and(plain)
            && text.bytes().all(|b| plain(b) || b"._-".contains(&b));
        if valid {
            Ok(Self(text))
        } else {
            Err(GroupNameError(text.chars().take(80).collect()))
        }
    }
}

impl FromStr for GroupName {
    type Err = GroupNameError;

    fn from_str(text: &str) -> Result<Self, GroupNameError> {
        Self::try_from(text.to_owned())
    }
}

impl From<GroupName> for String {
    fn from(group: GroupName) -> String {
        group.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A host that trusts this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// As it was enrolled, with the labels that it has now.
    pub enrolled: HostEnrolled,
    /// When.
    pub at: Timestamp,
    /// How it stands, once it has said so.
    pub standing: Option<Standing>,
}

/// How a host stands, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// jitd's version.
    pub version: String,
    /// Its gates.
    pub gates: Gates,
    /// What it enforces of grants, by the names that their `crit` has. Hosts of before say nothing of it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub enforces: BTreeSet<String>,
}

/// The users and hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    users: BTreeMap<Principal, UserSet>,
    hosts: BTreeMap<HostName, Host>,
    /// The names in `hosts`: every call of a host begins with its id.
    names: HashMap<HostId, HostName>,
    by_label: ByLabel,
}

/// Who a Unix account is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountOwner<'a> {
    /// This user.
    User(&'a UserSet),
    /// Nobody that the server knows.
    Nobody,
    /// Several users have this login and none has this name, so nobody can tell which of them it is.
    Several(Vec<&'a Principal>),
}

impl Directory {
    /// Takes in a user as it is from now on.
    pub fn set_user(&mut self, user: UserSet) {
        self.users.insert(user.name.clone(), user);
    }

    /// Takes in that there is no user of that name any more.
    pub fn remove_user(&mut self, name: &Principal) {
        self.users.remove(name);
    }

    /// Takes in a host; an older one of the same name is no longer known.
    pub fn set_host(&mut self, enrolled: HostEnrolled, at: Timestamp) {
        self.remove_host(&enrolled.name);
        self.names
            .insert(enrolled.host_id.clone(), enrolled.name.clone());
        self.by_label.add(&enrolled.name, &enrolled.labels);
        let host = Host {
            enrolled,
            at,
            standing: None,
        };
        self.hosts.insert(host.enrolled.name.clone(), host);
    }

    /// Takes in how the host of that identity stands.
    pub fn set_standing(&mut self, id: &HostId, standing: Standing) {
        if let Some(host) = self.names.get(id).and_then(|name| self.hosts.get_mut(name)) {
            host.standing = Some(standing);
        }
    }

    /// Takes in that there is no host of that name any more.
    pub fn remove_host(&mut self, name: &HostName) {
        if let Some(host) = self.hosts.remove(name) {
            self.names.remove(&host.enrolled.host_id);
            self.by_label.remove(name, &host.enrolled.labels);
        }
    }

    /// Takes in the labels that a host has from now on.
    pub fn label_host(&mut self, name: &HostName, labels: &BTreeMap<LabelKey, LabelValue>) {
        if let Some(host) = self.hosts.get_mut(name) {
            self.by_label.remove(name, &host.enrolled.labels);
            self.by_label.add(name, labels);
            host.enrolled.labels = labels.clone();
        }
    }

    /// All users by name.
    pub fn users(&self) -> impl Iterator<Item = &UserSet> {
        self.users.values()
    }

    /// All hosts by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// The hosts whose names begin so, by name.
    pub fn hosts_like(&self, beginning: HostName) -> impl Iterator<Item = &Host> {
        let from = self.hosts.range(beginning.clone()..);
        from.take_while(move |(name, _)| name.as_str().starts_with(beginning.as_str()))
            .map(|(_, host)| host)
    }

    /// The hosts whose label `key` has one of `values`.
    pub fn labelled<'a>(
        &'a self,
        key: &LabelKey,
        values: &'a BTreeSet<LabelValue>,
    ) -> impl Iterator<Item = &'a Host> {
        let names = self.by_label.of(key, values).flatten();
        names.filter_map(|name| self.hosts.get(name))
    }

    /// How many these are.
    #[must_use]
    pub fn count_labelled(&self, key: &LabelKey, values: &BTreeSet<LabelValue>) -> usize {
        self.by_label.of(key, values).map(BTreeSet::len).sum()
    }

    /// The user of that name.
    #[must_use]
    pub fn user(&self, name: &Principal) -> Option<&UserSet> {
        self.users.get(name)
    }

    /// The host of that name.
    #[must_use]
    pub fn host(&self, name: &HostName) -> Option<&Host> {
        self.hosts.get(name)
    }

    /// The host of that identity.
    #[must_use]
    pub fn host_by_id(&self, id: &HostId) -> Option<&Host> {
        self.hosts.get(self.names.get(id)?)
    }

    /// The Unix account of `user` on `host`. A host that is not known has no labels.
    #[must_use]
    pub fn login_on<'u>(&self, user: &'u UserSet, host: &HostName) -> &'u Login {
        if user.logins.is_empty() {
            return &user.login;
        }
        let known = self.hosts.get(host);
        known.map_or_else(
            || user.login_on(host, &BTreeMap::new()),
            |known| user.login_on(host, &known.enrolled.labels),
        )
    }

    /// The users who have that login on `host`.
    pub fn with_login_on<'a>(
        &'a self,
        login: &'a Login,
        host: &'a HostName,
    ) -> impl Iterator<Item = &'a UserSet> {
        let all = self.users.values();
        all.filter(move |user| self.login_on(user, host) == login)
    }

    /// Who is behind the account `name` of this machine: the user of that name, else the one user with that login.
    #[must_use]
    pub fn owner_of_account(&self, name: &str) -> AccountOwner<'_> {
        if let Some(user) = name
            .parse()
            .ok()
            .and_then(|principal| self.users.get(&principal))
        {
            return AccountOwner::User(user);
        }
        let Ok(login) = name.parse::<Login>() else {
            return AccountOwner::Nobody;
        };
        let owners: Vec<&UserSet> = self
            .users
            .values()
            .filter(|user| user.login == login)
            .collect();
        match owners.as_slice() {
            [] => AccountOwner::Nobody,
            [one] => AccountOwner::User(one),
            several => AccountOwner::Several(several.iter().map(|user| &user.name).collect()),
        }
    }

    /// True where some of `groups` are the user's.
    #[must_use]
    pub fn in_any(user: &UserSet, groups: &BTreeSet<GroupName>) -> bool {
        !user.groups.is_disjoint(groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enrolled(name: &str, digit: char) -> HostEnrolled {
        HostEnrolled {
            name: name.parse().unwrap(),
            host_id: format!("h{}", digit.to_string().repeat(32))
                .parse()
                .unwrap(),
            public_key: String::new(),
            labels: BTreeMap::new(),
            lapse_seconds: None,
            token: None,
            from: None,
        }
    }

    #[test]
    fn a_host_that_was_replaced_or_removed_is_not_known_by_its_id() {
        let mut directory = Directory::default();
        let (first, second) = (enrolled("web-1", '1'), enrolled("web-1", '2'));
        directory.set_host(first.clone(), Timestamp::UNIX_EPOCH);
        assert_eq!(
            directory.host_by_id(&first.host_id).unwrap().enrolled,
            first
        );
        directory.set_host(second.clone(), Timestamp::UNIX_EPOCH);
        assert!(directory.host_by_id(&first.host_id).is_none());
        assert_eq!(
            directory.host_by_id(&second.host_id).unwrap().enrolled,
            second
        );
        directory.remove_host(&second.name);
        assert!(directory.host_by_id(&second.host_id).is_none());
    }
}
