//! What becomes different of a service account.

use std::collections::BTreeSet;

use super::members;
use crate::event::UserSet;
use crate::policy::WindowDocument;

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
