//! Reading a policy. Every mistake is found and told with its line and key, not only the first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use jiff::SpanRelativeTo;
use jit_grant::{Action, HostName, RoleName};
use serde::Serialize;
use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Hosts, People, Policy, Role};

const ONE_DAY: u32 = 24 * 60 * 60;
const LONGEST: u32 = 30 * ONE_DAY;
const MOST_APPROVALS: i64 = 10;

/// One thing that is wrong in a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The file's name, as given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// Where in the document, such as `roles.web-admin.longest`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

/// Reads a policy from the text of `file`.
///
/// # Errors
/// Every mistake in it, in the order of their lines.
pub fn check_text(file: &str, text: &str) -> Result<Policy, Vec<Mistake>> {
    let mut reader = Reader {
        file,
        text,
        mistakes: Vec::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.mistake(&error.span().unwrap_or(0..0), "", error.message());
    }
    let roles = reader.document(table.get_ref());
    reader.mistakes.sort_by_key(|mistake| mistake.line);
    if reader.mistakes.is_empty() {
        Ok(Policy {
            hash: hash(text),
            roles,
        })
    } else {
        Err(reader.mistakes)
    }
}

/// SHA-256 of a policy's text, in hexadecimal.
fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

type Value<'i> = Spanned<DeValue<'i>>;

struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn mistake(&mut self, span: &Range<usize>, key: &str, problem: impl fmt::Display) {
        let line = 1 + self
            .text
            .bytes()
            .take(span.start)
            .filter(|byte| *byte == b'\n')
            .count();
        self.mistakes.push(Mistake {
            file: self.file.to_owned(),
            line,
            key: key.to_owned(),
            problem: problem.to_string(),
        });
    }

    fn document(&mut self, table: &DeTable<'_>) -> BTreeMap<RoleName, Role> {
        let mut roles = BTreeMap::new();
        for (key, value) in table.iter() {
            if key.get_ref() != "roles" {
                self.mistake(
                    &key.span(),
                    key.get_ref(),
                    "unknown key; a policy has only [roles.NAME] tables",
                );
                continue;
            }
            let Some(named) = self.table(value, "roles") else {
                continue;
            };
            for (name, role) in named.iter() {
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
        }
        roles
    }

    /// A role, where every key of it is right.
    fn role(&mut self, table: &DeTable<'_>, at: &Range<usize>, path: &str) -> Option<Role> {
        const KEYS: &[&str] = &[
            "description",
            "hosts",
            "actions",
            "longest",
            "pending_for",
            "may_ask",
            "approve",
        ];
        self.refuse_unknown(table, path, KEYS);
        let description = self
            .optional(table, path, "description", Self::description)
            .unwrap_or(Some(String::new()));
        let hosts = self.required(table, at, path, "hosts", Self::hosts);
        let actions = self.required(table, at, path, "actions", Self::actions);
        let longest_seconds = self.required(table, at, path, "longest", Self::duration);
        let pending_seconds = self
            .optional(table, path, "pending_for", Self::duration)
            .unwrap_or(Some(ONE_DAY));
        let may_ask = self.required(table, at, path, "may_ask", Self::people);
        let approve = self.required(table, at, path, "approve", Self::approve);
        let (approvers, count) = approve?;
        Some(Role {
            description: description?,
            hosts: hosts?,
            actions: actions?,
            longest_seconds: longest_seconds?,
            pending_seconds: pending_seconds?,
            may_ask: may_ask?,
            approvers,
            count,
        })
    }

    fn refuse_unknown(&mut self, table: &DeTable<'_>, path: &str, known: &[&str]) {
        for key in table
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
        {
            let problem = format!("unknown key; known here: {}", known.join(", "));
            self.mistake(&key.span(), &format!("{path}.{}", key.get_ref()), problem);
        }
    }

    fn required<T>(
        &mut self,
        table: &DeTable<'_>,
        at: &Range<usize>,
        path: &str,
        key: &str,
        read: fn(&mut Self, &Value<'_>, &str) -> Option<T>,
    ) -> Option<T> {
        let found = self.optional(table, path, key, read);
        if found.is_none() {
            self.mistake(at, &format!("{path}.{key}"), "missing");
        }
        found.flatten()
    }

    /// `None` where the key is not there, `Some(None)` where it is wrong.
    fn optional<T>(
        &mut self,
        table: &DeTable<'_>,
        path: &str,
        key: &str,
        read: fn(&mut Self, &Value<'_>, &str) -> Option<T>,
    ) -> Option<Option<T>> {
        let value = table.get(key)?;
        Some(read(self, value, &format!("{path}.{key}")))
    }

    fn table<'v, 'i>(&mut self, value: &'v Value<'i>, path: &str) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.mistake(
                &value.span(),
                path,
                format!("must be a table, not {}", value.get_ref().type_str()),
            );
        }
        table
    }

    fn text<'v>(&mut self, value: &'v Value<'_>, path: &str) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.mistake(
                &value.span(),
                path,
                format!("must be a string, not {}", value.get_ref().type_str()),
            );
        }
        text
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

    /// A list of strings, each of which `T` takes.
    fn list<T: Ord + TryFrom<String, Error: fmt::Display>>(
        &mut self,
        value: &Value<'_>,
        path: &str,
    ) -> Option<BTreeSet<T>> {
        let Some(array) = value.get_ref().as_array() else {
            self.mistake(
                &value.span(),
                path,
                format!("must be a list, not {}", value.get_ref().type_str()),
            );
            return None;
        };
        let before = self.mistakes.len();
        let mut items = BTreeSet::new();
        for item in array.iter() {
            match self
                .text(item, path)
                .map(|text| T::try_from(text.to_owned()))
            {
                Some(Ok(parsed)) => {
                    items.insert(parsed);
                }
                Some(Err(error)) => self.mistake(&item.span(), path, error),
                None => {}
            }
        }
        (self.mistakes.len() == before).then_some(items)
    }

    /// A list with something in it.
    fn filled<T: Ord + TryFrom<String, Error: fmt::Display>>(
        &mut self,
        value: &Value<'_>,
        path: &str,
    ) -> Option<BTreeSet<T>> {
        let items = self.list(value, path)?;
        if items.is_empty() {
            self.mistake(
                &value.span(),
                path,
                "is empty, so the role could never be used",
            );
            return None;
        }
        Some(items)
    }

    fn hosts(&mut self, value: &Value<'_>, path: &str) -> Option<Hosts> {
        let items: BTreeSet<HostPattern> = self.filled(value, path)?;
        if items.contains(&HostPattern::Every) {
            if items.len() > 1 {
                self.mistake(
                    &value.span(),
                    path,
                    "\"*\" is every host; name none beside it",
                );
                return None;
            }
            return Some(Hosts::Every);
        }
        let named = items.into_iter().filter_map(|item| match item {
            HostPattern::Every => None,
            HostPattern::Name(name) => Some(name),
        });
        Some(Hosts::Named(named.collect()))
    }

    fn actions(&mut self, value: &Value<'_>, path: &str) -> Option<BTreeSet<Action>> {
        let items: BTreeSet<ActionName> = self.filled(value, path)?;
        Some(items.into_iter().map(|ActionName(action)| action).collect())
    }

    /// Seconds, from a text such as `4h`, `90m`, `1d` or `1h 30m`.
    fn duration(&mut self, value: &Value<'_>, path: &str) -> Option<u32> {
        let text = self.text(value, path)?;
        let seconds = seconds_of(text).filter(|seconds| (1..=LONGEST).contains(seconds));
        if seconds.is_none() {
            self.mistake(
                &value.span(),
                path,
                format!("{text:?} is not a time such as \"30m\", \"4h\" or \"1d\", from 1s to 30d"),
            );
        }
        seconds
    }

    fn people(&mut self, value: &Value<'_>, path: &str) -> Option<People> {
        let table = self.table(value, path)?;
        self.refuse_unknown(table, path, &["users", "groups"]);
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
        let people = People {
            users: users?,
            groups: groups?,
        };
        if people.is_empty() {
            self.mistake(
                &value.span(),
                path,
                "names nobody, so the role could never be used; give users or groups",
            );
            return None;
        }
        Some(people)
    }

    fn approve(&mut self, value: &Value<'_>, path: &str) -> Option<(People, u32)> {
        let table = self.table(value, path)?;
        self.refuse_unknown(table, path, &["users", "groups", "count"]);
        let people = self.named_people(value, table, path);
        let count = self
            .optional(table, path, "count", Self::count)
            .unwrap_or(Some(1));
        let (people, count) = (people?, count?);
        let named = u32::try_from(people.users.len()).unwrap_or(u32::MAX);
        if people.groups.is_empty() && named < count {
            self.mistake(
                &value.span(),
                path,
                format!(
                    "{count} must approve but only {named} may, so nothing could ever be granted"
                ),
            );
            return None;
        }
        Some((people, count))
    }

    fn count(&mut self, value: &Value<'_>, path: &str) -> Option<u32> {
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        let count = number
            .filter(|n| (1..=MOST_APPROVALS).contains(n))
            .and_then(|n| u32::try_from(n).ok());
        if count.is_none() {
            self.mistake(
                &value.span(),
                path,
                format!("must be a whole number from 1 to {MOST_APPROVALS}"),
            );
        }
        count
    }
}

