//! `jitctl request`: asking, and waiting for the decision.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::Here;
use super::list::time;
use crate::cli;
use crate::error::{Error, Exit};
use crate::server::{Grant, Request, Server};
use crate::words::{clean, span};

/// The server holds its answer back for so long while nothing changes.
const HOLD: Duration = Duration::from_secs(30);
/// While waiting, a server that restarts is given a minute.
const TRIES: u32 = 30;
const BETWEEN_TRIES: Duration = Duration::from_secs(2);

/// Asks for a role.
pub(super) async fn request(here: &Here, wanted: cli::Request) -> Result<Exit, Error> {
    let server = here.server()?;
    let answer = ask(here, &server, wanted).await?;
    report(here, &server, &answer).await
}

/// Asks, and waits for the decision where that is wanted: the request as it then stands.
pub(super) async fn ask(
    here: &Here,
    server: &Server,
    wanted: cli::Request,
) -> Result<Value, Error> {
    let hosts: Vec<_> = wanted.host.iter().map(ToString::to_string).collect();
    let mut body = json!({
        "role": wanted.role, "hosts": hosts, "reason": wanted.reason, "ticket": wanted.ticket,
    });
    if let Some(lasting) = wanted.lasting {
        body["for_seconds"] = json!(lasting.as_secs());
    }
    // A server of before these would refuse a key that it does not know.
    if !wanted.labels.is_empty() {
        body["labels"] = json!(by_key(wanted.labels));
    }
    if let Some(start) = &wanted.from {
        let start = start.resolve(&here.times());
        body["not_before"] = json!(start.map_err(|problem| Error::Other {
            problem,
            remedy: "jitctl request ROLE --from TIME --for TIME --reason TEXT".to_owned(),
            exit: Exit::Usage,
        })?);
    }
    let answer = server.post("/v1/requests", &body).await?;
    let asked: Request = server.parse(&answer)?;
    if asked.state != "pending" || !wanted.wait {
        return Ok(answer);
    }
    here.screen.note(format!(
        "{} is asked. Waiting for approval; Ctrl-C leaves it pending.",
        clean(&asked.id)
    ));
    wait_for_decision(here, server, &asked.id).await
}

/// The values given for each key.
fn by_key(labels: Vec<(String, String)>) -> BTreeMap<String, BTreeSet<String>> {
    let mut values: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (key, value) in labels {
        values.entry(key).or_default().insert(value);
    }
    values
}

/// The request once it is no longer pending.
pub(super) async fn wait_for_decision(
    here: &Here,
    server: &Server,
    id: &str,
) -> Result<Value, Error> {
    let path = format!(
        "/v1/requests/{id}?wait_seconds={}&while=pending",
        HOLD.as_secs()
    );
    let decided = async {
        let mut failures = 0;
        loop {
            match server.get_within(&path, HOLD).await {
                Ok(answer) if server.parse::<Request>(&answer)?.state == "pending" => failures = 0,
                Err(Error::ServerAway { .. } | Error::ServerSlow { .. }) if failures < TRIES => {
                    failures += 1;
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                answer => return answer,
            }
        }
    };
    let interrupted = async {
        // Without a handler Ctrl-C ends us anyway.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        answer = here.screen.wait(format!("waiting for approval of {}", clean(id)), decided) => answer,
        () = interrupted => Err(Error::StillPending(id.to_owned())),
    }
}

/// Says how the request stands, with the exit code that goes with it. The time is read anew: it may have been waited for.
pub(super) async fn report(here: &Here, server: &Server, answer: &Value) -> Result<Exit, Error> {
    let here = &here.later()?;
    let request: Request = server.parse(answer)?;
    if here.json {
        here.screen.json(answer);
    }
    let exit = match request.state.as_str() {
        "approved" => Exit::Done,
        "pending" => Exit::Pending,
        _ => {
            return Err(Error::NotApproved {
                id: clean(&request.id),
                state: clean(&request.state),
                why: request.denied.map(|denied| {
                    clean(&format!(
                        "{} said: {}",
                        denied.by,
                        denied.reason.unwrap_or_default()
                    ))
                }),
            });
        }
    };
    if !here.json && exit == Exit::Pending {
        let left = request.lapses_at.duration_since(here.now.wall);
        here.screen.say(format!(
            "{} is asked and lapses in {}. `jitctl show {}` says how it stands.",
            clean(&request.id),
            span(left),
            clean(&request.id)
        ));
    }
    if !here.json && exit == Exit::Done {
        here.screen
            .say(format!("{} is approved.", clean(&request.id)));
        for id in &request.grants {
            let grant: Grant = server.parse(&server.get(&format!("/v1/grants/{id}")).await?)?;
            let opens = grant.allow.join(" ");
            here.screen.say(clean(&format!(
                "{}: {} on {} ({opens}) {}",
                grant.id,
                grant.login,
                grant.host,
                time(here, &grant)
            )));
        }
    }
    Ok(exit)
}
