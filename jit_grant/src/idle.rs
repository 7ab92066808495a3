//! For how long a login may be left alone.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bundle::{Action, Bundle, Grant};
use crate::decide::{Credential, Query, opens_login};

/// A login at which nobody does anything for so long is ended; its grant goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct IdleTime(u32);

impl IdleTime {
    /// Nothing shorter can be told from a person who reads: the kernel moves a terminal's time of use in steps of 8 s.
    pub const SHORTEST: u32 = 60;
    /// What is longer is no limit in a working day.
    pub const LONGEST: u32 = 12 * 60 * 60;

    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.0
    }

    /// The same, as a length of time.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

/// A number of seconds that is no idle time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} seconds are no idle time: it is from 1 minute to 12 hours")]
pub struct IdleTimeError(u32);

impl TryFrom<u32> for IdleTime {
    type Error = IdleTimeError;

    fn try_from(seconds: u32) -> Result<Self, IdleTimeError> {
        let fits = (Self::SHORTEST..=Self::LONGEST).contains(&seconds);
        fits.then_some(Self(seconds)).ok_or(IdleTimeError(seconds))
    }
}

impl From<IdleTime> for u32 {
    fn from(time: IdleTime) -> Self {
        time.0
    }
}

/// What grants say of a login that is left alone, at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Idling {
    /// So long it may be. None: for ever.
    pub time: Option<IdleTime>,
    /// From here on it may be otherwise, with the same grants. None: it is so for as long as they open the login.
    pub until: Option<Timestamp>,
}

/// For how long the login of `query` may be left alone at `query.now`: for ever where one of the grants in force that open it does not say,
/// or none opens it, else for the longest time that one of them says. The same is asked for each of its groups of the grants that have that
/// one, and the shortest time holds. What goes on in or beside logins is not judged by it: their logins are.
#[must_use]
pub fn idling(bundle: &Bundle, query: &Query) -> Idling {
    let is_login = query.action == Action::Ssh;
    if !is_login || matches!(query.credential, Credential::Together(_)) {
        return Idling::default();
    }
    let opening = opens_login(bundle, query);
    if opening.iter().all(|grant| grant.limits.idle.is_none()) {
        return Idling::default();
    }
    let in_force = || opening.iter().filter(|grant| grant.not_before <= query.now);
    let of_groups = query
        .groups
        .iter()
        .filter_map(|group| longest(in_force().filter(|grant| grant.limits.groups.has(group))));
    Idling {
        time: longest(in_force()).into_iter().chain(of_groups).min(),
        until: opening
            .iter()
            .filter_map(|grant| next(grant, query.now))
            .min(),
    }
}

/// The longest time that one of `grants` says. None: one of them does not say, or there is none.
fn longest<'a>(mut grants: impl Iterator<Item = &'a &'a Grant>) -> Option<IdleTime> {
    grants
        .try_fold(None, |longest, grant| {
            Some(longest.max(Some(grant.limits.idle?)))
        })
        .flatten()
}

/// When the grant begins, or where it has begun, ends.
fn next(grant: &Grant, now: Timestamp) -> Option<Timestamp> {
    let mut instants = [grant.not_before, grant.expires].into_iter();
    instants.find(|at| *at > now)
}
