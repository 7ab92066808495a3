//! Letting a caller in: only once both ends stand behind it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::{Action, Code, GroupName};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Serialize;

use super::cgroup::{Cgroup, ScopePath};
use super::elevated::login_above;
use super::held::{Held, Kind, Scope, Whose};
use super::pid1::Pid1;
use super::process::Stat;
use super::types::{Opening, Refused, SessionId, Standing};
use super::unit::OwnScope;
use super::{Inner, Process, Table};
use crate::peer::Peer;
use crate::record::NotRecorded;
use crate::residue::{self, Before};

/// An elevation that no session phase follows is ended this long after its account phase.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// An elevation that was refused after its caller was moved is ended this long after: the refusal is shown first.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

impl Inner {
    pub(super) async fn open_login(
        self: Arc<Self>,
        opening: Opening,
    ) -> Result<SessionId, Refused> {
        if let Some(id) = self.already_open(Kind::Login, &opening) {
            return Ok(id);
        }
        let id = self.begin(Kind::Login, &opening)?;
        // In monitor mode it is listed in any case, without a scope for as long as its process lives.
        match self.hold_login(&id, &opening).await {
            Err(refused) if opening.enforce => Err(self.give_up(&id, refused).await),
            _ => self.settle(id).await,
        }
    }

    async fn hold_login(
        self: &Arc<Self>,
        id: &SessionId,
        opening: &Opening,
    ) -> Result<(), Refused> {
        let scope = self.own_session_scope(&opening.peer).await?;
        let slice = ScopePath::parse(&scope.cgroup.path).map(|path| path.slice);
        self.add_scope(id, scope)?;
        if let Some(slice) = slice.filter(|_| opening.enforce) {
            self.hold_manager_beside(opening, &slice).await?;
            // It has none yet: they are told with the answer.
            let groups = self.held(id).ok_or_else(gone)?.query.groups;
            self.managers_end_with(&groups, &slice).await?;
        }
        self.stand_behind(id, &opening.peer).await
    }

    pub(super) async fn open_elevation(
        self: Arc<Self>,
        opening: Opening,
    ) -> Result<SessionId, Refused> {
        let kind = match opening.query.action {
            Action::Jobs => Kind::Job,
            _ => Kind::Elevation,
        };
        if let Some(id) = self.already_open(kind, &opening) {
            return Ok(id);
        }
        let id = self.begin(kind, &opening)?;
        let before = self.look_before(&id);
        if opening.enforce
            && let Err(refused) = self.hold_elevation(&id, kind, &opening).await
        {
            return Err(self.give_up(&id, refused).await);
        }
        if let Some(before) = before {
            self.residue.let_in(before).await;
        }
        self.settle(id).await
    }

    /// Begins to look at what there is, so that what the elevation leaves can be told from it. Done by the time its ends are armed.
    fn look_before(&self, id: &SessionId) -> Option<Before> {
        let held = self.held(id).filter(|held| held.kind == Kind::Elevation)?;
        let live = held.live.as_ref();
        Some(self.residue.opening(residue::Whose {
            id: held.id.to_string(),
            login: held.query.login.to_string(),
            principal: live.map(|live| live.principal.to_string()),
            grant: live.map(|live| live.grant.to_string()),
            gids: BTreeSet::new(),
        }))
    }

    /// From now on what the login `id`, which was given these groups, leaves of them is looked for at its end.
    pub(super) fn given_groups(&self, id: &SessionId, gids: BTreeSet<u32>) {
        let Some(held) = self.held(id).filter(|_| !gids.is_empty()) else {
            return;
        };
        let live = held.live.as_ref();
        self.residue.login(residue::Whose {
            id: held.id.to_string(),
            login: held.query.login.to_string(),
            principal: live.map(|live| live.principal.to_string()),
            grant: live.map(|live| live.grant.to_string()),
            gids,
        });
    }

    async fn hold_elevation(
        &self,
        id: &SessionId,
        kind: Kind,
        opening: &Opening,
    ) -> Result<(), Refused> {
        let scope = self.start_own_scope(id, kind, opening).await?;
        self.add_scope(id, scope)?;
        self.stand_behind(id, &opening.peer).await
    }

