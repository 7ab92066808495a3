//! One thing that an endpoint is told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::held::Due;
use crate::event::Event;

/// Never sent, though they are hashes: nobody elsewhere needs them.
const KEPT_BACK: [&str; 1] = ["secret"];
/// Nor are tokens, addresses and uids of callers: endpoints are read by more people than the whole record is.
const HOW_IT_CAME_IN: &str = "via";
/// The same in what the server's own events say themselves.
const OF_CALLERS: [&str; 3] = ["from", "asked_from", "uid"];
/// In an event that is about a token this is which one, and else what the caller showed.
const TOKEN: &str = "token";

/// Part of the record, as the API has it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Page {
    pub(super) events: Vec<Told>,
    pub(super) next: Option<u64>,
}

/// An event as the API tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) origin: String,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) detail: Map<String, Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Told {
    /// The event of the server's own. None for a host's line, and for one of a later server's that this program does not know.
    pub(super) fn own(&self) -> Option<Event> {
        if !self.is_own() {
            return None;
        }
        let mut event = self.detail.clone();
        event.insert("kind".to_owned(), self.kind.clone().into());
        serde_json::from_value(Value::Object(event)).ok()
    }

    /// What it may be chosen by: its kind, and of an alarm its cause, too.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let alarm = self.detail.get("alarm").filter(|_| self.kind == "alarm");
        let cause = alarm.and_then(|alarm| alarm.get("cause")?.as_str());
        std::iter::once(self.kind.as_str()).chain(cause)
    }

    fn keep_callers_back(&mut self) {
        // Somebody who may not ask from where he is is told so with his address, and an account without a name with its number.
        let from = self.detail.get("from").and_then(Value::as_str);
        let uid = self.detail.get("uid").and_then(Value::as_u64);
        let told = [from.map(str::to_owned), uid.map(|uid| format!("uid {uid}"))];
        if let Some(Value::String(why)) = self.detail.get_mut("why") {
            for of_caller in told.into_iter().flatten() {
                *why = why.replace(&of_caller, "…");
            }
        }
        for key in OF_CALLERS {
            self.detail.remove(key);
        }
        if self.detail.get(TOKEN) != self.rest.get("subject") {
            self.detail.remove(TOKEN);
        }
    }

    /// True where the server itself recorded it: only its time never runs backwards.
    pub(super) fn is_own(&self) -> bool {
        self.origin == "server"
    }
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// `webhook-id`: the same whenever this is sent to this endpoint, and never that of anything else.
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// When it happened.
    pub(super) timestamp: Timestamp,
    pub(super) data: Value,
}

impl Message {
    /// That `told` happened. Its time is in the id, since a database put back gives numbers again.
    pub(super) fn of_event(endpoint: &str, told: &Told) -> Self {
        let mut told = told.clone();
        for key in KEPT_BACK {
            told.detail.remove(key);
        }
        if told.is_own() {
            told.keep_callers_back();
        }
        told.rest.remove(HOW_IT_CAME_IN);
        Self {
            id: format!("msg_{endpoint}_{}_{}", told.seq, told.at.as_millisecond()),
            kind: told.kind.clone(),
            timestamp: told.at,
            data: json!(told),
        }
    }

    /// That a grant started or expired, in the form of an event.
    pub(super) fn of_due(endpoint: &str, due: &Due) -> Self {
        let id = format!(
            "msg_{endpoint}_{}_{}_{}",
            due.grant,
            due.kind,
            due.at.as_millisecond()
        );
        let data = json!({
            "at": due.at, "origin": "server", "actor": "@server", "kind": due.kind, "subject": due.grant, "detail": due,
        });
        Self {
            id,
            kind: due.kind.to_owned(),
            timestamp: due.at,
            data,
        }
    }

