//! What hosts hold grants to: it is in the grant, and given only where the host says that it enforces it.

use jit_grant::{Bundle, Limits};

use super::*;
use crate::bundles::bundle;
use crate::workflow::{Outcome, Rule, Wish, explain};

const LIMITED: &str = r#"
[roles.office]
hosts = ["web-1"]
actions = ["ssh"]
longest = "1h"
extendable = "20m"
extend_without_approval = true
login_from = ["10.0.0.0/8"]
may_ask = { users = ["alice"] }
approve = { users = ["bob"] }
[roles.auto]
hosts = ["web-1"]
actions = ["ssh"]
longest = "1h"
login_from = ["10.0.0.0/8"]
may_ask = { users = ["alice"] }
approve = { auto = true, because = "they can only read logs" }
[roles.glass]
hosts = ["*"]
actions = ["ssh"]
longest = "1h"
login_from = ["10.0.0.0/8"]
may_ask = { users = ["alice"] }
break_glass = true
review = { users = ["bob"] }
"#;

fn limited() -> Policy {
    check_text("policy.toml", LIMITED).unwrap()
}

#[test]
fn a_grant_for_one_login_says_so_and_is_had_where_both_limits_are_enforced() {
    let policy = LIMITED.replace("login_from", "single_use = true\nlogin_from");
    let policy = check_text("policy.toml", &policy).unwrap();
    let mut history = History::new();
    for lacking in [&["login_from"][..], &["single_use"]] {
        history.announces(begin(), "web-1", lacking);
        let refused = history.wants_under(&policy, begin(), 0, ask("auto", 600));
        assert_eq!(code(refused), Some("host-cannot-enforce"));
    }
    history.announces(begin(), "web-1", &["login_from", "single_use"]);
    history
        .wants_under(&policy, begin(), 0, ask("auto", 600))
        .unwrap();
    let grant = told(&history).grants.pop().unwrap();
    assert!(grant.limits.single_use);
    assert_eq!(grant.crit, ["login_from", "single_use"]);
}

#[test]
fn a_grant_whose_logins_may_not_be_left_alone_says_so_and_is_extended_with_the_same_time_only() {
    let idle = |time: &str| {
        let policy = LIMITED.replace(
            "login_from = [\"10.0.0.0/8\"]",
            &format!("idle = \"{time}\""),
        );
        check_text("policy.toml", &policy).unwrap()
    };
    let mut history = History::new();
    history.announces(begin(), "web-1", &["login_from", "single_use"]);
    let refused = history.wants_under(&idle("15m"), begin(), 0, ask("office", 600));
    assert_eq!(code(refused), Some("host-cannot-enforce"));
    history.announces(begin(), "web-1", &["idle"]);
    let asked = history.wants_under(&idle("15m"), begin(), 0, ask("office", 600));
    asked.unwrap();
    let approved = history.wants_under(&idle("15m"), begin(), 1, approve(1, None));
    approved.unwrap();
    let grant = told(&history).grants.pop().unwrap();
    assert_eq!(grant.limits.idle.map(u32::from), Some(900));
    assert_eq!(grant.crit, ["idle"]);
    for (time, refused) in [("1h", Some("limits-changed")), ("15m", None)] {
        let extended = history.wants_under(&idle(time), begin(), 0, extend(1, 60));
        assert_eq!(code(extended), refused, "{time}");
    }
}

/// Roles of the same names without limits.
fn lifted() -> Policy {
    let mut policy = limited();
    for role in policy.roles.values_mut() {
        role.limits = Limits::default();
    }
    policy
}

fn told(history: &History) -> Bundle {
    let host = history.state.directory.host(&"web-1".parse().unwrap());
    bundle(&history.state, host.unwrap(), 7, begin())
}

fn code(result: Result<(), WorkflowError>) -> Option<&'static str> {
    result.err().map(|refused| refused.code().0)
}

