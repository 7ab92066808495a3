//! How calls come in: three sockets, who may hold how many connections, and the life of one connection.
//!
//! Nobody can keep anybody else from being answered (T20): every caller has a share of each socket, counted by the uid that can't be
//! shed, a caller who says nothing is dropped, and at the first malformed frame a connection is closed and nothing more of it is read.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use jit_local::call::{Call, Reply};
use jit_local::frame::{Decoder, encode};
use jit_local::interface;
use jit_local::limits::PAM_IDLE_TIME;
use tokio::time::{Instant, timeout, timeout_at};

use crate::access::{Socket, method};
use crate::handlers::{Answer, Hold, Host};
use crate::peer::Peer;
use crate::wire::{Listener, Wire};

/// What may be held of a socket.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections of one uid other than root's.
    each: usize,
    /// Connections of all uids other than root's together.
    others: usize,
    /// Root's own, on top of those: nobody takes them from it.
    root: usize,
    /// From one message to the last byte of the next.
    idle: Duration,
    /// For the caller to take a reply.
    writing: Duration,
}

const fn limits(socket: Socket) -> Limits {
    match socket {
        Socket::Pam => Limits {
            each: 32,
            others: 512,
            root: 2048,
            idle: PAM_IDLE_TIME,
            writing: PAM_IDLE_TIME,
        },
        Socket::Control => Limits {
            each: 16,
            others: 256,
            root: 256,
            idle: Duration::from_secs(10),
            writing: Duration::from_secs(5),
        },
        Socket::Sync => Limits {
            each: 16,
            others: 32,
            root: 16,
            idle: Duration::from_secs(600),
            writing: Duration::from_secs(5),
        },
    }
}

/// What came with a message besides its bytes.
#[derive(Debug, Default)]
pub struct Received {
    /// A descriptor, on `sync.sock` only.
    pub descriptor: Option<OwnedFd>,
}

/// Accepts callers on one socket for as long as the daemon runs.
pub async fn serve<S: Hold>(listener: Listener, socket: Socket, host: Arc<Host<S>>) {
    let shares = Arc::new(Shares::new(limits(socket)));
    loop {
        let wire = match listener.accept().await {
            Ok(wire) => wire,
            Err(error) => {
                // Out of descriptors, mostly: some will be given back.
                tracing::warn!("{socket:?}: a caller was not accepted: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        // A caller who has gone, is of another pid namespace or over its share is dropped without a word.
        let Ok(peer) = Peer::of(&wire) else {
            continue;
        };
        let Some(share) = Share::take(&shares, peer.real_uid) else {
            tracing::debug!(
                "{socket:?}: uid {} holds too many connections",
                peer.real_uid
            );
            continue;
        };
        let connection = Connection {
            wire,
            socket,
            peer,
            host: Arc::clone(&host),
        };
        begin(connection.keep(share)).await;
    }
}

/// Goes as far as can be gone without a wait, which for most callers is to the end, and only then makes a task of it: that and the
/// runtime's rounds between would be a good part of the work.
async fn begin(connection: impl Future<Output = ()> + Send + 'static) {
    // A panic ends this connection and not the loop that accepts the next.
    let mut connection = Box::pin(AssertUnwindSafe(connection).catch_unwind());
    let waits = poll_fn(|context| Poll::Ready(connection.as_mut().poll(context).is_pending()));
    if waits.await {
        tokio::spawn(connection);
    }
}

/// Who holds how many connections of a socket.
#[derive(Debug)]
struct Shares {
    limits: Limits,
    held: Mutex<HashMap<u32, usize>>,
}

/// One connection's place.
#[derive(Debug)]
struct Share {
    shares: Arc<Shares>,
    uid: u32,
}

impl Shares {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            held: Mutex::default(),
        }
    }
}

impl Share {
    /// `uid` is the real one: sudo's effective uid is root's, whoever runs it.
    fn take(shares: &Arc<Shares>, uid: u32) -> Option<Self> {
        let mut held = shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.get(&uid).copied().unwrap_or(0);
        let fits = if uid == 0 {
            own < shares.limits.root
        } else {
            let others: usize = held
                .iter()
                .filter(|(uid, _)| **uid != 0)
                .map(|(_, count)| count)
                .sum();
            own < shares.limits.each && others < shares.limits.others
        };
        fits.then(|| {
            held.insert(uid, own + 1);
            Self {
                shares: Arc::clone(shares),
                uid,
            }
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self
            .shares
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.uid);
            }
        }
    }
}

struct Connection<S> {
    wire: Wire,
    socket: Socket,
    peer: Peer,
    host: Arc<Host<S>>,
}

impl<S: Hold> Connection<S> {
    async fn keep(self, share: Share) {
        let socket = self.socket;
        if let Err(error) = self.run().await {
            tracing::debug!("{socket:?}: {error}");
        }
        drop(share);
    }

    /// Reads calls and answers them in turn, until the caller closes, is idle for too long, or sends what is no call. On
    /// `pam.sock` a connection is for one call, so that nobody waits for its end.
    async fn run(mut self) -> io::Result<()> {
        let mut decoder = Decoder::new();
        let mut buffer = [0; 4096];
        let mut received = Received::default();
        let mut until = self.idle_until();
        loop {
            let read = timeout_at(until, self.read(&mut buffer)).await;
            let (length, descriptor) =
                read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            if length == 0 {
                return Ok(());
            }
            if descriptor.is_some() && received.descriptor.is_some() {
                return Err(malformed("more than one descriptor with a message"));
            }
            received.descriptor = descriptor.or(received.descriptor);
            let mut bytes = &buffer[..length];
            while !bytes.is_empty() {
                if let Some(message) = decoder
                    .take(&mut bytes)
                    .map_err(|error| malformed(&error.to_string()))?
                {
                    self.answer(&message, std::mem::take(&mut received)).await?;
                    if self.socket == Socket::Pam {
                        return Ok(());
                    }
                    // A caller who has always another call ready takes turns with the others all the same.
                    tokio::task::yield_now().await;
                    until = self.idle_until();
                }
            }
        }
    }

    fn idle_until(&self) -> Instant {
        Instant::now() + limits(self.socket).idle
    }

    /// Only jitd-sync sends descriptors; what others attach the kernel closes.
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
        if self.socket == Socket::Sync {
            self.wire.receive(buffer).await
        } else {
            Ok((self.wire.read(buffer).await?, None))
        }
    }

    async fn answer(&mut self, message: &str, received: Received) -> io::Result<()> {
        let call = Call::parse(message).map_err(|error| malformed(&error.to_string()))?;
        let Answer {
            reply,
            end_connection,
        } = self.called(&call, received).await;
        if !call.oneway {
            self.write(&reply).await?;
        }
        if end_connection {
            self.host.sessions.end_connection(self.peer.clone());
        }
        Ok(())
    }

    async fn called(&self, call: &Call, received: Received) -> Answer {
        if let Some(reply) =
            interface::introspect(call, self.socket.interface(), env!("CARGO_PKG_VERSION"))
        {
            return reply.into();
        }
        match method(self.socket, &call.method, self.peer.uid) {
            Ok(method) => self.host.answer(method, call, received, &self.peer).await,
            Err(error) => Reply::from(error).into(),
        }
    }

    async fn write(&mut self, reply: &Reply) -> io::Result<()> {
        let bytes = encode(reply).map_err(|error| io::Error::other(error.to_string()))?;
        let written = timeout(limits(self.socket).writing, self.wire.write_all(&bytes)).await;
        written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests;
