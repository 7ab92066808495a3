//! What is so after all that happened.

mod taken;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jit_grant::{GrantId, HostId, HostName, Login, Principal, RequestId, RoleName};
use serde::Serialize;

use super::Unconfirmed;
use crate::alarm::Alarm;
use crate::directory::Directory;
use crate::enrolment::{Tokens, Use};
use crate::event::{Actor, Approved, Denied, Entry, Event, Extended, Granted, Requested, Restored};
use crate::key_chain::KeyChain;
use crate::text::{Comment, Reason};
use crate::user_token::{End, UserTokens};

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
    requests: BTreeMap<u64, Request>,
    grants: BTreeMap<u64, Grant>,
    /// Grants neither revoked nor released; some of them may be past their time.
    unended: BTreeSet<u64>,
    pending: BTreeSet<u64>,
    locks: BTreeMap<Principal, Said>,
    /// When each host gave cause for an alarm last.
    alarms: BTreeMap<HostId, Timestamp>,
    /// Ids go on above this.
    ids_above: u64,
    unconfirmed: Option<Unconfirmed>,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestState {
    /// Nobody has decided yet.
    Pending,
    /// Enough have approved, and there are grants.
    Approved,
    /// An approver said no.
    Denied,
    /// Taken back.
    Withdrawn,
    /// Nobody decided in time.
    Lapsed,
}

/// A request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What was asked.
    pub asked: Requested,
    /// When.
    pub asked_at: Timestamp,
    /// Where it stands.
    pub state: RequestState,
    /// The approvals so far.
    pub approvals: Vec<Given>,
    /// Who denied it and why.
    pub denied: Option<Said>,
    /// Its grants.
    pub grants: Vec<GrantId>,
    /// What happened, in order.
    pub timeline: Vec<Step>,
}

/// An approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// By whom.
    pub by: Principal,
    /// When.
    pub at: Timestamp,
    /// For how long at most. Seconds.
    pub for_seconds: u32,
    /// What the approver added.
    pub comment: Option<Comment>,
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

/// A line of a request's timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What happened: an event's kind, and the grant it was about.
    pub what: String,
}

/// A grant and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// The request that it answers.
    pub request: RequestId,
    /// Whose it is.
    pub principal: Principal,
    /// The login that it opens.
    pub login: Login,
    /// The role.
    pub role: RoleName,
    /// Where.
    pub host: HostName,
    /// In force from this instant …
    pub not_before: Timestamp,
    /// … until just before this one.
    pub expires: Timestamp,
    /// Extensions may move `expires` as far as this. None: it can't be extended.
    pub extendable_until: Option<Timestamp>,
    /// The end of an elevation ends the login that it was started from, too.
    pub end_login_with_elevation: bool,
    /// How it was ended before its time.
    pub ended: Option<Ended>,
}

/// The end of a grant before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// By whom.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// Why it was revoked. None: released by its own principal.
    pub reason: Option<Reason>,
}

/// Where a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantState {
    /// Its time has not come.
    Scheduled,
    /// In force.
    Active,
    /// Its time is over.
    Expired,
    /// Taken away.
    Revoked,
    /// Given back.
    Released,
}

