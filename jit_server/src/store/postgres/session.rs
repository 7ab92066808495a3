//! How the database is spoken to. A pooler in between may give each transaction another session, and one session to several servers in turn:
//! so nothing is set but for one transaction, no statement keeps a name, and nothing is locked for longer.

use std::future::Future;

use sqlx::postgres::{PgArguments, PgPool};
use sqlx::query::{Query, QueryScalar};
use sqlx::{PgTransaction, Postgres};

use crate::store::StoreError;

/// As often a transaction is begun anew before the database is taken for one that can't do it.
const MOST_TRIES: u32 = 10;
/// Codes by which the database says that it kept nothing, and that the same may be done at once: others were first, or each of two waited
/// for the other. Where all transactions are serializable that is usual.
const AGAIN: [&str; 2] = ["40001", "40P01"];

/// What a transaction begins with. A turn is waited for no longer than `lock_timeout`; a server that stands still in its turn loses it
/// after `idle_in_transaction_session_timeout`. `synchronous_commit` may be stronger, never weaker: also `remote_write` loses what was
/// acknowledged, where a standby takes over that lost its power.
macro_rules! begin {
    ($begin:literal, $longest:literal) => {
        concat!(
            $begin,
            "; SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = ",
            $longest,
            "; SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL client_min_messages = warning; \
             SELECT set_config('synchronous_commit', 'on', true) \
             WHERE current_setting('synchronous_commit', true) IN ('off', 'local', 'remote_write')"
        )
    };
}

/// A usual one: no statement lasts longer than 14 s.
const USUAL: &str = begin!("BEGIN", "'14s'");
/// All that it reads is of one moment.
const SNAPSHOT: &str = begin!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "'14s'");
/// The same for what is done once as a server starts, and lasts as long as the record is large.
const WHOLE_RECORD: &str = begin!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "0");
/// For migrations, which last as long. What one of before left prepared in this session, as it failed, is in the way of the next.
const MIGRATION: &str = begin!("BEGIN; DEALLOCATE ALL", "0");

/// What a transaction is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum For {
    Usual,
    Snapshot,
    WholeRecord,
    Migration,
}

pub(super) async fn begin(pool: &PgPool, what: For) -> sqlx::Result<PgTransaction<'static>> {
    let begin = match what {
        For::Usual => USUAL,
        For::Snapshot => SNAPSHOT,
        For::WholeRecord => WHOLE_RECORD,
        For::Migration => MIGRATION,
    };
    pool.begin_with(begin).await
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
    for _ in 1..MOST_TRIES {
        match doing().await {
            Err(StoreError::Database(error)) if is_for_another_try(&error) => {
                tracing::debug!("begun anew: {error}");
            }
            done => return done,
        }
    }
    doing().await
}

/// Whether the database kept nothing and would do the same now.
pub(super) fn is_for_another_try(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| AGAIN.contains(&code.as_ref()))
}
