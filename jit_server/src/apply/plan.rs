//! From how things are to how they are wanted.

mod confirmers;
mod newly_able;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use jiff::Timestamp;
use jit_grant::{GrantId, HostName, Principal};

use super::{Wanted, WantedHost};
use crate::error::Error;
use crate::event::{Actor, Event, UserSet};
use crate::label::{LabelKey, LabelValue};
use crate::loss::Loss;
use crate::policy::Policy;
use crate::server::{REMOVED, removal};
use crate::ssh_key::SshKey;
use crate::until::Until;
use crate::workflow::{self, Command, State};

pub(crate) use newly_able::{HisToken, newly_able};

/// What has to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// One for each thing, in the order policy, users, hosts.
    pub changes: Vec<Change>,
    /// What people lose by it.
    pub lost: Loss,
    /// What is unwise in the policy, as `jit-server policy check` warns of it; and what is said of hosts that are not there.
    pub warnings: Vec<String>,
    /// What makes it so: all of these events or none.
    pub events: Vec<Event>,
    /// Tokens of those who can confirm changes from then on, and can't before.
    pub(crate) tokens: Vec<HisToken>,
    users: usize,
    removals: usize,
}

/// One thing that is to be different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whether it comes, goes or becomes different.
    pub sign: Sign,
    /// What it is.
    pub thing: Thing,
    /// Its name.
    pub name: String,
    /// What of it is different, each in a few words.
    pub details: Vec<String>,
}

/// Whether a thing comes, goes or becomes different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// `+`
    Added,
    /// `~`
    Changed,
    /// `-`
    Removed,
}

/// What changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    /// The policy.
    Policy,
    /// A user.
    User,
    /// A host.
    Host,
}

impl Plan {
    /// True where it revokes `grant` already.
    fn revokes(&self, grant: Option<&GrantId>) -> bool {
        let mut events = self.events.iter();
        events.any(|event| matches!(event, Event::Revoked { .. }) && event.grant() == grant)
    }

    /// How many removals of users have to be allowed expressly: all of them where they are more than half of the users, which is how
    /// it looks when a wrong or cut file is applied.
    #[must_use]
    pub fn removals_to_allow(&self) -> Option<usize> {
        (self.removals * 2 > self.users).then_some(self.removals)
    }

    /// Checks that so many removals of users as there are may be, where `allowed` are allowed expressly.
    ///
    /// # Errors
    /// [`Error::TooManyRemovals`].
    pub fn check_removals(&self, allowed: usize) -> Result<(), Error> {
        match self.removals_to_allow() {
            Some(removals) if removals > allowed => Err(Error::TooManyRemovals {
                removals,
                users: self.users,
            }),
            _ => Ok(()),
        }
    }
}

/// What makes everything as `wanted` at `now`.
///
/// # Errors
/// A rule against one of the changes.
pub fn plan(
    state: &State,
    policy: &Policy,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Plan, Error> {
    let warnings = wanted.advice.iter().map(ToString::to_string).collect();
    let mut planner = Planner {
        state,
        policy,
        now,
        plan: Plan {
            warnings,
            ..Plan::default()
        },
    };
    if let Some(next) = &wanted.policy {
        planner.policy(next);
    }
    if let Some(users) = &wanted.users {
        planner.users(users)?;
    }
    for (name, host) in &wanted.hosts {
        planner.host(name, host, wanted.users.as_ref())?;
    }
    let of_policy = wanted.policy.as_ref().unwrap_or(policy);
    let stuck = service::stuck(of_policy, |name| {
        let users = wanted.users.as_ref();
        let user = users.map_or_else(|| state.directory.user(name), |users| users.get(name));
        user.is_some_and(UserSet::is_service)
    });
    planner.plan.warnings.extend(stuck);
    let (few, tokens) = match &wanted.users {
        Some(users) => (
            confirmers::too_few(of_policy, users.values(), now),
            newly_able(state, of_policy, users.values(), now),
        ),
        None => (
            confirmers::too_few(of_policy, state.directory.users(), now),
            newly_able(state, of_policy, state.directory.users(), now),
        ),
    };
    planner.plan.warnings.extend(few);
    planner.plan.warnings.extend(newly_able::lines(&tokens));
    planner.plan.tokens = tokens;
    let mut plan = planner.plan;
    plan.lost = Loss::of(state, &plan.events, now);
    Ok(plan)
}

struct Planner<'a> {
    state: &'a State,
    policy: &'a Policy,
    now: Timestamp,
    plan: Plan,
}

