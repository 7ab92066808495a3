//! What is explained is what happens.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::test_runner::TestRunner;

use super::*;
use crate::event::Restored;
use crate::label::Labelled;
use crate::workflow::{Explanation, Outcome, Rule, Wish, explain};

/// Hosts asked for: two enrolled, one that is not and that role two covers, none in particular.
const ASKED_HOSTS: [&str; 4] = ["web-1", "web-2", "web-9", ""];
/// Asks made of each history.
const ASKS: usize = 20;
/// Histories; with [`ASKS`] of each, 10,000 cases.
const HISTORIES: u32 = 500;

fn restored() -> Event {
    Event::Restored(Restored {
        copy_seq: 7,
        copy_at: begin(),
        mark: None,
        ids_above: 10_000,
        reason: reason(),
    })
}

fn ask_of(role: &str, host: &str, for_seconds: u32) -> Ask {
    let host = Some(host).filter(|host| !host.is_empty());
    Ask {
        role: role.parse().unwrap(),
        hosts: host.into_iter().map(|host| host.parse().unwrap()).collect(),
        labels: Labelled::default(),
        for_seconds: Some(for_seconds),
        reason: reason(),
        ticket: None,
        not_before: None,
        origin: Origin::Socket,
    }
}

fn explained(history: &History, now: Timestamp, name: &str, ask: &Ask) -> Explanation {
    explained_under(history, policy(), now, name, ask)
}

fn explained_under(
    history: &History,
    policy: &Policy,
    now: Timestamp,
    name: &str,
    ask: &Ask,
) -> Explanation {
    let wish = Wish {
        role: &ask.role,
        hosts: &ask.hosts,
        labels: &ask.labels,
        for_seconds: ask.for_seconds.unwrap(),
        not_before: ask.not_before,
        ticket: ask.ticket.as_ref(),
        reason: Some(&ask.reason),
        origin: Some(ask.origin),
    };
    let name = name.parse().unwrap();
    explain(&history.state, policy, now, &name, &wish)
}

