//! Refused calls on their way into the record.

use std::sync::{Arc, PoisonError};

use jit_grant::HostName;

use super::Server;
use crate::event::{Actor, CallRefused, Event};

/// Whose refused calls are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// The administrator's, or a user's.
    Actor(Actor),
    /// Those of a named account that is nobody's.
    Account(String),
    /// Those of all accounts without a name: whoever has a range of uids of his own has one share of the record, and not one for each.
    Nameless,
    /// A host's.
    Host(HostName),
}

impl Whose {
    fn of(actor: &Actor, refused: &CallRefused) -> Self {
        match refused {
            CallRefused {
                host: Some(host), ..
            } => Self::Host(host.clone()),
            CallRefused {
                account: Some(account),
                ..
            } => Self::Account(account.clone()),
            CallRefused { uid: Some(_), .. } => Self::Nameless,
            _ => Self::Actor(actor.clone()),
        }
    }
}

/// A place in the record, taken before it is waited for: however many calls are refused at a time, no more than the bound wait. Given back
/// where the event is not kept, whatever the reason.
struct Taken {
    server: Arc<Server>,
    whose: Whose,
    cause: &'static str,
    left_out: u64,
    is_kept: bool,
}

impl Taken {
    /// None: the call is counted, and no more.
    fn by(server: &Arc<Server>, whose: Whose, cause: &'static str) -> Option<Self> {
        let mut bound = server
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let left_out = bound.another(&whose, cause, server.now())?;
        Some(Self {
            server: Arc::clone(server),
            whose,
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
            bound.give_back(&self.whose, self.cause, self.left_out);
        }
    }
}

impl Server {
    /// Records that a call of `actor`, or of the account or host that `refused` names, was refused; `code` is the one that he is told. See
    /// [`crate::alarm`] for how often, which here is counted for each caller and code. Where it can't be kept he is refused all the same.
    pub async fn refused(
        self: &Arc<Self>,
        actor: Actor,
        refused: CallRefused,
        code: Option<&'static str>,
    ) {
        let whose = Whose::of(&actor, &refused);
        let Some(taken) = Taken::by(self, whose, code.unwrap_or_default()) else {
            return;
        };
        let kept = self.uninterrupted(move |server, mut writer| async move {
            let event = Event::CallRefused(CallRefused {
                left_out: taken.left_out,
                ..refused
            });
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
