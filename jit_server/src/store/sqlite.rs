//! The record in SQLite.

mod answers;

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jit_grant::{ChainHead, GrantId, HostId, HostName};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Row, Sqlite, Transaction};

use super::rows::{self, entry, parsed, revision, signed, unsigned};
use super::session_lines::SESSION_LINES;
use super::{
    Answered, CallAnswer, HostHead, HostLines, Id, Kept, Loaded, Part, Piece, Place, Store,
    StoreError, Turn,
};
use super::{part, piece};
use crate::event::Entry;
use crate::once::Digest;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// In the words of the index `host_event_left_behind`.
const LEFT_BEHIND: &str = "SELECT line FROM host_event WHERE json_extract(line, '$.event.kind') = 'elevation.residue' \
     AND host = ?1 AND json_extract(line, '$.event.grant') = ?2 ORDER BY seq LIMIT ?3";

/// In the words of the indices `host_event_sessions_of_grant` and `host_event_session`. A session may be carried on by another grant
/// than it began with, so its lines do not all name the same.
static SESSIONS_OF: LazyLock<String> = LazyLock::new(|| {
    let kinds = SESSION_LINES.join("', '");
    let sessions = format!("json_extract(line, '$.event.kind') IN ('{kinds}') AND host = ?1");
    format!(
        "SELECT seq, NULL AS at, NULL AS actor, NULL AS body, host, line FROM host_event WHERE {sessions} \
         AND json_extract(line, '$.event.id') IN (SELECT json_extract(line, '$.event.id') FROM host_event WHERE {sessions} \
         AND json_extract(line, '$.event.grant') = ?2) ORDER BY seq DESC LIMIT ?3"
    )
});

const PIECES: &str = "SELECT seq, at, actor, body, NULL AS host_id, NULL AS host, NULL AS host_seq, NULL AS head, NULL AS line, NULL AS document \
     FROM event WHERE seq > ?1 \
     UNION ALL SELECT seq, NULL, NULL, NULL, host_id, host, host_seq, head, line, document \
     FROM host_event LEFT JOIN checkpoint USING (host_id, host_seq) WHERE seq > ?1 ORDER BY seq";

/// Changes nothing that anybody reads, and is written also where it was so before.
const WRITTEN_OVER: &str = "PRAGMA user_version = 1";

/// What a database says that had no room for a commit: the log lacks the end of it, and nobody goes by it.
const FULL: &str = "13";

/// A database file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it where there is none, and brings it to this version.
    ///
    /// # Errors
    /// Where the file can't be used or is of a newer version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // In WAL mode anything less may lose the last commits when the power goes.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(3)
            .min_connections(1)
            .connect_with(options)
            .await?;
        MIGRATIONS.run(&pool).await?;
        Ok(Self { pool })
    }

    /// Where the disk fails at the very end, all of it is in the log though SQLite does not go by it, and is there again after a crash that comes
    /// before anything else is written. So something else is, in its place.
    async fn commit(&self, transaction: Transaction<'static, Sqlite>) -> Result<(), StoreError> {
        let Err(error) = transaction.commit().await else {
            return Ok(());
        };
        tracing::error!("a commit failed, and what was to be kept is written over: {error}");
        let over = sqlx::query(WRITTEN_OVER).execute(&self.pool).await;
        Err(failed(error, over.is_ok()))
    }
}

