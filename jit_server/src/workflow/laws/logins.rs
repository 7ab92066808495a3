//! Users whose login is not the same on every host.

use std::collections::BTreeMap;

use super::*;
use crate::bundles::{bundle, touched};
use crate::event::{Granted, GrantedHost, Requested};
use crate::logins::Logins;

const ADMINISTRATOR: usize = PEOPLE.len();

/// What `logins` of somebody may say; none first.
const LOGINS: [&str; 5] = [
    "[]",
    r#"[{"hosts":["web-2"],"login":"deploy"}]"#,
    r#"[{"labels":{"env":["prod"]},"login":"deploy"}]"#,
    r#"[{"hosts":["web-1"],"labels":{"env":["prod"]},"login":"postgres"},{"hosts":["web-*"],"login":"deploy"}]"#,
    r#"[{"hosts":["*"],"login":"bob"}]"#,
];

const LABELS: [&str; 3] = ["{}", r#"{"env":"prod"}"#, r#"{"env":"test"}"#];

fn with(name: &str, logins: &str) -> Command {
    Command::SetUser(UserSet {
        logins: serde_json::from_str(logins).unwrap(),
        ..user_set(name, name)
    })
}

/// Labels a host, with what that ends, as `apply` and enrolment do.
fn label(history: &mut History, now: Timestamp, host: &str, labels: &str) {
    let (name, labels) = (host.parse().unwrap(), serde_json::from_str(labels).unwrap());
    let mut events = history.state.lost_by_labels(&name, &labels, None, now);
    events.push(Event::HostLabelled { name, labels });
    for event in events {
        history.happened(now, &Actor::Administrator, event);
    }
}

/// Each live grant, as `alice deploy@web-1`.
fn live(history: &History, now: Timestamp) -> Vec<String> {
    let live = history.state.live_grants(now);
    live.map(|grant| format!("{} {}@{}", grant.principal, grant.login, grant.host))
        .collect()
}

/// alice is granted role one on both hosts, with these logins.
fn granted_with(logins: &str) -> History {
    let mut history = History::new();
    history
        .wants(begin(), ADMINISTRATOR, with("alice", logins))
        .unwrap();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    history.wants(begin(), 1, approve(1, None)).unwrap();
    history
}

#[derive(Debug, Clone)]
enum Step {
    Wants(usize, Command),
    Labels(&'static str, &'static str),
}

fn any_changes() -> impl Strategy<Value = Vec<(u32, Step)>> {
    let step = prop_oneof![
        6 => any_steps().prop_filter_map("a step", |steps| {
            let (_, person, wanted) = steps.into_iter().next()?;
            Some(Step::Wants(person, wanted))
        }),
        6 => likely().prop_map(|(person, wanted)| Step::Wants(person, wanted)),
        2 => (0..PEOPLE.len(), prop::sample::select(&LOGINS[..])).prop_map(|(person, logins)| Step::Wants(ADMINISTRATOR, with(PEOPLE[person], logins))),
        2 => (prop::sample::select(&["web-1", "web-2"][..]), prop::sample::select(&LABELS[..])).prop_map(|(host, labels)| Step::Labels(host, labels)),
    ];
    proptest::collection::vec((0..200_u32, step), 0..40)
}

fn played(steps: Vec<(u32, Step)>, mut look: impl FnMut(&History, Timestamp)) -> History {
    let mut history = History::new();
    let mut now = begin();
    for (person, logins) in [(0, LOGINS[1]), (1, LOGINS[2]), (4, LOGINS[3])] {
        let _ = history.wants(now, ADMINISTRATOR, with(PEOPLE[person], logins));
    }
    for (seconds, step) in steps {
        now = after(now, seconds);
        history.time_passes(now);
        match step {
            Step::Wants(person, wanted) => _ = history.wants(now, person, wanted),
            Step::Labels(host, labels) => label(&mut history, now, host, labels),
        }
        look(&history, now);
    }
    history
}

/// Every grant is for the login that its user has on its host; every open request is alone for its login, role and host.
fn holds(state: &State, now: Timestamp) {
    for grant in state.live_grants(now) {
        let user = state.directory.user(&grant.principal).unwrap();
        assert_eq!(
            *state.directory.login_on(user, &grant.host),
            grant.login,
            "{grant:?}"
        );
    }
}

proptest! {
    #[test]
    fn nobody_has_a_grant_for_a_login_that_he_has_no_more_on_that_host(steps in any_changes()) {
        played(steps, |history, now| holds(&history.state, now));
    }

    #[test]
    fn whatever_the_record_lacks_no_grant_is_for_a_login_that_its_user_has_not(
        steps in any_changes(),
        gone in any::<prop::sample::Index>(),
    ) {
        let history = played(steps, |_, _| {});
        let gone = gone.index(history.entries.len());
        let mut replayed = State::default();
        for (place, entry) in history.entries.iter().enumerate() {
            // Of a user who was set without rules, before and after, records are taken as they are.
            let is_set = matches!(entry.event, Event::UserSet(_) | Event::HostEnrolled(_) | Event::UserRemoved { .. });
            if place != gone || is_set {
                replayed.apply(entry);
            }
        }
        let now = history.entries.last().map_or(begin(), |entry| entry.at);
        for grant in replayed.live_grants(now) {
            let user = replayed.directory.user(&grant.principal).unwrap();
            if !user.logins.is_empty() {
                prop_assert_eq!(replayed.directory.login_on(user, &grant.host), &grant.login);
            }
        }
    }

    #[test]
    fn no_two_open_requests_are_for_one_login_role_and_host(steps in any_changes()) {
        let mut asked = BTreeSet::new();
        played(steps, |history, now| {
            // Who is given another login later has two open ones; nobody asks for the second.
            let Some(entry) = history.entries.last() else { return };
            let Event::Requested(last) = &entry.event else { return };
            if !asked.insert(entry.seq) || entry.at != now {
                return;
            }
            let open = history.state.pending().filter(|open| open.asked.request != last.request && now < open.asked.lapses_at);
            for other in open.filter(|open| open.asked.role == last.role) {
                for host in last.hosts.intersection(&other.asked.hosts) {
                    assert_ne!(last.login_on(host), other.asked.login_on(host), "{last:?} {other:?}");
                }
            }
        });
    }

    #[test]
    fn a_login_is_shared_on_a_host_where_two_have_it_there_and_hosts_hear_of_it(steps in any_changes()) {
        let mut told: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
        let mut seen = (State::default(), 0);
        played(steps, |history, now| {
            let (before, count) = (&seen.0, seen.1);
            let events: Vec<Event> = history.entries[count..].iter().map(|entry| entry.event.clone()).collect();
            let touched = touched(before, &events, now);
            for host in history.state.directory.hosts() {
                let grants = bundle(&history.state, host, 1, now).grants;
                let shared: Vec<_> = grants.iter().map(|grant| (grant.id.to_string(), grant.shared)).collect();
                for grant in &grants {
                    let users = history.state.directory.users();
                    let with = users.filter(|user| history.state.directory.login_on(user, &host.enrolled.name) == &grant.login);
                    assert_eq!(grant.shared, with.count() > 1);
                }
                let name = host.enrolled.name.to_string();
                let mut changed = shared.clone();
                let was = told.get(&name).cloned().unwrap_or_default();
                // Grants that expired need no word.
                changed.retain(|one| !was.contains(one));
                assert!(changed.is_empty() || touched.contains(&host.enrolled.host_id), "{name}: {changed:?} {events:?}");
                told.insert(name, shared);
            }
            seen = (history.state.clone(), history.entries.len());
        });
    }
}

#[test]
fn each_host_gets_the_login_that_its_user_has_there() {
    let history = granted_with(LOGINS[1]);
    assert_eq!(
        live(&history, begin()),
        ["alice alice@web-1", "alice deploy@web-2"]
    );
    let mut history = history;
    history.wants(begin(), 0, extend(2, 60)).unwrap();
    history
        .wants(begin(), ADMINISTRATOR, set_user("alice", "alice"))
        .unwrap();
    assert_eq!(live(&history, begin()), ["alice alice@web-1"]);
}

#[test]
fn another_label_that_brings_another_login_ends_the_grant_and_no_other() {
    let mut history = granted_with(LOGINS[2]);
    label(&mut history, begin(), "web-1", LABELS[2]);
    assert_eq!(
        live(&history, begin()),
        ["alice alice@web-1", "alice alice@web-2"],
        "grants stand by name whatever labels become"
    );
    label(&mut history, begin(), "web-1", LABELS[1]);
    assert_eq!(live(&history, begin()), ["alice alice@web-2"]);
    let ended = history.state.grant(&grant_id(1)).unwrap().ended.clone();
    let reason = ended.unwrap().reason.unwrap();
    assert_eq!(
        reason.as_str(),
        "the user has another login on this host, by its labels now"
    );
}

#[test]
fn a_request_whose_hosts_have_another_login_by_then_is_not_approved() {
    let mut history = History::new();
    history
        .wants(begin(), ADMINISTRATOR, with("alice", LOGINS[2]))
        .unwrap();
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    label(&mut history, begin(), "web-2", LABELS[1]);
    let changed = Err(WorkflowError::LoginChanged("alice".parse().unwrap()));
    assert_eq!(history.wants(begin(), 1, approve(1, None)), changed);
    label(&mut history, begin(), "web-2", LABELS[0]);
    history.wants(begin(), 1, approve(1, None)).unwrap();
}

#[test]
fn t27_one_open_request_a_login_role_and_host_whoever_asks() {
    let mut history = History::new();
    // bob has alice's login on web-2 alone.
    let bob = r#"[{"hosts":["web-2"],"login":"alice"}]"#;
    history
        .wants(begin(), ADMINISTRATOR, with("bob", bob))
        .unwrap();
    let on = |host: &str| {
        let Command::Ask(asked) = ask("one", 600) else {
            unreachable!("it asks");
        };
        Command::Ask(Ask {
            hosts: [host.parse().unwrap()].into(),
            ..asked
        })
    };
    history.wants(begin(), 0, ask("one", 600)).unwrap();
    let same = Err(WorkflowError::SameOpen {
        request: request_id(1),
        host: "web-2".parse().unwrap(),
    });
    assert_eq!(history.wants(begin(), 1, on("web-2")), same);
    history.wants(begin(), 1, on("web-1")).unwrap();
}

#[test]
fn a_forged_record_opens_no_login_that_its_user_has_not() {
    let mut history = History::new();
    let asked = |number, logins: &str| {
        Event::Requested(Requested {
            request: request_id(number),
            principal: "alice".parse().unwrap(),
            login: "alice".parse().unwrap(),
            role: "one".parse().unwrap(),
            hosts: ["web-1".parse().unwrap()].into(),
            actions: BTreeSet::new(),
            for_seconds: 600,
            reason: reason(),
            ticket: None,
            extends: None,
            lapses_at: after(begin(), 600),
            policy: String::new(),
            not_before: None,
            groups: Default::default(),
            asked_from: None,
            logins: serde_json::from_str(logins).unwrap(),
        })
    };
    let granted = |number| {
        Event::Granted(Granted {
            request: request_id(number),
            grants: vec![GrantedHost {
                grant: grant_id(number),
                host: "web-1".parse().unwrap(),
            }],
            not_before: begin(),
            expires: after(begin(), 600),
            extendable_until: None,
            end_login_with_elevation: false,
            at_once: None,
            limits: jit_grant::Limits::default(),
            policy: String::new(),
            counted: Vec::new(),
        })
    };
    for (number, logins, live) in [(1, r#"{"web-1":"postgres"}"#, 0), (2, "{}", 1)] {
        history.happened(begin(), &actor(0), asked(number, logins));
        history.wants(begin(), 1, approve(number, None)).ok();
        let state = history.state.clone();
        if state.grants().count() == 0 {
            let approved = crate::event::Approved {
                request: request_id(number),
                by: "bob".parse().unwrap(),
                stage: 1,
                for_seconds: 600,
                comment: None,
                policy: String::new(),
            };
            history.happened(begin(), &actor(1), Event::Approved(approved));
            history.happened(begin(), &Actor::Server, granted(number));
        }
        assert_eq!(history.state.live_grants(begin()).count(), live, "{logins}");
    }
}

#[test]
fn what_was_asked_before_there_were_several_logins_is_for_the_one_on_every_host() {
    let old = r#"{"kind":"requested","request":"r1","principal":"alice","login":"deploy","role":"one","hosts":["web-1"],"actions":["ssh"],"for_seconds":60,"reason":"because","lapses_at":"2026-11-22T12:00:00Z","policy":""}"#;
    let Event::Requested(asked) = serde_json::from_str(old).unwrap() else {
        panic!("{old}");
    };
    assert_eq!(asked.login_on(&"web-1".parse().unwrap()).as_str(), "deploy");
    assert_eq!(
        serde_json::to_string(&Event::Requested(asked)).unwrap(),
        old
    );
    let none: Logins = serde_json::from_str("[]").unwrap();
    assert_eq!(none, Logins::default());
}

#[test]
fn a_host_that_is_enrolled_anew_with_a_label_that_brings_another_login_keeps_no_grant_for_the_one_before()
 {
    let mut history = granted_with(LOGINS[2]);
    let again = |labels: &str| HostEnrolled {
        name: "web-1".parse().unwrap(),
        host_id: format!("h{}", "3".repeat(32)).parse().unwrap(),
        public_key: String::new(),
        labels: serde_json::from_str(labels).unwrap(),
        lapse_seconds: None,
        token: None,
        from: None,
    };
    let enrolled = |labels: &str| Event::HostEnrolled(again(labels));
    history.happened(begin(), &Actor::Server, enrolled(LABELS[2]));
    assert_eq!(live(&history, begin()).len(), 2);
    history.happened(begin(), &Actor::Server, enrolled(LABELS[1]));
    assert_eq!(live(&history, begin()), ["alice alice@web-2"]);
}
