//! The command line, against a server of its own.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::Running;
use serde_json::Value;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS alice@laptop\n";

/// Runs the program beside the server of this test.
async fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jit-server"));
    command
        .args(arguments)
        .env("JIT_SERVER_SOCKET", folder.join("root"))
        .current_dir(folder);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn user_add_says_what_the_user_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let _running = Running::start(folder.path()).await;
    std::fs::write(folder.path().join("alice.pub"), KEY).unwrap();
    let arguments = [
        "user",
        "add",
        "alice",
        "--login",
        "deploy",
        "--group",
        "developers",
        "--key",
        "alice.pub",
    ];
    let added = run(folder.path(), &arguments).await;
    let said = text(&added.stdout);
    assert!(added.status.success(), "{added:?}");
    assert!(
        said.starts_with("alice: login deploy, groups developers\n  key SHA256:"),
        "{said}"
    );
    let vendor = [
        "user",
        "add",
        "victor",
        "--login",
        "victor",
        "--until",
        "2099-12-31",
        "--attribute",
        "on_call=true",
        "--attribute",
        "team=night shift",
    ];
    let vendor = text(&run(folder.path(), &vendor).await.stdout);
    assert_eq!(
        vendor,
        "victor: login victor, on_call=true, team=night shift, until the end of 2099-12-31 (UTC)\n"
    );
    let table = text(&run(folder.path(), &["user", "list"]).await.stdout);
    assert!(table.contains("the end of 2099-12-31 (UTC)"), "{table}");
    assert!(table.contains("team=night shift"), "{table}");
    // A word that is left out takes no limit away.
    let again = ["user", "add", "victor", "--login", "victor"];
    let refused = run(folder.path(), &again).await;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(text(&refused.stderr).contains("until"), "{refused:?}");
    let replaced = [&again[..], &["--attribute", "on_call=true", "--replace"]].concat();
    let replaced = text(&run(folder.path(), &replaced).await.stdout);
    assert_eq!(
        replaced,
        "victor: login victor, on_call=true\n  changed: - attribute team=night shift\n  changed: - until the end of 2099-12-31 (UTC)\n"
    );
    let token = run(folder.path(), &["user", "token", "victor"]).await;
    assert!(token.status.success(), "{token:?}");
    let ended = [&again[..], &["--until", "2020-02-29"]].concat();
    let ended = text(&run(folder.path(), &ended).await.stdout);
    assert!(ended.contains("+ until the end of 2020-02-29"), "{ended}");
    assert!(
        ended.contains("ended with it:\n  token u1 of victor"),
        "{ended}"
    );
    let shared = run(folder.path(), &["user", "add", "bob", "--login", "deploy"]).await;
    assert!(
        text(&shared.stdout).contains("also that of alice"),
        "{shared:?}"
    );
    let listed: Value =
        serde_json::from_slice(&run(folder.path(), &["user", "list", "--json"]).await.stdout)
            .unwrap();
    assert_eq!(
        listed[0]["keys"][0]["key"],
        KEY.split(' ').take(2).collect::<Vec<_>>().join(" ")
    );
}

#[tokio::test]
async fn exit_codes_tell_failure_usage_and_refusal_apart() {
    let folder = tempfile::tempdir().unwrap();
    let _running = Running::start(folder.path()).await;
    let code = |output: Output| output.status.code().unwrap();
    assert_eq!(
        code(run(folder.path(), &["user", "add", "eve", "--login", "root"]).await),
        2
    );
    assert_eq!(code(run(folder.path(), &["user", "add", "eve"]).await), 2);
    assert_eq!(
        code(
            run(
                folder.path(),
                &["user", "add", "eve", "--login", "eve", "--socket", "alice"]
            )
            .await
        ),
        3
    );
    assert_eq!(
        code(run(folder.path(), &["user", "list", "--socket", "/nonexistent"]).await),
        1
    );
}

