//! jitd comes back. What a booted host shows of it is in tests/tests/crashes.rs.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::{Code, GrantId, Query};

use super::*;
use crate::session::fixture::{
    earlier, events, gone, held, id, kinds, live, over, restarted, this, unreadable, waiting,
};
use crate::session::{Judge, Standing};

const ENDING: Ending = Ending {
    code: Code::EndWithdrawn,
    due: Timestamp::UNIX_EPOCH,
    signalled: Some(Duration::ZERO),
};

/// Nobody whose number is used: a process that died.
fn nobody() -> Process {
    earlier(this())
}

fn child_of(parent: u8, seed: u8) -> Held {
    let mut child = held(Kind::Elevation, seed, this());
    child.parent = Some(id(parent));
    child
}

#[test]
fn an_end_takes_with_it_all_that_was_started_from_it_though_jitd_died_before_it_noted_so() {
    let mut parent = held(Kind::Login, 2, this());
    parent.ending = Some(ENDING);
    let other = held(Kind::Login, 4, this());
    let mut all = [
        child_of(3, 1),
        parent,
        child_of(2, 3),
        other,
        child_of(4, 5),
    ];
    pass_on_ends(&mut all);
    let signalled = |place: usize| all[place].ending.map(|ending| ending.signalled);
    assert_eq!(signalled(1), Some(ENDING.signalled));
    assert_eq!((signalled(0), signalled(2)), (Some(None), Some(None)));
    assert_eq!((signalled(3), signalled(4)), (None, None));
}

#[test]
fn an_end_that_was_noted_stays_as_it_was_and_one_without_a_parent_harms_nobody() {
    let mut parent = held(Kind::Login, 2, this());
    parent.ending = Some(ENDING);
    let mut child = child_of(2, 3);
    child.ending = Some(Ending {
        code: Code::EndExpired,
        ..ENDING
    });
    let mut all = [parent, child, child_of(9, 4)];
    pass_on_ends(&mut all);
    assert_eq!(
        all[1].ending.map(|ending| ending.code),
        Some(Code::EndExpired)
    );
    assert_eq!(all[2].ending, None);
}

/// What it was told of that goes on, and whether that was kept.
#[derive(Default)]
struct Recalls {
    told: Mutex<Vec<(String, String)>>,
    kept: AtomicBool,
}

impl Judge for Arc<Recalls> {
    fn standing(&self, _: &Query) -> Standing {
        live().0
    }

    fn recall(&self, grant: &GrantId, login: &str) {
        let mut told = self.told.lock().unwrap();
        told.push((grant.to_string(), login.to_owned()));
    }

