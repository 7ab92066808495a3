//! A server is stopped and started again, as systemd does it, while people ask and approve and a host listens. Nothing is lost by that.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Elsewhere, Host, Person, id};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use jit_grant::{Bundle, GrantId, HostToken};
use jit_server::clock::{Clock, WallClock};
use jit_server::tls::Authority;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// systemd kills a server that takes longer (`TimeoutStopSec`).
const LONGEST_STOP: Duration = Duration::from_secs(10);
const ASKERS: usize = 3;
/// Calls that wait for the next server wait no longer.
const LONGEST_CALL: Duration = Duration::from_secs(30);

fn now() -> Timestamp {
    WallClock::starting_at(Timestamp::UNIX_EPOCH).now()
}

/// The sockets that systemd holds, and the server that it starts on them.
struct Machine {
    folder: PathBuf,
    local: UnixListener,
    tls: TcpListener,
}

impl Machine {
    fn new(folder: &Path) -> Self {
        let state = folder.join("state");
        std::fs::create_dir(&state).unwrap();
        std::fs::write(folder.join("policy.toml"), common::POLICY).unwrap();
        let prepared = Command::new(env!("CARGO_BIN_EXE_jit-server"))
            .args(["prepare", "--state"])
            .arg(&state)
            .output()
            .unwrap();
        assert!(prepared.status.success(), "{prepared:?}");
        let authority = Authority::folder(&state);
        Authority::make(&authority, &["jit.test".parse().unwrap()], now()).unwrap();
        let machine = Self {
            folder: folder.to_owned(),
            local: UnixListener::bind(folder.join("root")).unwrap(),
            tls: TcpListener::bind("127.0.0.1:0").unwrap(),
        };
        for socket in [machine.local.as_raw_fd(), machine.tls.as_raw_fd()] {
            inherited(&machine, socket);
        }
        machine
    }

