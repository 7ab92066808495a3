//! Service accounts: they ask, and decide nothing.

use super::removal::token;
use super::*;
use crate::event::{Approved, Service};
use crate::loss::Loss;
use crate::policy::People;

fn service(name: &str) -> UserSet {
    UserSet {
        service: Some(Service::default()),
        ..user_set(name, name)
    }
}

fn become_service(history: &mut History, name: &str) {
    let wanted = Command::SetUser(service(name));
    history.wants(begin(), PEOPLE.len(), wanted).unwrap();
}

proptest! {
    #[test]
    fn a_service_account_never_decides_whatever_the_policy_says(
        steps in any_steps(),
        turns in proptest::collection::vec((0..PEOPLE.len(), prop::bool::weighted(0.3)), 40),
    ) {
        let mut history = History::new();
        let mut now = begin();
        for ((seconds, person, wanted), (other, turns)) in steps.into_iter().zip(turns) {
            now = after(now, seconds);
            history.time_passes(now);
            if turns {
                history.wants(now, PEOPLE.len(), Command::SetUser(service(PEOPLE[other]))).unwrap();
            }
            let before = history.entries.len();
            let _ = history.wants(now, person, wanted);
            for entry in &history.entries[before..] {
                let by = entry.event.decided_by(&entry.actor);
                let by = by.and_then(|name| history.state.directory.user(name));
                prop_assert!(!by.is_some_and(UserSet::is_service));
            }
        }
    }
}

#[test]
fn a_service_account_asks_and_people_approve() {
    let mut history = History::new();
    become_service(&mut history, "alice");
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    history.wants(begin(), 1, approve(1, None)).unwrap();
    assert_eq!(history.state.live_grants(begin()).count(), 2);
    become_service(&mut history, "dave");
    for wanted in [
        Command::Revoke {
            grant: grant_id(1),
            reason: reason(),
        },
        lock("alice"),
    ] {
        history.wants(begin(), 3, wanted).unwrap_err();
    }
}

#[test]
fn the_approval_of_somebody_who_becomes_a_service_account_counts_no_more() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("two", 600)).unwrap();
    history.wants(begin(), 1, approve(1, None)).unwrap();
    become_service(&mut history, "bob");
    history.wants(begin(), 2, approve(1, None)).unwrap();
    assert_eq!(history.state.live_grants(begin()).count(), 0);
    history.wants(begin(), 3, approve(1, None)).unwrap();
    assert_eq!(history.state.live_grants(begin()).count(), 2);
}

#[test]
fn a_forged_decision_of_a_service_account_opens_nothing() {
    let mut history = History::new();
    become_service(&mut history, "bob");
    become_service(&mut history, "dave");
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    let forged = Approved {
        request: request_id(1),
        by: "bob".parse().unwrap(),
        stage: 1,
        for_seconds: 600,
        comment: None,
        policy: String::new(),
    };
    history.happened(begin(), &actor(1), Event::Approved(forged));
    let request = history.state.request(&request_id(1)).unwrap();
    assert!(request.approvals.is_empty());
    let administrator = PEOPLE.len();
    history.wants(begin(), administrator, lock("erin")).unwrap();
    let principal = "erin".parse().unwrap();
    history.happened(begin(), &actor(3), Event::Unlocked { principal });
    history.wants(begin(), 4, ask("one", 60)).unwrap_err();
}

#[test]
fn whoever_turns_into_a_service_account_or_back_loses_his_tokens_and_is_told_so_before() {
    let mut history = History::new();
    let alice: Principal = "alice".parse().unwrap();
    for (number, next) in [service("alice"), user_set("alice", "alice")]
        .into_iter()
        .enumerate()
    {
        let made = token(number + 1, &alice, begin());
        history.happened(begin(), &Actor::Administrator, made);
        let events = [Event::UserSet(next)];
        let lost = Loss::of(&history.state, &events, begin());
        assert_eq!(lost.tokens.len(), 1);
        for event in events {
            history.happened(begin(), &Actor::Administrator, event);
        }
        assert_eq!(history.state.user_tokens.of(&alice, begin()).count(), 0);
    }
}

#[test]
fn a_user_of_an_older_record_is_a_person() {
    let old = r#"{"name":"alice","login":"alice","groups":["leads"],"keys":[]}"#;
    let user: UserSet = serde_json::from_str(old).unwrap();
    assert!(!user.is_service());
    assert_eq!(serde_json::to_string(&user).unwrap(), old);
    let leads = People {
        groups: user.groups.clone(),
        ..People::default()
    };
    assert!(leads.entrust(&user));
    let service = UserSet {
        service: Some(Service::default()),
        ..user
    };
    assert!(leads.include(&service) && !leads.entrust(&service));
}
