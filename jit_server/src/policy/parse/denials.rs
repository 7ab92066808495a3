//! `[denials.NAME]`: what is refused whatever a role says.

use std::collections::BTreeMap;
use std::ops::Range;

use jit_grant::RoleName;
use toml::de::DeTable;

use super::super::denial::{Denial, DenialName, MOST_DENIALS};
use super::super::reader::Reader;
use super::super::{People, Role};

/// Their key, beside the roles.
pub(super) const KEY: &str = "denials";

impl Reader<'_> {
    /// All of them. None of `roles`, which are those that are right, may be without one that fits it: that is warned of.
    pub(super) fn denials(
        &mut self,
        table: &DeTable<'_>,
        roles: &BTreeMap<RoleName, Role>,
    ) -> BTreeMap<DenialName, Denial> {
        let mut denials = BTreeMap::new();
        let value = table.get(KEY);
        let Some(named) = value.and_then(|value| self.table(value, KEY)) else {
            return denials;
        };
        for (place, (name, denial)) in named.iter().enumerate() {
            let path = format!("{KEY}.{}", name.get_ref());
            if place == MOST_DENIALS {
                let problem = format!("a policy has {MOST_DENIALS} denials at most");
                self.mistake(&name.span(), &path, problem);
                break;
            }
            let parsed = DenialName::try_from(name.get_ref().to_string());
            if let Err(error) = &parsed {
                self.mistake(&name.span(), &path, error);
            }
            let body = self.table(denial, &path);
            let body = body.map(|body| self.denial(body, &name.span(), &path));
            let (Ok(parsed), Some(Some(denial))) = (parsed, body) else {
                continue;
            };
            if !roles.values().any(|role| denial.could_fit(role)) {
                let problem = "denies nothing: no role is for such hosts and opens such actions";
                self.warning(&name.span(), &path, problem);
            }
            denials.insert(parsed, denial);
        }
        denials
    }

    /// A denial, where every key of it is right.
    fn denial(&mut self, table: &DeTable<'_>, at: &Range<usize>, path: &str) -> Option<Denial> {
        const KEYS: &[&str] = &["because", "people", "except", "hosts", "labels", "actions"];
        self.refuse_unknown(table, path, KEYS);
        let because = self.required(table, at, path, "because", Self::parsed);
        let people = self.people_unless_all(table, path, "people");
        let except = self.people_unless_all(table, path, "except");
        let hosts = self.hosts(table, at, path);
        let actions = self
            .optional(table, path, "actions", Self::actions)
            .map_or(Some(None), |actions| actions.map(Some));
        let denial = Denial {
            because: because?,
            people: people?,
            except: except?,
            hosts: hosts?,
            actions: actions?,
        };
        if denial.is_for_nobody() {
            let span = table.get("except").map_or(at.clone(), |value| value.span());
            let problem = "takes out all whom people names, so that nobody could ever be denied";
            self.mistake(&span, &format!("{path}.except"), problem);
            return None;
        }
        Some(denial)
    }

    /// `Some(None)` where `key` is not there, None where it is wrong.
    fn people_unless_all(
        &mut self,
        table: &DeTable<'_>,
        path: &str,
        key: &str,
    ) -> Option<Option<People>> {
        self.optional(table, path, key, Self::people)
            .map_or(Some(None), |people| people.map(Some))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{check_closely, check_text};

    const ROLE: &str = r#"
[roles.web]
hosts = ["web-*"]
labels = { env = ["prod", "pci"] }
actions = ["ssh"]
longest = "4h"
may_ask = { groups = ["developers"] }
approve = { groups = ["leads"] }
"#;

    /// With the denial's table from line 9 on.
    fn with(denial: &str) -> String {
        format!("{ROLE}[denials.card-data]\n{denial}\n")
    }

    fn mistakes(text: &str) -> Vec<String> {
        let mistakes = check_text("policy.toml", text).unwrap_err();
        mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_denial_needs_its_grounds_and_where_it_is_and_is_for_everybody_and_all_unless_said() {
        let text = with("because = \"card data is for employees\"\nlabels = { env = \"pci\" }");
        let policy = check_text("policy.toml", &text).unwrap();
        let name = "card-data".to_owned().try_into().unwrap();
        let denial = &policy.denials[&name];
        assert_eq!(denial.because.as_str(), "card data is for employees");
        assert_eq!(
            (&denial.people, &denial.except, &denial.actions),
            (&None, &None, &None)
        );
        assert_eq!(
            mistakes(&with("")),
            [
                "policy.toml:9: denials.card-data.because: missing",
                "policy.toml:9: denials.card-data.hosts: missing"
            ]
        );
    }

    #[test]
    fn every_mistake_in_a_denial_is_told_with_line_and_key() {
        let wrong = r#"because = "short"
people = { groups = [] }
except = { user = ["erin"] }
hosts = ["UPPER"]
actions = ["root"]
longest = "4h"
[denials.Card]
because = "card data is for employees"
hosts = ["*", "web-1"]
"#;
        let told = mistakes(&with(wrong)).join("\n");
        for line in [
            "policy.toml:10: denials.card-data.because: the because is too short",
            "policy.toml:11: denials.card-data.people: names nobody",
            "policy.toml:12: denials.card-data.except.user: unknown key",
            "policy.toml:13: denials.card-data.hosts: \"UPPER\"",
            "policy.toml:14: denials.card-data.actions: \"root\" is not an action",
            "policy.toml:15: denials.card-data.longest: unknown key",
            "policy.toml:16: denials.Card: \"Card\" is not a valid denial",
            "policy.toml:18: denials.Card.hosts: \"*\" is every host",
        ] {
            assert!(told.contains(line), "{line:?} is not in {told}");
        }
        assert_eq!(
            mistakes("denials = 1"),
            ["policy.toml:1: denials: must be a table, not integer"]
        );
    }

    #[test]
    fn a_denial_whose_exception_takes_out_all_whom_it_is_for_is_refused() {
        for (people, except, right) in [
            (r#"groups = ["a"]"#, r#"groups = ["a"]"#, false),
            (r#"groups = ["a"]"#, r#"groups = ["a", "b"]"#, false),
            (r#"groups = ["a", "b"]"#, r#"groups = ["a"]"#, true),
            (r#"users = ["x"]"#, r#"groups = ["a"]"#, true),
            (
                r#"groups = ["a"]"#,
                r#"groups = ["a"], attributes = { on_call = true }"#,
                true,
            ),
            (
                r#"groups = ["a"], attributes = { on_call = true }"#,
                r#"attributes = { on_call = true }"#,
                false,
            ),
            (
                r#"attributes = { on_call = true }"#,
                r#"groups = ["a"]"#,
                true,
            ),
        ] {
            let text = with(&format!(
                "because = \"card data is for employees\"\nhosts = [\"web-1\"]\npeople = {{ {people} }}\nexcept = {{ {except} }}"
            ));
            let told = check_text("policy.toml", &text);
            assert_eq!(told.is_ok(), right, "{people} {except}: {told:?}");
            if let Err(mistakes) = told {
                assert_eq!(mistakes.len(), 1, "{mistakes:?}");
                assert_eq!(
                    (mistakes[0].line, mistakes[0].key.as_str()),
                    (13, "denials.card-data.except")
                );
            }
        }
    }

    #[test]
    fn a_policy_has_no_more_denials_than_a_request_can_be_held_against() {
        let one = |number: usize| {
            format!(
                "[denials.d{number}]\nbecause = \"card data is for employees\"\nhosts = [\"web-1\"]\n"
            )
        };
        let text = |count: usize| ROLE.to_owned() + &(0..count).map(one).collect::<String>();
        assert!(check_text("policy.toml", &text(256)).is_ok());
        let told = mistakes(&text(257));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("256 denials at most"), "{told:?}");
    }

    #[test]
    fn a_denial_that_fits_no_role_is_warned_of() {
        for (denial, warned) in [
            ("labels = { env = \"pci\" }", false),
            ("labels = { env = \"test\" }", true),
            ("hosts = [\"web-1\"]", false),
            ("hosts = [\"db-1\"]", true),
            ("hosts = [\"web-1\"]\nactions = [\"ssh\", \"sudo\"]", false),
            ("hosts = [\"web-1\"]\nactions = [\"sudo\", \"su\"]", true),
        ] {
            let text = with(&format!(
                "because = \"card data is for employees\"\n{denial}"
            ));
            let warnings = check_closely("policy.toml", &text).unwrap().warnings;
            let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            assert_eq!(told.len(), usize::from(warned), "{denial}: {told:?}");
            for told in told {
                assert!(
                    told.starts_with("policy.toml:9: denials.card-data: denies nothing"),
                    "{told}"
                );
            }
        }
    }
}
