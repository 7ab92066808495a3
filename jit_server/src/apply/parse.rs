//! What the files say. Every mistake of every file is found and told with its line and key.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;

use jit_grant::{Login, Principal};
use toml::de::DeTable;

use super::{Wanted, WantedHost};
use crate::directory::{GroupName, MOST_OF_USER};
use crate::event::{Service, UserSet};
use crate::label::{LabelKey, LabelValue, MOST_LABELS};
use crate::policy::{MAX_BYTES, Mistake, Reader, Value, check_closely};
use crate::ssh_key::SshKey;
use crate::until::Until;

/// The policy's file.
pub const POLICY: &str = "policy.toml";
/// The users' file.
pub const USERS: &str = "users.toml";
/// The hosts' file.
pub const HOSTS: &str = "hosts.toml";

/// The files' texts, of those that are there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Texts<'t> {
    /// Of [`POLICY`].
    pub policy: Option<&'t str>,
    /// Of [`USERS`].
    pub users: Option<&'t str>,
    /// Of [`HOSTS`].
    pub hosts: Option<&'t str>,
}

/// Reads all files.
///
/// # Errors
/// Every mistake in them, file by file in the order of their lines.
pub fn read(texts: Texts<'_>) -> Result<Wanted, Vec<Mistake>> {
    let mut mistakes = too_large(&texts);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let mut kept = |wrong| mistakes.extend(wrong);
    let policy = texts.policy.map(|text| check_closely(POLICY, text));
    let policy = policy.transpose().map_err(&mut kept);
    let users = texts.users.map(users).transpose().map_err(&mut kept);
    let hosts = texts.hosts.map(hosts).transpose().map_err(&mut kept);
    match (policy, users, hosts) {
        (Ok(checked), Ok(users), Ok(hosts)) => {
            let (policy, advice) = checked
                .map(|checked| (checked.policy, checked.warnings))
                .unzip();
            Ok(Wanted {
                policy,
                advice: advice.unwrap_or_default(),
                users,
                hosts: hosts.unwrap_or_default(),
            })
        }
        _ => Err(mistakes),
    }
}

/// Files that are larger than any of ours: what they say is kept in the record for ever.
fn too_large(texts: &Texts<'_>) -> Vec<Mistake> {
    let files = [
        (POLICY, texts.policy),
        (USERS, texts.users),
        (HOSTS, texts.hosts),
    ];
    let large = files.into_iter().filter(|(_, text)| {
        let bytes = text.map_or(0, |text| text.len() as u64);
        bytes > MAX_BYTES
    });
    let mistake = |(file, _): (&str, _)| Mistake {
        file: file.to_owned(),
        line: 1,
        key: String::new(),
        problem: "is larger than 1 MiB".to_owned(),
    };
    large.map(mistake).collect()
}

fn users(text: &str) -> Result<BTreeMap<Principal, UserSet>, Vec<Mistake>> {
    let mut owners: BTreeMap<(Login, SshKey), Principal> = BTreeMap::new();
    tables(USERS, text, "users", |reader, name, body, at, path| {
        let user = reader.user(name, body, at, path)?;
        let logins = user.all_logins().into_iter();
        for (login, key) in logins.flat_map(|login| user.keys.iter().map(move |key| (login, key))) {
            let owner = owners.insert((login.clone(), key.clone()), user.name.clone());
            if let Some(owner) = owner {
                let problem = format!(
                    "the key {} is also that of {owner}, who has the same login: nobody could tell them apart",
                    key.fingerprint()
                );
                reader.mistake(at, &format!("{path}.keys"), problem);
            }
        }
        Some(user)
    })
}

fn hosts(text: &str) -> Result<BTreeMap<jit_grant::HostName, WantedHost>, Vec<Mistake>> {
    tables(HOSTS, text, "hosts", |reader, _, body, at, path| {
        reader.host(body, at, path)
    })
}

/// A file with nothing in it but tables `[KIND.NAME]`, each read by `read`.
fn tables<K, V>(
    file: &str,
    text: &str,
    kind: &str,
    mut read: impl FnMut(&mut Reader<'_>, &K, &DeTable<'_>, &Range<usize>, &str) -> Option<V>,
) -> Result<BTreeMap<K, V>, Vec<Mistake>>
where
    K: Ord + TryFrom<String, Error: Display>,
{
    let mut reader = Reader::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.mistake(&error.span().unwrap_or(0..0), "", error.message());
    }
    let table = table.get_ref();
    for key in table.keys().filter(|key| key.get_ref() != kind) {
        let problem = format!("unknown key; there are only [{kind}.NAME] tables here");
        reader.mistake(&key.span(), key.get_ref(), problem);
    }
    let named = table.get(kind).and_then(|value| reader.table(value, kind));
    let mut found = BTreeMap::new();
    for (name, body) in named.into_iter().flat_map(|named| named.iter()) {
        let path = format!("{kind}.{}", name.get_ref());
        let at = name.span();
        let parsed = K::try_from(name.get_ref().to_string());
        let parsed = parsed.map_err(|error| reader.mistake(&at, &path, error));
        let body = reader.table(body, &path);
        if let (Ok(name), Some(body)) = (parsed, body)
            && let Some(value) = read(&mut reader, &name, body, &at, &path)
        {
            found.insert(name, value);
        }
    }
    reader.end(found)
}

