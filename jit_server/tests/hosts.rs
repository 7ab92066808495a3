//! What hosts call.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::time::Duration;

use common::{Host, Running, Stream, read};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Bytes;
use jit_grant::{HostToken, Nonce, SigningKey, Word};
use serde_json::{Value, json};

#[tokio::test]
async fn a_host_that_is_up_to_date_hears_nothing_until_something_changes() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let held = running.server.revision(&host.id);
    let mut stream = host.listen(&running.server, held).await;
    let request = running.as_("alice").asks(60).await;
    running.as_("bob").approves(&request).await;
    let bundle = host.verified(&running.server, &stream.next().await);
    assert!(bundle.revision > held);
    assert_eq!(bundle.grants.len(), 1);
}

#[tokio::test]
async fn revisions_rise_across_a_restart_and_past_what_a_host_holds() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let first = running.server.revision(&host.id);
    running.stop().await;
    let running = Running::start(folder.path()).await;
    assert_eq!(running.server.revision(&host.id), first);
    let mut stream = host.listen(&running.server, first + 1).await;
    assert!(
        host.verified(&running.server, &stream.next().await)
            .revision
            > first + 1,
        "as after a restored backup"
    );
}

#[tokio::test]
async fn a_stream_says_at_once_that_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let held = running.server.revision(&host.id);
    let authorization = host.authorization(&running.server);
    let held = held.to_string();
    let headers = [
        ("authorization", authorization.as_str()),
        ("last-event-id", held.as_str()),
    ];
    let path = "/v1/host/stream";
    let answer = host.door.send(Method::GET, path, &headers, Bytes::new());
    let mut body = answer.await.into_body();
    // The next sign of life comes after 15 s.
    let first = tokio::time::timeout(Duration::from_secs(10), body.frame());
    let first = first.await.unwrap().unwrap().unwrap();
    assert!(first.data_ref().unwrap().starts_with(b":"));
}

#[tokio::test]
async fn asked_for_one_bundle_the_server_answers_as_soon_as_there_is_a_newer_one() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let mut answer = Stream::of(host.asks_for_newer(&running.server, 0, 0).await);
    let first = host.verified(&running.server, &answer.next().await);
    assert!(
        answer.next_or_end().await.is_none(),
        "whole after one bundle"
    );
    let request = running.as_("alice").asks(60).await;
    let bob = running.as_("bob");
    let (waited, _) = tokio::join!(
        host.asks_for_newer(&running.server, first.revision, 25),
        async {
            let root = running.as_("root");
            // Not before it waits.
            while root.get("/v1/hosts").await.is(200)[0]["connected"] == false {}
            bob.approves(&request).await
        }
    );
    let newer = host.verified(&running.server, &Stream::of(waited).next().await);
    assert!(newer.revision > first.revision && newer.grants.len() == 1);
}

#[tokio::test]
async fn asked_for_one_bundle_the_server_waits_no_longer_than_it_is_to() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let held = running.server.revision(&host.id);
    let began = tokio::time::Instant::now();
    let answer = host.asks_for_newer(&running.server, held, 1).await;
    assert_eq!(answer.status(), 204);
    assert!(began.elapsed() >= Duration::from_secs(1));
    running
        .as_("root")
        .get("/v1/host/bundle")
        .await
        .refuses(401, "no-token");
    let headers = [("authorization", &*host.authorization(&running.server))];
    for wrong in ["after=x", "wait=-1", "before=1"] {
        let path = format!("/v1/host/bundle?{wrong}");
        let answer = host.door.send(Method::GET, &path, &headers, Bytes::new());
        assert_eq!(answer.await.status(), 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_removed_host_that_asks_for_bundles_one_by_one_is_told_that_nothing_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let held = running.server.revision(&host.id);
    let root = running.as_("root");
    let (waited, _) = tokio::join!(host.asks_for_newer(&running.server, held, 25), async {
        while root.get("/v1/hosts").await.is(200)[0]["connected"] == false {}
        let remove = root.send(Method::DELETE, "/v1/hosts/web-1", &[], Bytes::new());
        read(remove.await).await.is(200)
    });
    let last = host.verified(&running.server, &Stream::of(waited).next().await);
    assert!(last.revision > held && last.grants.is_empty());
    let again = host.asks_for_newer(&running.server, last.revision, 25);
    read(again.await).await.refuses(401, "unknown-host");
}

#[tokio::test]
async fn only_a_token_signed_by_the_host_speaks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let now = running.server.now();
    let forged = HostToken::sign(&host.id, &SigningKey::generate().unwrap(), now).unwrap();
    let old = HostToken::sign(
        &host.id,
        &host.key,
        now - jiff::SignedDuration::from_secs(301),
    )
    .unwrap();
    for token in [forged, old, "rubbish".to_owned()] {
        let headers = [("authorization", &*format!("Bearer {token}"))];
        let response = host
            .door
            .send(Method::GET, "/v1/host/stream", &headers, Bytes::new())
            .await;
        read(response).await.refuses(401, "bad-token");
    }
    running
        .as_("root")
        .get("/v1/host/stream")
        .await
        .refuses(401, "no-token");
}

