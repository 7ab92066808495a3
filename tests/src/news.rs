//! What systemd-nspawn passes on of a host's process 1: who it is, and that it is up.

use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::wait::Deadline;

/// Listens for as long as the host lives, also while nobody waits for news: process 1 (systemd 257 tells of every reload)
/// would hang in sending what nobody takes.
#[derive(Debug)]
pub(crate) struct News {
    socket: Arc<UnixDatagram>,
    booted: Mutex<Receiver<u32>>,
}

impl News {
    /// Listens at `path`.
    pub(crate) fn listen(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path).context("binding the socket for news of the host")?;
        let socket = Arc::new(socket);
        let (up, booted) = mpsc::channel();
        let ears = Arc::clone(&socket);
        thread::spawn(move || {
            let mut message = [0; 4096];
            let mut booting = None;
            while let Ok(length @ 1..) = ears.recv(&mut message) {
                for line in String::from_utf8_lossy(&message[..length]).lines() {
                    if let Some(leader) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                        booting = leader.parse::<u32>().ok();
                    } else if let ("READY=1", Some(leader)) = (line, booting) {
                        // Said again after every reload; only the first one of a boot is news.
                        booting = None;
                        up.send(leader).ok();
                    }
                }
            }
        });
        Ok(Self {
            socket,
            booted: Mutex::new(booted),
        })
    }

    /// Waits until a process 1 is up; gives its number outside.
    pub(crate) fn up(&self, deadline: Deadline) -> Result<u32> {
        let booted = self.booted.lock().unwrap_or_else(PoisonError::into_inner);
        match booted.recv_timeout(deadline.left()) {
            Ok(leader) => Ok(leader),
            Err(RecvTimeoutError::Timeout) => bail!("not up in time"),
            Err(RecvTimeoutError::Disconnected) => bail!("nothing more is heard of it"),
        }
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.socket.shutdown(Shutdown::Both).ok();
    }
}
