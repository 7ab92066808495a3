//! Hosts that a role is for by their labels.

use super::*;
use crate::policy::PolicyRefusal;

const LABELLED: &str = r#"
[roles.prod]
hosts = ["web-*"]
labels = { env = "prod" }
actions = ["ssh"]
longest = "1h"
extendable = "20m"
extend_without_approval = true
may_ask = { users = ["alice"] }
approve = { users = ["bob"] }
"#;

fn labelled() -> Policy {
    check_text("policy.toml", LABELLED).unwrap()
}

fn label(history: &mut History, host: &str, labels: &str) {
    let event = Event::HostLabelled {
        name: host.parse().unwrap(),
        labels: serde_json::from_str(labels).unwrap(),
    };
    history.happened(begin(), &Actor::Administrator, event);
}

fn ask_where(labels: &str) -> Command {
    let Command::Ask(ask) = ask("prod", 600) else {
        unreachable!("it asks");
    };
    let labels = serde_json::from_str(labels).unwrap();
    Command::Ask(Ask { labels, ..ask })
}

fn hosts_of(history: &History, request: u64) -> Vec<&str> {
    let asked = &history.state.request(&request_id(request)).unwrap().asked;
    asked.hosts.iter().map(|host| host.as_str()).collect()
}

#[test]
fn a_role_by_labels_is_for_the_hosts_that_have_them_when_it_is_asked_for() {
    let (mut history, policy) = (History::new(), labelled());
    let ask = |history: &mut History| history.wants_under(&policy, begin(), 0, ask("prod", 600));
    assert_eq!(
        ask(&mut history),
        Err(WorkflowError::NoHosts("prod".parse().unwrap()))
    );
    label(&mut history, "web-2", r#"{"env":"prod"}"#);
    ask(&mut history).unwrap();
    assert_eq!(hosts_of(&history, 1), ["web-2"]);
}

#[test]
fn a_request_may_name_labels_and_is_for_the_role_s_hosts_that_have_them() {
    let (mut history, policy) = (History::new(), labelled());
    label(&mut history, "web-1", r#"{"env":"prod","site":"berlin"}"#);
    label(&mut history, "web-2", r#"{"env":"prod","site":"paris"}"#);
    let oslo = history.wants_under(&policy, begin(), 0, ask_where(r#"{"site":["oslo"]}"#));
    assert_eq!(oslo.unwrap_err().code().0, "no-hosts");
    let paris = ask_where(r#"{"site":["paris"]}"#);
    history.wants_under(&policy, begin(), 0, paris).unwrap();
    assert_eq!(hosts_of(&history, 1), ["web-2"]);
}

#[test]
fn a_pending_request_is_judged_by_the_labels_that_its_hosts_have_when_it_is_approved() {
    let (mut history, policy) = (History::new(), labelled());
    label(&mut history, "web-1", r#"{"env":"prod"}"#);
    history
        .wants_under(&policy, begin(), 0, ask("prod", 600))
        .unwrap();
    label(&mut history, "web-1", r#"{"env":"test"}"#);
    let approved = history.wants_under(&policy, begin(), 1, approve(1, None));
    assert!(
        matches!(
            approved,
            Err(WorkflowError::Policy(PolicyRefusal::HostNotCovered { .. }))
        ),
        "{approved:?}"
    );
    label(&mut history, "web-1", r#"{"env":"prod"}"#);
    history
        .wants_under(&policy, begin(), 1, approve(1, None))
        .unwrap();
}

#[test]
fn a_grant_goes_on_where_its_host_is_labelled_otherwise_but_is_not_extended() {
    let (mut history, policy) = (History::new(), labelled());
    label(&mut history, "web-1", r#"{"env":"prod"}"#);
    history
        .wants_under(&policy, begin(), 0, ask("prod", 600))
        .unwrap();
    history
        .wants_under(&policy, begin(), 1, approve(1, None))
        .unwrap();
    label(&mut history, "web-1", "{}");
    let grant = history.state.grant(&grant_id(1)).unwrap();
    assert_eq!(grant.state(after(begin(), 1)), GrantState::Active);
    let extended = history.wants_under(&policy, after(begin(), 1), 0, extend(1, 60));
    assert!(
        matches!(
            extended,
            Err(WorkflowError::Policy(PolicyRefusal::HostNotCovered { .. }))
        ),
        "{extended:?}"
    );
}
