//! Who the people of cases are.

use std::collections::{BTreeMap, BTreeSet};

use jit_grant::{Login, Principal};
use toml::de::DeTable;

use crate::attribute::Attributes;
use crate::directory::GroupName;
use crate::event::{Service, UserSet};
use crate::policy::{Reader, Value};
use crate::until::Until;

/// The tables about them.
pub(super) const TABLES: [&str; 4] = ["groups", "attributes", "until", "services"];

/// What is said of them. Whoever a case names beside these is a person in no group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    groups: BTreeMap<GroupName, BTreeSet<Principal>>,
    attributes: BTreeMap<Principal, Attributes>,
    until: BTreeMap<Principal, Until>,
    services: BTreeSet<Principal>,
}

impl People {
    /// Everybody of whom something is said.
    pub(super) fn named(&self) -> impl Iterator<Item = &Principal> {
        let members = self.groups.values().flatten();
        let others = self.attributes.keys().chain(self.until.keys());
        members.chain(others).chain(&self.services)
    }

    /// True where the time of `name` has an end.
    pub(super) fn has_end(&self, name: &Principal) -> bool {
        self.until.contains_key(name)
    }

    /// `name` as a user with that login.
    pub(super) fn user(&self, name: &Principal, login: Login) -> UserSet {
        let mine = self.groups.iter().filter(|(_, all)| all.contains(name));
        UserSet {
            groups: mine.map(|(group, _)| group.clone()).collect(),
            attributes: self.attributes.get(name).cloned().unwrap_or_default(),
            until: self.until.get(name).map(|until| until.0),
            service: self.services.contains(name).then(Service::default),
            ..UserSet::new(name.clone(), login)
        }
    }
}

impl Reader<'_> {
    /// What `table`, a whole file of cases, says of them.
    pub(super) fn people_of_cases(&mut self, table: &DeTable<'_>) -> People {
        let groups = table.get("groups").map(|value| {
            self.by_name(value, "groups", |reader, members, path| {
                reader.distinct(members, path)
            })
        });
        let attributes = table.get("attributes");
        let attributes =
            attributes.map(|value| self.by_name(value, "attributes", Self::attributes));
        let until = table.get("until");
        let until = until.map(|value| self.by_name(value, "until", Self::parsed));
        let services = table.get("services");
        let services = services.and_then(|value| self.distinct(value, "services"));
        People {
            groups: groups.unwrap_or_default(),
            attributes: attributes.unwrap_or_default(),
            until: until.unwrap_or_default(),
            services: services.unwrap_or_default(),
        }
    }

    /// A table that has something for each name.
    fn by_name<N, T>(
        &mut self,
        value: &Value<'_>,
        of: &str,
        read: impl Fn(&mut Self, &Value<'_>, &str) -> Option<T>,
    ) -> BTreeMap<N, T>
    where
        N: Ord + TryFrom<String, Error: std::fmt::Display>,
    {
        let mut all = BTreeMap::new();
        let table = self.table(value, of);
        for (name, value) in table.into_iter().flat_map(|table| table.iter()) {
            let path = format!("{of}.{}", name.get_ref());
            let parsed = N::try_from(name.get_ref().to_string());
            let parsed = parsed
                .map_err(|error| self.mistake(&name.span(), &path, error))
                .ok();
            if let (Some(what), Some(name)) = (read(self, value, &path), parsed) {
                all.insert(name, what);
            }
        }
        all
    }
}
