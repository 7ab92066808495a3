//! Who reads the whole record, and how it is followed.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::time::Duration;

use common::{POLICY, Running, chain, checkpoint};
use serde_json::{Value, json};

const WHOLE: &str = "/v1/audit?whole=true";

/// carol may read the whole record.
async fn audited(folder: &std::path::Path) -> (Running, common::Host) {
    let policy = format!("may_audit = {{ users = [\"carol\"] }}\n{POLICY}");
    std::fs::write(folder.join("policy.toml"), policy).unwrap();
    let running = Running::start(folder).await;
    let host = running.populate().await;
    (running, host)
}

fn kinds(record: &Value) -> Vec<&str> {
    let events = record["events"].as_array().unwrap().iter();
    events
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn an_auditor_reads_what_root_reads_and_changes_nothing_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let (running, host) = audited(folder.path()).await;
    let request = running.as_("alice").asks(600).await;
    let lines = chain(2);
    let sent = json!({ "lines": lines, "checkpoint": checkpoint(&host, &lines) });
    host.post(&running.server, "/v1/host/events", sent)
        .await
        .is(200);
    let carol = running.as_("carol");
    let root = running.as_("root").get("/v1/audit").await.is(200);
    assert_eq!(carol.get("/v1/audit").await.is(200), root);
    assert_eq!(carol.get(WHOLE).await.is(200), root);
    assert!(kinds(&root).contains(&"login"), "hosts' lines among it");
    let because = json!({ "reason": "laptop stolen" });
    let lock = carol.post("/v1/users/alice/lock", because).await;
    lock.refuses(403, "may-not-lock");
    carol.get("/v1/locks").await.refuses(403, "may-not-lock");
    // bob, whom it does not name, reads what concerns him, and is refused where he wants all or nothing.
    let bob = running.as_("bob").get("/v1/audit").await.is(200);
    assert_eq!(kinds(&bob), ["user_set", "requested"], "{bob} {request}");
    let bob = running.as_("bob").get(WHOLE).await;
    bob.refuses(403, "may-not-audit");
}

#[tokio::test]
async fn an_auditor_who_is_locked_or_named_no_more_reads_his_own_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (running, _host) = audited(folder.path()).await;
    let (root, carol) = (running.as_("root"), running.as_("carol"));
    let because = json!({ "reason": "laptop stolen" });
    root.post("/v1/users/carol/lock", because).await.is(200);
    carol.get(WHOLE).await.refuses(403, "may-not-audit");
    root.post("/v1/users/carol/unlock", json!({})).await.is(200);
    carol.get(WHOLE).await.is(200);
    std::fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
    running.server.look_at_policy().await.unwrap();
    carol.get(WHOLE).await.refuses(403, "may-not-audit");
    let own = carol.get("/v1/audit").await.is(200);
    assert_eq!(kinds(&own), ["user_set", "locked", "unlocked"]);
}

#[tokio::test]
async fn the_newest_part_of_the_record_is_read_without_all_that_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let (running, _host) = audited(folder.path()).await;
    let alice = running.as_("alice");
    let request = alice.asks(600).await;
    let carol = running.as_("carol");
    let all = carol.get(WHOLE).await.is(200)["events"].take();
    let all = all.as_array().unwrap();
    let last = &all[all.len() - 2..];
    for (asked, part) in [
        ("newest=2", last),
        ("newest=1", &last[1..]),
        ("newest=99", all),
        ("newest=0", &[]),
        ("newest=99&after=1", &all[1..]),
    ] {
        let read = carol.get(&format!("{WHOLE}&{asked}")).await.is(200);
        assert_eq!(read["events"].as_array().unwrap(), part, "{asked}");
    }
    let withdraw = format!("/v1/requests/{request}/withdraw");
    alice.post(&withdraw, json!({})).await.is(200);
    let read = carol.get(&format!("{WHOLE}&newest=1")).await.is(200);
    assert_eq!(kinds(&read), ["withdrawn"]);
}

#[tokio::test]
async fn whoever_follows_the_record_hears_of_what_happens_when_it_happens() {
    let folder = tempfile::tempdir().unwrap();
    let (running, _host) = audited(folder.path()).await;
    let carol = running.as_("carol");
    let all = carol.get(WHOLE).await.is(200);
    let last = all["events"].as_array().unwrap().last().unwrap()["seq"].clone();
    let path = format!("{WHOLE}&after={last}&wait_seconds=60");
    let waiting = tokio::spawn({
        let carol = carol.clone();
        async move { carol.get(&path).await.is(200) }
    });
    running.as_("alice").asks(600).await;
    let heard = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert_eq!(kinds(&heard.unwrap().unwrap()), ["requested"]);
}

#[tokio::test]
async fn a_reader_who_waits_is_not_woken_by_what_does_not_concern_him() {
    let folder = tempfile::tempdir().unwrap();
    let (running, _host) = audited(folder.path()).await;
    let alice = running.as_("alice");
    let waiting = tokio::spawn({
        let path = "/v1/audit?after=6&wait_seconds=60";
        let alice = alice.clone();
        async move { alice.get(path).await.is(200) }
    });
    let erin = json!({ "name": "erin", "login": "erin", "groups": [] });
    running.as_("root").post("/v1/users", erin).await.is(201);
    alice.asks(600).await;
    let heard = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert_eq!(kinds(&heard.unwrap().unwrap()), ["requested"]);
}
