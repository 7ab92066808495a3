//! `jitctl audit`.

mod detail;
mod repeats;

use serde_json::{Value, json};

pub(super) use detail::detail;
use repeats::Repeats;

use super::Here;
use crate::chain;
use crate::error::{Error, Exit};
use crate::server::{AuditPage, Event};
use crate::trust::Trust;

/// Events in one answer of the server.
const PAGE: u32 = 500;
/// More pages than this are not followed: a server that never ends.
const MOST_PAGES: u32 = 10_000;

/// Prints the trail after number `after`, page by page; with `alarms` nothing else of it.
pub(super) async fn list(here: &Here, mut after: u64, alarms: bool) -> Result<Exit, Error> {
    let server = here.server()?;
    let mut all: Vec<Value> = Vec::new();
    for _ in 0..MOST_PAGES {
        let answer = server
            .get(&format!("/v1/audit?after={after}&limit={PAGE}"))
            .await?;
        let page: AuditPage = server.parse(&answer)?;
        let wanted = |event: &Value| !alarms || event["kind"] == "alarm";
        all.extend(page.events.into_iter().filter(wanted));
        match page.next.filter(|next| *next > after) {
            Some(next) => after = next,
            None => break,
        }
    }
    if here.json {
        here.screen.json(&all);
        return Ok(Exit::Done);
    }
    let events: Vec<Event> = server.parse(&Value::Array(all))?;
    let times = here.times();
    let mut repeats = Repeats::default();
    let shown: Vec<_> = events
        .iter()
        .filter(|event| !repeats.is_one(event))
        .collect();
    let rows: Vec<_> = shown
        .iter()
        .map(|event| {
            vec![
                event.seq.to_string(),
                times.local(event.at),
                event.origin.clone(),
                event.actor.clone().unwrap_or_default(),
                event.kind.clone(),
                event.subject.clone().unwrap_or_default(),
                detail(event, &times),
            ]
        })
        .collect();
    here.screen.table(
        &["NUMBER", "WHEN", "WHERE", "WHO", "WHAT", "ABOUT", "DETAIL"],
        &rows,
        if alarms {
            "No alarms."
        } else {
            "Nothing has happened."
        },
    );
    if shown.len() < events.len() {
        here.screen.note(format!(
            "{} decisions that came out as the one just before are left out; --json has them, and every field.",
            events.len() - shown.len()
        ));
    }
    Ok(Exit::Done)
}

/// Walks this host's event chain.
pub(super) fn verify(here: &Here) -> Result<Exit, Error> {
    here.require_root("reading the event chain")?;
    let trust = Trust::read(here.root())?;
    let host = trust
        .as_ref()
        .map(|trust| (&trust.host_id, trust.public_key));
    let found = chain::verify(&here.path("/var/lib/jit/events"), host)?;
    if here.json {
        here.screen.json(&json!({
            "sound": found.problems.is_empty(), "first": found.first, "last": found.last, "events": found.events,
            "checkpoint": found.checkpoint, "signature_checked": found.signature_checked, "problems": found.problems,
        }));
    } else {
        report(here, &found);
    }
    Ok(if found.problems.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn report(here: &Here, found: &chain::Findings) {
    for problem in &found.problems {
        here.screen.say(format!("error: {problem}"));
    }
    if found.events == 0 {
        return here.screen.say("The event chain is empty.");
    }
    if found.first > 1 {
        here.screen.say(format!("It begins at number {}: older events have been dropped to make room, and the server has them.", found.first));
    }
    match found.checkpoint {
        Some(seq) if found.signature_checked => here.screen.say(format!("The host's signature covers it up to number {seq}.")),
        Some(seq) => here.screen.say(format!("There is a checkpoint at number {seq}; its signature was not checked, since this host is not enrolled.")),
        None => here.screen.say("No checkpoint is signed yet."),
    }
    if found.problems.is_empty() {
        here.screen.say(format!(
            "Events {} to {} of this host's own chain are whole: nothing was changed or taken out.",
            found.first, found.last
        ));
    }
}