    /// Moves the caller into a new scope beside the one it is in.
    async fn start_own_scope(
        &self,
        id: &SessionId,
        kind: Kind,
        opening: &Opening,
    ) -> Result<Scope, Refused> {
        let from = opening.peer.cgroup().map_err(no_scope)?;
        let parent = opening.parent.as_ref().and_then(|parent| self.held(parent));
        let parent_scope = parent
            .as_ref()
            .and_then(|parent| parent.scope_of(&from).or_else(|| parent.scopes.first()));
        let parent_path = parent_scope.and_then(|scope| ScopePath::parse(&scope.cgroup.path));
        if kind == Kind::Job && Stat::of(opening.peer.pid).map_err(no_scope)?.parent == 1 {
            return Err(no_scope(
                "the caller is the daemon itself, not a child that runs a job",
            ));
        }
        let own_slice = || match kind {
            Kind::Job => "system.slice".to_owned(),
            _ => format!("user-{}.slice", opening.peer.real_uid),
        };
        let slice = parent_path.map_or_else(own_slice, |path| path.slice);
        let scope = OwnScope {
            pid: u32::try_from(opening.peer.pid).map_err(no_scope)?,
            slice: &slice,
            ends_with: parent_scope.map(|scope| scope.unit.as_str()),
            description: format!(
                "{} of {} held by jit",
                opening.query.service, opening.query.login
            ),
        };
        let name = OwnScope::name(kind, id);
        let mut pid1 = Pid1::connect().await.map_err(not_armed)?;
        pid1.start_scope(&name, scope.properties())
            .await
            .map_err(not_armed)?;
        let loaded = loaded_scope(&mut pid1, &name).await;
        // Where the caller died on the way, the pid that was moved may be a bystander's: that scope is never ended by us.
        if loaded.is_err() && opening.peer.still_there() {
            let _ = pid1.stop(&name).await;
        }
        loaded
    }

    /// The caller's scope, where logind made it for this very caller (T14).
    pub(super) async fn own_session_scope(&self, peer: &Peer) -> Result<Scope, Refused> {
        let cgroup = peer.cgroup().map_err(no_scope)?;
        let path = ScopePath::parse(&cgroup);
        let Some((path, session)) = path
            .as_ref()
            .and_then(|path| Some((path, path.logind_session()?)))
        else {
            return Err(no_scope(format!(
                "the caller is in {cgroup}, which is no login's scope"
            )));
        };
        if self
            .table()
            .held
            .values()
            .any(|held| held.scope_of(&cgroup).is_some())
        {
            return Err(no_scope(format!(
                "{} belongs to another session already",
                path.unit
            )));
        }
        let (leader, scope) = self.logind.leader(session).await.map_err(no_scope)?;
        if i64::from(leader) != i64::from(peer.pid) || scope != path.unit || !peer.still_there() {
            return Err(no_scope(format!(
                "logind made {} for process {leader}, not for this one",
                path.unit
            )));
        }
        let mut pid1 = Pid1::connect().await.map_err(not_armed)?;
        loaded_scope(&mut pid1, &path.unit).await
    }

    /// Puts it into the table, where every judgement from now on finds it. No await lies between judging it and that.
    pub(super) fn begin(&self, kind: Kind, opening: &Opening) -> Result<SessionId, Refused> {
        let id = self.fresh_id()?;
        let mut held = Held::new(id.clone(), kind, opening, self.clock.now());
        let mut table = self.table();
        held.audit_session = Self::audit_session(&table, kind, opening);
        let login = held.parent.as_ref().unwrap_or(&id);
        let login = login_above(&table, login).unwrap_or_else(|| login.clone());
        let standing = match kind {
            Kind::Login if opening.enforce => {
                self.judge.open_with_groups(&mut held.query, login.as_str())
            }
            _ => self.judge.open(&mut held.query, login.as_str()),
        };
        held.live = match standing {
            Standing::Live(live) => Some(live),
            Standing::Over { code, message } if opening.enforce => {
                return Err(Refused { code, message });
            }
            Standing::Over { .. } => None,
        };
        held.inherits_elevated(&table);
        self.follow_idling(&mut held);
        if opening.enforce {
            let parent_ended = |parent| {
                table
                    .held
                    .get(parent)
                    .is_none_or(|held| held.ending.is_some())
            };
            if opening.parent.as_ref().is_some_and(parent_ended) {
                self.give_back(&table, &held);
                return Err(not_armed("the session that it was started from has ended"));
            }
            held.confirm_by = kind
                .has_own_scope()
                .then(|| self.clock.boot() + CONFIRM_WITHIN);
        }
        if let Err(error) = self.registry.save(&held) {
            self.give_back(&table, &held);
            return Err(not_armed(error));
        }
        table.held.insert(id.clone(), held);
        drop(table);
        self.changed.notify_one();
        Ok(id)
    }

