//! What is read of the record for one answer: so many rows, and no more bytes than an answer may have.

use std::pin::pin;

use futures_util::{Stream, StreamExt};

use super::rows::{self, Readable};
use super::{Kept, StoreError};

/// Bytes of events and lines that are enough for one answer. Written anew in an answer they may be four times as many, and whoever reads
/// it takes 16 MiB.
pub(super) const ENOUGH: usize = 2 << 20;

/// The first of what was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Part<T> {
    /// In the order that was asked for.
    pub found: Vec<T>,
    /// There is more of it, within the number asked for, than the bytes of one answer are enough for.
    pub cut: bool,
}

impl<T> Part<T> {
    /// Where there is nothing.
    pub(crate) fn none() -> Self {
        let found = Vec::new();
        Self { found, cut: false }
    }
}

/// Reads `rows` until their bytes are enough. `read` gives what one of them has, and its bytes.
pub(super) async fn part<R, T>(
    rows: impl Stream<Item = Result<R, sqlx::Error>>,
    read: impl Fn(&R) -> Result<(T, usize), StoreError>,
) -> Result<Part<T>, StoreError> {
    let mut rows = pin!(rows);
    let (mut found, mut all) = (Vec::new(), 0);
    while let Some(row) = rows.next().await.transpose()? {
        if all >= ENOUGH {
            return Ok(Part { found, cut: true });
        }
        let (one, bytes) = read(&row)?;
        all += bytes;
        found.push(one);
    }
    Ok(Part { found, cut: false })
}

/// Something of the whole record, and its bytes.
pub(super) fn kept<'r>(row: &'r impl Readable<'r>) -> Result<(Kept, usize), StoreError> {
    let kept = rows::kept(row)?;
    let bytes = match &kept {
        Kept::Own(_) => row.text("body")?.len(),
        Kept::OfHost { line, .. } => line.len(),
    };
    Ok((kept, bytes))
}

/// A line alone, and its bytes.
pub(super) fn line<'r>(row: &'r impl Readable<'r>) -> Result<(String, usize), StoreError> {
    let line = row.text("line")?;
    let bytes = line.len();
    Ok((line, bytes))
}
