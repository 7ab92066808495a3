//! Writing, and finding out what became of a write whose acknowledgement was lost.

use std::time::Duration;

use sqlx::{Executor, PgConnection, PgTransaction};
use tokio::time::{Instant, sleep, timeout};

use super::lines::About;
use super::session::{For, begin, is_for_another_try, repeated, sql};
use super::{LONGEST, PostgresStore, place, write_at};
use crate::event::Entry;
use crate::store::rows::{self, signed};
use crate::store::{HostLines, Place, StoreError};
use jit_grant::HostId;

/// What the database tells of news by.
pub(super) const CHANNEL: &str = "jit_server";
/// Behind a pooler whoever writes may have the session in which a server once said LISTEN, and would be told in the middle of its own commit.
pub(super) const TELL: &str = "UNLISTEN jit_server; SELECT pg_notify('jit_server', '')";

/// So long it is tried to find out what became of a write.
const ASKING: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What is to be kept, all of it or none.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Own {
        entries: &'a [Entry],
        revisions: &'a [(HostId, u64)],
    },
    OfHost(&'a HostLines),
}

impl PostgresStore {
    /// Keeps `what` after the place that the record has come to. Until the commit is sent, any failure means that nothing was kept;
    /// where its answer does not come, the database is asked.
    pub(super) async fn write(&self, after: Place, what: What<'_>) -> Result<Place, StoreError> {
        repeated(|| self.write_once(after, what)).await
    }

    async fn write_once(&self, after: Place, what: What<'_>) -> Result<Place, StoreError> {
        let prepared = timeout(LONGEST, self.prepare(after, what));
        let prepared = prepared.await.unwrap_or(Err(StoreError::Silent(LONGEST)));
        let (transaction, come_to) = prepared?;
        match timeout(LONGEST, transaction.commit()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if is_for_another_try(&error) => return Err(error.into()),
            lost => {
                tracing::warn!("no answer to a commit, so the database is asked: {lost:?}");
                self.find_out(come_to).await?;
            }
        }
        Ok(come_to)
    }

    async fn prepare(
        &self,
        after: Place,
        what: What<'_>,
    ) -> Result<(PgTransaction<'static>, Place), StoreError> {
        let mut transaction = begin(&self.writing, For::Usual).await?;
        let raised = sql(
            "UPDATE head SET last_seq = GREATEST(last_seq, $1), writes = writes + 1 \
             WHERE writes = $2 AND last_seq <= $3 AND write_id IS NOT DISTINCT FROM $4 RETURNING last_seq, writes, write_id",
        )
        .bind(signed(what.last_seq(after))?)
        .bind(signed(after.writes)?)
        .bind(signed(after.last_seq)?)
        .bind(after.write.map(|id| id.to_string()))
        .fetch_optional(&mut *transaction)
        .await?;
        let come_to = place(&raised.ok_or(StoreError::Overtaken)?)?;
        match what {
            What::Own { entries, revisions } => {
                for entry in entries {
                    insert(&mut transaction, entry).await?;
                }
                for (host, revision) in revisions {
                    revise(&mut transaction, host, *revision, after.writes + 1).await?;
                }
            }
            What::OfHost(lines) => insert_lines(&mut transaction, after, lines).await?,
        }
        if self.tells {
            transaction.execute(TELL).await?;
        }
        Ok((transaction, come_to))
    }

    /// Whether the write by which the record comes to `come_to` was kept. What holds the head may be the write itself, not decided yet,
    /// so its row is waited for.
    async fn find_out(&self, come_to: Place) -> Result<(), StoreError> {
        let until = Instant::now() + ASKING;
        while Instant::now() < until {
            match timeout(LONGEST, self.was_kept(come_to)).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => {
                    return Err(StoreError::Database(sqlx::Error::Io(
                        std::io::ErrorKind::ConnectionReset.into(),
                    )));
                }
                Ok(Err(error)) => tracing::debug!("asked in vain: {error}"),
                Err(_) => tracing::debug!("asked in vain: no answer"),
            }
            sleep(ASK_AGAIN).await;
        }
        Err(StoreError::Uncertain)
    }

    async fn was_kept(&self, come_to: Place) -> Result<bool, StoreError> {
        let mut transaction = begin(&self.writing, For::Usual).await?;
        transaction
            .execute("SELECT one FROM head FOR UPDATE")
            .await?;
        let found = write_at(&mut transaction, come_to.writes).await?;
        Ok(found.is_some() && found == come_to.write)
    }
}

impl What<'_> {
    fn last_seq(&self, after: Place) -> u64 {
        match self {
            Self::Own { entries, .. } => entries.last().map_or(0, |entry| entry.seq),
            Self::OfHost(lines) => after.last_seq + lines.lines.len() as u64,
        }
    }
}

async fn insert(connection: &mut PgConnection, entry: &Entry) -> Result<(), StoreError> {
    sql("INSERT INTO event (seq, at, actor, body) VALUES ($1, $2, $3, $4)")
        .bind(signed(entry.seq)?)
        .bind(entry.at.to_string())
        .bind(entry.actor.to_string())
        .bind(rows::body(entry)?)
        .execute(connection)
        .await?;
    Ok(())
}

async fn revise(
    connection: &mut PgConnection,
    host: &HostId,
    revision: u64,
    write_no: u64,
) -> Result<(), StoreError> {
    sql(
        "INSERT INTO bundle_revision (host_id, revision, write_no) VALUES ($1, $2, $3) \
         ON CONFLICT (host_id) DO UPDATE SET revision = excluded.revision, write_no = excluded.write_no",
    )
    .bind(host.as_str())
    .bind(signed(revision)?)
    .bind(signed(write_no)?)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_lines(
    connection: &mut PgConnection,
    after: Place,
    lines: &HostLines,
) -> Result<(), StoreError> {
    for (seq, line) in (after.last_seq + 1..).zip(&lines.lines) {
        let about = About::of(&line.line);
        sql(
            "INSERT INTO host_event (seq, host_id, host, host_seq, head, line, kind, grant_id, session) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(signed(seq)?)
        .bind(lines.host_id.as_str())
        .bind(lines.host.as_str())
        .bind(signed(line.host_seq)?)
        .bind(line.head.as_str())
        .bind(line.line.as_str())
        .bind(about.kind)
        .bind(about.grant)
        .bind(about.session)
        .execute(&mut *connection)
        .await?;
    }
    if let Some(last) = lines.lines.last() {
        sql("INSERT INTO checkpoint (host_id, host_seq, document) VALUES ($1, $2, $3)")
            .bind(lines.host_id.as_str())
            .bind(signed(last.host_seq)?)
            .bind(lines.checkpoint.as_str())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
