//! The calls of hosts as version 1 makes them, and what it needs of the answers: hosts of two versions before the server's work with it.
//! What differs from host to host stands in `<…>` there.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;
#[path = "../../jit_grant/tests/golden/mod.rs"]
mod golden;

use std::path::Path;

use common::{Host, Person, Running, chain, checkpoint};
use jit_grant::{EnrolmentToken, Possession, SigningKey};
use serde_json::{Value, json};

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/v1")
        .join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A request with `<NAME>` filled in.
fn filled(name: &str, with: &[(&str, &str)]) -> Value {
    let mut text = golden(name).to_string();
    for (name, value) in with {
        let value = Value::from(*value).to_string();
        text = text.replace(&format!("\"<{name}>\""), &value);
    }
    assert!(!text.contains("\"<"), "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn golden_calls_of_hosts_are_answered_with_all_that_they_need() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let root = running.as_("root");
    let made = root
        .post(
            "/v1/hosts/tokens",
            json!({ "labels": {}, "uses": 1, "for_seconds": 600 }),
        )
        .await
        .is(201);
    let token: EnrolmentToken = made["token"].as_str().unwrap().parse().unwrap();
    let key = SigningKey::generate().unwrap();
    let possession = Possession {
        name: "web-9".parse().unwrap(),
        secret: token.secret.hash(),
    };
    let secret = serde_json::to_value(&token.secret).unwrap();
    let enrol = filled(
        "enrol.request.json",
        &[
            ("secret", secret.as_str().unwrap()),
            ("public_key", &key.public().to_string()),
            ("proof", &possession.sign(&key).unwrap()),
        ],
    );
    let stranger: Person = running.as_("mallory");
    let enrolled = stranger.post("/v1/enrol", enrol).await.is(201);
    golden::covers("enrol", &golden("enrol.answer.json"), &enrolled);

    let server_key = enrolled["server_keys"][0]["public_key"].as_str().unwrap();
    let host = Host {
        id: enrolled["host_id"].as_str().unwrap().parse().unwrap(),
        key,
        trusted: jit_grant::TrustedKeys::new(vec![server_key.parse().unwrap()]),
        door: stranger,
    };
    let word = host
        .post(
            &running.server,
            "/v1/host/word",
            golden("word.request.json"),
        )
        .await
        .is(200);
    golden::covers("word", &golden("word.answer.json"), &word);

    let lines = chain(3);
    let events = |line: usize| {
        let signed = checkpoint(&host, &lines[..=line]);
        filled(
            "events.request.json",
            &[("line", &lines[line]), ("checkpoint", &signed)],
        )
    };
    let path = "/v1/host/events";
    let stored = host.post(&running.server, path, events(0)).await.is(200);
    assert_eq!(stored, golden("events.answer.json"));
    let refused = host.post(&running.server, path, events(2)).await.is(409);
    golden::covers("events refused", &golden("events.refused.json"), &refused);
    assert_eq!(refused["seq"], 1);

    let mut stream = host.listen(&running.server, 0).await;
    let bundle = stream.next().await;
    assert_eq!(bundle.name, "bundle");
    host.verified(&running.server, &bundle);
}
