//! Why nothing happens.

use jiff::Timestamp;
use jit_grant::{ChangeId, GrantId, HostName, Principal, RequestId, RoleName};

use super::{ChangeState, RequestState};
use crate::label::Labelled;
use crate::policy::{ConditionRefusal, PolicyRefusal, in_words};
use crate::text::Reason;
use crate::until::Until;

/// Why a command changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowError {
    /// The policy says no.
    #[error(transparent)]
    Policy(#[from] PolicyRefusal),
    /// The one who wants it is no user.
    #[error(
        "only a user can do this, and {0} is none; an administrator adds users with `jit-server user add`"
    )]
    NoUser(String),
    /// No such request.
    #[error("there is no request {0}")]
    NoRequest(RequestId),
    /// No such grant.
    #[error("there is no grant {0}")]
    NoGrant(GrantId),
    /// Somebody wants to decide his own request.
    #[error("{0} is your own request; somebody else has to decide it")]
    OwnRequest(RequestId),
    /// Somebody wants to withdraw or release what is another's.
    #[error("only {0} can do this")]
    NotYours(Principal),
    /// Somebody approves twice.
    #[error("you have approved {0} already; another approver has to, too")]
    AlreadyApproved(RequestId),
    /// Decided already.
    #[error("request {request} is {state} already", state = name_of(*.state))]
    NotPending {
        /// Which.
        request: RequestId,
        /// What it is.
        state: RequestState,
    },
    /// The grant has ended already.
    #[error("grant {0} has ended already")]
    GrantEnded(GrantId),
    /// Whoever wants it is locked.
    #[error(
        "{principal} is locked since {at:.0}: {reason}; whoever may unlock ends that with `jitctl unlock {principal}`"
    )]
    Locked {
        /// Who.
        principal: Principal,
        /// Since when.
        at: Timestamp,
        /// Why.
        reason: Reason,
    },
    /// An older copy of the database was put back.
    #[error(
        "an older copy of this server's database was put back, noticed {at:.0}; nobody may ask or approve until root there has seen to that: `jit-server restored`"
    )]
    Restored {
        /// When it was noticed.
        at: Timestamp,
    },
    /// Only administrators and those whom the policy names may lock.
    #[error("only an administrator or somebody whom may_lock in the policy names can do this")]
    MayNotLock,
    /// Users are the administrator's.
    #[error("only root on the server's machine may do this, at its socket")]
    NotAdministrator,
    /// No such user.
    #[error("there is no user {0}; `jit-server user list` shows them")]
    UnknownUser(Principal),
    /// The role has no extensions, or had none when the grant was made.
    #[error(
        "{grant} can't be extended, since its role {role} has no extensions; ask for the role again, which carries its sessions on"
    )]
    NotExtendable {
        /// Which grant.
        grant: GrantId,
        /// Its role.
        role: RoleName,
    },
    /// More than one extension may be for.
    #[error("an extension can be for {} at most, not {}", in_words(*.most), in_words(*.asked))]
    ExtensionTooLong {
        /// The longest. Seconds.
        most: u32,
        /// What was asked. Seconds.
        asked: u32,
    },
    /// It would last longer in all than its role allows.
    #[error("{grant} can be extended by {} more at most, since nothing of its role lasts longer", in_words(*.left))]
    PastLimit {
        /// Which grant.
        grant: GrantId,
        /// What is left. Seconds.
        left: u32,
    },
    /// Only administrators, approvers and reviewers may revoke.
    #[error("only an administrator or somebody who may approve or review role {0} can revoke this")]
    MayNotRevoke(RoleName),
    /// A time of no length.
    #[error("the time asked for must be at least 1 s")]
    NoTime,
    /// An approver wants to lengthen.
    #[error("{} was asked for; an approval can be for less but not for {}", in_words(*.asked), in_words(*.wanted))]
    Lengthened {
        /// Asked, in seconds.
        asked: u32,
        /// Wanted, in seconds.
        wanted: u32,
    },
    /// The host is not enrolled.
    #[error("host {0} is not enrolled; on that host run `jitctl enroll`")]
    UnknownHost(HostName),
    /// None of the role's hosts is enrolled.
    #[error("no host of role {0} is enrolled")]
    NoHosts(RoleName),
    /// The same was asked already.
    #[error(
        "{request} asks for the same login and role on {host} and is not decided yet; wait for it or withdraw it"
    )]
    SameOpen {
        /// The open request.
        request: RequestId,
        /// Where both overlap.
        host: HostName,
    },
    /// Too many undecided requests.
    #[error("you have {0} undecided requests; wait for some of them or withdraw them")]
    TooManyOpen(usize),
    /// Too many requests and extensions in a day.
    #[error("you have made {0} requests and extensions within a day, which is as many as may be")]
    TooManyToday(usize),
    /// Too many hosts in one request.
    #[error("a request may be for {0} hosts at most; name some of them with --host or --where")]
    TooManyHosts(usize),
    /// The host can't take more grants.
    #[error("host {0} has as many grants in force as it can take; some of them must end first")]
    HostFull(HostName),
    /// The stage that is due is for others.
    #[error(
        "{request} is at stage {stage} of {stages}, which is for others to approve now; `jitctl show {request}` says who"
    )]
    OtherStage {
        /// Which request.
        request: RequestId,
        /// The stage that is due, from 1.
        stage: u32,
        /// How many there are.
        stages: usize,
    },
    /// Somebody wants to review what he did himself.
    #[error("{0} is your own; somebody else has to review it")]
    OwnReview(RequestId),
    /// Not a reviewer of that role.
    #[error("you are not among those who may review role {0}")]
    MayNotReview(RoleName),
    /// No break-glass role was used.
    #[error("{0} is of no break-glass role, so there is nothing to review")]
    NothingToReview(RequestId),
    /// Reviewed once is enough.
    #[error("{0} has been reviewed already; `jitctl show {0}` says by whom")]
    ReviewedAlready(RequestId),
    /// What goes on is not reviewed.
    #[error(
        "{0} is still in force: review it when it has ended, or end it with `jitctl revoke {0}`"
    )]
    StillInForce(GrantId),
    /// The requester's login is not what it was.
    #[error("the login of {0} has changed since the request; withdraw it and ask again")]
    LoginChanged(Principal),
    /// None of the role's hosts has the labels.
    #[error("no host of role {role} has {labels}; `jitctl list hosts` shows the hosts")]
    NoHostsLabelled {
        /// Which role.
        role: RoleName,
        /// What was asked.
        labels: Labelled,
    },
    /// It would last past the end of its role's hours.
    #[error("{grant} can last until {until:.0} at most, when the hours of its role end")]
    PastHours {
        /// Which grant.
        grant: GrantId,
        /// When they end.
        until: Timestamp,
    },
    /// The requester has as many live grants of it as are given without anybody's approval.
    #[error(
        "you have this on {host} already, several times: use {grant}, which lasts until {until:.0}, or give it back with `jitctl release {grant}`"
    )]
    HadAlready {
        /// The one of them that lasts longest.
        grant: GrantId,
        /// Where.
        host: HostName,
        /// When it ends.
        until: Timestamp,
    },
    /// The time of a user is over.
    #[error(
        "{principal} was a user until {}; whoever administers users can set a later end: `jit-server user add --until`", Until(*.since)
    )]
    UserEnded {
        /// Who.
        principal: Principal,
        /// Since when.
        since: Timestamp,
    },
    /// It would begin when the time of whoever asks is over.
    #[error("{principal} is a user until {}, and nothing can begin from then on", Until(*.until))]
    StartPastEnd {
        /// Who.
        principal: Principal,
        /// When it ends.
        until: Timestamp,
    },
    /// It would last past the end of its user's time.
    #[error("{grant} can last until {} at most, when the time of its user ends", Until(*.until))]
    PastEnd {
        /// Which grant.
        grant: GrantId,
        /// When that is.
        until: Timestamp,
    },
    /// A service account wants something outside of its own hours.
    #[error("{principal} may ask within its own hours only, {hours}{}", opening(*.opens))]
    OutsideOwnHours {
        /// Which.
        principal: Principal,
        /// Its hours in words.
        hours: String,
        /// When they come next. None: the clocks leave them out for weeks.
        opens: Option<Timestamp>,
    },
    /// It would last past the end of its principal's hours.
    #[error("{grant} can last until {until:.0} at most, when the hours of its service account end")]
    PastOwnHours {
        /// Which grant.
        grant: GrantId,
        /// When they end.
        until: Timestamp,
    },
    /// Nobody can say whether it is within its hours.
    #[error(
        "the hours of {principal} can't be told on this server: {why}; root there sets them again with `jit-server user add`"
    )]
    OwnHoursUnreadable {
        /// Whose.
        principal: Principal,
        /// What is wrong.
        why: String,
    },
    /// The host does not say that it enforces what the role is limited to.
    #[error(
        "host {host} does not say that it enforces {what}, which role {role} has; upgrade jitd there, or wait until the host is heard again"
    )]
    NotEnforced {
        /// Which role.
        role: RoleName,
        /// Which host.
        host: HostName,
        /// The key in the policy.
        what: &'static str,
    },
    /// The grant is limited otherwise than its role is by now.
    #[error(
        "{grant} can't be extended, since what its role {role} is limited to has changed; ask for the role again"
    )]
    LimitsChanged {
        /// Which grant.
        grant: GrantId,
        /// Its role.
        role: RoleName,
    },
    /// Nobody says for how long, neither who asks nor the role.
    #[error("role {0} has no length of its own; say for how long with --for")]
    NoDefault(RoleName),
    /// No such change.
    #[error("there is no change {0}")]
    NoChange(ChangeId),
    /// Nothing more comes of it.
    #[error("change {change} is {} already", state.name())]
    ChangeEnded {
        /// Which.
        change: ChangeId,
        /// How it stands.
        state: ChangeState,
    },
    /// Not one of those who confirm.
    #[error("{0} is not among those whom changes_need in the policy names")]
    MayNotConfirm(Principal),
    /// Somebody confirms twice.
    #[error("you have confirmed {0} already; somebody else has to, too")]
    ConfirmedAlready(ChangeId),
    /// It comes to something else than whoever confirms saw.
    #[error(
        "{0} comes to something else by now than what you saw; look at it again: `jitctl show {0}`"
    )]
    ChangeMoved(ChangeId),
    /// Whoever confirms is not known by a token.
    #[error(
        "changes are confirmed by people known by a token: root can become any account of this machine, so its socket says too little; use JIT_SERVER=https://… with a token of your own"
    )]
    ConfirmNeedsToken,
    /// Too many changes wait.
    #[error(
        "{0} changes wait to be confirmed, which is as many as may; `jit-server change list` shows them"
    )]
    TooManyChanges(usize),
    /// The role gives other Unix groups than those that were asked for.
    #[error(
        "role {role} gives other Unix groups by now than {request} asks for; withdraw the request and ask again"
    )]
    GroupsChanged {
        /// Which request.
        request: RequestId,
        /// Its role.
        role: RoleName,
    },
}

