//! Many hosts at once, as the server sees them: each enrols with a token over TLS, follows its stream, and comes back as jitd-sync does.

#[path = "../../../jitd_sync/src/backoff.rs"]
mod backoff;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jit_grant::{
    Bundle, EnrolmentToken, HostId, HostToken, Nonce, Possession, SigningKey, TrustedKeys, Word,
};
use jit_tests::wait::Deadline;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::runtime;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::guests::now;
use crate::server::{NAME, Server};
use backoff::Backoff;

/// How jitd-sync waits (`Pace` in `jitd_sync/src/courier.rs`).
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const UNREACHED_WAIT: Duration = Duration::from_millis(250);
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// Fewer than the server lets be strangers from one address.
const ENROL_AT_ONCE: usize = 64;

type Body = Full<Bytes>;

/// What became known of a host, and when.
pub(crate) struct News {
    pub(crate) host: usize,
    pub(crate) at: Instant,
    pub(crate) what: What,
}

pub(crate) enum What {
    /// Its stream is open, and it has heard the server's word since.
    Current,
    /// A bundle came, as signed.
    Bundle(String),
}

struct Host {
    id: HostId,
    key: SigningKey,
    from: Ipv4Addr,
}

/// Some hosts, enrolled.
pub(crate) struct Hosts {
    hosts: Vec<Arc<Host>>,
    door: Arc<Door>,
    trusted: TrustedKeys,
}

/// Hosts that follow their streams, on a thread of their own, until this is dropped.
pub(crate) struct Following {
    news: Receiver<News>,
    over: Option<watch::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Hosts {
    /// Enrols so many, each from an address of its own.
    pub(crate) fn enrol(server: &Server, count: usize, token: &str) -> Result<Self> {
        let token: EnrolmentToken = token.parse()?;
        let trusted = TrustedKeys::new(vec![token.server_key]);
        let door = Arc::new(Door::of(server)?);
        let enrol = async {
            let turns = Arc::new(Semaphore::new(ENROL_AT_ONCE));
            let tasks: Vec<_> = (0..count)
                .map(|number| {
                    let (turns, door, token) = (turns.clone(), door.clone(), token.clone());
                    tokio::spawn(async move {
                        let _turn = turns.acquire().await?;
                        door.enrol(number, &token).await
                    })
                })
                .collect();
            let mut hosts = Vec::with_capacity(count);
            for task in tasks {
                hosts.push(Arc::new(task.await??));
            }
            anyhow::Ok(hosts)
        };
        let hosts = one_thread()?.block_on(enrol)?;
        Ok(Self {
            hosts,
            door,
            trusted,
        })
    }

    /// The same hosts at another server of the same authority.
    pub(crate) fn at(&self, server: &Server) -> Result<Self> {
        Ok(Self {
            hosts: self.hosts.clone(),
            door: Arc::new(Door::of(server)?),
            trusted: self.trusted.clone(),
        })
    }

    /// All of them begin to follow their streams at this moment.
    pub(crate) fn follow(&self, from: From) -> Result<Following> {
        let (tell, news) = mpsc::channel();
        let (over, until) = watch::channel(());
        let (hosts, door) = (self.hosts.clone(), self.door.clone());
        let trusted = self.trusted.clone();
        let runtime = one_thread()?;
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                for (number, host) in hosts.into_iter().enumerate() {
                    let source = match from {
                        From::OwnAddress => host.from,
                        From::OneAddress => Ipv4Addr::LOCALHOST,
                    };
                    let follower = Follower {
                        number,
                        host,
                        source,
                        door: door.clone(),
                        trusted: trusted.clone(),
                        tell: tell.clone(),
                        held: 0,
                    };
                    tokio::spawn(follower.follow_on());
                }
                // It changes by being dropped.
                let _ = until.clone().changed().await;
            });
        });
        Ok(Following {
            news,
            over: Some(over),
            thread: Some(thread),
        })
    }

    pub(crate) fn name(number: usize) -> String {
        format!("host{number:05}")
    }

    /// The grants of a bundle, as the host would believe it.
    pub(crate) fn grants(&self, host: usize, bundle: &str) -> Result<Vec<String>> {
        let id = &self.hosts[host].id;
        let bundle = Bundle::verify(bundle.as_bytes(), &self.trusted, id, 0, now())?;
        Ok(bundle
            .grants
            .iter()
            .map(|grant| grant.id.to_string())
            .collect())
    }
}

/// Where hosts call from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From {
    /// Each from an address of its own.
    OwnAddress,
    /// All from one, as through a balancer or a translation of addresses.
    OneAddress,
}

impl Following {
    /// Hears the next of their news.
    pub(crate) fn next(&self, deadline: Deadline) -> Result<News> {
        let news = self.news.recv_timeout(deadline.left());
        news.context("the hosts heard no more in time")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.over.take());
        self.thread.take().map(thread::JoinHandle::join);
    }
}

fn one_thread() -> Result<runtime::Runtime> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("starting the hosts' thread")
}

