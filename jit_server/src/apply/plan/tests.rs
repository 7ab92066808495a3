//! What a plan says and does.

use proptest::prelude::*;

use super::*;
use crate::apply::{Texts, read};
use crate::event::{Entry, HostEnrolled};

const NAMES: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn wanted(users: Option<&str>, hosts: Option<&str>) -> Wanted {
    let texts = Texts {
        users,
        hosts,
        ..Texts::default()
    };
    read(texts).unwrap()
}

fn planned(state: &State, wanted: &Wanted) -> Plan {
    plan(state, &Policy::default(), wanted, now()).unwrap()
}

fn happen(state: &mut State, events: &[Event]) {
    for event in events {
        state.apply(&Entry {
            via: None,
            seq: 1,
            at: now(),
            actor: Actor::Administrator,
            event: event.clone(),
        });
    }
}

/// These users, and web-1 with the label `site=berlin`.
fn state(users: &str) -> State {
    let mut state = State::default();
    let all = planned(&state, &wanted(Some(users), None));
    happen(&mut state, &all.events);
    let host = HostEnrolled {
        name: "web-1".parse().unwrap(),
        host_id: format!("h{}", "1".repeat(32)).parse().unwrap(),
        public_key: String::new(),
        labels: [(
            "site".to_owned().try_into().unwrap(),
            "berlin".to_owned().try_into().unwrap(),
        )]
        .into(),
        lapse_seconds: None,
        token: None,
        from: None,
    };
    happen(&mut state, &[Event::HostEnrolled(host)]);
    state
}

fn users(count: usize) -> String {
    let users = NAMES.iter().take(count);
    let users = users.map(|name| format!("[users.{name}]\nlogin = \"{name}\"\n"));
    users.collect()
}

fn told(plan: &Plan) -> Vec<String> {
    let changes = plan.changes.iter();
    changes
        .map(
            |Change {
                 sign,
                 name,
                 details,
                 ..
             }| format!("{sign:?} {name} {}", details.join(", ")),
        )
        .collect()
}

fn any_users() -> impl Strategy<Value = String> {
    let user = (any::<bool>(), 0..3_u8, 0..3_u8);
    proptest::collection::vec(user, NAMES.len()).prop_map(|users| {
        let users = NAMES.iter().zip(users).filter(|(_, (there, ..))| *there);
        let text = users.map(|(name, (_, login, groups))| {
            let groups: Vec<String> = (0..groups).map(|n| format!("\"g{n}\"")).collect();
            format!(
                "[users.{name}]\nlogin = \"l{login}\"\ngroups = [{}]\n",
                groups.join(", ")
            )
        });
        text.collect()
    })
}

fn any_hosts() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just(""),
        Just("[hosts.web-1]\nlabels = {}\n"),
        Just("[hosts.web-1]\nlabels = { site = \"paris\" }\n[hosts.web-2]\nlabels = {}\n"),
        Just("[hosts.web-1]\nremove = true\n[hosts.web-2]\nremove = true\n"),
    ]
}

proptest! {
    #[test]
    fn once_applied_everything_is_as_wanted_and_nothing_is_left_to_do(before in any_users(), after in any_users(), hosts in any_hosts()) {
        let mut state = state(&before);
        let wanted = wanted(Some(&after), Some(hosts));
        let first = planned(&state, &wanted);
        prop_assert_eq!(first.changes.is_empty(), first.events.is_empty());
        happen(&mut state, &first.events);
        let users: Vec<_> = state.directory.users().cloned().collect();
        let all = wanted.users.clone().unwrap();
        prop_assert_eq!(users, all.into_values().collect::<Vec<_>>());
        let second = planned(&state, &wanted);
        prop_assert_eq!((second.changes, second.events), (Vec::new(), Vec::new()));
    }
}

#[test]
fn a_plan_says_what_is_different_of_each_thing() {
    let before =
        "[users.alice]\nlogin = \"alice\"\ngroups = [\"a\", \"b\"]\n[users.bob]\nlogin = \"bob\"\n";
    let after = "[users.alice]\nlogin = \"deploy\"\ngroups = [\"b\", \"c\"]\n[users.carol]\nlogin = \"carol\"\n";
    let hosts =
        "[hosts.web-1]\nlabels = { site = \"paris\", tier = \"1\" }\n[hosts.web-2]\nlabels = {}\n";
    let plan = planned(&state(before), &wanted(Some(after), Some(hosts)));
    assert_eq!(
        told(&plan),
        [
            "Changed alice login alice -> deploy, - group a, + group c",
            "Added carol login carol",
            "Removed bob ",
            "Changed web-1 - label site=berlin, + label site=paris, + label tier=1",
        ]
    );
    assert_eq!(plan.warnings.len(), 1);
    assert!(plan.warnings[0].starts_with("host web-2 is not enrolled"));
}

