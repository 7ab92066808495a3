//! `jit-server restored`.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ago, print_json, say};
use crate::cli::RestoredOptions;
use crate::client::Client;
use crate::error::Error;

/// Names in one line at most.
const MOST_NAMES: usize = 20;

#[derive(Debug, Serialize, Deserialize)]
struct Standing {
    unconfirmed: Option<Unconfirmed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Unconfirmed {
    at: Timestamp,
    by: String,
    copy_seq: u64,
    copy_at: Timestamp,
    mark: Option<u64>,
    ahead: BTreeMap<String, u64>,
    unheard: Vec<String>,
}

/// `jit-server restored`.
///
/// # Errors
/// Where the server refuses.
pub async fn restored(
    options: RestoredOptions,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), Error> {
    let client = Client::new(&options.reach.socket);
    let standing: Standing = if options.confirm {
        client.post("/v1/restored/confirm", &json!({})).await?
    } else if options.declare {
        client.post("/v1/restored", &json!({})).await?
    } else {
        client.get("/v1/restored").await?
    };
    if options.json {
        return print_json(out, &standing);
    }
    let text = match standing.unconfirmed {
        Some(unconfirmed) => told(&unconfirmed, now),
        None if options.confirm => "People may ask and approve.\n".to_owned(),
        None => "No older copy of the database was put back that is not confirmed.\n".to_owned(),
    };
    say(out, &text)
}

fn told(restored: &Unconfirmed, now: Timestamp) -> String {
    let Unconfirmed { copy_seq, .. } = restored;
    let mark = match restored.mark {
        Some(mark) => format!("this machine had come to event {mark}"),
        None => "how far it had come this machine does not know".to_owned(),
    };
    format!(
        "An older copy of the database was put back: it ends with event {copy_seq}, {}; {mark}.
Noticed by {} {}: all grants, undecided requests and tokens have ended, and nobody may ask or approve.
Hosts that were told more: {}
Hosts not heard of since:  {}

Now see to what the copy does not know, as far as you do: lock people again, remove hosts, set users, groups, keys and policy right.
Hosts enrolled since the copy are unknown and must enrol again. Then: jit-server restored --confirm
",
        ago(restored.copy_at, now),
        restored.by,
        ago(restored.at, now),
        names(restored.ahead.keys()),
        names(restored.unheard.iter()),
    )
}

fn names<'a>(all: impl ExactSizeIterator<Item = &'a String>) -> String {
    let count = all.len();
    let first: Vec<&str> = all.take(MOST_NAMES).map(String::as_str).collect();
    match count.saturating_sub(MOST_NAMES) {
        _ if count == 0 => "none".to_owned(),
        0 => first.join(" "),
        more => format!("{} and {more} more", first.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_differs_and_what_to_do_and_stays_short() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let restored = Unconfirmed {
            at: at("2026-11-22T12:00:00Z"),
            by: "@server".to_owned(),
            copy_seq: 7,
            copy_at: at("2026-11-22T10:00:00Z"),
            mark: Some(31),
            ahead: BTreeMap::from([("web-1".to_owned(), 1)]),
            unheard: (0..500).map(|n| format!("db-{n}")).collect(),
        };
        let said = told(&restored, at("2026-11-22T12:05:00Z"));
        for part in [
            "ends with event 7, 2 h ago",
            "come to event 31",
            "told more: web-1\n",
            "db-19 and 480 more",
            "restored --confirm",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(said.len() < 1_500);
    }
}
