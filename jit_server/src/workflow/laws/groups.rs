//! Unix groups of a role: a grant has those that were asked for and seen by all who approved, whatever the role says meanwhile.

use proptest::prelude::*;

use super::*;
use crate::workflow::Request;

/// Asked by alice, approved by bob and then by carol, with these groups.
fn with(groups: &[&str]) -> Policy {
    let groups = match groups {
        [] => String::new(),
        some => format!("groups = {some:?}\n"),
    };
    let text = format!(
        "[roles.logs]\nhosts = [\"web-1\"]\nactions = [\"ssh\"]\nlongest = \"1h\"\nextendable = \"20m\"\n{groups}may_ask = {{ users = [\"alice\"] }}\napprove = [{{ users = [\"bob\"] }}, {{ users = [\"carol\"] }}]\n"
    );
    check_text("policy.toml", &text).unwrap()
}

fn enforcing() -> History {
    let mut history = History::new();
    history.announces(begin(), "web-1", &["groups"]);
    history
}

fn groups_of(history: &History) -> Option<Vec<String>> {
    let grant = history.state.grant(&grant_id(1))?;
    Some(grant.limits.groups.listed())
}

#[test]
fn a_role_that_gives_other_groups_than_were_asked_for_is_approved_no_more() {
    for (before, after) in [
        (&[][..], &["docker"][..]),
        (&["adm"], &[]),
        (&["adm"], &["adm", "docker"]),
        (&["adm", "docker"], &["adm"]),
    ] {
        let mut history = enforcing();
        let steps = [(0, ask("logs", 600)), (1, approve(1, None))];
        for (person, wanted) in steps {
            history
                .wants_under(&with(before), begin(), person, wanted)
                .unwrap();
        }
        let refused = history.wants_under(&with(after), begin(), 2, approve(1, None));
        assert_eq!(refused.unwrap_err().code().0, "role-changed", "{after:?}");
        assert_eq!(groups_of(&history), None);
        history
            .wants_under(&with(before), begin(), 2, approve(1, None))
            .unwrap();
        assert_eq!(groups_of(&history).unwrap(), before);
    }
}

#[test]
fn a_request_to_extend_shows_the_groups_of_its_grant() {
    let mut history = enforcing();
    for (person, wanted) in [
        (0, ask("logs", 600)),
        (1, approve(1, None)),
        (2, approve(1, None)),
        (0, extend(1, 60)),
    ] {
        history
            .wants_under(&with(&["adm"]), begin(), person, wanted)
            .unwrap();
    }
    let request = history.state.request(&request_id(2)).unwrap();
    assert_eq!(request.asked.groups.listed(), ["adm"]);
}

#[test]
fn a_record_can_not_give_a_grant_other_groups_than_were_asked_for() {
    for (asked, given) in [
        (&[][..], r#"["docker"]"#),
        (&["adm"], r#"["adm", "docker"]"#),
        (&["adm"], "[]"),
    ] {
        let policy = with(asked);
        let mut history = enforcing();
        for (person, wanted) in [(0, ask("logs", 600)), (1, approve(1, None))] {
            history
                .wants_under(&policy, begin(), person, wanted)
                .unwrap();
        }
        let made = command(
            &history.state,
            &policy,
            begin(),
            &actor(2),
            approve(1, None),
        );
        for event in made.unwrap() {
            let forged = match event {
                Event::Granted(mut granted) => {
                    granted.limits.groups = serde_json::from_str(given).unwrap();
                    Event::Granted(granted)
                }
                other => other,
            };
            history.happened(begin(), &actor(2), forged);
        }
        assert_eq!(groups_of(&history), None, "{given}");
    }
}

#[test]
fn what_was_asked_before_groups_were_kept_is_read_without_any_and_granted() {
    let line = r#"{"kind":"requested","request":"r1","principal":"alice","login":"alice","role":"logs","hosts":["web-1"],"actions":["ssh"],"for_seconds":600,"reason":"because","lapses_at":"2026-11-22T13:00:00Z","policy":"p"}"#;
    let event: Event = serde_json::from_str(line).unwrap();
    assert_eq!(serde_json::to_string(&event).unwrap(), line);
    let mut history = enforcing();
    history.happened(begin(), &actor(0), event);
    for person in [1, 2] {
        history
            .wants_under(&with(&[]), begin(), person, approve(1, None))
            .unwrap();
    }
    assert_eq!(groups_of(&history).unwrap(), <[&str; 0]>::default());
}

proptest! {
    /// Whatever the role says at each step, a grant has the groups that its request had, which all who approved it saw.
    #[test]
    fn a_grant_has_the_groups_of_its_request(
        steps in proptest::collection::vec((0_usize..3, 0_usize..3), 1..12)
    ) {
        let policies = [with(&[]), with(&["adm"]), with(&["adm", "docker"])];
        let mut history = enforcing();
        for (person, policy) in steps {
            let wanted = if person == 0 {
                ask("logs", 600)
            } else {
                approve((history.state.next_request() - 1).max(1), None)
            };
            let policy = &policies[policy];
            let made = history.wants_under(policy, begin(), person, wanted).is_ok();
            let shown = |request: &Request| request.asked.groups == policy.roles.values().next().unwrap().limits.groups;
            let last = history.state.requests().next_back();
            prop_assert!(!made || last.is_some_and(shown));
        }
        for grant in history.state.grants() {
            let request = history.state.request(&grant.request).unwrap();
            prop_assert_eq!(&grant.limits.groups, &request.asked.groups);
        }
    }
}