impl Store for SqliteStore {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        Box::pin(async {
            let rows = sqlx::query("SELECT seq, at, actor, body FROM event ORDER BY seq")
                .fetch_all(&self.pool)
                .await?;
            let entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
            let revisions = self.revisions().await?;
            Ok(Loaded {
                entries,
                revisions,
                place: self.place().await?,
            })
        })
    }

    fn identity(&self) -> BoxFuture<'_, Result<Id, StoreError>> {
        Box::pin(async {
            let id: String = sqlx::query_scalar("SELECT id FROM database_id")
                .fetch_one(&self.pool)
                .await?;
            parsed(0, id)
        })
    }

    /// Writes have no ids here.
    fn was_at(&self, _: Place) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async { Ok(true) })
    }

    /// No other server writes: the folder is locked.
    fn turn(&self) -> BoxFuture<'_, Result<Turn, StoreError>> {
        Box::pin(async { Ok(Turn { _held: None }) })
    }

    fn append<'a>(
        &'a self,
        after: Place,
        entries: &'a [Entry],
        revisions: &'a [(HostId, u64)],
    ) -> BoxFuture<'a, Result<Place, StoreError>> {
        Box::pin(async move {
            let mut transaction = self.pool.begin().await?;
            for entry in entries {
                insert(&mut transaction, entry).await?;
            }
            for (host, revision) in revisions {
                let upsert = "INSERT INTO bundle_revision (host_id, revision) VALUES (?, ?) \
                              ON CONFLICT (host_id) DO UPDATE SET revision = excluded.revision";
                sqlx::query(upsert)
                    .bind(host.as_str())
                    .bind(signed(*revision)?)
                    .execute(&mut *transaction)
                    .await?;
            }
            self.commit(transaction).await?;
            let last_seq = entries.last().map_or(after.last_seq, |entry| entry.seq);
            Ok(Place { last_seq, ..after })
        })
    }

    fn append_host_lines<'a>(
        &'a self,
        after: Place,
        lines: &'a HostLines,
    ) -> BoxFuture<'a, Result<Place, StoreError>> {
        Box::pin(async move {
            let mut transaction = self.pool.begin().await?;
            for (seq, line) in (after.last_seq + 1..).zip(&lines.lines) {
                sqlx::query("INSERT INTO host_event (seq, host_id, host, host_seq, head, line) VALUES (?, ?, ?, ?, ?, ?)")
                    .bind(signed(seq)?)
                    .bind(lines.host_id.as_str())
                    .bind(lines.host.as_str())
                    .bind(signed(line.host_seq)?)
                    .bind(line.head.as_str())
                    .bind(line.line.as_str())
                    .execute(&mut *transaction)
                    .await?;
            }
            if let Some(last) = lines.lines.last() {
                sqlx::query(
                    "INSERT INTO checkpoint (host_id, host_seq, document) VALUES (?, ?, ?)",
                )
                .bind(lines.host_id.as_str())
                .bind(signed(last.host_seq)?)
                .bind(lines.checkpoint.as_str())
                .execute(&mut *transaction)
                .await?;
            }
            self.commit(transaction).await?;
            let last_seq = after.last_seq + lines.lines.len() as u64;
            Ok(Place { last_seq, ..after })
        })
    }

    fn host_head<'a>(
        &'a self,
        host: &'a HostId,
    ) -> BoxFuture<'a, Result<Option<HostHead>, StoreError>> {
        Box::pin(async {
            let last = "SELECT host_seq, head FROM host_event WHERE host_id = ? ORDER BY host_seq DESC LIMIT 1";
            let row = sqlx::query(last)
                .bind(host.as_str())
                .fetch_optional(&self.pool)
                .await?;
            row.map(|row| {
                let host_seq: i64 = row.try_get("host_seq")?;
                let head: ChainHead = parsed(host_seq, row.try_get("head")?)?;
                Ok(HostHead {
                    host_seq: unsigned(host_seq)?,
                    head,
                })
            })
            .transpose()
        })
    }

    fn left_behind<'a>(
        &'a self,
        host: &'a HostName,
        grant: &'a GrantId,
        limit: u32,
    ) -> BoxFuture<'a, Result<Part<String>, StoreError>> {
        Box::pin(async move {
            let rows = sqlx::query(LEFT_BEHIND)
                .bind(host.as_str())
                .bind(grant.as_str())
                .bind(limit)
                .fetch(&self.pool);
            part::part(rows, |row| part::line(row)).await
        })
    }

    fn sessions_of<'a>(
        &'a self,
        host: &'a HostName,
        grant: &'a GrantId,
        limit: u32,
    ) -> BoxFuture<'a, Result<Part<Kept>, StoreError>> {
        Box::pin(async move {
            let rows = sqlx::query(SESSIONS_OF.as_str())
                .bind(host.as_str())
                .bind(grant.as_str())
                .bind(limit)
                .fetch(&self.pool);
            part::part(rows, |row| part::kept(row)).await
        })
    }

    fn record(&self, after: u64, limit: u32) -> BoxFuture<'_, Result<Part<Kept>, StoreError>> {
        Box::pin(async move {
            let both = "SELECT seq, at, actor, body, NULL AS host, NULL AS line FROM event WHERE seq > ?1 \
                        UNION ALL SELECT seq, NULL, NULL, NULL, host, line FROM host_event WHERE seq > ?1 \
                        ORDER BY seq LIMIT ?2";
            let rows = sqlx::query(both)
                .bind(signed(after)?)
                .bind(limit)
                .fetch(&self.pool);
            part::part(rows, |row| part::kept(row)).await
        })
    }

    fn pieces(&self, after: u64) -> BoxFuture<'_, Result<Vec<Piece>, StoreError>> {
        Box::pin(async move {
            let rows = sqlx::query(PIECES).bind(signed(after)?).fetch(&self.pool);
            piece::pieces(rows).await
        })
    }

    fn place(&self) -> BoxFuture<'_, Result<Place, StoreError>> {
        Box::pin(async {
            let last: i64 = sqlx::query_scalar(
                "SELECT max((SELECT coalesce(max(seq), 0) FROM event), (SELECT coalesce(max(seq), 0) FROM host_event))",
            )
            .fetch_one(&self.pool)
            .await?;
            Ok(Place {
                last_seq: unsigned(last)?,
                ..Place::default()
            })
        })
    }

    fn revisions(&self) -> BoxFuture<'_, Result<Vec<(HostId, u64)>, StoreError>> {
        Box::pin(async {
            let rows = sqlx::query("SELECT host_id, revision FROM bundle_revision")
                .fetch_all(&self.pool)
                .await?;
            rows.iter().map(revision).collect()
        })
    }

    fn take_identity(&self, id: Id) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let empty = "UPDATE database_id SET id = ? WHERE NOT EXISTS (SELECT 1 FROM event) AND NOT EXISTS (SELECT 1 FROM host_event)";
            sqlx::query(empty)
                .bind(id.to_string())
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }

    fn keep_answer<'a>(
        &'a self,
        of: Answered,
        answer: &'a CallAnswer,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.keep(of, answer))
    }

    fn answer(
        &self,
        key: Digest,
        seq: u64,
    ) -> BoxFuture<'_, Result<Option<CallAnswer>, StoreError>> {
        Box::pin(self.kept(key, seq))
    }

    /// All of it is in the one file after this.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.close())
    }
}

