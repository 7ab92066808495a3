//! A server on real Unix sockets in a temporary folder: one socket a person, so that a test can act as several people.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jit_grant::{
    Bundle, Checkpoint, EnrolmentToken, HostId, HostToken, Possession, SigningKey, TrustedKeys,
};
use jit_server::api::{self, Limits, Peer};
use jit_server::clock::WallClock;
use jit_server::listen::{self, Accounts};
use jit_server::mark::Mark;
use jit_server::server::Server;
use jit_server::signer;
use jit_server::store::{SqliteStore, Store};
use jit_server::tls::{Authority, Door, Identity};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Everybody who has a socket, with the account that it stands for. uid 0 is the administrator.
pub const PEOPLE: [(&str, u32); 5] = [
    ("root", 0),
    ("alice", 1001),
    ("bob", 1002),
    ("carol", 1003),
    ("mallory", 1004),
];

pub const POLICY: &str = r#"
[roles.web-admin]
description = "Fix the web servers"
hosts = ["web-1", "web-2"]
actions = ["ssh", "sudo"]
longest = "4h"
may_ask = { groups = ["developers"] }
approve = { groups = ["leads"] }

[roles.database]
hosts = ["*"]
actions = ["ssh"]
longest = "1h"
may_ask = { users = ["alice"] }
approve = { users = ["bob", "carol"], count = 2 }
"#;

pub const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS alice@laptop";
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Says that everybody who connects is one certain account.
struct Always(Peer);

impl Accounts for Always {
    fn peer(&self, _: u32) -> Peer {
        self.0.clone()
    }
}

/// A running server and its folder.
pub struct Running {
    pub folder: PathBuf,
    pub server: Arc<Server>,
}

impl Running {
    /// Starts on what is in `folder`; a fresh folder gets the key and [`POLICY`].
    pub async fn start(folder: &Path) -> Self {
        let store = SqliteStore::open(&folder.join("jit-server.db")).await;
        Self::start_on(folder, Box::new(store.unwrap()), &PEOPLE).await
    }

    /// The same with another store and other people.
    pub async fn start_on(folder: &Path, store: Box<dyn Store>, people: &[(&str, u32)]) -> Self {
        let policy = folder.join("policy.toml");
        if !policy.exists() {
            std::fs::write(&policy, POLICY).unwrap();
        }
        signer::make(&folder.join("signing.key")).unwrap();
        let key = signer::load(&folder.join("signing.key")).unwrap();
        let clock =
            |last| -> Box<dyn jit_server::clock::Clock> { Box::new(WallClock::starting_at(last)) };
        let mark = Mark::open(&folder.join("mark")).unwrap();
        let server = Server::start(store, key, mark, policy, clock)
            .await
            .unwrap();
        tokio::spawn(Arc::clone(&server).follow());
        let limits = Arc::new(Limits::default());
        for &(name, uid) in people {
            let router = api::router(Arc::clone(&server), Arc::clone(&limits));
            let socket = folder.join(name);
            let _ = std::fs::remove_file(&socket);
            let listener = UnixListener::bind(&socket).unwrap();
            let accounts = Arc::new(Always(Peer {
                uid,
                account: Some(name.to_owned()),
            }));
            tokio::spawn(listen::answer(
                listener,
                router,
                accounts,
                Arc::clone(&limits),
                server.stopping(),
            ));
        }
        Self {
            folder: folder.to_owned(),
            server,
        }
    }

    /// Answers hosts elsewhere, too, on the loopback address.
    pub async fn listen_elsewhere(&self) -> Elsewhere {
        let folder = Authority::folder(&self.folder);
        let now = self.server.now();
        Authority::make(&folder, &["jit.test".parse().unwrap()], now).unwrap();
        let authority = Authority::load(&folder).unwrap();
        let ca = authority.certificate().to_owned();
        let identity = Arc::new(Identity::ours(authority, now).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = api::router(Arc::clone(&self.server), Arc::default());
        let door = Door::new(listener, identity).unwrap();
        tokio::spawn(door.answer(router, Arc::default(), self.server.stopping()));
        Elsewhere { address, ca }
    }

    /// Ends it as SIGTERM does.
    pub async fn stop(self) {
        self.server.stop();
        self.server.close().await;
    }

    /// Takes its database away from it.
    pub async fn close_store(&self) {
        self.server.close().await;
    }

    /// Somebody at his socket.
    pub fn as_(&self, name: &str) -> Person {
        Person {
            socket: self.folder.join(name),
        }
    }

    /// Adds alice, bob and carol, and enrols web-1; the host has `Host::key`.
    pub async fn populate(&self) -> Host {
        let root = self.as_("root");
        let users = [
            json!({ "name": "alice", "login": "alice", "groups": ["developers"], "keys": [KEY] }),
            json!({ "name": "bob", "login": "bob", "groups": ["leads"] }),
            json!({ "name": "carol", "login": "carol", "groups": ["leads", "developers"] }),
        ];
        for user in users {
            root.post("/v1/users", user).await.is(201);
        }
        Host::enrol(&root, "web-1").await
    }
}

/// The server as it is seen over the network.
pub struct Elsewhere {
    pub address: SocketAddr,
    pub ca: String,
}

impl Elsewhere {
    /// A connection that has been through TLS, to a server called `jit.test`.
    pub async fn connect(&self) -> TlsStream<TcpStream> {
        self.try_to_connect().await.unwrap()
    }

