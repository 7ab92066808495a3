//! Hosts' chains: what is kept of them, who is told, and what is refused.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Host, Running, chain, chain_of, checkpoint, hash};
use jit_grant::{Checkpoint, SigningKey};
use serde_json::{Value, json};

#[tokio::test]
async fn a_hosts_chain_is_kept_whole_and_shown_in_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let lines = chain(5);
    let send = |from: usize, to: usize| json!({ "lines": lines[from..to], "checkpoint": checkpoint(&host, &lines[..to]) });

    let path = "/v1/host/events";
    assert_eq!(
        host.post(&running.server, path, send(0, 3)).await.is(200),
        json!({ "seq": 3 })
    );
    assert_eq!(
        host.post(&running.server, path, send(1, 4)).await.is(200),
        json!({ "seq": 4 }),
        "what is stored is skipped"
    );
    let changed: Vec<String> = lines
        .iter()
        .map(|line| line.replace("alice", "malice"))
        .collect();
    let forged = json!({ "lines": changed[4..], "checkpoint": checkpoint(&host, &lines) });
    assert_eq!(
        host.post(&running.server, path, forged).await.is(409)["seq"],
        4,
        "the signature is over other lines"
    );
    let other = Host {
        key: SigningKey::generate().unwrap(),
        ..Host::enrol(&running.as_("root"), "web-2").await
    };
    let by_another = json!({ "lines": lines[4..], "checkpoint": checkpoint(&other, &lines) });
    assert_eq!(
        host.post(&running.server, path, by_another).await.is(409)["seq"],
        4
    );

    let record = running.as_("alice").get("/v1/audit").await.is(200);
    let of_host: Vec<_> = record["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["origin"] == "web-1")
        .collect();
    assert_eq!(of_host.len(), 4);
    assert_eq!(
        (
            &of_host[0]["kind"],
            &of_host[0]["actor"],
            &of_host[0]["subject"]
        ),
        (&json!("login"), &json!("alice"), &json!("g1"))
    );
    let record = running.as_("bob").get("/v1/audit").await.is(200);
    assert!(
        record["events"]
            .as_array()
            .unwrap()
            .iter()
            .all(|event| event["origin"] == "server"),
        "alice's logins are not bob's to see"
    );
}

#[tokio::test]
async fn what_was_open_under_a_grant_is_told_to_its_principal_and_the_administrator() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let request = running.as_("alice").asks(600).await;
    running.as_("bob").approves(&request).await;
    let whose = |kind: &str| json!({ "at": "2026-11-22T12:00:00Z", "kind": kind, "id": "abcdefgh23", "login": "alice", "principal": "alice", "grant": "g1" });
    let mut opened = whose("session.opened");
    opened["service"] = json!("sshd");
    let mut ended = whose("session.ended");
    ended["code"] = json!("JIT-301");
    let lines = chain_of(vec![opened, whose("session.ending"), ended]);
    let batch = json!({ "lines": lines, "checkpoint": checkpoint(&host, &lines) });
    let stored = host.post(&running.server, "/v1/host/events", batch).await;
    stored.is(200);
    let path = "/v1/grants/g1/sessions";
    for name in ["alice", "root"] {
        let told = running.as_(name).get(path).await.is(200);
        let events = told["events"].as_array().unwrap();
        let kinds: Vec<_> = events.iter().map(|event| &event["kind"]).collect();
        assert_eq!(kinds, ["session.opened", "session.ended"]);
        assert_eq!(
            (&events[0]["origin"], &events[0]["detail"]["service"]),
            (&json!("web-1"), &json!("sshd"))
        );
        assert_eq!(told["complete"], true);
    }
    let told = running.as_("bob").get(path).await.is(200);
    assert_eq!(told["events"], json!(null), "alice's logins are not bob's");
    running
        .as_("alice")
        .get("/v1/grants/g2/sessions")
        .await
        .refuses(404, "no-grant");
}

#[tokio::test]
async fn a_gap_in_a_hosts_chain_is_refused_with_the_number_that_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let lines = chain(4);
    let gap = json!({ "lines": lines[2..], "checkpoint": checkpoint(&host, &lines) });
    let refused = host
        .post(&running.server, "/v1/host/events", gap)
        .await
        .is(409);
    assert_eq!(
        (&refused["seq"], &refused["code"]),
        (&json!(0), &json!("chain"))
    );
}

#[tokio::test]
async fn what_is_refused_of_a_chain_and_what_is_lost_is_an_alarm_that_no_flood_fills_the_record_with()
 {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let path = "/v1/host/events";
    let lines = chain(4);
    let gap = json!({ "lines": lines[2..], "checkpoint": checkpoint(&host, &lines) });
    for _ in 0..50 {
        host.post(&running.server, path, gap.clone()).await.is(409);
    }
    let forged = json!({ "lines": lines, "checkpoint": "x" });
    host.post(&running.server, path, forged).await.is(409);
    let lost = json!({ "seq": 9, "at": "2026-11-22T12:00:00Z", "kind": "record.lost", "after": 0, "dropped_before": 7 });
    let lost = vec![json!({ "event": lost, "prev": "0".repeat(64) }).to_string()];
    let signed = Checkpoint {
        host: host.id.clone(),
        seq: 9,
        head: hash(&lost[0]).parse().unwrap(),
        at: "2026-11-22T12:00:01Z".parse().unwrap(),
    };
    let lost = json!({ "lines": lost, "checkpoint": signed.sign(&host.key).unwrap() });
    assert_eq!(
        host.post(&running.server, path, lost).await.is(200)["seq"],
        9
    );

    let alarms = |record: Value| -> Vec<Value> {
        let events = record["events"].as_array().unwrap().clone();
        events
            .into_iter()
            .filter(|event| event["kind"] == "alarm")
            .collect()
    };
    let record = running.as_("root").get("/v1/audit").await.is(200);
    let told = alarms(record);
    let of = |cause: &str| {
        let told = told.iter().map(|event| &event["detail"]["alarm"]);
        told.filter(|alarm| alarm["cause"] == cause)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("chain_gap").len(), 10, "of 50");
    assert_eq!(
        of("chain_gap")[0],
        &json!({ "cause": "chain_gap", "due": 1, "came": 3 })
    );
    assert_eq!(of("chain_refused").len(), 1);
    assert_eq!(
        of("record_lost"),
        [&json!({ "cause": "record_lost", "after": 0, "next": 9 })]
    );
    assert_eq!(
        (
            &told[0]["subject"],
            &told[0]["actor"],
            &told[11]["detail"]["said"]
        ),
        (
            &json!("web-1"),
            &json!("@server"),
            &json!("lines 1 to 8 of its event chain are lost")
        )
    );
    let record = running.as_("alice").get("/v1/audit").await.is(200);
    assert!(alarms(record).is_empty(), "the administrator's to see");
    let hosts = async |name: &str| running.as_(name).get("/v1/hosts").await.is(200);
    assert!(hosts("root").await[0]["last_alarm"].is_string());
    assert_eq!(hosts("alice").await[0]["last_alarm"], Value::Null);
}
