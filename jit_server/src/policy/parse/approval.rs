//! `approve`: one table for one stage, or a list of them.

use toml::de::{DeArray, DeTable, DeValue};

use super::super::approval::{MOST_LATER, MOST_STAGES, could_be_done};
use super::super::{Approval, Extension, Later, People, Stage};
use super::{Reader, Value};
use crate::text::Grounds;

/// People who must approve one stage at most.
const MOST_APPROVALS: u32 = 10;

impl Reader<'_> {
    pub(super) fn approve(&mut self, value: &Value<'_>, path: &str) -> Option<Approval> {
        match value.get_ref() {
            DeValue::Table(table)
                if table.contains_key("auto") || table.contains_key("because") =>
            {
                self.auto(value, table, path).map(Approval::Auto)
            }
            _ => self.all_stages(value, path).map(Approval::Stages),
        }
    }

    /// Approval by nobody, and why that is safe.
    fn auto(&mut self, value: &Value<'_>, table: &DeTable<'_>, path: &str) -> Option<Grounds> {
        for key in table.keys() {
            if !["auto", "because"].contains(&key.get_ref().as_ref()) {
                let problem = "goes with no auto and because, with which nobody is asked";
                self.mistake(&key.span(), &format!("{path}.{}", key.get_ref()), problem);
            }
        }
        let at = value.span();
        let auto = self.required(table, &at, path, "auto", Self::flag);
        if let (Some(false), Some(value)) = (auto, table.get("auto")) {
            let problem = "must be true; where people approve, leave it out and name them";
            self.mistake(&value.span(), &format!("{path}.auto"), problem);
        }
        self.required(table, &at, path, "because", Self::parsed)
            .filter(|_| auto == Some(true))
    }

    /// How grants of a role with this approval are extended: where nobody approves the request, nobody does its extension.
    pub(super) fn fitting(
        &mut self,
        extension: Option<Extension>,
        approval: &Approval,
        table: &DeTable<'_>,
        path: &str,
    ) -> Option<Option<Extension>> {
        let (Some(extension), Approval::Auto(_)) = (extension, approval) else {
            return Some(extension);
        };
        if let (false, Some(value)) = (
            extension.without_approval,
            table.get("extend_without_approval"),
        ) {
            let problem =
                "can't be false: nobody approves this role, so nobody could its extensions";
            let key = format!("{path}.extend_without_approval");
            self.mistake(&value.span(), &key, problem);
            return None;
        }
        Some(Some(Extension {
            without_approval: true,
            ..extension
        }))
    }

    fn all_stages(&mut self, value: &Value<'_>, path: &str) -> Option<Vec<Stage>> {
        let stages = match value.get_ref() {
            DeValue::Table(table) => vec![self.stage(value, table, path, true)?],
            DeValue::Array(array) => self.stages(value, array, path)?,
            other => {
                let found = other.type_str();
                let problem =
                    format!("must be a table, or a list of them, one a stage; not {found}");
                self.mistake(&value.span(), path, problem);
                return None;
            }
        };
        let named = stages.iter();
        let named: Vec<_> = named
            .filter_map(|stage| Some((stage, stage.all_named()?)))
            .collect();
        if !could_be_done(&named) {
            let problem = "nobody counts twice, and too few different people are named, so nothing could ever be granted; name more, or say same_person_again on a later stage";
            self.mistake(&value.span(), path, problem);
            return None;
        }
        Some(stages)
    }

    fn stages(&mut self, value: &Value<'_>, array: &DeArray<'_>, path: &str) -> Option<Vec<Stage>> {
        if array.is_empty() || array.len() > MOST_STAGES {
            let problem = format!("must have 1 to {MOST_STAGES} stages, not {}", array.len());
            self.mistake(&value.span(), path, problem);
            return None;
        }
        let read: Vec<Option<Stage>> = (1..)
            .zip(array.iter())
            .map(|(number, stage)| {
                let path = format!("{path}.{number}");
                let table = self.table(stage, &path)?;
                self.stage(stage, table, &path, number == 1)
            })
            .collect();
        read.into_iter().collect()
    }

    fn stage(
        &mut self,
        value: &Value<'_>,
        table: &DeTable<'_>,
        path: &str,
        is_first: bool,
    ) -> Option<Stage> {
        const KEYS: &[&str] = &[
            "users",
            "groups",
            "count",
            "all",
            "same_person_again",
            "then",
        ];
        self.refuse_unknown(table, path, KEYS);
        let approvers = self.named_people(value, table, path);
        let again = self.optional(table, path, "same_person_again", Self::flag);
        if let (true, Some(value)) = (is_first, table.get("same_person_again")) {
            let problem = "says nothing on the first stage: nobody has approved before it";
            self.mistake(&value.span(), &format!("{path}.same_person_again"), problem);
        }
        let all = self.optional(table, path, "all", Self::flag);
        let count = self.optional(table, path, "count", |reader, value, path| {
            reader.number(value, path, MOST_APPROVALS)
        });
        let all = all.unwrap_or(Some(false))?;
        let later = self.later(table, path, all);
        let approvers = approvers?;
        let count = if all {
            self.count_of_all(table, path, &approvers)?
        } else {
            count.unwrap_or(Some(1))?
        };
        let stage = Stage {
            approvers,
            count,
            same_person_again: again.unwrap_or(Some(false))?,
            later: later?,
        };
        let named = stage.all_named().map(|named| named.len());
        let named = named.map(|named| u32::try_from(named).unwrap_or(u32::MAX));
        if let Some(named) = named.filter(|named| *named < count) {
            let problem = format!(
                "{count} must approve but only {named} may, so nothing could ever be granted"
            );
            self.mistake(&value.span(), path, problem);
            return None;
        }
        Some(stage)
    }

    /// `then`: who may approve a stage, too, when it was due for so long.
    fn later(&mut self, table: &DeTable<'_>, path: &str, all: bool) -> Option<Vec<Later>> {
        let Some(value) = table.get("then") else {
            return Some(Vec::new());
        };
        let path = format!("{path}.then");
        let listed = value.get_ref().as_array();
        let Some(array) = listed.filter(|array| (1..=MOST_LATER).contains(&array.len())) else {
            let problem = format!(
                "must be a list of 1 to {MOST_LATER} tables with after, and users or groups"
            );
            self.mistake(&value.span(), &path, problem);
            return None;
        };
        if all {
            let problem = "says that others may stand in, and all says that nobody can; say count instead of all";
            self.mistake(&value.span(), &path, problem);
            return None;
        }
        let mut read: Vec<Later> = Vec::new();
        for (number, one) in (1..).zip(array.iter()) {
            let path = format!("{path}.{number}");
            let table = self.table(one, &path)?;
            self.refuse_unknown(table, &path, &["after", "users", "groups"]);
            let after = self.required(table, &one.span(), &path, "after", Self::duration);
            let approvers = self.named_people(one, table, &path);
            let after_seconds = after?;
            if read
                .last()
                .is_some_and(|before| before.after_seconds >= after_seconds)
            {
                self.mistake(
                    &one.span(),
                    &path,
                    "must come after a longer time than the one before it",
                );
                return None;
            }
            read.push(Later {
                after_seconds,
                approvers: approvers?,
            });
        }
        Some(read)
    }

    /// How many `all = true` comes to. Of groups that can't be said: who is in one changes, and an empty one would need nobody.
    fn count_of_all(&mut self, table: &DeTable<'_>, path: &str, people: &People) -> Option<u32> {
        let span = table.get("all").map_or(0..0, |value| value.span());
        let count = u32::try_from(people.users.len()).unwrap_or(u32::MAX);
        let problem = if !people.groups.is_empty() {
            "can't be said of groups, since who is in one changes and an empty one would need nobody; name the users, or say count".to_owned()
        } else if table.contains_key("count") {
            "says how many must, as count does; leave one of them out".to_owned()
        } else if count > MOST_APPROVALS {
            format!("{count} would have to approve; {MOST_APPROVALS} at most can be asked for")
        } else {
            return Some(count);
        };
        self.mistake(&span, &format!("{path}.all"), problem);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::{check_closely, check_text};
    use std::collections::BTreeSet;

    use super::*;

    fn policy(approve: &str) -> String {
        format!(
            "[roles.a]\nhosts = [\"web-1\"]\nactions = [\"ssh\"]\nlongest = \"1h\"\nmay_ask = {{ groups = [\"developers\"] }}\n{approve}\n"
        )
    }

    fn stages(approve: &str) -> Vec<Stage> {
        let policy = check_text("policy.toml", &policy(approve)).unwrap();
        policy.roles[&"a".parse().unwrap()].stages().to_vec()
    }

    #[test]
    fn stages_are_read_in_their_order_and_one_table_is_one_stage() {
        let two = stages(
            r#"approve = [{ groups = ["leads"], count = 2 }, { users = ["erin", "dave"], all = true, same_person_again = true }]"#,
        );
        let counts: Vec<_> = two.iter().map(|s| (s.count, s.same_person_again)).collect();
        assert_eq!(counts, [(2, false), (2, true)]);
        assert!(two[0].approvers.groups.contains(&"leads".parse().unwrap()));
        assert_eq!(
            stages(
                "[[roles.a.approve]]\nusers = [\"bob\"]\n[[roles.a.approve]]\nusers = [\"carol\"]"
            ),
            stages(r#"approve = [{ users = ["bob"] }, { users = ["carol"] }]"#)
        );
        assert_eq!(stages(r#"approve = { users = ["bob"] }"#).len(), 1);
    }

    #[test]
    fn stages_that_could_not_be_meant_are_refused_where_they_are_written() {
        for (approve, key) in [
            ("approve = []", "approve"),
            (r#"approve = "leads""#, "approve"),
            (r#"approve = [["bob"]]"#, "approve.1"),
            (r#"approve = [{ users = ["bob"] }, {}]"#, "approve.2"),
            (
                r#"approve = [{ users = ["bob"], stage = 1 }]"#,
                "approve.1.stage",
            ),
            (
                r#"approve = { users = ["bob"], same_person_again = true }"#,
                "approve.same_person_again",
            ),
            (
                r#"approve = { groups = ["leads"], all = true }"#,
                "approve.all",
            ),
            (
                r#"approve = { users = ["bob"], all = true, count = 1 }"#,
                "approve.all",
            ),
            (
                r#"approve = { users = ["bob"], all = "yes" }"#,
                "approve.all",
            ),
            (
                r#"approve = [{ users = ["bob"] }, { users = ["bob"] }]"#,
                "approve",
            ),
            (
                r#"approve = [{ users = ["bob"] }, { users = ["carol"], count = 2 }]"#,
                "approve.2",
            ),
            (
                r#"approve = { groups = ["leads"], then = [] }"#,
                "approve.then",
            ),
            (
                r#"approve = { groups = ["leads"], then = { after = "1h", users = ["bob"] } }"#,
                "approve.then",
            ),
            (
                r#"approve = { groups = ["leads"], then = [{ users = ["bob"] }] }"#,
                "approve.then.1.after",
            ),
            (
                r#"approve = { groups = ["leads"], then = [{ after = "1h" }] }"#,
                "approve.then.1",
            ),
            (
                r#"approve = { groups = ["leads"], then = [{ after = "1h", users = ["bob"] }, { after = "1h", users = ["carol"] }] }"#,
                "approve.then.2",
            ),
            (
                r#"approve = { users = ["bob"], all = true, then = [{ after = "1h", users = ["carol"] }] }"#,
                "approve.then",
            ),
            (
                r#"approve = { users = ["bob"], count = 3, then = [{ after = "1h", users = ["carol"] }] }"#,
                "approve",
            ),
        ] {
            let mistakes = check_text("policy.toml", &policy(approve)).unwrap_err();
            let told: Vec<_> = mistakes.iter().map(|m| (m.line, m.key.as_str())).collect();
            assert_eq!(
                told,
                [(6, format!("roles.a.{key}").as_str())],
                "{approve}: {mistakes:?}"
            );
        }
        let six = format!("approve = [{}]", "{ groups = [\"leads\"] },".repeat(6));
        assert!(check_text("policy.toml", &policy(&six)).is_err());
        let eleven: BTreeSet<String> = (0..11).map(|n| format!("\"u{n}\"")).collect();
        let eleven = eleven.into_iter().collect::<Vec<_>>().join(",");
        let eleven = format!("approve = {{ users = [{eleven}], all = true }}");
        assert!(check_text("policy.toml", &policy(&eleven)).is_err());
    }

    #[test]
    fn where_nobody_approves_the_policy_says_why_and_is_warned_of_root() {
        let text = policy(r#"approve = { auto = true, because = "they can only read logs" }"#);
        let checked = check_closely("policy.toml", &text).unwrap();
        assert!(
            checked.policy.roles[&"a".parse().unwrap()]
                .stages()
                .is_empty()
        );
        assert_eq!(checked.warnings, []);
        let root = text.replace(r#"["ssh"]"#, r#"["ssh", "sudo"]"#);
        let warnings = check_closely("policy.toml", &root).unwrap().warnings;
        assert_eq!(
            (warnings.len(), warnings[0].key.as_str()),
            (1, "roles.a.approve")
        );
        let extendable = |more: &str| {
            let text = format!("{text}extendable = \"10m\"\n{more}");
            let policy = check_text("policy.toml", &text)?;
            let role = &policy.roles[&"a".parse().unwrap()];
            Ok::<_, Vec<crate::policy::Mistake>>(role.extension.unwrap().without_approval)
        };
        assert_eq!(extendable(""), Ok(true));
        assert_eq!(extendable("extend_without_approval = true"), Ok(true));
        let mistakes = extendable("extend_without_approval = false").unwrap_err();
        assert_eq!(mistakes[0].line, 8, "{mistakes:?}");
    }

    #[test]
    fn whoever_may_ask_and_is_needed_in_some_stage_is_warned_of() {
        let text = policy(r#"approve = [{ users = ["bob"] }, { users = ["carol"] }]"#).replace(
            r#"groups = ["developers"]"#,
            r#"users = ["alice", "carol"]"#,
        );
        let warnings = check_closely("policy.toml", &text).unwrap().warnings;
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].problem.starts_with("carol may ask"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_stage_may_fall_to_others_who_are_counted_among_those_who_could_do_it() {
        let text = r#"approve = { users = ["bob"], count = 2, then = [{ after = "30m", users = ["carol"] }, { after = "2d", groups = ["leads"] }] }"#;
        let later = &stages(text)[0].later;
        let after: Vec<_> = later.iter().map(|later| later.after_seconds).collect();
        assert_eq!(after, [1_800, 172_800]);
        let warnings = check_closely("policy.toml", &policy(text))
            .unwrap()
            .warnings;
        assert_eq!(
            warnings.len(),
            1,
            "a request lapses after a day: {warnings:?}"
        );
        assert!(warnings[0].problem.starts_with("after 48h"), "{warnings:?}");
    }
}
