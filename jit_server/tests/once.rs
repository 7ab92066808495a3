//! A call that is sent again is done once.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;
#[path = "common/postgres.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "other tests use the rest"
)]
mod postgres;

use std::path::Path;

use common::{Answer, PEOPLE, Person, Running, id, read};
use futures_util::future::join_all;
use hyper::Method;
use hyper::body::Bytes;
use jit_server::store::PostgresStore;
use postgres::Postgres;
use serde_json::{Value, json};

fn ask(reason: &str) -> Value {
    json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 600, "reason": reason })
}

async fn keyed(person: &Person, key: &str, path: &str, body: &Value) -> Answer {
    let headers = [("idempotency-key", key)];
    let body = Bytes::from(body.to_string());
    read(person.send(Method::POST, path, &headers, body).await).await
}

async fn asked(running: &Running) -> usize {
    let all = running.as_("root").get("/v1/requests").await.is(200);
    all.as_array().unwrap().len()
}

async fn populated(folder: &Path) -> Running {
    let running = Running::start(folder).await;
    running.populate().await;
    running
}

#[tokio::test]
async fn who_repeats_a_call_gets_its_answer_and_nothing_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let running = populated(folder.path()).await;
    let (alice, bob) = (running.as_("alice"), running.as_("bob"));
    let body = ask("disk full");
    let first = keyed(&alice, "k1", "/v1/requests", &body).await.is(201);
    // Quotes around a key are none of it.
    for key in ["k1", "\"k1\""] {
        let again = keyed(&alice, key, "/v1/requests", &body).await.is(201);
        assert_eq!(again, first);
    }
    assert_eq!(asked(&running).await, 1);
    let approve = format!("/v1/requests/{}/approve", id(&first));
    let approved = keyed(&bob, "k1", &approve, &json!({})).await.is(200);
    assert_eq!(approved["state"], "approved");
    // Without a key the second is refused, since the first was done.
    bob.post(&approve, json!({})).await.is(409);
    assert_eq!(
        keyed(&bob, "k1", &approve, &json!({})).await.is(200),
        approved
    );
    // After that the first call is still what it was.
    assert_eq!(
        keyed(&alice, "k1", "/v1/requests", &body).await.is(201),
        first
    );
    // After a restart, too.
    running.stop().await;
    let running = Running::start(folder.path()).await;
    let alice = running.as_("alice");
    assert_eq!(
        keyed(&alice, "k1", "/v1/requests", &body).await.is(201),
        first
    );
    assert_eq!(asked(&running).await, 1);
}

#[tokio::test]
async fn a_key_is_one_caller_s_and_one_call_s() {
    let folder = tempfile::tempdir().unwrap();
    let running = populated(folder.path()).await;
    let (alice, carol) = (running.as_("alice"), running.as_("carol"));
    let first = keyed(&alice, "k1", "/v1/requests", &ask("disk full")).await;
    let first = id(&first.is(201));
    let another = keyed(&alice, "k1", "/v1/requests", &ask("disk empty")).await;
    another.refuses(422, "key-of-another-call");
    let elsewhere = format!("/v1/requests/{first}/withdraw");
    let another = keyed(&alice, "k1", &elsewhere, &json!({})).await;
    another.refuses(422, "key-of-another-call");
    let others = keyed(&carol, "k1", "/v1/requests", &ask("disk full")).await;
    assert_ne!(id(&others.is(201)), first);
    assert_eq!(asked(&running).await, 2);
    for wrong in ["a b", "\"", "\u{e9}", &"x".repeat(65)] {
        let refused = keyed(&alice, wrong, "/v1/requests", &ask("disk full")).await;
        refused.refuses(400, "bad-idempotency-key");
    }
    let headers = [("idempotency-key", "k2"), ("idempotency-key", "k3")];
    let body = Bytes::from(ask("disk full").to_string());
    let twice = alice.send(Method::POST, "/v1/requests", &headers, body);
    read(twice.await).await.refuses(400, "bad-idempotency-key");
    // Nobody learns from a key who called what: a stranger is refused as without one.
    let stranger = keyed(
        &running.as_("mallory"),
        "k1",
        "/v1/requests",
        &ask("disk full"),
    )
    .await;
    stranger.refuses(403, "no-user");
}

#[tokio::test]
async fn what_was_refused_is_not_remembered_and_is_done_when_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let running = populated(folder.path()).await;
    let root = running.as_("root");
    let lock = json!({ "reason": "on leave" });
    root.post("/v1/users/alice/lock", lock).await.is(200);
    let alice = running.as_("alice");
    let body = ask("disk full");
    keyed(&alice, "k1", "/v1/requests", &body).await.is(403);
    root.post("/v1/users/alice/unlock", json!({})).await.is(200);
    keyed(&alice, "k1", "/v1/requests", &body).await.is(201);
}

#[tokio::test]
async fn twenty_at_once_make_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let running = populated(folder.path()).await;
    let (alice, body) = (running.as_("alice"), ask("disk full"));
    let calls = (0..20).map(|_| keyed(&alice, "k1", "/v1/requests", &body));
    let answers = join_all(calls).await;
    let (done, under_way): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 201);
    assert!(!done.is_empty());
    assert!(done.iter().all(|answer| answer.body == done[0].body));
    for answer in under_way {
        answer.refuses(409, "call-under-way");
    }
    assert_eq!(asked(&running).await, 1);
    let again = keyed(&alice, "k1", "/v1/requests", &body).await;
    assert_eq!(again.is(201), done[0].body);
}

