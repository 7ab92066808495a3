//! The record in PostgreSQL, or in a database that speaks its protocol, for any number of servers.
//!
//! Whoever writes has locked the one row of `turn`, and has read what others kept before. Each write also raises the one row of `head`
//! from what it knows, so that also a server that lost its turn without knowing (its connection died, it was stopped for a while)
//! writes nothing after a place that it has not seen. Each write has an id, by which a copy is told apart that went on by itself.

mod address;
mod answers;
mod lines;
mod session;
mod write;

#[cfg(test)]
#[path = "../../tests/common/postgres.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
mod real;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jit_grant::{ChainHead, GrantId, HostId, HostName, PublicKey};
use sqlx::postgres::{PgListener, PgPool, PgRow};
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::rows::{entry, parsed, revision, signed, unsigned};
use super::{
    Answered, CallAnswer, HostHead, HostLines, Id, Kept, Loaded, Part, Piece, Place, Store,
    StoreError, Turn,
};
use super::{part, piece};
use crate::event::Entry;
use crate::once::Digest;

use session::{For, begin, pool, repeated, repeated_whatever_was_kept, scalar, sql};

pub use address::{Address, AddressError};

/// Held until the migrations are over; the number says nothing.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(7443)";

/// One call of the store lasts no longer, so that nobody waits for ever for a database that is cut off.
const LONGEST: Duration = Duration::from_secs(15);
/// A connection is waited for no longer.
const CONNECTING: Duration = Duration::from_secs(5);
/// From a lost listener to the next.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

const LEFT_BEHIND: &str = "SELECT line FROM host_event WHERE host = $1 AND grant_id = $2 \
     AND kind = 'elevation.residue' ORDER BY seq LIMIT $3";

/// A session may be carried on by another grant than it began with, so its lines do not all name the same.
const SESSIONS_OF: &str = "SELECT seq, NULL AS at, NULL AS actor, NULL AS body, host, line FROM host_event \
     WHERE host = $1 AND session IN (SELECT session FROM host_event WHERE host = $1 AND grant_id = $2 AND session IS NOT NULL) \
     ORDER BY seq DESC LIMIT $3";

const PIECES: &str = "(SELECT seq, at, actor, body, NULL AS host_id, NULL AS host, NULL::BIGINT AS host_seq, NULL AS head, NULL AS line, NULL AS document \
     FROM event WHERE seq > $1 ORDER BY seq LIMIT $2) \
     UNION ALL (SELECT seq, NULL, NULL, NULL, host_id, host, host_seq, head, line, document \
     FROM host_event LEFT JOIN checkpoint USING (host_id, host_seq) WHERE seq > $1 ORDER BY seq LIMIT $2) ORDER BY seq LIMIT $2";

/// A database that several servers share.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    /// For turns, for writing, and for what others wrote: never used up by people who read.
    writing: PgPool,
    reading: PgPool,
    told: Arc<Notify>,
    /// The database tells of what was kept.
    tells: bool,
    listening: AbortHandle,
}

impl PostgresStore {
    /// Connects to the database and brings it to this version.
    ///
    /// # Errors
    /// Where it can't be reached, is of a newer version, or would lose what it acknowledged.
    pub async fn open(address: &Address) -> Result<Self, StoreError> {
        // A pool goes on trying until its time is over, and says no more than that.
        let options = address.options();
        let first = timeout(CONNECTING, PgConnection::connect_with(&options)).await;
        let first = first.map_err(|_| StoreError::Silent(CONNECTING))??;
        first.close().await?;
        let writing = pool(6).connect_with(address.options()).await?;
        let reading = pool(4).connect_lazy_with(address.options());
        repeated_whatever_was_kept(|| demand_safety(&writing)).await?;
        repeated_whatever_was_kept(|| migrate(&writing)).await?;
        let tells = writing.execute(write::TELL).await.is_ok();
        let told = Arc::new(Notify::new());
        let listening = tokio::spawn(listen(writing.clone(), Arc::clone(&told), tells));
        Ok(Self {
            writing,
            reading,
            told,
            tells,
            listening: listening.abort_handle(),
        })
    }

