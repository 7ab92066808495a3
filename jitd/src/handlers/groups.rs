//! Groups of grants: which of them can't be given to a login here and now, and where this host gives any.

use std::collections::BTreeSet;

use jit_grant::{GateMode, GroupName, Login, Service};
use jit_local::message::control::Session;
use jit_local::message::pam::{Call, Verdict};

use super::evidence::Phase;
use super::{Hold, Host};
use crate::gates::Look;
use crate::subject::Door;

/// The one PAM service that sets credentials again after its session phase, when nothing takes the groups away any more.
const GIVING: &str = "sshd";

/// The name under which a host announces that it gives groups, as a grant's `crit` has it.
pub(super) const NAME: &str = "groups";

impl<S: Hold> Host<S> {
    /// Groups of the grants of `login` that `call` can't give it: a grant with one of them lets nobody in.
    pub(super) fn lacking(&self, login: &Login, call: &Call, phase: Phase) -> BTreeSet<GroupName> {
        let mut named = self.grants.groups_of(login);
        if !named.is_empty() && gives(call, phase) {
            let known = self.groups.now();
            named.retain(|group| known.gid(group).is_none());
        }
        named
    }

    /// `verdict`, where it is a yes, with the groups that `session` was opened with, and its end, which is that of the first of them.
    pub(super) fn with_groups(&self, verdict: Verdict, session: Session) -> Verdict {
        if !verdict.allow {
            return verdict;
        }
        Verdict {
            gids: self.give(&session),
            grant: session.grant,
            until: session.until,
            ..verdict
        }
    }

    /// The numbers of the session's groups; what it leaves of them is looked for at its end.
    fn give(&self, session: &Session) -> Vec<u32> {
        if session.groups.is_empty() {
            return Vec::new();
        }
        let known = self.groups.now();
        let names = session.groups.iter();
        let gids = names.filter_map(|name| known.gid(&name.parse().ok()?));
        let gids: BTreeSet<u32> = gids.collect();
        if let Ok(id) = session.id.parse() {
            self.sessions.given_groups(&id, gids.clone());
        }
        gids.into_iter().collect()
    }
}

impl<S> Host<S> {
    /// True where every gated way to log in enforces and has the line by which groups are given, and there is one.
    pub(super) fn gives_groups(&self, look: &Look) -> bool {
        let settings = self.settings();
        let is_login = |service: &Service| {
            let action = settings.services.get(service.as_str()).copied();
            action.is_some_and(|action| Door::of(service.as_str(), action) == Door::Login)
        };
        let logins: Vec<_> = look
            .gates
            .iter()
            .filter(|(service, _)| is_login(service))
            .collect();
        let giving = |(service, mode): &(&Service, &GateMode)| {
            **mode == GateMode::Enforce && look.with_groups.contains(service)
        };
        !logins.is_empty() && logins.iter().all(giving)
    }
}

/// Whether the caller can put its login into groups. In the account phase, and in monitor mode, where it is never called for that, what is
/// asked is whether it could.
fn gives(call: &Call, phase: Phase) -> bool {
    call.service == GIVING && (call.sets_groups || phase == Phase::Account || !call.enforce)
}
