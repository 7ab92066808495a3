//! The policy in force here. Each server reads a file of its own; the record has each change once, whichever of them saw it first. While
//! others confirm changes, the record has the policy itself, and all servers go by that.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::changes::alarms_of;
use super::{Server, Writer, alarms};
use crate::apply::newly_able;
use crate::error::Error;
use crate::event::{Actor, Event};
use crate::policy::{Change, Mistake, Policy, PolicyFile};
use crate::workflow::State;

/// Mistakes of a policy kept in one event at most.
const MOST_MISTAKES: usize = 10;

impl Server {
    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy_file().current()
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
        let change = self.policy_file().look();
        let mut tokens = Vec::new();
        let event = match change {
            Change::None => return Ok(()),
            Change::Taken(policy) => self.look(|state| {
                tokens = newly_able(state, &policy, state.directory.users(), self.now());
                policy.taken(state.policy_on_record().is_some())
            }),
            Change::Refused(mistakes) => {
                let mistakes: Vec<String> = mistakes
                    .iter()
                    .take(MOST_MISTAKES)
                    .map(ToString::to_string)
                    .collect();
                let said = wrong(&self.policy());
                tracing::error!("{said}: {}", mistakes.join("; "));
                Event::PolicyRefused { mistakes }
            }
            Change::Differs(file) => {
                let why = beside(&file, &self.policy());
                tracing::warn!("{why}");
                let mistakes = vec![why];
                Event::PolicyRefused { mistakes }
            }
        };
        if writer.policy.as_ref() == Some(&event) {
            return Ok(());
        }
        let events: Vec<Event> = [event].into_iter().chain(alarms_of(tokens)).collect();
        alarms::tell(&events);
        let kept = self.keep(writer, self.now(), Actor::Server, events);
        let kept = kept.await.map(drop);
        kept.inspect_err(|_| self.policy_file().look_anew())
    }

    /// Why the policy's file does not count. None: it has what is in force.
    #[must_use]
    pub fn beside_file(&self) -> Option<String> {
        let on_record = self.look(|state| state.policy_on_record().cloned());
        let mistakes = on_record.map_or_else(Vec::new, |on_record| on_record.mistakes);
        if let Some(mistake) = mistakes.first() {
            return Some(unreadable(mistake));
        }
        let (in_force, file) = (self.policy(), self.policy_file());
        if in_force.is_none() {
            return Some(wrong(&in_force).to_owned());
        }
        file.differing().map(|file| beside(file, &in_force))
    }

    /// Goes by the policy that the record has, where it has one. Call it whenever the record says something of the policy.
    pub(super) fn go_by_record(&self, state: &State) {
        let on_record = state.policy_on_record();
        if let Some(mistake) = on_record.and_then(|on_record| on_record.mistakes.first()) {
            tracing::error!("{}", unreadable(mistake));
        }
        let record = on_record.map(|on_record| Arc::clone(&on_record.policy));
        self.policy_file().go_by_record(record);
    }

    pub(super) fn policy_file(&self) -> MutexGuard<'_, PolicyFile> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes of a file that is wrong, or not there.
fn wrong(in_force: &Policy) -> &'static str {
    if in_force.is_none() {
        "the policy's file is wrong or missing and no other was read since this server started, so nobody may ask or approve until it is right"
    } else {
        "the policy's file is wrong or missing, and the policy before stays in force"
    }
}

fn beside(file: &str, in_force: &Policy) -> String {
    let why = if in_force.holds_changes() {
        "others confirm changes of the policy in force (changes_need); `jit-server policy propose` proposes what it has"
    } else {
        "the policy in force is on record since then; the file counts once it is changed, or `jit-server apply` makes it so"
    };
    format!("the policy's file has {file} and does not count: {why}")
}

fn unreadable(mistake: &Mistake) -> String {
    format!(
        "this server can't read the policy in force, so nobody may ask or approve here; is it older than the one that took it? {mistake}"
    )
}
