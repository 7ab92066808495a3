//! A database where all transactions are serializable, as they are on some that speak PostgreSQL's protocol: it breaks one off where two
//! would not come one after the other, and keeps nothing of it. Nobody hears of that.

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

use futures_util::future::join_all;
use jit_server::event::{Actor, Entry, Event};
use jit_server::once::Digest;
use jit_server::store::{Answered, CallAnswer, Place, StoreError};
use postgres::Postgres;
use sqlx::{Connection, PgConnection};
use two::{Two, store, within};

/// A database of that sort, and somebody else in it.
async fn database() -> (String, PgConnection) {
    let address = Postgres::shared().database();
    let mut other = PgConnection::connect(&address).await.unwrap();
    let always = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database()); END $$";
    sqlx::raw_sql(always).execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    let other = PgConnection::connect(&address).await.unwrap();
    (address, other)
}

fn entry(seq: u64) -> Entry {
    let event = Event::PolicyTaken {
        policy: "0".repeat(64),
        roles: 1,
        text: None,
        change: None,
    };
    Entry {
        via: None,
        seq,
        at: "2026-11-22T12:00:00Z".parse().unwrap(),
        actor: Actor::Server,
        event,
    }
}

/// Waits until somebody waits for a lock in this database.
async fn somebody_waits(address: &str) {
    let mut looking = PgConnection::connect(address).await.unwrap();
    within(Duration::from_secs(10), async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waiting: i64 = sqlx::query_scalar(waiting)
            .fetch_one(&mut looking)
            .await
            .unwrap();
        waiting == 1
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_the_database_broke_off_is_begun_anew() {
    let (address, mut other) = database().await;
    let store = store(&address).await;
    let digest = Digest::try_from("d".repeat(64)).unwrap();
    let of = Answered {
        key: digest,
        seq: 1,
        at: "2026-11-22T12:00:00Z".parse().unwrap(),
    };
    let said = CallAnswer {
        status: 200,
        body: "{}".to_owned(),
    };
    let taken = format!(
        "BEGIN; INSERT INTO call_answer (key, seq, at, status, body) VALUES ('{digest}', 1, {}, 200, '[]')",
        of.at.as_millisecond() - 1
    );
    let taken: &str = Box::leak(taken.into_boxed_str());
    sqlx::raw_sql(taken).execute(&mut other).await.unwrap();
    let (kept, ()) = tokio::join!(store.keep_answer(of, &said), async {
        somebody_waits(&address).await;
        sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    });
    kept.unwrap();
    assert_eq!(store.answer(digest, 1).await.unwrap(), Some(said));
}

#[tokio::test]
async fn of_two_who_write_after_the_same_place_one_does_and_the_other_hears_of_it() {
    let (address, _) = database().await;
    let (one, other) = (store(&address).await, store(&address).await);
    let mut place = Place::default();
    for seq in 1..=20 {
        let entries = [entry(seq)];
        let (kept, overtaken) = tokio::join!(
            one.append(place, &entries, &[]),
            other.append(place, &entries, &[])
        );
        let (kept, overtaken) = match kept {
            Ok(kept) => (kept, overtaken),
            Err(error) => (overtaken.unwrap(), Err(error)),
        };
        assert!(
            matches!(overtaken, Err(StoreError::Overtaken)),
            "{overtaken:?}"
        );
        place = kept;
    }
    assert_eq!(one.load().await.unwrap().entries.len(), 20);
}

#[tokio::test]
async fn a_write_that_the_database_breaks_off_while_it_is_made_or_committed_is_kept_once() {
    for when in ["", "CONSTRAINT"] {
        let (address, mut other) = database().await;
        let store = store(&address).await;
        // Numbers of a sequence are used up also where nothing is kept: the first two are broken off.
        let deferred = if when.is_empty() {
            ""
        } else {
            "DEFERRABLE INITIALLY DEFERRED"
        };
        let breaks = format!(
            "CREATE SEQUENCE tries; CREATE FUNCTION breaks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$; \
             CREATE {when} TRIGGER breaks AFTER INSERT ON event {deferred} FOR EACH ROW EXECUTE FUNCTION breaks()"
        );
        let breaks: &str = Box::leak(breaks.into_boxed_str());
        sqlx::raw_sql(breaks).execute(&mut other).await.unwrap();
        let place = store
            .append(Place::default(), &[entry(1)], &[])
            .await
            .unwrap();
        assert_eq!((place.last_seq, place.writes), (1, 1));
        assert_eq!(store.load().await.unwrap().entries, [entry(1)]);
    }
}

#[tokio::test]
async fn servers_that_race_there_refuse_nobody_for_it() {
    let (address, _) = database().await;
    let two = Two::at(address).await;
    two.one.populate().await;
    two.race(20).await;
}

#[tokio::test]
async fn servers_that_start_there_at_the_same_moment_make_the_database_once() {
    let (address, _) = database().await;
    let stores = join_all((0..5).map(|_| store(&address))).await;
    for store in stores {
        assert!(store.load().await.unwrap().entries.is_empty());
    }
}

#[tokio::test]
async fn a_server_starts_also_where_the_database_breaks_off_what_it_begins_with() {
    let (address, mut other) = database().await;
    let breaks = "CREATE SEQUENCE tries; CREATE FUNCTION breaks() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('tries') IN (1, 3) THEN RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END IF; END $$; \
         CREATE EVENT TRIGGER breaks ON ddl_command_start EXECUTE FUNCTION breaks()";
    sqlx::raw_sql(breaks).execute(&mut other).await.unwrap();
    let store = store(&address).await;
    assert!(store.load().await.unwrap().entries.is_empty());
}
