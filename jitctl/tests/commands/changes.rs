//! Changes that others confirm, as they see and confirm them.

use serde_json::{Value, json};

use crate::documents::problem;
use crate::support::Host;

const DIGEST: &str = "3f2a91bc04d17e553f2a91bc04d17e553f2a91bc04d17e553f2a91bc04d17e55";

fn change() -> Value {
    json!({
        "id": "c1", "state": "pending", "by": "@administrator", "at": "2026-11-22T12:00:00Z", "lapses_at": "2096-11-29T12:00:00Z",
        "reason": "she is on the team now", "summary": ["~ user alice: + group leads"], "needs": 2, "able": ["bob", "carol"],
        "confirmed": [{ "by": "bob", "at": "2026-11-22T12:00:00Z", "comment": "as agreed", "counts": false }], "ended": null,
        "now": {
            "digest": DIGEST, "refused": null, "warnings": ["one"], "policy_diff": "--- in force\n+++ wanted\n-longest = \"4h\"\n+longest = \"8h\"\n",
            "changes": [{ "sign": "~", "thing": "user", "name": "alice", "details": ["+ group leads", "+ key SHA256:abc"] }],
            "lost": { "grants": [{ "id": "g7", "principal": "alice", "host": "web-1" }], "requests": [], "tokens": [] },
        },
    })
}

#[test]
fn all_that_a_change_comes_to_is_shown_with_the_word_for_it() {
    let host = Host::new().with_server();
    host.server_says("GET /v1/changes/c1", 200, change());
    let shown = host.jitctl(&["show", "c1"]).out;
    for line in [
        "she is on the team now",
        "which counts no more: as agreed",
        "2 of bob carol",
        "3f2a91bc04d17e55\n",
        "  ~ user alice\n      + group leads\n      + key SHA256:abc\n",
        "  grant g7 of alice on web-1 ends\n",
        "warning: one\n",
        "-longest = \"4h\"\n+longest = \"8h\"\n",
    ] {
        assert!(shown.contains(line), "{line:?} is not in {shown}");
    }
}

#[test]
fn no_line_is_cut_since_nobody_confirms_what_he_does_not_see() {
    let host = Host::new().with_server();
    let mut long = change();
    let detail = format!("+ group {}", "x".repeat(900));
    long["now"]["changes"][0]["details"] = json!([detail]);
    host.server_says("GET /v1/changes/c1", 200, long);
    let shown = host.jitctl(&["show", "c1"]).out;
    assert_eq!(shown.matches('x').count(), 900, "{shown}");
}

#[test]
fn no_part_of_a_long_line_passes_for_a_line_of_the_difference() {
    let host = Host::new().with_server();
    let mut long = change();
    long["now"]["policy_diff"] = json!(format!("+# {}\n", "-".repeat(2_000)));
    host.server_says("GET /v1/changes/c1", 200, long);
    let shown = host.jitctl(&["show", "c1"]).out;
    assert!(shown.contains("\n> ---"), "{shown}");
    assert!(!shown.contains("\n---"), "{shown}");
}

#[test]
fn what_was_seen_is_confirmed_and_nothing_else() {
    let host = Host::new().with_server();
    for _ in 0..3 {
        host.server_says("GET /v1/changes/c1", 200, change());
    }
    let other = host.jitctl(&["approve", "c1", "--seen", "0000000000000000"]);
    assert_eq!(other.code, 3, "{}", other.err);
    let unseen = host.jitctl(&["approve", "c1"]);
    assert_eq!(unseen.code, 2, "{}", unseen.err);
    assert!(unseen.err.contains("--seen"), "{}", unseen.err);

    let mut done = change();
    done["state"] = json!("done");
    host.server_says("POST /v1/changes/c1/confirm", 200, done);
    let seen = [
        "approve",
        "c1",
        "--seen",
        "3f2a91bc04d17e55",
        "--comment",
        "fine",
    ];
    let confirmed = host.jitctl(&seen);
    assert_eq!(
        (confirmed.code, confirmed.out.as_str()),
        (0, "c1 is done.\n")
    );
    let sent = host.sent("POST /v1/changes/c1/confirm");
    assert_eq!(sent, json!({ "digest": DIGEST, "comment": "fine" }));
}

#[test]
fn a_change_is_denied_and_listed() {
    let host = Host::new().with_server();
    host.server_says("POST /v1/changes/c1/deny", 200, change());
    let denied = host.jitctl(&["deny", "c1", "--reason", "not yet"]);
    assert_eq!((denied.code, denied.out.as_str()), (0, "c1 is denied.\n"));
    host.server_says("GET /v1/changes?pending=true", 200, json!([change()]));
    let listed = host.jitctl(&["list", "changes", "--pending"]).out;
    assert!(listed.contains("~ user alice: + group leads"), "{listed}");
}

#[test]
fn a_refusal_of_a_confirmation_is_told() {
    let host = Host::new().with_server();
    let refusal = problem(403, "changes are confirmed by people known by a token");
    host.server_says("POST /v1/changes/c1/deny", 403, refusal);
    let refused = host.jitctl(&["deny", "c1", "--reason", "not yet"]);
    assert_eq!(refused.code, 3, "{}", refused.err);
    assert!(refused.err.contains("known by a token"), "{}", refused.err);
}

#[test]
fn somebody_who_may_confirm_a_change_learns_so_from_status() {
    let host = Host::enrolled().with_server();
    let whoami = json!({ "administrator": false, "principal": "bob", "lock": null, "to_review": [], "to_confirm": ["c1", "c2"] });
    host.server_says("GET /v1/whoami", 200, whoami);
    let said = host.jitctl(&["status"]).out;
    let told = "Changes wait that you may confirm: c1 c2. `jitctl show c1`\n";
    assert!(said.starts_with(told), "{said}");
    let json = host.jitctl(&["status", "--json"]).json();
    assert_eq!(json["to_confirm"], json!(["c1", "c2"]));
}
