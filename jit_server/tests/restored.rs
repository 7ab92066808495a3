//! An older copy of the database is put back.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use common::{Host, Running, chain, checkpoint, id};
use hyper::Method;
use hyper::body::Bytes;
use jit_grant::UserToken;
use jit_server::clock::WallClock;
use jit_server::error::Error;
use jit_server::mark::Mark;
use jit_server::server::Server;
use jit_server::signer;
use jit_server::store::{SqliteStore, Store};
use jit_server::user_token::WantedToken;
use serde_json::{Value, json};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Stops the server, has `doing` done with its database, and starts it.
async fn meanwhile(running: Running, doing: impl FnOnce(&Path)) -> Running {
    let folder = running.folder.clone();
    running.stop().await;
    doing(&folder);
    Running::start(&folder).await
}

async fn copied(running: Running) -> Running {
    let copy = |folder: &Path| {
        std::fs::copy(folder.join("jit-server.db"), folder.join("copy")).unwrap();
    };
    meanwhile(running, copy).await
}

async fn put_back(running: Running) -> Running {
    let put_back = |folder: &Path| {
        for rest in ["jit-server.db-wal", "jit-server.db-shm"] {
            let _ = std::fs::remove_file(folder.join(rest));
        }
        std::fs::copy(folder.join("copy"), folder.join("jit-server.db")).unwrap();
    };
    meanwhile(running, put_back).await
}

/// Alice's grant on web-1; its id.
async fn granted(running: &Running) -> String {
    let request = running.as_("alice").asks(3_600).await;
    let approved = running.as_("bob").approves(&request).await;
    approved["grants"][0].as_str().unwrap().to_owned()
}

async fn unconfirmed(running: &Running) -> Value {
    let standing = running.as_("root").get("/v1/restored").await.is(200);
    standing["unconfirmed"].clone()
}

async fn record(running: &Running) -> Vec<Value> {
    let record = running.as_("root").get("/v1/audit").await.is(200);
    record["events"].as_array().unwrap().clone()
}

fn of_kind<'r>(record: &'r [Value], kind: &str) -> Vec<&'r Value> {
    record
        .iter()
        .filter(|event| event["kind"] == kind)
        .collect()
}

async fn token_of(running: &Running, user: &str) -> UserToken {
    let wanted = WantedToken {
        for_seconds: 3_600,
        scopes: Default::default(),
        renewable_for_seconds: None,
    };
    let made = running
        .server
        .make_user_token(user.parse().unwrap(), wanted);
    made.await.unwrap().1
}

