//! Service accounts with hours of their own.

use super::*;
use crate::event::Service;
use crate::policy::Hours;
use crate::workflow::{Outcome, Rule, Wish, explain};

const NIGHT: &str = "mon-fri 02:00 to 04:00 Europe/Paris";

/// alice is a service account of these hours.
fn history(hours: &[&str]) -> History {
    let mut history = History::new();
    let windows: Vec<_> = hours.iter().map(|text| text.parse().unwrap()).collect();
    let alice = UserSet {
        service: Some(Service::within(&windows)),
        ..user_set("alice", "alice")
    };
    history
        .wants(begin(), PEOPLE.len(), Command::SetUser(alice))
        .unwrap();
    history
}

fn hours(history: &History) -> Hours {
    let alice = history.state.directory.user(&"alice".parse().unwrap());
    let service = alice.unwrap().service.as_ref().unwrap();
    service.hours().unwrap().unwrap()
}

/// On Monday 2026-11-23, by the clocks of Paris.
fn at(time: &str) -> Timestamp {
    format!("2026-11-23T{time}:00+01:00").parse().unwrap()
}

fn code(result: Result<(), WorkflowError>) -> &'static str {
    result.unwrap_err().code().0
}

fn expires(history: &History) -> Timestamp {
    history.state.grant(&grant_id(1)).unwrap().expires
}

#[test]
fn outside_of_its_hours_a_service_account_is_refused_with_when_they_come() {
    let mut history = history(&[NIGHT]);
    let refused = history.wants(at("04:00"), 0, ask("one", 600)).unwrap_err();
    assert_eq!(refused.code().0, "outside-own-hours");
    assert_eq!(
        refused.to_string(),
        "alice may ask within its own hours only, mon-fri 02:00 to 04:00 Europe/Paris; they begin again at 2026-11-24T01:00:00Z"
    );
    history.wants(at("03:59"), 0, ask("one", 600)).unwrap();
    // Others are not held to them.
    history.wants(at("12:00"), 1, ask("one", 600)).unwrap();
}

#[test]
fn what_a_service_account_is_given_ends_with_its_hours() {
    let mut history = history(&[NIGHT]);
    history.wants(at("03:30"), 0, ask("one", 3_600)).unwrap();
    history.wants(at("03:35"), 1, approve(1, None)).unwrap();
    assert_eq!(expires(&history), at("04:00"));
    let past = history.wants(at("03:50"), 0, extend(1, 60));
    assert_eq!(code(past), "past-hours", "nor is it extended past them");
}

#[test]
fn an_approval_outside_of_the_hours_of_whoever_asked_grants_nothing() {
    let mut history = history(&[NIGHT]);
    history.wants(at("03:55"), 0, ask("two", 600)).unwrap();
    history.wants(at("03:56"), 1, approve(1, None)).unwrap();
    let late = history.wants(at("04:00"), 2, approve(1, None));
    assert_eq!(code(late), "outside-own-hours");
    assert_eq!(history.state.grants().count(), 0);
}

#[test]
fn it_neither_asks_by_day_for_the_night_nor_by_night_for_the_day() {
    let mut history = history(&[NIGHT]);
    let later = |start: &str| {
        let Command::Ask(asked) = ask("one", 600) else {
            unreachable!("it asks");
        };
        Command::Ask(Ask {
            not_before: Some(at(start)),
            ..asked
        })
    };
    for (now, start) in [("01:30", "02:00"), ("03:30", "04:00")] {
        let refused = history.wants(at(now), 0, later(start));
        assert_eq!(code(refused), "outside-own-hours");
    }
    history.wants(at("02:10"), 0, later("03:00")).unwrap();
}

#[test]
fn hours_that_can_not_be_told_open_nothing_and_a_record_with_them_is_read() {
    let text = r#"{"kind":"user_set","name":"alice","login":"alice","groups":[],"keys":[],
        "service":{"hours":[{"days":["mon-sun"],"from":"00:00","to":"24:00","zone":"Mars/Olympus"}]}}"#;
    let mut history = History::new();
    let event = serde_json::from_str(text).unwrap();
    history.happened(begin(), &Actor::Administrator, event);
    let refused = history.wants(at("03:00"), 0, ask("one", 600));
    assert_eq!(code(refused), "own-hours-unreadable");
}

proptest! {
    #[test]
    fn no_service_account_has_anything_outside_of_its_hours_whatever_people_do(
        steps in proptest::collection::vec((0..3 * 3_600_u32, 0..5_usize, 1..6_u64, 60..3_601_u32), 1..40),
        role in prop_oneof![Just("one"), Just("two"), Just("auto"), Just("glass"), Just("staged")],
        more in any::<bool>(),
    ) {
        let windows = [NIGHT, "mon-sun 12:00 to 12:20 UTC"];
        let mut history = history(&windows[..1 + usize::from(more)]);
        let (hours, mut now) = (hours(&history), at("01:00"));
        for (seconds, what, number, length) in steps {
            now = after(now, seconds);
            history.time_passes(now);
            let start = hours.next_opening(now).filter(|_| length % 2 == 0);
            let now = start.unwrap_or(now);
            let last = history.state.next_request().max(2) - 1;
            let before = history.entries.len();
            // What is refused changes nothing.
            let _ = match what {
                0 | 1 => history.wants(now, 0, ask(role, length)),
                2 => history.wants(now, 1, approve(last, None)),
                3 => history.wants(now, 2, approve(last, None)),
                _ => history.wants(now, 0, extend(number, length)),
            };
            let asked = history.entries[before..].iter().any(|entry| matches!(entry.event, Event::Requested(_)));
            prop_assert!(!asked || hours.open_until(now, now).is_some());
        }
        for grant in history.state.grants() {
            let until = hours.open_until(grant.not_before, grant.expires);
            prop_assert!(until.is_some_and(|until| grant.expires <= until), "{grant:?}");
        }
    }

    #[test]
    fn what_is_explained_of_its_hours_is_what_happens(minutes in 0..1_440_u32, ahead in proptest::option::of(0..3_600_u32)) {
        let mut history = history(&[NIGHT, "sun 23:00 to 01:00 UTC"]);
        let now = after(at("00:00"), minutes * 60);
        let Command::Ask(asked) = ask("one", 600) else { unreachable!("it asks") };
        let asked = Ask { not_before: ahead.map(|seconds| after(now, seconds)), ..asked };
        let wish = Wish {
            role: &asked.role, hosts: &asked.hosts, labels: &asked.labels, for_seconds: asked.for_seconds.unwrap(),
            not_before: asked.not_before, ticket: None, reason: Some(&asked.reason), origin: Some(asked.origin),
        };
        let told = explain(&history.state, policy(), now, &"alice".parse().unwrap(), &wish);
        let of_hours = told.rules.iter().find(|told| told.rule == Rule::WithinOwnHours).unwrap();
        let happened = history.wants(now, 0, Command::Ask(asked.clone()));
        prop_assert_eq!(of_hours.outcome == Outcome::Met, happened.is_ok(), "{}", of_hours.words);
        prop_assert_eq!(&told.verdict, &happened);
    }
}
