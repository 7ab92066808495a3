//! Which elevation a sudo or su process belongs to, and the session scopes that are opened from inside one (T6, T12).

use std::collections::HashSet;
use std::sync::Arc;

use jit_grant::Code;
use serde::Serialize;

use super::cgroup;
use super::held::{Held, Whose};
use super::open::{gone, no_scope, not_armed};
use super::process::{Process, ancestors};
use super::types::{Refused, SessionId};
use super::{Inner, Table};
use crate::peer::Peer;

/// Remembered openers beyond this many are looked through for processes that have gone.
const MANY_OPENERS: usize = 256;

impl Inner {
    pub(super) fn confirm_elevation(&self, peer: &Peer) -> Option<SessionId> {
        let process = Process::of(peer);
        let cgroup = peer.cgroup().ok()?;
        let mut table = self.table();
        let held = opened_by(&mut table, process, &cgroup, peer.real_uid)?;
        let confirmed = held.confirm_by.take().is_some();
        if confirmed {
            held.leader = process;
            // Where this can't be saved, a restart of jitd ends it: early, never late.
            let _ = self.registry.save(held);
        }
        let id = held.id.clone();
        table.remember(process, id.clone());
        if confirmed {
            self.take_along(&mut table, &id);
        }
        drop(table);
        self.changed.notify_one();
        Some(id)
    }

    pub(super) async fn adopt_scope(
        self: Arc<Self>,
        peer: Peer,
    ) -> Result<Option<SessionId>, Refused> {
        let Some(held) = self.elevation_of(&peer)? else {
            return Ok(None);
        };
        if !held.enforce {
            return Ok(Some(held.id));
        }
        let cgroup = peer.cgroup().map_err(no_scope)?;
        if held.scope_of(&cgroup).is_none() {
            let scope = self.own_session_scope(&peer).await?;
            self.note_adopted(&held, &scope.unit)?;
            let above = self.ends_with_all_above(&held, &scope.unit);
            self.add_scope(&held.id, scope)?;
            for ancestor in above {
                self.arm(&ancestor).await.map_err(not_armed)?;
            }
        }
        self.stand_behind(&held.id, &peer).await?;
        for taken in self.taken_along_by(&held) {
            self.arm(&taken).await.map_err(not_armed)?;
        }
        Ok(Some(held.id))
    }

    /// systemd binds a scope of ours to the one it was started from, but not one of logind's: the timers of everything above have
    /// to name it. Returns what is above.
    pub(super) fn ends_with_all_above(&self, held: &Held, scope: &str) -> Vec<SessionId> {
        let mut above = Vec::new();
        let mut table = self.table();
        let scopes = table.held.values().flat_map(|held| &held.scopes);
        let held_now: HashSet<String> = scopes.map(|scope| scope.unit.clone()).collect();
        let mut next = held.parent.clone();
        while let Some(ancestor) = next
            .filter(|id| !above.contains(id))
            .and_then(|id| table.held.get_mut(&id))
        {
            ancestor.also_ends.retain(|unit| held_now.contains(unit));
            ancestor.also_ends.push(scope.to_owned());
            let _ = self.registry.save(ancestor);
            above.push(ancestor.id.clone());
            next = ancestor.parent.clone();
        }
        above
    }

    /// By what was remembered of the process, and after a restart of jitd by where its ancestors sit.
    ///
    /// # Errors
    /// Where that elevation has ended meanwhile: nothing would ever end the scope that the process is in by now.
    fn elevation_of(&self, peer: &Peer) -> Result<Option<Held>, Refused> {
        let process = Process::of(peer);
        let mut table = self.table();
        if let Some(id) = table.openers.get(&process) {
            let held = table.held.get(id).cloned();
            return held.map(Some).ok_or_else(gone);
        }
        if let Some(held) = led_by(&mut table, process) {
            return Ok(Some(held.clone()));
        }
        let mut cgroups = ancestors(process.pid).filter_map(|pid| cgroup::of_process(pid).ok());
        Ok(cgroups.find_map(|cgroup| around(&mut table, &cgroup).map(|held| held.clone())))
    }

    pub(super) fn note_adopted(&self, held: &Held, scope: &str) -> Result<(), Refused> {
        #[derive(Serialize)]
        struct Adopted<'a> {
            #[serde(flatten)]
            whose: Whose<'a>,
            scope: &'a str,
        }
        let written = self.record.write(
            "elevation.adopted",
            Adopted {
                whose: held.whose(),
                scope,
            },
        );
        written.map_err(|error| Refused {
            code: Code::NotRecorded,
            message: error.to_string(),
        })
    }
}

/// The elevation whose account phase stands behind this session phase.
fn opened_by<'a>(
    table: &'a mut Table,
    process: Process,
    cgroup: &str,
    real_uid: u32,
) -> Option<&'a mut Held> {
    // The session phase comes once. A process that asks again has become another program (pkexec runs what it is asked to in its
    // own place), and its elevation says nothing about that one.
    let waits = |held: &Held| held.confirm_by.is_some() || real_uid == 0;
    let own = elevations(table).find(|held| held.leader == process && waits(held));
    if let Some(id) = own.map(|held| held.id.clone()) {
        return table.held.get_mut(&id);
    }
    // `sudo -b` forks between its account and its session phase, and nothing but sudo runs in there until the latter. Root may
    // open what it likes inside an elevation; anybody else needs a decision of its own.
    around(table, cgroup).filter(|held| waits(held))
}

/// The elevation that this very process opened.
fn led_by(table: &mut Table, process: Process) -> Option<&mut Held> {
    elevations(table).find(|held| held.leader == process)
}

/// The elevation that a process of this cgroup sits in.
fn around<'a>(table: &'a mut Table, cgroup: &str) -> Option<&'a mut Held> {
    elevations(table).find(|held| held.scope_of(cgroup).is_some())
}

fn elevations(table: &mut Table) -> impl Iterator<Item = &mut Held> {
    let held = table.held.values_mut();
    held.filter(|held| held.kind.has_own_scope() && held.ending.is_none())
}

impl Table {
    fn remember(&mut self, process: Process, elevation: SessionId) {
        if self.openers.len() >= MANY_OPENERS {
            self.openers.retain(|process, _| process.open().is_some());
        }
        self.openers.insert(process, elevation);
    }
}

#[cfg(test)]
mod tests;
