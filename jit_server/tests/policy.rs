//! What the policy comes to, told by the running server.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use common::Running;
use serde_json::{Value, json};

/// `jit-server policy …` beside the server of this test.
async fn policy(folder: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jit-server"));
    command
        .arg("policy")
        .args(options)
        .env("JIT_SERVER_SOCKET", folder.join("root"))
        .current_dir(folder);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn a_request_that_would_be_taken_is_explained_and_nothing_happens_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    let before = root.get("/v1/audit").await.is(200);
    let options = ["explain", "alice", "web-admin", "web-1", "--for", "30m"];
    let told = policy(folder.path(), &options).await;
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    let text = said(&told);
    for line in [
        "alice is a user: login alice, groups developers",
        "alice may ask for it, by group developers",
        "web-1 is a host of the role, by name",
        "30m is within 4h",
        "Would be taken, and then wait for approval.",
        "Could approve it now: bob, carol; 1 must.",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    assert_eq!(root.get("/v1/audit").await.is(200), before);
}

#[tokio::test]
async fn a_request_that_would_be_refused_is_explained_with_the_code_that_it_gets() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let options = [
        "explain",
        "bob",
        "web-admin",
        "web-2",
        "--for",
        "5h",
        "--json",
    ];
    let told = policy(folder.path(), &options).await;
    assert_eq!(told.status.code(), Some(3), "{told:?}");
    let told: Value = serde_json::from_str(&said(&told)).unwrap();
    let failed: Vec<&Value> = told["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["outcome"] == "failed")
        .map(|rule| &rule["rule"])
        .collect();
    assert_eq!(failed, ["may-ask", "hosts-enrolled", "within-longest"]);
    let wanted = json!({ "role": "web-admin", "hosts": ["web-2"], "for_seconds": 18_000, "reason": "to see" });
    let asked = running.as_("bob").post("/v1/requests", wanted).await;
    assert_eq!(
        (&asked.body["code"], &asked.body["detail"]),
        (&told["code"], &told["refusal"])
    );
}

#[tokio::test]
async fn only_root_has_things_explained() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let path = "/v1/policy/explain?principal=alice&role=web-admin&host=web-1";
    let refused = running.as_("alice").get(path).await;
    refused.refuses(403, "not-administrator");
    let wrong = running.as_("root").get(&format!("{path}&more=1")).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn the_policy_in_force_is_shown_as_that_of_a_file_and_with_the_members_of_its_groups() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    for (format, members) in [
        ("md", "| leads | bob, carol |\n"),
        ("table", "leads       bob, carol\n"),
        (
            "json",
            "\"leads\": [\n      \"bob\",\n      \"carol\"\n    ]",
        ),
    ] {
        let in_force = policy(folder.path(), &["show", "--format", format]).await;
        assert!(in_force.status.success(), "{in_force:?}");
        let options = [
            "show",
            "policy.toml",
            "--format",
            format,
            "--socket",
            "none",
        ];
        let of_file = policy(folder.path(), &options).await;
        let (in_force, of_file) = (said(&in_force), said(&of_file));
        assert!(in_force.contains(members), "{in_force}");
        assert!(!of_file.contains(members), "{of_file}");
        let mut lines = of_file
            .lines()
            .filter(|line| !line.contains("\"members\": null"));
        assert!(
            lines.all(|line| in_force.contains(line)),
            "{in_force} and {of_file}"
        );
        assert!(of_file.contains("web-admin"));
    }
    running
        .as_("alice")
        .get("/v1/policy")
        .await
        .refuses(403, "not-administrator");
    std::fs::write(folder.path().join("wrong.toml"), "x = 1").unwrap();
    let wrong = policy(folder.path(), &["show", "wrong.toml"]).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(said(&wrong).starts_with("wrong.toml:1: x: unknown key"));
}

/// The TOML in docs/policy.md whose first line names `file`.
fn example(file: &str) -> String {
    let guide = include_str!("../../docs/policy.md");
    let begin = format!("```toml\n# {file}\n");
    let (_, example) = guide.split_once(&begin).unwrap();
    example.split_once("```").unwrap().0.to_owned()
}

