//! What ran as root may have handed something to what it was started from: a descriptor, a shell. Where the grant says so
//! (`end_login_with_elevation`), that goes on no longer than the access does, whether what ran has returned or not (T17). A person's
//! logins, jobs and user manager on a host pass on to each other what they like, so they all count.

use jiff::Timestamp;
use jit_grant::{Code, GrantId, Query};
use serde::{Deserialize, Serialize};

use super::end::Why;
use super::held::{Held, Kind};
use super::types::{Live, SessionId};
use super::{Inner, Table};

/// More elevations inside elevations than anybody opens.
const DEEPEST: usize = 64;

/// Access that an elevation used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Elevated {
    query: Query,
    /// What holds it open, which takes along what this is noted with where it has said so once.
    live: Live,
}

impl Elevated {
    /// What takes along whatever this is noted with.
    pub(super) fn taking(&self) -> Option<&Live> {
        self.live.ends_login.then_some(&self.live)
    }

    /// The grant, and the login that used it up.
    pub(super) fn used(&self) -> Option<(&GrantId, &str)> {
        self.live.used_by(&self.query)
    }

    /// What else a query names has no part in a decision.
    fn is_of(&self, query: &Query) -> bool {
        self.query.login == query.login
            && self.query.action == query.action
            && self.query.credential == query.credential
            && self.query.within == query.within
    }
}

impl Inner {
    /// Notes the access of `id`, an elevation that begins to run, with all that may be handed something by it. In monitor mode nothing
    /// ends with it.
    pub(super) fn take_along(&self, table: &mut Table, id: &SessionId) {
        let Some(elevation) = table.held.get(id).cloned() else {
            return;
        };
        let (Kind::Elevation, true, Some(live)) =
            (elevation.kind, elevation.enforce, elevation.live.clone())
        else {
            return;
        };
        let login = login_above(table, id);
        for held in table.held.values_mut() {
            if !held.enforce || !(Some(&held.id) == login.as_ref() || shares(held, &elevation)) {
                continue;
            }
            let before = held.until();
            held.note_elevated(&elevation.query, live.clone());
            held.ends_otherwise_than(before);
            // Where it can't be saved, a restart of jitd forgets it; jitd goes on knowing it until then.
            let _ = self.registry.save(held);
        }
    }

    /// What ends with the access of this elevation.
    pub(super) fn taken_along_by(&self, elevation: &Held) -> Vec<SessionId> {
        let table = self.table();
        let is_taken = |held: &&Held| {
            let mut taking = held.elevated.iter().filter(|of| of.taking().is_some());
            taking.any(|of| of.is_of(&elevation.query))
        };
        let taken = table.held.values().filter(is_taken);
        taken.map(|held| held.id.clone()).collect()
    }

    /// Judges what takes `held` along. Says whether any of it has another end than before.
    ///
    /// # Errors
    /// Why it ends, where any of it is over.
    pub(super) fn elevated_standing(&self, held: &mut Held, now: Timestamp) -> Result<bool, Why> {
        let (mut changed, mut over) = (false, None);
        held.elevated.retain_mut(|elevated| {
            match self.standing_of(&elevated.query, Some(&elevated.live), now) {
                Ok(mut live) => {
                    live.ends_login |= elevated.live.ends_login;
                    changed |= live != elevated.live;
                    elevated.live = live;
                    true
                }
                Err(why) if elevated.live.ends_login => {
                    let code = Code::EndWithElevation;
                    over = over.or(Some(Why { code, ..why }));
                    true
                }
                Err(_) => {
                    changed = true;
                    false
                }
            }
        });
        over.map_or(Ok(changed), Err)
    }
}

impl Held {
    fn note_elevated(&mut self, query: &Query, live: Live) {
        let mut elevated = self.elevated.iter_mut();
        match elevated.find(|elevated| elevated.is_of(query)) {
            Some(known) => {
                let ends_login = live.ends_login || known.live.ends_login;
                known.live = Live { ends_login, ..live };
            }
            None => self.elevated.push(Elevated {
                query: query.clone(),
                live,
            }),
        }
    }

    /// Takes over what takes others of the same person along, which may hand on what they were handed.
    pub(super) fn inherits_elevated(&mut self, table: &Table) {
        if !self.enforce || self.kind == Kind::Elevation {
            return;
        }
        let others = table.held.values().filter(|held| {
            held.ending.is_none()
                && held.kind != Kind::Elevation
                && held.query.login == self.query.login
        });
        let own = self.live.as_ref().map(|live| live.principal.clone());
        // A manager has what all principals of its login put there.
        let is_handed = |elevated: &&Elevated| {
            self.kind == Kind::Manager || Some(&elevated.live.principal) == own.as_ref()
        };
        let known: Vec<Elevated> = others
            .flat_map(|other| other.elevated.iter().filter(is_handed))
            .cloned()
            .collect();
        for Elevated { query, live } in known {
            self.note_elevated(&query, live);
        }
    }
}

