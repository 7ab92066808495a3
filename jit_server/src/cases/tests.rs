//! What comes of cases, and what is told of files that are none.

use super::*;
use crate::policy::check_text;

const POLICY: &str = r#"
[roles.web-admin]
hosts = ["web-1"]
actions = ["ssh", "sudo"]
longest = "4h"
may_ask = { groups = ["developers"] }
approve = { groups = ["leads"], count = 2 }
"#;

const GROUPS: &str = r#"
[groups]
developers = ["alice", "bob"]
leads = ["bob", "carol", "dave"]
"#;

/// Whether the case, with `more` lines, comes out as it expects, and with which code it was refused.
fn played(more: &str) -> (bool, Option<&'static str>) {
    played_under(POLICY, more)
}

fn played_under(policy: &str, more: &str) -> (bool, Option<&'static str>) {
    let text = format!("{GROUPS}[[case]]\nrole = \"web-admin\"\n{more}");
    let cases = read("cases.toml", &text).unwrap();
    let policy = check_text("policy.toml", policy).unwrap();
    let came = run(&policy, &cases, &cases.cases[0]).unwrap();
    let code = came.refusal.as_ref().map(|refusal| refusal.code().0);
    (came.fits(&cases.cases[0]), code)
}

#[test]
fn a_case_without_a_time_is_for_the_role_s_and_where_there_is_none_says_so() {
    let text = format!(
        "{GROUPS}[[case]]\nwho = \"alice\"\nrole = \"web-admin\"\nhost = \"web-1\"\nexpect = \"pending\"\n"
    );
    let cases = read("cases.toml", &text).unwrap();
    let came = |policy: &str| {
        let policy = check_text("policy.toml", policy).unwrap();
        run(&policy, &cases, &cases.cases[0])
    };
    let told = came(POLICY).unwrap_err();
    assert!(told.contains("for = "), "{told}");
    let came = came(&format!("{POLICY}default = \"20m\"\n")).unwrap();
    assert!(came.fits(&cases.cases[0]));
    assert_eq!(came.for_seconds, 1_200);
}

#[test]
fn a_case_for_a_role_with_limits_needs_no_host_that_enforces_them() {
    let policy =
        format!("{POLICY}login_from = [\"10.0.0.0/8\"]\nsingle_use = true\nidle = \"15m\"\n");
    let case = "who = \"alice\"\nhost = \"web-1\"\nfor = \"1h\"\napproved_by = [\"bob\", \"carol\"]\nexpect = \"approved\"\n";
    assert_eq!(played_under(&policy, case), (true, None));
}

#[test]
fn a_case_comes_out_as_the_workflow_decides() {
    for (case, came) in [
        (
            r#"who = "alice", host = "web-1", for = "1h", expect = "pending""#,
            (true, None),
        ),
        (
            r#"who = "alice", host = "web-1", for = "1h", expect = "approved""#,
            (false, None),
        ),
        (
            r#"who = "alice", host = "web-1", for = "1h", approved_by = ["bob"], expect = "pending""#,
            (true, None),
        ),
        (
            r#"who = "alice", host = "web-1", for = "1h", approved_by = ["bob", "carol"], expect = "approved""#,
            (true, None),
        ),
        (
            r#"who = "bob", host = "web-1", for = "1h", approved_by = ["bob", "carol"], expect = "refused", code = "own-request""#,
            (true, Some("own-request")),
        ),
        (
            r#"who = "carol", host = "web-1", for = "1h", expect = "refused", code = "may-not-ask""#,
            (true, Some("may-not-ask")),
        ),
        (
            r#"who = "erin", host = "web-1", for = "1h", expect = "refused""#,
            (true, Some("may-not-ask")),
        ),
        (
            r#"who = "alice", host = "web-2", for = "1h", expect = "refused", code = "too-long""#,
            (false, Some("host-not-in-role")),
        ),
        (
            r#"who = "alice", host = "web-1", for = "5h", expect = "refused", code = "too-long""#,
            (true, Some("too-long")),
        ),
        (
            r#"who = "alice", host = "web-1", for = "1h", approved_by = ["erin"], expect = "refused", code = "may-not-approve""#,
            (true, Some("may-not-approve")),
        ),
    ] {
        // Commas between keys of a line are for reading here.
        let lines = case
            .replace("\", \"carol", "\",\"carol")
            .replace(", ", "\n");
        assert_eq!(played(&lines), came, "{case}");
    }
}

