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
                insert(&mut transaction, entries).await?;
                revise(&mut transaction, revisions, after.writes + 1).await?;
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

// One statement for all rows of a kind: a database on another machine is so far away that thousands of answers, one after the other, don't
// come in time.

async fn insert(connection: &mut PgConnection, entries: &[Entry]) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let seqs = entries.iter().map(|entry| signed(entry.seq));
    let ats = entries.iter().map(|entry| entry.at.to_string());
    let actors = entries.iter().map(|entry| entry.actor.to_string());
    let bodies = entries.iter().map(rows::body);
    sql(
        "INSERT INTO event (seq, at, actor, body) \
         SELECT seq, at, actor, body FROM unnest($1::BIGINT[], $2::TEXT[], $3::TEXT[], $4::TEXT[]) AS of (seq, at, actor, body)",
    )
    .bind(seqs.collect::<Result<Vec<_>, _>>()?)
    .bind(ats.collect::<Vec<_>>())
    .bind(actors.collect::<Vec<_>>())
    .bind(bodies.collect::<Result<Vec<_>, _>>()?)
    .execute(connection)
    .await?;
    Ok(())
}

/// No host may be among them twice.
async fn revise(
    connection: &mut PgConnection,
    revisions: &[(HostId, u64)],
    write_no: u64,
) -> Result<(), StoreError> {
    if revisions.is_empty() {
        return Ok(());
    }
    let hosts = revisions.iter().map(|(host, _)| host.to_string());
    let numbers = revisions.iter().map(|(_, revision)| signed(*revision));
    sql(
        "INSERT INTO bundle_revision (host_id, revision, write_no) \
         SELECT host_id, revision, $3 FROM unnest($1::TEXT[], $2::BIGINT[]) AS of (host_id, revision) \
         ON CONFLICT (host_id) DO UPDATE SET revision = excluded.revision, write_no = excluded.write_no",
    )
    .bind(hosts.collect::<Vec<_>>())
    .bind(numbers.collect::<Result<Vec<_>, _>>()?)
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
    let Some(last) = lines.lines.last() else {
        return Ok(());
    };
    let numbered = (after.last_seq + 1..).zip(&lines.lines);
    let seqs = numbered.map(|(seq, _)| signed(seq));
    let lines_in = lines.lines.iter();
    let host_seqs = lines_in.clone().map(|line| signed(line.host_seq));
    let heads = lines_in.clone().map(|line| line.head.as_str());
    let texts = lines_in.clone().map(|line| line.line.as_str());
    let (mut kinds, mut grants, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
    for about in lines_in.map(|line| About::of(&line.line)) {
        kinds.push(about.kind);
        grants.push(about.grant);
        sessions.push(about.session);
    }
    sql(
        "INSERT INTO host_event (seq, host_id, host, host_seq, head, line, kind, grant_id, session) \
         SELECT seq, $2, $3, host_seq, head, line, kind, grant_id, session \
         FROM unnest($1::BIGINT[], $4::BIGINT[], $5::TEXT[], $6::TEXT[], $7::TEXT[], $8::TEXT[], $9::TEXT[]) \
         AS of (seq, host_seq, head, line, kind, grant_id, session)",
    )
    .bind(seqs.collect::<Result<Vec<_>, _>>()?)
    .bind(lines.host_id.as_str())
    .bind(lines.host.as_str())
    .bind(host_seqs.collect::<Result<Vec<_>, _>>()?)
    .bind(heads.collect::<Vec<_>>())
    .bind(texts.collect::<Vec<_>>())
    .bind(kinds)
    .bind(grants)
    .bind(sessions)
    .execute(&mut *connection)
    .await?;
    sql("INSERT INTO checkpoint (host_id, host_seq, document) VALUES ($1, $2, $3)")
        .bind(lines.host_id.as_str())
        .bind(signed(last.host_seq)?)
        .bind(lines.checkpoint.as_str())
        .execute(connection)
        .await?;
    Ok(())
}
