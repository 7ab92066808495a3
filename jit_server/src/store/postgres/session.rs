//! How the database is spoken to. A pooler in between may give each transaction another session, and one session to several servers in turn:
//! so nothing is set but for one transaction, no statement keeps a name, and nothing is locked for longer.

use std::future::Future;

use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgArguments, PgPool, PgPoolOptions};
use sqlx::query::{Query, QueryScalar};
use sqlx::{PgConnection, PgTransaction, Postgres, Row};

use super::CONNECTING;
use crate::store::StoreError;

/// As often a transaction is begun anew before the database is taken for one that can't do it.
const MOST_TRIES: u32 = 10;
/// Codes by which the database says that it kept nothing, and that the same may be done at once: others were first, or each of two waited
/// for the other. Where all transactions are serializable that is usual.
const AGAIN: [&str; 2] = ["40001", "40P01"];

/// What a transaction begins with: how long it waits for a lock, how long one of its statements lasts, and how long it may stand still in
/// between; 0 has no end. `synchronous_commit` may be stronger, never weaker: also `remote_write` loses what was
/// acknowledged, where a standby takes over that lost its power.
macro_rules! begin {
    ($begin:literal, $waits:literal, $lasts:literal, $still:literal) => {
        concat!(
            $begin,
            "; SET LOCAL lock_timeout = ",
            $waits,
            "; SET LOCAL statement_timeout = ",
            $lasts,
            "; SET LOCAL idle_in_transaction_session_timeout = ",
            $still,
            "; SET LOCAL client_min_messages = warning; \
             SELECT set_config('synchronous_commit', 'on', true) \
             WHERE current_setting('synchronous_commit', true) IN ('off', 'local', 'remote_write')"
        )
    };
}

/// A usual one. A turn is waited for no longer than 10 s, and a server that stands still in its turn loses it after 5 s.
const USUAL: &str = begin!("BEGIN", "'10s'", "'14s'", "'5s'");
/// All that it reads is of one moment.
const SNAPSHOT: &str = begin!(
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "'10s'",
    "'14s'",
    "'5s'"
);
/// The same for what is done once as a server starts, and lasts as long as the record is large.
const WHOLE_RECORD: &str = begin!(
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "0",
    "0",
    "'60s'"
);
/// For migrations, which last as long. Another server's is waited for until systemd would give the start up: who waits on after that
/// is a session that nobody has any more, and each try would leave one. Whoever waited must see what that one did, also
/// where a transaction usually sees what was there as it began. What one of before left prepared in this session, as it failed, is in the
/// way of the next.
const MIGRATION: &str = begin!(
    "BEGIN ISOLATION LEVEL READ COMMITTED; DEALLOCATE ALL",
    "'14min'",
    "0",
    "'60s'"
);

/// So many connections at most. Each is looked at before it is given to somebody, in place of the driver's own look whether it lives.
pub(super) fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECTING)
        .test_before_acquire(false)
        .before_acquire(|connection, _| {
            Box::pin(async { Ok(is_free(connection).await.unwrap_or(false)) })
        })
}

/// Whether no transaction is open in it, of which the driver may not know: what is read there would be of the moment when that began, or
/// refused where that failed. A statement by itself is a transaction that begins with it.
async fn is_free(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let begins_now = sqlx::raw_sql("SELECT transaction_timestamp() = statement_timestamp()");
    begins_now.fetch_one(connection).await?.try_get(0)
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum For {
    Usual,
    Snapshot,
    WholeRecord,
    Migration,
}

/// Nobody can break it off between its question and its answer: the driver knows of a transaction once the database has said that it is begun,
/// and would give the connection to the next with this one open in it. One that nobody waits for any more is rolled back as soon as it is there.
pub(super) async fn begin(pool: &PgPool, what: For) -> sqlx::Result<PgTransaction<'static>> {
    let begin = match what {
        For::Usual => USUAL,
        For::Snapshot => SNAPSHOT,
        For::WholeRecord => WHOLE_RECORD,
        For::Migration => MIGRATION,
    };
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(begin).await });
    begun.await.map_err(|_| sqlx::Error::WorkerCrashed)?
}

