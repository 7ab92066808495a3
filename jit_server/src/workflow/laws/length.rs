//! For how long it is asked where nobody says.

use super::*;

const DEFAULT: &str = r#"
[roles.short]
hosts = ["web-1"]
actions = ["ssh"]
longest = "1h"
default = "10m"
may_ask = { users = ["alice"] }
approve = { users = ["bob"] }
[roles.auto]
hosts = ["web-2"]
actions = ["ssh"]
longest = "1h"
default = "5m"
may_ask = { users = ["alice"] }
approve = { auto = true, because = "they can only read logs" }
[roles.none]
hosts = ["web-1"]
actions = ["ssh"]
longest = "1h"
may_ask = { users = ["alice"] }
approve = { users = ["bob"] }
"#;

fn policy() -> Policy {
    check_text("policy.toml", DEFAULT).unwrap()
}

fn asks(role: &str, for_seconds: Option<u32>) -> Command {
    let Command::Ask(asked) = ask(role, 60) else {
        unreachable!("it asks");
    };
    Command::Ask(Ask {
        for_seconds,
        ..asked
    })
}

#[test]
fn without_a_length_a_request_is_for_as_long_as_its_role_says_and_the_record_says_so() {
    let mut history = History::new();
    for (role, said) in [("short", None), ("auto", None), ("short", Some(1_200))] {
        let before = history.entries.len();
        let wanted = asks(role, said);
        let asked = history.wants_under(&policy(), begin(), 0, wanted);
        if said.is_some() {
            // The first is not decided yet.
            assert_eq!(asked.unwrap_err().code().0, "same-open");
            continue;
        }
        asked.unwrap();
        let Event::Requested(asked) = &history.entries[before].event else {
            panic!("{:?}", history.entries);
        };
        let expected = if role == "short" { 600 } else { 300 };
        assert_eq!(asked.for_seconds, expected, "{role}");
    }
    history
        .wants_under(&policy(), begin(), 1, approve(1, None))
        .unwrap();
    let mut lengths: Vec<_> = history
        .state
        .grants()
        .map(|grant| grant.expires.duration_since(grant.not_before).as_secs())
        .collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [300, 600]);
}

#[test]
fn a_role_without_a_length_has_to_be_asked_for_with_one() {
    let mut history = History::new();
    let refused = history.wants_under(&policy(), begin(), 0, asks("none", None));
    assert_eq!(refused.unwrap_err().code().0, "no-default");
    history
        .wants_under(&policy(), begin(), 0, asks("none", Some(60)))
        .unwrap();
}

#[test]
fn whoever_may_not_ask_for_a_role_is_not_told_whether_it_has_a_length() {
    let mut history = History::new();
    for role in ["none", "short", "missing"] {
        let refused = history.wants_under(&policy(), begin(), 2, asks(role, None));
        assert_eq!(refused.unwrap_err().code().0, "may-not-ask", "{role}");
    }
}
