//! Attempts are evidence.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Running, chain, checkpoint, read};
use futures_util::future::join_all;
use hyper::Method;
use hyper::body::Bytes;
use jit_server::event::{Actor, CallRefused};
use serde_json::{Value, json};

async fn on_record(running: &Running) -> Vec<Value> {
    let record = running.as_("root").get("/v1/audit").await.is(200);
    let events = record["events"].as_array().unwrap();
    let refused = events
        .iter()
        .filter(|event| event["kind"] == "call_refused");
    refused.cloned().collect()
}

#[tokio::test]
async fn who_tries_what_is_not_his_is_on_record_with_what_he_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let alice = running.as_("alice");
    let asked = alice.asks(600).await;
    let own = format!("/v1/requests/{asked}/approve");
    alice
        .post(&own, json!({}))
        .await
        .refuses(403, "own-request");
    // To what she may not see she gets the answer that it is not there, and the record what she tried.
    let grant = "/v1/grants/g9/revoke";
    let reason = json!({ "reason": "out of spite" });
    alice.post(grant, reason).await.refuses(404, "no-grant");
    alice
        .post("/v1/users", json!({ "name": "eve" }))
        .await
        .is(403);
    let lock = json!({ "reason": "out of spite" });
    let refused = alice.post("/v1/users/bob/lock", lock).await;
    refused.refuses(403, "may-not-lock");

    let record = on_record(&running).await;
    let tried: Vec<_> = record
        .iter()
        .map(|event| {
            assert_eq!(event["actor"], "alice");
            let detail = &event["detail"];
            assert!(detail["why"].as_str().unwrap().len() > 10);
            assert_eq!(detail.get("from"), None, "at the socket");
            (detail["call"].as_str().unwrap(), detail["code"].as_str())
        })
        .collect();
    assert_eq!(
        tried,
        [
            (&*format!("POST {own}"), Some("own-request")),
            ("POST /v1/grants/g9/revoke", Some("no-grant")),
            ("POST /v1/users", Some("not-administrator")),
            ("POST /v1/users/bob/lock", Some("may-not-lock")),
        ]
    );
    // What was done is no attempt.
    running.as_("bob").approves(&asked).await;
    assert_eq!(on_record(&running).await.len(), 4);
}

#[tokio::test]
async fn from_elsewhere_the_record_has_the_token_and_the_address_too() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let made = running
        .as_("root")
        .post("/v1/users/alice/tokens", json!({ "for_seconds": 600 }))
        .await
        .is(201);
    let elsewhere = running.listen_elsewhere().await;
    let authorization = format!("Bearer {}", made["token"].as_str().unwrap());
    let body = json!({ "reason": "spite" });
    let shown = [("authorization", authorization.as_str())];
    let answer = elsewhere.send(Method::POST, "/v1/users/bob/lock", &shown, body);
    read(answer.await).await.refuses(403, "may-not-lock");
    let record = on_record(&running).await;
    let detail = &record[0]["detail"];
    assert_eq!(detail["from"], "127.0.0.1");
    assert_eq!(detail["token"], made["id"]);
}

#[tokio::test]
async fn a_flood_of_attempts_is_on_record_by_its_number_and_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let (alice, bob) = (running.as_("alice"), running.as_("bob"));
    for number in 1..=50 {
        let path = format!("/v1/requests/r{number}/withdraw");
        alice.post(&path, json!({})).await.is(404);
    }
    assert_eq!(on_record(&running).await.len(), 10);
    let lock = json!({ "reason": "out of spite" });
    alice.post("/v1/users/bob/lock", lock.clone()).await.is(403);
    bob.post("/v1/users/alice/lock", lock).await.is(403);
    assert_eq!(on_record(&running).await.len(), 12);
}

