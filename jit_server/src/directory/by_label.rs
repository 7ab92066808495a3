//! Which hosts have a label, without a look at all others: roles by labels are asked for more often than hosts change.

use std::collections::{BTreeMap, BTreeSet};

use jit_grant::HostName;

use crate::label::{LabelKey, LabelValue};

/// The names of hosts by each label that they have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ByLabel(BTreeMap<LabelKey, BTreeMap<LabelValue, BTreeSet<HostName>>>);

impl ByLabel {
    /// Takes in a host's labels.
    pub(super) fn add(&mut self, host: &HostName, labels: &BTreeMap<LabelKey, LabelValue>) {
        for (key, value) in labels {
            let values = self.0.entry(key.clone()).or_default();
            values
                .entry(value.clone())
                .or_default()
                .insert(host.clone());
        }
    }

    /// Takes in that a host has these labels no more.
    pub(super) fn remove(&mut self, host: &HostName, labels: &BTreeMap<LabelKey, LabelValue>) {
        for (key, value) in labels {
            let Some(values) = self.0.get_mut(key) else {
                continue;
            };
            if let Some(hosts) = values.get_mut(value) {
                hosts.remove(host);
            }
            values.retain(|_, hosts| !hosts.is_empty());
            if values.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// The hosts of each of `values`, of which no host has two.
    pub(super) fn of<'a>(
        &'a self,
        key: &LabelKey,
        values: &'a BTreeSet<LabelValue>,
    ) -> impl Iterator<Item = &'a BTreeSet<HostName>> {
        let known = self.0.get(key);
        values.iter().filter_map(move |value| known?.get(value))
    }
}
