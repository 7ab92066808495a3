//! The policy in force here. Each server reads a file of its own; the record has each change once, whichever of them saw it first.

use std::sync::{Arc, PoisonError};

use super::{Server, Writer};
use crate::error::Error;
use crate::event::{Actor, Event};
use crate::policy::{Change, Policy};

/// Mistakes of a policy kept in one event at most.
const MOST_MISTAKES: usize = 10;

impl Server {
    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .current()
    }

    /// Takes a changed policy into force now.
    ///
    /// # Errors
    /// That the change could not be kept.
    pub async fn look_at_policy(self: &Arc<Self>) -> Result<(), Error> {
        self.uninterrupted(move |server, mut writer| async move {
            server.take_policy(&mut writer).await
        })
        .await
    }

    /// Looks whether the file has changed, and records what is so then. Where another server recorded the same, nothing is.
    pub(super) async fn take_policy(&self, writer: &mut Writer) -> Result<(), Error> {
        let change = self
            .policy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .look();
        let event = match change {
            Change::None => return Ok(()),
            Change::Taken(policy) => Event::PolicyTaken {
                policy: policy.hash.clone(),
                roles: policy.roles.len(),
            },
            Change::Refused(mistakes) => {
                let mistakes: Vec<String> = mistakes
                    .iter()
                    .take(MOST_MISTAKES)
                    .map(ToString::to_string)
                    .collect();
                tracing::error!(
                    "the policy is wrong, and the one before stays in force: {}",
                    mistakes.join("; ")
                );
                Event::PolicyRefused { mistakes }
            }
        };
        if writer.policy.as_ref() == Some(&event) {
            return Ok(());
        }
        self.keep(writer, self.now(), Actor::Server, vec![event])
            .await
            .map(drop)
    }
}
