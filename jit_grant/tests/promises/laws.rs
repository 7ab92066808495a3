//! Laws that hold for every bundle and every question. The worlds are small so that grants, logins and times collide often.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use jit_grant::{
    Action, Allow, Bundle, Code, Credential, Decision, Grant, GroupName, Groups, Limits, Principal,
    Query, deadline, decide, holders,
};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::json;

use crate::fixtures::{
    SERVER_KEY, bundle, bundle_header, fingerprint, grant, host, minute, networks, query,
    sign_anything, trusted,
};

const LAST_MINUTE: i64 = 12;

fn actions() -> impl Strategy<Value = Action> {
    select(vec![Action::Ssh, Action::Sudo, Action::Su, Action::Jobs])
}

const PLACES: [Option<&str>; 5] = [
    Some("10.1.2.3"),
    Some("::ffff:10.1.2.3"),
    Some("192.0.2.7"),
    Some("office.example"),
    None,
];

fn limits() -> impl Strategy<Value = Limits> {
    let office = Some(networks(&["10.0.0.0/8"]));
    let anywhere = Some(networks(&["0.0.0.0/0"]));
    let login_from = select(vec![None, office, anywhere]);
    let idle = select(vec![None, Some(60), Some(900)]);
    let groups = subsequence(GROUPS.to_vec(), 0..=2);
    let all = (login_from, any::<bool>(), idle, groups);
    all.prop_map(|(login_from, single_use, idle, groups)| Limits {
        login_from,
        single_use,
        idle: idle.map(|seconds| seconds.try_into().unwrap()),
        groups: Groups::try_from(named(&groups)).unwrap(),
    })
}

pub(crate) const GROUPS: [&str; 2] = ["adm", "www-data"];

pub(crate) fn named(groups: &[&str]) -> BTreeSet<GroupName> {
    groups.iter().map(|name| name.parse().unwrap()).collect()
}

/// The same grants, from anywhere.
pub(crate) fn unlimited(bundle: &Bundle) -> Bundle {
    let mut unlimited = bundle.clone();
    for grant in &mut unlimited.grants {
        grant.limits = Limits::default();
    }
    unlimited
}

fn grants_without_id() -> impl Strategy<Value = Grant> {
    (
        select(vec!["ann", "ben"]),
        select(vec!["alice", "deploy"]),
        (0..LAST_MINUTE, 0..LAST_MINUTE),
        any::<(bool, bool, bool, bool)>(),
        subsequence(vec![1, 2, 3], 0..=2),
        any::<bool>(),
        limits(),
    )
        .prop_map(
            |(
                principal,
                login,
                (not_before, expires),
                (ssh, sudo, su, jobs),
                keys,
                shared,
                limits,
            )| {
                Grant {
                    principal: principal.parse().unwrap(),
                    login: login.parse().unwrap(),
                    not_before: minute(not_before),
                    expires: minute(expires),
                    allow: Allow {
                        ssh,
                        sudo,
                        su,
                        jobs,
                    },
                    keys: keys.into_iter().map(fingerprint).collect(),
                    shared,
                    limits,
                    ..grant()
                }
            },
        )
}

pub(crate) fn bundles() -> impl Strategy<Value = Bundle> {
    prop::collection::vec(grants_without_id(), 0..10).prop_map(|grants| {
        let numbered = grants.into_iter().enumerate();
        bundle(
            numbered
                .map(|(n, grant)| Grant {
                    id: format!("g{}", n + 1).parse().unwrap(),
                    ..grant
                })
                .collect(),
        )
    })
}

fn credentials() -> impl Strategy<Value = Credential> {
    prop_oneof![
        Just(Credential::Pending),
        (1_u8..=4).prop_map(|key| Credential::Key(fingerprint(key))),
        Just(Credential::Method("password".to_owned())),
        select(vec!["ann", "ben", "eve"])
            .prop_map(|who| Credential::Principal(who.parse().unwrap())),
        Just(Credential::Unbound),
    ]
}

