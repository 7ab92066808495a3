//! Whether there can be hosts that are among both of two sorts.

use super::{Hosts, Names};
use crate::label::Labelled;

impl Hosts {
    /// False where no host can be among these and among `other`, as far as that is plain: of two patterns it is not.
    pub(in crate::policy) fn could_meet(&self, other: &Self) -> bool {
        let names = self.names.as_ref().zip(other.names.as_ref());
        names.is_none_or(|(one, other)| one.could_meet(other))
            && labels_could_meet(&self.labels, &other.labels)
    }
}

impl Names {
    fn could_meet(&self, other: &Self) -> bool {
        let both_like = !self.patterns.is_empty() && !other.patterns.is_empty();
        let shares = |one: &Self, other: &Self| {
            let mut exact = one.exact.iter();
            exact.any(|name| other.exact.contains(name) || other.pattern_of(name).is_some())
        };
        both_like || shares(self, other) || shares(other, self)
    }
}

/// A host has one value of each key.
fn labels_could_meet(one: &Labelled, other: &Labelled) -> bool {
    one.each().all(|(key, values)| {
        let mut same = other.each().filter(|(other, _)| *other == key);
        same.all(|(_, others)| !values.is_disjoint(others))
    })
}

#[cfg(test)]
mod tests {
    use super::super::HostPattern;
    use super::*;

    #[test]
    fn hosts_meet_unless_their_names_or_a_label_of_both_keep_them_apart() {
        let hosts = |names: &[&str], labels: &str| {
            let names = names.iter().map(|name| (*name).to_owned());
            let names = names.map(|name| HostPattern::try_from(name).unwrap());
            Hosts::new(names.collect(), serde_json::from_str(labels).unwrap())
        };
        for (one, other, meet) in [
            ((&["*"][..], "{}"), (&["web-1"][..], "{}"), true),
            ((&["web-1"], "{}"), (&["web-1", "web-2"], "{}"), true),
            ((&["web-1"], "{}"), (&["web-2"], "{}"), false),
            ((&["web-*"], "{}"), (&["web-2"], "{}"), true),
            ((&["db-*"], "{}"), (&["web-2"], "{}"), false),
            ((&["db-*"], "{}"), (&["web-*"], "{}"), true),
            (
                (&["*"], r#"{"env":["prod","test"]}"#),
                (&[], r#"{"env":["test"],"tier":["db"]}"#),
                true,
            ),
            (
                (&["*"], r#"{"env":["prod"]}"#),
                (&[], r#"{"env":["test"]}"#),
                false,
            ),
            (
                (&["*"], r#"{"env":["prod"]}"#),
                (&[], r#"{"tier":["db"]}"#),
                true,
            ),
        ] {
            let (one, other) = (hosts(one.0, one.1), hosts(other.0, other.1));
            assert_eq!(one.could_meet(&other), meet, "{one:?} {other:?}");
            assert_eq!(other.could_meet(&one), meet, "{other:?} {one:?}");
        }
    }
}
