//! Making things as files say, all at once.

use std::sync::{Arc, PoisonError};

use super::Server;
use crate::apply::{Plan, Wanted, plan};
use crate::error::Error;
use crate::event::{Actor, Event};

impl Server {
    /// What has to change for everything to be as `wanted`, and whether that may be. Nothing changes.
    ///
    /// # Errors
    /// A rule against it, or that a changed policy could not be kept.
    pub async fn plan(self: &Arc<Self>, wanted: Wanted) -> Result<Plan, Error> {
        self.uninterrupted(move |server, mut writer| async move {
            server.take_policy(&mut writer).await?;
            let policy = server.policy();
            server.look(|state| plan(state, &policy, &wanted, server.now()))
        })
        .await
    }

    /// Makes everything as `wanted`: all of it or nothing. `allowed` removals of users are allowed where that is more than half of
    /// them. A policy counts from then on; whoever calls this writes its file.
    ///
    /// # Errors
    /// A rule against it, or that it could not be kept.
    pub async fn apply(self: &Arc<Self>, wanted: Wanted, allowed: usize) -> Result<Plan, Error> {
        self.uninterrupted(move |server, mut writer| async move {
            server.take_policy(&mut writer).await?;
            let (now, policy) = (server.now(), server.policy());
            let plan = server.look(|state| plan(state, &policy, &wanted, now))?;
            plan.check_removals(allowed)?;
            if plan.events.is_empty() {
                return Ok(plan);
            }
            let events = plan.events.clone();
            let takes_policy = events
                .iter()
                .any(|event| matches!(event, Event::PolicyTaken { .. }));
            server
                .keep(&mut writer, now, Actor::Administrator, events)
                .await?;
            if let Some(policy) = wanted.policy.filter(|_| takes_policy) {
                let mut file = server.policy.lock().unwrap_or_else(PoisonError::into_inner);
                file.precede(policy);
            }
            Ok(plan)
        })
        .await
    }
}
