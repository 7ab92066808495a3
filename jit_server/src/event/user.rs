//! A user: who it is, until when, and with which logins.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jit_grant::{HostName, Login, Principal};
use serde::{Deserialize, Serialize};

use super::{Requested, Service};
use crate::attribute::Attributes;
use crate::directory::GroupName;
use crate::label::{LabelKey, LabelValue};
use crate::logins::Logins;
use crate::ssh_key::SshKey;

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

impl UserSet {
    /// A user with that login and nothing else: no groups, no keys, no end, no attributes, and that login everywhere.
    #[must_use]
    pub fn new(name: Principal, login: Login) -> Self {
        Self {
            name,
            login,
            groups: BTreeSet::new(),
            keys: BTreeSet::new(),
            until: None,
            attributes: Attributes::default(),
            service: None,
            logins: Logins::default(),
        }
    }

    /// True where the user's time is over at `now`.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// True where something that is the user's until just before `end` does not outlive his time.
    #[must_use]
    pub fn covers_until(&self, end: Timestamp) -> bool {
        self.until.is_none_or(|until| end <= until)
    }

    /// The Unix account on the host `name` with these labels.
    #[must_use]
    pub fn login_on(&self, name: &HostName, labels: &BTreeMap<LabelKey, LabelValue>) -> &Login {
        self.logins.on(name, labels).unwrap_or(&self.login)
    }

    /// All Unix accounts that the user may have on some host.
    #[must_use]
    pub fn all_logins(&self) -> BTreeSet<&Login> {
        self.logins.all().chain([&self.login]).collect()
    }
}

impl Requested {
    /// The login that this opens on `host`.
    #[must_use]
    pub fn login_on(&self, host: &HostName) -> &Login {
        self.logins.get(host).unwrap_or(&self.login)
    }

    /// All logins that this opens on some of its hosts.
    #[must_use]
    pub fn all_logins(&self) -> BTreeSet<&Login> {
        self.hosts.iter().map(|host| self.login_on(host)).collect()
    }
}
