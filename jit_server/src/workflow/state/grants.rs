//! Grants: until when they are in force, and how they end.

use jiff::Timestamp;
use jit_grant::{GrantId, HostName, Limits, Login, Principal, RequestId, RoleName};
use serde::Serialize;

use super::super::asking::ONE_DAY;
use super::{RequestState, State, number};
use crate::event::{Actor, Entry, Extended};
use crate::text::Reason;

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
    /// What the host holds it to.
    pub limits: Limits,
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

impl State {
    /// Never over its limit or past the end of its user's time, and never of a grant that has ended: nothing brings that back. A server
    /// whose clock is ahead may have forgotten it already, and finds it among the live ones again.
    pub(super) fn extended(&mut self, extended: &Extended, entry: &Entry) {
        if let Some(id) = &extended.request {
            let approved = self.pending_mut(id).is_some_and(|request| {
                request.asked.extends.as_ref() == Some(&extended.grant)
                    && !request.approvals.is_empty()
            });
            if !approved {
                return;
            }
        }
        let Some(number) = number(extended.grant.as_str()) else {
            return;
        };
        let of = self.grants.get(&number);
        if !of.is_some_and(|grant| self.is_within_time(&grant.principal, extended.expires)) {
            return;
        }
        let Some(grant) = self.grants.get_mut(&number) else {
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
        self.unended.insert(number);
        self.unended_on.add(&grant.host, number);
        let principal = grant.principal.clone();
        self.note(&of, entry);
        if extended.request.is_none() {
            self.extended_at_once(principal, entry.at);
        }
        if let Some(id) = &extended.request {
            if let Some(request) = self.pending_mut(id) {
                request.grants.push(extended.grant.clone());
            }
            self.close(id, RequestState::Approved, entry);
        }
    }

    /// Keeps those of a day: no more are counted.
    fn extended_at_once(&mut self, principal: Principal, at: Timestamp) {
        let times = self.extensions_of.entry(principal).or_default();
        times.push_back(at);
        while let Some(first) = times.front().copied()
            && at.duration_since(first) >= ONE_DAY
        {
            times.pop_front();
        }
    }

    /// When `principal` had grants last longer without a request; none of those are missing that were within a day before the last time.
    pub fn extensions_of(&self, principal: &Principal) -> impl Iterator<Item = Timestamp> {
        self.extensions_of
            .get(principal)
            .into_iter()
            .flatten()
            .copied()
    }

    pub(super) fn end(&mut self, id: &GrantId, reason: Option<&Reason>, entry: &Entry) {
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
        self.unended_on.remove(&grant.host, number);
        let of = grant.request.clone();
        self.note(&of, entry);
    }

    /// Forgets which grants are past their time, so that looking for live ones stays quick.
    pub fn forget_expired(&mut self, now: Timestamp) {
        let grants = &self.grants;
        let lives = |number: &u64| grants.get(number).is_some_and(|grant| grant.is_live(now));
        self.unended.retain(lives);
        self.unended_on.retain(lives);
    }
}
