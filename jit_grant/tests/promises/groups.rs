//! Groups that logins have by grants: none without a grant in force that has it, and the login ends with the first of them.

use std::collections::BTreeSet;

use jit_grant::{
    Bundle, Code, Credential, Decision, Grant, GroupName, Groups, Limits, Query, Uses, deadline,
    decide, decide_login, groups_of_login,
};
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::fixtures::{bundle, grant, minute, query};
use crate::laws::{
    GROUPS, allows, at, bundles, instants, named, queries, rightly_opens, unlimited,
};

fn with_groups(groups: &[&str]) -> Limits {
    Limits {
        groups: Groups::try_from(named(groups)).unwrap(),
        ..Limits::default()
    }
}

/// A grant for a whole day beside one with adm, from minute 10 to minute 20.
fn day_and_adm() -> Bundle {
    let day = Grant {
        id: "g2".parse().unwrap(),
        expires: minute(24 * 60),
        ..grant()
    };
    let adm = Grant {
        limits: with_groups(&["adm"]),
        ..grant()
    };
    bundle(vec![day, adm])
}

#[test]
fn a_login_has_the_groups_of_every_grant_that_opens_it_and_ends_with_the_first_of_these() {
    let mut asked = query();
    let opening = decide_login(&day_and_adm(), &mut asked, &Uses::default());
    assert_eq!(asked.groups, named(&["adm"]));
    let Decision::Allow(allowed) = opening.decision else {
        panic!("refused");
    };
    assert_eq!(allowed.until, minute(20));
    assert_eq!(allowed.grant.as_str(), "g1");
    assert_eq!(deadline(&day_and_adm(), &asked), Some(minute(20)));
    // A login from before the grant with the group has its day.
    assert_eq!(deadline(&day_and_adm(), &query()), Some(minute(24 * 60)));
}

#[test]
fn a_group_that_can_t_be_given_closes_that_grant_alone_and_is_named() {
    let asked = Query {
        lacking: named(&["adm"]),
        ..query()
    };
    assert!(allows(&day_and_adm(), &asked));
    let mut alone = day_and_adm();
    alone.grants.retain(|grant| !grant.limits.groups.is_empty());
    let Decision::Refuse(refusal) = decide(&alone, &asked) else {
        panic!("allowed");
    };
    assert_eq!(refusal.code, Code::GroupNotGiven);
    assert_eq!(refusal.detail.as_deref(), Some("adm"));
}

#[test]
fn a_grant_for_one_login_gives_it_its_groups() {
    let once = Grant {
        limits: Limits {
            single_use: true,
            ..with_groups(&["adm"])
        },
        ..grant()
    };
    let mut uses = Uses::default();
    uses.know_from(minute(0));
    let mut asked = query();
    let opening = decide_login(&bundle(vec![once.clone()]), &mut asked, &uses);
    assert_eq!(opening.takes.as_ref(), Some(&once.id));
    assert_eq!(asked.groups, named(&["adm"]));
    uses.take(once.id.clone(), "first".to_owned());
    let second = decide_login(&bundle(vec![once]), &mut query(), &uses);
    assert!(matches!(second.decision, Decision::Refuse(_)));
}

#[test]
fn a_session_of_before_has_no_groups() {
    let mut kept = serde_json::to_value(query()).unwrap();
    assert!(kept.get("groups").is_none());
    kept["groups"] = serde_json::json!(["root"]);
    assert!(serde_json::from_value::<Query>(kept).is_err());
}

#[test]
fn what_several_have_in_common_ends_with_the_group_of_one_of_them_and_not_before() {
    let adm = |limits| Grant {
        shared: true,
        limits,
        ..grant()
    };
    let of_ben = Grant {
        id: "g2".parse().unwrap(),
        principal: "ben".parse().unwrap(),
        expires: minute(24 * 60),
        ..adm(Limits::default())
    };
    let of_ann_for_long = Grant {
        id: "g3".parse().unwrap(),
        expires: minute(24 * 60),
        ..adm(Limits::default())
    };
    let mut both = bundle(vec![adm(with_groups(&["adm"])), of_ben, of_ann_for_long]);
    let who = ["ann", "ben"].map(|who| who.parse().unwrap());
    let manager = Query {
        credential: Credential::Together(who.into()),
        groups: named(&["adm"]),
        ..query()
    };
    let Decision::Allow(allowed) = decide(&both, &manager) else {
        panic!("ben has no adm, and needs none");
    };
    assert_eq!((allowed.grant.as_str(), allowed.until), ("g1", minute(20)));
    assert_eq!(deadline(&both, &manager), Some(minute(20)));
    both.grants.retain(|grant| grant.limits.groups.is_empty());
    let Decision::Refuse(refusal) = decide(&both, &manager) else {
        panic!("nobody has adm");
    };
    assert_eq!(refusal.code, Code::GroupNotGiven);
    assert_eq!(deadline(&both, &manager), None);
}

