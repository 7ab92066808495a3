//! Unix groups of logins, in the user manager beside them. What a login moves in there (`systemd-run --user --scope`) keeps them, and may
//! go from one pid to the next faster than any look through /proc. So such a manager is held by these groups, too: it ends, whole,
//! with the first of them, as it ends with the first principal (T16).

use std::collections::BTreeSet;

use jit_grant::GroupName;

use super::held::{Held, Kind};
use super::manager::{uid_around, uid_of};
use super::open::not_armed;
use super::types::{Refused, SessionId, Standing};
use super::{Inner, Table};

impl Inner {
    /// Every manager in `slice` that is held ends with `groups` from now on, and PID 1's timer behind it says so before this returns.
    /// One that begins later asks by [`Inner::groups_beside`]: by then the login that has them is in the table.
    ///
    /// # Errors
    /// Where a manager would be over by that, or its end can't be armed.
    pub(super) async fn managers_end_with(
        &self,
        groups: &BTreeSet<GroupName>,
        slice: &str,
    ) -> Result<(), Refused> {
        if groups.is_empty() {
            return Ok(());
        }
        for id in self.hold_managers_by(groups, slice)? {
            self.arm(&id).await.map_err(not_armed)?;
        }
        Ok(())
    }

    /// The groups of all logins in `slice`, those that are ending, too: they may still move something.
    pub(super) fn groups_beside(&self, slice: &str) -> BTreeSet<GroupName> {
        let table = self.table();
        let logins = table.held.values().filter(|held| {
            let in_slice = |path: &str| path.split('/').nth(2) == Some(slice);
            let mut scopes = held.scopes.iter();
            held.kind == Kind::Login && scopes.any(|scope| in_slice(&scope.cgroup.path))
        });
        logins
            .flat_map(|login| login.query.groups.iter().cloned())
            .collect()
    }

    /// In memory and on disk. Returns which managers these are.
    fn hold_managers_by(
        &self,
        groups: &BTreeSet<GroupName>,
        slice: &str,
    ) -> Result<Vec<SessionId>, Refused> {
        let mut carried_on = Vec::new();
        let mut table = self.table();
        let mut ids = Vec::new();
        for held in managers(&mut table, slice) {
            self.join(held);
            let mut query = held.query.clone();
            query.groups.extend(groups.iter().cloned());
            let live = match self.judge.standing(&query) {
                Standing::Live(live) => live,
                Standing::Over { code, message } => return Err(Refused { code, message }),
            };
            let before = held.until();
            if held.live.as_ref().map(|was| &was.grant) != Some(&live.grant) {
                carried_on.push(held.id.clone());
            }
            held.query = query;
            held.live = Some(live);
            held.ends_otherwise_than(before);
            self.registry.save(held).map_err(not_armed)?;
            ids.push(held.id.clone());
        }
        drop(table);
        for held in carried_on.iter().filter_map(|id| self.held(id)) {
            self.note(&held, "carried_on", held.whose());
        }
        self.changed.notify_one();
        Ok(ids)
    }
}

