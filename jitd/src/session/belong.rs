//! Which elevation a sudo or su process belongs to, and the session scopes that are opened from inside one (T6, T12).

use std::sync::Arc;

use jit_grant::Code;
use serde::Serialize;

use super::held::{Held, Kind};
use super::process::Process;
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
        let id = match led_by(&mut table, process) {
            Some(held) => {
                if held.confirm_by.take().is_some() {
                    // Where this can't be saved, a restart of jitd ends it: early, never late.
                    let _ = self.registry.save(held);
                }
                held.id.clone()
            }
            // Anybody else's sudo inside an elevation needs a decision of its own.
            None if peer.real_uid == 0 => around(&table, &cgroup)?.id.clone(),
            None => return None,
        };
        table.remember(process, id.clone());
        drop(table);
        self.changed.notify_one();
        Some(id)
    }

    pub(super) async fn adopt_scope(
        self: Arc<Self>,
        peer: Peer,
    ) -> Result<Option<SessionId>, Refused> {
        let Some(held) = self.elevation_of(&peer) else {
            return Ok(None);
        };
        if !held.enforce {
            return Ok(Some(held.id));
        }
        let cgroup = peer.cgroup().map_err(super::open::no_scope)?;
        if held.scope_of(&cgroup).is_none() {
            let scope = self.own_session_scope(&peer).await?;
            self.note_adopted(&held, &scope.unit)?;
            self.add_scope(&held.id, scope)?;
        }
        self.stand_behind(&held.id, &peer).await?;
        Ok(Some(held.id))
    }

    fn elevation_of(&self, peer: &Peer) -> Option<Held> {
        let process = Process::of(peer);
        let mut table = self.table();
        if let Some(held) = table
            .openers
            .get(&process)
            .and_then(|id| table.held.get(id))
        {
            return Some(held.clone());
        }
        led_by(&mut table, process).cloned()
    }

    fn note_adopted(&self, held: &Held, scope: &str) -> Result<(), Refused> {
        #[derive(Serialize)]
        struct Adopted<'a> {
            id: &'a SessionId,
            scope: &'a str,
        }
        let written = self.record.write(
            "elevation.adopted",
            Adopted {
                id: &held.id,
                scope,
            },
        );
        written.map_err(|error| Refused {
            code: Code::NotRecorded,
            message: error.to_string(),
        })
    }
}

/// The elevation that the account phase of this very process opened.
fn led_by(table: &mut Table, process: Process) -> Option<&mut Held> {
    let mut elevations = table
        .held
        .values_mut()
        .filter(|held| held.kind == Kind::Elevation && held.ending.is_none());
    elevations.find(|held| held.leader == process)
}

/// The elevation that a process of this cgroup sits in.
fn around<'a>(table: &'a Table, cgroup: &str) -> Option<&'a Held> {
    let mut elevations = table
        .held
        .values()
        .filter(|held| held.kind == Kind::Elevation && held.ending.is_none());
    elevations.find(|held| held.scope_of(cgroup).is_some())
}

impl Table {
    fn remember(&mut self, process: Process, elevation: SessionId) {
        if self.openers.len() >= MANY_OPENERS {
            self.openers.retain(|process, _| process.open().is_some());
        }
        self.openers.insert(process, elevation);
    }
}
