//! One end of a connection, without a wait where there is nothing to wait for.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{self, UnixStream};
use std::sync::Arc;

use jit_local::descriptor;
use rustix::net::{SocketFlags, accept_with};
use tokio::io::Interest;
use tokio::task::coop::consume_budget;

use crate::session::Ready;

/// Where callers come in.
pub struct Listener(Ready<net::UnixListener>);

impl Listener {
    /// Registers `listener`, which must not block, with the current runtime.
    ///
    /// # Errors
    /// Where the kernel can't wait for it.
    pub fn new(listener: net::UnixListener) -> io::Result<Self> {
        Ready::new(listener).map(Self)
    }

    /// Waits for the next caller.
    pub(crate) async fn accept(&self) -> io::Result<Wire> {
        // Where there is always a next one, the rest of the daemon has its turns all the same.
        consume_budget().await;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accepted = self.0.take(|listener| match accept_with(listener, flags) {
            Err(rustix::io::Errno::AGAIN) => None,
            accepted => Some(accepted),
        });
        Ok(Wire {
            stream: Arc::new(UnixStream::from(accepted.await?)),
            readable: None,
            writable: None,
        })
    }
}

/// A connection that the runtime hears of only once it has to be waited for. Most callers have said everything before they are
/// looked at, and their replies fit the socket: for them that would be the greater part of the work.
pub(crate) struct Wire {
    stream: Arc<UnixStream>,
    /// The same connection, known to the runtime as one to be read from. It would wake for every one that can be written to.
    readable: Option<Ready<Arc<UnixStream>>>,
    /// The same, once a reply did not fit.
    writable: Option<tokio::net::UnixStream>,
}

impl Wire {
    /// Reads what has come, or what comes next; nothing at the end.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.when_readable(|mut stream| stream.read(buffer)).await
    }

    /// The same, and the descriptor that came along.
    pub(crate) async fn receive(
        &mut self,
        buffer: &mut [u8],
    ) -> io::Result<(usize, Option<OwnedFd>)> {
        self.when_readable(|stream| descriptor::receive(stream, buffer))
            .await
    }

    /// Writes all of it.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write(bytes).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Does `act` at once, or else as soon as there is something to read.
    async fn when_readable<R>(
        &mut self,
        mut act: impl FnMut(&UnixStream) -> io::Result<R>,
    ) -> io::Result<R> {
        // What never has to be waited for would keep the daemon's one thread to itself.
        consume_budget().await;
        if let Some(done) = unless_blocked(act(&self.stream)) {
            return done;
        }
        let readable = match self.readable.take() {
            Some(readable) => readable,
            None => Ready::new(Arc::clone(&self.stream))?,
        };
        let readable = self.readable.insert(readable);
        readable.take(|stream| unless_blocked(act(stream))).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        consume_budget().await;
        let write = || (&*self.stream).write(bytes);
        if let Some(done) = unless_blocked(write()) {
            return done;
        }
        let writable = match self.writable.take() {
            Some(writable) => writable,
            None => tokio::net::UnixStream::from_std(self.stream.try_clone()?)?,
        };
        let writable = self.writable.insert(writable);
        writable.async_io(Interest::WRITABLE, write).await
    }
}

/// None where it has to be waited for.
fn unless_blocked<R>(done: io::Result<R>) -> Option<io::Result<R>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        done => Some(done),
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
