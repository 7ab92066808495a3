//! What slips of the hand come to. A policy with a token or a line too few is refused or allows no more; one with a wrong character is
//! refused, or the one value in which it stands is another.
//!
//! What no check can tell from what somebody meant: a missing line `count = …` leaves one approval, a missing line with a stage leaves the
//! others and that of a condition none, an entry missing from a list of a denial lets in what it denied, one of `changes_need` lets root change all alone (where one was in force, others confirm that), and a cut from the midst of one role to the midst of another makes one role of both.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Serialize;

use super::super::document::{
    DenialDocument, LaterDocument, PeopleDocument, PolicyDocument, RoleDocument, WindowDocument,
};
use super::*;

const GOOD: &str = r#"may_lock = { groups = ["leads"] }
may_audit = { users = ["erin"], groups = ["auditors"] }
changes_need = { users = ["bob", "carol", "erin"], groups = ["security"], count = 2 }

[roles.web-admin]
description = "Fix the web servers"
hosts = [
    "web-1",
    "web-2",
]
actions = ["ssh", "sudo"]
longest = "4h"
default = "30m"
extendable = "30m"
extend_without_approval = false
may_ask = { users = ["alice", "erin"], groups = ["developers"] }
pending_for = "12h"

[roles.web-admin.approve]
users = ["bob"]
groups = ["leads"]
count = 2
attributes = { on_call = true }
then = [{ after = "30m", groups = ["managers"], attributes = { site = "berlin" } }]

[roles.anywhere]
hosts = ["*"]
actions = ["ssh"]
longest = "1h"
may_ask = { users = ["erin"] }
approve = [
    { users = ["bob", "carol"], count = 2 },
    { groups = ["leads"], same_person_again = true },
]
end_login_with_elevation = true
hours = [
    { days = ["mon", "wed-fri"], from = "22:00", to = "06:00", zone = "America/New_York" },
    { days = ["sat-sun"], from = "00:00", to = "24:00", zone = "UTC" },
]
overrun = true
start_within = "7d"

[roles.labelled]
hosts = ["web-*"]
hours = { days = ["mon-fri"], from = "08:00", to = "18:00", zone = "Europe/Paris" }
ticket = "OPS-[0-9]+"
reason_at_least = 20
asked_from = ["10.0.0.0/8", "socket"]
login_from = ["10.1.0.0/16", "2001:db8::/32"]
single_use = true
idle = "15m"
groups = ["adm", "www-data"]
labels = { env = "prod", tier = ["web", "api"] }
actions = ["ssh"]
longest = "1h"
may_ask = { users = ["erin"] }
approve = { users = ["bob", "carol"], count = 2 }

[roles.break-glass]
hosts = ["web-1"]
actions = ["ssh", "sudo"]
longest = "1h"
may_ask = { groups = ["developers"], attributes = { on_call = true, team = "payments" } }
break_glass = true
review = { users = ["carol"], groups = ["security"] }
review_within = "12h"

[denials.off-card-data]
because = "card data is for employees"
people = { groups = ["contractors"] }
except = { users = ["erin"], groups = ["cleared"] }
hosts = ["db-*"]
actions = ["sudo", "su"]

[denials.off-card-data.labels]
env = "pci"
"#;

/// Entries of a denial's lists without which it denies less, as nobody but its author knows.
const DENYING: [&str; 1] = ["\"su\""];

/// Lines without which a role allows more, and in what: nobody but its author knows whether they were meant.
const RESTRICTING: [(&str, &str); 13] = [
    ("changes_need = ", "changes_need"),
    ("count = 2", "count"),
    ("    { groups", "stages"),
    ("attributes = ", "approve"),
    ("labels = ", "labels"),
    ("hours = {", "hours"),
    ("ticket = ", "ticket"),
    ("reason_at_least = ", "reason_at_least"),
    ("asked_from = ", "asked_from"),
    ("login_from = ", "login_from"),
    ("single_use = ", "single_use"),
    ("idle = ", "idle"),
    // Beside labels names are a condition, too.
    ("hosts = [\"web-*\"]", "hosts"),
];

