//! The hosts of a role: by names and patterns of names, by labels, or by both.

mod among;
mod meet;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jit_grant::HostName;
use wildmatch::WildMatch;

use crate::directory::Directory;
use crate::label::{LabelKey, LabelValue, Labelled};

/// Wildcards of one pattern at most.
const MOST_WILDCARDS: usize = 8;
/// As of a host's name.
const LONGEST_PATTERN: usize = 253;

/// Hosts of a role. Those enrolled later are among them where patterns or labels fit them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// One of these fits the name. None: any name will do.
    names: Option<Names>,
    /// And these the labels.
    labels: Labelled,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names {
    exact: BTreeSet<HostName>,
    patterns: BTreeSet<Pattern>,
}

impl Hosts {
    /// Hosts whose names fit one of `patterns` and whose labels fit `labels`; no pattern at all means any name.
    #[must_use]
    pub fn new(patterns: BTreeSet<HostPattern>, labels: Labelled) -> Self {
        let any = patterns.is_empty() || patterns.contains(&HostPattern::Every);
        let mut names = Names::default();
        for pattern in patterns {
            match pattern {
                HostPattern::Every => {}
                HostPattern::Name(name) => {
                    names.exact.insert(name);
                }
                HostPattern::Like(pattern) => {
                    names.patterns.insert(pattern);
                }
            }
        }
        Self {
            names: (!any).then_some(names),
            labels,
        }
    }

    /// True where the host `name` with `labels` is one of them.
    #[must_use]
    pub fn cover(&self, name: &HostName, labels: &BTreeMap<LabelKey, LabelValue>) -> bool {
        self.cover_name(name) && self.labels.fits(labels)
    }

    /// The same of a name that people ask for. A host that is not known has no labels, so that nobody learns here which hosts there are.
    #[must_use]
    pub fn cover_named(&self, name: &HostName, directory: &Directory) -> bool {
        let known = directory.host(name);
        known.map_or_else(
            || self.cover(name, &BTreeMap::new()),
            |host| self.cover(name, &host.enrolled.labels),
        )
    }

    fn cover_name(&self, name: &HostName) -> bool {
        self.names
            .as_ref()
            .is_none_or(|names| names.exact.contains(name) || names.pattern_of(name).is_some())
    }

    /// True where a pattern takes in nearly every name, or none is asked for, and no label either.
    #[must_use]
    pub fn are_nearly_all(&self) -> bool {
        let vague = |names: &Names| names.patterns.iter().any(Pattern::is_vague);
        self.labels.is_empty() && self.names.as_ref().is_none_or(vague)
    }

    /// By what `name` is one of them, in words.
    #[must_use]
    pub fn why(&self, name: &HostName) -> String {
        let by_name = self.names.as_ref().map(|names| {
            let pattern = names.pattern_of(name);
            let pattern = pattern.filter(|_| !names.exact.contains(name));
            pattern.map_or_else(|| "by name".to_owned(), |pattern| format!("by {pattern}"))
        });
        let by_labels = format!("by its labels: {}", self.labels);
        match (by_name, self.labels.is_empty()) {
            (None, true) => "as every host is".to_owned(),
            (None, false) => by_labels,
            (Some(by_name), true) => by_name,
            (Some(by_name), false) => format!("{by_name} and {by_labels}"),
        }
    }

    /// Names and patterns as policies write them; `*` alone for any name.
    #[must_use]
    pub fn listed(&self) -> Vec<String> {
        let Some(names) = &self.names else {
            return vec!["*".to_owned()];
        };
        let exact = names.exact.iter().map(ToString::to_string);
        let patterns = names.patterns.iter().map(ToString::to_string);
        exact.chain(patterns).collect()
    }

    /// The labels that they have.
    #[must_use]
    pub fn labels(&self) -> &Labelled {
        &self.labels
    }
}

impl Names {
    fn pattern_of(&self, name: &HostName) -> Option<&Pattern> {
        let mut patterns = self.patterns.iter();
        patterns.find(|pattern| pattern.fits(name))
    }
}

/// One entry of a role's `hosts`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// `"*"`.
    Every,
    /// One host.
    Name(HostName),
    /// Those whose names look so.
    Like(Pattern),
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Every);
        }
        if text.contains(['*', '?']) {
            return Pattern::try_from(text).map(Self::Like);
        }
        HostName::try_from(text)
            .map(Self::Name)
            .map_err(|error| error.to_string())
    }
}

