use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use jit_grant::{Credential, GrantId, Query};

use super::super::fixture::{self, restarted};
use super::super::types::Judge;
use super::*;

/// One grant, for one login.
#[derive(Default)]
struct Once {
    by: Mutex<Option<String>>,
    kept: AtomicBool,
    disk_full: AtomicBool,
}

impl Judge for Arc<Once> {
    fn standing(&self, query: &Query) -> Standing {
        let by = self.by.lock().unwrap();
        if by.is_some() && *by == query.within {
            let fixture::Always(live) = fixture::live();
            return live;
        }
        Standing::Over {
            code: Code::UsedUp,
            message: String::new(),
        }
    }

    fn open(&self, query: &mut Query, login: &str) -> Standing {
        self.by
            .lock()
            .unwrap()
            .get_or_insert_with(|| login.to_owned());
        query.within = Some(login.to_owned());
        let standing = self.standing(query);
        if matches!(standing, Standing::Over { .. }) {
            query.within = None;
        }
        standing
    }

    fn keep_uses(&self) -> io::Result<()> {
        if self.disk_full.load(Ordering::Relaxed) {
            return Err(io::Error::other("no room"));
        }
        self.kept.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn give_back(&self, _: &GrantId, login: &str) {
        let mut by = self.by.lock().unwrap();
        by.take_if(|by| by == login);
    }
}

async fn holding(folder: &Path, judge: &Arc<Once>) -> (Arc<Inner>, Arc<crate::record::Record>) {
    let (sessions, record) = restarted(folder, &[], Arc::clone(judge)).await;
    (sessions.0, record)
}

fn opening(action: Action, parent: Option<&SessionId>) -> Opening {
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    Opening {
        peer: Peer::of(&ours).unwrap(),
        query: Query {
            login: "ada".parse().unwrap(),
            action,
            credential: Credential::Pending,
            rhost: None,
            tty: None,
            service: "sshd".into(),
            now: Timestamp::UNIX_EPOCH,
            within: None,
            used: Default::default(),
            groups: Default::default(),
            lacking: Default::default(),
        },
        standing: None,
        parent: parent.cloned(),
        enforce: true,
    }
}

#[tokio::test]
async fn what_opens_one_login_is_that_login_s_and_that_of_each_elevation_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let judge = Arc::default();
    let (sessions, _record) = holding(folder.path(), &judge).await;
    let begin = |kind, action, parent| sessions.begin(kind, &opening(action, parent));
    let first = begin(Kind::Login, Action::Ssh, None).unwrap();
    let refused = begin(Kind::Login, Action::Ssh, None).unwrap_err();
    assert_eq!(refused.code, Code::UsedUp);
    let sudo = begin(Kind::Elevation, Action::Sudo, Some(&first)).unwrap();
    let su_in_sudo = begin(Kind::Elevation, Action::Su, Some(&sudo)).unwrap();
    for id in [&first, &sudo, &su_in_sudo] {
        let within = sessions.held(id).unwrap().query.within;
        assert_eq!(within.as_deref(), Some(first.as_str()));
    }
    let alone = begin(Kind::Elevation, Action::Sudo, None).unwrap_err();
    assert_eq!(alone.code, Code::UsedUp);
}

#[tokio::test]
async fn nobody_is_let_in_by_what_can_t_be_written_down_as_used_and_it_is_left_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let judge: Arc<Once> = Arc::default();
    let (sessions, record) = holding(folder.path(), &judge).await;
    judge.disk_full.store(true, Ordering::Relaxed);
    let first = sessions
        .begin(Kind::Login, &opening(Action::Ssh, None))
        .unwrap();
    let refused = sessions.settle(first.clone()).await.unwrap_err();
    assert_eq!(refused.code, Code::NotRecorded);
    assert!(sessions.held(&first).is_none());
    let (lines, _) = record.read_after(0, u64::MAX, 1 << 20).unwrap();
    assert!(!lines.concat().contains("session.opened"), "{lines:?}");
    judge.disk_full.store(false, Ordering::Relaxed);
    let second = sessions
        .begin(Kind::Login, &opening(Action::Ssh, None))
        .unwrap();
    sessions.settle(second).await.unwrap();
    assert!(judge.kept.load(Ordering::Relaxed));
}