/// One that is ending ends whole.
fn managers<'a>(table: &'a mut Table, slice: &str) -> impl Iterator<Item = &'a mut Held> {
    let uid = uid_of(slice);
    table.held.values_mut().filter(move |held| {
        let mut scopes = held.scopes.iter();
        let beside = scopes.any(|scope| uid.is_some() && uid_around(&scope.cgroup.path) == uid);
        held.kind == Kind::Manager && held.enforce && held.ending.is_none() && beside
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use jit_grant::{Code, Query};
    use serde_json::json;

    use super::super::fixture::{gone, held, id, restarted, this};
    use super::super::held::Scope;
    use super::super::types::{Judge, Live};
    use super::*;

    const SLICE: &str = "user-1000.slice";

    /// Whoever asks with adm may until second 20, with www-data not at all, and without either for ever.
    struct ByGroups;

    impl Judge for ByGroups {
        fn standing(&self, query: &Query) -> Standing {
            if query.groups.contains(&group("www-data")) {
                return Standing::Over {
                    code: Code::GroupNotGiven,
                    message: String::new(),
                };
            }
            let (grant, until) = match query.groups.is_empty() {
                true => ("g1", Timestamp::MAX),
                false => ("g2", Timestamp::from_second(20).unwrap()),
            };
            Standing::Live(Live {
                grant: grant.parse().unwrap(),
                principal: "ann".parse().unwrap(),
                until,
                ends_login: false,
            })
        }
    }

    fn group(name: &str) -> GroupName {
        name.parse().unwrap()
    }

    fn in_unit(kind: Kind, seed: u8, unit: &str) -> Held {
        let path = format!("/user.slice/{unit}");
        Held {
            scopes: vec![Scope {
                cgroup: serde_json::from_value(json!({ "path": path, "id": 1 })).unwrap(),
                ..gone()
            }],
            ..held(kind, seed, this())
        }
    }

    async fn holding(all: &[Held]) -> (Arc<Inner>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let (sessions, _record) = restarted(folder.path(), &[], ByGroups).await;
        let mut table = sessions.0.table();
        for held in all {
            table.held.insert(held.id.clone(), held.clone());
        }
        drop(table);
        (sessions.0, folder)
    }

    #[tokio::test]
    async fn t16_the_manager_beside_a_login_with_groups_ends_with_the_first_of_them_and_no_other_does()
     {
        let own = in_unit(Kind::Manager, 1, "user-1000.slice/user@1000.service");
        let other = in_unit(Kind::Manager, 2, "user-1001.slice/user@1001.service");
        let watched = Held {
            enforce: false,
            ..in_unit(Kind::Manager, 3, "user-1000.slice/user@1000.service")
        };
        let (sessions, _folder) = holding(&[own, other, watched]).await;
        let adm = BTreeSet::from([group("adm")]);
        assert_eq!(sessions.hold_managers_by(&adm, SLICE).unwrap(), [id(1)]);
        let held = sessions.held(&id(1)).unwrap();
        assert_eq!(held.query.groups, adm);
        assert_eq!(
            held.to_arm().unwrap().until,
            Timestamp::from_second(20).unwrap()
        );
        let kept = sessions.registry.load().unwrap().held;
        assert_eq!(kept[0].query.groups, adm);
        for seed in [2, 3] {
            assert!(!sessions.held(&id(seed)).unwrap().has_groups(), "{seed}");
        }
    }

    #[tokio::test]
    async fn a_login_whose_groups_would_end_the_manager_at_once_is_refused_and_the_manager_goes_on()
    {
        let own = in_unit(Kind::Manager, 1, "user-1000.slice/user@1000.service");
        let (sessions, _folder) = holding(&[own]).await;
        let both = BTreeSet::from([group("adm"), group("www-data")]);
        let refused = sessions.managers_end_with(&both, SLICE).await.unwrap_err();
        assert_eq!(refused.code, Code::GroupNotGiven);
        assert!(!sessions.held(&id(1)).unwrap().has_groups());
    }

    #[tokio::test]
    async fn a_manager_that_begins_has_the_groups_of_the_logins_that_are_there() {
        let login = |seed, unit: &str, groups: &[&str]| {
            let mut login = in_unit(Kind::Login, seed, unit);
            login.query.groups = groups.iter().map(|name| group(name)).collect();
            login
        };
        let all = [
            login(1, "user-1000.slice/session-1.scope", &["adm"]),
            login(2, "user-1000.slice/session-2.scope", &[]),
            login(3, "user-1001.slice/session-3.scope", &["www-data"]),
        ];
        let (sessions, _folder) = holding(&all).await;
        assert_eq!(sessions.groups_beside(SLICE), [group("adm")].into());
        assert!(sessions.groups_beside("user-1002.slice").is_empty());
    }
}
