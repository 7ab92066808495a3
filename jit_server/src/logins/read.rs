//! Logins by host in users.toml: `[{ hosts = ["db-*"], login = "postgres" }, …]`.

use super::{LoginDocument, LoginRule, Logins};
use crate::policy::{Reader, Value};

impl Reader<'_> {
    /// A list of tables, in the order in which they are asked.
    pub(crate) fn logins(&mut self, value: &Value<'_>, path: &str) -> Option<Logins> {
        let Some(array) = value.get_ref().as_array() else {
            let problem = "must be a list of tables with login, and hosts, labels or both";
            self.mistake(&value.span(), path, problem);
            return None;
        };
        let numbered = (1_usize..).zip(array.iter());
        let rules: Vec<Option<LoginRule>> = numbered
            .map(|(number, rule)| self.login_rule(rule, &format!("{path}.{number}")))
            .collect();
        let rules = rules.into_iter().collect::<Option<Vec<_>>>()?;
        let logins = Logins::try_from(rules);
        logins
            .map_err(|error| self.mistake(&value.span(), path, error))
            .ok()
    }

    fn login_rule(&mut self, value: &Value<'_>, path: &str) -> Option<LoginRule> {
        let table = self.table(value, path)?;
        self.refuse_unknown(table, path, &["hosts", "labels", "login"]);
        let at = value.span();
        let login = self.required(table, &at, path, "login", Self::parsed);
        let hosts = self.hosts(table, &at, path)?;
        let rule = LoginDocument::from(LoginRule::new(hosts, login?));
        // What documents may not say, files may not, either.
        LoginRule::try_from(rule)
            .map_err(|error| self.mistake(&at, path, error))
            .ok()
    }
}
