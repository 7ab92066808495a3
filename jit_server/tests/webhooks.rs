//! `jit-server webhooks` as it is run, beside a server, with receivers on the loopback address that check what they get.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{POLICY, Running};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const KEY: &[u8; 24] = b"twenty-four bytes, no 25";
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a receiver got, its signature checked.
#[derive(Debug, PartialEq)]
struct Got {
    id: String,
    body: Value,
}

/// A receiver that answers with the status that it is told to.
struct Receiver {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    got: mpsc::UnboundedReceiver<Got>,
}

impl Receiver {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(AtomicU16::new(status));
        let (sender, got) = mpsc::unbounded_channel();
        let answers = Arc::clone(&status);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (sender, answers) = (sender.clone(), Arc::clone(&answers));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (sender, answers) = (sender.clone(), Arc::clone(&answers));
                    async move {
                        let _ = sender.send(checked(request).await);
                        let mut response = Response::new(Empty::<Bytes>::new());
                        *response.status_mut() =
                            hyper::StatusCode::from_u16(answers.load(Ordering::SeqCst)).unwrap();
                        Ok::<_, Infallible>(response)
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            address,
            status,
            got,
        }
    }

    async fn next(&mut self) -> Got {
        let got = tokio::time::timeout(LONGEST_WAIT, self.got.recv()).await;
        got.unwrap().unwrap()
    }
}

/// What is in a call, where it is signed with the secret and made just now.
async fn checked(request: Request<Incoming>) -> Got {
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let signature = header("webhook-signature");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(&body);
    let signature = STANDARD
        .decode(signature.strip_prefix("v1,").unwrap())
        .unwrap();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, KEY), &signed, &signature).unwrap();
    let now =
        jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(timestamp.parse().unwrap());
    let body: Value = serde_json::from_slice(&body).unwrap();
    let happened: jiff::Timestamp = body["timestamp"].as_str().unwrap().parse().unwrap();
    let late = now.duration_since(happened);
    assert!(late.as_secs().abs() < 60, "{late}");
    Got { id, body }
}

/// A server whose record carol may read, and settings for these endpoints.
async fn start(folder: &Path, endpoints: &[(&str, SocketAddr)], events: &str) -> Running {
    let policy = format!("may_audit = {{ users = [\"carol\"] }}\n{POLICY}");
    std::fs::write(folder.join("policy.toml"), policy).unwrap();
    let running = Running::start(folder).await;
    running.populate().await;
    let secret = folder.join("secret");
    std::fs::write(&secret, format!("whsec_{}\n", STANDARD.encode(KEY))).unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let mut text = String::new();
    for (name, address) in endpoints {
        text.push_str(&format!(
            "[[endpoint]]\nname = {name:?}\nurl = \"http://{address}/\"\nsecret_file = {secret:?}\nevents = {events}\n"
        ));
    }
    std::fs::write(folder.join("webhooks.toml"), text).unwrap();
    running
}

/// The sender, killed when this is dropped.
struct Sender(Child);

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(folder: &Path, who: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jit-server"));
    command
        .args(["webhooks", "--config", "webhooks.toml", "--state", "state"])
        .env("JIT_SERVER_SOCKET", folder.join(who))
        .env_remove("CREDENTIALS_DIRECTORY")
        .current_dir(folder);
    command
}

/// Starts the sender, and waits until each endpoint has a place to go on from.
async fn send(folder: &Path, who: &str, names: &[&str]) -> Sender {
    let sender = Sender(command(folder, who).spawn().unwrap());
    for name in names {
        let place = folder.join(format!("state/at/{name}.json"));
        let begun = async {
            while !place.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONGEST_WAIT, begun).await.unwrap();
    }
    sender
}

async fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = command(folder, "carol");
    command.args(arguments).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_receiver_hears_of_a_request_its_approval_and_its_grant_signed_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(200).await;
    let events = "[\"request\", \"approval\", \"start\", \"expiry\"]";
    let running = start(folder.path(), &[("pager", receiver.address)], events).await;
    let sender = send(folder.path(), "carol", &["pager"]).await;
    let request = running.as_("alice").asks(3).await;
    running.as_("bob").approves(&request).await;
    let record = running.as_("root").get("/v1/audit").await.is(200);
    let record = record["events"].as_array().unwrap();
    for kind in ["requested", "approved", "granted"] {
        let got = receiver.next().await;
        let event = record.iter().find(|event| event["kind"] == kind).unwrap();
        // How the caller came in is for those who read the whole record.
        let mut event = event.clone();
        assert!(event.as_object_mut().unwrap().remove("via").is_some());
        let detail = event["detail"].as_object_mut().unwrap();
        assert_eq!(detail.remove("asked_from").is_some(), kind == "requested");
        assert_eq!(
            got.body,
            json!({ "type": kind, "timestamp": event["at"], "data": event })
        );
    }
    let second = run(folder.path(), &[]).await;
    let said = text(&second.stderr);
    assert!(
        said.contains("another `jit-server webhooks` runs"),
        "{said}"
    );
    for kind in ["started", "expired"] {
        let got = receiver.next().await.body;
        assert_eq!(
            (&got["type"], &got["data"]["subject"]),
            (&json!(kind), &json!("g1"))
        );
        assert_eq!(got["data"]["detail"]["principal"], "alice");
    }
    drop(sender);
}

#[tokio::test]
async fn one_receiver_that_is_away_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (mut away, mut there) = (Receiver::start(503).await, Receiver::start(200).await);
    let endpoints = [("away", away.address), ("there", there.address)];
    let running = start(folder.path(), &endpoints, "[\"requested\", \"withdrawn\"]").await;
    let _sender = send(folder.path(), "carol", &["away", "there"]).await;
    let request = running.as_("alice").asks(600).await;
    let path = format!("/v1/requests/{request}/withdraw");
    running.as_("alice").post(&path, json!({})).await.is(200);
    for kind in ["requested", "withdrawn"] {
        assert_eq!(there.next().await.body["type"], kind);
    }
    let first = away.next().await;
    away.status.store(200, Ordering::SeqCst);
    assert_eq!(away.next().await, first, "once more, the same");
    assert_eq!(away.next().await.body["type"], "withdrawn");
}

#[tokio::test]
async fn a_sender_that_is_killed_loses_nothing_and_sends_nothing_again_that_it_noted() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(503).await;
    let endpoints = [("pager", receiver.address)];
    let running = start(folder.path(), &endpoints, "[\"requested\"]").await;
    let sender = send(folder.path(), "carol", &["pager"]).await;
    let ask = |host: &str| json!({ "role": "database", "hosts": [host], "for_seconds": 600, "reason": "disk full" });
    let alice = running.as_("alice");
    alice.asks(600).await;
    let first = receiver.next().await;
    drop(sender);
    alice.post("/v1/requests", ask("web-1")).await.is(201);
    receiver.status.store(200, Ordering::SeqCst);
    let sender = send(folder.path(), "carol", &["pager"]).await;
    assert_eq!(receiver.next().await, first);
    let second = receiver.next().await;
    assert_ne!(second.id, first.id);
    drop(sender);
    let _sender = send(folder.path(), "carol", &["pager"]).await;
    let request = second.body["data"]["subject"].as_str().unwrap();
    let path = format!("/v1/requests/{request}/withdraw");
    alice.post(&path, json!({})).await.is(200);
    alice.post("/v1/requests", ask("web-1")).await.is(201);
    let third = receiver.next().await;
    // The kill may have come between the second answer and its note: then it is sent again, as it was.
    let third = if third == second {
        receiver.next().await
    } else {
        third
    };
    assert_ne!(third.id, second.id);
    assert_eq!(third.body["type"], "requested");
}

#[tokio::test]
async fn whom_the_policy_does_not_name_gets_nothing_to_send_and_hears_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(200).await;
    let endpoints = [("pager", receiver.address)];
    let running = start(folder.path(), &endpoints, "[\"requested\"]").await;
    let log = folder.path().join("log");
    let mut command = command(folder.path(), "bob");
    command.stderr(std::fs::File::create(&log).unwrap());
    let _sender = Sender(command.spawn().unwrap());
    let said = async {
        while !std::fs::read_to_string(&log).unwrap().contains("may_audit") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONGEST_WAIT, said).await.unwrap();
    running.as_("alice").asks(600).await;
    let policy = format!("may_audit = {{ users = [\"bob\"] }}\n{POLICY}");
    std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
    running.server.look_at_policy().await.unwrap();
    assert_eq!(receiver.next().await.body["type"], "requested");
}

