//! Which labels hosts must have, as policies and people choose hosts by them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{LabelKey, LabelValue, MOST_LABELS};

/// Values of one key at most.
const MOST_VALUES: usize = 64;

/// Labels of which a host must have every key, each with one of the values beside it. None: whatever labels it has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<LabelKey, BTreeSet<LabelValue>>")]
pub struct Labelled(BTreeMap<LabelKey, BTreeSet<LabelValue>>);

/// Why labels choose nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoChoice {
    /// More keys than a host has.
    #[error("these are more than {MOST_LABELS} labels, and no host has so many")]
    TooManyKeys,
    /// A key of which no value would do.
    #[error("a label has from 1 to {MOST_VALUES} values here")]
    Values,
}

impl TryFrom<BTreeMap<LabelKey, BTreeSet<LabelValue>>> for Labelled {
    type Error = NoChoice;

    fn try_from(labels: BTreeMap<LabelKey, BTreeSet<LabelValue>>) -> Result<Self, NoChoice> {
        if labels.len() > MOST_LABELS {
            return Err(NoChoice::TooManyKeys);
        }
        let counts = |values: &BTreeSet<_>| (1..=MOST_VALUES).contains(&values.len());
        if !labels.values().all(counts) {
            return Err(NoChoice::Values);
        }
        Ok(Self(labels))
    }
}

impl Labelled {
    /// True where a host with `labels` is chosen.
    #[must_use]
    pub fn fits(&self, labels: &BTreeMap<LabelKey, LabelValue>) -> bool {
        let has = |(key, values): (&LabelKey, &BTreeSet<LabelValue>)| {
            labels.get(key).is_some_and(|value| values.contains(value))
        };
        self.0.iter().all(has)
    }

    /// Each key with its values.
    pub fn each(&self) -> impl Iterator<Item = (&LabelKey, &BTreeSet<LabelValue>)> {
        self.0.iter()
    }

    /// True where every host is chosen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each key with its values, as documents have them.
    #[must_use]
    pub fn listed(&self) -> BTreeMap<String, Vec<String>> {
        let all = self.0.iter().map(|(key, values)| {
            let values = values.iter().map(ToString::to_string).collect();
            (key.to_string(), values)
        });
        all.collect()
    }
}

impl fmt::Display for Labelled {
    /// Such as `env=prod, tier=api or web`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (key, values)) in self.0.iter().enumerate() {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{key}={}", values.join(" or "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_must_be_there_with_one_of_its_values() {
        let choice = |json: &str| serde_json::from_str::<Labelled>(json);
        let labels: BTreeMap<LabelKey, LabelValue> =
            serde_json::from_str(r#"{"env":"prod","tier":"web"}"#).unwrap();
        for (wanted, fits) in [
            ("{}", true),
            (r#"{"env":["prod"]}"#, true),
            (r#"{"env":["prod"],"tier":["api","web"]}"#, true),
            (r#"{"env":["prod"],"tier":["api"]}"#, false),
            (r#"{"env":["prod"],"site":["berlin"]}"#, false),
            (r#"{"env":["Prod"]}"#, false),
        ] {
            assert_eq!(choice(wanted).unwrap().fits(&labels), fits, "{wanted}");
        }
        assert!(choice(r#"{"env":[]}"#).is_err(), "no host would do");
        let many: Vec<String> = (0..17).map(|n| format!(r#""k{n}":["v"]"#)).collect();
        assert!(choice(&format!("{{{}}}", many.join(","))).is_err());
    }
}
