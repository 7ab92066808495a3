//! What the server says in the tests.
use jiff::{Span, Timestamp};
use serde_json::{Value, json};

/// Half a minute further away, so that it is as many whole minutes for a while.
pub(crate) fn in_minutes(minutes: i64) -> String {
    let half = if minutes < 0 { -30 } else { 30 };
    in_seconds(minutes * 60 + half)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the tests stand beside a program that reads the real clock"
)]
pub(crate) fn in_seconds(seconds: i64) -> String {
    let at = Timestamp::now() + Span::new().seconds(seconds);
    at.round(jiff::Unit::Second).expect("a time").to_string()
}

pub(crate) fn request(state: &str) -> Value {
    json!({
        "id": "r17", "principal": "alice", "role": "web-admin", "hosts": ["web1"], "for_seconds": 1800, "reason": "disk full", "ticket": "OPS-1",
        "state": state, "asked_at": "2026-11-20T10:00:00Z", "lapses_at": in_minutes(60), "needed": 1, "denied": null,
        "approvals": [], "grants": [],
        "timeline": [{ "at": "2026-11-20T10:00:00Z", "actor": "alice", "what": "asked" }],
    })
}

pub(crate) fn approved() -> Value {
    let mut request = request("approved");
    request["grants"] = json!(["g4"]);
    request["approvals"] =
        json!([{ "by": "bob", "at": "2026-11-20T10:05:00Z", "stage": 1, "comment": "go ahead" }]);
    request
}

pub(crate) fn grant(minutes: i64) -> Value {
    json!({
        "id": "g4", "request": "r17", "principal": "alice", "login": "alice", "role": "web-admin", "host": "web1", "allow": ["ssh", "sudo"],
        "not_before": "2026-11-20T10:05:00Z", "expires": in_minutes(minutes), "state": "active", "ended": null,
        "approvals": [{ "by": "bob", "at": "2026-11-20T10:05:00Z", "stage": 1, "comment": null }], "reason": "disk full", "ticket": null,
    })
}

pub(crate) fn problem(status: u16, detail: &str) -> Value {
    json!({ "type": "about:blank", "title": "Problem", "status": status, "detail": detail, "code": "own-request" })
}