#[test]
fn a_limit_of_the_role_is_in_the_grant_and_named_where_no_host_may_pass_over_it() {
    let mut history = History::new();
    history.announces(begin(), "web-1", &["login_from"]);
    let mut wants = |person, wanted| {
        let wanted = history.wants_under(&limited(), begin(), person, wanted);
        wanted.unwrap();
    };
    wants(0, ask("office", 600));
    wants(1, approve(1, None));
    wants(0, ask("auto", 600));
    wants(0, glass());
    let grants = told(&history).grants;
    assert_eq!(grants.len(), 3);
    for grant in grants {
        assert_eq!(grant.limits.login_from.unwrap().listed(), ["10.0.0.0/8"]);
        assert_eq!(grant.crit, ["login_from"]);
    }
    history
        .wants_under(&lifted(), begin(), 0, ask("office", 600))
        .unwrap();
    history
        .wants_under(&lifted(), begin(), 1, approve(4, None))
        .unwrap();
    let grant = told(&history).grants.pop().unwrap();
    assert!(grant.limits.are_none() && grant.crit.is_empty());
}

fn glass() -> Command {
    let Command::Ask(asked) = ask("glass", 600) else {
        unreachable!("it asks");
    };
    Command::Ask(Ask {
        hosts: BTreeSet::from(["web-1".parse().unwrap()]),
        ..asked
    })
}

#[test]
fn nothing_is_given_on_a_host_that_does_not_say_that_it_enforces_it() {
    for said in [None, Some(&[][..]), Some(&["keys", "single_use"])] {
        let mut history = History::new();
        if let Some(said) = said {
            history.announces(begin(), "web-1", said);
        }
        for wanted in [ask("office", 600), ask("auto", 600), glass()] {
            let refused = history.wants_under(&limited(), begin(), 0, wanted);
            assert_eq!(code(refused), Some("host-cannot-enforce"), "{said:?}");
        }
        history
            .wants_under(&lifted(), begin(), 0, ask("office", 600))
            .unwrap();
        let refused = history.wants_under(&limited(), begin(), 1, approve(1, None));
        assert_eq!(code(refused), Some("host-cannot-enforce"), "{said:?}");
        assert!(told(&history).grants.is_empty());
        history.announces(begin(), "web-1", &["login_from"]);
        history
            .wants_under(&limited(), begin(), 1, approve(1, None))
            .unwrap();
        assert_eq!(told(&history).grants.len(), 1);
    }
}

#[test]
fn one_host_of_several_that_does_not_enforce_it_is_one_too_many() {
    let mut history = History::new();
    history.announces(begin(), "web-1", &["login_from"]);
    let both = || ask("glass", 600);
    let refused = history.wants_under(&limited(), begin(), 0, both());
    assert!(
        refused
            .as_ref()
            .is_err_and(|why| why.to_string().contains("web-2")),
        "{refused:?}"
    );
    history.announces(begin(), "web-2", &["login_from"]);
    history.wants_under(&limited(), begin(), 0, both()).unwrap();
}

#[test]
fn a_host_enrolled_anew_enforces_nothing_until_it_has_said_so() {
    let mut history = History::new();
    history.announces(begin(), "web-1", &["login_from"]);
    let enrolled = history.entries.iter().find_map(|entry| match &entry.event {
        Event::HostEnrolled(host) if host.name.as_str() == "web-1" => Some(host.clone()),
        _ => None,
    });
    let again = Event::HostEnrolled(enrolled.unwrap());
    history.happened(begin(), &Actor::Administrator, again);
    let refused = history.wants_under(&limited(), begin(), 0, ask("office", 600));
    assert_eq!(code(refused), Some("host-cannot-enforce"));
}

#[test]
fn a_grant_is_extended_only_while_its_role_has_the_limits_that_it_was_given_with() {
    for (given_by, extended_by, refused) in [
        (limited(), limited(), None),
        (lifted(), lifted(), None),
        (limited(), lifted(), Some("limits-changed")),
        (lifted(), limited(), Some("limits-changed")),
    ] {
        let mut history = History::new();
        history.announces(begin(), "web-1", &["login_from"]);
        history
            .wants_under(&given_by, begin(), 0, ask("office", 600))
            .unwrap();
        history
            .wants_under(&given_by, begin(), 1, approve(1, None))
            .unwrap();
        let extended = history.wants_under(&extended_by, begin(), 0, extend(1, 60));
        assert_eq!(code(extended), refused);
    }
}

