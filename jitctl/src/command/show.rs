//! `jitctl show`: a request or a grant with its story; a change with what it comes to.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::list::{approvals, is_to_come, people, reviewed, seconds, until};
use super::{Here, changes, left_behind, timeline};
use crate::cli::Id;
use crate::error::{Error, Exit};
use crate::server::{AtOnce, Ending, Grant, LeftBehind, Moment, Request, Server, Sessions, Stage};

pub(super) async fn run(here: &Here, id: Id) -> Result<Exit, Error> {
    let server = here.server()?;
    match id {
        Id::Change(id) => changes::show(here, &server, &id).await?,
        Id::Request(id) => {
            let mut answer = server.get(&format!("/v1/requests/{id}")).await?;
            let request: Request = server.parse(&answer)?;
            let left = left_behind::of_request(&server, &request.grants).await?;
            let sessions = timeline::of_request(&server, &request.grants).await?;
            if here.json {
                answer["left_behind"] = left;
                answer["sessions"] = sessions;
                here.screen.json(&answer);
            } else {
                show_request(here, &request);
                timeline::show(here, &request.timeline, &server.parse::<Vec<_>>(&sessions)?);
                for left in server.parse::<Vec<LeftBehind>>(&left)? {
                    left_behind::show(here, &left);
                }
            }
        }
        Id::Grant(id) => {
            let mut answer = server.get(&format!("/v1/grants/{id}")).await?;
            let left = left_behind::of_grant(&server, id.as_str()).await?;
            let sessions = timeline::of_grant(&server, id.as_str()).await?;
            if here.json {
                answer["left_behind"] = left;
                answer["sessions"] = sessions;
                here.screen.json(&answer);
            } else {
                let grant = server.parse(&answer)?;
                show_grant(here, &grant);
                let sessions: Option<Sessions> = server.parse(&sessions)?;
                let story = story(&server, &grant).await;
                timeline::show(here, &story, sessions.as_slice());
                if let Some(left) = server.parse::<Option<LeftBehind>>(&left)? {
                    left_behind::show(here, &left);
                }
            }
        }
    }
    Ok(Exit::Done)
}

fn show_request(here: &Here, request: &Request) {
    let pending = request.state == "pending";
    here.screen.pairs(&[
        ("Request", request.id.clone()),
        ("State", request.state.clone()),
        ("Who", request.principal.clone()),
        ("Role", request.role.clone()),
        ("Extends", request.extends.clone().unwrap_or_default()),
        ("Hosts", request.hosts.join(" ")),
        ("Login", logins(request)),
        ("Unix groups", request.groups.join(" ")),
        ("For", seconds(request.for_seconds)),
        (
            "From",
            request
                .not_before
                .map(|start| begins(here, start))
                .unwrap_or_default(),
        ),
        ("Reason", request.reason.clone()),
        ("Ticket", request.ticket.clone().unwrap_or_default()),
        (
            "Asked from",
            match request.asked_from.as_deref() {
                Some("socket") => "the server's own machine".to_owned(),
                Some(address) => address.to_owned(),
                None => String::new(),
            },
        ),
        (
            "Approved",
            match &request.at_once {
                Some(AtOnce { because }) => format!(
                    "at once, by nobody{}",
                    because
                        .as_ref()
                        .map(|because| format!(": {because}"))
                        .unwrap_or_default()
                ),
                None if pending => approvals(request),
                None => String::new(),
            },
        ),
        (
            "Review",
            request
                .review
                .as_ref()
                .map(|review| match &review.able {
                    Some(able) if able.is_empty() => {
                        format!("{}; nobody could review it", reviewed(here, review))
                    }
                    Some(able) => {
                        format!("{}; {} could", reviewed(here, review), able.join(", "))
                    }
                    None => reviewed(here, review),
                })
                .unwrap_or_default(),
        ),
        (
            "Lapses",
            if pending {
                until(here, request.lapses_at)
            } else {
                String::new()
            },
        ),
        (
            "Denied",
            request.denied.as_ref().map(ending).unwrap_or_default(),
        ),
        ("Grants", request.grants.join(" ")),
    ]);
    show_comments(here, request);
    show_stages(here, request);
}

