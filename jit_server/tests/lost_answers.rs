//! The connection to the database is cut while it is told to commit. Nobody is told "done" of what was not kept, nor is anything kept twice.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

#[path = "common/postgres.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "other tests use the rest"
)]
mod postgres;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jit_grant::HostId;
use jit_server::event::{Actor, Entry, Event};
use jit_server::store::{HostLine, HostLines, Place, PostgresStore, Store, StoreError};
use postgres::Postgres;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Where the connection is cut at the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The database never hears of it.
    Before,
    /// The database has done it, and its answer is lost.
    After,
    /// The database hears of it a second after the connection was cut.
    Late,
}

/// Passes everything on between a store and the database.
struct Relay {
    folder: tempfile::TempDir,
    next: Arc<Mutex<Option<Cut>>>,
    rounds: Arc<AtomicUsize>,
}

impl Relay {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let next = Arc::new(Mutex::new(None));
        let cut = Arc::clone(&next);
        let rounds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rounds);
        let database = Postgres::shared().socket();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (cut, counted) = (Arc::clone(&cut), Arc::clone(&counted));
                tokio::spawn(pass_on(client, database.clone(), cut, counted));
            }
        });
        Self {
            folder,
            next,
            rounds,
        }
    }

    async fn store(&self) -> PostgresStore {
        let name = Postgres::shared().database();
        let name = name.split(['/', '?']).nth(3).unwrap();
        let folder = self.folder.path().display();
        let address = format!("postgres:///{name}?user=jit&host={folder}");
        PostgresStore::open(&address.parse().unwrap())
            .await
            .unwrap()
    }

    fn cut(&self, cut: Cut) {
        *self.next.lock().unwrap() = Some(cut);
    }

    /// How often somebody said something after the database had answered him.
    fn rounds(&self) -> usize {
        self.rounds.load(Ordering::Relaxed)
    }

    fn was_cut(&self) -> bool {
        self.next.lock().unwrap().is_none()
    }
}

async fn pass_on(
    client: UnixStream,
    database: PathBuf,
    cut: Arc<Mutex<Option<Cut>>>,
    rounds: Arc<AtomicUsize>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let upstream = UnixStream::connect(database).await.unwrap();
    let (mut from_database, mut to_database) = upstream.into_split();
    let answered = Arc::new(AtomicBool::new(true));
    let has_answered = Arc::clone(&answered);
    let answers = tokio::spawn(async move {
        let mut answer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_database.read(&mut answer).await {
            has_answered.store(true, Ordering::Relaxed);
            if to_client.write_all(&answer[..length]).await.is_err() {
                break;
            }
        }
    });
    let mut said = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from_client.read(&mut said).await {
        let said = &said[..length];
        if answered.swap(false, Ordering::Relaxed) {
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        let commits = said.windows(6).any(|word| word == b"COMMIT");
        let due = commits.then(|| cut.lock().unwrap().take()).flatten();
        if let Some(due) = due {
            answers.abort();
            drop(from_client);
            match due {
                Cut::Before => {}
                Cut::After => to_database.write_all(said).await.unwrap(),
                Cut::Late => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    to_database.write_all(said).await.unwrap();
                }
            }
            return;
        }
        if to_database.write_all(said).await.is_err() {
            return;
        }
    }
}

fn host() -> HostId {
    format!("h{}", "0".repeat(32)).parse().unwrap()
}

fn entry(seq: u64) -> Entry {
    Entry {
        via: None,
        seq,
        at: "2026-11-22T12:00:00Z".parse().unwrap(),
        actor: Actor::Server,
        event: Event::PolicyTaken {
            policy: format!("{seq:064}"),
            roles: 1,
            text: None,
            change: None,
        },
    }
}

fn line(host_seq: u64) -> HostLines {
    HostLines {
        host_id: host(),
        host: "web-1".parse().unwrap(),
        lines: vec![HostLine {
            host_seq,
            head: format!("{host_seq:064}").parse().unwrap(),
            line: "{}".to_owned(),
        }],
        checkpoint: String::new(),
    }
}

/// Events, revisions alone and lines of a host, each with its connection cut.
async fn written(cut: Cut) -> [Result<Place, StoreError>; 3] {
    let relay = Relay::start();
    let store = relay.store().await;
    let mut place = Place::default();
    let mut results = Vec::new();
    for what in 0..3 {
        relay.cut(cut);
        let seq = place.last_seq + 1;
        let result = match what {
            0 => store.append(place, &[entry(seq)], &[(host(), 7)]).await,
            1 => store.append(place, &[], &[(host(), 8)]).await,
            _ => store.append_host_lines(place, &line(1)).await,
        };
        assert!(relay.was_cut());
        let found = store.load().await.unwrap();
        let kept = found.place.writes == place.writes + 1;
        assert_eq!(found.place.writes, place.writes + u64::from(kept));
        assert_eq!(result.is_ok(), kept, "{cut:?} {what}: {result:?}");
        place = found.place;
        results.push(result);
    }
    // Nothing is in the way of the next.
    let seq = place.last_seq + 1;
    store.append(place, &[entry(seq)], &[]).await.unwrap();
    results.try_into().unwrap()
}

#[tokio::test]
async fn what_the_database_never_heard_of_is_not_acknowledged() {
    let results = written(Cut::Before).await;
    assert!(results.iter().all(Result::is_err), "{results:?}");
}

#[tokio::test]
async fn what_the_database_kept_is_acknowledged_though_its_answer_was_lost() {
    let results = written(Cut::After).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

#[tokio::test]
async fn a_commit_that_is_still_on_its_way_is_waited_for() {
    let results = written(Cut::Late).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

#[tokio::test]
async fn what_concerns_thousands_of_hosts_is_kept_with_as_few_questions_as_what_concerns_one() {
    let relay = Relay::start();
    let store = relay.store().await;
    let mut place = Place::default();
    let mut rounds = Vec::new();
    for many in [1, 5_000] {
        let entries: Vec<_> = (place.last_seq + 1..).take(many).map(entry).collect();
        let hosts = (0..many).map(|number| format!("h{number:032}").parse().unwrap());
        let revisions: Vec<_> = hosts.map(|host| (host, many as u64)).collect();
        let before = relay.rounds();
        place = store.append(place, &entries, &revisions).await.unwrap();
        let lines = HostLines {
            host_id: revisions[many - 1].0.clone(),
            lines: (1..=many as u64)
                .map(|number| line(number).lines.remove(0))
                .collect(),
            ..line(1)
        };
        place = store.append_host_lines(place, &lines).await.unwrap();
        rounds.push(relay.rounds() - before);
    }
    let found = store.load().await.unwrap();
    assert_eq!(found.place, place);
    assert_eq!((found.entries.len(), found.revisions.len()), (5_001, 5_000));
    assert!(
        found
            .revisions
            .iter()
            .all(|(_, revision)| *revision == 5_000)
    );
    // A connection may be a new one, which takes a few more.
    assert!(rounds[1] <= rounds[0] + 5 && rounds[1] < 40, "{rounds:?}");
}
