//! What has to be stated with a request, and where it has to come from.

use super::*;
use crate::policy::{ConditionRefusal, PolicyRefusal};

const STRICT: &str = r#"
[roles.strict]
hosts = ["web-1"]
actions = ["ssh"]
longest = "1h"
extendable = "20m"
extend_without_approval = true
ticket = "OPS-[0-9]+"
reason_at_least = 10
asked_from = ["10.0.0.0/8"]
may_ask = { users = ["alice"] }
approve = { users = ["bob"] }
"#;

fn strict() -> Policy {
    check_text("policy.toml", STRICT).unwrap()
}

/// A role of the same name that asks for none of that.
fn lax() -> Policy {
    let mut policy = strict();
    for role in policy.roles.values_mut() {
        role.conditions = Default::default();
    }
    policy
}

fn asks(ticket: Option<&str>, reason: &str, origin: &str) -> Command {
    let Command::Ask(ask) = ask("strict", 600) else {
        unreachable!("it asks");
    };
    Command::Ask(Ask {
        ticket: ticket.map(|ticket| ticket.to_owned().try_into().unwrap()),
        reason: reason.to_owned().try_into().unwrap(),
        origin: origin.parse().unwrap(),
        ..ask
    })
}

fn code(result: Result<(), WorkflowError>) -> Option<&'static str> {
    result.err().map(|refused| refused.code().0)
}

const FITS: (Option<&str>, &str, &str) = (Some("OPS-17"), "disks full", "10.1.2.3");

fn fitting() -> Command {
    asks(FITS.0, FITS.1, FITS.2)
}

#[test]
fn a_request_states_what_its_role_asks_for_and_comes_from_where_it_may() {
    for (ticket, reason, origin, refused) in [
        (FITS.0, FITS.1, FITS.2, None),
        (None, FITS.1, FITS.2, Some("needs-ticket")),
        (Some("DB-17"), FITS.1, FITS.2, Some("needs-ticket")),
        (FITS.0, "disk full", FITS.2, Some("reason-too-short")),
        (FITS.0, "d\u{ef}sks full", FITS.2, None),
        (FITS.0, FITS.1, "11.1.2.3", Some("asked-from-elsewhere")),
        (FITS.0, FITS.1, "socket", Some("asked-from-elsewhere")),
    ] {
        let asked = History::new().wants_under(&strict(), begin(), 0, asks(ticket, reason, origin));
        assert_eq!(code(asked), refused, "{ticket:?} {reason} {origin}");
    }
}

#[test]
fn what_was_stated_is_judged_again_when_it_is_approved() {
    for (ticket, reason, origin, refused) in [
        (FITS.0, FITS.1, FITS.2, None),
        (None, FITS.1, FITS.2, Some("needs-ticket")),
        (FITS.0, "disk full", FITS.2, Some("reason-too-short")),
        (FITS.0, FITS.1, "socket", Some("asked-from-elsewhere")),
    ] {
        let mut history = History::new();
        history
            .wants_under(&lax(), begin(), 0, asks(ticket, reason, origin))
            .unwrap();
        let approved = history.wants_under(&strict(), begin(), 1, approve(1, None));
        assert_eq!(code(approved), refused, "{ticket:?} {reason} {origin}");
    }
}

#[test]
fn a_request_of_which_nobody_kept_where_it_came_from_came_from_nowhere_that_it_may() {
    let mut history = History::new();
    let made = command(&history.state, &strict(), begin(), &actor(0), fitting()).unwrap();
    for event in made {
        let mut event = serde_json::to_value(event).unwrap();
        event.as_object_mut().unwrap().remove("asked_from").unwrap();
        history.happened(begin(), &actor(0), serde_json::from_value(event).unwrap());
    }
    let approved = history.wants_under(&strict(), begin(), 1, approve(1, None));
    assert!(
        matches!(
            approved,
            Err(WorkflowError::Policy(PolicyRefusal::Condition(
                ConditionRefusal::AskedFromElsewhere { origin: None, .. }
            )))
        ),
        "{approved:?}"
    );
    history
        .wants_under(&lax(), begin(), 1, approve(1, None))
        .unwrap();
}

#[test]
fn an_extension_is_asked_for_as_a_request_is() {
    let extended = |origin: &str, reason: Option<&str>| {
        let mut history = History::new();
        history
            .wants_under(&strict(), begin(), 0, fitting())
            .unwrap();
        history
            .wants_under(&strict(), begin(), 1, approve(1, None))
            .unwrap();
        let extend = Command::Extend {
            grant: grant_id(1),
            for_seconds: 60,
            reason: reason.map(|reason| reason.to_owned().try_into().unwrap()),
            origin: origin.parse().unwrap(),
        };
        code(history.wants_under(&strict(), begin(), 0, extend))
    };
    assert_eq!(extended(FITS.2, None), None);
    assert_eq!(extended("socket", None), Some("asked-from-elsewhere"));
    assert_eq!(extended(FITS.2, Some("again")), Some("reason-too-short"));
}
