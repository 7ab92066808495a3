//! Two servers, each a process of its own, and fifty people who decide at the same time; one is killed and the database restarts meanwhile.

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

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Answer, Host, Person, Running, Stream};
use futures_util::future::join_all;
use hyper::Method;
use hyper::body::Bytes;
use jiff::{SignedDuration, Timestamp};
use jit_grant::{Bundle, HostToken};
use jit_server::clock::{Clock, WallClock};
use jit_server::store::PostgresStore;
use postgres::Postgres;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const FOLDER: &str = "JIT_FLEET_TEST_FOLDER";
const DATABASE: &str = "JIT_FLEET_TEST_DATABASE";
const POLICY: &str = r#"
[roles.web-admin]
hosts = ["*"]
actions = ["ssh", "sudo"]
longest = "4h"
may_ask = { groups = ["developers"] }
approve = { groups = ["leads"] }
"#;
const ASKERS: usize = 10;
const APPROVERS: usize = 50;
/// As many as one person may have open.
const EACH: usize = 20;

fn people() -> Vec<(String, u32)> {
    let askers = (0..ASKERS).map(asker);
    let approvers = (0..APPROVERS).map(approver);
    let all = askers.chain(approvers).chain(["mallory".to_owned()]);
    let numbered = (2_000..).zip(all).map(|(uid, name)| (name, uid));
    numbered.chain([("root".to_owned(), 0)]).collect()
}

fn asker(number: usize) -> String {
    format!("asker{number}")
}

fn approver(number: usize) -> String {
    format!("lead{number}")
}

/// Not a test of its own: the process of one server.
#[tokio::test]
async fn one_server_of_several() {
    let (Ok(folder), Ok(address)) = (std::env::var(FOLDER), std::env::var(DATABASE)) else {
        return;
    };
    let people = people();
    let people: Vec<(&str, u32)> = people.iter().map(|(name, uid)| (&**name, *uid)).collect();
    let store = PostgresStore::open(&address.parse().unwrap())
        .await
        .unwrap();
    let running = Running::start_on(Path::new(&folder), Box::new(store), &people).await;
    let over = running.server.must_start_anew().await;
    panic!("{over}");
}

/// A server in a process of its own.
struct Server {
    folder: PathBuf,
    address: String,
    process: Child,
}

