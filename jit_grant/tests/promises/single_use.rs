//! A grant that opens one login opens one, whoever comes in which order.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jit_grant::{
    Action, Allow, Allowed, Bundle, Code, Credential, Decision, Grant, GrantId, Limits, Opening,
    Query, Uses, VoidGrant, deadline, decide, decide_opening,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::fixtures::{bundle, grant, minute, query};

fn once(id: &str, from: i64, to: i64) -> Grant {
    Grant {
        id: id.parse().unwrap(),
        not_before: minute(from),
        expires: minute(to),
        allow: Allow {
            ssh: true,
            sudo: true,
            ..Allow::default()
        },
        limits: Limits {
            single_use: true,
            ..Limits::default()
        },
        ..grant()
    }
}

fn often(id: &str, from: i64, to: i64) -> Grant {
    Grant {
        limits: Limits::default(),
        ..once(id, from, to)
    }
}

fn known() -> Uses {
    let mut uses = Uses::default();
    assert!(uses.know_from(minute(0)));
    uses
}

fn login(within: Option<&str>, action: Action) -> Query {
    Query {
        action,
        within: within.map(str::to_owned),
        ..query()
    }
}

/// Opens it as a host does: what lets it in is used up by `name`.
fn opens(bundle: &Bundle, uses: &mut Uses, name: &str, action: Action) -> Result<Allowed, Code> {
    let Opening { decision, takes } = decide_opening(bundle, &login(Some(name), action), uses);
    if let Some(grant) = takes {
        uses.take(grant, name.to_owned());
    }
    match decision {
        Decision::Allow(allowed) => Ok(allowed),
        Decision::Refuse(refusal) => Err(refusal.code),
    }
}

#[test]
fn the_second_login_is_109_and_the_sudo_in_the_first_is_not() {
    let (bundle, mut uses) = (bundle(vec![once("g1", 10, 20)]), known());
    assert!(opens(&bundle, &mut uses, "first", Action::Ssh).is_ok());
    assert_eq!(
        opens(&bundle, &mut uses, "second", Action::Ssh),
        Err(Code::UsedUp)
    );
    for _ in 0..2 {
        assert!(opens(&bundle, &mut uses, "first", Action::Sudo).is_ok());
    }
    assert_eq!(
        opens(&bundle, &mut uses, "second", Action::Sudo),
        Err(Code::UsedUp)
    );
    assert_eq!(
        decide_opening(&bundle, &login(None, Action::Ssh), &uses).takes,
        None
    );
}

#[test]
fn a_grant_for_any_number_of_logins_goes_first_and_uses_none_up() {
    let bundle = bundle(vec![once("g1", 10, 30), often("g2", 10, 20)]);
    let mut uses = known();
    for name in ["first", "second"] {
        let allowed = opens(&bundle, &mut uses, name, Action::Ssh).unwrap();
        assert_eq!(
            (allowed.grant.as_str(), allowed.until),
            ("g2", minute(20)),
            "g1 carries nothing on that it did not open"
        );
    }
    assert_eq!(uses, known());
}

#[test]
fn two_grants_for_one_login_each_open_two_and_neither_lengthens_the_other() {
    let bundle = bundle(vec![once("g1", 10, 20), once("g2", 10, 30)]);
    let mut uses = known();
    let first = opens(&bundle, &mut uses, "first", Action::Ssh).unwrap();
    let second = opens(&bundle, &mut uses, "second", Action::Ssh).unwrap();
    assert_eq!(
        [
            (first.grant.as_str(), first.until),
            (second.grant.as_str(), second.until)
        ],
        [("g2", minute(30)), ("g1", minute(20))]
    );
    assert_eq!(
        opens(&bundle, &mut uses, "third", Action::Ssh),
        Err(Code::UsedUp)
    );
    let goes_on = |name: &str| {
        let query = Query {
            used: uses.not_of(&bundle, Some(name)),
            ..login(Some(name), Action::Ssh)
        };
        deadline(&bundle, &query)
    };
    assert_eq!(goes_on("first"), Some(minute(30)));
    assert_eq!(goes_on("second"), Some(minute(20)));
    assert_eq!(goes_on("third"), None);
}

