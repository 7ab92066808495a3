//! Locks, removals and the ends of users' times: events that end whatever somebody has.

use jiff::Timestamp;
use jit_grant::{HostName, Principal, RequestId};

use super::super::user::{OTHER_LOGIN, PAST_END};
use super::{RequestState, Said, State};
use crate::event::{Actor, Entry, Event, UserSet};
use crate::text::Reason;
use crate::user_token::End;

impl State {
    pub(super) fn locked(&mut self, principal: &Principal, reason: &Reason, entry: &Entry) {
        if self.locks.contains_key(principal) {
            return;
        }
        let said = Said {
            by: entry.actor.clone(),
            at: entry.at,
            reason: reason.clone(),
        };
        self.locks.insert(principal.clone(), said.clone());
        for id in self.take_from(principal, reason, End::Locked, entry) {
            if let Some(request) = self.pending_mut(&id) {
                request.denied = Some(said.clone());
            }
            self.close(&id, RequestState::Denied, entry);
        }
    }

    /// Whose time was over begins anew: what he approved before counts no more where it is not decided yet. What would outlive his time ends, and what is for a login that he has no more on its host, also where the record does not say so
    /// before. Tokens that were made for a person are none for a program, nor the other way round: they end.
    pub(super) fn user_set(&mut self, user: &UserSet, entry: &Entry) {
        if self.turns(user) {
            self.user_tokens.end_of(&user.name, End::Turned, entry.at);
        }
        let before = self.directory.user(&user.name);
        if before.is_some_and(|before| before.has_ended(entry.at)) {
            self.take_back_approvals(&user.name, entry);
        }
        let before = self.directory.user(&user.name);
        // Of before there were several, records are taken as they are.
        let several = [before, Some(user)].into_iter().flatten();
        let several = several.into_iter().any(|user| !user.logins.is_empty());
        self.name_taken(&user.name, entry);
        self.directory.set_user(user.clone());
        let his = self.live_grants(entry.at);
        let his = his.filter(|grant| {
            several && grant.principal == user.name && self.is_for_another_login(grant, user)
        });
        for id in his.map(|grant| grant.id.clone()).collect::<Vec<_>>() {
            self.end(&id, Some(&Reason::ours(OTHER_LOGIN)), entry);
        }
        let past_end = self.outliving(user, entry.at);
        for id in past_end.map(|grant| grant.id.clone()).collect::<Vec<_>>() {
            self.end(&id, Some(&Reason::ours(PAST_END)), entry);
        }
    }

    /// What is for a login that its user has no more on `host`, by its labels now, ends, also where the record does not say so before.
    pub(super) fn labels_set(&mut self, host: &HostName, entry: &Entry) {
        let labels = self
            .directory
            .host(host)
            .map(|host| host.enrolled.labels.clone());
        let lost = self.lost_by_labels(host, &labels.unwrap_or_default(), None, entry.at);
        for event in lost {
            if let Event::Revoked { grant, reason } = event {
                self.end(&grant, Some(&reason), entry);
            }
        }
    }

    /// True where something of `principal` until just before `end` does not outlive his time.
    pub(super) fn is_within_time(&self, principal: &Principal, end: Timestamp) -> bool {
        let user = self.directory.user(principal);
        user.is_none_or(|user| user.covers_until(end))
    }

    /// His lock, where there is one, stays: adding him again must not undo it.
    pub(super) fn user_removed(&mut self, name: &Principal, reason: &Reason, entry: &Entry) {
        self.directory.remove_user(name);
        self.calls.forget_caller(&Actor::Principal(name.clone()));
        for id in self.take_from(name, reason, End::Removed, entry) {
            self.close(&id, RequestState::Withdrawn, entry);
        }
    }

    /// Ends the grants and tokens of `principal`, and takes back what he approved where it is not decided yet. Gives what he asks for
    /// and nobody has decided.
    fn take_from(
        &mut self,
        principal: &Principal,
        reason: &Reason,
        end: End,
        entry: &Entry,
    ) -> Vec<RequestId> {
        self.user_tokens.end_of(principal, end, entry.at);
        let his = self.live_grants(entry.at);
        let his = his.filter(|grant| grant.principal == *principal);
        for id in his.map(|grant| grant.id.clone()).collect::<Vec<_>>() {
            self.end(&id, Some(reason), entry);
        }
        self.take_back_approvals(principal, entry);
        let asked = self.pending_of(principal);
        asked.map(|asked| asked.asked.request.clone()).collect()
    }

    /// What `principal` approved counts no more where it is not decided yet.
    fn take_back_approvals(&mut self, principal: &Principal, entry: &Entry) {
        self.take_back_confirmations(principal);
        let pending: Vec<RequestId> = self.pending().map(|r| r.asked.request.clone()).collect();
        for id in pending {
            let Some(request) = self.pending_mut(&id) else {
                continue;
            };
            if request.approvals.iter().any(|given| given.by == *principal) {
                request.approvals.retain(|given| given.by != *principal);
                request.timeline.push(super::step(entry));
            }
        }
    }
}
