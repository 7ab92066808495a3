//! What hosts hold a role's grants to, and for how long it is asked where nobody says.

use std::collections::BTreeSet;

use jit_grant::{Limits, Network, Networks};
use toml::de::DeTable;

use super::super::in_words;
use super::super::reader::{Reader, Value};

/// Their keys in a role's table.
pub(super) const KEYS: &[&str] = &["login_from", "single_use"];

impl Reader<'_> {
    pub(super) fn limits(&mut self, table: &DeTable<'_>, path: &str) -> Option<Limits> {
        let login_from = self
            .optional(table, path, "login_from", Self::login_networks)
            .map_or(Some(None), |networks| networks.map(Some));
        let single_use = self
            .optional(table, path, "single_use", Self::flag)
            .unwrap_or(Some(false));
        Some(Limits {
            login_from: login_from?,
            single_use: single_use?,
        })
    }

    /// `Some(None)` where there is none, None where it is wrong. `longest` is None where that is wrong itself.
    pub(super) fn default_length(
        &mut self,
        table: &DeTable<'_>,
        path: &str,
        longest: Option<u32>,
    ) -> Option<Option<u32>> {
        let Some(default) = self.optional(table, path, "default", Self::duration) else {
            return Some(None);
        };
        let default = default?;
        if let (Some(longest), Some(value)) = (longest, table.get("default"))
            && default > longest
        {
            let problem = format!("is more than longest, {}", in_words(longest));
            self.mistake(&value.span(), &format!("{path}.default"), problem);
            return None;
        }
        Some(Some(default))
    }

    fn login_networks(&mut self, value: &Value<'_>, path: &str) -> Option<Networks> {
        let networks: BTreeSet<Network> = self.filled(value, path)?;
        if networks.len() > Networks::MOST {
            let problem = format!("has more than {} networks", Networks::MOST);
            self.mistake(&value.span(), path, problem);
        }
        Networks::try_from(networks).ok()
    }
}
