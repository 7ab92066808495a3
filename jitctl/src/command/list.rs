//! `jitctl list`.

use std::collections::BTreeMap;

use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};
use jit_local::message::control::Session;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Here, changes};
use crate::cli::{List, RequestState};
use crate::error::{Error, Exit};
use crate::server::{Approvers, Grant, Host, Locked, Request, Review, Role, RoleStage, Server};
use crate::words::span;

/// For so long a host is marked that gave cause for an alarm.
const ALARM_SHOWN: SignedDuration = SignedDuration::from_hours(24);

pub(super) async fn run(here: &Here, what: List) -> Result<Exit, Error> {
    match what {
        List::Roles => roles(here).await?,
        List::Requests {
            state,
            pending,
            for_me,
            to_review,
            all,
        } => {
            let state = state.or(pending.then_some(RequestState::Pending));
            let filters = [(for_me, "for_me=true"), (to_review, "to_review=true")];
            requests(here, &requests_path(state, &filters), part(all)).await?;
        }
        List::Grants { active, all } => grants(here, active, part(all)).await?,
        List::Hosts => hosts(here).await?,
        List::Locks => locks(here).await?,
        List::Sessions => sessions(here)?,
        List::Changes { pending } => changes::list(here, pending).await?,
    }
    Ok(Exit::Done)
}

fn part(all: bool) -> Part {
    if all { Part::All } else { Part::Newest }
}

/// Which part of a long list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Newest,
    All,
}

/// Prints what the server lists at `path`: as it came, or as a table with a row for each.
pub(super) async fn table<T: DeserializeOwned>(
    here: &Here,
    path: &str,
    part: Part,
    header: &[&str],
    row: impl Fn(&T) -> Vec<String>,
    empty: &str,
) -> Result<(), Error> {
    let server = here.server()?;
    let listing = listed(&server, path, part);
    let waiting = here
        .screen
        .wait("waiting for jit-server".to_owned(), listing);
    let (list, more) = waiting.await?;
    if more {
        here.screen.note(format!(
            "These are the newest {}; --all lists the older ones, too.",
            list.len()
        ));
    }
    if here.json {
        here.screen.json(&Value::Array(list));
        return Ok(());
    }
    let list: Vec<T> = server.parse(&Value::Array(list))?;
    let rows: Vec<_> = list.iter().map(row).collect();
    here.screen.table(header, &rows, empty);
    Ok(())
}

/// The list at `path`, and whether there is more of it.
pub(super) async fn listed(
    server: &Server,
    path: &str,
    part: Part,
) -> Result<(Vec<Value>, bool), Error> {
    let mut list = Vec::new();
    let mut next = path.to_owned();
    loop {
        let (page, following) = server.page(&next).await?;
        let page: Vec<Value> = server.parse(&page)?;
        // A page of nothing leads nowhere, whatever it says.
        let following = following.filter(|_| !page.is_empty());
        list.extend(page);
        match following {
            Some(following) if part == Part::All => next = following,
            following => return Ok((list, following.is_some())),
        }
    }
}

async fn roles(here: &Here) -> Result<(), Error> {
    let header = [
        "ROLE",
        "OPENS",
        "HOSTS",
        "LONGEST",
        "UNLESS SAID",
        "CONDITIONS",
        "APPROVED BY",
        "FOR",
    ];
    let row = |role: &Role| {
        vec![
            role.name.clone(),
            role.actions.join(" "),
            role_hosts(role),
            seconds(role.longest_seconds),
            role.default_seconds.map(seconds).unwrap_or_default(),
            role.conditions.join(", "),
            approvers(role),
            role.description.clone().unwrap_or_default(),
        ]
    };
    table(
        here,
        "/v1/roles",
        Part::All,
        &header,
        row,
        "There is no role that you may ask for.",
    )
    .await
}

