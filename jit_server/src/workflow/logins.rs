//! Logins that differ from host to host: a grant is for the login that its user has on its host, and ends where that becomes another.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jit_grant::{HostName, Login, Principal};

use super::command::Desk;
use super::{Grant, State};
use crate::event::{Event, Requested, UserSet};
use crate::label::{LabelKey, LabelValue};
use crate::text::Reason;

/// Why a grant is revoked whose host has other labels.
pub(super) const RELABELLED: &str = "the user has another login on this host, by its labels now";

impl State {
    /// What has to be revoked where the host `name` is to have `labels`: grants for logins that their users do not have there then. `users`
    /// are those that there are by then. None: those that there are now.
    #[must_use]
    pub fn lost_by_labels(
        &self,
        name: &HostName,
        labels: &BTreeMap<LabelKey, LabelValue>,
        users: Option<&BTreeMap<Principal, UserSet>>,
        now: Timestamp,
    ) -> Vec<Event> {
        let user = |name: &Principal| match users {
            Some(users) => users.get(name),
            None => self.directory.user(name),
        };
        let here = self.live_grants_on(name, now);
        let lost = here.filter(|grant| {
            user(&grant.principal).is_some_and(|user| {
                !user.logins.is_empty() && *user.login_on(name, labels) != grant.login
            })
        });
        lost.map(|grant| Event::Revoked {
            grant: grant.id.clone(),
            reason: Reason::ours(RELABELLED),
        })
        .collect()
    }

    /// True where `grant` is for another login than `user`, were he so, has on its host.
    pub(super) fn is_for_another_login(&self, grant: &Grant, user: &UserSet) -> bool {
        *self.directory.login_on(user, &grant.host) != grant.login
    }

    /// True where what was asked is for the logins that its user has. What was asked when nobody had several is taken as it is.
    pub(super) fn has_its_logins(&self, asked: &Requested) -> bool {
        let Some(user) = self.directory.user(&asked.principal) else {
            return true;
        };
        let same = |host| asked.login_on(host) == self.directory.login_on(user, host);
        (asked.logins.is_empty() && user.logins.is_empty()) || asked.hosts.iter().all(same)
    }
}

impl Desk<'_> {
    /// The logins of `user` on those of `hosts` where he has another than his usual one.
    pub(super) fn other_logins<'h>(
        &self,
        user: &UserSet,
        hosts: impl IntoIterator<Item = &'h HostName>,
    ) -> BTreeMap<HostName, Login> {
        let hosts = hosts.into_iter();
        let logins = hosts.map(|host| (host, self.state.directory.login_on(user, host)));
        logins
            .filter(|(_, login)| **login != user.login)
            .map(|(host, login)| (host.clone(), login.clone()))
            .collect()
    }
}
