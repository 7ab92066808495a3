//! Requests that nobody has decided yet.

use super::*;

#[test]
fn an_undecided_request_lapses_at_its_time_whether_that_is_recorded_yet_or_not() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    let late = after(begin(), 600);
    let refused = history.wants(late, 2, approve(1, None));
    assert_eq!(
        refused,
        Err(WorkflowError::NotPending {
            request: request_id(1),
            state: RequestState::Lapsed
        })
    );
    history.time_passes(late);
    assert_eq!(
        history.state.request(&request_id(1)).unwrap().state,
        RequestState::Lapsed
    );
}

#[test]
fn there_is_one_open_request_a_login_role_and_host() {
    let mut history = History::new();
    history.happened(begin(), &Actor::Administrator, user("erin", "alice"));
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    assert!(matches!(
        history.wants(begin(), 0, ask("one", 300)),
        Err(WorkflowError::SameOpen { .. })
    ));
    assert!(
        matches!(
            history.wants(begin(), 4, ask("one", 300)),
            Err(WorkflowError::SameOpen { .. })
        ),
        "the login is the same"
    );
    history.wants(begin(), 0, ask("two", 300)).unwrap();
    history
        .wants(
            begin(),
            0,
            Command::Withdraw {
                request: request_id(1),
            },
        )
        .unwrap();
    history.wants(begin(), 4, ask("one", 300)).unwrap();
}

#[test]
fn a_changed_login_needs_a_new_request() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    history.happened(begin(), &Actor::Administrator, user("alice", "other"));
    assert!(matches!(
        history.wants(begin(), 2, approve(1, None)),
        Err(WorkflowError::LoginChanged(_))
    ));
}

#[test]
fn one_person_can_not_fill_the_queue() {
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
    history.happened(begin(), &Actor::Administrator, user("alice", "alice"));
    assert_eq!(
        history.wants(begin(), 0, ask("two", 60)),
        Err(WorkflowError::TooManyOpen(20))
    );
    history.wants(begin(), 4, ask("two", 60)).unwrap();
}