impl Reader<'_> {
    fn user(
        &mut self,
        name: &Principal,
        body: &DeTable<'_>,
        at: &Range<usize>,
        path: &str,
    ) -> Option<UserSet> {
        self.refuse_unknown(
            body,
            path,
            &[
                "login",
                "groups",
                "keys",
                "until",
                "attributes",
                "service",
                "hours",
                "logins",
            ],
        );
        let login = self.required(body, at, path, "login", Self::parsed::<Login>);
        let groups = self
            .optional(body, path, "groups", Self::distinct::<GroupName>)
            .unwrap_or_else(|| Some(Default::default()));
        let keys = self
            .optional(body, path, "keys", Self::distinct::<SshKey>)
            .unwrap_or_else(|| Some(Default::default()));
        let until = self.optional(body, path, "until", Self::parsed::<Until>);
        let until = until.map_or(Some(None), |until| until.map(Some))?;
        let attributes = self.optional(body, path, "attributes", Self::attributes);
        let attributes = attributes.unwrap_or_else(|| Some(Default::default()))?;
        let logins = self.optional(body, path, "logins", Self::logins);
        let logins = logins.unwrap_or_else(|| Some(Default::default()))?;
        let service = self.optional(body, path, "service", Self::flag);
        let service = self.service(body, at, path, service.unwrap_or(Some(false))?);
        let (groups, keys, service) = (groups?, keys?, service?);
        for (what, count) in [("groups", groups.len()), ("keys", keys.len())] {
            if count > MOST_OF_USER {
                let problem = format!("a user has {MOST_OF_USER} {what} at most");
                self.mistake(at, &format!("{path}.{what}"), problem);
            }
        }
        Some(UserSet {
            name: name.clone(),
            login: login?,
            groups,
            keys,
            until: until.map(|Until(until)| until),
            attributes,
            service,
            logins,
        })
    }

    /// `Some(None)` where it is a person.
    fn service(
        &mut self,
        body: &DeTable<'_>,
        at: &Range<usize>,
        path: &str,
        is_service: bool,
    ) -> Option<Option<Service>> {
        let hours = self.optional(body, path, "hours", Self::windows);
        if hours.is_some() && !is_service {
            let problem = "only a service account has hours of its own; a role's are in the policy";
            self.mistake(at, &format!("{path}.hours"), problem);
            return None;
        }
        let windows = hours.unwrap_or_else(|| Some(Vec::new()))?;
        Some(is_service.then(|| Service::within(&windows)))
    }

    fn host(&mut self, body: &DeTable<'_>, at: &Range<usize>, path: &str) -> Option<WantedHost> {
        self.refuse_unknown(body, path, &["labels", "remove"]);
        let labels = self.optional(body, path, "labels", Self::labels);
        let remove = self.optional(body, path, "remove", Self::flag);
        match (labels, remove.unwrap_or(Some(false))?) {
            (Some(labels), false) => labels.map(WantedHost::Labelled),
            (None, true) => Some(WantedHost::Removed),
            (Some(_), true) => {
                self.mistake(at, path, "has labels and is to be removed; say one of both");
                None
            }
            (None, false) => {
                self.mistake(at, path, "says nothing; give labels, or remove = true");
                None
            }
        }
    }

    /// A table of keys with one value each.
    pub(crate) fn labels(
        &mut self,
        value: &Value<'_>,
        path: &str,
    ) -> Option<BTreeMap<LabelKey, LabelValue>> {
        let table = self.table(value, path)?;
        if table.len() > MOST_LABELS {
            let problem = format!("a host has {MOST_LABELS} labels at most");
            self.mistake(&value.span(), path, problem);
            return None;
        }
        let mut labels = BTreeMap::new();
        for (key, value) in table.iter() {
            let path = format!("{path}.{}", key.get_ref());
            let parsed = LabelKey::try_from(key.get_ref().to_string());
            let parsed = parsed.map_err(|error| self.mistake(&key.span(), &path, error));
            if let (Some(value), Ok(key)) = (self.parsed(value, &path), parsed) {
                labels.insert(key, value);
            }
        }
        Some(labels)
    }
}

#[cfg(test)]
mod tests;
