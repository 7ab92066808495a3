//! Rotation of the signing key, as hosts see it.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Host, Person, Running, SseEvent, Stream};
use hyper::Method;
use jit_grant::{NextKey, PublicKey, SigningKey, TrustedKeys};
use serde_json::json;

async fn rotate(root: &Person) -> PublicKey {
    let rotated = root.post("/v1/key/rotate", json!({})).await.is(200);
    rotated["public_key"].as_str().unwrap().parse().unwrap()
}

/// Walks what came as jitd does, and believes the newest key alone.
fn follow(host: &mut Host, event: &SseEvent) {
    assert_eq!(event.name, "keys");
    let chain: Vec<String> = event.data.lines().map(str::to_owned).collect();
    let newest = NextKey::newest(&chain, host.trusted.newest().unwrap()).unwrap();
    host.trusted = TrustedKeys::new(vec![newest]);
}

#[tokio::test]
async fn a_host_that_listens_is_led_to_the_next_key_before_anything_is_signed_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut host = running.populate().await;
    let held = running.server.revision(&host.id);
    let mut stream = host.listen(&running.server, held).await;
    let next = rotate(&running.as_("root")).await;
    follow(&mut host, &stream.next().await);
    assert_eq!(host.trusted.newest(), Some(next));
    let bundle = host.verified(&running.server, &stream.next().await);
    assert!(bundle.revision > held, "told anew, by the key of now");
}

#[tokio::test]
async fn a_host_that_slept_through_two_rotations_and_a_restart_walks_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut host = running.populate().await;
    let held = running.server.revision(&host.id);
    rotate(&running.as_("root")).await;
    let next = rotate(&running.as_("root")).await;
    running.stop().await;
    let running = Running::start(folder.path()).await;
    let mut stream = host.listen(&running.server, held).await;
    follow(&mut host, &stream.next().await);
    assert_eq!(host.trusted.newest(), Some(next));
    host.verified(&running.server, &stream.next().await);
}

#[tokio::test]
async fn a_host_that_asks_for_bundles_one_by_one_is_led_to_the_next_key_before_each() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut host = running.populate().await;
    let held = running.server.revision(&host.id);
    let next = rotate(&running.as_("root")).await;
    let mut answer = Stream::of(host.asks_for_newer(&running.server, held, 0).await);
    follow(&mut host, &answer.next().await);
    assert_eq!(host.trusted.newest(), Some(next));
    let bundle = host.verified(&running.server, &answer.next().await);
    assert!(answer.next_or_end().await.is_none());
    let nothing = host.asks_for_newer(&running.server, bundle.revision, 0);
    assert_eq!(nothing.await.status(), 204, "not even keys");
}

#[tokio::test]
async fn a_rotation_that_stopped_in_its_midst_is_ended_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut host = running.populate().await;
    let key = folder.path().join("signing.key");
    let before = std::fs::read(&key).unwrap();
    let next = rotate(&running.as_("root")).await;
    let held = running.server.revision(&host.id);
    running.stop().await;
    // As where the power went after the record had it.
    std::fs::copy(&key, folder.path().join("signing.key.next")).unwrap();
    std::fs::write(&key, before).unwrap();
    let running = Running::start(folder.path()).await;
    let mut stream = host.listen(&running.server, held).await;
    follow(&mut host, &stream.next().await);
    assert_eq!(host.trusted.newest(), Some(next));
    let bundle = host.verified(&running.server, &stream.next().await);
    assert!(bundle.revision > held, "hosts are told once more");
}

#[tokio::test]
async fn a_token_made_before_a_rotation_still_works_and_names_a_key_that_leads_on() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let root = running.as_("root");
    let elsewhere = running.listen_elsewhere().await;
    let made = root
        .post("/v1/hosts/tokens", json!({ "uses": 1, "for_seconds": 600 }))
        .await
        .is(201);
    let token = made["token"].as_str().unwrap();
    let named: jit_grant::EnrolmentToken = token.parse().unwrap();
    rotate(&root).await;
    let next = rotate(&root).await;
    let key = SigningKey::generate().unwrap();
    let enrolled = elsewhere.enrol(token, "web-9", &key).await.is(201);
    let keys = enrolled["server_keys"].as_array().unwrap();
    assert_eq!(keys[0]["public_key"], next.to_string());
    let named_is_offered =
        |key: &serde_json::Value| key["public_key"] == named.server_key.to_string();
    assert!(keys.iter().any(named_is_offered));
    let mut host = Host {
        id: enrolled["host_id"].as_str().unwrap().parse().unwrap(),
        key,
        trusted: TrustedKeys::new(vec![named.server_key]),
        door: running.as_("mallory"),
    };
    let mut stream = host.listen(&running.server, 0).await;
    follow(&mut host, &stream.next().await);
    host.verified(&running.server, &stream.next().await);
}

#[tokio::test]
async fn only_the_administrator_rotates_and_it_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let by_alice = running.as_("alice").post("/v1/key/rotate", json!({})).await;
    assert_eq!(by_alice.status, 403);
    let elsewhere = running.listen_elsewhere().await;
    let from_afar = elsewhere
        .send(Method::POST, "/v1/key/rotate", &[], json!({}))
        .await;
    assert!(from_afar.status().is_client_error());
    let root = running.as_("root");
    let next = rotate(&root).await;
    let record = root.get("/v1/audit").await.is(200).to_string();
    assert!(
        record.contains("key_rotated") && record.contains(&next.kid()),
        "{record}"
    );
}

#[tokio::test]
async fn the_chain_that_is_handed_out_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    for _ in 0..NextKey::MOST + 2 {
        running.server.rotate_key().await.unwrap();
    }
    let mut stream = host.listen(&running.server, 0).await;
    let event = stream.next().await;
    let chain: Vec<String> = event.data.lines().map(str::to_owned).collect();
    assert_eq!(chain.len(), NextKey::MOST);
    assert!(NextKey::newest(&chain, host.trusted.newest().unwrap()).is_err());
}
