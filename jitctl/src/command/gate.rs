//! `jitctl gate` and `jitctl ungate`.

use jit_local::message::control::Gated;
use serde_json::json;

use super::Here;
use crate::actions;
use crate::error::{Error, Exit};
use crate::gate::Plan;

/// Puts pam_jit into the files of `services`.
pub(super) fn gate(here: &Here, services: &[String]) -> Result<Exit, Error> {
    here.require_root("gating")?;
    let known = actions::services(here.root())?;
    let mut plan = here.gate().change(|host| host.gate(services))?;
    let unknown = plan
        .services()
        .into_iter()
        .filter(|service| !known.contains(service));
    let notes = unknown.map(|service| {
        format!(
            "{service} stands for no action in /etc/jit/jitd.toml: it can be watched, not enforced."
        )
    });
    plan.notes.extend(notes.collect::<Vec<_>>());
    tell_daemon(here, "gate", &plan, "gated; new ones begin in monitor mode");
    if here.json {
        show_json(here, &plan);
        return Ok(Exit::Done);
    }
    for service in plan.services() {
        here.screen.say(format!("{service}: gated"));
    }
    for service in &plan.unchanged {
        here.screen.say(format!("{service}: was gated already"));
    }
    show_notes(here, &plan);
    if !plan.changes.is_empty() {
        here.screen.say("New ones only watch. `jitctl status` shows how they stand; `jitctl enforce` makes them refuse.");
    }
    Ok(Exit::Done)
}

/// Takes pam_jit out of the files of `services`, or of all where none is named.
pub(super) fn ungate(here: &Here, services: &[String]) -> Result<Exit, Error> {
    here.require_root("ungating")?;
    // Ungating is for hosts whose jitd is broken, too.
    let lost = here
        .daemon()
        .status()
        .map_or_else(|_| Vec::new(), |status| status.lost_gates);
    let lost: Vec<String> = lost.into_iter().map(|gate| gate.service).collect();
    let plan = here.gate().change(|host| {
        if services.is_empty() {
            Ok(host.ungate_all(&lost))
        } else {
            host.ungate(services, &lost)
        }
    })?;
    tell_daemon(here, "ungate", &plan, "no longer gated");
    if here.json {
        show_json(here, &plan);
    } else {
        for service in plan.services() {
            here.screen.say(format!("{service}: no longer gated"));
        }
        for service in &plan.unchanged {
            here.screen.say(format!("{service}: was not gated"));
        }
        show_notes(here, &plan);
        if plan.changes.is_empty() && services.is_empty() {
            here.screen.say("Nothing is gated.");
        }
    }
    // Whoever takes the package away next must know that a line would still need the module.
    Ok(if plan.strays.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Notes the change in jitd's record. PAM reads the files, so that the change counts whether jitd is there or not. Also where
/// nothing is left to change: something else may have taken the lines out, and now it is meant.
pub(super) fn tell_daemon(here: &Here, what: &str, plan: &Plan, detail: &str) {
    let mut services = plan.services();
    if ["ungate", "monitor"].contains(&what) {
        services.extend(plan.unchanged.iter().cloned());
    }
    if services.is_empty() {
        return;
    }
    let change = Gated {
        what: what.to_owned(),
        services,
        detail: detail.to_owned(),
    };
    if let Err(error) = here.daemon().gated(&change) {
        here.screen
            .note(format!("jitctl: done, but not in jitd's record: {error}"));
    }
}

pub(super) fn show_notes(here: &Here, plan: &Plan) {
    for note in plan.notes.iter().chain(&plan.strays) {
        here.screen.say(note);
    }
}

pub(super) fn show_json(here: &Here, plan: &Plan) {
    let notes: Vec<&String> = plan.notes.iter().chain(&plan.strays).collect();
    here.screen
        .json(&json!({ "changed": plan.services(), "unchanged": plan.unchanged, "notes": notes }));
}
