//! Why a request would be taken or refused, rule by rule, and who could approve it. Nothing happens by it.

mod approvers;

use jiff::Timestamp;
use jit_grant::Principal;
use serde::Serialize;

pub use approvers::{Able, Approvers};

use super::asking::{MOST_A_DAY, MOST_HOSTS, MOST_OPEN};
use super::command::Desk;
use super::{Rule, State, Wish, WorkflowError};
use crate::event::{Actor, UserSet};
use crate::policy::{Hosts, People, Policy, in_words};

/// What would come of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Each rule, in the order in which they are asked.
    pub rules: Vec<Told>,
    /// Who could approve it now. None where there is no such role.
    pub approval: Option<Approvers>,
    /// What the workflow itself says to the request.
    pub verdict: Result<(), WorkflowError>,
}

/// What came of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Which.
    pub rule: Rule,
    /// Whether it is met.
    pub outcome: Outcome,
    /// By what, or why not.
    pub words: String,
}

/// Whether a rule is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is.
    Met,
    /// It is not.
    Failed,
    /// It can't be asked, since one before it fails.
    NotAsked,
}

/// What would come of `principal` wanting `wish` at `now`.
#[must_use]
pub fn explain(
    state: &State,
    policy: &Policy,
    now: Timestamp,
    principal: &Principal,
    wish: &Wish<'_>,
) -> Explanation {
    let actor = Actor::Principal(principal.clone());
    let desk = Desk {
        state,
        policy,
        now,
        actor: &actor,
    };
    let mut failures: Vec<(Rule, WorkflowError)> = Vec::new();
    let mut rules = Vec::new();
    for rule in Rule::ALL {
        let (outcome, words) = match desk.check(rule, wish) {
            Ok(()) => (Outcome::Met, desk.met(rule, principal, wish)),
            Err(error) => match failures.iter().find(|(_, before)| *before == error) {
                Some((Rule::KnownUser, _)) => {
                    (Outcome::NotAsked, "can't be told without a user".to_owned())
                }
                Some(_) => (Outcome::NotAsked, "can't be told without a role".to_owned()),
                None => {
                    let words = against(rule, &error);
                    failures.push((rule, error));
                    (Outcome::Failed, words)
                }
            },
        };
        rules.push(Told {
            rule,
            outcome,
            words,
        });
    }
    let role = policy.roles.get(wish.role);
    let approval = role.map(|role| Approvers::of(role, principal, state));
    Explanation {
        rules,
        approval,
        verdict: failures
            .into_iter()
            .next()
            .map_or(Ok(()), |(_, error)| Err(error)),
    }
}

impl Desk<'_> {
    /// By what a rule is met.
    fn met(&self, rule: Rule, principal: &Principal, wish: &Wish<'_>) -> String {
        let role = self.policy.roles.get(wish.role);
        let user = self.state.directory.user(principal);
        match rule {
            Rule::NotLocked => format!("{principal} is not locked"),
            Rule::NotRestored => "the server's database is no older copy".to_owned(),
            Rule::KnownUser => user.map_or_else(String::new, described),
            Rule::RoleThere => format!("the policy has role {}", wish.role),
            Rule::MayAsk => match (user, role) {
                (Some(user), Some(role)) => {
                    format!("{principal} may ask for it, {}", by(user, &role.may_ask))
                }
                _ => String::new(),
            },
            Rule::SomeTime => format!("{} is asked for", in_words(wish.for_seconds)),
            Rule::HostsCovered => {
                let every = role.is_some_and(|role| role.hosts == Hosts::Every);
                let by = if every { "as every host is" } else { "by name" };
                format!("{} is a host of the role, {by}", listed(wish.hosts))
            }
            Rule::HostsEnrolled => format!("{} is enrolled", listed(wish.hosts)),
            Rule::HostsCounted => format!("{} of {MOST_HOSTS} hosts at most", wish.hosts.len()),
            Rule::WithinLongest => role.map_or_else(String::new, |role| {
                let longest = in_words(role.longest_seconds);
                format!("{} is within {longest}", in_words(wish.for_seconds))
            }),
            Rule::NotAskedAlready => "no undecided request asks for the same".to_owned(),
            Rule::FewEnough => format!(
                "{} of {MOST_OPEN} undecided requests, {} of {MOST_A_DAY} within a day",
                self.open_of(principal),
                self.of_today(principal)
            ),
        }
    }
}

/// Why a rule is not met. What the error leaves open to whoever asks, whether the role is there, it tells.
fn against(rule: Rule, error: &WorkflowError) -> String {
    match rule {
        Rule::RoleThere => "the policy has no such role".to_owned(),
        Rule::MayAsk => "may_ask names neither this user nor a group of his".to_owned(),
        _ => error.to_string(),
    }
}

fn described(user: &UserSet) -> String {
    let UserSet {
        name,
        login,
        groups,
        ..
    } = user;
    let groups = if groups.is_empty() {
        "no groups".to_owned()
    } else {
        format!("groups {}", listed(groups))
    };
    format!("{name} is a user: login {login}, {groups}")
}

fn by(user: &UserSet, people: &People) -> String {
    if people.users.contains(&user.name) {
        return "by name".to_owned();
    }
    let groups = people.groups.intersection(&user.groups);
    format!("by group {}", listed(groups))
}

fn listed(names: impl IntoIterator<Item = impl ToString>) -> String {
    let names = names.into_iter().map(|name| name.to_string());
    names.collect::<Vec<_>>().join(", ")
}
