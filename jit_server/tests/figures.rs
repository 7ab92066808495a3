//! What is told to those who watch the server.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::time::Duration;

use common::{Person, Running};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Bytes;
use serde_json::json;

/// The figures, as `person` is given them, by name.
async fn figures(person: &Person) -> Vec<(String, String)> {
    // Prometheus sends no header of ours.
    let none = [("jit-client", ""), ("content-type", "")];
    let answer = person
        .send(Method::GET, "/metrics", &none, Bytes::new())
        .await;
    assert_eq!(answer.status(), 200);
    let content = answer.headers()["content-type"].to_str().unwrap();
    assert!(content.starts_with("application/openmetrics-text;"));
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&text).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn of<'f>(figures: &'f [(String, String)], name: &str) -> Option<&'f str> {
    let found = figures.iter().find(|(found, _)| found == name);
    found.map(|(_, value)| value.as_str())
}

#[tokio::test]
async fn the_figures_follow_what_happens_and_count_calls_by_route_and_not_by_path() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let _stream = host.listen(&running.server, 0).await;
    let (alice, root) = (running.as_("alice"), running.as_("root"));
    let asked = alice.asks(600).await;
    let before = figures(&alice).await;
    for (name, value) in [
        ("jit_server_requests_pending", "1"),
        ("jit_server_grants_live", "0"),
        ("jit_server_hosts_enrolled", "1"),
        ("jit_server_users_locked", "0"),
    ] {
        assert_eq!(of(&before, name), Some(value), "{name}");
    }
    running.as_("bob").approves(&asked).await;
    let lock = json!({ "reason": "gone" });
    root.post("/v1/users/carol/lock", lock).await.is(200);
    for path in ["/v1/requests/r7", "/v1/requests/r8", "/v1/none", "/none"] {
        root.get(path).await.is(404);
    }
    let after = figures(&root).await;
    for (name, value) in [
        ("jit_server_requests_pending", "0"),
        ("jit_server_grants_live", "1"),
        ("jit_server_users_locked", "1"),
        (
            r#"jit_server_calls_total{method="GET",route="/v1/requests/{id}",status="404"}"#,
            "2",
        ),
        (
            r#"jit_server_calls_total{method="GET",route="none",status="404"}"#,
            "2",
        ),
    ] {
        assert_eq!(of(&after, name), Some(value), "{name} in {after:?}");
    }
    // Nobody is named in them.
    for (name, _) in after {
        assert!(!name.contains("alice") && !name.contains("web-1"), "{name}");
    }
}

#[tokio::test]
async fn a_stranger_is_told_no_figures() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    running
        .as_("mallory")
        .get("/metrics")
        .await
        .refuses(403, "no-user");
}

#[tokio::test]
async fn a_server_that_can_not_read_its_record_lives_and_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let root = running.as_("root");
    root.get("/readyz").await.is(200);
    running.close_store().await;
    // What the last look came to is told for a second.
    let looked_again = async { while root.get("/readyz").await.status == 200 {} };
    let soon = Duration::from_secs(10);
    tokio::time::timeout(soon, looked_again).await.unwrap();
    root.get("/readyz").await.is(503);
    root.get("/healthz").await.is(200);
}
