//! `/etc/jit/trust.json`: which server this host believes, and who this host is to it. jitd reads it (`jitd/src/trust.rs`).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::replace::replace;
use crate::server::{ServerAddress, ServerKey};

const MOST_BYTES: u64 = 64 * 1024;

/// What this host believes since its enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trust {
    /// Where grants come from.
    pub(crate) server: ServerAddress,
    /// More URLs of the same server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) more_servers: Vec<ServerAddress>,
    /// What a server elsewhere must be vouched for by, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
    /// This host's name there.
    pub(crate) host_name: jit_grant::HostName,
    /// This host's identity there.
    pub(crate) host_id: jit_grant::HostId,
    /// The machine that enrolled: a cloned image must enrol again.
    pub(crate) machine_id: String,
    /// What signs grants.
    pub(crate) keys: Vec<ServerKey>,
    /// What this host signs its events with.
    pub(crate) public_key: jit_grant::PublicKey,
    /// When it enrolled.
    pub(crate) enrolled_at: Timestamp,
}

impl Trust {
    fn path(root: &Path) -> PathBuf {
        root.join("etc/jit/trust.json")
    }

    /// What is on disk; None before enrolment.
    pub(crate) fn read(root: &Path) -> Result<Option<Self>, Error> {
        let path = Self::path(root);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| Error::file(&path, "open", error))?,
        };
        let mut text = Vec::new();
        file.take(MOST_BYTES)
            .read_to_end(&mut text)
            .map_err(|error| Error::file(&path, "read", error))?;
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Error::file(&path, "understand", error))
    }

    /// Replaces what is on disk, whole or not at all. Anyone may read it: jitd-sync does, and people do.
    pub(crate) fn write(&self, root: &Path) -> Result<(), Error> {
        let path = Self::path(root);
        let write = || {
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            replace(&path, &text, 0o644, 0o755)
        };
        write().map_err(|error: io::Error| Error::file(&path, "write", error))
    }
}

/// The command by which this host, or its root folder, is enrolled: at the server of this machine where there is one, else at the one that
/// it was enrolled with, as far as that is known.
pub(crate) fn how_to_enroll(root: &Path) -> String {
    let before = Trust::read(root).ok().flatten();
    let urls = before.map_or_else(Vec::new, |trust| {
        let all = std::iter::once(trust.server).chain(trust.more_servers);
        all.filter(|server| matches!(server, ServerAddress::Url(_)))
            .map(|url| url.to_string())
            .collect()
    });
    let socket = ServerAddress::local();
    if urls.is_empty() && root.join(socket.trim_start_matches('/')).exists() {
        return format!("jitctl enroll --server unix:{socket}");
    }
    let urls = match urls.as_slice() {
        [] => "https://SERVER:7443".to_owned(),
        urls => urls.join(" --server "),
    };
    format!(
        "jitctl enroll --server {urls} --ca FILE --token-file FILE (on the server: /etc/jit-server/ca.crt, and jit-server host token)"
    )
}

/// This machine's id, of machine-id(5).
pub(crate) fn machine_id(root: &Path) -> Result<String, Error> {
    let path = root.join("etc/machine-id");
    let text = fs::read_to_string(&path).map_err(|error| Error::file(&path, "read", error))?;
    let id = text.trim();
    if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(id.to_owned())
    } else {
        Err(Error::file(path, "use", "it holds no machine id"))
    }
}