#[tokio::test]
async fn in_monitor_mode_an_opening_is_in_the_record_though_its_use_can_t_be_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let judge: Arc<Once> = Arc::default();
    let (sessions, record) = holding(folder.path(), &judge).await;
    judge.disk_full.store(true, Ordering::Relaxed);
    let mut opening = opening(Action::Ssh, None);
    opening.enforce = false;
    let id = sessions.begin(Kind::Login, &opening).unwrap();
    sessions.settle(id).await.unwrap();
    let events = tokio::time::timeout(Duration::from_secs(10), fixture::events(&record, 1));
    let events = events.await.expect("nothing is in the record");
    assert_eq!(fixture::kinds(&events), ["session.opened"]);
}

#[tokio::test]
async fn a_login_that_is_not_held_after_all_leaves_the_grant_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let judge = Arc::default();
    let (sessions, _record) = holding(folder.path(), &judge).await;
    let first = sessions
        .begin(Kind::Login, &opening(Action::Ssh, None))
        .unwrap();
    sessions.give_up(&first, no_scope("none")).await;
    assert!(
        sessions
            .begin(Kind::Login, &opening(Action::Ssh, None))
            .is_ok()
    );
}

/// A login that something else opened, and two elevations in it that are being opened by what opens one login.
fn two_sudos_begin(sessions: &Inner) -> [SessionId; 2] {
    let login = fixture::held(Kind::Login, 1, fixture::this());
    sessions.table().held.insert(login.id.clone(), login);
    let login = fixture::id(1);
    let sudo = || {
        let sudo = opening(Action::Sudo, Some(&login));
        sessions.begin(Kind::Elevation, &sudo).unwrap()
    };
    [sudo(), sudo()]
}

#[tokio::test]
async fn what_another_elevation_of_the_same_login_is_let_in_by_is_not_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let judge = Arc::default();
    let (sessions, _record) = holding(folder.path(), &judge).await;
    let [first, second] = two_sudos_begin(&sessions);
    sessions.give_up(&first, no_scope("none")).await;
    sessions.settle(second).await.unwrap();
    let login = sessions.begin(Kind::Login, &opening(Action::Ssh, None));
    assert_eq!(login.unwrap_err().code, Code::UsedUp);
    sessions.table().held.clear();
}

#[tokio::test]
async fn of_elevations_that_all_fail_the_last_gives_it_back_though_the_first_is_still_to_be_ended()
{
    let folder = tempfile::tempdir().unwrap();
    let judge = Arc::default();
    let (sessions, _record) = holding(folder.path(), &judge).await;
    let [moved, second] = two_sudos_begin(&sessions);
    sessions.add_scope(&moved, fixture::unreadable()).unwrap();
    sessions.give_up(&moved, no_scope("none")).await;
    assert!(sessions.held(&moved).is_some());
    sessions.give_up(&second, no_scope("none")).await;
    let login = sessions.begin(Kind::Login, &opening(Action::Ssh, None));
    assert!(login.is_ok());
    sessions.table().held.clear();
}

#[test]
fn a_session_of_before_there_were_such_grants_is_read_as_it_was() {
    let held = fixture::held(Kind::Login, 1, fixture::this());
    let mut written = serde_json::to_value(&held).unwrap();
    let query = written["query"].as_object_mut().unwrap();
    assert!(!query.contains_key("used") && !query.contains_key("within"));
    query.remove("rhost");
    let read: Held = serde_json::from_value(written).unwrap();
    assert_eq!((read.query.within, read.query.rhost), (None, None));
    assert!(read.query.used.is_empty());
}
