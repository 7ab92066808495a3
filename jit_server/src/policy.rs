//! What may be asked for, by whom, and who may approve it. Typed, and whatever it does not allow is refused.

mod advice;
mod approval;
mod changes;
mod conditions;
mod denial;
mod document;
mod enough;
mod file;
mod groups;
mod hosts;
mod hours;
mod limits;
mod networks;
mod parse;
mod reader;
mod service;
mod ticket;

use std::collections::{BTreeMap, BTreeSet};

use jit_grant::{Action, HostName, Limits, Principal, RoleName};

use crate::attribute::Attributes;
use crate::directory::{Directory, GroupName};
use crate::event::UserSet;
use crate::text::Grounds;

pub(crate) use approval::could_be_done;
pub use approval::{Approval, Later, Review, Stage};
pub use changes::Confirmers;
pub use conditions::{ConditionRefusal, Conditions, Stated};
pub use denial::{Denial, DenialName, TakenAway};
pub use document::{
    ConfirmersDocument, DenialDocument, LaterDocument, PeopleDocument, PolicyDocument,
    ReviewDocument, RoleDocument, StageDocument, WindowDocument,
};
pub use file::{Change, PolicyFile, check, read};
pub(crate) use file::{MAX_BYTES, read_text, read_whoever_writes};
pub use hosts::{HostPattern, Hosts};
pub use hours::{Hours, MOST_WINDOWS, Window};
pub use limits::in_words as limits_in_words;
pub(crate) use parse::check_closely;
pub(crate) use parse::hash as hash_of_text;
pub use parse::{Checked, check_text};
pub use reader::Mistake;
pub(crate) use reader::{Reader, Value};

/// A policy in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// SHA-256 of its text in hexadecimal, so that a record says by which rules it was decided.
    pub hash: String,
    /// The roles by name.
    pub roles: BTreeMap<RoleName, Role>,
    /// Who may lock and unlock others, beside the administrator.
    pub may_lock: People,
    /// Who may read the whole record, beside the administrator. They change nothing by it.
    pub may_audit: People,
    /// Who confirms what an administrator changes. None: it needs nobody else.
    pub changes_need: Option<Confirmers>,
    /// What is refused whatever a role says, by name.
    pub denials: BTreeMap<DenialName, Denial>,
    /// What it was read from.
    pub text: String,
}

/// One thing to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// What it is for, in words.
    pub description: String,
    /// Where.
    pub hosts: Hosts,
    /// What it opens there; at least one.
    pub actions: BTreeSet<Action>,
    /// The longest time to be asked for, and the longest that a grant may last with all its extensions. Seconds.
    pub longest_seconds: u32,
    /// It is asked for so long where nobody says for how long. Seconds, no more than the longest. None: that has to be said.
    pub default_seconds: Option<u32>,
    /// How its grants may be extended. None: not at all.
    pub extension: Option<Extension>,
    /// A request nobody decides lapses after so long. Seconds.
    pub pending_seconds: u32,
    /// Who may ask.
    pub may_ask: People,
    /// Who has to approve, if anybody.
    pub approval: Approval,
    /// Where an elevation is ended before it finished, the login that it was started from ends too (T17).
    pub end_login_with_elevation: bool,
    /// What else has to be so.
    pub conditions: Conditions,
    /// What hosts hold its grants to.
    pub limits: Limits,
}

impl Role {
    /// Checks that the role, called `name`, is for all of `hosts`, of which `directory` knows the labels.
    ///
    /// # Errors
    /// [`PolicyRefusal::HostNotCovered`].
    pub fn check_hosts(
        &self,
        name: &RoleName,
        hosts: &BTreeSet<HostName>,
        directory: &Directory,
    ) -> Result<(), PolicyRefusal> {
        let mut hosts = hosts.iter();
        match hosts.find(|host| !self.hosts.cover_named(host, directory)) {
            None => Ok(()),
            Some(host) => Err(PolicyRefusal::HostNotCovered {
                role: name.clone(),
                host: host.clone(),
            }),
        }
    }

    /// Checks that the role, called `name`, may be had for so many seconds.
    ///
    /// # Errors
    /// [`PolicyRefusal::TooLong`].
    pub fn check_length(&self, name: &RoleName, for_seconds: u32) -> Result<(), PolicyRefusal> {
        if for_seconds <= self.longest_seconds {
            return Ok(());
        }
        Err(PolicyRefusal::TooLong {
            role: name.clone(),
            longest: self.longest_seconds,
            asked: for_seconds,
        })
    }
}

/// How grants of a role may be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// One extension is for so long at most. Seconds.
    pub most_seconds: u32,
    /// At once; else it needs the approvals that a request for the role needs.
    pub without_approval: bool,
}

/// Users, named or by group, or by their attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    /// By name.
    pub users: BTreeSet<Principal>,
    /// By group.
    pub groups: BTreeSet<GroupName>,
    /// All of them have these. Where nobody is named, everybody who has them is among them.
    pub attributes: Attributes,
}

impl People {
    /// True where `user` is among them.
    #[must_use]
    pub fn include(&self, user: &UserSet) -> bool {
        self.name(user) && user.attributes.have(&self.attributes)
    }

    /// True where `user` is among them by name or group, or could be as anybody could, whatever his attributes are.
    #[must_use]
    pub fn name(&self, user: &UserSet) -> bool {
        self.users.contains(&user.name)
            || Directory::in_any(user, &self.groups)
            || self.are_anybody()
    }

