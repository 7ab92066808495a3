//! `jitctl extend`: a grant for longer.

use std::time::Duration;

use jit_grant::GrantId;
use serde_json::json;

use super::Here;
use super::decide::{own_grant, without_nulls};
use super::list::until;
use super::request::{report, wait_for_decision};
use crate::error::{Error, Exit};
use crate::server::{Extension, Request};
use crate::words::clean;

pub(super) async fn run(
    here: &Here,
    grant: Option<GrantId>,
    lasting: Duration,
    reason: Option<String>,
    wait: bool,
) -> Result<Exit, Error> {
    let id = match grant {
        Some(id) => id,
        None => own_grant(here, |id| format!("jitctl extend {id} --for TIME")).await?,
    };
    let server = here.server()?;
    let body = without_nulls(json!({ "for_seconds": lasting.as_secs(), "reason": reason }));
    let answer = server
        .post(&format!("/v1/grants/{id}/extend"), &body)
        .await?;
    let Extension { grant, request } = server.parse(&answer)?;
    let Some(asked) = request else {
        if here.json {
            here.screen.json(&answer);
        } else {
            let until = until(here, grant.expires);
            here.screen.say(format!(
                "{id} is extended until {until}; its sessions go on."
            ));
        }
        return Ok(Exit::Done);
    };
    let request: Request = server.parse(&asked)?;
    if !wait {
        return report(here, &server, &asked).await;
    }
    here.screen.note(format!(
        "{} asks to extend {id}. Waiting for approval; Ctrl-C leaves it pending.",
        clean(&request.id)
    ));
    let decided = wait_for_decision(here, &server, &request.id).await?;
    report(here, &server, &decided).await
}
