//! What may be said of approval, and what is told of what may not.

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
        stages("[[roles.a.approve]]\nusers = [\"bob\"]\n[[roles.a.approve]]\nusers = [\"carol\"]"),
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

#[test]
fn a_break_glass_role_is_reviewed_and_approved_by_nobody() {
    let glass = |more: &str| {
        let text = policy(&format!("break_glass = true\n{more}"));
        check_closely("policy.toml", &text)
    };
    let review = |more: &str| {
        let checked = glass(more).unwrap();
        assert_eq!(checked.warnings, []);
        checked.policy.roles[&"a".parse().unwrap()]
            .review()
            .cloned()
    };
    let security = r#"review = { groups = ["security"] }"#;
    assert_eq!(review(security).unwrap().within_seconds, 86_400);
    let shorter = review(&format!("{security}\nreview_within = \"4h\"")).unwrap();
    assert_eq!(shorter.within_seconds, 14_400);
    for (more, line, key) in [
        ("", 1, "review"),
        ("review = {}", 7, "review"),
        (
            &format!("{security}\nreview_within = \"8d\""),
            8,
            "review_within",
        ),
        (
            &format!("{security}\napprove = {{ users = [\"bob\"] }}"),
            8,
            "approve",
        ),
        (
            &format!("{security}\nextendable = \"10m\""),
            8,
            "extendable",
        ),
    ] {
        let mistakes = glass(more).unwrap_err();
        let told: Vec<_> = mistakes.iter().map(|m| (m.line, m.key.as_str())).collect();
        assert_eq!(
            told,
            [(line, format!("roles.a.{key}").as_str())],
            "{more}: {mistakes:?}"
        );
    }
    let without = policy(&format!("approve = {{ users = [\"bob\"] }}\n{security}"));
    let mistakes = check_text("policy.toml", &without).unwrap_err();
    assert_eq!(
        (mistakes.len(), mistakes[0].key.as_str()),
        (1, "roles.a.review")
    );
    let alone = glass(r#"review = { users = ["bob"] }"#).unwrap();
    assert_eq!(alone.warnings, [], "developers come by group");
    let text = policy("break_glass = true\nreview = { users = [\"bob\"] }")
        .replace(r#"groups = ["developers"]"#, r#"users = ["bob"]"#);
    let warnings = check_closely("policy.toml", &text).unwrap().warnings;
    assert_eq!(
        (warnings.len(), warnings[0].key.as_str()),
        (1, "roles.a.review")
    );
}

#[test]
fn who_approves_by_attributes_alone_is_nobody_that_the_policy_can_count() {
    let all =
        policy(r#"approve = { users = ["bob"], all = true, attributes = { on_call = true } }"#);
    let told = check_text("policy.toml", &all).unwrap_err();
    assert_eq!(told[0].key, "roles.a.approve.all");
    let one = stages(r#"approve = { attributes = { on_call = true }, count = 2 }"#);
    assert_eq!(one[0].all_named(), None);
    let one = stages(r#"approve = { users = ["bob"], attributes = { on_call = true } }"#);
    assert_eq!(one[0].all_named().unwrap().len(), 1);
    let few =
        policy(r#"approve = { users = ["bob"], attributes = { on_call = true }, count = 2 }"#);
    assert!(check_text("policy.toml", &few).is_err());
    // Of those who review by attributes alone, nobody can say that they are none.
    let glass = r#"break_glass = true
review = { attributes = { security = true } }"#;
    let glass = policy(glass).replace("groups = [\"developers\"]", "users = [\"alice\"]");
    let checked = check_closely("policy.toml", &glass).unwrap();
    let keys: BTreeSet<_> = checked
        .warnings
        .iter()
        .map(|told| told.key.as_str())
        .collect();
    assert!(!keys.contains("roles.a.review"), "{keys:?}");
}
