//! Which machine may be a server of a shared record: by its key, by what it knows of the record, and by the address in a file.

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
#[path = "common/two.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
mod two;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Person, Running};
use jit_server::clock::WallClock;
use jit_server::error::Error;
use jit_server::mark::Mark;
use jit_server::server::Server;
use jit_server::signer;
use postgres::Postgres;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use two::{Two, at_door_of, join, of_kind, record, start, store, within, word};

/// What `jit-server init` does as the server's user: whether it was done, and what it said.
fn prepared(address: &str, state: &Path) -> (bool, String) {
    let prepare = Command::new(env!("CARGO_BIN_EXE_jit-server"))
        .args(["prepare", "--database", address, "--state"])
        .arg(state)
        .output()
        .unwrap();
    let said = String::from_utf8(prepare.stderr).unwrap();
    (prepare.status.success(), said)
}

#[tokio::test]
async fn a_server_with_another_key_does_not_start_and_one_without_the_next_key_ends() {
    let two = Two::on(Postgres::shared()).await;
    let stranger = two.folder.path().join("stranger");
    join(&two.one.folder, &stranger);
    std::fs::remove_file(stranger.join("signing.key")).unwrap();
    signer::make(&stranger.join("signing.key")).unwrap();
    let started = async |folder: &Path| {
        Server::start(
            store(&two.address).await,
            signer::load(&folder.join("signing.key")).unwrap(),
            Mark::open(&folder.join("mark")).unwrap(),
            folder.join("policy.toml"),
            |last| Box::new(WallClock::starting_at(last)),
        )
        .await
    };
    let refused = started(&stranger).await.err().unwrap().to_string();
    assert!(
        refused.contains("signing.key that was kept with it"),
        "{refused}"
    );
    two.one.server.rotate_key().await.unwrap();
    let why = two.other.server.must_start_anew().await;
    assert!(why.contains("next key"), "{why}");
    let refused = two.other.as_("root").post("/v1/restored", json!({})).await;
    assert_eq!(refused.status, 503);
    let other = two.other.folder.clone();
    two.other.stop().await;
    assert!(matches!(started(&other).await, Err(Error::Setup(_))));
    let key = "signing.key";
    std::fs::copy(two.one.folder.join(key), other.join(key)).unwrap();
    started(&other).await.unwrap().close().await;
}

#[tokio::test]
async fn a_database_that_went_back_is_noticed_by_servers_that_run_and_ends_what_was_granted() {
    let two = Two::on(Postgres::shared()).await;
    let host = two.one.populate().await;
    let request = two.one.as_("alice").asks(600).await;
    let copied = record(&two.one).await.len();
    two.one.as_("bob").approves(&request).await;
    let mut connection = PgConnection::connect(&two.address).await.unwrap();
    // As if a copy of before the approval had been put back.
    let back = format!(
        "ALTER TABLE event DISABLE TRIGGER ALL; ALTER TABLE head DISABLE TRIGGER ALL; \
         DELETE FROM event WHERE seq > {copied}; UPDATE head SET last_seq = {copied}, writes = writes - 2, write_id = \
         (SELECT id FROM written WHERE write_no = writes - 2); \
         ALTER TABLE written DISABLE TRIGGER ALL; DELETE FROM written WHERE write_no > (SELECT writes FROM head); ALTER TABLE written ENABLE TRIGGER ALL; \
         ALTER TABLE event ENABLE TRIGGER ALL; ALTER TABLE head ENABLE TRIGGER ALL"
    );
    let went_back = sqlx::raw_sql(sqlx::AssertSqlSafe(back));
    went_back.execute(&mut connection).await.unwrap();
    for server in [&two.one, &two.other] {
        let why = server.server.must_start_anew().await;
        assert!(why.contains("older copy"), "{why}");
        let answer = word(&at_door_of(&host, server), &server.server).await;
        assert_eq!(answer.status, 503, "it speaks for nothing any more");
    }
    let (one, other) = (two.one.folder.clone(), two.other.folder.clone());
    two.one.stop().await;
    two.other.stop().await;
    let one = start(&one, &two.address).await;
    let other = start(&other, &two.address).await;
    for server in [&one, &other] {
        let standing = server.as_("root").get("/v1/restored").await.is(200);
        assert_ne!(standing["unconfirmed"], Value::Null);
    }
    assert_eq!(of_kind(&record(&one).await, "restored").len(), 1);
}