    /// Everything after `place`, as it was at one moment: a revision goes with the events that led to it.
    async fn read(&self, place: Place) -> Result<Loaded, StoreError> {
        let what = match place == Place::default() {
            true => For::WholeRecord,
            false => For::Snapshot,
        };
        let mut snapshot = begin(&self.writing, what).await?;
        let found = head(&mut snapshot).await?;
        let was_there = place.write == write_at(&mut snapshot, place.writes).await?;
        if !was_there || found.last_seq < place.last_seq || found.writes < place.writes {
            return Err(StoreError::WentBack {
                found: found.last_seq,
                known: place.last_seq,
            });
        }
        let events = sql("SELECT seq, at, actor, body FROM event WHERE seq > $1 ORDER BY seq")
            .bind(signed(place.last_seq)?)
            .fetch_all(&mut *snapshot)
            .await?;
        let revisions = sql("SELECT host_id, revision FROM bundle_revision WHERE write_no > $1")
            .bind(signed(place.writes)?)
            .fetch_all(&mut *snapshot)
            .await?;
        // The database waits for nobody who reads a long record.
        drop(snapshot);
        Ok(Loaded {
            entries: events.iter().map(entry).collect::<Result<_, _>>()?,
            revisions: revisions.iter().map(revision).collect::<Result<_, _>>()?,
            place: found,
        })
    }
}