fn opening(opens: Option<Timestamp>) -> String {
    opens.map_or_else(String::new, |at| format!("; they begin again at {at:.0}"))
}

impl From<ConditionRefusal> for WorkflowError {
    fn from(refusal: ConditionRefusal) -> Self {
        Self::Policy(refusal.into())
    }
}

/// What to do about it, in the terms of whoever answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// The one who wants it may not.
    Forbidden,
    /// It is not there.
    Missing,
    /// What it is about does not stand that way any more.
    Conflict,
    /// It makes no sense as asked.
    Invalid,
    /// Too much of it.
    TooMuch,
}

impl WorkflowError {
    /// A stable word for programs, and what sort of refusal it is.
    #[must_use]
    pub fn code(&self) -> (&'static str, Because) {
        use Because::{Conflict, Forbidden, Invalid, Missing, TooMuch};
        match self {
            Self::Policy(PolicyRefusal::MayNotAsk { .. }) => ("may-not-ask", Forbidden),
            Self::Policy(PolicyRefusal::MayNotApprove { .. }) => ("may-not-approve", Forbidden),
            Self::Policy(PolicyRefusal::HostNotCovered { .. }) => ("host-not-in-role", Forbidden),
            Self::Policy(PolicyRefusal::ActionNotCovered { .. }) => ("role-changed", Conflict),
            Self::Policy(PolicyRefusal::TooLong { .. }) => ("too-long", Invalid),
            Self::Policy(PolicyRefusal::Denied { .. }) => ("denied-by-policy", Forbidden),
            Self::NoUser(_) => ("no-user", Forbidden),
            Self::NoRequest(_) => ("no-request", Missing),
            Self::NoGrant(_) => ("no-grant", Missing),
            Self::OwnRequest(_) => ("own-request", Forbidden),
            Self::NotYours(_) => ("not-yours", Forbidden),
            Self::AlreadyApproved(_) => ("already-approved", Conflict),
            Self::NotPending { .. } => ("not-pending", Conflict),
            Self::GrantEnded(_) => ("grant-ended", Conflict),
            Self::MayNotRevoke(_) => ("may-not-revoke", Forbidden),
            Self::Locked { .. } => ("locked", Forbidden),
            Self::Restored { .. } => ("restored", Conflict),
            Self::MayNotLock => ("may-not-lock", Forbidden),
            Self::NotAdministrator => ("not-administrator", Forbidden),
            Self::UnknownUser(_) => ("unknown-user", Missing),
            Self::NotExtendable { .. } => ("not-extendable", Forbidden),
            Self::ExtensionTooLong { .. } => ("extension-too-long", Invalid),
            Self::PastLimit { .. } => ("past-limit", Invalid),
            Self::NoTime => ("no-time", Invalid),
            Self::Lengthened { .. } => ("lengthened", Invalid),
            Self::UnknownHost(_) => ("unknown-host", Invalid),
            Self::NoHosts(_) => ("no-hosts", Invalid),
            Self::SameOpen { .. } => ("same-open", Conflict),
            Self::TooManyOpen(_) => ("too-many-open", TooMuch),
            Self::TooManyToday(_) => ("too-many-today", TooMuch),
            Self::TooManyHosts(_) => ("too-many-hosts", Invalid),
            Self::HostFull(_) => ("host-full", Conflict),
            Self::OtherStage { .. } => ("other-stage", Conflict),
            Self::OwnReview(_) => ("own-review", Forbidden),
            Self::MayNotReview(_) => ("may-not-review", Forbidden),
            Self::NothingToReview(_) => ("nothing-to-review", Conflict),
            Self::ReviewedAlready(_) => ("reviewed-already", Conflict),
            Self::StillInForce(_) => ("still-in-force", Conflict),
            Self::LoginChanged(_) => ("login-changed", Conflict),
            Self::NoHostsLabelled { .. } => ("no-hosts", Invalid),
            Self::Policy(PolicyRefusal::Condition(refusal)) => condition(refusal),
            Self::PastHours { .. } => ("past-hours", Invalid),
            Self::HadAlready { .. } => ("had-already", Conflict),
            Self::UserEnded { .. } => ("user-ended", Forbidden),
            Self::StartPastEnd { .. } => ("start-past-end", Invalid),
            Self::PastEnd { .. } => ("past-end", Invalid),
            Self::OutsideOwnHours { .. } => ("outside-own-hours", Forbidden),
            Self::PastOwnHours { .. } => ("past-hours", Invalid),
            Self::OwnHoursUnreadable { .. } => ("own-hours-unreadable", Conflict),
            Self::NotEnforced { .. } => ("host-cannot-enforce", Conflict),
            Self::LimitsChanged { .. } => ("limits-changed", Conflict),
            Self::NoDefault(_) => ("no-default", Invalid),
            Self::NoChange(_) => ("no-change", Missing),
            Self::ChangeEnded { .. } => ("change-ended", Conflict),
            Self::MayNotConfirm(_) => ("may-not-confirm", Forbidden),
            Self::ConfirmedAlready(_) => ("confirmed-already", Conflict),
            Self::ChangeMoved(_) => ("change-moved", Conflict),
            Self::ConfirmNeedsToken => ("confirm-needs-token", Forbidden),
            Self::TooManyChanges(_) => ("too-many-changes", TooMuch),
            Self::GroupsChanged { .. } => ("role-changed", Conflict),
        }
    }
}

fn condition(refusal: &ConditionRefusal) -> (&'static str, Because) {
    match refusal {
        ConditionRefusal::OutsideHours { .. } => ("outside-hours", Because::Forbidden),
        ConditionRefusal::NoLaterStart(_) => ("no-later-start", Because::Forbidden),
        ConditionRefusal::StartTooFar { .. } => ("start-too-far", Because::Invalid),
        ConditionRefusal::StartPast(_) => ("start-past", Because::Invalid),
        ConditionRefusal::Ticket { .. } => ("needs-ticket", Because::Invalid),
        ConditionRefusal::ReasonShort { .. } => ("reason-too-short", Because::Invalid),
        ConditionRefusal::AskedFromElsewhere { .. } => ("asked-from-elsewhere", Because::Forbidden),
    }
}

fn name_of(state: RequestState) -> &'static str {
    match state {
        RequestState::Pending => "pending",
        RequestState::Approved => "approved",
        RequestState::Denied => "denied",
        RequestState::Withdrawn => "withdrawn",
        RequestState::Lapsed => "lapsed",
    }
}
