//! What nobody gets whatever a role says: where a denial fits, it wins.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jit_grant::{Action, HostName, RoleName};

use super::{DenialDocument, Hosts, People, Policy, PolicyRefusal, Role};
use crate::directory::Directory;
use crate::event::UserSet;
use crate::label::Labelled;
use crate::text::Grounds;

/// Denials of one policy at most: each request is held against all of them.
pub(super) const MOST_DENIALS: usize = 256;

/// What some people are not given on some hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Why, for whoever is refused.
    pub because: Grounds,
    /// Whom it is for. None: everybody.
    pub people: Option<People>,
    /// Those among them whom it is not for. None: nobody.
    pub except: Option<People>,
    /// Where.
    pub hosts: Hosts,
    /// Roles that open one of these are denied. None: whatever they open.
    pub actions: Option<BTreeSet<Action>>,
}

impl Denial {
    /// True where `user` is one of those whom it is for.
    #[must_use]
    pub fn is_for(&self, user: &UserSet) -> bool {
        let takes_in = |people: &People| people.include(user);
        self.people.as_ref().is_none_or(takes_in) && !self.except.as_ref().is_some_and(takes_in)
    }

    /// True where it denies what opens `actions`.
    #[must_use]
    pub fn is_about(&self, actions: &BTreeSet<Action>) -> bool {
        let denied = self.actions.as_ref();
        denied.is_none_or(|denied| !denied.is_disjoint(actions))
    }

    /// True where it could fit what `role` gives, to somebody and on some host, as far as that is plain without either.
    pub(super) fn could_fit(&self, role: &Role) -> bool {
        self.is_about(&role.actions) && self.hosts.could_meet(&role.hosts)
    }

    /// True where `except` takes out all whom `people` names, whoever is in which group.
    pub(super) fn is_for_nobody(&self) -> bool {
        let (Some(people), Some(except)) = (&self.people, &self.except) else {
            return false;
        };
        let named = except.are_anybody()
            || (!people.are_anybody()
                && people.users.is_subset(&except.users)
                && people.groups.is_subset(&except.groups));
        named && people.attributes.have(&except.attributes)
    }
}

impl Policy {
    /// Checks that no denial fits `user`, one of `hosts` and one of `actions`.
    ///
    /// # Errors
    /// [`PolicyRefusal::Denied`], by the first of them by name.
    pub fn check_not_denied(
        &self,
        user: &UserSet,
        hosts: &BTreeSet<HostName>,
        actions: &BTreeSet<Action>,
        directory: &Directory,
    ) -> Result<(), PolicyRefusal> {
        for (name, denial) in self.denials_of(user, actions) {
            let mut hosts = hosts.iter();
            if let Some(host) = hosts.find(|host| denial.hosts.cover_named(host, directory)) {
                return Err(PolicyRefusal::Denied {
                    denial: name.clone(),
                    host: host.clone(),
                    because: denial.because.clone(),
                });
            }
        }
        Ok(())
    }

    /// What denials take from `user` of what `role` promises on the hosts that are enrolled.
    #[must_use]
    pub fn taken_away(&self, user: &UserSet, role: &Role, directory: &Directory) -> TakenAway<'_> {
        let his: Vec<_> = self.denials_of(user, &role.actions).collect();
        let mut taken = TakenAway::default();
        if his.is_empty() {
            return taken;
        }
        let (mut some, mut left) = (false, false);
        for host in role.hosts.among(directory, &Labelled::default()) {
            let fits = |denial: &Denial| denial.hosts.cover_named(host, directory);
            let all = his.iter().copied();
            let fitting: Vec<_> = all.filter(|(_, denial)| fits(denial)).collect();
            some = true;
            left |= fitting.is_empty();
            taken.by.extend(fitting);
            // Nothing more can come of the others.
            if left && taken.by.len() == his.len() {
                break;
            }
        }
        taken.all = some && !left;
        taken
    }

    /// Those that are for `user` and about `actions`, on whichever hosts.
    fn denials_of<'a, 'b>(
        &'a self,
        user: &'b UserSet,
        actions: &'b BTreeSet<Action>,
    ) -> impl Iterator<Item = (&'a DenialName, &'a Denial)> {
        let all = self.denials.iter();
        all.filter(move |(_, denial)| denial.is_about(actions) && denial.is_for(user))
    }
}

/// What denials take from somebody of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenAway<'a> {
    /// Those that fit one of its hosts at least.
    pub by: BTreeMap<&'a DenialName, &'a Denial>,
    /// It has hosts, and each is denied.
    pub all: bool,
}

impl TakenAway<'_> {
    /// Each denial, as whoever asks has to know it.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let each = self.by.iter().map(|(name, denial)| {
            let told = DenialDocument::from((*name, *denial));
            format!("not on {}: {}", told.hosts_in_words(), told.because)
        });
        each.collect()
    }
}

/// A denial's name, which is shaped as a role's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DenialName(RoleName);

impl TryFrom<String> for DenialName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let shown: String = text.chars().take(80).collect();
        RoleName::try_from(text).map(Self).map_err(|_| {
            format!(
                "{shown:?} is not a valid denial: 1 to 64 of a-z 0-9 _ . -, beginning with a letter or digit"
            )
        })
    }
}

impl fmt::Display for DenialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
