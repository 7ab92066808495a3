use super::*;
use jiff::tz::TimeZone;
use serde_json::json;

fn told(kind: &str, detail: Value) -> String {
    let event = Event {
        seq: 1,
        at: Timestamp::UNIX_EPOCH,
        origin: "web1".to_owned(),
        actor: Some("bob".to_owned()),
        kind: kind.to_owned(),
        subject: Some("g1".to_owned()),
        detail,
    };
    let times = Times {
        now: "2026-11-22T12:00:00Z".parse().expect("a time"),
        zone: TimeZone::UTC,
    };
    super::detail(&event, &times)
}

fn decision(more: Value) -> String {
    let mut fields = json!({ "phase": "account", "mode": "enforce", "service": "sshd", "login": "bob", "user": "bob",
        "rhost": "192.0.2.7", "tty": "ssh", "credential": "pending", "pid": 378, "real_uid": 0, "allow": true });
    if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
        fields.extend(more);
    }
    told("decision", fields)
}

#[test]
fn a_decision_says_what_was_to_be_entered_from_where_and_what_came_of_it() {
    let until = json!({ "grant": "g1", "principal": "bob", "until": "2026-11-22T12:41:27.154Z" });
    assert_eq!(
        decision(until),
        "allowed sshd from 192.0.2.7, until 12:41:27"
    );
    let refused = json!({ "allow": false, "code": "JIT-101", "mode": "monitor" });
    assert_eq!(
        decision(refused),
        "would refuse sshd from 192.0.2.7: JIT-101"
    );
    let su = json!({ "service": "su", "user": "root", "rhost": null, "allow": false, "code": "JIT-104" });
    assert_eq!(decision(su), "refused su to root: JIT-104");
}

#[test]
fn what_the_record_needs_is_told_in_words() {
    let needs = json!({ "version": 2, "for": "a service account" });
    assert_eq!(
        told("record_needs", needs),
        "servers that know version 2 of the record, for a service account"
    );
}

#[test]
fn a_session_is_told_from_its_beginning_to_its_end() {
    let opened = json!({ "id": "yl4y7lizjg", "login": "bob", "service": "sshd", "rhost": "192.0.2.7", "tty": "ssh", "leader": 378,
        "scopes": ["session-554.scope"], "enforced": false, "grant": "g1", "principal": "bob" });
    assert_eq!(
        told("session.opened", opened),
        "sshd from 192.0.2.7, only watched"
    );
    let ending = json!({ "id": "yl4y7lizjg", "login": "bob", "code": "JIT-301", "due": "2026-11-22T20:41:12Z",
        "first_signal_late_ms": 22, "processes": 4 });
    assert_eq!(
        told("session.ending", ending),
        "JIT-301, 4 processes told to go"
    );
    let ended = json!({ "id": "yl4y7lizjg", "login": "bob", "code": "JIT-301", "last_death_late_ms": 2040, "took_ms": 2028,
        "killed": true, "left": [17] });
    assert_eq!(
        told("elevation.ended", ended),
        "JIT-301, gone after 2028 ms, killed, still there: 17"
    );
    let closed = json!({ "id": "yl4y7lizjg", "login": "bob", "grant": "g1", "principal": "bob" });
    assert_eq!(told("session.closed", closed), "");
}

