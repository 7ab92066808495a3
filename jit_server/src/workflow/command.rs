//! What happens when somebody wants something.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jit_grant::{GrantId, HostName, Principal, RequestId, RoleName};

use super::asking::MOST_A_DAY;
use super::enforced::check_same_groups;
use super::{Given, Progress, Request, RequestState, Rule, State, Wish, WorkflowError};
use super::{changes, review, size, span};
use crate::clock::seconds_after;
use crate::event::{Actor, Approved, Denied, Event, Granted, GrantedHost, Requested, UserSet};
use crate::label::Labelled;
use crate::origin::Origin;
use crate::policy::{Policy, Role, Stated, Wanted};
use crate::text::{Comment, Reason, Ticket};

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A role.
    Ask(Ask),
    /// To approve, for at most so many seconds.
    Approve {
        /// What.
        request: RequestId,
        /// For less than was asked. Seconds.
        for_seconds: Option<u32>,
        /// What to add.
        comment: Option<Comment>,
    },
    /// To say no.
    Deny {
        /// What.
        request: RequestId,
        /// Why.
        reason: Reason,
    },
    /// To take one's own request back.
    Withdraw {
        /// What.
        request: RequestId,
    },
    /// To take a grant away.
    Revoke {
        /// Which.
        grant: GrantId,
        /// Why.
        reason: Reason,
    },
    /// To give one's own grant back.
    Release {
        /// Which.
        grant: GrantId,
    },
    /// To have one's own grant for longer.
    Extend {
        /// Which.
        grant: GrantId,
        /// By how much. Seconds.
        for_seconds: u32,
        /// Why; the reason that the grant was asked for with, where none is given.
        reason: Option<Reason>,
        /// Where it is asked from.
        origin: Origin,
    },
    /// To end all that somebody has, and keep him from asking and approving.
    Lock {
        /// Whom.
        principal: Principal,
        /// Why.
        reason: Reason,
    },
    /// To let somebody ask and approve again.
    Unlock {
        /// Whom.
        principal: Principal,
    },
    /// To add a user, or make him different.
    SetUser(UserSet),
    /// To remove a user, and end all that he has.
    RemoveUser {
        /// Whom.
        name: Principal,
    },
    /// To say what one has seen of somebody's use of a break-glass role.
    Review {
        /// The request that brought it.
        request: RequestId,
        /// What.
        comment: Comment,
    },
}

impl Command {
    /// True where it may come to access that is not there yet.
    fn may_open(&self) -> bool {
        matches!(
            self,
            Self::Ask(_) | Self::Approve { .. } | Self::Extend { .. }
        )
    }
}

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The role.
    pub role: RoleName,
    /// Where; nowhere in particular means every host of the role …
    pub hosts: BTreeSet<HostName>,
    /// … that has these labels.
    pub labels: Labelled,
    /// For how long. Seconds. None: for as long as the role says for that.
    pub for_seconds: Option<u32>,
    /// Why.
    pub reason: Reason,
    /// A ticket.
    pub ticket: Option<Ticket>,
    /// From this instant on and no earlier. None: from the moment it is granted.
    pub not_before: Option<Timestamp>,
    /// Where it is asked from.
    pub origin: Origin,
}

/// The events that `wanted` by `actor` makes at `now` under `policy`.
///
/// # Errors
/// The first rule that is against it.
pub fn command(
    state: &State,
    policy: &Policy,
    now: Timestamp,
    actor: &Actor,
    wanted: Command,
) -> Result<Vec<Event>, WorkflowError> {
    let desk = Desk {
        state,
        policy,
        now,
        actor,
    };
    desk.check_not_locked()?;
    if wanted.may_open() {
        desk.check_not_restored()?;
    }
    desk.check_not_ended()?;
    match wanted {
        Command::Ask(ask) => desk.ask(ask),
        Command::Approve {
            request,
            for_seconds,
            comment,
        } => desk.approve(&request, for_seconds, comment),
        Command::Deny { request, reason } => desk.deny(request, reason),
        Command::Withdraw { request } => desk.withdraw(request),
        Command::Revoke { grant, reason } => desk.revoke(grant, reason),
        Command::Release { grant } => desk.release(grant),
        Command::Extend {
            grant,
            for_seconds,
            reason,
            origin,
        } => desk.extend(&grant, for_seconds, reason, origin),
        Command::Lock { principal, reason } => desk.lock(principal, reason),
        Command::Unlock { principal } => desk.unlock(principal),
        Command::SetUser(user) => desk.set_user(user),
        Command::RemoveUser { name } => desk.remove_user(name),
        Command::Review { request, comment } => desk.review(request, comment),
    }
}

/// The events of time passing: requests that nobody decided in time, extensions asked of grants that have ended since, and reviews that are
/// overdue.
#[must_use]
pub fn lapsed(state: &State, now: Timestamp) -> Vec<Event> {
    let moot = |request: &Request| {
        let extends = request.asked.extends.as_ref();
        extends.is_some_and(|id| !state.grant(id).is_some_and(|grant| grant.is_live(now)))
    };
    let late = state
        .pending()
        .filter(|request| now >= request.asked.lapses_at || moot(request));
    late.map(|request| Event::Lapsed {
        request: request.asked.request.clone(),
    })
    .chain(review::overdue(state, now))
    .chain(changes::lapsed(state, now))
    .collect()
}

