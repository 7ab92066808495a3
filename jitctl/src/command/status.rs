//! `jitctl status`: how this host stands with its server, and what is gated.

use std::path::Path;
use std::time::Duration;

use jiff::SignedDuration;
use jit_local::message::control::{self, LostGate};
use serde_json::json;

use super::Here;
use crate::error::{Error, Exit};
use crate::gate::{Mode, Service, State};
use crate::server::{Ending, Whoami};
use crate::trust::how_to_enroll;
use crate::words::{clean, span};

/// How long the server is asked after the caller: the rest does not depend on it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A word comes every 30 s; this is four of them missing.
const MISSING: Duration = Duration::from_secs(120);

pub(super) async fn run(here: &Here) -> Result<Exit, Error> {
    let services = gated(here)?;
    let daemon = here.daemon().status();
    let caller = caller(here).await;
    let until = caller.as_ref().and_then(|caller| caller.until);
    let to_confirm = caller.as_ref().map(|caller| caller.to_confirm.clone());
    let to_confirm = to_confirm.unwrap_or_default();
    let (lock, to_review, more) = caller.map_or((None, Vec::new(), 0), |caller| {
        (caller.lock, caller.to_review, caller.to_review_more)
    });
    if here.json {
        let services: Vec<_> = services.iter().map(|service| json!({ "service": service.name, "mode": mode_word(service), "covered_by": service.covered_by, "left_seconds": left(here, service) })).collect();
        here.screen
            .json(&json!({ "jitd": daemon.as_ref().ok(), "services": services, "lock": lock, "to_review": to_review, "to_review_more": more, "until": until, "to_confirm": to_confirm }));
    } else {
        if let Some(lock) = &lock {
            here.screen.say(locked(here, lock));
            here.screen.say("");
        }
        if let Some(until) = until {
            let until = here.times().local(until);
            here.screen.say(clean(&format!(
                "You are a user of the server until {until}, and nothing that is granted to you goes past that."
            )));
            here.screen.say("");
        }
        if let Some(first) = to_review.first() {
            here.screen.say(clean(&format!(
                "Break-glass roles were used, and you have to review that: {}{}. `jitctl show {first}`, and when it has ended `jitctl review {first} --comment TEXT`",
                to_review.join(" "),
                if more == 0 { String::new() } else { format!(" and {more} more") },
            )));
            here.screen.say("");
        }
        if let Some(first) = to_confirm.first() {
            here.screen.say(clean(&format!(
                "Changes wait that you may confirm: {}. `jitctl show {first}`",
                to_confirm.join(" "),
            )));
            here.screen.say("");
        }
        if let Ok(status) = &daemon {
            here.screen.pairs(&pairs(here, status));
            here.screen.say("");
        }
        let rows: Vec<_> = services
            .iter()
            .map(|service| {
                vec![
                    service.name.clone(),
                    mode_word(service).to_owned(),
                    remark(here, service),
                ]
            })
            .collect();
        here.screen.table(
            &["SERVICE", "MODE", ""],
            &rows,
            "Nothing is gated on this host. `jitctl gate sshd sudo su` begins to watch.",
        );
    }
    daemon.map(|_| Exit::Done)
}

/// What the server says of whoever asks: of his lock no host knows, his grants are gone there as if he had never had any. None also where
/// the server does not say, and for root, who can't be locked and reviews nothing.
async fn caller(here: &Here) -> Option<Whoami> {
    if nix::unistd::geteuid().is_root() && here.root() == Path::new("/") {
        return None;
    }
    let server = here.server().ok()?;
    let asked = tokio::time::timeout(PATIENCE, server.get("/v1/whoami")).await;
    server.parse(&asked.ok()?.ok()?).ok()
}

fn locked(here: &Here, lock: &Ending) -> String {
    clean(&format!(
        "Your access is locked, by {} since {}: {}",
        lock.by,
        here.times().local(lock.at),
        lock.reason.as_deref().unwrap_or_default()
    ))
}

/// The services with lines of ours, or covered by one that has.
pub(crate) fn gated(here: &Here) -> Result<Vec<Service>, Error> {
    let services = here.gate().survey()?;
    Ok(services
        .into_iter()
        .filter(|service| service.state != State::Ungated || service.covered_by.is_some())
        .collect())
}

/// `monitor`, `enforce`, `provisional`, `damaged`, or `covered`.
pub(crate) fn mode_word(service: &Service) -> &'static str {
    match &service.state {
        State::Gated(mode) => mode.word(),
        State::Damaged(_) => "damaged",
        State::Ungated => "covered",
    }
}

