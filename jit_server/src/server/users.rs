//! Users that the administrator adds, changes and removes.

use std::sync::Arc;

use jit_grant::Principal;

use super::Server;
use crate::error::Error;
use crate::event::{Actor, UserSet};
use crate::loss::Loss;
use crate::workflow::{self, Command};

impl Server {
    /// Adds a user, or makes it different.
    ///
    /// # Errors
    /// That it could not be kept.
    pub async fn set_user(self: &Arc<Self>, user: UserSet) -> Result<(), Error> {
        let wanted = Command::SetUser(user);
        self.execute(Actor::Administrator, wanted).await.map(drop)
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