#[test]
fn a_plan_says_which_roles_are_different() {
    let policy = |text: &str| {
        let texts = Texts {
            policy: Some(text),
            ..Texts::default()
        };
        read(texts).unwrap()
    };
    let role = |name: &str, longest: &str| {
        format!(
            "[roles.{name}]\nhosts = [\"*\"]\nactions = [\"ssh\"]\nlongest = \"{longest}\"\nmay_ask = {{ users = [\"a\"] }}\napprove = {{ users = [\"b\"] }}\n"
        )
    };
    let before = policy(&(role("gone", "1h") + &role("same", "1h") + &role("changed", "1h")));
    let before = before.policy.unwrap();
    let text = role("same", "1h") + &role("changed", "2h") + &role("new", "1h");
    let after = policy(&format!("may_lock = {{ users = [\"a\"] }}\n{text}"));
    let made = plan(&State::default(), &before, &after, now()).unwrap();
    assert_eq!(
        told(&made),
        ["Changed policy.toml - role gone, + role new, ~ role changed, ~ may_lock"]
    );
    let after = after.policy.unwrap();
    let commented = policy(&format!("# why\nmay_lock = {{ users = [\"a\"] }}\n{text}"));
    let made = plan(&State::default(), &after, &commented, now()).unwrap();
    assert_eq!(told(&made), ["Changed policy.toml its text alone, no rule"]);
    let audited = policy(&format!(
        "may_audit = {{ users = [\"a\"] }}\nmay_lock = {{ users = [\"a\"] }}\n{text}"
    ));
    let made = plan(&State::default(), &after, &audited, now()).unwrap();
    assert_eq!(told(&made), ["Changed policy.toml ~ may_audit"]);
}

#[test]
fn a_plan_says_which_denials_are_different() {
    let policy = |denials: &[(&str, &str)]| {
        let denial = |(name, host): &(&str, &str)| {
            format!("[denials.{name}]\nbecause = \"nobody needs it\"\nhosts = [\"{host}\"]\n")
        };
        let text: String = denials.iter().map(denial).collect();
        let texts = Texts {
            policy: Some(&text),
            ..Texts::default()
        };
        read(texts).unwrap()
    };
    let before = policy(&[("gone", "a"), ("same", "a"), ("changed", "a")]);
    let after = policy(&[("same", "a"), ("changed", "b"), ("new", "a")]);
    let made = plan(&State::default(), &before.policy.unwrap(), &after, now()).unwrap();
    assert_eq!(
        told(&made),
        ["Changed policy.toml - denial gone, + denial new, ~ denial changed"]
    );
}

#[test]
fn removing_more_than_half_of_the_users_must_be_allowed_by_number() {
    for (before, after, to_allow) in [
        (0, 0, None),
        (6, 3, None),
        (6, 2, Some(4)),
        (2, 1, None),
        (1, 0, Some(1)),
        (5, 0, Some(5)),
        (3, 6, None),
    ] {
        let plan = planned(&state(&users(before)), &wanted(Some(&users(after)), None));
        assert_eq!(plan.removals_to_allow(), to_allow, "{before} to {after}");
        let needed = to_allow.unwrap_or(0);
        assert!(plan.check_removals(needed).is_ok());
        assert_eq!(
            plan.check_removals(needed.saturating_sub(1)).is_err(),
            to_allow.is_some()
        );
    }
    let without_the_file = planned(&state(&users(5)), &wanted(None, None));
    assert_eq!(without_the_file, Plan::default());
}

#[test]
fn what_a_check_of_the_policy_warns_of_the_plan_does_also_when_nothing_changes() {
    let text = r#"
[roles.any]
hosts = ["*"]
actions = ["ssh", "sudo"]
longest = "2d"
may_ask = { groups = ["developers"] }
approve = { groups = ["leads"] }
"#;
    let texts = Texts {
        policy: Some(text),
        ..Texts::default()
    };
    let wanted = read(texts).unwrap();
    let lines = [
        "policy.toml:3: roles.any.hosts: ",
        "policy.toml:5: roles.any.longest: ",
    ];
    let in_force = wanted.policy.clone().unwrap();
    for policy in [Policy::default(), in_force] {
        let plan = plan(&State::default(), &policy, &wanted, now()).unwrap();
        assert_eq!(plan.warnings.len(), lines.len());
        for (warning, line) in plan.warnings.iter().zip(lines) {
            assert!(warning.starts_with(line), "{warning}");
        }
    }
}

