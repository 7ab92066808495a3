//! Why a request would be taken or refused, rule by rule, and who could approve it. Nothing happens by it.

mod approvers;
mod denials;

use jiff::Timestamp;
use jit_grant::{HostName, Principal};
use serde::Serialize;

pub use approvers::{Able, Approvers};
pub use denials::ToldDenial;

use super::asking::{MOST_A_DAY, MOST_HOSTS, MOST_OPEN};
use super::command::Desk;
use super::{Rule, State, Wish, WorkflowError};
use crate::clock::seconds_after;
use crate::event::{Actor, UserSet};
use crate::policy::{Conditions, People, Policy, Role, in_words};

/// What would come of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Each rule, in the order in which they are asked.
    pub rules: Vec<Told>,
    /// Each denial of the policy. None where there is no such user or role.
    pub denials: Vec<ToldDenial>,
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
                    let words = desk.against(rule, &error, principal, wish);
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
    let approval = role.map(|role| Approvers::of(role, principal, state, now));
    Explanation {
        rules,
        denials: desk.denials(principal, wish),
        approval,
        verdict: failures
            .into_iter()
            .next()
            .map_or(Ok(()), |(_, error)| Err(error)),
    }
}

impl Desk<'_> {
    /// Within which hours, and where they end a grant that is made now.
    fn hours_met(&self, role: &Role, wish: &Wish<'_>) -> String {
        let Some(hours) = &role.conditions.hours else {
            return "the role has no hours: it is for any time".to_owned();
        };
        let start = wish.not_before.unwrap_or(self.now);
        let wanted = seconds_after(start, wish.for_seconds);
        match role.lasts_until(wish.role, start, wanted, self.now) {
            Ok(until) if until < wanted => format!(
                "it is for {hours}; a grant from {start:.0} on would end with that, at {until:.0}"
            ),
            _ => format!("it is for {hours}"),
        }
    }

    /// Within which of his own, and where they end a grant that is made now.
    fn own_hours_met(&self, principal: &Principal, wish: &Wish<'_>) -> String {
        let Ok(Some(hours)) = self.own_hours(principal) else {
            return format!("{principal} has no hours of his own");
        };
        let start = wish.not_before.unwrap_or(self.now);
        let wanted = seconds_after(start, wish.for_seconds);
        match hours.open_until(start, wanted) {
            Some(until) if until < wanted => format!(
                "{principal} may ask {hours}; a grant from {start:.0} on would end with that, at {until:.0}"
            ),
            _ => format!("{principal} may ask {hours}"),
        }
    }

    /// By what a rule is met.
    fn met(&self, rule: Rule, principal: &Principal, wish: &Wish<'_>) -> String {
        let role = self.policy.roles.get(wish.role);
        let user = self.state.directory.user(principal);
        match rule {
            Rule::NotLocked => format!("{principal} is not locked"),
            Rule::NotRestored => "the server's database is no older copy".to_owned(),
            Rule::NotEnded => self.time_met(principal, wish.not_before, wish.for_seconds),
            Rule::KnownUser => user.map_or_else(String::new, |user| {
                let logins = self.other_logins(user, wish.hosts).into_iter();
                let logins = logins.map(|(host, login)| format!(", {login} on {host}"));
                format!("{}{}", described(user), logins.collect::<String>())
            }),
            Rule::RoleThere => format!("the policy has role {}", wish.role),
            Rule::MayAsk => match (user, role) {
                (Some(user), Some(role)) => {
                    format!("{principal} may ask for it, {}", by(user, &role.may_ask))
                }
                _ => String::new(),
            },
            Rule::SomeTime => format!("{} is asked for", in_words(wish.for_seconds)),
            Rule::HostsCovered => {
                let why = |host: &HostName| role.map(|role| role.hosts.why(host));
                let each = wish.hosts.iter().filter_map(|host| {
                    Some(format!("{host} is a host of the role, {}", why(host)?))
                });
                each.collect::<Vec<_>>().join("; ")
            }
            Rule::HostsEnrolled => format!("{} is enrolled", listed(wish.hosts)),
            Rule::HostsCounted => format!("{} of {MOST_HOSTS} hosts at most", wish.hosts.len()),
            Rule::NotDenied => self.denials_in_words(principal, wish),
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
            Rule::TicketFits | Rule::ReasonLong | Rule::AskedFrom => {
                role.map_or_else(String::new, |role| stated(rule, &role.conditions, wish))
            }
            Rule::StartNear => match wish.not_before {
                None => "it begins when it is granted".to_owned(),
                Some(start) => format!("{start:.0} is near enough"),
            },
            Rule::WithinHours => role.map_or_else(String::new, |role| self.hours_met(role, wish)),
            Rule::WithinOwnHours => self.own_hours_met(principal, wish),
            Rule::HostsEnforce => role.map_or_else(String::new, |role| {
                let limits = role.limits.names();
                if limits.is_empty() {
                    return "the role has no limits that hosts enforce".to_owned();
                }
                format!("{} enforces {}", listed(wish.hosts), listed(limits))
            }),
        }
    }
}

