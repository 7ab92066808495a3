//! logind sessions that a program without pam_jit opened from inside an elevation, such as `sudo login`: the elevation's end is
//! theirs (T12).
//!
//! logind writes a file for each session that opens; that is all that is taken from it. Who is inside, and from where it came, the
//! kernel says.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Inner;
use super::cgroup::{self, Cgroup, ScopePath};
use super::held::{Held, Kind};
use super::open::{loaded_scope, not_armed};
use super::pid1::Pid1;
use super::process::ancestors;
use super::types::{Refused, SessionId};
use super::watch::Watch;

/// One file a session, moved here when it changes.
const SESSIONS: &str = "/run/systemd/sessions";

/// When to look again where the folder is not there yet, there is no watch to be had, or a session could not be held.
const LATER: Duration = Duration::from_secs(5);

/// From one look to the next: whoever makes logind write again and again must not keep the processor busy.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Processes of one session that are asked where they came from: the first of them opened it.
const MOST_ASKED: usize = 16;

impl Inner {
    /// For as long as jitd runs.
    pub(super) async fn adopt_unseen(self: Arc<Self>) {
        loop {
            // Watched first and looked then: what opens in between is not missed.
            let news = self.watcher.moved_into(Path::new(SESSIONS));
            let told = news.as_ref().map(Watch::told);
            let all_held = self.look_for_unseen().await;
            sleep(BETWEEN_LOOKS).await;
            match told {
                // At once where something opened since the look.
                Some(told) if all_held => told.await,
                _ => sleep(LATER).await,
            }
        }
    }

    /// False where something was found and could not be held.
    async fn look_for_unseen(self: &Arc<Self>) -> bool {
        let held: Vec<Held> = self.table().held.values().cloned().collect();
        let may_have_opened = |held: &Held| held.kind == Kind::Elevation && held.enforce;
        if !held.iter().any(may_have_opened) {
            return true;
        }
        // On a thread of its own: there may be many logins.
        let found = tokio::task::spawn_blocking(move || opened_inside(&held)).await;
        let mut all_held = found.is_ok();
        for (id, unit) in found.unwrap_or_default() {
            if let Err(error) = self.adopt(&id, &unit).await {
                tracing::error!(%id, unit, error = error.message, "a session from inside an elevation could not be held");
                all_held = false;
            }
        }
        all_held
    }

    /// Once its scope is added jitd ends it with the elevation, whatever becomes of the rest: PID 1's timer and the record. Where the
    /// elevation is ending or has gone by now, it ends at once.
    async fn adopt(&self, id: &SessionId, unit: &str) -> Result<(), Refused> {
        let mut pid1 = Pid1::connect().await.map_err(not_armed)?;
        let scope = loaded_scope(&mut pid1, unit).await?;
        let cgroup = scope.cgroup.clone();
        let (Some(held), Ok(())) = (self.held(id), self.add_scope(id, scope)) else {
            return cgroup.kill().map_err(not_armed);
        };
        let noted = self.note_adopted(&held, unit);
        for above in self.ends_with_all_above(&held, unit) {
            self.arm(&above).await.map_err(not_armed)?;
        }
        self.arm(id).await.map_err(not_armed)?;
        noted
    }
}

/// Session scopes that nothing holds, each with the elevation that one of its processes came from.
fn opened_inside(held: &[Held]) -> Vec<(SessionId, String)> {
    let known: HashSet<&str> = held
        .iter()
        .flat_map(|held| &held.scopes)
        .map(|scope| scope.cgroup.path.as_str())
        .collect();
    cgroup::units_of_users()
        .filter_map(|unit| ScopePath::parse(&cgroup::written(&unit)?))
        .filter(|path| path.logind_session().is_some() && !known.contains(path.path.as_str()))
        .filter_map(|path| Some((elevation_behind(held, &path)?, path.unit)))
        .collect()
}

fn elevation_behind(held: &[Held], path: &ScopePath) -> Option<SessionId> {
    let processes = Cgroup::at(&path.path).ok()?.pids();
    let came_from = |pid: i32| {
        let mut cgroups = ancestors(pid).filter_map(|pid| cgroup::of_process(pid).ok());
        cgroups.find_map(|cgroup| {
            let holds = |held: &&Held| held.kind == Kind::Elevation && held.enforce;
            let mut elevations = held.iter().filter(holds);
            elevations.find(|held| held.scope_of(&cgroup).is_some())
        })
    };
    let elevation = processes.into_iter().take(MOST_ASKED).find_map(came_from);
    elevation.map(|held| held.id.clone())
}
