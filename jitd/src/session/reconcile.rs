//! Taking up again, at start, what the registry tells of: judged anew, ended where it is over, armed anew where it is not.

use std::sync::Arc;

use serde::Serialize;

use super::Inner;
use super::held::{Held, Scope};
use super::pid1::Pid1;
use super::registry::Broken;
use super::types::SessionError;
use super::unit::OwnScope;

impl Inner {
    pub(super) async fn reconcile(self: &Arc<Self>) -> Result<(), SessionError> {
        let found = self.registry.load()?;
        for broken in &found.broken {
            self.note_broken(broken);
        }
        // Without PID 1 the kernel's own id of each cgroup decides alone.
        let mut pid1 = Pid1::connect().await.ok();
        for mut held in found.held {
            if self.lives(&mut held, pid1.as_mut()).await {
                self.take_up(held);
            } else {
                self.table().held.insert(held.id.clone(), held.clone());
                self.let_go(&held).await;
            }
        }
        Arc::clone(self).reconsider_now();
        Ok(())
    }

    /// Whether there is anything left of it that could be ended, or in monitor mode listed.
    async fn lives(&self, held: &mut Held, mut pid1: Option<&mut Pid1>) -> bool {
        let began_without = held.scopes.is_empty();
        held.scopes = still_there(held, pid1.as_deref_mut()).await;
        if !held.scopes.is_empty() {
            return true;
        }
        if !held.enforce {
            return held.leader.open().is_some();
        }
        if !held.kind.has_own_scope() {
            return false;
        }
        // jitd died while it opened this: its caller was never answered, but may have been moved.
        if began_without && let Some(pid1) = pid1 {
            let _ = pid1.stop(&OwnScope::name(held.kind, &held.id)).await;
        }
        // Or its process is on its way into a scope of logind's.
        !began_without && held.leader.open().is_some()
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
async fn still_there(held: &Held, mut pid1: Option<&mut Pid1>) -> Vec<Scope> {
    let mut there = Vec::new();
    for scope in held.scopes.iter().filter(|scope| scope.cgroup.populated()) {
        let loaded = match pid1.as_deref_mut() {
            Some(pid1) => pid1.unit(&scope.unit).await.ok(),
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