impl Desk<'_> {
    /// Why a rule is not met. What the error leaves open to whoever asks, whether the role is there, it tells.
    fn against(
        &self,
        rule: Rule,
        error: &WorkflowError,
        principal: &Principal,
        wish: &Wish<'_>,
    ) -> String {
        match rule {
            Rule::RoleThere => "the policy has no such role".to_owned(),
            Rule::NotDenied => self.denials_in_words(principal, wish),
            Rule::MayAsk => {
                let user = self.state.directory.user(principal);
                let role = self.policy.roles.get(wish.role);
                let named = user.zip(role);
                let named = named.filter(|(user, role)| role.may_ask.name(user));
                named.map_or_else(
                    || "may_ask names neither this user nor a group of his".to_owned(),
                    |(_, role)| {
                        let wanted = &role.may_ask.attributes;
                        format!(
                            "may_ask asks for {wanted}, and not all of that is so of {principal}"
                        )
                    },
                )
            }
            _ => error.to_string(),
        }
    }
}

/// By what a rule about what is stated with a request is met; what is not known yet is said to be needed.
fn stated(rule: Rule, conditions: &Conditions, wish: &Wish<'_>) -> String {
    match rule {
        Rule::TicketFits => match (&conditions.ticket, wish.ticket) {
            (Some(rule), Some(ticket)) => {
                format!("{ticket} is what the role needs: {}", rule.in_words())
            }
            _ => "the role needs no ticket".to_owned(),
        },
        Rule::ReasonLong => match (conditions.reason_at_least, wish.reason) {
            (None, _) => "any reason will do".to_owned(),
            (Some(least), None) => format!("where its reason has {least} characters at least"),
            (Some(least), Some(_)) => format!("its reason has {least} characters at least"),
        },
        _ => match (&conditions.asked_from, wish.origin) {
            (None, _) => "it may be asked for from anywhere".to_owned(),
            (Some(networks), None) => {
                format!(
                    "where it is asked for from {}",
                    networks.listed().join(" or ")
                )
            }
            (Some(_), Some(origin)) => format!("it may be asked for from {origin}"),
        },
    }
}

fn described(user: &UserSet) -> String {
    let UserSet {
        name,
        login,
        groups,
        attributes,
        ..
    } = user;
    let kind = if user.is_service() {
        "a service account, which never approves"
    } else {
        "a user"
    };
    let groups = if groups.is_empty() {
        "no groups".to_owned()
    } else {
        format!("groups {}", listed(groups))
    };
    let attributes = if attributes.is_empty() {
        String::new()
    } else {
        format!(", {attributes}")
    };
    format!("{name} is {kind}: login {login}, {groups}{attributes}")
}

fn by(user: &UserSet, people: &People) -> String {
    let attributes = &people.attributes;
    if people.are_anybody() {
        return format!("as everybody with {attributes}");
    }
    let named = if people.users.contains(&user.name) {
        "by name".to_owned()
    } else {
        let groups = people.groups.intersection(&user.groups);
        format!("by group {}", listed(groups))
    };
    if attributes.is_empty() {
        return named;
    }
    format!("{named}, with {attributes}")
}

fn listed(names: impl IntoIterator<Item = impl ToString>) -> String {
    let names = names.into_iter().map(|name| name.to_string());
    names.collect::<Vec<_>>().join(", ")
}
