//! The audit trail: what is asked for, and what is printed of one that does not come whole.
use std::fs::File;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::documents::problem;
use crate::support::Host;

const FIRST: &str = "GET /v1/audit?after=0&limit=1000";
const SECOND: &str = "GET /v1/audit?after=2&limit=1000";

fn event(seq: u64) -> Value {
    json!({
        "seq": seq, "at": "2026-11-20T10:05:00Z", "origin": "server", "actor": "bob", "kind": "released", "subject": "g1", "detail": {},
    })
}

#[test]
fn the_audit_trail_is_read_page_by_page() {
    let host = Host::new().with_server();
    let event = |seq: u64| json!({ "seq": seq, "at": "2026-11-20T10:05:00Z", "origin": "server", "actor": "bob", "kind": "request.approved", "subject": "r17", "detail": { "stage": 1, "note": "go \u{202e}ahead" } });
    host.server_says(
        "GET /v1/audit?after=0&limit=1000",
        200,
        json!({ "events": [event(1)], "next": 2 }),
    );
    host.server_says(
        "GET /v1/audit?after=2&limit=1000",
        200,
        json!({ "events": [], "next": 4 }),
    );
    host.server_says(
        "GET /v1/audit?after=4&limit=1000",
        200,
        json!({ "events": [event(5)], "next": null }),
    );
    assert_eq!(
        host.jitctl(&["audit", "list", "--json"])
            .json()
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    insta::assert_snapshot!(host.jitctl(&["audit", "list"]).out, @r"
    NUMBER  WHEN              WHERE   WHO  WHAT              ABOUT  DETAIL
    1       2026-11-20 10:05  server  bob  request.approved  r17    note=go ahead stage=1
    5       2026-11-20 10:05  server  bob  request.approved  r17    note=go ahead stage=1
    ");
}

#[test]
fn what_goes_to_a_full_disk_is_not_taken_for_whole() {
    let host = Host::new().with_server();
    host.server_says(FIRST, 200, json!({ "events": [event(1)], "next": null }));
    for arguments in [&["audit", "list"][..], &["audit", "list", "--json"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ended = host.jitctl_onto(full, arguments);
        assert_eq!(ended.code, 1, "{}", ended.err);
        assert!(
            ended.err.contains("No space left on device"),
            "{}",
            ended.err
        );
    }
}

#[test]
fn alarms_alone_are_asked_of_the_server() {
    let host = Host::new().with_server();
    let alarm = json!({ "seq": 5, "at": "2026-11-20T10:05:00Z", "origin": "server", "actor": "@server", "kind": "alarm", "subject": "web1",
        "detail": { "host": "web1", "alarm": { "cause": "record_lost", "after": 3, "next": 9 }, "said": "lines 4 to 8 of its event chain are lost" } });
    host.server_says(
        "GET /v1/audit?after=0&limit=1000&alarms=true",
        200,
        json!({ "events": [alarm], "next": null }),
    );
    insta::assert_snapshot!(host.jitctl(&["audit", "list", "--alarms"]).out, @r"
    NUMBER  WHEN              WHERE   WHO      WHAT   ABOUT  DETAIL
    5       2026-11-20 10:05  server  @server  alarm  web1   lines 4 to 8 of its event chain are lost
    ");
    let none = Host::new().with_server();
    let empty = json!({ "events": [], "next": null });
    none.server_says("GET /v1/audit?after=0&limit=1000&alarms=true", 200, empty);
    let said = none.jitctl(&["audit", "list", "--alarms"]).out;
    assert_eq!(said, "No alarms.\n");
    let json = none.jitctl(&["audit", "list", "--alarms", "--json"]);
    assert_eq!(json.json(), json!([]));
}

#[test]
fn the_newest_part_of_the_trail_is_asked_of_the_server() {
    let host = Host::new().with_server();
    let newest = "GET /v1/audit?newest=1500&limit=1000";
    host.server_says(newest, 200, json!({ "events": [event(1)], "next": 2 }));
    host.server_says(SECOND, 200, json!({ "events": [event(3)], "next": null }));
    let ended = host.jitctl(&["audit", "list", "--newest", "1500", "--json"]);
    assert_eq!(ended.json(), json!([event(1), event(3)]));
    let both = host.jitctl(&["audit", "list", "--newest", "9", "--after", "2"]);
    assert_eq!(both.code, 2);
}

#[test]
fn what_came_of_the_trail_before_the_server_failed_is_printed_and_never_as_all_of_it() {
    let host = Host::new().with_server();
    host.server_says(FIRST, 200, json!({ "events": [event(1)], "next": 2 }));
    host.server_says(SECOND, 500, problem(500, "the database failed"));
    let ended = host.jitctl(&["audit", "list"]);
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("released"), "{}", ended.out);
    let expected = "jitctl: this goes to event 2; --after 2 goes on from there.\njitctl: the database failed\n";
    assert_eq!(ended.err, expected);
    let json = host.jitctl(&["audit", "list", "--json"]);
    assert_eq!(json.code, 1);
    assert!(json.out.contains("released"), "{}", json.out);
    assert!(serde_json::from_str::<Value>(&json.out).is_err());
}

#[test]
fn a_trail_whose_pages_go_round_in_circles_ends_with_an_error() {
    let host = Host::new().with_server();
    host.server_says(FIRST, 200, json!({ "events": [], "next": 2 }));
    host.server_says(SECOND, 200, json!({ "events": [], "next": 2 }));
    let ended = host.jitctl(&["audit", "list"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("round in circles"), "{}", ended.err);
}

#[test]
fn no_more_of_the_trail_is_asked_for_where_nobody_reads_it() {
    let host = Host::new().with_server();
    host.server_says(FIRST, 200, json!({ "events": [event(1)], "next": 2 }));
    host.server_says(SECOND, 200, json!({ "events": [event(3)], "next": null }));
    assert_eq!(host.jitctl_unread(&["audit", "list", "--json"]), 0);
    assert_eq!(host.server.lock().expect("a lock").calls.len(), 1);
}

#[test]
fn events_that_are_too_long_for_one_answer_are_asked_for_a_few_at_a_time() {
    let host = Host::new().with_server();
    let mut long = event(1);
    long["detail"]["words"] = json!("x".repeat(17 * 1024 * 1024));
    host.server_says(FIRST, 200, json!({ "events": [long], "next": null }));
    let fewer = "GET /v1/audit?after=0&limit=500";
    let next = "GET /v1/audit?after=2&limit=500";
    host.server_says(fewer, 200, json!({ "events": [event(1)], "next": 2 }));
    host.server_says(next, 200, json!({ "events": [event(3)], "next": null }));
    let ended = host.jitctl(&["audit", "list", "--json"]);
    assert_eq!(ended.json(), json!([event(1), event(3)]));
}

#[test]
fn a_long_trail_is_printed_in_several_tables() {
    let host = Host::new().with_server();
    let events: Vec<_> = (1..=1001).map(event).collect();
    host.server_says(FIRST, 200, json!({ "events": events, "next": null }));
    let out = host.jitctl(&["audit", "list"]).out;
    let headers = out.lines().filter(|line| line.starts_with("NUMBER"));
    assert_eq!((headers.count(), out.lines().count()), (2, 1003));
}

#[test]
fn a_server_that_is_asked_too_often_is_asked_again_when_it_says() {
    let host = Host::new().with_server();
    host.server_adds(FIRST, "retry-after", "1");
    let too_often = problem(429, "too many calls from your account; wait a second");
    host.server_says(FIRST, 429, too_often.clone());
    host.server_says(FIRST, 200, json!({ "events": [event(1)], "next": 2 }));
    host.server_says(SECOND, 429, too_often);
    host.server_adds(SECOND, "retry-after", "3600");
    let began = began();
    let ended = host.jitctl(&["audit", "list"]);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(ended.out.contains("released"), "{}", ended.out);
    assert_eq!(ended.code, 3, "nobody waits for an hour: {}", ended.err);
}

#[allow(
    clippy::disallowed_methods,
    reason = "the tests stand beside a program that reads the real clock"
)]
fn began() -> Instant {
    Instant::now()
}
