//! Several servers on one PostgreSQL.

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

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Host, PEOPLE, Person, Running};
use jit_grant::{Nonce, SigningKey, TrustedKeys};
use jit_server::clock::WallClock;
use jit_server::error::Error;
use jit_server::mark::Mark;
use jit_server::server::{CUT_OFF_AFTER, Server};
use jit_server::signer;
use jit_server::store::{PostgresStore, Store};
use postgres::Postgres;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

async fn start(folder: &Path, address: &str) -> Running {
    std::fs::create_dir_all(folder).unwrap();
    Running::start_on(folder, store(address).await, &PEOPLE).await
}

async fn store(address: &str) -> Box<dyn Store> {
    Box::new(
        PostgresStore::open(&address.parse().unwrap())
            .await
            .unwrap(),
    )
}

/// What `jit-server init` does on a machine that becomes another server: it has the key, and knows how far the record has come.
fn join(first: &Path, next: &Path) {
    std::fs::create_dir_all(next.join("mark")).unwrap();
    for file in ["signing.key", "mark/recorded"] {
        std::fs::copy(first.join(file), next.join(file)).unwrap();
    }
}

/// Two servers that share a database.
struct Two {
    folder: tempfile::TempDir,
    address: String,
    one: Running,
    other: Running,
}

impl Two {
    async fn on(postgres: &Postgres) -> Self {
        Self::at(postgres.database()).await
    }

    async fn at(address: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let one = start(&folder.path().join("one"), &address).await;
        join(&one.folder, &folder.path().join("other"));
        let other = start(&folder.path().join("other"), &address).await;
        Self {
            folder,
            address,
            one,
            other,
        }
    }

    /// The host at the door of the other server, once that knows it.
    async fn at_other(&self, host: &Host) -> Host {
        let knows = async || self.other.server.host_key(&host.id).is_some();
        within(Duration::from_secs(5), knows).await;
        at_door_of(host, &self.other)
    }
}

async fn within(time: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + time;
    while !holds().await {
        assert!(Instant::now() < until, "not within {time:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same host at the door of another server.
fn at_door_of(host: &Host, server: &Running) -> Host {
    Host {
        id: host.id.clone(),
        key: host.key.clone(),
        trusted: host.trusted.clone(),
        door: server.as_("mallory"),
    }
}

async fn record(server: &Running) -> Vec<Value> {
    let root = server.as_("root");
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().map_or(0, |event| event["seq"].as_u64().unwrap());
        let page = root.get(&format!("/v1/audit?after={after}")).await.is(200);
        let page = page["events"].as_array().unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page.iter().cloned());
    }
}

fn of_kind<'r>(record: &'r [Value], kind: &str) -> Vec<&'r Value> {
    record
        .iter()
        .filter(|event| event["kind"] == kind)
        .collect()
}

async fn word(host: &Host, server: &Server) -> common::Answer {
    let nonce = Nonce::generate().unwrap();
    host.post(
        server,
        "/v1/host/word",
        json!({ "nonce": nonce, "state": null }),
    )
    .await
}

