use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::event::HostEnrolled;
use crate::policy::hosts::HostPattern;

fn host(number: u32, name: &str, labels: &[(&str, &str)]) -> HostEnrolled {
    let label = |(key, value): &(&str, &str)| {
        let (key, value) = ((*key).to_owned(), (*value).to_owned());
        (key.try_into().unwrap(), value.try_into().unwrap())
    };
    HostEnrolled {
        name: name.parse().unwrap(),
        host_id: format!("h{number:032x}").parse().unwrap(),
        public_key: String::new(),
        labels: labels.iter().map(label).collect(),
        lapse_seconds: None,
        token: None,
        from: None,
    }
}

fn directory(hosts: impl IntoIterator<Item = HostEnrolled>) -> Directory {
    let mut directory = Directory::default();
    for host in hosts {
        directory.set_host(host, Timestamp::UNIX_EPOCH);
    }
    directory
}

fn role(patterns: &[&str], labels: &str) -> Hosts {
    let pattern = |text: &&str| HostPattern::try_from((*text).to_owned()).unwrap();
    Hosts::new(
        patterns.iter().map(pattern).collect(),
        serde_json::from_str(labels).unwrap(),
    )
}

/// A thousand web servers of ten teams, and ten databases.
fn fleet() -> Directory {
    let web = (0..1_000).map(|number| {
        let team = format!("t{}", number % 10);
        let name = format!("web-{number}");
        host(number, &name, &[("env", "prod"), ("team", &team)])
    });
    let db = (0..10).map(|number| {
        host(
            10_000 + number,
            &format!("db-{number}"),
            &[("env", "prod"), ("team", "t1")],
        )
    });
    directory(web.chain(db))
}

#[test]
fn only_hosts_with_the_rarest_label_or_the_beginning_of_a_name_are_looked_at() {
    let fleet = fleet();
    let any = Labelled::default();
    for (patterns, labels, looks) in [
        (&["*"][..], r#"{"env":["prod"],"team":["t1"]}"#, 110),
        (&["*"], r#"{"team":["t1","t2"]}"#, 210),
        (&["*"], r#"{"team":["none"]}"#, 0),
        (&["db-*"], r#"{"env":["prod"]}"#, 10),
        (&["web-*"], r#"{"team":["t1"]}"#, 110),
        (&["db-*"], "{}", 10),
        (&["web-99?", "db-1"], "{}", 11),
        (&["db-1", "db-none"], r#"{"env":["prod"]}"#, 1),
        (&["*-1"], "{}", 1_010),
        (&["*"], "{}", 1_010),
    ] {
        let role = role(patterns, labels);
        let looked_at = role.looked_at(&fleet, &any).count();
        assert!(
            looked_at <= looks + 1,
            "{patterns:?} {labels}: {looked_at}, not {looks}"
        );
    }
    // What somebody asks for may be rarer than what the role says.
    let (role, asked) = (
        role(&["*"], r#"{"env":["prod"]}"#),
        serde_json::from_str(r#"{"team":["t2"]}"#).unwrap(),
    );
    assert_eq!(role.looked_at(&fleet, &asked).count(), 100);
}

#[test]
fn a_host_that_loses_a_label_or_goes_is_not_found_by_it() {
    let mut directory = directory([host(1, "web-1", &[("env", "prod")])]);
    let (role, any) = (role(&["*"], r#"{"env":["prod"]}"#), Labelled::default());
    let found = |directory: &Directory| role.among(directory, &any).count();
    assert_eq!(found(&directory), 1);
    directory.label_host(&"web-1".parse().unwrap(), &BTreeMap::new());
    assert_eq!(found(&directory), 0);
    directory.set_host(host(2, "web-1", &[("env", "prod")]), Timestamp::UNIX_EPOCH);
    assert_eq!(found(&directory), 1);
    directory.remove_host(&"web-1".parse().unwrap());
    assert_eq!(found(&directory), 0);
}

proptest! {
    #[test]
    fn those_found_are_those_that_a_look_at_every_host_finds(
        hosts in prop::collection::vec(("[ab][-.]?[ab1]{1,3}", "[pq]", proptest::option::of("[xy]")), 0..40),
        patterns in prop::collection::vec(prop_oneof![Just("*".to_owned()), "[ab]([-.]?[ab1*?]){0,3}"], 0..4),
        env in proptest::option::of("[pq]"),
        site in proptest::option::of("[xy]"),
        asked in proptest::option::of("[xy]"),
    ) {
        let enrolled = hosts.iter().zip(0..).map(|((name, env, site), number)| {
            let site = site.iter().map(|site| ("site", site.as_str()));
            let labels: Vec<_> = [("env", env.as_str())].into_iter().chain(site).collect();
            host(number, name, &labels)
        });
        let directory = directory(enrolled);
        let chosen = |labels: &[(&str, &Option<String>)]| {
            let said = labels.iter().filter_map(|(key, value)| Some((*key, [value.as_ref()?])));
            let said: BTreeMap<_, _> = said.collect();
            serde_json::to_string(&said).unwrap()
        };
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).filter(|text| HostPattern::try_from((*text).to_owned()).is_ok()).collect();
        let role = role(&patterns, &chosen(&[("env", &env), ("site", &site)]));
        let asked: Labelled = serde_json::from_str(&chosen(&[("site", &asked)])).unwrap();
        let found: BTreeSet<_> = role.among(&directory, &asked).collect();
        let all = directory.hosts().map(|host| &host.enrolled);
        let expected: BTreeSet<_> = all
            .filter(|host| role.cover(&host.name, &host.labels) && asked.fits(&host.labels))
            .map(|host| &host.name)
            .collect();
        prop_assert_eq!(found, expected);
    }
}
