//! Users, hosts and policy from the files of a folder.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use common::{POLICY, Running, id};
use serde_json::{Value, json};

/// Those whom [`Running::populate`] adds, but alice.
const WITHOUT_ALICE: &str = r#"
[users.bob]
login = "bob"
groups = ["leads"]
[users.carol]
login = "carol"
groups = ["leads", "developers"]
"#;

/// `jit-server apply wanted` beside the server of this test.
async fn apply(folder: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jit-server"));
    command
        .args(["apply", "wanted", "--policy", "policy.toml"])
        .args(options)
        .env("JIT_SERVER_SOCKET", folder.join("root"))
        .current_dir(folder);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join("wanted").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

/// Whether a file that was to take another's place was left behind.
fn unfinished(folder: &Path) -> bool {
    let mut entries = std::fs::read_dir(folder).unwrap();
    entries.any(|entry| {
        entry
            .unwrap()
            .path()
            .extension()
            .is_some_and(|ext| ext == "new")
    })
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What happened. What was refused did not.
async fn record(running: &Running) -> Vec<Value> {
    let record = running.as_("root").get("/v1/audit").await.is(200);
    let events = record["events"].as_array().unwrap().iter();
    let happened = events.filter(|event| event["kind"] != "call_refused");
    happened.cloned().collect()
}

#[tokio::test]
async fn a_dry_run_changes_nothing_the_next_run_all_and_the_one_after_it_has_nothing_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = Running::start(folder).await;
    let host = running.populate().await;
    let mut stream = host.listen(&running.server, 0).await;
    stream.next().await;
    let request = running.as_("alice").asks(600).await;
    running.as_("bob").approves(&request).await;
    stream.next().await;
    let open = json!({ "role": "database", "hosts": ["web-1"], "for_seconds": 60, "reason": "slow query" });
    let open = id(&running
        .as_("alice")
        .post("/v1/requests", open)
        .await
        .is(201));
    let token = json!({ "for_seconds": 600 });
    let root = running.as_("root");
    root.post("/v1/users/alice/tokens", token).await.is(201);
    write(folder, "users.toml", WITHOUT_ALICE);
    write(
        folder,
        "hosts.toml",
        "[hosts.web-1]\nlabels = { site = \"berlin\" }\n[hosts.web-9]\nlabels = {}\n",
    );
    write(folder, "policy.toml", &POLICY.replace("4h", "2h"));
    write(folder, "README.md", "what this is");

    let before = record(&running).await;
    let dry = apply(folder, &["--dry-run"]).await;
    let told = said(&dry);
    assert_eq!(dry.status.code(), Some(5), "{dry:?}");
    for line in [
        "~  policy  policy.toml  ~ role web-admin",
        "-  user    alice",
        "~  host    web-1        + label site=berlin",
        "Lost by it:\n  grant g1 of alice: web-admin on web-1 as alice, ",
        &format!("  request {open} of alice: database, not decided yet"),
        "  token u1 of alice, ",
        "warning: host web-9 is not enrolled",
        "Nothing was changed yet. Without --dry-run: 0 added, 2 changed, 1 removed",
    ] {
        assert!(told.contains(line), "{line:?} is not in {told}");
    }
    assert!(!told.contains('\u{1b}'), "no colour but on a terminal");
    assert_eq!(record(&running).await, before);
    let as_json = apply(folder, &["--dry-run", "--json"]).await;
    let plan: Value = serde_json::from_slice(&as_json.stdout).unwrap();
    assert_eq!(as_json.status.code(), Some(5));
    assert_eq!(
        (
            &plan["applied"],
            &plan["lost"]["grants"][0]["id"],
            &plan["changes"][1]
        ),
        (
            &json!(false),
            &json!("g1"),
            &json!({ "sign": "-", "thing": "user", "name": "alice", "details": [] })
        )
    );

    let done = apply(folder, &[]).await;
    assert!(done.status.success(), "{done:?}");
    let told = said(&done);
    assert!(
        told.contains("-  user    alice") && told.contains("Done: 0 added, 2 changed, 1 removed"),
        "{told}"
    );
    assert!(
        host.verified(&running.server, &stream.next().await)
            .grants
            .is_empty()
    );
    let kinds: Vec<_> = record(&running).await.split_off(before.len());
    let kinds: Vec<_> = kinds
        .iter()
        .map(|event| (event["kind"].clone(), event["subject"].clone()))
        .collect();
    assert_eq!(
        kinds,
        [
            (json!("policy_taken"), Value::Null),
            (json!("user_removed"), json!("alice")),
            (json!("host_labelled"), json!("web-1")),
        ]
    );
    let shown = root.get("/v1/grants/g1").await.is(200);
    assert_eq!(shown["state"], "revoked");
    let shown = root.get(&format!("/v1/requests/{open}")).await.is(200);
    assert_eq!(shown["state"], "withdrawn");
    let listed = root.get("/v1/hosts").await.is(200);
    assert_eq!(listed[0]["labels"], json!({ "site": "berlin" }));
    let file = std::fs::read_to_string(folder.join("policy.toml")).unwrap();
    assert!(file.contains("2h") && !unfinished(folder));

    let before = record(&running).await;
    for options in [&[][..], &["--dry-run"]] {
        let again = apply(folder, options).await;
        assert_eq!(again.status.code(), Some(0), "{again:?}");
        assert!(said(&again).ends_with("nothing to do\n"), "{again:?}");
    }
    assert_eq!(record(&running).await, before);
    running.stop().await;
    let running = Running::start(folder).await;
    assert_eq!(record(&running).await, before, "also after a restart");
}

#[tokio::test]
async fn every_mistake_of_every_file_is_told_and_nothing_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = Running::start(folder).await;
    running.populate().await;
    let before = record(&running).await;
    write(folder, "policy.toml", &POLICY.replace("longest", "lnogest"));
    write(
        folder,
        "users.toml",
        "[users.bob]\nlogin = \"root\"\n[users.bob]\n",
    );
    write(folder, "hosts.toml", "[hosts.web-1]\nlabel = {}\n");
    write(folder, "user.toml", "");
    for options in [&[][..], &["--dry-run"]] {
        let wrong = apply(folder, options).await;
        assert_eq!(wrong.status.code(), Some(1));
        let told = said(&wrong);
        for line in [
            "wanted/hosts.toml:2: hosts.web-1.label: unknown key; known here: labels, remove",
            "wanted/hosts.toml:1: hosts.web-1: says nothing",
            "wanted/policy.toml:6: roles.web-admin.lnogest: unknown key",
            "wanted/user.toml:1: is none of policy.toml, users.toml and hosts.toml",
            "wanted/users.toml:2: users.bob.login: ",
            "wanted/users.toml:3: ",
        ] {
            assert!(told.contains(line), "{line:?} is not in {told}");
        }
    }
    let wrong = apply(folder, &["--json"]).await;
    let plan: Value = serde_json::from_slice(&wrong.stdout).unwrap();
    assert!(plan["mistakes"].as_array().unwrap().len() >= 8, "{plan}");
    assert_eq!(plan["applied"], false);
    assert_eq!(record(&running).await, before);
    let file = std::fs::read_to_string(folder.join("policy.toml")).unwrap();
    assert_eq!(file, POLICY, "the earlier one is kept");
}

