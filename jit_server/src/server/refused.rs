//! Refused calls on their way into the record.

use std::sync::{Arc, PoisonError};

use super::Server;
use crate::event::{Actor, CallRefused, Event};

impl Server {
    /// Records that a call of `actor` was refused; `code` is the one that he is told. See [`crate::alarm`] for how often, which here is
    /// counted for each actor and code. Where it can't be kept he is refused all the same.
    pub async fn refused(
        self: &Arc<Self>,
        actor: Actor,
        refused: CallRefused,
        code: Option<&'static str>,
    ) {
        let cause = code.unwrap_or_default();
        let left_out = {
            let mut bound = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            bound.another(&actor, cause, self.now())
        };
        let Some(left_out) = left_out else {
            return;
        };
        let kept = self.uninterrupted(move |server, mut writer| async move {
            let event = Event::CallRefused(CallRefused {
                left_out,
                ..refused
            });
            let events = vec![event];
            server
                .keep(&mut writer, server.now(), actor.clone(), events)
                .await?;
            let mut bound = server
                .refusals
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            bound.recorded(&actor, cause);
            Ok(())
        });
        if let Err(error) = kept.await {
            tracing::error!("a refused call is not on record: {error}");
        }
    }
}
