//! What nobody has to approve.

use super::*;
use crate::event::{AtOnce, Granted};

#[test]
fn a_role_that_nobody_approves_is_granted_by_the_server_with_the_grounds_on_record() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("auto", 600)).unwrap();
    let [asked, granted] = &history.entries[history.entries.len() - 2..] else {
        panic!("{:?}", history.entries);
    };
    assert_eq!((&asked.actor, &granted.actor), (&actor(0), &Actor::Server));
    let Event::Granted(Granted {
        at_once: Some(AtOnce::Auto { because }),
        ..
    }) = &granted.event
    else {
        panic!("{granted:?}");
    };
    assert_eq!(because.as_str(), "they can only read logs");
    let grant = history.state.grants().next().unwrap();
    assert_eq!(grant.expires, after(begin(), 600));
    let request = history.state.request(&request_id(1)).unwrap();
    assert_eq!(request.state, RequestState::Approved);
    assert!(request.approvals.is_empty());
}

#[test]
fn a_forged_grant_at_once_opens_nothing() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("auto", 600)).unwrap();
    let forged = match &history.entries.last().unwrap().event {
        Event::Granted(granted) => granted.clone(),
        event => panic!("{event:?}"),
    };
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    let with = |change: fn(&mut Granted)| {
        let mut forged = forged.clone();
        change(&mut forged);
        Event::Granted(forged)
    };
    let now = after(begin(), 1);
    for (at, by, event) in [
        (begin(), actor(1), with(|_| {})),
        (begin(), actor(0), with(|_| {})),
        (now, Actor::Server, with(|_| {})),
        (begin(), Actor::Server, with(|forged| forged.at_once = None)),
        (
            begin(),
            Actor::Server,
            with(|forged| forged.policy = "another".to_owned()),
        ),
    ] {
        history.happened(at, &by, event);
        assert_eq!(history.state.grants().count(), 0);
    }
    history.wants(begin(), 2, approve(1, None)).unwrap();
    assert_eq!(
        history.state.grants().count(),
        2,
        "it is still to be decided"
    );
}

#[test]
fn a_request_made_while_people_had_to_approve_is_not_granted_by_a_policy_that_asks_nobody() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    let people = r#"approve = { users = ["bob", "carol", "dave"] }"#;
    assert!(POLICY.contains(people));
    let auto = POLICY.replace(
        people,
        r#"approve = { auto = true, because = "they only read" }"#,
    );
    let policy = check_text("policy.toml", &auto).unwrap();
    let approved = command(
        &history.state,
        &policy,
        begin(),
        &actor(2),
        approve(1, None),
    );
    assert!(
        matches!(approved, Err(WorkflowError::Policy(_))),
        "{approved:?}"
    );
    assert!(lapsed(&history.state, after(begin(), 1)).is_empty());
}

#[test]
fn nobody_fills_a_host_with_grants_that_nobody_approves() {
    for role in ["auto", "glass"] {
        let mut history = History::new();
        for seconds in [600, 900, 300] {
            history.wants(begin(), 0, ask(role, seconds)).unwrap();
        }
        let refused = history.wants(begin(), 0, ask(role, 60)).unwrap_err();
        assert_eq!(refused.code().0, "had-already");
        assert!(
            refused.to_string().contains("g2, which lasts until"),
            "{refused}"
        );
        history.wants(begin(), 1, ask(role, 60)).unwrap();
        history
            .wants(after(begin(), 300), 0, ask(role, 600))
            .unwrap();
        let release = Command::Release { grant: grant_id(1) };
        history.wants(after(begin(), 300), 0, release).unwrap();
        history
            .wants(after(begin(), 300), 0, ask(role, 600))
            .unwrap();
    }
}

#[test]
fn undecided_requests_keep_nobody_from_breaking_the_glass() {
    let mut history = History::new();
    for number in 0..20 {
        // Each open request is of another login, so that only their number counts.
        history.happened(
            begin(),
            &Actor::Administrator,
            user("alice", &format!("a{number}")),
        );
        history.wants(begin(), 0, ask("two", 60)).unwrap();
    }
    let waits = history.wants(begin(), 0, ask("one", 60));
    assert_eq!(waits, Err(WorkflowError::TooManyOpen(20)));
    for role in ["glass", "auto"] {
        history.wants(begin(), 0, ask(role, 60)).unwrap();
    }
}
