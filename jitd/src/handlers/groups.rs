//! Groups of grants: which of them can't be given to a login here and now, and where this host gives any.

use std::collections::BTreeSet;

use jit_grant::{Action, Code, Decision, GateMode, GroupName, Login, Query, Refusal};
use jit_local::message::control::Session;
use jit_local::message::pam::{Call, Verdict};

use super::evidence::Phase;
use super::{Hold, Host};
use crate::gates::Look;
use crate::peer::Peer;
use crate::session::Refused;
use crate::subject::Door;

/// The one PAM service that sets credentials again after its session phase, when nothing takes the groups away any more.
const GIVING: &str = "sshd";

/// The name under which a host announces that it gives groups, as a grant's `crit` has it.
pub(super) const NAME: &str = "groups";

impl<S: Hold> Host<S> {
    /// Groups of the grants of `login` that `call` can't give it: a grant with one of them lets nobody in.
    pub(super) fn lacking(
        &self,
        login: &Login,
        call: &Call,
        peer: &Peer,
        phase: Phase,
    ) -> BTreeSet<GroupName> {
        let mut named = self.grants.groups_of(login);
        // What would leave the login with a group could not be found otherwise. Before the last session line none may be set yet.
        let found_again =
            || phase != Phase::OpenAfter || !call.enforce || self.sessions.has_audit_session(peer);
        if !named.is_empty() && gives(call, phase) && found_again() {
            let known = self.groups.now();
            named.retain(|group| known.gid(group).is_none());
        }
        named
    }

    /// What is written down of a login's last line is what it is opened with: its groups may end before the rest.
    pub(super) fn decide_by_groups(
        &self,
        door: Door,
        phase: Phase,
        call: &Call,
        query: &Query,
    ) -> Decision {
        match (door, phase) {
            (Door::Login, Phase::OpenAfter) if call.enforce => self.grants.decide_login(query),
            _ => self.grants.decide(query),
        }
    }

    /// `verdict`, where it is a yes, with the groups that `session` was opened with, and its end, which is that of the first of them.
    /// Without one of them it is a no.
    pub(super) fn with_groups(&self, call: &Call, verdict: Verdict, session: Session) -> Verdict {
        if !verdict.allow {
            return verdict;
        }
        match self.give(&session) {
            Ok(gids) => Verdict {
                gids,
                grant: session.grant,
                until: session.until,
                ..verdict
            },
            Err(group) => self.lost(call, &session.login, &group),
        }
    }

    /// The numbers of the session's groups; what it leaves of them is looked for at its end. `Err` names one that has none by now.
    fn give(&self, session: &Session) -> Result<Vec<u32>, String> {
        if session.groups.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.groups.now();
        let gid = |name: &String| {
            let name: Option<GroupName> = name.parse().ok();
            name.and_then(|name| known.gid(&name))
        };
        let names = session.groups.iter();
        let gids = names.map(|name| gid(name).ok_or_else(|| name.clone()));
        let gids = gids.collect::<Result<BTreeSet<u32>, _>>()?;
        if let Ok(id) = session.id.parse() {
            self.sessions.given_groups(&id, gids.clone());
        }
        Ok(gids.into_iter().collect())
    }

    /// The group went from this host while the login was being opened.
    fn lost(&self, call: &Call, login: &str, group: &str) -> Verdict {
        let code = Code::GroupNotGiven;
        let refused = Refused {
            code,
            message: format!("the group {group} is not there any more"),
        };
        let refusal = Refusal::because(code).with_detail(group).to(Action::Ssh);
        Verdict {
            message: Some(self.grants.message(&refusal, login)),
            ..self.not_held(call, Action::Ssh, login, refused)
        }
    }
}

/// True where the one gate that gives groups enforces, be it until somebody confirms that, and has the line by which they are given. Any
/// other way in refuses the grants that have some.
pub(super) fn gives_groups(look: &Look) -> bool {
    let mut gates = look.gates.iter();
    gates.any(|(service, mode)| {
        service.as_str() == GIVING
            && [GateMode::Enforce, GateMode::Provisional].contains(mode)
            && look.with_groups.contains(service)
    })
}

/// Whether the caller can put its login into groups. In the account phase, and in monitor mode, where it is never called for that, what is
/// asked is whether it could.
fn gives(call: &Call, phase: Phase) -> bool {
    call.service == GIVING && (call.sets_groups || phase == Phase::Account || !call.enforce)
}
