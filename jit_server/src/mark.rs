//! How far the record had come on this machine, kept where no copy of the database has it: a database that does not come as far is an
//! older copy, and a database of which this machine knows nothing may be one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// A number in as many digits as the largest has, and a newline: written over in place, so that a power cut leaves the one or the other.
const BYTES: usize = 21;

/// The file.
#[derive(Debug)]
pub struct Mark {
    file: File,
    /// What it said when it was opened. None: nothing.
    found: Option<u64>,
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
            Ok(Self { file, found })
        };
        open().map_err(Error::io(format!("opening {}", path.display())))
    }

    /// How far the record had come here before this start. None: nothing is known of it.
    #[must_use]
    pub fn found(&self) -> Option<u64> {
        self.found
    }

    /// The record has come to event `seq`. Not synced: one that a power cut takes back says too little, which does no harm.
    pub(crate) fn raise(&self, seq: u64) {
        let text = format!("{seq:020}\n");
        if let Err(error) = self.file.write_all_at(text.as_bytes(), 0) {
            tracing::error!(
                "an older copy of the database may not be noticed, since the mark can't be written: {error}"
            );
        }
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
        for seq in [7, u64::MAX, 9] {
            mark.raise(seq);
            assert_eq!(Mark::open(&folder).unwrap().found(), Some(seq));
        }
        for text in ["", "x", "12", "-0000000000000000012\n"] {
            std::fs::write(folder.join("recorded"), text).unwrap();
            assert_eq!(Mark::open(&folder).unwrap().found(), None, "{text}");
        }
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
