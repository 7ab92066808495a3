//! Taking up again, at start, what the registry tells of: judged anew, ended where it is over, armed anew where it is not.

use std::sync::Arc;

use serde::Serialize;

use super::Inner;
use super::held::{Held, Kind, Scope};
use super::pid1::Pid1;
use super::registry::Broken;
use super::types::SessionError;
use super::unit::ElevationScope;

impl Inner {
    pub(super) async fn reconcile(self: &Arc<Self>) -> Result<(), SessionError> {
        let found = self.registry.load()?;
        for broken in &found.broken {
            self.note_broken(broken);
        }
        // Without PID 1 the kernel's own id of each cgroup decides alone.
        let pid1 = Pid1::connect().await.ok();
        for mut held in found.held {
            held.scopes = still_there(&held, pid1.as_ref()).await;
            let id = held.id.clone();
            if self.lives(&mut held, pid1.as_ref()).await {
                self.take_up(held);
            } else {
                self.table().held.insert(id.clone(), held.clone());
                self.let_go(&held).await;
            }
        }
        Arc::clone(self).reconsider_now();
        Ok(())
    }

    /// Whether there is anything left of it that could be ended, or in monitor mode listed.
    async fn lives(&self, held: &mut Held, pid1: Option<&Pid1>) -> bool {
        if !held.scopes.is_empty() {
            return true;
        }
        if held.kind == Kind::Elevation && held.enforce {
            // jitd died while it opened this: its caller was never answered, but may have been moved.
            if let Some(pid1) = pid1 {
                let _ = pid1.stop(&ElevationScope::name(&held.id)).await;
            }
            return false;
        }
        !held.enforce && held.leader.open().is_some()
    }

    fn take_up(self: &Arc<Self>, held: Held) {
        let id = held.id.clone();
        let ending = held.ending.is_some();
        let _ = self.registry.save(&held);
        self.table().held.insert(id.clone(), held.clone());
        if ending {
            Arc::clone(self).resume_end(held);
        } else {
            tokio::spawn(Arc::clone(self).keep_until_gone(id));
        }
    }

    /// It went while nobody looked.
    async fn let_go(&self, held: &Held) {
        match held.ending {
            Some(ending) => self.ended_unseen(held, ending).await,
            None => self.close(held).await,
        }
    }

    fn note_broken(&self, broken: &Broken) {
        #[derive(Serialize)]
        struct Note<'a> {
            file: &'a str,
            why: &'a str,
        }
        tracing::error!(
            file = broken.name,
            why = broken.why,
            "a registry file was broken and is set aside"
        );
        let _ = self.record.write(
            "registry.broken",
            Note {
                file: &broken.name,
                why: &broken.why,
            },
        );
    }
}

/// Those of its scopes that are still the same run of the same unit, with somebody in them.
async fn still_there(held: &Held, pid1: Option<&Pid1>) -> Vec<Scope> {
    let mut there = Vec::new();
    for scope in held.scopes.iter().filter(|scope| scope.cgroup.populated()) {
        let loaded = match pid1 {
            Some(pid1) => pid1.scope(&scope.unit).await.ok(),
            None => None,
        };
        let another = loaded.is_some_and(|loaded| {
            loaded.is_none_or(|loaded| loaded.invocation != scope.invocation)
        });
        if !another {
            there.push(scope.clone());
        }
    }
    there
}
