//! Notes for the host's log (authpriv): what kept jitd's decision away, and what monitor mode would have refused.
//! Never stdout or stderr, never waiting: a log daemon that hangs must not hold up sshd.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use syslog::{Facility, LogFormat, Severity};

/// Where syslog or journald listens.
const DEV_LOG: &str = "/dev/log";

/// Sends one line. What cannot be sent at once is lost: jitd keeps the record, this is only a hint for its absence.
pub(crate) fn note(severity: Severity, text: &str) {
    let _ = send(Path::new(DEV_LOG), severity, text);
}

fn send(path: &Path, severity: Severity, text: &str) -> Result<(), syslog::Error> {
    let mut socket = NonBlocking::connect(path)?;
    Plain.format(&mut socket, severity, text)
}

/// As RFC 3164, without the time: the log daemon's own is better than ours, whose zone it would have to guess.
struct Plain;

impl<T: fmt::Display> LogFormat<T> for Plain {
    fn format<W: Write>(
        &self,
        writer: &mut W,
        severity: Severity,
        message: T,
    ) -> Result<(), syslog::Error> {
        let priority = Facility::LOG_AUTHPRIV as u8 | severity as u8;
        let process = std::process::id();
        // In one write: each is a datagram of its own.
        let line = format!("<{priority}>pam_jit[{process}]: {message}");
        writer
            .write_all(line.as_bytes())
            .map_err(syslog::Error::Write)
    }
}

/// The syslog crate's own socket would wait for a log daemon that doesn't read.
struct NonBlocking(UnixDatagram);

impl NonBlocking {
    fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(path)?;
        Ok(Self(socket))
    }
}

impl Write for NonBlocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_note_is_one_datagram_to_authpriv() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        send(&path, Severity::LOG_WARNING, "would have refused ada").unwrap();
        let mut buffer = [0; 200];
        let count = daemon.recv(&mut buffer).unwrap();
        let expected = format!(
            "<84>pam_jit[{}]: would have refused ada",
            std::process::id()
        );
        assert_eq!(String::from_utf8_lossy(&buffer[..count]), expected);
    }

    #[test]
    fn a_log_daemon_that_hangs_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let _daemon = UnixDatagram::bind(&path).unwrap();
        let began = Instant::now();
        let full = (0..100_000).any(|_| send(&path, Severity::LOG_ERR, "again").is_err());
        assert!(full && began.elapsed() < Duration::from_secs(10));
    }
}
