//! What becomes of a break-glass role's use as time passes.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use jit_grant::SigningKey;
use jit_server::clock::Clock;
use jit_server::event::{Actor, Event, UserSet};
use jit_server::mark::Mark;
use jit_server::server::{Server, Spoken};
use jit_server::signer;
use jit_server::store::{Kept, SqliteStore};
use jit_server::workflow::{Ask, Command};

const POLICY: &str = r#"
[roles.break-glass]
hosts = ["web-1"]
actions = ["ssh", "sudo"]
longest = "1h"
may_ask = { users = ["alice"] }
break_glass = true
review = { users = ["bob"] }
review_within = "2h"
"#;

/// A clock that the test sets.
#[derive(Clone)]
struct Hand(Arc<Mutex<Timestamp>>);

impl Hand {
    fn forward(&self, minutes: i64) {
        *self.0.lock().unwrap() += SignedDuration::from_mins(minutes);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

async fn start(folder: &Path, hand: &Hand) -> Arc<Server> {
    std::fs::write(folder.join("policy.toml"), POLICY).unwrap();
    signer::make(&folder.join("signing.key")).unwrap();
    let store = SqliteStore::open(&folder.join("jit-server.db"))
        .await
        .unwrap();
    let hand = hand.clone();
    Server::start(
        Box::new(store),
        signer::load(&folder.join("signing.key")).unwrap(),
        Mark::open(&folder.join("mark")).unwrap(),
        folder.join("policy.toml"),
        move |_| -> Box<dyn Clock> { Box::new(hand) },
    )
    .await
    .unwrap()
}

fn actor(name: &str) -> Actor {
    Actor::Principal(name.parse().unwrap())
}

/// The alarms on record that are about requests, by cause and request.
async fn alarms(server: &Server) -> Vec<(&'static str, String)> {
    let kept = server.record(0, 1_000).await.unwrap();
    let entries = kept.found.into_iter().filter_map(|kept| match kept {
        Kept::Own(entry) => Some(entry),
        Kept::OfHost { .. } => None,
    });
    let alarms = entries.filter_map(|entry| match entry.event {
        Event::Alarm { alarm, .. } => {
            assert_eq!(entry.actor, Actor::Server);
            Some((alarm.cause(), alarm.request()?.to_string()))
        }
        _ => None,
    });
    alarms.collect()
}

#[tokio::test]
async fn an_overdue_review_is_told_once_also_after_a_restart_and_can_still_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand(Arc::new(Mutex::new(
        "2026-11-22T12:00:00Z".parse().unwrap(),
    )));
    let server = start(folder.path(), &hand).await;
    for name in ["alice", "bob"] {
        let user = UserSet::new(name.parse().unwrap(), name.parse().unwrap());
        server.set_user(user, Spoken::default()).await.unwrap();
    }
    let key = SigningKey::generate().unwrap().public();
    server.enrol("web-1".parse().unwrap(), key).await.unwrap();
    let ask = || {
        Command::Ask(Ask {
            role: "break-glass".parse().unwrap(),
            hosts: BTreeSet::new(),
            for_seconds: Some(3_600),
            reason: "all is down".to_owned().try_into().unwrap(),
            ticket: None,
            labels: Default::default(),
            not_before: None,
            origin: jit_server::origin::Origin::Socket,
        })
    };
    let review = |request: &str| Command::Review {
        request: request.parse().unwrap(),
        comment: "he started it again".to_owned().try_into().unwrap(),
    };
    server.execute(actor("alice"), ask()).await.unwrap();
    hand.forward(60);
    server.execute(actor("alice"), ask()).await.unwrap();
    server.execute(actor("bob"), review("r1")).await.unwrap();
    let broken = ["r1", "r2"].map(|request| ("glass_broken", request.to_owned()));
    hand.forward(60 + 119);
    server.tick().await.unwrap();
    assert_eq!(
        alarms(&server).await,
        broken,
        "one is reviewed, one has a minute left"
    );

    hand.forward(1);
    server.tick().await.unwrap();
    server.tick().await.unwrap();
    let mut all = broken.to_vec();
    all.push(("review_overdue", "r2".to_owned()));
    assert_eq!(alarms(&server).await, all);
    let before = server.look(Clone::clone);
    server.stop();
    drop(server);
    let server = start(folder.path(), &hand).await;
    assert!(
        server.look(|state| *state == before),
        "replay gives the same state"
    );
    server.tick().await.unwrap();
    assert_eq!(alarms(&server).await, all, "once is enough");
    server.execute(actor("bob"), review("r2")).await.unwrap();
    assert_eq!(server.look(|state| state.unreviewed().count()), 0);
}
