//! What an elevation left, as the record says it.

use serde::Serialize;

use super::kind::Item;
use super::ledger::{Left, Whose, Window};
use crate::record::{LINE_BYTES, Record};

/// The kind of the event.
pub(crate) const EVENT: &str = "elevation.residue";
/// Things listed of one elevation, in all its events; of the others there is only a count.
const MOST_ITEMS: usize = 200;
/// A longer path is cut.
const LONGEST_PATH: usize = 512;
/// What of a line is left for things: the rest names whose they are, and the chain.
const ITEMS_BYTES: usize = LINE_BYTES / 2;

#[derive(Serialize)]
struct Note<'a> {
    #[serde(flatten)]
    whose: &'a Whose,
    items: &'a [Item],
    /// Things that are not listed, here or in another event about the same elevation.
    #[serde(skip_serializing_if = "is_zero")]
    more: usize,
    /// False where there may be something that was not found.
    complete: bool,
    /// Another elevation was open at the same time, and it may have been that one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    one_of_several: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Writes it down, in as many events as it takes. Nothing where nothing was left and all was looked at.
pub(super) fn write(record: &Record, window: &Window, left: Left) {
    let Left {
        mut items,
        complete,
    } = left;
    let more = items.len().saturating_sub(MOST_ITEMS);
    items.truncate(MOST_ITEMS);
    items.iter_mut().for_each(shorten);
    let mut rest = items.as_slice();
    let mut first = true;
    while !rest.is_empty() || (first && !complete) {
        let (now, later) = rest.split_at(fitting(rest));
        let note = Note {
            whose: &window.whose,
            items: now,
            more: if first { more } else { 0 },
            complete,
            one_of_several: window.one_of_several,
        };
        if let Err(error) = record.write(EVENT, note) {
            tracing::error!("what {} left behind: {error}", window.whose.id);
        }
        (rest, first) = (later, false);
    }
}

fn shorten(item: &mut Item) {
    let path = &mut item.place.path;
    if let Some((end, _)) = path.char_indices().nth(LONGEST_PATH) {
        *path = format!("{}…", &path[..end]).into();
    }
}

/// How many of the first fit into one line: one at least, where there is one.
fn fitting(items: &[Item]) -> usize {
    let mut bytes = 0;
    let fits = |item: &&Item| {
        bytes += serde_json::to_string(item).map_or(0, |text| text.len() + 1);
        bytes <= ITEMS_BYTES
    };
    items
        .iter()
        .take_while(fits)
        .count()
        .max(1)
        .min(items.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::residue::kind::{Change, Kind, Place};
    use crate::residue::ledger::Ledger;
    use crate::residue::snapshot::Snapshot;
    use serde_json::{Value, json};

    fn window() -> Window {
        let mut ledger = Ledger::default();
        ledger.saw(Snapshot::default());
        let whose = Whose {
            id: "abcdefgh23".to_owned(),
            login: "l".repeat(32),
            principal: Some("p".repeat(64)),
            grant: Some("g7".to_owned()),
            gids: Default::default(),
        };
        ledger.open(whose, jiff::Timestamp::UNIX_EPOCH, true);
        ledger.windows["abcdefgh23"].clone()
    }

    fn written(left: Left) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::open(
            &folder.path().join("events"),
            &folder.path().join("log"),
            Clock::start(None),
        )
        .unwrap();
        write(&record, &window(), left);
        let (lines, _) = record.read_after(0, u64::MAX, 1 << 20).unwrap();
        assert!(lines.iter().all(|line| !line.contains("too_long_bytes")));
        lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].take())
            .collect()
    }

    fn items(count: usize, path: &str) -> Vec<Item> {
        (0..count)
            .map(|number| Item {
                place: Place {
                    kind: Kind::Unit,
                    path: format!("{path}{number}").into(),
                },
                change: Change::New,
            })
            .collect()
    }

    #[test]
    fn nothing_left_is_nothing_said() {
        let left = Left {
            items: vec![],
            complete: true,
        };
        assert_eq!(written(left), Vec::<Value>::new());
    }

    #[test]
    fn it_is_said_whose_it_was_and_what_became_of_each() {
        let said = written(Left {
            items: items(1, "/etc/"),
            complete: true,
        });
        assert_eq!(said.len(), 1);
        assert_eq!(
            (&said[0]["kind"], &said[0]["grant"], &said[0]["id"]),
            (
                &json!("elevation.residue"),
                &json!("g7"),
                &json!("abcdefgh23")
            )
        );
        assert_eq!(
            said[0]["items"],
            json!([{ "kind": "unit", "path": "/etc/0", "change": "new" }])
        );
        assert_eq!(
            (&said[0]["more"], &said[0]["one_of_several"]),
            (&Value::Null, &Value::Null)
        );
    }

    #[test]
    fn a_look_that_was_cut_short_is_said_even_where_nothing_was_found() {
        let said = written(Left {
            items: vec![],
            complete: false,
        });
        assert_eq!((said.len(), &said[0]["complete"]), (1, &json!(false)));
    }

    #[test]
    fn a_flood_becomes_a_bounded_list_with_a_count_and_no_line_is_too_long() {
        let long = format!("/{}", "\u{ffff}".repeat(2000));
        let said = written(Left {
            items: items(1000, &long),
            complete: true,
        });
        let listed: usize = said
            .iter()
            .map(|event| event["items"].as_array().unwrap().len())
            .sum();
        assert_eq!(listed, MOST_ITEMS);
        assert_eq!(said[0]["more"], json!(1000 - MOST_ITEMS));
        assert!(said[1..].iter().all(|event| event["more"].is_null()));
    }
}
