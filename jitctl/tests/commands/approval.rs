//! What people are shown of who approves, of what nobody has to, and of what they have to review.
use crate::documents::{approved, grant, in_minutes, request};
use crate::support::Host;
use serde_json::json;

#[test]
fn a_request_in_stages_is_shown_with_who_could_approve_each() {
    let host = Host::new().with_server();
    let mut waiting = request("pending");
    waiting["stage"] = json!(2);
    waiting["stages"] = json!([
        { "approvers": { "users": [], "groups": ["leads"] }, "needed": 1, "approved_by": ["bob"], "able": ["carol"] },
        { "approvers": { "users": ["dave", "erin"], "groups": [] }, "needed": 2, "approved_by": [], "able": ["dave", "erin"],
          "later": [{ "approvers": { "users": [], "groups": ["managers"] }, "after_seconds": 1800, "from": "2026-11-20T10:30:00Z" }] },
    ]);
    host.server_says("GET /v1/requests/r17", 200, waiting.clone());
    host.server_says("GET /v1/requests", 200, json!([waiting]));
    let shown = host.jitctl(&["show", "r17"]).out;
    let first = shown.lines().find(|line| line.starts_with("1 ")).unwrap();
    let words: Vec<_> = first.split("  ").filter(|word| !word.is_empty()).collect();
    let words: Vec<_> = words.into_iter().map(str::trim).collect();
    assert_eq!(words, ["1", "1 of group leads", "bob", "carol"], "{shown}");
    assert!(
        shown.contains("2, due  2 of dave, erin, now also group managers"),
        "{shown}"
    );
    let listed = host.jitctl(&["list", "requests"]).out;
    assert!(
        listed.contains("0 of 2 approvals in stage 2 of 2"),
        "{listed}"
    );
}

#[test]
fn an_approval_that_counts_no_more_is_not_counted_in_a_list() {
    let host = Host::new().with_server();
    let mut waiting = request("pending");
    waiting["approvals"] =
        json!([{ "by": "bob", "at": "2026-11-20T10:05:00Z", "stage": 1, "comment": null }]);
    waiting["stage"] = json!(1);
    waiting["stages"] = json!([
        { "approvers": { "users": [], "groups": ["leads"] }, "needed": 1, "approved_by": [], "able": null },
    ]);
    host.server_says("GET /v1/requests", 200, json!([waiting]));
    let listed = host.jitctl(&["list", "requests"]).out;
    assert!(
        listed.contains("0 of 1 approvals") && !listed.contains("stage"),
        "{listed}"
    );
}

#[test]
fn what_nobody_has_to_approve_is_shown_with_the_grounds() {
    let host = Host::new().with_server();
    let mut at_once = approved();
    at_once["approvals"] = json!([]);
    at_once["at_once"] = json!({ "rule": "auto", "because": "they can only read logs" });
    host.server_says("GET /v1/requests/r17", 200, at_once);
    let shown = host.jitctl(&["show", "r17"]).out;
    assert!(
        shown.contains("Approved  at once, by nobody: they can only read logs\n"),
        "{shown}"
    );
    let roles = json!([{
        "name": "logs", "hosts": ["web-1"], "actions": ["ssh"], "longest_seconds": 3600,
        "approval": { "by": { "users": [], "groups": [] }, "count": 0, "stages": [], "because": "they can only read logs" },
    }]);
    host.server_says("GET /v1/roles", 200, roles);
    let listed = host.jitctl(&["list", "roles"]).out;
    assert!(
        listed.contains("nobody: granted at once, because they can only read logs"),
        "{listed}"
    );
}

