//! Making things as files say, all at once.

use std::sync::Arc;

use jit_grant::ChangeId;

use super::changes::alarms_of;
use super::{Server, alarms};
use crate::apply::{Plan, Wanted, plan};
use crate::error::Error;
use crate::event::{Actor, Event, WantedChange};
use crate::text::Reason;

/// What came of making things as files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// What changes.
    pub plan: Plan,
    /// The change that others have to confirm. None: everything is so by now.
    pub held: Option<ChangeId>,
}

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
    /// them. A policy counts from then on; whoever calls this writes its file. Where others have to confirm changes, it is proposed to
    /// them.
    ///
    /// # Errors
    /// A rule against it, or that it could not be kept.
    pub async fn apply(
        self: &Arc<Self>,
        wanted: Wanted,
        allowed: usize,
        reason: Option<Reason>,
    ) -> Result<Applied, Error> {
        self.uninterrupted(move |server, mut writer| async move {
            server.take_policy(&mut writer).await?;
            let (now, policy) = (server.now(), server.policy());
            let plan = server.look(|state| plan(state, &policy, &wanted, now))?;
            plan.check_removals(allowed)?;
            if plan.events.is_empty() {
                return Ok(Applied { plan, held: None });
            }
            if policy.holds_changes() {
                let change = server.look(|state| WantedChange::of(state, &policy, &wanted));
                let held = server
                    .propose(&mut writer, change, plan.summary(), reason)
                    .await?;
                let held = Some(held);
                return Ok(Applied { plan, held });
            }
            let mut events = plan.events.clone();
            let takes_policy = events
                .iter()
                .any(|event| matches!(event, Event::PolicyTaken { .. }));
            events.extend(alarms_of(plan.tokens.clone()));
            alarms::tell(&events);
            server
                .keep(&mut writer, now, Actor::Administrator, events)
                .await?;
            if let Some(policy) = wanted.policy.filter(|_| takes_policy) {
                server.policy_file().precede(policy);
            }
            Ok(Applied { plan, held: None })
        })
        .await
    }
}
