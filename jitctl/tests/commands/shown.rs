//! What people are shown of what a server has.
use crate::documents::{approved, grant, in_minutes, problem, request};
use crate::support::Host;
use serde_json::{Value, json};

#[test]
fn roles_are_a_table_for_people() {
    let host = Host::new().with_server();
    let role = json!({
        "name": "web-admin", "description": "run the web servers", "hosts": ["web1", "web2"], "actions": ["ssh", "sudo"], "longest_seconds": 14400,
        "may_ask": true, "approval": { "by": { "users": ["bob"], "groups": ["leads"] }, "count": 1 },
    });
    let mut labelled = role.clone();
    labelled["name"] = json!("prod");
    labelled["hosts"] = json!(["*"]);
    labelled["labels"] = json!({ "env": ["prod"], "tier": ["api", "web"] });
    labelled["conditions"] = json!(["a ticket"]);
    labelled["default_seconds"] = json!(1800);
    host.server_says("GET /v1/roles", 200, json!([role, labelled]));
    insta::assert_snapshot!(host.jitctl(&["list", "roles"]).out, @r"
    ROLE       OPENS     HOSTS                  LONGEST  UNLESS SAID  CONDITIONS  APPROVED BY            FOR
    web-admin  ssh sudo  web1 web2              4 h                               1 of bob, group leads  run the web servers
    prod       ssh sudo  env=prod tier=api|web  4 h      30 min       a ticket    1 of bob, group leads  run the web servers
    ");
}

#[test]
fn approvers_by_attributes_and_stages_for_the_same_person_are_told() {
    let host = Host::new().with_server();
    let by = json!({ "users": [], "groups": [], "attributes": { "on_call": true } });
    let first = json!({ "by": by, "count": 1, "same_person_again": false, "later": [] });
    let second = json!({ "by": { "users": [], "groups": ["leads"] }, "count": 2, "same_person_again": true, "later": [] });
    let mut approval = first.clone();
    approval["stages"] = json!([first, second]);
    let role = json!({
        "name": "db", "description": "", "hosts": ["db1"], "actions": ["ssh"], "longest_seconds": 3600, "may_ask": true, "approval": approval,
    });
    host.server_says("GET /v1/roles", 200, json!([role]));
    let table = host.jitctl(&["list", "roles"]).out;
    let told = "1 of everybody with on_call=true; then 2 of group leads, also who approved before";
    assert!(table.contains(told), "{table}");
}

#[test]
fn lists_in_json_are_what_the_server_said() {
    let host = Host::new().with_server();
    let grants = json!([grant(24)]);
    host.server_says("GET /v1/grants?active=true", 200, grants.clone());
    assert_eq!(
        host.jitctl(&["list", "grants", "--active", "--json"])
            .json(),
        grants
    );
    let table = host.jitctl(&["list", "grants", "--active"]).out;
    assert!(
        table.contains("(24 min left)") && table.contains("ssh sudo"),
        "{table}"
    );
    assert!(
        !table.contains('\u{1b}'),
        "no colour where there is no terminal"
    );
}

#[test]
fn of_a_long_list_the_newest_are_shown_and_where_that_is_asked_all_of_it() {
    let host = Host::new().with_server();
    let of = |id: &str| {
        let mut grant = grant(24);
        grant["id"] = json!(id);
        grant
    };
    let (first, second) = ("GET /v1/grants", "GET /v1/grants?before=g3");
    host.server_says(first, 200, json!([of("g4"), of("g3")]));
    host.server_links(first, "</v1/grants?before=g3>; rel=\"next\"");
    host.server_says(second, 200, json!([of("g2")]));
    let newest = host.jitctl(&["list", "grants", "--json"]);
    assert_eq!(newest.json(), json!([of("g4"), of("g3")]));
    assert!(newest.err.contains("newest 2; --all lists the older ones"));
    let all = host.jitctl(&["list", "grants", "--json", "--all"]);
    assert_eq!(all.json(), json!([of("g4"), of("g3"), of("g2")]));
    assert_eq!(all.err, "");
    // A server that leads from nothing to nothing is not followed for ever.
    host.server_says("GET /v1/requests", 200, json!([]));
    host.server_links("GET /v1/requests", "</v1/requests>; rel=\"next\"");
    let none = host.jitctl(&["list", "requests", "--json", "--all"]);
    assert_eq!(none.json(), json!([]));
}

fn revoked() -> Value {
    let mut grant = grant(24);
    grant["state"] = json!("revoked");
    grant["ended"] =
        json!({ "by": "bob", "at": "2026-11-20T10:20:00Z", "reason": "wrong\u{1b}[2J host" });
    grant
}

#[test]
fn a_grant_that_ended_says_when_and_how_and_not_what_it_would_have_left() {
    let host = Host::new().with_server();
    let mut released = revoked();
    released["state"] = json!("released");
    released["ended"] = json!({ "by": "alice", "at": in_minutes(-5), "reason": null });
    let mut expired = grant(-30);
    expired["state"] = json!("expired");
    let grants = json!([revoked(), released, expired]);
    host.server_says("GET /v1/grants", 200, grants);
    let list = host.jitctl(&["list", "grants"]).out;
    let lines: Vec<_> = list.lines().skip(1).collect();
    let ended = [
        "ended 2026-11-20 10:20 (",
        "(5 min ago), by alice",
        "(30 min ago)",
    ];
    for (line, ended) in lines.iter().zip(ended) {
        assert!(
            line.contains("  ended ") && line.contains(ended) && !line.contains("left"),
            "{list}"
        );
    }
    assert!(lines[0].ends_with("ago), by bob"), "{list}");
    assert!(!lines[2].contains(", by"), "{list}");
}

#[test]
fn times_in_what_the_server_says_look_like_all_others() {
    let host = Host::new().with_server();
    let locked = problem(
        403,
        "alice is locked since 2026-11-20T10:05:00Z: laptop stolen",
    );
    host.server_says("POST /v1/grants/g4/extend", 403, locked);
    let refused = host.jitctl(&["extend", "g4", "--for", "30m"]).err;
    assert_eq!(
        refused,
        "jitctl: alice is locked since 2026-11-20 10:05: laptop stolen\n"
    );
    let mut extended = approved();
    extended["timeline"] = json!([{
        "at": "2026-11-20T10:10:00Z", "actor": "alice", "what": "extended g4 until 2026-11-20T11:05:00Z",
    }]);
    host.server_says("GET /v1/requests/r17", 200, extended);
    let shown = host.jitctl(&["show", "r17"]).out;
    assert!(
        shown.ends_with("2026-11-20 10:10  alice  extended g4 until 2026-11-20 11:05\n"),
        "{shown}"
    );
    let json = host.jitctl(&["show", "r17", "--json"]).json();
    let what = json["timeline"][0]["what"].as_str().unwrap();
    assert!(what.ends_with("2026-11-20T11:05:00Z"), "{what}");
}

#[test]
fn show_says_how_a_grant_ended() {
    let host = Host::new().with_server();
    host.server_says("GET /v1/grants/g4", 200, revoked());
    let shown = host.jitctl(&["show", "g4"]).out;
    let line = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(
        line("Until").ends_with(", had it not ended before"),
        "{shown}"
    );
    assert!(line("Ended").contains("  2026-11-20 10:20 ("), "{shown}");
    assert!(
        line("Ended").ends_with(" ago), revoked by bob: wrong[2J host"),
        "{shown}"
    );
    assert!(!shown.contains("left"), "{shown}");
}

#[test]
fn requests_are_filtered_by_the_server() {
    let host = Host::new().with_server();
    host.server_says(
        "GET /v1/requests?state=pending&for_me=true",
        200,
        json!([request("pending")]),
    );
    for pending in [&["--state", "pending"][..], &["--pending"]] {
        let ended = host.jitctl(&[&["list", "requests", "--for-me"], pending].concat());
        assert!(ended.out.contains("0 of 1 approvals"), "{}", ended.out);
    }
}

#[test]
fn show_tells_the_story_of_a_request() {
    let host = Host::new().with_server();
    host.server_says("GET /v1/requests/r17", 200, approved());
    insta::assert_snapshot!(host.jitctl(&["show", "r17"]).out, @r"
    Request  r17
    State    approved
    Who      alice
    Role     web-admin
    Hosts    web1
    For      30 min
    Reason   disk full
    Ticket   OPS-1
    Grants   g4
    Comment  bob: go ahead

    WHEN              WHO    WHAT
    2026-11-20 10:00  alice  asked
    ");
}

fn sessions() -> Value {
    let event = |seq: u64, at: &str, kind: &str, detail: Value| {
        json!({
            "seq": seq, "at": at, "origin": "web1", "actor": "alice", "kind": kind, "subject": "g4", "detail": detail,
        })
    };
    let opened = |service: &str| json!({ "id": "abcdefgh23", "login": "alice", "service": service, "rhost": "192.0.2.7\u{1b}[2J", "enforced": true });
    let closed =
        json!({ "id": "abcdefgh23", "login": "alice", "grant": "g4", "principal": "alice" });
    let ended = json!({ "id": "abcdefgh23", "code": "JIT-301", "took_ms": 12, "killed": false });
    json!({
        "events": [
            event(7, "2026-11-20T10:06:00Z", "session.opened", opened("sshd")),
            event(8, "2026-11-20T10:07:00Z", "elevation.opened", opened("sudo")),
            event(9, "2026-11-20T10:08:00Z", "elevation.closed", closed),
            event(12, "2026-11-20T10:35:00Z", "session.ended", ended),
        ],
        "complete": true,
    })
}

#[test]
fn the_timeline_has_what_was_open_on_hosts_in_between() {
    let host = Host::new().with_server();
    let mut told = approved();
    told["timeline"] = json!([
        { "at": "2026-11-20T10:00:00Z", "actor": "alice", "what": "requested" },
        { "at": "2026-11-20T10:30:00Z", "actor": "alice", "what": "extended g4 until 2026-11-20T10:35:00Z" },
    ]);
    host.server_says("GET /v1/requests/r17", 200, told);
    host.server_says("GET /v1/grants/g4", 200, grant(-30));
    host.server_says("GET /v1/grants/g4/sessions", 200, sessions());
    for id in ["r17", "g4"] {
        let shown = host.jitctl(&["show", id]).out;
        let (_, timeline) = shown.split_once("\n\n").expect("a timeline");
        insta::allow_duplicates! {
            insta::assert_snapshot!(timeline, @r"
            WHEN              WHO    WHAT
            2026-11-20 10:00  alice  requested
            2026-11-20 10:06  alice  login opened on web1: sshd from 192.0.2.7[2J
            2026-11-20 10:07  alice  elevation opened on web1: sudo from 192.0.2.7[2J
            2026-11-20 10:08  alice  elevation closed on web1
            2026-11-20 10:30  alice  extended g4 until 2026-11-20 10:35
            2026-11-20 10:35  alice  login ended on web1: JIT-301, gone after 12 ms
            ");
        }
    }
    let json = host.jitctl(&["show", "g4", "--json"]).json();
    assert_eq!(json["sessions"], sessions());
    let json = host.jitctl(&["show", "r17", "--json"]).json();
    assert_eq!(json["sessions"][0]["grant"], "g4");
    assert_eq!(json["sessions"][0]["events"], sessions()["events"]);
}

#[test]
fn a_timeline_that_lacks_something_says_so() {
    let host = Host::new().with_server();
    host.server_says("GET /v1/requests/r17", 200, approved());
    let path = "GET /v1/grants/g4/sessions";
    host.server_says(path, 200, json!({ "events": null, "complete": true }));
    host.server_says(path, 200, json!({ "events": [], "complete": false }));
    let withheld = host.jitctl(&["show", "r17"]).out;
    assert!(
        withheld.ends_with("What was open on hosts is shown to whoever had it and to root.\n"),
        "{withheld}"
    );
    let cut = host.jitctl(&["show", "r17"]).out;
    assert!(cut.contains("Earlier logins are left out;"), "{cut}");
}

fn left_behind() -> Value {
    let thing = |kind: &str, path: &str, change: &str, several: bool| {
        json!({
            "at": "2026-11-20T10:31:00Z", "elevation": "abcdefgh23", "kind": kind, "path": path, "change": change, "one_of_several": several,
        })
    };
    json!({
        "items": [
            thing("authorized_keys", "/root/.ssh/authorized_keys", "changed", false),
            thing("setuid", "/var/tmp/\u{1b}[2Jsh", "new", true),
        ],
        "more": 3, "complete": false,
    })
}

#[test]
fn show_lists_what_the_elevations_of_a_grant_left_behind() {
    let host = Host::new().with_server();
    host.server_says("GET /v1/grants/g4", 200, grant(-30));
    host.server_says("GET /v1/grants/g4/left-behind", 200, left_behind());
    host.server_says("GET /v1/requests/r17", 200, approved());
    let shown = host.jitctl(&["show", "g4"]).out;
    let (_, table) = shown.split_once("Left behind").expect("a table");
    insta::assert_snapshot!(table, @r"
    : what changed on the host while elevations were open.
    FOUND             KIND             CHANGE   WHAT
    2026-11-20 10:31  authorized keys  changed  /root/.ssh/authorized_keys
    2026-11-20 10:31  setuid           new *    /var/tmp/[2Jsh
    * by one of several elevations that were open at the same time
    3 more are not listed.
    Not everything could be looked at: there may be more.
    ");
    let json: Value = serde_json::from_str(&host.jitctl(&["show", "g4", "--json"]).out).unwrap();
    assert_eq!(json["left_behind"], left_behind());
    let of_request = host.jitctl(&["show", "r17"]).out;
    assert!(of_request.contains("Left behind by g4"), "{of_request}");
    let json: Value = serde_json::from_str(&host.jitctl(&["show", "r17", "--json"]).out).unwrap();
    assert_eq!(json["left_behind"][0]["grant"], "g4");
    assert_eq!(json["left_behind"][0]["items"], left_behind()["items"]);
}

#[test]
fn show_says_nothing_of_elevations_that_left_nothing() {
    let host = Host::new().with_server();
    host.server_says("GET /v1/grants/g4", 200, grant(-30));
    let nothing = json!({ "items": [], "more": 0, "complete": true });
    host.server_says("GET /v1/grants/g4/left-behind", 200, nothing);
    host.server_says("GET /v1/requests/r17", 200, approved());
    for id in ["g4", "r17"] {
        let shown = host.jitctl(&["show", id]);
        assert!(
            shown.code == 0 && !shown.out.contains("Left behind"),
            "{}",
            shown.out
        );
    }
}

#[test]
fn hosts_that_gave_cause_for_an_alarm_are_marked_for_a_day() {
    let host = Host::new().with_server();
    let listed = |name: &str, last_alarm: String| json!({ "name": name, "host_id": "h1", "enrolled_at": "2026-11-20T10:05:00Z", "connected": true, "last_alarm": last_alarm });
    host.server_says(
        "GET /v1/hosts",
        200,
        json!([
            listed("web1", in_minutes(-2 * 60)),
            listed("web2", in_minutes(-25 * 60))
        ]),
    );
    let out = host.jitctl(&["list", "hosts"]).out;
    let states: Vec<_> = out.lines().map(|line| line.contains("alarm")).collect();
    assert_eq!(states, [false, true, false], "{out}");
}

#[test]
fn root_sees_how_the_gates_of_hosts_are() {
    let host = Host::new().with_server();
    let listed = |name: &str, gates: serde_json::Value| json!({ "name": name, "host_id": "h1", "enrolled_at": "2026-11-20T10:05:00Z", "gates": gates });
    let mut labelled = listed("web4", json!(null));
    labelled["labels"] = json!({ "env": "prod", "tier": "web" });
    host.server_says(
        "GET /v1/hosts",
        200,
        json!([
            listed(
                "web1",
                json!({ "sshd": "enforce", "su": "monitor", "sudo": "enforce" })
            ),
            listed("web2", json!({})),
            listed("web3", json!(null)),
            labelled,
        ]),
    );
    insta::assert_snapshot!(host.jitctl(&["list", "hosts"]).out, @r"
    HOST  ID  STATE  LABELS             GATES                 SEEN   ENROLLED
    web1  h1  away                      2 enforce, 1 monitor  never  2026-11-20 10:05
    web2  h1  away                      none                  never  2026-11-20 10:05
    web3  h1  away                                            never  2026-11-20 10:05
    web4  h1  away   env=prod tier=web                        never  2026-11-20 10:05
    ");
}

#[test]
fn codes_are_explained() {
    let said = Host::new().jitctl(&["explain", "JIT-101"]).out;
    let code = jit_grant::Code::NoGrant;
    assert_eq!(
        said,
        format!(
            "{code}: {}.\n{}\nWhat to do: {}\n",
            code.title(),
            code.explanation(),
            code.remedy()
        )
    );
    assert_eq!(Host::new().jitctl(&["explain", "JIT-999"]).code, 2);
}

#[test]
fn a_lock_says_what_it_ended_and_a_second_one_who_made_the_first() {
    let host = Host::new().with_server();
    let standing = |changed: bool| {
        json!({ "principal": "alice", "changed": changed, "ended": ["g4"],
        "lock": { "by": "@administrator", "at": "2026-11-20T10:05:00Z", "reason": "laptop stolen" } })
    };
    host.server_says("POST /v1/users/alice/lock", 200, standing(true));
    host.server_says("POST /v1/users/alice/lock", 200, standing(false));
    let lock = ["lock", "alice", "--reason", "laptop stolen"];
    let said = host.jitctl(&lock).out;
    assert_eq!(
        said,
        "alice is locked; g4 and all sessions of it end now.\n"
    );
    assert_eq!(
        host.jitctl(&lock).out,
        "alice is locked already, by @administrator since 2026-11-20 10:05: laptop stolen\n"
    );
    let lock = json!([{ "principal": "alice", "by": "@administrator", "at": in_minutes(-90), "reason": "laptop\u{1b}[2J stolen" }]);
    host.server_says("GET /v1/locks", 200, lock.clone());
    let listed = host.jitctl(&["list", "locks"]).out;
    assert!(
        listed.contains("(1 h 30 min ago)") && listed.ends_with("laptop[2J stolen\n"),
        "{listed}"
    );
    assert_eq!(host.jitctl(&["list", "locks", "--json"]).json(), lock);
    let unlocked = |changed: bool| json!({ "principal": "alice", "changed": changed, "ended": [], "lock": null });
    host.server_says("POST /v1/users/alice/unlock", 200, unlocked(false));
    assert_eq!(
        host.jitctl(&["unlock", "alice"]).out,
        "alice is not locked.\n"
    );
}

#[test]
fn somebody_who_is_locked_learns_so_from_status() {
    let host = Host::enrolled().with_server();
    let whoami =
        |lock: Value| json!({ "administrator": false, "principal": "alice", "lock": lock });
    let lock =
        json!({ "by": "root\u{1b}[2J", "at": "2026-11-20T10:05:00Z", "reason": "laptop stolen" });
    host.server_says("GET /v1/whoami", 200, whoami(lock.clone()));
    let said = host.jitctl(&["status"]).out;
    let line = "Your access is locked, by root[2J since 2026-11-20 10:05: laptop stolen\n";
    assert!(said.starts_with(line), "{said}");
    assert_eq!(host.jitctl(&["status", "--json"]).json()["lock"], lock);
    let free = Host::enrolled().with_server();
    free.server_says("GET /v1/whoami", 200, whoami(Value::Null));
    for host in [free, Host::enrolled()] {
        let said = host.jitctl(&["status"]);
        assert!(
            said.code == 0 && !said.out.contains("locked"),
            "{}",
            said.out
        );
    }
}
