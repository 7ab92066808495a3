//! What becomes different of a service account, and what a policy wants of it that it never does.

use std::collections::BTreeSet;

use jit_grant::Principal;

use super::members;
use crate::event::UserSet;
use crate::policy::{Policy, WindowDocument};

/// What is to be told of it, each in a few words.
pub(super) fn details(before: Option<&UserSet>, user: &UserSet) -> Vec<String> {
    let mut details = match (before.is_some_and(UserSet::is_service), user.is_service()) {
        (false, true) => vec!["+ service account".to_owned()],
        (true, false) => vec!["- service account".to_owned()],
        _ => Vec::new(),
    };
    let before = before.map_or_else(BTreeSet::new, hours);
    details.extend(members("hours", &before, &hours(user), String::clone));
    details
}

fn hours(user: &UserSet) -> BTreeSet<String> {
    let windows = user.service.iter().flat_map(|service| &service.hours);
    windows.map(WindowDocument::to_string).collect()
}

/// Stages that name too few people for them to be done, since the others named are service accounts. Of approvers that come by group nothing is
/// said: who is in it may change.
pub(super) fn stuck(policy: &Policy, is_service: impl Fn(&Principal) -> bool) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, role) in &policy.roles {
        for (number, stage) in (1..).zip(role.stages()) {
            let Some(named) = stage.all_named() else {
                continue;
            };
            let people = named.iter().filter(|name| !is_service(name)).count();
            let enough = u32::try_from(people).is_ok_and(|people| people >= stage.count);
            if people < named.len() && !enough {
                warnings.push(format!(
                    "stage {number} of role {name} can't be done: of those it names service accounts never approve, and {people} of the {} that it needs are people",
                    stage.count
                ));
            }
        }
    }
    warnings
}
