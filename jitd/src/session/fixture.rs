//! Sessions for tests, where there is no systemd to hold any.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use jit_grant::{Action, Code, Credential, Query};
use serde_json::{Value, json};

use super::cgroup::Cgroup;
use super::held::{Held, Kind, Scope};
use super::process::{Process, Stat};
use super::types::{Judge, Live, Opening, SessionId, Standing};
use super::{Registry, Sessions};
use crate::clock::Clock;
use crate::peer::Peer;
use crate::record::Record;

/// Always of the same opinion.
pub(super) struct Always(pub(super) Standing);

impl Judge for Always {
    fn standing(&self, _: &Query) -> Standing {
        self.0.clone()
    }
}

pub(super) fn live() -> Always {
    Always(Standing::Live(grant()))
}

pub(super) fn over() -> Always {
    Always(Standing::Over {
        code: Code::NoGrant,
        message: "a long text for a person".to_owned(),
    })
}

fn grant() -> Live {
    Live {
        grant: "g7".parse().unwrap(),
        principal: "ann@example".parse().unwrap(),
        until: Timestamp::MAX,
        ends_login: false,
    }
}

pub(super) fn id(seed: u8) -> SessionId {
    SessionId::from_bytes([seed; 10])
}

/// This very process.
pub(super) fn this() -> Process {
    process(i32::try_from(std::process::id()).unwrap())
}

fn process(pid: i32) -> Process {
    let start_time = Stat::of(pid).unwrap().start_time;
    Process { pid, start_time }
}

/// Who had its number before.
pub(super) fn earlier(process: Process) -> Process {
    Process {
        start_time: process.start_time - 1,
        ..process
    }
}

/// A shell that runs `script`, and the process that jitd would know it as.
pub(super) fn waiting(script: &str) -> (Child, Process) {
    let child = Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let process = process(i32::try_from(child.id()).unwrap());
    (child, process)
}

/// Enforced, held open by g7, and without a scope.
pub(super) fn held(kind: Kind, seed: u8, leader: Process) -> Held {
    let opening = Opening {
        peer: Peer {
            pid: leader.pid,
            started: Arc::new(OnceLock::from(leader.start_time)),
            pidfd: None,
            uid: 0,
            real_uid: 1000,
        },
        query: Query {
            login: "ann".parse().unwrap(),
            action: Action::Ssh,
            credential: Credential::Method("password".to_owned()),
            rhost: Some("192.0.2.7".to_owned()),
            tty: None,
            service: "sshd".to_owned(),
            now: Timestamp::UNIX_EPOCH,
            within: None,
            used: Default::default(),
            groups: Default::default(),
            lacking: Default::default(),
        },
        standing: Some(grant()),
        parent: None,
        enforce: true,
    };
    Held::new(id(seed), kind, &opening, Timestamp::UNIX_EPOCH)
}

/// A scope that has gone: there is nothing in it to kill.
pub(super) fn gone() -> Scope {
    Scope {
        unit: "such.scope".to_owned(),
        invocation: "0".repeat(32),
        cgroup: cgroup("/no.slice/such.scope"),
    }
}

/// A scope that counts as one with somebody in it, and holds nobody that a mistake in a test could end.
pub(super) fn unreadable() -> Scope {
    Scope {
        cgroup: cgroup(&format!("/{}", "x".repeat(300))),
        ..gone()
    }
}

fn cgroup(path: &str) -> Cgroup {
    serde_json::from_value(json!({ "path": path, "id": 1 })).unwrap()
}

/// jitd as it comes back, with what it held when it died, and without any grace.
pub(super) async fn restarted(
    folder: &Path,
    before: &[Held],
    judge: impl Judge + 'static,
) -> (Sessions, Arc<Record>) {
    let clock = Clock::start(None);
    let record = Record::open(&folder.join("events"), &folder.join("log"), clock.clone()).unwrap();
    tokio::spawn(Arc::clone(&record).keep());
    let registry = Registry::open(folder).unwrap();
    before.iter().for_each(|held| registry.save(held).unwrap());
    let sessions = Sessions::start(
        folder,
        clock,
        Arc::new(judge),
        Arc::clone(&record),
        Duration::ZERO,
    );
    (sessions.await.unwrap(), record)
}

/// What was written once so many events are.
pub(super) async fn events(record: &Record, count: u64) -> Vec<Value> {
    let mut written = record.synced();
    written.wait_for(|last| *last >= count).await.unwrap();
    let (lines, _) = record.read_after(0, u64::MAX, 1 << 20).unwrap();
    let event = |line: &String| serde_json::from_str::<Value>(line).unwrap()["event"].take();
    lines.iter().map(event).collect()
}

pub(super) fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["kind"].as_str())
        .collect()
}
