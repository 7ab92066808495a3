//! `~/.config/jit/login.json`: who somebody is to a server elsewhere, until when, and what vouches for that server.

use std::env;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jit_grant::UserToken;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Exit};
use crate::replace::replace;
use crate::server::ServerAddress;

const MOST_BYTES: u64 = 64 * 1024;

/// What `jitctl login` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Login {
    /// The server.
    pub(crate) server: ServerAddress,
    /// What it must be vouched for by, in PEM.
    pub(crate) ca: String,
    /// What is shown to it. Secret.
    pub(crate) token: UserToken,
    /// What the server's record calls the token.
    pub(crate) token_id: String,
    /// Who that is.
    pub(crate) principal: String,
    /// When the token counts no more.
    pub(crate) expires: Timestamp,
}

impl Login {
    /// Where it is kept, by the XDG base directory specification. None where there is no home.
    pub(crate) fn path() -> Option<PathBuf> {
        let absolute = |name: &str| {
            let path = env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let config =
            absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
        config.map(|config| config.join("jit/login.json"))
    }

    /// What is at `path`; None where nobody is logged in. A file that others can read is refused: its token may be known to them.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Error> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| Error::file(path, "open", error))?,
        };
        let found = file
            .metadata()
            .map_err(|error| Error::file(path, "look at", error))?;
        let ours = found.uid() == nix::unistd::geteuid().as_raw();
        if !found.is_file() || !ours || found.mode() & 0o077 != 0 {
            return Err(Error::Other {
                problem: format!(
                    "{} is refused: it holds a token, so it must be a file of yours that nobody else can read",
                    path.display()
                ),
                remedy: "jitctl logout, have the token revoked where others could read it, and jitctl login with a new one".to_owned(),
                exit: Exit::Refused,
            });
        }
        let mut text = Vec::new();
        file.take(MOST_BYTES)
            .read_to_end(&mut text)
            .map_err(|error| Error::file(path, "read", error))?;
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Error::file(path, "understand", error))
    }

    /// Replaces what is at `path`. Nobody else can read it, nor look into its folder.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let write = || {
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            replace(path, &text, 0o600, 0o700)?;
            path.parent().map_or(Ok(()), |folder| {
                fs::set_permissions(folder, Permissions::from_mode(0o700))
            })
        };
        write().map_err(|error: io::Error| Error::file(path, "write", error))
    }

    /// Waits until nobody else changes what is at `path` for long, and keeps others from it until the answer is dropped.
    pub(crate) fn hold(path: &Path) -> Result<Option<File>, Error> {
        let folder = match path.parent().map(File::open) {
            Some(Ok(folder)) => folder,
            _ => return Ok(None),
        };
        let held = folder.lock().map(|()| Some(folder));
        held.map_err(|error| Error::file(path, "keep others from", error))
    }

    /// Removes what is at `path`, readable or not. False where there was nothing.
    pub(crate) fn remove(path: &Path) -> Result<bool, Error> {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::file(path, "remove", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login {
            server: "https://jit.example:7443".parse().unwrap(),
            ca: "pem".to_owned(),
            token: UserToken::generate().unwrap(),
            token_id: "u1".to_owned(),
            principal: "alice".to_owned(),
            expires: "2026-11-25T20:00:00Z".parse().unwrap(),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_login_is_kept_where_nobody_else_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/jit/login.json");
        assert_eq!(Login::read(&path).unwrap(), None);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
        let login = login();
        login.write(&path).unwrap();
        login.write(&path).unwrap();
        assert_eq!(Login::read(&path).unwrap(), Some(login));
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(Login::remove(&path).unwrap() && !Login::remove(&path).unwrap());
    }

    #[test]
    fn a_login_that_others_can_read_is_refused_and_can_be_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login.json");
        for wide in [0o640, 0o604, 0o620] {
            login().write(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(wide)).unwrap();
            let refused = Login::read(&path).unwrap_err();
            assert_eq!(refused.exit(), Exit::Refused, "{wide:o}");
        }
        assert!(Login::remove(&path).unwrap());
    }
}