#[test]
fn the_use_of_a_break_glass_role_is_shown_with_its_review() {
    let host = Host::new().with_server();
    let mut used = approved();
    used["approvals"] = json!([]);
    used["at_once"] = json!({ "rule": "break_glass", "review_by": in_minutes(60) });
    used["review"] = json!({ "due": in_minutes(60), "overdue": false, "reviewed": null });
    host.server_says(
        "GET /v1/requests?to_review=true",
        200,
        json!([used.clone()]),
    );
    let listed = host.jitctl(&["list", "requests", "--to-review"]).out;
    assert!(
        listed.contains("break-glass: to be reviewed by "),
        "{listed}"
    );
    host.server_says("POST /v1/requests/r17/review", 200, used.clone());
    let reviewed = host.jitctl(&["review", "r17", "--comment", "only the database"]);
    assert_eq!(
        (reviewed.code, reviewed.out.as_str()),
        (0, "r17 is reviewed.\n")
    );
    assert_eq!(
        host.sent("POST /v1/requests/r17/review"),
        json!({ "comment": "only the database" })
    );
    used["review"]["able"] = json!(["bob", "dave"]);
    host.server_says("GET /v1/requests/r17", 200, used.clone());
    used["review"]["able"] = json!(null);
    used["review"]["reviewed"] =
        json!({ "by": "bob", "at": "2026-11-20T10:05:00Z", "comment": "only the database" });
    host.server_says("GET /v1/requests/r17", 200, used);
    let due = host.jitctl(&["show", "r17"]).out;
    assert!(due.contains("; bob, dave could\n"), "{due}");
    let shown = host.jitctl(&["show", "r17"]).out;
    assert!(shown.contains("Approved  at once, by nobody\n"), "{shown}");
    assert!(
        shown.contains("Review    reviewed by bob: only the database\n"),
        "{shown}"
    );
}

#[test]
fn somebody_who_has_something_to_review_learns_so_from_status() {
    let host = Host::enrolled().with_server();
    let whoami = json!({ "administrator": false, "principal": "bob", "lock": null, "to_review": ["r17", "r18"], "to_review_more": 3 });
    host.server_says("GET /v1/whoami", 200, whoami);
    let said = host.jitctl(&["status"]).out;
    assert!(
        said.starts_with(
            "Break-glass roles were used, and you have to review that: r17 r18 and 3 more. "
        ),
        "{said}"
    );
    let json = host.jitctl(&["status", "--json"]).json();
    assert_eq!(json["to_review"], json!(["r17", "r18"]));
    assert_eq!(json["to_review_more"], 3);
}

#[test]
fn a_user_for_a_time_only_learns_from_status_until_when() {
    let host = Host::enrolled().with_server();
    let whoami = json!({ "administrator": false, "principal": "victor", "lock": null, "to_review": [], "until": "2027-01-01T00:00:00Z" });
    host.server_says("GET /v1/whoami", 200, whoami);
    let said = host.jitctl(&["status"]).out;
    assert!(
        said.starts_with("You are a user of the server until 2027-01-01"),
        "{said}"
    );
    let json = host.jitctl(&["status", "--json"]).json();
    assert_eq!(json["until"], "2027-01-01T00:00:00Z");
}

#[test]
fn a_request_is_shown_with_its_logins_and_with_the_attributes_that_its_approvers_need() {
    let mut waiting = request("pending");
    waiting["stage"] = json!(1);
    waiting["stages"] = json!([
        { "approvers": { "users": [], "groups": ["leads"], "attributes": { "on_call": true, "team": "web" } }, "needed": 1, "approved_by": [], "able": [] },
        { "approvers": { "users": [], "groups": [], "attributes": { "on_call": true } }, "needed": 1, "approved_by": [], "able": [] },
    ]);
    let shown = |logins: serde_json::Value| {
        let host = Host::new().with_server();
        let mut waiting = waiting.clone();
        waiting["logins"] = logins;
        host.server_says("GET /v1/requests/r17", 200, waiting);
        host.jitctl(&["show", "r17"]).out
    };
    let differ = shown(json!({ "db-1": "postgres", "web-1": "bob" }));
    for said in [
        "postgres on db-1, bob on web-1",
        "1 of group leads (with on_call=true and team=web)",
        "1 of everybody with on_call=true",
    ] {
        assert!(differ.contains(said), "{said}: {differ}");
    }
    let same = shown(json!({ "web-1": "bob", "web-2": "bob" }));
    let login = same.lines().find(|line| line.starts_with("Login"));
    assert!(login.is_some_and(|line| line.ends_with(" bob")), "{same}");
}

#[test]
fn the_groups_that_a_request_asks_for_and_a_grant_gives_are_shown() {
    let host = Host::new().with_server();
    let (mut asked, mut given) = (request("pending"), grant(24));
    asked["groups"] = json!(["adm", "docker"]);
    given["groups"] = json!(["adm", "docker"]);
    host.server_says("GET /v1/requests/r17", 200, asked);
    host.server_says("GET /v1/grants/g4", 200, given);
    for id in ["r17", "g4"] {
        let shown = host.jitctl(&["show", id]).out;
        let line = shown.lines().find(|line| line.starts_with("Unix groups"));
        assert!(
            line.is_some_and(|line| line.ends_with("  adm docker")),
            "{shown}"
        );
    }
}