impl Store for PostgresStore {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        Box::pin(repeated(|| self.read(Place::default())))
    }

    fn identity(&self) -> BoxFuture<'_, Result<Id, StoreError>> {
        within(move || async move {
            let mut transaction = begin(&self.writing, For::Usual).await?;
            let id: String = scalar("SELECT id FROM database_id")
                .fetch_one(&mut *transaction)
                .await?;
            parsed(0, id)
        })
    }

    fn was_at(&self, place: Place) -> BoxFuture<'_, Result<bool, StoreError>> {
        within(move || async move {
            let mut transaction = begin(&self.writing, For::Usual).await?;
            Ok(write_at(&mut transaction, place.writes).await? == place.write)
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn turn(&self) -> BoxFuture<'_, Result<Turn, StoreError>> {
        within(move || async move {
            let mut transaction = begin(&self.writing, For::Usual).await?;
            transaction
                .execute("SELECT one FROM turn FOR UPDATE")
                .await?;
            Ok(Turn {
                _held: Some(Box::new(transaction)),
            })
        })
    }

    fn since(&self, place: Place) -> BoxFuture<'_, Result<Option<Loaded>, StoreError>> {
        within(move || async move {
            if newest_head(&self.writing).await? == place {
                return Ok(None);
            }
            self.read(place).await.map(Some)
        })
    }

    fn told(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.told.notified())
    }

    fn first_key(&self, ours: PublicKey) -> BoxFuture<'_, Result<Option<PublicKey>, StoreError>> {
        within(move || async move {
            let mut transaction = begin(&self.writing, For::Usual).await?;
            sql("INSERT INTO first_key (public_key) VALUES ($1) ON CONFLICT DO NOTHING")
                .bind(ours.to_string())
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            // Another server's may have been first, which that transaction need not see.
            let mut transaction = begin(&self.writing, For::Usual).await?;
            let kept: String = scalar("SELECT public_key FROM first_key")
                .fetch_one(&mut *transaction)
                .await?;
            parsed(0, kept).map(Some)
        })
    }

    fn exchange_heard<'a>(
        &'a self,
        known: &'a [HostId],
        heard: &'a [HostId],
    ) -> BoxFuture<'a, Result<Vec<(HostId, i64)>, StoreError>> {
        within(move || async move {
            let mut transaction = begin(&self.writing, For::Usual).await?;
            // In one order everywhere, so that two servers don't wait for each other's rows.
            sql(
                "INSERT INTO heard (host_id, beats) SELECT host_id, 1 FROM unnest($1::TEXT[]) AS of (host_id) ORDER BY host_id \
                 ON CONFLICT (host_id) DO UPDATE SET beats = heard.beats + 1",
            )
            .bind(texts(heard))
            .execute(&mut *transaction)
            .await?;
            sql("DELETE FROM heard WHERE NOT (host_id = ANY ($1))")
                .bind(texts(known))
                .execute(&mut *transaction)
                .await?;
            let rows = sql("SELECT host_id, beats FROM heard")
                .fetch_all(&mut *transaction)
                .await?;
            transaction.commit().await?;
            rows.iter()
                .map(|row| Ok((parsed(0, row.try_get("host_id")?)?, row.try_get("beats")?)))
                .collect()
        })
    }

    fn append<'a>(
        &'a self,
        after: Place,
        entries: &'a [Entry],
        revisions: &'a [(HostId, u64)],
    ) -> BoxFuture<'a, Result<Place, StoreError>> {
        Box::pin(self.write(after, write::What::Own { entries, revisions }))
    }

    fn append_host_lines<'a>(
        &'a self,
        after: Place,
        lines: &'a HostLines,
    ) -> BoxFuture<'a, Result<Place, StoreError>> {
        Box::pin(self.write(after, write::What::OfHost(lines)))
    }

    fn host_head<'a>(
        &'a self,
        host: &'a HostId,
    ) -> BoxFuture<'a, Result<Option<HostHead>, StoreError>> {
        within(move || async move {
            let last = "SELECT host_seq, head FROM host_event WHERE host_id = $1 ORDER BY host_seq DESC LIMIT 1";
            let mut transaction = begin(&self.writing, For::Usual).await?;
            let row = sql(last)
                .bind(host.as_str())
                .fetch_optional(&mut *transaction)
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
        within(move || async move {
            let mut transaction = begin(&self.reading, For::Usual).await?;
            let rows = sql(LEFT_BEHIND)
                .bind(host.as_str())
                .bind(grant.as_str())
                .bind(i64::from(limit))
                .fetch(&mut *transaction);
            part::part(rows, |row| part::line(row)).await
        })
    }

    fn sessions_of<'a>(
        &'a self,
        host: &'a HostName,
        grant: &'a GrantId,
        limit: u32,
    ) -> BoxFuture<'a, Result<Part<Kept>, StoreError>> {
        within(move || async move {
            let mut transaction = begin(&self.reading, For::Usual).await?;
            let rows = sql(SESSIONS_OF)
                .bind(host.as_str())
                .bind(grant.as_str())
                .bind(i64::from(limit))
                .fetch(&mut *transaction);
            part::part(rows, |row| part::kept(row)).await
        })
    }

    fn record(&self, after: u64, limit: u32) -> BoxFuture<'_, Result<Part<Kept>, StoreError>> {
        within(move || async move {
            let both = "(SELECT seq, at, actor, body, NULL AS host, NULL AS line FROM event WHERE seq > $1 ORDER BY seq LIMIT $2) \
                        UNION ALL (SELECT seq, NULL, NULL, NULL, host, line FROM host_event WHERE seq > $1 ORDER BY seq LIMIT $2) \
                        ORDER BY seq LIMIT $2";
            let mut transaction = begin(&self.reading, For::Usual).await?;
            let rows = sql(both)
                .bind(signed(after)?)
                .bind(i64::from(limit))
                .fetch(&mut *transaction);
            part::part(rows, |row| part::kept(row)).await
        })
    }

    fn pieces(&self, after: u64) -> BoxFuture<'_, Result<Vec<Piece>, StoreError>> {
        within(move || async move {
            let mut transaction = begin(&self.reading, For::Usual).await?;
            let rows = sql(PIECES)
                .bind(signed(after)?)
                .bind(i64::from(piece::MOST_ROWS))
                .fetch(&mut *transaction);
            piece::pieces(rows).await
        })
    }

    fn place(&self) -> BoxFuture<'_, Result<Place, StoreError>> {
        within(move || async move { newest_head(&self.reading).await })
    }

    fn revisions(&self) -> BoxFuture<'_, Result<Vec<(HostId, u64)>, StoreError>> {
        within(move || async move {
            let mut transaction = begin(&self.reading, For::Usual).await?;
            let rows = sql("SELECT host_id, revision FROM bundle_revision")
                .fetch_all(&mut *transaction)
                .await?;
            rows.iter().map(revision).collect()
        })
    }

    fn take_identity(&self, id: Id) -> BoxFuture<'_, Result<(), StoreError>> {
        within(move || async move {
            let mut transaction = begin(&self.writing, For::Usual).await?;
            // A server that writes its first event at this moment is waited for.
            transaction
                .execute("SELECT one FROM head FOR UPDATE")
                .await?;
            sql("UPDATE database_id SET id = $1 WHERE EXISTS (SELECT 1 FROM head WHERE last_seq = 0 AND writes = 0)")
                .bind(id.to_string())
                .execute(&mut *transaction)
                .await?;
            Ok(transaction.commit().await?)
        })
    }

    fn keep_answer<'a>(
        &'a self,
        of: Answered,
        answer: &'a CallAnswer,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        within(move || self.keep(of, answer))
    }

    fn answer(
        &self,
        key: Digest,
        seq: u64,
    ) -> BoxFuture<'_, Result<Option<CallAnswer>, StoreError>> {
        within(move || self.kept(key, seq))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.listening.abort();
            // A database that is cut off must not keep the server from stopping.
            let closed = async {
                self.reading.close().await;
                self.writing.close().await;
            };
            let _ = timeout(CONNECTING, closed).await;
        })
    }
}

