//! The record, as people and programs read it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use jit_grant::{HostName, Principal};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::caller::Caller;
use super::input::Parameters;
use super::requests::may_see;
use crate::event::{Entry, Event, Via};
use crate::policy::Policy;
use crate::server::Server;
use crate::store::{Kept, Part};
use crate::workflow::State as Known;

/// Events looked at for one answer at most.
const MOST: u32 = 1_000;
/// Seconds that an answer is held back at most.
const LONGEST_WAIT: u64 = 60;

/// Where to go on reading.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Only events after this one.
    #[serde(default)]
    after: u64,
    /// Look at no more than so many; at most 1000, and at fewer where they are large.
    #[serde(default = "most")]
    limit: u32,
    /// Where there is nothing yet, wait for so many seconds until there is; at most 60.
    #[serde(default)]
    wait_seconds: u64,
    /// All of the record or a refusal, never the part that concerns the caller.
    #[serde(default)]
    whole: bool,
    /// Only alarms. As many events are looked at as without, so that an answer may have none and still say where to go on.
    #[serde(default)]
    alarms: bool,
    /// Begin so many events before the newest of the record, where that is later than `after`.
    newest: Option<u64>,
}

fn most() -> u32 {
    MOST
}

/// Part of the record.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Record {
    events: Vec<EventView>,
    /// Where to go on: give it as `after`. null at the end.
    next: Option<u64>,
}

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventView {
    seq: u64,
    at: Timestamp,
    /// `server`, or the host's name.
    origin: String,
    /// A user, `@administrator`, `@server`; for a host's event the principal or login, where it names one.
    actor: String,
    kind: String,
    /// What it is about: a request, grant, user or host.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[schema(value_type = Object)]
    detail: Map<String, Value>,
    /// How the call came in that made it happen; only for those who read the whole record.
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<ViaView>,
}

/// How a call came in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ViaView {
    /// The token that was shown. null: the caller was known by his account.
    token: Option<String>,
    /// An address, or `socket` on the server's machine.
    from: String,
    /// The caller's uid on the server's machine. null: he was elsewhere.
    uid: Option<u32>,
}

impl From<Via> for ViaView {
    fn from(via: Via) -> Self {
        Self {
            token: via.token.map(String::from),
            from: via.from.into(),
            uid: via.uid,
        }
    }
}

/// The record after an event: all of it for the administrator and those whom `may_audit` in the policy names, for other people what
/// concerns them, and alarms of break-glass roles. Waits where that is asked.
#[utoipa::path(get, path = "/v1/audit", tag = "people", params(Page), responses((status = 200, body = Record)))]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Parameters(page): Parameters<Page>,
) -> Result<Json<Record>, Problem> {
    caller.person()?;
    let limit = page.limit.clamp(1, MOST);
    let mut changes = server.changes();
    let last = *changes.borrow();
    let newest = page.newest.map_or(0, |newest| last.saturating_sub(newest));
    let mut after = page.after.max(newest);
    let mut stopping = server.stopping();
    let deadline = tokio::time::sleep(Duration::from_secs(page.wait_seconds.min(LONGEST_WAIT)));
    tokio::pin!(deadline);
    loop {
        changes.mark_unchanged();
        let record = read(&server, &caller, &page, after, limit).await?;
        if !record.0.events.is_empty() || record.0.next.is_some() {
            return Ok(Json(record.0));
        }
        after = record.1;
        tokio::select! {
            _ = changes.changed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(Json(record.0)),
            () = &mut deadline => return Ok(Json(record.0)),
        }
    }
}

/// The next part of the record for the caller as the policy is now, and the number up to which it goes.
async fn read(
    server: &Server,
    caller: &Caller,
    page: &Page,
    after: u64,
    limit: u32,
) -> Result<(Record, u64), Problem> {
    let Part {
        found: mut kept,
        cut,
    } = server.record(after, limit).await?;
    let whole = kept.len();
    if *caller != Caller::Administrator {
        // What is kept and not yet known here may take his rights away: it is told when it is known.
        let known = *server.changes().borrow();
        kept.retain(|kept| seq(kept) <= known);
    }
    // The rest after it: whoever may no more by then is told nothing.
    caller.is_still_known(server)?;
    let policy = server.policy();
    let now = server.now();
    let all = server.look(|known| may_read_all(known, &policy, caller, now));
    if page.whole && !all {
        return Err(Problem::forbidden(
            "only root on the server's machine and those whom may_audit in the policy names read the whole record",
        )
        .code("may-not-audit"));
    }
    let last = kept.last().map_or(after, seq);
    let is_all_known = kept.len() == whole;
    let full = is_all_known && (cut || u32::try_from(whole).is_ok_and(|count| count >= limit));
    let events = server.look(|known| {
        let wanted = |kept: &Kept| !page.alarms || is_alarm(kept);
        kept.into_iter()
            .filter(wanted)
            .filter_map(|kept| match kept {
                Kept::Own(entry) => {
                    let told = all || concerns(known, &policy, caller, &entry);
                    told.then(|| own(*entry, all))
                }
                Kept::OfHost { seq, host, line } => {
                    let reader = if all { &Caller::Administrator } else { caller };
                    let told = match reader {
                        Caller::Person(name, _) => known.is_since(name, seq),
                        Caller::Administrator | Caller::Stranger(_) => true,
                    };
                    told.then(|| of_host(seq, &host, &line, reader)).flatten()
                }
            })
            .collect()
    });
    let next = full.then_some(last);
    Ok((Record { events, next }, last))
}