#[tokio::test]
async fn files_that_others_may_write_and_folders_without_any_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let _running = Running::start(folder).await;
    write(folder, "README.md", "");
    let empty = apply(folder, &[]).await;
    assert_eq!(empty.status.code(), Some(1));
    write(folder, "users.toml", "");
    let open = std::fs::Permissions::from_mode(0o664);
    std::fs::set_permissions(folder.join("wanted/users.toml"), open).unwrap();
    let wrong = apply(folder, &[]).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        said(&wrong).contains("wanted/users.toml:1: may be written by others"),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn a_cut_file_does_not_remove_most_users_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = Running::start(folder).await;
    running.populate().await;
    write(
        folder,
        "users.toml",
        "[users.bob]\nlogin = \"bob\"\ngroups = [\"leads\"]\n",
    );
    write(folder, "policy.toml", &POLICY.replace("4h", "2h"));
    let before = record(&running).await;
    let dry = apply(folder, &["--dry-run"]).await;
    assert_eq!(dry.status.code(), Some(5));
    assert!(said(&dry).contains("--allow-removals 2"), "{dry:?}");
    for options in [&[][..], &["--allow-removals", "1"]] {
        let refused = apply(folder, options).await;
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains("removes 2 of 3 users"), "{told}");
    }
    assert_eq!(record(&running).await, before);
    let file = std::fs::read_to_string(folder.join("policy.toml")).unwrap();
    assert!(file == POLICY && !unfinished(folder));
    let done = apply(folder, &["--allow-removals", "2"]).await;
    assert!(done.status.success(), "{done:?}");
    let users = running.as_("root").get("/v1/users").await.is(200);
    assert_eq!(users.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_policy_counts_with_the_users_that_came_with_it_and_its_file_changes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    let policy = POLICY.replace("developers", "engineers");
    let users = WITHOUT_ALICE.replace("developers", "engineers");
    let files = json!({ "policy": policy, "users": users, "dry_run": false });
    let applied = root.post("/v1/apply", files.clone()).await.is(200);
    assert_eq!(applied["applied"], true);
    running.as_("carol").asks(60).await;
    let before = record(&running).await;
    running.server.tick().await.unwrap();
    assert_eq!(record(&running).await, before, "the file is as it was");
    std::fs::write(folder.path().join("policy.toml"), &policy).unwrap();
    running.server.tick().await.unwrap();
    assert_eq!(
        record(&running).await,
        before,
        "that policy is in force already"
    );
    let again = root.post("/v1/apply", files).await.is(200);
    assert_eq!(again["changes"], json!([]));
    let wrong = json!({ "policy": "x", "users": "", "dry_run": false, "allow_removals": 9 });
    let wrong = root.post("/v1/apply", wrong).await.is(200);
    assert_eq!(
        (&wrong["applied"], &wrong["mistakes"][0]["file"]),
        (&json!(false), &json!("policy.toml"))
    );
    assert_eq!(record(&running).await, before);
}

#[tokio::test]
async fn hosts_go_only_where_a_file_says_so_and_their_grants_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = Running::start(folder).await;
    running.populate().await;
    let request = running.as_("alice").asks(600).await;
    running.as_("bob").approves(&request).await;
    write(folder, "hosts.toml", "");
    assert_eq!(said(&apply(folder, &[]).await), "nothing to do\n");
    write(folder, "hosts.toml", "[hosts.web-1]\nremove = true\n");
    let done = apply(folder, &[]).await;
    assert!(said(&done).contains("grant g1 of alice"), "{done:?}");
    assert_eq!(
        running.as_("root").get("/v1/hosts").await.is(200),
        json!([])
    );
    assert_eq!(said(&apply(folder, &[]).await), "nothing to do\n");
    let kinds: Vec<_> = record(&running)
        .await
        .into_iter()
        .map(|event| event["kind"].clone())
        .collect();
    assert_eq!(
        kinds[kinds.len() - 2..],
        [json!("revoked"), json!("host_removed")]
    );
}

#[tokio::test]
async fn only_root_applies_files() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let files = json!({ "users": "", "dry_run": true });
    let answer = running.as_("bob").post("/v1/apply", files).await;
    answer.refuses(403, "not-administrator");
}
