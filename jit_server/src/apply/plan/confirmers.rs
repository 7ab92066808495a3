//! Who could confirm changes from then on.

use jiff::Timestamp;

use crate::event::UserSet;
use crate::policy::Policy;

/// What is said where too few of `users` could confirm the next change under `policy`. A lock is not looked at: it can be taken back.
pub(super) fn too_few<'u>(
    policy: &Policy,
    users: impl Iterator<Item = &'u UserSet>,
    now: Timestamp,
) -> Option<String> {
    let confirmers = policy.changes_need.as_ref()?;
    let able = users.filter(|user| confirmers.include(user) && !user.has_ended(now));
    let able = able.count();
    let needed = confirmers.count;
    let enough = u32::try_from(able).is_ok_and(|able| able >= needed);
    (!enough).then(|| {
        format!(
            "changes_need asks for {needed} to confirm a change, and {able} could: from then on root alone can change anything, which alarms everybody"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::check_text;

    #[test]
    fn too_few_are_those_who_are_there_and_may_confirm() {
        let text = "changes_need = { users = [\"bob\", \"carol\", \"dave\"], count = 2 }";
        let policy = check_text("policy.toml", text).unwrap();
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let user = |name: &str| UserSet::new(name.parse().unwrap(), name.parse().unwrap());
        let ended = UserSet {
            until: Some(now),
            ..user("dave")
        };
        let users = [user("alice"), user("bob"), ended, user("carol")];
        assert_eq!(too_few(&policy, users.iter(), now), None);
        let said = too_few(&policy, users[..3].iter(), now).unwrap();
        assert!(
            said.contains("asks for 2") && said.contains("1 could"),
            "{said}"
        );
        assert_eq!(too_few(&Policy::default(), users[..1].iter(), now), None);
    }
}