/// A statement with values. It takes two messages, so that it must be in a transaction.
pub(super) fn sql<'q>(statement: &'static str) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(statement).persistent(false)
}

/// The same, of which the first column is wanted.
pub(super) fn scalar<'q, T>(statement: &'static str) -> QueryScalar<'q, Postgres, T, PgArguments>
where
    (T,): for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>,
{
    sqlx::query_scalar(statement).persistent(false)
}

/// Does it anew while the database says that it may.
pub(super) async fn repeated<T, F>(doing: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    repeated_where(is_for_another_try, doing).await
}

/// The same for what can be done twice. Behind a pooler a session in which somebody listens may be handed on, and what that one is told
/// comes in the place of an answer.
pub(super) async fn repeated_whatever_was_kept<T, F>(doing: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let again = |error: &sqlx::Error| {
        is_for_another_try(error) || matches!(error, sqlx::Error::Protocol(_))
    };
    repeated_where(again, doing).await
}

async fn repeated_where<T, F>(
    again: impl Fn(&sqlx::Error) -> bool,
    doing: impl Fn() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 1..MOST_TRIES {
        match doing().await {
            Err(error) if by_the_driver(&error).is_some_and(&again) => {
                tracing::debug!("begun anew: {error}");
            }
            done => return done,
        }
    }
    doing().await
}

/// What the driver said, of a migration too.
fn by_the_driver(error: &StoreError) -> Option<&sqlx::Error> {
    match error {
        StoreError::Database(error)
        | StoreError::Migration(
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _),
        ) => Some(error),
        _ => None,
    }
}

/// Whether the database kept nothing and would do the same now.
pub(super) fn is_for_another_try(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| AGAIN.contains(&code.as_ref()))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;
    use std::time::Duration;

    use super::super::PostgresStore;
    use super::super::real::Postgres;
    use super::*;
    use crate::store::Store;

    /// Goes on with it when it is woken, until that was `times`.
    async fn goes_on(times: usize, doing: impl Future) {
        let (mut doing, mut left) = (pin!(doing), times);
        std::future::poll_fn(|context| {
            left -= 1;
            match doing.as_mut().poll(context) {
                Poll::Pending if left > 0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
    }

    async fn open_transactions(store: &PostgresStore) -> i64 {
        let mut transaction = begin(&store.reading, For::Usual).await.unwrap();
        scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
             AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(&mut *transaction)
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn a_transaction_whose_beginning_is_broken_off_does_not_stay_open() {
        let address = Postgres::shared().database();
        let store = PostgresStore::open(&address.parse().unwrap())
            .await
            .unwrap();
        for times in 1..12 {
            goes_on(times, begin(&store.writing, For::Snapshot)).await;
            // Sooner than the database ends those that do nothing.
            let over = tokio::time::timeout(Duration::from_secs(2), async {
                while open_transactions(&store).await > 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
            assert!(over.await.is_ok(), "broken off after {times}");
        }
    }

    #[tokio::test]
    async fn nobody_reads_in_a_transaction_that_was_left_open() {
        let address = Postgres::shared().database().parse().unwrap();
        let [store, other] = [
            PostgresStore::open(&address).await.unwrap(),
            PostgresStore::open(&address).await.unwrap(),
        ];
        // One connection, and nobody has it.
        let returned = async || {
            while store.reading.num_idle() == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(store.reading.size(), 1);
        };
        let mut place = store.place().await.unwrap();
        for left in [
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT writes FROM head",
            "BEGIN; SELECT 1 / 0",
        ] {
            returned().await;
            let mut connection = store.reading.acquire().await.unwrap();
            let done = sqlx::raw_sql(left).execute(&mut *connection).await;
            assert_eq!(done.is_err(), left.ends_with('0'));
            drop(connection);
            returned().await;
            place = other.append(place, &[], &[]).await.unwrap();
            assert_eq!(store.place().await.unwrap(), place, "{left}");
        }
    }
}