/// What conditions may say of a role: those that are met at [`begin`] first, of which most are made.
const CONDITIONS: [(&str, &[&str]); 7] = [
    (
        "hosts",
        &[
            r#"["*"]"#,
            r#"["web-*"]"#,
            r#"["web-?", "db-1"]"#,
            r#"["*-2"]"#,
        ],
    ),
    (
        "labels",
        &[
            r#"{ env = "prod" }"#,
            r#"{ env = ["prod", "test"], tier = "web" }"#,
            r#"{ env = "test" }"#,
        ],
    ),
    (
        "hours",
        &[
            r#"{ days = ["sat-sun"], from = "08:00", to = "24:00", zone = "Europe/Paris" }"#,
            r#"[{ days = ["sun"], from = "06:00", to = "08:00", zone = "America/New_York" }, { days = ["mon-sun"], from = "22:00", to = "06:00", zone = "UTC" }]"#,
            r#"{ days = ["mon-fri"], from = "08:00", to = "18:00", zone = "Europe/Paris" }"#,
        ],
    ),
    ("start_within", &[r#""7d""#, r#""1h""#]),
    (
        "ticket",
        &[r#""required""#, r#""OPS-[0-9]+""#, r#""DB-.*""#],
    ),
    ("reason_at_least", &["4", "10"]),
    (
        "asked_from",
        &[
            r#"["10.0.0.0/8", "socket"]"#,
            r#"["2001:db8::/32", "10.1.0.0/16"]"#,
        ],
    ),
];

/// What is denied whatever the roles say.
const DENIALS: [&str; 4] = [
    "people = { users = [\"alice\"] }\nlabels = { env = \"test\" }",
    "except = { users = [\"alice\", \"bob\"] }\nhosts = [\"*-1\"]",
    "hosts = [\"web-*\"]\nactions = [\"sudo\", \"su\"]",
    "people = { users = [\"erin\", \"carol\"] }\nexcept = { users = [\"carol\"] }\nhosts = [\"*\"]\nlabels = { env = \"prod\" }",
];

/// Roles one and two as in [`POLICY`], and under conditions made at random; and some of [`DENIALS`].
fn any_policy() -> impl Strategy<Value = Policy> {
    let some = |(key, values): (&'static str, &'static [&'static str])| {
        let met = prop::bool::weighted(0.5).prop_map(move |said| said.then(|| values[0]));
        let any = proptest::option::weighted(0.5, prop::sample::select(values));
        let value = prop_oneof![3 => met, 1 => any];
        value.prop_map(move |value| (key, value))
    };
    let role = CONDITIONS.map(some).to_vec();
    let denials = DENIALS
        .map(|denial| prop::bool::weighted(0.05).prop_map(move |said| said.then_some(denial)));
    let conditions = (role.clone(), role, any::<bool>(), denials);
    conditions.prop_map(|(one, two, overrun, denials)| {
        let written = |lines: Vec<(&str, Option<&str>)>| {
            let has = |key| {
                lines
                    .iter()
                    .any(|(name, value)| *name == key && value.is_some())
            };
            let hosts = !has("hosts") && !has("labels");
            let said = lines
                .iter()
                .filter_map(|(key, value)| Some((*key, (*value)?)));
            let mut text: String = said
                .map(|(key, value)| format!("{key} = {value}\n"))
                .collect();
            if hosts {
                text.push_str("hosts = [\"web-1\", \"web-2\"]\n");
            }
            if overrun && has("hours") {
                text.push_str("overrun = true\n");
            }
            text
        };
        let text = POLICY
            .replace("start_within = \"1h\"\n", "")
            .replace("hosts = [\"web-1\", \"web-2\"]", "@one")
            .replace("hosts = [\"*\"]", "@two")
            .replace("@one", &written(one))
            .replace("@two", &written(two));
        let denials = denials.iter().enumerate().filter_map(|(number, denial)| {
            let said = (*denial)?;
            Some(format!(
                "[denials.d{number}]\nbecause = \"nobody needs it\"\n{said}\n"
            ))
        });
        let text: String = [text].into_iter().chain(denials).collect();
        check_text("policy.toml", &text).unwrap()
    })
}

/// Who asks, for which role, where, for how long. Most could be granted: of wishes made at random few are taken.
fn any_ask() -> impl Strategy<Value = (&'static str, Ask)> {
    let names = prop_oneof![
        8 => prop::sample::select(&["alice", "bob", "erin"][..]),
        2 => prop::sample::select(&["carol", "dave", "mallory"][..]),
    ];
    let roles = prop_oneof![4 => Just("one"), 4 => Just("two"), 4 => Just("staged"), 2 => Just("auto"), 2 => Just("glass"), 1 => Just("three")];
    let lengths = prop_oneof![8 => 1..3_601_u32, 1 => Just(0), 1 => 3_601..9_000_u32];
    let hosts = prop::sample::select(&ASKED_HOSTS[..]);
    let tickets = prop_oneof![1 => Just(None), 3 => Just(Some("OPS-17")), 1 => Just(Some("DB-1"))];
    let reasons = prop_oneof![1 => Just("why"), 3 => Just("the disk is full")];
    let origins = prop_oneof![3 => Just("10.1.2.3"), 1 => Just("10.2.0.1"), 1 => Just("2001:db8::1"), 1 => Just("socket")];
    let labels = prop_oneof![6 => Just("{}"), 1 => Just(r#"{"env":["prod"]}"#), 1 => Just(r#"{"tier":["web","db"]}"#)];
    let starts = proptest::option::weighted(0.2, 0..1_200_000_u32);
    let stated = (tickets, reasons, origins, labels, starts);
    (names, roles, hosts, lengths, stated).prop_map(|(name, role, host, seconds, stated)| {
        let (ticket, reason, origin, labels, start) = stated;
        let ask = Ask {
            ticket: ticket.map(|ticket| ticket.to_owned().try_into().unwrap()),
            reason: reason.to_owned().try_into().unwrap(),
            origin: origin.parse().unwrap(),
            labels: serde_json::from_str(labels).unwrap(),
            not_before: start.map(|seconds| after(begin(), seconds)),
            ..ask_of(role, host, seconds)
        };
        (name, ask)
    })
}

/// Asks `history` at `now`, and compares what is explained with what comes of it: the code that it is refused with, or `taken`.
fn agrees(
    history: &History,
    policy: &Policy,
    now: Timestamp,
    name: &str,
    ask: Ask,
) -> Result<&'static str, TestCaseError> {
    let told = explained_under(history, policy, now, name, &ask);
    let asker = Actor::Principal(name.parse().unwrap());
    let decided = command(&history.state, policy, now, &asker, Command::Ask(ask));
    prop_assert_eq!(told.verdict.as_ref().err(), decided.as_ref().err());
    let mut outcomes = told.rules.iter().map(|told| told.outcome);
    prop_assert_eq!(
        outcomes.any(|told| told == Outcome::Failed),
        decided.is_err()
    );
    let denied = told.rules.iter().find(|told| told.rule == Rule::NotDenied);
    let denied = denied.is_some_and(|told| told.outcome == Outcome::Failed);
    prop_assert_eq!(told.denials.iter().any(|told| told.fits), denied);
    let events = match decided {
        Ok(events) => events,
        Err(refused) => return Ok(refused.code().0),
    };
    let mut asked = History {
        state: history.state.clone(),
        entries: Vec::new(),
    };
    for event in events {
        asked.happened(now, &event.actor(&asker), event);
    }
    let made = asked.state.requests().last().unwrap();
    let approvers = told.approval.unwrap();
    if approvers.stages.is_empty() {
        prop_assert_eq!(made.state, RequestState::Approved);
        return Ok("taken");
    }
    let made = made.asked.request.clone();
    for (person, name) in PEOPLE.iter().enumerate() {
        let approve = Command::Approve {
            request: made.clone(),
            for_seconds: None,
            comment: None,
        };
        let can = command(&asked.state, policy, now, &actor(person), approve).is_ok();
        let named = approvers.stages[0]
            .able
            .iter()
            .any(|able| able.as_str() == *name);
        prop_assert_eq!(can, named, "{} may approve", name);
    }
    Ok("taken")
}

#[test]
fn what_is_explained_is_what_the_workflow_decides_and_who_could_approve_can() {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(HISTORIES)
    };
    let came = RefCell::new(BTreeMap::<&str, usize>::new());
    let histories = (
        any_steps(),
        any_policy(),
        proptest::collection::vec(any_ask(), ASKS),
        prop::bool::weighted(0.05),
    );
    let held = TestRunner::new(config).run(&histories, |(steps, policy, asks, copy)| {
        let (mut history, now) = History::of(&steps);
        if copy {
            history.happened(now, &Actor::Server, restored());
        }
        for (name, labels) in [
            ("web-1", r#"{"env":"prod","tier":"web"}"#),
            ("web-2", r#"{"env":"test"}"#),
        ] {
            let labelled = Event::HostLabelled {
                name: name.parse().unwrap(),
                labels: serde_json::from_str(labels).unwrap(),
            };
            history.happened(now, &Actor::Administrator, labelled);
        }
        for (name, ask) in asks {
            let code = agrees(&history, &policy, now, name, ask)?;
            *came.borrow_mut().entry(code).or_default() += 1;
        }
        Ok(())
    });
    held.unwrap();
    // A law about nothing always holds.
    let came = came.into_inner();
    for code in [
        "taken",
        "host-not-in-role",
        "no-hosts",
        "outside-hours",
        "no-later-start",
        "start-too-far",
        "needs-ticket",
        "reason-too-short",
        "asked-from-elsewhere",
        "denied-by-policy",
    ] {
        assert!(
            came.get(code).is_some_and(|cases| *cases > 20),
            "{code}: {came:?}"
        );
    }
}

#[test]
fn every_rule_that_fails_is_told_and_the_first_of_them_decides() {
    let mut history = History::new();
    let first = |history: &History, name: &str, ask: Ask| {
        let told = explained(history, begin(), name, &ask);
        let failed = told
            .rules
            .iter()
            .filter(|told| told.outcome == Outcome::Failed)
            .map(|told| told.rule)
            .collect::<Vec<_>>();
        let code = told.verdict.err().map(|error| error.code().0);
        (failed, code)
    };
    for (name, ask, failed, code) in [
        ("alice", ask_of("one", "web-1", 60), vec![], None),
        (
            "mallory",
            ask_of("one", "web-1", 60),
            vec![Rule::KnownUser],
            Some("no-user"),
        ),
        (
            "alice",
            ask_of("three", "web-1", 60),
            vec![Rule::RoleThere],
            Some("may-not-ask"),
        ),
        (
            "carol",
            ask_of("one", "web-9", 9_000),
            vec![
                Rule::MayAsk,
                Rule::HostsCovered,
                Rule::HostsEnrolled,
                Rule::WithinLongest,
            ],
            Some("may-not-ask"),
        ),
        (
            "alice",
            ask_of("one", "web-9", 0),
            vec![Rule::SomeTime, Rule::HostsCovered, Rule::HostsEnrolled],
            Some("no-time"),
        ),
        (
            "alice",
            ask_of("two", "web-9", 60),
            vec![Rule::HostsEnrolled],
            Some("unknown-host"),
        ),
    ] {
        assert_eq!(first(&history, name, ask), (failed, code), "{name}");
    }
    history.wants(begin(), 0, ask("one", 60)).unwrap();
    assert_eq!(
        first(&history, "alice", ask_of("one", "web-1", 60)),
        (vec![Rule::NotAskedAlready], Some("same-open"))
    );
    history.wants(begin(), PEOPLE.len(), lock("alice")).unwrap();
    assert_eq!(
        first(&history, "alice", ask_of("two", "web-1", 60)),
        (vec![Rule::NotLocked], Some("locked"))
    );
    history.happened(begin(), &Actor::Server, restored());
    assert_eq!(
        first(&history, "erin", ask_of("two", "web-1", 60)),
        (vec![Rule::NotRestored], Some("restored"))
    );
}

#[test]
fn who_could_approve_is_told_without_whoever_asks_or_is_locked() {
    let mut history = History::new();
    let able = |history: &History, name: &str| {
        let told = explained(history, begin(), name, &ask_of("two", "web-1", 60));
        let approvers = told.approval.unwrap();
        let able = approvers.stages[0].able.iter();
        let names: Vec<String> = able.map(ToString::to_string).collect();
        (names.join(" "), approvers.are_enough)
    };
    assert_eq!(able(&history, "alice"), ("bob carol dave".to_owned(), true));
    assert_eq!(able(&history, "bob"), ("carol dave".to_owned(), true));
    history.wants(begin(), PEOPLE.len(), lock("dave")).unwrap();
    assert_eq!(able(&history, "bob"), ("carol".to_owned(), false));
}
