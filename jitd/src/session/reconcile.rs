//! Taking up again, at start, what the registry tells of: judged anew, ended where it is over, armed anew where it is not.
//!
//! jitd may have died at any instruction. What was answered had been saved and armed before; whoever was not answered was refused by
//! pam_jit. So a session without scopes was never let in, and what was made for it is undone.

use std::sync::Arc;

use super::held::{Ending, Held, Kind, Scope};
use super::pid1::{Loaded, Pid1, Pid1Error};
use super::process::Process;
use super::types::SessionError;
use super::unit::OwnScope;
use super::{Inner, cgroup, connection};

impl Inner {
    pub(super) async fn reconcile(self: &Arc<Self>) -> Result<(), SessionError> {
        let mut found = self.registry.load()?;
        pass_on_ends(&mut found.held);
        for (grant, login) in found.held.iter().flat_map(Held::all_used) {
            self.judge.recall(grant, login);
        }
        // Without PID 1 the kernel's own id of each cgroup decides alone.
        let mut pid1 = Pid1::connect().await.ok();
        let (mut living, mut gone) = (Vec::new(), Vec::new());
        for mut held in found.held {
            if self.lives(&mut held, &mut pid1).await {
                living.push(held);
            } else {
                gone.push(held);
            }
        }
        // All of it is known before anything of it ends: what is not known is taken for a stray of what ends.
        for held in &living {
            let _ = self.registry.save(held);
            self.table().held.insert(held.id.clone(), held.clone());
        }
        for held in living {
            self.take_up(held);
        }
        // What is over ends now. Nothing else waits for PID 1, were it to hang.
        Arc::clone(self).reconsider_now();
        for held in gone {
            self.table().held.insert(held.id.clone(), held.clone());
            tokio::spawn(Arc::clone(self).let_go(held));
        }
        tokio::spawn(Arc::clone(self).salvage(found.broken));
        self.keep_recalled().await;
        Ok(())
    }

    /// What goes on by a grant for one login does so after the next start, too. Until that is on disk the registry tells of it.
    async fn keep_recalled(&self) {
        let judge = Arc::clone(&self.judge);
        let kept = tokio::task::spawn_blocking(move || judge.keep_uses()).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!("which grants are used up can't be kept: {error}");
        }
    }

    /// Whether there is anything left of it that could be ended, or in monitor mode listed.
    async fn lives(&self, held: &mut Held, pid1: &mut Option<Pid1>) -> bool {
        let was_let_in = !held.scopes.is_empty();
        held.scopes = still_there(held, pid1).await;
        let leader_lives = || held.leader.open().is_some();
        match held.kind {
            _ if !held.scopes.is_empty() => true,
            _ if !held.enforce => leader_lives(),
            // Its process may be on its way into a scope of logind's.
            kind if was_let_in => kind.has_own_scope() && leader_lives(),
            Kind::Elevation | Kind::Job => {
                undo_move(held, pid1).await;
                false
            }
            Kind::Login => {
                // Refused, and sshd alone would keep the connection open.
                tokio::spawn(connection::end(held.leader));
                false
            }
            Kind::Manager => false,
        }
    }

    fn take_up(self: &Arc<Self>, held: Held) {
        if held.ending.is_some() {
            Arc::clone(self).resume_end(held);
        } else {
            tokio::spawn(Arc::clone(self).keep_until_gone(held.id));
        }
    }

    /// It went while nobody looked. Where it was over by then it was PID 1 that ended it, or jitd before it died.
    async fn let_go(self: Arc<Self>, mut held: Held) {
        if held.enforce && held.ending.is_none() {
            let now = self.clock.now();
            let standing = self.standing(&held, now);
            let standing = standing.and_then(|_| self.elevated_standing(&mut held, now));
            let over = standing.err();
            held.ending = over.map(|why| Ending {
                code: why.code,
                due: why.due,
                signalled: None,
            });
        }
        self.table().held.insert(held.id.clone(), held.clone());
        match held.ending {
            Some(ending) => self.ended_unseen(&held, ending).await,
            None => drop(self.close_without_strays(&held.id).await),
        }
    }
}

/// What had begun to end takes with it all that was started from it, whether jitd came to note that or not.
fn pass_on_ends(all: &mut [Held]) {
    loop {
        let over = |child: &Held| {
            let parent = all
                .iter()
                .find(|held| Some(&held.id) == child.parent.as_ref())?;
            parent.ending.filter(|_| child.ending.is_none())
        };
        let Some((child, ending)) = all
            .iter()
            .enumerate()
            .find_map(|(place, held)| Some((place, over(held)?)))
        else {
            return;
        };
        // Nobody has told it to go yet, for all that is known.
        all[child].ending = Some(Ending {
            signalled: None,
            ..ending
        });
    }
}

/// Those of its scopes with somebody in them that are still the same run of the same unit. PID 1 is asked no more once it has not
/// answered.
async fn still_there(held: &Held, pid1: &mut Option<Pid1>) -> Vec<Scope> {
    let mut there = Vec::new();
    for scope in held.scopes.iter().filter(|scope| scope.cgroup.populated()) {
        let loaded = match pid1 {
            Some(asked) => asked.unit(&scope.unit).await,
            None => Ok(None),
        };
        if loaded.is_err() {
            *pid1 = None;
        }
        if !is_of_another_run(scope, loaded.ok().flatten().as_ref()) {
            there.push(scope.clone());
        }
    }
    there
}

/// True where PID 1 has begun the unit anew in what is left of its cgroup. A unit that it has forgotten leaves what it could not kill
/// in there: that is still ours.
fn is_of_another_run(scope: &Scope, loaded: Option<&Loaded>) -> bool {
    loaded.is_some_and(|loaded| loaded.invocation != scope.invocation)
}

/// Its caller was never answered, but may have been moved into a scope.
async fn undo_move(held: &Held, pid1: &mut Option<Pid1>) {
    let undone = async {
        let Some(pid1) = pid1 else { return Ok(()) };
        let name = OwnScope::name(held.kind, &held.id);
        match pid1.unit(&name).await? {
            Some(unit) if !holds_a_bystander(&unit.cgroup, held.leader) => pid1.stop(&name).await,
            _ => Ok::<(), Pid1Error>(()),
        }
    };
    if undone.await.is_err() {
        *pid1 = None;
    }
}

/// Where the caller died on the way, whoever has its pid since may have been moved in its place.
fn holds_a_bystander(scope: &str, caller: Process) -> bool {
    caller.open().is_none() && cgroup::of_process(caller.pid).is_ok_and(|path| path == scope)
}

#[cfg(test)]
mod tests;