fn seconds_of(text: &str) -> Option<u32> {
    let span: jiff::Span = text.parse().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    if duration.subsec_nanos() != 0 {
        return None;
    }
    u32::try_from(duration.as_secs()).ok()
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostPattern {
    Every,
    Name(HostName),
}

impl TryFrom<String> for HostPattern {
    type Error = jit_grant::NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "*" {
            Ok(Self::Every)
        } else {
            HostName::try_from(text).map(Self::Name)
        }
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
            _ => Err(format!(
                "{text:?} is not an action; there are ssh, sudo and su"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[roles.web-admin]
description = "Fix the web servers"
hosts = ["web-1", "web-2"]
actions = ["ssh", "sudo"]
longest = "4h"
may_ask = { groups = ["developers"] }
approve = { users = ["bob", "carol"], count = 2 }
"#;

    #[test]
    fn a_right_policy_is_read_whole() {
        let policy = check_text("policy.toml", GOOD).unwrap();
        let role = &policy.roles[&"web-admin".parse().unwrap()];
        assert_eq!(
            (role.longest_seconds, role.pending_seconds, role.count),
            (4 * 3600, ONE_DAY, 2)
        );
        assert!(role.hosts.cover(&"web-2".parse().unwrap()));
        assert!(!role.hosts.cover(&"web-3".parse().unwrap()));
        assert_eq!(policy.hash.len(), 64);
    }

    #[test]
    fn the_starter_policy_is_right() {
        assert!(
            check_text("policy.toml", crate::init::STARTER_POLICY)
                .unwrap()
                .roles
                .is_empty()
        );
    }

    #[test]
    fn an_empty_policy_allows_nothing() {
        assert!(check_text("policy.toml", "").unwrap().roles.is_empty());
    }

    #[test]
    fn every_mistake_is_told_with_line_and_key() {
        let wrong = r#"
[roles.Web]
hosts = ["web-1", "UPPER"]
actions = ["ssh", "root"]
longest = "-4h"
may_ask = { groups = [] }
approve = { users = ["bob"], count = 2, stages = 3 }
commands = ["/bin/ls"]
[defaults]
x = 1
"#;
        let mistakes = check_text("policy.toml", wrong).unwrap_err();
        let told: Vec<(usize, &str)> = mistakes.iter().map(|m| (m.line, m.key.as_str())).collect();
        assert_eq!(
            told,
            [
                (2, "roles.Web"),
                (3, "roles.Web.hosts"),
                (4, "roles.Web.actions"),
                (5, "roles.Web.longest"),
                (6, "roles.Web.may_ask"),
                (7, "roles.Web.approve.stages"),
                (7, "roles.Web.approve"),
                (8, "roles.Web.commands"),
                (9, "defaults"),
            ]
        );
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let mistakes = check_text("policy.toml", "[roles.a]\nhosts = [\n").unwrap_err();
        assert!(
            mistakes[0].to_string().starts_with("policy.toml:"),
            "{}",
            mistakes[0]
        );
    }

    #[test]
    fn missing_keys_are_told_at_the_role() {
        let mistakes = check_text("p", "\n[roles.a]\n").unwrap_err();
        assert_eq!(mistakes.len(), 5);
        assert!(
            mistakes
                .iter()
                .all(|m| m.line == 2 && m.problem == "missing")
        );
    }

    #[test]
    fn times_are_whole_seconds_and_never_negative() {
        assert_eq!(seconds_of("1d"), Some(86_400));
        assert_eq!(seconds_of("90m"), Some(5_400));
        assert_eq!(seconds_of("1h30m"), Some(5_400));
        for wrong in ["-1h", "1h ago", "500ms", "", "4", "1mo", "99999999999h"] {
            assert_eq!(seconds_of(wrong), None, "{wrong}");
        }
    }
}
