//! One login is decided about three times: in the account phase, and again in the session phase, when more is known.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::server::Event;

/// sshd waits two minutes for a login by default (LoginGraceTime of sshd_config(5)); what comes later is another.
const ONE_LOGIN: SignedDuration = SignedDuration::from_mins(2);

/// Who was decided about: host, login and PAM service.
type Subject = (String, String, String);

/// Knows which decisions only say again what was decided moments before.
#[derive(Default)]
pub(super) struct Repeats {
    decided: HashMap<Subject, Decided>,
}

struct Decided {
    at: Timestamp,
    /// `allow`, `code`, `grant` and `mode`.
    outcome: [Value; 4],
}

impl Repeats {
    /// True where `event` is a decision of the session phase that came out as the one before it.
    pub(super) fn is_one(&mut self, event: &Event) -> bool {
        if event.kind != "decision" {
            return false;
        }
        let field = |name: &str| event.detail.get(name).cloned().unwrap_or_default();
        let text = |name: &str| field(name).as_str().unwrap_or_default().to_owned();
        let subject = (event.origin.clone(), text("login"), text("service"));
        let decided = Decided {
            at: event.at,
            outcome: ["allow", "code", "grant", "mode"].map(field),
        };
        let repeats = text("phase") != "account"
            && self.decided.get(&subject).is_some_and(|before| {
                before.outcome == decided.outcome
                    && decided.at.duration_since(before.at) <= ONE_LOGIN
            });
        self.decided.insert(subject, decided);
        repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decision(second: i64, phase: &str, login: &str, code: Option<&str>) -> Event {
        Event {
            seq: 1,
            at: Timestamp::from_second(second).expect("a time"),
            origin: "web1".to_owned(),
            actor: None,
            kind: "decision".to_owned(),
            subject: None,
            detail: json!({ "phase": phase, "login": login, "service": "sshd", "allow": code.is_none(), "code": code, "mode": "enforce" }),
        }
    }

    fn left(events: &[Event]) -> Vec<usize> {
        let mut repeats = Repeats::default();
        let left = events
            .iter()
            .enumerate()
            .filter(|(_, event)| !repeats.is_one(event));
        left.map(|(place, _)| place).collect()
    }

    #[test]
    fn a_login_that_is_allowed_three_times_is_told_once() {
        let phases = ["account", "open_before", "open_after"];
        let two: Vec<_> = [0, 600]
            .iter()
            .flat_map(|second| phases.map(|phase| decision(*second, phase, "ada", None)))
            .collect();
        assert_eq!(left(&two), [0, 3]);
    }

    #[test]
    fn a_refusal_in_the_session_phase_after_an_allow_is_told() {
        let events = [
            decision(0, "account", "ops", None),
            decision(1, "open_before", "ops", Some("JIT-105")),
        ];
        assert_eq!(left(&events), [0, 1]);
    }

    #[test]
    fn nobody_s_decision_is_taken_for_another_s_or_for_one_long_ago() {
        let events = [
            decision(0, "account", "ada", Some("JIT-101")),
            decision(1, "open_before", "bob", Some("JIT-101")),
            decision(300, "open_before", "ada", Some("JIT-101")),
        ];
        assert_eq!(left(&events), [0, 1, 2]);
    }
}
