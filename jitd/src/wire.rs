//! One end of a connection, without a wait where there is nothing to wait for.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use jit_local::descriptor;
use rustix::net::{SocketFlags, accept_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A connection that the runtime hears of only once it has to be waited for. Most callers have said everything before they are
/// looked at, and their replies fit the socket: for them that would be the greater part of the work.
pub(crate) struct Wire {
    stream: Arc<UnixStream>,
    watched: Option<AsyncFd<Arc<UnixStream>>>,
}

impl Wire {
    /// Waits for the next caller.
    pub(crate) async fn accept(listener: &AsyncFd<UnixListener>) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accept = |listener: &UnixListener| Ok(accept_with(listener, flags)?);
        let stream = listener.async_io(Interest::READABLE, accept).await?;
        Ok(Self {
            stream: Arc::new(UnixStream::from(stream)),
            watched: None,
        })
    }

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
        match act(&self.stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        let watched = match self.watched.take() {
            Some(watched) => watched,
            None => AsyncFd::new(Arc::clone(&self.stream))?,
        };
        let watched = self.watched.insert(watched);
        watched.async_io(ready, |stream| act(stream)).await
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
