//! Who makes a grant, and how long it may be.

use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

proptest! {
    #[test]
    fn no_grant_without_its_stages_done_by_different_people_who_did_not_ask(steps in any_steps()) {
        let (history, _) = History::of(&steps);
        let policy = policy();
        for grant in history.state.grants() {
            let request = history.state.request(&grant.request).unwrap();
            let rule = &policy.roles[&grant.role];
            prop_assert_eq!(request.at_once.is_some(), rule.stages().is_empty());
            prop_assert!(request.approvals.iter().all(|given| given.by != grant.principal), "nobody approves his own");
            let mut before: BTreeSet<&Principal> = BTreeSet::new();
            let mut last = None;
            for (number, stage) in (1..).zip(rule.stages()) {
                let of_stage = request.approvals.iter().filter(|given| given.stage == number);
                let by: Vec<&Principal> = of_stage.map(|given| &given.by).collect();
                let different: BTreeSet<&Principal> = by.iter().copied().collect();
                prop_assert_eq!(by.len(), different.len(), "nobody counts twice in a stage");
                let due = last.unwrap_or(request.asked_at);
                let of_stage = request.approvals.iter().filter(|given| given.stage == number);
                for given in of_stage {
                    let later = stage.later.iter().filter(|later| given.at >= after(due, later.after_seconds));
                    let mut may = [&stage.approvers].into_iter().chain(later.map(|later| &later.approvers));
                    prop_assert!(may.any(|people| people.users.contains(&given.by)));
                    last = Some(given.at);
                }
                let new = different.difference(&before).count();
                let counts = if stage.same_person_again { different.len() } else { new };
                prop_assert!(counts >= stage.count as usize, "stage {} is done", number);
                before.extend(different);
            }
            prop_assert!(request.state == RequestState::Approved);
        }
    }

    #[test]
    fn no_grant_is_longer_than_what_was_asked_and_each_approver_allowed(steps in any_steps()) {
        let (history, _) = History::of(&steps);
        for grant in history.state.grants() {
            let request = history.state.request(&grant.request).unwrap();
            let more: i64 = history.extensions(&grant.id).map(|by| i64::from(by.for_seconds)).sum();
            let lasts = grant.expires.duration_since(grant.not_before).as_secs() - more;
            prop_assert!(lasts > 0 && lasts <= i64::from(request.asked.for_seconds));
            prop_assert!(request.approvals.iter().all(|given| lasts <= i64::from(given.for_seconds)));
            prop_assert!(request.asked.for_seconds <= 3_600);
            if let Some(start) = request.asked.not_before {
                let begins = grant.not_before >= start;
                let ends = after(start, request.asked.for_seconds);
                prop_assert!(begins && grant.expires <= ends + SignedDuration::from_secs(more));
            }
        }
    }
}

#[test]
fn laws_are_tried_on_histories_in_which_something_is_granted() {
    let mut runner = TestRunner::deterministic();
    let mut granted = || {
        let steps = any_steps().new_tree(&mut runner).unwrap().current();
        History::of(&steps).0.state.grants().count() > 0
    };
    let histories = (0..200).filter(|_| granted()).count();
    assert!(histories > 50, "{histories} of 200");
}

#[test]
fn a_request_needs_its_approvals_and_then_opens_every_host_asked_for() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("two", 600)).unwrap();
    history.wants(begin(), 1, approve(1, Some(300))).unwrap();
    assert_eq!(history.state.grants().count(), 0);
    assert_eq!(
        history.wants(begin(), 1, approve(1, None)),
        Err(WorkflowError::AlreadyApproved(request_id(1)))
    );
    history.wants(begin(), 2, approve(1, None)).unwrap();
    let grants: Vec<_> = history.state.grants().collect();
    assert_eq!(
        grants
            .iter()
            .map(|grant| grant.host.as_str())
            .collect::<Vec<_>>(),
        ["web-1", "web-2"]
    );
    assert!(
        grants
            .iter()
            .all(|grant| grant.expires == after(begin(), 300))
    );
}

#[test]
fn nobody_approves_his_own_request() {
    let mut history = History::new();
    history.wants(begin(), 1, ask("one", 600)).unwrap();
    assert_eq!(
        history.wants(begin(), 1, approve(1, None)),
        Err(WorkflowError::OwnRequest(request_id(1)))
    );
}

#[test]
fn the_administrator_is_no_principal() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    let administrator = PEOPLE.len();
    assert!(matches!(
        history.wants(begin(), administrator, approve(1, None)),
        Err(WorkflowError::NoUser(_))
    ));
    assert!(matches!(
        history.wants(begin(), administrator, ask("one", 600)),
        Err(WorkflowError::NoUser(_))
    ));
}

#[test]
fn an_approval_by_somebody_who_may_no_longer_approve_does_not_count() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("two", 600)).unwrap();
    history.wants(begin(), 1, approve(1, None)).unwrap();
    let without_bob = POLICY.replace(
        r#"["bob", "carol", "dave"], count = 2"#,
        r#"["carol", "dave"], count = 2"#,
    );
    let policy = check_text("policy.toml", &without_bob).unwrap();
    let events = command(
        &history.state,
        &policy,
        begin(),
        &actor(2),
        approve(1, None),
    )
    .unwrap();
    assert!(matches!(events.as_slice(), [Event::Approved(_)]));
}

#[test]
fn a_request_that_the_policy_no_longer_covers_can_not_be_approved() {
    let mut history = History::new();
    history.wants(begin(), 0, ask("one", 3_000)).unwrap();
    for changed in [
        POLICY.replace("longest = \"1h\"", "longest = \"10m\""),
        POLICY.replace(r#"["alice", "bob", "erin"]"#, r#"["erin"]"#),
    ] {
        let policy = check_text("policy.toml", &changed).unwrap();
        assert!(matches!(
            command(
                &history.state,
                &policy,
                begin(),
                &actor(2),
                approve(1, None)
            ),
            Err(WorkflowError::Policy(_))
        ));
    }
}