#[tokio::test]
async fn what_was_taken_away_after_the_copy_does_not_come_back_and_no_host_is_stuck() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let web1 = running.populate().await;
    assert_eq!(granted(&running).await, "g1");
    let pending = running.as_("carol");
    let pending = id(&pending
        .post("/v1/requests", json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 60, "reason": "to be denied" }))
        .await
        .is(201));
    let stolen = token_of(&running, "bob").await;
    let running = copied(running).await;

    let root = running.as_("root");
    root.post("/v1/grants/g1/revoke", json!({ "reason": "key stolen" }))
        .await
        .is(200);
    assert_eq!(granted(&running).await, "g2");
    running
        .server
        .revoke_user_token("bob".parse().unwrap(), "u1".parse().unwrap())
        .await
        .unwrap();
    root.post("/v1/users/carol/lock", json!({ "reason": "key stolen" }))
        .await
        .is(200);
    let web2 = Host::enrol(&root, "web-2").await;
    let held = running.server.revision(&web1.id);
    let last = record(&running).await.last().unwrap()["seq"]
        .as_u64()
        .unwrap();

    let running = put_back(running).await;
    let standing = unconfirmed(&running).await;
    assert!(standing["copy_seq"].as_u64().unwrap() < last, "{standing}");
    assert_eq!(
        (&standing["mark"], &standing["by"], &standing["unheard"]),
        (&json!(last), &json!("@server"), &json!(["web-1"]))
    );
    let mut stream = web1.listen(&running.server, held).await;
    let bundle = web1.verified(&running.server, &stream.next().await);
    assert!(
        bundle.revision > held && bundle.grants.is_empty(),
        "{bundle:?}"
    );
    assert_eq!(
        unconfirmed(&running).await["ahead"],
        json!({ "web-1": held })
    );
    let authorization = web2.authorization(&running.server);
    let headers = [("authorization", authorization.as_str())];
    let answer = web2
        .door
        .send(Method::GET, "/v1/host/stream", &headers, Bytes::new())
        .await;
    common::read(answer).await.refuses(401, "unknown-host");

    let ask = json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 60, "reason": "disk full" });
    let alice = running.as_("alice");
    alice
        .post("/v1/requests", ask.clone())
        .await
        .refuses(409, "restored");
    let path = format!("/v1/requests/{pending}/approve");
    running
        .as_("bob")
        .post(&path, json!({}))
        .await
        .refuses(409, "restored");
    assert!(
        matches!(
            running.server.user_of(&stolen, HERE).await,
            Err(Error::UserToken(_))
        ),
        "a revoked token came back"
    );
    let events = record(&running).await;
    let restored = of_kind(&events, "restored");
    assert_eq!(restored.len(), 1);
    assert!(
        restored[0]["seq"].as_u64().unwrap() > last,
        "no number twice"
    );
    let alarm = &of_kind(&events, "alarm")[0]["detail"];
    assert_eq!(
        (
            &alarm["host"],
            &alarm["alarm"]["cause"],
            &alarm["alarm"]["held"]
        ),
        (&json!("web-1"), &json!("server_older"), &json!(held))
    );

    // What only closes is done meanwhile, and a restart forgets nothing.
    let root = running.as_("root");
    root.post("/v1/users/carol/lock", json!({ "reason": "key stolen" }))
        .await
        .is(200);
    let running = meanwhile(running, |_| {}).await;
    assert_eq!(unconfirmed(&running).await["ahead"]["web-1"], held);
    let root = running.as_("root");
    let confirmed = root.post("/v1/restored/confirm", json!({})).await;
    assert_eq!(confirmed.is(200)["unconfirmed"], Value::Null);
    let asked = running.as_("alice").post("/v1/requests", ask).await.is(201);
    assert_eq!(asked["id"], "r20001", "no id is given twice");
    let approved = running.as_("bob").approves("r20001").await;
    assert_eq!(approved["grants"], json!(["g20001"]));
    let mut stream = web1.listen(&running.server, bundle.revision).await;
    let bundle = web1.verified(&running.server, &stream.next().await);
    assert_eq!(bundle.grants[0].id.as_str(), "g20001");
    let old = root.get(&format!("/v1/requests/{pending}")).await;
    assert_eq!(old.is(200)["state"], "denied");
    let running = meanwhile(running, |_| {}).await;
    assert_eq!(unconfirmed(&running).await, Value::Null);
    assert_eq!(of_kind(&record(&running).await, "restored").len(), 1);
}

#[tokio::test]
async fn a_hosts_chain_goes_on_where_the_copy_ends_and_the_gap_is_an_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let lines = chain(6);
    let send = async |running: &Running, from: usize, to: usize| {
        let batch =
            json!({ "lines": lines[from..to], "checkpoint": checkpoint(&host, &lines[..to]) });
        host.post(&running.server, "/v1/host/events", batch).await
    };
    send(&running, 0, 2).await.is(200);
    let running = copied(running).await;
    send(&running, 2, 5).await.is(200);
    let running = put_back(running).await;
    assert_ne!(
        unconfirmed(&running).await,
        Value::Null,
        "lines of hosts show an older copy, too"
    );
    // jitd-sync goes on from where it was.
    let refused = send(&running, 5, 6).await.is(409);
    assert_eq!(refused["seq"], 2);
    let asked = json!({ "lines": [], "checkpoint": "" });
    let asked = host.post(&running.server, "/v1/host/events", asked).await;
    assert_eq!(asked.is(200)["seq"], 2);
    assert_eq!(send(&running, 2, 6).await.is(200)["seq"], 6);
    let events = record(&running).await;
    let alarms = of_kind(&events, "alarm");
    assert_eq!(
        alarms[0]["detail"]["alarm"],
        json!({ "cause": "chain_gap", "due": 3, "came": 6 })
    );
    assert_eq!(alarms.len(), 1);
    let numbers: std::collections::BTreeSet<_> =
        events.iter().map(|event| event["seq"].as_u64()).collect();
    assert_eq!(numbers.len(), events.len());
}

#[tokio::test]
async fn a_database_of_which_the_machine_knows_nothing_is_taken_for_an_older_copy() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    assert_eq!(
        unconfirmed(&running).await,
        Value::Null,
        "a fresh one is none"
    );
    granted(&running).await;
    let another_machine = |folder: &Path| std::fs::remove_dir_all(folder.join("mark")).unwrap();
    let running = meanwhile(running, another_machine).await;
    let standing = unconfirmed(&running).await;
    assert_eq!(
        (&standing["mark"], &standing["by"]),
        (&Value::Null, &json!("@server"))
    );
    let grants = running.as_("root").get("/v1/grants").await.is(200);
    assert_eq!(grants[0]["state"], "revoked");
}