#[test]
fn a_sudo_by_a_grant_for_one_login_is_had_in_the_login_that_had_the_first() {
    let sudo = Grant {
        allow: Allow {
            sudo: true,
            ..Allow::default()
        },
        ..once("g1", 10, 20)
    };
    let ssh = Grant {
        allow: Allow {
            ssh: true,
            ..Allow::default()
        },
        ..often("g2", 10, 20)
    };
    let (bundle, mut uses) = (bundle(vec![sudo, ssh]), known());
    for name in ["first", "second"] {
        opens(&bundle, &mut uses, name, Action::Ssh).unwrap();
    }
    opens(&bundle, &mut uses, "first", Action::Sudo).unwrap();
    opens(&bundle, &mut uses, "first", Action::Sudo).unwrap();
    assert_eq!(
        opens(&bundle, &mut uses, "second", Action::Sudo),
        Err(Code::UsedUp)
    );
}

#[test]
fn where_memory_was_lost_what_began_before_counts_as_used_and_what_begins_later_does_not() {
    let bundle = bundle(vec![once("g1", 10, 30)]);
    let mut uses = Uses::default();
    assert_eq!(
        opens(&bundle, &mut uses, "first", Action::Ssh),
        Err(Code::UsedUp),
        "nothing is known"
    );
    assert!(uses.know_from(minute(11)));
    assert!(!uses.know_from(minute(1)), "what is known stays so");
    assert_eq!(
        opens(&bundle, &mut uses, "first", Action::Ssh),
        Err(Code::UsedUp)
    );
    let mut later = Uses::default();
    later.know_from(minute(10));
    assert!(opens(&bundle, &mut later, "first", Action::Ssh).is_ok());
}

#[test]
fn what_was_not_opened_after_all_is_given_back_by_its_own_login_alone() {
    let (bundle, mut uses) = (bundle(vec![once("g1", 10, 20)]), known());
    let g1: GrantId = "g1".parse().unwrap();
    opens(&bundle, &mut uses, "first", Action::Ssh).unwrap();
    assert!(!uses.give_back(&g1, "second"));
    assert!(opens(&bundle, &mut uses, "second", Action::Ssh).is_err());
    assert!(uses.give_back(&g1, "first"));
    assert!(opens(&bundle, &mut uses, "second", Action::Ssh).is_ok());
}

#[test]
fn what_is_over_is_forgotten_and_nothing_else() {
    let mut uses = known();
    let both = bundle(vec![once("g1", 10, 20), once("g2", 10, 20)]);
    opens(&both, &mut uses, "first", Action::Ssh).unwrap();
    opens(&both, &mut uses, "second", Action::Ssh).unwrap();
    let before = serde_json::to_value(&uses).unwrap();
    assert_eq!(before["by"].as_object().unwrap().len(), 2);
    let one = bundle(vec![once("g1", 10, 20)]);
    uses.forget_all_but(&one);
    assert_eq!(
        opens(&one, &mut uses, "third", Action::Ssh),
        Err(Code::UsedUp)
    );
    let after = serde_json::to_value(&uses).unwrap();
    assert_eq!(after["by"].as_object().unwrap().len(), 1);
    assert_eq!(serde_json::from_value::<Uses>(after).unwrap(), uses);
}

#[test]
fn what_is_used_up_is_so_after_it_was_void_for_a_while() {
    let (whole, mut uses) = (bundle(vec![once("g1", 10, 20)]), known());
    opens(&whole, &mut uses, "first", Action::Ssh).unwrap();
    let mut not_heeded = bundle(Vec::new());
    not_heeded.void.push(VoidGrant {
        id: "g1".to_owned(),
        login: None,
        unknown: "login_from".to_owned(),
    });
    uses.forget_all_but(&not_heeded);
    assert_eq!(
        opens(&whole, &mut uses, "second", Action::Ssh),
        Err(Code::UsedUp)
    );
}

