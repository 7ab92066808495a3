//! How the gates are: in the record when they change, and in the host's own words to the server (T8).

use std::sync::Arc;
use std::time::Duration;

use jit_grant::{ENFORCED, HostState, Nonce, SigningKey};
use tracing::warn;

use super::{Host, groups};
use crate::gates::{Changes, Look};
use crate::trust::Trust;

/// From one change of the folder to the next look: whoever changes it all the time has so many looks and no more.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

impl<S: Send + Sync + 'static> Host<S> {
    /// Looks at the gates whenever their folder changes, for as long as the daemon runs.
    pub(crate) async fn watch_gates(self: Arc<Self>) {
        let watched = Changes::of(&self.gates);
        self.look_at_gates().await;
        let gone = match watched {
            Err(error) => error,
            Ok(changes) => loop {
                if let Err(error) = changes.next().await {
                    break error;
                }
                self.look_at_gates().await;
                tokio::time::sleep(BETWEEN_LOOKS).await;
            },
        };
        warn!("changes of the gates are seen with each heartbeat only: {gone}");
        self.look_at_gates().await;
    }

    /// How the gates are now; what is different from the last look is recorded. None where they can't be looked at.
    pub(super) async fn look_at_gates(&self) -> Option<Look> {
        let look = self.gates.look(&self.clock).await;
        let look = look
            .inspect_err(|error| warn!("the gates can't be looked at: {error}"))
            .ok()?;
        for change in &look.changes {
            if change.is_weaker() {
                warn!("{change}; jitctl gate and jitctl enforce put it back");
            }
            self.note("gate.changed", change);
        }
        Some(look)
    }

    /// How this host stands, signed beside the question that has `nonce`. None where that can't be said: the server notices.
    pub(super) async fn state(
        &self,
        trust: &Trust,
        key: &SigningKey,
        nonce: &Nonce,
    ) -> Option<String> {
        let look = self.look_at_gates().await?;
        let gives_groups = groups::gives_groups(&look);
        let enforces = ENFORCED
            .iter()
            .filter(|name| **name != groups::NAME || gives_groups);
        let state = HostState {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            enforces: enforces.map(ToString::to_string).collect(),
            gates: look.gates,
        };
        state
            .sign(&trust.host_id, nonce, self.clock.now(), key)
            .inspect_err(|error| warn!("how this host stands can't be signed: {error}"))
            .ok()
    }
}
