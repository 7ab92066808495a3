//! Copies of the record: to go to another database, and to have one that goes along.

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
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Host, PEOPLE, Running, chain, checkpoint};
use jit_server::store::{
    HostLine, HostLines, Kept, Piece, PostgresStore, SqliteStore, Store, StoreError,
};
use postgres::Postgres;
use serde_json::{Value, json};

const JIT_SERVER: &str = env!("CARGO_BIN_EXE_jit-server");

fn copy(state: &Path) -> Command {
    let mut command = Command::new(JIT_SERVER);
    command.arg("copy").arg("--state").arg(state);
    command
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

fn refused(command: &mut Command, why: &str) {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(why), "{said}");
}

async fn sqlite(file: &Path) -> SqliteStore {
    SqliteStore::open(file).await.unwrap()
}

async fn at(address: &str) -> Box<dyn Store> {
    Box::new(
        PostgresStore::open(&address.parse().unwrap())
            .await
            .unwrap(),
    )
}

async fn pieces(store: &dyn Store) -> Result<Vec<Piece>, StoreError> {
    let mut all: Vec<Piece> = Vec::new();
    loop {
        let some = store.pieces(all.last().map_or(0, Piece::last_seq)).await?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}

/// All that a store has.
async fn all(store: &dyn Store) -> Result<(Vec<Kept>, Vec<String>), StoreError> {
    let record = store.record(0, u32::MAX / 2).await?.found;
    let pieces = pieces(store).await?;
    let mut rest: Vec<_> = pieces.iter().map(|piece| format!("{piece:?}")).collect();
    let mut revisions = store.revisions().await?;
    revisions.sort();
    rest.extend(revisions.iter().map(|revision| format!("{revision:?}")));
    Ok((record, rest))
}

/// Alice's grant; its id.
async fn granted(running: &Running) -> String {
    let request = running.as_("alice").asks(3_600).await;
    let approved = running.as_("bob").approves(&request).await;
    approved["grants"][0].as_str().unwrap().to_owned()
}

async fn live(running: &Running) -> Vec<Value> {
    let grants = running.as_("alice").get("/v1/grants?active=true").await;
    grants.is(200).as_array().unwrap().clone()
}

/// Has the host send as many lines.
async fn sends(host: &Host, running: &Running, count: u64) {
    let lines = chain(count);
    let signed = checkpoint(host, &lines);
    let sent = json!({ "lines": lines, "checkpoint": signed });
    host.post(&running.server, "/v1/host/events", sent)
        .await
        .is(200);
}

/// Puts a copy, with what is beside its file where it was killed, in the place of the record, which goes to `before`.
fn put_in_place(copy: &Path, state: &Path, before: &Path) {
    std::fs::create_dir(before).unwrap();
    for file in ["jit-server.db", "jit-server.db-wal", "jit-server.db-shm"] {
        let _ = std::fs::rename(state.join(file), before.join(file));
        if copy.join(file).exists() {
            std::fs::copy(copy.join(file), state.join(file)).unwrap();
        }
    }
}

/// A server's folder within another, so that its mark is beside it.
fn state(folder: &tempfile::TempDir) -> PathBuf {
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    state
}

#[tokio::test]
async fn a_server_goes_from_sqlite_to_postgresql_with_all_that_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    let state = state(&folder);
    let running = Running::start(&state).await;
    let host = running.populate().await;
    sends(&host, &running, 3).await;
    let grant = granted(&running).await;
    let address = Postgres::shared().database();
    // Once while it runs, which may take its time, and once for the rest.
    done(copy(&state).args(["--to-database", &address]));
    running
        .as_("root")
        .post("/v1/users/carol/lock", json!({ "reason": "key stolen" }))
        .await
        .is(200);
    let held = running.server.revision(&host.id);
    running.stop().await;
    done(copy(&state).args(["--to-database", &address]));
    let of_sqlite = all(&sqlite(&state.join("jit-server.db")).await)
        .await
        .unwrap();
    let store = at(&address).await;
    assert_eq!(all(&*store).await.unwrap(), of_sqlite);
    store.close().await;

    done(&mut prepared(&state, &address));
    let mark = folder.path().join("state-mark/recorded");
    std::fs::copy(mark, state.join("mark/recorded")).unwrap();
    let running = Running::start_on(&state, at(&address).await, &PEOPLE).await;
    let grants = live(&running).await;
    assert_eq!(grants.len(), 1, "{grants:?}");
    assert_eq!(grants[0]["id"], *grant);
    assert_eq!(running.server.revision(&host.id), held);
    let carol = running.as_("carol").get("/v1/whoami").await.is(200);
    assert_eq!(carol["lock"]["reason"], "key stolen", "{carol}");
    assert_ne!(granted(&running).await, grant);
    assert!(running.server.revision(&host.id) > held);
    running.stop().await;

    // What a server has gone on with is no copy any more, nor is the old file what it goes by; nor does one on the old file go on with the
    // new one's mark.
    let to = folder.path().join("copy");
    refused(copy(&state).arg("--to").arg(&to), "another database");
    std::fs::remove_dir_all(folder.path().join("state-mark")).unwrap();
    refused(copy(&state).args(["--to-database", &address]), "empty");
    let old = Running::start(&state).await;
    assert_eq!(live(&old).await, Vec::<Value>::new());
}

