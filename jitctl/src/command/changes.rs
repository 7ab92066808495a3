//! Changes of administrators' that others confirm: listed, shown, confirmed as they were shown, denied.

use jit_grant::ChangeId;
use serde_json::{Value, json};

use super::decide::{post, without_nulls};
use super::list::{Part, table, until};
use super::{Here, input};
use crate::error::{Error, Exit};
use crate::server::{Change, ComesTo, Server};
use crate::words::clean;

/// Digits of what a change comes to that people type.
const SEEN_DIGITS: usize = 16;
/// Characters of a line at most; a longer one goes on in the next.
const MOST_IN_LINE: usize = 200;

pub(super) async fn list(here: &Here, pending: bool) -> Result<(), Error> {
    let path = format!("/v1/changes?pending={pending}");
    let times = here.times();
    let header = [
        "CHANGE",
        "STATE",
        "WANTED BY",
        "SINCE",
        "CONFIRMED BY",
        "COMES TO",
    ];
    let row = |change: &Change| {
        let confirmed: Vec<&str> = change.confirmed.iter().map(|one| one.by.as_str()).collect();
        vec![
            change.id.clone(),
            change.state.clone(),
            change.by.clone(),
            times.ago(change.at),
            confirmed.join(" "),
            change.summary.join(", "),
        ]
    };
    table(
        here,
        &path,
        Part::All,
        &header,
        row,
        "There are no changes.",
    )
    .await
}

pub(super) async fn show(here: &Here, server: &Server, id: &ChangeId) -> Result<(), Error> {
    let answer = server.get(&format!("/v1/changes/{id}")).await?;
    if here.json {
        here.screen.json(&answer);
        return Ok(());
    }
    tell(here, &server.parse(&answer)?);
    Ok(())
}

/// Confirms what was seen: what `seen` names, or what is shown now and agreed to.
pub(super) async fn approve(
    here: &Here,
    id: &ChangeId,
    comment: Option<String>,
    seen: Option<&str>,
) -> Result<Exit, Error> {
    let server = here.server()?;
    let change: Change = server.parse(&server.get(&format!("/v1/changes/{id}")).await?)?;
    let now = change.now.as_ref();
    let digest = now.and_then(|now| now.digest.clone());
    let refused = |problem: String, remedy: &str| Error::Other {
        problem,
        remedy: remedy.to_owned(),
        exit: Exit::Refused,
    };
    let Some(digest) = digest else {
        let why = now.and_then(|now| now.refused.clone());
        let why = why.unwrap_or_else(|| format!("it is {}", change.state));
        let problem = format!("{id} can't be made now: {}", clean(&why));
        return Err(refused(problem, "jitctl show has what is known of it"));
    };
    match seen {
        Some(seen) if digest.get(..SEEN_DIGITS) == Some(seen) => {}
        Some(_) => {
            return Err(refused(
                format!("{id} does not come to that, or not any more"),
                "look at it again with jitctl show, which has the word for --seen",
            ));
        }
        None => {
            tell(here, &change);
            match input::agrees(here, "Confirm all of this? yes or no")? {
                Some(true) => {}
                Some(false) => {
                    return Err(refused(
                        format!("{id} is not confirmed"),
                        "nothing was changed",
                    ));
                }
                None => {
                    return Err(Error::Other {
                        problem: format!(
                            "{id} is confirmed as it was seen, and nothing says what was"
                        ),
                        remedy: "jitctl show has the word for --seen".to_owned(),
                        exit: Exit::Usage,
                    });
                }
            }
        }
    }
    let body = json!({ "digest": digest, "comment": comment });
    let path = format!("/v1/changes/{id}/confirm");
    let answer = post(here, &path, &without_nulls(body)).await?;
    let change: Change = server.parse(&answer)?;
    if change.state == "done" {
        say(here, format!("{id} is done."));
        return Ok(Exit::Done);
    }
    let needs = change.needs;
    say(
        here,
        format!("Your confirmation of {id} counts; it needs {needs} in all."),
    );
    Ok(Exit::Done)
}

