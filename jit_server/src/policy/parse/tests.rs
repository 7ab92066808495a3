//! What a policy file may say, and what is told of one that is wrong.

use super::super::Conditions;
use super::*;
use crate::event::UserSet;

const GOOD: &str = r#"
[roles.web-admin]
description = "Fix the web servers"
hosts = ["web-1", "web-2"]
actions = ["ssh", "sudo"]
longest = "4h"
may_ask = { groups = ["developers"] }
approve = { users = ["bob", "carol"], count = 2 }
"#;

#[test]
fn a_right_policy_is_read_whole() {
    let policy = check_text("policy.toml", GOOD).unwrap();
    let role = &policy.roles[&"web-admin".parse().unwrap()];
    assert_eq!(
        (
            role.longest_seconds,
            role.pending_seconds,
            role.stages()[0].count
        ),
        (4 * 3600, ONE_DAY, 2)
    );
    assert_eq!(role.hosts.listed(), ["web-1", "web-2"]);
    assert_eq!(policy.hash.len(), 64);
}

#[test]
fn the_starter_policy_is_right() {
    assert!(
        check_text("policy.toml", crate::init::STARTER_POLICY)
            .unwrap()
            .roles
            .is_empty()
    );
}

#[test]
fn an_empty_policy_allows_nothing() {
    assert!(check_text("policy.toml", "").unwrap().roles.is_empty());
}

#[test]
fn every_mistake_is_told_with_line_and_key() {
    let wrong = r#"
[roles.Web]
hosts = ["web-1", "UPPER"]
actions = ["ssh", "root"]
longest = "-4h"
may_ask = { groups = [] }
approve = { users = ["bob"], count = 2, stage = 3 }
commands = ["/bin/ls"]
[defaults]
x = 1
"#;
    let mistakes = check_text("policy.toml", wrong).unwrap_err();
    let told: Vec<(usize, &str)> = mistakes.iter().map(|m| (m.line, m.key.as_str())).collect();
    assert_eq!(
        told,
        [
            (2, "roles.Web"),
            (3, "roles.Web.hosts"),
            (4, "roles.Web.actions"),
            (5, "roles.Web.longest"),
            (6, "roles.Web.may_ask"),
            (7, "roles.Web.approve.stage"),
            (7, "roles.Web.approve"),
            (8, "roles.Web.commands"),
            (9, "defaults"),
        ]
    );
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let mistakes = check_text("policy.toml", "[roles.a]\nhosts = [\n").unwrap_err();
    assert!(
        mistakes[0].to_string().starts_with("policy.toml:"),
        "{}",
        mistakes[0]
    );
}

#[test]
fn missing_keys_are_told_at_the_role() {
    let mistakes = check_text("p", "\n[roles.a]\n").unwrap_err();
    assert_eq!(mistakes.len(), 5);
    assert!(
        mistakes
            .iter()
            .all(|m| m.line == 2 && m.problem == "missing")
    );
}

#[test]
fn a_role_says_whether_its_grants_can_be_extended() {
    let role = |more: &str| {
        let policy = check_text("policy.toml", &format!("{GOOD}{more}")).unwrap();
        policy.roles[&"web-admin".parse().unwrap()].extension
    };
    assert_eq!(role(""), None);
    let extension = |without_approval| {
        Some(Extension {
            most_seconds: 1_800,
            without_approval,
        })
    };
    assert_eq!(role("extendable = \"30m\""), extension(false));
    assert_eq!(
        role("extendable = \"30m\"\nextend_without_approval = true"),
        extension(true)
    );
    let mistakes = check_text("p", &format!("{GOOD}extend_without_approval = true")).unwrap_err();
    assert_eq!(
        (mistakes.len(), mistakes[0].line),
        (1, 9),
        "it would mean nothing: {mistakes:?}"
    );
}