#[test]
fn an_end_of_a_users_time_is_told_when_it_comes_moves_and_goes() {
    let with = |until: &str| wanted(Some(&format!("{}{until}", users(1))), None);
    let mut state = state(&users(1));
    for (until, said) in [
        (
            "until = \"2026-12-31\"\n",
            "+ until the end of 2026-12-31 (UTC)",
        ),
        (
            "until = \"2026-12-31T10:00:00Z\"\n",
            "until the end of 2026-12-31 (UTC) -> 2026-12-31T10:00:00Z",
        ),
        ("", "- until 2026-12-31T10:00:00Z"),
    ] {
        let plan = planned(&state, &with(until));
        assert_eq!(told(&plan), [format!("Changed alice {said}")]);
        happen(&mut state, &plan.events);
        assert_eq!(told(&planned(&state, &with(until))), [] as [String; 0]);
    }
}

#[test]
fn attributes_that_come_and_go_are_told_one_by_one() {
    let with = |attributes: &str| wanted(Some(&format!("{}{attributes}", users(1))), None);
    let mut state = state(&users(1));
    for (attributes, said) in [
        (
            "attributes = { on_call = true }\n",
            "+ attribute on_call=true",
        ),
        (
            "attributes = { on_call = false }\n",
            "- attribute on_call=true, + attribute on_call=false",
        ),
        ("", "- attribute on_call=false"),
    ] {
        let plan = planned(&state, &with(attributes));
        assert_eq!(told(&plan), [format!("Changed alice {said}")]);
        happen(&mut state, &plan.events);
        assert_eq!(told(&planned(&state, &with(attributes))), [] as [String; 0]);
    }
}

#[test]
fn a_plan_says_who_becomes_a_service_account_and_it_has_to_be_said_each_time() {
    let file = |service: &str| format!("[users.ci]\nlogin = \"ci\"\n{service}");
    let mut state = state(&file(""));
    for (service, expected) in [
        ("service = true\n", "Changed ci + service account"),
        ("service = false\n", "Changed ci - service account"),
    ] {
        let plan = planned(&state, &wanted(Some(&file(service)), None));
        assert_eq!(told(&plan), [expected]);
        happen(&mut state, &plan.events);
    }
    let text = file("service = \"yes\"\n");
    let mistakes = read(Texts {
        users: Some(&text),
        ..Texts::default()
    });
    let told = mistakes.unwrap_err()[0].to_string();
    assert!(told.contains("users.ci.service"), "{told}");
}

#[test]
fn a_service_account_has_hours_as_a_role_has_and_a_person_none() {
    let file = |more: &str| format!("[users.ci]\nlogin = \"ci\"\n{more}");
    let hours = "hours = { days = [\"mon-fri\"], from = \"02:00\", to = \"04:00\", zone = \"Europe/Paris\" }\n";
    let mut state = state(&file("service = true\n"));
    let text = file(&format!("service = true\n{hours}"));
    let plan = planned(&state, &wanted(Some(&text), None));
    assert_eq!(
        told(&plan),
        ["Changed ci + hours mon-fri 02:00 to 04:00 Europe/Paris"]
    );
    happen(&mut state, &plan.events);
    assert!(
        planned(&state, &wanted(Some(&text), None))
            .changes
            .is_empty()
    );
    for wrong in [
        file(hours),
        file("service = true\nhours = []\n"),
        file(&format!(
            "service = true\n{}",
            hours.replace("Europe/Paris", "Paris")
        )),
    ] {
        let mistakes = read(Texts {
            users: Some(&wrong),
            ..Texts::default()
        });
        assert!(
            mistakes.unwrap_err()[0]
                .to_string()
                .contains("users.ci.hours")
        );
    }
}