#[tokio::test]
async fn an_empty_database_is_an_older_copy_where_there_were_events() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    running.populate().await;
    let last = record(&running).await.last().unwrap()["seq"].clone();
    let emptied = |folder: &Path| {
        for file in ["jit-server.db", "jit-server.db-wal", "jit-server.db-shm"] {
            let _ = std::fs::remove_file(folder.join(file));
        }
    };
    let running = meanwhile(running, emptied).await;
    let standing = unconfirmed(&running).await;
    assert_eq!(
        (&standing["copy_seq"], &standing["mark"]),
        (&json!(0), &last)
    );
    let first = record(&running).await[0]["seq"].as_u64();
    assert!(first > last.as_u64(), "no number twice");
}

#[tokio::test]
async fn nothing_is_recorded_before_the_first_mark_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let full = folder.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::os::unix::fs::symlink("/dev/full", full.join("recorded")).unwrap();
    signer::make(&folder.path().join("signing.key")).unwrap();
    let database = folder.path().join("jit-server.db");
    let store = SqliteStore::open(&database).await.unwrap();
    let started = Server::start(
        Box::new(store.clone()),
        signer::load(&folder.path().join("signing.key")).unwrap(),
        Mark::open(&full).unwrap(),
        folder.path().join("policy.toml"),
        |last| Box::new(WallClock::starting_at(last)),
    );
    assert!(matches!(started.await, Err(Error::Io { .. })));
    assert_eq!(store.load().await.unwrap().place.last_seq, 0);
}

#[tokio::test]
async fn an_administrator_may_say_so_where_the_server_can_t_notice() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    granted(&running).await;
    let held = running.server.revision(&host.id);
    running
        .as_("alice")
        .post("/v1/restored", json!({}))
        .await
        .refuses(403, "not-administrator");
    for _ in 0..2 {
        let root = running.as_("root");
        let declared = root.post("/v1/restored", json!({})).await;
        assert_eq!(declared.is(200)["unconfirmed"]["by"], "@administrator");
    }
    assert_eq!(of_kind(&record(&running).await, "restored").len(), 1);
    let mut stream = host.listen(&running.server, held).await;
    let bundle = host.verified(&running.server, &stream.next().await);
    assert!(bundle.grants.is_empty());
}

#[tokio::test]
async fn a_host_that_knows_more_ends_what_is_granted_on_it_and_nothing_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let host = running.populate().await;
    let other = Host::enrol(&running.as_("root"), "web-2").await;
    let ask = json!({ "role": "web-admin", "hosts": ["web-1", "web-2"], "for_seconds": 600, "reason": "disk full" });
    let request = id(&running.as_("alice").post("/v1/requests", ask).await.is(201));
    running.as_("bob").approves(&request).await;
    // As with a snapshot of the whole machine, the mark included. It is far ahead, as after a clock that was wrong.
    let held = running.server.revision(&host.id) + 86_400_000;
    let mut stream = host.listen(&running.server, held).await;
    let bundle = host.verified(&running.server, &stream.next().await);
    assert!(bundle.revision > held && bundle.grants.is_empty());
    let mut stream = other.listen(&running.server, 0).await;
    let bundle = other.verified(&running.server, &stream.next().await);
    assert_eq!(bundle.grants.len(), 1, "a host may not end another's");
    assert_eq!(unconfirmed(&running).await, Value::Null);
    let events = record(&running).await;
    assert_eq!(of_kind(&events, "alarm").len(), 1);
    assert_eq!(of_kind(&events, "revoked").len(), 1);
    running.as_("alice").asks(60).await;

    // One that no server of ours can have made changes nothing, so that the host's revision has room to rise.
    let authorization = other.authorization(&running.server);
    for nonsense in [u64::MAX, i64::MAX.unsigned_abs()] {
        let nonsense = nonsense.to_string();
        let headers = [
            ("authorization", authorization.as_str()),
            ("last-event-id", nonsense.as_str()),
        ];
        let answer = other
            .door
            .send(Method::GET, "/v1/host/stream", &headers, Bytes::new())
            .await;
        assert_eq!(answer.status(), 400);
    }
    assert_eq!(
        other
            .verified(
                &running.server,
                &other.listen(&running.server, 0).await.next().await
            )
            .grants
            .len(),
        1
    );
}
