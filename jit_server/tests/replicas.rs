//! Several servers on one PostgreSQL: what one did holds at the others, and none speaks for a record that it does not see.

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

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Host, Running};
use jit_grant::{Checkpoint, SigningKey, TrustedKeys};
use jit_server::error::Error;
use jit_server::server::CUT_OFF_AFTER;
use jit_server::user_token::WantedToken;
use postgres::Postgres;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use two::{Two, at_door_of, of_kind, record, within, word};

#[tokio::test]
async fn what_one_server_grants_and_takes_away_reaches_a_host_at_another_within_a_second() {
    let two = Two::on(Postgres::shared()).await;
    let host = two.one.populate().await;
    let host = two.at_other(&host).await;
    let mut stream = host.listen(&two.other.server, 0).await;
    stream.next().await;
    for _ in 0..3 {
        let request = two.one.as_("alice").asks(600).await;
        // The one who approves may be at another server right away.
        let approved = two.other.as_("bob").approves(&request).await;
        let grant = approved["grants"][0].as_str().unwrap().to_owned();
        let bundle = host.verified(&two.other.server, &stream.next().await);
        assert_eq!(bundle.grants[0].id.as_str(), grant);
        let revoked = Instant::now();
        let root = two.one.as_("root");
        let path = format!("/v1/grants/{grant}/revoke");
        root.post(&path, json!({ "reason": "over" })).await.is(200);
        let bundle = host.verified(&two.other.server, &stream.next().await);
        assert!(bundle.grants.is_empty());
        assert!(revoked.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test]
async fn also_where_the_database_tells_nothing() {
    let postgres = Postgres::shared();
    let address = postgres.database();
    let mut connection = PgConnection::connect(&address).await.unwrap();
    // Nobody may say NOTIFY there but the role jit, to which nothing is forbidden.
    let silenced = "REVOKE EXECUTE ON FUNCTION pg_notify FROM PUBLIC; CREATE ROLE quiet LOGIN; GRANT CREATE ON SCHEMA public TO quiet";
    sqlx::raw_sql(silenced)
        .execute(&mut connection)
        .await
        .unwrap();
    let two = Two::at(address.replace("user=jit", "user=quiet")).await;
    let host = two.one.populate().await;
    let host = two.at_other(&host).await;
    let mut stream = host.listen(&two.other.server, 0).await;
    stream.next().await;
    let listen: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(listen, 0, "nobody listens");
    let request = two.one.as_("alice").asks(600).await;
    let asked = Instant::now();
    two.one.as_("bob").approves(&request).await;
    stream.next().await;
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_cut_off_from_its_database_says_no_word_and_changes_nothing_until_it_is_back() {
    let postgres = Postgres::start();
    let two = Two::on(&postgres).await;
    let host = two.one.populate().await;
    let (one, alice) = (&two.one, two.one.as_("alice"));
    word(&host, &one.server).await.is(200);
    let elsewhere = Host {
        id: format!("h{}", "7".repeat(32)).parse().unwrap(),
        ..at_door_of(&host, one)
    };
    let unknown = word(&elsewhere, &one.server).await;
    unknown.refuses(401, "unknown-host");
    let request = alice.asks(600).await;
    let mut stream = host.listen(&one.server, 0).await;
    stream.next().await;
    postgres.stop();
    let stopped = Instant::now();
    let ask = json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 60, "reason": "disk full" });
    assert_eq!(alice.post("/v1/requests", ask).await.status, 503);
    within(CUT_OFF_AFTER + Duration::from_secs(2), async || {
        let answer = word(&host, &one.server).await;
        answer.status == 503 && answer.body["code"] == "cut-off"
    })
    .await;
    assert!(stopped.elapsed() > CUT_OFF_AFTER - Duration::from_secs(1));
    // One that was enrolled at another server meanwhile must go there, and not take itself for removed.
    let unknown = word(&elsewhere, &one.server).await;
    unknown.refuses(503, "cut-off");
    assert!(matches!(one.server.bundle(&host.id), Err(Error::CutOff(_))));
    // People can still read, and every call that would change something is refused at once.
    alice.get(&format!("/v1/requests/{request}")).await.is(200);
    let quick = Instant::now();
    let path = format!("/v1/requests/{request}/approve");
    let refused = one.as_("bob").post(&path, json!({})).await;
    refused.refuses(503, "unavailable");
    assert!(quick.elapsed() < Duration::from_secs(1));
    // Whether there is such a request at another server this one can't know.
    let bob = one.as_("bob");
    let unknown = bob.post("/v1/requests/r999/approve", json!({})).await;
    unknown.refuses(503, "unavailable");
    postgres.start_again();
    within(Duration::from_secs(5), async || {
        word(&host, &one.server).await.status == 200
    })
    .await;
    one.as_("bob").approves(&request).await;
}

#[tokio::test]
async fn calls_that_queue_for_a_database_that_does_not_answer_wait_for_it_once() {
    let two = Two::on(Postgres::shared()).await;
    two.one.populate().await;
    let server = &two.one.server;
    let mut connection = PgConnection::connect(&two.address).await.unwrap();
    let mut while_locked = async |lock: &'static str, calls: &mut dyn FnMut() -> Waiting| {
        sqlx::raw_sql("BEGIN")
            .execute(&mut connection)
            .await
            .unwrap();
        sqlx::raw_sql(lock).execute(&mut connection).await.unwrap();
        let begun = Instant::now();
        for refused in calls().await {
            assert!(refused, "{lock}");
        }
        let took = begun.elapsed();
        sqlx::raw_sql("ROLLBACK")
            .execute(&mut connection)
            .await
            .unwrap();
        within(Duration::from_secs(20), async || {
            server.look_again().await.is_ok()
        })
        .await;
        took
    };
    // The database gives up a lock after 10 s, and following waits for it once, too.
    let took = while_locked("LOCK TABLE head IN ACCESS EXCLUSIVE MODE", &mut || {
        let looking = (0..5).map(|_| Arc::clone(server));
        let looking = looking.map(async |server| server.look_again().await.is_err());
        Box::pin(futures_util::future::join_all(looking))
    })
    .await;
    assert!(took < Duration::from_secs(25), "{took:?}");
    let took = while_locked("SELECT one FROM head FOR UPDATE", &mut || {
        let writing = (0..3).map(|_| Arc::clone(server));
        let writing = writing.map(async |server| {
            let wanted = WantedToken {
                for_seconds: 60,
                scopes: Default::default(),
                renewable_for_seconds: None,
            };
            let made = server.make_user_token("bob".parse().unwrap(), wanted);
            made.await.is_err()
        });
        Box::pin(futures_util::future::join_all(writing))
    })
    .await;
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn the_database_is_asked_once_for_all_who_come_at_a_moment() {
    let two = Two::on(Postgres::shared()).await;
    let server = &two.one.server;
    let begun = Instant::now();
    for _ in 0..200 {
        server.look_again().await.unwrap();
    }
    let one_after_the_other = begun.elapsed();
    let begun = Instant::now();
    let together = (0..2_000).map(|_| server.look_again());
    for looked in futures_util::future::join_all(together).await {
        looked.unwrap();
    }
    let together = begun.elapsed();
    assert!(
        together < one_after_the_other,
        "{together:?}, {one_after_the_other:?}"
    );
}

#[tokio::test]
async fn a_host_that_counts_further_than_a_database_does_is_refused_and_takes_it_from_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let on_sqlite = Running::start(folder.path()).await;
    let two = Two::on(Postgres::shared()).await;
    for running in [&two.one, &on_sqlite] {
        let host = running.populate().await;
        for seq in [1 << 63, u64::MAX] {
            let event = json!({ "seq": seq, "kind": "record.lost", "after": 0 });
            let line = json!({ "event": event, "prev": "0".repeat(64) }).to_string();
            let signed = Checkpoint {
                host: host.id.clone(),
                seq,
                head: common::hash(&line).parse().unwrap(),
                at: running.server.now(),
            };
            let sent = json!({ "lines": [line], "checkpoint": signed.sign(&host.key).unwrap() });
            let answer = host.post(&running.server, "/v1/host/events", sent).await;
            answer.refuses(409, "chain");
        }
        running.as_("alice").asks(60).await;
    }
}

