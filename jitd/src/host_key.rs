//! The host's own key: made at enrolment, never leaves the host, signs what jitd says to the server.

use std::io;
use std::path::Path;

use jit_grant::{KeyError, SigningKey};

use crate::atomic;

const LARGEST_FILE: u64 = 4 * 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// The file can't be read or written.
    #[error("the host's key can't be read or written: {0}")]
    Disk(#[from] io::Error),
    /// The file holds no key, or none could be made.
    #[error("the host's key: {0}")]
    Key(#[from] KeyError),
}

/// Reads the key in `path`; None where the host has none yet.
///
/// # Errors
/// See [`HostKeyError`].
pub fn read(path: &Path) -> Result<Option<SigningKey>, HostKeyError> {
    match atomic::read(path, LARGEST_FILE) {
        Ok(der) => Ok(Some(SigningKey::from_pkcs8(&der)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads the key in `path`, or makes one, readable to root only. A damaged file is never replaced: the server knows its key.
///
/// # Errors
/// See [`HostKeyError`].
pub fn read_or_make(path: &Path) -> Result<SigningKey, HostKeyError> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    make(path)
}

/// Makes a key in `path`, readable to root only, in the place of any other.
///
/// # Errors
/// See [`HostKeyError`].
pub fn make(path: &Path) -> Result<SigningKey, HostKeyError> {
    let key = SigningKey::generate()?;
    atomic::write(path, key.pkcs8())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_is_roots_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host.key");
        assert!(read(&path).unwrap().is_none());
        let key = read_or_make(&path).unwrap().public();
        assert_eq!(read_or_make(&path).unwrap().public(), key);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_damaged_key_is_reported_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host.key");
        fs::write(&path, b"rubbish").unwrap();
        assert!(read_or_make(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"rubbish");
    }
}