/// Names and patterns, and the labels that the hosts have.
fn role_hosts(role: &Role) -> String {
    let labels = role.labels.iter();
    let labels = labels.map(|(key, values)| format!("{key}={}", values.join("|")));
    let any_name = role.hosts == ["*"] && !role.labels.is_empty();
    let names = role.hosts.iter().filter(|_| !any_name).cloned();
    names.chain(labels).collect::<Vec<_>>().join(" ")
}

fn approvers(role: &Role) -> String {
    let approval = &role.approval;
    if approval.first.count == 0 {
        if let Some(review) = &approval.review {
            let (within, by) = (seconds(review.within_seconds), people(&review.reviewers));
            return format!(
                "nobody: granted at once, told to everybody, reviewed within {within} by {by}"
            );
        }
        let because = approval.because.as_ref();
        let because = because.map(|because| format!(", because {because}"));
        return format!("nobody: granted at once{}", because.unwrap_or_default());
    }
    let stage = |stage: &RoleStage| {
        let later = stage.later.iter().map(|later| {
            let (after, who) = (seconds(later.after_seconds), people(&later.approvers));
            format!(", after {after} also {who}")
        });
        let later: String = later.collect();
        let again = if stage.same_person_again {
            ", also who approved before"
        } else {
            ""
        };
        format!("{} of {}{later}{again}", stage.count, people(&stage.by))
    };
    match approval.stages.as_slice() {
        [] => stage(&approval.first),
        stages => stages.iter().map(stage).collect::<Vec<_>>().join("; then "),
    }
}

/// Them as a list.
pub(super) fn people(people: &Approvers) -> String {
    let groups = people.groups.iter().map(|group| format!("group {group}"));
    let names: Vec<String> = people.users.iter().cloned().chain(groups).collect();
    let attributes = people.attributes.iter();
    let attributes = attributes.map(|(name, value)| {
        let text = value.as_str().map(str::to_owned);
        format!("{name}={}", text.unwrap_or_else(|| value.to_string()))
    });
    let attributes = attributes.collect::<Vec<_>>().join(" and ");
    match (names.as_slice(), attributes.as_str()) {
        ([], "") => String::new(),
        ([], attributes) => format!("everybody with {attributes}"),
        (names, "") => names.join(", "),
        (names, attributes) => format!("{} (with {attributes})", names.join(", ")),
    }
}

/// Where those requests are listed that stand in this state and that the named filters leave.
fn requests_path(state: Option<RequestState>, filters: &[(bool, &str)]) -> String {
    let state = state.and_then(|state| state.to_possible_value());
    let state = state.map(|state| format!("state={}", state.get_name()));
    let wanted = filters.iter().filter(|(wanted, _)| *wanted);
    let others = wanted.map(|(_, filter)| (*filter).to_owned());
    let all: Vec<_> = state.into_iter().chain(others).collect();
    if all.is_empty() {
        return "/v1/requests".to_owned();
    }
    format!("/v1/requests?{}", all.join("&"))
}

async fn requests(here: &Here, path: &str, part: Part) -> Result<(), Error> {
    let times = here.times();
    let header = [
        "ID", "STATE", "WHO", "ROLE", "HOSTS", "FOR", "ASKED", "REASON",
    ];
    let row = |request: &Request| {
        let ago = times.ago(request.asked_at);
        let asked = match &request.review {
            _ if request.state == "pending" => format!("{ago}, {}", approvals(request)),
            Some(review) => format!("{ago}, break-glass: {}", reviewed(here, review)),
            None => ago,
        };
        vec![
            request.id.clone(),
            request.state.clone(),
            request.principal.clone(),
            match &request.extends {
                Some(grant) => format!("{}, extends {grant}", request.role),
                None => request.role.clone(),
            },
            request.hosts.join(" "),
            match request.not_before {
                Some(start) => format!(
                    "{} from {}",
                    seconds(request.for_seconds),
                    times.local(start)
                ),
                None => seconds(request.for_seconds),
            },
            asked,
            request.reason.clone(),
        ]
    };
    table(here, path, part, &header, row, "No such requests.").await
}

