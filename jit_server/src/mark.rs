//! How far the record had come on this machine, and in which database, kept where no copy of the database has it: a database that does
//! not come as far is an older copy, and a database of which this machine knows nothing may be one.
//!
//! The number is a line of its own, as versions before wrote it; what it is of is the line after that.
//!
//! Only the first mark is synced ([`Mark::begin`]). From then on the file has its length and its block, and each later mark is written
//! over it in place: nothing is truncated, nothing allocated, nothing renamed. 108 bytes at the beginning of a file are within one sector,
//! which disks write whole; ext4 and xfs write it where it is, btrfs writes a new block and then points to it. So a power cut leaves
//! an earlier mark whole, never a torn or an empty one. An earlier mark says too little, which ends nothing; and a mark never says too
//! much, since the database has on disk what it speaks of.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::store::{Id, Place};

/// A number in as many digits as the largest has, and a newline.
const FIRST_LINE: usize = 21;
/// The database, the number of the last write and its id, with spaces between and a newline.
const SECOND_LINE: usize = 32 + 1 + 20 + 1 + 32 + 1;
/// In the place of a write's id, where it has none.
const NO_ID: &str = "--------------------------------";

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// How far the record had come. Of a mark of a version before, no more than the number in the whole record.
    pub place: Place,
    /// Of which database. None: of a version before, which did not say.
    pub database: Option<Id>,
}

/// The file.
#[derive(Debug)]
pub struct Mark {
    file: File,
    folder: PathBuf,
    /// What it said when it was opened. None: nothing.
    found: Option<Found>,
    now: Mutex<Option<Found>>,
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
            let mut text = [0; FIRST_LINE + SECOND_LINE];
            let length = file.read_at(&mut text, 0)?;
            let found = parse(&text[..length]);
            Ok(Self {
                file,
                folder: folder.to_owned(),
                found,
                now: Mutex::new(found),
            })
        };
        open().map_err(Error::io(format!("opening {}", path.display())))
    }

    /// What the one in `folder` says, by a look that changes nothing. None: there is none.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn look(folder: &Path) -> Result<Option<Found>, Error> {
        let path = folder.join("recorded");
        match std::fs::read(&path) {
            Ok(text) => Ok(parse(text.get(..FIRST_LINE + SECOND_LINE).unwrap_or(&text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("reading {}", path.display()))(error)),
        }
    }

    /// How far the record had come here before this start. None: nothing is known of it.
    #[must_use]
    pub fn found(&self) -> Option<Found> {
        self.found
    }

    /// The first mark here of `database`, whose record has come to `place`. When this returns, it, its file and its folder are on disk:
    /// otherwise a power cut could take away that this machine knows the database, and all grants would end for it.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn begin(&self, database: Id, place: Place) -> Result<(), Error> {
        let begun = self.write(database, place).and_then(|()| {
            self.file.sync_all()?;
            File::open(&self.folder)?.sync_all()?;
            File::open(self.folder.join(".."))?.sync_all()
        });
        begun.map_err(Error::io(format!(
            "keeping how far the record has come in {}",
            self.folder.display()
        )))
    }

    /// The record has come to `place`. Not synced; see above. Nothing happens before [`Self::begin`].
    pub(crate) fn raise(&self, place: Place) {
        let now = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((now, database)) = now.and_then(|now| Some((now.place, now.database?))) else {
            return;
        };
        if place == now || place.last_seq < now.last_seq {
            return;
        }
        if let Err(error) = self.write(database, place) {
            tracing::error!(
                "an older copy of the database may not be noticed, since the mark can't be written: {error}"
            );
        }
    }

    fn write(&self, database: Id, place: Place) -> io::Result<()> {
        let id = place.write.map(|id| id.to_string());
        let text = format!(
            "{:020}\n{database} {:020} {}\n",
            place.last_seq,
            place.writes,
            id.as_deref().unwrap_or(NO_ID)
        );
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(Found {
            place,
            database: Some(database),
        });
        self.file.write_all_at(text.as_bytes(), 0)
    }
}

/// None where it says nothing. A second line that can't be read is as none.
fn parse(text: &[u8]) -> Option<Found> {
    let (first, second) = text.split_at_checked(FIRST_LINE)?;
    let line = |text| std::str::from_utf8(text).ok()?.strip_suffix('\n');
    let last_seq = line(first)?.parse().ok()?;
    let of = || {
        let mut words = line(second)?.split(' ');
        let database = words.next()?.parse().ok()?;
        let writes = words.next()?.parse().ok()?;
        let write = words.next().filter(|id| *id != NO_ID);
        let write = write.map(str::parse).transpose().ok()?;
        Some((database, writes, write))
    };
    let Some((database, writes, write)) = of() else {
        let place = Place {
            last_seq,
            ..Place::default()
        };
        return Some(Found {
            place,
            database: None,
        });
    };
    Some(Found {
        place: Place {
            last_seq,
            writes,
            write,
        },
        database: Some(database),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> Id {
        digit.repeat(32).parse().unwrap()
    }

    fn at(last_seq: u64, writes: u64) -> Place {
        Place {
            last_seq,
            writes,
            write: (writes > 0).then(|| id("a")),
        }
    }

    fn found(folder: &Path) -> Option<Found> {
        Mark::open(folder).unwrap().found()
    }

    #[test]
    fn what_was_raised_is_found_and_anything_else_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("mark");
        let mark = Mark::open(&folder).unwrap();
        assert_eq!(mark.found(), None);
        mark.raise(at(7, 1));
        assert_eq!(found(&folder), None, "it is not known of what");
        let of = |place| {
            Some(Found {
                place,
                database: Some(id("d")),
            })
        };
        mark.begin(id("d"), at(0, 0)).unwrap();
        assert_eq!(found(&folder), of(at(0, 0)));
        for place in [at(7, 1), at(7, 2), at(9, 3), at(u64::MAX, u64::MAX)] {
            mark.raise(place);
            assert_eq!(found(&folder), of(place));
        }
        for text in ["", "x", "12", "-0000000000000000012\n"] {
            std::fs::write(folder.join("recorded"), text).unwrap();
            assert_eq!(found(&folder), None, "{text}");
        }
    }

    #[test]
    fn a_mark_of_a_version_before_says_how_far_and_not_of_what() {
        let folder = tempfile::tempdir().unwrap();
        let before = Some(Found {
            place: at(12, 0),
            database: None,
        });
        for rest in ["", "x", "00"] {
            let text = format!("00000000000000000012\n{rest}");
            std::fs::write(folder.path().join("recorded"), text).unwrap();
            assert_eq!(found(folder.path()), before, "{rest}");
        }
    }

    #[test]
    fn a_mark_is_never_lowered() {
        let folder = tempfile::tempdir().unwrap();
        let mark = Mark::open(folder.path()).unwrap();
        mark.begin(id("d"), at(9, 4)).unwrap();
        let mark = Mark::open(folder.path()).unwrap();
        mark.raise(at(3, 9));
        assert_eq!(found(folder.path()).unwrap().place, at(9, 4));
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
