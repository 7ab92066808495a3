//! Changes that need a second person, at two servers of one record.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;
#[path = "common/confirmers.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
mod confirmers;
#[path = "common/postgres.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "other tests use the rest"
)]
mod postgres;
#[path = "common/two.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
mod two;

use std::time::Duration;

use common::{POLICY, Running};
use confirmers::{call, confirms, holding, holding_two, login_of, token, write_policy};
use futures_util::future::join;
use hyper::Method;
use postgres::Postgres;
use serde_json::{Value, json};
use two::{Two, of_kind, record, start, within};

async fn policy_of(server: &Running) -> Value {
    let root = server.as_("root");
    root.get("/v1/policy").await.is(200)["policy"].clone()
}

#[tokio::test]
async fn all_servers_go_by_the_policy_on_record_whatever_their_own_files_have() {
    let postgres = Postgres::shared();
    let two = Two::on(postgres).await;
    two.one.populate().await;
    let carol = token(&two.one, "carol").await;
    let elsewhere = two.other.listen_elsewhere().await;
    write_policy(&two.one.folder, &holding());
    two.one.server.tick().await.unwrap();
    let held = policy_of(&two.one).await;
    // The other server's file has no changes_need, and never had.
    within(Duration::from_secs(5), async || {
        policy_of(&two.other).await == held
    })
    .await;
    let dave = json!({ "name": "dave", "login": "dave" });
    let root = two.other.as_("root");
    root.post("/v1/users", dave).await.is(202);
    let next = POLICY.replace("4h", "3h");
    // As long as a policy may nearly be: the record has all of it.
    let comment = format!("# {}\n", "why it is so ".repeat(10)).repeat(7_000);
    let next = format!("changes_need = {{ groups = [\"leads\"] }}\n{comment}{next}");
    assert!((900_000..1 << 20).contains(&next.len()));
    let wanted = json!({ "policy": next, "users": null, "hosts": null, "dry_run": false });
    two.one.as_("root").post("/v1/apply", wanted).await.is(202);
    confirms(&elsewhere, &carol, "c2").await.is(200);
    let taken = policy_of(&two.other).await;
    assert_ne!(taken, held);
    within(Duration::from_secs(5), async || {
        policy_of(&two.one).await == taken
    })
    .await;

    // Each says once that its file has something else; they do not answer each other.
    for _ in 0..5 {
        two.one.server.tick().await.unwrap();
        two.other.server.tick().await.unwrap();
    }
    let before = record(&two.one).await.len();
    for _ in 0..5 {
        two.one.server.tick().await.unwrap();
        two.other.server.tick().await.unwrap();
    }
    assert_eq!(record(&two.one).await.len(), before);

    let folder = two.other.folder.clone();
    two.other.stop().await;
    let other = start(&folder, &two.address).await;
    assert_eq!(policy_of(&other).await, taken, "also after a restart");
}

#[tokio::test]
async fn once_nothing_holds_changes_no_server_goes_by_a_file_that_nobody_has_changed_since() {
    let postgres = Postgres::shared();
    let two = Two::on(postgres).await;
    two.one.populate().await;
    let carol = token(&two.one, "carol").await;
    let elsewhere = two.one.listen_elsewhere().await;
    write_policy(&two.one.folder, &holding());
    two.one.server.tick().await.unwrap();
    let held = policy_of(&two.one).await;
    let is_at_other = async |policy: &Value| policy_of(&two.other).await == *policy;
    let soon = Duration::from_secs(5);
    within(soon, async || is_at_other(&held).await).await;
    // This one nobody ever confirmed, and it does not count.
    write_policy(&two.other.folder, &POLICY.replace("4h", "12h"));
    two.other.server.tick().await.unwrap();

    let wanted = json!({ "policy": POLICY.replace("4h", "2h"), "users": null, "hosts": null, "dry_run": false });
    two.one.as_("root").post("/v1/apply", wanted).await.is(202);
    confirms(&elsewhere, &carol, "c1").await.is(200);
    let confirmed = policy_of(&two.one).await;
    within(soon, async || is_at_other(&confirmed).await).await;

    write_policy(&two.one.folder, &POLICY.replace("4h", "3h"));
    two.one.server.tick().await.unwrap();
    let edited = policy_of(&two.one).await;
    assert_ne!(edited, confirmed);
    within(soon, async || is_at_other(&edited).await).await;
    for _ in 0..3 {
        two.one.server.tick().await.unwrap();
        two.other.server.tick().await.unwrap();
    }
    assert_eq!(policy_of(&two.other).await, edited);
    assert_eq!(policy_of(&two.one).await, edited);
    let folder = two.other.folder.clone();
    two.other.stop().await;
    let other = start(&folder, &two.address).await;
    assert_eq!(policy_of(&other).await, edited, "also after a restart");
}

#[tokio::test]
async fn two_who_confirm_at_two_servers_at_the_same_time_make_a_change_once() {
    let postgres = Postgres::shared();
    let two = Two::on(postgres).await;
    two.one.populate().await;
    let (bob, carol) = (token(&two.one, "bob").await, token(&two.one, "carol").await);
    let here = two.one.listen_elsewhere().await;
    let there = two.other.listen_elsewhere().await;
    write_policy(&two.one.folder, &holding_two());
    two.one.server.tick().await.unwrap();
    let root = two.one.as_("root");
    for number in 1..=5 {
        let user = json!({ "name": format!("new{number}"), "login": "new" });
        root.post("/v1/users", user).await.is(202);
        let path = format!("/v1/changes/c{number}");
        let seen = call(&here, &bob, Method::GET, &path, json!({}))
            .await
            .is(200);
        let body = json!({ "digest": seen["now"]["digest"] });
        let path = format!("{path}/confirm");
        let one = call(&here, &bob, Method::POST, &path, body.clone());
        let other = call(&there, &carol, Method::POST, &path, body);
        let (one, other) = join(one, other).await;
        let states = [one.is(200), other.is(200)].map(|answer| answer["state"].clone());
        assert!(states.contains(&json!("done")), "{states:?}");
    }
    let record = record(&two.one).await;
    assert_eq!(of_kind(&record, "change_done").len(), 5);
    let made = of_kind(&record, "user_set");
    let made = made.iter().filter(|event| {
        let name = event["detail"]["name"].as_str().unwrap();
        name.starts_with("new")
    });
    assert_eq!(made.count(), 5);
    assert_eq!(login_of(&two.one, "new5").await.as_deref(), Some("new"));
}