fn good() -> PolicyDocument {
    PolicyDocument::from(&check_text("policy.toml", GOOD).unwrap())
}

/// What `text` says, or None where it is refused as it should be: with lines that it has.
fn said(text: &str) -> Option<PolicyDocument> {
    match check_text("policy.toml", text) {
        Ok(policy) => Some(PolicyDocument::from(&policy)),
        Err(mistakes) => {
            let lines = text.split('\n').count();
            assert!(!mistakes.is_empty(), "{text}");
            for mistake in mistakes {
                assert!((1..=lines).contains(&mistake.line), "{mistake}: {text}");
                assert!(!mistake.problem.is_empty(), "{mistake}: {text}");
            }
            None
        }
    }
}

/// Where tokens of TOML are: strings, words, punctuation.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at + 1..];
        let word = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let more = match first {
            '"' => rest.find('"').unwrap() + 1,
            _ if word(first) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            _ => 0,
        };
        if first != ' ' {
            tokens.push(at..at + 1 + more);
        }
        at += 1 + more;
    }
    tokens
}

fn without(range: &Range<usize>) -> String {
    format!("{}{}", &GOOD[..range.start], &GOOD[range.end..])
}

fn among(fewer: &[String], more: &[String]) -> bool {
    fewer.iter().all(|one| more.contains(one))
}

/// By name and by group; attributes alone are everybody who has them. And whatever attributes were asked for still are.
fn people_among(fewer: &PeopleDocument, more: &PeopleDocument) -> bool {
    let anybody = |people: &PeopleDocument| {
        people.users.is_empty() && people.groups.is_empty() && !people.attributes.is_empty()
    };
    let named = among(&fewer.users, &more.users) && among(&fewer.groups, &more.groups);
    let mut attributes = more.attributes.iter();
    let asked = attributes.all(|(name, value)| fewer.attributes.get(name) == Some(value));
    asked && (anybody(more) || (named && !anybody(fewer)))
}

/// Every key that hosts had to have they still must, with no other values.
fn labels_narrower(after: &RoleDocument, before: &RoleDocument) -> bool {
    let mut labels = before.labels.iter();
    labels.all(|(key, values)| {
        let now = after.labels.get(key);
        now.is_some_and(|now| among(now, values))
    })
}

/// No window but those that were there, on no other days. In this policy days are lost one entry at a time.
fn hours_narrower(after: &RoleDocument, before: &RoleDocument) -> bool {
    let was = |window: &WindowDocument| {
        before.hours.iter().any(|before| {
            let days = before.days.clone();
            among(&window.days, &days)
                && WindowDocument {
                    days,
                    ..window.clone()
                } == *before
        })
    };
    before.hours.is_empty() || (!after.hours.is_empty() && after.hours.iter().all(was))
}

fn networks_narrower(after: Option<&Vec<String>>, before: Option<&Vec<String>>) -> bool {
    before.is_none_or(|before| after.is_some_and(|after| among(after, before)))
}

fn later_among(fewer: &[LaterDocument], more: &[LaterDocument]) -> bool {
    fewer.iter().all(|one| {
        more.iter().any(|other| {
            other.after_seconds <= one.after_seconds
                && people_among(&one.approvers, &other.approvers)
        })
    })
}

