//! The rules that a request has to meet. Asking walks them up to the first that is against it; [`explain`](super::explain) tells each.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use jit_grant::{HostName, Principal, RoleName};
use serde::Serialize;

use super::command::Desk;
use super::{Request, WorkflowError};
use crate::event::{Actor, UserSet};
use crate::label::Labelled;
use crate::origin::Origin;
use crate::policy::{Approval, PolicyRefusal, Role};
use crate::text::{Reason, Ticket};

/// Undecided requests of one principal at most.
pub(super) const MOST_OPEN: usize = 20;
/// Requests of one principal within a day at most, and extensions that nobody approves.
pub(super) const MOST_A_DAY: usize = 1_000;
/// Hosts of one request at most.
pub(super) const MOST_HOSTS: usize = 64;
pub(super) const ONE_DAY: SignedDuration = SignedDuration::from_hours(24);

/// What of an ask the rules are about.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The role.
    pub role: &'a RoleName,
    /// Where; nowhere in particular means every host of the role …
    pub hosts: &'a BTreeSet<HostName>,
    /// … that has these labels.
    pub labels: &'a Labelled,
    /// For how long. Seconds.
    pub for_seconds: u32,
    /// From this instant on and no earlier. None: from the moment it is granted.
    pub not_before: Option<Timestamp>,
    /// The ticket that is named.
    pub ticket: Option<&'a Ticket>,
    /// Why. None: that is not known yet, and taken as one that will do.
    pub reason: Option<&'a Reason>,
    /// Where it is asked from. None: from where it may be.
    pub origin: Option<Origin>,
}

/// One thing that has to be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Whoever asks is not locked.
    NotLocked,
    /// No older copy of the database was put back, or root has seen to what it does not know.
    NotRestored,
    /// The time of whoever asks is not over, nor will it be when it begins.
    NotEnded,
    /// Whoever asks is a user.
    KnownUser,
    /// There is such a role.
    RoleThere,
    /// The role is for whoever asks.
    MayAsk,
    /// The time is not of no length.
    SomeTime,
    /// The role is for the hosts. Asked before the next, so that nobody learns there which other hosts there are.
    HostsCovered,
    /// The hosts are enrolled.
    HostsEnrolled,
    /// There is a host, and not too many.
    HostsCounted,
    /// No denial of the policy fits. Asked after those of hosts, so that it is about ones that the role is for.
    NotDenied,
    /// The time is within the role's longest.
    WithinLongest,
    /// Nothing undecided asks for the same (T27), and what is granted at once is not there several times already.
    NotAskedAlready,
    /// No more of one person than people can read.
    FewEnough,
    /// It begins in the role's hours.
    WithinHours,
    /// It begins when it is granted, or as far ahead as the role allows.
    StartNear,
    /// It names the ticket that the role asks for.
    TicketFits,
    /// Its reason is long enough.
    ReasonLong,
    /// It is asked for from where that may be.
    AskedFrom,
    /// A service account asks, and begins, within its own hours.
    WithinOwnHours,
    /// Its hosts enforce what the role is limited to.
    HostsEnforce,
}

impl Rule {
    /// All, in the order in which they are asked.
    pub const ALL: [Self; 21] = [
        Self::NotLocked,
        Self::NotRestored,
        Self::NotEnded,
        Self::KnownUser,
        Self::RoleThere,
        Self::MayAsk,
        Self::SomeTime,
        Self::HostsCovered,
        Self::HostsEnrolled,
        Self::HostsCounted,
        Self::NotDenied,
        Self::WithinLongest,
        Self::NotAskedAlready,
        Self::FewEnough,
        Self::WithinHours,
        Self::StartNear,
        Self::TicketFits,
        Self::ReasonLong,
        Self::AskedFrom,
        Self::WithinOwnHours,
        Self::HostsEnforce,
    ];
}