pub(crate) fn queries() -> impl Strategy<Value = Query> {
    (
        select(vec!["alice", "deploy"]),
        actions(),
        credentials(),
        0..LAST_MINUTE,
        select(PLACES.to_vec()),
        subsequence(vec![1, 2, 3, 4, 5], 0..=3),
        subsequence(GROUPS.to_vec(), 0..=1),
    )
        .prop_map(
            |(login, action, credential, now, rhost, used, lacking)| Query {
                lacking: named(&lacking),
                used: used
                    .into_iter()
                    .map(|n| format!("g{n}").parse().unwrap())
                    .collect(),
                rhost: rhost.map(str::to_owned),
                login: login.parse().unwrap(),
                action,
                credential,
                now: minute(now),
                ..query()
            },
        )
}

pub(crate) fn allows(bundle: &Bundle, query: &Query) -> bool {
    matches!(decide(bundle, query), Decision::Allow(_))
}

pub(crate) fn at(query: &Query, now: Timestamp) -> Query {
    Query {
        now,
        ..query.clone()
    }
}

/// Every instant at which an answer can change, and those just before.
pub(crate) fn instants() -> impl Iterator<Item = Timestamp> {
    (0..=LAST_MINUTE).flat_map(|m| [minute(m) - SignedDuration::from_nanos(1), minute(m)])
}

