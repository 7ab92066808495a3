//! What a policy says. Every mistake is found and told with its line and key, not only the first.

mod approval;
pub(super) mod changes;
mod conditions;
mod denials;
mod hosts;
mod hours;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use jit_grant::{Action, RoleName};
use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::reader::{Mistake, Reader, Value};
use super::{Extension, People, Policy, Role};
use crate::attribute::Attributes;

pub(super) const ONE_DAY: u32 = 24 * 60 * 60;

/// What a policy may say, beside each other.
const AT_TOP: [&str; 5] = ["roles", "may_lock", "may_audit", changes::KEY, denials::KEY];

/// Reads a policy from the text of `file`.
///
/// # Errors
/// Every mistake in it, in the order of their lines.
pub fn check_text(file: &str, text: &str) -> Result<Policy, Vec<Mistake>> {
    check_closely(file, text).map(|checked| checked.policy)
}

/// A right policy, and what is unwise in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What it says.
    pub policy: Policy,
    /// What it allows and better did not, in the order of their lines.
    pub warnings: Vec<Mistake>,
}

/// Checks the text of a policy as [`check_text`] does, and says what is unwise in it, too.
///
/// # Errors
/// Every mistake.
pub(crate) fn check_closely(file: &str, text: &str) -> Result<Checked, Vec<Mistake>> {
    let mut reader = Reader::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.mistake(&error.span().unwrap_or(0..0), "", error.message());
    }
    let (roles, may_lock) = reader.document(table.get_ref());
    let may_audit = reader.people_at_top(table.get_ref(), "may_audit");
    let changes_need = reader.changes_need(table.get_ref());
    let denials = reader.denials(table.get_ref(), &roles);
    let warnings = reader.take_warnings();
    let policy = Policy {
        hash: hash(text),
        roles,
        may_lock,
        may_audit,
        changes_need,
        denials,
        text: text.to_owned(),
    };
    reader.end(Checked { policy, warnings })
}

/// True where some of `actions` may make somebody root.
pub(super) fn opens_root(actions: &BTreeSet<Action>) -> bool {
    actions.contains(&Action::Sudo) || actions.contains(&Action::Su)
}