impl Grant {
    /// Where it stands at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> GrantState {
        match &self.ended {
            Some(Ended {
                reason: Some(_), ..
            }) => GrantState::Revoked,
            Some(Ended { reason: None, .. }) => GrantState::Released,
            None if now >= self.expires => GrantState::Expired,
            None if now < self.not_before => GrantState::Scheduled,
            None => GrantState::Active,
        }
    }

    /// True where it opens something at `now` or will.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        matches!(self.state(now), GrantState::Scheduled | GrantState::Active)
    }
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
        match &entry.event {
            Event::UserSet(user) => self.directory.set_user(user.clone()),
            Event::UserRemoved { name, reason } => self.user_removed(name, reason, entry),
            Event::HostEnrolled(host) => {
                if let Some(token) = &host.token {
                    let (host, from) = (host.name.clone(), host.from);
                    let at = entry.at;
                    self.tokens.used(token, Use { at, host, from });
                }
                self.directory.set_host(host.clone(), entry.at);
            }
            Event::HostRemoved { name, host_id } => {
                self.directory.remove_host(name);
                self.alarms.remove(host_id);
            }
            Event::HostState {
                host_id, standing, ..
            } => self.directory.set_standing(host_id, standing.clone()),
            Event::HostLabelled { name, labels } => self.directory.label_host(name, labels),
            Event::TokenMade(made) => self.tokens.made(made.clone(), entry.at),
            Event::EnrolmentRefused { token, .. } => self.tokens.refused(token),
            Event::TokenExpired { token } => self.tokens.expired(token),
            Event::TokenRevoked { token } => self.tokens.revoked(token),
            Event::KeyRotated(rotated) => self.keys.rotated(rotated.clone()),
            Event::UserTokenMade(made) => self.user_tokens.made(made.clone(), entry.at),
            Event::UserTokenRefused { token, .. } => self.user_tokens.refused(token),
            Event::UserTokenRevoked { token, .. } => self.user_tokens.ended(token, End::Revoked),
            Event::UserTokenExpired { token, .. } => self.user_tokens.ended(token, End::Expired),
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
            Event::PolicyTaken { .. } | Event::PolicyRefused { .. } | Event::CallRefused(_) => {}
        }
    }

    fn requested(&mut self, asked: &Requested, entry: &Entry) {
        let Some(number) = number(asked.request.as_str()) else {
            return;
        };
        if number < self.next_request() {
            return;
        }
        let request = Request {
            asked: asked.clone(),
            asked_at: entry.at,
            state: RequestState::Pending,
            approvals: Vec::new(),
            denied: None,
            grants: Vec::new(),
            timeline: vec![step(entry)],
        };
        self.requests.insert(number, request);
        self.pending.insert(number);
    }

    fn pending_mut(&mut self, id: &RequestId) -> Option<&mut Request> {
        self.requests
            .get_mut(&number(id.as_str())?)
            .filter(|request| request.state == RequestState::Pending)
    }

    fn approved(&mut self, approved: &Approved, entry: &Entry) {
        let Some(request) = self.pending_mut(&approved.request) else {
            return;
        };
        if request
            .approvals
            .iter()
            .any(|given| given.by == approved.by)
            || request.asked.principal == approved.by
        {
            return;
        }
        request.approvals.push(Given {
            by: approved.by.clone(),
            at: entry.at,
            for_seconds: approved.for_seconds,
            comment: approved.comment.clone(),
        });
        request.timeline.push(step(entry));
    }

    fn granted(&mut self, granted: &Granted, entry: &Entry) {
        let next = self.next_grant();
        let Some(request) = self.pending_mut(&granted.request) else {
            return;
        };
        if request.approvals.is_empty() || request.asked.extends.is_some() {
            return;
        }
        let mut made = Vec::new();
        for one in &granted.grants {
            let Some(number) = number(one.grant.as_str()).filter(|number| *number >= next) else {
                continue;
            };
            let asked = &request.asked;
            let grant = Grant {
                id: one.grant.clone(),
                request: asked.request.clone(),
                principal: asked.principal.clone(),
                login: asked.login.clone(),
                role: asked.role.clone(),
                host: one.host.clone(),
                not_before: granted.not_before,
                expires: granted.expires,
                extendable_until: granted.extendable_until,
                end_login_with_elevation: granted.end_login_with_elevation,
                ended: None,
            };
            request.grants.push(one.grant.clone());
            made.push((number, grant));
        }
        self.unended.extend(made.iter().map(|(number, _)| *number));
        self.grants.extend(made);
        self.close(&granted.request, RequestState::Approved, entry);
    }

    fn denied(&mut self, denied: &Denied, entry: &Entry) {
        let Some(request) = self.pending_mut(&denied.request) else {
            return;
        };
        request.denied = Some(Said {
            by: Actor::Principal(denied.by.clone()),
            at: entry.at,
            reason: denied.reason.clone(),
        });
        self.close(&denied.request, RequestState::Denied, entry);
    }

    fn close(&mut self, id: &RequestId, state: RequestState, entry: &Entry) {
        let Some(request) = self.pending_mut(id) else {
            return;
        };
        request.state = state;
        request.timeline.push(step(entry));
        if let Some(number) = number(id.as_str()) {
            self.pending.remove(&number);
        }
    }

    /// Never over its limit, and never of a grant that has ended: nothing brings that back.
    fn extended(&mut self, extended: &Extended, entry: &Entry) {
        if let Some(id) = &extended.request {
            let approved = self.pending_mut(id).is_some_and(|request| {
                request.asked.extends.as_ref() == Some(&extended.grant)
                    && !request.approvals.is_empty()
            });
            if !approved {
                return;
            }
        }
        let number = number(extended.grant.as_str());
        let Some(grant) = number.and_then(|number| self.grants.get_mut(&number)) else {
            return;
        };
        let within = grant
            .extendable_until
            .is_some_and(|limit| extended.expires <= limit);
        if !grant.is_live(entry.at) || extended.expires <= grant.expires || !within {
            return;
        }
        grant.expires = extended.expires;
        let of = grant.request.clone();
        self.note(&of, entry);
        if let Some(id) = &extended.request {
            if let Some(request) = self.pending_mut(id) {
                request.grants.push(extended.grant.clone());
            }
            self.close(id, RequestState::Approved, entry);
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
        self.tokens.end_all(restored.ids_above);
        self.user_tokens.end_all(restored.ids_above);
        self.ids_above = self.ids_above.max(restored.ids_above);
        self.unconfirmed = Some(Unconfirmed {
            restored: restored.clone(),
            at: entry.at,
            by: entry.actor.clone(),
            ahead: BTreeMap::new(),
        });
    }

    fn alarmed(&mut self, host: Option<&HostName>, alarm: &Alarm, entry: &Entry) {
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

    /// Adds a line to a request's timeline.
    fn note(&mut self, id: &RequestId, entry: &Entry) {
        if let Some(request) = number(id.as_str()).and_then(|number| self.requests.get_mut(&number))
        {
            request.timeline.push(step(entry));
        }
    }

    fn end(&mut self, id: &GrantId, reason: Option<&Reason>, entry: &Entry) {
        let Some(number) = number(id.as_str()) else {
            return;
        };
        let Some(grant) = self
            .grants
            .get_mut(&number)
            .filter(|grant| grant.is_live(entry.at))
        else {
            return;
        };
        grant.ended = Some(Ended {
            by: entry.actor.clone(),
            at: entry.at,
            reason: reason.cloned(),
        });
        self.unended.remove(&number);
        let of = grant.request.clone();
        self.note(&of, entry);
    }

    /// Forgets which grants are past their time, so that looking for live ones stays quick.
    pub fn forget_expired(&mut self, now: Timestamp) {
        let grants = &self.grants;
        self.unended
            .retain(|number| grants.get(number).is_some_and(|grant| grant.is_live(now)));
    }
}

fn step(entry: &Entry) -> Step {
    let kind = entry.event.kind();
    let what = match &entry.event {
        Event::Locked { principal, .. }
        | Event::UserRemoved {
            name: principal, ..
        } => format!("{kind} {principal}"),
        Event::Extended(Extended { grant, expires, .. }) => {
            format!("{kind} {grant} until {expires:.0}")
        }
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
