//! A change as it waits for those who confirm it: what is different in it, and what that comes to whenever it is looked at.

use std::fmt::{self, Write};

use jiff::Timestamp;
use jit_grant::ChangeId;

use super::{Change, Plan, Sign, Thing, Wanted, WantedHost, plan};
use crate::error::Error;
use crate::event::{Event, UserSet, WantedChange};
use crate::once::Digest;
use crate::policy::{Policy, check_closely};
use crate::workflow::State;

/// Lines of a summary at most.
const MOST_LINES: usize = 500;

impl WantedChange {
    /// What of `wanted` is different from how things are.
    #[must_use]
    pub fn of(state: &State, policy: &Policy, wanted: &Wanted) -> Self {
        let directory = &state.directory;
        let next = wanted.policy.as_ref();
        let next = next.filter(|next| next.hash != policy.hash);
        let mut change = Self {
            policy: next.map(|next| next.text.clone()),
            ..Self::default()
        };
        if let Some(users) = &wanted.users {
            let all = users.values();
            let other = all.filter(|user| directory.user(&user.name) != Some(user));
            change.users = other.cloned().collect();
            let gone = directory.users().map(|user| &user.name);
            let gone = gone.filter(|name| !users.contains_key(*name));
            change.removed_users = gone.cloned().collect();
        }
        for (name, host) in &wanted.hosts {
            let Some(known) = directory.host(name) else {
                continue;
            };
            match host {
                WantedHost::Removed => _ = change.removed_hosts.insert(name.clone()),
                WantedHost::Labelled(labels) if known.enrolled.labels != *labels => {
                    change.labels.insert(name.clone(), labels.clone());
                }
                WantedHost::Labelled(_) => {}
            }
        }
        change
    }

    /// One user who is added, or becomes different.
    #[must_use]
    pub fn of_user(user: UserSet) -> Self {
        Self {
            users: vec![user],
            ..Self::default()
        }
    }

    /// What it comes to at `now`, by how things are then.
    ///
    /// # Errors
    /// A rule against it, or that its policy can't be read by this server.
    pub fn plan(&self, state: &State, policy: &Policy, now: Timestamp) -> Result<Plan, Error> {
        let mut wanted = Wanted::default();
        if let Some(text) = &self.policy {
            let checked = check_closely(super::POLICY, text).map_err(|mistakes| {
                let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                Error::Refused(format!(
                    "this server can't read the policy in it: {}",
                    mistakes.join("; ")
                ))
            })?;
            wanted.policy = Some(checked.policy);
            wanted.advice = checked.warnings;
        }
        if !self.users.is_empty() || !self.removed_users.is_empty() {
            let stay = state.directory.users();
            let stay = stay.filter(|user| !self.removed_users.contains(&user.name));
            let all = stay.chain(&self.users);
            wanted.users = Some(all.map(|user| (user.name.clone(), user.clone())).collect());
        }
        let labels = self.labels.iter();
        let labelled =
            labels.map(|(name, labels)| (name.clone(), WantedHost::Labelled(labels.clone())));
        let removed = self.removed_hosts.iter();
        let removed = removed.map(|name| (name.clone(), WantedHost::Removed));
        wanted.hosts = labelled.chain(removed).collect();
        plan(state, policy, &wanted, now)
    }
}

impl Plan {
    /// SHA-256 of what it makes different, as the change `id`, from how things are under the policy `before`. What grants end with it is
    /// none of it: they come and go while somebody reads.
    #[must_use]
    pub fn digest(&self, id: &ChangeId, before: &Policy) -> Digest {
        let events = self.events.iter();
        let events = events.filter(|event| !matches!(event, Event::Revoked { .. }));
        // Texts, numbers and maps of texts always serialise.
        let events = events.map(|event| serde_json::to_vec(event).unwrap_or_default());
        let events: Vec<Vec<u8>> = events.collect();
        let lines = self.summary_of(usize::MAX);
        let mut parts: Vec<&[u8]> = vec![id.as_str().as_bytes(), before.hash.as_bytes()];
        parts.extend(lines.iter().map(String::as_bytes));
        parts.extend(events.iter().map(Vec::as_slice));
        Digest::of(&parts)
    }

    /// What it comes to, a line for each thing, as the record has it.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        self.summary_of(MOST_LINES)
    }

    fn summary_of(&self, most: usize) -> Vec<String> {
        let mut lines: Vec<String> = self.changes.iter().map(Change::to_string).collect();
        if lines.len() > most {
            let more = lines.len() - most;
            lines.truncate(most);
            lines.push(format!("and {more} more"));
        }
        lines
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.sign {
            Sign::Added => '+',
            Sign::Changed => '~',
            Sign::Removed => '-',
        };
        let thing = match self.thing {
            Thing::Policy => "policy",
            Thing::User => "user",
            Thing::Host => "host",
        };
        f.write_char(sign)?;
        write!(f, " {thing} {}", self.name)?;
        if self.details.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.details.join("; "))
    }
}
