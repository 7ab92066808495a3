//! Answers to calls with a key. They are read and written beside the record, never in a turn.

use super::PostgresStore;
use super::session::{For, begin, sql};
use crate::once::Digest;
use crate::store::StoreError;
use crate::store::answers::{self, Answered, CallAnswer};
use crate::store::rows::signed;

impl PostgresStore {
    pub(super) async fn keep(&self, of: Answered, answer: &CallAnswer) -> Result<(), StoreError> {
        let mut transaction = begin(&self.reading, For::Usual).await?;
        sql(
            "INSERT INTO call_answer (key, seq, at, status, body) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key) DO UPDATE \
             SET seq = excluded.seq, at = excluded.at, status = excluded.status, body = excluded.body",
        )
        .bind(of.key.to_string())
        .bind(signed(of.seq)?)
        .bind(of.at())
        .bind(i64::from(answer.status))
        .bind(answer.body.as_str())
        .execute(&mut *transaction)
        .await?;
        // Another server may be at the same rows; whoever comes first takes them.
        sql(
            "DELETE FROM call_answer WHERE key IN (SELECT key FROM call_answer WHERE at < $1 \
             OR at < (SELECT at FROM call_answer ORDER BY at DESC OFFSET $2 LIMIT 1) FOR UPDATE SKIP LOCKED)",
        )
        .bind(of.forget_before())
        .bind(answers::MOST - 1)
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    pub(super) async fn kept(
        &self,
        key: Digest,
        seq: u64,
    ) -> Result<Option<CallAnswer>, StoreError> {
        let mut transaction = begin(&self.reading, For::Usual).await?;
        let row = sql("SELECT status, body FROM call_answer WHERE key = $1 AND seq = $2")
            .bind(key.to_string())
            .bind(signed(seq)?)
            .fetch_optional(&mut *transaction)
            .await?;
        row.as_ref().map(answers::answer).transpose()
    }
}
