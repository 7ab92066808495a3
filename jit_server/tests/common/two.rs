//! Two servers that share a PostgreSQL.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jit_grant::Nonce;
use jit_server::server::Server;
use jit_server::store::{PostgresStore, Store};
use serde_json::{Value, json};

use crate::common::{self, Host, PEOPLE, Running};
use crate::postgres::Postgres;

pub async fn start(folder: &Path, address: &str) -> Running {
    std::fs::create_dir_all(folder).unwrap();
    Running::start_on(folder, store(address).await, &PEOPLE).await
}

pub async fn store(address: &str) -> Box<dyn Store> {
    Box::new(
        PostgresStore::open(&address.parse().unwrap())
            .await
            .unwrap(),
    )
}

/// What `jit-server init` does on a machine that becomes another server: it has the key, and knows how far the record has come.
pub fn join(first: &Path, next: &Path) {
    std::fs::create_dir_all(next.join("mark")).unwrap();
    for file in ["signing.key", "mark/recorded"] {
        std::fs::copy(first.join(file), next.join(file)).unwrap();
    }
}

/// Two servers that share a database.
pub struct Two {
    pub folder: tempfile::TempDir,
    pub address: String,
    pub one: Running,
    pub other: Running,
}

impl Two {
    pub async fn on(postgres: &Postgres) -> Self {
        Self::at(postgres.database()).await
    }

    pub async fn at(address: String) -> Self {
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

    /// Asks so often, and has each approved at both servers at the same time: each is granted once, and the record has no gap.
    pub async fn race(&self, times: usize) {
        for _ in 0..times {
            let request = self.one.as_("alice").asks(60).await;
            let path = format!("/v1/requests/{request}/approve");
            let approving = [&self.one, &self.other].map(|server| server.as_("bob"));
            let approving = approving.iter().map(|bob| bob.post(&path, json!({})));
            let answers = join_all(approving).await;
            let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 409]);
        }
        let record = record(&self.other).await;
        assert_eq!(of_kind(&record, "granted").len(), times);
        for (number, event) in (1..).zip(&record) {
            assert_eq!(event["seq"], number);
        }
    }

    /// The host at the door of the other server, once that knows it.
    pub async fn at_other(&self, host: &Host) -> Host {
        let knows = async || self.other.server.host_key(&host.id).is_some();
        within(Duration::from_secs(5), knows).await;
        at_door_of(host, &self.other)
    }
}

pub async fn within(time: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + time;
    while !holds().await {
        assert!(Instant::now() < until, "not within {time:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same host at the door of another server.
pub fn at_door_of(host: &Host, server: &Running) -> Host {
    Host {
        id: host.id.clone(),
        key: host.key.clone(),
        trusted: host.trusted.clone(),
        door: server.as_("mallory"),
    }
}

pub async fn record(server: &Running) -> Vec<Value> {
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

pub fn of_kind<'r>(record: &'r [Value], kind: &str) -> Vec<&'r Value> {
    record
        .iter()
        .filter(|event| event["kind"] == kind)
        .collect()
}

pub async fn word(host: &Host, server: &Server) -> common::Answer {
    let nonce = Nonce::generate().unwrap();
    host.post(
        server,
        "/v1/host/word",
        json!({ "nonce": nonce, "state": null }),
    )
    .await
}