#[test]
fn a_request_is_told_with_its_reason_and_its_grants() {
    let policy = "0".repeat(64);
    let requested = json!({ "request": "r1", "principal": "bob", "login": "bob", "role": "operator", "hosts": ["web1"],
        "actions": ["ssh"], "for_seconds": 900, "reason": "disk full", "ticket": "OPS-1", "policy": policy });
    assert_eq!(
        told("requested", requested),
        "operator on web1 for 15 min: disk full [OPS-1]"
    );
    let granted = json!({ "request": "r1", "grants": [{ "grant": "g1", "host": "web1" }, { "grant": "g2", "host": "web2" }],
        "expires": "2026-11-22T12:41:27Z", "policy": policy });
    assert_eq!(
        told("granted", granted),
        "g1 on web1, g2 on web2, until 12:41:27"
    );
    let user = json!({ "name": "bob", "login": "deploy", "groups": ["engineers"], "keys": ["ssh-ed25519 AAAA"] });
    assert_eq!(
        told("user_set", user.clone()),
        "login deploy, in engineers, 1 key"
    );
    let mut vendor = user;
    vendor["until"] = json!("2026-11-22T12:41:27Z");
    vendor["attributes"] = json!({ "on_call": true, "team": "payments" });
    assert!(told("user_set", vendor).ends_with(", on_call=true, team=payments, until 12:41:27"));
    let service = json!({ "name": "ci", "login": "ci", "groups": [], "keys": [], "service": {} });
    assert_eq!(
        told("user_set", service),
        "service account, login ci, 0 keys"
    );
}

#[test]
fn an_alarm_is_told_in_the_servers_words_with_how_many_were_left_out() {
    let mut alarm = json!({ "host": "web-1", "alarm": { "cause": "chain_gap", "due": 2, "came": 4 },
        "said": "line 4 of its event chain came where line 2 was due, and was refused" });
    assert_eq!(
        told("alarm", alarm.clone()),
        "line 4 of its event chain came where line 2 was due, and was refused"
    );
    alarm["left_out"] = json!(500);
    assert!(told("alarm", alarm).ends_with("refused (500 more since the last one)"));
}

#[test]
fn a_refused_call_is_told_with_where_it_came_from_and_what_the_caller_heard() {
    let mut refused = json!({ "call": "POST /v1/requests/r1/approve", "status": 403, "code": "own-request", "why": "it is your own" });
    assert_eq!(
        told("call_refused", refused.clone()),
        "POST /v1/requests/r1/approve: it is your own"
    );
    refused["from"] = json!("192.0.2.7");
    refused["left_out"] = json!(3);
    assert_eq!(
        told("call_refused", refused),
        "POST /v1/requests/r1/approve from 192.0.2.7: it is your own (3 more since the last one)"
    );
}

#[test]
fn a_refused_call_of_whoever_is_no_user_is_told_with_the_account_or_host() {
    let by = |who: Value| {
        let mut refused = json!({ "call": "GET /v1/grants", "why": "no user of jit" });
        let all = refused.as_object_mut().unwrap();
        all.extend(who.as_object().unwrap().clone());
        told("call_refused", refused)
    };
    for (who, said) in [
        (
            json!({ "account": "www-data", "uid": 33 }),
            "account www-data",
        ),
        (json!({ "uid": 100_033 }), "uid 100033"),
        (json!({ "host": "web-1" }), "host web-1"),
    ] {
        assert_eq!(by(who), format!("GET /v1/grants by {said}: no user of jit"));
    }
}

#[test]
fn how_gates_are_is_told_by_service() {
    let state = json!({ "name": "web-1", "host_id": "h1", "version": "0.1.0", "gates": { "sshd": "enforce", "su": "monitor" } });
    assert_eq!(
        told("host_state", state),
        "jitd 0.1.0, gates: sshd enforce, su monitor"
    );
    let none = json!({ "name": "web-1", "host_id": "h1", "version": "0.1.0", "gates": {} });
    assert_eq!(told("host_state", none), "jitd 0.1.0, gates: none");
    assert_eq!(
        told(
            "gate.changed",
            json!({ "service": "sshd", "was": "enforce" })
        ),
        "sshd: was enforce, is not gated"
    );
}

#[test]
fn what_is_of_no_known_shape_is_shown_as_it_is_without_what_columns_show() {
    let fields = json!({ "grant": "g1", "principal": "bob", "why": "x", "pid": 7, "head": "a".repeat(64), "none": null });
    assert_eq!(told("decision", fields.clone()), "head=aaaaaaaaaaaa… why=x");
    assert_eq!(told("something.new", fields), "head=aaaaaaaaaaaa… why=x");
    assert_eq!(told("something.new", json!("text")), "");
}
