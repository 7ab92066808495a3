//! Under which conditions a role may be had, through the running server.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Person, Running, id, read};
use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const POLICY: &str = r#"
[roles.office]
hosts = ["web-?"]
labels = { env = ["prod", "test"] }
actions = ["ssh"]
longest = "1h"
start_within = "7d"
ticket = "OPS-[0-9]+"
reason_at_least = 10
asked_from = ["127.0.0.0/8"]
may_ask = { users = ["alice"] }
approve = { users = ["bob"] }

[roles.machine]
hosts = ["*"]
actions = ["ssh"]
longest = "1h"
start_within = "1h"
asked_from = ["socket"]
may_ask = { users = ["alice"] }
approve = { users = ["bob"] }
"#;

fn wanted(role: &str) -> Value {
    json!({ "role": role, "for_seconds": 600, "reason": "the disk is full", "ticket": "OPS-17" })
}

async fn label(root: &Person, labels: &str) {
    let hosts = format!("[hosts.web-1]\nlabels = {labels}\n");
    let applied = root
        .post("/v1/apply", json!({ "hosts": hosts, "dry_run": false }))
        .await
        .is(200);
    assert_eq!(applied["applied"], true, "{applied}");
}

async fn started(folder: &Path) -> Running {
    std::fs::write(folder.join("policy.toml"), POLICY).unwrap();
    Running::start(folder).await
}

#[tokio::test]
async fn where_a_request_is_from_is_told_by_its_connection_and_by_no_header() {
    let folder = tempfile::tempdir().unwrap();
    let running = started(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    label(&root, r#"{ env = "prod" }"#).await;
    let made = root.post("/v1/users/alice/tokens", json!({ "for_seconds": 3_600 }));
    let made = made.await.is(201);
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let elsewhere = running.listen_elsewhere().await;
    let over_tls = async |role: &str| {
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-forwarded-for", "203.0.113.9"),
            ("forwarded", "for=203.0.113.9"),
        ];
        let answer = elsewhere.send(Method::POST, "/v1/requests", &headers, wanted(role));
        read(answer.await).await
    };
    let alice = running.as_("alice");
    let office = alice.post("/v1/requests", wanted("office")).await;
    office.refuses(403, "asked-from-elsewhere");
    let asked = over_tls("office").await.is(201);
    assert_eq!(asked["asked_from"], "127.0.0.1");
    over_tls("machine")
        .await
        .refuses(403, "asked-from-elsewhere");
    let machine = alice.post("/v1/requests", wanted("machine")).await.is(201);
    assert_eq!(machine["asked_from"], "socket");
    running.stop().await;
}

#[tokio::test]
async fn a_grant_for_a_time_to_come_is_with_its_host_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let running = started(folder.path()).await;
    let host = running.populate().await;
    let (alice, bob) = (running.as_("alice"), running.as_("bob"));
    let start = running.server.now() + SignedDuration::from_mins(30);
    let mut later = wanted("machine");
    later["not_before"] = json!(start);
    let asked = alice.post("/v1/requests", later).await.is(201);
    assert_eq!(asked["not_before"], json!(start));
    let approved = bob.approves(&id(&asked)).await;
    let grant = approved["grants"][0].as_str().unwrap();
    let shown = alice.get(&format!("/v1/grants/{grant}")).await.is(200);
    assert_eq!(shown["state"], "scheduled");
    let mut stream = host.listen(&running.server, 0).await;
    let event = stream.next().await;
    let bundle = host.verified(&running.server, &event);
    let told: Vec<Timestamp> = bundle.grants.iter().map(|grant| grant.not_before).collect();
    assert_eq!(told, [start]);
    running.stop().await;
}

#[tokio::test]
async fn a_request_names_the_labels_of_its_hosts_or_their_names_and_not_both() {
    let folder = tempfile::tempdir().unwrap();
    let policy = POLICY.replace("asked_from = [\"127.0.0.0/8\"]\n", "");
    std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let alice = running.as_("alice");
    let mut prod = wanted("office");
    prod["labels"] = json!({ "env": ["prod"] });
    let none = alice.post("/v1/requests", prod.clone()).await;
    none.refuses(422, "no-hosts");
    label(&running.as_("root"), r#"{ env = "prod" }"#).await;
    let mut both = prod.clone();
    both["hosts"] = json!(["web-1"]);
    alice
        .post("/v1/requests", both)
        .await
        .refuses(422, "bad-body");
    let asked = alice.post("/v1/requests", prod).await.is(201);
    assert_eq!(asked["hosts"], json!(["web-1"]));
    running.stop().await;
}

#[tokio::test]
async fn an_explanation_takes_the_ticket_the_address_and_the_times_that_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let running = started(folder.path()).await;
    running.populate().await;
    label(&running.as_("root"), r#"{ env = "prod" }"#).await;
    let explain = async |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jit-server"));
        command
            .args(["policy", "explain", "alice", "office", "web-1", "--json"])
            .args(more)
            .env("JIT_SERVER_SOCKET", folder.path().join("root"));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["code"].as_str().map(str::to_owned)
    };
    let refused = |code: &str| Some(code.to_owned());
    assert_eq!(explain(&["--ticket", "OPS-17"]).await, None);
    assert_eq!(explain(&[]).await, refused("needs-ticket"));
    assert_eq!(
        explain(&["--ticket", "OPS-1&x=/ 2"]).await,
        refused("needs-ticket")
    );
    let from = ["--ticket", "OPS-17", "--from-address", "2001:db8::1"];
    assert_eq!(explain(&from).await, refused("asked-from-elsewhere"));
    let at = [
        "--ticket",
        "OPS-17",
        "--at",
        "2026-11-30T09:00[Europe/Paris]",
    ];
    let far = [&at[..], &["--from", "2026-12-07T09:00:01+01:00"]].concat();
    assert_eq!(explain(&far).await, refused("start-too-far"));
    let near = [&at[..], &["--from", "2026-12-07T09:00:00+01:00"]].concat();
    assert_eq!(explain(&near).await, None);
    running.stop().await;
}