#[tokio::test]
async fn an_answer_with_a_secret_is_given_once_and_who_repeats_is_told_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let running = populated(folder.path()).await;
    let root = running.as_("root");
    let lasts = json!({ "for_seconds": 600 });
    let made = keyed(&root, "k1", "/v1/users/alice/tokens", &lasts).await;
    let token = made.is(201)["token"].as_str().unwrap().to_owned();
    let again = keyed(&root, "k1", "/v1/users/alice/tokens", &lasts).await;
    assert!(again.body["event"].as_u64().unwrap() > 0);
    again.refuses(409, "done-before");
    let listed = root.get("/v1/users/alice/tokens").await.is(200);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let enrolment = json!({ "uses": 1, "for_seconds": 60 });
    keyed(&root, "k2", "/v1/hosts/tokens", &enrolment)
        .await
        .is(201);
    let again = keyed(&root, "k2", "/v1/hosts/tokens", &enrolment).await;
    again.refuses(409, "done-before");
    // It is nowhere in the database.
    running.stop().await;
    let secret = token.trim_start_matches("jit-user.").as_bytes();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() {
            let kept = std::fs::read(&file).unwrap();
            let found = kept.windows(secret.len()).any(|part| part == secret);
            assert!(!found, "{}", file.display());
        }
    }
}

#[tokio::test]
async fn whoever_has_a_name_later_gets_no_answer_to_a_call_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let running = populated(folder.path()).await;
    let (root, alice) = (running.as_("root"), running.as_("alice"));
    let body = ask("disk full");
    let first = id(&keyed(&alice, "k1", "/v1/requests", &body).await.is(201));
    root.delete("/v1/users/alice").await.is(200);
    let user = json!({ "name": "alice", "login": "alice", "groups": ["developers"] });
    root.post("/v1/users", user).await.is(201);
    let other = id(&keyed(&alice, "k1", "/v1/requests", &body).await.is(201));
    assert_ne!(other, first);
}

#[tokio::test]
async fn a_call_that_is_repeated_at_another_server_is_not_done_again_and_has_the_same_answer() {
    let folder = tempfile::tempdir().unwrap();
    let address = Postgres::shared().database();
    let start = async |folder: &Path| {
        std::fs::create_dir_all(folder).unwrap();
        let store = PostgresStore::open(&address.parse().unwrap()).await;
        Running::start_on(folder, Box::new(store.unwrap()), &PEOPLE).await
    };
    let one = start(&folder.path().join("one")).await;
    one.populate().await;
    let next = folder.path().join("other");
    std::fs::create_dir_all(next.join("mark")).unwrap();
    for file in ["signing.key", "mark/recorded"] {
        std::fs::copy(one.folder.join(file), next.join(file)).unwrap();
    }
    let other = start(&next).await;
    let body = ask("disk full");
    let first = keyed(&one.as_("alice"), "k1", "/v1/requests", &body).await;
    let first = first.is(201);
    let again = keyed(&other.as_("alice"), "k1", "/v1/requests", &body).await;
    assert_eq!(again.is(201), first);
    let another = keyed(
        &other.as_("alice"),
        "k1",
        "/v1/requests",
        &ask("disk empty"),
    )
    .await;
    another.refuses(422, "key-of-another-call");
    // At both at the same moment: one of them does it, and the other knows.
    let mut open = id(&first);
    for number in 0..10 {
        let withdraw = format!("/v1/requests/{open}/withdraw");
        one.as_("alice").post(&withdraw, json!({})).await.is(200);
        let (key, body) = (format!("both{number}"), ask(&format!("disk {number} full")));
        let calls = [&one, &other].map(|server| {
            let (alice, key, body) = (server.as_("alice"), &key, &body);
            async move { keyed(&alice, key, "/v1/requests", body).await }
        });
        let answers = join_all(calls).await;
        let done: Vec<_> = answers.iter().filter(|one| one.status == 201).collect();
        assert!(!done.is_empty(), "{answers:?}");
        open = id(&done[0].body);
        assert!(done.iter().all(|answer| answer.body["id"] == open.as_str()));
        for answer in answers.iter().filter(|one| one.status != 201) {
            assert_eq!(answer.body["code"], "done-before", "{answer:?}");
        }
    }
    assert_eq!(asked(&one).await, 11);
}

#[tokio::test]
async fn a_key_makes_nobody_s_body_longer_than_it_may_be_but_the_administrator_s() {
    let folder = tempfile::tempdir().unwrap();
    let running = populated(folder.path()).await;
    let users = "# nothing\n".repeat(10_000);
    let files = json!({ "policy": null, "users": users, "hosts": null, "dry_run": true });
    let alice = keyed(&running.as_("alice"), "k1", "/v1/apply", &files).await;
    assert_eq!(alice.status, 413);
    keyed(&running.as_("root"), "k1", "/v1/apply", &files)
        .await
        .is(200);
}