impl<'a> Desk<'a> {
    /// One rule alone. Where it can't be asked, since another one fails, the error is that of the other.
    pub(super) fn check(&self, rule: Rule, wish: &Wish<'_>) -> Result<(), WorkflowError> {
        match rule {
            Rule::NotLocked => self.check_not_locked(),
            Rule::NotRestored => self.check_not_restored(),
            Rule::NotEnded => self.check_within_time(wish.not_before),
            Rule::KnownUser => self.user().map(|_| ()),
            Rule::RoleThere => self.role(wish.role).map(|_| ()),
            Rule::MayAsk => self
                .policy
                .may_ask(self.user()?, wish.role)
                .map(|_| ())
                .map_err(WorkflowError::from),
            Rule::SomeTime if wish.for_seconds == 0 => Err(WorkflowError::NoTime),
            Rule::SomeTime => Ok(()),
            Rule::HostsCovered => {
                let role = self.role(wish.role)?;
                Ok(role.check_hosts(wish.role, wish.hosts, &self.state.directory)?)
            }
            Rule::HostsEnrolled => {
                let directory = &self.state.directory;
                let mut hosts = wish.hosts.iter();
                match hosts.find(|host| directory.host(host).is_none()) {
                    Some(unknown) => Err(WorkflowError::UnknownHost(unknown.clone())),
                    None => Ok(()),
                }
            }
            Rule::HostsCounted => match self.hosts(self.role(wish.role)?, wish).len() {
                0 if wish.labels.is_empty() => Err(WorkflowError::NoHosts(wish.role.clone())),
                0 => Err(WorkflowError::NoHostsLabelled {
                    role: wish.role.clone(),
                    labels: wish.labels.clone(),
                }),
                1..=MOST_HOSTS => Ok(()),
                _ => Err(WorkflowError::TooManyHosts(MOST_HOSTS)),
            },
            Rule::NotDenied => {
                let (user, role) = (self.user()?, self.role(wish.role)?);
                let policy = self.policy;
                // To find the hosts of a role is most of what it costs to ask for it.
                if policy.denials.is_empty() {
                    return Ok(());
                }
                let (hosts, directory) = (self.hosts(role, wish), &self.state.directory);
                Ok(policy.check_not_denied(user, &hosts, &role.actions, directory)?)
            }
            Rule::WithinLongest => Ok(self
                .role(wish.role)?
                .check_length(wish.role, wish.for_seconds)?),
            Rule::NotAskedAlready => {
                let (user, role) = (self.user()?, self.role(wish.role)?);
                let wanted = |host: &HostName| self.is_wanted(host, role, wish);
                self.check_not_asked_already(user, wish.role, wanted)?;
                self.check_not_had_already(user, wish.role, role, wanted)
            }
            Rule::FewEnough => self.check_few_enough(self.user()?, self.role(wish.role)?),
            Rule::WithinHours => {
                let role = self.role(wish.role)?;
                let start = wish.not_before.unwrap_or(self.now);
                role.lasts_until(wish.role, start, start, self.now)?;
                Ok(())
            }
            Rule::StartNear => {
                let role = self.role(wish.role)?;
                Ok(role.check_start(wish.role, wish.not_before, self.now)?)
            }
            Rule::TicketFits => {
                let role = self.role(wish.role)?;
                Ok(role.check_ticket(wish.role, wish.ticket)?)
            }
            Rule::ReasonLong => {
                let role = self.role(wish.role)?;
                let check = |reason| role.check_reason(wish.role, reason);
                Ok(wish.reason.map_or(Ok(()), check)?)
            }
            Rule::AskedFrom => {
                let role = self.role(wish.role)?;
                let check = |origin| role.check_origin(wish.role, Some(origin));
                Ok(wish.origin.map_or(Ok(()), check)?)
            }
            Rule::WithinOwnHours => self.check_own_hours(&self.user()?.name, wish.not_before),
            Rule::HostsEnforce => {
                let role = self.role(wish.role)?;
                self.check_enforced(wish.role, role, &self.hosts(role, wish))
            }
        }
    }

