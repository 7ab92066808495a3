//! `jitctl ensure`: what it is content with, what it asks for, and what it refuses to call enough.
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::documents::{approved, grant, in_seconds, request};
use crate::support::{Ended, Host};

const POLL: &str = "GET /v1/requests/r17?wait_seconds=30&while=pending";
const ENSURE: [&str; 6] = ["ensure", "web-admin", "--host", "web1", "--min-left", "20m"];

fn ensure(host: &Host, more: &[&str]) -> Ended {
    host.jitctl(&[&ENSURE, more].concat())
}

/// Where alice has nothing in force and asked for nothing.
fn with_nothing() -> Host {
    let host = Host::new().with_server();
    let me = json!({ "administrator": false, "principal": "alice" });
    host.server_says("GET /v1/whoami", 200, me);
    host.server_says("GET /v1/grants?active=true", 200, json!([]));
    host
}

fn with_pending() -> Host {
    let host = with_nothing();
    let pending = json!([request("pending")]);
    host.server_says("GET /v1/requests?state=pending", 200, pending);
    host
}

#[test]
fn ensure_is_content_with_a_grant_that_lasts_long_enough() {
    let host = Host::new().with_server();
    host.server_says(
        "GET /v1/whoami",
        200,
        json!({ "administrator": false, "principal": "alice" }),
    );
    host.server_says("GET /v1/grants?active=true", 200, json!([grant(25)]));
    let ended = host.jitctl(&["ensure", "web-admin", "--host", "web1", "--min-left", "20m"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.out.starts_with("g4 is in force on web1 until"),
        "{}",
        ended.out
    );
}

#[test]
fn ensure_asks_where_the_grant_ends_too_soon_or_is_another_s() {
    let host = Host::new().with_server();
    host.server_says(
        "GET /v1/whoami",
        200,
        json!({ "administrator": false, "principal": "alice" }),
    );
    let mut other = grant(60);
    other["principal"] = json!("mallory");
    host.server_says("GET /v1/grants?active=true", 200, json!([grant(15), other]));
    host.server_says("GET /v1/requests?state=pending", 200, json!([]));
    let short = host.jitctl(&["ensure", "web-admin", "--host", "web1", "--min-left", "20m"]);
    assert_eq!(short.code, 2, "without --for and --reason it can't ask");

    host.server_says("POST /v1/requests", 201, approved());
    host.server_says("GET /v1/grants/g4", 200, grant(30));
    let ended = host.jitctl(&[
        "ensure",
        "web-admin",
        "--host",
        "web1",
        "--min-left",
        "20m",
        "--for",
        "30m",
        "--reason",
        "disk full",
    ]);
    assert_eq!(ended.code, 0, "{}", ended.err);
}

#[test]
fn ensure_waits_for_its_own_pending_request_rather_than_asking_twice() {
    let host = Host::new().with_server();
    host.server_says(
        "GET /v1/whoami",
        200,
        json!({ "administrator": false, "principal": "alice" }),
    );
    host.server_says("GET /v1/grants?active=true", 200, json!([]));
    host.server_says(
        "GET /v1/requests?state=pending",
        200,
        json!([request("pending")]),
    );
    host.server_says(
        "GET /v1/requests/r17?wait_seconds=30&while=pending",
        200,
        approved(),
    );
    host.server_says("GET /v1/grants/g4", 200, grant(30));
    let ended = host.jitctl(&["ensure", "web-admin", "--host", "web1", "--min-left", "20m"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
}

#[test]
fn ensure_refuses_a_grant_that_was_approved_for_too_short_a_time_whether_asked_or_joined() {
    let mut short = grant(5);
    for not_before in ["2026-11-20T10:05:00Z".to_owned(), in_seconds(0)] {
        short["not_before"] = json!(not_before);
        let joined = with_pending();
        joined.server_says(POLL, 200, approved());
        let asked = with_nothing();
        asked.server_says("GET /v1/requests?state=pending", 200, json!([]));
        asked.server_says("POST /v1/requests", 201, approved());
        for host in [joined, asked] {
            host.server_says("GET /v1/grants/g4", 200, short.clone());
            let ended = ensure(&host, &["--for", "30m", "--reason", "disk full"]);
            assert_eq!(ended.code, 3, "{}", ended.out);
            assert!(
                ended.err.contains("g4 is in force on web1 until ")
                    && ended
                        .err
                        .contains("(5 min left): shorter than --min-left, 20 min"),
                "{}",
                ended.err
            );
        }
    }
}

#[test]
fn ensure_looks_at_the_grant_on_its_own_host_and_refuses_one_that_has_ended() {
    let host = with_pending();
    let mut answer = approved();
    answer["grants"] = json!(["g3", "g4"]);
    host.server_says(POLL, 200, answer);
    let mut elsewhere = grant(5);
    elsewhere["host"] = json!("web2");
    host.server_says("GET /v1/grants/g3", 200, elsewhere);
    let mut revoked = grant(30);
    revoked["state"] = json!("revoked");
    host.server_says("GET /v1/grants/g4", 200, grant(30));
    host.server_says("GET /v1/grants/g4", 200, grant(30));
    host.server_says("GET /v1/grants/g4", 200, revoked);
    assert_eq!(ensure(&host, &[]).code, 0);
    let ended = ensure(&host, &[]);
    assert_eq!(ended.code, 3);
    assert!(
        ended.err.contains("g4 on web1 is revoked already"),
        "{}",
        ended.err
    );
}

#[test]
fn ensure_counts_what_is_left_from_when_it_was_decided_and_not_from_when_it_began_to_wait() {
    let host = with_pending();
    host.server_says(POLL, 200, request("pending"));
    let ended = thread::scope(|threads| {
        let waiting = threads.spawn(|| ensure(&host, &[]));
        host.wait_for(POLL);
        // Time itself has to pass here.
        thread::sleep(Duration::from_secs(3));
        let mut late = grant(0);
        late["expires"] = json!(in_seconds(20 * 60 - 1));
        host.server_says("GET /v1/grants/g4", 200, late);
        host.server_says(POLL, 200, approved());
        waiting.join().expect("jitctl")
    });
    assert_eq!(ended.code, 3, "{}", ended.out);
    assert!(ended.err.contains("(19 min left)"), "{}", ended.err);
}

#[test]
fn ensure_is_content_with_just_as_much_as_it_asked_for() {
    let host = with_nothing();
    host.server_says("GET /v1/requests?state=pending", 200, json!([]));
    host.server_says("POST /v1/requests", 201, approved());
    let mut exact = grant(0);
    exact["not_before"] = json!(in_seconds(-2));
    exact["expires"] = json!(in_seconds(20 * 60 - 2));
    host.server_says("GET /v1/grants/g4", 200, exact);
    let ended = ensure(&host, &["--for", "20m", "--reason", "disk full"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
}

#[test]
fn ensure_without_a_length_asks_for_the_role_s_own_where_that_is_enough() {
    for (default, code) in [(json!(1800), 0), (json!(600), 2), (json!(null), 3)] {
        let host = with_nothing();
        host.server_says("GET /v1/requests?state=pending", 200, json!([]));
        let role = json!({
            "name": "web-admin", "longest_seconds": 14400, "default_seconds": default,
            "approval": { "by": { "users": ["bob"] }, "count": 1 },
        });
        host.server_says("GET /v1/roles", 200, json!([role]));
        if default.is_null() {
            let why = "role web-admin has no length of its own; say for how long with --for";
            let refused = json!({ "status": 422, "title": why, "code": "no-default" });
            host.server_says("POST /v1/requests", 422, refused);
        } else {
            host.server_says("POST /v1/requests", 201, approved());
        }
        host.server_says("GET /v1/grants/g4", 200, grant(30));
        let ended = ensure(&host, &["--reason", "disk full"]);
        assert_eq!(ended.code, code, "{}", ended.err);
        if code == 2 {
            assert!(
                ended.err.contains("the role is for 10 min"),
                "{}",
                ended.err
            );
        } else {
            assert!(host.sent("POST /v1/requests").get("for_seconds").is_none());
        }
    }
}
