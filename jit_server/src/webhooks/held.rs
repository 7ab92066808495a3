//! The grants that the record has made and not ended, so that their start and their end can be told when they come: the record has no
//! event for either, since both lie in `granted` and `extended` already.
//!
//! Pure: the time is that of the events, or a parameter.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jit_grant::{GrantId, HostName, Login, Principal, RequestId, RoleName};
use serde::{Deserialize, Serialize};

use crate::event::{Event, Extended, Granted, Requested};

/// What the start of a grant is called.
pub(super) const STARTED: &str = "started";
/// What the end of a grant is called whose time is over.
pub(super) const EXPIRED: &str = "expired";

/// Requests that may become grants, and grants that are to start or to expire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    asked: BTreeMap<RequestId, Asked>,
    grants: BTreeMap<GrantId, Grant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    principal: Principal,
    login: Login,
    role: RoleName,
    /// On these hosts it is for another login.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    logins: BTreeMap<HostName, Login>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    #[serde(flatten)]
    asked: Asked,
    request: RequestId,
    host: HostName,
    not_before: Timestamp,
    expires: Timestamp,
    /// Its start was told.
    started: bool,
}

/// A grant's start or end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Due {
    #[serde(skip)]
    pub(super) at: Timestamp,
    /// [`STARTED`] or [`EXPIRED`].
    #[serde(skip)]
    pub(super) kind: &'static str,
    pub(super) grant: GrantId,
    request: RequestId,
    principal: Principal,
    login: Login,
    role: RoleName,
    host: HostName,
    not_before: Timestamp,
    expires: Timestamp,
}

impl Held {
    /// Takes in what happened at `at`. Whatever is due before that must have been told.
    pub(super) fn take(&mut self, event: &Event) {
        match event {
            Event::Requested(asked) => self.asked(asked),
            Event::Granted(granted) => self.granted(granted),
            Event::Denied(denied) => {
                self.asked.remove(&denied.request);
            }
            Event::Withdrawn { request } | Event::Lapsed { request } => {
                self.asked.remove(request);
            }
            Event::Revoked { grant, .. } | Event::Released { grant } => {
                self.grants.remove(grant);
            }
            Event::Extended(extended) => self.extended(extended),
            Event::Locked { principal, .. }
            | Event::UserRemoved {
                name: principal, ..
            } => {
                self.asked.retain(|_, asked| asked.principal != *principal);
                self.grants
                    .retain(|_, grant| grant.asked.principal != *principal);
            }
            Event::Restored(_) => *self = Self::default(),
            _ => {}
        }
    }

    fn asked(&mut self, asked: &Requested) {
        if asked.extends.is_some() {
            return;
        }
        let wanted = Asked {
            principal: asked.principal.clone(),
            login: asked.login.clone(),
            role: asked.role.clone(),
            logins: asked.logins.clone(),
        };
        self.asked.insert(asked.request.clone(), wanted);
    }

    fn granted(&mut self, granted: &Granted) {
        let Some(asked) = self.asked.remove(&granted.request) else {
            return;
        };
        let made = granted.grants.iter().map(|one| {
            let grant = Grant {
                asked: asked.on(&one.host),
                request: granted.request.clone(),
                host: one.host.clone(),
                not_before: granted.not_before,
                expires: granted.expires,
                started: false,
            };
            (one.grant.clone(), grant)
        });
        self.grants.extend(made);
    }

    fn extended(&mut self, extended: &Extended) {
        if let Some(grant) = self.grants.get_mut(&extended.grant) {
            grant.expires = extended.expires;
        }
    }

    /// What comes next.
    pub(super) fn next(&self) -> Option<Due> {
        let soonest = self.grants.iter().min_by_key(|(_, grant)| grant.next().0);
        soonest.map(|(id, grant)| grant.due(id))
    }

    /// It was told.
    pub(super) fn told(&mut self, due: &Due) {
        match self.grants.get_mut(&due.grant) {
            Some(grant) if due.kind == STARTED => grant.started = true,
            _ => {
                self.grants.remove(&due.grant);
            }
        }
    }
}

impl Asked {
    /// With the login that is asked for on `host`.
    fn on(&self, host: &HostName) -> Self {
        Self {
            login: self.logins.get(host).unwrap_or(&self.login).clone(),
            logins: BTreeMap::new(),
            ..self.clone()
        }
    }
}

impl Grant {
    fn next(&self) -> (Timestamp, &'static str) {
        if self.started {
            (self.expires, EXPIRED)
        } else {
            (self.not_before, STARTED)
        }
    }

