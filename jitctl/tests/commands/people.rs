//! What people ask of a server, and decide: output and exit codes.
use crate::documents::{approved, grant, in_minutes, problem, request};
use crate::support::Host;
use serde_json::{Value, json};

const ASK: &[&str] = &[
    "request",
    "web-admin",
    "--host",
    "web1",
    "--for",
    "30m",
    "--reason",
    "disk full",
];

fn ask(more: &[&'static str]) -> Vec<&'static str> {
    [ASK, more].concat()
}

#[test]
fn a_request_that_waits_for_approval_exits_5_and_says_how_to_look() {
    let host = Host::new().with_server();
    host.server_says("POST /v1/requests", 201, request("pending"));
    let ended = host.jitctl(ASK);
    assert_eq!(ended.code, 5, "{}", ended.err);
    assert!(
        ended.out.contains("r17 is asked and lapses in 1 h"),
        "{}",
        ended.out
    );
    let sent = host.sent("POST /v1/requests");
    assert_eq!(
        sent,
        json!({ "role": "web-admin", "hosts": ["web1"], "for_seconds": 1800, "reason": "disk full", "ticket": null })
    );
}

#[test]
fn a_request_without_a_length_says_none_and_the_server_why_that_is_not_enough() {
    let host = Host::new().with_server();
    let asked = ["request", "web-admin", "--reason", "disk full"];
    host.server_says("POST /v1/requests", 201, request("pending"));
    assert_eq!(host.jitctl(&asked).code, 5);
    assert!(host.sent("POST /v1/requests").get("for_seconds").is_none());
    let host = Host::new().with_server();
    let why = "role web-admin has no length of its own; say for how long with --for";
    let refused = json!({ "status": 422, "title": why, "detail": why, "code": "no-default" });
    host.server_says("POST /v1/requests", 422, refused);
    let ended = host.jitctl(&asked);
    assert!(
        ended.code != 0 && ended.err.contains("--for"),
        "{}",
        ended.err
    );
}

#[test]
fn a_request_can_name_the_labels_of_its_hosts_in_their_place() {
    let host = Host::new().with_server();
    host.server_says("POST /v1/requests", 201, request("pending"));
    let labels = [&["request", "web-admin"], &ASK[4..]].concat();
    let labels = [
        &labels[..],
        &[
            "--where", "env=prod", "--where", "tier=web", "--where", "tier=api",
        ],
    ]
    .concat();
    assert_eq!(host.jitctl(&labels).code, 5);
    let sent = host.sent("POST /v1/requests");
    assert_eq!(
        sent["labels"],
        json!({ "env": ["prod"], "tier": ["api", "web"] })
    );
    assert_eq!(sent["hosts"], json!([]));
    assert_eq!(
        host.jitctl(&ask(&["--where", "env=prod"])).code,
        2,
        "hosts or labels"
    );
}

#[test]
fn a_request_can_be_for_a_time_to_come() {
    let host = Host::new().with_server();
    let mut answer = request("pending");
    answer["not_before"] = json!(in_minutes(120));
    host.server_says("POST /v1/requests", 201, answer);
    assert_eq!(host.jitctl(&ask(&["--from", "2099-11-30 09:00"])).code, 5);
    let sent = host.sent("POST /v1/requests");
    assert_eq!(sent["not_before"], "2099-11-30T09:00:00Z");
    assert_eq!(host.jitctl(&ask(&["--from", "tomorrow"])).code, 2);
}

#[test]
fn a_grant_that_has_not_begun_says_when_it_does() {
    let host = Host::new().with_server();
    let mut later = grant(180);
    later["not_before"] = json!(in_minutes(120));
    later["state"] = json!("scheduled");
    host.server_says("GET /v1/grants", 200, json!([later]));
    let listed = host.jitctl(&["list", "grants"]);
    assert!(listed.out.contains("starts in 2 h"), "{}", listed.out);
    let mut asked = request("pending");
    asked["not_before"] = json!(in_minutes(120));
    host.server_says("GET /v1/requests/r17", 200, asked);
    let shown = host.jitctl(&["show", "r17"]);
    assert!(shown.out.contains("(starts in 2 h)"), "{}", shown.out);
}

#[test]
fn waiting_ends_with_the_approval_and_names_the_grant() {
    let host = Host::new().with_server();
    host.server_says("POST /v1/requests", 201, request("pending"));
    let poll = "GET /v1/requests/r17?wait_seconds=30&while=pending";
    host.server_says(poll, 200, request("pending"));
    host.server_says(poll, 200, approved());
    host.server_says("GET /v1/grants/g4", 200, grant(30));
    let ended = host.jitctl(&ask(&["--wait"]));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("r17 is approved."), "{}", ended.out);
    assert!(
        ended.out.contains("g4: alice on web1 (ssh sudo) until"),
        "{}",
        ended.out
    );
}

#[test]
fn a_denial_exits_3_and_says_who_and_why() {
    let host = Host::new().with_server();
    host.server_says("POST /v1/requests", 201, request("pending"));
    let mut denied = request("denied");
    denied["denied"] =
        json!({ "by": "bob", "at": "2026-11-20T10:05:00Z", "reason": "not\u{1b}[2J today" });
    host.server_says(
        "GET /v1/requests/r17?wait_seconds=30&while=pending",
        200,
        denied,
    );
    let ended = host.jitctl(&ask(&["--wait"]));
    assert_eq!(ended.code, 3);
    assert!(
        ended
            .err
            .contains("request r17 was denied: bob said: not[2J today"),
        "{}",
        ended.err
    );
}

#[test]
fn a_request_that_nobody_decides_exits_4() {
    let host = Host::new().with_server();
    host.server_says("POST /v1/requests", 201, request("pending"));
    host.server_says(
        "GET /v1/requests/r17?wait_seconds=30&while=pending",
        200,
        request("lapsed"),
    );
    assert_eq!(host.jitctl(&ask(&["--wait"])).code, 4);
}

#[test]
fn what_the_server_refuses_exits_3_with_its_words() {
    let host = Host::new().with_server();
    host.server_says(
        "POST /v1/requests/r17/approve",
        403,
        problem(
            403,
            "r17 is your own request; somebody else has to decide it",
        ),
    );
    let ended = host.jitctl(&["approve", "r17"]);
    assert_eq!(ended.code, 3);
    assert_eq!(
        ended.err,
        "jitctl: r17 is your own request; somebody else has to decide it\n"
    );
}

#[test]
fn a_server_that_is_away_exits_1_and_says_what_to_do() {
    let ended = Host::new().jitctl(&["list", "roles"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("cannot reach jit-server at unix:")
            && ended.err.contains("next: systemctl status jit-server"),
        "{}",
        ended.err
    );
}

#[test]
fn wrong_usage_exits_2() {
    let host = Host::new();
    for arguments in [
        &["request", "web-admin"][..],
        &["approve", "17"],
        &["approve", "r17", "--for=-30m"],
        &["approve", "r17", "--for", "0m"],
        &["nonsense"],
        &["enroll", "--server", "ftp://x"],
    ] {
        assert_eq!(host.jitctl(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn approving_for_less_sends_only_what_was_said() {
    let host = Host::new().with_server();
    host.server_says("POST /v1/requests/r17/approve", 200, approved());
    let ended = host.jitctl(&["approve", "r17", "--for", "10m"]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (0, "r17 is approved: g4.\n")
    );
    assert_eq!(
        host.sent("POST /v1/requests/r17/approve"),
        json!({ "for_seconds": 600 })
    );
}

/// The server's answer to `call` leads to a second page, which is this.
fn leads_to(host: &Host, call: &str, second: Value) {
    let next = format!("{call}&before=x2");
    let link = next.trim_start_matches("GET ");
    host.server_links(call, &format!("<{link}>; rel=\"next\""));
    host.server_says(&next, 200, second);
}

#[test]
fn what_stands_on_a_later_page_is_found_by_ensure_and_release() {
    let (mut grants, mut requests) = (grant(60), request("pending"));
    grants["principal"] = json!("mallory");
    requests["principal"] = json!("mallory");
    let (grants, requests) = (json!([grants]), json!([requests]));
    let ensure = ["ensure", "web-admin", "--host", "web1", "--min-left", "20m"];
    let active = "GET /v1/grants?active=true";

    let host = outside_of_a_session(grants.clone());
    leads_to(&host, active, json!([grant(25)]));
    let ended = host.jitctl(&ensure);
    assert!(
        ended.out.starts_with("g4 is in force on web1 until"),
        "{}",
        ended.err
    );
    let released = host.jitctl(&["release"]).err;
    assert!(
        released.ends_with("next: jitctl release g4 (alice on web1, web-admin)\n"),
        "{released}"
    );

    let host = outside_of_a_session(grants);
    let pending = "GET /v1/requests?state=pending";
    host.server_says(pending, 200, requests);
    leads_to(&host, pending, json!([request("pending")]));
    let wait = "GET /v1/requests/r17?wait_seconds=30&while=pending";
    host.server_says(wait, 200, approved());
    host.server_says("GET /v1/grants/g4", 200, grant(30));
    assert_eq!(host.jitctl(&ensure).code, 0);
}

#[test]
fn release_from_inside_a_session_gives_its_grant_back() {
    let host = Host::new().with_server().with_daemon();
    let session = json!({ "id": "s1", "kind": "login", "principal": "alice", "login": "alice", "service": "sshd", "scopes": [], "grant": "g4", "since": "2026-11-22T19:00:00Z", "until": null, "enforced": true });
    host.daemon_says("Whoami", json!({ "session": session }));
    host.server_says("POST /v1/grants/g4/release", 200, grant(0));
    let ended = host.jitctl(&["release"]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (0, "g4 is given back; its sessions end now.\n")
    );
}

/// A machine on which no grant holds the shell open, and alice with these grants.
fn outside_of_a_session(grants: Value) -> Host {
    let host = Host::new().with_server();
    let me = json!({ "administrator": false, "principal": "alice" });
    host.server_says("GET /v1/whoami", 200, me);
    host.server_says("GET /v1/grants?active=true", 200, grants);
    host
}

#[test]
fn release_outside_of_a_session_says_which_grants_could_be_named() {
    let (mut second, mut other) = (grant(40), grant(40));
    second["id"] = json!("g5");
    second["host"] = json!("web\u{1b}[2J2");
    other["principal"] = json!("mallory");
    let host = outside_of_a_session(json!([grant(20), second, other])).with_daemon();
    host.daemon_says("Whoami", json!({ "session": null }));
    let ended = host.jitctl(&["release"]);
    assert_eq!(ended.code, 1);
    assert_eq!(
        ended.err,
        "jitctl: no grant holds this session open\n  next: jitctl release g4 (alice on web1, web-admin), or \
         jitctl release g5 (alice on web[2J2, web-admin)\n"
    );
    let extend = host.jitctl(&["extend", "--for", "30m"]).err;
    assert!(
        extend.contains("next: jitctl extend g4 --for TIME (alice on web1, web-admin), or"),
        "{extend}"
    );
}

#[test]
fn release_where_there_is_no_jitd_helps_as_well() {
    let ended = outside_of_a_session(json!([grant(20)])).jitctl(&["release"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("is not known: jitd did not answer")
            && ended
                .err
                .ends_with("next: jitctl release g4 (alice on web1, web-admin)\n"),
        "{}",
        ended.err
    );
}

#[test]
fn release_without_anything_to_release_says_so() {
    let host = outside_of_a_session(json!([])).with_daemon();
    host.daemon_says("Whoami", json!({ "session": null }));
    let none = host.jitctl(&["release"]).err;
    assert!(
        none.contains("no grant holds this session open, and you have none in force\n"),
        "{none}"
    );
    let away = Host::new().with_daemon();
    away.daemon_says("Whoami", json!({ "session": null }));
    let away = away.jitctl(&["release"]).err;
    assert!(
        away.contains("next: name the grant: jitctl release GRANT; jitctl list grants"),
        "{away}"
    );
}

#[test]
fn an_extension_from_inside_a_session_says_until_when() {
    let host = Host::new().with_server().with_daemon();
    let session = json!({ "id": "s1", "kind": "login", "principal": "alice", "login": "alice", "service": "sshd", "scopes": [], "grant": "g4", "since": "2026-11-22T19:00:00Z", "until": null, "enforced": true });
    host.daemon_says("Whoami", json!({ "session": session }));
    let answer = json!({ "grant": grant(60), "request": null });
    host.server_says("POST /v1/grants/g4/extend", 200, answer);
    let ended = host.jitctl(&["extend", "--for", "30m"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.out.starts_with("g4 is extended until "),
        "{}",
        ended.out
    );
    let sent = host.sent("POST /v1/grants/g4/extend");
    assert_eq!(sent, json!({ "for_seconds": 1800 }));
}

#[test]
fn an_extension_that_needs_approval_exits_5_or_waits() {
    let host = Host::new().with_server();
    let mut asked = request("pending");
    asked["extends"] = json!("g4");
    let answer = json!({ "grant": grant(10), "request": asked });
    host.server_says("POST /v1/grants/g4/extend", 202, answer);
    assert_eq!(host.jitctl(&["extend", "g4", "--for", "30m"]).code, 5);
    let poll = "GET /v1/requests/r17?wait_seconds=30&while=pending";
    host.server_says(poll, 200, approved());
    host.server_says("GET /v1/grants/g4", 200, grant(40));
    let waited = host.jitctl(&["extend", "g4", "--for", "30m", "--wait"]);
    assert_eq!(waited.code, 0, "{}", waited.err);
    assert!(waited.out.contains("g4: alice on web1"), "{}", waited.out);
}
