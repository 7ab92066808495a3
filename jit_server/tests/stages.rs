//! Approval in stages, as people meet it.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Running, id};
use jiff::Timestamp;
use serde_json::{Value, json};

const POLICY: &str = r#"
[roles.web-admin]
hosts = ["web-1"]
actions = ["ssh", "sudo"]
longest = "4h"
may_ask = { groups = ["developers"] }
approve = [{ groups = ["leads"] }, { users = ["alice", "bob"], then = [{ after = "30m", users = ["carol"] }] }]
[roles.on-call]
hosts = ["web-1"]
actions = ["ssh"]
longest = "4h"
may_ask = { groups = ["developers"] }
approve = [{ attributes = { on_call = true } }, { users = ["bob"], same_person_again = true }]
"#;

async fn queue(running: &Running, name: &str) -> usize {
    let path = "/v1/requests?state=pending&for_me=true";
    let list = running.as_(name).get(path).await.is(200);
    list.as_array().unwrap().len()
}

fn names(value: &Value) -> Vec<&str> {
    let all = value.as_array().unwrap().iter();
    all.map(|name| name.as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_stage_is_shown_to_those_who_can_approve_it_and_the_grant_names_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let mut stream = host.listen(&running.server, 0).await;
    stream.next().await;

    // carol is a lead and asks: bob alone could approve the first stage, and then alice the second.
    let ask = json!({ "role": "web-admin", "for_seconds": 600, "reason": "disk full" });
    let asked = running.as_("carol").post("/v1/requests", ask).await.is(201);
    let request = id(&asked);
    assert_eq!((&asked["stage"], &asked["needed"]), (&json!(1), &json!(2)));
    assert_eq!(names(&asked["stages"][0]["able"]), ["bob"]);
    assert_eq!(names(&asked["stages"][1]["able"]), ["alice", "bob"]);
    assert_eq!(
        (queue(&running, "bob").await, queue(&running, "alice").await),
        (1, 0)
    );
    let approve = format!("/v1/requests/{request}/approve");
    let early = running.as_("alice").post(&approve, json!({})).await;
    early.refuses(409, "other-stage");

    let first = running.as_("bob").approves(&request).await;
    assert_eq!(
        (&first["state"], &first["stage"]),
        (&json!("pending"), &json!(2))
    );
    assert_eq!(names(&first["stages"][0]["approved_by"]), ["bob"]);
    assert_eq!(names(&first["stages"][1]["able"]), ["alice"]);
    let later = &first["stages"][1]["later"][0];
    assert_eq!(
        (&later["after_seconds"], &later["approvers"]["users"]),
        (&json!(1800), &json!(["carol"]))
    );
    let given: Timestamp = first["approvals"][0]["at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let from: Timestamp = later["from"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        from.duration_since(given).as_secs(),
        1800,
        "from when the stage was due"
    );
    assert_eq!(
        (queue(&running, "bob").await, queue(&running, "alice").await),
        (0, 1)
    );
    let again = running.as_("bob").post(&approve, json!({})).await;
    again.refuses(409, "already-approved");

    let done = running
        .as_("alice")
        .post(&approve, json!({ "for_seconds": 300 }))
        .await
        .is(200);
    assert_eq!(done["state"], "approved");
    assert_eq!(done["stages"], json!([]), "nothing is due any more");
    let bundle = host.verified(&running.server, &stream.next().await);
    let stages = bundle.grants[0].approvals.iter();
    let stages: Vec<_> = stages
        .map(|given| (given.by.as_str(), given.stage))
        .collect();
    assert_eq!(stages, [("bob", 1), ("alice", 2)]);
    let lasts = bundle.grants[0]
        .expires
        .duration_since(bundle.grants[0].not_before);
    assert_eq!(lasts.as_secs(), 300, "the shortest counts");
}

#[tokio::test]
async fn roles_and_explanations_tell_every_stage() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let roles = running.as_("alice").get("/v1/roles").await.is(200);
    let on_call = &roles[0]["approval"];
    assert_eq!(on_call["by"]["attributes"], json!({ "on_call": true }));
    assert_eq!(
        [0, 1].map(|stage: usize| &on_call["stages"][stage]["same_person_again"]),
        [&json!(false), &json!(true)]
    );
    let approval = &roles[1]["approval"];
    assert_eq!(
        approval["by"]["groups"],
        json!(["leads"]),
        "as older clients know it"
    );
    assert_eq!(
        approval["stages"][1]["by"]["users"],
        json!(["alice", "bob"])
    );
    let path = "/v1/policy/explain?principal=alice&role=web-admin&host=web-1";
    let told = running.as_("root").get(path).await.is(200);
    assert_eq!(
        names(&told["approval"]["stages"][0]["able"]),
        ["bob", "carol"]
    );
    assert_eq!(names(&told["approval"]["stages"][1]["able"]), ["bob"]);
    assert_eq!(
        names(&told["approval"]["stages"][1]["later"][0]["able"]),
        ["carol"]
    );
    assert_eq!(told["approval"]["enough"], true);
    let path = "/v1/policy/explain?principal=carol&role=web-admin&host=web-1";
    running
        .as_("root")
        .post("/v1/users/alice/lock", json!({ "reason": "laptop stolen" }))
        .await
        .is(200);
    let told = running.as_("root").get(path).await.is(200);
    assert_eq!(told["approval"]["enough"], false, "bob alone can't do both");
}
