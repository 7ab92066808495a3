//! A login that ran something as root may have been handed something by it: a descriptor, a shell. Where the grant says so
//! (`end_login_with_elevation`), the login goes on no longer than that access does, whether what it ran has returned or not (T17).

use jiff::Timestamp;
use jit_grant::{Code, Query};
use serde::{Deserialize, Serialize};

use super::end::Why;
use super::held::{Held, Kind};
use super::types::{Live, SessionId};
use super::{Inner, Table};

/// More elevations inside elevations than anybody opens.
const DEEPEST: usize = 64;

/// Access that was used inside a login, and takes the login along when it ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Elevated {
    query: Query,
    pub(super) live: Live,
}

impl Elevated {
    /// What else a query names has no part in a decision.
    fn is_of(&self, query: &Query) -> bool {
        self.query.login == query.login
            && self.query.action == query.action
            && self.query.credential == query.credential
    }
}

impl Inner {
    /// Notes with the login of `id`, an elevation that begins to run, that it ends with this access. Returns that login where there
    /// is one to be noted with. In monitor mode nothing of it is ended.
    pub(super) fn take_login_along(&self, table: &mut Table, id: &SessionId) -> Option<SessionId> {
        let elevation = table.held.get(id)?;
        let takes = |live: &&Live| live.ends_login && elevation.kind == Kind::Elevation;
        let live = elevation.live.as_ref().filter(takes)?.clone();
        let query = elevation.query.clone();
        let above =
            std::iter::successors(enforced_parent(table, id), |id| enforced_parent(table, id));
        let login = above.take(DEEPEST).last()?;
        let held = table.held.get_mut(&login)?;
        let before = held.until();
        let mut elevated = held.elevated.iter_mut();
        match elevated.find(|elevated| elevated.is_of(&query)) {
            Some(known) => known.live = live,
            None => held.elevated.push(Elevated { query, live }),
        }
        held.ends_otherwise_than(before);
        // Where it can't be saved, a restart of jitd forgets it; jitd goes on knowing it until then.
        let _ = self.registry.save(held);
        Some(login)
    }

    /// Judges what takes `held` along. Says whether any of it has another end than before.
    ///
    /// # Errors
    /// Why it ends, where any of it is over.
    pub(super) fn elevated_standing(&self, held: &mut Held, now: Timestamp) -> Result<bool, Why> {
        let mut changed = false;
        for elevated in &mut held.elevated {
            match self.standing_of(&elevated.query, Some(&elevated.live), now) {
                Ok(live) => {
                    changed |= live != elevated.live;
                    elevated.live = live;
                }
                Err(why) => {
                    let code = Code::EndWithElevation;
                    return Err(Why { code, ..why });
                }
            }
        }
        Ok(changed)
    }
}

fn enforced_parent(table: &Table, id: &SessionId) -> Option<SessionId> {
    let parent = table.held.get(id)?.parent.clone()?;
    table
        .held
        .get(&parent)
        .is_some_and(|held| held.enforce)
        .then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{
        self, Always, events, held, id, live, restarted, this, unreadable,
    };
    use super::super::types::{Judge, Standing};
    use super::*;
    use jit_grant::Action;
    use std::sync::Arc;

    /// A login, and an elevation in it, as both are held.
    fn login_and_elevation(ends_login: bool) -> (Held, Held) {
        let mut login = held(Kind::Login, 1, this());
        login.scopes = vec![unreadable()];
        let mut elevation = held(Kind::Elevation, 2, this());
        elevation.scopes = vec![unreadable()];
        elevation.parent = Some(id(1));
        elevation.query.action = Action::Sudo;
        let live = elevation.live.as_mut().unwrap();
        live.ends_login = ends_login;
        live.until = Timestamp::from_second(100).unwrap();
        (login, elevation)
    }

    #[tokio::test]
    async fn t17_a_login_is_bound_where_the_grant_says_so_and_both_are_enforced() {
        for (ends_login, enforce, bound) in [
            (true, true, true),
            (false, true, false),
            (true, false, false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (mut login, elevation) = login_and_elevation(ends_login);
            login.enforce = enforce;
            let (sessions, _record) = restarted(folder.path(), &[], live()).await;
            let mut table = sessions.0.table();
            table.held = [login, elevation]
                .map(|held| (held.id.clone(), held))
                .into();
            let twice = [(); 2].map(|()| sessions.0.take_login_along(&mut table, &id(2)));
            assert_eq!(twice, [bound.then(|| id(1)), bound.then(|| id(1))]);
            let login = &table.held[&id(1)];
            assert_eq!(login.elevated.len(), usize::from(bound));
            let until = bound.then(|| Timestamp::from_second(100).unwrap());
            assert_eq!(login.until(), until.or(Some(Timestamp::MAX)));
            table.held.clear();
        }
    }

    /// Withdraws what these actions have.
    struct Without(&'static [Action]);

    impl Judge for Without {
        fn standing(&self, query: &Query) -> Standing {
            let Always(standing) = if self.0.contains(&query.action) {
                fixture::over()
            } else {
                live()
            };
            standing
        }
    }

    #[tokio::test]
    async fn t17_a_login_ends_with_that_access_also_where_what_it_ran_has_returned() {
        for (over, of_login, elevation_lives) in [
            (&[Action::Sudo][..], "JIT-305", true),
            (&[Action::Sudo], "JIT-305", false),
            (&[Action::Ssh, Action::Sudo], "JIT-302", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (mut login, mut elevation) = login_and_elevation(true);
            elevation.live.as_mut().unwrap().until = Timestamp::MAX;
            login.elevated = vec![Elevated {
                query: elevation.query.clone(),
                live: elevation.live.clone().unwrap(),
            }];
            let mut before = vec![login, elevation];
            before.truncate(if elevation_lives { 2 } else { 1 });
            let count = before.len() as u64;
            let (_sessions, record) = restarted(folder.path(), &before, Without(over)).await;
            let events = events(&record, count).await;
            let code = |kind: &str| {
                let event = events.iter().find(|event| event["kind"] == kind);
                event.and_then(|event| event["code"].as_str())
            };
            assert_eq!(code("session.ending"), Some(of_login));
            let of_elevation = elevation_lives.then_some("JIT-302");
            assert_eq!(code("elevation.ending"), of_elevation);
        }
    }

    #[tokio::test]
    async fn t17_a_login_goes_on_while_that_access_does() {
        let folder = tempfile::tempdir().unwrap();
        let (mut login, elevation) = login_and_elevation(true);
        login.elevated = vec![Elevated {
            query: elevation.query.clone(),
            live: elevation.live.clone().unwrap(),
        }];
        let (sessions, _record) = restarted(folder.path(), &[login], live()).await;
        assert!(Arc::clone(&sessions.0).decide_all().is_empty());
        let table = sessions.0.table();
        assert_eq!(table.held[&id(1)].ending, None);
        // It was extended: what the judge says by now counts.
        assert_eq!(table.held[&id(1)].until(), Some(Timestamp::MAX));
    }
}
