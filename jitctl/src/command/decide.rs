//! `jitctl approve`, `deny`, `withdraw`, `release`, `revoke`: what ends a request or a grant, or lets it begin.

use std::time::Duration;

use jit_grant::{GrantId, RequestId};
use serde_json::{Value, json};

use super::Here;
use super::list::approvals;
use crate::error::{Error, Exit};
use crate::server::Request;
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
        None => own_grant(here)?,
    };
    let said = format!("{id} is given back; its sessions end now.");
    done(here, &format!("/v1/grants/{id}/release"), &json!({}), said).await
}

/// The grant that holds the session open that this shell sits in.
pub(super) fn own_grant(here: &Here) -> Result<GrantId, Error> {
    let session = here.daemon().own_session()?;
    session
        .and_then(|session| session.grant)
        .and_then(|grant| grant.parse().ok())
        .ok_or_else(|| Error::Other {
            problem: "no grant holds this session open".to_owned(),
            remedy: "name the grant: jitctl list grants --active".to_owned(),
            exit: Exit::Failed,
        })
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