/// Seconds that a provisional enforcement still has; 0 where it is over; None for anything else.
pub(crate) fn left(here: &Here, service: &Service) -> Option<u64> {
    match &service.state {
        State::Gated(Mode::Provisional { until, boot }) if *boot == here.now.boot => {
            Some(until.saturating_sub(here.now.boot_seconds))
        }
        State::Gated(Mode::Provisional { .. }) => Some(0),
        _ => None,
    }
}

fn remark(here: &Here, service: &Service) -> String {
    match (left(here, service), &service.covered_by) {
        (Some(0), _) => {
            "its time is over: it only watches; `jitctl enforce` begins anew".to_owned()
        }
        (Some(seconds), _) => format!(
            "{} left; `jitctl enforce --confirm` makes it stay",
            words(seconds)
        ),
        (None, Some(head)) if service.state == State::Ungated => {
            format!("by {head}, whose lines it runs")
        }
        _ => String::new(),
    }
}

fn words(seconds: u64) -> String {
    span(SignedDuration::try_from(Duration::from_secs(seconds)).unwrap_or(SignedDuration::MAX))
}

/// When the server was heard last; where words are missing, since when.
fn heard(here: &Here, status: &control::Status) -> String {
    let Some(ago) = status.heard_ms_ago.map(Duration::from_millis) else {
        let up = words(here.now.boot_seconds);
        return format!("nothing heard since this host started ({up} ago)");
    };
    let since = SignedDuration::try_from(ago)
        .ok()
        .and_then(|ago| here.now.wall.checked_sub(ago).ok());
    match since.filter(|_| ago >= MISSING) {
        Some(since) => format!(
            "nothing heard since {} ({} ago)",
            here.times().local(since),
            words(ago.as_secs())
        ),
        None => format!("heard {} ago", words(ago.as_secs())),
    }
}

fn pairs(here: &Here, status: &control::Status) -> Vec<(&'static str, String)> {
    let enrolled = match (&status.host, &status.host_id) {
        (Some(host), Some(id)) => format!("{host} ({id})"),
        _ => format!("not enrolled: {}", how_to_enroll(here.root())),
    };
    let heard = heard(here, status);
    let count = match (&status.code, status.current) {
        (_, true) => format!(
            "{} held, revision {}",
            status.grants,
            status.revision.unwrap_or_default()
        ),
        (Some(code), false) => format!(
            "{} held, none counts: {code} (`jitctl explain {code}`)",
            status.grants
        ),
        (None, false) => format!("{} held, none counts", status.grants),
    };
    let key = status.keys_refused.as_ref().map(|code| {
        format!("the server's key was changed in a way that this host can't follow: {code} (`jitctl explain {code}`); if it stays so, enrol this host again with jitctl enroll")
    });
    let mut pairs = vec![
        ("Host", enrolled),
        (
            "Server",
            status
                .server
                .as_ref()
                .map(|server| format!("{server}, {heard}"))
                .unwrap_or_default(),
        ),
        ("Grants", count),
        ("Sessions", status.sessions.to_string()),
        (
            "Record",
            if status.recording {
                "written".to_owned()
            } else {
                "cannot be written to disk: only the system's log has it".to_owned()
            },
        ),
        ("jitd", status.version.clone()),
    ];
    pairs.extend(key.map(|key| ("Server key", key)));
    pairs.extend(lost(status).map(|(what, remedy)| ("Gates lost", format!("{what}: {remedy}"))));
    // Somewhere else's words: of an errand of jitd-sync's, and of the server in it.
    pairs.extend(
        status
            .trouble
            .as_deref()
            .map(|what| ("Trouble", format!("jitd-sync says: {}", clean(what)))),
    );
    pairs
}

/// Gates that became weaker otherwise than by jitctl, and what to do about it. None where there are none.
pub(crate) fn lost(status: &control::Status) -> Option<(String, String)> {
    if status.lost_gates.is_empty() {
        return None;
    }
    let gate = |gate: &LostGate| clean(&format!("{} (was {})", gate.service, gate.was));
    let gates: Vec<String> = status.lost_gates.iter().map(gate).collect();
    let names = |gates: &mut dyn Iterator<Item = &LostGate>| -> String {
        let names: Vec<String> = gates.map(|gate| clean(&gate.service)).collect();
        names.join(" ")
    };
    let all = names(&mut status.lost_gates.iter());
    let mut enforced = status
        .lost_gates
        .iter()
        .filter(|gate| gate.was != "monitor");
    let enforced = names(&mut enforced);
    let enforce = match enforced.as_str() {
        "" => String::new(),
        enforced => format!(" && jitctl enforce {enforced}"),
    };
    Some((
        format!("weaker, and not by jitctl: {}", gates.join(", ")),
        format!("jitctl gate {all}{enforce}; or, if it was meant, jitctl ungate {all}"),
    ))
}