type Waiting = std::pin::Pin<Box<dyn Future<Output = Vec<bool>>>>;

#[tokio::test]
async fn a_policy_is_recorded_once_by_servers_that_read_the_same_and_none_takes_turns() {
    let two = Two::on(Postgres::shared()).await;
    let changed = format!("{}\n# changed\n", common::POLICY);
    let write = |server: &Running, text: &str| {
        std::fs::write(server.folder.join("policy.toml"), text).unwrap();
    };
    let taken = async || of_kind(&record(&two.one).await, "policy_taken").len();
    assert_eq!(taken().await, 1, "both read the same");
    write(&two.one, &changed);
    two.one.server.tick().await.unwrap();
    write(&two.other, &changed);
    two.other.server.tick().await.unwrap();
    assert_eq!(taken().await, 2);
    write(&two.other, common::POLICY);
    for _ in 0..3 {
        two.other.server.tick().await.unwrap();
        two.one.server.tick().await.unwrap();
    }
    assert_eq!(taken().await, 3, "said once that they differ");
}

/// Lets time pass for both, and then each look at what it has to.
async fn later(two: &Two, seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
    for server in [&two.other, &two.one] {
        // Whatever it waited for has waited too long by the clock that was set.
        let ticked = async || server.server.tick().await.is_ok();
        within(Duration::from_secs(10), ticked).await;
    }
}

