//! `jit-server change`.

use std::fmt;
use std::io::Write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::loss::Loss;
use super::{ago, print_json, say, table, trimmed};
use crate::cli::ChangeCommand;
use crate::client::Client;
use crate::error::Error;

/// A change that waits for others, as whoever wanted it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Held {
    change: Option<String>,
    needs: u32,
    able: Vec<String>,
}

impl Held {
    /// True where it waits by now.
    pub(super) fn is_proposed(&self) -> bool {
        self.change.is_some()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = needed(self.needs, &self.able);
        match &self.change {
            Some(change) => write!(
                f,
                "Held as {change}: {needed}; they see it with `jitctl show {change}`."
            ),
            None => write!(f, "It would be held: {needed}."),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Change {
    id: String,
    state: String,
    by: String,
    at: Timestamp,
    lapses_at: Timestamp,
    reason: Option<String>,
    summary: Vec<String>,
    confirmed: Vec<Confirmed>,
    needs: u32,
    able: Vec<String>,
    ended: Option<End>,
    now: Option<Now>,
    policy_diff: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Confirmed {
    by: String,
    at: Timestamp,
    comment: Option<String>,
    counts: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    by: String,
    at: Timestamp,
    reason: Option<String>,
    alone: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Now {
    digest: Option<String>,
    refused: Option<String>,
    changes: Vec<Line>,
    lost: Option<Loss>,
    warnings: Vec<String>,
    policy_diff: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    sign: String,
    thing: String,
    name: String,
    details: Vec<String>,
}

/// `jit-server change`.
///
/// # Errors
/// Where the server refuses.
pub async fn change(
    command: ChangeCommand,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), Error> {
    let (change, json): (Change, bool) = match command {
        ChangeCommand::List(options) => {
            let client = Client::new(&options.reach.socket);
            let changes: Vec<Change> = client.get("/v1/changes").await?;
            return if options.json {
                print_json(out, &changes)
            } else {
                say(out, &listed(&changes, now))
            };
        }
        ChangeCommand::Show(options) => {
            let path = format!("/v1/changes/{}", options.change);
            let change = Client::new(&options.reach.socket).get(&path).await?;
            (change, options.json)
        }
        ChangeCommand::Withdraw(options) => {
            let path = format!("/v1/changes/{}/withdraw", options.change);
            let client = Client::new(&options.reach.socket);
            (client.post(&path, &json!({})).await?, options.json)
        }
        ChangeCommand::Confirm(options) => {
            let path = format!("/v1/changes/{}/alone", options.change);
            let client = Client::new(&options.reach.socket);
            let body: Value = json!({ "reason": options.reason });
            (client.post(&path, &body).await?, options.json)
        }
    };
    if json {
        return print_json(out, &change);
    }
    say(out, &told(&change, now))
}

fn listed(changes: &[Change], now: Timestamp) -> String {
    if changes.is_empty() {
        return "no changes\n".to_owned();
    }
    let mut table = table(&["CHANGE", "STATE", "SINCE", "CONFIRMED BY", "COMES TO"]);
    for change in changes {
        let confirmed: Vec<&str> = change.confirmed.iter().map(|one| one.by.as_str()).collect();
        table.add_row([
            change.id.clone(),
            change.state.clone(),
            ago(change.at, now),
            confirmed.join(", "),
            change.summary.join("\n"),
        ]);
    }
    trimmed(table)
}

fn told(change: &Change, now: Timestamp) -> String {
    let Change { id, state, by, .. } = change;
    let since = ago(change.at, now);
    let mut text = format!("{id} is {state}; {by} wanted it {since}");
    if let Some(reason) = &change.reason {
        text.push_str(&format!(": {reason}"));
    }
    text.push('\n');
    if let Some(end) = &change.ended {
        let alone = if end.alone { ", alone" } else { "" };
        text.push_str(&format!(
            "{state} by {}{alone} {}",
            end.by,
            ago(end.at, now)
        ));
        if let Some(reason) = &end.reason {
            text.push_str(&format!(": {reason}"));
        }
        text.push('\n');
    }
    match &change.now {
        Some(comes_to) => comes_to.add_to(&mut text, now),
        None => {
            text.push_str("What it came to when it was proposed:\n");
            for line in &change.summary {
                text.push_str(&format!("  {line}\n"));
            }
            text.push_str(change.policy_diff.as_deref().unwrap_or_default());
        }
    }
    for given in &change.confirmed {
        let lost = if given.counts == Some(false) {
            ", which counts no more"
        } else {
            ""
        };
        text.push_str(&format!(
            "confirmed by {} {}{lost}",
            given.by,
            ago(given.at, now)
        ));
        if let Some(comment) = &given.comment {
            text.push_str(&format!(": {comment}"));
        }
        text.push('\n');
    }
    if change.ended.is_none() {
        let needed = needed(change.needs, &change.able);
        let lapses = change.lapses_at;
        text.push_str(&format!("It {needed}, and lapses {lapses:.0}.\n"));
    }
    text
}

impl Now {
    fn add_to(&self, text: &mut String, now: Timestamp) {
        if let Some(refused) = &self.refused {
            text.push_str(&format!("It can't be made now: {refused}\n"));
            return;
        }
        text.push_str("What it comes to now:\n");
        if self.changes.is_empty() {
            text.push_str("  nothing, all is so already\n");
        }
        for line in &self.changes {
            let Line {
                sign, thing, name, ..
            } = line;
            text.push_str(&format!("  {sign} {thing} {name}"));
            if !line.details.is_empty() {
                text.push_str(&format!(": {}", line.details.join("; ")));
            }
            text.push('\n');
        }
        let lost = self.lost.as_ref().map(|lost| lost.lines(now));
        if let Some(lost) = lost.filter(|lost| !lost.is_empty()) {
            text.push_str(&format!("Lost by it:\n{lost}"));
        }
        for warning in &self.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        if let Some(diff) = &self.policy_diff {
            text.push_str(diff);
        }
    }
}

fn needed(needs: u32, able: &[String]) -> String {
    if able.is_empty() {
        return format!("needs {needs}, and nobody may confirm it");
    }
    format!("needs {needs} of {}", able.join(", "))
}
