//! Requests: what was asked, what was said to it, and where it stands.

use jiff::Timestamp;
use jit_grant::{GrantId, Login, Principal, RequestId};
use serde::Serialize;

use super::super::span;
use super::{Grant, Review, Said, State, number, step};
use crate::event::{Actor, Approved, AtOnce, Counted, Denied, Entry, Granted, Requested};
use crate::text::Comment;

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
    /// Which of them its grants were made for. Empty: there are none yet, nobody had to approve, or the record does not say.
    counted: Vec<Counted>,
    /// Why nobody had to approve. None: somebody has to, or had to.
    pub at_once: Option<AtOnce>,
    /// The review of its use. None: its role is no break-glass role, or it was not granted.
    pub review: Option<Review>,
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
    /// Which stage of the policy at that time, from 1.
    pub stage: u32,
    /// For how long at most. Seconds.
    pub for_seconds: u32,
    /// What the approver added.
    pub comment: Option<Comment>,
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

impl Request {
    /// It is for the time and the groups that were asked for, and somebody has approved; or nobody has to, and the server alone grants it in
    /// the moment in which it is asked, under the policy that it is asked under.
    fn may_be_granted(&self, granted: &Granted, entry: &Entry) -> bool {
        if !span::fits(&self.asked, granted) || granted.limits.groups != self.asked.groups {
            return false;
        }
        if granted.at_once.is_none() {
            return !self.approvals.is_empty() && self.has_all(&granted.counted);
        }
        granted.counted.is_empty()
            && entry.actor == Actor::Server
            && entry.at == self.asked_at
            && granted.policy == self.asked.policy
            && self.approvals.is_empty()
    }

    /// The approvals that its grants were made for: all that were given where the record does not say which.
    pub fn counted(&self) -> impl Iterator<Item = &Given> {
        let all = self.approvals.iter();
        all.filter(|given| {
            self.counted.is_empty() || self.counted.iter().any(|counted| given.is(counted))
        })
    }

    /// True where each of `counted` was given.
    fn has_all(&self, counted: &[Counted]) -> bool {
        counted
            .iter()
            .all(|counted| self.approvals.iter().any(|given| given.is(counted)))
    }
}

impl Given {
    fn is(&self, counted: &Counted) -> bool {
        self.by == counted.by && self.stage == counted.stage
    }
}

impl State {
    pub(super) fn requested(&mut self, asked: &Requested, entry: &Entry) {
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
            counted: Vec::new(),
            at_once: None,
            review: None,
            denied: None,
            grants: Vec::new(),
            timeline: vec![step(entry)],
        };
        self.requests.insert(number, request);
        self.pending.insert(number);
        for login in asked.all_logins() {
            self.pending_for.add(login, number);
        }
        self.pending_of.add(&asked.principal, number);
        self.requests_of.add(&asked.principal, number);
    }

    pub(super) fn pending_mut(&mut self, id: &RequestId) -> Option<&mut Request> {
        self.requests
            .get_mut(&number(id.as_str())?)
            .filter(|request| request.state == RequestState::Pending)
    }

    /// Nobody approves his own, nobody when his time is over, and nobody one stage twice: approved again, since the policy has changed and it no longer counted, the later
    /// approval takes the place of the one before.
    pub(super) fn approved(&mut self, approved: &Approved, entry: &Entry) {
        let approver = self.directory.user(&approved.by);
        if approver.is_some_and(|user| user.has_ended(entry.at)) {
            return;
        }
        let Some(request) = self.pending_mut(&approved.request) else {
            return;
        };
        if request.asked.principal == approved.by {
            return;
        }
        request
            .approvals
            .retain(|given| given.by != approved.by || given.stage != approved.stage);
        request.approvals.push(Given {
            by: approved.by.clone(),
            at: entry.at,
            stage: approved.stage,
            for_seconds: approved.for_seconds,
            comment: approved.comment.clone(),
        });
        request.timeline.push(step(entry));
    }

    pub(super) fn granted(&mut self, granted: &Granted, entry: &Entry) {
        let next = self.next_grant();
        let asked = self.request(&granted.request).map(|request| &request.asked);
        if !asked.is_some_and(|asked| {
            self.is_within_time(&asked.principal, granted.expires) && self.has_its_logins(asked)
        }) {
            return;
        }
        let Some(request) = self.pending_mut(&granted.request) else {
            return;
        };
        if request.asked.extends.is_some() || !request.may_be_granted(granted, entry) {
            return;
        }
        request.at_once.clone_from(&granted.at_once);
        request.counted.clone_from(&granted.counted);
        request.review = Review::due(granted);
        let to_review = request.review.as_ref();
        let to_review = to_review.and_then(|_| number(granted.request.as_str()));
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
                login: asked.login_on(&one.host).clone(),
                role: asked.role.clone(),
                host: one.host.clone(),
                not_before: granted.not_before,
                expires: granted.expires,
                extendable_until: granted.extendable_until,
                end_login_with_elevation: granted.end_login_with_elevation,
                limits: granted.limits.clone(),
                ended: None,
            };
            request.grants.push(one.grant.clone());
            made.push((number, grant));
        }
        self.unended.extend(made.iter().map(|(number, _)| *number));
        for (number, grant) in &made {
            self.unended_on.add(&grant.host, *number);
        }
        self.grants.extend(made);
        self.unreviewed.extend(to_review);
        self.close(&granted.request, RequestState::Approved, entry);
    }

    pub(super) fn denied(&mut self, denied: &Denied, entry: &Entry) {
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

    pub(super) fn close(&mut self, id: &RequestId, state: RequestState, entry: &Entry) {
        let Some(request) = self.pending_mut(id) else {
            return;
        };
        request.state = state;
        request.timeline.push(step(entry));
        let logins: Vec<Login> = request.asked.all_logins().into_iter().cloned().collect();
        let principal = request.asked.principal.clone();
        if let Some(number) = number(id.as_str()) {
            self.pending.remove(&number);
            for login in &logins {
                self.pending_for.remove(login, number);
            }
            self.pending_of.remove(&principal, number);
        }
    }

    /// Adds a line to a request's timeline.
    pub(super) fn note(&mut self, id: &RequestId, entry: &Entry) {
        if let Some(request) = number(id.as_str()).and_then(|number| self.requests.get_mut(&number))
        {
            request.timeline.push(step(entry));
        }
    }
}