/// What became of a commit that failed.
fn failed(error: sqlx::Error, is_written_over: bool) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code());
    match is_written_over || code.is_some_and(|code| code == FULL) {
        true => error.into(),
        false => StoreError::Uncertain,
    }
}

async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    entry: &Entry,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO event (seq, at, actor, body) VALUES (?, ?, ?, ?)")
        .bind(signed(entry.seq)?)
        .bind(entry.at.to_string())
        .bind(entry.actor.to_string())
        .bind(rows::body(entry)?)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn opened(folder: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&folder.path().join("jit-server.db"))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_commit_is_on_disk_before_it_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let store = opened(&folder).await;
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
            .fetch_one(&store.pool)
            .await
            .unwrap();
        let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&store.pool)
            .await
            .unwrap();
        assert_eq!((synchronous, journal.as_str()), (2, "wal"));
    }

    #[tokio::test]
    async fn a_commit_that_failed_is_written_over_before_it_is_said_that_nothing_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = opened(&folder).await;
        // Fails as it is committed, and not before.
        sqlx::raw_sql(
            "CREATE TABLE kept (seq INTEGER PRIMARY KEY); \
             CREATE TABLE due (seq INTEGER REFERENCES kept DEFERRABLE INITIALLY DEFERRED); \
             CREATE TRIGGER is_due AFTER INSERT ON bundle_revision BEGIN INSERT INTO due VALUES (NEW.revision); END",
        )
        .execute(&store.pool)
        .await
        .unwrap();
        let host = |digit: &str| -> HostId { format!("h{}", digit.repeat(32)).parse().unwrap() };
        let place = Place::default();
        let lost = store.append(place, &[], &[(host("0"), 7)]).await;
        assert!(matches!(lost, Err(StoreError::Database(_))), "{lost:?}");
        assert!(store.revisions().await.unwrap().is_empty());
        let over: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&store.pool)
            .await
            .unwrap();
        assert_eq!(over, 1);
        sqlx::query("INSERT INTO kept VALUES (8)")
            .execute(&store.pool)
            .await
            .unwrap();
        store.append(place, &[], &[(host("1"), 8)]).await.unwrap();
        assert_eq!(store.revisions().await.unwrap(), [(host("1"), 8)]);
    }

    #[tokio::test]
    async fn what_is_written_over_a_commit_is_in_the_log_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = opened(&folder).await;
        let log = folder.path().join("jit-server.db-wal");
        let mut before = log.metadata().unwrap().len();
        for _ in 0..3 {
            sqlx::query(WRITTEN_OVER)
                .execute(&store.pool)
                .await
                .unwrap();
            let now = log.metadata().unwrap().len();
            assert!(now > before, "{before} bytes, {now} bytes");
            before = now;
        }
    }

    #[test]
    fn nobody_knows_of_a_commit_that_failed_and_was_not_written_over() {
        let broken = || sqlx::Error::Io(std::io::ErrorKind::Other.into());
        assert!(matches!(failed(broken(), false), StoreError::Uncertain));
        assert!(matches!(failed(broken(), true), StoreError::Database(_)));
    }

    async fn plan(store: &SqliteStore, query: &str) -> Vec<String> {
        let query = format!("EXPLAIN QUERY PLAN {query}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .fetch_all(&store.pool)
            .await
            .unwrap();
        rows.iter().map(|row| row.get("detail")).collect()
    }

    #[tokio::test]
    async fn what_is_looked_for_by_host_and_grant_is_found_without_reading_the_whole_record() {
        let folder = tempfile::tempdir().unwrap();
        let store = opened(&folder).await;
        let sessions = plan(&store, &SESSIONS_OF).await.join("\n");
        for index in ["host_event_session ", "host_event_sessions_of_grant "] {
            assert!(sessions.contains(index), "{sessions}");
        }
        let left_behind = plan(&store, LEFT_BEHIND).await;
        assert!(
            left_behind[0].contains("host_event_left_behind"),
            "{left_behind:?}"
        );
    }
}