    fn due(&self, id: &GrantId) -> Due {
        let (at, kind) = self.next();
        let Asked {
            principal,
            login,
            role,
            logins: _,
        } = self.asked.clone();
        Due {
            at,
            kind,
            grant: id.clone(),
            request: self.request.clone(),
            principal,
            login,
            role,
            host: self.host.clone(),
            not_before: self.not_before,
            expires: self.expires,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(json: serde_json::Value) -> Event {
        serde_json::from_value(json).unwrap()
    }

    /// alice has g1 on web-1 from 12:00 to 13:00, bob asks.
    fn held() -> Held {
        let mut held = Held::default();
        for (request, principal) in [("r1", "alice"), ("r2", "bob")] {
            held.take(&event(json!({
                "kind": "requested", "request": request, "principal": principal, "login": principal, "role": "web-admin",
                "hosts": ["web-1"], "actions": ["ssh"], "for_seconds": 3600, "reason": "disk full",
                "lapses_at": "2026-11-23T12:00:00Z", "policy": "",
            })));
        }
        held.take(&event(json!({
            "kind": "granted", "request": "r1", "grants": [{ "grant": "g1", "host": "web-1" }],
            "not_before": "2026-11-22T12:00:00Z", "expires": "2026-11-22T13:00:00Z", "policy": "",
        })));
        held
    }

    fn told(held: &mut Held) -> Vec<(String, &'static str)> {
        let mut all = Vec::new();
        while let Some(due) = held.next() {
            held.told(&due);
            all.push((due.at.to_string(), due.kind));
        }
        all
    }

    #[test]
    fn a_grant_starts_once_and_expires_once_at_its_last_end() {
        let ends = |end: &str| {
            [
                ("2026-11-22T12:00:00Z".to_owned(), STARTED),
                (end.to_owned(), EXPIRED),
            ]
        };
        let mut held = held();
        assert_eq!(told(&mut held.clone()), ends("2026-11-22T13:00:00Z"));
        held.take(&event(json!({
            "kind": "extended", "grant": "g1", "for_seconds": 1800, "expires": "2026-11-22T13:30:00Z", "reason": "more", "policy": "",
        })));
        assert_eq!(told(&mut held), ends("2026-11-22T13:30:00Z"));
        assert_eq!(told(&mut held), []);
    }

    #[test]
    fn what_ends_otherwise_never_expires() {
        for end in [
            json!({ "kind": "revoked", "grant": "g1", "reason": "done" }),
            json!({ "kind": "released", "grant": "g1" }),
            json!({ "kind": "locked", "principal": "alice", "reason": "laptop stolen" }),
            json!({ "kind": "user_removed", "name": "alice", "reason": "she left" }),
            json!({ "kind": "restored", "copy_seq": 1, "copy_at": "2026-11-22T12:00:00Z", "ids_above": 9, "reason": "restored" }),
        ] {
            let mut held = held();
            held.told(&held.next().unwrap());
            held.take(&event(end.clone()));
            assert_eq!(held.next(), None, "{end}");
        }
    }

    #[test]
    fn a_lock_ends_nothing_of_others() {
        let mut held = held();
        held.take(&event(
            json!({ "kind": "locked", "principal": "bob", "reason": "laptop stolen" }),
        ));
        assert_eq!(told(&mut held).len(), 2);
        assert_eq!(held, Held::default(), "and what bob asked is forgotten");
    }

    #[test]
    fn each_grant_is_told_with_the_login_of_its_host() {
        let mut held = Held::default();
        held.take(&event(json!({
            "kind": "requested", "request": "r1", "principal": "alice", "login": "alice", "role": "web-admin",
            "hosts": ["web-1", "db-1"], "actions": ["ssh"], "for_seconds": 3600, "reason": "disk full",
            "lapses_at": "2026-11-23T12:00:00Z", "policy": "", "logins": { "db-1": "postgres" },
        })));
        held.take(&event(json!({
            "kind": "granted", "request": "r1",
            "grants": [{ "grant": "g1", "host": "db-1" }, { "grant": "g2", "host": "web-1" }],
            "not_before": "2026-11-22T12:00:00Z", "expires": "2026-11-22T13:00:00Z", "policy": "",
        })));
        let mut logins = Vec::new();
        while let Some(due) = held.next() {
            held.told(&due);
            logins.push(format!("{} {}@{}", due.kind, due.login, due.host));
        }
        logins.sort();
        assert_eq!(
            logins,
            [
                "expired alice@web-1",
                "expired postgres@db-1",
                "started alice@web-1",
                "started postgres@db-1"
            ]
        );
    }
}