/// A host that follows its stream.
struct Follower {
    number: usize,
    host: Arc<Host>,
    source: Ipv4Addr,
    door: Arc<Door>,
    trusted: TrustedKeys,
    tell: Sender<News>,
    held: u64,
}

impl Follower {
    async fn follow_on(mut self) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let wait = match self.door.connect(self.source).await {
                // As where jitd-sync gets no connection through TLS.
                Err(_) => UNREACHED_WAIT.mul_f64(chance()),
                Ok(connection) => {
                    // That the stream ended is all there is to know.
                    self.follow(connection, &mut backoff).await.ok();
                    backoff.wait(chance())
                }
            };
            sleep(wait).await;
        }
    }

    async fn follow(&mut self, mut door: SendRequest<Body>, backoff: &mut Backoff) -> Result<()> {
        let token = HostToken::sign(&self.host.id, &self.host.key, now())?;
        let request = request(Method::GET, "/v1/host/stream")
            .header("authorization", format!("Bearer {token}"))
            .header("last-event-id", self.held)
            .body(Body::default())?;
        let mut stream = timeout(ANSWER_TIME, door.send_request(request)).await??;
        ensure!(stream.status() == StatusCode::OK, "{}", stream.status());
        self.hear_a_word(&token).await?;
        self.news(What::Current)?;
        let mut text = String::new();
        while let Some(frame) = stream.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            text.push_str(std::str::from_utf8(&data)?);
            while let Some((event, rest)) = text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                if let (Some(id), Some(bundle)) = (field("id: "), field("data: ")) {
                    self.held = id.parse()?;
                    self.news(What::Bundle(bundle.to_owned()))?;
                    backoff.reset();
                }
                text = rest.to_owned();
            }
        }
        Ok(())
    }

    /// On a connection of its own, as jitd-sync does once its stream is open.
    async fn hear_a_word(&self, token: &str) -> Result<()> {
        let mut door = loop {
            match self.door.connect(self.source).await {
                Ok(door) => break door,
                Err(_) => sleep(UNREACHED_WAIT.mul_f64(chance())).await,
            }
        };
        let nonce = Nonce::generate()?;
        let request = request(Method::POST, "/v1/host/word")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Body::from(json!({ "nonce": nonce }).to_string()))?;
        let answer = timeout(ANSWER_TIME, door.send_request(request)).await??;
        let (status, answer) = whole(answer).await?;
        let word = answer["word"].as_str().unwrap_or_default();
        let word = Word::verify(word.as_bytes(), &self.trusted, &self.host.id)
            .with_context(|| format!("no word: {status} {answer}"))?;
        ensure!(word.nonce == nonce, "a word for somebody else");
        Ok(())
    }

    fn news(&self, what: What) -> Result<()> {
        let news = News {
            host: self.number,
            at: Instant::now(),
            what,
        };
        self.tell.send(news).context("nobody listens")
    }
}

/// How the server is reached.
struct Door {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Door {
    fn of(server: &Server) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(server.authority.clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            address: server.address,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    async fn connect(&self, source: Ipv4Addr) -> Result<SendRequest<Body>> {
        let socket = TcpSocket::new_v4()?;
        // Without it a fleet of one address would find no port: those of the connections before are still kept from use.
        socket.set_reuseaddr(true)?;
        socket.bind((source, 0).into())?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(NAME.try_into()?, stream).await?;
        let (door, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(door)
    }

    async fn enrol(&self, number: usize, token: &EnrolmentToken) -> Result<Host> {
        let key = SigningKey::generate()?;
        let possession = Possession {
            name: Hosts::name(number).parse()?,
            secret: token.secret.hash(),
        };
        let body = json!({
            "secret": token.secret,
            "name": possession.name,
            "public_key": key.public(),
            "proof": possession.sign(&key)?,
        });
        let from = address(number)?;
        let request = request(Method::POST, "/v1/enrol")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))?;
        let answer = self.connect(from).await?.send_request(request).await?;
        let (status, answer) = whole(answer).await?;
        ensure!(
            status == StatusCode::CREATED,
            "enrolling: {status} {answer}"
        );
        let id = answer["host_id"].as_str();
        let id = id.ok_or_else(|| anyhow!("no host id: {answer}"))?.parse()?;
        Ok(Host { id, key, from })
    }
}

/// A number from 0 to 1, another each time: no two [`RandomState`]s are alike.
#[expect(clippy::cast_precision_loss, reason = "any number in between does")]
fn chance() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}

fn request(method: Method, path: &str) -> hyper::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", NAME)
        .header("jit-client", "bench/1")
}

async fn whole(answer: Response<Incoming>) -> Result<(StatusCode, Value)> {
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, serde_json::from_slice(&body)?))
}

/// One of 127.1.0.0/16: all of 127.0.0.0/8 is this machine.
fn address(number: usize) -> Result<Ipv4Addr> {
    let [high, low] = u16::try_from(number)?.to_be_bytes();
    Ok(Ipv4Addr::new(127, 1, high, low))
}
