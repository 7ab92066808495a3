//! What is so after all that happened.

mod calls;
mod changes;
mod grants;
mod names;
mod numbers;
mod requests;
mod reviews;
mod service;
mod taken;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use jit_grant::{GrantId, HostId, HostName, Login, Principal, RequestId};

use super::Unconfirmed;
use crate::alarm::Alarm;
use crate::directory::Directory;
use crate::enrolment::{Tokens, Use};
use crate::event::{Actor, Entry, Event, Extended, Restored, UserSet};
use crate::key_chain::KeyChain;
use crate::text::Reason;
use crate::user_token::{End, UserTokens};

use changes::Changes;
use names::Since;
use numbers::Numbers;

pub use calls::{Calls, DoneOnce};
pub use changes::{Change, ChangeEnd, ChangeState, Confirmed, PolicyOnRecord};
pub use grants::{Ended, Grant, GrantState};
pub use requests::{Given, Request, RequestState, Step};
pub use reviews::{Done, Review};

/// Everything the server knows: the replay of its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Users and hosts.
    pub directory: Directory,
    /// Enrolment tokens.
    pub tokens: Tokens,
    /// Rotations of the signing key.
    pub keys: KeyChain,
    /// Users' tokens.
    pub user_tokens: UserTokens,
    /// Calls with a key.
    pub calls: Calls,
    requests: BTreeMap<u64, Request>,
    grants: BTreeMap<u64, Grant>,
    /// Grants neither revoked nor released; some of them may be past their time.
    unended: BTreeSet<u64>,
    unended_on: Numbers<HostName>,
    pending: BTreeSet<u64>,
    pending_for: Numbers<Login>,
    pending_of: Numbers<Principal>,
    requests_of: Numbers<Principal>,
    /// When each had grants last longer without a request, within a day before the last time.
    extensions_of: BTreeMap<Principal, VecDeque<Timestamp>>,
    /// Requests of break-glass roles whose use nobody has reviewed.
    unreviewed: BTreeSet<u64>,
    locks: BTreeMap<Principal, Said>,
    /// When each host gave cause for an alarm last.
    alarms: BTreeMap<HostId, Timestamp>,
    /// Ids go on above this.
    ids_above: u64,
    unconfirmed: Option<Unconfirmed>,
    /// The highest version that the record says it needs. 0: it says nothing.
    record_version: u32,
    changes: Changes,
    /// By the names of all who are or were users.
    since: BTreeMap<Principal, Since>,
    /// The policy in force, where the record has its text.
    policy: Option<PolicyOnRecord>,
}

/// A refusal, or a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// By whom.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// The number in an id such as `r17`. Ids are made by [`State::next_request`] and [`State::next_grant`] or parsed, so there is one.
fn number(id: &str) -> Option<u64> {
    id.get(1..)?.parse().ok()
}

impl State {
    /// All requests, oldest first.
    pub fn requests(&self) -> impl DoubleEndedIterator<Item = &Request> {
        self.requests.values()
    }

