//! What a server has to know of to go by a record. A field that it does not know it leaves out when it reads an event, and takes a person
//! whose time has an end for one whose time has none. An event of a kind that it does not know it can't read at all, and stops speaking for
//! the record. So such an event stands in the record before the first one with such a field.

use jit_grant::Limits;
use serde::{Deserialize, Serialize};

use super::{Event, Granted, Requested, UserSet, UserTokenMade};

/// The version of the record that this server knows.
const KNOWN: u32 = 3;

/// From here on the record has what servers of a version before would leave out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordNeeds {
    /// Servers that know this version of the record, or a later one, go by all of it.
    pub version: u32,
    /// What of it came first.
    #[serde(rename = "for")]
    pub what: String,
}

impl RecordNeeds {
    /// What has to be in a record of `version` before `events`. None: nothing more than is there.
    #[must_use]
    pub fn before(events: &[Event], version: u32) -> Option<Self> {
        let most = events.iter().map(Event::needs).max()?;
        let first = events.iter().find(|event| event.needs() == most)?;
        (most > version).then_some(())?;
        Some(Self {
            version: most,
            what: first.beyond_first()?.1.to_owned(),
        })
    }

    /// True where this server goes by all of such a record.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.version <= KNOWN
    }
}

impl Event {
    /// The version of the record that a server has to know to go by it. Kinds speak for themselves.
    #[must_use]
    pub fn needs(&self) -> u32 {
        self.beyond_first().map_or(1, |(version, _)| version)
    }

    /// What of it servers of before a version would leave out, where somebody could do more for it, and that version.
    fn beyond_first(&self) -> Option<(u32, &'static str)> {
        let third = self.beyond_second().map(|what| (3, what));
        let second = match self {
            Self::UserSet(user) => of_user(user),
            Self::UserTokenMade(made) => of_token(made),
            Self::Requested(requested) => of_request(requested),
            Self::Granted(granted) => of_grant(granted),
            // Its kind speaks for itself, and not for what is new of users by then.
            Self::ChangeProposed(proposed) => proposed.wanted.users.iter().find_map(of_user),
            _ => None,
        };
        third.or(second.map(|what| (2, what)))
    }

    /// What of it servers of version 2 would leave out.
    fn beyond_second(&self) -> Option<&'static str> {
        match self {
            Self::Granted(granted) => of_limits(&granted.limits),
            // They would give it those that the role has when it is approved.
            Self::Requested(requested) if !requested.groups.is_empty() => {
                Some("a request with Unix groups")
            }
            Self::PolicyTaken { text: Some(_), .. } => {
                Some("a policy whose changes others confirm")
            }
            _ => None,
        }
    }
}

// Each field is named, so that a new one is not forgotten here.
fn of_user(user: &UserSet) -> Option<&'static str> {
    let UserSet {
        name: _,
        login: _,
        groups: _,
        keys: _,
        until,
        attributes,
        service,
        logins,
    } = user;
    if service.is_some() {
        Some("a service account")
    } else if until.is_some() {
        Some("a user whose time has an end")
    } else if !logins.is_empty() {
        Some("a user with other logins on some hosts")
    } else if !attributes.is_empty() {
        Some("a user with attributes")
    } else {
        None
    }
}

fn of_token(made: &UserTokenMade) -> Option<&'static str> {
    let UserTokenMade {
        token: _,
        user: _,
        secret: _,
        expires: _,
        scopes,
        // Of these two rotation goes, which servers of version 1 don't do.
        for_seconds: _,
        renewable_until: _,
        replaces,
    } = made;
    if !scopes.are_none() {
        Some("a token with scopes")
    } else if replaces.is_some() {
        Some("a token in the place of another")
    } else {
        None
    }
}

fn of_request(requested: &Requested) -> Option<&'static str> {
    let Requested {
        request: _,
        principal: _,
        login: _,
        role: _,
        hosts: _,
        actions: _,
        for_seconds: _,
        reason: _,
        ticket: _,
        extends: _,
        lapses_at: _,
        policy: _,
        not_before: _,
        asked_from: _,
        logins,
        // With these it needs a version more.
        groups: _,
    } = requested;
    (!logins.is_empty()).then_some("a request for other logins on some hosts")
}

fn of_grant(granted: &Granted) -> Option<&'static str> {
    let Granted {
        request: _,
        grants: _,
        not_before: _,
        expires: _,
        extendable_until: _,
        end_login_with_elevation: _,
        at_once: _,
        policy: _,
        limits,
        // Evidence: a server that leaves it out names all who approved, and nobody can do more.
        counted: _,
    } = granted;
    (!limits.are_none()).then_some("a grant with limits")
}