#[test]
fn a_label_and_a_login_by_it_that_come_together_end_what_was_granted_for_the_login_before() {
    use crate::workflow::{Ask, Command};
    let mut state = state(&users(2));
    let text = "[roles.one]\nhosts = [\"*\"]\nactions = [\"ssh\"]\nlongest = \"1h\"\nmay_ask = { users = [\"alice\"] }\napprove = { users = [\"bob\"] }\n";
    let policy = crate::policy::check_text("policy.toml", text).unwrap();
    let ask = Command::Ask(Ask {
        role: "one".parse().unwrap(),
        hosts: BTreeSet::new(),
        labels: Default::default(),
        for_seconds: Some(600),
        reason: "because".to_owned().try_into().unwrap(),
        ticket: None,
        not_before: None,
        origin: crate::origin::Origin::Socket,
    });
    let approve = Command::Approve {
        request: "r1".parse().unwrap(),
        for_seconds: None,
        comment: None,
    };
    for (who, wants) in [("alice", ask), ("bob", approve)] {
        let actor = Actor::Principal(who.parse().unwrap());
        let events = workflow::command(&state, &policy, now(), &actor, wants).unwrap();
        happen(&mut state, &events);
    }
    assert_eq!(state.live_grants(now()).count(), 1);
    let rule = "logins = [{ labels = { env = \"prod\" }, login = \"alice-adm\" }]\n";
    let all = users(2).replacen(
        "login = \"alice\"\n",
        &format!("login = \"alice\"\n{rule}"),
        1,
    );
    let hosts = "[hosts.web-1]\nlabels = { env = \"prod\" }\n";
    let plan = planned(&state, &wanted(Some(&all), Some(hosts)));
    assert_eq!(
        told(&plan),
        [
            "Changed alice + login alice-adm on hosts with env=prod",
            "Changed web-1 - label site=berlin, + label env=prod"
        ]
    );
    assert_eq!(plan.lost.grants.len(), 1, "{:?}", plan.events);
    happen(&mut state, &plan.events);
    assert_eq!(state.live_grants(now()).count(), 0);
}

#[test]
fn a_plan_warns_of_a_stage_that_service_accounts_would_have_to_do() {
    let policy = |approve: &str| {
        format!(
            "[roles.web]\nhosts = [\"web-1\"]\nactions = [\"ssh\"]\nlongest = \"1h\"\nmay_ask = {{ users = [\"alice\"] }}\napprove = {approve}\n"
        )
    };
    let users = "[users.bob]\nlogin = \"bob\"\n[users.ci]\nlogin = \"ci\"\nservice = true\n";
    let warned = |approve: &str| {
        let text = policy(approve);
        let texts = Texts {
            policy: Some(&text),
            users: Some(users),
            hosts: None,
        };
        planned(&State::default(), &read(texts).unwrap()).warnings
    };
    let alone = warned("{ users = [\"ci\"] }");
    assert_eq!(
        alone,
        [
            "stage 1 of role web can't be done: of those it names service accounts never approve, and 0 of the 1 that it needs are people"
        ]
    );
    let too_few = warned("{ users = [\"bob\", \"ci\"], count = 2 }");
    assert_eq!(too_few.len(), 1);
    assert!(warned("{ users = [\"bob\", \"ci\"] }").is_empty());
    assert!(warned("{ groups = [\"leads\"] }").is_empty());
}

#[test]
fn an_end_that_is_past_is_warned_of_with_what_it_cuts() {
    let mut state = state(&users(1));
    let (later, hash) = ("2026-11-22T18:00:00Z", "0".repeat(64));
    let open = [
        serde_json::json!({ "kind": "user_token_made", "token": "u1", "user": "alice", "secret": hash, "expires": later }),
        serde_json::json!({ "kind": "requested", "request": "r1", "principal": "alice", "login": "alice", "role": "one", "hosts": ["web-1"],
            "actions": ["ssh"], "for_seconds": 60, "reason": "disk full", "lapses_at": later, "policy": hash }),
    ];
    let open = open.map(|event| serde_json::from_value(event).unwrap());
    happen(&mut state, &open);
    let with = |until: &str| wanted(Some(&format!("{}until = \"{until}\"\n", users(1))), None);
    let plan = planned(&state, &with("2026-12-31"));
    assert!(plan.warnings.is_empty() && plan.lost == Loss::default());
    let plan = planned(&state, &with("2026-11-21"));
    let [warning] = plan.warnings.as_slice() else {
        panic!("{:?}", plan.warnings)
    };
    assert!(warning.contains("alice") && warning.contains("2026-11-21"));
    assert_eq!((plan.lost.tokens.len(), plan.lost.requests.len()), (1, 1));
    // Who was over already loses nothing more.
    happen(&mut state, &plan.events);
    assert_eq!(planned(&state, &with("2026-11-20")).lost, Loss::default());
}
