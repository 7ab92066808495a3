//! Refused calls on their way into the record.

use std::sync::{Arc, PoisonError};

use super::Server;
use crate::event::{Actor, CallRefused, Event};

/// A place in the record, taken before it is waited for: however many calls are refused at a time, no more than the bound wait. Given back
/// where the event is not kept, whatever the reason.
struct Taken {
    server: Arc<Server>,
    actor: Actor,
    cause: &'static str,
    left_out: u64,
    is_kept: bool,
}

impl Taken {
    /// None: the call is counted, and no more.
    fn by(server: &Arc<Server>, actor: Actor, cause: &'static str) -> Option<Self> {
        let mut bound = server
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let left_out = bound.another(&actor, cause, server.now())?;
        Some(Self {
            server: Arc::clone(server),
            actor,
            cause,
            left_out,
            is_kept: false,
        })
    }

    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_kept {
            let bound = self.server.refusals.lock();
            let mut bound = bound.unwrap_or_else(PoisonError::into_inner);
            bound.give_back(&self.actor, self.cause, self.left_out);
        }
    }
}

impl Server {
    /// Records that a call of `actor` was refused; `code` is the one that he is told. See [`crate::alarm`] for how often, which here is
    /// counted for each actor and code. Where it can't be kept he is refused all the same.
    pub async fn refused(
        self: &Arc<Self>,
        actor: Actor,
        refused: CallRefused,
        code: Option<&'static str>,
    ) {
        let Some(taken) = Taken::by(self, actor, code.unwrap_or_default()) else {
            return;
        };
        let kept = self.uninterrupted(move |server, mut writer| async move {
            let event = Event::CallRefused(CallRefused {
                left_out: taken.left_out,
                ..refused
            });
            let actor = taken.actor.clone();
            server
                .keep(&mut writer, server.now(), actor, vec![event])
                .await?;
            taken.keep();
            Ok(())
        });
        if let Err(error) = kept.await {
            tracing::error!("a refused call is not on record: {error}");
        }
    }
}