pub(super) async fn deny(here: &Here, id: &ChangeId, reason: &str) -> Result<Exit, Error> {
    let body: Value = json!({ "reason": reason });
    post(here, &format!("/v1/changes/{id}/deny"), &body).await?;
    say(here, format!("{id} is denied."));
    Ok(Exit::Done)
}

fn say(here: &Here, line: String) {
    if !here.json {
        here.screen.say(line);
    }
}

fn tell(here: &Here, change: &Change) {
    let confirmed = change.confirmed.iter().map(|one| {
        let lost = if one.counts == Some(false) {
            ", which counts no more"
        } else {
            ""
        };
        let comment = one.comment.as_ref().map(|text| format!(": {text}"));
        let at = here.times().ago(one.at);
        format!("{} {at}{lost}{}", one.by, comment.unwrap_or_default())
    });
    let ended = change.ended.as_ref().map(|end| {
        let why = end.reason.as_ref().map(|why| format!(": {why}"));
        let at = here.times().ago(end.at);
        format!("by {} {at}{}", end.by, why.unwrap_or_default())
    });
    let waits = change.ended.is_none();
    let seen = change
        .now
        .as_ref()
        .and_then(|now| now.digest.as_ref()?.get(..SEEN_DIGITS));
    let able = format!("{} of {}", change.needs, change.able.join(" "));
    let told = |is: bool, text: String| if is { text } else { String::new() };
    here.screen.pairs(&[
        ("Change", change.id.clone()),
        ("State", change.state.clone()),
        (
            "Wanted by",
            format!("{} {}", change.by, here.times().ago(change.at)),
        ),
        ("Reason", change.reason.clone().unwrap_or_default()),
        ("Ended", ended.unwrap_or_default()),
        ("Confirmed", confirmed.collect::<Vec<_>>().join(", ")),
        ("Needs", told(waits, able)),
        ("Lapses", told(waits, until(here, change.lapses_at))),
        ("Seen", seen.unwrap_or_default().to_owned()),
    ]);
    match &change.now {
        Some(now) => comes_to(here, now),
        None => {
            here.screen.say("When it was proposed it came to:");
            for line in &change.summary {
                whole(here, "  ", line);
            }
            difference(here, change.policy_diff.as_deref());
        }
    }
}

fn comes_to(here: &Here, now: &ComesTo) {
    if let Some(why) = &now.refused {
        here.screen
            .say(format!("It can't be made now: {}", clean(why)));
        return;
    }
    here.screen.say("It comes to:");
    if now.changes.is_empty() {
        here.screen.say("  nothing, since all is so already");
    }
    for line in &now.changes {
        let text = format!("{} {} {}", line.sign, line.thing, line.name);
        here.screen.say(format!("  {}", clean(&text)));
        for detail in &line.details {
            whole(here, "      ", detail);
        }
    }
    let grants = now.lost.as_ref().map_or(&[][..], |lost| &lost.grants);
    for grant in grants {
        let text = format!(
            "grant {} of {} on {} ends",
            grant.id, grant.principal, grant.host
        );
        here.screen.say(format!("  {}", clean(&text)));
    }
    for warning in &now.warnings {
        here.screen.say(format!("warning: {}", clean(warning)));
    }
    difference(here, now.policy_diff.as_deref());
}

fn difference(here: &Here, diff: Option<&str>) {
    for line in diff.into_iter().flat_map(str::lines) {
        whole(here, "", line);
    }
}

/// Before each further part of a line. No line of a difference begins with it, so that no part passes for a line.
const GOES_ON: &str = "> ";

/// A line, however long: what is not seen is not confirmed.
fn whole(here: &Here, indent: &str, line: &str) {
    let all: Vec<char> = line.chars().collect();
    if all.is_empty() {
        here.screen.say("");
    }
    for (number, part) in all.chunks(MOST_IN_LINE).enumerate() {
        let mark = if number == 0 { "" } else { GOES_ON };
        let part: String = part.iter().collect();
        here.screen.say(format!("{indent}{mark}{}", clean(&part)));
    }
}