fn of_limits(limits: &Limits) -> Option<&'static str> {
    let Limits {
        login_from: _,
        single_use: _,
        idle,
        // Without them its logins may do less.
        groups: _,
    } = limits;
    idle.map(|_| "a grant whose logins may not be left alone")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(plain: &Value, more: &Value) -> Event {
        let mut event = plain.clone();
        let fields = more.as_object().unwrap().clone();
        event.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(event).unwrap()
    }

    fn plain() -> [Value; 4] {
        let (at, hash) = ("2026-11-22T12:00:00Z", "0".repeat(64));
        [
            json!({ "kind": "user_set", "name": "alice", "login": "alice", "groups": [], "keys": [] }),
            json!({ "kind": "user_token_made", "token": "u1", "user": "alice", "secret": hash, "expires": at, "for_seconds": 60 }),
            json!({ "kind": "requested", "request": "r1", "principal": "alice", "login": "alice", "role": "one", "hosts": ["web-1"],
                "actions": ["ssh"], "for_seconds": 60, "reason": "disk full", "lapses_at": at, "policy": hash }),
            json!({ "kind": "granted", "request": "r1", "grants": [], "not_before": at, "expires": at, "policy": hash }),
        ]
    }

    #[test]
    fn each_field_that_a_server_of_before_would_leave_out_needs_one_that_does_not() {
        let [user, token, requested, granted] = plain();
        let at = "2026-11-22T12:00:00Z";
        for (plain, more) in [
            (&user, json!({ "until": at })),
            (&user, json!({ "attributes": { "on_call": true } })),
            (&user, json!({ "service": {} })),
            (
                &user,
                json!({ "logins": [{ "hosts": ["db-*"], "login": "postgres" }] }),
            ),
            (&token, json!({ "scopes": ["read"] })),
            (
                &token,
                json!({ "replaces": { "token": "u7", "until": at } }),
            ),
            (&requested, json!({ "logins": { "web-1": "postgres" } })),
            (&granted, json!({ "limits": { "single_use": true } })),
            (&granted, json!({ "limits": { "groups": ["adm"] } })),
            (
                &granted,
                json!({ "limits": { "login_from": ["192.0.2.0/24"] } }),
            ),
        ] {
            let event = event(plain, &more);
            assert_eq!(event.needs(), 2, "{more}");
            let written = serde_json::to_value(&event).unwrap();
            for (field, _) in more.as_object().unwrap() {
                assert!(written.get(field).is_some(), "{field} is read");
            }
            let needs = RecordNeeds::before(std::slice::from_ref(&event), 1).unwrap();
            assert!(needs.is_known() && !needs.what.is_empty());
            assert_eq!(RecordNeeds::before(&[event], 2), None);
        }
    }

    #[test]
    fn a_policy_whose_text_is_on_record_needs_a_server_that_goes_by_it() {
        let plain = json!({ "kind": "policy_taken", "policy": "0".repeat(64), "roles": 0 });
        assert_eq!(event(&plain, &json!({})).needs(), 1);
        let taken = event(&plain, &json!({ "text": "" }));
        let needs = RecordNeeds::before(std::slice::from_ref(&taken), 2).unwrap();
        assert_eq!((needs.version, needs.is_known()), (3, true));
        assert_eq!(RecordNeeds::before(&[taken], 3), None);
    }

    #[test]
    fn a_grant_whose_logins_may_not_be_left_alone_needs_a_server_that_knows_of_that() {
        let [.., granted] = plain();
        let limited = event(&granted, &json!({ "limits": { "single_use": true } }));
        let alone = event(&granted, &json!({ "limits": { "idle": 900 } }));
        assert_eq!((limited.needs(), alone.needs()), (2, 3));
        let both = [limited, alone];
        for version in [1, 2] {
            let needs = RecordNeeds::before(&both, version).unwrap();
            assert_eq!(needs.version, 3);
            assert!(needs.is_known() && needs.what.contains("left alone"));
        }
        assert_eq!(RecordNeeds::before(&both, 3), None);
        assert!(
            serde_json::to_string(&both[1])
                .unwrap()
                .contains("\"idle\":900")
        );
    }

    #[test]
    fn a_request_with_groups_needs_a_server_that_gives_no_others() {
        let [_, _, requested, _] = plain();
        let with_groups = event(&requested, &json!({ "groups": ["adm"] }));
        let needs = RecordNeeds::before(std::slice::from_ref(&with_groups), 2).unwrap();
        assert_eq!((needs.version, needs.is_known()), (3, true));
        let written = serde_json::to_value(&with_groups).unwrap();
        assert_eq!(written["groups"], json!(["adm"]));
        assert_eq!(RecordNeeds::before(&[with_groups], 3), None);
    }

    #[test]
    fn a_record_without_such_fields_needs_nothing() {
        let events = plain().map(|plain| event(&plain, &json!({})));
        assert_eq!(RecordNeeds::before(&events, 1), None);
    }
}
