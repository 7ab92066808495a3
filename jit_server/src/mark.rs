//! How far the record had come on this machine, kept where no copy of the database has it: a database that does not come as far is an
//! older copy, and a database of which this machine knows nothing may be one.
//!
//! Only the first mark is synced ([`Mark::begin`]). From then on the file has its length and its block, and each later mark is written
//! over it in place: nothing is truncated, nothing allocated, nothing renamed. 21 bytes at the beginning of a file are within one sector,
//! which disks write whole; ext4 and xfs write it where it is, btrfs writes a new block and then points to it. So a power cut leaves
//! an earlier mark whole, never a torn or an empty one. An earlier mark says too little, which ends nothing; and a mark never says too
//! much, since the database has on disk what it speaks of.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// A number in as many digits as the largest has, and a newline.
const BYTES: usize = 21;

/// The file.
#[derive(Debug)]
pub struct Mark {
    file: File,
    folder: PathBuf,
    /// What it said when it was opened. None: nothing.
    found: Option<u64>,
    highest: AtomicU64,
}

impl Mark {
    /// The folder for the mark of the database in `state`: beside it, so that whoever copies one does not copy the other.
    ///
    /// # Errors
    /// Where `state` has no name to which one could be added, as `..`.
    pub fn beside(state: &Path) -> Result<PathBuf, Error> {
        let name = state.file_name().ok_or_else(|| {
            Error::Setup(format!(
                "{} has no name, so no folder beside it can be named after it; give its full path, or --mark DIR",
                state.display()
            ))
        })?;
        let mut name = name.to_owned();
        name.push("-mark");
        Ok(state.with_file_name(name))
    }

    /// Makes `folder` where it is missing.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn make_folder(folder: &Path) -> Result<(), Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(Error::io(format!("making {}", folder.display())))
    }

    /// Opens the one in `folder`, and makes both where they are missing.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::make_folder(folder)?;
        let path = folder.join("recorded");
        let open = || -> io::Result<Self> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            let mut text = [0; BYTES];
            let length = file.read_at(&mut text, 0)?;
            let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
            let found = text
                .strip_suffix('\n')
                .and_then(|digits| digits.parse().ok());
            Ok(Self {
                file,
                folder: folder.to_owned(),
                found,
                highest: AtomicU64::new(found.unwrap_or(0)),
            })
        };
        open().map_err(Error::io(format!("opening {}", path.display())))
    }

    /// How far the record had come here before this start. None: nothing is known of it.
    #[must_use]
    pub fn found(&self) -> Option<u64> {
        self.found
    }

    /// The first mark here, for a record that has come to event `seq`. When this returns, it, its file and its folder are on disk:
    /// otherwise a power cut could take away that this machine knows the database, and all grants would end for it.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn begin(&self, seq: u64) -> Result<(), Error> {
        let begun = self.write(seq).and_then(|()| {
            self.file.sync_all()?;
            File::open(&self.folder)?.sync_all()?;
            File::open(self.folder.join(".."))?.sync_all()
        });
        begun.map_err(Error::io(format!(
            "keeping how far the record has come in {}",
            self.folder.display()
        )))
    }

    /// The record has come to event `seq`. Not synced; see above.
    pub(crate) fn raise(&self, seq: u64) {
        if self.highest.fetch_max(seq, Ordering::Relaxed) >= seq {
            return;
        }
        if let Err(error) = self.write(seq) {
            tracing::error!(
                "an older copy of the database may not be noticed, since the mark can't be written: {error}"
            );
        }
    }

    fn write(&self, seq: u64) -> io::Result<()> {
        self.file.write_all_at(format!("{seq:020}\n").as_bytes(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_raised_is_found_and_anything_else_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("mark");
        let mark = Mark::open(&folder).unwrap();
        assert_eq!(mark.found(), None);
        mark.begin(0).unwrap();
        assert_eq!(Mark::open(&folder).unwrap().found(), Some(0));
        for seq in [7, 9, u64::MAX] {
            mark.raise(seq);
            assert_eq!(Mark::open(&folder).unwrap().found(), Some(seq));
        }
        for text in ["", "x", "12", "-0000000000000000012\n"] {
            std::fs::write(folder.join("recorded"), text).unwrap();
            assert_eq!(Mark::open(&folder).unwrap().found(), None, "{text}");
        }
    }

    #[test]
    fn a_mark_is_never_lowered() {
        let folder = tempfile::tempdir().unwrap();
        Mark::open(folder.path()).unwrap().raise(9);
        let mark = Mark::open(folder.path()).unwrap();
        mark.raise(3);
        assert_eq!(Mark::open(folder.path()).unwrap().found(), Some(9));
    }

    #[test]
    fn each_state_has_a_mark_of_its_own() {
        let beside = |state: &str| Mark::beside(Path::new(state)).ok();
        let mark = |folder: &str| Some(PathBuf::from(folder));
        assert_eq!(
            beside("/var/lib/jit-server"),
            mark("/var/lib/jit-server-mark")
        );
        assert_eq!(beside("/root/copy/"), mark("/root/copy-mark"));
        assert_eq!(beside("copy"), mark("copy-mark"));
        assert_eq!(beside(".."), None);
    }
}
