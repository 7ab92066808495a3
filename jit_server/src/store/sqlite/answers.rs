//! Answers to calls with a key.

use super::SqliteStore;
use crate::once::Digest;
use crate::store::StoreError;
use crate::store::answers::{self, Answered, CallAnswer};
use crate::store::rows::signed;

impl SqliteStore {
    pub(super) async fn keep(&self, of: Answered, answer: &CallAnswer) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO call_answer (key, seq, at, status, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE \
             SET seq = excluded.seq, at = excluded.at, status = excluded.status, body = excluded.body",
        )
        .bind(of.key.to_string())
        .bind(signed(of.seq)?)
        .bind(of.at())
        .bind(answer.status)
        .bind(answer.body.as_str())
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "DELETE FROM call_answer WHERE at < ?1 OR at < (SELECT at FROM call_answer ORDER BY at DESC LIMIT 1 OFFSET ?2)",
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
        let row = sqlx::query("SELECT status, body FROM call_answer WHERE key = ? AND seq = ?")
            .bind(key.to_string())
            .bind(signed(seq)?)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(answers::answer).transpose()
    }
}
