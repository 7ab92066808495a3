//! Reading and replacing the files in `/etc/pam.d`: under a lock, whole or not at all, keeping owner, mode and labels.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::libc::{O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK};

use super::GateError;
use super::plan::Host;
use super::stack::Texts;

/// More bytes than this are no PAM service file.
const MOST_BYTES: u64 = 256 * 1024;
/// More files than this are no `/etc/pam.d`.
const MOST_FILES: usize = 2_000;

/// Where a machine keeps its PAM service files.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    /// `/etc/pam.d`.
    own: PathBuf,
    /// `/usr/lib/pam.d`: what libpam reads where `/etc/pam.d` has no such file.
    vendor: PathBuf,
    /// Whom files must belong to: root, or in tests whoever runs them.
    owner: u32,
}

impl Folders {
    /// The folders below `root`, which is `/` but in tests; files must belong to `owner`.
    pub(crate) fn below(root: &Path, owner: u32) -> Self {
        Self {
            own: root.join("etc/pam.d"),
            vendor: root.join("usr/lib/pam.d"),
            owner,
        }
    }

    /// Every service file.
    pub(crate) fn host(&self) -> Result<Host, GateError> {
        let own = read_all(&self.own)?;
        let mut all = self.vendor_texts()?;
        all.extend(own.clone());
        Ok(Host { own, all })
    }

    /// The vendor's service files.
    pub(crate) fn vendor_texts(&self) -> Result<Texts, GateError> {
        read_all(&self.vendor)
    }

    /// Waits until no other jitctl changes these files, and keeps others out until the result is dropped.
    pub(crate) fn lock(&self) -> Result<Locked<'_>, GateError> {
        let folder = OpenOptions::new()
            .read(true)
            .custom_flags(O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            .open(&self.own)
            .map_err(|error| GateError::file(&self.own, "open", error))?;
        let metadata = folder
            .metadata()
            .map_err(|error| GateError::file(&self.own, "look at", error))?;
        self.check_owner(&self.own, &metadata)?;
        folder
            .lock()
            .map_err(|error| GateError::file(&self.own, "lock", error))?;
        Ok(Locked {
            folders: self,
            folder,
        })
    }

    fn check_owner(&self, path: &Path, metadata: &fs::Metadata) -> Result<(), GateError> {
        if metadata.uid() != self.owner {
            return Err(GateError::unfit(path, "does not belong to root"));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(GateError::unfit(path, "can be written by others than root"));
        }
        Ok(())
    }
}

/// The right to change the files, until dropped.
pub(crate) struct Locked<'a> {
    folders: &'a Folders,
    folder: File,
}

impl Locked<'_> {
    /// Replaces what `service` says, which must still be `old` (None: no such file), by `new`.
    pub(crate) fn write(
        &self,
        service: &str,
        old: Option<&[u8]>,
        new: &[u8],
    ) -> Result<(), GateError> {
        let path = self.folders.own.join(service);
        let original = self.unchanged(&path, old)?;
        let temporary = self.folders.own.join(format!(".{service}.jit-new"));
        let written = self.write_temporary(&temporary, original.as_ref(), new);
        let replaced = written
            .and_then(|()| self.unchanged(&path, old))
            .and_then(|_| {
                fs::rename(&temporary, &path)
                    .map_err(|error| GateError::file(&path, "replace", error))
            });
        if replaced.is_err() {
            // Best effort: a leftover is overwritten by the next run, and libpam knows no service of that name.
            let _ = fs::remove_file(&temporary);
        }
        replaced?;
        self.sync()
    }

    /// Removes the file of `service`, which must still say `old`.
    pub(crate) fn remove(&self, service: &str, old: &[u8]) -> Result<(), GateError> {
        let path = self.folders.own.join(service);
        self.unchanged(&path, Some(old))?;
        fs::remove_file(&path).map_err(|error| GateError::file(&path, "remove", error))?;
        self.sync()
    }

    /// The file, opened, where it is one that we may replace and still says `old`.
    fn unchanged(&self, path: &Path, old: Option<&[u8]>) -> Result<Option<File>, GateError> {
        match (open_regular(path), old) {
            (Err(error), None) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            (Err(error), _) if error.raw_os_error() == Some(nix::libc::ELOOP) => {
                Err(GateError::unfit(
                    path,
                    "is a symbolic link, and what it points to may serve others too",
                ))
            }
            (Err(error), _) => Err(GateError::file(path, "open", error)),
            (Ok(mut file), old) => {
                let metadata = file
                    .metadata()
                    .map_err(|error| GateError::file(path, "look at", error))?;
                self.folders.check_owner(path, &metadata)?;
                let text = read_bounded(&mut file, path)?;
                if old == Some(text.as_slice()) {
                    Ok(Some(file))
                } else {
                    Err(GateError::Changed {
                        path: path.to_owned(),
                    })
                }
            }
        }
    }

    fn write_temporary(
        &self,
        temporary: &Path,
        original: Option<&File>,
        text: &[u8],
    ) -> Result<(), GateError> {
        let failed = |error| GateError::file(temporary, "write", error);
        match fs::remove_file(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(temporary)
            .map_err(failed)?;
        file.write_all(text).map_err(failed)?;
        match original {
            Some(original) => copy_attributes(original, &file).map_err(failed)?,
            None => file
                .set_permissions(fs::Permissions::from_mode(0o644))
                .map_err(failed)?,
        }
        file.sync_all().map_err(failed)
    }

    fn sync(&self) -> Result<(), GateError> {
        self.folder
            .sync_all()
            .map_err(|error| GateError::file(&self.folders.own, "write", error))
    }
}

/// Owner, mode and extended attributes (the SELinux label and access lists are such) of `from` onto `to`.
fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    let metadata = from.metadata()?;
    fchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    to.set_permissions(metadata.permissions())?;
    let mut names = vec![0; 64 * 1024];
    let length = match rustix::fs::flistxattr(from, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => 0,
        listed => listed?,
    };
    for name in names[..length]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        rustix::fs::fsetxattr(to, name, &value[..length], rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

fn read_all(folder: &Path) -> Result<Texts, GateError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Texts::new()),
        entries => entries.map_err(|error| GateError::file(folder, "read", error))?,
    };
    let mut texts = Texts::new();
    for entry in entries {
        let entry = entry.map_err(|error| GateError::file(folder, "read", error))?;
        let path = entry.path();
        let (Ok(name), Ok(true)) = (
            entry.file_name().into_string(),
            path.metadata().map(|metadata| metadata.is_file()),
        ) else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        if texts.len() == MOST_FILES {
            return Err(GateError::unfit(
                folder,
                "holds more files than a folder of PAM services does",
            ));
        }
        let mut file = File::open(&path).map_err(|error| GateError::file(&path, "open", error))?;
        texts.insert(name, read_bounded(&mut file, &path)?);
    }
    Ok(texts)
}

fn open_regular(path: &Path) -> io::Result<File> {
    // O_NONBLOCK: a named pipe in the file's place must not hold us.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

fn read_bounded(file: &mut File, path: &Path) -> Result<Vec<u8>, GateError> {
    let mut text = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(|error| GateError::file(path, "read", error))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(GateError::unfit(path, "is too long for a PAM service file"));
    }
    Ok(text)
}