/// The rule in other words than decide()'s, for one grant.
pub(crate) fn rightly_opens(grant: &Grant, query: &Query) -> bool {
    let in_time = query.now >= grant.not_before && query.now < grant.expires;
    let in_scope = match query.action {
        Action::Ssh => grant.allow.ssh,
        Action::Sudo => grant.allow.sudo,
        Action::Su => grant.allow.su,
        Action::Jobs => grant.allow.jobs,
    };
    let by_its_principal = match &query.credential {
        Credential::Pending => true,
        Credential::Key(key) => {
            grant.keys.iter().any(|k| k == key) || (grant.keys.is_empty() && !grant.shared)
        }
        Credential::Method(_) | Credential::Unbound => !grant.shared,
        Credential::Principal(principal) => grant.principal == *principal,
        Credential::Together(_) => false,
    };
    let from_there = match (&grant.limits.login_from, query.rhost.as_deref()) {
        (None, _) => true,
        (Some(networks), Some("10.1.2.3" | "::ffff:10.1.2.3")) => !networks.listed().is_empty(),
        (Some(networks), Some("192.0.2.7")) => networks.listed() == ["0.0.0.0/0"],
        (Some(_), _) => false,
    };
    let is_left = !query.used.contains(&grant.id);
    let given = query
        .lacking
        .iter()
        .all(|group| !grant.limits.groups.has(group));
    let rightly = in_time && in_scope && by_its_principal && from_there && is_left && given;
    rightly && grant.login == query.login
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn yes_means_a_grant_in_force_for_this_login_action_and_principal(bundle in bundles(), query in queries()) {
        let some_grant_opens = bundle.grants.iter().any(|grant| rightly_opens(grant, &query));
        match decide(&bundle, &query) {
            Decision::Allow(allowed) => {
                let grant = bundle.grants.iter().find(|grant| grant.id == allowed.grant).unwrap();
                prop_assert!(rightly_opens(grant, &query));
                prop_assert_eq!((&allowed.principal, &allowed.role), (&grant.principal, &grant.role));
                prop_assert!(allowed.until >= grant.expires);
            }
            Decision::Refuse(_) => prop_assert!(!some_grant_opens),
        }
    }

    #[test]
    fn together_they_may_while_each_of_them_may_alone(
        bundle in bundles(), query in queries(), who in subsequence(vec!["ann", "ben", "eve"], 0..=3),
    ) {
        let who: BTreeSet<Principal> = who.into_iter().map(|who| who.parse().unwrap()).collect();
        let alone = |who: &Principal| Query { credential: Credential::Principal(who.clone()), ..query.clone() };
        let lifted = unlimited(&bundle);
        let alone = |who: &Principal| Query { used: BTreeSet::new(), lacking: BTreeSet::new(), ..alone(who) };
        let first_end = who.iter().map(|who| deadline(&lifted, &alone(who))).collect::<Option<Vec<_>>>();
        let first_end = first_end.and_then(|ends| ends.into_iter().min());
        let together = Query { credential: Credential::Together(who), ..query };
        prop_assert_eq!(deadline(&bundle, &together), first_end);
        match decide(&bundle, &together) {
            Decision::Allow(allowed) => prop_assert_eq!(Some(allowed.until), first_end),
            Decision::Refuse(_) => prop_assert_eq!(first_end, None),
        }
    }

    #[test]
    fn holders_are_those_who_may_from_somewhere(bundle in bundles(), query in queries()) {
        for who in ["ann", "ben", "eve"] {
            let who: Principal = who.parse().unwrap();
            let alone = Query { credential: Credential::Principal(who.clone()), used: BTreeSet::new(), lacking: BTreeSet::new(), ..query.clone() };
            prop_assert_eq!(holders(&bundle, &query).contains(&who), allows(&unlimited(&bundle), &alone));
        }
    }

    #[test]
    fn never_outside_the_time_of_the_grants(bundle in bundles(), query in queries()) {
        let begins = bundle.grants.iter().map(|grant| grant.not_before).min();
        let ends = bundle.grants.iter().map(|grant| grant.expires).max();
        for now in instants() {
            if begins.is_none_or(|begins| now < begins) || ends.is_none_or(|ends| now >= ends) {
                prop_assert!(!allows(&bundle, &at(&query, now)));
            }
        }
    }

    #[test]
    fn never_for_another_login(bundle in bundles(), query in queries()) {
        let other = Query { login: "carol".parse().unwrap(), ..query };
        prop_assert!(!allows(&bundle, &other));
    }

    #[test]
    fn a_limit_only_takes_away(bundle in bundles(), query in queries()) {
        let lifted = unlimited(&bundle);
        prop_assert!(deadline(&bundle, &query) <= deadline(&lifted, &query));
        prop_assert!(allows(&lifted, &query) || !allows(&bundle, &query));
    }

    #[test]
    fn yes_only_from_the_networks_of_the_grant(bundle in bundles(), query in queries()) {
        if let Decision::Allow(allowed) = decide(&bundle, &query) {
            let grant = bundle.grants.iter().find(|grant| grant.id == allowed.grant).unwrap();
            let networks = grant.limits.login_from.as_ref();
            prop_assert!(networks.is_none_or(|networks| networks.include(query.rhost.as_deref())));
        }
    }

    #[test]
    fn never_for_another_action(mut bundle in bundles(), query in queries()) {
        for grant in &mut bundle.grants {
            match query.action {
                Action::Ssh => grant.allow.ssh = false,
                Action::Sudo => grant.allow.sudo = false,
                Action::Su => grant.allow.su = false,
                Action::Jobs => grant.allow.jobs = false,
            }
        }
        prop_assert!(!allows(&bundle, &query));
    }

    #[test]
    fn adding_a_grant_never_takes_access_away(bundle in bundles(), added in grants_without_id(), query in queries()) {
        let mut more = bundle.clone();
        more.grants.push(Grant { id: "g99".parse().unwrap(), ..added });
        prop_assert!(deadline(&more, &query) >= deadline(&bundle, &query));
        prop_assert!(allows(&more, &query) || !allows(&bundle, &query));
    }

    #[test]
    fn the_order_of_grants_never_matters(
        (bundle, shuffled) in bundles().prop_flat_map(|bundle| {
            let grants = Just(bundle.grants.clone()).prop_shuffle();
            (Just(bundle), grants)
        }),
        query in queries(),
    ) {
        let shuffled = Bundle { grants: shuffled, ..bundle.clone() };
        prop_assert_eq!(decide(&shuffled, &query), decide(&bundle, &query));
    }

    #[test]
    fn the_deadline_agrees_with_the_decision_at_every_instant(bundle in bundles(), query in queries()) {
        match deadline(&bundle, &query) {
            None => prop_assert!(!allows(&bundle, &query)),
            Some(deadline) => {
                prop_assert!(deadline > query.now);
                for now in instants().chain([query.now]).filter(|now| (query.now..deadline).contains(now)) {
                    prop_assert!(allows(&bundle, &at(&query, now)), "no at {now}, before the deadline {deadline}");
                }
                prop_assert!(!allows(&bundle, &at(&query, deadline)));
            }
        }
    }

    #[test]
    fn a_pending_credential_never_refuses_what_a_later_one_would_allow(bundle in bundles(), query in queries()) {
        let pending = Query { credential: Credential::Pending, ..query.clone() };
        prop_assert!(allows(&bundle, &pending) || !allows(&bundle, &query));
        prop_assert!(deadline(&bundle, &pending) >= deadline(&bundle, &query));
    }

    #[test]
    fn a_refusal_has_a_code_of_the_first_hundred(bundle in bundles(), query in queries()) {
        if let Decision::Refuse(refusal) = decide(&bundle, &query) {
            let code = refusal.code;
            prop_assert!((Code::NoGrant..=Code::UsedUp).contains(&code) || code == Code::GroupNotGiven);
            prop_assert_eq!(refusal.action, Some(query.action));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_signed_is_what_is_verified(mut bundle in bundles(), reason in ".{0,200}", nanos in 0_i64..1_000_000_000) {
        bundle.issued_at -= SignedDuration::from_nanos(nanos);
        for grant in &mut bundle.grants {
            grant.request.reason.clone_from(&reason);
        }
        let signed = bundle.sign(&SERVER_KEY).unwrap();
        prop_assert_eq!(Bundle::verify(signed.as_bytes(), &trusted(), &host(), 7, minute(0)), Ok(bundle));
    }

    #[test]
    fn one_changed_byte_anywhere_is_refused(bundle in bundles(), position in any::<Index>(), change in 1_u8..=255) {
        let mut signed = bundle.sign(&SERVER_KEY).unwrap().into_bytes();
        let position = position.index(signed.len());
        signed[position] ^= change;
        prop_assert!(Bundle::verify(&signed, &trusted(), &host(), 0, minute(0)).is_err());
    }

    #[test]
    fn never_on_another_host(bundle in bundles(), digits in "[0-9a-f]{32}") {
        let signed = bundle.sign(&SERVER_KEY).unwrap();
        let other = format!("h{digits}").parse().unwrap();
        prop_assume!(other != host());
        let refused = Bundle::verify(signed.as_bytes(), &trusted(), &other, 0, minute(0)).unwrap_err();
        prop_assert_eq!(refused.code(), Code::OtherHost);
    }

    #[test]
    fn a_lower_revision_is_refused_and_no_other(revision: u64, seen: u64) {
        let signed = Bundle { revision, ..bundle(Vec::new()) }.sign(&SERVER_KEY).unwrap();
        match Bundle::verify(signed.as_bytes(), &trusted(), &host(), seen, minute(0)) {
            Ok(read) => prop_assert!(read.revision == revision && revision >= seen),
            Err(refused) => prop_assert!(refused.code() == Code::LowerRevision && revision < seen),
        }
    }

    #[test]
    fn an_unknown_name_in_crit_voids_that_grant_alone(bundle in bundles(), which in any::<Index>(), name in "[a-z]{4}9") {
        prop_assume!(!bundle.grants.is_empty());
        let which = which.index(bundle.grants.len());
        let mut demanding = bundle.clone();
        demanding.grants[which].crit = vec!["keys".to_owned(), name.clone()];
        let signed = demanding.sign(&SERVER_KEY).unwrap();
        let read = Bundle::verify(signed.as_bytes(), &trusted(), &host(), 0, minute(0)).unwrap();
        let mut others = bundle.grants.clone();
        let voided = others.remove(which);
        prop_assert_eq!(read.grants, others);
        prop_assert_eq!(read.void.len(), 1);
        prop_assert_eq!(&read.void[0].id, voided.id.as_str());
        prop_assert_eq!(&read.void[0].unknown, &name);
    }

    #[test]
    fn bytes_from_anywhere_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Bundle::verify(&bytes, &trusted(), &host(), 0, minute(0)).is_err());
    }

    #[test]
    fn a_field_of_any_shape_is_read_or_refused_without_a_panic(
        field in select(vec!["id", "login", "role", "expires", "allow", "keys", "shared", "request", "approvals", "crit"]),
        value in select(vec![json!(null), json!(-1), json!(1e300), json!("\u{0}"), json!([[]]), json!({"a": {}}), json!(true)]),
    ) {
        let mut odd = serde_json::to_value(grant()).unwrap();
        odd[field] = value;
        let claims = json!({"aud": host(), "revision": 1, "issued_at": minute(0), "grants": [odd]});
        let signed = sign_anything(&bundle_header(), &claims);
        if let Err(refused) = Bundle::verify(signed.as_bytes(), &trusted(), &host(), 0, minute(0)) {
            prop_assert_eq!(refused.code(), Code::Unparsable);
        }
    }
}
