//! What a policy file may say, and what is told of one that is wrong.

use super::*;

const GOOD: &str = r#"
[roles.web-admin]
description = "Fix the web servers"
hosts = ["web-1", "web-2"]
actions = ["ssh", "sudo"]
longest = "4h"
may_ask = { groups = ["developers"] }
approve = { users = ["bob", "carol"], count = 2 }
"#;

#[test]
fn a_right_policy_is_read_whole() {
    let policy = check_text("policy.toml", GOOD).unwrap();
    let role = &policy.roles[&"web-admin".parse().unwrap()];
    assert_eq!(
        (
            role.longest_seconds,
            role.pending_seconds,
            role.stages()[0].count
        ),
        (4 * 3600, ONE_DAY, 2)
    );
    assert!(role.hosts.cover(&"web-2".parse().unwrap()));
    assert!(!role.hosts.cover(&"web-3".parse().unwrap()));
    assert_eq!(policy.hash.len(), 64);
}

#[test]
fn the_starter_policy_is_right() {
    assert!(
        check_text("policy.toml", crate::init::STARTER_POLICY)
            .unwrap()
            .roles
            .is_empty()
    );
}

#[test]
fn an_empty_policy_allows_nothing() {
    assert!(check_text("policy.toml", "").unwrap().roles.is_empty());
}

#[test]
fn every_mistake_is_told_with_line_and_key() {
    let wrong = r#"
[roles.Web]
hosts = ["web-1", "UPPER"]
actions = ["ssh", "root"]
longest = "-4h"
may_ask = { groups = [] }
approve = { users = ["bob"], count = 2, stage = 3 }
commands = ["/bin/ls"]
[defaults]
x = 1
"#;
    let mistakes = check_text("policy.toml", wrong).unwrap_err();
    let told: Vec<(usize, &str)> = mistakes.iter().map(|m| (m.line, m.key.as_str())).collect();
    assert_eq!(
        told,
        [
            (2, "roles.Web"),
            (3, "roles.Web.hosts"),
            (4, "roles.Web.actions"),
            (5, "roles.Web.longest"),
            (6, "roles.Web.may_ask"),
            (7, "roles.Web.approve.stage"),
            (7, "roles.Web.approve"),
            (8, "roles.Web.commands"),
            (9, "defaults"),
        ]
    );
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let mistakes = check_text("policy.toml", "[roles.a]\nhosts = [\n").unwrap_err();
    assert!(
        mistakes[0].to_string().starts_with("policy.toml:"),
        "{}",
        mistakes[0]
    );
}

#[test]
fn missing_keys_are_told_at_the_role() {
    let mistakes = check_text("p", "\n[roles.a]\n").unwrap_err();
    assert_eq!(mistakes.len(), 5);
    assert!(
        mistakes
            .iter()
            .all(|m| m.line == 2 && m.problem == "missing")
    );
}

#[test]
fn a_role_says_whether_its_grants_can_be_extended() {
    let role = |more: &str| {
        let policy = check_text("policy.toml", &format!("{GOOD}{more}")).unwrap();
        policy.roles[&"web-admin".parse().unwrap()].extension
    };
    assert_eq!(role(""), None);
    let extension = |without_approval| {
        Some(Extension {
            most_seconds: 1_800,
            without_approval,
        })
    };
    assert_eq!(role("extendable = \"30m\""), extension(false));
    assert_eq!(
        role("extendable = \"30m\"\nextend_without_approval = true"),
        extension(true)
    );
    let mistakes = check_text("p", &format!("{GOOD}extend_without_approval = true")).unwrap_err();
    assert_eq!(
        (mistakes.len(), mistakes[0].line),
        (1, 9),
        "it would mean nothing: {mistakes:?}"
    );
}

#[test]
fn t17_a_login_ends_with_an_elevation_to_root_unless_the_role_says_otherwise() {
    let ends = |policy: &str| {
        let policy = check_text("policy.toml", policy).unwrap();
        policy.roles[&"web-admin".parse().unwrap()].end_login_with_elevation
    };
    assert!(ends(GOOD));
    assert!(!ends(&format!("{GOOD}end_login_with_elevation = false")));
    let only_ssh = GOOD.replace(r#"["ssh", "sudo"]"#, r#"["ssh"]"#);
    assert!(!ends(&only_ssh));
}

#[test]
fn who_may_lock_is_named_outside_of_roles() {
    let policy = check_text("p", "may_lock = { groups = [\"leads\"] }\n").unwrap();
    assert_eq!(policy.may_lock.groups.len(), 1);
    let mistakes = check_text("p", "may_lock = { users = [] }").unwrap_err();
    assert_eq!(mistakes[0].key, "may_lock");
}

#[test]
fn what_is_allowed_and_unwise_is_warned_of_with_line_and_key() {
    let unwise = r#"
[roles.everything]
hosts = ["*"]
actions = ["ssh", "sudo"]
longest = "2d"
extendable = "1h"
extend_without_approval = true
may_ask = { users = ["alice", "bob"] }
approve = { users = ["bob"] }
"#;
    let checked = check_closely("policy.toml", unwise).unwrap();
    let told: Vec<(usize, &str)> = checked
        .warnings
        .iter()
        .map(|warning| (warning.line, warning.key.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (3, "roles.everything.hosts"),
            (5, "roles.everything.longest"),
            (7, "roles.everything.extend_without_approval"),
            (9, "roles.everything.approve"),
        ]
    );
    assert!(
        checked.warnings[3].problem.starts_with("bob may ask"),
        "alice has somebody to approve: {:?}",
        checked.warnings[3]
    );
}

#[test]
fn what_is_wise_is_not_warned_of() {
    for wise in [
        GOOD.to_owned(),
        format!("{GOOD}extendable = \"1h\""),
        GOOD.replace(r#"hosts = ["web-1", "web-2"]"#, r#"hosts = ["*"]"#)
            .replace(r#"["ssh", "sudo"]"#, r#"["ssh"]"#),
        GOOD.replace("4h", "1d"),
        GOOD.replace("groups = [\"developers\"]", "users = [\"bob\"]")
            .replace("count = 2", "count = 1"),
        GOOD.replace("groups = [\"developers\"]", "users = [\"bob\"]")
            .replace("users = [\"bob\", \"carol\"]", "groups = [\"leads\"]"),
    ] {
        let checked = check_closely("policy.toml", &wise).unwrap();
        assert_eq!(checked.warnings, [], "{wise}");
    }
}