impl HostPattern {
    /// True where it takes in the host of that name.
    #[must_use]
    pub fn fits(&self, host: &HostName) -> bool {
        match self {
            Self::Every => true,
            Self::Name(name) => name == host,
            Self::Like(pattern) => pattern.fits(host),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.pad("*"),
            Self::Name(name) => name.fmt(f),
            Self::Like(pattern) => pattern.fmt(f),
        }
    }
}

/// A pattern of names: `*` stands for any characters or none, dots among them, `?` for one.
#[derive(Debug, Clone)]
pub struct Pattern {
    written: String,
    matcher: WildMatch,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Pattern {}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.written.cmp(&other.written)
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Pattern {
    fn fits(&self, name: &HostName) -> bool {
        self.matcher.matches(name.as_str())
    }

    /// It names nothing: every character of it is a wildcard, a dot or a hyphen.
    fn is_vague(&self) -> bool {
        !self
            .written
            .bytes()
            .any(|byte| byte.is_ascii_alphanumeric())
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-*?".contains(&b);
        let wildcards = text.bytes().filter(|byte| b"*?".contains(byte)).count();
        if text.len() <= LONGEST_PATTERN && text.bytes().all(plain) && wildcards <= MOST_WILDCARDS {
            return Ok(Self {
                matcher: WildMatch::new(&text),
                written: text,
            });
        }
        let text: String = text.chars().take(80).collect();
        Err(format!(
            "{text:?} is not a pattern of host names: at most {LONGEST_PATTERN} of a-z 0-9 . - * ?, of which {MOST_WILDCARDS} * and ? at most"
        ))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(patterns: &[&str], labels: &str) -> Hosts {
        let patterns = patterns.iter().map(|text| (*text).to_owned());
        let patterns = patterns.map(|text| HostPattern::try_from(text).unwrap());
        Hosts::new(patterns.collect(), serde_json::from_str(labels).unwrap())
    }

    fn covers(hosts: &Hosts, name: &str, labels: &str) -> bool {
        hosts.cover(
            &name.parse().unwrap(),
            &serde_json::from_str(labels).unwrap(),
        )
    }

    #[test]
    fn a_pattern_takes_in_the_names_that_look_so_and_no_other() {
        for (pattern, name, fits) in [
            ("web-*", "web-1", true),
            ("web-*", "web-", false),
            ("web-*", "web-1.example.com", true),
            ("web-*", "awkweb-1", false),
            ("web-?", "web-1", true),
            ("web-?", "web-12", false),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "dbxexample.com", false),
            ("w*b-*", "web-1", true),
            ("web-1*", "web-1", true),
        ] {
            // `web-` alone is no host's name.
            let Ok(name) = name.parse::<HostName>() else {
                continue;
            };
            let hosts = hosts(&[pattern], "{}");
            assert_eq!(
                hosts.cover(&name, &BTreeMap::new()),
                fits,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn where_names_and_labels_are_said_a_host_must_fit_both() {
        let both = hosts(&["web-*", "db-1"], r#"{"env":["prod"]}"#);
        assert!(covers(&both, "web-1", r#"{"env":"prod"}"#));
        assert!(covers(&both, "db-1", r#"{"env":"prod","site":"berlin"}"#));
        assert!(!covers(&both, "web-1", r#"{"env":"test"}"#));
        assert!(!covers(&both, "web-1", "{}"));
        assert!(!covers(&both, "db-2", r#"{"env":"prod"}"#));
        let labels = hosts(&[], r#"{"env":["prod"]}"#);
        assert!(covers(&labels, "anything", r#"{"env":"prod"}"#));
        assert!(!covers(&labels, "anything", "{}"));
    }

    #[test]
    fn a_pattern_is_bounded_and_has_nothing_but_names_characters_and_wildcards() {
        for wrong in [
            "Web-*",
            "web_*",
            "web-[12]*",
            "web-{1,2}*",
            "*********",
            "we\u{fc}*",
        ] {
            assert!(HostPattern::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
        assert!(HostPattern::try_from(format!("*{}", "a".repeat(253))).is_err());
    }

    #[test]
    fn a_pattern_without_a_letter_or_digit_is_nearly_every_host() {
        for (patterns, labels, nearly) in [
            (&["*"][..], "{}", true),
            (&["**"], "{}", true),
            (&["web-1", "*.*"], "{}", true),
            (&["?*"], "{}", true),
            (&["web-*"], "{}", false),
            (&["*"], r#"{"env":["prod"]}"#, false),
        ] {
            assert_eq!(
                hosts(patterns, labels).are_nearly_all(),
                nearly,
                "{patterns:?}"
            );
        }
    }
}
