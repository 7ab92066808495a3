//! The signing key of a record that has begun is lost, or was not put back with it.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;
#[path = "common/postgres.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "other tests use the rest"
)]
mod postgres;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Host, Running};
use jit_grant::{Bundle, NextKey, PublicKey, TrustedKeys};
use postgres::Postgres;
use serde_json::json;

/// What `jit-server init` has done as the user jit-server: whether it went well, and what it said.
fn prepare(state: &Path, options: &[&str]) -> (bool, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_jit-server"))
        .args(["prepare", "--state"])
        .arg(state)
        .args(options)
        .output()
        .unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    (done.status.success(), said)
}

/// A server whose machine has lost the key, the first one or the next; its folder, and a host that believed the first.
async fn without_its_key(folder: &tempfile::TempDir, rotated: bool) -> (PathBuf, Host) {
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let running = Running::start(&state).await;
    let host = running.populate().await;
    if rotated {
        rotate(&running).await;
    }
    running.stop().await;
    std::fs::remove_file(state.join("signing.key")).unwrap();
    (state, host)
}

async fn rotate(running: &Running) -> PublicKey {
    let root = running.as_("root");
    let rotated = root.post("/v1/key/rotate", json!({})).await.is(200);
    rotated["public_key"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_record_that_has_begun_gets_no_other_key_unless_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (state, host) = without_its_key(&folder, false).await;
    let (done, said) = prepare(&state, &[]);
    assert!(!done && said.contains("--new-key"), "{said}");
    assert!(!state.join("signing.key").exists(), "no key of its own");

    let (done, said) = prepare(&state, &["--new-key"]);
    assert!(done, "{said}");
    let made = std::fs::read(state.join("signing.key")).unwrap();
    for again in [&[][..], &["--new-key"]] {
        let (done, said) = prepare(&state, again);
        assert!(done, "{said}");
        let kept = std::fs::read(state.join("signing.key")).unwrap();
        assert!(kept == made, "a key that is there is kept");
    }

    let running = Running::start(&state).await;
    let event = host.listen(&running.server, 0).await.next().await;
    let (data, now) = (event.data.as_bytes(), running.server.now());
    let believed = Bundle::verify(data, &host.trusted, &host.id, 0, now);
    assert!(believed.is_err(), "the host has to enrol again");
    let host = Host::enrol(&running.as_("root"), "web-1").await;
    let event = host.listen(&running.server, 0).await.next().await;
    host.verified(&running.server, &event);
    running.as_("alice").asks(60).await;
}

#[tokio::test]
async fn hosts_that_enrol_by_a_new_key_are_not_told_of_rotations_that_led_to_the_lost_one() {
    let folder = tempfile::tempdir().unwrap();
    let (state, _) = without_its_key(&folder, true).await;
    let (done, said) = prepare(&state, &["--new-key"]);
    assert!(done, "{said}");
    let running = Running::start(&state).await;
    let mut host = Host::enrol(&running.as_("root"), "web-1").await;
    let mut stream = host.listen(&running.server, 0).await;
    // The first thing that comes, of which the host would refuse a chain that does not go on from its key.
    host.verified(&running.server, &stream.next().await);

    let next = rotate(&running).await;
    let told = stream.next().await;
    assert_eq!(told.name, "keys");
    let chain: Vec<String> = told.data.lines().map(str::to_owned).collect();
    let newest = NextKey::newest(&chain, host.trusted.newest().unwrap());
    assert_eq!(newest.unwrap(), next, "it is led on from the new key");
    host.trusted = TrustedKeys::new(vec![next]);
    host.verified(&running.server, &stream.next().await);
}

#[tokio::test]
async fn a_new_server_and_one_whose_key_is_there_need_not_say_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    for _ in 0..2 {
        let (done, said) = prepare(&state, &[]);
        assert!(done, "{said}");
    }
    let running = Running::start(&state).await;
    running.populate().await;
    running.stop().await;
    let (done, said) = prepare(&state, &[]);
    assert!(done, "{said}");
}

#[tokio::test]
async fn where_servers_share_a_record_a_new_key_is_never_made_but_for_a_copy_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (state, _) = without_its_key(&folder, true).await;
    let address = Postgres::shared().database();
    let copy = |options: &[&str]| {
        let copied = Command::new(env!("CARGO_BIN_EXE_jit-server"))
            .args(["copy", "--state"])
            .arg(&state)
            .args(options)
            .output()
            .unwrap();
        assert!(copied.status.success(), "{copied:?}");
    };
    copy(&["--to-database", &address]);
    let (done, said) = prepare(&state, &["--new-key", "--database", &address]);
    assert!(!done && said.contains("copy"), "{said}");
    assert!(!state.join("signing.key").exists(), "no key of its own");

    // As the guide has it where no server and no backup has the key.
    let back = folder.path().join("back");
    std::fs::create_dir(&back).unwrap();
    copy(&["--database", &address, "--to", back.to_str().unwrap()]);
    let (done, said) = prepare(&back, &["--new-key"]);
    assert!(done, "{said}");
    let running = Running::start(&back).await;
    let users = running.as_("root").get("/v1/users").await.is(200);
    assert_eq!(users.as_array().unwrap().len(), 3);
}
