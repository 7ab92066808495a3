//! A session that ends by itself is noticed and forgotten, and the timer behind it taken away.

use std::sync::Arc;

use super::Inner;
use super::cgroup::Cgroup;
use super::held::Held;
use super::process::Process;
use super::ready::Ready;
use super::types::SessionId;

impl Inner {
    /// Forgets `id` once nothing is left of it: nobody in its scopes, and no process on its way into one. For a moment between
    /// pam_systemd and our last session line an elevation's only process sits in a scope that has not joined it yet.
    pub(super) async fn keep_until_gone(self: Arc<Self>, id: SessionId) {
        while let Some(held) = self.held(&id).filter(|held| held.ending.is_none()) {
            let cgroups: Vec<Cgroup> = held
                .scopes
                .iter()
                .map(|scope| scope.cgroup.clone())
                .collect();
            self.all_empty(&cgroups).await;
            if held.kind.has_own_scope() || cgroups.is_empty() {
                for process in self.openers_of(&held) {
                    exited(process).await;
                }
            }
            // A scope may have joined while the last was being waited for.
            let now = self.held(&id);
            let same = now.is_some_and(|now| {
                now.ending.is_none() && now.scopes == held.scopes && now.leader == held.leader
            });
            if same && !cgroups.iter().any(Cgroup::populated) {
                self.close(&held).await;
                return;
            }
        }
    }

    fn openers_of(&self, held: &Held) -> Vec<Process> {
        let table = self.table();
        let inside = table
            .openers
            .iter()
            .filter(|(_, elevation)| **elevation == held.id);
        inside
            .map(|(process, _)| *process)
            .chain([held.leader])
            .collect()
    }

    /// PAM's close. What has a scope is watched by that; what has none goes now.
    pub(super) async fn pam_closed(&self, process: Process) {
        let closed: Vec<Held> = {
            let mut table = self.table();
            table.openers.remove(&process);
            let led = table
                .held
                .values()
                .filter(|held| held.leader == process && held.ending.is_none());
            led.filter(|held| held.scopes.is_empty()).cloned().collect()
        };
        for held in closed {
            self.close(&held).await;
        }
    }

    pub(super) async fn close(&self, held: &Held) {
        self.disarm(&held.id).await;
        if self
            .held(&held.id)
            .is_some_and(|held| held.ending.is_none())
        {
            self.note(held, "closed", held.whose());
            self.forget(&held.id);
        }
    }
}

/// Returns when the process has exited: its pidfd becomes readable then (pidfd_open(2)).
async fn exited(process: Process) {
    if let Some(Ok(pidfd)) = process.open().map(Ready::new) {
        pidfd.take(|_| Some(())).await;
    }
}
