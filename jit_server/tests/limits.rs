//! What hosts hold a role's grants to, through the running server.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::path::Path;

use common::{Host, Running, id};
use jit_grant::{Gates, HostState, Nonce};
use serde_json::{Value, json};

const POLICY: &str = r#"
[roles.office]
hosts = ["*"]
actions = ["ssh"]
longest = "1h"
login_from = ["10.0.0.0/8", "2001:db8::/32"]
may_ask = { users = ["alice"] }
approve = { users = ["bob"] }

[roles.short]
hosts = ["*"]
actions = ["ssh"]
longest = "1h"
default = "10m"
may_ask = { users = ["alice"] }
approve = { users = ["bob"] }

[roles.web-logs]
hosts = ["*"]
actions = ["ssh"]
longest = "1h"
groups = ["adm", "www-data"]
may_ask = { users = ["alice"] }
approve = { users = ["bob"] }
"#;

async fn started(folder: &Path) -> Running {
    std::fs::write(folder.join("policy.toml"), POLICY).unwrap();
    Running::start(folder).await
}

/// The host asks for word, and says what it enforces.
async fn announces(running: &Running, host: &Host, enforces: &[&str]) {
    let nonce = Nonce::generate().unwrap();
    let state = HostState {
        version: "0.1.0".to_owned(),
        gates: Gates::new(),
        enforces: enforces.iter().map(ToString::to_string).collect(),
    };
    let now = running.server.now();
    let state = state.sign(&host.id, &nonce, now, &host.key).unwrap();
    let question = json!({ "nonce": nonce, "state": state });
    let answer = host.post(&running.server, "/v1/host/word", question).await;
    assert!(answer.is(200)["word"].is_string());
}

fn office() -> Value {
    json!({ "role": "office", "for_seconds": 600, "reason": "the disk is full" })
}

#[tokio::test]
async fn a_role_with_limits_is_had_once_its_host_says_that_it_enforces_them_and_the_host_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let running = started(folder.path()).await;
    let host = running.populate().await;
    let (alice, bob) = (running.as_("alice"), running.as_("bob"));
    let refused = || alice.post("/v1/requests", office());
    refused().await.refuses(409, "host-cannot-enforce");
    let root = running.as_("root");
    let explained = root.get("/v1/policy/explain?principal=alice&role=office&host=web-1");
    assert_eq!(explained.await.is(200)["code"], "host-cannot-enforce");
    announces(&running, &host, jit_grant::ENFORCED).await;
    let asked = refused().await.is(201);
    bob.approves(&id(&asked)).await;
    let mut stream = host.listen(&running.server, 0).await;
    let bundle = host.verified(&running.server, &stream.next().await);
    let [grant] = bundle.grants.as_slice() else {
        panic!("{bundle:?}");
    };
    let networks = grant.limits.login_from.as_ref().unwrap().listed();
    assert_eq!(networks, ["10.0.0.0/8", "2001:db8::/32"]);
    assert_eq!(grant.crit, ["login_from"]);
    running.stop().await;
}

#[tokio::test]
async fn whoever_may_ask_is_told_that_there_are_networks_and_root_which() {
    let folder = tempfile::tempdir().unwrap();
    let running = started(folder.path()).await;
    running.populate().await;
    let roles = running.as_("alice").get("/v1/roles").await.is(200);
    assert_eq!(
        roles[0]["conditions"],
        json!(["logins from certain networks"])
    );
    assert!(!roles.to_string().contains("10.0.0.0"), "{roles}");
    let policy = running.as_("root").get("/v1/policy").await.is(200);
    let networks = &policy["roles"][0]["login_from"];
    assert_eq!(*networks, json!(["10.0.0.0/8", "2001:db8::/32"]));
    running.stop().await;
}

#[tokio::test]
async fn a_request_without_a_length_is_for_as_long_as_the_role_says() {
    let folder = tempfile::tempdir().unwrap();
    let running = started(folder.path()).await;
    running.populate().await;
    let alice = running.as_("alice");
    let roles = alice.get("/v1/roles").await.is(200);
    let defaults = [&roles[0]["default_seconds"], &roles[1]["default_seconds"]];
    assert_eq!(defaults, [&Value::Null, &json!(600)]);
    let ask = |role: &str| {
        alice.post(
            "/v1/requests",
            json!({ "role": role, "reason": "disk full" }),
        )
    };
    assert_eq!(ask("short").await.is(201)["for_seconds"], 600);
    ask("office").await.refuses(422, "no-default");
    running.stop().await;
}

#[tokio::test]
async fn whoever_approves_sees_the_groups_that_are_asked_for_and_the_grant_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let running = started(folder.path()).await;
    let host = running.populate().await;
    announces(&running, &host, jit_grant::ENFORCED).await;
    let (alice, bob) = (running.as_("alice"), running.as_("bob"));
    let wanted = json!({ "role": "web-logs", "for_seconds": 600, "reason": "the disk is full" });
    let asked = id(&alice.post("/v1/requests", wanted).await.is(201));
    let groups = json!(["adm", "www-data"]);
    let shown = bob.get(&format!("/v1/requests/{asked}")).await.is(200);
    assert_eq!(shown["groups"], groups);
    bob.approves(&asked).await;
    let grants = bob.get("/v1/grants").await.is(200);
    assert_eq!(grants[0]["groups"], groups);
    let roles = alice.get("/v1/roles").await.is(200);
    let all: Vec<_> = roles
        .as_array()
        .unwrap()
        .iter()
        .map(|role| &role["groups"])
        .collect();
    assert_eq!(all, [&json!([]), &json!([]), &groups]);
    running.stop().await;
}
