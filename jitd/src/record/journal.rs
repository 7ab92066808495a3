//! The second record: the system's log, facility authpriv, over /dev/log.
//!
//! Never waits: a log daemon that hangs costs a message, not the daemon (T23).

use std::fmt::Display;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use syslog::{Facility, LogFormat, Logger, Severity};

/// Where every Linux log daemon listens.
pub(crate) const DEV_LOG: &str = "/dev/log";

/// The system's log, as far as it answers.
pub(super) struct Journal {
    logger: Logger<DevLog, Tagged>,
}

impl Journal {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            logger: Logger::new(
                DevLog {
                    path: path.to_owned(),
                    socket: None,
                },
                Tagged {
                    pid: std::process::id(),
                },
            ),
        }
    }

    /// Hands one line to the log daemon.
    pub(super) fn write(&mut self, line: &str) -> Result<(), syslog::Error> {
        self.logger.notice(line)
    }
}

/// `<PRIORITY>jitd[PID]: text`, the form of RFC 3164 without its time stamp: the event carries a better one, and every log
/// daemon adds its own.
struct Tagged {
    pid: u32,
}

impl<T: Display> LogFormat<T> for Tagged {
    fn format<W: Write>(
        &self,
        writer: &mut W,
        severity: Severity,
        message: T,
    ) -> Result<(), syslog::Error> {
        let priority = Facility::LOG_AUTHPRIV as u8 | severity as u8;
        let datagram = format!("<{priority}>jitd[{}]: {message}", self.pid);
        writer
            .write_all(datagram.as_bytes())
            .map_err(syslog::Error::Write)
    }
}

/// A datagram socket that connects when needed and never waits.
struct DevLog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl DevLog {
    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        Ok(socket)
    }
}

impl Write for DevLog {
    /// One call is one datagram. A log daemon that restarted is connected to anew, once.
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        if let Some(socket) = &self.socket {
            match socket.send(datagram) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.socket = None,
                sent => return sent,
            }
        }
        let socket = self.socket.insert(self.connect()?);
        socket.send(datagram)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
