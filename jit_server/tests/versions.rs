//! Servers of this version and of a later one on one record: the later one has changed the database, and writes what this one does not know.

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
#[path = "common/two.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
mod two;

use std::time::Duration;

use jit_server::event::{Event, RecordNeeds};
use jit_server::store::{PostgresStore, StoreError};
use postgres::Postgres;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use two::{Two, at_door_of, within, word};

/// What migrations of a later version may do: they only add.
const LATER: &str = "CREATE TABLE later (id BIGINT PRIMARY KEY); \
     ALTER TABLE event ADD COLUMN later TEXT; ALTER TABLE host_event ADD COLUMN later BIGINT NOT NULL DEFAULT 0; \
     INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9000, 'later', true, '\\x00', 0)";

/// A later server's write of an event, in its turn.
fn write(body: &str) -> String {
    format!(
        "BEGIN; SELECT one FROM turn FOR UPDATE; UPDATE head SET last_seq = last_seq + 1, writes = writes + 1; \
         INSERT INTO event (seq, at, actor, body, later) SELECT last_seq, '2026-11-22T12:00:00Z', '@server', '{body}', 'new' FROM head; COMMIT"
    )
}

async fn run(connection: &mut PgConnection, sql: String) {
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection);
    done.await.unwrap();
}

#[tokio::test]
async fn this_version_goes_on_beside_a_later_one_until_it_meets_what_it_does_not_know() {
    let two = Two::on(Postgres::shared()).await;
    let host = two.one.populate().await;
    let host = two.at_other(&host).await;
    let mut stream = host.listen(&two.other.server, 0).await;
    stream.next().await;
    let mut connection = PgConnection::connect(&two.address).await.unwrap();
    let grants = async || {
        let request = two.one.as_("alice").asks(600).await;
        two.other.as_("bob").approves(&request).await["grants"][0].clone()
    };

    run(&mut connection, LATER.to_owned()).await;
    let grant = grants().await;
    let bundle = host.verified(&two.other.server, &stream.next().await);
    assert_eq!(grant, json!(bundle.grants[0].id));

    // A field that it does not know says nothing to it.
    let policy = "0".repeat(64);
    let known =
        json!({ "kind": "policy_taken", "policy": policy, "roles": 1, "later": { "x": 1 } });
    run(&mut connection, write(&known.to_string())).await;
    grants().await;
    let bundle = host.verified(&two.other.server, &stream.next().await);
    assert_eq!(bundle.grants.len(), 2);

    // A kind that it does not know may have taken away what it goes by.
    run(&mut connection, write(r#"{"kind":"later_thing"}"#)).await;
    for server in [&two.one, &two.other] {
        let cut_off = async || {
            let word = word(&at_door_of(&host, server), &server.server).await;
            word.status == 503
        };
        within(Duration::from_secs(10), cut_off).await;
        let ask = json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 60, "reason": "after it" });
        let refused = server.as_("alice").post("/v1/requests", ask).await;
        assert_eq!(refused.status, 503, "{:?}", refused.body);
    }
    assert!(
        stream.next_or_end().await.is_none(),
        "the host goes to a server that knows more"
    );
    let anew = PostgresStore::open(&two.address.parse().unwrap()).await;
    let why = anew.err().unwrap();
    assert!(matches!(why, StoreError::Migration(_)), "{why}");
    assert!(why.to_string().contains("newer jit-server"), "{why}");
}

#[tokio::test]
async fn what_servers_of_before_would_leave_out_comes_after_an_event_that_they_cannot_read() {
    let two = Two::on(Postgres::shared()).await;
    two.one.populate().await;
    let events = async || {
        let record = two.one.as_("root").get("/v1/audit").await.is(200);
        let own = record["events"].as_array().unwrap().clone().into_iter();
        let own = own.filter(|event| event["origin"] == "server");
        own.collect::<Vec<Value>>()
    };
    let kinds = |events: &[Value]| {
        let kinds = events.iter().map(|event| event["kind"].to_string());
        kinds.collect::<Vec<_>>()
    };
    let before = events().await;
    let needs = "\"record_needs\"".to_owned();
    assert!(!kinds(&before).contains(&needs));

    let vendor = json!({ "name": "victor", "login": "victor", "until": "2099-12-31" });
    let root = two.one.as_("root");
    root.post("/v1/users", vendor).await.is(201);
    let program =
        json!({ "name": "deploy", "login": "deploy", "groups": ["developers"], "service": true });
    let root = two.other.as_("root");
    root.post("/v1/users", program).await.is(201);
    let token = json!({ "for_seconds": 60, "scopes": ["ask:web-admin"] });
    let made = root.post("/v1/users/deploy/tokens", token).await.is(201);
    let rotate = format!(
        "/v1/users/deploy/tokens/{}/rotate",
        made["id"].as_str().unwrap()
    );
    root.post(&rotate, json!({ "overlap_seconds": 60 }))
        .await
        .is(201);

    two.one.server.look_again().await.unwrap();
    let after = events().await;
    let added = kinds(&after[before.len()..]);
    assert_eq!(
        (&added[0], added[1].as_str()),
        (&needs, "\"user_set\""),
        "in one write"
    );
    assert_eq!(added.iter().filter(|kind| **kind == needs).count(), 1);
    let marker = &after[before.len()];
    assert!(marker["actor"] == "@server" && marker.get("via").is_none());
    let mut version = 1;
    for event in after {
        let mut body = event["detail"].clone();
        body["kind"] = event["kind"].clone();
        match serde_json::from_value(body).unwrap() {
            Event::RecordNeeds(RecordNeeds { version: next, .. }) => version = next,
            event => assert!(event.needs() <= version, "{event:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_meets_a_record_of_a_later_version_goes_no_further_and_does_not_start() {
    let two = Two::on(Postgres::shared()).await;
    let host = two.one.populate().await;
    let mut connection = PgConnection::connect(&two.address).await.unwrap();
    let later =
        json!({ "kind": "record_needs", "version": 1000, "for": "a later thing", "more": 1 });
    let known = json!({ "kind": "record_needs", "version": 3, "for": "a policy whose changes others confirm" });
    for event in [known, later] {
        let request = two.one.as_("alice").asks(600).await;
        two.other.as_("bob").approves(&request).await;
        let insert = write(&event.to_string()).replace(", later)", ")");
        run(&mut connection, insert.replace(", 'new'", "")).await;
    }
    for server in [&two.one, &two.other] {
        let cut_off = async || {
            let word = word(&at_door_of(&host, server), &server.server).await;
            word.status == 503
        };
        within(Duration::from_secs(10), cut_off).await;
        let ask = json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 60, "reason": "after it" });
        let refused = server.as_("alice").post("/v1/requests", ask).await;
        assert_eq!(refused.status, 503, "{:?}", refused.body);
    }
    let anew = two::store(&two.address).await.load().await;
    let why = anew.err().unwrap();
    assert!(
        matches!(why, StoreError::Newer { version: 1000, .. }),
        "{why}"
    );
}
