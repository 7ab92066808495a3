//! `jitctl approve`, `deny`, `review`, `withdraw`, `release`, `revoke`: what ends a request or a grant, or lets it begin.

use std::time::Duration;

use jit_grant::{GrantId, RequestId};
use serde_json::{Value, json};

use super::Here;
use super::list::{Part, approvals, listed};
use crate::error::{Error, Exit};
use crate::server::{Grant, Request, Whoami};
use crate::words::clean;

pub(super) async fn approve(
    here: &Here,
    id: &RequestId,
    lasting: Option<Duration>,
    comment: Option<String>,
) -> Result<Exit, Error> {
    let body = json!({ "for_seconds": lasting.map(|time| time.as_secs()), "comment": comment });
    let answer = post(
        here,
        &format!("/v1/requests/{id}/approve"),
        &without_nulls(body),
    )
    .await?;
    if !here.json {
        let request: Request = here.server()?.parse(&answer)?;
        here.screen.say(match request.state.as_str() {
            "approved" => format!("{id} is approved: {}.", clean(&request.grants.join(" "))),
            _ => format!(
                "Your approval of {id} counts; {} so far.",
                approvals(&request)
            ),
        });
    }
    Ok(Exit::Done)
}

pub(super) async fn deny(here: &Here, id: &RequestId, reason: &str) -> Result<Exit, Error> {
    done(
        here,
        &format!("/v1/requests/{id}/deny"),
        &json!({ "reason": reason }),
        format!("{id} is denied."),
    )
    .await
}

pub(super) async fn review(here: &Here, id: &RequestId, comment: &str) -> Result<Exit, Error> {
    done(
        here,
        &format!("/v1/requests/{id}/review"),
        &json!({ "comment": comment }),
        format!("{id} is reviewed."),
    )
    .await
}

pub(super) async fn withdraw(here: &Here, id: &RequestId) -> Result<Exit, Error> {
    done(
        here,
        &format!("/v1/requests/{id}/withdraw"),
        &json!({}),
        format!("{id} is withdrawn."),
    )
    .await
}

pub(super) async fn revoke(here: &Here, id: &GrantId, reason: &str) -> Result<Exit, Error> {
    let said = format!("{id} is revoked; its sessions end now.");
    done(
        here,
        &format!("/v1/grants/{id}/revoke"),
        &json!({ "reason": reason }),
        said,
    )
    .await
}

pub(super) async fn release(here: &Here, grant: Option<GrantId>) -> Result<Exit, Error> {
    let id = match grant {
        Some(id) => id,
        None => own_grant(here, |id| format!("jitctl release {id}")).await?,
    };
    let said = format!("{id} is given back; its sessions end now.");
    done(here, &format!("/v1/grants/{id}/release"), &json!({}), said).await
}

/// The grant that holds the session open that this shell sits in. Where there is none, `typed` with a grant's id is what to type
/// instead.
pub(super) async fn own_grant(
    here: &Here,
    typed: impl Fn(&str) -> String,
) -> Result<GrantId, Error> {
    let mut problem = match here.daemon().own_session() {
        Ok(session) => {
            let grant = session.and_then(|session| session.grant);
            match grant.and_then(|grant| grant.parse().ok()) {
                Some(grant) => return Ok(grant),
                None => "no grant holds this session open".to_owned(),
            }
        }
        // There may be none on this machine.
        Err(error) => format!("whether a grant holds this session open is not known: {error}"),
    };
    let remedy = match grants_of_caller(here).await {
        Ok(Some(grants)) if grants.is_empty() => {
            problem.push_str(", and you have none in force");
            "jitctl list grants shows those that ended".to_owned()
        }
        Ok(Some(grants)) => {
            let each = grants.iter().map(|grant| {
                let opens = format!("{} on {}, {}", grant.login, grant.host, grant.role);
                clean(&format!("{} ({opens})", typed(&grant.id)))
            });
            each.collect::<Vec<_>>().join(", or ")
        }
        _ => format!(
            "name the grant: {}; jitctl list grants --active shows yours",
            typed("GRANT")
        ),
    };
    Err(Error::Other {
        problem,
        remedy,
        exit: Exit::Failed,
    })
}

/// What the caller has in force, or will have. None where he is nobody who could be granted anything.
async fn grants_of_caller(here: &Here) -> Result<Option<Vec<Grant>>, Error> {
    let server = here.server()?;
    let whoami: Whoami = server.parse(&server.get("/v1/whoami").await?)?;
    let Some(me) = whoami.principal else {
        return Ok(None);
    };
    let (grants, _) = listed(&server, "/v1/grants?active=true", Part::All).await?;
    let mut grants: Vec<Grant> = server.parse(&Value::Array(grants))?;
    grants.retain(|grant| grant.principal == me);
    Ok(Some(grants))
}

async fn done(here: &Here, path: &str, body: &Value, said: String) -> Result<Exit, Error> {
    post(here, path, body).await?;
    if !here.json {
        here.screen.say(said);
    }
    Ok(Exit::Done)
}

/// Sends `body`; with `--json` the answer is printed as it came.
pub(super) async fn post(here: &Here, path: &str, body: &Value) -> Result<Value, Error> {
    let server = here.server()?;
    let answer = here
        .screen
        .wait("waiting for jit-server".to_owned(), server.post(path, body))
        .await?;
    if here.json {
        here.screen.json(&answer);
    }
    Ok(answer)
}

pub(super) fn without_nulls(mut body: Value) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    body
}