#[test]
fn a_case_says_which_labels_its_host_has() {
    let policy = POLICY.replace(r#"hosts = ["web-1"]"#, r#"labels = { env = "prod" }"#);
    let came = |labels: &str| {
        let case = r#"who = "alice", host = "any-1", for = "1h", expect = "pending""#;
        played_under(&policy, &format!("{}\n{labels}", case.replace(", ", "\n")))
    };
    assert_eq!(
        came(r#"labels = { env = "prod", site = "x" }"#),
        (true, None)
    );
    assert_eq!(came(""), (false, Some("host-not-in-role")));
}

#[test]
fn a_case_happens_at_its_time() {
    let hours =
        r#"hours = { days = ["mon-fri"], from = "08:00", to = "18:00", zone = "Europe/Paris" }"#;
    let policy = format!("{POLICY}{hours}");
    let case = "who = \"alice\"\nhost = \"web-1\"\nfor = \"1h\"\nexpect = \"pending\"\n";
    let came = |at: &str| played_under(&policy, &format!("{case}at = \"{at}\""));
    assert_eq!(came("2026-11-30T09:00[Europe/Paris]"), (true, None));
    assert_eq!(came("2026-11-30T17:30:00Z"), (false, Some("outside-hours")));
    let text = format!("{GROUPS}[[case]]\nrole = \"web-admin\"\n{case}");
    let cases = read("cases.toml", &text).unwrap();
    let policy = check_text("policy.toml", &policy).unwrap();
    let untold = run(&policy, &cases, &cases.cases[0]).unwrap_err();
    assert!(untold.contains("says not when"), "{untold}");
}

#[test]
fn a_case_that_says_when_it_begins_says_when_it_happens() {
    let policy = check_text("policy.toml", &format!("{POLICY}start_within = \"7d\"\n")).unwrap();
    let case = "role = \"web-admin\"\nwho = \"alice\"\nhost = \"web-1\"\nfor = \"1h\"\nexpect = \"pending\"\n";
    let text = format!("{GROUPS}[[case]]\n{case}from = \"2026-11-30T09:00:00Z\"\n");
    let cases = read("cases.toml", &text).unwrap();
    let untold = run(&policy, &cases, &cases.cases[0]).unwrap_err();
    assert!(untold.contains("not when it happens"), "{untold}");
}

#[test]
fn a_case_states_what_a_request_states() {
    let policy = format!(
        "{POLICY}ticket = \"OPS-[0-9]+\"\nreason_at_least = 400\nasked_from = [\"10.0.0.0/8\"]\nstart_within = \"7d\"\n"
    );
    let case = "who = \"alice\"\nhost = \"web-1\"\nfor = \"1h\"\nexpect = \"pending\"\n";
    let came = |more: &str| played_under(&policy, &format!("{case}{more}"));
    let fits = "ticket = \"OPS-1\"\nfrom_address = \"10.1.2.3\"\n";
    assert_eq!(
        came(fits),
        (true, None),
        "any reason is long enough unless said"
    );
    assert_eq!(
        came("from_address = \"10.1.2.3\""),
        (false, Some("needs-ticket"))
    );
    assert_eq!(
        came("ticket = \"OPS-1\""),
        (false, Some("asked-from-elsewhere"))
    );
    let reason = format!("{fits}reason = \"disk full\"");
    assert_eq!(came(&reason), (false, Some("reason-too-short")));
    let start = |from: &str| format!("{fits}at = \"2026-11-30T09:00:00Z\"\nfrom = \"{from}\"");
    assert_eq!(came(&start("2026-12-07T09:00:00Z")), (true, None));
    assert_eq!(
        came(&start("2026-12-07T09:00:01Z")),
        (false, Some("start-too-far"))
    );
}

#[test]
fn every_mistake_of_a_file_of_cases_is_told_with_line_and_key() {
    let wrong = r#"
[groups]
Leads = ["bob"]
[[case]]
who = "alice"
role = "web-admin"
host = "web-1"
for = "soon"
expect = "granted"
[[case]]
who = "alice"
role = "web-admin"
host = "web-1"
for = "1h"
expect = "pending"
code = "too-long"
until = "1h"
"#;
    let mistakes = read("cases.toml", wrong).unwrap_err();
    let told: Vec<(usize, &str)> = mistakes.iter().map(|m| (m.line, m.key.as_str())).collect();
    assert_eq!(
        told,
        [
            (3, "groups.Leads"),
            (8, "case.1.for"),
            (9, "case.1.expect"),
            (16, "case.2.code"),
            (17, "case.2.until"),
        ]
    );
}

#[test]
fn a_file_without_a_case_is_wrong() {
    for nothing in ["", GROUPS] {
        let mistakes = read("cases.toml", nothing).unwrap_err();
        assert_eq!(mistakes[0].key, "case");
    }
}

#[test]
fn cases_approve_in_the_order_in_which_they_name_people() {
    let staged = POLICY.replace(
        r#"{ groups = ["leads"], count = 2 }"#,
        r#"[{ users = ["carol"] }, { groups = ["leads"] }, { users = ["carol"], same_person_again = true }]"#,
    );
    let policy = check_text("policy.toml", &staged).unwrap();
    for (approved_by, came) in [
        (r#"["carol", "bob", "carol"]"#, Outcome::Approved),
        (r#"["carol", "bob"]"#, Outcome::Pending),
        (r#"["bob", "carol"]"#, Outcome::Refused),
    ] {
        let text = format!(
            "{GROUPS}[[case]]\nrole = \"web-admin\"\nwho = \"alice\"\nhost = \"web-1\"\nfor = \"1h\"\napproved_by = {approved_by}\nexpect = \"pending\"\n"
        );
        let cases = read("cases.toml", &text).unwrap();
        let played = run(&policy, &cases, &cases.cases[0]).unwrap();
        assert_eq!(played.outcome, came, "{approved_by}");
    }
}

#[test]
fn cases_can_wait_until_a_stage_falls_to_others_or_the_request_has_lapsed() {
    let later = POLICY.replace(
        r#"{ groups = ["leads"], count = 2 }"#,
        r#"{ users = ["carol"], then = [{ after = "30m", users = ["dave"] }] }"#,
    );
    let policy = check_text("policy.toml", &later).unwrap();
    for (approved_after, came, code) in [
        ("", Outcome::Refused, Some("other-stage")),
        (
            "approved_after = \"29m\"",
            Outcome::Refused,
            Some("other-stage"),
        ),
        ("approved_after = \"30m\"", Outcome::Approved, None),
        (
            "approved_after = \"1d\"",
            Outcome::Refused,
            Some("not-pending"),
        ),
    ] {
        let text = format!(
            "{GROUPS}[[case]]\nrole = \"web-admin\"\nwho = \"alice\"\nhost = \"web-1\"\nfor = \"1h\"\napproved_by = [\"dave\"]\nexpect = \"pending\"\n{approved_after}\n"
        );
        let cases = read("cases.toml", &text).unwrap();
        let played = run(&policy, &cases, &cases.cases[0]).unwrap();
        let told = played.refusal.as_ref().map(|refusal| refusal.code().0);
        assert_eq!((played.outcome, told), (came, code), "{approved_after}");
    }
}

#[test]
fn a_case_is_played_with_the_attributes_of_its_users() {
    let policy = r#"
[roles.web-admin]
hosts = ["web-1"]
actions = ["ssh"]
longest = "4h"
may_ask = { groups = ["developers"], attributes = { on_call = true } }
approve = { attributes = { level = "2" } }
"#;
    let played = |attributes: &str, case: &str| {
        let text = format!(
            "{GROUPS}{attributes}[[case]]\nrole = \"web-admin\"\nhost = \"web-1\"\nfor = \"1h\"\n{case}"
        );
        let cases = read("cases.toml", &text).unwrap();
        let policy = check_text("policy.toml", policy).unwrap();
        let came = run(&policy, &cases, &cases.cases[0]).unwrap();
        assert!(came.fits(&cases.cases[0]), "{came:?}");
        let asked = came
            .explained
            .rules
            .into_iter()
            .find(|told| told.rule == crate::workflow::Rule::MayAsk);
        asked.unwrap().words
    };
    let attributes = "[attributes]\nalice = { on_call = true }\nzoe = { level = \"2\" }\n";
    let approved = "who = \"alice\"\napproved_by = [\"zoe\"]\nexpect = \"approved\"\n";
    let words = played(attributes, approved);
    assert_eq!(
        words,
        "alice may ask for it, by group developers, with on_call=true"
    );
    let words = played(
        "",
        "who = \"alice\"\nexpect = \"refused\"\ncode = \"may-not-ask\"\n",
    );
    assert_eq!(
        words,
        "may_ask asks for on_call=true, and not all of that is so of alice"
    );
    played(
        attributes,
        "who = \"alice\"\napproved_by = [\"bob\"]\nexpect = \"refused\"\ncode = \"may-not-approve\"\n",
    );
    let wrong = read(
        "cases.toml",
        "[attributes]\nalice = { on_call = 1 }\n[[case]]\n",
    )
    .unwrap_err();
    assert_eq!(
        (wrong[0].line, wrong[0].key.as_str()),
        (2, "attributes.alice.on_call")
    );
}

#[test]
fn whoever_approves_may_come_later_than_the_one_before_him() {
    let policy = POLICY.replace(
        r#"approve = { groups = ["leads"], count = 2 }"#,
        r#"approve = [{ groups = ["leads"] }, { users = ["erin"], then = [{ after = "30m", groups = ["leads"] }] }]"#,
    );
    let came = |approved_by: &str| {
        let case = "who = \"alice\"\nhost = \"web-1\"\nfor = \"1h\"\nexpect = \"approved\"\n";
        played_under(&policy, &format!("{case}approved_by = {approved_by}\n"))
    };
    assert_eq!(came(r#"["carol", "dave"]"#), (false, Some("other-stage")));
    assert_eq!(
        came(r#"["carol", { who = "dave", after = "30m" }]"#),
        (true, None)
    );
    // From when the stage is due, and not from the request on.
    assert_eq!(
        came(r#"[{ who = "carol", after = "10m" }, { who = "dave", after = "30m" }]"#),
        (false, Some("other-stage"))
    );
}

#[test]
fn approvers_of_a_case_come_in_the_order_of_time() {
    let mistakes = |approved_by: &str| {
        let case = "[[case]]\nwho = \"alice\"\nrole = \"web-admin\"\nhost = \"web-1\"\nfor = \"1h\"\nexpect = \"pending\"\n";
        let text = format!("{GROUPS}{case}approved_after = \"1h\"\napproved_by = {approved_by}\n");
        let mistakes = read("cases.toml", &text).unwrap_err();
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (approved_by, told) in [
        (r#"[{ who = "bob", after = "30m" }]"#, "order of time"),
        (r#"[{ who = "bob" }]"#, "after"),
        (
            r#"[{ who = "bob", after = "2h", before = "3h" }]"#,
            "before",
        ),
        (r#""bob""#, "a list"),
        (r#"["Bob!"]"#, "Bob!"),
    ] {
        let all = mistakes(approved_by);
        assert!(
            all.iter().any(|one| one.contains(told)),
            "{approved_by}: {all:?}"
        );
        assert!(all.iter().all(|one| one.contains("cases.toml:")), "{all:?}");
    }
}

#[test]
fn a_case_knows_ends_of_people_s_time_and_service_accounts() {
    let came = |before: &str, case: &str| {
        let case =
            format!("[[case]]\nrole = \"web-admin\"\nhost = \"web-1\"\nfor = \"1h\"\n{case}");
        let cases = read("cases.toml", &format!("{before}{GROUPS}{case}")).unwrap();
        let policy = check_text("policy.toml", POLICY).unwrap();
        let came = run(&policy, &cases, &cases.cases[0])?;
        Ok::<_, String>((came.outcome, came.refusal.map(|refusal| refusal.code().0)))
    };
    let asked = "who = \"alice\"\nexpect = \"refused\"\n";
    let until = "until = { alice = \"2026-12-31\" }\n";
    assert!(came(until, asked).unwrap_err().contains("alice"));
    let on = |day: &str| came(until, &format!("{asked}at = \"{day}T09:00:00Z\"\n")).unwrap();
    assert_eq!(on("2026-12-31"), (Outcome::Pending, None));
    assert_eq!(on("2027-01-01"), (Outcome::Refused, Some("user-ended")));
    let approved = "who = \"alice\"\napproved_by = [\"carol\"]\nexpect = \"refused\"\n";
    assert_eq!(
        came("services = [\"carol\"]\n", approved).unwrap(),
        (Outcome::Refused, Some("may-not-approve"))
    );
}
