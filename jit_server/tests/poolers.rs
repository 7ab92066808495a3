//! Servers that reach their PostgreSQL through a pooler, which gives each transaction another session of the database: nothing that a session
//! would keep is relied upon, and nobody hears of NOTIFY.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;
#[path = "common/pooler.rs"]
#[allow(unreachable_pub, reason = "other tests use it")]
mod pooler;
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

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jit_server::store::{Place, StoreError};
use pooler::Pooler;
use postgres::Postgres;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use two::{Two, store, within};

/// Somebody else who comes through the pooler.
async fn connected(address: &str) -> PgConnection {
    let options: PgConnectOptions = address.parse().unwrap();
    PgConnection::connect_with(&options.extra_float_digits(None))
        .await
        .unwrap()
}

#[tokio::test]
async fn what_one_server_grants_and_takes_away_reaches_a_host_at_another_within_a_second() {
    let pooler = Pooler::before(Postgres::shared(), 8);
    let two = Two::at(pooler.address(&Postgres::shared().database())).await;
    let host = two.one.populate().await;
    let host = two.at_other(&host).await;
    let mut stream = host.listen(&two.other.server, 0).await;
    stream.next().await;
    for _ in 0..3 {
        let request = two.one.as_("alice").asks(600).await;
        let asked = Instant::now();
        // The one who approves may be at another server right away.
        let approved = two.other.as_("bob").approves(&request).await;
        let grant = approved["grants"][0].as_str().unwrap().to_owned();
        let bundle = host.verified(&two.other.server, &stream.next().await);
        assert_eq!(bundle.grants[0].id.as_str(), grant);
        assert!(asked.elapsed() < Duration::from_secs(1));
        let revoked = Instant::now();
        let path = format!("/v1/grants/{grant}/revoke");
        let root = two.one.as_("root");
        root.post(&path, json!({ "reason": "over" })).await.is(200);
        let bundle = host.verified(&two.other.server, &stream.next().await);
        assert!(bundle.grants.is_empty());
        assert!(revoked.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test]
async fn servers_that_race_grant_each_request_once_and_leave_no_gap() {
    let pooler = Pooler::before(Postgres::shared(), 8);
    let two = Two::at(pooler.address(&Postgres::shared().database())).await;
    two.one.populate().await;
    two.race(10).await;
}

#[tokio::test]
async fn servers_that_start_at_the_same_moment_make_the_database_once() {
    let pooler = Pooler::before(Postgres::shared(), 3);
    let address = pooler.address(&Postgres::shared().database());
    for _ in 0..2 {
        let stores = join_all((0..6).map(|_| store(&address))).await;
        for store in stores {
            assert!(store.load().await.unwrap().entries.is_empty());
            store.close().await;
        }
    }
}

#[tokio::test]
async fn a_server_that_stands_still_in_its_turn_loses_it_and_nothing_is_set_for_whoever_has_the_session_next()
 {
    let postgres = Postgres::shared();
    let pooler = Pooler::before(postgres, 3);
    let direct = postgres.database();
    let (one, other) = (
        store(&pooler.address(&direct)).await,
        store(&pooler.address(&direct)).await,
    );
    let stands_still = one.turn().await.unwrap();
    let begun = Instant::now();
    other.turn().await.unwrap();
    let lost = begun.elapsed();
    assert!(
        (Duration::from_secs(4)..Duration::from_secs(9)).contains(&lost),
        "{lost:?}"
    );
    drop(stands_still);
    within(Duration::from_secs(5), async || one.turn().await.is_ok()).await;
    let mut pooled = connected(&pooler.address(&direct)).await;
    for (setting, usual) in [
        ("SHOW statement_timeout", "0"),
        ("SHOW lock_timeout", "0"),
        ("SHOW idle_in_transaction_session_timeout", "0"),
    ] {
        let now: Result<(String,), _> = sqlx::query_as(setting)
            .persistent(false)
            .fetch_one(&mut pooled)
            .await;
        assert_eq!(now.unwrap().0, usual, "{setting}");
    }
}

#[tokio::test]
async fn nobody_is_told_in_a_session_in_which_another_once_listened() {
    let pooler = Pooler::before(Postgres::shared(), 1);
    let address = pooler.address(&Postgres::shared().database());
    let store = store(&address).await;
    let mut pooled = connected(&address).await;
    let mut listens = async || {
        let found = sqlx::raw_sql("SELECT pg_listening_channels()");
        !found.fetch_all(&mut pooled).await.unwrap().is_empty()
    };
    within(Duration::from_secs(5), &mut listens).await;
    store.append(Place::default(), &[], &[]).await.unwrap();
    assert!(!listens().await);
}

#[tokio::test]
async fn a_pooler_that_is_away_is_a_database_that_is_away() {
    let pooler = Pooler::before(Postgres::shared(), 3);
    let address = pooler.address(&Postgres::shared().database());
    let store = store(&address).await;
    store.place().await.unwrap();
    drop(pooler);
    let asked = Instant::now();
    let away = async || {
        matches!(
            store.place().await,
            Err(StoreError::Database(_) | StoreError::Silent(_))
        )
    };
    within(Duration::from_secs(10), away).await;
    assert!(asked.elapsed() < Duration::from_secs(15));
}
