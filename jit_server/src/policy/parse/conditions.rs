//! The conditions of a role.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::super::conditions::Conditions;
use super::super::networks::{MOST_NETWORKS, Network, Networks};
use super::super::reader::{Reader, Value};

/// Characters of a reason at most.
const LONGEST_REASON: u32 = 500;

/// Their keys in a role's table.
pub(super) const KEYS: &[&str] = &[
    "hours",
    "overrun",
    "start_within",
    "ticket",
    "reason_at_least",
    "asked_from",
];

impl Reader<'_> {
    pub(super) fn conditions(&mut self, table: &DeTable<'_>, path: &str) -> Option<Conditions> {
        let hours = self.hours(table, path);
        let start_within = self.optional(table, path, "start_within", Self::duration);
        let ticket = self.optional(table, path, "ticket", Self::parsed);
        let reason = self.optional(table, path, "reason_at_least", |reader, value, path| {
            reader.number(value, path, LONGEST_REASON)
        });
        let asked_from = self.optional(table, path, "asked_from", Self::networks);
        Some(Conditions {
            hours: hours?,
            start_within_seconds: wrong_or_absent(start_within)?,
            ticket: wrong_or_absent(ticket)?,
            reason_at_least: wrong_or_absent(reason)?,
            asked_from: wrong_or_absent(asked_from)?,
        })
    }

    fn networks(&mut self, value: &Value<'_>, path: &str) -> Option<Networks> {
        let networks: BTreeSet<Network> = self.filled(value, path)?;
        if networks.len() > MOST_NETWORKS {
            let problem = format!("has more than {MOST_NETWORKS} networks");
            self.mistake(&value.span(), path, problem);
            return None;
        }
        Some(Networks::new(networks))
    }
}

/// What [`Reader::optional`] read: `Some(None)` where the key is not there, None where it is wrong.
fn wrong_or_absent<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |read| read.map(Some))
}