#[test]
fn t17_a_login_ends_with_an_elevation_to_root_unless_the_role_says_otherwise() {
    let ends = |policy: &str| {
        let policy = check_text("policy.toml", policy).unwrap();
        policy.roles[&"web-admin".parse().unwrap()].end_login_with_elevation
    };
    assert!(ends(GOOD));
    assert!(!ends(&format!("{GOOD}end_login_with_elevation = false")));
    let only_ssh = GOOD.replace(r#"["ssh", "sudo"]"#, r#"["ssh"]"#);
    assert!(!ends(&only_ssh));
}

#[test]
fn who_may_lock_is_named_outside_of_roles() {
    let policy = check_text("p", "may_lock = { groups = [\"leads\"] }\n").unwrap();
    assert_eq!(policy.may_lock.groups.len(), 1);
    let mistakes = check_text("p", "may_lock = { users = [] }").unwrap_err();
    assert_eq!(mistakes[0].key, "may_lock");
}

#[test]
fn a_role_is_for_hosts_by_name_by_pattern_by_label_or_by_both() {
    let hosts = |hosts: &str| {
        let text = GOOD.replace(r#"hosts = ["web-1", "web-2"]"#, hosts);
        check_text("policy.toml", &text).map(|policy| {
            let hosts = &policy.roles[&"web-admin".parse().unwrap()].hosts;
            (hosts.listed().join(" "), hosts.labels().to_string())
        })
    };
    for (written, names, labels) in [
        (r#"hosts = ["web-*", "db-1"]"#, "db-1 web-*", ""),
        (r#"labels = { env = "prod" }"#, "*", "env=prod"),
        (
            "hosts = [\"web-?\"]\nlabels = { tier = [\"web\", \"api\"], env = \"prod\" }",
            "web-?",
            "env=prod, tier=api or web",
        ),
    ] {
        let told = (names.to_owned(), labels.to_owned());
        assert_eq!(hosts(written), Ok(told), "{written}");
    }
    for (wrong, key) in [
        ("", "roles.web-admin.hosts"),
        ("labels = {}", "roles.web-admin.labels"),
        ("labels = { env = [] }", "roles.web-admin.labels.env"),
        ("labels = { env = 1 }", "roles.web-admin.labels.env"),
        ("labels = { \"\" = \"x\" }", "roles.web-admin.labels."),
        (r#"labels = { env = "a b" }"#, "roles.web-admin.labels.env"),
        (r#"hosts = ["*", "web-*"]"#, "roles.web-admin.hosts"),
        (r#"hosts = ["web-[12]"]"#, "roles.web-admin.hosts"),
    ] {
        let mistakes = hosts(wrong).unwrap_err();
        assert_eq!(
            (mistakes.len(), mistakes[0].key.as_str()),
            (1, key),
            "{wrong}"
        );
    }
}

#[test]
fn a_role_has_hours_of_one_window_or_of_several() {
    let hours = |more: &str| {
        let policy = check_text("policy.toml", &format!("{GOOD}{more}"))?;
        let hours = policy.roles[&"web-admin".parse().unwrap()]
            .conditions
            .hours
            .clone();
        Ok::<_, Vec<Mistake>>(hours.map(|hours| (hours.to_string(), hours.overrun)))
    };
    let day =
        r#"{ days = ["mon-thu", "fri"], from = "08:00", to = "18:00", zone = "Europe/Paris" }"#;
    let night = r#"{ days = ["sat-sun"], from = "22:00", to = "06:00", zone = "UTC" }"#;
    let told = |text: &str, overrun| Ok(Some((text.to_owned(), overrun)));
    assert_eq!(hours(""), Ok(None));
    let one = "mon-fri 08:00 to 18:00 Europe/Paris";
    assert_eq!(hours(&format!("hours = {day}")), told(one, false));
    let both = format!("hours = [{day}, {night}]\noverrun = true");
    let words = format!("{one} or sat-sun 22:00 to 06:00 UTC");
    assert_eq!(hours(&both), told(&words, true));
    for (wrong, key) in [
        ("overrun = true".to_owned(), "overrun"),
        ("hours = []".to_owned(), "hours"),
        ("hours = \"08:00\"".to_owned(), "hours"),
        (
            format!("hours = {}", day.replace("mon-thu", "monday")),
            "hours.days",
        ),
        (
            format!("hours = {}", day.replace("\"mon-thu\", \"fri\"", "")),
            "hours.days",
        ),
        (
            format!("hours = {}", day.replace("08:00", "8:00")),
            "hours.from",
        ),
        (
            format!("hours = {}", day.replace("08:00", "18:00")),
            "hours",
        ),
        (
            format!("hours = {}", day.replace("08:00", "24:00")),
            "hours",
        ),
        (
            format!("hours = {}", day.replace("Europe/Paris", "Europe/Pariss")),
            "hours.zone",
        ),
        (
            format!("hours = {}", day.replace("Europe/Paris", "../UTC")),
            "hours.zone",
        ),
        (
            format!("hours = {}", day.replace("Europe/Paris", "Etc/Unknown")),
            "hours.zone",
        ),
        (
            format!("hours = {}", day.replace(", zone = \"Europe/Paris\"", "")),
            "hours.zone",
        ),
        (format!("hours = {}", day.replace("zone", "tz")), "hours.tz"),
    ] {
        let mistakes = hours(&wrong).unwrap_err();
        let key = format!("roles.web-admin.{key}");
        assert!(
            mistakes.iter().any(|mistake| mistake.key == key),
            "{wrong}: {mistakes:?}"
        );
    }
}

#[test]
fn a_role_says_what_has_to_be_stated_and_from_where_it_may_be_asked_for() {
    let conditions = |more: &str| {
        let policy = check_text("policy.toml", &format!("{GOOD}{more}"))?;
        Ok::<_, Vec<Mistake>>(
            policy.roles[&"web-admin".parse().unwrap()]
                .conditions
                .clone(),
        )
    };
    assert_eq!(conditions(""), Ok(Conditions::default()));
    let all = conditions(
        "ticket = \"required\"\nreason_at_least = 20\nasked_from = [\"2001:db8::/32\", \"10.0.0.0/8\", \"socket\"]\nstart_within = \"7d\"",
    )
    .unwrap();
    assert_eq!(all.ticket.unwrap().written(), "required");
    assert_eq!(all.reason_at_least, Some(20));
    assert_eq!(all.start_within_seconds, Some(7 * ONE_DAY));
    let networks = all.asked_from.unwrap().listed();
    assert_eq!(networks, ["socket", "10.0.0.0/8", "2001:db8::/32"]);
    for (wrong, key) in [
        ("ticket = \"OPS-(\"", "ticket"),
        ("ticket = true", "ticket"),
        ("ticket = \"\"", "ticket"),
        ("reason_at_least = 0", "reason_at_least"),
        ("reason_at_least = 501", "reason_at_least"),
        ("reason_at_least = \"20\"", "reason_at_least"),
        ("asked_from = []", "asked_from"),
        ("asked_from = \"10.0.0.0/8\"", "asked_from"),
        ("asked_from = [\"10.0.0.1/8\"]", "asked_from"),
        ("asked_from = [\"office\"]", "asked_from"),
        ("start_within = \"31d\"", "start_within"),
        ("start_within = true", "start_within"),
    ] {
        let mistakes = conditions(wrong).unwrap_err();
        let told: Vec<&str> = mistakes
            .iter()
            .map(|mistake| mistake.key.as_str())
            .collect();
        assert_eq!(told, [format!("roles.web-admin.{key}")], "{wrong}");
    }
}

#[test]
fn a_role_says_from_which_networks_its_logins_come_sixteen_at_most() {
    let limits = |more: &str| {
        let policy = check_text("policy.toml", &format!("{GOOD}{more}"))?;
        let role = policy.roles[&"web-admin".parse().unwrap()].clone();
        Ok::<_, Vec<Mistake>>(role.limits)
    };
    assert_eq!(limits(""), Ok(jit_grant::Limits::default()));
    let office = limits(r#"login_from = ["2001:db8::/32", "10.0.0.0/8", "192.0.2.7"]"#).unwrap();
    assert_eq!(
        office.login_from.unwrap().listed(),
        ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]
    );
    let numbered = |count: u8| {
        let all: Vec<_> = (0..count).map(|n| format!("10.{n}.0.0/16")).collect();
        format!("login_from = {all:?}")
    };
    assert!(limits(&numbered(16)).is_ok());
    for wrong in [
        numbered(17).as_str(),
        "login_from = []",
        "login_from = \"10.0.0.0/8\"",
        "login_from = [\"10.0.0.1/8\"]",
        "login_from = [\"office.example\"]",
        "login_from = [\"::ffff:10.0.0.0/104\"]",
        // Of a login there is no such thing.
        "login_from = [\"socket\"]",
    ] {
        let mistakes = limits(wrong).unwrap_err();
        let told: Vec<&str> = mistakes
            .iter()
            .map(|mistake| mistake.key.as_str())
            .collect();
        assert_eq!(told, ["roles.web-admin.login_from"], "{wrong}");
    }
}

#[test]
fn a_grant_opens_one_login_where_its_role_says_so() {
    let single_use = |more: &str| {
        let policy = check_text("policy.toml", &format!("{GOOD}{more}"))?;
        let limits = policy.roles[&"web-admin".parse().unwrap()].limits.clone();
        Ok::<_, Vec<Mistake>>(limits.single_use)
    };
    assert_eq!(single_use(""), Ok(false));
    assert_eq!(single_use("single_use = true"), Ok(true));
    assert_eq!(single_use("single_use = false"), Ok(false));
    let mistakes = single_use("single_use = 1").unwrap_err();
    assert_eq!(mistakes[0].key, "roles.web-admin.single_use");
}

#[test]
fn a_role_may_say_for_how_long_it_is_asked_where_nobody_does_and_no_longer_than_its_longest() {
    let default = |more: &str| {
        let policy = check_text("policy.toml", &format!("{GOOD}{more}"))?;
        Ok::<_, Vec<Mistake>>(policy.roles[&"web-admin".parse().unwrap()].default_seconds)
    };
    let longest =
        check_text("p", GOOD).unwrap().roles[&"web-admin".parse().unwrap()].longest_seconds;
    assert_eq!(default(""), Ok(None));
    assert_eq!(default("default = \"30m\""), Ok(Some(1_800)));
    let whole = format!("default = \"{longest}s\"");
    assert_eq!(default(&whole), Ok(Some(longest)));
    let longer = format!("default = \"{}s\"", longest + 1);
    for wrong in [
        longer.as_str(),
        "default = \"0s\"",
        "default = 30",
        "default = \"\"",
    ] {
        let mistakes = default(wrong).unwrap_err();
        let told: Vec<&str> = mistakes
            .iter()
            .map(|mistake| mistake.key.as_str())
            .collect();
        assert_eq!(told, ["roles.web-admin.default"], "{wrong}");
    }
}

#[test]
fn jobs_that_would_have_to_come_from_a_network_are_warned_of() {
    let warned = |actions: &str| {
        let policy = format!(
            "[roles.night]\nhosts = [\"db-1\"]\nactions = {actions}\nlongest = \"1h\"\nlogin_from = [\"10.0.0.0/8\"]\nmay_ask = {{ groups = [\"dbas\"] }}\napprove = {{ groups = [\"leads\"] }}\n"
        );
        let warnings = check_closely("policy.toml", &policy).unwrap().warnings;
        warnings
            .into_iter()
            .map(|told| (told.line, told.key))
            .collect::<Vec<_>>()
    };
    assert_eq!(warned("[\"ssh\"]"), []);
    let told = warned("[\"ssh\", \"jobs\"]");
    assert_eq!(told, [(5, "roles.night.login_from".to_owned())]);
}

#[test]
fn groups_of_a_grant_for_one_login_are_warned_of_and_either_alone_is_not() {
    let warned = |limits: &str| {
        let policy = format!(
            "[roles.logs]\nhosts = [\"db-1\"]\nactions = [\"ssh\"]\nlongest = \"1h\"\nmay_ask = {{ groups = [\"dbas\"] }}\napprove = {{ groups = [\"leads\"] }}\n{limits}"
        );
        let warnings = check_closely("policy.toml", &policy).unwrap().warnings;
        warnings
            .into_iter()
            .map(|told| (told.line, told.key))
            .collect::<Vec<_>>()
    };
    let groups = "groups = [\"adm\"]\n";
    for alone in [groups, "single_use = true\n"] {
        assert_eq!(warned(alone), []);
    }
    let told = warned(&format!("{groups}single_use = true\n"));
    assert_eq!(told, [(8, "roles.logs.single_use".to_owned())]);
}

#[test]
fn nobody_may_audit_who_is_not_named() {
    let policy = check_text("p", "may_audit = { users = [\"erin\"] }\n").unwrap();
    assert_eq!(policy.may_audit.users.len(), 1);
    assert!(policy.may_lock.is_empty());
    assert!(check_text("p", GOOD).unwrap().may_audit.is_empty());
    for wrong in ["{ users = [] }", "{ everybody = true }", "[\"erin\"]"] {
        let mistakes = check_text("p", &format!("\nmay_audit = {wrong}")).unwrap_err();
        assert!(mistakes[0].key.starts_with("may_audit"), "{wrong}");
        assert_eq!(mistakes[0].line, 2, "{wrong}");
    }
}

#[test]
fn what_is_allowed_and_unwise_is_warned_of_with_line_and_key() {
    let unwise = r#"
[roles.everything]
hosts = ["*"]
actions = ["ssh", "sudo"]
longest = "2d"
extendable = "1h"
extend_without_approval = true
may_ask = { users = ["alice", "bob"] }
approve = { users = ["bob"] }
"#;
    let checked = check_closely("policy.toml", unwise).unwrap();
    let told: Vec<(usize, &str)> = checked
        .warnings
        .iter()
        .map(|warning| (warning.line, warning.key.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (3, "roles.everything.hosts"),
            (5, "roles.everything.longest"),
            (7, "roles.everything.extend_without_approval"),
            (9, "roles.everything.approve"),
        ]
    );
    let pattern = check_closely("policy.toml", &unwise.replace(r#"["*"]"#, r#"["*-*"]"#)).unwrap();
    assert_eq!(pattern.warnings[0].key, "roles.everything.hosts");
    assert!(
        checked.warnings[3].problem.starts_with("bob may ask"),
        "alice has somebody to approve: {:?}",
        checked.warnings[3]
    );
}

#[test]
fn what_is_wise_is_not_warned_of() {
    for wise in [
        GOOD.to_owned(),
        format!("{GOOD}extendable = \"1h\""),
        GOOD.replace(r#"hosts = ["web-1", "web-2"]"#, r#"hosts = ["*"]"#)
            .replace(r#"["ssh", "sudo"]"#, r#"["ssh"]"#),
        GOOD.replace("4h", "1d"),
        GOOD.replace(r#"["web-1", "web-2"]"#, r#"["web-*"]"#),
        GOOD.replace(
            r#"hosts = ["web-1", "web-2"]"#,
            r#"labels = { env = "prod" }"#,
        ),
        GOOD.replace("groups = [\"developers\"]", "users = [\"bob\"]")
            .replace("count = 2", "count = 1"),
        GOOD.replace("groups = [\"developers\"]", "users = [\"bob\"]")
            .replace("users = [\"bob\", \"carol\"]", "groups = [\"leads\"]"),
    ] {
        let checked = check_closely("policy.toml", &wise).unwrap();
        assert_eq!(checked.warnings, [], "{wise}");
    }
}

#[test]
fn attributes_are_asked_for_beside_names_and_groups_or_alone() {
    let people = |people: &str| {
        let text = format!("may_lock = {people}\n");
        check_text("policy.toml", &text).map(|policy| policy.may_lock)
    };
    let user = |groups: &[&str], attributes: &str| UserSet {
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        attributes: serde_json::from_str(attributes).unwrap(),
        ..UserSet::new("alice".parse().unwrap(), "alice".parse().unwrap())
    };
    let on_call = r#"{"on_call":true,"team":"payments"}"#;
    for (named, groups, attributes, is) in [
        (
            r#"{ groups = ["leads"], attributes = { on_call = true } }"#,
            &["leads"][..],
            on_call,
            true,
        ),
        (
            r#"{ groups = ["leads"], attributes = { on_call = true } }"#,
            &[],
            on_call,
            false,
        ),
        (
            r#"{ groups = ["leads"], attributes = { on_call = true } }"#,
            &["leads"],
            "{}",
            false,
        ),
        (
            r#"{ users = ["alice"], attributes = { on_call = false } }"#,
            &[],
            on_call,
            false,
        ),
        (
            r#"{ users = ["bob"], attributes = { on_call = true } }"#,
            &[],
            on_call,
            false,
        ),
        (
            r#"{ attributes = { on_call = true, team = "payments" } }"#,
            &[],
            on_call,
            true,
        ),
        (
            r#"{ attributes = { on_call = true, team = "cards" } }"#,
            &["leads"],
            on_call,
            false,
        ),
        (r#"{ attributes = { on_call = false } }"#, &[], "{}", false),
        (r#"{ users = ["alice"] }"#, &[], "{}", true),
    ] {
        let may = people(named).unwrap().include(&user(groups, attributes));
        assert_eq!(may, is, "{named} {groups:?} {attributes}");
    }
    for (wrong, key) in [
        ("{ attributes = {} }", "may_lock.attributes"),
        (
            r#"{ users = ["bob"], attributes = {} }"#,
            "may_lock.attributes",
        ),
        // A list that was emptied must not come to everybody.
        (
            r#"{ groups = [], attributes = { on_call = true } }"#,
            "may_lock",
        ),
        (
            r#"{ users = [], attributes = { on_call = true } }"#,
            "may_lock",
        ),
        (
            r#"{ attributes = { on_call = 1 } }"#,
            "may_lock.attributes.on_call",
        ),
        (
            r#"{ attributes = { on_call = "true" } }"#,
            "may_lock.attributes.on_call",
        ),
        (
            r#"{ attributes = { "on call" = true } }"#,
            "may_lock.attributes.on call",
        ),
        (r#"{ attributes = "on_call" }"#, "may_lock.attributes"),
        (
            r#"{ attribute = { on_call = true } }"#,
            "may_lock.attribute",
        ),
    ] {
        let told = people(wrong).unwrap_err();
        assert!(
            told.iter().any(|told| told.line == 1 && told.key == key),
            "{wrong}: {told:?}"
        );
    }
}
