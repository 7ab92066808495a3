//! What can't be kept does not happen.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;
#[path = "common/watched.rs"]
#[allow(unreachable_pub, reason = "as of all that tests share")]
mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jit_grant::{Checkpoint, HostState, Nonce, SigningKey, TrustedKeys, Word};
use jit_server::apply::Wanted;
use jit_server::clock::{Clock, WallClock};
use jit_server::error::Error;
use jit_server::event::{Actor, Event, UserSet};
use jit_server::mark::Mark;
use jit_server::policy::Policy;
use jit_server::server::{Server, Spoken};
use jit_server::signer;
use jit_server::store::{Kept, StoreError};
use jit_server::workflow::{Ask, Command, RequestState};
use serde_json::json;
use watched::Watched;

/// A store on a disk that is full while `full` says so.
async fn disk(folder: &Path, full: &Arc<AtomicBool>) -> Box<Watched> {
    let full = Arc::clone(full);
    let mut store = Watched::open(folder).await;
    store.before = Box::new(move || {
        if full.load(Ordering::Relaxed) {
            let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(StoreError::Database(error.into()));
        }
        Ok(())
    });
    Box::new(store)
}

#[tokio::test]
async fn an_alarm_that_can_not_be_kept_is_raised_again() {
    let folder = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let disk = disk(folder.path(), &full).await;
    signer::make(&folder.path().join("signing.key")).unwrap();
    let server = Server::start(
        disk,
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
    let alarms = record.found.iter().filter_map(|kept| match kept {
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
    let disk = disk(folder.path(), &full).await;
    let signing_key = folder.path().join("signing.key");
    signer::make(&signing_key).unwrap();
    let clock = |last| -> Box<dyn Clock> { Box::new(WallClock::starting_at(last)) };
    let server = Server::start(
        disk,
        signer::load(&signing_key).unwrap(),
        Mark::open(&folder.path().join("mark")).unwrap(),
        policy,
        clock,
    )
    .await
    .unwrap();
    server
        .set_user(user("alice", "developers"), Spoken::default())
        .await
        .unwrap();
    server
        .set_user(user("bob", "leads"), Spoken::default())
        .await
        .unwrap();
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
        for_seconds: Some(60),
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
    let applied = server.apply(wanted.clone(), 2, None).await;
    assert!(matches!(applied, Err(Error::Store(_))), "{applied:?}");
    assert_eq!(server.policy(), in_force);
    assert_eq!(server.look(|state| state.directory.users().count()), 2);

    full.store(false, Ordering::Relaxed);
    let rotated = server.rotate_key().await.unwrap();
    assert!(rotated.seq == 1 && !signed_by_first(word()));
    server.execute(actor("bob"), approve).await.unwrap();
    assert_eq!(server.look(|state| state.grants().count()), 1);
    let applied = server.apply(wanted, 2, None).await.unwrap();
    assert_eq!(applied.plan.lost.grants.len(), 1);
    assert_eq!(server.look(|state| state.directory.users().count()), 0);
    assert_eq!(*server.policy(), Policy::default());
}
