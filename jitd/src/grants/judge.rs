//! What the grants say to a question, as things stand.

use std::collections::BTreeSet;
use std::io;
use std::sync::PoisonError;

use jit_grant::{
    Bundle, Code, Decision, GrantId, GroupName, Idling, Login, Opening, Principal, Query, Refusal,
    Uses, decide, decide_login, decide_opening, groups_of_login, holders, idling,
};

use super::uses::{self, UseBook};
use super::{Grants, State};
use crate::session::{Judge, Standing};

impl Grants {
    /// What the grants say to `query`, which is about to be opened, with the reason where they say no. `query.now` is set from the clock.
    /// Nothing is used up by it yet.
    #[must_use]
    pub fn decide(&self, query: &Query) -> Decision {
        self.judged(query, |bundle, book, query| {
            decide_opening(bundle, query, &book.uses).decision
        })
    }

    /// [`Grants::decide`] for a login that is given the groups of its grants.
    #[must_use]
    pub fn decide_login(&self, query: &Query) -> Decision {
        self.judged(query, |bundle, book, query| {
            decide_login(bundle, &mut query.clone(), &book.uses).decision
        })
    }

    fn judged(
        &self,
        query: &Query,
        judge: impl FnOnce(&Bundle, &mut UseBook, &Query) -> Decision,
    ) -> Decision {
        let query = Query {
            now: self.clock.now(),
            ..query.clone()
        };
        let mut state = self.lock();
        let counts = state.check(self.clock.boot());
        let State { bundle, uses, .. } = &mut *state;
        match (bundle, counts) {
            (Some(bundle), Ok(())) => judge(bundle, uses, &query),
            (_, Err(code)) => {
                Decision::Refuse(state.not_counting(code, &self.clock).to(query.action))
            }
            (None, Ok(())) => {
                Decision::Refuse(Refusal::because(Code::NotEnrolled).to(query.action))
            }
        }
    }

    fn opened_by(
        &self,
        query: &mut Query,
        login: &str,
        decide: impl FnOnce(&Bundle, &mut Query, &Uses) -> Opening,
    ) -> Standing {
        query.within = Some(login.to_owned());
        let (mut takes, mut groups) = (None, BTreeSet::new());
        let decision = self.judged(query, |bundle, book, query| {
            let mut query = query.clone();
            let opening = decide(bundle, &mut query, &book.uses);
            if let Some(grant) = &opening.takes {
                book.take(grant.clone(), login);
            }
            (takes, groups) = (opening.takes, query.groups);
            opening.decision
        });
        query.within.take_if(|_| takes.is_none());
        query.groups = groups;
        let standing = self.standing_by(decision, query);
        // What could be given was so now; what becomes of /etc/group later ends nobody's login.
        query.lacking.clear();
        standing
    }

    /// Every group that some grant of `login` has, in force or not.
    #[must_use]
    pub fn groups_of(&self, login: &Login) -> BTreeSet<GroupName> {
        let state = self.lock();
        let bundle = state.bundle.as_ref();
        bundle.map_or_else(BTreeSet::new, |bundle| groups_of_login(bundle, login))
    }

    fn standing_by(&self, decision: Decision, query: &Query) -> Standing {
        match decision {
            Decision::Allow(allowed) => Standing::Live(allowed.into()),
            Decision::Refuse(refusal) => Standing::Over {
                code: refusal.code,
                message: self.message(&refusal, query.login.as_str()),
            },
        }
    }

    /// Who may do `query.action` with `query.login` now; nobody where grants don't count.
    #[must_use]
    pub fn holders(&self, query: &Query) -> BTreeSet<Principal> {
        let query = Query {
            now: self.clock.now(),
            ..query.clone()
        };
        let state = self.lock();
        match (&state.bundle, state.check(self.clock.boot())) {
            (Some(bundle), Ok(())) => holders(bundle, &query),
            _ => BTreeSet::new(),
        }
    }

    /// True where the disk does not have all that is known of used grants.
    #[must_use]
    pub fn has_unkept_uses(&self) -> bool {
        self.lock().uses.is_unkept()
    }
}

impl Judge for Grants {
    fn holders(&self, query: &Query) -> BTreeSet<Principal> {
        Self::holders(self, query)
    }

    fn knows(&self, grant: &GrantId) -> bool {
        let state = self.lock();
        let Some(bundle) = &state.bundle else {
            return true;
        };
        let void = || bundle.void.iter().any(|void| void.id == grant.as_str());
        bundle.grants.iter().any(|one| one.id == *grant) || void()
    }

    fn standing(&self, query: &Query) -> Standing {
        let decision = self.judged(query, |bundle, book, query| {
            let query = Query {
                used: book.uses.not_of(bundle, query.within.as_deref()),
                ..query.clone()
            };
            decide(bundle, &query)
        });
        self.standing_by(decision, query)
    }

    fn open(&self, query: &mut Query, login: &str) -> Standing {
        self.opened_by(query, login, |bundle, query, uses| {
            decide_opening(bundle, query, uses)
        })
    }

    fn open_with_groups(&self, query: &mut Query, login: &str) -> Standing {
        self.opened_by(query, login, decide_login)
    }

    fn idling(&self, query: &Query) -> Idling {
        let state = self.lock();
        let (Some(bundle), Ok(())) = (&state.bundle, state.check(self.clock.boot())) else {
            return Idling::default();
        };
        let query = Query {
            now: self.clock.now(),
            used: state.uses.uses.not_of(bundle, query.within.as_deref()),
            ..query.clone()
        };
        idling(bundle, &query)
    }

    fn keep_uses(&self) -> io::Result<()> {
        let _one_at_a_time = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, taken) = {
            let state = self.lock();
            let Some(trust) = state.trust.as_ref().filter(|_| state.uses.is_unkept()) else {
                return Ok(());
            };
            let (uses, taken) = state.uses.to_keep();
            let host_id = trust.host_id.clone();
            (uses::Kept { host_id, uses }, taken)
        };
        self.store.write_uses(&kept)?;
        let mut state = self.lock();
        // Enrolled with another server meanwhile, the host has another book.
        if state
            .trust
            .as_ref()
            .is_some_and(|trust| trust.host_id == kept.host_id)
        {
            state.uses.kept(&taken);
        }
        Ok(())
    }

    fn give_back(&self, grant: &GrantId, login: &str) {
        self.lock().uses.give_back(grant, login);
    }

    fn recall(&self, grant: &GrantId, login: &str) {
        let mut state = self.lock();
        let State { bundle, uses, .. } = &mut *state;
        let mut grants = bundle.iter().flat_map(|bundle| &bundle.grants);
        if grants.any(|one| one.id == *grant && one.limits.single_use) {
            uses.recall(grant.clone(), login);
        }
    }
}
