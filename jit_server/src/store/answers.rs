//! Answers to calls with a key, for whoever repeats one. They are not part of the record, and losing them loses nothing but words.

use jiff::Timestamp;

use super::StoreError;
use super::rows::Readable;
use crate::once::Digest;

/// Answers at most; the oldest make way.
pub(super) const MOST: i64 = 4_096;
/// They are kept for so long: a day, in milliseconds.
const KEPT: i64 = 24 * 60 * 60 * 1_000;

/// What a call was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallAnswer {
    /// The HTTP status.
    pub status: u16,
    /// JSON.
    pub body: String,
}

/// Which call it is that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Of the caller and his key.
    pub key: Digest,
    /// The first event that the call made. With it, so that no answer is taken for that to a later call of the same key.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
}

impl Answered {
    /// Milliseconds, as both databases keep it.
    pub(super) fn at(&self) -> i64 {
        self.at.as_millisecond()
    }

    /// Answers of before are forgotten.
    pub(super) fn forget_before(&self) -> i64 {
        self.at().saturating_sub(KEPT)
    }
}

pub(super) fn answer<'r>(row: &'r impl Readable<'r>) -> Result<CallAnswer, StoreError> {
    let status = row.number("status")?;
    let status = u16::try_from(status).map_err(|_| StoreError::Damaged {
        seq: status,
        why: "it is no status".to_owned(),
    })?;
    Ok(CallAnswer {
        status,
        body: row.text("body")?,
    })
}