    /// The same, where the server may have enough of them.
    pub async fn try_to_connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_from("127.0.0.1").await
    }

    /// The same, from this address of this machine.
    pub async fn connect_from(&self, address: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let pinned = CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap();
        roots.add(pinned).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(address.parse().unwrap(), 0))?;
        let stream = socket.connect(self.address).await?;
        TlsConnector::from(Arc::new(config))
            .connect("jit.test".try_into().unwrap(), stream)
            .await
    }

    /// One call on a connection of its own.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Response<Incoming> {
        let stream = TokioIo::new(self.connect().await);
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "jit.test")
            .header("jit-client", "test/1")
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::from(body.to_string()));
        sender
            .send_request(request.body(body).unwrap())
            .await
            .unwrap()
    }

    /// Enrols a host with a token, as `jitctl enroll` does.
    pub async fn enrol(&self, token: &str, name: &str, key: &SigningKey) -> Answer {
        let token: EnrolmentToken = token.parse().unwrap();
        let possession = Possession {
            name: name.parse().unwrap(),
            secret: token.secret.hash(),
        };
        let body = json!({
            "secret": token.secret, "name": name, "public_key": key.public(), "proof": possession.sign(key).unwrap(),
        });
        read(self.send(Method::POST, "/v1/enrol", &[], body).await).await
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Answer {
    /// The body, where the status is the one expected.
    #[track_caller]
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// Checks that it is a problem with that status and code.
    #[track_caller]
    pub fn refuses(self, status: u16, code: &str) {
        let body = self.is(status);
        assert_eq!(body["code"], code, "{body}");
    }
}

/// Somebody at a socket.
#[derive(Debug, Clone)]
pub struct Person {
    pub socket: PathBuf,
}

impl Person {
    pub async fn get(&self, path: &str) -> Answer {
        read(self.send(Method::GET, path, &[], Bytes::new()).await).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        read(
            self.send(Method::POST, path, &[], Bytes::from(body.to_string()))
                .await,
        )
        .await
    }

    /// The same as [`Self::post`], where the server may be gone, or go in the midst.
    pub async fn try_post(&self, path: &str, body: Value) -> Option<Answer> {
        let body = Bytes::from(body.to_string());
        try_read(self.try_send(Method::POST, path, &[], body).await.ok()?).await
    }

    /// The same as [`Self::get`], where the server may be gone.
    pub async fn try_get(&self, path: &str) -> Option<Answer> {
        let sent = self.try_send(Method::GET, path, &[], Bytes::new()).await;
        try_read(sent.ok()?).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        read(self.send(Method::DELETE, path, &[], Bytes::new()).await).await
    }

    /// Sends a request with more headers than the usual ones.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Response<Incoming> {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error>> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        let usual = [
            ("jit-client", "test/1"),
            ("content-type", "application/json"),
        ];
        let mine = |name: &str| headers.iter().any(|(mine, _)| *mine == name);
        for (name, value) in usual
            .iter()
            .filter(|(name, _)| !mine(name))
            .chain(headers)
            .filter(|(_, value)| !value.is_empty())
        {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body))?;
        Ok(sender.send_request(request).await?)
    }

    /// Asks for web-admin on web-1; the id.
    pub async fn asks(&self, for_seconds: u32) -> String {
        let body = json!({ "role": "web-admin", "hosts": ["web-1"], "for_seconds": for_seconds, "reason": "disk full" });
        id(&self.post("/v1/requests", body).await.is(201))
    }

    pub async fn approves(&self, request: &str) -> Value {
        self.post(&format!("/v1/requests/{request}/approve"), json!({}))
            .await
            .is(200)
    }
}

/// The id in a body.
pub fn id(body: &Value) -> String {
    body["id"].as_str().unwrap().to_owned()
}

pub async fn read(response: Response<Incoming>) -> Answer {
    try_read(response).await.unwrap()
}

pub async fn try_read(response: Response<Incoming>) -> Option<Answer> {
    let status = response.status();
    let bytes = response.into_body().collect().await.ok()?.to_bytes();
    Some(Answer {
        status,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    })
}

/// A host that trusts the server.
pub struct Host {
    pub id: HostId,
    pub key: SigningKey,
    pub trusted: TrustedKeys,
    pub door: Person,
}