/// In what `after` allows more than `before`.
fn wider(before: &RoleDocument, after: &RoleDocument) -> Vec<&'static str> {
    let alone = |role: &RoleDocument| role.extend_without_approval;
    let narrower = [
        ("hosts", among(&after.hosts, &before.hosts)),
        ("labels", labels_narrower(after, before)),
        ("hours", hours_narrower(after, before)),
        (
            "ticket",
            before.ticket.is_none() || after.ticket == before.ticket,
        ),
        (
            "reason_at_least",
            after.reason_at_least >= before.reason_at_least,
        ),
        (
            "asked_from",
            networks_narrower(after.asked_from.as_ref(), before.asked_from.as_ref()),
        ),
        (
            "login_from",
            networks_narrower(after.login_from.as_ref(), before.login_from.as_ref()),
        ),
        ("single_use", after.single_use >= before.single_use),
        (
            "idle",
            before.idle_seconds.is_none()
                || after
                    .idle_seconds
                    .is_some_and(|_| after.idle_seconds <= before.idle_seconds),
        ),
        ("groups", among(&after.groups, &before.groups)),
        ("overrun", after.overrun <= before.overrun),
        (
            "start_within",
            after.start_within_seconds <= before.start_within_seconds,
        ),
        ("actions", among(&after.actions, &before.actions)),
        ("longest", after.longest_seconds <= before.longest_seconds),
        (
            "extendable",
            after.extendable_seconds <= before.extendable_seconds,
        ),
        ("extend_without_approval", alone(after) <= alone(before)),
        ("may_ask", people_among(&after.may_ask, &before.may_ask)),
        ("auto", after.auto.is_none() || before.auto.is_some()),
        (
            "break_glass",
            after.break_glass.is_none() || before.break_glass.is_some(),
        ),
        ("stages", after.stages.len() >= before.stages.len()),
    ];
    let stages = before.stages.iter().zip(&after.stages);
    let stages = stages.flat_map(|(before, after)| {
        [
            ("approve", people_among(&after.approvers, &before.approvers)),
            ("count", after.count >= before.count),
            ("then", later_among(&after.later, &before.later)),
            (
                "same_person_again",
                after.same_person_again <= before.same_person_again,
            ),
        ]
    });
    let all = narrower.into_iter().chain(stages);
    let wider = all.filter(|(_, narrower)| !narrower);
    wider.map(|(key, _)| key).collect()
}

/// True where `after` denies all that `before` does.
fn denies_no_less(before: &DenialDocument, after: &DenialDocument) -> bool {
    let for_all = |before: Option<&PeopleDocument>, after: Option<&PeopleDocument>| {
        after.is_none_or(|after| before.is_some_and(|before| people_among(before, after)))
    };
    let mut labels = after.labels.iter();
    let all = after.hosts == ["*"];
    for_all(before.people.as_ref(), after.people.as_ref())
        && after.except.as_ref().is_none_or(|after| {
            let before = before.except.as_ref();
            before.is_some_and(|before| people_among(after, before))
        })
        && (all || among(&before.hosts, &after.hosts))
        && labels.all(|(key, values)| {
            let before = before.labels.get(key);
            before.is_some_and(|before| among(before, values))
        })
        && after.actions.as_ref().is_none_or(|after| {
            let before = before.actions.as_ref();
            before.is_some_and(|before| among(before, after))
        })
}

/// In what the whole of `after` allows more than the good policy.
fn wider_in_all(after: &PolicyDocument) -> Vec<&'static str> {
    let before = good();
    let mut all = Vec::new();
    for role in &after.roles {
        match before.roles.iter().find(|same| same.name == role.name) {
            Some(same) => all.extend(wider(same, role)),
            None => all.push("roles"),
        }
    }
    if !people_among(&after.may_lock, &before.may_lock) {
        all.push("may_lock");
    }
    if !people_among(&after.may_audit, &before.may_audit) {
        all.push("may_audit");
    }
    let confirmed = after
        .changes_need
        .as_ref()
        .zip(before.changes_need.as_ref());
    let narrower = confirmed.is_some_and(|(after, before)| {
        people_among(&after.people, &before.people) && after.count >= before.count
    });
    if !narrower {
        all.push("changes_need");
    }
    for denial in &before.denials {
        let same = after.denials.iter().find(|same| same.name == denial.name);
        if !same.is_some_and(|same| denies_no_less(denial, same)) {
            all.push("denials");
        }
    }
    all
}

