//! What both databases keep as text and signed numbers, read back into what it was.

use crate::event::{Entry, Event};

use super::StoreError;

/// An event as a row has it.
pub(super) fn entry(seq: i64, at: &str, actor: String, body: &str) -> Result<Entry, StoreError> {
    let damaged = |why: String| StoreError::Damaged { seq, why };
    let event: Event = serde_json::from_str(body).map_err(|error| damaged(error.to_string()))?;
    let at = at
        .parse()
        .map_err(|error: jiff::Error| damaged(error.to_string()))?;
    Ok(Entry {
        seq: unsigned(seq)?,
        at,
        actor: parsed(seq, actor)?,
        event,
    })
}

/// What an event's row has as its body.
pub(super) fn body(event: &Event) -> Result<String, StoreError> {
    serde_json::to_string(event).map_err(encode)
}

pub(super) fn parsed<T: TryFrom<String, Error: std::fmt::Display>>(
    seq: i64,
    text: String,
) -> Result<T, StoreError> {
    T::try_from(text).map_err(|error| StoreError::Damaged {
        seq,
        why: error.to_string(),
    })
}

/// The databases' integers are signed.
pub(super) fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(encode)
}

pub(super) fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Damaged {
        seq: number,
        why: "it is below zero".to_owned(),
    })
}

fn encode(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Database(sqlx::Error::Encode(Box::new(error)))
}
