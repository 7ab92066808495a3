//! A role's `hosts` and `labels`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::de::DeTable;

use super::super::hosts::{HostPattern, Hosts};
use super::super::reader::{Reader, Value};
use crate::label::{LabelKey, LabelValue, Labelled};

impl Reader<'_> {
    /// By names, labels or both: one of them is needed.
    pub(crate) fn hosts(
        &mut self,
        table: &DeTable<'_>,
        at: &Range<usize>,
        path: &str,
    ) -> Option<Hosts> {
        let labels = self.optional(table, path, "labels", Self::labelled);
        let patterns = if labels.is_some() {
            self.optional(table, path, "hosts", Self::patterns)
                .unwrap_or_else(|| Some(BTreeSet::new()))
        } else {
            self.required(table, at, path, "hosts", Self::patterns)
        };
        let labels = labels.unwrap_or_else(|| Some(Labelled::default()));
        Some(Hosts::new(patterns?, labels?))
    }

    fn patterns(&mut self, value: &Value<'_>, path: &str) -> Option<BTreeSet<HostPattern>> {
        let patterns: BTreeSet<HostPattern> = self.filled(value, path)?;
        if patterns.contains(&HostPattern::Every) && patterns.len() > 1 {
            let problem = "\"*\" is every host; name none beside it";
            self.mistake(&value.span(), path, problem);
            return None;
        }
        Some(patterns)
    }

    /// A table of keys, each with one value or a list of them.
    fn labelled(&mut self, value: &Value<'_>, path: &str) -> Option<Labelled> {
        let table = self.table(value, path)?;
        let mut labels = BTreeMap::new();
        let mut wrong = false;
        for (key, values) in table.iter() {
            let path = format!("{path}.{}", key.get_ref());
            let parsed = LabelKey::try_from(key.get_ref().to_string());
            let parsed = parsed.map_err(|_| {
                let problem = "is not a label's key: 1 to 63 of a-z A-Z 0-9 . _ -, beginning with a letter or digit";
                self.mistake(&key.span(), &path, problem);
            });
            match (parsed, self.label_values(values, &path)) {
                (Ok(key), Some(values)) => {
                    labels.insert(key, values);
                }
                _ => wrong = true,
            }
        }
        if wrong {
            return None;
        }
        if labels.is_empty() {
            let problem = "names no label; without labels leave it out";
            self.mistake(&value.span(), path, problem);
            return None;
        }
        Labelled::try_from(labels)
            .map_err(|error| self.mistake(&value.span(), path, error))
            .ok()
    }

    fn label_values(&mut self, value: &Value<'_>, path: &str) -> Option<BTreeSet<LabelValue>> {
        let texts: BTreeSet<LabelText> = if value.get_ref().as_str().is_some() {
            BTreeSet::from([self.parsed(value, path)?])
        } else {
            self.filled(value, path)?
        };
        Some(texts.into_iter().map(|LabelText(value)| value).collect())
    }
}

/// A value alone, of which the error says nothing of a key.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LabelText(LabelValue);

impl TryFrom<String> for LabelText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let shown: String = text.chars().take(80).collect();
        LabelValue::try_from(text).map(Self).map_err(|_| {
            format!(
                "{shown:?} is not a label's value: 1 to 63 of a-z A-Z 0-9 . _ -, beginning with a letter or digit"
            )
        })
    }
}
