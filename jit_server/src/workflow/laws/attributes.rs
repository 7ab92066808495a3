//! What the policy asks of people beside who they are.

use super::*;
use crate::bundles::bundle;
use crate::policy::PolicyRefusal;

const ON_CALL: &str = r#"
[roles.one]
hosts = ["web-1"]
actions = ["ssh"]
longest = "1h"
extendable = "10m"
may_ask = { users = ["alice", "erin"], attributes = { on_call = true } }
approve = { attributes = { on_call = true, level = "2" }, count = 2 }
"#;

fn on_call() -> Policy {
    check_text("policy.toml", ON_CALL).unwrap()
}

fn with(name: &str, attributes: &str) -> Command {
    Command::SetUser(UserSet {
        attributes: serde_json::from_str(attributes).unwrap(),
        ..user_set(name, name)
    })
}

/// alice, bob, carol and dave are on call; all but her approve.
fn everybody_on_call(history: &mut History, policy: &Policy) {
    let approver = r#"{"on_call":true,"level":"2"}"#;
    for (name, attributes) in [
        ("alice", r#"{"on_call":true}"#),
        ("bob", approver),
        ("carol", approver),
        ("dave", approver),
    ] {
        let wanted = with(name, attributes);
        history
            .wants_under(policy, begin(), PEOPLE.len(), wanted)
            .unwrap();
    }
}

#[test]
fn whoever_is_off_call_by_then_approves_no_more_and_his_approval_counts_no_more() {
    let (mut history, policy) = (History::new(), on_call());
    everybody_on_call(&mut history, &policy);
    let mut wants = |person, wanted| history.wants_under(&policy, begin(), person, wanted);
    let off = |name| with(name, r#"{"on_call":false,"level":"2"}"#);
    let not = |name: &str| {
        Err(WorkflowError::Policy(PolicyRefusal::MayNotApprove {
            principal: name.parse().unwrap(),
            role: "one".parse().unwrap(),
        }))
    };
    wants(0, ask("one", 600)).unwrap();
    wants(PEOPLE.len(), off("bob")).unwrap();
    assert_eq!(wants(1, approve(1, None)), not("bob"));
    wants(2, approve(1, None)).unwrap();
    wants(PEOPLE.len(), off("carol")).unwrap();
    wants(3, approve(1, None)).unwrap();
    assert_eq!(history.state.grants().count(), 0, "carol is off call");
    let again = with("bob", r#"{"on_call":true,"level":"2"}"#);
    let mut wants = |person, wanted| history.wants_under(&policy, begin(), person, wanted);
    wants(PEOPLE.len(), again).unwrap();
    wants(1, approve(1, None)).unwrap();
    assert_eq!(history.state.grants().count(), 1);
}

#[test]
fn a_grant_names_whose_approvals_counted_and_one_of_before_all_that_were_given() {
    let (mut history, policy) = (History::new(), on_call());
    everybody_on_call(&mut history, &policy);
    let mut wants = |person, wanted| history.wants_under(&policy, begin(), person, wanted);
    wants(0, ask("one", 600)).unwrap();
    wants(2, approve(1, None)).unwrap();
    wants(PEOPLE.len(), with("carol", "{}")).unwrap();
    wants(1, approve(1, None)).unwrap();
    wants(3, approve(1, None)).unwrap();
    assert_eq!(approvers(&history), ["bob", "dave"]);

    let mut written = serde_json::to_value(history.entries.last().unwrap()).unwrap();
    written["event"].as_object_mut().unwrap().remove("counted");
    let before = with_last(&history, serde_json::from_value(written).unwrap());
    assert_eq!(approvers(&before), ["carol", "bob", "dave"]);
}

#[test]
fn a_record_can_not_make_an_approval_count_that_nobody_gave() {
    let (mut history, policy) = (History::new(), on_call());
    everybody_on_call(&mut history, &policy);
    for (person, wanted) in [
        (0, ask("one", 600)),
        (1, approve(1, None)),
        (3, approve(1, None)),
    ] {
        history
            .wants_under(&policy, begin(), person, wanted)
            .unwrap();
    }
    let mut entry = history.entries.last().unwrap().clone();
    let Event::Granted(granted) = &mut entry.event else {
        panic!("two approvals are enough");
    };
    granted.counted[0].by = "carol".parse().unwrap();
    assert_eq!(with_last(&history, entry).state.grants().count(), 0);
}

/// The same history but for its last entry, which is this one.
fn with_last(history: &History, last: Entry) -> History {
    let mut other = History::default();
    let (_, before) = history.entries.split_last().unwrap();
    for entry in before.iter().chain([&last]) {
        other.happened(entry.at, &entry.actor, entry.event.clone());
    }
    other
}

/// Who is named to the host as having approved the grant there.
fn approvers(history: &History) -> Vec<String> {
    let host = history.state.directory.host(&"web-1".parse().unwrap());
    let told = bundle(&history.state, host.unwrap(), 1, begin());
    let approvals = told.grants[0].approvals.iter();
    approvals.map(|given| given.by.to_string()).collect()
}

#[test]
fn what_somebody_asked_who_is_off_call_by_then_is_refused_at_approval_and_so_is_an_extension() {
    let (mut history, policy) = (History::new(), on_call());
    everybody_on_call(&mut history, &policy);
    let mut wants = |person, wanted| history.wants_under(&policy, begin(), person, wanted);
    let not = |name: &str| {
        Err(WorkflowError::Policy(PolicyRefusal::MayNotAsk {
            principal: name.parse().unwrap(),
            role: "one".parse().unwrap(),
        }))
    };
    assert_eq!(wants(4, ask("one", 600)), not("erin"));
    wants(0, ask("one", 600)).unwrap();
    wants(1, approve(1, None)).unwrap();
    wants(PEOPLE.len(), with("alice", "{}")).unwrap();
    assert_eq!(wants(2, approve(1, None)), not("alice"));
    wants(PEOPLE.len(), with("alice", r#"{"on_call":true}"#)).unwrap();
    wants(2, approve(1, None)).unwrap();
    wants(PEOPLE.len(), with("alice", "{}")).unwrap();
    assert_eq!(wants(0, extend(1, 60)), not("alice"));
    // As with a group: what was granted goes on.
    assert_eq!(history.state.live_grants(begin()).count(), 1);
}

proptest! {
    #[test]
    fn nobody_has_or_approves_what_his_attributes_did_not_allow_then(
        steps in proptest::collection::vec((0..60_u32, 0..5_usize, 0..6_u8, prop::bool::ANY), 0..60)
    ) {
        let (mut history, policy) = (History::new(), on_call());
        everybody_on_call(&mut history, &policy);
        let mut now = begin();
        for (seconds, person, what, on) in steps {
            now = after(now, seconds);
            history.time_passes(now);
            let pending = history.state.pending().map(|request| request.asked.request.clone()).next();
            let (person, wanted) = match (what, pending) {
                (0, _) | (_, None) => (person, ask("one", 600)),
                (1, _) => {
                    let attributes = format!(r#"{{"on_call":{on},"level":"2"}}"#);
                    (PEOPLE.len(), with(PEOPLE[person], &attributes))
                }
                (_, Some(request)) => (person, Command::Approve { request, for_seconds: None, comment: None }),
            };
            let before = history.entries.len();
            let _ = history.wants_under(&policy, now, person, wanted);
            let is_on_call = |name: &Principal| {
                let user = history.state.directory.user(name).unwrap();
                user.attributes.have(&serde_json::from_str(r#"{"on_call":true}"#).unwrap())
            };
            for entry in &history.entries[before..] {
                match &entry.event {
                    Event::Requested(asked) => prop_assert!(is_on_call(&asked.principal)),
                    Event::Approved(approved) => prop_assert!(is_on_call(&approved.by)),
                    Event::Granted(granted) => {
                        let request = history.state.request(&granted.request).unwrap();
                        prop_assert!(is_on_call(&request.asked.principal));
                        let able = request.approvals.iter().filter(|given| is_on_call(&given.by));
                        prop_assert!(able.count() >= 2);
                    }
                    _ => {}
                }
            }
        }
    }
}