fn groups() -> impl Strategy<Value = BTreeSet<GroupName>> {
    subsequence(GROUPS.to_vec(), 0..=2).prop_map(|groups| named(&groups))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_group_without_a_grant_in_force_that_has_it_and_would_open_this(
        bundle in bundles(), query in queries(), groups in groups(),
    ) {
        let opens = |grant: &&Grant| rightly_opens(grant, &query);
        let has = |group: &GroupName| bundle.grants.iter().filter(opens).any(|grant| grant.limits.groups.has(group));
        let may = bundle.grants.iter().any(|grant| opens(&grant)) && groups.iter().all(has);
        let with = Query { groups, ..query.clone() };
        prop_assert_eq!(allows(&bundle, &with), may);
    }

    #[test]
    fn the_groups_that_are_offered_are_those_of_the_grants_that_open_this(bundle in bundles(), query in queries()) {
        if let Decision::Allow(allowed) = decide(&bundle, &query) {
            let opening = bundle.grants.iter().filter(|grant| rightly_opens(grant, &query));
            let theirs: BTreeSet<_> = opening.flat_map(|grant| grant.limits.groups.iter().cloned()).collect();
            prop_assert_eq!(allowed.groups, theirs);
        }
    }

    #[test]
    fn a_login_with_groups_ends_at_the_first_instant_of_no(bundle in bundles(), query in queries(), groups in groups()) {
        let query = Query { groups, ..query };
        match deadline(&bundle, &query) {
            None => prop_assert!(!allows(&bundle, &query)),
            Some(deadline) => {
                for now in instants().chain([query.now]).filter(|now| (query.now..deadline).contains(now)) {
                    prop_assert!(allows(&bundle, &at(&query, now)));
                }
                prop_assert!(!allows(&bundle, &at(&query, deadline)));
                let Decision::Allow(allowed) = decide(&bundle, &query) else { panic!("refused") };
                prop_assert_eq!(allowed.until, deadline);
                let holding = bundle.grants.iter().find(|grant| grant.id == allowed.grant).unwrap();
                prop_assert!(rightly_opens(holding, &query));
            }
        }
    }

    #[test]
    fn groups_neither_let_in_nor_keep_out_whoever_is_about_to_log_in(
        bundle in bundles(), query in queries(), credential in any::<bool>(),
    ) {
        let credential = if credential { Credential::Pending } else { query.credential.clone() };
        let mut query = Query { credential, ..query };
        let before = query.clone();
        let mut uses = Uses::default();
        uses.know_from(minute(0));
        let opening = decide_login(&bundle, &mut query, &uses);
        let plain = jit_grant::decide_opening(&bundle, &before, &uses);
        prop_assert_eq!(opening.takes, plain.takes);
        match (opening.decision, plain.decision) {
            (Decision::Allow(with), Decision::Allow(without)) => {
                prop_assert!(with.until <= without.until && with.until > before.now);
                prop_assert_eq!(&query.groups, &without.groups);
                prop_assert!(query.groups.is_subset(&groups_of_login(&bundle, &query.login)));
            }
            (Decision::Refuse(_), Decision::Refuse(_)) => prop_assert!(query.groups.is_empty()),
            (with, without) => prop_assert!(false, "{with:?}, {without:?}"),
        }
    }

    #[test]
    fn what_is_in_common_goes_on_while_each_may_and_any_has_each_group(
        bundle in bundles(), query in queries(), groups in groups(), who in subsequence(vec!["ann", "ben", "eve"], 1..=3),
    ) {
        // Neither where somebody came from nor what is used up counts, and groups do.
        let mut anywhere = unlimited(&bundle);
        for (grant, before) in anywhere.grants.iter_mut().zip(&bundle.grants) {
            grant.limits.groups = before.limits.groups.clone();
        }
        let alone = |who: &&str| Query {
            credential: Credential::Principal(who.parse().unwrap()),
            used: BTreeSet::new(),
            lacking: BTreeSet::new(),
            ..query.clone()
        };
        let each_may = who.iter().all(|who| allows(&anywhere, &alone(who)));
        let with = |group: &GroupName, who: &&str| Query { groups: [group.clone()].into(), ..alone(who) };
        let any_has = |group: &GroupName| who.iter().any(|who| allows(&anywhere, &with(group, who)));
        let may = each_may && groups.iter().all(any_has);
        let together = Query {
            credential: Credential::Together(who.iter().map(|who| who.parse().unwrap()).collect()),
            groups: groups.clone(),
            ..query.clone()
        };
        prop_assert_eq!(allows(&bundle, &together), may);
        match (deadline(&bundle, &together), decide(&bundle, &together)) {
            (Some(deadline), Decision::Allow(allowed)) => {
                prop_assert_eq!(allowed.until, deadline);
                for now in instants().filter(|now| (query.now..deadline).contains(now)) {
                    prop_assert!(allows(&bundle, &at(&together, now)));
                }
                prop_assert!(!allows(&bundle, &at(&together, deadline)));
            }
            (None, Decision::Refuse(_)) => {}
            (deadline, decision) => prop_assert!(false, "{deadline:?}, {decision:?}"),
        }
    }
}