#[tokio::test]
async fn a_flood_at_one_moment_is_no_more_on_record_than_one_after_another() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let refused = CallRefused {
        call: "POST /v1/grants/g9/revoke".to_owned(),
        status: 404,
        code: Some("no-grant".to_owned()),
        why: "there is no grant g9".to_owned(),
        token: None,
        from: None,
        account: None,
        uid: None,
        host: None,
        left_out: 0,
    };
    let alice = Actor::Principal("alice".parse().unwrap());
    let server = &running.server;
    let one = || server.refused(alice.clone(), refused.clone(), Some("no-grant"));
    join_all((0..32).map(|_| one())).await;
    let record = on_record(&running).await;
    assert_eq!(record.len(), 10);
    assert!(
        record
            .iter()
            .all(|event| event["detail"]["left_out"].is_null())
    );
}

#[tokio::test]
async fn an_account_that_is_nobodys_or_several_users_is_on_record_by_its_name_and_uid() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let (root, wanted) = (running.as_("root"), json!({ "reason": "curious" }));
    let mallory = running.as_("mallory");
    mallory.get("/v1/grants").await.refuses(403, "no-user");
    for name in ["dan", "erin"] {
        let same = json!({ "name": name, "login": "mallory" });
        root.post("/v1/users", same).await.is(201);
    }
    let lock = mallory.post("/v1/users/bob/lock", wanted).await;
    lock.refuses(403, "shared-login");
    let record = on_record(&running).await;
    let told: Vec<_> = record
        .iter()
        .map(|event| {
            let detail = &event["detail"];
            assert_eq!(event["actor"], "@server");
            json!([detail["account"], detail["uid"], detail["call"]])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!(["mallory", 1_004, "GET /v1/grants"]),
            json!(["mallory", 1_004, "POST /v1/users/bob/lock"]),
        ]
    );
}

#[tokio::test]
async fn who_was_a_user_once_is_on_record_by_that_name_where_he_still_calls() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let over = json!({ "name": "bob", "login": "bob", "groups": ["leads"], "until": "2020-02-29" });
    running.as_("root").post("/v1/users", over).await.is(201);
    let bob = running.as_("bob").get("/v1/requests").await;
    bob.refuses(403, "user-ended");
    let record = on_record(&running).await;
    assert_eq!(record.len(), 1);
    assert_eq!(record[0]["actor"], "bob");
}

#[tokio::test]
async fn a_hosts_refused_call_is_on_record_with_its_name_and_lines_that_do_not_follow_as_an_alarm()
{
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let server = &running.server;
    let wrong = json!({ "nonce": 7 });
    host.post(server, "/v1/host/word", wrong).await.is(422);
    let lines = chain(3).split_off(1);
    let gap = json!({ "lines": lines, "checkpoint": checkpoint(&host, &lines) });
    let gap = host.post(server, "/v1/host/events", gap).await;
    gap.refuses(409, "chain");
    let record = on_record(&running).await;
    assert_eq!(record.len(), 1, "{record:?}");
    let detail = &record[0]["detail"];
    assert_eq!(
        json!([detail["host"], detail["call"], detail["status"]]),
        json!(["web-1", "POST /v1/host/word", 422])
    );
    assert_eq!(detail["uid"], Value::Null, "the host calls, not its door");
}

#[tokio::test]
async fn accounts_without_a_name_have_one_share_of_the_record_together() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let by = |uid: u32, account: Option<&str>| CallRefused {
        call: "GET /v1/grants".to_owned(),
        status: 403,
        code: Some("no-user".to_owned()),
        why: "no user of jit".to_owned(),
        token: None,
        from: None,
        account: account.map(str::to_owned),
        uid: Some(uid),
        host: None,
        left_out: 0,
    };
    let refuse = |refused| {
        running
            .server
            .refused(Actor::Server, refused, Some("no-user"))
    };
    for uid in 100_000..100_050 {
        refuse(by(uid, None)).await;
    }
    refuse(by(33, Some("www-data"))).await;
    let record = on_record(&running).await;
    assert_eq!(record.len(), 11);
    assert_eq!(record[10]["detail"]["account"], "www-data");
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_as_anything_else_and_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let alice = running.as_("alice");
    let sent = alice.send(Method::GET, "/v1/grants/%FF", &[], Bytes::new());
    let answer = sent.await;
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(read(answer).await.is(400)["status"], 400);
    let record = on_record(&running).await;
    assert_eq!(record[0]["detail"]["call"], "GET /v1/grants/%FF");
}