    fn fresh_id(&self) -> Result<SessionId, Refused> {
        loop {
            let mut bytes = [0; 10];
            getrandom(&mut bytes[..], GetRandomFlags::empty()).map_err(not_armed)?;
            let id = SessionId::from_bytes(bytes);
            if !self.registry.has(&id) && !self.table().held.contains_key(&id) {
                return Ok(id);
            }
        }
    }

    pub(super) fn already_open(&self, kind: Kind, opening: &Opening) -> Option<SessionId> {
        let leader = Process::of(&opening.peer);
        let table = self.table();
        let mut open = table
            .held
            .values()
            .filter(|held| held.kind == kind && held.leader == leader && held.ending.is_none());
        // pkexec becomes what it runs: the same process may by now be another login's, or do something else.
        let same = |held: &&Held| {
            held.query.login == opening.query.login
                && held.query.action == opening.query.action
                && held.enforce == opening.enforce
        };
        open.find(same).map(|held| held.id.clone())
    }

    pub(super) fn add_scope(&self, id: &SessionId, scope: Scope) -> Result<(), Refused> {
        // An end that began meanwhile does not know this scope.
        let add = |held: &mut Held| {
            if held.ending.is_some() {
                return Err(over(held));
            }
            held.scopes
                .retain(|known| !known.cgroup.has_gone() && known.cgroup != scope.cgroup);
            held.scopes.push(scope);
            Ok(())
        };
        self.change(id, add).ok_or_else(gone)?.map_err(not_armed)?
    }

    /// Arms PID 1's timer, and looks once more where the caller is now: only what will be ended is let in (T18).
    pub(super) async fn stand_behind(&self, id: &SessionId, peer: &Peer) -> Result<(), Refused> {
        self.arm(id).await.map_err(not_armed)?;
        let held = self.held(id).ok_or_else(gone)?;
        let cgroup = peer.cgroup().map_err(no_scope)?;
        // PID 1 may start a manager in a cgroup below its unit's; nobody else has one below his own by now.
        let there = |scope: &&Scope| match held.kind {
            Kind::Manager => scope.cgroup.holds(&cgroup),
            _ => scope.cgroup.path == cgroup,
        };
        match held.scopes.iter().find(there) {
            _ if held.ending.is_some() => Err(over(&held)),
            None => Err(no_scope(format!("the caller has moved to {cgroup}"))),
            Some(scope) if scope.cgroup.frozen() => Err(no_scope("the caller's cgroup is frozen")),
            Some(_) => Ok(()),
        }
    }

    /// The last steps before the answer: it is written down, and watched until nothing is left of it.
    pub(super) async fn settle(self: &Arc<Self>, id: SessionId) -> Result<SessionId, Refused> {
        let held = self.held(&id).ok_or_else(gone)?;
        if held.ending.is_some() {
            return Err(over(&held));
        }
        let used_up = self.keep_used_up(&held).await;
        let written = match used_up {
            Err(refused) if held.enforce => Err(refused),
            // In monitor mode it goes on in any case, so it is written down in any case.
            _ => self.note_opened(&held).map_err(not_recorded),
        };
        if let (Err(refused), true) = (written, held.enforce) {
            return Err(self.give_up(&id, refused).await);
        }
        tokio::spawn(Arc::clone(self).keep_until_gone(id.clone()));
        Ok(id)
    }

    /// Whoever was not let in has used nothing up, unless another part of the same login was let in by it, or is about to be.
    fn give_back(&self, table: &Table, held: &Held) {
        let Some((grant, login)) = held.used() else {
            return;
        };
        let mut others = table.held.values().filter(|other| other.id != held.id);
        if !others.any(|other| other.used() == held.used()) {
            self.judge.give_back(grant, login);
        }
    }

