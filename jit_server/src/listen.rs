//! The socket: who connects is known from the kernel, before a byte is read.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use nix::unistd::{Uid, User};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{Limits, Peer};
use crate::connection;

/// Whoever connects and asks nothing for so long is cut off; idle connections too.
const LONGEST_HEADER: Duration = Duration::from_secs(20);
/// Request line and headers together, bytes at most.
const MAX_HEADER: usize = 32 * 1024;
/// When stopping, calls under way have so long.
const GRACE: Duration = Duration::from_secs(5);
/// After an error that is not the caller's (no descriptors left), wait before the next try.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Tells the accounts of this machine apart. Tests bring their own, to act as several people.
pub trait Accounts: Send + Sync + 'static {
    /// Who has the uid that the kernel reports. May block.
    fn peer(&self, uid: u32) -> Peer;
}

/// The accounts that the machine's user database has.
#[derive(Debug, Clone, Copy)]
pub struct SystemAccounts;

impl Accounts for SystemAccounts {
    fn peer(&self, uid: u32) -> Peer {
        let found = User::from_uid(Uid::from_raw(uid));
        let account = found
            .inspect_err(|error| tracing::warn!(uid, "no account could be looked up: {error}"))
            .ok()
            .flatten();
        Peer {
            uid,
            account: account.map(|user| user.name),
        }
    }
}

/// Answers on `listener` until `stopping` becomes true.
pub async fn answer(
    listener: UnixListener,
    router: Router,
    accounts: Arc<dyn Accounts>,
    limits: Arc<Limits>,
    mut stopping: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let desk = Desk {
        router,
        accounts,
        limits,
    };
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map(|(stream, _)| stream),
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        match stream {
            Ok(stream) => desk.greet(stream, graceful.watcher(), stopping.clone()),
            Err(error) => {
                tracing::warn!("no connection could be taken: {error}");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some calls did not end within {GRACE:?}");
    }
}

struct Desk {
    router: Router,
    accounts: Arc<dyn Accounts>,
    limits: Arc<Limits>,
}

impl Desk {
    /// Serves a connection in a task of its own. One too many of an account is closed at once.
    fn greet(&self, stream: UnixStream, open: Watcher, stopping: watch::Receiver<bool>) {
        let uid = match stream.peer_cred() {
            Ok(credentials) => credentials.uid(),
            Err(error) => return tracing::warn!("the kernel does not say who connects: {error}"),
        };
        let Some(admission) = self.limits.admit(uid, Instant::now()) else {
            return;
        };
        let (router, accounts) = (self.router.clone(), Arc::clone(&self.accounts));
        tokio::spawn(async move {
            let _admission = admission;
            let Ok(peer) = tokio::task::spawn_blocking(move || accounts.peer(uid)).await else {
                return;
            };
            serve(stream, peer, router, stopping).await;
            drop(open);
        });
    }
}

async fn serve(stream: UnixStream, peer: Peer, router: Router, stopping: watch::Receiver<bool>) {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEADER)
        .max_buf_size(MAX_HEADER);
    let known = move |request: &mut Request<Body>| {
        request.extensions_mut().insert(peer.clone());
    };
    let served = connection::serve(&server, TokioIo::new(stream), router, known, stopping);
    if let Err(error) = served.await {
        tracing::debug!("a connection ended: {error}");
    }
}
