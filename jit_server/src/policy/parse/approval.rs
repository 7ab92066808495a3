//! `approve`: one table for one stage, or a list of them, or nobody; and `break_glass` in the place of it.

use std::ops::Range;

use toml::de::{DeArray, DeTable, DeValue};

use super::super::approval::{MOST_LATER, MOST_STAGES, could_be_done};
use super::super::{Approval, Extension, Later, People, Review, Stage, in_words};
use super::{ONE_DAY, Reader, Value};
use crate::text::Grounds;

/// People who must approve one stage at most.
const MOST_APPROVALS: u32 = 10;
/// The use of a break-glass role is reviewed so long after its end at the latest. Seconds.
const LATEST_REVIEW: u32 = 7 * ONE_DAY;

impl Reader<'_> {
    /// How requests of a role are decided, by its keys `approve`, `break_glass`, `review` and `review_within`.
    pub(super) fn approval(
        &mut self,
        table: &DeTable<'_>,
        at: &Range<usize>,
        path: &str,
    ) -> Option<Approval> {
        let break_glass = self.optional(table, path, "break_glass", Self::flag);
        if break_glass.unwrap_or(Some(false))? {
            return self.break_glass(table, at, path).map(Approval::BreakGlass);
        }
        let approve = self.required(table, at, path, "approve", Self::approve);
        for key in ["review", "review_within"] {
            if let Some(value) = table.get(key) {
                let problem = "goes with break_glass = true alone";
                self.mistake(&value.span(), &format!("{path}.{key}"), problem);
            }
        }
        approve
    }

    fn break_glass(
        &mut self,
        table: &DeTable<'_>,
        at: &Range<usize>,
        path: &str,
    ) -> Option<Review> {
        for (key, problem) in [
            (
                "approve",
                "says nothing where break_glass = true grants at once; leave one of them out",
            ),
            (
                "extendable",
                "does not go with break_glass: ask again, so that all of it is told of and reviewed",
            ),
        ] {
            if let Some(value) = table.get(key) {
                self.mistake(&value.span(), &format!("{path}.{key}"), problem);
            }
        }
        let reviewers = self.required(table, at, path, "review", Self::people);
        let within = self
            .optional(table, path, "review_within", Self::duration)
            .unwrap_or(Some(ONE_DAY))?;
        if let (true, Some(value)) = (within > LATEST_REVIEW, table.get("review_within")) {
            let problem = format!("must be {} at most", in_words(LATEST_REVIEW));
            self.mistake(&value.span(), &format!("{path}.review_within"), problem);
            return None;
        }
        Some(Review {
            reviewers: reviewers?,
            within_seconds: within,
        })
    }

    fn approve(&mut self, value: &Value<'_>, path: &str) -> Option<Approval> {
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
            "attributes",
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
                "must be a list of 1 to {MOST_LATER} tables with after, and users, groups or attributes"
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
            self.refuse_unknown(table, &path, &["after", "users", "groups", "attributes"]);
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
        } else if !people.attributes.is_empty() {
            "can't be said with attributes, since who has them changes; leave them out, or say count".to_owned()
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
mod tests;