#[tokio::test]
async fn policy_check_tells_every_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = common::POLICY.replace("longest", "lnogest");
    std::fs::write(folder.path().join("wrong.toml"), wrong).unwrap();
    let checked = run(folder.path(), &["policy", "check", "wrong.toml"]).await;
    assert_eq!(checked.status.code(), Some(1));
    let said = text(&checked.stdout);
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(
        said.contains("wrong.toml:6: roles.web-admin.lnogest: unknown key"),
        "{said}"
    );
    let told: Value = serde_json::from_slice(
        &run(folder.path(), &["policy", "check", "wrong.toml", "--json"])
            .await
            .stdout,
    )
    .unwrap();
    assert_eq!(
        (&told["right"], &told["mistakes"][0]["line"]),
        (&Value::Bool(false), &Value::from(2))
    );
    std::fs::write(folder.path().join("right.toml"), common::POLICY).unwrap();
    let checked = run(folder.path(), &["policy", "check", "right.toml"]).await;
    assert_eq!(text(&checked.stdout), "right.toml is right: 2 roles\n");
    assert!(checked.stderr.is_empty(), "nothing in it is unwise");
    std::fs::write(
        folder.path().join("unwise.toml"),
        common::POLICY.replace("4h", "3d"),
    )
    .unwrap();
    let checked = run(folder.path(), &["policy", "check", "unwise.toml"]).await;
    assert_eq!(checked.status.code(), Some(0), "a warning is no mistake");
    assert_eq!(text(&checked.stdout), "unwise.toml is right: 2 roles\n");
    let warned = text(&checked.stderr);
    assert!(
        warned.starts_with("warning: unwise.toml:6: roles.web-admin.longest: 72h "),
        "{warned}"
    );
    let missing = run(folder.path(), &["policy", "check", "no-such.toml"]).await;
    assert_eq!(missing.status.code(), Some(1));
    let usage = run(folder.path(), &["policy", "check", "--no-such"]).await;
    assert_eq!(usage.status.code(), Some(2));
}

#[tokio::test]
async fn man_pages_and_completions_are_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    for what in ["man", "completions"] {
        assert!(
            run(folder.path(), &["generate", what, "."])
                .await
                .status
                .success(),
            "{what}"
        );
    }
    for page in [
        "jit-server.8",
        "jit-server-init.8",
        "jit-server-user-add.8",
        "jit-server-policy-check.8",
        "jit-server-policy-explain.8",
        "jit-server-policy-test.8",
        "jit-server-apply.8",
        "jit-server-webhooks.8",
    ] {
        assert!(
            std::fs::read_to_string(folder.path().join(page))
                .unwrap()
                .contains(".TH jit-server"),
            "{page}"
        );
    }
    assert!(
        !folder.path().join("jit-server-prepare.8").exists(),
        "what is hidden has no page"
    );
    for file in ["jit-server.bash", "jit-server.fish", "_jit-server"] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
}

#[tokio::test]
async fn user_token_prints_a_token_once_and_lists_and_revokes_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let made = run(folder.path(), &["user", "token", "alice", "--for", "12h"]).await;
    let token = text(&made.stdout);
    assert!(token.trim_end().parse::<jit_grant::UserToken>().is_ok());
    let listed = run(folder.path(), &["user", "token", "alice", "--list"]).await;
    let said = text(&listed.stdout);
    assert!(
        said.contains("u1") && said.contains("not since the server started"),
        "{said}"
    );
    assert!(!said.contains(token.trim_end()));
    let revoked = run(folder.path(), &["user", "token", "alice", "--revoke", "u1"]).await;
    assert_eq!(text(&revoked.stdout), "token u1 of alice counts no more\n");
    let again = run(folder.path(), &["user", "token", "alice", "--revoke", "u1"]).await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    run(folder.path(), &["user", "token", "alice"]).await;
    run(folder.path(), &["user", "token", "alice", "--rotate", "u2"]).await;
    let listed = run(folder.path(), &["user", "token", "alice", "--list"]).await;
    let said = text(&listed.stdout);
    assert!(
        said.contains("REPLACES") && said.contains("u3  u2"),
        "{said}"
    );
    let revoked = run(folder.path(), &["user", "token", "alice", "--revoke", "u2"]).await;
    assert_eq!(
        text(&revoked.stdout),
        "token u2 of alice counts no more\ntoken u3 of alice, which came of u2, counts no more\n"
    );
    for wrong in [
        &["user", "token", "alice", "--list", "--revoke", "u1"][..],
        &["user", "token", "alice", "--revoke", "e1"],
        &["user", "token", "alice", "--for", "1h", "--list"],
    ] {
        assert_eq!(run(folder.path(), wrong).await.status.code(), Some(2));
    }
}