impl Planner<'_> {
    fn change(&mut self, sign: Sign, thing: Thing, name: impl Display, details: Vec<String>) {
        let name = name.to_string();
        self.plan.changes.push(Change {
            sign,
            thing,
            name,
            details,
        });
    }

    fn policy(&mut self, next: &Policy) {
        if next.hash == self.policy.hash {
            return;
        }
        let mut details = tables("role", &self.policy.roles, &next.roles);
        details.extend(tables("denial", &self.policy.denials, &next.denials));
        if next.may_lock != self.policy.may_lock {
            details.push("~ may_lock".to_owned());
        }
        if next.may_audit != self.policy.may_audit {
            details.push("~ may_audit".to_owned());
        }
        if next.changes_need != self.policy.changes_need {
            details.push("~ changes_need".to_owned());
        }
        if details.is_empty() {
            details.push("its text alone, no rule".to_owned());
        }
        self.change(Sign::Changed, Thing::Policy, super::POLICY, details);
        let on_record = self.state.policy_on_record().is_some();
        self.plan.events.push(next.taken(on_record));
    }

    fn users(&mut self, users: &BTreeMap<Principal, UserSet>) -> Result<(), Error> {
        let state = self.state;
        for user in users.values() {
            let before = state.directory.user(&user.name);
            if before == Some(user) {
                continue;
            }
            let sign = before.map_or(Sign::Added, |_| Sign::Changed);
            self.change(sign, Thing::User, &user.name, user_details(before, user));
            if let Some(until) = user.until.filter(|_| user.has_ended(self.now)) {
                self.plan.warnings.push(format!(
                    "the time of {} is over with this: it went until {}",
                    user.name,
                    Until(until)
                ));
            }
            self.wants(Command::SetUser(user.clone()))?;
        }
        let gone = state.directory.users();
        for user in gone.filter(|user| !users.contains_key(&user.name)) {
            let name = user.name.clone();
            self.change(Sign::Removed, Thing::User, &name, Vec::new());
            self.plan.removals += 1;
            self.wants(Command::RemoveUser { name })?;
        }
        self.plan.users = state.directory.users().count();
        Ok(())
    }

    fn host(
        &mut self,
        name: &HostName,
        wanted: &WantedHost,
        users: Option<&BTreeMap<Principal, UserSet>>,
    ) -> Result<(), Error> {
        match (self.state.directory.host(name), wanted) {
            (None, WantedHost::Removed) => {}
            (None, WantedHost::Labelled(_)) => self.plan.warnings.push(format!(
                "host {name} is not enrolled; apply again once it is, and it gets its labels"
            )),
            (Some(host), WantedHost::Labelled(labels)) => {
                if host.enrolled.labels == *labels {
                    return Ok(());
                }
                let pairs = |labels: &BTreeMap<LabelKey, LabelValue>| {
                    let labels = labels.clone().into_iter();
                    labels.collect::<BTreeSet<_>>()
                };
                let before = pairs(&host.enrolled.labels);
                let details = members("label", &before, &pairs(labels), |(key, value)| {
                    format!("{key}={value}")
                });
                self.change(Sign::Changed, Thing::Host, name, details);
                let mut lost = self.state.lost_by_labels(name, labels, users, self.now);
                lost.retain(|event| !self.plan.revokes(event.grant()));
                self.plan.events.extend(lost);
                self.plan.events.push(Event::HostLabelled {
                    name: name.clone(),
                    labels: labels.clone(),
                });
            }
            (Some(host), WantedHost::Removed) => {
                let token = host.enrolled.token.as_ref();
                let mut open = self.state.tokens.open(self.now);
                if let Some(token) = open.find(|open| Some(&open.made.token) == token) {
                    let id = &token.made.token;
                    self.plan.warnings.push(format!(
                        "host {name} came with enrolment token {id}, which lets in more; `jit-server host token --revoke {id}` ends that"
                    ));
                }
                self.change(Sign::Removed, Thing::Host, name, Vec::new());
                let events = removal(self.state, name, REMOVED, self.now)?;
                self.plan.events.extend(events);
            }
        }
        Ok(())
    }

    fn wants(&mut self, wanted: Command) -> Result<(), Error> {
        let administrator = Actor::Administrator;
        let events = workflow::command(self.state, self.policy, self.now, &administrator, wanted)?;
        self.plan.events.extend(events);
        Ok(())
    }
}