/// Refuses a database that would lose what it acknowledged.
async fn demand_safety(pool: &PgPool) -> Result<(), StoreError> {
    for setting in ["fsync", "full_page_writes"] {
        let mut transaction = begin(pool, For::Usual).await?;
        let found: Option<String> = scalar("SELECT current_setting($1, true)")
            .bind(setting)
            .fetch_one(&mut *transaction)
            .await?;
        if found.as_deref() == Some("off") {
            return Err(StoreError::Unsafe(setting));
        }
    }
    Ok(())
}

/// Brings the database to this version, all of it or nothing. Servers that start at the same moment do it one after the other.
async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    let mut transaction = begin(pool, For::Migration).await?;
    transaction.execute(ONE_AT_A_TIME).await?;
    let mut migrations = sqlx::migrate!("migrations/postgres");
    // The lock that it would take is a session's, which nobody would hold behind a pooler, or for ever.
    migrations.set_locking(false);
    migrations.run(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// Passes on what the database tells. Where it tells nothing, or while it is away, the servers look by themselves.
async fn listen(pool: PgPool, told: Arc<Notify>, tells: bool) {
    while tells && !pool.is_closed() {
        let heard = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(write::CHANNEL).await?;
            loop {
                listener.try_recv().await?;
                told.notify_one();
            }
        };
        let ended: Result<(), sqlx::Error> = heard.await;
        if let Err(error) = ended {
            tracing::debug!("the database tells of nothing for a moment: {error}");
        }
        sleep(LISTEN_AGAIN).await;
    }
}

fn within<'a, T: 'a, F>(doing: impl Fn() -> F + Send + 'a) -> BoxFuture<'a, Result<T, StoreError>>
where
    F: Future<Output = Result<T, StoreError>> + Send + 'a,
{
    Box::pin(async move {
        timeout(LONGEST, repeated(doing))
            .await
            .unwrap_or(Err(StoreError::Silent(LONGEST)))
    })
}

/// How far the record has come, in a transaction.
async fn head(transaction: &mut PgConnection) -> Result<Place, StoreError> {
    let row = sqlx::raw_sql("SELECT last_seq, writes, write_id FROM head");
    place(&row.fetch_one(transaction).await?)
}

/// The same by itself. It is asked often, so it is one message, which is a transaction of its own.
async fn newest_head(pool: &PgPool) -> Result<Place, StoreError> {
    let row = sqlx::raw_sql(
        "SET LOCAL statement_timeout = '14s'; SELECT last_seq, writes, write_id FROM head",
    );
    place(&row.fetch_one(pool).await?)
}

/// What the write of this number is called. None: it has no id, or there is none yet.
async fn write_at(transaction: &mut PgConnection, writes: u64) -> Result<Option<Id>, StoreError> {
    let id: Option<String> = scalar("SELECT id FROM written WHERE write_no = $1")
        .bind(signed(writes)?)
        .fetch_optional(transaction)
        .await?;
    id.map(|id| parsed(0, id)).transpose()
}

fn place(row: &PgRow) -> Result<Place, StoreError> {
    let write: Option<String> = row.try_get("write_id")?;
    Ok(Place {
        last_seq: unsigned(row.try_get("last_seq")?)?,
        writes: unsigned(row.try_get("writes")?)?,
        write: write.map(|id| parsed(0, id)).transpose()?,
    })
}

fn texts(hosts: &[HostId]) -> Vec<String> {
    hosts.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests;
