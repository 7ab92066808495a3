//! `jitctl ensure`: a grant that lasts for long enough, asked for where there is none.

use jiff::SignedDuration;
use serde_json::Value;

use super::Here;
use super::list::{Part, listed, seconds, until};
use super::request::{ask, report, wait_for_decision};
use crate::cli;
use crate::error::{Error, Exit};
use crate::server::{Grant, Request, Role, Server, Whoami};
use crate::words::{clean, span};

/// A grant that began no longer ago counts with its whole length: who asks for just as much as must be left hears of it a moment later.
const JUST_BEGUN: SignedDuration = SignedDuration::from_mins(1);

/// Done at once where a grant is in force for long enough; else asks, waits, and sees whether what came of it lasts for long enough.
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
    let answer = match pending_request(&server, &me, &wanted).await? {
        Some(id) => {
            here.screen.note(format!(
                "{} is pending already. Waiting for approval; Ctrl-C leaves it pending.",
                clean(&id)
            ));
            wait_for_decision(here, &server, &id).await?
        }
        None => {
            let asking = asking(&server, &wanted).await?;
            ask(here, &server, asking).await?
        }
    };
    match report(here, &server, &answer).await? {
        Exit::Done => demand_enough(&here.later()?, &server, &answer, &wanted).await,
        exit => Ok(exit),
    }
}

async fn grant_in_force(
    here: &Here,
    server: &Server,
    me: &str,
    wanted: &cli::Ensure,
) -> Result<Option<(Grant, Value)>, Error> {
    let (grants, _) = listed(server, "/v1/grants?active=true", Part::All).await?;
    for value in grants {
        let grant: Grant = server.parse(&value)?;
        let ours = grant.principal == me
            && grant.role == wanted.role.as_str()
            && grant.host == wanted.host.as_str();
        let left = grant.expires.duration_since(here.now.wall);
        if ours && grant.state == "active" && left >= min_left(wanted) {
            return Ok(Some((grant, value)));
        }
    }
    Ok(None)
}

fn min_left(wanted: &cli::Ensure) -> SignedDuration {
    SignedDuration::try_from(wanted.min_left).unwrap_or(SignedDuration::MAX)
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

/// What to ask for. Nothing is asked that would not be good enough if it were granted.
async fn asking(server: &Server, wanted: &cli::Ensure) -> Result<cli::Request, Error> {
    let usage = |problem: String| Error::Other {
        problem,
        remedy: "jitctl ensure ROLE --host HOST --min-left 20m --for 1h --reason TEXT".to_owned(),
        exit: Exit::Usage,
    };
    let Some(reason) = wanted.reason.clone() else {
        let why = "no such grant is in force, and asking for one needs --reason";
        return Err(usage(why.to_owned()));
    };
    match wanted.lasting {
        Some(lasting) if lasting < wanted.min_left => {
            let why =
                "--for is shorter than --min-left, so that the grant would not be good enough";
            return Err(usage(why.to_owned()));
        }
        Some(_) => {}
        None => {
            if let Some(default) = own_length(server, wanted).await?
                && default.unsigned_abs() < wanted.min_left.as_secs()
            {
                return Err(usage(format!(
                    "without --for the role is for {}, shorter than --min-left, so that the grant would not be good enough",
                    seconds(default)
                )));
            }
        }
    }
    Ok(cli::Request {
        role: wanted.role.clone(),
        host: vec![wanted.host.clone()],
        labels: Vec::new(),
        from: None,
        lasting: wanted.lasting,
        reason,
        ticket: wanted.ticket.clone(),
        wait: true,
    })
}

/// How many seconds the role is for where nobody says. None where it has no such length, or is none of the caller's: the server then says
/// in its own words why it refuses.
async fn own_length(server: &Server, wanted: &cli::Ensure) -> Result<Option<i64>, Error> {
    let roles: Vec<Role> = server.parse(&server.get("/v1/roles").await?)?;
    let role = roles.iter().find(|role| role.name == wanted.role.as_str());
    Ok(role.and_then(|role| role.default_seconds))
}

/// Refuses where what an approved request brought does not last for long enough: who approved may have said less, or a rule cut it.
async fn demand_enough(
    here: &Here,
    server: &Server,
    answer: &Value,
    wanted: &cli::Ensure,
) -> Result<Exit, Error> {
    let request: Request = server.parse(answer)?;
    let not_enough = |problem: String, remedy: &str| {
        Err(Error::Other {
            problem,
            remedy: remedy.to_owned(),
            exit: Exit::Refused,
        })
    };
    for id in &request.grants {
        let grant: Grant = server.parse(&server.get(&format!("/v1/grants/{id}")).await?)?;
        if grant.host != wanted.host.as_str() {
            continue;
        }
        let (id, host) = (clean(&grant.id), clean(&grant.host));
        if grant.state != "active" {
            let state = clean(&grant.state);
            return not_enough(
                format!("{id} on {host} is {state} already"),
                &format!("jitctl show {id}"),
            );
        }
        let left = grant.expires.duration_since(here.now.wall);
        let since = here.now.wall.duration_since(grant.not_before);
        let counts = if since <= JUST_BEGUN {
            grant.expires.duration_since(grant.not_before)
        } else {
            left
        };
        if left.is_positive() && counts >= min_left(wanted) {
            return Ok(Exit::Done);
        }
        return not_enough(
            format!(
                "{id} is in force on {host} until {}: shorter than --min-left, {}",
                until(here, grant.expires),
                span(min_left(wanted))
            ),
            &format!(
                "jitctl show {id} says who approved it and for how long; jitctl extend {id} --for TIME, where its role allows that"
            ),
        );
    }
    not_enough(
        format!(
            "{} is approved, and has no grant on {}",
            clean(&request.id),
            wanted.host
        ),
        &format!("jitctl show {}", clean(&request.id)),
    )
}
