//! `jitctl lock` and `unlock`.

use jit_grant::Principal;
use serde_json::json;

use super::Here;
use super::decide::post;
use crate::error::{Error, Exit};
use crate::server::Standing;
use crate::words::clean;

pub(super) async fn lock(here: &Here, principal: &Principal, reason: &str) -> Result<Exit, Error> {
    let body = json!({ "reason": reason });
    let answer = post(here, &format!("/v1/users/{principal}/lock"), &body).await?;
    let standing: Standing = here.server()?.parse(&answer)?;
    if here.json {
        return Ok(Exit::Done);
    }
    here.screen.say(match &standing.lock {
        Some(lock) if !standing.changed => format!(
            "{principal} is locked already, by {} since {}: {}",
            clean(&lock.by),
            here.times().local(lock.at),
            clean(lock.reason.as_deref().unwrap_or_default())
        ),
        _ if standing.ended.is_empty() => {
            format!("{principal} is locked; there was no grant to end.")
        }
        _ => format!(
            "{principal} is locked; {} and all sessions of it end now.",
            clean(&standing.ended.join(" "))
        ),
    });
    Ok(Exit::Done)
}

pub(super) async fn unlock(here: &Here, principal: &Principal) -> Result<Exit, Error> {
    let answer = post(here, &format!("/v1/users/{principal}/unlock"), &json!({})).await?;
    let standing: Standing = here.server()?.parse(&answer)?;
    if !here.json {
        here.screen.say(if standing.changed {
            format!("{principal} may ask and approve again; what the lock ended stays so.")
        } else {
            format!("{principal} is not locked.")
        });
    }
    Ok(Exit::Done)
}
