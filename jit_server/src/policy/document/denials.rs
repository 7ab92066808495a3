//! What is refused whatever a role says, as people and programs read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{PeopleDocument, named, places_in_words};
use crate::policy::{Denial, DenialName};

/// A denial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DenialDocument {
    /// Its name.
    pub name: String,
    /// Why; whoever is refused is told.
    pub because: String,
    /// Whom it is for. null: everybody.
    pub people: Option<PeopleDocument>,
    /// Those among them whom it is not for. null: nobody.
    pub except: Option<PeopleDocument>,
    /// Names, patterns with `*` and `?`, or `*` alone for any name.
    pub hosts: Vec<String>,
    /// Its hosts have each of these keys with one of the values.
    pub labels: BTreeMap<String, Vec<String>>,
    /// Roles that open one of these are denied. null: whatever they open.
    pub actions: Option<Vec<String>>,
}

impl From<(&DenialName, &Denial)> for DenialDocument {
    fn from((name, denial): (&DenialName, &Denial)) -> Self {
        let actions = denial.actions.as_ref();
        Self {
            name: name.to_string(),
            because: denial.because.to_string(),
            people: denial.people.as_ref().map(PeopleDocument::from),
            except: denial.except.as_ref().map(PeopleDocument::from),
            hosts: denial.hosts.listed(),
            labels: denial.hosts.labels().listed(),
            actions: actions.map(|actions| actions.iter().copied().map(named).collect()),
        }
    }
}

impl DenialDocument {
    /// What is said of it, in the order in which people ask: a question and its answer each. Why it is so is not among them.
    #[must_use]
    pub fn said(&self) -> [(&'static str, String); 3] {
        [
            ("Who is denied", self.people_in_words()),
            ("On which hosts", self.hosts_in_words()),
            ("What opens", self.actions_in_words()),
        ]
    }

    /// Whom it is for.
    #[must_use]
    pub fn people_in_words(&self) -> String {
        let people = self.people.as_ref();
        let people = people.map_or_else(|| "everybody".to_owned(), PeopleDocument::in_words);
        match &self.except {
            None => people,
            Some(except) => format!("{people}; except {}", except.in_words()),
        }
    }

    /// Its hosts as a list.
    #[must_use]
    pub fn hosts_in_words(&self) -> String {
        places_in_words(&self.hosts, &self.labels)
    }

    /// What it is about.
    #[must_use]
    pub fn actions_in_words(&self) -> String {
        let actions = self.actions.as_ref();
        actions.map_or_else(|| "anything".to_owned(), |actions| actions.join(" or "))
    }

    /// All people whom it names.
    pub(super) fn people(&self) -> impl Iterator<Item = &PeopleDocument> {
        self.people.iter().chain(&self.except)
    }
}