pub(super) struct Desk<'a> {
    pub(super) state: &'a State,
    pub(super) policy: &'a Policy,
    pub(super) now: Timestamp,
    pub(super) actor: &'a Actor,
}

impl<'a> Desk<'a> {
    fn ask(&self, ask: Ask) -> Result<Vec<Event>, WorkflowError> {
        let for_seconds = match ask.for_seconds {
            Some(seconds) => seconds,
            None => self.default_length(&ask.role)?,
        };
        let wish = Wish {
            role: &ask.role,
            hosts: &ask.hosts,
            labels: &ask.labels,
            for_seconds,
            not_before: ask.not_before,
            ticket: ask.ticket.as_ref(),
            reason: Some(&ask.reason),
            origin: Some(ask.origin),
        };
        for rule in Rule::ALL {
            self.check(rule, &wish)?;
        }
        let user = self.user()?;
        let rule = self.policy.may_ask(user, &ask.role)?;
        let hosts = self.hosts(rule, &wish);
        let logins = self.other_logins(user, &hosts);
        let mut request = Requested {
            request: self.request_id()?,
            principal: user.name.clone(),
            login: user.login.clone(),
            role: ask.role,
            hosts,
            actions: rule.actions.clone(),
            for_seconds,
            reason: ask.reason,
            ticket: ask.ticket,
            extends: None,
            lapses_at: seconds_after(self.now, rule.pending_seconds),
            policy: self.policy.hash.clone(),
            not_before: ask.not_before,
            asked_from: Some(ask.origin),
            logins,
            groups: rule.limits.groups.clone(),
        };
        if let Some(end) = span::ends_by(&request) {
            request.lapses_at = request.lapses_at.min(end);
        }
        let granted = self.granted_at_once(&request, rule)?;
        let mut events = vec![Event::Requested(request)];
        events.extend(granted);
        Ok(events)
    }

    fn approve(
        &self,
        id: &RequestId,
        for_seconds: Option<u32>,
        comment: Option<Comment>,
    ) -> Result<Vec<Event>, WorkflowError> {
        let (request, approver, rule) = self.decidable(id)?;
        let progress = Progress::of(request, rule.stages(), self.state, self.now);
        progress.check(approver, self.now)?;
        self.check_still_fits(request)?;
        let asked = request.asked.for_seconds;
        let wanted = for_seconds.unwrap_or(asked);
        match wanted {
            0 => return Err(WorkflowError::NoTime),
            longer if longer > asked => return Err(WorkflowError::Lengthened { asked, wanted }),
            _ => {}
        }
        let given = Given {
            by: approver.name.clone(),
            at: self.now,
            stage: progress.stage(),
            for_seconds: wanted,
            comment: comment.clone(),
        };
        let progress = progress.with(approver, &given)?;
        let mut events = vec![Event::Approved(Approved {
            request: id.clone(),
            by: approver.name.clone(),
            stage: given.stage,
            for_seconds: wanted,
            comment,
            policy: self.policy.hash.clone(),
        })];
        if progress.is_done() {
            let shortest = progress.shortest().unwrap_or(wanted);
            events.push(match &request.asked.extends {
                None => Event::Granted(Granted {
                    counted: progress.counted(),
                    ..self.grant(&request.asked, rule, shortest)?
                }),
                Some(grant) => self.extension_approved(request, grant, shortest)?,
            });
        }
        Ok(events)
    }

    /// Seconds. Whoever may not ask for the role is told nothing of it.
    fn default_length(&self, name: &RoleName) -> Result<u32, WorkflowError> {
        let role = self.policy.may_ask(self.user()?, name)?;
        let default = role.default_seconds;
        default.ok_or_else(|| WorkflowError::NoDefault(name.clone()))
    }

    /// The undecided request, and the user and rule that may decide it.
    fn decidable(
        &self,
        id: &RequestId,
    ) -> Result<(&'a Request, &'a UserSet, &'a Role), WorkflowError> {
        let approver = self.user()?;
        let request = self.pending(id)?;
        if request.asked.principal == approver.name {
            return Err(WorkflowError::OwnRequest(id.clone()));
        }
        let rule = self.policy.may_approve(approver, &request.asked.role)?;
        Ok((request, approver, rule))
    }

