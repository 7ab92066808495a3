//! Requests that nobody has to approve, as people meet them.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::Running;
use serde_json::{Value, json};

const POLICY: &str = r#"
[roles.logs]
hosts = ["web-1"]
actions = ["ssh"]
longest = "1h"
extendable = "10m"
may_ask = { groups = ["developers"] }
approve = { auto = true, because = "they can only read logs" }
"#;

async fn start(folder: &std::path::Path) -> Running {
    std::fs::write(folder.join("policy.toml"), POLICY).unwrap();
    Running::start(folder).await
}

async fn recorded(running: &Running) -> Vec<Value> {
    let record = running.as_("root").get("/v1/audit").await.is(200);
    record["events"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_request_that_nobody_has_to_approve_opens_the_host_at_once_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path()).await;
    let host = running.populate().await;
    let mut stream = host.listen(&running.server, 0).await;
    stream.next().await;
    let ask = json!({ "role": "logs", "for_seconds": 600, "reason": "disk full" });
    let asked = running
        .as_("alice")
        .post("/v1/requests", ask.clone())
        .await
        .is(201);
    assert_eq!(
        (&asked["state"], &asked["grants"]),
        (&json!("approved"), &json!(["g1"]))
    );
    assert_eq!(
        asked["at_once"],
        json!({ "rule": "auto", "because": "they can only read logs" })
    );
    let bundle = host.verified(&running.server, &stream.next().await);
    assert_eq!(
        (bundle.grants.len(), bundle.grants[0].approvals.len()),
        (1, 0)
    );
    let events = recorded(&running).await;
    let [.., asked, granted] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&asked["kind"], &asked["actor"]),
        (&json!("requested"), &json!("alice"))
    );
    assert_eq!(
        (&granted["kind"], &granted["actor"]),
        (&json!("granted"), &json!("@server"))
    );
    assert_eq!(
        granted["detail"]["at_once"]["because"],
        "they can only read logs"
    );

    let more = running
        .as_("alice")
        .post("/v1/grants/g1/extend", json!({ "for_seconds": 300 }))
        .await
        .is(200);
    assert_eq!(more["request"], Value::Null, "as nobody approves the role");
    let roles = running.as_("alice").get("/v1/roles").await.is(200);
    assert_eq!(roles[0]["approval"]["count"], 0, "as older clients know it");
    let refused = running.as_("bob").post("/v1/requests", ask).await;
    refused.refuses(403, "may-not-ask");

    // Another start replays the same.
    let before = running.as_("root").get("/v1/grants/g1").await.is(200);
    running.stop().await;
    let running = Running::start(folder.path()).await;
    assert_eq!(
        running.as_("root").get("/v1/grants/g1").await.is(200),
        before
    );
}