    /// From now on it has no part in what its login used up, also where it is still to be ended.
    fn uses_nothing(&self, id: &SessionId) {
        let mut table = self.table();
        if let Some(held) = table.held.get(id) {
            self.give_back(&table, held);
        }
        if let Some(held) = table.held.get_mut(id) {
            held.query.within = None;
        }
    }

    /// Where it is held open by what opens one login, that is on disk before the answer: whatever happens to jitd or to this machine then,
    /// it opens no second one.
    async fn keep_used_up(&self, held: &Held) -> Result<(), Refused> {
        if held.query.within.is_none() {
            return Ok(());
        }
        let judge = Arc::clone(&self.judge);
        // Away from the daemon's one thread, so that no end waits for the disk.
        let kept = tokio::task::spawn_blocking(move || judge.keep_uses()).await;
        kept.map_err(not_recorded)?.map_err(not_recorded)
    }

    fn note_opened(&self, held: &Held) -> Result<(), NotRecorded> {
        #[derive(Serialize)]
        struct Opened<'a> {
            #[serde(flatten)]
            whose: Whose<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            until: Option<Timestamp>,
            #[serde(skip_serializing_if = "Option::is_none")]
            parent: Option<&'a SessionId>,
            service: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            rhost: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            tty: Option<&'a str>,
            leader: i32,
            scopes: Vec<&'a str>,
            enforced: bool,
            #[serde(skip_serializing_if = "BTreeSet::is_empty")]
            groups: &'a BTreeSet<GroupName>,
        }
        let opened = Opened {
            whose: held.whose(),
            until: held.live.as_ref().map(|live| live.until),
            parent: held.parent.as_ref(),
            service: &held.query.service,
            rhost: held.query.rhost.as_deref(),
            tty: held.query.tty.as_deref(),
            leader: held.leader.pid,
            scopes: held
                .scopes
                .iter()
                .map(|scope| scope.unit.as_str())
                .collect(),
            enforced: held.enforce,
            groups: &held.query.groups,
        };
        self.record.write(&held.kind.event("opened"), opened)
    }

    /// Takes back what was begun. A caller that was moved is left for a moment, to show why it was refused.
    pub(super) async fn give_up(self: &Arc<Self>, id: &SessionId, refused: Refused) -> Refused {
        self.uses_nothing(id);
        let moved = self
            .held(id)
            .is_some_and(|held| held.kind.has_own_scope() && !held.scopes.is_empty());
        if moved {
            let soon = self.clock.boot() + AFTER_REFUSAL;
            self.change(id, |held| held.confirm_by = Some(soon));
            self.changed.notify_one();
            tokio::spawn(Arc::clone(self).keep_until_gone(id.clone()));
        } else {
            self.disarm(id).await;
            self.forget(id);
        }
        refused
    }
}

/// The scope or user manager `name` as systemd and the kernel know it now.
pub(super) async fn loaded_scope(pid1: &mut Pid1, name: &str) -> Result<Scope, Refused> {
    let loaded = pid1.unit(name).await.map_err(not_armed)?;
    let loaded = loaded.ok_or_else(|| no_scope(format!("systemd has no scope {name}")))?;
    let path = ScopePath::parse(&loaded.cgroup).filter(|path| path.unit == name);
    let path = path.ok_or_else(|| no_scope(format!("systemd has {name} at {}", loaded.cgroup)))?;
    let cgroup = Cgroup::at(&path.path).map_err(no_scope)?;
    Ok(Scope {
        unit: path.unit,
        invocation: loaded.invocation,
        cgroup,
    })
}

pub(super) fn no_scope(why: impl ToString) -> Refused {
    Refused {
        code: Code::NoScope,
        message: why.to_string(),
    }
}

pub(super) fn not_armed(why: impl ToString) -> Refused {
    Refused {
        code: Code::EndNotArmed,
        message: why.to_string(),
    }
}

fn not_recorded(why: impl ToString) -> Refused {
    Refused {
        code: Code::NotRecorded,
        message: why.to_string(),
    }
}

/// It was ended while it was being opened.
pub(super) fn over(held: &Held) -> Refused {
    let code = held.ending.map_or(Code::EndNotArmed, |ending| ending.code);
    Refused {
        code,
        message: code.title().to_owned(),
    }
}

pub(super) fn gone() -> Refused {
    not_armed("it ended while it was being opened")
}

#[cfg(test)]
mod tests;