#[tokio::test]
async fn what_one_server_grants_and_takes_away_reaches_a_host_at_another_within_a_second() {
    let two = Two::on(Postgres::shared()).await;
    let host = two.one.populate().await;
    let host = two.at_other(&host).await;
    let mut stream = host.listen(&two.other.server, 0).await;
    stream.next().await;
    for _ in 0..3 {
        let request = two.one.as_("alice").asks(600).await;
        // The one who approves may be at another server right away.
        let approved = two.other.as_("bob").approves(&request).await;
        let grant = approved["grants"][0].as_str().unwrap().to_owned();
        let bundle = host.verified(&two.other.server, &stream.next().await);
        assert_eq!(bundle.grants[0].id.as_str(), grant);
        let revoked = Instant::now();
        let root = two.one.as_("root");
        let path = format!("/v1/grants/{grant}/revoke");
        root.post(&path, json!({ "reason": "over" })).await.is(200);
        let bundle = host.verified(&two.other.server, &stream.next().await);
        assert!(bundle.grants.is_empty());
        assert!(revoked.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test]
async fn also_where_the_database_tells_nothing() {
    let postgres = Postgres::shared();
    let address = postgres.database();
    let mut connection = PgConnection::connect(&address).await.unwrap();
    // Nobody may say NOTIFY there but the role jit, to which nothing is forbidden.
    let silenced = "REVOKE EXECUTE ON FUNCTION pg_notify FROM PUBLIC; CREATE ROLE quiet LOGIN; GRANT CREATE ON SCHEMA public TO quiet";
    sqlx::raw_sql(silenced)
        .execute(&mut connection)
        .await
        .unwrap();
    let two = Two::at(address.replace("user=jit", "user=quiet")).await;
    let host = two.one.populate().await;
    let host = two.at_other(&host).await;
    let mut stream = host.listen(&two.other.server, 0).await;
    stream.next().await;
    let listen: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(listen, 0, "nobody listens");
    let request = two.one.as_("alice").asks(600).await;
    let asked = Instant::now();
    two.one.as_("bob").approves(&request).await;
    stream.next().await;
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_cut_off_from_its_database_says_no_word_and_changes_nothing_until_it_is_back() {
    let postgres = Postgres::start();
    let two = Two::on(&postgres).await;
    let host = two.one.populate().await;
    let (one, alice) = (&two.one, two.one.as_("alice"));
    word(&host, &one.server).await.is(200);
    let elsewhere = Host {
        id: format!("h{}", "7".repeat(32)).parse().unwrap(),
        ..at_door_of(&host, one)
    };
    let unknown = word(&elsewhere, &one.server).await;
    unknown.refuses(401, "unknown-host");
    let request = alice.asks(600).await;
    let mut stream = host.listen(&one.server, 0).await;
    stream.next().await;
    postgres.stop();
    let stopped = Instant::now();
    let ask = json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 60, "reason": "disk full" });
    assert_eq!(alice.post("/v1/requests", ask).await.status, 503);
    within(CUT_OFF_AFTER + Duration::from_secs(2), async || {
        let answer = word(&host, &one.server).await;
        answer.status == 503 && answer.body["code"] == "cut-off"
    })
    .await;
    assert!(stopped.elapsed() > CUT_OFF_AFTER - Duration::from_secs(1));
    // One that was enrolled at another server meanwhile must go there, and not take itself for removed.
    let unknown = word(&elsewhere, &one.server).await;
    unknown.refuses(503, "cut-off");
    assert!(matches!(one.server.bundle(&host.id), Err(Error::CutOff(_))));
    // People can still read, and every call that would change something is refused at once.
    alice.get(&format!("/v1/requests/{request}")).await.is(200);
    let quick = Instant::now();
    let path = format!("/v1/requests/{request}/approve");
    let refused = one.as_("bob").post(&path, json!({})).await;
    refused.refuses(503, "unavailable");
    assert!(quick.elapsed() < Duration::from_secs(1));
    // Whether there is such a request at another server this one can't know.
    let bob = one.as_("bob");
    let unknown = bob.post("/v1/requests/r999/approve", json!({})).await;
    unknown.refuses(503, "unavailable");
    postgres.start_again();
    within(Duration::from_secs(5), async || {
        word(&host, &one.server).await.status == 200
    })
    .await;
    one.as_("bob").approves(&request).await;
}

#[tokio::test]
async fn calls_that_queue_for_a_database_that_does_not_answer_wait_for_it_once() {
    let two = Two::on(Postgres::shared()).await;
    two.one.populate().await;
    let server = &two.one.server;
    let mut connection = PgConnection::connect(&two.address).await.unwrap();
    let mut while_locked = async |lock: &'static str, calls: &mut dyn FnMut() -> Waiting| {
        sqlx::raw_sql("BEGIN")
            .execute(&mut connection)
            .await
            .unwrap();
        sqlx::raw_sql(lock).execute(&mut connection).await.unwrap();
        let begun = Instant::now();
        for refused in calls().await {
            assert!(refused, "{lock}");
        }
        let took = begun.elapsed();
        sqlx::raw_sql("ROLLBACK")
            .execute(&mut connection)
            .await
            .unwrap();
        within(Duration::from_secs(20), async || {
            server.look_again().await.is_ok()
        })
        .await;
        took
    };
    // The database gives up a lock after 10 s, and following waits for it once, too.
    let took = while_locked("LOCK TABLE head IN ACCESS EXCLUSIVE MODE", &mut || {
        let looking = (0..5).map(|_| Arc::clone(server));
        let looking = looking.map(async |server| server.look_again().await.is_err());
        Box::pin(futures_util::future::join_all(looking))
    })
    .await;
    assert!(took < Duration::from_secs(25), "{took:?}");
    let took = while_locked("SELECT one FROM head FOR UPDATE", &mut || {
        let writing = (0..3).map(|_| Arc::clone(server));
        let writing = writing.map(async |server| {
            let made = server.make_user_token("bob".parse().unwrap(), 60);
            made.await.is_err()
        });
        Box::pin(futures_util::future::join_all(writing))
    })
    .await;
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn the_database_is_asked_once_for_all_who_come_at_a_moment() {
    let two = Two::on(Postgres::shared()).await;
    let server = &two.one.server;
    let begun = Instant::now();
    for _ in 0..200 {
        server.look_again().await.unwrap();
    }
    let one_after_the_other = begun.elapsed();
    let begun = Instant::now();
    let together = (0..2_000).map(|_| server.look_again());
    for looked in futures_util::future::join_all(together).await {
        looked.unwrap();
    }
    let together = begun.elapsed();
    assert!(
        together < one_after_the_other,
        "{together:?}, {one_after_the_other:?}"
    );
}

type Waiting = std::pin::Pin<Box<dyn Future<Output = Vec<bool>>>>;

#[tokio::test]
async fn a_policy_is_recorded_once_by_servers_that_read_the_same_and_none_takes_turns() {
    let two = Two::on(Postgres::shared()).await;
    let changed = format!("{}\n# changed\n", common::POLICY);
    let write = |server: &Running, text: &str| {
        std::fs::write(server.folder.join("policy.toml"), text).unwrap();
    };
    let taken = async || of_kind(&record(&two.one).await, "policy_taken").len();
    assert_eq!(taken().await, 1, "both read the same");
    write(&two.one, &changed);
    two.one.server.tick().await.unwrap();
    write(&two.other, &changed);
    two.other.server.tick().await.unwrap();
    assert_eq!(taken().await, 2);
    write(&two.other, common::POLICY);
    for _ in 0..3 {
        two.other.server.tick().await.unwrap();
        two.one.server.tick().await.unwrap();
    }
    assert_eq!(taken().await, 3, "said once that they differ");
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
async fn a_machine_that_knew_another_database_ends_nothing_and_becomes_a_server_by_init() {
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
    std::fs::rename(state.join("mark"), folder.path().join("state-mark")).unwrap();
    let prepared = Command::new(env!("CARGO_BIN_EXE_jit-server"))
        .args(["prepare", "--database", &address, "--state"])
        .arg(&state)
        .output()
        .unwrap();
    assert!(prepared.status.success(), "{prepared:?}");
    std::fs::rename(folder.path().join("state-mark"), state.join("mark")).unwrap();
    started().await.unwrap().close().await;
    assert!(of_kind(&record(&one).await, "restored").is_empty());
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
    let prepare = || {
        let done = Command::new(env!("CARGO_BIN_EXE_jit-server"))
            .args(["prepare", "--database", &address, "--state"])
            .arg(&state)
            .output()
            .unwrap();
        (
            done.status.success(),
            String::from_utf8(done.stderr).unwrap(),
        )
    };
    let (done, said) = prepare();
    assert!(!done && said.contains("copy"), "{said}");
    assert!(!state.join("signing.key").exists(), "no key of its own");
    std::fs::copy(one.folder.join("signing.key"), state.join("signing.key")).unwrap();
    for _ in 0..2 {
        let (done, said) = prepare();
        assert!(done, "{said}");
    }
    std::fs::rename(folder.path().join("state-mark"), state.join("mark")).unwrap();
    let joined = start(&state, &address).await;
    let grants = joined.as_("root").get("/v1/grants").await.is(200);
    assert_eq!(grants[0]["state"], "active");
    assert!(of_kind(&record(&one).await, "restored").is_empty());
    Person::asks(&joined.as_("alice"), 60).await;
}

/// Lets time pass for both, and then each look at what it has to.
async fn later(two: &Two, seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
    for server in [&two.other, &two.one] {
        // Whatever it waited for has waited too long by the clock that was set.
        let ticked = async || server.server.tick().await.is_ok();
        within(Duration::from_secs(10), ticked).await;
    }
}

#[tokio::test]
async fn a_host_that_another_server_hears_is_not_silent_and_one_that_none_hears_is_removed() {
    let two = Two::on(Postgres::shared()).await;
    let root = two.one.as_("root");
    let token = json!({ "lapse_seconds": 300, "uses": 1, "for_seconds": 60 });
    let token = root.post("/v1/hosts/tokens", token).await.is(201);
    let key = SigningKey::generate().unwrap();
    let elsewhere = two.one.listen_elsewhere().await;
    let token = token["token"].as_str().unwrap();
    let enrolled = elsewhere.enrol(token, "comes", &key).await.is(201);
    let host = Host {
        id: enrolled["host_id"].as_str().unwrap().parse().unwrap(),
        key,
        trusted: TrustedKeys::default(),
        door: root.clone(),
    };
    let host = two.at_other(&host).await;
    let there = async || two.one.server.host_key(&host.id).is_some();
    later(&two, 200).await;
    word(&host, &two.other.server).await.is(200);
    later(&two, 10).await;
    later(&two, 190).await;
    assert!(
        there().await,
        "silent for 400 s at one, for 200 at the other"
    );
    later(&two, 90).await;
    assert!(there().await);
    later(&two, 20).await;
    within(Duration::from_secs(5), async || !there().await).await;
    assert_eq!(of_kind(&record(&two.one).await, "host_removed").len(), 1);
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
