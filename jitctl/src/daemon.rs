//! jitd on this host, over its control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jit_local::call::Nothing;
use jit_local::client::{self, ClientError};
use jit_local::limits::CONTROL_SOCKET;
use jit_local::message::{Failed, control};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::words::clean;

/// jitd answers from memory; what takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(5);
/// What varlink calls a method that the caller may not call.
const DENIED: &str = "org.varlink.service.PermissionDenied";

/// jitd, to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    socket: PathBuf,
}

impl Daemon {
    /// The one below `root`, which is `/` but in tests.
    pub(crate) fn below(root: &Path) -> Self {
        Self {
            socket: root.join(CONTROL_SOCKET.trim_start_matches('/')),
        }
    }

    pub(crate) fn status(&self) -> Result<control::Status, Error> {
        self.call(control::STATUS, &Nothing {})
    }

    /// All that the caller may see, page by page.
    pub(crate) fn sessions(&self) -> Result<Vec<control::Session>, Error> {
        let mut sessions = Vec::new();
        let mut page = control::Page::default();
        loop {
            let reply: control::Sessions = self.call(control::SESSIONS, &page)?;
            sessions.extend(reply.sessions);
            if reply.next.is_none() {
                return Ok(sessions);
            }
            if reply.next <= page.after {
                let why = "its pages of sessions go round in circles".to_owned();
                return Err(Error::Daemon(ClientError::Nonsense(why)));
            }
            page.after = reply.next;
        }
    }

    /// The session that this process sits in.
    pub(crate) fn own_session(&self) -> Result<Option<control::Session>, Error> {
        self.call(control::WHOAMI, &Nothing {})
            .map(|reply: control::Whoami| reply.session)
    }

    /// This host's public key, made where there is none yet, and the proof that is asked for.
    pub(crate) fn enroll(&self, prove: Option<control::Prove>) -> Result<control::Enroll, Error> {
        self.call(control::ENROLL, &control::Enrolling { prove })
    }

    pub(crate) fn reload(&self) -> Result<(), Error> {
        self.call(control::RELOAD, &Nothing {}).map(|Nothing {}| ())
    }

    pub(crate) fn gated(&self, change: &control::Gated) -> Result<(), Error> {
        self.call(control::GATED, change).map(|Nothing {}| ())
    }

    fn call<P: Serialize, R: DeserializeOwned>(
        &self,
        method: &str,
        parameters: &P,
    ) -> Result<R, Error> {
        client::call(&self.socket, method, parameters, PATIENCE).map_err(|error| match error {
            ClientError::Refused { error, .. } if error == DENIED => Error::NotRoot("this"),
            ClientError::Refused { error, detail } => {
                let failed = detail.and_then(|detail| serde_json::from_str::<Failed>(&detail).ok());
                Error::DaemonRefused(clean(&failed.map_or(error, |failed| failed.why)))
            }
            other => Error::Daemon(other),
        })
    }
}
