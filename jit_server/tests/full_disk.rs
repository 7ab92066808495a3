//! What can't be kept does not happen.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use jit_grant::{
    Checkpoint, GrantId, HostId, HostName, HostState, Nonce, SigningKey, TrustedKeys, Word,
};
use jit_server::apply::Wanted;
use jit_server::clock::{Clock, WallClock};
use jit_server::error::Error;
use jit_server::event::{Actor, Entry, Event, UserSet};
use jit_server::mark::Mark;
use jit_server::policy::Policy;
use jit_server::server::Server;
use jit_server::signer;
use jit_server::store::{
    HostHead, HostLines, Id, Kept, Loaded, Piece, Place, SqliteStore, Store, StoreError,
};
use jit_server::workflow::{Ask, Command, RequestState};
use serde_json::json;

/// A store on a disk that can be full.
struct Disk {
    store: SqliteStore,
    full: Arc<AtomicBool>,
}

impl Store for Disk {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        self.store.load()
    }

    fn identity(&self) -> BoxFuture<'_, Result<Id, StoreError>> {
        self.store.identity()
    }

    fn append<'a>(
        &'a self,
        after: Place,
        entries: &'a [Entry],
        revisions: &'a [(HostId, u64)],
    ) -> BoxFuture<'a, Result<Place, StoreError>> {
        if self.full.load(Ordering::Relaxed) {
            return Box::pin(async {
                Err(StoreError::Database(
                    std::io::Error::from(std::io::ErrorKind::StorageFull).into(),
                ))
            });
        }
        self.store.append(after, entries, revisions)
    }

    fn append_host_lines<'a>(
        &'a self,
        after: Place,
        lines: &'a HostLines,
    ) -> BoxFuture<'a, Result<Place, StoreError>> {
        self.store.append_host_lines(after, lines)
    }

    fn host_head<'a>(
        &'a self,
        host: &'a HostId,
    ) -> BoxFuture<'a, Result<Option<HostHead>, StoreError>> {
        self.store.host_head(host)
    }

    fn left_behind<'a>(
        &'a self,
        host: &'a HostName,
        grant: &'a GrantId,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        self.store.left_behind(host, grant, limit)
    }

    fn sessions_of<'a>(
        &'a self,
        host: &'a HostName,
        grant: &'a GrantId,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Kept>, StoreError>> {
        self.store.sessions_of(host, grant, limit)
    }

    fn record(&self, after: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Kept>, StoreError>> {
        self.store.record(after, limit)
    }

    fn pieces(&self, after: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Piece>, StoreError>> {
        self.store.pieces(after, limit)
    }

    fn revisions(&self) -> BoxFuture<'_, Result<Vec<(HostId, u64)>, StoreError>> {
        self.store.revisions()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}

#[tokio::test]
async fn an_alarm_that_can_not_be_kept_is_raised_again() {
    let folder = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let database = folder.path().join("jit-server.db");
    let disk = Disk {
        store: SqliteStore::open(&database).await.unwrap(),
        full: Arc::clone(&full),
    };
    signer::make(&folder.path().join("signing.key")).unwrap();
    let server = Server::start(
        Box::new(disk),
        signer::load(&folder.path().join("signing.key")).unwrap(),
        Mark::open(&folder.path().join("mark")).unwrap(),
        folder.path().join("policy.toml"),
        |last| -> Box<dyn Clock> { Box::new(WallClock::starting_at(last)) },
    )
    .await
    .unwrap();
    let key = SigningKey::generate().unwrap();
    let enrolled = server.enrol("web-1".parse().unwrap(), key.public()).await;
    let id = enrolled.unwrap().host.host_id;

    let nonce = Nonce::generate().unwrap();
    let state = HostState {
        version: "0.1.0".to_owned(),
        gates: BTreeMap::new(),
        enforces: BTreeSet::new(),
    };
    let state = state.sign(&id, &nonce, server.now(), &key).unwrap();
    server
        .hear_standing(&id, &nonce, Some(&state))
        .await
        .unwrap();
    let hears_nothing = || server.hear_standing(&id, &nonce, None);
    let lost =
        json!({ "event": { "seq": 9, "kind": "record.lost", "after": 0 }, "prev": "0".repeat(64) });
    let lost = lost.to_string();
    let signed = Checkpoint {
        host: id.clone(),
        seq: 9,
        head: common::hash(&lost).parse().unwrap(),
        at: server.now(),
    };
    let signed = signed.sign(&key).unwrap();
    let keep = |lines: Vec<String>, checkpoint: &str| {
        server.keep_host_lines(id.clone(), lines, checkpoint.to_owned())
    };

    hears_nothing().await.unwrap();

    full.store(true, Ordering::Relaxed);
    let failed = |error: Error| assert!(matches!(error, Error::Store(_)), "{error}");
    failed(hears_nothing().await.unwrap_err());
    failed(keep(vec![lost.clone()], &signed).await.unwrap_err());
    // More often than alarms of a cause are recorded in an hour.
    for _ in 0..12 {
        failed(keep(vec![lost.clone()], "forged").await.unwrap_err());
    }
    full.store(false, Ordering::Relaxed);
    hears_nothing().await.unwrap();
    assert_eq!(keep(Vec::new(), "").await.unwrap(), 0, "nothing is stored");
    assert_eq!(keep(vec![lost.clone()], &signed).await.unwrap(), 9);
    let refused = keep(vec![lost.clone()], "forged").await.unwrap_err();
    assert!(matches!(refused, Error::Chain { .. }), "{refused}");
    let record = server.record(0, 100).await.unwrap();
    let alarms = record.iter().filter_map(|kept| match kept {
        Kept::Own(entry) => match &entry.event {
            Event::Alarm { alarm, .. } => Some(alarm.cause()),
            _ => None,
        },
        Kept::OfHost { .. } => None,
    });
    assert_eq!(
        alarms.collect::<Vec<_>>(),
        ["state_withheld", "record_lost", "chain_refused"]
    );
}

fn user(name: &str, group: &str) -> UserSet {
    let groups = BTreeSet::from([group.to_owned().try_into().unwrap()]);
    UserSet {
        groups,
        ..UserSet::new(name.parse().unwrap(), name.parse().unwrap())
    }
}

fn actor(name: &str) -> Actor {
    Actor::Principal(name.parse().unwrap())
}

#[tokio::test]
async fn an_approval_rotation_or_apply_that_can_not_be_kept_changes_nothing_and_can_be_made_again()
{
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, common::POLICY).unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let store = SqliteStore::open(&folder.path().join("jit-server.db"))
        .await
        .unwrap();
    let disk = Disk {
        store,
        full: Arc::clone(&full),
    };
    let signing_key = folder.path().join("signing.key");
    signer::make(&signing_key).unwrap();
    let clock = |last| -> Box<dyn Clock> { Box::new(WallClock::starting_at(last)) };
    let server = Server::start(
        Box::new(disk),
        signer::load(&signing_key).unwrap(),
        Mark::open(&folder.path().join("mark")).unwrap(),
        policy,
        clock,
    )
    .await
    .unwrap();
    server.set_user(user("alice", "developers")).await.unwrap();
    server.set_user(user("bob", "leads")).await.unwrap();
    let key = SigningKey::generate().unwrap().public();
    let host = server
        .enrol("web-1".parse().unwrap(), key)
        .await
        .unwrap()
        .host
        .host_id;
    let ask = Ask {
        role: "web-admin".parse().unwrap(),
        hosts: BTreeSet::new(),
        labels: Default::default(),
        for_seconds: 60,
        reason: "disk full".to_owned().try_into().unwrap(),
        ticket: None,
        not_before: None,
        origin: jit_server::origin::Origin::Socket,
    };
    server
        .execute(actor("alice"), Command::Ask(ask))
        .await
        .unwrap();
    let approve = Command::Approve {
        request: "r1".parse().unwrap(),
        for_seconds: None,
        comment: None,
    };
    let (revision, mut changes) = (server.revision(&host), server.changes());
    changes.mark_unchanged();

    full.store(true, Ordering::Relaxed);
    let refused = server.execute(actor("bob"), approve.clone()).await;
    assert!(matches!(refused, Err(Error::Store(_))), "{refused:?}");
    assert_eq!(server.look(|state| state.grants().count()), 0);
    assert_eq!(
        server.look(|state| state.requests().next().unwrap().state),
        RequestState::Pending
    );
    assert!(
        server.revision(&host) == revision && !changes.has_changed().unwrap(),
        "nobody was told of anything"
    );

    let word = || {
        let nonce = Nonce::generate().unwrap();
        server.word(&host, nonce).unwrap()
    };
    let first = TrustedKeys::new(vec![signer::load(&signing_key).unwrap().public()]);
    let signed_by_first = |word: String| Word::verify(word.as_bytes(), &first, &host).is_ok();
    let rotated = server.rotate_key().await;
    assert!(matches!(rotated, Err(Error::Store(_))), "{rotated:?}");
    assert!(signed_by_first(word()));
    let on_disk = signer::load(&signing_key).unwrap().public();
    assert_eq!(Some(on_disk), first.newest());

    let wanted = Wanted {
        policy: Some(Policy::default()),
        users: Some(BTreeMap::new()),
        ..Wanted::default()
    };
    let in_force = server.policy();
    let applied = server.apply(wanted.clone(), 2).await;
    assert!(matches!(applied, Err(Error::Store(_))), "{applied:?}");
    assert_eq!(server.policy(), in_force);
    assert_eq!(server.look(|state| state.directory.users().count()), 2);

    full.store(false, Ordering::Relaxed);
    let rotated = server.rotate_key().await.unwrap();
    assert!(rotated.seq == 1 && !signed_by_first(word()));
    server.execute(actor("bob"), approve).await.unwrap();
    assert_eq!(server.look(|state| state.grants().count()), 1);
    let applied = server.apply(wanted, 2).await.unwrap();
    assert_eq!(applied.lost.grants.len(), 1);
    assert_eq!(server.look(|state| state.directory.users().count()), 0);
    assert_eq!(*server.policy(), Policy::default());
}
