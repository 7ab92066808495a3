//! From the state to what a host is told.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jit_grant::{Action, Allow, Approval, Bundle, HostId, Login, Principal, RequestNote};

use crate::directory::Host;
use crate::event::{Event, UserSet};
use crate::workflow::{Grant, Request, State};

/// The revision after `last`: at least the time, so that a server restored from an older copy never falls behind its hosts.
#[must_use]
pub fn next_revision(last: u64, now: Timestamp) -> u64 {
    let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or(0);
    last.saturating_add(1).max(milliseconds)
}

/// The hosts whose bundles `events` change, seen from the state before them.
#[must_use]
pub fn touched(state: &State, events: &[Event], now: Timestamp) -> BTreeSet<HostId> {
    let mut ids = BTreeSet::new();
    for event in events {
        match event {
            Event::HostEnrolled(host) => {
                ids.insert(host.host_id.clone());
            }
            Event::Granted(granted) => {
                let hosts = granted
                    .grants
                    .iter()
                    .filter_map(|one| state.directory.host(&one.host));
                ids.extend(hosts.map(|host| host.enrolled.host_id.clone()));
            }
            Event::Revoked { .. } | Event::Released { .. } | Event::Extended(_) => {
                let host = event
                    .grant()
                    .and_then(|grant| state.directory.host(&state.grant(grant)?.host));
                ids.extend(host.map(|host| host.enrolled.host_id.clone()));
            }
            Event::Locked { principal, .. } => {
                let his = state
                    .live_grants(now)
                    .filter(|grant| grant.principal == *principal);
                let hosts = his.filter_map(|grant| state.directory.host(&grant.host));
                ids.extend(hosts.map(|host| host.enrolled.host_id.clone()));
            }
            Event::Restored(_) => {
                let hosts = state.directory.hosts();
                ids.extend(hosts.map(|host| host.enrolled.host_id.clone()));
            }
            Event::UserSet(user) => {
                ids.extend(concerned_by_user(state, &user.name, Some(user), now));
            }
            Event::UserRemoved { name, .. } => {
                ids.extend(concerned_by_user(state, name, None, now));
            }
            // Whose a login is there may go by its labels.
            Event::HostLabelled { name, .. } => {
                let host = state.directory.host(name);
                let host = host.filter(|_| state.live_grants_on(name, now).next().is_some());
                ids.extend(host.map(|host| host.enrolled.host_id.clone()));
            }
            _ => {}
        }
    }
    ids
}

/// A user's keys are in his own grants, and whether a login is shared in those of everybody who has it. `after` is how he is from now
/// on.
fn concerned_by_user(
    state: &State,
    name: &Principal,
    after: Option<&UserSet>,
    now: Timestamp,
) -> BTreeSet<HostId> {
    let both = [state.directory.user(name), after];
    let his: BTreeSet<&Login> = both
        .into_iter()
        .flatten()
        .flat_map(UserSet::all_logins)
        .collect();
    let concerned = state
        .live_grants(now)
        .filter(|grant| grant.principal == *name || his.contains(&grant.login));
    let hosts = concerned.filter_map(|grant| state.directory.host(&grant.host));
    hosts.map(|host| host.enrolled.host_id.clone()).collect()
}

/// What `host` is told at `now`: every grant that is in force there or will be.
#[must_use]
pub fn bundle(state: &State, host: &Host, revision: u64, now: Timestamp) -> Bundle {
    let here = state.live_grants_on(&host.enrolled.name, now);
    let grants = here
        .filter_map(|grant| Some(described(state, grant, state.request(&grant.request)?)))
        .collect();
    Bundle {
        host: host.enrolled.host_id.clone(),
        revision,
        issued_at: now,
        grants,
        void: Vec::new(),
    }
}

fn described(state: &State, grant: &Grant, request: &Request) -> jit_grant::Grant {
    let actions = &request.asked.actions;
    let user = state.directory.user(&grant.principal);
    jit_grant::Grant {
        id: grant.id.clone(),
        principal: grant.principal.clone(),
        login: grant.login.clone(),
        role: grant.role.clone(),
        not_before: grant.not_before,
        expires: grant.expires,
        extendable_until: grant.extendable_until,
        allow: Allow {
            ssh: actions.contains(&Action::Ssh),
            sudo: actions.contains(&Action::Sudo),
            su: actions.contains(&Action::Su),
            jobs: actions.contains(&Action::Jobs),
        },
        end_login_with_elevation: grant.end_login_with_elevation,
        keys: user
            .map(|user| {
                user.keys
                    .iter()
                    .map(|key| key.fingerprint().clone())
                    .collect()
            })
            .unwrap_or_default(),
        shared: state
            .directory
            .with_login_on(&grant.login, &grant.host)
            .nth(1)
            .is_some(),
        request: RequestNote {
            id: grant.request.clone(),
            reason: request.asked.reason.to_string(),
            ticket: request.asked.ticket.as_ref().map(ToString::to_string),
        },
        approvals: request
            .counted()
            .map(|given| Approval {
                by: given.by.clone(),
                at: given.at,
                stage: given.stage,
            })
            .collect(),
        crit: grant
            .limits
            .names()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        limits: grant.limits.clone(),
        statement: None,
        signatures: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_server_never_falls_behind_its_hosts() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let milliseconds = u64::try_from(now.as_millisecond()).unwrap();
        assert_eq!(next_revision(3, now), milliseconds);
        assert_eq!(next_revision(milliseconds, now), milliseconds + 1);
        assert_eq!(next_revision(u64::MAX, now), u64::MAX);
    }
}
