//! Who confirms changes.

use toml::de::DeTable;

use super::super::changes::{Confirmers, MOST_CONFIRMATIONS};
use super::super::reader::{Reader, Value};

/// Its key, beside the roles.
pub(in crate::policy) const KEY: &str = "changes_need";

impl Reader<'_> {
    /// None where it is not there, or wrong.
    pub(super) fn changes_need(&mut self, table: &DeTable<'_>) -> Option<Confirmers> {
        let value = table.get(KEY)?;
        let body = self.table(value, KEY)?;
        self.refuse_unknown(body, KEY, &["users", "groups", "attributes", "count"]);
        let count = self.optional(body, KEY, "count", |reader, value, path| {
            reader.number(value, path, MOST_CONFIRMATIONS)
        });
        let people = self.named_people(value, body, KEY)?;
        let count = count.unwrap_or(Some(1))?;
        let confirmers = Confirmers { people, count };
        self.judge(&confirmers, value);
        Some(confirmers)
    }

    /// Of people that come by group nothing is said: who is in one changes.
    fn judge(&mut self, confirmers: &Confirmers, value: &Value<'_>) {
        let Confirmers { people, count } = confirmers;
        let named = people.all_named().map(|named| named.len());
        let named = named.map(|named| u32::try_from(named).unwrap_or(u32::MAX));
        let Some(named) = named.filter(|named| named <= count) else {
            return;
        };
        if named < *count {
            let problem = format!(
                "{count} must confirm but only {named} may, so nothing could ever be changed"
            );
            self.mistake(&value.span(), KEY, problem);
        } else if named == 1 {
            let problem = "one person alone could ever confirm a change; when that one is away or gone, root has to change things alone, which alarms everybody; name more";
            self.warning(&value.span(), KEY, problem);
        } else {
            let problem = format!(
                "all {named} named must confirm each change; when one of them is away or gone, root has to change things alone, which alarms everybody; name more"
            );
            self.warning(&value.span(), KEY, problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{check_closely, check_text};

    fn mistake(text: &str) -> String {
        let text = format!("\n{text}\n");
        let mistakes = check_text("policy.toml", &text).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        mistakes[0].to_string()
    }

    #[test]
    fn those_who_confirm_are_people_and_a_number_of_them() {
        let text =
            "changes_need = { groups = [\"leads\"], attributes = { on_call = true }, count = 3 }";
        let policy = check_text("policy.toml", text).unwrap();
        assert_eq!(policy.changes_need.unwrap().count, 3);
        let one = check_text(
            "policy.toml",
            "changes_need = { users = [\"bob\", \"carol\"] }",
        );
        assert_eq!(one.unwrap().changes_need.unwrap().count, 1);
        assert_eq!(check_text("policy.toml", "").unwrap().changes_need, None);
    }

    #[test]
    fn what_could_never_be_confirmed_or_is_no_such_thing_is_refused_with_its_line() {
        for (text, said) in [
            ("changes_need = 1", "must be a table"),
            ("changes_need = {}", "names nobody"),
            ("changes_need = { users = [] }", "names nobody"),
            (
                "changes_need = { users = [\"bob\"], all = true }",
                "unknown key",
            ),
            (
                "changes_need = { users = [\"bob\"], count = 2 }",
                "2 must confirm but only 1 may",
            ),
            (
                "changes_need = { groups = [\"a\"], count = 0 }",
                "from 1 to 10",
            ),
            (
                "changes_need = { groups = [\"a\"], count = 11 }",
                "from 1 to 10",
            ),
            ("changes_needs = { groups = [\"a\"] }", "unknown key"),
        ] {
            let mistake = mistake(text);
            let line = "policy.toml:2: changes_need";
            assert!(
                mistake.starts_with(line) && mistake.contains(said),
                "{mistake}"
            );
        }
    }

    #[test]
    fn where_each_of_those_named_is_needed_that_is_warned_of() {
        let warned = |text: &str| {
            let warnings = check_closely("policy.toml", text).unwrap().warnings;
            warnings
                .iter()
                .map(|one| one.problem.clone())
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert!(warned("changes_need = { users = [\"bob\"] }").contains("one person alone"));
        let both = "changes_need = { users = [\"bob\", \"carol\"], count = 2 }";
        assert!(warned(both).contains("all 2 named"));
        assert_eq!(
            warned("changes_need = { users = [\"bob\", \"carol\"] }"),
            ""
        );
        assert_eq!(warned("changes_need = { groups = [\"leads\"] }"), "");
    }
}