/// How the review of somebody's use of a break-glass role stands.
pub(super) fn reviewed(here: &Here, review: &Review) -> String {
    match &review.reviewed {
        Some(done) => format!("reviewed by {}: {}", done.by, done.comment),
        None if review.due <= here.now.wall => {
            format!("to be reviewed since {}", until(here, review.due))
        }
        None => format!("to be reviewed by {}", until(here, review.due)),
    }
}

/// How far the approvals are: `1 of 2 approvals`, of stages those of the one that is due.
pub(super) fn approvals(request: &Request) -> String {
    let number = request.stage.unwrap_or(1);
    let due = usize::try_from(number)
        .ok()
        .and_then(|number| request.stages.get(number.checked_sub(1)?));
    match due {
        // Where the policy has changed, some of those that were given count no more.
        Some(stage) => {
            let far = format!("{} of {} approvals", stage.approved_by.len(), stage.needed);
            match request.stages.len() {
                1 => far,
                stages => format!("{far} in stage {number} of {stages}"),
            }
        }
        _ => format!(
            "{} of {} approvals",
            request.approvals.len(),
            request.needed
        ),
    }
}

async fn grants(here: &Here, active: bool, part: Part) -> Result<(), Error> {
    let header = [
        "ID", "STATE", "WHO", "LOGIN", "HOST", "OPENS", "ROLE", "UNTIL",
    ];
    let row = |grant: &Grant| {
        vec![
            grant.id.clone(),
            grant.state.clone(),
            grant.principal.clone(),
            grant.login.clone(),
            grant.host.clone(),
            grant.allow.join(" "),
            grant.role.clone(),
            end(here, grant),
        ]
    };
    let path = if active {
        "/v1/grants?active=true"
    } else {
        "/v1/grants"
    };
    table(
        here,
        path,
        part,
        &header,
        row,
        "No such grants. `jitctl request ROLE` asks for one.",
    )
    .await
}

async fn hosts(here: &Here) -> Result<(), Error> {
    let times = here.times();
    let header = ["HOST", "ID", "STATE", "LABELS", "GATES", "SEEN", "ENROLLED"];
    let row = |host: &Host| {
        let state = if host.connected { "connected" } else { "away" };
        let lately = |at: &Timestamp| here.now.wall.duration_since(*at) < ALARM_SHOWN;
        let state = match host.last_alarm.filter(lately) {
            Some(at) => format!("{state}, alarm {}", times.ago(at)),
            None => state.to_owned(),
        };
        let seen = host
            .last_seen
            .map_or_else(|| "never".to_owned(), |at| times.ago(at));
        vec![
            host.name.clone(),
            host.host_id.clone(),
            state,
            labels(host),
            host.gates.as_ref().map(gates).unwrap_or_default(),
            seen,
            times.local(host.enrolled_at),
        ]
    };
    table(
        here,
        "/v1/hosts",
        Part::All,
        &header,
        row,
        "No host is enrolled. On each: jitctl enroll --server ADDRESS",
    )
    .await
}

fn labels(host: &Host) -> String {
    let labels = host.labels.iter();
    let labels = labels.map(|(key, value)| format!("{key}={value}"));
    labels.collect::<Vec<_>>().join(" ")
}

/// How many services have which mode, such as `6 enforce, 2 monitor`.
fn gates(gates: &BTreeMap<String, String>) -> String {
    let mut modes = BTreeMap::new();
    for mode in gates.values() {
        *modes.entry(mode.as_str()).or_insert(0) += 1;
    }
    if modes.is_empty() {
        return "none".to_owned();
    }
    let words = modes.iter().map(|(mode, count)| format!("{count} {mode}"));
    words.collect::<Vec<_>>().join(", ")
}