fn prepared(state: &Path, address: &str) -> Command {
    let mut command = Command::new(JIT_SERVER);
    command.args(["prepare", "--database", address, "--state"]);
    command.arg(state);
    command
}

#[tokio::test]
async fn a_copy_in_postgresql_that_lacks_the_last_is_an_older_one_when_it_is_gone_over_to() {
    for lacks in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let state = state(&folder);
        let running = Running::start(&state).await;
        running.populate().await;
        granted(&running).await;
        let address = Postgres::shared().database();
        if lacks {
            done(copy(&state).args(["--to-database", &address]));
        }
        running
            .as_("root")
            .post("/v1/users/carol/lock", json!({ "reason": "key stolen" }))
            .await
            .is(200);
        running.stop().await;
        if !lacks {
            done(copy(&state).args(["--to-database", &address]));
        }
        // The disk with the record is lost, and the machine has its mark.
        std::fs::remove_file(state.join("jit-server.db")).unwrap();
        let mark = folder.path().join("state-mark");
        std::fs::rename(state.join("mark"), &mark).unwrap();
        done(&mut prepared(&state, &address));
        std::fs::rename(&mark, state.join("mark")).unwrap();
        let running = Running::start_on(&state, at(&address).await, &PEOPLE).await;
        assert_eq!(live(&running).await.is_empty(), lacks);
        let standing = running.as_("root").get("/v1/restored").await.is(200);
        assert_eq!(standing["unconfirmed"].is_null(), !lacks, "{standing}");
    }
}

#[tokio::test]
async fn a_record_that_has_come_less_far_than_the_one_before_is_not_gone_over_to_unsaid() {
    let folder = tempfile::tempdir().unwrap();
    let state = state(&folder);
    let running = Running::start(&state).await;
    running.populate().await;
    let [one, other] = [(); 2].map(|()| Postgres::shared().database());
    done(copy(&state).args(["--to-database", &one]));
    granted(&running).await;
    running.stop().await;
    // Of another name, as one that a version before made.
    done(
        Command::new(JIT_SERVER)
            .args([
                "copy",
                "--database",
                &one,
                "--to-database",
                &other,
                "--state",
            ])
            .arg(&state),
    );
    assert_ne!(
        at(&one).await.identity().await.unwrap(),
        at(&other).await.identity().await.unwrap()
    );
    let mark = folder.path().join("state-mark");
    std::fs::rename(state.join("mark"), &mark).unwrap();
    let before = std::fs::read(mark.join("recorded")).unwrap();
    refused(&mut prepared(&state, &other), "restored --declare");
    assert_eq!(std::fs::read(mark.join("recorded")).unwrap(), before);
    // Nothing that was taken away is in an empty one.
    done(&mut prepared(&state, &Postgres::shared().database()));
}

/// A copy that goes along.
struct Following(Child);

