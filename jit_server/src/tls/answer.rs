//! Connections from elsewhere: bounded before anybody knows whose they are, and then by host.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::Identity;
use crate::api::{Remote, RemoteLimits};
use crate::connection;
use crate::error::Error;

/// From connecting to the first call that shows a token. Whoever takes longer is cut off, whatever he sends meanwhile.
const LONGEST_STRANGER: Duration = Duration::from_secs(10);
/// A host asks for a word every 30 s; idle for longer, its connection is closed.
const LONGEST_HEADER: Duration = Duration::from_secs(75);
/// Request line and headers together, bytes at most.
const MAX_HEADER: usize = 16 * 1024;
/// What was sent and nobody confirmed in this time was sent to a host that is gone. Milliseconds.
const UNCONFIRMED: u32 = 30_000;
/// When stopping, calls under way have so long.
const GRACE: Duration = Duration::from_secs(2);
/// After an error that is not the caller's (no descriptors left), wait before the next try.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Where hosts elsewhere come in.
pub struct Door {
    listener: TcpListener,
    identity: Arc<Identity>,
    acceptor: TlsAcceptor,
}

impl Door {
    /// At `listener`, shown to be `identity`.
    ///
    /// # Errors
    /// Where TLS can't be set up.
    pub fn new(listener: TcpListener, identity: Arc<Identity>) -> Result<Self, Error> {
        let acceptor = acceptor(Arc::clone(&identity))?;
        Ok(Self {
            listener,
            identity,
            acceptor,
        })
    }

    /// What is shown to whoever connects.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }

    /// Answers until `stopping` becomes true.
    pub async fn answer(
        self,
        router: Router,
        limits: Arc<RemoteLimits>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    let Some(remote) = limits.admit(address.ip(), Instant::now()) else {
                        continue;
                    };
                    let connection = Connection {
                        acceptor: self.acceptor.clone(),
                        router: router.clone(),
                        remote,
                    };
                    let (open, stopping) = (graceful.watcher(), stopping.clone());
                    tokio::spawn(async move {
                        if let Err(why) = connection.serve(stream, stopping).await {
                            tracing::debug!("a connection from {address} ended: {why}");
                        }
                        drop(open);
                    });
                }
                Err(error) => {
                    tracing::warn!("no connection from elsewhere could be taken: {error}");
                    sleep(AFTER_ERROR).await;
                }
            }
        }
        drop(self.listener);
        // Hosts come back by themselves; what does not end in time is cut.
        let _ = timeout(GRACE, graceful.shutdown()).await;
    }
}

/// TLS 1.3 with nothing remembered from one connection to the next: hosts keep theirs.
fn acceptor(identity: Arc<Identity>) -> Result<TlsAcceptor, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| Error::Setup(error.to_string()))?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(identity);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

struct Connection {
    acceptor: TlsAcceptor,
    router: Router,
    remote: Arc<Remote>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, stopping: watch::Receiver<bool>) -> Result<(), String> {
        let deadline = Instant::now() + LONGEST_STRANGER;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        setsockopt(&stream, sockopt::TcpUserTimeout, &UNCONFIRMED)
            .map_err(|error| error.to_string())?;
        let stream = timeout_at(deadline, self.acceptor.accept(stream)).await;
        let stream = stream
            .map_err(|_| "no TLS in time")?
            .map_err(|error| error.to_string())?;
        let (remote, router) = (Arc::clone(&self.remote), self.router);
        let known = move |request: &mut Request<Body>| {
            request.extensions_mut().insert(Arc::clone(&remote));
        };
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(LONGEST_HEADER)
            .max_buf_size(MAX_HEADER);
        let connection = connection::serve(&server, TokioIo::new(stream), router, known, stopping);
        let stranger = async {
            if timeout_at(deadline, self.remote.known()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            ended = connection => ended.map_err(|error| error.to_string()),
            () = stranger => Err("no token in time".to_owned()),
        }
    }
}