    /// True where attributes alone say who they are.
    #[must_use]
    pub fn are_anybody(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty() && !self.attributes.is_empty()
    }

    /// All who may be among them. None where some come by group, or by attributes alone: who does, a policy does not say.
    pub(crate) fn all_named(&self) -> Option<&BTreeSet<Principal>> {
        (self.groups.is_empty() && !self.are_anybody()).then_some(&self.users)
    }

    fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty() && self.attributes.is_empty()
    }
}

/// Why the policy says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefusal {
    /// There is no such role, or it is not for this person. Which of the two is not told.
    #[error(
        "{principal} may not ask for role {role}, or there is none of that name; `jitctl list roles` shows what may be asked for"
    )]
    MayNotAsk {
        /// Who.
        principal: Principal,
        /// What.
        role: RoleName,
    },
    /// Not an approver of that role.
    #[error("{principal} is not among those who may approve role {role}")]
    MayNotApprove {
        /// Who.
        principal: Principal,
        /// What.
        role: RoleName,
    },
    /// The role is not for that host.
    #[error("role {role} is not for host {host}; `jitctl list roles` shows the hosts of each role")]
    HostNotCovered {
        /// Which role.
        role: RoleName,
        /// Which host.
        host: HostName,
    },
    /// The role does not open that, or no longer.
    #[error("role {role} does not open {action:?} any more; withdraw the request and ask again")]
    ActionNotCovered {
        /// Which role.
        role: RoleName,
        /// What.
        action: Action,
    },
    /// Longer than the role allows.
    #[error("role {role} may be asked for {} at most, not {}", in_words(*.longest), in_words(*.asked))]
    TooLong {
        /// Which role.
        role: RoleName,
        /// The longest, in seconds.
        longest: u32,
        /// What was asked, in seconds.
        asked: u32,
    },
    /// A denial fits, whatever the role says.
    #[error(
        "denial {denial} of the policy is against this on {host}, whatever any role says: {because}; ask without that host, or speak with whoever keeps the policy"
    )]
    Denied {
        /// Which.
        denial: DenialName,
        /// The first host that it fits.
        host: HostName,
        /// Why, as the policy says it.
        because: Grounds,
    },
    /// A condition of the role is not met.
    #[error(transparent)]
    Condition(#[from] ConditionRefusal),
}

impl Policy {
    /// True where none was read yet: it allows nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.hash.is_empty()
    }

    /// The role, where `user` may ask for it.
    ///
    /// # Errors
    /// [`PolicyRefusal::MayNotAsk`], whether the role is there or not.
    pub fn may_ask(&self, user: &UserSet, role: &RoleName) -> Result<&Role, PolicyRefusal> {
        self.roles
            .get(role)
            .filter(|found| found.may_ask.include(user))
            .ok_or_else(|| PolicyRefusal::MayNotAsk {
                principal: user.name.clone(),
                role: role.clone(),
            })
    }

    /// The role, where `user` may approve some stage of it. Which one is due, and that nobody approves what he asked for himself, are
    /// the workflow's rules.
    ///
    /// # Errors
    /// [`PolicyRefusal::MayNotApprove`], whether the role is there or not.
    pub fn may_approve(&self, user: &UserSet, role: &RoleName) -> Result<&Role, PolicyRefusal> {
        self.roles
            .get(role)
            .filter(|found| found.has_approver(user))
            .ok_or_else(|| PolicyRefusal::MayNotApprove {
                principal: user.name.clone(),
                role: role.clone(),
            })
    }

    /// True where `user` approves or reviews `role`.
    #[must_use]
    pub fn oversees(&self, user: &UserSet, role: &RoleName) -> bool {
        self.roles
            .get(role)
            .is_some_and(|role| role.is_overseen_by(user))
    }

    /// Checks that `user` may have all of this: asked now, or when it is about to be granted.
    ///
    /// # Errors
    /// The first rule that refuses.
    pub fn covers(
        &self,
        user: &UserSet,
        role: &RoleName,
        wanted: &Wanted<'_>,
    ) -> Result<&Role, PolicyRefusal> {
        let rule = self.may_ask(user, role)?;
        rule.check_hosts(role, wanted.hosts, wanted.directory)?;
        if let Some(action) = wanted
            .actions
            .iter()
            .find(|action| !rule.actions.contains(action))
        {
            return Err(PolicyRefusal::ActionNotCovered {
                role: role.clone(),
                action: *action,
            });
        }
        self.check_not_denied(user, wanted.hosts, wanted.actions, wanted.directory)?;
        rule.check_length(role, wanted.for_seconds)?;
        if let Some(stated) = &wanted.stated {
            rule.check_stated(role, stated)?;
        }
        Ok(rule)
    }
}

/// What somebody wants of a role.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Where.
    pub hosts: &'a BTreeSet<HostName>,
    /// What is known of the hosts.
    pub directory: &'a Directory,
    /// What.
    pub actions: &'a BTreeSet<Action>,
    /// For how long. Seconds.
    pub for_seconds: u32,
    /// What was stated with it. None: that is not judged here.
    pub stated: Option<Stated<'a>>,
}

/// A time as people write it: `4h`, `1h 30m`.
pub(crate) fn in_words(seconds: u32) -> String {
    format!("{:#}", jiff::SignedDuration::from_secs(seconds.into()))
}
