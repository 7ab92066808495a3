//! Whoever is locked.

use super::*;

proptest! {
    #[test]
    fn whoever_is_locked_has_nothing_and_gets_nothing_and_nothing_comes_back(steps in any_steps()) {
        let mut history = History::new();
        let mut now = begin();
        for (seconds, person, wanted) in steps {
            now = after(now, seconds);
            history.time_passes(now);
            let before: BTreeSet<GrantId> = history.state.live_grants(now).map(|grant| grant.id.clone()).collect();
            let unlocks = matches!(wanted, Command::Unlock { .. });
            let _ = history.wants(now, person, wanted);
            let live: Vec<_> = history.state.live_grants(now).collect();
            prop_assert!(!unlocks || live.iter().all(|grant| before.contains(&grant.id)));
            let locked = |name: &Principal| history.state.lock(name).is_some();
            prop_assert!(live.iter().all(|grant| !locked(&grant.principal)));
            for request in history.state.pending() {
                prop_assert!(!locked(&request.asked.principal));
                prop_assert!(request.approvals.iter().all(|given| !locked(&given.by)));
            }
        }
    }
}

#[test]
fn a_lock_ends_grants_denies_requests_and_takes_back_approvals() {
    let mut history = granted("one");
    history.wants(begin(), 0, ask("two", 600)).unwrap();
    history.wants(begin(), 1, approve(2, None)).unwrap();
    assert_eq!(
        history.wants(begin(), 2, lock("bob")),
        Err(WorkflowError::MayNotLock)
    );
    history.wants(begin(), 3, lock("bob")).unwrap();
    history.wants(begin(), 2, approve(2, None)).unwrap();
    assert_eq!(
        history.state.request(&request_id(2)).unwrap().state,
        RequestState::Pending,
        "one of two approvals was bob's"
    );
    history.wants(begin(), PEOPLE.len(), lock("alice")).unwrap();
    assert_eq!(history.state.live_grants(begin()).count(), 0);
    let denied = history.state.request(&request_id(2)).unwrap();
    assert_eq!(denied.state, RequestState::Denied);
    let refused = history.wants(begin(), 0, ask("one", 60)).unwrap_err();
    assert!(
        refused.to_string().contains("because"),
        "it says why: {refused}"
    );
    history
        .wants(begin(), PEOPLE.len(), unlock("alice"))
        .unwrap();
    assert_eq!(history.state.live_grants(begin()).count(), 0);
    history.wants(begin(), 0, ask("one", 60)).unwrap();
}

#[test]
fn locking_and_unlocking_twice_changes_nothing_more() {
    let mut history = History::new();
    for wanted in [lock("alice"), unlock("alice")] {
        history
            .wants(begin(), PEOPLE.len(), wanted.clone())
            .unwrap();
        let before = history.entries.len();
        history.wants(begin(), PEOPLE.len(), wanted).unwrap();
        assert_eq!(history.entries.len(), before);
    }
    assert!(matches!(
        history.wants(begin(), PEOPLE.len(), lock("nobody")),
        Err(WorkflowError::UnknownUser(_))
    ));
}
