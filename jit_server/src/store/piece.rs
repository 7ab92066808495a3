//! The record piece by piece, as another store takes it in.

use std::pin::pin;

use futures_util::{Stream, StreamExt};
use jit_grant::HostId;

use super::rows::{self, Readable, parsed, unsigned};
use super::{HostLine, HostLines, StoreError};
use crate::event::Entry;

/// What was kept at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// One of the servers' own events.
    Own(Box<Entry>),
    /// Lines of a host, under one signature.
    OfHost {
        /// Place of the first one in the whole record.
        first: u64,
        /// They themselves.
        lines: HostLines,
    },
}

impl Piece {
    /// Place of the last of it in the whole record.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        match self {
            Self::Own(entry) => entry.seq,
            Self::OfHost { first, lines } => first + (lines.lines.len() as u64).saturating_sub(1),
        }
    }
}

/// Rows that are asked for at a time, where the database would else prepare all of them, and that the other one takes in at a time: more
/// than a host's lines at one time are.
pub(super) const MOST_ROWS: u32 = 5_000;
/// Bytes of events and lines that are enough at a time: what a host sends at one is a small part of it.
const ENOUGH: usize = 4 << 20;

/// Puts the lines of hosts that came at one time together again. `rows` have the columns of an event and of a line in the order of the
/// record; what is cut off at their end, as its signature does not come, is left out.
pub(super) async fn pieces<R>(
    rows: impl Stream<Item = Result<R, sqlx::Error>>,
) -> Result<Vec<Piece>, StoreError>
where
    for<'r> R: Readable<'r>,
{
    let mut rows = pin!(rows);
    let mut pieces = Vec::new();
    let mut open: Option<(u64, HostLines)> = None;
    let (mut bytes, mut count) = (0, 0);
    while (bytes < ENOUGH && count < MOST_ROWS) || open.is_some() {
        let Some(row) = rows.next().await.transpose()? else {
            break;
        };
        count += 1;
        let Some(host_id) = row.text_if_any("host_id")? else {
            let entry = rows::entry(&row)?;
            bytes += row.text("body")?.len();
            if let Some((first, _)) = open {
                return Err(unsigned_lines(first));
            }
            pieces.push(Piece::Own(Box::new(entry)));
            continue;
        };
        let seq = row.number("seq")?;
        let host_id: HostId = parsed(seq, host_id)?;
        let (first, mut lines) = match open.take() {
            Some((first, lines)) if lines.host_id != host_id => return Err(unsigned_lines(first)),
            Some(begun) => begun,
            None => (
                unsigned(seq)?,
                HostLines {
                    host_id,
                    host: parsed(seq, row.text("host")?)?,
                    lines: Vec::new(),
                    checkpoint: String::new(),
                },
            ),
        };
        let line = row.text("line")?;
        bytes += line.len();
        lines.lines.push(HostLine {
            host_seq: unsigned(row.number("host_seq")?)?,
            head: parsed(seq, row.text("head")?)?,
            line,
        });
        match row.text_if_any("document")? {
            Some(checkpoint) => pieces.push(Piece::OfHost {
                first,
                lines: HostLines {
                    checkpoint,
                    ..lines
                },
            }),
            None => open = Some((first, lines)),
        }
    }
    Ok(pieces)
}

fn unsigned_lines(first: u64) -> StoreError {
    StoreError::Damaged {
        seq: i64::try_from(first).unwrap_or(i64::MAX),
        why: "lines of a host begin there that it did not sign".to_owned(),
    }
}
