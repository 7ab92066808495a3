//! Grants that open one login: which of them are used up, and by which login.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, Grant};
use crate::decide::{Credential, Decision, Query, decide};
use crate::name::GrantId;

/// What a host knows of it. By default that is nothing: then every such grant counts as used up, since it may be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uses {
    /// Of grants that began before this nothing is known. By the server's clock, as grants are. None: of no grant.
    known_since: Option<Timestamp>,
    /// The login that used it, as the host calls it.
    by: BTreeMap<GrantId, String>,
}

/// What becomes of somebody who is about to enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Whether he may, and until when.
    pub decision: Decision,
    /// The grant that opens one login and is this one's from now on. None: what lets him in opens any number of them.
    pub takes: Option<GrantId>,
}

impl Uses {
    /// From now on it is known which grants are used up of those that begin at `at` or later. True where nothing was known before.
    pub fn know_from(&mut self, at: Timestamp) -> bool {
        let is_new = self.known_since.is_none();
        self.known_since.get_or_insert(at);
        is_new
    }

    /// `grant` is used up by `login`.
    pub fn take(&mut self, grant: GrantId, login: String) {
        self.by.insert(grant, login);
    }

    /// `login`, which is open by `grant`, used it up. Says nothing new where it is known which grants are used up.
    pub fn recall(&mut self, grant: GrantId, login: String) {
        if self.known_since.is_none() {
            self.by.entry(grant).or_insert(login);
        }
    }

    /// `login` was not let in by `grant` after all. False where it had not used it.
    pub fn give_back(&mut self, grant: &GrantId, login: &str) -> bool {
        self.is_taken_by(grant, Some(login)) && self.by.remove(grant).is_some()
    }

    /// Forgets what is over: what is not in `bundle` never comes back. What is void here may, with the next version.
    pub fn forget_all_but(&mut self, bundle: &Bundle) {
        let granted = bundle.grants.iter().map(|grant| grant.id.as_str());
        let void = bundle.void.iter().map(|grant| grant.id.as_str());
        let known: BTreeSet<&str> = granted.chain(void).collect();
        self.by.retain(|grant, _| known.contains(grant.as_str()));
    }

    /// True where `grant` is known to be used up.
    #[must_use]
    pub fn has(&self, grant: &GrantId) -> bool {
        self.by.contains_key(grant)
    }

    /// What [`Query::used`] is for somebody who is in already: any grant that opens one login but those that his own login used. So such a
    /// grant carries nothing on that was opened before.
    #[must_use]
    pub fn not_of(&self, bundle: &Bundle, login: Option<&str>) -> BTreeSet<GrantId> {
        let not_his = |grant: &&Grant| !self.is_taken_by(&grant.id, login);
        ids(of_one_login(bundle).filter(not_his))
    }

    /// What [`Query::used`] is for somebody who is about to enter: what another login used, or may have used.
    fn used_up(&self, bundle: &Bundle, login: Option<&str>) -> BTreeSet<GrantId> {
        let used = |grant: &&Grant| match self.by.get(&grant.id) {
            Some(by) => Some(by.as_str()) != login,
            None => self
                .known_since
                .is_none_or(|since| grant.not_before < since),
        };
        ids(of_one_login(bundle).filter(used))
    }

    fn is_taken_by(&self, grant: &GrantId, login: Option<&str>) -> bool {
        let by = self.by.get(grant).map(String::as_str);
        by.is_some() && by == login
    }
}

/// Whether `query` may be opened, as what it is part of ([`Query::within`]) or as a login of its own. What it may be by without using a
/// grant up goes first.
#[must_use]
pub fn decide_opening(bundle: &Bundle, query: &Query, uses: &Uses) -> Opening {
    let login = query.within.as_deref();
    let with = |used: BTreeSet<GrantId>| {
        let query = Query {
            used,
            ..query.clone()
        };
        decide(bundle, &query)
    };
    let mut others = uses.not_of(bundle, login);
    let mut decision = with(others.clone());
    if let Decision::Refuse(_) = decision {
        decision = with(uses.used_up(bundle, login));
        if let Decision::Allow(allowed) = &decision {
            // No other one that opens one login lengthens what this one opens.
            others.remove(&allowed.grant);
            decision = with(others);
        }
    }
    let takes = match &decision {
        Decision::Allow(allowed) => Some(&allowed.grant),
        Decision::Refuse(_) => None,
    };
    // Nobody enters by what goes on beside logins, such as the user manager that is there before the login is.
    let enters = !matches!(query.credential, Credential::Together(_));
    let takes = takes.filter(|id| enters && of_one_login(bundle).any(|grant| grant.id == **id));
    Opening {
        takes: takes.cloned(),
        decision,
    }
}

fn of_one_login(bundle: &Bundle) -> impl Iterator<Item = &Grant> {
    let grants = bundle.grants.iter();
    grants.filter(|grant| grant.limits.single_use)
}

fn ids<'a>(grants: impl Iterator<Item = &'a Grant>) -> BTreeSet<GrantId> {
    grants.map(|grant| grant.id.clone()).collect()
}
