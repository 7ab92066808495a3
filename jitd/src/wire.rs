//! One end of a connection, without a wait where there is nothing to wait for.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{self, UnixStream};

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
            stream: UnixStream::from(accepted.await?),
            watched: None,
        })
    }
}

/// A connection that the runtime hears of only once it has to be waited for. Most callers have said everything before they are
/// looked at, and their replies fit the socket: for them that would be the greater part of the work.
pub(crate) struct Wire {
    stream: UnixStream,
    /// The same connection, known to the runtime.
    watched: Option<tokio::net::UnixStream>,
}

impl Wire {
    /// Reads what has come, or what comes next; nothing at the end.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.when(Interest::READABLE, |mut stream| stream.read(buffer))
            .await
    }

    /// The same, and the descriptor that came along.
    pub(crate) async fn receive(
        &mut self,
        buffer: &mut [u8],
    ) -> io::Result<(usize, Option<OwnedFd>)> {
        self.when(Interest::READABLE, |stream| {
            descriptor::receive(stream, buffer)
        })
        .await
    }

    /// Writes all of it.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self
                .when(Interest::WRITABLE, |mut stream| stream.write(bytes))
                .await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Does `act` at once, or else as soon as the socket is ready for it.
    async fn when<R>(
        &mut self,
        ready: Interest,
        mut act: impl FnMut(&UnixStream) -> io::Result<R>,
    ) -> io::Result<R> {
        // What never has to be waited for would keep the daemon's one thread to itself.
        consume_budget().await;
        match act(&self.stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        let watched = match self.watched.take() {
            Some(watched) => watched,
            None => tokio::net::UnixStream::from_std(self.stream.try_clone()?)?,
        };
        let watched = self.watched.insert(watched);
        watched.async_io(ready, || act(&self.stream)).await
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