impl Following {
    fn start(state: &Path, to: &Path) -> Self {
        let mut command = copy(state);
        command.arg("--mark").arg(state.join("mark"));
        command.arg("--follow").arg("--to").arg(to);
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks at what is on disk of it, and not into the copy itself: whoever opens that takes part in making it.
async fn comes_to(to: &Path, wanted: &(Vec<Kept>, Vec<String>)) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let look = tempfile::tempdir().unwrap();
        for file in ["jit-server.db", "jit-server.db-wal"] {
            let _ = std::fs::copy(to.join(file), look.path().join(file));
        }
        if let Ok(store) = SqliteStore::open(&look.path().join("jit-server.db")).await {
            let found = all(&store).await;
            store.close().await;
            // Copied in the midst of a write it may be torn.
            if found.is_ok_and(|found| found == *wanted) {
                return;
            }
        }
        assert!(Instant::now() < until, "the copy does not come along");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_copy_goes_along_through_kills_and_put_back_whole_it_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let state = state(&folder);
    let to = folder.path().join("copy");
    let running = Running::start(&state).await;
    let host = running.populate().await;
    let database = state.join("jit-server.db");
    for round in 1..=4 {
        // Killed at the end of each round, also while it takes in what came before it was started.
        let following = Following::start(&state, &to);
        granted(&running).await;
        sends(&host, &running, round * 20).await;
        if round % 2 == 0 {
            comes_to(&to, &all(&sqlite(&database).await).await.unwrap()).await;
        }
        drop(following);
    }
    let following = Following::start(&state, &to);
    let kept = all(&sqlite(&database).await).await.unwrap();
    comes_to(&to, &kept).await;
    running.stop().await;
    drop(following);

    put_in_place(&to, &state, &folder.path().join("before"));
    let running = Running::start(&state).await;
    assert_eq!(live(&running).await.len(), 4);
    let standing = running.as_("root").get("/v1/restored").await.is(200);
    assert_eq!(standing["unconfirmed"], Value::Null);
}

#[tokio::test]
async fn a_copy_that_lacks_the_last_is_an_older_one_when_it_is_put_back_and_takes_in_nothing_after()
{
    let folder = tempfile::tempdir().unwrap();
    let state = state(&folder);
    let to = folder.path().join("copy");
    let running = Running::start(&state).await;
    running.populate().await;
    granted(&running).await;
    done(copy(&state).arg("--to").arg(&to));
    let lacks = running.as_("root");
    lacks
        .post("/v1/grants/g1/revoke", json!({ "reason": "key stolen" }))
        .await
        .is(200);
    running.stop().await;
    let before = folder.path().join("before");
    put_in_place(&to, &state, &before);
    let running = Running::start(&state).await;
    assert_eq!(live(&running).await, Vec::<Value>::new());
    running.stop().await;

    // The copy goes on with what it was put back as, and the one of the record before does not take that for its own.
    done(copy(&state).arg("--to").arg(&to));
    refused(copy(&state).arg("--to").arg(before), "another one");
}

#[tokio::test]
async fn a_copy_takes_in_no_other_record_and_is_never_the_record_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    for state in [&one, &other] {
        std::fs::create_dir(state).unwrap();
        let running = Running::start(state).await;
        running.populate().await;
        running.stop().await;
    }
    let to = folder.path().join("copy");
    done(copy(&one).arg("--to").arg(&to));
    refused(copy(&other).arg("--to").arg(&to), "another one");
    refused(copy(&one).arg("--to").arg(&one), "itself");
    refused(
        copy(&folder.path().join("none")).arg("--to").arg(&to),
        "none",
    );
    let usage = copy(&one).output().unwrap();
    assert_eq!(usage.status.code(), Some(2), "where to is not said");
    if nix::unistd::geteuid().is_root() {
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        std::os::unix::fs::chown(one.join("jit-server.db"), Some(nobody.uid.as_raw()), None)
            .unwrap();
        refused(copy(&one).arg("--to").arg(&to), "runuser -u nobody");
    }
}

#[tokio::test]
async fn long_lines_of_a_host_are_copied_a_few_megabytes_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(&folder.path().join("jit-server.db")).await;
    let lines = |number: u64| HostLines {
        host_id: format!("h{}", "0".repeat(32)).parse().unwrap(),
        host: "web-1".parse().unwrap(),
        lines: (1..=2)
            .map(|line| HostLine {
                host_seq: number * 2 + line,
                head: "0".repeat(64).parse().unwrap(),
                line: json!({ "event": { "said": "x".repeat(100 << 10) } }).to_string(),
            })
            .collect(),
        checkpoint: "signed".to_owned(),
    };
    let mut place = store.place().await.unwrap();
    for number in 0..60 {
        place = store
            .append_host_lines(place, &lines(number))
            .await
            .unwrap();
    }
    let some = store.pieces(0).await.unwrap();
    let bytes: usize = some
        .iter()
        .map(|piece| match piece {
            Piece::Own(_) => 0,
            Piece::OfHost { lines, .. } => lines.lines.iter().map(|line| line.line.len()).sum(),
        })
        .sum();
    assert!((4 << 20..5 << 20).contains(&bytes), "{bytes}");
    let all = pieces(&store).await.unwrap();
    assert_eq!(all.len(), 60);
    assert_eq!(all.last().unwrap().last_seq(), 120);
}

#[tokio::test]
async fn a_copy_ends_when_the_server_goes_by_another_record() {
    let folder = tempfile::tempdir().unwrap();
    let state = state(&folder);
    let running = Running::start(&state).await;
    running.populate().await;
    let others = folder.path().join("other");
    std::fs::create_dir(&others).unwrap();
    let other = Running::start(&others).await;
    other.populate().await;
    other.stop().await;

    // Where serve has its mark elsewhere, that one is looked at.
    let to = folder.path().join("copy");
    let elsewhere = others.join("mark");
    let mut with_mark = copy(&state);
    with_mark.arg("--mark").arg(&elsewhere).arg("--to").arg(&to);
    refused(&mut with_mark, "another database");

    let mut following = Following::start(&state, &to);
    let kept = all(&sqlite(&state.join("jit-server.db")).await)
        .await
        .unwrap();
    comes_to(&to, &kept).await;
    running.stop().await;
    std::fs::copy(elsewhere.join("recorded"), state.join("mark/recorded")).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while following.0.try_wait().unwrap().is_none() {
        assert!(
            Instant::now() < until,
            "it goes on with a file that nobody goes by"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(following.0.wait().unwrap().code(), Some(1));
}