#[tokio::test]
async fn user_remove_says_what_ended_with_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let request = running.as_("alice").asks(600).await;
    running.as_("bob").approves(&request).await;
    run(folder.path(), &["user", "token", "alice"]).await;
    let because = serde_json::json!({ "reason": "she left" });
    let root = running.as_("root");
    root.post("/v1/users/carol/lock", because).await.is(200);
    let removed = run(folder.path(), &["user", "remove", "alice"]).await;
    let said = text(&removed.stdout);
    assert!(
        said.starts_with("alice is no user of this server any more\nended with it:\n  grant g1 of alice: web-admin on web-1 as alice, 9 min left\n  token u1 of alice, 29 days left\n"),
        "{said}"
    );
    let removed = run(folder.path(), &["user", "remove", "carol"]).await;
    let said = text(&removed.stdout);
    assert!(said.contains("the lock of carol stays"), "{said}");
    let added = run(folder.path(), &["user", "add", "carol", "--login", "carol"]).await;
    assert!(text(&added.stdout).contains("locked by @administrator: she left"));
    let again = run(folder.path(), &["user", "remove", "alice"]).await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}

#[tokio::test]
async fn host_token_lists_and_revokes() {
    let folder = tempfile::tempdir().unwrap();
    let _running = Running::start(folder.path()).await;
    let made = [
        "host",
        "token",
        "--uses",
        "9",
        "--for",
        "2d",
        "--label",
        "site=berlin",
    ];
    let token = text(&run(folder.path(), &made).await.stdout);
    assert!(
        token
            .trim_end()
            .parse::<jit_grant::EnrolmentToken>()
            .is_ok()
    );
    let listed = run(folder.path(), &["host", "token", "--list"]).await;
    let said = text(&listed.stdout);
    for part in [
        "e1",
        "any free name",
        "site=berlin",
        "9 of 9",
        "in 47 h",
        "none yet",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let listed = run(folder.path(), &["host", "token", "--list", "--json"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed[0]["uses_left"], 9);
    let revoke = ["host", "token", "--revoke", "e1"];
    let revoked = text(&run(folder.path(), &revoke).await.stdout);
    assert!(
        revoked.starts_with("enrolment token e1 counts no more"),
        "{revoked}"
    );
    assert_eq!(run(folder.path(), &revoke).await.status.code(), Some(1));
    let listed = run(folder.path(), &["host", "token", "--list"]).await;
    assert_eq!(text(&listed.stdout), "no enrolment tokens that count\n");
    for wrong in [
        &["host", "token", "--list", "--revoke", "e1"][..],
        &["host", "token", "--list", "--uses", "2"],
        &["host", "token", "--revoke", "e1", "--name", "web-1"],
        &["host", "token", "--revoke", "u1"],
    ] {
        assert_eq!(run(folder.path(), wrong).await.status.code(), Some(2));
    }
}

#[tokio::test]
async fn a_service_account_and_its_tokens_are_made_shown_and_rotated_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let _running = Running::start(folder.path()).await;
    let said = async |line: &str, hours: Option<&str>| {
        let mut arguments: Vec<&str> = line.split(' ').collect();
        arguments.extend(hours.iter().flat_map(|hours| ["--hours", hours]));
        let output = run(folder.path(), &arguments).await;
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    };
    let night = "mon-fri 02:00 to 04:00 Europe/Paris";
    let added = said("user add ci --login ci --service", Some(night)).await;
    assert_eq!(
        added,
        format!("ci: service account, login ci\n  hours {night}\n")
    );
    let token = said(
        "user token ci --scope ask:web@web-* --scope read --for 90d --renewable-for 365d",
        None,
    )
    .await;
    assert!(token.starts_with("jit-user.") && token.lines().count() == 1);
    let next = said("user token ci --rotate u1 --overlap 10m", None).await;
    assert!(next.starts_with("jit-user.") && next != token);
    let listed = said("user token ci --list", None).await;
    assert_eq!(listed.matches("read, ask:web@web-*").count(), 2, "{listed}");
    for wrong in [
        "user token ci",
        "user token ci --scope write",
        "user token ci --rotate u1 --scope read",
        "user token ci --overlap 10m --scope read",
        "user add bob --login bob --hours x",
    ] {
        let arguments: Vec<&str> = wrong.split(' ').collect();
        assert!(!run(folder.path(), &arguments).await.status.success());
    }
}
