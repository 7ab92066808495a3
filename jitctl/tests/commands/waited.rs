//! What is said of times after a wait, and where the server's clock is a little ahead.
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::documents::{approved, grant, in_seconds, request};
use crate::support::Host;

const POLL: &str = "GET /v1/requests/r17?wait_seconds=30&while=pending";
const ASK: [&str; 5] = ["request", "web-admin", "--reason", "disk full", "--wait"];

#[test]
fn what_a_grant_has_left_is_counted_from_its_approval_and_not_from_when_it_was_asked_for() {
    let host = Host::new().with_server();
    host.server_says("POST /v1/requests", 201, request("pending"));
    host.server_says(POLL, 200, request("pending"));
    let ended = thread::scope(|threads| {
        let waiting = threads.spawn(|| host.jitctl(&ASK));
        host.wait_for(POLL);
        // Time itself has to pass here.
        thread::sleep(Duration::from_secs(3));
        let mut begun = grant(0);
        begun["not_before"] = json!(in_seconds(0));
        begun["expires"] = json!(in_seconds(59));
        host.server_says("GET /v1/grants/g4", 200, begun);
        host.server_says(POLL, 200, approved());
        waiting.join().expect("jitctl")
    });
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains(" s left)"), "{}", ended.out);
}

#[test]
fn a_grant_that_the_server_calls_active_is_never_shown_as_one_to_come() {
    let host = Host::new().with_server();
    let mut ahead = grant(30);
    ahead["not_before"] = json!(in_seconds(90));
    host.server_says("POST /v1/requests", 201, approved());
    host.server_says("GET /v1/grants/g4", 200, ahead.clone());
    host.server_says("GET /v1/grants", 200, json!([ahead]));
    for arguments in [&ASK[..], &["list", "grants"], &["show", "g4"]] {
        let ended = host.jitctl(arguments);
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(
            ended.out.contains("(30 min left)") && !ended.out.contains("starts"),
            "{}",
            ended.out
        );
    }
}
