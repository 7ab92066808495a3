//! `jitctl request` and `jitctl ensure`: asking, and waiting for the decision.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::Here;
use super::list::{Part, listed, time, until};
use crate::cli;
use crate::error::{Error, Exit};
use crate::server::{Grant, Request, Server, Whoami};
use crate::words::{clean, span};

/// The server holds its answer back for so long while nothing changes.
const HOLD: Duration = Duration::from_secs(30);
/// While waiting, a server that restarts is given a minute.
const TRIES: u32 = 30;
const BETWEEN_TRIES: Duration = Duration::from_secs(2);

/// Asks for a role.
pub(super) async fn request(here: &Here, wanted: cli::Request) -> Result<Exit, Error> {
    let server = here.server()?;
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
        return report(here, &server, &answer).await;
    }
    here.screen.note(format!(
        "{} is asked. Waiting for approval; Ctrl-C leaves it pending.",
        asked.id
    ));
    let decided = wait_for_decision(here, &server, &asked.id).await?;
    report(here, &server, &decided).await
}

/// The values given for each key.
fn by_key(labels: Vec<(String, String)>) -> BTreeMap<String, BTreeSet<String>> {
    let mut values: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (key, value) in labels {
        values.entry(key).or_default().insert(value);
    }
    values
}

/// Done at once where a grant is in force for long enough; else asks and waits.
pub(super) async fn ensure(here: &Here, wanted: cli::Ensure) -> Result<Exit, Error> {
    let server = here.server()?;
    let Some(me) = server
        .parse::<Whoami>(&server.get("/v1/whoami").await?)?
        .principal
    else {
        return Err(Error::Other {
            problem: "the server does not know you as somebody who can hold a grant".to_owned(),
            remedy: "run it as the user whom the server knows; administrators hold none".to_owned(),
            exit: Exit::Refused,
        });
    };
    if let Some((grant, answer)) = grant_in_force(here, &server, &me, &wanted).await? {
        if here.json {
            here.screen.json(&answer);
        } else {
            here.screen.say(format!(
                "{} is in force on {} until {}.",
                clean(&grant.id),
                clean(&grant.host),
                until(here, grant.expires)
            ));
        }
        return Ok(Exit::Done);
    }
    let id = match pending_request(&server, &me, &wanted).await? {
        Some(id) => id,
        None => return request(here, ask_for(wanted)?).await,
    };
    here.screen.note(format!(
        "{} is pending already. Waiting for approval; Ctrl-C leaves it pending.",
        clean(&id)
    ));
    let decided = wait_for_decision(here, &server, &id).await?;
    report(here, &server, &decided).await
}

async fn grant_in_force(
    here: &Here,
    server: &Server,
    me: &str,
    wanted: &cli::Ensure,
) -> Result<Option<(Grant, Value)>, Error> {
    let (grants, _) = listed(server, "/v1/grants?active=true", Part::All).await?;
    let min_left = SignedDuration::try_from(wanted.min_left).unwrap_or(SignedDuration::MAX);
    for value in grants {
        let grant: Grant = server.parse(&value)?;
        let ours = grant.principal == me
            && grant.role == wanted.role.as_str()
            && grant.host == wanted.host.as_str();
        let begun = grant.not_before <= here.now.wall;
        if ours
            && begun
            && grant.state == "active"
            && grant.expires.duration_since(here.now.wall) >= min_left
        {
            return Ok(Some((grant, value)));
        }
    }
    Ok(None)
}

/// A request of the caller's that would bring the grant: asking twice only tires the approvers (T27).
async fn pending_request(
    server: &Server,
    me: &str,
    wanted: &cli::Ensure,
) -> Result<Option<String>, Error> {
    let (pending, _) = listed(server, "/v1/requests?state=pending", Part::All).await?;
    let pending: Vec<Request> = server.parse(&Value::Array(pending))?;
    let fits = |request: &&Request| {
        request.principal == me
            && request.role == wanted.role.as_str()
            && request
                .hosts
                .iter()
                .any(|host| host == wanted.host.as_str())
            && request.for_seconds.unsigned_abs() >= wanted.min_left.as_secs()
            && request.not_before.is_none()
    };
    Ok(pending.iter().find(fits).map(|request| request.id.clone()))
}

fn ask_for(wanted: cli::Ensure) -> Result<cli::Request, Error> {
    let usage = |problem: &str| Error::Other {
        problem: problem.to_owned(),
        remedy: "jitctl ensure ROLE --host HOST --min-left 20m --for 1h --reason TEXT".to_owned(),
        exit: Exit::Usage,
    };
    let (Some(lasting), Some(reason)) = (wanted.lasting, wanted.reason) else {
        return Err(usage(
            "no such grant is in force, and asking for one needs --for and --reason",
        ));
    };
    if lasting < wanted.min_left {
        return Err(usage(
            "--for is shorter than --min-left, so that the grant would not be good enough",
        ));
    }
    Ok(cli::Request {
        role: wanted.role,
        host: vec![wanted.host],
        labels: Vec::new(),
        from: None,
        lasting: Some(lasting),
        reason,
        ticket: wanted.ticket,
        wait: true,
    })
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

/// Says how the request stands, with the exit code that goes with it.
pub(super) async fn report(here: &Here, server: &Server, answer: &Value) -> Result<Exit, Error> {
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
