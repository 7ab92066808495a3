//! Requests that nobody has to approve, as people meet them.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::Running;
use serde_json::{Value, json};

const POLICY: &str = r#"
[roles.logs]
hosts = ["web-1"]
actions = ["ssh"]
longest = "1h"
extendable = "10m"
may_ask = { groups = ["developers"] }
approve = { auto = true, because = "they can only read logs" }
[roles.break-glass]
hosts = ["web-1"]
actions = ["ssh", "sudo"]
longest = "1h"
may_ask = { groups = ["developers"] }
break_glass = true
review = { groups = ["leads"] }
"#;

async fn start(folder: &std::path::Path) -> Running {
    std::fs::write(folder.join("policy.toml"), POLICY).unwrap();
    Running::start(folder).await
}

async fn recorded(running: &Running) -> Vec<Value> {
    let record = running.as_("root").get("/v1/audit").await.is(200);
    record["events"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_request_that_nobody_has_to_approve_opens_the_host_at_once_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path()).await;
    let host = running.populate().await;
    let mut stream = host.listen(&running.server, 0).await;
    stream.next().await;
    let ask = json!({ "role": "logs", "for_seconds": 600, "reason": "disk full" });
    let asked = running
        .as_("alice")
        .post("/v1/requests", ask.clone())
        .await
        .is(201);
    assert_eq!(
        (&asked["state"], &asked["grants"], &asked["needed"]),
        (&json!("approved"), &json!(["g1"]), &json!(0))
    );
    assert_eq!(
        asked["at_once"],
        json!({ "rule": "auto", "because": "they can only read logs" })
    );
    let bundle = host.verified(&running.server, &stream.next().await);
    assert_eq!(
        (bundle.grants.len(), bundle.grants[0].approvals.len()),
        (1, 0)
    );
    let events = recorded(&running).await;
    let [.., asked, granted] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&asked["kind"], &asked["actor"]),
        (&json!("requested"), &json!("alice"))
    );
    assert_eq!(
        (&granted["kind"], &granted["actor"]),
        (&json!("granted"), &json!("@server"))
    );
    assert_eq!(
        granted["detail"]["at_once"]["because"],
        "they can only read logs"
    );

    let more = running
        .as_("alice")
        .post("/v1/grants/g1/extend", json!({ "for_seconds": 300 }))
        .await
        .is(200);
    assert_eq!(more["request"], Value::Null, "as nobody approves the role");
    let roles = running.as_("alice").get("/v1/roles").await.is(200);
    assert_eq!(roles[0]["approval"]["count"], 0, "as older clients know it");
    let refused = running.as_("bob").post("/v1/requests", ask).await;
    refused.refuses(403, "may-not-ask");

    // Another start replays the same.
    let before = running.as_("root").get("/v1/grants/g1").await.is(200);
    running.stop().await;
    let running = Running::start(folder.path()).await;
    assert_eq!(
        running.as_("root").get("/v1/grants/g1").await.is(200),
        before
    );
}

async fn to_review(running: &Running, name: &str) -> Vec<String> {
    let list = running
        .as_(name)
        .get("/v1/requests?to_review=true")
        .await
        .is(200);
    let listed: Vec<String> = list.as_array().unwrap().iter().map(common::id).collect();
    let whoami = running.as_(name).get("/v1/whoami").await.is(200);
    assert_eq!(whoami["to_review"], json!(listed), "both say the same");
    listed
}

#[tokio::test]
async fn alarms_are_read_alone_by_whoever_wants_no_more_and_the_rest_of_the_record_is_passed_over()
{
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path()).await;
    running.populate().await;
    let ask = json!({ "role": "break-glass", "for_seconds": 600, "reason": "all is down, nobody answers" });
    running.as_("carol").post("/v1/requests", ask).await.is(201);
    for name in ["alice", "root"] {
        let reads = running.as_(name);
        let read = reads.get("/v1/audit?alarms=true").await.is(200);
        let kinds: Vec<_> = read["events"].as_array().unwrap().iter().collect();
        let kinds: Vec<_> = kinds.iter().map(|event| &event["kind"]).collect();
        assert_eq!(kinds, ["alarm"], "{name}");
        // A part of the record without any leads on.
        let first = reads.get("/v1/audit?alarms=true&limit=1").await.is(200);
        assert_eq!(first, json!({ "events": [], "next": 1 }), "{name}");
    }
}