    /// The role, whoever may ask for it.
    fn role(&self, name: &RoleName) -> Result<&'a Role, WorkflowError> {
        let Actor::Principal(principal) = self.actor else {
            return Err(WorkflowError::NoUser(self.actor.to_string()));
        };
        self.policy.roles.get(name).ok_or_else(|| {
            WorkflowError::Policy(PolicyRefusal::MayNotAsk {
                principal: principal.clone(),
                role: name.clone(),
            })
        })
    }

    /// The hosts asked for by name, or every enrolled one of the role with the labels; of more than there may be, one more than that.
    pub(super) fn hosts(&self, rule: &Role, wish: &Wish<'_>) -> BTreeSet<HostName> {
        if !wish.hosts.is_empty() {
            return wish.hosts.clone();
        }
        let mut hosts = BTreeSet::new();
        for host in rule.hosts.among(&self.state.directory, wish.labels) {
            hosts.insert(host.clone());
            if hosts.len() > MOST_HOSTS {
                break;
            }
        }
        hosts
    }

    /// True where `host` would be among [`Self::hosts`], were there no end to them.
    fn is_wanted(&self, host: &HostName, rule: &Role, wish: &Wish<'_>) -> bool {
        if !wish.hosts.is_empty() {
            return wish.hosts.contains(host);
        }
        let host = self.state.directory.host(host).map(|host| &host.enrolled);
        host.is_some_and(|host| {
            rule.hosts.cover(&host.name, &host.labels) && wish.labels.fits(&host.labels)
        })
    }

    /// One open request a login, role and host, of the hosts that are `wanted` (T27). On another host the user may have another login.
    pub(super) fn check_not_asked_already(
        &self,
        user: &UserSet,
        role: &RoleName,
        wanted: impl Fn(&HostName) -> bool,
    ) -> Result<(), WorkflowError> {
        let directory = &self.state.directory;
        let his = user.all_logins().into_iter();
        let open = his.flat_map(|login| self.state.pending_for(login));
        let mut same = open.filter(|open| self.is_undecided(open) && open.asked.role == *role);
        let found = same.find_map(|open| {
            let mut hosts = open.asked.hosts.iter();
            let host = hosts.find(|host| {
                open.asked.login_on(host) == directory.login_on(user, host) && wanted(host)
            })?;
            Some(WorkflowError::SameOpen {
                request: open.asked.request.clone(),
                host: host.clone(),
            })
        });
        found.map_or(Ok(()), Err)
    }

    /// No more of one person than people can read. What nobody decides keeps nobody reading, and must not wait for those who do.
    pub(super) fn check_few_enough(
        &self,
        user: &UserSet,
        role: &Role,
    ) -> Result<(), WorkflowError> {
        let open = self.open_of(&user.name);
        if open >= MOST_OPEN && matches!(role.approval, Approval::Stages(_)) {
            return Err(WorkflowError::TooManyOpen(open));
        }
        self.check_few_today(user)
    }

    /// No more within a day than a record should have of one person.
    pub(super) fn check_few_today(&self, user: &UserSet) -> Result<(), WorkflowError> {
        let today = self.of_today(&user.name);
        if today >= MOST_A_DAY {
            return Err(WorkflowError::TooManyToday(today));
        }
        Ok(())
    }

    /// How many requests of `name` nobody has decided.
    pub(super) fn open_of(&self, name: &Principal) -> usize {
        let open = self.state.pending_of(name);
        open.filter(|open| self.is_undecided(open)).count()
    }

    /// How many requests `name` has made within a day, with the extensions that were no requests.
    pub(super) fn of_today(&self, name: &Principal) -> usize {
        let all = self.state.requests_of(name).rev();
        let requests = all.take_while(|request| self.is_of_today(request.asked_at));
        let extensions = self.state.extensions_of(name);
        let extensions = extensions.filter(|at| self.is_of_today(*at));
        requests.count() + extensions.count()
    }

    fn is_of_today(&self, at: Timestamp) -> bool {
        self.now.duration_since(at) < ONE_DAY
    }

    fn is_undecided(&self, request: &Request) -> bool {
        self.now < request.asked.lapses_at
    }
}