/// Nobody does who is locked, or whose time is over since he began to wait.
fn may_read_all(known: &Known, policy: &Policy, caller: &Caller, now: Timestamp) -> bool {
    match caller {
        Caller::Administrator => true,
        Caller::Person(name, _) => {
            let user = known.directory.user(name);
            user.is_some_and(|user| known.may_act(user, now) && policy.may_audit.entrust(user))
        }
        Caller::Stranger(_) => false,
    }
}

fn seq(kept: &Kept) -> u64 {
    match kept {
        Kept::Own(entry) => entry.seq,
        Kept::OfHost { seq, .. } => *seq,
    }
}

/// Hosts' lines are none: what is wrong with them is an event of the server's.
fn is_alarm(kept: &Kept) -> bool {
    matches!(kept, Kept::Own(entry) if matches!(entry.event, Event::Alarm { .. }))
}

/// True where the caller may see it: an event about a request or grant like that request itself, one about a user like that user, unless
/// that was somebody of before with the same name.
fn concerns(known: &Known, policy: &Policy, caller: &Caller, entry: &Entry) -> bool {
    let Caller::Person(name, _) = caller else {
        return *caller == Caller::Administrator;
    };
    let event = &entry.event;
    let is_he = |user: &Principal| user == name && known.is_since(name, entry.seq);
    let of_grant = event
        .grant()
        .and_then(|grant| known.grant(grant))
        .map(|grant| &grant.request);
    let request = event
        .request()
        .or(of_grant)
        .and_then(|id| known.request(id));
    match event {
        // Whoever uses a break-glass role is seen by everybody, and so is root who goes around those who confirm.
        Event::Alarm { alarm, .. } if alarm.is_for_everybody() => {
            known.directory.user(name).is_some()
        }
        Event::UserSet(user) => is_he(&user.name),
        Event::Locked { principal, .. }
        | Event::Unlocked { principal }
        | Event::UserRemoved {
            name: principal, ..
        } => is_he(principal),
        event if event.user_token().is_some_and(|(_, user)| is_he(user)) => true,
        _ => request.is_some_and(|request| {
            may_see(policy, known, caller, known.directory.user(name), request)
        }),
    }
}

fn own(entry: Entry, all: bool) -> EventView {
    let kind = entry.event.kind().to_owned();
    let subject = match &entry.event {
        Event::UserSet(user) => Some(user.name.to_string()),
        Event::Locked { principal, .. }
        | Event::Unlocked { principal }
        | Event::UserRemoved {
            name: principal, ..
        } => Some(principal.to_string()),
        Event::HostEnrolled(host) => Some(host.name.to_string()),
        Event::HostRemoved { name, .. }
        | Event::HostState { name, .. }
        | Event::HostLabelled { name, .. } => Some(name.to_string()),
        Event::TokenMade(made) => Some(made.token.to_string()),
        Event::EnrolmentRefused { token, .. }
        | Event::TokenExpired { token }
        | Event::TokenRevoked { token } => Some(token.to_string()),
        Event::KeyRotated(rotated) => Some(rotated.next.kid()),
        Event::Alarm {
            host: Some(host), ..
        } => Some(host.to_string()),
        event => event
            .request()
            .map(ToString::to_string)
            .or_else(|| event.grant().map(ToString::to_string))
            .or_else(|| event.change().map(ToString::to_string))
            .or_else(|| event.user_token().map(|(token, _)| token.to_string())),
    };
    let mut detail = match serde_json::to_value(&entry.event) {
        Ok(Value::Object(detail)) => detail,
        _ => Map::new(),
    };
    detail.remove("kind");
    // Whole policies: the change itself has them, as long as it waits, and the record for ever.
    match &entry.event {
        Event::PolicyTaken { .. } => _ = detail.remove("text"),
        Event::ChangeProposed(_) => _ = detail.remove("wanted"),
        _ => {}
    }
    if let Event::Alarm { alarm, .. } = &entry.event {
        detail.insert("said".to_owned(), alarm.to_string().into());
    }
    EventView {
        seq: entry.seq,
        at: entry.at,
        origin: "server".to_owned(),
        actor: entry.actor.to_string(),
        kind,
        subject,
        detail,
        via: entry.via.filter(|_| all).map(Into::into),
    }
}

/// A host's line. None where it does not concern the caller, or is none of ours to read.
pub(super) fn of_host(seq: u64, host: &HostName, line: &str, caller: &Caller) -> Option<EventView> {
    let mut line: Map<String, Value> = serde_json::from_str(line).ok()?;
    let Some(Value::Object(mut detail)) = line.remove("event") else {
        return None;
    };
    let text = |key: &str| detail.get(key).and_then(Value::as_str).map(str::to_owned);
    let principal = text("principal");
    if let Caller::Person(name, _) = caller
        && principal.as_deref() != Some(name.as_str())
    {
        return None;
    }
    let actor = principal
        .or_else(|| text("login"))
        .unwrap_or_else(|| "@host".to_owned());
    let subject = text("grant").or_else(|| text("session"));
    let (at, kind) = (text("at")?.parse().ok()?, text("kind")?);
    for key in ["seq", "at", "kind"] {
        detail.remove(key);
    }
    Some(EventView {
        seq,
        at,
        origin: host.to_string(),
        actor,
        kind,
        subject,
        detail,
        via: None,
    })
}