/// The login that it opens, or where it is not one everywhere, that of each host.
fn logins(request: &Request) -> String {
    let distinct: BTreeSet<&String> = request.logins.values().collect();
    match distinct.first() {
        Some(one) if distinct.len() == 1 => (*one).clone(),
        _ => {
            let each = request.logins.iter();
            let each = each.map(|(host, login)| format!("{login} on {host}"));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Who has approved, who must, and who could, stage by stage.
fn show_stages(here: &Here, request: &Request) {
    if request.stages.is_empty() {
        return;
    }
    let rows: Vec<_> = (1..)
        .zip(&request.stages)
        .map(|(number, stage)| {
            let is_due = request.stage == Some(number);
            vec![
                format!("{number}{}", if is_due { ", due" } else { "" }),
                needs(here, stage),
                stage.approved_by.join(", "),
                stage
                    .able
                    .as_ref()
                    .map(|able| able.join(", "))
                    .unwrap_or_default(),
            ]
        })
        .collect();
    here.screen.say("");
    let header = ["STAGE", "NEEDS", "APPROVED BY", "COULD APPROVE"];
    here.screen.table(&header, &rows, "");
}

/// Local time, and how soon that is where it is to come.
fn begins(here: &Here, at: Timestamp) -> String {
    let times = here.times();
    if at > here.now.wall {
        format!("{} (starts {})", times.local(at), times.ago(at))
    } else {
        times.local(at)
    }
}

fn show_comments(here: &Here, request: &Request) {
    for approval in &request.approvals {
        if let Some(comment) = approval
            .comment
            .as_ref()
            .filter(|comment| !comment.is_empty())
        {
            here.screen
                .pairs(&[("Comment", format!("{}: {comment}", approval.by))]);
        }
    }
}

/// Such as `1 of group leads, from 10:30 also group managers`.
fn needs(here: &Here, stage: &Stage) -> String {
    let later = stage.later.iter().map(|later| {
        let who = people(&later.approvers);
        match later.from {
            Some(from) if from <= here.now.wall => format!(", now also {who}"),
            Some(from) => format!(", from {} also {who}", here.times().local(from)),
            None => format!(", after {} also {who}", seconds(later.after_seconds)),
        }
    });
    let later: String = later.collect();
    format!("{} of {}{later}", stage.needed, people(&stage.approvers))
}

/// The story of a grant is that of its request.
async fn story(server: &Server, grant: &Grant) -> Vec<Moment> {
    let request = server.get(&format!("/v1/requests/{}", grant.request)).await;
    let request = request.and_then(|answer| server.parse::<Request>(&answer));
    request.map(|request| request.timeline).unwrap_or_default()
}

fn show_grant(here: &Here, grant: &Grant) {
    let times = here.times();
    let to_come = is_to_come(here, grant);
    let in_stages = grant.approvals.iter().any(|approval| approval.stage > 1);
    here.screen.pairs(&[
        ("Grant", grant.id.clone()),
        ("State", grant.state.clone()),
        ("Who", grant.principal.clone()),
        ("Login", format!("{} on {}", grant.login, grant.host)),
        ("Opens", grant.allow.join(" ")),
        ("Unix groups", grant.groups.join(" ")),
        ("Role", grant.role.clone()),
        (
            "From",
            if to_come {
                begins(here, grant.not_before)
            } else {
                times.local(grant.not_before)
            },
        ),
        (
            "Until",
            match &grant.ended {
                None if to_come => times.local(grant.expires),
                Some(_) => format!("{}, had it not ended before", times.local(grant.expires)),
                None => until(here, grant.expires),
            },
        ),
        (
            "Extendable",
            grant
                .extendable_until
                .filter(|limit| grant.state == "active" && *limit > grant.expires)
                .map(|limit| format!("until {}", times.local(limit)))
                .unwrap_or_default(),
        ),
        (
            "Ended",
            grant
                .ended
                .as_ref()
                .map(|end| format!("{}, {} {}", until(here, end.at), grant.state, ending(end)))
                .unwrap_or_default(),
        ),
        ("Reason", grant.reason.clone().unwrap_or_default()),
        ("Ticket", grant.ticket.clone().unwrap_or_default()),
        (
            "Approved",
            grant
                .approvals
                .iter()
                .map(|approval| {
                    let stage = if in_stages {
                        format!(" (stage {})", approval.stage)
                    } else {
                        String::new()
                    };
                    format!("{} {}{stage}", approval.by, times.local(approval.at))
                })
                .collect::<Vec<_>>()
                .join(", "),
        ),
        ("Request", grant.request.clone()),
    ]);
}

fn ending(ending: &Ending) -> String {
    match &ending.reason {
        Some(reason) => format!("by {}: {reason}", ending.by),
        None => format!("by {}", ending.by),
    }
}
