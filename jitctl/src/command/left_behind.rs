//! What the elevations of a grant left behind, below the story of the grant or of its request.

use serde_json::{Value, json};

use super::Here;
use crate::error::Error;
use crate::server::{LeftBehind, Server};

/// Grants of a request that are asked for.
pub(super) const MOST_GRANTS: usize = 50;

/// What the server says of a grant. null where it does not know: one of an earlier version.
pub(super) async fn of_grant(server: &Server, grant: &str) -> Result<Value, Error> {
    match server.get(&format!("/v1/grants/{grant}/left-behind")).await {
        Err(Error::Problem { status: 404, .. }) => Ok(Value::Null),
        answer => answer,
    }
}

/// The same of each grant of a request that left anything behind, with the grant's id.
pub(super) async fn of_request(server: &Server, grants: &[String]) -> Result<Value, Error> {
    let mut all = Vec::new();
    for grant in grants.iter().take(MOST_GRANTS) {
        let mut left = of_grant(server, grant).await?;
        if let Some(fields) = left.as_object_mut().filter(|left| !is_nothing(left)) {
            fields.insert("grant".to_owned(), json!(grant));
            all.push(left);
        }
    }
    Ok(Value::Array(all))
}

fn is_nothing(left: &serde_json::Map<String, Value>) -> bool {
    let empty = left
        .get("items")
        .and_then(Value::as_array)
        .is_some_and(Vec::is_empty);
    empty && left.get("complete") == Some(&Value::Bool(true))
}

/// Nothing where nothing was left behind.
pub(super) fn show(here: &Here, left: &LeftBehind) {
    if left.items.is_empty() && left.complete {
        return;
    }
    let screen = &here.screen;
    let rows: Vec<_> = left
        .items
        .iter()
        .map(|thing| {
            let mark = if thing.one_of_several { " *" } else { "" };
            vec![
                here.times().local(thing.at),
                thing.kind.replace('_', " "),
                format!("{}{mark}", thing.change),
                thing.path.clone(),
            ]
        })
        .collect();
    screen.say("");
    let grant = left.grant.as_ref().map(|grant| format!(" by {grant}"));
    screen.say(format!(
        "Left behind{}: what changed on the host while elevations were open.",
        grant.unwrap_or_default()
    ));
    screen.table(
        &["FOUND", "KIND", "CHANGE", "WHAT"],
        &rows,
        "Nothing was found.",
    );
    if left.items.iter().any(|thing| thing.one_of_several) {
        screen.say("* by one of several elevations that were open at the same time");
    }
    if left.more > 0 {
        screen.say(format!("{} more are not listed.", left.more));
    }
    if !left.complete {
        screen.say("Not everything could be looked at: there may be more.");
    }
}