/// SHA-256 of a policy's text, in hexadecimal.
pub(crate) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Reader<'_> {
    fn document(&mut self, table: &DeTable<'_>) -> (BTreeMap<RoleName, Role>, People) {
        for key in table
            .keys()
            .filter(|key| !AT_TOP.contains(&key.get_ref().as_ref()))
        {
            self.mistake(
                &key.span(),
                key.get_ref(),
                "unknown key; a policy has only may_lock, may_audit, changes_need, [roles.NAME] and [denials.NAME] tables",
            );
        }
        let may_lock = self.people_at_top(table, "may_lock");
        let mut roles = BTreeMap::new();
        let named = table
            .get("roles")
            .and_then(|value| self.table(value, "roles"));
        for (name, role) in named.into_iter().flat_map(|named| named.iter()) {
            let path = format!("roles.{}", name.get_ref());
            let parsed = name.get_ref().parse::<RoleName>();
            if let Err(error) = &parsed {
                self.mistake(&name.span(), &path, error);
            }
            let body = self
                .table(role, &path)
                .map(|body| self.role(body, &name.span(), &path));
            if let (Ok(name), Some(Some(role))) = (parsed, body) {
                roles.insert(name, role);
            }
        }
        (roles, may_lock)
    }

    /// Whom `key`, beside the roles, names. Nobody where it is not there.
    fn people_at_top(&mut self, table: &DeTable<'_>, key: &str) -> People {
        let value = table.get(key);
        value
            .and_then(|value| self.people(value, key))
            .unwrap_or_default()
    }

    /// A role, where every key of it is right.
    fn role(&mut self, table: &DeTable<'_>, at: &Range<usize>, path: &str) -> Option<Role> {
        const KEYS: &[&str] = &[
            "description",
            "hosts",
            "actions",
            "longest",
            "extendable",
            "extend_without_approval",
            "pending_for",
            "may_ask",
            "approve",
            "end_login_with_elevation",
            "break_glass",
            "review",
            "review_within",
            "labels",
            "default",
        ];
        let keys = [KEYS, conditions::KEYS, limits::KEYS].concat();
        self.refuse_unknown(table, path, &keys);
        let description = self
            .optional(table, path, "description", Self::description)
            .unwrap_or(Some(String::new()));
        let hosts = self.hosts(table, at, path);
        let actions = self.required(table, at, path, "actions", Self::actions);
        let longest_seconds = self.required(table, at, path, "longest", Self::duration);
        let default_seconds = self.default_length(table, path, longest_seconds);
        let extension = self.extension(table, path);
        let pending_seconds = self
            .optional(table, path, "pending_for", Self::duration)
            .unwrap_or(Some(ONE_DAY));
        let may_ask = self.required(table, at, path, "may_ask", Self::people);
        let approve = self.approval(table, at, path);
        let end_login = self.optional(table, path, "end_login_with_elevation", Self::flag);
        let conditions = self.conditions(table, path);
        let limits = self.limits(table, path);
        let (actions, approval) = (actions?, approve?);
        let limits = self.limits_of(limits?, &actions, table, path)?;
        self.usable_groups(&limits.groups, &actions, table, path)?;
        // Whoever was root may have handed the login what outlasts the elevation (T17).
        let opens_root = opens_root(&actions);
        let role = Role {
            description: description?,
            hosts: hosts?,
            actions,
            longest_seconds: longest_seconds?,
            default_seconds: default_seconds?,
            extension: self.fitting(extension?, &approval, table, path)?,
            pending_seconds: pending_seconds?,
            may_ask: may_ask?,
            approval,
            end_login_with_elevation: end_login.unwrap_or(Some(opens_root))?,
            conditions: conditions?,
            limits,
        };
        self.advise(&role, table, path);
        Some(role)
    }

    /// `Some(None)` where its grants can't be extended, None where what is said of it is wrong.
    fn extension(&mut self, table: &DeTable<'_>, path: &str) -> Option<Option<Extension>> {
        let most = self.optional(table, path, "extendable", Self::duration);
        let alone = self.optional(table, path, "extend_without_approval", Self::flag);
        if let (None, Some(value)) = (most, table.get("extend_without_approval")) {
            let problem = "says nothing without extendable, the longest time of one extension";
            let key = format!("{path}.extend_without_approval");
            self.mistake(&value.span(), &key, problem);
        }
        let without_approval = alone.unwrap_or(Some(false))?;
        let Some(most) = most else {
            return Some(None);
        };
        Some(Some(Extension {
            most_seconds: most?,
            without_approval,
        }))
    }

    fn description(&mut self, value: &Value<'_>, path: &str) -> Option<String> {
        let text = self.text(value, path)?;
        match crate::text::Comment::try_from(text.to_owned()) {
            Ok(text) => Some(text.into()),
            Err(error) => {
                self.mistake(&value.span(), path, error);
                None
            }
        }
    }

    fn actions(&mut self, value: &Value<'_>, path: &str) -> Option<BTreeSet<Action>> {
        let items: BTreeSet<ActionName> = self.filled(value, path)?;
        Some(items.into_iter().map(|ActionName(action)| action).collect())
    }

    fn people(&mut self, value: &Value<'_>, path: &str) -> Option<People> {
        let table = self.table(value, path)?;
        self.refuse_unknown(table, path, &["users", "groups", "attributes"]);
        self.named_people(value, table, path)
    }

    fn named_people(
        &mut self,
        value: &Value<'_>,
        table: &DeTable<'_>,
        path: &str,
    ) -> Option<People> {
        let users = self
            .optional(table, path, "users", Self::list)
            .unwrap_or(Some(BTreeSet::new()));
        let groups = self
            .optional(table, path, "groups", Self::list)
            .unwrap_or(Some(BTreeSet::new()));
        let attributes = self.demanded(table, path);
        let people = People {
            users: users?,
            groups: groups?,
            attributes: attributes?,
        };
        if people.is_empty() {
            self.mistake(
                &value.span(),
                path,
                "names nobody, so it could never be used; give users, groups or attributes",
            );
            return None;
        }
        if people.are_anybody()
            && ["users", "groups"]
                .iter()
                .any(|key| table.contains_key(*key))
        {
            self.mistake(
                &value.span(),
                path,
                "names nobody in a list that is empty, and attributes alone are everybody who has them; leave the list out if that is meant",
            );
            return None;
        }
        Some(people)
    }

    /// The attributes that people must have beside their names or groups. None at all where nothing is said of them.
    fn demanded(&mut self, table: &DeTable<'_>, path: &str) -> Option<Attributes> {
        let Some(value) = table.get("attributes") else {
            return Some(Attributes::default());
        };
        let path = format!("{path}.attributes");
        let attributes = self.attributes(value, &path)?;
        if attributes.is_empty() {
            self.mistake(&value.span(), &path, "asks for nothing; leave it out");
            return None;
        }
        Some(attributes)
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ActionName(Action);

impl TryFrom<String> for ActionName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "ssh" => Ok(Self(Action::Ssh)),
            "sudo" => Ok(Self(Action::Sudo)),
            "su" => Ok(Self(Action::Su)),
            "jobs" => Ok(Self(Action::Jobs)),
            _ => Err(format!(
                "{text:?} is not an action; there are ssh, sudo, su and jobs"
            )),
        }
    }
}

#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;
