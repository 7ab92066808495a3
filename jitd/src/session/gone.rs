//! A session that ends by itself is noticed and forgotten, and the timer behind it taken away.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::cgroup::Cgroup;
use super::held::Held;
use super::process::Process;
use super::ready::Ready;
use super::types::SessionId;
use super::{Inner, another};

/// Children that die as soon as they have the next must not have /proc read without a pause.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

impl Inner {
    /// Forgets `id` once nothing is left of it: nobody in its scopes, no process on its way into one, and of an elevation nothing that
    /// left them. For a moment between pam_systemd and our last session line an elevation's only process sits in a scope that has
    /// not joined it yet.
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
            if same
                && !cgroups.iter().any(Cgroup::populated)
                && Arc::clone(&self).close_without_strays(&id).await
            {
                return;
            }
        }
    }

    /// Closes it when there is nothing left of what left its scopes. That is its grant's: until then it is there to be ended with it.
    /// False where it has a scope again.
    pub(super) async fn close_without_strays(self: Arc<Self>, id: &SessionId) -> bool {
        while let Some(held) = self.held(id).filter(|held| held.ending.is_none()) {
            if held.scopes.iter().any(|scope| scope.cgroup.populated()) {
                return false;
            }
            if Arc::clone(&self).has_a_job(&held).await {
                return true;
            }
            let strays = self.strays_left_by(&held).await;
            if strays.is_empty() {
                self.close(&held).await;
                return true;
            }
            for stray in strays {
                exited(stray).await;
            }
            sleep(BETWEEN_LOOKS).await;
        }
        true
    }

    /// One that runs, or may yet begin.
    async fn has_a_job(self: Arc<Self>, held: &Held) -> bool {
        if held.others.is_empty() || !held.enforce {
            return false;
        }
        if another::jobs_begun_since(&self.table(), held)
            .next()
            .is_some()
        {
            return true;
        }
        // On a thread of its own: the disk is not waited for.
        let held = held.clone();
        let look = move || self.left_a_job(&held) || self.left_a_unit(&held);
        let look = tokio::task::spawn_blocking(look);
        look.await.unwrap_or(true)
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
