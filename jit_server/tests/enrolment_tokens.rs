//! Enrolment tokens that are listed and taken away.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Host, Person, Running};
use jit_grant::SigningKey;
use serde_json::{Value, json};

async fn token(root: &Person, what: Value) -> String {
    let made = root.post("/v1/hosts/tokens", what).await.is(201);
    made["token"].as_str().unwrap().to_owned()
}

/// How often the record has each of these kinds.
async fn recorded(root: &Person, kinds: &[&str]) -> Vec<usize> {
    let record = root.get("/v1/audit").await.is(200);
    let events = record["events"].as_array().unwrap();
    let count = |kind: &&str| events.iter().filter(|event| event["kind"] == *kind).count();
    kinds.iter().map(count).collect()
}

#[tokio::test]
async fn a_host_in_the_place_of_another_keeps_its_labels_unless_the_token_has_others() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let elsewhere = running.listen_elsewhere().await;
    let root = running.as_("root");
    let enrolled = async |labels: Value| {
        let new = json!({ "name": "db-1", "labels": labels, "uses": 1, "for_seconds": 60 });
        let token = token(&root, new).await;
        let key = SigningKey::generate().unwrap();
        elsewhere.enrol(&token, "db-1", &key).await.is(201);
        root.get("/v1/hosts").await.is(200)[0]["labels"].clone()
    };
    let first = json!({ "env": "prod", "site": "berlin" });
    assert_eq!(enrolled(first.clone()).await, first);
    assert_eq!(enrolled(json!({})).await, first);
    let other = json!({ "env": "test" });
    assert_eq!(enrolled(other.clone()).await, other);
    Host::enrol(&root, "db-1").await;
    let listed = root.get("/v1/hosts").await.is(200);
    assert_eq!(
        listed[0]["labels"], other,
        "at the server's own machine, too"
    );
}

#[tokio::test]
async fn a_host_that_is_called_tokens_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let root = running.as_("root");
    root.delete("/v1/hosts/tokens")
        .await
        .refuses(404, "no-host");
    Host::enrol(&root, "tokens").await;
    let mallory = running.as_("mallory");
    let refused = mallory.delete("/v1/hosts/tokens").await;
    refused.refuses(403, "not-administrator");
    let removed = root.delete("/v1/hosts/tokens").await.is(200);
    assert_eq!(removed["name"], "tokens");
    assert_eq!(root.get("/v1/hosts").await.is(200), json!([]));
}

#[tokio::test]
async fn a_revoked_token_lets_nobody_in_and_each_try_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let root = running.as_("root");
    let new = json!({ "labels": { "image": "golden" }, "uses": 3, "for_seconds": 60 });
    let token = token(&root, new).await;
    let key = SigningKey::generate().unwrap();
    elsewhere.enrol(&token, "a-1", &key).await.is(201);
    let listed = root.get("/v1/hosts/tokens").await.is(200);
    let e1 = &listed[0];
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(
        (
            &e1["id"],
            &e1["uses"],
            &e1["uses_left"],
            &e1["labels"]["image"]
        ),
        (&json!("e1"), &json!(3), &json!(2), &json!("golden"))
    );
    let last_use = &e1["last_use"];
    assert_eq!(
        (&last_use["host"], &last_use["from"]),
        (&json!("a-1"), &json!("127.0.0.1"))
    );
    let secret = token.split('.').nth(1).unwrap();
    assert!(!listed.to_string().contains(secret));

    root.delete("/v1/hosts/tokens/e1").await.is(200);
    for (name, key) in [("a-2", SigningKey::generate().unwrap()), ("a-1", key)] {
        let refused = elsewhere.enrol(&token, name, &key).await;
        let why = refused.body["detail"].as_str().unwrap().to_owned();
        refused.refuses(403, "enrolment-refused");
        assert!(why.contains("e1 was revoked"), "{why}");
    }
    let told = recorded(&root, &["token_revoked", "enrolment_refused"]).await;
    assert_eq!(told, [1, 2]);
    assert_eq!(root.get("/v1/hosts/tokens").await.is(200), json!([]));
    for id in ["e1", "e2"] {
        let path = format!("/v1/hosts/tokens/{id}");
        root.delete(&path).await.refuses(404, "no-token");
    }
    running.stop().await;
    let running = Running::start(folder.path()).await;
    let elsewhere = running.listen_elsewhere().await;
    let key = SigningKey::generate().unwrap();
    elsewhere
        .enrol(&token, "a-2", &key)
        .await
        .refuses(403, "enrolment-refused");
    running.server.tick().await.unwrap();
    let expired = recorded(&running.as_("root"), &["token_expired"]).await;
    assert_eq!(expired, [0]);
}

#[tokio::test]
async fn who_removes_a_host_is_told_of_its_token_where_that_lets_in_more() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let root = running.as_("root");
    let new = || SigningKey::generate().unwrap();
    let two = token(&root, json!({ "uses": 2, "for_seconds": 60 })).await;
    elsewhere.enrol(&two, "a-1", &new()).await.is(201);
    let removed = root.delete("/v1/hosts/a-1").await.is(200);
    assert_eq!(
        (&removed["token"]["id"], &removed["token"]["uses_left"]),
        (&json!("e1"), &json!(1))
    );
    elsewhere.enrol(&two, "a-1", &new()).await.is(201);
    let removed = root.delete("/v1/hosts/a-1").await.is(200);
    assert_eq!(removed["token"], Value::Null, "it has none left");
    let removed = root.delete("/v1/hosts/web-1").await.is(200);
    assert_eq!(removed["token"], Value::Null, "it came without one");
}