    /// The requests nobody has decided yet, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Request> {
        self.pending
            .iter()
            .filter_map(|number| self.requests.get(number))
    }

    /// The requests of `principal`, oldest first.
    pub fn requests_of(&self, principal: &Principal) -> impl DoubleEndedIterator<Item = &Request> {
        let numbers = self.requests_of.of(principal);
        numbers.filter_map(|number| self.requests.get(number))
    }

    /// Those of them that nobody has decided yet.
    pub fn pending_of(&self, principal: &Principal) -> impl Iterator<Item = &Request> {
        let numbers = self.pending_of.of(principal);
        numbers.filter_map(|number| self.requests.get(number))
    }

    /// The requests for `login`, whoever asks, that nobody has decided yet, oldest first.
    pub fn pending_for(&self, login: &Login) -> impl Iterator<Item = &Request> {
        let numbers = self.pending_for.of(login);
        numbers.filter_map(|number| self.requests.get(number))
    }

    /// All grants, oldest first.
    pub fn grants(&self) -> impl DoubleEndedIterator<Item = &Grant> {
        self.grants.values()
    }

    /// The grants that open something at `now` or will.
    pub fn live_grants(&self, now: Timestamp) -> impl Iterator<Item = &Grant> {
        self.unended
            .iter()
            .filter_map(|number| self.grants.get(number))
            .filter(move |grant| grant.is_live(now))
    }

    /// Those of them on `host`.
    pub fn live_grants_on(&self, host: &HostName, now: Timestamp) -> impl Iterator<Item = &Grant> {
        self.unended_on
            .of(host)
            .filter_map(|number| self.grants.get(number))
            .filter(move |grant| grant.is_live(now))
    }

    /// One request.
    #[must_use]
    pub fn request(&self, id: &RequestId) -> Option<&Request> {
        self.requests.get(&number(id.as_str())?)
    }

    /// One grant.
    #[must_use]
    pub fn grant(&self, id: &GrantId) -> Option<&Grant> {
        self.grants.get(&number(id.as_str())?)
    }

    /// The lock of `principal`, where there is one.
    #[must_use]
    pub fn lock(&self, principal: &Principal) -> Option<&Said> {
        self.locks.get(principal)
    }

    /// Everybody who is locked, by name.
    pub fn locks(&self) -> impl Iterator<Item = (&Principal, &Said)> {
        self.locks.iter()
    }

    /// When `host` gave cause for an alarm last.
    #[must_use]
    pub fn last_alarm(&self, host: &HostId) -> Option<Timestamp> {
        self.alarms.get(host).copied()
    }

    /// The restoration that is not confirmed, where there is one.
    #[must_use]
    pub fn unconfirmed(&self) -> Option<&Unconfirmed> {
        self.unconfirmed.as_ref()
    }

    /// The version that a server has to know to go by the record, from 1.
    #[must_use]
    pub fn record_version(&self) -> u32 {
        self.record_version.max(1)
    }

    /// The number of the request to come.
    #[must_use]
    pub fn next_request(&self) -> u64 {
        let last = self.requests.last_key_value();
        self.ids_above.max(last.map_or(0, |(number, _)| *number)) + 1
    }

    /// The number of the grant to come.
    #[must_use]
    pub fn next_grant(&self) -> u64 {
        let last = self.grants.last_key_value();
        self.ids_above.max(last.map_or(0, |(number, _)| *number)) + 1
    }

    /// Takes in what happened. What does not fit the state changes nothing: [`command`](super::command) makes no such event,
    /// and a record with one must not open anything.
    pub fn apply(&mut self, entry: &Entry) {
        if let Some(once) = entry.via.as_ref().and_then(|via| via.once.as_ref()) {
            self.calls.done(once, entry);
        }
        if self.is_unconfirmed(&entry.event) || self.is_decided_by_service(entry) {
            return;
        }
        match &entry.event {
            Event::UserSet(user) => self.user_set(user, entry),
            Event::UserRemoved { name, reason } => self.user_removed(name, reason, entry),
            Event::HostEnrolled(host) => {
                if let Some(token) = &host.token {
                    let (host, from) = (host.name.clone(), host.from);
                    let at = entry.at;
                    self.tokens.used(token, Use { at, host, from });
                }
                self.directory.set_host(host.clone(), entry.at);
                self.labels_set(&host.name, entry);
            }
            Event::HostRemoved { name, host_id } => {
                self.directory.remove_host(name);
                self.alarms.remove(host_id);
            }
            Event::HostState {
                host_id, standing, ..
            } => self.directory.set_standing(host_id, standing.clone()),
            Event::HostLabelled { name, labels } => {
                self.directory.label_host(name, labels);
                self.labels_set(name, entry);
            }
            Event::TokenMade(made) => self.tokens.made(made.clone(), entry.at),
            Event::EnrolmentRefused { token, .. } => self.tokens.refused(token),
            Event::TokenExpired { token } => self.tokens.expired(token),
            Event::TokenRevoked { token } => self.tokens.revoked(token),
            Event::KeyRotated(rotated) => self.keys.rotated(rotated.clone()),
            Event::UserTokenMade(made) => {
                self.user_tokens.made(made.clone(), &entry.actor, entry.at);
            }
            Event::UserTokenRefused { token, .. } => self.user_tokens.refused(token),
            Event::UserTokenRevoked { token, .. } => {
                self.user_tokens.ended(token, End::Revoked, entry.at)
            }
            Event::UserTokenExpired { token, .. } => {
                self.user_tokens.ended(token, End::Expired, entry.at)
            }
            Event::UserTokenSeen { token, .. } => self.user_tokens.seen(token),
            Event::Requested(asked) => self.requested(asked, entry),
            Event::Approved(approved) => self.approved(approved, entry),
            Event::Granted(granted) => self.granted(granted, entry),
            Event::Denied(denied) => self.denied(denied, entry),
            Event::Withdrawn { request } => self.close(request, RequestState::Withdrawn, entry),
            Event::Lapsed { request } => self.close(request, RequestState::Lapsed, entry),
            Event::Revoked { grant, reason } => self.end(grant, Some(reason), entry),
            Event::Released { grant } => self.end(grant, None, entry),
            Event::Extended(extended) => self.extended(extended, entry),
            Event::Locked { principal, reason } => self.locked(principal, reason, entry),
            Event::Unlocked { principal } => {
                self.locks.remove(principal);
            }
            Event::Restored(restored) => self.restored(restored, entry),
            Event::RestoreConfirmed => self.unconfirmed = None,
            Event::Alarm { host, alarm, .. } => self.alarmed(host.as_ref(), alarm, entry),
            Event::Reviewed(reviewed) => self.reviewed(reviewed, entry),
            Event::RecordNeeds(needs) => {
                self.record_version = self.record_version.max(needs.version);
            }
            Event::PolicyTaken { text, .. } => self.policy_taken(text.as_ref(), entry),
            Event::PolicyRefused { .. } | Event::CallRefused(_) => {}
            Event::ChangeProposed(proposed) => self.change_proposed(proposed, entry),
            Event::ChangeConfirmed(confirmed) => self.change_confirmed(confirmed, entry),
            Event::ChangeDone(done) => self.change_done(done, entry),
            Event::ChangeDenied(denied) => self.change_denied(denied, entry),
            Event::ChangeWithdrawn { change } => {
                self.end_change(change, ChangeState::Withdrawn, None, entry);
            }
            Event::ChangeLapsed { change } => {
                self.end_change(change, ChangeState::Lapsed, None, entry);
            }
        }
    }

    fn restored(&mut self, restored: &Restored, entry: &Entry) {
        let said = Said {
            by: entry.actor.clone(),
            at: entry.at,
            reason: restored.reason.clone(),
        };
        let live = self.live_grants(entry.at).map(|grant| grant.id.clone());
        for id in live.collect::<Vec<_>>() {
            self.end(&id, Some(&restored.reason), entry);
        }
        let pending: Vec<RequestId> = self.pending().map(|r| r.asked.request.clone()).collect();
        for id in pending {
            if let Some(request) = self.pending_mut(&id) {
                request.denied = Some(said.clone());
            }
            self.close(&id, RequestState::Denied, entry);
        }
        self.end_changes(entry);
        self.tokens.end_all(restored.ids_above);
        self.user_tokens.end_all(restored.ids_above, entry.at);
        self.ids_above = self.ids_above.max(restored.ids_above);
        self.unconfirmed = Some(Unconfirmed {
            restored: restored.clone(),
            at: entry.at,
            by: entry.actor.clone(),
            ahead: BTreeMap::new(),
        });
    }

    fn alarmed(&mut self, host: Option<&HostName>, alarm: &Alarm, entry: &Entry) {
        self.told_overdue(alarm, entry);
        let Some(host) = host.and_then(|name| self.directory.host(name)) else {
            return;
        };
        let enrolled = &host.enrolled;
        self.alarms.insert(enrolled.host_id.clone(), entry.at);
        if let (Some(unconfirmed), Alarm::ServerOlder { held, .. }) = (&mut self.unconfirmed, alarm)
        {
            unconfirmed.ahead.insert(enrolled.name.clone(), *held);
        }
    }
}

fn step(entry: &Entry) -> Step {
    let kind = entry.event.kind();
    let what = match &entry.event {
        Event::Locked { principal, .. }
        | Event::UserRemoved {
            name: principal, ..
        }
        | Event::UserSet(UserSet {
            name: principal, ..
        }) => format!("{kind} {principal}"),
        Event::Extended(Extended { grant, expires, .. }) => {
            format!("{kind} {grant} until {expires:.0}")
        }
        Event::Alarm { alarm, .. } => alarm.cause().replace('_', " "),
        event => event
            .grant()
            .map_or_else(|| kind.to_owned(), |grant| format!("{kind} {grant}")),
    };
    Step {
        at: entry.at,
        actor: entry.actor.clone(),
        what,
    }
}
