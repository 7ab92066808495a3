//! Denials, told by the running server to whoever asks, looks at his roles, or has it explained.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Host, POLICY, Running};
use serde_json::{Value, json};

const DENIALS: &str = r#"
[denials.developers-off-web-2]
because = "web-2 holds card data"
people = { groups = ["developers"] }
except = { users = ["carol"] }
hosts = ["web-2"]
actions = ["sudo", "su"]

[denials.nobody-on-db]
because = "it is being moved"
hosts = ["db-*"]
"#;

/// A server whose policy has [`DENIALS`], with web-1 and web-2.
async fn running(folder: &Path) -> Running {
    std::fs::write(folder.join("policy.toml"), format!("{POLICY}{DENIALS}")).unwrap();
    let running = Running::start(folder).await;
    running.populate().await;
    Host::enrol(&running.as_("root"), "web-2").await;
    running
}

/// What `jit-server policy explain …` says.
async fn by_command(folder: &Path, options: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jit-server"));
    command
        .args(["policy", "explain"])
        .args(options)
        .env("JIT_SERVER_SOCKET", folder.join("root"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn wish(role: &str, hosts: &[&str]) -> Value {
    json!({ "role": role, "hosts": hosts, "for_seconds": 600, "reason": "to see" })
}

#[tokio::test]
async fn whoever_asks_for_a_denied_host_is_refused_with_its_code_and_grounds() {
    let folder = tempfile::tempdir().unwrap();
    let running = running(folder.path()).await;
    let alice = running.as_("alice");
    let both = wish("web-admin", &["web-1", "web-2"]);
    let refused = alice.post("/v1/requests", both.clone()).await;
    assert_eq!(refused.status, 403, "{:?}", refused.body);
    assert_eq!(refused.body["code"], "denied-by-policy");
    let told = refused.body["detail"].as_str().unwrap();
    for said in ["developers-off-web-2", "on web-2", "web-2 holds card data"] {
        assert!(told.contains(said), "{said:?} is not in {told}");
    }
    let one = wish("web-admin", &["web-1"]);
    alice.post("/v1/requests", one).await.is(201);
    let ssh_alone = wish("database", &["web-2"]);
    alice.post("/v1/requests", ssh_alone).await.is(201);
    running
        .as_("carol")
        .post("/v1/requests", both)
        .await
        .is(201);
}

#[tokio::test]
async fn roles_are_listed_with_what_denials_take_from_whoever_looks() {
    let folder = tempfile::tempdir().unwrap();
    let running = running(folder.path()).await;
    let conditions = |roles: Value| -> Vec<(String, Value)> {
        let roles = roles.as_array().unwrap().iter();
        let roles = roles.map(|role| {
            (
                role["name"].as_str().unwrap().to_owned(),
                role["conditions"].clone(),
            )
        });
        roles.collect()
    };
    let of = async |name: &str| conditions(running.as_(name).get("/v1/roles").await.is(200));
    assert_eq!(
        of("alice").await,
        [
            ("database".to_owned(), json!([])),
            (
                "web-admin".to_owned(),
                json!(["not on web-2: web-2 holds card data"])
            )
        ]
    );
    assert_eq!(of("carol").await, [("web-admin".to_owned(), json!([]))]);
    let all = DENIALS.replace("[\"web-2\"]", "[\"web-*\"]");
    std::fs::write(folder.path().join("policy.toml"), format!("{POLICY}{all}")).unwrap();
    assert_eq!(of("alice").await, [("database".to_owned(), json!([]))]);
}

#[tokio::test]
async fn each_denial_is_explained_whether_it_fits_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let running = running(folder.path()).await;
    let root = running.as_("root");
    let explained = async |who: &str, role: &str| {
        let path = format!("/v1/policy/explain?principal={who}&role={role}&host=web-2");
        root.get(&path).await.is(200)
    };
    let told = explained("alice", "web-admin").await;
    assert_eq!(told["code"], "denied-by-policy");
    assert_eq!(
        told["denials"],
        json!([
            {
                "name": "developers-off-web-2",
                "fits": true,
                "words": "it is for alice, by group developers, and for web-2, by name: web-2 holds card data",
            },
            { "name": "nobody-on-db", "fits": false, "words": "it is not for web-2" },
        ])
    );
    let rules = told["rules"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["rule"] == "not-denied");
    let rule = rule.unwrap();
    assert_eq!(rule["outcome"], "failed");
    assert_eq!(
        rule["words"],
        "denial developers-off-web-2 refuses it: it is for alice, by group developers, and for web-2, by name: web-2 holds card data; denial nobody-on-db does not fit: it is not for web-2"
    );
    let told = explained("carol", "web-admin").await;
    assert_eq!(told["taken"], true);
    assert_eq!(
        told["denials"][0],
        json!({ "name": "developers-off-web-2", "fits": false, "words": "it is not for carol, by name" })
    );
    let told = explained("alice", "database").await;
    assert_eq!(
        told["denials"][0]["words"],
        "the role opens nothing of what it denies"
    );
    assert_eq!(told["taken"], true);
    let said = by_command(folder.path(), &["alice", "web-admin", "web-2", "--json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said, explained("alice", "web-admin").await);
    let said = by_command(folder.path(), &["alice", "web-admin", "web-2"]).await;
    for line in [
        "denial developers-off-web-2 refuses it: ",
        "denial nobody-on-db does not fit: ",
        "Would be refused (denied-by-policy): ",
    ] {
        assert!(said.contains(line), "{line:?} is not in {said}");
    }
    let told = explained("alice", "nothing").await;
    assert_eq!(told["denials"], json!([]));
}
