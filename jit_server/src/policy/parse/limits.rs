//! What hosts hold a role's grants to, and for how long it is asked where nobody says.

use std::collections::BTreeSet;

use jit_grant::{Action, IdleTime, Limits, Network, Networks};
use toml::de::DeTable;

use super::super::in_words;
use super::super::reader::{Reader, Value};

/// Their keys in a role's table.
pub(super) const KEYS: &[&str] = &["login_from", "single_use", "idle", "groups"];

impl Reader<'_> {
    pub(super) fn limits(&mut self, table: &DeTable<'_>, path: &str) -> Option<Limits> {
        let login_from = self
            .optional(table, path, "login_from", Self::login_networks)
            .map_or(Some(None), |networks| networks.map(Some));
        let single_use = self
            .optional(table, path, "single_use", Self::flag)
            .unwrap_or(Some(false));
        let idle = self
            .optional(table, path, "idle", Self::idle_time)
            .map_or(Some(None), |time| time.map(Some));
        let groups = self.unix_groups(table, path);
        Some(Limits {
            login_from: login_from?,
            single_use: single_use?,
            idle: idle?,
            groups: groups?,
        })
    }

    /// `limits`, where they are about something that the role opens.
    pub(super) fn limits_of(
        &mut self,
        limits: Limits,
        actions: &BTreeSet<Action>,
        table: &DeTable<'_>,
        path: &str,
    ) -> Option<Limits> {
        if let Some(value) = table.get("idle")
            && !actions.contains(&Action::Ssh)
        {
            let problem = "is about logins, and the role opens none; leave it out, or have ssh among its actions";
            self.mistake(&value.span(), &format!("{path}.idle"), problem);
            return None;
        }
        Some(limits)
    }

    fn idle_time(&mut self, value: &Value<'_>, path: &str) -> Option<IdleTime> {
        let seconds = self.duration(value, path)?;
        let time = IdleTime::try_from(seconds);
        time.map_err(|error| self.mistake(&value.span(), path, error))
            .ok()
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

#[cfg(test)]
mod tests {
    use super::super::check_text;
    use super::IdleTime;

    fn idle(actions: &str, more: &str) -> Result<Option<u32>, (usize, String)> {
        let text = format!(
            "[roles.one]\nhosts = [\"db-1\"]\nactions = {actions}\nlongest = \"1d\"\nmay_ask = {{ groups = [\"dbas\"] }}\napprove = {{ groups = [\"leads\"] }}\n{more}"
        );
        let policy = check_text("policy.toml", &text).map_err(|mut mistakes| {
            assert_eq!(mistakes.len(), 1, "{mistakes:?}");
            let mistake = mistakes.remove(0);
            (mistake.line, mistake.key)
        })?;
        let role = &policy.roles[&"one".parse().unwrap()];
        Ok(role.limits.idle.map(IdleTime::seconds))
    }

    #[test]
    fn a_role_says_for_how_long_a_login_may_be_left_alone_from_a_minute_to_twelve_hours() {
        assert_eq!(idle(r#"["ssh"]"#, ""), Ok(None));
        for (written, seconds) in [("1m", 60), ("15m", 900), ("60s", 60), ("12h", 43_200)] {
            let came = idle(r#"["ssh", "sudo"]"#, &format!("idle = {written:?}"));
            assert_eq!(came, Ok(Some(seconds)), "{written}");
        }
        for wrong in [
            "\"59s\"",
            "\"12h1s\"",
            "\"0s\"",
            "\"never\"",
            "15",
            "true",
            "[]",
        ] {
            let refused = idle(r#"["ssh"]"#, &format!("idle = {wrong}")).unwrap_err();
            assert_eq!(refused, (7, "roles.one.idle".to_owned()), "{wrong}");
        }
    }

    #[test]
    fn a_role_that_opens_no_login_says_nothing_of_those_left_alone() {
        for actions in [r#"["sudo", "su"]"#, r#"["jobs"]"#] {
            let refused = idle(actions, "idle = \"15m\"").unwrap_err();
            assert_eq!(refused, (7, "roles.one.idle".to_owned()), "{actions}");
            assert_eq!(idle(actions, ""), Ok(None));
        }
    }
}
