//! Which Unix account a user has on which hosts, where that is not the same everywhere.

mod read;

use std::collections::{BTreeMap, BTreeSet};

use jit_grant::{HostName, Login};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::label::{LabelKey, LabelValue, Labelled};
use crate::policy::{HostPattern, Hosts};

/// Rules of one user at most.
pub const MOST_RULES: usize = 32;
/// Names and patterns of one rule at most.
const MOST_PATTERNS: usize = 64;

/// A login on some hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "LoginDocument", into = "LoginDocument")]
pub struct LoginRule {
    hosts: Hosts,
    login: Login,
}

/// The same as documents have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginDocument {
    /// Names as enrolled and patterns with `*` and `?`; with labels, a host must fit both. One of both is needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Hosts that have every key, each with one of the values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Vec<String>>,
    /// The Unix account there.
    pub login: String,
}

/// Rules in their order: the first that fits a host says the login there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<LoginRule>")]
pub struct Logins(Vec<LoginRule>);

impl LoginRule {
    /// `login` on `hosts`.
    #[must_use]
    pub fn new(hosts: Hosts, login: Login) -> Self {
        Self { hosts, login }
    }

    fn in_words(&self) -> String {
        LoginDocument::from(self.clone()).in_words()
    }
}

impl LoginDocument {
    /// Such as `postgres on db-*`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let names = self.hosts.join(" ");
        let labels = self.labels.iter();
        let labels = labels.map(|(key, values)| format!("{key}={}", values.join(" or ")));
        let labels = labels.collect::<Vec<_>>().join(", ");
        match (names.as_str(), labels.as_str()) {
            (names, "") => format!("{} on {names}", self.login),
            ("" | "*", labels) => format!("{} on hosts with {labels}", self.login),
            (names, labels) => format!("{} on {names} with {labels}", self.login),
        }
    }
}

impl Logins {
    /// The login on the host `name` with these labels. None: no rule fits it.
    #[must_use]
    pub fn on(&self, name: &HostName, labels: &BTreeMap<LabelKey, LabelValue>) -> Option<&Login> {
        let mut rules = self.0.iter();
        let rule = rules.find(|rule| rule.hosts.cover(name, labels));
        rule.map(|rule| &rule.login)
    }

    /// All that some host may say.
    pub fn all(&self) -> impl Iterator<Item = &Login> {
        self.0.iter().map(|rule| &rule.login)
    }

    /// Each rule in words, such as `postgres on db-*`, in their order.
    pub fn each(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(LoginRule::in_words)
    }

    /// As documents have them.
    #[must_use]
    pub fn listed(&self) -> Vec<LoginDocument> {
        self.0.iter().cloned().map(LoginDocument::from).collect()
    }

    /// True where there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<LoginRule>> for Logins {
    type Error = String;

    fn try_from(rules: Vec<LoginRule>) -> Result<Self, String> {
        if rules.len() > MOST_RULES {
            return Err(format!("a user has {MOST_RULES} logins by host at most"));
        }
        Ok(Self(rules))
    }
}

impl TryFrom<LoginDocument> for LoginRule {
    type Error = String;

    fn try_from(document: LoginDocument) -> Result<Self, String> {
        let LoginDocument {
            hosts,
            labels,
            login,
        } = document;
        if hosts.is_empty() && labels.is_empty() {
            return Err("a login by host needs hosts, labels or both".to_owned());
        }
        if hosts.len() > MOST_PATTERNS {
            return Err(format!(
                "a login by host names {MOST_PATTERNS} hosts at most; a pattern or a label says more"
            ));
        }
        let patterns = hosts.into_iter().map(HostPattern::try_from);
        let patterns = patterns.collect::<Result<BTreeSet<_>, _>>()?;
        let labels = labels.into_iter().map(|(key, values)| {
            let values = values.into_iter().map(LabelValue::try_from);
            let values = values.collect::<Result<BTreeSet<_>, _>>();
            let values = values.map_err(|error| error.to_string())?;
            let key = LabelKey::try_from(key).map_err(|error| error.to_string())?;
            Ok((key, values))
        });
        let labels = labels.collect::<Result<BTreeMap<_, _>, String>>()?;
        let labels = Labelled::try_from(labels).map_err(|error| error.to_string())?;
        let login = Login::try_from(login).map_err(|error| error.to_string())?;
        Ok(Self::new(Hosts::new(patterns, labels), login))
    }
}

impl From<LoginRule> for LoginDocument {
    fn from(rule: LoginRule) -> Self {
        Self {
            hosts: rule.hosts.listed(),
            labels: rule.hosts.labels().listed(),
            login: rule.login.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(json: &str) -> Logins {
        serde_json::from_str(json).unwrap()
    }

    const RULES: &str = r#"[
        {"hosts":["db-*"],"labels":{"env":["prod"]},"login":"postgres"},
        {"hosts":["db-1","web-?"],"login":"deploy"},
        {"labels":{"env":["prod","stage"]},"login":"alice-adm"}]"#;

    #[test]
    fn the_first_rule_that_fits_a_host_says_the_login_there() {
        let logins = logins(RULES);
        for (host, labels, login) in [
            ("db-1", r#"{"env":"prod"}"#, Some("postgres")),
            ("db-1", "{}", Some("deploy")),
            ("db-2", "{}", None),
            ("web-1", r#"{"env":"prod"}"#, Some("deploy")),
            ("web-12", r#"{"env":"stage"}"#, Some("alice-adm")),
            ("web-12", r#"{"env":"test"}"#, None),
        ] {
            let labels = serde_json::from_str(labels).unwrap();
            let found = logins.on(&host.parse().unwrap(), &labels);
            assert_eq!(found.map(Login::as_str), login, "{host}");
        }
        let written = serde_json::to_string(&logins).unwrap();
        let again: Logins = serde_json::from_str(&written).unwrap();
        assert_eq!(again, logins);
        let words: Vec<String> = logins.each().collect();
        assert_eq!(
            words,
            [
                "postgres on db-* with env=prod",
                "deploy on db-1 web-?",
                "alice-adm on hosts with env=prod or stage"
            ]
        );
    }

    #[test]
    fn a_login_that_may_not_be_granted_or_is_for_no_host_is_refused() {
        let many: Vec<String> = (0..65).map(|n| format!(r#""web-{n}""#)).collect();
        let many = format!(r#"{{"hosts":[{}],"login":"deploy"}}"#, many.join(","));
        for wrong in [
            r#"{"hosts":["db-*"],"login":"root"}"#,
            r#"{"hosts":["db-*"],"login":"0"}"#,
            r#"{"hosts":["db-*"]}"#,
            r#"{"login":"deploy"}"#,
            r#"{"hosts":[],"login":"deploy"}"#,
            r#"{"hosts":["DB"],"login":"deploy"}"#,
            r#"{"labels":{"env":[]},"login":"deploy"}"#,
            r#"{"hosts":["db-1"],"network":"10.0.0.0/8","login":"deploy"}"#,
            &many,
        ] {
            assert!(serde_json::from_str::<LoginRule>(wrong).is_err(), "{wrong}");
        }
        let one = r#"{"hosts":["db-1"],"login":"deploy"}"#;
        let many = format!("[{}]", [one; 33].join(","));
        assert!(serde_json::from_str::<Logins>(&many).is_err());
    }
}
