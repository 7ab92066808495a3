//! Waiting for a descriptor of the kernel's to become readable.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that the runtime waits for. Reads of it must not block.
pub(crate) struct Ready<T: AsFd>(AsyncFd<Owner<T>>);

struct Owner<T>(T);

impl<T: AsFd> AsRawFd for Owner<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl<T: AsFd> Ready<T> {
    /// Registers `owner` with the current runtime.
    ///
    /// # Errors
    /// Where the kernel can't wait for it.
    pub(crate) fn new(owner: T) -> std::io::Result<Self> {
        #[allow(
            deprecated,
            reason = "the successor is an unsafe function, for owners whose descriptor may change or close; a TimerFd, an Inotify, \
                      a listener, a connection and an OwnedFd keep theirs for as long as they live, and `Ready` gives out no owner"
        )]
        let registered = AsyncFd::with_interest(Owner(owner), Interest::READABLE)?;
        Ok(Self(registered))
    }

    pub(crate) fn get(&self) -> &T {
        &self.0.get_ref().0
    }

    /// Waits until `take` takes something. It returns None only where the kernel had nothing for it (EAGAIN).
    pub(crate) async fn take<R>(&self, mut take: impl FnMut(&T) -> Option<R>) -> R {
        while let Ok(mut ready) = self.0.readable().await {
            if let Some(taken) = take(self.get()) {
                return taken;
            }
            ready.clear_ready();
        }
        // Only when the runtime stops: nobody is left to go on.
        std::future::pending().await
    }
}
