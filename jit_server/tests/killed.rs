//! A server dies between keeping what a call did and answering it. Who repeats the call is told what it did.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;
#[path = "common/watched.rs"]
#[allow(unreachable_pub, reason = "as of all that tests share")]
mod watched;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Host, PEOPLE, Person, Running, id};
use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use watched::Watched;

const FOLDER: &str = "JIT_KILLED_TEST_FOLDER";

/// Not a test of its own: the process of the server.
#[tokio::test]
async fn a_server_that_may_die() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let dies = folder.join("dies");
    let mut store = Watched::open(folder).await;
    store.after = Box::new(move || {
        if dies.exists() {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    });
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
