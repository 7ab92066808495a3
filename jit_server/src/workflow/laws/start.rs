//! Grants that begin at a certain time.

use super::*;
use crate::workflow::Grant;

const AHEAD: &str = r#"
[roles.ahead]
hosts = ["web-1"]
actions = ["ssh"]
longest = "4h"
extendable = "2h"
extend_without_approval = true
start_within = "7d"
hours = { days = ["mon-sun"], from = "08:00", to = "18:00", zone = "UTC" }
may_ask = { users = ["alice"] }
approve = { users = ["bob"] }
"#;
const HOUR: u32 = 3_600;

fn ahead() -> Policy {
    check_text("policy.toml", AHEAD).unwrap()
}

/// On 2026-11-22, on which everything begins at 12:00.
fn at(time: &str) -> Timestamp {
    format!("2026-11-22T{time}:00Z").parse().unwrap()
}

fn from(start: Timestamp, for_seconds: u32) -> Command {
    let Command::Ask(ask) = ask("ahead", for_seconds) else {
        unreachable!("it asks");
    };
    let not_before = Some(start);
    Command::Ask(Ask { not_before, ..ask })
}

/// Asked now for an hour from 15:00 on.
fn asked() -> History {
    let mut history = History::new();
    history
        .wants_under(&ahead(), begin(), 0, from(at("15:00"), HOUR))
        .unwrap();
    history
}

fn approved_at(time: &str, for_seconds: Option<u32>) -> Grant {
    let mut history = asked();
    history
        .wants_under(&ahead(), at(time), 1, approve(1, for_seconds))
        .unwrap();
    history.state.grant(&grant_id(1)).unwrap().clone()
}

#[test]
fn a_grant_may_begin_as_far_ahead_as_its_role_says_and_no_further() {
    let refused = |policy: &Policy, start| {
        let mut history = History::new();
        let wanted = history.wants_under(policy, begin(), 0, from(start, HOUR));
        wanted.err().map(|refused| refused.code().0)
    };
    let day = |days: u32| after(begin(), days * 24 * HOUR);
    assert_eq!(refused(&ahead(), day(7)), None);
    assert_eq!(refused(&ahead(), after(day(7), 1)), Some("start-too-far"));
    assert_eq!(refused(&ahead(), begin()), Some("start-past"));
    assert_eq!(refused(&ahead(), at("18:00")), Some("outside-hours"));
    let mut none = ahead();
    for role in none.roles.values_mut() {
        role.conditions.start_within_seconds = None;
    }
    assert_eq!(refused(&none, at("15:00")), Some("no-later-start"));
}

#[test]
fn a_grant_is_in_force_from_its_start_on_and_for_as_long_as_was_approved() {
    let grant = approved_at("12:30", None);
    assert_eq!(
        (grant.not_before, grant.expires),
        (at("15:00"), at("16:00"))
    );
    assert_eq!(
        grant.extendable_until,
        Some(at("18:00")),
        "its hours end then"
    );
    assert_eq!(grant.state(at("14:59")), GrantState::Scheduled);
    assert_eq!(grant.state(at("15:00")), GrantState::Active);
    let shorter = approved_at("12:30", Some(600));
    assert_eq!(
        (shorter.not_before, shorter.expires),
        (at("15:00"), at("15:10"))
    );
}

#[test]
fn what_is_approved_after_its_start_is_for_what_is_left() {
    let grant = approved_at("15:20", None);
    assert_eq!(
        (grant.not_before, grant.expires),
        (at("15:20"), at("16:00"))
    );
    let shorter = approved_at("15:20", Some(600));
    assert_eq!(
        (shorter.not_before, shorter.expires),
        (at("15:20"), at("15:30"))
    );
}

#[test]
fn what_is_approved_after_its_start_is_extended_no_further_than_what_is_approved_before() {
    let mut policy = ahead();
    for role in policy.roles.values_mut() {
        role.conditions.hours = None;
    }
    for approved in ["12:30", "15:20"] {
        let mut history = asked();
        history
            .wants_under(&policy, at(approved), 1, approve(1, None))
            .unwrap();
        let grant = |history: &History| history.state.grant(&grant_id(1)).unwrap().clone();
        let longest = Some(at("19:00"));
        assert_eq!(grant(&history).extendable_until, longest, "{approved}");
        let mut extends = |by| history.wants_under(&policy, at("15:30"), 0, extend(1, by));
        extends(2 * HOUR).unwrap();
        let past = extends(HOUR + 1).unwrap_err();
        assert_eq!(past.code().0, "past-limit", "{approved}");
        extends(HOUR).unwrap();
    }
}