#[test]
fn a_grant_whose_login_outlives_its_elevations_is_not_extended_once_its_role_ends_them() {
    let ending = |ends: bool| {
        let mut policy = lifted();
        for role in policy.roles.values_mut() {
            role.end_login_with_elevation = ends;
        }
        policy
    };
    for (given_by, extended_by, refused) in [
        (false, true, Some("limits-changed")),
        (true, false, None),
        (true, true, None),
    ] {
        let (given_by, extended_by) = (ending(given_by), ending(extended_by));
        let mut history = History::new();
        for (person, wanted) in [(0, ask("office", 600)), (1, approve(1, None))] {
            history
                .wants_under(&given_by, begin(), person, wanted)
                .unwrap();
        }
        let extended = history.wants_under(&extended_by, begin(), 0, extend(1, 60));
        assert_eq!(code(extended), refused);
    }
}

#[test]
fn a_grant_of_before_there_were_limits_has_none() {
    let mut history = History::new();
    history
        .wants_under(&lifted(), begin(), 0, ask("office", 600))
        .unwrap();
    history
        .wants_under(&lifted(), begin(), 1, approve(1, None))
        .unwrap();
    let granted = history.entries.last().unwrap();
    let written = serde_json::to_value(granted).unwrap();
    assert!(written["event"].get("limits").is_none(), "{written}");
    assert_eq!(serde_json::from_value::<Entry>(written).unwrap(), *granted);
    let standing = r#"{"version":"0.1.0","gates":{"sshd":"enforce"}}"#;
    let standing: Standing = serde_json::from_str(standing).unwrap();
    assert!(standing.enforces.is_empty());
    assert!(
        !serde_json::to_string(&standing)
            .unwrap()
            .contains("enforces")
    );
}

#[test]
fn an_explanation_says_which_host_does_not_enforce_what() {
    let mut history = History::new();
    let told = |history: &History, policy: &Policy| {
        let role = "office".parse().unwrap();
        let wish = Wish {
            role: &role,
            hosts: &BTreeSet::from(["web-1".parse().unwrap()]),
            labels: &Labelled::default(),
            for_seconds: 600,
            not_before: None,
            ticket: None,
            reason: None,
            origin: None,
        };
        let alice = "alice".parse().unwrap();
        let explained = explain(&history.state, policy, begin(), &alice, &wish);
        let mut rules = explained.rules.into_iter();
        rules.find(|told| told.rule == Rule::HostsEnforce).unwrap()
    };
    let before = told(&history, &limited());
    assert_eq!(before.outcome, Outcome::Failed);
    assert!(
        before.words.contains("web-1") && before.words.contains("login_from"),
        "{}",
        before.words
    );
    assert_eq!(told(&history, &lifted()).outcome, Outcome::Met);
    history.announces(begin(), "web-1", &["login_from"]);
    let after = told(&history, &limited());
    assert_eq!(
        (after.outcome, after.words.as_str()),
        (Outcome::Met, "web-1 enforces login_from")
    );
}

#[test]
fn a_role_with_groups_is_had_where_they_are_given_and_extended_while_they_are_the_same() {
    let with = |groups: &str| {
        let text = LIMITED.replace("login_from = [\"10.0.0.0/8\"]", groups);
        check_text("policy.toml", &text).unwrap()
    };
    let adm = with("groups = [\"adm\"]");
    let mut history = History::new();
    history.announces(begin(), "web-1", &["login_from", "single_use"]);
    let refused = history.wants_under(&adm, begin(), 0, ask("office", 600));
    assert_eq!(code(refused), Some("host-cannot-enforce"));
    history.announces(begin(), "web-1", &["groups"]);
    for (person, wanted) in [(0, ask("office", 600)), (1, approve(1, None))] {
        history.wants_under(&adm, begin(), person, wanted).unwrap();
    }
    let grant = told(&history).grants.pop().unwrap();
    assert_eq!(grant.limits.groups.listed(), ["adm"]);
    assert_eq!(grant.crit, ["groups"]);
    for other in [
        with("groups = [\"adm\", \"www-data\"]"),
        with("groups = [\"www-data\"]"),
        lifted(),
    ] {
        let refused = history.wants_under(&other, begin(), 0, extend(1, 60));
        assert_eq!(code(refused), Some("limits-changed"));
    }
    history
        .wants_under(&adm, begin(), 0, extend(1, 60))
        .unwrap();
    assert_eq!(told(&history).grants[0].limits.groups.listed(), ["adm"]);
}
