//! User managers (user@UID.service): what is started through them sits in no login's scope, and they live on with linger (T16).
//!
//! A manager is a session of its own. It asks as PID 1 starts it; one that runs already, from a time without a gate, is held with the
//! next login. All principals who may log in while it runs may have put something into it, so it ends with the first of them.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use jit_grant::{Action, Credential, Login, Query};

use super::Inner;
use super::cgroup::{Cgroup, ScopePath};
use super::held::{Held, Kind};
use super::open::{loaded_scope, no_scope, not_armed};
use super::pid1::Pid1;
use super::process::Stat;
use super::types::{Opening, Refused, SessionId, Standing};
use crate::peer::Peer;

/// logind keeps a file here for every login whose manager is to run without a login (`loginctl enable-linger`).
pub(super) const LINGER: &str = "/var/lib/systemd/linger";

impl Inner {
    pub(super) async fn open_manager(
        self: Arc<Self>,
        opening: Opening,
    ) -> Result<SessionId, Refused> {
        if let Some(id) = self.already_open(Kind::Manager, &opening) {
            return Ok(id);
        }
        let id = self.begin(Kind::Manager, &opening)?;
        if opening.enforce
            && let Err(refused) = self.hold_new_manager(&id, &opening.peer).await
        {
            return Err(self.give_up(&id, refused).await);
        }
        self.settle(id).await
    }

    /// The caller is what PID 1 forked to become the manager, in the unit's cgroup or in one below it.
    async fn hold_new_manager(&self, id: &SessionId, peer: &Peer) -> Result<(), Refused> {
        let cgroup = peer.cgroup().map_err(no_scope)?;
        let ScopePath { slice, unit, .. } = path_around(&cgroup)
            .ok_or_else(|| no_scope(format!("the caller is in {cgroup}, no user manager's")))?;
        if Stat::of(peer.pid).map_err(no_scope)?.parent != 1 {
            return Err(no_scope("the caller was not started by process 1"));
        }
        self.hold_unit(id, &unit).await?;
        // Only now: a login that opens from here on finds this manager.
        let groups = self.groups_beside(&slice);
        self.managers_end_with(&groups, &slice).await?;
        self.stand_behind(id, peer).await
    }

    /// Holds the manager that runs beside the login of `opening`, whose scope lies in `slice`, where nothing holds it yet.
    pub(super) async fn hold_manager_beside(
        self: &Arc<Self>,
        opening: &Opening,
        slice: &str,
    ) -> Result<(), Refused> {
        let Some(uid) = uid_of(slice) else {
            return Ok(());
        };
        let unit = format!("user@{uid}.service");
        let Ok(cgroup) = Cgroup::at(&format!("/user.slice/{slice}/{unit}")) else {
            return Ok(());
        };
        if !cgroup.populated() {
            return Ok(());
        }
        if let Some(id) = self.joined_by_login(&cgroup) {
            return self.arm(&id).await.map_err(not_armed);
        }
        let mut query = Query {
            action: Action::Ssh,
            credential: Credential::Pending,
            service: "systemd-user".to_owned(),
            ..opening.query.clone()
        };
        query.credential = Credential::Together(self.judge.holders(&query));
        let manager = Opening {
            query,
            ..opening.clone()
        };
        let id = self.begin(Kind::Manager, &manager)?;
        let held = match self.hold_unit(&id, &unit).await {
            Ok(()) => self.arm(&id).await.map_err(not_armed),
            Err(refused) => Err(refused),
        };
        match held {
            Ok(()) => self.settle(id).await.map(drop),
            Err(refused) => {
                let refused = self.give_up(&id, refused).await;
                if cgroup.populated() {
                    Err(refused)
                } else {
                    Ok(())
                }
            }
        }
    }

    async fn hold_unit(&self, id: &SessionId, unit: &str) -> Result<(), Refused> {
        let mut pid1 = Pid1::connect().await.map_err(not_armed)?;
        let scope = loaded_scope(&mut pid1, unit).await?;
        self.add_scope(id, scope)
    }

    /// The manager that is held already, with everybody in it who may log in by now.
    fn joined_by_login(&self, cgroup: &Cgroup) -> Option<SessionId> {
        let mut table = self.table();
        let held = table.held.values_mut().find(|held| {
            held.kind == Kind::Manager
                && held.enforce
                && held.scopes.iter().any(|scope| scope.cgroup == *cgroup)
        })?;
        let mut carried_on = None;
        if self.join(held)
            && let Standing::Live(live) = self.judge.standing(&held.query)
        {
            let grant = live.grant.clone();
            let was = held.live.replace(live);
            if was.is_none_or(|was| was.grant != grant) {
                carried_on = Some(held.clone());
            }
            let _ = self.registry.save(held);
        }
        let id = held.id.clone();
        drop(table);
        if let Some(held) = carried_on {
            self.note(&held, "carried_on", held.whose());
        }
        self.changed.notify_one();
        Some(id)
    }

    /// Adds to a manager whoever may log in now. True where somebody joined.
    pub(super) fn join(&self, held: &mut Held) -> bool {
        let holders = match held.kind {
            Kind::Manager if held.ending.is_none() => self.judge.holders(&held.query),
            _ => return false,
        };
        let Credential::Together(principals) = &mut held.query.credential else {
            return false;
        };
        let before = principals.len();
        principals.extend(holders);
        principals.len() > before
    }
}

/// Takes away what would let the manager of `login` come back at the next boot. Waits for the disk.
pub(super) fn forget_linger(login: &Login) {
    match fs::remove_file(Path::new(LINGER).join(login.as_str())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%login, %error, "linger could not be taken from a login; a gated systemd-user refuses its manager all the same");
        }
        _ => {}
    }
}

/// `user@UID.service`, where `cgroup` is that unit's or lies in it.
pub(super) fn unit_around(cgroup: &str) -> Option<String> {
    path_around(cgroup).map(|path| path.unit)
}

fn path_around(cgroup: &str) -> Option<ScopePath> {
    let mut parts = cgroup.splitn(5, '/');
    let path: Vec<&str> = parts.by_ref().take(4).collect();
    ScopePath::parse(&path.join("/")).filter(|path| path.unit.starts_with("user@"))
}

/// The UID of [`unit_around`].
pub(super) fn uid_around(cgroup: &str) -> Option<u32> {
    let unit = unit_around(cgroup)?;
    let uid = unit.strip_prefix("user@")?.strip_suffix(".service")?;
    uid.parse().ok()
}

/// The UID of `user-UID.slice`.
pub(super) fn uid_of(slice: &str) -> Option<u32> {
    let uid = slice.strip_prefix("user-")?.strip_suffix(".slice")?;
    uid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_known_by_its_unit_s_cgroup_and_by_what_lies_in_it() {
        let unit = Some("user@1000.service".to_owned());
        let at = "/user.slice/user-1000.slice/user@1000.service";
        assert_eq!(unit_around(at), unit);
        assert_eq!(unit_around(&format!("{at}/init.scope")), unit);
        for other in [
            "/user.slice/user-1000.slice/user@1001.service",
            "/user.slice/user-1000.slice/session-1.scope",
            "/user.slice/user-1000.slice",
            "/system.slice/user@1000.service",
            "/x/user.slice/user-1000.slice/user@1000.service",
            "",
        ] {
            assert_eq!(unit_around(other), None, "{other}");
        }
    }
}
