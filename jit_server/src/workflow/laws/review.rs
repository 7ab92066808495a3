//! Break-glass roles: used at once, told to everybody, and looked at afterwards.

use super::*;
use crate::alarm::Alarm;
use crate::event::{AtOnce, Granted, Reviewed};

const CAROL: usize = 2;

fn alarms(history: &History) -> Vec<(RequestId, &'static str)> {
    let all = history
        .entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Alarm { alarm, .. } => Some((alarm.request()?.clone(), alarm.cause())),
            _ => None,
        });
    all.collect()
}

proptest! {
    #[test]
    fn each_use_is_told_once_and_reviewed_once_by_somebody_else_or_told_again_when_that_is_late(steps in any_steps()) {
        let (mut history, now) = History::of(&steps);
        history.time_passes(now);
        let alarms = alarms(&history);
        let told = |request: &RequestId, cause| alarms.iter().filter(|alarm| **alarm == (request.clone(), cause)).count();
        for request in history.state.requests() {
            let id = &request.asked.request;
            let is_glass = request.asked.role.as_str() == "glass";
            let broken = matches!(request.at_once, Some(AtOnce::BreakGlass { .. }));
            prop_assert_eq!(broken, is_glass);
            prop_assert_eq!(request.review.is_some(), is_glass);
            prop_assert_eq!(told(id, "glass_broken"), usize::from(is_glass));
            let Some(review) = &request.review else { continue };
            let late = review.done.as_ref().map_or(now, |done| done.at) >= review.by;
            prop_assert_eq!(told(id, "review_overdue"), usize::from(review.is_overdue));
            prop_assert!(review.is_overdue == late || review.done.is_some());
            if let Some(done) = &review.done {
                prop_assert!(done.by != request.asked.principal, "nobody reviews his own use");
                let grants = request.grants.iter().map(|id| history.state.grant(id).unwrap());
                prop_assert!(grants.into_iter().all(|grant| !grant.is_live(done.at)));
            }
            let open = history.state.unreviewed().any(|open| open.asked.request == *id);
            prop_assert_eq!(open, review.done.is_none());
        }
    }
}

#[test]
fn laws_are_tried_on_histories_in_which_something_is_reviewed() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reviewed = || {
        let steps = any_steps().new_tree(&mut runner).unwrap().current();
        let (history, _) = History::of(&steps);
        history
            .entries
            .iter()
            .any(|entry| matches!(entry.event, Event::Reviewed(_)))
    };
    let histories = (0..200).filter(|_| reviewed()).count();
    assert!(histories > 10, "{histories} of 200");
}

#[test]
fn a_break_glass_role_opens_at_once_and_everybody_is_told() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("glass", 600)).unwrap();
    let [.., granted, alarm] = history.entries.as_slice() else {
        panic!("{:?}", history.entries);
    };
    let Event::Granted(Granted {
        at_once: Some(AtOnce::BreakGlass { review_by }),
        ..
    }) = &granted.event
    else {
        panic!("{granted:?}");
    };
    assert_eq!(*review_by, after(begin(), 600 + 300), "from its end on");
    let Event::Alarm {
        alarm: Alarm::GlassBroken {
            principal, reason, ..
        },
        ..
    } = &alarm.event
    else {
        panic!("{alarm:?}");
    };
    assert_eq!((principal.as_str(), reason.as_str()), ("alice", "because"));
    assert_eq!(
        (&granted.actor, &alarm.actor),
        (&Actor::Server, &Actor::Server)
    );
    assert_eq!(history.state.live_grants(begin()).count(), 1);
}

#[test]
fn what_is_reviewed_is_over_and_another_ones() {
    let mut history = History::new();
    history.wants(begin(), 1, ask("glass", 600)).unwrap();
    let id = || request_id(1);
    let end = after(begin(), 600);
    let refused = |history: &mut History, now, person, number| {
        history.wants(now, person, review(number)).unwrap_err()
    };
    assert_eq!(
        refused(&mut history, begin(), CAROL, 1),
        WorkflowError::StillInForce(grant_id(1))
    );
    assert_eq!(
        refused(&mut history, end, 1, 1),
        WorkflowError::OwnReview(id())
    );
    assert_eq!(
        refused(&mut history, end, 4, 1),
        WorkflowError::MayNotReview("glass".parse().unwrap())
    );
    assert!(matches!(
        refused(&mut history, end, PEOPLE.len(), 1),
        WorkflowError::NoUser(_)
    ));
    assert_eq!(
        refused(&mut history, end, CAROL, 2),
        WorkflowError::NoRequest(request_id(2))
    );
    history.wants(end, CAROL, review(1)).unwrap();
    assert_eq!(
        refused(&mut history, end, 3, 1),
        WorkflowError::ReviewedAlready(id())
    );
    history.wants(end, 0, ask("one", 600)).unwrap();
    assert!(matches!(
        refused(&mut history, end, CAROL, 2),
        WorkflowError::MayNotReview(_)
    ));
    history.time_passes(after(end, 3_600));
    assert_eq!(
        alarms(&history),
        [(id(), "glass_broken")],
        "it is not overdue"
    );
}

#[test]
fn a_reviewer_may_end_what_he_has_to_review_and_nobody_else_may() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("glass", 600)).unwrap();
    let revoke = || Command::Revoke {
        grant: grant_id(1),
        reason: reason(),
    };
    assert!(matches!(
        history.wants(begin(), 4, revoke()),
        Err(WorkflowError::MayNotRevoke(_))
    ));
    history.wants(begin(), CAROL, revoke()).unwrap();
    history.wants(begin(), CAROL, review(1)).unwrap();
}

#[test]
fn a_forged_review_changes_nothing() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("glass", 600)).unwrap();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    let reviewed = |request: u64, by: &str| {
        Event::Reviewed(Reviewed {
            request: request_id(request),
            by: by.parse().unwrap(),
            comment: Comment::try_from("fine".to_owned()).unwrap(),
            policy: String::new(),
        })
    };
    for (request, by) in [(1, "alice"), (2, "carol"), (7, "carol")] {
        let before = history.state.clone();
        history.happened(begin(), &actor(0), reviewed(request, by));
        assert_eq!(history.state, before);
    }
    history.happened(begin(), &actor(2), reviewed(1, "carol"));
    let before = history.state.clone();
    history.happened(begin(), &actor(3), reviewed(1, "dave"));
    assert_eq!(history.state, before, "the first one stays");
}
