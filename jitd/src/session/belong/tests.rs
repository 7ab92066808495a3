//! What needs no systemd to be seen.

use std::path::Path;

use jiff::Timestamp;
use jit_grant::{Action, Credential, Query};

use super::*;
use crate::clock::Clock;
use crate::fixture::caller;
use crate::record::Record;
use crate::residue::Residue;
use crate::session::cgroup::Cgroup;
use crate::session::held::{Ending, Kind, Scope};
use crate::session::registry::Registry;
use crate::session::types::{Judge, Live, Opening, Standing};
use crate::session::watch::Watcher;

struct Yes;

impl Judge for Yes {
    fn standing(&self, _: &Query) -> Standing {
        Standing::Live(Live {
            grant: "g1".parse().unwrap(),
            principal: "p1".parse().unwrap(),
            until: Timestamp::MAX,
            ends_login: false,
        })
    }
}

fn sessions(directory: &Path) -> Arc<Inner> {
    let clock = Clock::start(None);
    let record = Record::open(
        &directory.join("events"),
        &directory.join("no-log"),
        clock.clone(),
    );
    let record = record.unwrap();
    let residue = Residue::start(directory, clock.clone(), Arc::clone(&record));
    Arc::new(Inner {
        clock,
        judge: Arc::new(Yes),
        record,
        residue: residue.unwrap(),
        registry: Registry::open(directory).unwrap(),
        watcher: Watcher::start().unwrap(),
        logind: Default::default(),
        table: Default::default(),
        grace: Default::default(),
        warn_before: Default::default(),
        changed: Default::default(),
        turns: tokio::sync::Semaphore::new(1),
        homes: Arc::new(tokio::sync::Semaphore::new(1)),
        looks: Default::default(),
    })
}

fn opening(peer: &Peer, action: Action) -> Opening {
    Opening {
        peer: peer.clone(),
        query: Query {
            login: "ada".parse().unwrap(),
            action,
            credential: Credential::Unbound,
            rhost: None,
            tty: None,
            service: "sudo".into(),
            now: Timestamp::UNIX_EPOCH,
            within: None,
            used: Default::default(),
            groups: Default::default(),
            lacking: Default::default(),
        },
        standing: None,
        parent: None,
        enforce: true,
    }
}

/// Counts as one with somebody in it, and holds nobody that a mistake in a test could end.
fn unreadable() -> Cgroup {
    let path = format!("/{}", "x".repeat(300));
    serde_json::from_value(serde_json::json!({ "path": path, "id": 1 })).unwrap()
}

fn scope(unit: String, cgroup: Cgroup) -> Scope {
    Scope {
        unit,
        invocation: String::new(),
        cgroup,
    }
}

impl Inner {
    /// An elevation that the caller has opened, and that its session phase has confirmed.
    fn confirmed(&self, peer: &Peer) -> SessionId {
        let id = self
            .begin(Kind::Elevation, &opening(peer, Action::Sudo))
            .unwrap();
        assert_eq!(self.confirm_elevation(peer), Some(id.clone()));
        id
    }
}

/// `sudo -i` at the last moment: pam_systemd has moved it out of the elevation's scope when the elevation ends (T12).
#[tokio::test]
async fn a_scope_that_joins_after_its_elevation_has_ended_is_refused_and_not_left_to_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (sessions, peer) = (sessions(directory.path()), caller(1000));
    let id = sessions.confirmed(&peer);
    let ending = Ending {
        code: Code::EndExpired,
        due: Timestamp::UNIX_EPOCH,
        signalled: None,
    };
    sessions.change(&id, |held| held.ending = Some(ending));
    sessions.forget(&id);
    assert!(
        Arc::clone(&sessions)
            .adopt_scope(peer.clone())
            .await
            .is_err()
    );
    // PAM closes it; whoever never belonged to an elevation is root's own.
    sessions.pam_closed(Process::of(&peer)).await;
    assert_eq!(sessions.adopt_scope(peer).await, Ok(None));
}

/// pkexec becomes the program that it was to run: the process that opened an elevation may be anybody's by now.
#[tokio::test]
async fn a_process_that_opened_one_elevation_has_no_other_opened_by_it() {
    let directory = tempfile::tempdir().unwrap();
    let (sessions, peer) = (sessions(directory.path()), caller(1000));
    let id = sessions.confirmed(&peer);
    let open = |action| sessions.already_open(Kind::Elevation, &opening(&peer, action));
    assert_eq!(open(Action::Sudo), Some(id));
    assert_eq!(open(Action::Su), None);
    // Its session phase came; another is another program's, and needs a decision of its own.
    assert_eq!(sessions.confirm_elevation(&peer), None);
    assert!(sessions.confirm_elevation(&caller(0)).is_some());
}

/// A script of root's that runs `su` for each of a thousand things must not fill the registry file (64 KiB).
#[tokio::test]
async fn scopes_that_have_gone_are_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (sessions, peer) = (sessions(directory.path()), caller(1000));
    let login = sessions
        .begin(Kind::Login, &opening(&peer, Action::Ssh))
        .unwrap();
    let id = sessions.confirmed(&peer);
    sessions.change(&id, |held| held.parent = Some(login.clone()));
    let gone: Cgroup = serde_json::from_str(r#"{"path":"/no.slice/such.scope","id":1}"#).unwrap();
    sessions
        .add_scope(&id, scope("own.scope".into(), unreadable()))
        .unwrap();
    for number in 0..20 {
        let held = sessions.held(&id).unwrap();
        let unit = format!("session-{number}.scope");
        sessions.ends_with_all_above(&held, &unit);
        sessions.add_scope(&id, scope(unit, gone.clone())).unwrap();
    }
    assert_eq!(sessions.held(&id).unwrap().scopes.len(), 2);
    assert_eq!(sessions.held(&id).unwrap().scopes[0].unit, "own.scope");
    assert!(sessions.held(&login).unwrap().also_ends.len() <= 2);
}

/// A revocation comes by the same way as the bundle before it: that one's timers must not keep it waiting.
#[tokio::test(start_paused = true)]
async fn a_pid_1_that_does_not_answer_holds_up_no_bundle() {
    let directory = tempfile::tempdir().unwrap();
    let (sessions, peer) = (sessions(directory.path()), caller(1000));
    let id = sessions.confirmed(&peer);
    sessions
        .add_scope(&id, scope("own.scope".into(), unreadable()))
        .unwrap();
    let arming = sessions.held(&id).unwrap().arming;
    let _busy = arming.lock().await;
    let judged = Arc::clone(&sessions).reconsider();
    let soon = std::time::Duration::from_secs(10);
    assert!(tokio::time::timeout(soon, judged).await.is_ok());
}
