//! What jitd is asked on `sync.sock`. Each call is a connection of its own with a deadline, made by the blocking client that
//! pam_jit and jitctl use too, away from the event loop.

use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jit_local::call::Nothing;
use jit_local::client;
use jit_local::limits::EVENTS_WAIT;
use jit_local::message::sync::{self, After, Events, Hello, Keys, Taken, Trouble, Word};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::SyncError;

/// How long jitd may take to answer what it can answer at once.
const CALL_TIME: Duration = Duration::from_secs(10);

/// How long it may take to answer `Events`: its own wait, and time to answer.
const EVENTS_TIME: Duration = EVENTS_WAIT.saturating_add(CALL_TIME);

/// jitd, behind its socket.
#[derive(Debug, Clone)]
pub(crate) struct Jitd {
    socket: Arc<Path>,
}

impl Jitd {
    pub(crate) fn at(socket: &Path) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Who this host is, and a fresh token and nonce.
    pub(crate) async fn hello(&self) -> Result<Hello, SyncError> {
        self.call(sync::HELLO, Nothing {}, CALL_TIME).await
    }

    /// Offers a signed bundle.
    pub(crate) async fn bundle(&self, bundle: &str) -> Result<Taken, SyncError> {
        let file = sealed(bundle.as_bytes())?;
        let socket = self.socket.clone();
        let call = move || {
            client::call_with_descriptor(
                &socket,
                sync::BUNDLE,
                &Nothing {},
                file.as_fd(),
                CALL_TIME,
            )
        };
        Ok(tokio::task::spawn_blocking(call).await??)
    }

    /// Offers a signed heartbeat.
    pub(crate) async fn word(&self, word: String) -> Result<Taken, SyncError> {
        self.call(sync::WORD, Word { word }, CALL_TIME).await
    }

    /// Offers the documents that lead from key to key of the server's.
    pub(crate) async fn keys(&self, chain: Vec<String>) -> Result<Taken, SyncError> {
        self.call(sync::KEYS, Keys { chain }, CALL_TIME).await
    }

    /// Says what keeps the server from being heard, for people to read.
    pub(crate) async fn trouble(&self, what: String) -> Result<(), SyncError> {
        let Nothing {} = self
            .call(sync::TROUBLE, Trouble { what }, CALL_TIME)
            .await?;
        Ok(())
    }

    /// Events recorded after number `seq`; waits for one, and may come back with none.
    pub(crate) async fn events(&self, seq: u64) -> Result<Events, SyncError> {
        self.call(sync::EVENTS, After { seq }, EVENTS_TIME).await
    }

    async fn call<P, R>(
        &self,
        method: &'static str,
        parameters: P,
        time: Duration,
    ) -> Result<R, SyncError>
    where
        P: Serialize + Send + 'static,
        R: DeserializeOwned + Send + 'static,
    {
        let socket = self.socket.clone();
        let call = move || client::call(&socket, method, &parameters, time);
        Ok(tokio::task::spawn_blocking(call).await??)
    }
}

/// A file in memory that nobody can change any more, this process included, once jitd has it.
fn sealed(bytes: &[u8]) -> Result<OwnedFd, std::io::Error> {
    let mut file = std::fs::File::from(memfd_create(
        "jit-bundle",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?);
    file.write_all(bytes)?;
    // Whoever gets the descriptor shares its position.
    file.rewind()?;
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(file.into())
}