#[test]
fn a_policy_with_a_token_too_few_is_refused_or_allows_no_more() {
    let all = tokens(GOOD);
    let told: Vec<Option<PolicyDocument>> = all.iter().map(|token| said(&without(token))).collect();
    let refused = told.iter().filter(|told| told.is_none()).count();
    assert!(refused > 100 && refused < all.len(), "{refused}");
    for (token, told) in all.iter().zip(&told) {
        let wider = told.as_ref().map_or_else(Vec::new, wider_in_all);
        let lost = &GOOD[token.clone()];
        let of_denial = GOOD.find("[denials").is_some_and(|at| token.start > at);
        let expected: &[&str] = if of_denial && DENYING.contains(&lost) {
            &["denials"]
        } else {
            &[]
        };
        assert_eq!(wider, expected, "without {lost:?}");
    }
}

#[test]
fn a_policy_with_a_line_too_few_is_refused_or_allows_no_more_unless_the_line_is_a_count_a_stage_or_a_condition()
 {
    let mut at = 0;
    let mut taken = BTreeSet::new();
    for line in GOOD.split_inclusive('\n') {
        let cut = at..at + line.len();
        at = cut.end;
        for text in [
            without(&cut),
            format!("{}# {}", &GOOD[..cut.start], &GOOD[cut.start..]),
        ] {
            let Some(told) = said(&text) else { continue };
            let mut expected = RESTRICTING.into_iter();
            let expected = expected.find(|(restricting, _)| line.starts_with(restricting));
            let expected: Vec<&str> = expected.into_iter().map(|(_, key)| key).collect();
            assert_eq!(wider_in_all(&told), expected, "without {line:?}");
            taken.insert(line);
        }
    }
    for (restricting, _) in RESTRICTING {
        assert!(
            taken.iter().any(|line| line.starts_with(restricting)),
            "{restricting}"
        );
    }
    assert!(taken.contains("    \"web-1\",\n"));
}

fn differing_tables<T: PartialEq + Serialize>(before: &[T], after: &[T]) -> usize {
    let other = |tables: &[T], than: &[T]| {
        let other = tables.iter().filter(|table| !than.contains(table));
        other
            .map(|table| serde_json::to_value(table).unwrap())
            .collect::<Vec<_>>()
    };
    let (was, is) = (other(before, after), other(after, before));
    assert_eq!(was.len(), is.len(), "{is:?}");
    let values = was.iter().zip(&is).flat_map(|(was, is)| {
        let values = was.as_object().unwrap().iter();
        values.filter(|(key, value)| is[key.as_str()] != **value)
    });
    values.count()
}

/// How many values of `after` are others than those of `before`. A role or denial by another name is the one that is missing, renamed.
fn differing(before: &PolicyDocument, after: &PolicyDocument) -> usize {
    differing_tables(&before.roles, &after.roles)
        + differing_tables(&before.denials, &after.denials)
        + usize::from(before.may_lock != after.may_lock)
        + usize::from(before.may_audit != after.may_audit)
        + usize::from(before.changes_need != after.changes_need)
}

#[test]
fn a_policy_with_a_wrong_character_is_refused_or_one_value_of_it_is_another() {
    const CHARACTERS: [&str; 10] = ["", "x", "9", "\"", "[", "}", "=", "#", "\n", "\u{e9}"];
    let before = good();
    let (mut refused, mut others) = (0, 0);
    for (at, character) in (0..GOOD.len()).flat_map(|at| CHARACTERS.map(|one| (at, one))) {
        // Before what is there, and in its place.
        for end in [at, at + 1] {
            let text = format!("{}{character}{}", &GOOD[..at], &GOOD[end..]);
            let Some(after) = said(&text) else {
                refused += 1;
                continue;
            };
            let changes = differing(&before, &after);
            assert!(changes <= 1, "{changes} changes: {text}");
            others += changes;
        }
    }
    assert!(
        refused > 5_000 && others > 500,
        "{refused} refused, {others} others"
    );
}
