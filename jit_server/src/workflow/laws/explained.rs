//! What is explained is what happens.

use super::*;
use crate::event::Restored;
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
        for_seconds,
        reason: reason(),
        ticket: None,
    }
}

fn explained(history: &History, now: Timestamp, name: &str, ask: &Ask) -> Explanation {
    let wish = Wish {
        role: &ask.role,
        hosts: &ask.hosts,
        for_seconds: ask.for_seconds,
    };
    let name = name.parse().unwrap();
    explain(&history.state, policy(), now, &name, &wish)
}

/// Who asks, for which role, where, for how long. Most could be granted: of wishes made at random few are taken.
fn any_ask() -> impl Strategy<Value = (&'static str, Ask)> {
    let names = prop_oneof![
        8 => prop::sample::select(&["alice", "bob", "erin"][..]),
        2 => prop::sample::select(&["carol", "dave", "mallory"][..]),
    ];
    let roles = prop_oneof![4 => Just("one"), 4 => Just("two"), 4 => Just("staged"), 2 => Just("auto"), 2 => Just("glass"), 1 => Just("three")];
    let lengths = prop_oneof![8 => 1..3_601_u32, 1 => Just(0), 1 => 3_601..9_000_u32];
    (
        names,
        roles,
        prop::sample::select(&ASKED_HOSTS[..]),
        lengths,
    )
        .prop_map(|(name, role, host, seconds)| (name, ask_of(role, host, seconds)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(HISTORIES))]

    #[test]
    fn what_is_explained_is_what_the_workflow_decides_and_who_could_approve_can(
        steps in any_steps(),
        asks in proptest::collection::vec(any_ask(), ASKS),
        copy in prop::bool::weighted(0.05),
    ) {
        let (mut history, now) = History::of(&steps);
        if copy {
            history.happened(now, &Actor::Server, restored());
        }
        for (name, ask) in asks {
            let told = explained(&history, now, name, &ask);
            let asker = Actor::Principal(name.parse().unwrap());
            let decided = command(&history.state, policy(), now, &asker, Command::Ask(ask));
            prop_assert_eq!(told.verdict.as_ref().err(), decided.as_ref().err());
            let failed = told.rules.iter().any(|told| told.outcome == Outcome::Failed);
            prop_assert_eq!(failed, decided.is_err());
            let Ok(events) = decided else { continue };
            let mut asked = History { state: history.state.clone(), entries: Vec::new() };
            for event in events {
                asked.happened(now, &event.actor(&asker), event);
            }
            let made = asked.state.requests().last().unwrap();
            let approvers = told.approval.unwrap();
            if approvers.stages.is_empty() {
                prop_assert_eq!(made.state, RequestState::Approved);
                continue;
            }
            let made = made.asked.request.clone();
            for (person, name) in PEOPLE.iter().enumerate() {
                let approve = Command::Approve { request: made.clone(), for_seconds: None, comment: None };
                let can = command(&asked.state, policy(), now, &actor(person), approve).is_ok();
                let named = approvers.stages[0].able.iter().any(|able| able.as_str() == *name);
                prop_assert_eq!(can, named, "{} may approve", name);
            }
        }
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