impl Host {
    pub async fn enrol(root: &Person, name: &str) -> Self {
        let key = SigningKey::generate().unwrap();
        let body = root
            .post(
                "/v1/hosts",
                json!({ "name": name, "public_key": key.public().to_string() }),
            )
            .await
            .is(201);
        let trusted = TrustedKeys::new(vec![
            body["server_keys"][0]["public_key"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap(),
        ]);
        let id = body["host_id"].as_str().unwrap().parse().unwrap();
        // jitd-sync has an account that is no user.
        let door = Person {
            socket: root.socket.with_file_name("mallory"),
        };
        Self {
            id,
            key,
            trusted,
            door,
        }
    }

    pub fn authorization(&self, server: &Server) -> String {
        format!(
            "Bearer {}",
            HostToken::sign(&self.id, &self.key, server.now()).unwrap()
        )
    }

    pub async fn post(&self, server: &Server, path: &str, body: Value) -> Answer {
        let authorization = self.authorization(server);
        let headers = [("authorization", authorization.as_str())];
        read(
            self.door
                .send(Method::POST, path, &headers, Bytes::from(body.to_string()))
                .await,
        )
        .await
    }

    /// Opens the stream; `held` is the revision that the host has.
    pub async fn listen(&self, server: &Server, held: u64) -> Stream {
        let authorization = self.authorization(server);
        let held = held.to_string();
        let headers = [
            ("authorization", authorization.as_str()),
            ("last-event-id", held.as_str()),
        ];
        let response = self
            .door
            .send(Method::GET, "/v1/host/stream", &headers, Bytes::new())
            .await;
        Stream::of(response)
    }

    /// Asks for a bundle newer than `after`, waiting for so many seconds.
    pub async fn asks_for_newer(
        &self,
        server: &Server,
        after: u64,
        wait: u64,
    ) -> Response<Incoming> {
        let authorization = self.authorization(server);
        let headers = [("authorization", authorization.as_str())];
        let path = format!("/v1/host/bundle?after={after}&wait={wait}");
        self.door
            .send(Method::GET, &path, &headers, Bytes::new())
            .await
    }

    /// What a bundle says, verified as jitd does it.
    pub fn verified(&self, server: &Server, event: &SseEvent) -> Bundle {
        let bundle = Bundle::verify(
            event.data.as_bytes(),
            &self.trusted,
            &self.id,
            0,
            server.now(),
        )
        .unwrap();
        assert_eq!(bundle.revision.to_string(), event.id);
        bundle
    }
}

/// Server-Sent Events as they come.
pub struct Stream {
    body: Incoming,
    text: String,
}

#[derive(Debug)]
pub struct SseEvent {
    pub name: String,
    pub id: String,
    pub data: String,
}

impl Stream {
    pub fn of(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body(),
            text: String::new(),
        }
    }

    /// The next bundle or keys.
    pub async fn next(&mut self) -> SseEvent {
        tokio::time::timeout(LONGEST_WAIT, self.next_or_end())
            .await
            .unwrap()
            .unwrap()
    }

    /// The next bundle or keys, or None when the stream is over.
    pub async fn next_or_end(&mut self) -> Option<SseEvent> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(|v| v.trim().to_owned())
                };
                let lines = event
                    .lines()
                    .filter_map(|line| line.strip_prefix("data:").map(str::trim));
                let found = field("event:").map(|name| SseEvent {
                    name,
                    id: field("id:").unwrap_or_default(),
                    data: lines.collect::<Vec<_>>().join("\n"),
                });
                self.text = rest.to_owned();
                if found.is_some() {
                    return found;
                }
                continue;
            }
            let frame = self.body.frame().await?.ok()?;
            self.text
                .push_str(std::str::from_utf8(frame.data_ref()?).unwrap());
        }
    }
}

/// Lines as jitd writes them.
pub fn chain(count: u64) -> Vec<String> {
    let login = json!({ "at": "2026-11-22T12:00:00Z", "kind": "login", "principal": "alice", "grant": "g1" });
    chain_of((0..count).map(|_| login.clone()).collect())
}

pub fn chain_of(events: Vec<Value>) -> Vec<String> {
    let mut prev = "0".repeat(64);
    let mut lines = Vec::new();
    for (seq, mut event) in (1..).zip(events) {
        event["seq"] = json!(seq);
        let line = json!({ "event": event, "prev": prev }).to_string();
        prev = hash(&line);
        lines.push(line);
    }
    lines
}

pub fn hash(line: &str) -> String {
    Sha256::digest(line.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub fn checkpoint(host: &Host, lines: &[String]) -> String {
    let head = hash(lines.last().unwrap()).parse().unwrap();
    let at = "2026-11-22T12:00:01Z".parse().unwrap();
    Checkpoint {
        host: host.id.clone(),
        seq: lines.len() as u64,
        head,
        at,
    }
    .sign(&host.key)
    .unwrap()
}
