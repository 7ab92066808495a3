//! `jitctl monitor`, `jitctl enforce`, `jitctl enforce --confirm`.
//!
//! The first enforcement takes itself back (T29, promise 5): its end stands in the PAM line itself, in seconds of the boot clock
//! and bound to this boot, so that nothing has to run for it to come. What was confirmed is never weakened by `enforce`.

use std::time::Duration;

use jiff::SignedDuration;

use super::Here;
use super::gate::{show_json, show_notes, tell_daemon};
use super::status::{gated, left};
use crate::actions;
use crate::doctor::module;
use crate::error::{Error, Exit};
use crate::gate::{GateError, Mode, Plan, Service, State};
use crate::trust::{Trust, how_to_enroll};
use crate::words::span;

/// Lets everybody through from now on.
pub(super) fn monitor(here: &Here, services: &[String]) -> Result<Exit, Error> {
    here.require_root("changing the mode")?;
    let plan = here
        .gate()
        .change(|host| host.change_mode(services, |_| Mode::Monitor))?;
    tell_daemon(here, "monitor", &plan, "watching only");
    report(here, &plan, "watching only");
    Ok(Exit::Done)
}

/// Refuses from now on, until `within` is over or it is confirmed.
pub(super) fn provisionally(
    here: &Here,
    services: &[String],
    within: Duration,
) -> Result<Exit, Error> {
    here.require_root("changing the mode")?;
    check_ready(here)?;
    let until = here.now.boot_seconds + within.as_secs();
    let provisional = Mode::Provisional {
        until,
        boot: here.now.boot.clone(),
    };
    let plan = change(here, services, |mode| {
        if *mode == Mode::Enforce {
            Mode::Enforce
        } else {
            provisional.clone()
        }
    })?;
    let length = span(SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX));
    tell_daemon(
        here,
        "enforce",
        &plan,
        &format!("enforcing for {length} unless confirmed"),
    );
    report(here, &plan, &format!("enforcing for {length}"));
    if !plan.changes.is_empty() && !here.json {
        here.screen.say("Keep this terminal open. Log in anew in another one, with a grant; if that works, there:");
        here.screen.say("  sudo jitctl enforce --confirm");
        here.screen.say("Unless confirmed in time, or after a reboot, these services go back to monitor mode by themselves.");
    }
    Ok(Exit::Done)
}

/// Refuses from now on, for good. Only what is on trial can be confirmed: else this would be the way around the trial.
pub(super) fn confirm(here: &Here, services: &[String]) -> Result<Exit, Error> {
    here.require_root("changing the mode")?;
    check_ready(here)?;
    check_on_trial(here, services)?;
    let admitted = here
        .daemon()
        .own_session()?
        .is_some_and(|session| session.grant.is_some() && session.enforced);
    let plan = change(here, services, |_| Mode::Enforce)?;
    let from = if admitted {
        "from a login that a grant let in"
    } else {
        "not from a login that a grant let in"
    };
    tell_daemon(
        here,
        "confirm",
        &plan,
        &format!("enforcing for good; confirmed {from}"),
    );
    report(here, &plan, "enforcing for good");
    if !admitted && !plan.changes.is_empty() {
        here.screen.note(
            "jitctl: this was not confirmed from a login that a grant let in, so nobody has shown that one works. Keep a root shell open until \
             you have tried; `jitctl monitor` lets everybody in again.",
        );
    }
    Ok(Exit::Done)
}

fn check_on_trial(here: &Here, services: &[String]) -> Result<(), Error> {
    let watching = |service: &Service| match service.state {
        State::Gated(Mode::Monitor) => true,
        State::Gated(Mode::Provisional { .. }) => left(here, service) == Some(0),
        _ => false,
    };
    let untried: Vec<String> = gated(here)?
        .into_iter()
        .filter(|service| services.is_empty() || services.contains(&service.name))
        .filter(watching)
        .map(|service| service.name)
        .collect();
    if untried.is_empty() {
        return Ok(());
    }
    Err(Error::NotReady {
        problem: format!(
            "nothing to confirm for {}: until it enforces, nobody can have tried it",
            untried.join(", ")
        ),
        remedy:
            "jitctl enforce; log in anew with a grant, and there: sudo jitctl enforce --confirm"
                .to_owned(),
    })
}

/// Changes modes towards enforcing, unless a service is among them that jitd could only refuse.
fn change(here: &Here, services: &[String], to: impl Fn(&Mode) -> Mode) -> Result<Plan, Error> {
    let known = actions::services(here.root())?;
    let plan = here.gate().change(|host| {
        let plan = host.change_mode(services, to)?;
        match plan
            .services()
            .into_iter()
            .find(|service| !known.contains(service))
        {
            Some(service) => Err(GateError::NoAction(service)),
            None => Ok(plan),
        }
    })?;
    Ok(plan)
}

/// Refuses where enforcing would lock everybody out for a reason that can be seen beforehand.
fn check_ready(here: &Here) -> Result<(), Error> {
    let not_ready = |problem: String, remedy: &str| Error::NotReady {
        problem,
        remedy: remedy.to_owned(),
    };
    if Trust::read(here.root())?.is_none() {
        return Err(not_ready(
            "this host is not enrolled with a server".to_owned(),
            &how_to_enroll(here.root()),
        ));
    }
    if let Err(problem) = module::find(here.root()) {
        return Err(not_ready(problem, "install the package jitd again"));
    }
    let status = here.daemon().status().map_err(|error| {
        not_ready(
            error.to_string(),
            "systemctl start jitd; journalctl -u jitd says why it does not run",
        )
    })?;
    if status.host_id.is_none() {
        return Err(not_ready(
            "jitd has not taken up the enrolment".to_owned(),
            "systemctl restart jitd",
        ));
    }
    if !status.current {
        let why = status.code.map_or_else(
            || "no word came".to_owned(),
            |code| format!("{code}: see `jitctl explain {code}`"),
        );
        return Err(not_ready(
            format!("no word from the server, so that no grant would count ({why})"),
            "systemctl status jit-server jitd-sync; journalctl -u jitd-sync says why",
        ));
    }
    Ok(())
}

fn report(here: &Here, plan: &Plan, now: &str) {
    if here.json {
        return show_json(here, plan);
    }
    for service in plan.services() {
        here.screen.say(format!("{service}: {now}"));
    }
    for service in &plan.unchanged {
        here.screen.say(format!(
            "{service}: unchanged; `jitctl status` shows its mode"
        ));
    }
    show_notes(here, plan);
}
