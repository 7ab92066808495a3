//! Grants that last longer.

use super::*;
use crate::bundles::{bundle, touched};

proptest! {
    #[test]
    fn extensions_never_pass_the_limit_of_the_role(steps in any_steps()) {
        let (history, _) = History::of(&steps);
        for grant in history.state.grants() {
            prop_assert!(grant.expires.duration_since(grant.not_before).as_secs() <= 3_600);
            for by in history.extensions(&grant.id) {
                prop_assert!(by.for_seconds <= 1_200);
                let needed = &policy().roles[&grant.role];
                let approved = by.request.as_ref().map(|id| history.state.request(id).unwrap());
                prop_assert_eq!(approved.is_none(), needed.extension.unwrap().without_approval);
                if let Some(request) = approved {
                    prop_assert!(request.approvals.len() >= needed.stages().iter().map(|stage| stage.count).sum::<u32>() as usize);
                    prop_assert!(request.approvals.iter().all(|given| given.by != grant.principal));
                    prop_assert!(request.approvals.iter().all(|given| given.for_seconds >= by.for_seconds));
                }
            }
        }
    }

    #[test]
    fn an_extension_revives_nothing(steps in any_steps()) {
        let mut history = History::new();
        let mut now = begin();
        for (seconds, person, wanted) in steps {
            now = after(now, seconds);
            history.time_passes(now);
            let over: Vec<_> = history.state.grants().filter(|grant| !grant.is_live(now)).cloned().collect();
            let _ = history.wants(now, person, wanted);
            for grant in over {
                prop_assert_eq!(history.state.grant(&grant.id), Some(&grant));
            }
        }
    }
}

#[test]
fn an_extension_without_approval_counts_at_once_and_stops_at_the_role_s_longest() {
    let mut history = granted("one");
    for _ in 0..2 {
        history.wants(begin(), 0, extend(1, 1_200)).unwrap();
    }
    let expires = |history: &History| history.state.grant(&grant_id(1)).unwrap().expires;
    assert_eq!(expires(&history), after(begin(), 3_000));
    assert_eq!(
        history.wants(begin(), 0, extend(1, 1_200)),
        Err(WorkflowError::PastLimit {
            grant: grant_id(1),
            left: 600
        })
    );
    assert_eq!(
        history.wants(begin(), 0, extend(1, 1_201)),
        Err(WorkflowError::ExtensionTooLong {
            most: 1_200,
            asked: 1_201
        })
    );
    assert!(matches!(
        history.wants(begin(), 1, extend(1, 60)),
        Err(WorkflowError::NotYours(_))
    ));
    assert_eq!(
        history.wants(after(begin(), 3_000), 0, extend(1, 60)),
        Err(WorkflowError::GrantEnded(grant_id(1)))
    );
}

#[test]
fn an_extension_that_needs_approval_is_a_request_and_moves_the_grant_when_it_is_approved() {
    let mut history = granted("two");
    history.wants(begin(), 0, extend(1, 600)).unwrap();
    assert!(matches!(
        history.wants(begin(), 0, extend(1, 600)),
        Err(WorkflowError::SameOpen { .. })
    ));
    history.wants(begin(), 1, approve(2, None)).unwrap();
    let grant = |history: &History| history.state.grant(&grant_id(1)).unwrap().clone();
    assert_eq!(grant(&history).expires, after(begin(), 600));
    history.wants(begin(), 2, approve(2, Some(300))).unwrap();
    assert_eq!(grant(&history).expires, after(begin(), 900));
    assert_eq!(history.state.grants().count(), 2, "it is the same grant");
    let request = history.state.request(&request_id(2)).unwrap();
    assert_eq!(
        (request.state, request.grants.as_slice()),
        (RequestState::Approved, &[grant_id(1)][..])
    );
    let told = &history.state.request(&request_id(1)).unwrap().timeline;
    assert!(told.last().unwrap().what.starts_with("extended g1 until "));
}

#[test]
fn an_extension_asked_of_a_grant_that_ended_can_not_be_approved_and_lapses() {
    let mut history = granted("two");
    history.wants(begin(), 0, extend(1, 600)).unwrap();
    let release = Command::Release { grant: grant_id(1) };
    history.wants(begin(), 0, release).unwrap();
    assert_eq!(
        history.wants(begin(), 1, approve(2, None)),
        Err(WorkflowError::GrantEnded(grant_id(1)))
    );
    history.time_passes(begin());
    let asked = history.state.request(&request_id(2)).unwrap();
    assert_eq!(asked.state, RequestState::Lapsed);
}

#[test]
fn a_role_without_extensions_has_none_nor_has_a_grant_that_was_made_without() {
    let without = POLICY
        .replace("extendable = \"20m\"\nextend_without_approval = true\n", "")
        .replace("extendable = \"20m\"\n", "");
    let policy = check_text("policy.toml", &without).unwrap();
    let history = granted("one");
    let extending = command(&history.state, &policy, begin(), &actor(0), extend(1, 60));
    assert!(matches!(
        extending,
        Err(WorkflowError::NotExtendable { .. })
    ));
}

#[test]
fn a_grant_that_one_clock_took_for_over_and_another_extended_is_live_again_and_ends_with_a_lock() {
    let mut history = granted("one");
    let (ahead, behind) = (after(begin(), 601), after(begin(), 599));
    history.state.forget_expired(ahead);
    history.wants(behind, 0, extend(1, 60)).unwrap();
    let here = "web-1".parse().unwrap();
    let host = history.state.directory.host(&here).unwrap();
    let told = bundle(&history.state, host, 1, ahead);
    assert_eq!(told.grants.len(), 1);
    let locked = Event::Locked {
        principal: "alice".parse().unwrap(),
        reason: reason(),
    };
    let concerned = BTreeSet::from([host.enrolled.host_id.clone()]);
    assert_eq!(
        touched(&history.state, std::slice::from_ref(&locked), ahead),
        concerned
    );
    history.happened(ahead, &Actor::Administrator, locked);
    let grant = history.state.grant(&grant_id(1)).unwrap();
    assert_eq!(grant.state(ahead), GrantState::Revoked);
}

#[test]
fn nobody_extends_by_the_second_without_end_and_the_next_day_nothing_is_left_of_it() {
    let mut history = granted("one");
    for _ in 1..1_000 {
        history.wants(begin(), 0, extend(1, 1)).unwrap();
    }
    let late = Err(WorkflowError::TooManyToday(1_000));
    assert_eq!(history.wants(begin(), 0, extend(1, 1)), late);
    assert_eq!(history.wants(begin(), 0, ask("one", 600)), late);
    let grants = history.entries.len();
    history.wants(begin(), 4, ask("one", 600)).unwrap();
    assert_eq!(history.entries.len(), grants + 1, "others are free");
    let tomorrow = after(begin(), 24 * 3_600);
    history.wants(tomorrow, 0, ask("one", 600)).unwrap();
    history.wants(tomorrow, 1, approve(3, None)).unwrap();
    let grant = history.state.live_grants(tomorrow).next().unwrap();
    let again = grant.id.as_str().trim_start_matches('g').parse().unwrap();
    history.wants(tomorrow, 0, extend(again, 1)).unwrap();
    let alice = "alice".parse().unwrap();
    let kept = history.state.extensions_of(&alice).count();
    assert_eq!(kept, 1, "no more is kept than is counted");
}