/// Checks `text` as policy.toml and plays `cases` under it, of which there are `count`.
async fn is_right_and_wise(text: &str, cases: &str, count: usize) {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [("policy.toml", text), ("policy_test.toml", cases)] {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let checked = policy(folder.path(), &["check", "policy.toml"]).await;
    assert!(
        checked.status.success() && checked.stderr.is_empty(),
        "{checked:?}"
    );
    let tested = policy(folder.path(), &["test", "policy_test.toml"]).await;
    assert_eq!(said(&tested), format!("all {count} cases hold\n"));
    assert_eq!(tested.status.code(), Some(0));
}

#[tokio::test]
async fn the_example_of_the_guide_is_right_and_wise_and_its_cases_hold() {
    is_right_and_wise(&example("policy.toml"), &example("policy_test.toml"), 8).await;
}

#[tokio::test]
async fn the_policy_of_a_fleet_is_right_and_wise_and_its_cases_hold() {
    let text = include_str!("../../docs/policies/fleet/policy.toml");
    let cases = include_str!("../../docs/policies/fleet/policy_test.toml");
    is_right_and_wise(text, cases, 13).await;
}

#[tokio::test]
async fn the_policy_for_card_data_is_right_and_wise_and_its_cases_hold() {
    let text = include_str!("../../docs/policies/card-data/policy.toml");
    let cases = include_str!("../../docs/policies/card-data/policy_test.toml");
    is_right_and_wise(text, cases, 32).await;
}

#[tokio::test]
async fn a_case_that_does_not_hold_any_more_is_told_with_the_rules_and_fails_the_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let looser = example("policy.toml").replace("longest = \"1h\"", "longest = \"3h\"");
    std::fs::write(folder.path().join("looser.toml"), looser).unwrap();
    std::fs::write(
        folder.path().join("cases.toml"),
        example("policy_test.toml"),
    )
    .unwrap();
    let options = ["test", "cases.toml", "--policy", "looser.toml"];
    let tested = policy(folder.path(), &options).await;
    assert_eq!(tested.status.code(), Some(1), "{tested:?}");
    let told = said(&tested);
    for line in [
        "dave asks for database on db-1 for 2h: expected refused (too-long), came pending",
        "  yes 2h is within 3h",
        "1 of 8 cases do not hold",
    ] {
        assert!(told.contains(line), "{line:?} is not in {told}");
    }
    let tested = policy(folder.path(), &[&options[..], &["--json"]].concat()).await;
    let told: Value = serde_json::from_str(&said(&tested)).unwrap();
    assert_eq!(
        (
            &told["cases"],
            &told["failed"][0]["outcome"],
            &told["failed"][1]
        ),
        (&json!(8), &json!("pending"), &Value::Null)
    );
    let missing = policy(folder.path(), &["test", "cases.toml"]).await;
    assert_eq!(missing.status.code(), Some(1), "there is no policy.toml");
    assert!(said(&missing).contains("policy.toml:1: can't be opened"));
}

#[tokio::test]
async fn a_case_that_says_too_little_to_be_played_is_told_by_its_line_and_the_others_are_played() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), example("policy.toml")).unwrap();
    let case = |more: &str| {
        format!(
            "[[case]]\nwho = \"alice\"\nrole = \"web-admin\"\nhost = \"web-1\"\nexpect = \"approved\"\n{more}"
        )
    };
    let cases = format!(
        "[groups]\ndevelopers = [\"alice\"]\n{}{}",
        case(""),
        case("for = \"1h\"\n")
    );
    std::fs::write(folder.path().join("cases.toml"), cases).unwrap();
    let tested = policy(folder.path(), &["test", "cases.toml"]).await;
    assert_eq!(tested.status.code(), Some(1));
    let told = said(&tested);
    assert!(
        told.starts_with("cases.toml:3: case: the case says not for how long"),
        "{told}"
    );
    assert!(told.contains("cases.toml:8: alice asks for"), "{told}");
    let tested = policy(folder.path(), &["test", "cases.toml", "--json"]).await;
    let told: Value = serde_json::from_str(&said(&tested)).unwrap();
    assert_eq!(
        (&told["mistakes"][0]["line"], &told["failed"][0]["line"]),
        (&json!(3), &json!(8))
    );
}

#[tokio::test]
async fn a_checkout_that_a_group_may_write_is_checked_and_tested_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["policy.toml", "policy_test.toml"] {
        let path = folder.path().join(file);
        std::fs::write(&path, example(file)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o664)).unwrap();
    }
    let warning = |file: &str| format!("warning: {file}:1: may be written by others");
    let checked = policy(folder.path(), &["check", "policy.toml"]).await;
    assert!(checked.status.success(), "{checked:?}");
    let told = String::from_utf8(checked.stderr).unwrap();
    assert!(told.starts_with(&warning("policy.toml")), "{told}");
    let tested = policy(folder.path(), &["test", "policy_test.toml"]).await;
    assert_eq!(said(&tested), "all 8 cases hold\n");
    let told = String::from_utf8(tested.stderr).unwrap();
    for file in ["policy.toml", "policy_test.toml"] {
        assert!(told.contains(&warning(file)), "{told}");
    }
}