#[tokio::test]
async fn a_broken_glass_is_seen_by_everybody_and_reviewed_by_somebody_else() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path()).await;
    let host = running.populate().await;
    let mut stream = host.listen(&running.server, 0).await;
    stream.next().await;
    // carol may ask and review.
    let ask = json!({ "role": "break-glass", "for_seconds": 600, "reason": "all is down, nobody answers" });
    let asked = running.as_("carol").post("/v1/requests", ask).await.is(201);
    assert_eq!(
        (&asked["state"], &asked["at_once"]["rule"]),
        (&json!("approved"), &json!("break_glass"))
    );
    assert_eq!(asked["review"]["reviewed"], Value::Null);
    let bundle = host.verified(&running.server, &stream.next().await);
    assert!(bundle.grants[0].allow.sudo);

    for name in ["alice", "bob", "carol", "root"] {
        let record = running.as_(name).get("/v1/audit").await.is(200);
        let alarms = record["events"].as_array().unwrap().iter();
        let alarms: Vec<&Value> = alarms.filter(|event| event["kind"] == "alarm").collect();
        let [alarm] = alarms.as_slice() else {
            panic!("{name}: {alarms:?}")
        };
        assert_eq!(
            (&alarm["subject"], &alarm["actor"]),
            (&json!("r1"), &json!("@server"))
        );
        let said = alarm["detail"]["said"].as_str().unwrap();
        assert!(
            said.contains("carol") && said.ends_with("all is down, nobody answers"),
            "{said}"
        );
    }
    let stranger = running.as_("mallory").get("/v1/audit").await;
    assert!(
        stranger.status != 200 || stranger.body["events"] == json!([]),
        "who is no user"
    );

    assert_eq!(to_review(&running, "bob").await, ["r1"]);
    // Whoever looks at it sees who could: carol used it, and alice is no reviewer.
    let seen = running.as_("bob").get("/v1/requests/r1").await.is(200);
    assert_eq!(seen["review"]["able"], json!(["bob"]));
    // Nor could he whose time is over.
    for (until, able) in [("2020-02-29", json!([])), ("2099-12-31", json!(["bob"]))] {
        let bob = json!({ "name": "bob", "login": "bob", "groups": ["leads"], "until": until });
        let root = running.as_("root");
        root.post("/v1/users", bob).await.is(201);
        let seen = root.get("/v1/requests/r1").await.is(200);
        assert_eq!(seen["review"]["able"], able, "{until}");
    }
    assert!(to_review(&running, "carol").await.is_empty(), "she used it");
    assert!(
        to_review(&running, "alice").await.is_empty(),
        "she is no reviewer"
    );
    let (review, said) = (
        "/v1/requests/r1/review",
        json!({ "comment": "she started the database" }),
    );
    running
        .as_("bob")
        .post(review, said.clone())
        .await
        .refuses(409, "still-in-force");
    running
        .as_("carol")
        .post("/v1/grants/g1/release", json!({}))
        .await
        .is(200);
    running
        .as_("carol")
        .post(review, said.clone())
        .await
        .refuses(403, "own-review");
    running
        .as_("alice")
        .post(review, said.clone())
        .await
        .refuses(404, "no-request");
    assert_eq!(
        running.as_("bob").post(review, json!({})).await.status,
        422,
        "a comment is needed"
    );
    let reviewed = running.as_("bob").post(review, said.clone()).await.is(200);
    assert_eq!(
        reviewed["review"]["reviewed"]["comment"],
        "she started the database"
    );
    assert_eq!(reviewed["review"]["able"], json!(null));
    running
        .as_("bob")
        .post(review, said)
        .await
        .refuses(409, "reviewed-already");
    assert!(to_review(&running, "bob").await.is_empty());

    let before = running.as_("root").get("/v1/requests/r1").await.is(200);
    running.stop().await;
    let running = Running::start(folder.path()).await;
    assert_eq!(
        running.as_("root").get("/v1/requests/r1").await.is(200),
        before
    );
}

#[tokio::test]
async fn a_role_says_that_nobody_approves_it_and_who_reviews() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path()).await;
    running.populate().await;
    let roles = running.as_("alice").get("/v1/roles").await.is(200);
    let approval = &roles[0]["approval"];
    assert_eq!(
        (&roles[0]["name"], &approval["count"]),
        (&json!("break-glass"), &json!(0))
    );
    assert_eq!(
        approval["review"],
        json!({ "reviewers": { "users": [], "groups": ["leads"] }, "within_seconds": 86400 })
    );
    let path = "/v1/policy/explain?principal=alice&role=break-glass&host=web-1";
    let told = running.as_("root").get(path).await.is(200);
    assert_eq!(
        (&told["taken"], &told["approval"]["stages"]),
        (&json!(true), &json!([]))
    );
}

#[tokio::test]
async fn however_many_reviews_are_due_whoami_tells_of_the_newest_and_how_many_more_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path()).await;
    running.populate().await;
    let alice = running.as_("alice");
    let ask = json!({ "role": "break-glass", "for_seconds": 600, "reason": "all is down, nobody answers" });
    for number in 1..=52 {
        alice.post("/v1/requests", ask.clone()).await.is(201);
        let path = format!("/v1/grants/g{number}/release");
        alice.post(&path, json!({})).await.is(200);
    }
    let told = running.as_("bob").get("/v1/whoami").await.is(200);
    let due = told["to_review"].as_array().unwrap();
    assert_eq!(
        (due.len(), &due[0], &due[49]),
        (50, &json!("r3"), &json!("r52"))
    );
    assert_eq!(told["to_review_more"], 2);
}
