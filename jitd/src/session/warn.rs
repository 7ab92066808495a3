//! Warning people at a session's terminals that its end is near.
//!
//! A warning is due so long before the end as the settings say, once for each end: where the end moves away, what lies ahead of it
//! is due again. What was due before the session began is passed over: who asks for three minutes knows. Where the end moves nearer,
//! or jitd was away when a warning fell due, the one that is nearest to the end is given at once.

use std::time::Duration;

use jiff::Timestamp;

use super::cgroup::Cgroup;
use super::held::{Held, Kind};
use super::notice;
use super::types::SessionId;

/// Somebody is to be told.
pub(super) struct Warning {
    /// Of this session.
    pub(super) of: SessionId,
    until: Timestamp,
    kind: Kind,
    cgroups: Vec<Cgroup>,
    text: String,
}

/// When the next warning for `held` is due. It may have been for a while.
pub(super) fn next(held: &Held, before: &[Duration]) -> Option<Timestamp> {
    let until = held.until()?;
    let waits = held.enforce && held.ending.is_none();
    let at = before
        .iter()
        .filter(|_| waits)
        .filter_map(|before| until.checked_sub(*before).ok());
    at.filter(|at| held.warned.is_none_or(|warned| *at > warned))
        .min()
}

/// The warning that is due at `now`, noted as given.
pub(super) fn take(held: &mut Held, before: &[Duration], now: Timestamp) -> Option<Warning> {
    next(held, before).filter(|at| *at <= now)?;
    held.warned = Some(now);
    let live = held.first_to_end()?;
    let left = Duration::try_from(live.until.duration_since(now)).ok()?;
    Some(Warning {
        of: held.id.clone(),
        until: live.until,
        kind: held.kind,
        cgroups: held
            .scopes
            .iter()
            .map(|scope| scope.cgroup.clone())
            .collect(),
        text: format!(
            "\r\n\u{7}jit: this {} ends in {}.\r\nTo go on, ask for more time: jitctl extend {} --for 30m\r\n",
            held.kind.as_str(),
            words(left),
            live.grant
        ),
    })
}

/// Shows them, each terminal's nearest end only. Reads /proc and writes to terminals: not for the daemon's one thread.
pub(super) fn show(mut warnings: Vec<Warning>) {
    warnings.sort_by_key(|warning| (warning.until, warning.kind != Kind::Login));
    let mut told = std::collections::BTreeSet::new();
    for warning in warnings {
        for terminal in notice::terminals(&warning.cgroups) {
            if told.insert(terminal) {
                notice::write(terminal, &warning.text);
            }
        }
    }
}

/// Such as `5 minutes` or `1 minute 30 seconds`, to the nearest second.
pub(super) fn words(left: Duration) -> String {
    let seconds = (left + Duration::from_millis(500)).as_secs();
    let parts = [
        (seconds / 3600, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
    ];
    let words: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if words.is_empty() {
        "less than a second".to_owned()
    } else {
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{Live, Opening};
    use super::*;
    use crate::fixture::caller;
    use jit_grant::{Action, Credential, Query};

    const BEFORE: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(60)];

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    /// A login from `since` until `until`.
    fn login(since: i64, until: i64) -> Held {
        let query = Query {
            login: "ann".parse().unwrap(),
            action: Action::Ssh,
            credential: Credential::Unbound,
            rhost: None,
            tty: None,
            service: "sshd".to_owned(),
            now: second(since),
            within: None,
            used: Default::default(),
            groups: Default::default(),
            lacking: Default::default(),
        };
        let standing = Some(Live {
            grant: "g7".parse().unwrap(),
            principal: "ann".parse().unwrap(),
            until: second(until),
            ends_login: false,
        });
        let opening = Opening {
            peer: caller(0),
            query,
            standing,
            parent: None,
            enforce: true,
        };
        let id = SessionId::from_bytes([1; 10]);
        Held::new(id, Kind::Login, &opening, second(since))
    }

    /// The seconds at which somebody is warned who looks every second.
    fn warned(held: &mut Held, from: i64, to: i64) -> Vec<i64> {
        (from..to)
            .filter(|at| take(held, &BEFORE, second(*at)).is_some())
            .collect()
    }

    fn ends_at(held: &mut Held, until: i64) {
        let before = held.until();
        held.live.as_mut().unwrap().until = second(until);
        held.ends_otherwise_than(before);
    }

    #[test]
    fn each_warning_is_given_once_for_each_end() {
        let mut held = login(0, 3600);
        assert_eq!(next(&held, &BEFORE), Some(second(3300)));
        assert_eq!(warned(&mut held, 0, 3600), [3300, 3540]);
        assert_eq!(next(&held, &BEFORE), None);
    }

    #[test]
    fn an_end_that_moves_away_is_warned_of_anew() {
        let mut held = login(0, 3600);
        assert_eq!(warned(&mut held, 0, 3590), [3300, 3540]);
        ends_at(&mut held, 7200);
        assert_eq!(warned(&mut held, 3590, 7200), [6900, 7140]);
    }

    #[test]
    fn a_session_shorter_than_a_warning_is_not_warned_at_its_start() {
        assert_eq!(warned(&mut login(0, 180), 0, 180), [120]);
        assert!(warned(&mut login(0, 30), 0, 30).is_empty());
    }

    #[test]
    fn an_end_that_moves_nearer_is_told_of_at_once() {
        let mut held = login(0, 3600);
        ends_at(&mut held, 1010);
        assert_eq!(warned(&mut held, 1000, 1010), [1000]);
    }

    #[test]
    fn nobody_is_warned_of_an_end_that_does_not_come() {
        let watched = Held {
            enforce: false,
            ..login(0, 3600)
        };
        assert_eq!(next(&watched, &BEFORE), None);
        assert_eq!(next(&login(0, 3600), &[]), None);
    }

    #[test]
    fn what_is_left_is_said_in_words() {
        let said = |milliseconds| words(Duration::from_millis(milliseconds));
        assert_eq!(said(299_996), "5 minutes");
        assert_eq!(said(90_000), "1 minute 30 seconds");
        assert_eq!(said(7_200_000), "2 hours");
        assert_eq!(said(300), "less than a second");
    }

    #[test]
    fn a_warning_says_how_long_is_left_and_how_to_go_on() {
        let text = take(&mut login(0, 3600), &BEFORE, second(3540))
            .unwrap()
            .text;
        assert!(text.contains("this login ends in 1 minute"), "{text}");
        assert!(text.contains("jitctl extend g7"), "{text}");
    }
}