async fn locks(here: &Here) -> Result<(), Error> {
    let times = here.times();
    let header = ["WHO", "LOCKED BY", "SINCE", "REASON"];
    let row = |Locked { principal, lock }: &Locked| {
        vec![
            principal.clone(),
            lock.by.clone(),
            format!("{} ({})", times.local(lock.at), times.ago(lock.at)),
            lock.reason.clone().unwrap_or_default(),
        ]
    };
    table(
        here,
        "/v1/locks",
        Part::All,
        &header,
        row,
        "Nobody is locked.",
    )
    .await
}

fn sessions(here: &Here) -> Result<(), Error> {
    let sessions = here.daemon().sessions()?;
    if here.json {
        here.screen.json(&sessions);
        return Ok(());
    }
    let rows: Vec<_> = sessions
        .iter()
        .map(|session| {
            vec![
                session.id.clone(),
                session.kind.clone(),
                login(session),
                session.principal.clone().unwrap_or_default(),
                session.service.clone(),
                session.grant.clone().unwrap_or_default(),
                session
                    .rhost
                    .clone()
                    .or_else(|| session.tty.clone())
                    .unwrap_or_default(),
                end_of(here, session),
            ]
        })
        .collect();
    here.screen.table(
        &[
            "ID", "KIND", "LOGIN", "WHO", "SERVICE", "GRANT", "FROM", "UNTIL",
        ],
        &rows,
        "No session is open that jitd knows of.",
    );
    Ok(())
}

/// When a session ends, and for how long it may be left alone until then.
fn end_of(here: &Here, session: &Session) -> String {
    let at = session.until.as_deref().and_then(|at| at.parse().ok());
    let Some(until) = at.map(|at| until(here, at)) else {
        return "not ended (monitor mode)".to_owned();
    };
    match session.idle_after_seconds {
        None => until,
        Some(idle) => format!("{until}, or idle for {}", seconds(idle.into())),
    }
}

/// Whose login it is, and the Unix groups that it has by grants: `bob (in adm)`.
fn login(session: &Session) -> String {
    match session.groups.as_slice() {
        [] => session.login.clone(),
        groups => format!("{} (in {})", session.login, groups.join(" ")),
    }
}

/// Until when a grant is in force; of one that is over, when it ended, and who ended it before its time.
fn end(here: &Here, grant: &Grant) -> String {
    let ended = |at| format!("ended {}", until(here, at));
    match &grant.ended {
        Some(end) => format!("{}, by {}", ended(end.at), end.by),
        None if grant.expires <= here.now.wall => ended(grant.expires),
        None if is_to_come(here, grant) => starts(here, grant),
        None => until(here, grant.expires),
    }
}

/// True of a grant that has not begun. One that the server calls active has, though the clock here may be a little behind its own.
pub(super) fn is_to_come(here: &Here, grant: &Grant) -> bool {
    grant.state != "active" && grant.not_before > here.now.wall
}

/// When a grant that has not begun does, and for how long: `starts in 2 h, at 18:00:00, for 1 h`.
fn starts(here: &Here, grant: &Grant) -> String {
    let times = here.times();
    let lasting = grant.expires.duration_since(grant.not_before);
    format!(
        "starts {}, at {}, for {}",
        times.ago(grant.not_before),
        times.local(grant.not_before),
        span(lasting)
    )
}

/// The time of a grant that has not ended.
pub(super) fn time(here: &Here, grant: &Grant) -> String {
    if is_to_come(here, grant) {
        starts(here, grant)
    } else {
        format!("until {}", until(here, grant.expires))
    }
}

/// Local time and what is left until then, or how long ago it was.
pub(super) fn until(here: &Here, at: Timestamp) -> String {
    let times = here.times();
    format!("{} ({})", times.local(at), times.left(at))
}

/// A number of seconds in words.
pub(super) fn seconds(seconds: i64) -> String {
    span(SignedDuration::from_secs(seconds))
}
