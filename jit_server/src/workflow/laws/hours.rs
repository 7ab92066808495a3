//! Roles of certain hours.

use super::*;
use crate::event::Granted;
use crate::policy::{ConditionRefusal, PolicyRefusal};

const OFFICE: &str = r#"
[roles.office]
hosts = ["web-1"]
actions = ["ssh"]
longest = "4h"
extendable = "2h"
extend_without_approval = true
hours = { days = ["mon-fri"], from = "08:00", to = "18:00", zone = "Europe/Paris" }
may_ask = { users = ["alice"] }
approve = { users = ["bob"] }
"#;

fn office(more: &str) -> Policy {
    check_text("policy.toml", &format!("{OFFICE}{more}")).unwrap()
}

/// On Monday 2026-11-23, by the clocks of Paris.
fn at(time: &str) -> Timestamp {
    format!("2026-11-23T{time}:00+01:00").parse().unwrap()
}

fn asked_at(policy: &Policy, time: &str) -> Result<History, WorkflowError> {
    let mut history = History::new();
    history.wants_under(policy, at(time), 0, ask("office", 4 * 3_600))?;
    Ok(history)
}

fn granted_at(policy: &Policy, time: &str) -> History {
    let mut history = asked_at(policy, "09:00").unwrap();
    history
        .wants_under(policy, at(time), 1, approve(1, None))
        .unwrap();
    history
}

fn expires(history: &History) -> Timestamp {
    history.state.grant(&grant_id(1)).unwrap().expires
}

fn is_outside(result: &Result<(), WorkflowError>) -> bool {
    matches!(
        result,
        Err(WorkflowError::Policy(PolicyRefusal::Condition(
            ConditionRefusal::OutsideHours { .. }
        )))
    )
}

#[test]
fn outside_of_its_hours_a_role_is_refused_with_when_they_come() {
    let refused = asked_at(&office(""), "18:00").err().unwrap();
    assert_eq!(refused.code().0, "outside-hours");
    assert_eq!(
        refused.to_string(),
        "role office is for mon-fri 08:00 to 18:00 Europe/Paris only; that begins again at 2026-11-24T07:00:00Z, in 14h"
    );
    assert!(asked_at(&office(""), "17:59").is_ok());
    assert!(asked_at(&office("overrun = true"), "18:00").is_err());
}

#[test]
fn a_grant_ends_with_the_hours_of_its_role_unless_it_may_go_on() {
    assert_eq!(expires(&granted_at(&office(""), "12:00")), at("16:00"));
    assert_eq!(expires(&granted_at(&office(""), "16:30")), at("18:00"));
    let overrun = office("overrun = true");
    assert_eq!(expires(&granted_at(&overrun, "16:30")), at("20:30"));
}

#[test]
fn an_approval_outside_of_the_hours_grants_nothing() {
    let policy = office("");
    let mut history = asked_at(&policy, "17:00").unwrap();
    let late = history.wants_under(&policy, at("18:00"), 1, approve(1, None));
    assert!(is_outside(&late), "{late:?}");
    assert_eq!(history.state.grants().count(), 0);
    assert_eq!(
        history.state.request(&request_id(1)).unwrap().state,
        RequestState::Pending,
        "it can be approved in the morning"
    );
}

#[test]
fn no_extension_goes_past_the_end_of_the_hours() {
    let policy = office("");
    let mut history = History::new();
    let short = ask("office", 3_600);
    history.wants_under(&policy, at("16:00"), 0, short).unwrap();
    history
        .wants_under(&policy, at("16:00"), 1, approve(1, None))
        .unwrap();
    let past = history.wants_under(&policy, at("16:30"), 0, extend(1, 3_601));
    assert_eq!(
        past,
        Err(WorkflowError::PastHours {
            grant: grant_id(1),
            until: at("18:00")
        })
    );
    history
        .wants_under(&policy, at("16:30"), 0, extend(1, 3_600))
        .unwrap();
    assert_eq!(expires(&history), at("18:00"));
    // What the record allows is no more, whoever writes into it.
    let forged = Event::Extended(Extended {
        grant: grant_id(1),
        for_seconds: 60,
        expires: at("18:01"),
        reason: reason(),
        request: None,
        policy: String::new(),
    });
    history.happened(at("17:00"), &actor(0), forged);
    assert_eq!(expires(&history), at("18:00"));
}

proptest! {
    #[test]
    fn no_grant_is_in_force_outside_of_the_hours_of_its_role_whatever_people_do(
        steps in proptest::collection::vec((0..5 * 3_600_u32, 0..4_usize, 1..5_u64, 60..14_401_u32), 1..40),
    ) {
        let policy = office("start_within = \"1d\"");
        let hours = policy.roles.values().next().unwrap().conditions.hours.clone().unwrap();
        let (mut history, mut now) = (History::new(), at("07:00"));
        for (seconds, what, number, length) in steps {
            now = after(now, seconds);
            history.time_passes(now);
            let Command::Ask(asked) = ask("office", length) else { unreachable!("it asks") };
            let not_before = Some(after(now, length * 5));
            // What is refused changes nothing.
            let _ = match what {
                0 => history.wants_under(&policy, now, 0, Command::Ask(asked)),
                1 => history.wants_under(&policy, now, 0, Command::Ask(Ask { not_before, ..asked })),
                2 => history.wants_under(&policy, now, 1, approve(history.state.next_request().max(2) - 1, None)),
                _ => history.wants_under(&policy, now, 0, extend(number, length)),
            };
        }
        for grant in history.state.grants() {
            let until = hours.open_until(grant.not_before, grant.expires);
            prop_assert!(until.is_some_and(|until| grant.expires <= until), "{grant:?}");
        }
    }
}

#[test]
fn where_a_role_has_got_hours_since_an_extension_keeps_to_them() {
    let before = office("").roles;
    let mut free = office("");
    for role in free.roles.values_mut() {
        role.conditions.hours = None;
    }
    let mut history = History::new();
    history
        .wants_under(&free, at("19:00"), 0, ask("office", 3_600))
        .unwrap();
    history
        .wants_under(&free, at("19:00"), 1, approve(1, None))
        .unwrap();
    let policy = Policy {
        roles: before,
        ..Policy::default()
    };
    let outside = history.wants_under(&policy, at("19:30"), 0, extend(1, 60));
    assert!(is_outside(&outside), "{outside:?}");
}

#[test]
fn a_record_can_not_make_a_grant_last_longer_than_was_asked_or_be_for_another_host() {
    let longer = |granted: &mut Granted| granted.expires = after(granted.expires, 1);
    let elsewhere = |granted: &mut Granted| granted.grants[0].host = "web-2".parse().unwrap();
    assert_eq!(grants_of_record(|_| {}), 1);
    assert_eq!(grants_of_record(longer), 0);
    assert_eq!(grants_of_record(elsewhere), 0);
}

/// How many grants there are after a record of an approval that somebody changed.
fn grants_of_record(forge: impl Fn(&mut Granted)) -> usize {
    let policy = office("");
    let mut history = asked_at(&policy, "09:00").unwrap();
    let approver = actor(1);
    let wanted = approve(1, None);
    let made = command(&history.state, &policy, at("09:00"), &approver, wanted).unwrap();
    for event in made {
        let event = match event {
            Event::Granted(mut granted) => {
                forge(&mut granted);
                Event::Granted(granted)
            }
            other => other,
        };
        history.happened(at("09:00"), &approver, event);
    }
    history.state.grants().count()
}