#[tokio::test]
async fn a_copy_that_went_on_by_itself_as_far_is_noticed_and_ends_what_was_granted() {
    let two = Two::on(Postgres::shared()).await;
    two.one.populate().await;
    let request = two.one.as_("alice").asks(600).await;
    let mut connection = PgConnection::connect(&two.address).await.unwrap();
    let copied = record(&two.one).await.len();
    let head = "SELECT writes FROM head";
    let before: i64 = sqlx::query_scalar(head)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    two.one.as_("bob").approves(&request).await;
    let last = record(&two.one).await.len();
    let after: i64 = sqlx::query_scalar(head)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let taken_in =
        async || two.other.as_("root").get("/v1/grants").await.is(200)[0]["state"] == "active";
    within(Duration::from_secs(5), taken_in).await;
    // As if a standby that lacked the approval had taken over, and others had written as much to it.
    let tables = ["event", "head", "written"];
    let triggers = |what: &str| {
        let each = tables.map(|table| format!("ALTER TABLE {table} {what} TRIGGER ALL;"));
        each.concat()
    };
    let fork = format!(
        "BEGIN; {} DELETE FROM event WHERE seq > {copied}; DELETE FROM written WHERE write_no > {before}; \
         UPDATE head SET last_seq = {copied}, writes = {before}, write_id = (SELECT id FROM written WHERE write_no = {before}); {} \
         INSERT INTO event SELECT seq, at, actor, body FROM generate_series({copied} + 1, {last}) AS of (seq), \
         (SELECT at, actor, body FROM event WHERE body LIKE '%policy_taken%' LIMIT 1) AS one; {} COMMIT",
        triggers("DISABLE"),
        triggers("ENABLE"),
        format!("UPDATE head SET last_seq = {last}, writes = writes + 1; ")
            .repeat(usize::try_from(after - before).unwrap()),
    );
    let forked = sqlx::raw_sql(sqlx::AssertSqlSafe(fork));
    forked.execute(&mut connection).await.unwrap();
    let now: i64 = sqlx::query_scalar(head)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(now, after, "no number tells the one from the other");
    for server in [&two.one, &two.other] {
        let why = server.server.must_start_anew().await;
        assert!(why.contains("older copy"), "{why}");
    }
    let folders = [two.one.folder.clone(), two.other.folder.clone()];
    two.one.stop().await;
    two.other.stop().await;
    let mut running = Vec::new();
    for _ in 0..2 {
        for folder in &folders {
            let server = start(folder, &two.address).await;
            let standing = server.as_("root").get("/v1/restored").await.is(200);
            assert_eq!(standing["unconfirmed"]["mark"], last);
            running.push(server);
        }
        assert_eq!(of_kind(&record(&running[0]).await, "restored").len(), 1);
        for server in running.drain(..) {
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn a_machine_that_knew_another_database_ends_nothing_and_becomes_a_server_once_told() {
    let folder = tempfile::tempdir().unwrap();
    let address = Postgres::shared().database();
    let one = start(&folder.path().join("one"), &address).await;
    one.populate().await;
    let key = one.folder.join("signing.key");
    // It ran by itself, and came further; or so did a version before, which did not say in what.
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let alone = Running::start(&state).await;
    alone.stop().await;
    std::fs::copy(&key, state.join("signing.key")).unwrap();
    let mark = state.join("mark/recorded");
    let written = std::fs::read_to_string(&mark).unwrap();
    let further = format!("{:020}\n{}", 1_000, &written[21..]);
    let started = async || {
        Server::start(
            store(&address).await,
            signer::load(&state.join("signing.key")).unwrap(),
            Mark::open(&state.join("mark")).unwrap(),
            state.join("policy.toml"),
            |last| Box::new(WallClock::starting_at(last)),
        )
        .await
    };
    for known in [&further[..21], further.as_str()] {
        std::fs::write(&mark, known).unwrap();
        let refused = started().await.err().unwrap().to_string();
        assert!(refused.contains("jit-server init"), "{refused}");
    }
    let beside = folder.path().join("state-mark");
    std::fs::rename(state.join("mark"), &beside).unwrap();
    // For all that it knows this may be an older copy of what it ran, in a database of another name.
    let (done, why) = prepared(&address, &state);
    assert!(!done && why.contains("event 1000"), "{why}");
    assert!(
        why.contains(&format!("remove {}", beside.display())),
        "{why}"
    );
    std::fs::remove_dir_all(&beside).unwrap();
    let (done, why) = prepared(&address, &state);
    assert!(done, "{why}");
    std::fs::rename(&beside, state.join("mark")).unwrap();
    started().await.unwrap().close().await;
    assert!(of_kind(&record(&one).await, "restored").is_empty());
}

/// As after a move to SQLite and back, by which the database that is new took the name of the one before.
#[tokio::test]
async fn init_refuses_a_database_that_has_the_name_of_the_one_known_and_went_another_way() {
    let folder = tempfile::tempdir().unwrap();
    let address = Postgres::shared().database();
    let before = start(&folder.path().join("before"), &address).await;
    before.populate().await;
    before.stop().await;
    let name = store(&address).await.identity().await.unwrap();
    let address = Postgres::shared().database();
    store(&address).await.take_identity(name).await.unwrap();
    let since = start(&folder.path().join("since"), &address).await;
    since.populate().await;
    since.as_("alice").asks(60).await;
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::copy(since.folder.join("signing.key"), state.join("signing.key")).unwrap();
    let mark = folder.path().join("state-mark");
    std::fs::rename(folder.path().join("before/mark"), &mark).unwrap();
    let (done, why) = prepared(&address, &state);
    assert!(!done, "it would end all grants once it starts");
    assert!(
        why.contains("another record") && why.contains("state-mark"),
        "{why}"
    );
    std::fs::remove_dir_all(&mark).unwrap();
    let (done, why) = prepared(&address, &state);
    assert!(done, "{why}");
    assert!(of_kind(&record(&since).await, "restored").is_empty());
}

#[tokio::test]
async fn a_machine_becomes_another_server_by_init_with_the_key_and_nothing_ends_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let address = Postgres::shared().database();
    let one = start(&folder.path().join("one"), &address).await;
    one.populate().await;
    let request = one.as_("alice").asks(600).await;
    one.as_("bob").approves(&request).await;

    // Without init, a server that knows nothing of the database doesn't start, and ends nothing either.
    let unknown = folder.path().join("unknown");
    std::fs::create_dir(&unknown).unwrap();
    std::fs::copy(one.folder.join("signing.key"), unknown.join("signing.key")).unwrap();
    let started = Server::start(
        store(&address).await,
        signer::load(&unknown.join("signing.key")).unwrap(),
        Mark::open(&unknown.join("mark")).unwrap(),
        unknown.join("policy.toml"),
        |last| Box::new(WallClock::starting_at(last)),
    );
    let refused = started.await.err().unwrap().to_string();
    assert!(refused.contains("jit-server init"), "{refused}");

    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let (done, said) = prepared(&address, &state);
    assert!(!done && said.contains("copy"), "{said}");
    assert!(!state.join("signing.key").exists(), "no key of its own");
    std::fs::copy(one.folder.join("signing.key"), state.join("signing.key")).unwrap();
    for _ in 0..2 {
        let (done, said) = prepared(&address, &state);
        assert!(done, "{said}");
    }
    std::fs::rename(folder.path().join("state-mark"), state.join("mark")).unwrap();
    let joined = start(&state, &address).await;
    let grants = joined.as_("root").get("/v1/grants").await.is(200);
    assert_eq!(grants[0]["state"], "active");
    assert!(of_kind(&record(&one).await, "restored").is_empty());
    Person::asks(&joined.as_("alice"), 60).await;
}

#[tokio::test]
async fn the_program_serves_from_a_database_whose_address_is_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("database");
    std::fs::write(&file, Postgres::shared().database()).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let (state, socket) = (folder.path().join("state"), folder.path().join("socket"));
    std::fs::create_dir(&state).unwrap();
    let program = |what: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_jit-server"));
        program.args([what, "--state"]).arg(&state);
        program.env("JIT_SERVER_DATABASE_FILE", &file);
        program
    };
    assert!(program("prepare").status().unwrap().success());
    assert!(!state.join("jit-server.db").exists());
    let mut serving = program("serve");
    serving.arg("--policy").arg(state.join("policy.toml"));
    let mut serving = serving.arg("--socket").arg(&socket).spawn().unwrap();
    let door = Person { socket };
    within(Duration::from_secs(20), async || {
        let answer = door.try_get("/v1/whoami").await;
        answer.is_some_and(|answer| answer.status == 200)
    })
    .await;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(serving.id().try_into().unwrap()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    assert!(serving.wait().unwrap().success());

    let mut with_password = program("prepare");
    with_password
        .env_remove("JIT_SERVER_DATABASE_FILE")
        .args(["--database", "postgres://jit:secret@localhost/jit"]);
    let refused = with_password.output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("--database-file"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}
