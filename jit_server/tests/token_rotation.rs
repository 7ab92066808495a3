//! Rotation of users' tokens, as root and whoever holds one see it.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Answer, Elsewhere, Person, Running, read};
use hyper::Method;
use serde_json::{Value, json};

async fn made(root: &Person) -> Answer {
    let wanted = json!({ "for_seconds": 86_400, "renewable_for_seconds": 864_000 });
    root.post("/v1/users/alice/tokens", wanted).await
}

async fn rotated(root: &Person, id: &str) -> Answer {
    let path = format!("/v1/users/alice/tokens/{id}/rotate");
    root.post(&path, json!({})).await
}

/// Calls as whoever holds the token that was `made`.
async fn call(elsewhere: &Elsewhere, made: &Value, method: Method, path: &str) -> Answer {
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    read(elsewhere.send(method, path, &headers, json!({})).await).await
}

async fn rotated_by_holder(elsewhere: &Elsewhere, made: &Value) -> Answer {
    call(elsewhere, made, Method::POST, "/v1/token/rotate").await
}

#[tokio::test]
async fn tokens_whose_place_others_took_leave_room_for_those_of_their_user() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    for number in 1..=5 {
        assert_eq!(made(&root).await.is(201)["id"], format!("u{number}"));
    }
    for number in 1..=5 {
        rotated(&root, &format!("u{number}")).await.is(201);
    }
    for _ in 6..=8 {
        made(&root).await.is(201);
    }
    made(&root).await.refuses(429, "too-many-tokens");
    // A chain that is full, each of which counts for an hour, is full by itself.
    let mut last = "u11".to_owned();
    for _ in 2..16 {
        last = common::id(&rotated(&root, &last).await.is(201));
    }
    let end = common::id(&rotated(&root, &last).await.is(201));
    rotated(&root, &end).await.refuses(429, "too-many-tokens");
    // Its newest one, which nobody has seen, makes way for another.
    rotated(&root, &last).await.is(201);
    rotated(&root, "u7").await.is(201);
}

#[tokio::test]
async fn a_token_that_is_over_is_revoked_with_all_that_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    let elsewhere = running.listen_elsewhere().await;
    let mine = made(&root).await.is(201);
    let other = made(&root).await.is(201);
    // A thief rotates at once, and what he has got as well.
    let his = rotated_by_holder(&elsewhere, &mine).await.is(201);
    let path = "/v1/whoami";
    call(&elsewhere, &his, Method::GET, path).await.is(200);
    let hidden = rotated_by_holder(&elsewhere, &his).await.is(201);
    call(&elsewhere, &hidden, Method::GET, path).await.is(200);
    let refused = rotated_by_holder(&elsewhere, &mine).await;
    let detail = refused.body["detail"].as_str().unwrap().to_owned();
    refused.refuses(409, "rotated-already");
    assert!(detail.contains("--revoke u1`"), "{detail}");
    let listed = root.get("/v1/users/alice/tokens").await.is(200);
    let of = |number: usize, key: &str| listed[number][key].clone();
    assert_eq!(
        (of(0, "replaces"), of(2, "replaces")),
        (json!(null), json!("u1"))
    );
    assert!(of(0, "renewable_until").is_null() && of(3, "renewable_until").is_string());
    root.delete("/v1/users/alice/tokens/u1").await.is(200);
    for token in [&mine, &his, &hidden] {
        let answer = call(&elsewhere, token, Method::GET, path).await;
        answer.refuses(401, "bad-token");
    }
    call(&elsewhere, &other, Method::GET, path).await.is(200);
    // Over already, it leads to what came of it all the same.
    let over = rotated_by_holder(&elsewhere, &other).await.is(201);
    call(&elsewhere, &over, Method::GET, path).await.is(200);
    let zero = json!({ "overlap_seconds": 0 });
    let rotate = format!(
        "/v1/users/alice/tokens/{}/rotate",
        over["id"].as_str().unwrap()
    );
    let last = root.post(&rotate, zero).await.is(201);
    let gone = root
        .delete(&format!(
            "/v1/users/alice/tokens/{}",
            over["id"].as_str().unwrap()
        ))
        .await
        .is(200);
    assert_eq!(gone["successors"], json!([last["id"]]));
    let answer = call(&elsewhere, &last, Method::GET, path).await;
    answer.refuses(401, "bad-token");
}

#[tokio::test]
async fn a_rotation_is_asked_for_again_with_a_key_and_none_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    let elsewhere = running.listen_elsewhere().await;
    let made = made(&root).await.is(201);
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", "one"),
    ];
    for id in ["u2", "u3"] {
        let answer = elsewhere.send(Method::POST, "/v1/token/rotate", &headers, json!({}));
        assert_eq!(read(answer.await).await.is(201)["id"], id);
    }
    let document = root.get("/v1/openapi.json").await.is(200);
    for path in ["/v1/token/rotate", "/v1/users/{name}/tokens/{id}/rotate"] {
        let described = document["paths"][path]["post"].to_string();
        assert!(!described.contains("Idempotency-Key"), "{described}");
    }
}