/// What becomes different of a user, each in a few words.
pub(crate) fn user_details(before: Option<&UserSet>, user: &UserSet) -> Vec<String> {
    let mut details = match before {
        None => vec![format!("login {}", user.login)],
        Some(before) if before.login != user.login => {
            vec![format!("login {} -> {}", before.login, user.login)]
        }
        Some(_) => Vec::new(),
    };
    details.extend(service::details(before, user));
    let rules = |user: &UserSet| user.logins.each().collect::<Vec<_>>();
    let (was, is) = (before.map(rules).unwrap_or_default(), rules(user));
    let sorted = |rules: &[String]| rules.iter().cloned().collect::<BTreeSet<_>>();
    let changed = members("login", &sorted(&was), &sorted(&is), String::clone);
    if changed.is_empty() && was != is {
        details.push("logins in another order".to_owned());
    }
    details.extend(changed);
    let none = BTreeSet::new();
    let groups = before.map_or(&none, |before| &before.groups);
    details.extend(members("group", groups, &user.groups, ToString::to_string));
    let none = BTreeSet::new();
    let keys = before.map_or(&none, |before| &before.keys);
    let fingerprint = |key: &SshKey| key.fingerprint().to_string();
    details.extend(members("key", keys, &user.keys, fingerprint));
    let each = |user: &UserSet| user.attributes.each().collect::<BTreeSet<_>>();
    let attributes = before.map(each).unwrap_or_default();
    details.extend(members(
        "attribute",
        &attributes,
        &each(user),
        String::clone,
    ));
    let until = |user: &UserSet| user.until.map(Until);
    details.extend(match (before.and_then(until), until(user)) {
        (before, after) if before == after => None,
        (None, Some(after)) => Some(format!("+ until {after}")),
        (Some(before), Some(after)) => Some(format!("until {before} -> {after}")),
        (Some(before), None) => Some(format!("- until {before}")),
        (None, None) => None,
    });
    details
}

/// `- WHAT NAME` for what is not in `after`, `+ WHAT NAME` for what is only there.
fn members<T: Ord>(
    what: &str,
    before: &BTreeSet<T>,
    after: &BTreeSet<T>,
    name: impl Fn(&T) -> String,
) -> Vec<String> {
    let gone = before.difference(after);
    let gone = gone.map(|member| format!("- {what} {}", name(member)));
    let new = after.difference(before);
    let new = new.map(|member| format!("+ {what} {}", name(member)));
    gone.chain(new).collect()
}

/// The same of tables, and `~ WHAT NAME` for what says something else.
fn tables<N: Ord + Display, T: PartialEq>(
    what: &str,
    before: &BTreeMap<N, T>,
    after: &BTreeMap<N, T>,
) -> Vec<String> {
    let names = (before.keys().collect(), after.keys().collect());
    let mut details = members(what, &names.0, &names.1, ToString::to_string);
    let changed = after.iter().filter(|(name, table)| {
        let before = before.get(name);
        before.is_some_and(|before| before != *table)
    });
    details.extend(changed.map(|(name, _)| format!("~ {what} {name}")));
    details
}

#[cfg(test)]
mod tests;
