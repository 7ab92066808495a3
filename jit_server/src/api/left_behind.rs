//! What elevations left behind on a host, as the host found it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use jit_grant::GrantId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::caller::Caller;
use super::input::Path;
use super::{grants, input};
use crate::server::Server;

/// Lines of hosts read for one answer at most, the oldest.
const MOST_LINES: u32 = 200;
/// Things in one answer at most.
const MOST_LISTED: usize = 2_000;

/// What the elevations of a grant may have left behind: it changed on the host while they were open, and their end does not undo it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct LeftBehind {
    items: Vec<Thing>,
    /// So many more were found than are listed.
    more: u64,
    /// false: the host could not look at everything, or there is more than fits here.
    complete: bool,
}

/// Something that was left behind.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Thing {
    /// When the host wrote it down, soon after the end.
    at: Timestamp,
    /// The host's name for the elevation.
    elevation: String,
    /// unit, cron, authorized_keys, sudoers, setuid, service, …
    kind: String,
    path: String,
    /// new, changed or gone.
    change: String,
    /// true: another elevation was open at the same time, and it may have been that one.
    one_of_several: bool,
}

/// A host's line of the kind `elevation.residue`, as jitd writes it.
#[derive(Deserialize)]
struct Line {
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    at: Timestamp,
    id: String,
    items: Vec<Item>,
    #[serde(default)]
    more: u64,
    complete: bool,
    #[serde(default)]
    one_of_several: bool,
}

#[derive(Deserialize)]
struct Item {
    kind: String,
    path: String,
    change: String,
}

/// What the elevations of a grant left behind.
#[utoipa::path(get, path = "/v1/grants/{id}/left-behind", tag = "people", params(("id" = String, Path)), responses(
    (status = 200, body = LeftBehind),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<LeftBehind>, Problem> {
    let id = input::id::<GrantId>(id)?;
    grants::seen(&server, &caller, &id)?;
    let lines = server.left_behind(&id, MOST_LINES).await?;
    let mut all = read(&lines.found);
    all.complete &= !lines.cut;
    Ok(Json(all))
}

fn read(lines: &[String]) -> LeftBehind {
    let mut all = LeftBehind {
        complete: lines.len() < MOST_LINES as usize,
        ..LeftBehind::default()
    };
    for line in lines {
        // A host of a later version may write them otherwise.
        let Ok(Line { event }) = serde_json::from_str(line) else {
            all.complete = false;
            continue;
        };
        all.complete &= event.complete;
        all.more = all.more.saturating_add(event.more);
        all.items.extend(event.items.into_iter().map(|item| Thing {
            at: event.at,
            elevation: event.id.clone(),
            kind: item.kind,
            path: item.path,
            change: item.change,
            one_of_several: event.one_of_several,
        }));
    }
    all.more = all
        .more
        .saturating_add(all.items.len().saturating_sub(MOST_LISTED) as u64);
    all.items.truncate(MOST_LISTED);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(items: usize, more: u64, complete: bool) -> String {
        let item = json!({ "kind": "unit", "path": "/etc/x", "change": "new" });
        json!({
            "event": {
                "seq": 9, "at": "2026-11-24T02:00:00Z", "kind": "elevation.residue", "id": "abcdefgh23", "login": "ann", "grant": "g7",
                "items": vec![item; items], "more": more, "complete": complete,
            },
            "prev": "0",
        })
        .to_string()
    }

    #[test]
    fn the_lines_of_all_elevations_are_one_list() {
        let all = read(&[line(2, 0, true), line(1, 3, true)]);
        assert_eq!((all.items.len(), all.more, all.complete), (3, 3, true));
        assert!(!read(&[line(1, 0, true), line(0, 0, false)]).complete);
        let none = read(&[]);
        assert_eq!((none.items.len(), none.complete), (0, true));
    }

    #[test]
    fn what_can_not_be_read_or_does_not_fit_is_not_passed_over_in_silence() {
        assert!(!read(&["{}".to_owned()]).complete);
        let flood = read(&vec![line(60, 0, true); 100]);
        assert_eq!((flood.items.len(), flood.more), (MOST_LISTED, 4_000));
        assert!(!read(&vec![line(1, 0, true); MOST_LINES as usize]).complete);
    }
}