    /// The body: JSON with `type`, `timestamp` and `data`.
    pub(super) fn body(&self) -> Vec<u8> {
        let body = json!({ "type": self.kind, "timestamp": self.timestamp, "data": self.data });
        body.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_whole_but_for_secrets() {
        let told = json!({
            "seq": 7, "at": "2026-11-22T12:00:00Z", "origin": "server", "actor": "@administrator", "kind": "user_token_made",
            "subject": "u1", "detail": { "token": "u1", "user": "alice", "secret": "abc", "expires": "2026-11-23T12:00:00Z" },
            "via": { "token": "u7", "from": "192.0.2.1", "uid": null },
        });
        let message = Message::of_event("pager", &serde_json::from_value(told.clone()).unwrap());
        assert_eq!(message.id, "msg_pager_7_1795348800000");
        let body: Value = serde_json::from_slice(&message.body()).unwrap();
        let mut without = told.clone();
        without["detail"].as_object_mut().unwrap().remove("secret");
        without.as_object_mut().unwrap().remove("via");
        assert_eq!(
            body,
            json!({ "type": "user_token_made", "timestamp": told["at"], "data": without })
        );
    }

    /// The names of all events of the server. Serde lists them when it meets another one.
    fn all_kinds() -> Vec<String> {
        let unknown = serde_json::from_value::<Event>(json!({ "kind": "" }));
        let listed = unknown.unwrap_err().to_string();
        let (_, listed) = listed.split_once("expected one of ").unwrap();
        let named = listed.split(", ").map(|name| name.trim_matches('`'));
        named.map(str::to_owned).collect()
    }

    #[test]
    fn no_event_of_any_kind_tells_an_endpoint_from_where_and_by_which_token_it_was_called() {
        let kinds = all_kinds();
        assert!(kinds.len() > 40 && kinds.contains(&"call_refused".to_owned()));
        for kind in kinds {
            let told = json!({
                "seq": 7, "at": "2026-11-22T12:00:00Z", "origin": "server", "actor": "alice", "kind": kind, "subject": "r1",
                "detail": { "from": "192.0.2.9", "asked_from": "192.0.2.9", "token": "u99", "uid": 4_242, "why": "uid 4242 is nobody, not from 192.0.2.9" },
                "via": { "token": "u99", "from": "192.0.2.9", "uid": 4_242 },
            });
            let told: Told = serde_json::from_value(told).unwrap();
            let data = Message::of_event("pager", &told).data;
            assert_eq!(
                data["detail"],
                json!({ "why": "… is nobody, not from …" }),
                "{kind}"
            );
            assert_eq!(data.get("via"), None, "{kind}");
        }
    }

    #[test]
    fn which_token_an_event_is_about_is_told_and_a_hosts_line_is_whole() {
        let data = |origin: &str, subject: &str, detail: Value| {
            let told = json!({
                "seq": 7, "at": "2026-11-22T12:00:00Z", "origin": origin, "kind": "user_token_refused", "subject": subject, "detail": detail,
            });
            let told: Told = serde_json::from_value(told).unwrap();
            Message::of_event("pager", &told).data["detail"].clone()
        };
        let refused = json!({ "token": "u7", "user": "alice", "from": "192.0.2.9" });
        assert_eq!(
            data("server", "u7", refused),
            json!({ "token": "u7", "user": "alice" })
        );
        let line = json!({ "from": "enforce", "rhost": "192.0.2.9" });
        assert_eq!(data("web-1", "s1", line.clone()), line);
    }

    #[test]
    fn an_alarm_is_chosen_by_its_cause_too_and_nothing_else_is() {
        let names = |kind: &str| -> Vec<String> {
            let told = json!({
                "seq": 7, "at": "2026-11-22T12:00:00Z", "origin": "server", "kind": kind,
                "detail": { "alarm": { "cause": "chain_gap", "due": 2, "came": 4 } },
            });
            let told: Told = serde_json::from_value(told).unwrap();
            if kind == "alarm" {
                assert_eq!(told.own().unwrap().kind(), "alarm");
            }
            told.names().map(str::to_owned).collect()
        };
        assert_eq!(names("alarm"), ["alarm", "chain_gap"]);
        assert_eq!(names("released"), ["released"]);
    }

    #[test]
    fn an_id_is_that_of_one_event_at_one_endpoint() {
        let told = |seq: u64, at: &str| -> Told {
            serde_json::from_value(
                json!({ "seq": seq, "at": at, "origin": "server", "kind": "released" }),
            )
            .unwrap()
        };
        let id = |endpoint: &str, told: &Told| Message::of_event(endpoint, told).id;
        let one = told(7, "2026-11-22T12:00:00Z");
        assert_eq!(id("a", &one), id("a", &one.clone()));
        for other in [
            told(8, "2026-11-22T12:00:00Z"),
            told(7, "2026-11-22T12:00:01Z"),
        ] {
            assert_ne!(id("a", &one), id("a", &other));
        }
        assert_ne!(id("a", &one), id("b", &one));
    }
}
