//! What has ended stays so, and the record has all of it.

use super::*;

proptest! {
    #[test]
    fn there_is_no_way_out_of_an_end_state(steps in any_steps(), more in any_steps()) {
        let (mut history, mut now) = History::of(&steps);
        let before = history.state.clone();
        for (seconds, person, wanted) in more {
            now = after(now, seconds);
            history.time_passes(now);
            let _ = history.wants(now, person, wanted);
        }
        for request in before.requests().filter(|request| request.state != RequestState::Pending) {
            let later = history.state.request(&request.asked.request).unwrap();
            prop_assert_eq!(later.state, request.state);
            prop_assert_eq!(&later.grants, &request.grants);
            prop_assert_eq!(&later.approvals, &request.approvals);
        }
        for grant in before.grants().filter(|grant| grant.ended.is_some()) {
            let later = history.state.grant(&grant.id).unwrap();
            prop_assert_eq!(later, grant, "a revocation is final");
            prop_assert!(!later.is_live(now));
        }
    }

    #[test]
    fn replay_gives_the_same_state(steps in any_steps()) {
        let (history, _) = History::of(&steps);
        let mut replayed = State::default();
        for entry in &history.entries {
            let kept = serde_json::to_string(entry).unwrap();
            replayed.apply(&serde_json::from_str(&kept).unwrap());
        }
        prop_assert_eq!(replayed, history.state);
    }

    #[test]
    fn a_record_with_events_out_of_place_opens_nothing(steps in any_steps(), gone in any::<prop::sample::Index>()) {
        let (history, now) = History::of(&steps);
        let gone = gone.index(history.entries.len());
        let mut replayed = State::default();
        let kept = history.entries.iter().enumerate().filter(|(place, _)| *place != gone);
        kept.for_each(|(_, entry)| replayed.apply(entry));
        for grant in replayed.live_grants(now) {
            let same = history.state.grant(&grant.id);
            prop_assert!(same.is_some_and(|same| same.expires >= grant.expires && same.principal == grant.principal));
        }
    }
}

#[test]
fn revoking_and_releasing_end_a_grant_once() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    history.wants(begin(), 2, approve(1, None)).unwrap();
    let revoke = |number| Command::Revoke {
        grant: grant_id(number),
        reason: reason(),
    };
    let release = |number| Command::Release {
        grant: grant_id(number),
    };
    assert!(matches!(
        history.wants(begin(), 4, revoke(1)),
        Err(WorkflowError::MayNotRevoke(_))
    ));
    assert!(matches!(
        history.wants(begin(), 4, release(1)),
        Err(WorkflowError::NotYours(_))
    ));
    history.wants(begin(), PEOPLE.len(), revoke(1)).unwrap();
    history.wants(begin(), 0, release(2)).unwrap();
    let states: Vec<_> = history
        .state
        .grants()
        .map(|grant| grant.state(begin()))
        .collect();
    assert_eq!(states, [GrantState::Revoked, GrantState::Released]);
    assert!(matches!(
        history.wants(begin(), 0, release(1)),
        Err(WorkflowError::GrantEnded(_))
    ));
}
