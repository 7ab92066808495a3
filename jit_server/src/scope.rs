//! What a token is for, where it is not for all that its user may do.
//!
//! A scope takes away and never gives: whatever a token with scopes is for, its user must be allowed to by the policy, too.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jit_grant::{HostName, RoleName};
use serde::{Deserialize, Serialize};

use crate::event::{Event, Extended};
use crate::policy::HostPattern;
use crate::workflow::State;

/// Scopes of one token at most.
pub const MOST: usize = 16;

/// One thing that a token is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// To read whatever its user may. It changes nothing.
    Read,
    /// To have a role: to ask for it, extend it, give it back and take a request for it back.
    Ask {
        /// Which.
        role: RoleName,
        /// On these hosts. None: wherever the role is for.
        hosts: Option<HostPattern>,
    },
    /// To decide about what others ask and have, where its user may: approve, deny, revoke, review.
    Approve,
}

/// A text is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAScope {
    /// It is none of the words.
    #[error("{0:?} is not a scope; there are read, approve, ask:ROLE and ask:ROLE@HOSTS")]
    Unknown(String),
    /// What it says of a role or hosts is wrong.
    #[error("{0}")]
    Wrong(String),
}

impl FromStr for Scope {
    type Err = NotAScope;

    fn from_str(text: &str) -> Result<Self, NotAScope> {
        match text {
            "read" => return Ok(Self::Read),
            "approve" => return Ok(Self::Approve),
            _ => {}
        }
        let unknown = || NotAScope::Unknown(text.chars().take(80).collect());
        let what = text.strip_prefix("ask:").ok_or_else(unknown)?;
        let (role, hosts) = match what.split_once('@') {
            Some((role, hosts)) => (role, Some(hosts.to_owned())),
            None => (what, None),
        };
        let role = RoleName::try_from(role.to_owned());
        let role = role.map_err(|error| NotAScope::Wrong(error.to_string()))?;
        let hosts = hosts.map(HostPattern::try_from).transpose();
        let hosts = hosts.map_err(NotAScope::Wrong)?;
        Ok(Self::Ask { role, hosts })
    }
}

impl TryFrom<String> for Scope {
    type Error = NotAScope;

    fn try_from(text: String) -> Result<Self, NotAScope> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.pad("read"),
            Self::Approve => f.pad("approve"),
            Self::Ask { role, hosts: None } => write!(f, "ask:{role}"),
            Self::Ask {
                role,
                hosts: Some(hosts),
            } => write!(f, "ask:{role}@{hosts}"),
        }
    }
}

/// All that a token is for. None at all: whatever its user may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(BTreeSet<Scope>);

/// What a call needs a token to be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Any of its scopes will do.
    Any,
    /// [`Scope::Read`].
    Read,
    /// [`Scope::Ask`], for some role; for which one is judged by what comes of the call.
    Ask,
    /// [`Scope::Approve`].
    Approve,
    /// No scope is for it.
    Everything,
}

/// A token is not for what its user wants done by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this token is for {0} alone, and not for that")]
pub struct OutOfScope(Scopes);

impl From<BTreeSet<Scope>> for Scopes {
    fn from(scopes: BTreeSet<Scope>) -> Self {
        Self(scopes)
    }
}

impl Scopes {
    /// True where there are none, so that a token is for whatever its user may do.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// True where `scope` is one of them.
    #[must_use]
    pub fn have(&self, scope: &Scope) -> bool {
        self.0.contains(scope)
    }

    /// As they are written.
    #[must_use]
    pub fn listed(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Checks that a call with such a need may be made at all.
    ///
    /// # Errors
    /// That it may not.
    pub fn meet(&self, need: Need) -> Result<(), OutOfScope> {
        let mut scopes = self.0.iter();
        let met = self.are_none()
            || match need {
                Need::Any => true,
                Need::Read => self.have(&Scope::Read),
                Need::Ask => scopes.any(|scope| matches!(scope, Scope::Ask { .. })),
                Need::Approve => self.have(&Scope::Approve),
                Need::Everything => false,
            };
        self.unless(met)
    }

    /// Checks that all that is about to happen in `state` may be done by such a token. Judged by the events, which say which role and
    /// hosts they are about, whatever the words of the call left open.
    ///
    /// # Errors
    /// That it may not.
    pub fn cover(&self, state: &State, events: &[Event]) -> Result<(), OutOfScope> {
        let met = self.are_none() || events.iter().all(|event| self.cover_one(state, event));
        self.unless(met)
    }

    fn cover_one(&self, state: &State, event: &Event) -> bool {
        match event {
            Event::Requested(asked) => asked.hosts.iter().all(|host| self.ask(&asked.role, host)),
            Event::Withdrawn { request } => state.request(request).is_some_and(|request| {
                let asked = &request.asked;
                asked.hosts.iter().all(|host| self.ask(&asked.role, host))
            }),
            Event::Released { grant }
            | Event::Extended(Extended {
                grant,
                request: None,
                ..
            }) => {
                let grant = state.grant(grant);
                grant.is_some_and(|grant| self.ask(&grant.role, &grant.host))
            }
            Event::Approved(_)
            | Event::Denied(_)
            | Event::Reviewed(_)
            | Event::Revoked { .. }
            | Event::Extended(_) => self.have(&Scope::Approve),
            // What comes of one of these, and never alone: they are judged.
            Event::Granted(_) | Event::Alarm { .. } => true,
            _ => false,
        }
    }

    fn ask(&self, wanted: &RoleName, host: &HostName) -> bool {
        self.0.iter().any(|scope| match scope {
            Scope::Ask { role, hosts } => {
                role == wanted && hosts.as_ref().is_none_or(|hosts| hosts.fits(host))
            }
            Scope::Read | Scope::Approve => false,
        })
    }

    fn unless(&self, met: bool) -> Result<(), OutOfScope> {
        if met {
            Ok(())
        } else {
            Err(OutOfScope(self.clone()))
        }
    }
}

impl fmt::Display for Scopes {
    /// Such as `read, ask:web-admin@web-*`; `everything` where there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.are_none() {
            return f.write_str("everything");
        }
        f.write_str(&self.listed().join(", "))
    }
}

#[cfg(test)]
mod tests;