impl Server {
    async fn start(folder: &Path, address: &str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("policy.toml"), POLICY).unwrap();
        let up = folder.join("root");
        let _ = std::fs::remove_file(&up);
        let server = Self {
            folder: folder.to_owned(),
            address: address.to_owned(),
            process: Self::process(folder, address),
        };
        let answers = async {
            while UnixStream::connect(&up).await.is_err() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), answers).await.unwrap();
        server
    }

    fn process(folder: &Path, address: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "one_server_of_several", "--nocapture"])
            .env(FOLDER, folder)
            .env(DATABASE, address)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Another machine that has joined.
    async fn joined(&self, folder: &Path) -> Self {
        std::fs::create_dir_all(folder.join("mark")).unwrap();
        for file in ["signing.key", "mark/recorded"] {
            std::fs::copy(self.folder.join(file), folder.join(file)).unwrap();
        }
        Self::start(folder, &self.address).await
    }

    /// As `kill -9`.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn as_(&self, name: &str) -> Person {
        Person {
            socket: self.folder.join(name),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Adds everybody and so many hosts, `web-0` and so on.
async fn populate(server: &Server, hosts: usize) -> Vec<Host> {
    let root = server.as_("root");
    let users = (0..ASKERS).map(|number| (asker(number), "developers"));
    let users = users.chain((0..APPROVERS).map(|number| (approver(number), "leads")));
    for (name, group) in users {
        let user = json!({ "name": name, "login": name, "groups": [group] });
        root.post("/v1/users", user).await.is(201);
    }
    let mut enrolled = Vec::new();
    for number in 0..hosts {
        enrolled.push(Host::enrol(&root, &format!("web-{number}")).await);
    }
    enrolled
}

/// What somebody asks for: one may have one such request open at a time.
fn ask(host: usize) -> Value {
    let host = format!("web-{host}");
    json!({ "role": "web-admin", "hosts": [host], "for_seconds": 3_600, "reason": "disk full" })
}

async fn record(server: &Server) -> Vec<Value> {
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

/// Checks the whole record: no gap, and each request granted once at most. Gives which were, with their grants.
async fn granted_once(server: &Server) -> BTreeMap<String, Vec<String>> {
    let record = record(server).await;
    for (due, event) in (1..).zip(&record) {
        assert_eq!(event["seq"], due, "no gap and no number twice");
    }
    let mut granted = BTreeMap::new();
    let mut grants = BTreeSet::new();
    for event in record.iter().filter(|event| event["kind"] == "granted") {
        let detail = &event["detail"];
        let request = detail["request"].as_str().unwrap().to_owned();
        let made = detail["grants"].as_array().unwrap().iter();
        let made: Vec<String> = made
            .map(|one| one["grant"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(made.len(), 1);
        assert!(grants.insert(made[0].clone()), "{made:?} twice");
        assert!(granted.insert(request, made).is_none(), "granted twice");
    }
    granted
}

fn now() -> Timestamp {
    WallClock::starting_at(Timestamp::UNIX_EPOCH).now()
}

/// The host's stream at that door, from the revision that it holds on. None where there is none to be had.
async fn stream_at(host: &Host, door: &Person, held: u64) -> Option<Stream> {
    let token = HostToken::sign(&host.id, &host.key, now()).unwrap();
    let (authorization, held) = (format!("Bearer {token}"), held.to_string());
    let headers = [
        ("authorization", &*authorization),
        ("last-event-id", &*held),
    ];
    let response = door
        .try_send(Method::GET, "/v1/host/stream", &headers, Bytes::new())
        .await
        .ok()?;
    (response.status() == 200).then(|| Stream::of(response))
}

/// Verified as jitd does it.
fn verified(host: &Host, bundle: &str) -> Bundle {
    let later = now() + SignedDuration::from_secs(5);
    Bundle::verify(bundle.as_bytes(), &host.trusted, &host.id, 0, later).unwrap()
}

/// What the host at this server is told.
async fn bundle_at(host: &Host, server: &Server) -> Bundle {
    let stream = stream_at(host, &server.as_("mallory"), 0).await;
    verified(host, &stream.unwrap().next().await.data)
}

/// What a host heard that goes from server to server.
#[derive(Debug, Default)]
struct Heard {
    revision: u64,
    /// From each of the two.
    bundles: [usize; 2],
}

/// Listens as a host does: at one server until its stream ends, then at the other.
async fn listen(host: Host, doors: [Person; 2], heard: watch::Sender<Heard>) {
    for turn in (0..2).cycle() {
        let held = heard.borrow().revision;
        let Some(mut stream) = stream_at(&host, &doors[turn], held).await else {
            // Nothing tells when the server that is away can be reached again.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        while let Some(event) = stream.next_or_end().await {
            if event.name == "bundle" {
                let told = verified(&host, &event.data).revision;
                assert!(told > heard.borrow().revision, "a revision went back");
                heard.send_modify(|heard| {
                    heard.revision = told;
                    heard.bundles[turn] += 1;
                });
            }
        }
    }
}

/// Waits until both servers tell the host the same, and gives that.
async fn agreed(host: &Host, servers: [&Server; 2]) -> Bundle {
    let agree = async {
        loop {
            let [one, other] = [
                bundle_at(host, servers[0]).await,
                bundle_at(host, servers[1]).await,
            ];
            if one.revision == other.revision {
                assert_eq!(one.grants, other.grants);
                return one;
            }
        }
    };
    timeout(Duration::from_secs(10), agree).await.unwrap()
}

#[tokio::test]
async fn fifty_approvers_race_on_two_servers_and_each_request_is_granted_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let address = Postgres::shared().database();
    let one = Server::start(&folder.path().join("one"), &address).await;
    let other = one.joined(&folder.path().join("other")).await;
    let hosts = populate(&one, EACH).await;
    let mut requests = Vec::new();
    for number in 0..ASKERS {
        let asker = one.as_(&asker(number));
        for host in 0..EACH {
            let asked = asker.post("/v1/requests", ask(host)).await;
            requests.push(common::id(&asked.is(201)));
        }
    }
    assert_eq!(requests.len(), 200);
    let approving = (0..APPROVERS).map(|number| {
        let (requests, name) = (&requests, approver(number));
        let doors = [one.as_(&name), other.as_(&name)];
        async move {
            // Everybody tries a quarter of them; each is tried by a dozen people at about the same moment, at both servers.
            let mut done = Vec::new();
            for (place, request) in requests.iter().enumerate().skip(number % 4).step_by(4) {
                let door = &doors[(place / 4 + number) % 2];
                let path = format!("/v1/requests/{request}/approve");
                let answer = door.post(&path, json!({})).await;
                match answer.status.as_u16() {
                    200 => done.push(request.clone()),
                    409 => {}
                    _ => panic!("{request}: {answer:?}"),
                }
            }
            done
        }
    });
    let acknowledged: Vec<String> = join_all(approving).await.into_iter().flatten().collect();
    let granted = granted_once(&one).await;
    assert_eq!(granted.len(), 200);
    let all: BTreeSet<&String> = requests.iter().collect();
    assert_eq!(acknowledged.len(), 200, "one approval of each went through");
    assert_eq!(acknowledged.iter().collect::<BTreeSet<_>>(), all);
    for host in &hosts {
        let told = agreed(host, [&one, &other]).await;
        assert_eq!(told.grants.len(), ASKERS);
    }
}

/// Calls at one server or the other until one of them gives a clear answer.
async fn until_clear(doors: &[Person; 2], first: usize, path: &str, body: &Value) -> Answer {
    let clear = async {
        for turn in first.. {
            let answer = doors[turn % 2].try_post(path, body.clone()).await;
            match answer {
                Some(answer) if answer.status != 503 => return answer,
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
        unreachable!()
    };
    timeout(Duration::from_secs(120), clear).await.unwrap()
}

/// The request of somebody that is not decided yet, at whichever server answers.
async fn open_request(doors: &[Person; 2]) -> String {
    let found = async {
        loop {
            for door in doors {
                let Some(answer) = door.try_get("/v1/requests").await else {
                    continue;
                };
                let all = answer.body.as_array().cloned().unwrap_or_default();
                let open = all.iter().find(|request| request["state"] == "pending");
                if let Some(open) = open {
                    return common::id(open);
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), found).await.unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_kill_of_a_server_and_restarts_of_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Arc::new(Postgres::start());
    let address = postgres.database();
    let mut one = Server::start(&folder.path().join("one"), &address).await;
    let other = one.joined(&folder.path().join("other")).await;
    let host = populate(&one, 1).await.remove(0);
    let (heard_one, mut heard) = watch::channel(Heard::default());
    let listening = tokio::spawn(listen(
        Host {
            id: host.id.clone(),
            key: host.key.clone(),
            trusted: host.trusted.clone(),
            door: one.as_("mallory"),
        },
        [&one, &other].map(|server| server.as_("mallory")),
        heard_one,
    ));
    let decided = Arc::new(AtomicUsize::new(0));
    let people = (0..ASKERS).map(|number| {
        let name = asker(number);
        let doors = [one.as_(&name), other.as_(&name)];
        let leads: Vec<[Person; 2]> = (0..5)
            .map(|lead| approver(number * 5 + lead))
            .map(|lead| [one.as_(&lead), other.as_(&lead)])
            .collect();
        let decided = Arc::clone(&decided);
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for round in 0..EACH {
                let asked = until_clear(&doors, round, "/v1/requests", &ask(0)).await;
                // A call whose answer was lost was kept perhaps, and then this is the second.
                let request = if asked.status == 409 {
                    open_request(&doors).await
                } else {
                    common::id(&asked.is(201))
                };
                let path = format!("/v1/requests/{request}/approve");
                let approving = leads
                    .iter()
                    .enumerate()
                    .map(async |(turn, lead)| until_clear(lead, turn, &path, &json!({})).await);
                let answers = join_all(approving).await;
                for answer in &answers {
                    assert!([200, 409].contains(&answer.status.as_u16()), "{answer:?}");
                }
                decided.fetch_add(1, Ordering::Relaxed);
                acknowledged.push(request);
            }
            acknowledged
        })
    });
    let people: Vec<_> = people.collect();
    let until = async |many: usize| {
        while decided.load(Ordering::Relaxed) < many {
            sleep(Duration::from_millis(5)).await;
        }
    };
    for (many, blow) in [(30, 0), (70, 1), (110, 2), (150, 1)] {
        timeout(Duration::from_secs(120), until(many))
            .await
            .unwrap();
        match blow {
            0 => one.kill(),
            1 => {
                let postgres = Arc::clone(&postgres);
                let restarted = tokio::task::spawn_blocking(move || postgres.restart());
                restarted.await.unwrap();
            }
            _ => one = Server::start(&folder.path().join("one"), &address).await,
        }
    }
    let mut acknowledged = Vec::new();
    for person in people {
        acknowledged.extend(person.await.unwrap());
    }
    let granted = granted_once(&other).await;
    assert_eq!(acknowledged.len(), 200);
    assert_eq!(granted.len(), 200);
    for request in &acknowledged {
        assert!(granted.contains_key(request), "{request} was lost");
    }
    let told = agreed(&host, [&one, &other]).await;
    assert_eq!(told.grants.len(), granted.len());
    // Where the listener panicked there is nobody to say more, and what it said is looked at below.
    let hears_the_last = heard.wait_for(|heard| heard.revision >= told.revision);
    let _ = timeout(Duration::from_secs(30), hears_the_last)
        .await
        .unwrap();
    listening.abort();
    let ended = listening.await.unwrap_err();
    assert!(ended.is_cancelled(), "{ended}");
    let heard = heard.borrow();
    assert_eq!(heard.revision, told.revision);
    assert!(heard.bundles.iter().all(|many| *many > 0), "{heard:?}");
}
