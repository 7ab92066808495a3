//! The key that makes grants. Whoever can read its file can open every host, so only its owner may.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use jit_grant::{PublicKey, SigningKey};

use crate::error::Error;

/// Also of a TLS key in PEM.
const MAX_BYTES: u64 = 16 * 1024;

/// The key, and where it and the next one are kept.
#[derive(Debug)]
pub struct Signer {
    path: PathBuf,
    key: RwLock<Arc<SigningKey>>,
}

impl Signer {
    /// The key that signs now.
    pub(crate) fn key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.key.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.key().public()
    }

    /// Makes the next key and keeps it beside the current one, which goes on signing.
    pub(crate) fn make_next(&self) -> Result<SigningKey, Error> {
        // Where the last one is still beside its place, it must not be written over.
        if read(&self.path)?.public() != self.public() {
            self.put_next_in_place()?;
        }
        let next = SigningKey::generate()?;
        let path = self.next_path();
        write_private(&path, next.pkcs8())
            .and_then(|()| sync_folder(&path))
            .map_err(Error::io(format!("writing {}", path.display())))?;
        Ok(next)
    }

    /// The next key signs from now on. It stays beside its place where it can't be put there: the next start does that.
    pub(crate) fn go_on_with(&self, next: SigningKey) {
        if let Err(error) = self.put_next_in_place() {
            tracing::error!("the next start goes on with the new key: {error}");
        }
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    /// The same with the key that is kept beside the current one. False where that is not `newest`.
    pub(crate) fn go_on_to(&self, newest: PublicKey) -> bool {
        let next = read(&self.next_path());
        match next {
            Ok(next) if next.public() == newest => {
                self.go_on_with(next);
                true
            }
            _ => false,
        }
    }

    fn put_next_in_place(&self) -> Result<(), Error> {
        std::fs::rename(self.next_path(), &self.path)
            .and_then(|()| sync_folder(&self.path))
            .map_err(Error::io(format!("writing {}", self.path.display())))
    }

    fn next_path(&self) -> PathBuf {
        self.path.with_extension("key.next")
    }
}

/// Reads the key at `path`.
///
/// # Errors
/// Where the file is not there, is no regular file of our own, or may be read by anybody else.
pub fn load(path: &Path) -> Result<Signer, Error> {
    Ok(Signer {
        path: path.to_owned(),
        key: RwLock::new(Arc::new(read(path)?)),
    })
}

fn read(path: &Path) -> Result<SigningKey, Error> {
    let wrong = |why: String| Error::SigningKey {
        path: path.to_owned(),
        why,
    };
    let bytes = read_private(path).map_err(wrong)?;
    SigningKey::from_pkcs8(&bytes).map_err(|error| wrong(error.to_string()))
}

/// What is in the file of a private key: a regular file of our own that nobody else may read. The error is why not.
pub(crate) fn read_private(path: &Path) -> Result<Vec<u8>, String> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path);
    let file =
        file.map_err(|error| format!("can't be opened: {error}; run `jit-server init` as root"))?;
    let metadata = file
        .metadata()
        .map_err(|error| format!("can't be looked at: {error}"))?;
    let own = nix::unistd::geteuid().as_raw();
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    if metadata.uid() != own {
        return Err(format!(
            "belongs to uid {}, not to uid {own} that jit-server runs as",
            metadata.uid()
        ));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o177 != 0 {
        return Err(format!(
            "has mode {mode:04o}, so others may have read it; make it 0600, and think about making a new key"
        ));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("can't be read: {error}"))?;
    Ok(bytes)
}

/// Makes a new key at `path`, unless there is a file already. True where it made one.
///
/// # Errors
/// Where it can't be written.
pub fn make(path: &Path) -> Result<bool, Error> {
    if path.symlink_metadata().is_ok() {
        return Ok(false);
    }
    let key = SigningKey::generate()?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let unfinished = folder.join(".signing.key.new");
    write_private(&unfinished, key.pkcs8())
        .map_err(Error::io(format!("writing {}", unfinished.display())))?;
    // A link, unlike a rename, never takes the place of a key that somebody else has just made.
    let linked = std::fs::hard_link(&unfinished, path);
    std::fs::remove_file(&unfinished)
        .map_err(Error::io(format!("removing {}", unfinished.display())))?;
    linked.map_err(Error::io(format!("making {}", path.display())))?;
    sync_folder(path).map_err(Error::io(format!("syncing {}", folder.display())))?;
    Ok(true)
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        assert!(make(&path).unwrap());
        let public = load(&path).unwrap().public();
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert!(!make(&path).unwrap());
        assert_eq!(load(&path).unwrap().public(), public);
    }

    #[test]
    fn whenever_the_power_goes_in_a_rotation_the_key_that_the_record_ends_with_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        make(&path).unwrap();
        let first = load(&path).unwrap().public();
        let next = load(&path).unwrap().make_next().unwrap().public();
        // Before the record has it: a start goes on with the first key, and there is no other.
        let signer = load(&path).unwrap();
        assert_eq!(signer.public(), first);
        assert!(!signer.go_on_to(SigningKey::generate().unwrap().public()));
        // The record ends with the next.
        assert!(signer.go_on_to(next));
        assert_eq!(load(&path).unwrap().public(), next);
        // It could not be put in its place: the one after it takes no key away.
        let second = signer.make_next().unwrap();
        let public = second.public();
        *signer.key.write().unwrap() = Arc::new(second);
        signer.make_next().unwrap();
        assert_eq!(load(&path).unwrap().public(), public);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        make(&path).unwrap();
        for mode in [0o640, 0o604, 0o700] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert!(
                load(&path).unwrap_err().to_string().contains("mode"),
                "{mode:o}"
            );
        }
    }

    #[test]
    fn a_link_in_the_place_of_the_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (
            folder.path().join("signing.key"),
            folder.path().join("link"),
        );
        make(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(load(&link).is_err());
    }
}