/// True for a login, job or user manager of whoever has `of`. A manager has what all principals of its login put there.
fn shares(held: &Held, of: &Held) -> bool {
    let principal = |held: &Held| held.live.as_ref().map(|live| live.principal.clone());
    held.kind != Kind::Elevation
        && held.query.login == of.query.login
        && (held.kind == Kind::Manager || principal(held) == principal(of))
}

pub(super) fn login_above(table: &Table, id: &SessionId) -> Option<SessionId> {
    let enforced_parent = |id: &SessionId| {
        let parent = table.held.get(id)?.parent.clone()?;
        let enforced = table.held.get(&parent).is_some_and(|held| held.enforce);
        enforced.then_some(parent)
    };
    let above = std::iter::successors(enforced_parent(id), enforced_parent);
    above.take(DEEPEST).last()
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
    async fn t17_a_login_is_taken_where_the_grant_says_so_and_both_are_enforced() {
        for (ends_login, enforce, taken) in [
            (true, true, true),
            (false, true, false),
            (true, false, false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (mut login, elevation) = login_and_elevation(ends_login);
            login.enforce = enforce;
            let (sessions, _record) = restarted(folder.path(), &[], live()).await;
            let mut table = sessions.0.table();
            table.held = [login, elevation.clone()]
                .map(|held| (held.id.clone(), held))
                .into();
            for _ in 0..2 {
                sessions.0.take_along(&mut table, &id(2));
            }
            let login = &table.held[&id(1)];
            assert_eq!(login.elevated.len(), usize::from(enforce));
            let until = taken.then(|| Timestamp::from_second(100).unwrap());
            assert_eq!(login.until(), until.or(Some(Timestamp::MAX)));
            drop(table);
            let taken_along = sessions.0.taken_along_by(&elevation);
            assert_eq!(taken_along.len(), usize::from(taken));
            sessions.0.table().held.clear();
        }
    }

    /// Descriptors go from one process of a person to another, over a socket or by ptrace(2).
    #[tokio::test]
    async fn t17_what_else_the_person_has_open_is_taken_too_and_nobody_else_s() {
        let folder = tempfile::tempdir().unwrap();
        let (login, mut elevation) = login_and_elevation(true);
        // Of `systemd-run --user`: started from no login.
        elevation.parent = None;
        let mut manager = held(Kind::Manager, 3, this());
        manager.live.as_mut().unwrap().principal = "ben".parse().unwrap();
        let mut of_another = held(Kind::Login, 4, this());
        of_another.live.as_mut().unwrap().principal = "ben".parse().unwrap();
        let mut elsewhere = held(Kind::Login, 5, this());
        elsewhere.query.login = "ben".parse().unwrap();
        let (sessions, _record) = restarted(folder.path(), &[], live()).await;
        let mut table = sessions.0.table();
        let all = [login, elevation, manager, of_another, elsewhere];
        let elevation = all[1].clone();
        table.held = all.map(|held| (held.id.clone(), held)).into();
        sessions.0.take_along(&mut table, &id(2));
        drop(table);
        assert_eq!(sessions.0.taken_along_by(&elevation), [id(1), id(3)]);
        let mut table = sessions.0.table();
        let mut later = held(Kind::Login, 6, this());
        later.inherits_elevated(&table);
        assert_eq!(later.until(), Timestamp::from_second(100).ok());
        let mut of_ben = table.held[&id(4)].clone();
        of_ben.inherits_elevated(&table);
        assert!(of_ben.elevated.is_empty());
        table.held.clear();
    }

    #[tokio::test]
    async fn t17_a_grant_that_carries_it_on_may_say_so_and_none_takes_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut login, elevation) = login_and_elevation(false);
        let not_taking = elevation.live.clone().unwrap();
        let taking = Live {
            ends_login: true,
            ..not_taking.clone()
        };
        let judge = Always(Standing::Live(taking));
        let (sessions, _record) = restarted(folder.path(), &[], judge).await;
        let now = Timestamp::UNIX_EPOCH;
        login.note_elevated(&elevation.query, not_taking.clone());
        assert_eq!(login.until(), Some(Timestamp::MAX));
        assert!(sessions.0.elevated_standing(&mut login, now).unwrap());
        assert_eq!(login.until(), Timestamp::from_second(100).ok());
        login.note_elevated(&elevation.query, not_taking);
        assert_eq!(login.until(), Timestamp::from_second(100).ok());
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