#[tokio::test]
async fn t25_a_host_whose_time_is_behind_is_told_the_servers_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let now = running.server.now();
    let behind = now - jiff::SignedDuration::from_hours(24);
    let token = |key: &SigningKey| HostToken::sign(&host.id, key, behind).unwrap();
    let nonce = Nonce::generate().unwrap();
    let send = async |method, path: &str, token: String, body: Value| {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", &*bearer),
            ("content-type", "application/json"),
        ];
        let body = Bytes::from(body.to_string());
        read(host.door.send(method, path, &headers, body).await).await
    };
    let question = json!({ "nonce": nonce.as_str() });
    let answer = send(
        Method::POST,
        "/v1/host/word",
        token(&host.key),
        question.clone(),
    )
    .await
    .is(200);
    let word = answer["word"].as_str().unwrap().as_bytes();
    let word = Word::verify(word, &host.trusted, &host.id).unwrap();
    assert!(word.at >= now && word.nonce == nonce);
    let forged = token(&SigningKey::generate().unwrap());
    send(Method::POST, "/v1/host/word", forged, question)
        .await
        .refuses(401, "bad-token");
    let lines = json!({ "lines": [], "checkpoint": "" });
    send(Method::POST, "/v1/host/events", token(&host.key), lines)
        .await
        .refuses(401, "bad-token");
    let listed = running.as_("root").get("/v1/hosts").await.is(200);
    assert_eq!(
        listed[0]["last_seen"],
        Value::Null,
        "an old token shows nobody"
    );
}

#[tokio::test]
async fn enrolling_again_keeps_the_identity_and_another_key_makes_another_host() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let mut stream = host.listen(&running.server, 0).await;
    stream.next().await;
    let root = running.as_("root");
    let again = json!({ "name": "web-1", "public_key": host.key.public().to_string() });
    assert_eq!(
        root.post("/v1/hosts", again).await.is(201)["host_id"],
        host.id.as_str()
    );
    let cloned = json!({ "name": "web-7", "public_key": host.key.public().to_string() });
    root.post("/v1/hosts", cloned)
        .await
        .refuses(409, "key-of-other-host");

    let replaced = Host::enrol(&root, "web-1").await;
    assert_ne!(replaced.id, host.id);
    let last = host.verified(&running.server, &stream.next().await);
    assert!(last.grants.is_empty());
    assert!(
        stream.next_or_end().await.is_none(),
        "the old host's stream ends"
    );
    host.post(
        &running.server,
        "/v1/host/word",
        json!({ "nonce": "A".repeat(32) }),
    )
    .await
    .refuses(401, "unknown-host");
}

#[tokio::test]
async fn the_list_of_hosts_says_who_listens() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let listed = running.as_("root").get("/v1/hosts").await.is(200);
    assert_eq!(
        (&listed[0]["connected"], &listed[0]["last_seen"]),
        (&json!(false), &Value::Null)
    );
    let mut stream = host.listen(&running.server, 0).await;
    stream.next().await;
    let listed = running.as_("root").get("/v1/hosts").await.is(200);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["connected"]),
        (&json!("web-1"), &json!(true))
    );
    assert!(listed[0]["last_seen"].is_string());
}
