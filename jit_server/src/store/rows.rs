//! What both databases keep as text and signed numbers, read back into what it was.

use std::borrow::Cow;

use jit_grant::{HostId, HostName};
use serde::{Deserialize, Serialize};
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::{Kept, StoreError};
use crate::event::{Entry, Event, Via};

/// A row of either database, of which text and numbers are read by their columns' names.
pub(super) trait Readable<'r>: Row {
    fn number(&'r self, column: &str) -> sqlx::Result<i64>;
    fn text(&'r self, column: &str) -> sqlx::Result<String>;
    fn text_if_any(&'r self, column: &str) -> sqlx::Result<Option<String>>;
}

impl<'r, R> Readable<'r> for R
where
    R: Row,
    for<'c> &'c str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    fn number(&'r self, column: &str) -> sqlx::Result<i64> {
        self.try_get(column)
    }

    fn text(&'r self, column: &str) -> sqlx::Result<String> {
        self.try_get(column)
    }

    fn text_if_any(&'r self, column: &str) -> sqlx::Result<Option<String>> {
        self.try_get(column)
    }
}

/// Something of the whole record.
pub(super) fn kept<'r>(row: &'r impl Readable<'r>) -> Result<Kept, StoreError> {
    let Some(host) = row.text_if_any("host")? else {
        return Ok(Kept::Own(Box::new(entry(row)?)));
    };
    let seq = row.number("seq")?;
    let host: HostName = parsed(seq, host)?;
    Ok(Kept::OfHost {
        seq: unsigned(seq)?,
        host,
        line: row.text("line")?,
    })
}

/// An event.
pub(super) fn entry<'r>(row: &'r impl Readable<'r>) -> Result<Entry, StoreError> {
    let seq = row.number("seq")?;
    let damaged = |why: String| StoreError::Damaged { seq, why };
    let body = row.text("body")?;
    let body: Body<'_> = serde_json::from_str(&body).map_err(|error| damaged(error.to_string()))?;
    let event = body.event.into_owned();
    if let Event::RecordNeeds(needs) = &event
        && !needs.is_known()
    {
        return Err(StoreError::Newer {
            seq: unsigned(seq)?,
            version: needs.version,
            what: needs.what.clone(),
        });
    }
    let at = row.text("at")?.parse();
    let at = at.map_err(|error: jiff::Error| damaged(error.to_string()))?;
    Ok(Entry {
        seq: unsigned(seq)?,
        at,
        actor: parsed(seq, row.text("actor")?)?,
        event,
        via: body.via.map(Cow::into_owned),
    })
}

/// The last revision of a host's bundle.
pub(super) fn revision<'r>(row: &'r impl Readable<'r>) -> Result<(HostId, u64), StoreError> {
    let revision = unsigned(row.number("revision")?)?;
    Ok((parsed(0, row.text("host_id")?)?, revision))
}

/// What an event's row has as its body: the event, and how the call came in beside it. No event has a field of that name.
#[derive(Serialize, Deserialize)]
struct Body<'e> {
    #[serde(flatten)]
    event: Cow<'e, Event>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    via: Option<Cow<'e, Via>>,
}

/// What an event's row has as its body.
pub(super) fn body(entry: &Entry) -> Result<String, StoreError> {
    let body = Body {
        event: Cow::Borrowed(&entry.event),
        via: entry.via.as_ref().map(Cow::Borrowed),
    };
    serde_json::to_string(&body).map_err(encode)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Actor;

    fn read(body: &str) -> (Event, Option<Via>) {
        let body: Body<'_> = serde_json::from_str(body).unwrap();
        (body.event.into_owned(), body.via.map(Cow::into_owned))
    }

    #[test]
    fn a_row_of_before_is_read_as_it_was_and_one_with_its_call_by_the_version_before() {
        let via = Via {
            token: Some("u7".parse().unwrap()),
            from: "192.0.2.1".parse().unwrap(),
            uid: None,
            once: None,
        };
        for before in [
            r#"{"kind":"restore_confirmed"}"#,
            r#"{"kind":"withdrawn","request":"r7"}"#,
            r#"{"kind":"host_state","name":"web-1","host_id":"h00000000000000000000000000000000","at":"2026-11-22T12:00:00Z","version":"0.1.0","gates":{}}"#,
            r#"{"kind":"call_refused","call":"POST /v1/users","status":403,"why":"no","from":"192.0.2.1"}"#,
        ] {
            let (event, none) = read(before);
            assert_eq!(none, None);
            assert_eq!(event, serde_json::from_str::<Event>(before).unwrap());
            let entry = Entry {
                seq: 1,
                at: "2026-11-22T12:00:00Z".parse().unwrap(),
                actor: Actor::Server,
                event: event.clone(),
                via: Some(via.clone()),
            };
            let written = body(&entry).unwrap();
            assert_eq!(read(&written), (event.clone(), Some(via.clone())));
            // What the version before makes of it.
            assert_eq!(serde_json::from_str::<Event>(&written).unwrap(), event);
        }
    }
}
