//! Calls that wait.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::time::Duration;

use common::{Running, read};
use hyper::Method;
use serde_json::json;

#[tokio::test]
async fn a_call_that_waits_is_told_nothing_more_once_its_token_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let elsewhere = running.listen_elsewhere().await;
    let root = running.as_("root");
    let request = running.as_("alice").asks(600).await;
    let name = "alice".parse().unwrap();
    for (number, asks_for_record) in [(1, false), (2, true)] {
        let made = root.post("/v1/users/alice/tokens", json!({ "for_seconds": 600 }));
        let made = made.await.is(201);
        let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
        let record = root.get("/v1/audit").await.is(200);
        let last = &record["events"].as_array().unwrap().last().unwrap()["seq"];
        let path = if asks_for_record {
            format!("/v1/audit?after={last}&wait_seconds=60")
        } else {
            format!("/v1/requests/{request}?while=pending&wait_seconds=60")
        };
        let taken = async {
            while running.server.user_tokens(&name).unwrap()[0].1.is_none() {
                tokio::task::yield_now().await;
            }
            let token = format!("/v1/users/alice/tokens/u{number}");
            root.delete(&token).await.is(200);
        };
        let shown = [("authorization", bearer.as_str())];
        let asking = async {
            let sent = elsewhere.send(Method::GET, &path, &shown, json!({}));
            read(sent.await).await
        };
        let both = async { tokio::join!(asking, taken).0 };
        let told = tokio::time::timeout(Duration::from_secs(10), both).await;
        told.unwrap().refuses(401, "bad-token");
    }
    let record = root.get("/v1/audit").await.is(200);
    let events = record["events"].as_array().unwrap().iter();
    let refused = events.filter(|event| event["kind"] == "call_refused");
    assert_eq!(refused.count(), 2, "neither came after its token's end");
}