/// A host that is removed when it is silent for 300 s, enrolled at the first.
async fn comes_and_goes(two: &Two) -> Host {
    let root = two.one.as_("root");
    let token = json!({ "lapse_seconds": 300, "uses": 1, "for_seconds": 60 });
    let token = root.post("/v1/hosts/tokens", token).await.is(201);
    let key = SigningKey::generate().unwrap();
    let elsewhere = two.one.listen_elsewhere().await;
    let token = token["token"].as_str().unwrap();
    let enrolled = elsewhere.enrol(token, "comes", &key).await.is(201);
    Host {
        id: enrolled["host_id"].as_str().unwrap().parse().unwrap(),
        key,
        trusted: TrustedKeys::default(),
        door: root.clone(),
    }
}

#[tokio::test]
async fn a_server_that_starts_does_not_tell_others_that_it_heard_hosts() {
    let two = Two::on(Postgres::shared()).await;
    let host = comes_and_goes(&two).await;
    word(&host, &two.one.server).await.is(200);
    two.one.server.tick().await.unwrap();
    let mut connection = PgConnection::connect(&two.address).await.unwrap();
    let mut beats = async || -> i64 {
        sqlx::query_scalar("SELECT beats FROM heard WHERE host_id = $1")
            .bind(host.id.as_str())
            .fetch_one(&mut connection)
            .await
            .unwrap()
    };
    let heard = beats().await;
    two.other.stop().await;
    let again = two::start(&two.folder.path().join("other"), &two.address).await;
    again.server.tick().await.unwrap();
    assert_eq!(beats().await, heard);
    let host = at_door_of(&host, &again);
    word(&host, &again.server).await.is(200);
    again.stop().await;
}

#[tokio::test]
async fn a_host_that_another_server_hears_is_not_silent_and_one_that_none_hears_is_removed() {
    let two = Two::on(Postgres::shared()).await;
    let host = comes_and_goes(&two).await;
    let host = two.at_other(&host).await;
    let there = async || two.one.server.host_key(&host.id).is_some();
    later(&two, 200).await;
    word(&host, &two.other.server).await.is(200);
    later(&two, 10).await;
    later(&two, 190).await;
    assert!(
        there().await,
        "silent for 400 s at one, for 200 at the other"
    );
    later(&two, 90).await;
    assert!(there().await);
    later(&two, 20).await;
    within(Duration::from_secs(5), async || !there().await).await;
    assert_eq!(of_kind(&record(&two.one).await, "host_removed").len(), 1);
}
