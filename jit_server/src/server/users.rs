//! Users that the administrator adds, changes and removes.

use std::sync::Arc;

use jit_grant::{ChangeId, Principal};

use super::Server;
use crate::apply::user_details;
use crate::error::Error;
use crate::event::{Actor, UserSet, WantedChange};
use crate::loss::Loss;
use crate::workflow::{self, Command};

/// Which limits of a user a call speaks of. One that it does not speak of it does not take away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spoken {
    /// The end of his time.
    pub until: bool,
    /// Whether it is a service account.
    pub service: bool,
    /// Its hours. A person has none.
    pub hours: bool,
    /// Other logins on some hosts.
    pub logins: bool,
    /// The ssh keys: without any, whoever gets at the login with another key comes in by what is granted.
    pub keys: bool,
}

impl Spoken {
    /// What `before` has, and the call says nothing of.
    fn left_out(self, before: &UserSet) -> Vec<&'static str> {
        let service = before.service.as_ref();
        let has_hours = service.is_some_and(|service| !service.hours.is_empty());
        let limits = [
            ("until", before.until.is_some(), self.until),
            ("service", service.is_some(), self.service),
            ("hours", has_hours, self.hours),
            ("logins", !before.logins.is_empty(), self.logins),
            ("keys", !before.keys.is_empty(), self.keys),
        ];
        let left_out = limits
            .into_iter()
            .filter(|(_, has, spoken)| *has && !spoken);
        left_out.map(|(name, ..)| name).collect()
    }
}

/// What came of setting a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Became {
    /// What of him is different, each in a few words. Nothing where he is new.
    pub changed: Vec<String>,
    /// What ended with that, or will.
    pub lost: Loss,
    /// The change that others have to confirm. None: he is so by now.
    pub held: Option<ChangeId>,
}

impl Server {
    /// Adds a user, or makes it different; where others have to confirm changes, that is proposed to them.
    ///
    /// # Errors
    /// [`Error::DropsLimits`], or that it could not be kept.
    pub async fn set_user(
        self: &Arc<Self>,
        user: UserSet,
        spoken: Spoken,
    ) -> Result<Became, Error> {
        self.uninterrupted(move |server, mut writer| async move {
            server.take_policy(&mut writer).await?;
            let (now, policy) = (server.now(), server.policy());
            let actor = Actor::Administrator;
            let change = WantedChange::of_user(user.clone());
            let (events, mut became) = server.look(|state| {
                let before = state.directory.user(&user.name);
                let left_out = before.map_or_else(Vec::new, |before| spoken.left_out(before));
                if !left_out.is_empty() {
                    let (user, limits) = (user.name.clone(), left_out.join(", "));
                    return Err(Error::DropsLimits { user, limits });
                }
                let changed = before.map(|before| user_details(Some(before), &user));
                let wanted = Command::SetUser(user);
                let events = workflow::command(state, &policy, now, &actor, wanted)?;
                let became = Became {
                    changed: changed.unwrap_or_default(),
                    lost: Loss::of(state, &events, now),
                    held: None,
                };
                Ok((events, became))
            })?;
            if events.is_empty() {
                return Ok(became);
            }
            if policy.holds_changes() {
                let plan = server.look(|state| change.plan(state, &policy, now))?;
                let proposed = server.propose(&mut writer, change, plan.summary(), None);
                became.held = Some(proposed.await?);
                return Ok(became);
            }
            server.keep(&mut writer, now, actor, events).await?;
            Ok(became)
        })
        .await
    }

    /// Checks that the time of `user` is not over.
    ///
    /// # Errors
    /// That it is, and since when.
    pub fn check_time_of(&self, user: &Principal) -> Result<(), Error> {
        let now = self.now();
        Ok(self.look(|state| state.check_time_of(user, now))?)
    }

    /// Removes a user; gives what ended with that.
    ///
    /// # Errors
    /// No such user, or that it could not be kept.
    pub async fn remove_user(self: &Arc<Self>, name: Principal) -> Result<Loss, Error> {
        self.uninterrupted(move |server, mut writer| async move {
            let (now, policy) = (server.now(), server.policy());
            let actor = Actor::Administrator;
            let wanted = Command::RemoveUser { name };
            let (events, loss) = server.look(|state| {
                let events = workflow::command(state, &policy, now, &actor, wanted)?;
                let loss = Loss::of(state, &events, now);
                Ok::<_, Error>((events, loss))
            })?;
            server.keep(&mut writer, now, actor, events).await?;
            Ok(loss)
        })
        .await
    }
}