    fn keep_uses(&self) -> io::Result<()> {
        let told = !self.told.lock().unwrap().is_empty();
        self.kept.store(told, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test]
async fn what_is_open_by_a_grant_for_one_login_says_so_at_a_start_before_it_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let mut login = held(Kind::Login, 1, this());
    login.scopes = vec![unreadable()];
    login.query.within = Some(id(1).to_string());
    let mut other = held(Kind::Login, 2, this());
    other.scopes = vec![unreadable()];
    let recalls: Arc<Recalls> = Arc::default();
    let (sessions, _record) = restarted(folder.path(), &[login, other], Arc::clone(&recalls)).await;
    let told = recalls.told.lock().unwrap().clone();
    assert_eq!(told, [("g7".to_owned(), id(1).to_string())]);
    assert!(recalls.kept.load(Ordering::Relaxed));
    sessions.0.table().held.clear();
}

#[test]
fn a_unit_that_was_begun_anew_under_the_same_name_is_not_ours_and_a_forgotten_one_is() {
    let loaded = |invocation: &str| Loaded {
        invocation: invocation.to_owned(),
        cgroup: gone().cgroup.path,
    };
    assert!(is_of_another_run(&gone(), Some(&loaded("1"))));
    assert!(!is_of_another_run(
        &gone(),
        Some(&loaded(&gone().invocation))
    ));
    assert!(!is_of_another_run(&gone(), None));
}

#[test]
fn who_was_moved_in_the_place_of_a_caller_that_died_is_known_by_its_start_time() {
    let here = cgroup::of_process(this().pid).unwrap();
    assert!(holds_a_bystander(&here, earlier(this())));
    assert!(!holds_a_bystander(&here, this()));
    assert!(!holds_a_bystander(
        "/user.slice/user-1.slice/x.scope",
        earlier(this())
    ));
}

#[tokio::test]
async fn what_went_unseen_was_ended_where_it_is_over_by_now_and_closed_itself_where_it_is_not() {
    let before = || {
        let mut held = held(Kind::Login, 1, nobody());
        held.scopes = vec![gone()];
        [held]
    };
    for (judge, kind) in [(over(), "session.ended"), (live(), "session.closed")] {
        let folder = tempfile::tempdir().unwrap();
        let (_sessions, record) = restarted(folder.path(), &before(), judge).await;
        let events = events(&record, 1).await;
        assert_eq!(kinds(&events), [kind]);
        assert!(events[0].get("last_death_late_ms").is_none());
    }
}

#[tokio::test]
async fn a_connection_whose_login_was_never_answered_is_ended_and_whoever_has_its_number_is_not() {
    let (mut connection, caller) = waiting("read line; exit 7");
    let (mut bystander, other) = waiting("read line; exit 7");
    let folder = tempfile::tempdir().unwrap();
    let before = [
        held(Kind::Login, 1, caller),
        held(Kind::Login, 2, earlier(other)),
    ];
    let (_sessions, record) = restarted(folder.path(), &before, live()).await;
    assert_eq!(
        kinds(&events(&record, 2).await),
        ["session.closed", "session.closed"]
    );
    // Waiting for it would close its standard input, and it would end by itself.
    let _input = connection.stdin.take();
    let ended = tokio::task::spawn_blocking(move || connection.wait().unwrap());
    assert_eq!(ended.await.unwrap().signal(), Some(15));
    drop(bystander.stdin.take());
    assert_eq!(bystander.wait().unwrap().code(), Some(7));
}

#[tokio::test]
async fn a_sudo_and_a_manager_that_were_never_answered_are_forgotten_and_end_by_themselves() {
    let (mut caller, process) = waiting("read line; exit 7");
    let folder = tempfile::tempdir().unwrap();
    let before = [
        held(Kind::Elevation, 1, process),
        held(Kind::Manager, 2, process),
    ];
    let (sessions, record) = restarted(folder.path(), &before, live()).await;
    assert_eq!(events(&record, 2).await.len(), 2);
    assert!(sessions.list().is_empty());
    drop(caller.stdin.take());
    assert_eq!(caller.wait().unwrap().code(), Some(7));
}

/// Out of descriptors, or of PID 1: what can't be looked at is held on to, and never taken for gone.
#[tokio::test]
async fn what_can_not_be_looked_at_is_held_on_to() {
    let mut session = held(Kind::Login, 1, nobody());
    session.scopes = vec![unreadable()];
    let folder = tempfile::tempdir().unwrap();
    let (sessions, _record) = restarted(folder.path(), &[session], live()).await;
    assert_eq!(sessions.list().len(), 1);
}

#[tokio::test]
async fn watching_only_jitd_reports_what_has_no_grant_and_ends_nothing() {
    let (mut leader, process) = waiting("read line; exit 7");
    let mut watched = held(Kind::Login, 1, process);
    watched.enforce = false;
    let folder = tempfile::tempdir().unwrap();
    let (sessions, record) = restarted(folder.path(), &[watched], over()).await;
    assert_eq!(kinds(&events(&record, 1).await), ["session.would_end"]);
    assert_eq!(sessions.list().len(), 1);
    drop(leader.stdin.take());
    assert_eq!(leader.wait().unwrap().code(), Some(7));
}

#[tokio::test]
async fn a_registry_file_that_can_not_be_read_is_recorded_and_the_others_live_on() {
    let mut session = held(Kind::Login, 1, this());
    session.scopes = vec![unreadable()];
    let folder = tempfile::tempdir().unwrap();
    let torn = folder.path().join(format!("sessions/{}.json", id(2)));
    fs::create_dir(folder.path().join("sessions")).unwrap();
    fs::write(torn, "{").unwrap();
    let (sessions, record) = restarted(folder.path(), &[session], live()).await;
    let events = events(&record, 1).await;
    assert_eq!(kinds(&events), ["registry.broken"]);
    assert_eq!(events[0]["file"], format!("{}.json", id(2)));
    assert_eq!(sessions.list().len(), 1);
}