#[test]
fn a_user_manager_uses_nothing_up_and_runs_on() {
    let (bundle, mut uses) = (bundle(vec![once("g1", 10, 20)]), known());
    opens(&bundle, &mut uses, "first", Action::Ssh).unwrap();
    let manager = Query {
        credential: Credential::Together(["ann".parse().unwrap()].into()),
        used: uses.not_of(&bundle, None),
        ..login(None, Action::Ssh)
    };
    assert!(matches!(decide(&bundle, &manager), Decision::Allow(_)));
}

/// systemd starts it while sshd opens the login, before that is let in.
#[test]
fn a_user_manager_that_is_there_before_its_login_leaves_the_grant_to_that() {
    let (bundle, mut uses) = (bundle(vec![once("g1", 10, 20)]), known());
    let manager = Query {
        credential: Credential::Together(["ann".parse().unwrap()].into()),
        ..login(Some("manager"), Action::Ssh)
    };
    let opening = decide_opening(&bundle, &manager, &uses);
    assert!(matches!(opening.decision, Decision::Allow(_)));
    assert_eq!(opening.takes, None);
    opens(&bundle, &mut uses, "first", Action::Ssh).unwrap();
    assert_eq!(
        opens(&bundle, &mut uses, "second", Action::Ssh),
        Err(Code::UsedUp)
    );
}

/// What happens: somebody opens something, or time passes.
#[derive(Debug, Clone)]
enum Step {
    Opens(&'static str, Action),
    Passes(i64),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_grant_for_one_login_ever_has_two(
        grants in prop::collection::vec((any::<bool>(), 0_i64..6, 1_i64..12), 1..5),
        steps in prop::collection::vec(prop_oneof![
            4 => (select(vec!["a", "b", "c"]), select(vec![Action::Ssh, Action::Sudo])).prop_map(|(name, action)| Step::Opens(name, action)),
            1 => (0_i64..4).prop_map(Step::Passes),
        ], 1..20),
    ) {
        let numbered = (1..).zip(grants);
        let bundle = bundle(numbered.map(|(n, (single, from, length))| {
            let made = if single { once } else { often };
            made(&format!("g{n}"), from, from + length)
        }).collect());
        let (mut uses, mut now) = (known(), 0);
        let mut held: Vec<(&str, Action, Timestamp)> = Vec::new();
        let mut had: BTreeMap<GrantId, &str> = BTreeMap::new();
        for step in steps {
            let (name, action) = match step {
                Step::Passes(minutes) => {
                    now += minutes;
                    // What goes on ends when it was said to end, neither sooner nor later.
                    for (name, action, until) in &held {
                        let query = Query { now: minute(now), used: uses.not_of(&bundle, Some(name)), ..login(Some(name), *action) };
                        prop_assert!(*until <= minute(now) || deadline(&bundle, &query) >= Some(*until));
                    }
                    continue;
                }
                Step::Opens(name, action) => (name, action),
            };
            let query = Query { now: minute(now), ..login(Some(name), action) };
            let Opening { decision, takes } = decide_opening(&bundle, &query, &uses);
            let unlimited = bundle.grants.iter().any(|grant| {
                !grant.limits.single_use && grant.not_before <= query.now && query.now < grant.expires
            });
            match decision {
                Decision::Refuse(_) => prop_assert!(!unlimited && takes.is_none()),
                Decision::Allow(allowed) => {
                    held.push((name, action, allowed.until));
                    let grant = bundle.grants.iter().find(|grant| grant.id == allowed.grant).unwrap();
                    prop_assert_eq!(takes.is_some(), grant.limits.single_use);
                    if let Some(grant) = takes {
                        let by = had.entry(grant.clone()).or_insert(name);
                        prop_assert_eq!(*by, name, "{} opened two logins", grant);
                        uses.take(grant, name.to_owned());
                    }
                }
            }
        }
    }
}
