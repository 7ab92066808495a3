//! The story of a request or grant: what the server knows of it, and what was open under its grants on hosts.

use serde_json::{Value, json};

use super::Here;
use super::audit::detail;
use super::left_behind::MOST_GRANTS;
use crate::error::Error;
use crate::server::{Event, Moment, Server, Sessions};
use crate::words::Times;

/// What the server says was open under a grant. null where it does not know: one of an earlier version.
pub(super) async fn of_grant(server: &Server, grant: &str) -> Result<Value, Error> {
    match server.get(&format!("/v1/grants/{grant}/sessions")).await {
        Err(Error::Problem { status: 404, .. }) => Ok(Value::Null),
        answer => answer,
    }
}

/// The same of each grant of a request, with the grant's id.
pub(super) async fn of_request(server: &Server, grants: &[String]) -> Result<Value, Error> {
    let mut all = Vec::new();
    for grant in grants.iter().take(MOST_GRANTS) {
        let mut sessions = of_grant(server, grant).await?;
        if let Some(fields) = sessions.as_object_mut() {
            fields.insert("grant".to_owned(), json!(grant));
            all.push(sessions);
        }
    }
    Ok(Value::Array(all))
}

/// One line for each moment, in the order in which they came.
pub(super) fn show(here: &Here, moments: &[Moment], sessions: &[Sessions]) {
    let times = here.times();
    let events = sessions
        .iter()
        .filter_map(|of| of.events.as_ref())
        .flatten();
    let on_hosts = events.map(|event| {
        let who = event.actor.clone().unwrap_or_default();
        (event.at, who, on_host(event, &times))
    });
    let own = moments.iter().map(|moment| {
        let what = times.localized(&moment.what);
        (moment.at, moment.actor.clone(), what)
    });
    let mut lines: Vec<_> = own.chain(on_hosts).collect();
    if lines.is_empty() {
        return;
    }
    lines.sort_by_key(|(at, ..)| *at);
    let rows: Vec<_> = lines
        .into_iter()
        .map(|(at, who, what)| vec![times.local(at), who, what])
        .collect();
    here.screen.say("");
    here.screen.table(&["WHEN", "WHO", "WHAT"], &rows, "");
    if sessions.iter().any(|of| of.events.is_none()) {
        here.screen
            .say("What was open on hosts is shown to whoever had it and to root.");
    }
    if sessions.iter().any(|of| !of.complete) {
        here.screen
            .say("Earlier logins are left out; jitctl audit list has them all.");
    }
}

/// Such as `login opened on web1: sshd from 192.0.2.7`.
fn on_host(event: &Event, times: &Times) -> String {
    let kind = event.kind.replace("session.", "login ");
    let kind = kind.replace(['.', '_'], " ");
    let what = format!("{kind} on {}", event.origin);
    match detail(event, times) {
        detail if detail.is_empty() => what,
        detail => format!("{what}: {detail}"),
    }
}
