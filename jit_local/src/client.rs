//! A blocking client with one total deadline. It runs inside sshd and sudo: no thread, no signal, no descriptor left
//! behind or inherited, no wait beyond the deadline whatever sits at the other end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::{Call, Reply};
use crate::descriptor;
use crate::frame::{Decoder, FrameError, encode};

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing answers at that path.
    #[error("cannot reach {}: {why}", path.display())]
    Unreachable {
        /// The socket's path.
        path: PathBuf,
        /// What stands in the way.
        why: String,
    },
    /// The deadline passed, connecting included.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The connection was closed before an answer came.
    #[error("connection closed without an answer")]
    Closed,
    /// What came is no answer to this call.
    #[error("answer not understood: {0}")]
    Nonsense(String),
    /// The answer is longer than a message may be.
    #[error("answer longer than a message may be")]
    TooLarge,
    /// The call itself is longer than a message may be, or has no JSON form. Nothing was sent.
    #[error("call cannot be sent: {0}")]
    Unsendable(FrameError),
    /// The other side answered with an error.
    #[error("refused: {error}{}", detail.as_ref().map(|detail| format!(" {detail}")).unwrap_or_default())]
    Refused {
        /// Its full name, such as `org.varlink.service.PermissionDenied`.
        error: String,
        /// Its parameters as JSON, where there are any.
        detail: Option<String>,
    },
}

/// Calls `method` at `socket` and waits for its one reply, `time` in all: connecting, sending and receiving.
///
/// # Errors
/// [`ClientError`]; after `time` at the latest.
pub fn call<P: Serialize, R: DeserializeOwned>(
    socket: &Path,
    method: &str,
    parameters: &P,
    time: Duration,
) -> Result<R, ClientError> {
    exchange(socket, method, parameters, None, time)
}

/// As [`call`], sending an open file along with the message.
///
/// # Errors
/// As [`call`].
pub fn call_with_descriptor<P: Serialize, R: DeserializeOwned>(
    socket: &Path,
    method: &str,
    parameters: &P,
    descriptor: BorrowedFd<'_>,
    time: Duration,
) -> Result<R, ClientError> {
    exchange(socket, method, parameters, Some(descriptor), time)
}

fn exchange<P: Serialize, R: DeserializeOwned>(
    socket: &Path,
    method: &str,
    parameters: &P,
    descriptor: Option<BorrowedFd<'_>>,
    time: Duration,
) -> Result<R, ClientError> {
    let deadline = Deadline::after(time);
    let call = Call::new(method, parameters)
        .and_then(|call| encode(&call))
        .map_err(ClientError::Unsendable)?;
    let connection = Connection::open(socket, deadline)?;
    connection.send(&call, descriptor)?;
    let message = connection.receive()?;
    let reply = Reply::parse(&message).map_err(|error| ClientError::Nonsense(error.to_string()))?;
    match reply.error {
        Some(error) => Err(ClientError::Refused {
            error,
            detail: reply.parameters.map(|raw| raw.get().to_owned()),
        }),
        None => reply
            .parameters()
            .map_err(|error| ClientError::Nonsense(error.to_string())),
    }
}

/// One instant on the monotonic clock, which nobody can set, that ends everything.
#[derive(Clone, Copy)]
struct Deadline {
    began: Instant,
    time: Duration,
}

impl Deadline {
    fn after(time: Duration) -> Self {
        Self {
            began: Instant::now(),
            time,
        }
    }

    /// What is left; never zero, which some system calls take for "for ever".
    fn left(self) -> Result<Duration, ClientError> {
        match self.time.saturating_sub(self.began.elapsed()) {
            Duration::ZERO => Err(self.passed()),
            left => Ok(left),
        }
    }

    fn passed(self) -> ClientError {
        ClientError::TimedOut(self.time)
    }
}

struct Connection<'path> {
    socket: OwnedFd,
    path: &'path Path,
    deadline: Deadline,
}

impl<'path> Connection<'path> {
    fn open(path: &'path Path, deadline: Deadline) -> Result<Self, ClientError> {
        let address = SocketAddrUnix::new(path).map_err(|error| unreachable(path, error))?;
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|error| unreachable(path, error))?;
        loop {
            // A stream socket of AF_UNIX connects at once or waits for room in the listener's backlog; the send
            // time-out bounds that wait (unix(7)), whereas a non-blocking connect could not be waited for.
            set_socket_timeout(&socket, Timeout::Send, Some(deadline.left()?))
                .map_err(|error| unreachable(path, error))?;
            match connect(&socket, &address) {
                Ok(()) => {
                    return Ok(Self {
                        socket,
                        path,
                        deadline,
                    });
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(deadline.passed()),
                Err(error) => return Err(unreachable(path, error)),
            }
        }
    }

    fn send(
        &self,
        mut bytes: &[u8],
        mut descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), ClientError> {
        while !bytes.is_empty() {
            let sent = match descriptor {
                Some(descriptor) => descriptor::send(&self.socket, bytes, descriptor),
                None => send(
                    &self.socket,
                    bytes,
                    SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
                ),
            };
            match sent {
                Ok(count) => {
                    bytes = &bytes[count..];
                    descriptor = None;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait_for(PollFlags::OUT)?,
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(ClientError::Closed),
                Err(error) => return Err(unreachable(self.path, error)),
            }
        }
        Ok(())
    }

    fn receive(&self) -> Result<String, ClientError> {
        let mut decoder = Decoder::new();
        let mut buffer = [0; 4096];
        loop {
            self.wait_for(PollFlags::IN)?;
            let count = match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) if decoder.in_message() => {
                    return Err(ClientError::Nonsense("it ends in the middle".to_owned()));
                }
                Ok((0, _)) | Err(Errno::CONNRESET) => return Err(ClientError::Closed),
                Ok((count, _)) => count,
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(error) => return Err(unreachable(self.path, error)),
            };
            let mut bytes = &buffer[..count];
            match decoder.take(&mut bytes) {
                Ok(Some(message)) if bytes.is_empty() => return Ok(message),
                Ok(Some(_)) => {
                    return Err(ClientError::Nonsense("more than one answer".to_owned()));
                }
                Ok(None) => {}
                Err(FrameError::TooLong) => return Err(ClientError::TooLarge),
                Err(error) => return Err(ClientError::Nonsense(error.to_string())),
            }
        }
    }

    fn wait_for(&self, what: PollFlags) -> Result<(), ClientError> {
        loop {
            let left = self.deadline.left()?;
            let left = Timespec::try_from(left).map_err(|_| self.deadline.passed())?;
            match poll(&mut [PollFd::new(&self.socket.as_fd(), what)], Some(&left)) {
                Ok(0) => return Err(self.deadline.passed()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(unreachable(self.path, error)),
            }
        }
    }
}

fn unreachable(path: &Path, error: Errno) -> ClientError {
    // The kernel says "connection refused" for both a socket without a listener and a file that is no socket.
    let why = match std::fs::metadata(path) {
        Ok(found) if !found.file_type().is_socket() => "it is not a socket".to_owned(),
        _ if error == Errno::CONNREFUSED => "nobody listens there".to_owned(),
        _ => std::io::Error::from(error).to_string(),
    };
    ClientError::Unreachable {
        path: path.to_owned(),
        why,
    }
}
