//! `jitctl audit`.

mod detail;
mod printed;
mod repeats;

use serde_json::json;

pub(super) use detail::detail;
use printed::Printed;

use super::Here;
use crate::chain;
use crate::error::{Error, Exit};
use crate::server::{AuditPage, Server};
use crate::trust::Trust;

/// Events that the server looks at for one answer at most.
const PAGE: u32 = 1_000;

/// Prints the trail after number `after`, or the newest part of it, page by page; with `alarms` nothing else of it.
pub(super) async fn list(
    here: &Here,
    after: u64,
    newest: Option<u64>,
    alarms: bool,
) -> Result<Exit, Error> {
    let server = here.server()?;
    let mut printed = Printed::new(here, alarms);
    let first = match newest {
        Some(newest) => format!("newest={newest}"),
        None => format!("after={after}"),
    };
    let read = read(&server, first, alarms, &mut printed).await;
    // What had come before it failed is printed all the same.
    printed.end(read.is_ok());
    read.map(|()| Exit::Done)
}

async fn read(
    server: &Server,
    first: String,
    alarms: bool,
    printed: &mut Printed<'_>,
) -> Result<(), Error> {
    let only = if alarms { "&alarms=true" } else { "" };
    let (mut from, mut last, mut limit) = (first, None, PAGE);
    loop {
        let path = format!("/v1/audit?{from}&limit={limit}{only}");
        let page: AuditPage = match server.get(&path).await {
            // Hosts can write long lines, and as many as these are too much for one answer.
            Err(Error::ServerNonsense { .. }) if limit > 1 => {
                limit /= 2;
                continue;
            }
            answer => server.parse(&answer?)?,
        };
        for event in page.events {
            printed.take(server, event)?;
        }
        // Such as `| head`, which has seen enough.
        let Some(next) = page.next.filter(|_| !printed.is_closed()) else {
            return Ok(());
        };
        if last.is_some_and(|last| next <= last) {
            return Err(server.nonsense("its pages of the record go round in circles"));
        }
        printed.reached(next);
        (from, last) = (format!("after={next}"), Some(next));
    }
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
