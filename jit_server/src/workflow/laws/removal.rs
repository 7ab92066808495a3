//! Users who are changed and removed.

use super::*;
use crate::event::UserTokenMade;
use crate::loss::Loss;

pub(super) fn token(number: usize, name: &Principal, now: Timestamp) -> Event {
    Event::UserTokenMade(UserTokenMade {
        token: format!("u{number}").parse().unwrap(),
        user: name.clone(),
        secret: format!("{number:064x}").parse().unwrap(),
        expires: after(now, 100_000),
        scopes: Default::default(),
        for_seconds: None,
        renewable_until: None,
        replaces: None,
    })
}

/// What `name` has: live grants, undecided requests, approvals that count for those of others, tokens.
fn possessions(state: &State, name: &Principal, now: Timestamp) -> [usize; 4] {
    let approvals = state.pending().flat_map(|request| &request.approvals);
    [
        state
            .live_grants(now)
            .filter(|grant| grant.principal == *name)
            .count(),
        state
            .pending()
            .filter(|request| request.asked.principal == *name)
            .count(),
        approvals.filter(|given| given.by == *name).count(),
        state.user_tokens.of(name, now).count(),
    ]
}

proptest! {
    #[test]
    fn whoever_is_removed_has_nothing_and_nothing_comes_back_with_the_name(steps in any_steps()) {
        let mut history = History::new();
        let mut now = begin();
        for (number, (seconds, person, wanted)) in steps.into_iter().enumerate() {
            now = after(now, seconds);
            history.time_passes(now);
            if let Command::RemoveUser { name } = &wanted
                && history.state.directory.user(name).is_some()
            {
                history.happened(now, &Actor::Administrator, token(number + 1, name, now));
            }
            let _ = history.wants(now, person, wanted);
            for name in PEOPLE.map(|name| name.parse::<Principal>().unwrap()) {
                let known = history.state.directory.user(&name).is_some();
                prop_assert!(known || possessions(&history.state, &name, now) == [0; 4]);
                // Whatever is in the record: adding the name brings nothing back.
                let mut added = history.state.clone();
                if !known {
                    added.apply(&Entry { via: None, seq: 0, at: now, actor: Actor::Administrator, event: user(name.as_str(), name.as_str()) });
                    prop_assert_eq!(possessions(&added, &name, now), [0; 4]);
                }
            }
        }
    }

    #[test]
    fn nobody_has_a_login_that_is_not_his_any_more(steps in any_steps()) {
        let mut history = History::new();
        let mut now = begin();
        let last = PEOPLE.map(|name| (0, PEOPLE.len(), set_user(name, "deploy")));
        for (seconds, person, wanted) in steps.into_iter().chain(last) {
            now = after(now, seconds);
            history.time_passes(now);
            let _ = history.wants(now, person, wanted);
            for grant in history.state.live_grants(now) {
                let user = history.state.directory.user(&grant.principal);
                prop_assert_eq!(user.map(|user| history.state.directory.login_on(user, &grant.host)), Some(&grant.login));
            }
        }
    }

    #[test]
    fn no_id_is_given_twice(steps in any_steps()) {
        let (history, _) = History::of(&steps);
        let mut requests = BTreeSet::new();
        let mut grants = BTreeSet::new();
        for entry in &history.entries {
            match &entry.event {
                Event::Requested(asked) => prop_assert!(requests.insert(&asked.request)),
                Event::Granted(granted) => {
                    prop_assert!(granted.grants.iter().all(|one| grants.insert(&one.grant)));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn what_is_told_to_be_lost_is_what_ends(steps in any_steps(), name in 0..PEOPLE.len(), shared in any::<bool>()) {
        let (mut history, now) = History::of(&steps);
        let name = PEOPLE[name];
        let login = if shared { "deploy" } else { name };
        let administrator = Actor::Administrator;
        history.happened(now, &administrator, token(1, &name.parse().unwrap(), now));
        for wanted in [set_user(name, login), remove_user(name)] {
            let before = history.state.clone();
            let Ok(events) = command(&before, policy(), now, &administrator, wanted) else {
                continue;
            };
            let told = Loss::of(&before, &events, now);
            for event in events {
                history.happened(now, &administrator, event);
            }
            let after = &history.state;
            let lives = |id: &GrantId| after.live_grants(now).any(|grant| grant.id == *id);
            let ended: Vec<_> = before.live_grants(now).filter(|grant| !lives(&grant.id)).cloned().collect();
            prop_assert_eq!(told.grants, ended);
            let open = |id: &RequestId| after.pending().any(|request| request.asked.request == *id);
            let closed: Vec<_> = before.pending().map(|request| &request.asked).filter(|asked| !open(&asked.request)).cloned().collect();
            prop_assert_eq!(told.requests, closed);
            let name = name.parse().unwrap();
            let gone = before.user_tokens.of(&name, now).count() - after.user_tokens.of(&name, now).count();
            prop_assert_eq!(told.tokens.len(), gone);
        }
    }
}

#[test]
fn a_removal_ends_grants_withdraws_requests_and_takes_back_approvals_but_not_those_that_made_a_grant()
 {
    let mut history = granted("one");
    history.wants(begin(), 0, ask("two", 600)).unwrap();
    history.wants(begin(), 1, approve(2, None)).unwrap();
    let administrator = PEOPLE.len();
    history
        .wants(begin(), administrator, remove_user("bob"))
        .unwrap();
    let approvers = |history: &History, number| {
        let request = history.state.request(&request_id(number)).unwrap();
        let by = request.approvals.iter().map(|given| given.by.to_string());
        by.collect::<Vec<_>>()
    };
    assert_eq!(approvers(&history, 1), ["bob"], "that is on record");
    assert!(approvers(&history, 2).is_empty());
    assert_eq!(history.state.live_grants(begin()).count(), 2);
    history
        .wants(begin(), administrator, set_user("bob", "bob"))
        .unwrap();
    history.wants(begin(), 2, approve(2, None)).unwrap();
    let asked = |history: &History| history.state.request(&request_id(2)).unwrap().state;
    assert_eq!(
        asked(&history),
        RequestState::Pending,
        "bob's counts no more"
    );
    history
        .wants(begin(), administrator, remove_user("alice"))
        .unwrap();
    assert_eq!(asked(&history), RequestState::Withdrawn);
    let ended = history.state.grant(&grant_id(1)).unwrap();
    assert_eq!(ended.state(begin()), GrantState::Revoked);
    let reason = ended.ended.as_ref().unwrap().reason.as_ref().unwrap();
    assert_eq!(reason.as_str(), "the user was removed");
    assert_eq!(
        history.wants(begin(), administrator, remove_user("alice")),
        Err(WorkflowError::UnknownUser("alice".parse().unwrap()))
    );
}

#[test]
fn only_the_administrator_changes_and_removes_users() {
    let mut history = History::new();
    for wanted in [remove_user("alice"), set_user("alice", "root2")] {
        assert_eq!(
            history.wants(begin(), 3, wanted),
            Err(WorkflowError::NotAdministrator)
        );
    }
}

#[test]
fn another_login_ends_what_was_granted_for_the_one_before() {
    let mut history = granted("one");
    let administrator = PEOPLE.len();
    let before = history.entries.len();
    history
        .wants(begin(), administrator, set_user("alice", "alice"))
        .unwrap();
    assert_eq!(history.entries.len(), before, "she is so already");
    history
        .wants(begin(), administrator, set_user("alice", "deploy"))
        .unwrap();
    assert_eq!(history.state.live_grants(begin()).count(), 0);
}

#[test]
fn a_lock_outlasts_a_removal() {
    let mut history = History::new();
    let administrator = PEOPLE.len();
    for wanted in [
        lock("alice"),
        remove_user("alice"),
        set_user("alice", "alice"),
    ] {
        history.wants(begin(), administrator, wanted).unwrap();
    }
    assert!(matches!(
        history.wants(begin(), 0, ask("one", 600)),
        Err(WorkflowError::Locked { .. })
    ));
    // Also while nobody has the name it can be ended.
    for wanted in [
        remove_user("alice"),
        unlock("alice"),
        set_user("alice", "alice"),
    ] {
        history.wants(begin(), administrator, wanted).unwrap();
    }
    history.wants(begin(), 0, ask("one", 600)).unwrap();
}

#[test]
fn what_somebody_removed_asked_and_decided_is_not_that_of_whoever_has_the_name_next() {
    let mut history = granted("one");
    let his = |history: &History, name: &str, request: u64| {
        let name = name.parse().unwrap();
        let request = history.state.request(&request_id(request)).unwrap();
        let state = &history.state;
        (
            state.is_own(&name, request),
            state.has_decided(&name, request),
        )
    };
    assert_eq!(his(&history, "alice", 1), (true, false));
    assert_eq!(his(&history, "bob", 1), (false, true));
    let (later, last) = (after(begin(), 60), history.entries.len() as u64);
    for name in ["alice", "bob"] {
        for wanted in [remove_user(name), set_user(name, name)] {
            history.wants(later, PEOPLE.len(), wanted).unwrap();
        }
        assert_eq!(his(&history, name, 1), (false, false));
        assert!(!history.state.is_since(&name.parse().unwrap(), last));
    }
    history.wants(later, 0, ask("one", 60)).unwrap();
    history.wants(later, 1, approve(2, None)).unwrap();
    assert_eq!(his(&history, "alice", 2), (true, false));
    assert_eq!(his(&history, "bob", 2), (false, true));
    history
        .wants(later, PEOPLE.len(), set_user("alice", "deploy"))
        .unwrap();
    assert_eq!(
        his(&history, "alice", 2),
        (true, false),
        "a change is no other person"
    );
}
