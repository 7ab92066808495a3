//! A server dies between keeping what a call did and answering it. Who repeats the call is told what it did.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Host, PEOPLE, Person, Running, id};
use futures_util::future::BoxFuture;
use hyper::Method;
use hyper::body::Bytes;
use jit_grant::{GrantId, HostId, HostName};
use jit_server::event::Entry;
use jit_server::once::Digest;
use jit_server::store::{
    Answered, CallAnswer, HostHead, HostLines, Id, Kept, Loaded, Place, SqliteStore, Store,
    StoreError,
};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

const FOLDER: &str = "JIT_KILLED_TEST_FOLDER";

/// A store that takes its process with it once it has kept something, where the file `dies` is beside it.
struct Deadly {
    store: SqliteStore,
    dies: PathBuf,
}

impl Store for Deadly {
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
        Box::pin(async move {
            let kept = self.store.append(after, entries, revisions).await;
            if self.dies.exists() {
                nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
            }
            kept
        })
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

    fn keep_answer<'a>(
        &'a self,
        of: Answered,
        answer: &'a CallAnswer,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.keep_answer(of, answer)
    }

    fn answer(
        &self,
        key: Digest,
        seq: u64,
    ) -> BoxFuture<'_, Result<Option<CallAnswer>, StoreError>> {
        self.store.answer(key, seq)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}

/// Not a test of its own: the process of the server.
#[tokio::test]
async fn a_server_that_may_die() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let store = Deadly {
        store: SqliteStore::open(&folder.join("jit-server.db"))
            .await
            .unwrap(),
        dies: folder.join("dies"),
    };
    let running = Running::start_on(folder, Box::new(store), &PEOPLE).await;
    let over = running.server.must_start_anew().await;
    panic!("{over}");
}

async fn start(folder: &Path) -> Child {
    let up = folder.join("mallory");
    let _ = std::fs::remove_file(&up);
    let process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_that_may_die", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let answers = async {
        while UnixStream::connect(&up).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), answers).await.unwrap();
    process
}

#[tokio::test]
async fn a_call_whose_server_was_killed_before_it_answered_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut server = start(folder).await;
    let as_ = |name: &str| Person {
        socket: folder.join(name),
    };
    let (root, alice) = (as_("root"), as_("alice"));
    let user = json!({ "name": "alice", "login": "alice", "groups": ["developers"] });
    root.post("/v1/users", user).await.is(201);
    Host::enrol(&root, "web-1").await;
    let body = json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 600, "reason": "disk full" });
    let keyed = async || {
        let headers = [("idempotency-key", "k1")];
        let body = Bytes::from(body.to_string());
        let sent = alice.try_send(Method::POST, "/v1/requests", &headers, body);
        common::try_read(sent.await.ok()?).await
    };
    std::fs::write(folder.join("dies"), "").unwrap();
    assert!(keyed().await.is_none(), "no answer");
    assert!(!server.wait().unwrap().success());
    std::fs::remove_file(folder.join("dies")).unwrap();

    let mut server = start(folder).await;
    let asked: Value = root.get("/v1/requests").await.is(200);
    let asked = asked.as_array().unwrap();
    assert_eq!(asked.len(), 1, "what was kept is there");
    for _ in 0..2 {
        let again = keyed().await.unwrap();
        let said = again.body["detail"].as_str().unwrap().to_owned();
        assert!(
            said.contains(&format!("look at {}", id(&asked[0]))),
            "{said}"
        );
        let event = again.body["event"].as_u64().unwrap();
        again.refuses(409, "done-before");
        let path = format!("/v1/audit?after={}&limit=1", event - 1);
        let record = root.get(&path).await.is(200);
        assert_eq!(record["events"][0]["kind"], "requested");
    }
    let asked = root.get("/v1/requests").await.is(200);
    assert_eq!(asked.as_array().unwrap().len(), 1);
    server.kill().unwrap();
    server.wait().unwrap();
}