    fn start(&self) -> Server {
        let (local, tls) = (self.local.as_raw_fd(), self.tls.as_raw_fd());
        // The variables name the process that they are for.
        let script = format!(
            "exec env LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=api:tls \"$0\" \"$@\" 3<&{local} 4<&{tls}"
        );
        let process = Command::new("bash")
            .args(["-c", &script, env!("CARGO_BIN_EXE_jit-server"), "serve"])
            .arg("--state")
            .arg(self.folder.join("state"))
            .arg("--policy")
            .arg(self.folder.join("policy.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Server(process.unwrap())
    }

    fn elsewhere(&self) -> Elsewhere {
        let authority = Authority::load(&Authority::folder(&self.folder.join("state")));
        Elsewhere {
            address: self.tls.local_addr().unwrap(),
            ca: authority.unwrap().certificate().to_owned(),
        }
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Where the test fails; otherwise it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn inherited(machine: &Machine, socket: RawFd) {
    let socket: &dyn std::os::fd::AsFd = if socket == machine.local.as_raw_fd() {
        &machine.local
    } else {
        &machine.tls
    };
    fcntl(socket.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
}

/// As `systemctl stop`; how long it took.
async fn stopped(mut server: Server) -> Duration {
    let began = Instant::now();
    let pid = Pid::from_raw(server.0.id().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || server.0.wait().unwrap());
    let ended = timeout(LONGEST_STOP, ended).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
    began.elapsed()
}

/// Somebody at another machine.
struct Away {
    elsewhere: Arc<Elsewhere>,
    token: String,
    /// Calls whose connection broke before they were answered.
    lost: Arc<AtomicUsize>,
}

impl Away {
    /// Sends a call until it is answered, as jitctl does, and counts how often its connection broke.
    async fn post(&self, key: &str, path: &str, body: &Value) -> (u16, Value) {
        let answered = async {
            loop {
                match self.once(key, path, body).await {
                    Some((409, body)) if body["code"] == "call-under-way" => {}
                    Some((503, body)) => assert_eq!(body["code"], "stopping", "{body}"),
                    Some(answer) => return answer,
                    None => {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LONGEST_CALL, answered).await.unwrap()
    }

    async fn once(&self, key: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let stream = self.elsewhere.try_to_connect().await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = Request::post(path)
            .header("host", "jit.test")
            .header("jit-client", "test/1")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.token))
            .header("idempotency-key", key)
            .body(Full::new(Bytes::from(body.to_string())));
        let answer = sender.send_request(request.unwrap()).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some((status, serde_json::from_slice(&body).ok()?))
    }
}

/// What the host was told, on stream after stream.
#[derive(Default)]
struct Heard {
    revision: u64,
    grants: BTreeSet<GrantId>,
    /// Streams that the server ended as HTTP has it.
    ended_well: usize,
    /// Streams that broke.
    broken: usize,
}

async fn listen(host: Arc<Host>, elsewhere: Arc<Elsewhere>, heard: Arc<Mutex<Heard>>) {
    loop {
        let held = heard.lock().unwrap().revision.to_string();
        let token = HostToken::sign(&host.id, &host.key, now()).unwrap();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), ("last-event-id", &*held)];
        let answer = elsewhere.send(Method::GET, "/v1/host/stream", &headers, json!({}));
        let answer = answer.await;
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        let mut text = String::new();
        let ended_well = loop {
            match body.frame().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => {
                    text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
                }
            }
            while let Some((event, rest)) = text.split_once("\n\n") {
                let bundle = event.lines().find_map(|line| line.strip_prefix("data:"));
                if let Some(bundle) = bundle.filter(|_| event.contains("event: bundle")) {
                    take_in(&host, bundle.trim(), &heard);
                }
                text = rest.to_owned();
            }
        };
        let mut heard = heard.lock().unwrap();
        if ended_well {
            heard.ended_well += 1;
        } else {
            heard.broken += 1;
        }
    }
}

fn take_in(host: &Host, bundle: &str, heard: &Mutex<Heard>) {
    let later = now() + SignedDuration::from_secs(5);
    let bundle = Bundle::verify(bundle.as_bytes(), &host.trusted, &host.id, 0, later).unwrap();
    let mut heard = heard.lock().unwrap();
    assert!(bundle.revision > heard.revision, "a revision went back");
    heard.revision = bundle.revision;
    heard.grants = bundle.grants.into_iter().map(|grant| grant.id).collect();
}

/// Asks and has it approved, again and again until it is over; the requests and grants that were acknowledged.
async fn work(
    number: usize,
    asker: Away,
    approver: Away,
    over: Arc<AtomicBool>,
    granted: Arc<AtomicUsize>,
) -> Vec<(String, GrantId)> {
    let mut done = Vec::new();
    for round in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("k{number}-{round}");
        let body = json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": 3_600, "reason": "disk full" });
        let (status, asked) = asker.post(&key, "/v1/requests", &body).await;
        assert_eq!(status, 201, "{asked}");
        let request = id(&asked);
        let path = format!("/v1/requests/{request}/approve");
        let (status, approved) = approver.post(&key, &path, &json!({})).await;
        assert_eq!(status, 200, "{approved}");
        let grant = approved["grants"][0].as_str().unwrap().parse().unwrap();
        granted.fetch_add(1, Ordering::Relaxed);
        done.push((request, grant));
    }
    done
}

#[tokio::test]
async fn a_restart_loses_no_call_and_no_grant_and_ends_streams_cleanly() {
    assert!(nix::unistd::getuid().is_root(), "run it as root");
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::new(folder.path());
    let mut server = machine.start();
    let elsewhere = Arc::new(machine.elsewhere());
    let root = Person {
        socket: folder.path().join("root"),
    };
    let lost = Arc::new(AtomicUsize::new(0));
    let away = async |name: String, group: &str| {
        let user = json!({ "name": name, "login": name, "groups": [group] });
        root.post("/v1/users", user).await.is(201);
        let path = format!("/v1/users/{name}/tokens");
        let made = root.post(&path, json!({ "for_seconds": 600 })).await;
        Away {
            elsewhere: Arc::clone(&elsewhere),
            token: made.is(201)["token"].as_str().unwrap().to_owned(),
            lost: Arc::clone(&lost),
        }
    };
    let host = Arc::new(Host::enrol(&root, "web-1").await);
    let heard = Arc::new(Mutex::new(Heard::default()));
    let listening = listen(
        Arc::clone(&host),
        Arc::clone(&elsewhere),
        Arc::clone(&heard),
    );
    let listening = tokio::spawn(listening);
    let (over, granted) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut working = Vec::new();
    for number in 0..ASKERS {
        let asker = away(format!("asker{number}"), "developers").await;
        let approver = away(format!("lead{number}"), "leads").await;
        let work = work(
            number,
            asker,
            approver,
            Arc::clone(&over),
            Arc::clone(&granted),
        );
        working.push(tokio::spawn(work));
    }
    for restart in 1..=3 {
        let many = async {
            while granted.load(Ordering::Relaxed) < restart * 10 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONGEST_CALL, many).await.unwrap();
        let took = stopped(server).await;
        assert!(took < Duration::from_secs(4), "{took:?}");
        server = machine.start();
    }
    sleep(Duration::from_secs(1)).await;
    over.store(true, Ordering::Relaxed);
    let mut done = Vec::new();
    for work in working {
        done.extend(work.await.unwrap());
    }
    let all: BTreeSet<GrantId> = done.iter().map(|(_, grant)| grant.clone()).collect();
    assert_eq!(all.len(), done.len(), "nothing is granted twice");
    let told = async {
        while heard.lock().unwrap().grants != all {
            assert!(!listening.is_finished(), "the host listens");
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), told).await.unwrap();
    let asked = root.get("/v1/requests").await.is(200);
    let asked = asked.as_array().unwrap().iter().map(id);
    let asked: BTreeSet<String> = asked.collect();
    let acknowledged = done.into_iter().map(|(request, _)| request);
    assert_eq!(asked, acknowledged.collect(), "nothing is asked twice");
    {
        let heard = heard.lock().unwrap();
        assert_eq!((heard.ended_well, heard.broken), (3, 0));
    }
    assert_eq!(lost.load(Ordering::Relaxed), 0, "calls without an answer");
    listening.abort();
    stopped(server).await;
}