#[tokio::test]
async fn settings_are_checked_and_dead_letters_listed_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let address = "127.0.0.1:1".parse().unwrap();
    start(folder.path(), &[("pager", address)], "[\"requested\"]")
        .await
        .stop()
        .await;
    let checked = run(folder.path(), &["--check"]).await;
    assert_eq!(
        text(&checked.stdout),
        "webhooks.toml is right: 1 endpoint\n",
        "{checked:?}"
    );
    let early = run(folder.path(), &["--dead"]).await;
    assert!(text(&early.stderr).contains("has jit-server-webhooks.service run yet?"));
    std::fs::create_dir(folder.path().join("state")).unwrap();
    let none = run(folder.path(), &["--dead"]).await;
    assert_eq!(text(&none.stdout), "nothing was given up\n", "{none:?}");
    std::fs::create_dir_all(folder.path().join("state/dead")).unwrap();
    std::fs::create_dir_all(folder.path().join("state/again")).unwrap();
    let at = "2026-11-22T12:00:00Z";
    let dead = json!({ "given_up": at, "why": "it answers 503", "id": "msg_pager_7_1", "type": "requested", "timestamp": at, "data": {} });
    std::fs::write(
        folder.path().join("state/dead/pager.jsonl"),
        format!("{dead}\n"),
    )
    .unwrap();
    let listed = run(folder.path(), &["--dead"]).await;
    assert!(
        text(&listed.stdout).contains("it answers 503"),
        "{listed:?}"
    );
    let listed = run(folder.path(), &["--dead", "--json"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["endpoint"]),
        (&dead["id"], &json!("pager"))
    );
    let again = run(folder.path(), &["--again", "pager"]).await;
    assert!(text(&again.stdout).starts_with("1 event "), "{again:?}");
    let twice = run(folder.path(), &["--again", "pager"]).await;
    assert_eq!(twice.status.code(), Some(1));
    std::fs::write(
        folder.path().join("webhooks.toml"),
        "[[endpoint]]\ncolour = 1\n",
    )
    .unwrap();
    let wrong = run(folder.path(), &["--check"]).await;
    assert_eq!(wrong.status.code(), Some(1));
    let said = text(&wrong.stdout);
    assert!(
        said.contains("webhooks.toml:2: endpoint.colour: unknown key"),
        "{said}"
    );
    let usage = run(folder.path(), &["--check", "--dead"]).await;
    assert_eq!(usage.status.code(), Some(2));
}

#[tokio::test]
#[allow(clippy::print_stderr, reason = "says why nothing was tried")]
async fn root_follows_no_link_of_a_sender_that_somebody_took_over() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("not tried: only root can be led astray so");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let state = folder.path().join("state");
    for place in [&state, &state.join("dead"), &folder.path().join("roots")] {
        std::fs::create_dir(place).unwrap();
    }
    let lines = state.join("dead/pager.jsonl");
    std::fs::write(&lines, "").unwrap();
    std::os::unix::fs::symlink(folder.path().join("roots"), state.join("again")).unwrap();
    let nobody = Some(65_534);
    for place in [&state, &state.join("dead"), &lines] {
        std::os::unix::fs::chown(place, nobody, nobody).unwrap();
    }
    let again = run(folder.path(), &["--again", "pager"]).await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let roots = std::fs::read_dir(folder.path().join("roots")).unwrap();
    assert_eq!(roots.count(), 0);
    std::fs::remove_file(state.join("again")).unwrap();
    std::fs::create_dir(state.join("again")).unwrap();
    std::os::unix::fs::chown(state.join("again"), nobody, nobody).unwrap();
    let again = run(folder.path(), &["--again", "pager"]).await;
    assert!(again.status.success(), "{again:?}");
    let made = std::fs::metadata(state.join("again/pager.jsonl")).unwrap();
    assert_eq!(Some(made.uid()), nobody, "so the sender can take it away");
}