#[test]
fn a_role_that_became_shorter_extends_no_further_than_from_the_start_that_was_asked() {
    let mut policy = ahead();
    let mut history = asked();
    history
        .wants_under(&policy, at("15:20"), 1, approve(1, None))
        .unwrap();
    for role in policy.roles.values_mut() {
        role.longest_seconds = 2 * HOUR;
    }
    let mut extends = |by| history.wants_under(&policy, at("15:30"), 0, extend(1, by));
    assert_eq!(extends(HOUR + 1).unwrap_err().code().0, "past-limit");
    extends(HOUR).unwrap();
}

#[test]
fn a_request_lapses_when_nothing_is_left_of_its_time() {
    let mut history = asked();
    history.time_passes(at("15:59"));
    let state = |history: &History| history.state.request(&request_id(1)).unwrap().state;
    assert_eq!(state(&history), RequestState::Pending);
    let late = history.wants_under(&ahead(), at("16:00"), 1, approve(1, None));
    assert!(late.is_err());
    history.time_passes(at("16:00"));
    assert_eq!(state(&history), RequestState::Lapsed);
}

#[test]
fn a_grant_that_has_not_begun_can_be_extended_revoked_and_given_back() {
    let policy = ahead();
    let mut history = asked();
    history
        .wants_under(&policy, begin(), 1, approve(1, None))
        .unwrap();
    history
        .wants_under(&policy, begin(), 0, extend(1, HOUR))
        .unwrap();
    let grant = history.state.grant(&grant_id(1)).unwrap();
    assert_eq!(
        (grant.not_before, grant.expires),
        (at("15:00"), at("17:00"))
    );
    let past = history.wants_under(&policy, begin(), 0, extend(1, HOUR + 1));
    assert_eq!(past.unwrap_err().code().0, "past-hours");
    let release = Command::Release { grant: grant_id(1) };
    history.wants_under(&policy, begin(), 0, release).unwrap();
    let state = history
        .state
        .grant(&grant_id(1))
        .unwrap()
        .state(at("15:30"));
    assert_eq!(state, GrantState::Released);
}

#[test]
fn a_role_that_begins_no_more_ahead_of_time_refuses_what_was_asked_before() {
    let mut policy = ahead();
    for role in policy.roles.values_mut() {
        role.conditions.start_within_seconds = None;
    }
    let refused = asked().wants_under(&policy, begin(), 1, approve(1, None));
    assert_eq!(refused.unwrap_err().code().0, "no-later-start");
    let mut history = asked();
    history
        .wants_under(&policy, at("15:20"), 1, approve(1, None))
        .unwrap();
}

#[test]
fn a_request_that_begins_further_ahead_than_its_role_allows_now_waits_until_it_does_not() {
    let mut policy = ahead();
    for role in policy.roles.values_mut() {
        role.conditions.start_within_seconds = Some(2 * HOUR);
    }
    let mut history = asked();
    let refused = history.wants_under(&policy, at("12:59"), 1, approve(1, None));
    assert_eq!(refused.unwrap_err().code().0, "start-too-far");
    history
        .wants_under(&policy, at("13:00"), 1, approve(1, None))
        .unwrap();
    assert_eq!(
        history.state.grant(&grant_id(1)).unwrap().not_before,
        at("15:00")
    );
}

#[test]
fn a_record_can_not_make_a_grant_begin_before_or_end_after_what_was_asked() {
    let policy = ahead();
    for (earlier, later) in [(1, 0), (0, 1)] {
        let mut history = asked();
        let made = command(
            &history.state,
            &policy,
            begin(),
            &actor(1),
            approve(1, None),
        )
        .unwrap();
        for event in made {
            let event = match event {
                Event::Granted(mut granted) => {
                    granted.not_before -= SignedDuration::from_secs(earlier);
                    granted.expires += SignedDuration::from_secs(later - earlier);
                    Event::Granted(granted)
                }
                other => other,
            };
            history.happened(begin(), &actor(1), event);
        }
        assert_eq!(history.state.grants().count(), 0, "{earlier} {later}");
    }
}

#[test]
fn a_request_of_before_there_were_starts_is_read_and_begins_when_it_is_granted() {
    let mut history = History::new();
    let line = r#"{"kind":"requested","request":"r1","principal":"alice","login":"alice","role":"ahead","hosts":["web-1"],
        "actions":["ssh"],"for_seconds":600,"reason":"because","lapses_at":"2026-11-22T13:00:00Z","policy":"p"}"#;
    let event: Event = serde_json::from_str(line).unwrap();
    assert_eq!(
        serde_json::to_value(&event).unwrap(),
        serde_json::from_str::<serde_json::Value>(line).unwrap()
    );
    history.happened(begin(), &actor(0), event);
    history
        .wants_under(&ahead(), begin(), 1, approve(1, None))
        .unwrap();
    let grant = history.state.grant(&grant_id(1)).unwrap();
    assert_eq!((grant.not_before, grant.expires), (begin(), at("12:10")));
}
