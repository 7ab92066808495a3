//! What was acknowledged is there after the server is killed.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Host, Person, Running};
use jit_grant::{Bundle, SigningKey};
use serde_json::json;
use tokio::net::UnixStream;

const FOLDER: &str = "JIT_SERVER_TEST_FOLDER";

/// Not a test of its own: the process that the test below kills.
#[tokio::test]
async fn server_to_be_killed() {
    if let Ok(folder) = std::env::var(FOLDER) {
        let running = Running::start(Path::new(&folder)).await;
        running
            .server
            .stopping()
            .wait_for(|stopping| *stopping)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_acknowledged_approval_survives_a_kill_and_so_does_everything_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let person = |name: &str| Person {
        socket: folder.path().join(name),
    };
    let mut server = Killed::start(folder.path()).await;
    let root = person("root");
    root.post(
        "/v1/users",
        json!({ "name": "alice", "login": "alice", "groups": ["developers"] }),
    )
    .await
    .is(201);
    root.post(
        "/v1/users",
        json!({ "name": "bob", "login": "bob", "groups": ["leads"] }),
    )
    .await
    .is(201);
    let host = Host::enrol(&root, "web-1").await;

    for round in 1..=5_usize {
        let request = person("alice").asks(600).await;
        let approved = person("bob").approves(&request).await;
        server.kill();
        assert_eq!(approved["state"], "approved");

        server = Killed::start(folder.path()).await;
        let kept = person("alice")
            .get(&format!("/v1/requests/{request}"))
            .await
            .is(200);
        assert_eq!(
            (&kept["state"], &kept["approvals"]),
            (&json!("approved"), &approved["approvals"])
        );
        assert_eq!(
            person("alice")
                .get("/v1/grants?active=true")
                .await
                .is(200)
                .as_array()
                .unwrap()
                .len(),
            round
        );
    }
    server.kill();

    let running = Running::start(folder.path()).await;
    let bundle = running.server.bundle(&host.id).unwrap();
    let verified = Bundle::verify(
        bundle.document.as_bytes(),
        &host.trusted,
        &host.id,
        0,
        running.server.now(),
    )
    .unwrap();
    assert_eq!(verified.grants.len(), 5);
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_ends_its_streams() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let mut stream = host.listen(&running.server, 0).await;
    stream.next().await;
    running.stop().await;
    let over = tokio::time::timeout(Duration::from_secs(5), stream.next_or_end())
        .await
        .unwrap();
    assert!(over.is_none());
}

#[test]
fn two_servers_never_run_on_one_state_nor_with_one_mark() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let program = env!("CARGO_BIN_EXE_jit-server");
    assert!(
        Command::new(program)
            .args(["prepare", "--state"])
            .arg(&state)
            .status()
            .unwrap()
            .success()
    );
    let mark = folder.path().join("state-mark");
    std::fs::create_dir(&mark).unwrap();
    for held in [&state, &mark] {
        let lock = std::fs::File::create(held.join("lock")).unwrap();
        lock.try_lock().unwrap();
        let second = Command::new(program)
            .args(["serve", "--socket"])
            .arg(folder.path().join("s"))
            .arg("--state")
            .arg(&state)
            .output()
            .unwrap();
        assert_eq!(second.status.code(), Some(1));
        let said = format!("another jit-server runs on {}", held.display());
        assert!(
            String::from_utf8_lossy(&second.stderr).contains(&said),
            "{second:?}"
        );
    }
    assert!(SigningKey::from_pkcs8(&std::fs::read(state.join("signing.key")).unwrap()).is_ok());
}

/// A server in a process of its own.
struct Killed(Child);

impl Killed {
    async fn start(folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "server_to_be_killed"])
            .env(FOLDER, folder)
            .stdout(Stdio::null());
        let last = folder.join(common::PEOPLE[common::PEOPLE.len() - 1].0);
        let _ = std::fs::remove_file(&last);
        let child = Self(command.spawn().unwrap());
        let up = async {
            while UnixStream::connect(&last).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), up)
            .await
            .unwrap();
        child
    }

    /// As `kill -9`.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
