//! The policy as the record has it while others confirm changes, and the file beside it.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;
#[path = "common/confirmers.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
mod confirmers;

use common::{POLICY, Running};
use confirmers::{Held, holding, write_policy};
use serde_json::{Value, json};

async fn in_force(running: &Running) -> Value {
    let root = running.as_("root");
    root.get("/v1/policy").await.is(200)["policy"].clone()
}

async fn proposed(held: &Held, policy: &str) -> String {
    let wanted = json!({ "policy": policy, "users": null, "hosts": null, "dry_run": false });
    let root = held.running.as_("root");
    let answer = root.post("/v1/apply", wanted).await.is(202);
    answer["held"]["change"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn once_nothing_holds_changes_the_file_counts_again_when_it_is_changed_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let held = Held::start(folder, &holding()).await;
    let looser = holding().replace("4h", "9h");
    write_policy(folder, &looser);
    held.running.server.tick().await.unwrap();
    let change = proposed(&held, POLICY).await;
    held.confirms(&held.bob, &change).await.is(200);
    let confirmed = in_force(&held.running).await;
    held.running.server.tick().await.unwrap();
    assert_eq!(in_force(&held.running).await, confirmed);
    held.running.stop().await;

    let running = Running::start(folder).await;
    let after = in_force(&running).await;
    assert_eq!(
        after, confirmed,
        "what nobody confirmed did not wait in the file for this"
    );
    write_policy(folder, &POLICY.replace("4h", "5h"));
    running.server.tick().await.unwrap();
    assert_ne!(in_force(&running).await, confirmed);
    let root = running.as_("root");
    root.post("/v1/users", json!({ "name": "dave", "login": "dave" }))
        .await
        .is(201);
}

#[tokio::test]
async fn whatever_the_file_says_a_later_proposal_takes_nothing_from_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let first = proposed(&held, &holding().replace("4h", "2h")).await;
    let seen = held
        .gets(&held.bob, &format!("/v1/changes/{first}"))
        .await
        .is(200);
    let second = proposed(&held, &holding().replace("1h", "30m")).await;
    held.confirms(&held.carol, &second).await.is(200);
    // Planned against what is in force by now, it puts the second one back: whoever confirms has to have seen that.
    let body = json!({ "digest": seen["now"]["digest"] });
    let path = format!("/v1/changes/{first}/confirm");
    held.posts(&held.bob, &path, body)
        .await
        .refuses(409, "change-moved");
    let seen = held
        .gets(&held.bob, &format!("/v1/changes/{first}"))
        .await
        .is(200);
    let details = &seen["now"]["changes"][0]["details"];
    assert_eq!(details, &json!(["~ role database", "~ role web-admin"]));
    held.confirms(&held.bob, &first).await.is(200);
}

#[tokio::test]
async fn a_change_that_moved_since_it_was_seen_is_refused_and_nothing_of_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let root = held.running.as_("root");
    let before = in_force(&held.running).await;
    let wanted = json!({
        "policy": holding().replace("4h", "2h"), "users": null, "dry_run": false,
        "hosts": "[hosts.web-1]\nlabels = { env = \"prod\" }\n",
    });
    root.post("/v1/apply", wanted).await.is(202);
    let shown = held.gets(&held.bob, "/v1/changes/c1").await.is(200);
    assert_eq!(shown["summary"].as_array().unwrap().len(), 2);
    // The host has gone since: what it was to become is left out, and he has to see that.
    root.delete("/v1/hosts/web-1").await.is(200);
    let body = json!({ "digest": shown["now"]["digest"] });
    let confirm = "/v1/changes/c1/confirm";
    held.posts(&held.bob, confirm, body)
        .await
        .refuses(409, "change-moved");
    assert_eq!(in_force(&held.running).await, before);
    let record = root.get("/v1/audit").await.is(200);
    let done = record["events"].as_array().unwrap().iter();
    assert_eq!(
        done.filter(|event| event["kind"] == "change_done").count(),
        0
    );
}

#[tokio::test]
async fn what_waits_ends_when_an_older_copy_is_put_back_and_its_number_is_not_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &holding()).await;
    let change = held.sets(json!({ "name": "dave", "login": "dave" })).await;
    let root = held.running.as_("root");
    root.post("/v1/restored", json!({})).await.is(200);
    let shown = root.get(&format!("/v1/changes/{change}")).await.is(200);
    assert_eq!(shown["state"], "lapsed");
    let next = held.sets(json!({ "name": "dave", "login": "dave" })).await;
    let number: u64 = next[1..].parse().unwrap();
    assert!(number > 10_000, "{next}");
}

#[tokio::test]
async fn a_confirmation_that_is_sent_again_with_its_key_is_answered_again_and_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::start(folder.path(), &confirmers::holding_two()).await;
    let change = held.sets(json!({ "name": "dave", "login": "dave" })).await;
    let path = format!("/v1/changes/{change}");
    let seen = held.gets(&held.bob, &path).await.is(200);
    let body = json!({ "digest": seen["now"]["digest"] });
    let bearer = format!("Bearer {}", held.bob);
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", "once-1"),
    ];
    let path = format!("{path}/confirm");
    let mut answers = Vec::new();
    for _ in 0..2 {
        let sent = held
            .elsewhere
            .send(hyper::Method::POST, &path, &headers, body.clone());
        answers.push(common::read(sent.await).await.is(200));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[1]["state"], "pending");
    assert_eq!(answers[1]["confirmed"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_starts_with_a_wrong_policy_says_that_nobody_may_ask_until_it_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let root = running.as_("root");
    let wrong = common::POLICY.replace("longest", "lnogest");
    std::fs::write(&file, &wrong).unwrap();
    running.as_("alice").asks(60).await;
    let shown = root.get("/v1/policy").await.is(200);
    assert_eq!(shown["beside_file"], Value::Null, "the one before counts");
    running.stop().await;

    let running = Running::start(folder.path()).await;
    let (root, alice) = (running.as_("root"), running.as_("alice"));
    let ask = json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 60, "reason": "disk full" });
    let refused = alice.post("/v1/requests", ask).await;
    refused.refuses(403, "may-not-ask");
    let shown = root.get("/v1/policy").await.is(200);
    let why = shown["beside_file"].as_str().unwrap();
    assert!(why.contains("nobody may ask or approve"), "{why}");
    std::fs::write(&file, common::POLICY).unwrap();
    let shown = root.get("/v1/policy").await.is(200);
    assert_eq!(shown["beside_file"], Value::Null);
    alice.get("/v1/roles").await.is(200);
}