    /// The requester may still have what was asked: the policy and the user may have changed since.
    fn check_still_fits(&self, request: &Request) -> Result<(), WorkflowError> {
        let asked = &request.asked;
        let requester = self.state.directory.user(&asked.principal);
        let requester =
            requester.ok_or_else(|| WorkflowError::NoUser(asked.principal.to_string()))?;
        self.state.check_time_of(&requester.name, self.now)?;
        let directory = &self.state.directory;
        if let Some(gone) = asked
            .hosts
            .iter()
            .find(|host| directory.host(host).is_none())
        {
            return Err(WorkflowError::UnknownHost(gone.clone()));
        }
        let moved = |host: &&HostName| directory.login_on(requester, host) != asked.login_on(host);
        if asked.hosts.iter().any(|host| moved(&host)) {
            return Err(WorkflowError::LoginChanged(asked.principal.clone()));
        }
        let wanted = Wanted {
            hosts: &asked.hosts,
            directory,
            actions: &asked.actions,
            for_seconds: asked.for_seconds,
            stated: Some(Stated {
                ticket: asked.ticket.as_ref(),
                reason: &asked.reason,
                origin: asked.asked_from,
            }),
        };
        let rule = self.policy.covers(requester, &asked.role, &wanted)?;
        match &asked.extends {
            None => check_same_groups(asked, rule),
            Some(grant) => {
                let grant = self.live(grant)?;
                self.check_extension(requester, grant, asked.for_seconds)?;
                Ok(())
            }
        }
    }

    pub(super) fn grant(
        &self,
        asked: &Requested,
        rule: &Role,
        for_seconds: u32,
    ) -> Result<Granted, WorkflowError> {
        let mut grants = Vec::new();
        for (number, host) in (self.state.next_grant()..).zip(&asked.hosts) {
            let room = size::has_room(self.state, host, asked, &rule.limits, self.now);
            let grant = GrantId::try_from(format!("g{number}"))
                .ok()
                .filter(|_| room);
            let grant = grant.ok_or_else(|| WorkflowError::HostFull(host.clone()))?;
            grants.push(GrantedHost {
                grant,
                host: host.clone(),
            });
        }
        self.check_enforced(&asked.role, rule, &asked.hosts)?;
        let span = self.span(rule, asked, for_seconds)?;
        Ok(Granted {
            request: asked.request.clone(),
            grants,
            not_before: span.not_before,
            expires: span.expires,
            extendable_until: span.extendable_until,
            end_login_with_elevation: rule.end_login_with_elevation,
            at_once: None,
            limits: rule.limits.clone(),
            policy: self.policy.hash.clone(),
            counted: Vec::new(),
        })
    }

    fn deny(&self, id: RequestId, reason: Reason) -> Result<Vec<Event>, WorkflowError> {
        let (_, approver, _) = self.decidable(&id)?;
        let by = approver.name.clone();
        Ok(vec![Event::Denied(Denied {
            request: id,
            by,
            reason,
            policy: self.policy.hash.clone(),
        })])
    }

    fn withdraw(&self, id: RequestId) -> Result<Vec<Event>, WorkflowError> {
        let request = self.pending(&id)?;
        self.check_is(&request.asked.principal)?;
        Ok(vec![Event::Withdrawn { request: id }])
    }

    fn revoke(&self, id: GrantId, reason: Reason) -> Result<Vec<Event>, WorkflowError> {
        let grant = self
            .state
            .grant(&id)
            .ok_or_else(|| WorkflowError::NoGrant(id.clone()))?;
        let by_administrator = *self.actor == Actor::Administrator;
        if !by_administrator && !self.policy.oversees(self.user()?, &grant.role) {
            return Err(WorkflowError::MayNotRevoke(grant.role.clone()));
        }
        if !grant.is_live(self.now) {
            return Err(WorkflowError::GrantEnded(id));
        }
        Ok(vec![Event::Revoked { grant: id, reason }])
    }

    fn release(&self, id: GrantId) -> Result<Vec<Event>, WorkflowError> {
        let grant = self
            .state
            .grant(&id)
            .ok_or_else(|| WorkflowError::NoGrant(id.clone()))?;
        self.check_is(&grant.principal)?;
        self.live(&id)?;
        Ok(vec![Event::Released { grant: id }])
    }

    pub(super) fn user(&self) -> Result<&'a UserSet, WorkflowError> {
        let user = match self.actor {
            Actor::Principal(name) => self.state.directory.user(name),
            Actor::Administrator | Actor::Server => None,
        };
        user.ok_or_else(|| WorkflowError::NoUser(self.actor.to_string()))
    }

    fn pending(&self, id: &RequestId) -> Result<&'a Request, WorkflowError> {
        let request = self
            .state
            .request(id)
            .ok_or_else(|| WorkflowError::NoRequest(id.clone()))?;
        let state = match request.state {
            RequestState::Pending if self.now >= request.asked.lapses_at => RequestState::Lapsed,
            state => state,
        };
        if state == RequestState::Pending {
            Ok(request)
        } else {
            Err(WorkflowError::NotPending {
                request: id.clone(),
                state,
            })
        }
    }

    pub(super) fn check_is(&self, owner: &Principal) -> Result<(), WorkflowError> {
        match self.actor {
            Actor::Principal(name) if name == owner => Ok(()),
            _ => Err(WorkflowError::NotYours(owner.clone())),
        }
    }

    pub(super) fn request_id(&self) -> Result<RequestId, WorkflowError> {
        // 15 digits of requests are past any day's limit, so this cannot fail before the numbers run out.
        RequestId::try_from(format!("r{}", self.state.next_request()))
            .map_err(|_| WorkflowError::TooManyToday(MOST_A_DAY))
    }
}
