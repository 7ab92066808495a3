//! An auditor sees how each call came in.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Running, id, read};
use hyper::Method;
use serde_json::{Value, json};

const AUDITED: &str = "may_audit = { users = [\"carol\"] }\n";

async fn record(running: &Running, name: &str) -> Vec<Value> {
    let record = running.as_(name).get("/v1/audit").await.is(200);
    record["events"].as_array().unwrap().clone()
}

fn of_kind<'r>(record: &'r [Value], kind: &str) -> &'r Value {
    let mut found = record.iter().filter(|event| event["kind"] == kind);
    found.next_back().unwrap()
}

#[tokio::test]
async fn what_a_call_made_happen_says_by_which_token_and_from_where_it_came_and_only_auditors_read_it()
 {
    let folder = tempfile::tempdir().unwrap();
    let policy = format!("{AUDITED}{}", common::POLICY);
    std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let made = running
        .as_("root")
        .post("/v1/users/alice/tokens", json!({ "for_seconds": 600 }))
        .await
        .is(201);
    let elsewhere = running.listen_elsewhere().await;
    let authorization = format!("Bearer {}", made["token"].as_str().unwrap());
    let shown = [("authorization", authorization.as_str())];
    let ask = json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 600, "reason": "disk full" });
    let asked = elsewhere.send(Method::POST, "/v1/requests", &shown, ask);
    let asked = id(&read(asked.await).await.is(201));
    running.as_("bob").approves(&asked).await;

    let all = record(&running, "carol").await;
    let by_token = json!({ "token": made["id"], "from": "127.0.0.1", "uid": null });
    assert_eq!(of_kind(&all, "requested")["via"], by_token);
    let at_socket = json!({ "token": null, "from": "socket", "uid": 1002 });
    assert_eq!(of_kind(&all, "approved")["via"], at_socket);
    assert_eq!(of_kind(&all, "granted")["via"], at_socket);
    assert_eq!(of_kind(&all, "user_token_made")["via"]["uid"], 0);
    // The server read the policy by itself.
    assert_eq!(of_kind(&all, "policy_taken").get("via"), None);
    for name in ["alice", "bob"] {
        let his = record(&running, name).await;
        assert!(!his.is_empty());
        assert!(his.iter().all(|event| event.get("via").is_none()), "{name}");
    }
    // It is of the record, not of this run.
    running.stop().await;
    let again = Running::start(folder.path()).await;
    let all = record(&again, "root").await;
    assert_eq!(of_kind(&all, "requested")["via"], by_token);
}

#[tokio::test]
async fn a_rotation_says_by_which_token_and_from_where_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    let made = root
        .post("/v1/users/alice/tokens", json!({ "for_seconds": 600 }))
        .await
        .is(201);
    let elsewhere = running.listen_elsewhere().await;
    let authorization = format!("Bearer {}", made["token"].as_str().unwrap());
    let shown = [("authorization", authorization.as_str())];
    let rotated = elsewhere.send(Method::POST, "/v1/token/rotate", &shown, json!({}));
    read(rotated.await).await.is(201);
    let by_token = json!({ "token": made["id"], "from": "127.0.0.1", "uid": null });
    assert_eq!(
        of_kind(&record(&running, "root").await, "user_token_made")["via"],
        by_token
    );
    root.post("/v1/users/alice/tokens/u2/rotate", json!({}))
        .await
        .is(201);
    let at_socket = json!({ "token": null, "from": "socket", "uid": 0 });
    assert_eq!(
        of_kind(&record(&running, "root").await, "user_token_made")["via"],
        at_socket
    );
}
