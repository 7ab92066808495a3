//! Who is in the groups that a policy names. It does not say so itself: the server's users are in groups.

use std::collections::{BTreeMap, BTreeSet};

use super::{DenialDocument, PeopleDocument, PolicyDocument, RoleDocument};
use crate::directory::Directory;

impl PolicyDocument {
    /// The same with the members of each group that it names, by name. A group without any is told, too.
    #[must_use]
    pub fn with_members(self, directory: &Directory) -> Self {
        let named = self.roles.iter().flat_map(RoleDocument::people);
        let confirmers = self.changes_need.iter().map(|need| &need.people);
        let named = named.chain([&self.may_lock, &self.may_audit]);
        let denied = self.denials.iter().flat_map(DenialDocument::people);
        let named = named.chain(confirmers).chain(denied);
        let named: BTreeSet<&String> = named.flat_map(|people| &people.groups).collect();
        let mut members: BTreeMap<String, Vec<String>> = named
            .into_iter()
            .map(|group| (group.clone(), Vec::new()))
            .collect();
        for user in directory.users() {
            for group in &user.groups {
                if let Some(members) = members.get_mut(&group.to_string()) {
                    members.push(user.name.to_string());
                }
            }
        }
        Self {
            members: Some(members),
            ..self
        }
    }
}

impl RoleDocument {
    /// All people whom it names, whatever for.
    fn people(&self) -> impl Iterator<Item = &PeopleDocument> {
        let later = self.stages.iter().flat_map(|stage| &stage.later);
        let approvers = self.stages.iter().map(|stage| &stage.approvers);
        let reviewers = self.break_glass.iter().map(|review| &review.reviewers);
        [&self.may_ask]
            .into_iter()
            .chain(approvers)
            .chain(later.map(|later| &later.approvers))
            .chain(reviewers)
    }
}
