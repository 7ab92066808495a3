//! For how long a login may be left alone.

use std::collections::BTreeSet;

use jit_grant::{Action, Bundle, Credential, Grant, IdleTime, Idling, Limits, Query, idling};
use proptest::prelude::*;
use serde_json::json;

use crate::fixtures::{bundle, grant, minute, query};
use crate::laws::{allows, at, bundles, instants, queries, rightly_opens};

fn time(seconds: u32) -> IdleTime {
    seconds.try_into().unwrap()
}

fn left_alone(id: &str, from: i64, to: i64, idle: Option<u32>) -> Grant {
    Grant {
        id: id.parse().unwrap(),
        not_before: minute(from),
        expires: minute(to),
        limits: Limits {
            idle: idle.map(time),
            ..Limits::default()
        },
        ..grant()
    }
}

fn in_minute(bundle: &Bundle, now: i64) -> (Option<u32>, Option<i64>) {
    let Idling { time, until } = idling(bundle, &at(&query(), minute(now)));
    let minutes = until.map(|until| (until.as_second() - minute(0).as_second()) / 60);
    (time.map(IdleTime::seconds), minutes)
}

#[test]
fn the_longest_time_of_the_grants_in_force_holds_and_none_where_one_of_them_says_none() {
    let bundle = bundle(vec![
        left_alone("g1", 10, 20, Some(60)),
        left_alone("g2", 12, 16, Some(900)),
        left_alone("g3", 14, 15, None),
    ]);
    let all: Vec<_> = (10..20).map(|now| in_minute(&bundle, now).0).collect();
    let [short, long] = [Some(60), Some(900)];
    assert_eq!(
        all,
        [
            short, short, long, long, None, long, short, short, short, short
        ]
    );
    assert_eq!(in_minute(&bundle, 14), (None, Some(15)));
    assert_eq!(in_minute(&bundle, 19), (short, Some(20)));
    assert_eq!(in_minute(&bundle, 20), (None, None));
}

#[test]
fn a_login_that_has_its_groups_by_a_grant_may_not_be_left_alone_longer_than_that_grant_says() {
    let mut with_group = left_alone("g1", 10, 20, Some(60));
    with_group.limits.groups = serde_json::from_value(json!(["adm"])).unwrap();
    let bundle = bundle(vec![with_group, left_alone("g2", 10, 20, None)]);
    let without = at(&query(), minute(10));
    assert_eq!(idling(&bundle, &without).time, None);
    let groups = BTreeSet::from(["adm".parse().unwrap()]);
    let within = Query { groups, ..without };
    assert_eq!(idling(&bundle, &within).time, Some(time(60)));
}

#[test]
fn a_time_is_from_a_minute_to_twelve_hours() {
    for seconds in [60, 900, 43_200] {
        let read: IdleTime = serde_json::from_value(json!(seconds)).unwrap();
        assert_eq!(json!(read), json!(seconds));
    }
    for wrong in [json!(0), json!(59), json!(43_201), json!(-60), json!("15m")] {
        assert!(
            serde_json::from_value::<IdleTime>(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_time_holds_where_every_grant_in_force_that_opens_the_login_has_one(bundle in bundles(), query in queries()) {
        let query = Query { action: Action::Ssh, ..query };
        let opening: Vec<_> = bundle.grants.iter().filter(|grant| rightly_opens(grant, &query)).collect();
        let of_all = |grants: Vec<&&Grant>| {
            let times: Option<Vec<_>> = grants.iter().map(|grant| grant.limits.idle).collect();
            times?.into_iter().max()
        };
        let having = |group| opening.iter().filter(move |grant| grant.limits.groups.has(group)).collect();
        let of_groups = query.groups.iter().filter_map(|group| of_all(having(group)));
        let times = of_all(opening.iter().collect()).into_iter().chain(of_groups);
        prop_assert_eq!(idling(&bundle, &query).time, times.min());
    }

    #[test]
    fn it_holds_until_it_says_that_it_may_be_otherwise(bundle in bundles(), query in queries()) {
        let Idling { time, until } = idling(&bundle, &query);
        prop_assert!(until.is_none_or(|until| until > query.now));
        for now in instants().filter(|now| *now > query.now) {
            if until.is_none_or(|until| now < until) && allows(&bundle, &at(&query, now)) {
                prop_assert_eq!(idling(&bundle, &at(&query, now)).time, time);
            }
        }
    }

    #[test]
    fn a_grant_more_never_shortens_it(bundle in bundles(), query in queries()) {
        let length = |bundle: &Bundle| idling(bundle, &query).time.map_or(u32::MAX, IdleTime::seconds);
        let mut fewer = bundle.clone();
        fewer.grants.pop();
        prop_assert!(!allows(&fewer, &query) || length(&bundle) >= length(&fewer));
    }

    #[test]
    fn elevations_jobs_and_what_goes_on_beside_logins_are_not_judged_by_it(bundle in bundles(), query in queries()) {
        let together = Query { credential: Credential::Together(BTreeSet::from(["ann".parse().unwrap()])), ..query.clone() };
        prop_assert_eq!(idling(&bundle, &together), Idling::default());
        if query.action != Action::Ssh {
            prop_assert_eq!(idling(&bundle, &query), Idling::default());
        }
    }

    #[test]
    fn without_grants_that_say_one_there_is_nothing_to_wait_for(mut bundle in bundles(), query in queries()) {
        for grant in &mut bundle.grants {
            grant.limits.idle = None;
        }
        prop_assert_eq!(idling(&bundle, &query), Idling::default());
    }
}
