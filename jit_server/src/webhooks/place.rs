//! What is kept of an endpoint across restarts: how far it has been told, and what could not be told.
//!
//! | file | |
//! |---|---|
//! | `at/NAME.json` | how far; written whole after each answer |
//! | `dead/NAME.jsonl` | what was given up, the oldest first |
//! | `again/NAME.jsonl` | what of that an administrator has put back into the queue |

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::held::Held;
use super::message::Message;
use super::settings::EndpointName;
use crate::error::Error;

/// Dead letters of an endpoint at most; the oldest go.
const MOST_DEAD: usize = 1_000;

/// How far an endpoint has been told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Events up to this number are done with; 0 before the first.
    pub(super) after: u64,
    /// When the event of that number was, so that another one in its place is noticed. None: it is not shown.
    pub(super) at: Option<Timestamp>,
    /// Nothing up to then is told: it was told before, or the endpoint was not there yet.
    pub(super) told_until: Timestamp,
    /// The last event of the server's own at or before `after`, by its time.
    pub(super) seen: Timestamp,
    pub(super) held: Held,
    /// What is being tried, since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trying: Option<Trying>,
    /// The receiver said that it is gone for good (410).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gone: Option<Gone>,
}

/// A message that was not taken yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trying {
    pub(super) id: String,
    pub(super) since: Timestamp,
}

/// An endpoint that is not called any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gone {
    pub(super) at: Timestamp,
    /// Another one is called again.
    pub(super) url: String,
}

impl Place {
    /// An endpoint that is new at `now`: what happened before is not told.
    pub(super) fn beginning(now: Timestamp) -> Self {
        Self {
            after: 0,
            at: None,
            told_until: now,
            seen: Timestamp::MIN,
            held: Held::default(),
            trying: None,
            gone: None,
        }
    }

    /// The record is another one: it is read again, and what was after the last thing told is told.
    pub(super) fn again(&self) -> Self {
        Self {
            told_until: self.told_until.max(self.seen),
            gone: self.gone.clone(),
            ..Self::beginning(Timestamp::MIN)
        }
    }
}

/// Something that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// When it was given up.
    pub(super) given_up: Timestamp,
    /// What the last try came to.
    pub(super) why: String,
    #[serde(flatten)]
    pub(super) message: Message,
}

/// The folder of all endpoints' files.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes what is missing in the folder at `path`.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(path: &Path) -> Result<Self, Error> {
        for part in ["at", "dead", "again"] {
            let part = path.join(part);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&part);
            made.map_err(Error::io(format!("making {}", part.display())))?;
        }
        if owner(path)?.0 != geteuid() {
            return Err(Error::Setup(format!(
                "{} belongs to another account, which alone sends from it; systemctl start jit-server-webhooks",
                path.display()
            )));
        }
        Ok(Self(path.to_owned()))
    }

    /// The folder at `path` as it is, for an administrator. From here on root is no more than the folder's owner: a sender that somebody
    /// took over could have put a link there to anywhere.
    ///
    /// # Errors
    /// Where there is no such folder.
    pub fn as_its_owner(path: &Path) -> Result<Self, Error> {
        let (user, group) = owner(path)?;
        if geteuid().is_root() && !user.is_root() {
            let become_owner = || {
                setgroups(&[])?;
                setgid(group)?;
                setuid(user)
            };
            become_owner().map_err(|error| {
                Error::Setup(format!("becoming the owner of {}: {error}", path.display()))
            })?;
        }
        Ok(Self(path.to_owned()))
    }

    /// Two senders would each write down that they are somewhere else. For as long as what is given is held there is one.
    ///
    /// # Errors
    /// That there is another one.
    pub(super) fn lock(&self) -> Result<Flock<File>, Error> {
        let path = self.0.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(Error::io(format!("opening {}", path.display())))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
            Error::Setup(format!(
                "another `jit-server webhooks` runs on {}: {error}",
                self.0.display()
            ))
        })
    }

    fn file(&self, part: &str, name: &EndpointName, kind: &str) -> PathBuf {
        self.0.join(part).join(format!("{name}.{kind}"))
    }

    /// How far the endpoint has been told. None: it is new.
    pub(super) fn place(&self, name: &EndpointName) -> Result<Option<Place>, Error> {
        let path = self.file("at", name, "json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(Error::io(format!("reading {}", path.display())))?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            Error::Setup(format!(
                "{} can't be read: {error}; where it is moved away, {name} is told what happens from now on",
                path.display()
            ))
        })
    }

    pub(super) fn keep(&self, name: &EndpointName, place: &Place) -> Result<(), Error> {
        let path = self.file("at", name, "json");
        let text = serde_json::to_vec(place).map_err(|error| Error::Setup(error.to_string()))?;
        write(&path, &text).map_err(Error::io(format!("writing {}", path.display())))
    }

    /// What was given up of the endpoint's, the oldest first.
    ///
    /// # Errors
    /// Those of the disk, or a line that is none of ours.
    pub fn dead(&self, name: &EndpointName) -> Result<Vec<Dead>, Error> {
        lines(&self.file("dead", name, "jsonl")).map(Option::unwrap_or_default)
    }

    /// Gives `dead` up. True where the oldest had to go for it.
    pub(super) fn give_up(&self, name: &EndpointName, dead: Dead) -> Result<bool, Error> {
        let mut all = self.dead(name)?;
        // A sender that was killed here comes back with the same.
        all.retain(|other| other.message.id != dead.message.id);
        all.push(dead);
        let too_many = all.len().saturating_sub(MOST_DEAD);
        all.drain(..too_many);
        self.write_lines(&self.file("dead", name, "jsonl"), &all)?;
        Ok(too_many > 0)
    }

    /// Puts what was given up back into the queue; how many that are. The sender looks there between two events.
    ///
    /// # Errors
    /// Those of the disk, or that some are in the queue already.
    pub fn again(&self, name: &EndpointName) -> Result<usize, Error> {
        let count = self.dead(name)?.len();
        let (from, to) = (
            self.file("dead", name, "jsonl"),
            self.file("again", name, "jsonl"),
        );
        if to.exists() {
            return Err(Error::Setup(format!(
                "what was given up for {name} is in the queue already, and not all of it is sent"
            )));
        }
        let put = if count == 0 {
            // Nothing in it, and all the same asked for: one that was gone is called again.
            File::create(&to).map(|_| ())
        } else {
            fs::rename(&from, &to)
        };
        put.map_err(Error::io(format!("writing {}", to.display())))?;
        Ok(count)
    }

    /// What is to be sent again. None: nobody asked for that.
    pub(super) fn queue(&self, name: &EndpointName) -> Result<Option<Vec<Dead>>, Error> {
        lines(&self.file("again", name, "jsonl"))
    }

    /// What is left of it; nothing, and it is over.
    pub(super) fn keep_queue(&self, name: &EndpointName, left: &[Dead]) -> Result<(), Error> {
        let path = self.file("again", name, "jsonl");
        if left.is_empty() {
            return fs::remove_file(&path)
                .map_err(Error::io(format!("removing {}", path.display())));
        }
        self.write_lines(&path, left)
    }

    fn write_lines(&self, path: &Path, all: &[Dead]) -> Result<(), Error> {
        let mut text = Vec::new();
        for one in all {
            serde_json::to_writer(&mut text, one)
                .map_err(|error| Error::Setup(error.to_string()))?;
            text.push(b'\n');
        }
        write(path, &text).map_err(Error::io(format!("writing {}", path.display())))
    }
}

/// Whose the folder is.
fn owner(folder: &Path) -> Result<(Uid, Gid), Error> {
    let found = fs::metadata(folder).map_err(Error::io(format!(
        "looking at {}; has jit-server-webhooks.service run yet?",
        folder.display()
    )))?;
    Ok((Uid::from_raw(found.uid()), Gid::from_raw(found.gid())))
}

/// A file of JSON lines. None where it is not there.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<Option<Vec<T>>, Error> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(Error::io(format!("reading {}", path.display())))?,
    };
    let read: Result<Vec<T>, _> = text.lines().map(serde_json::from_str).collect();
    read.map(Some)
        .map_err(|error| Error::Setup(format!("{} can't be read: {error}", path.display())))
}

/// The whole file or none of it, on disk when this returns.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dead(number: usize) -> Dead {
        let at = "2026-11-22T12:00:00Z";
        serde_json::from_value(json!({
            "given_up": at, "why": "away", "id": format!("msg_{number}"), "type": "released", "timestamp": at, "data": {},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_given_up_is_bounded_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        let name = "pager".parse().unwrap();
        let all: Vec<Dead> = (0..MOST_DEAD).map(dead).collect();
        let path = folder.file("dead", &name, "jsonl");
        folder.write_lines(&path, &all).unwrap();
        assert!(folder.give_up(&name, dead(MOST_DEAD)).unwrap());
        let kept = folder.dead(&name).unwrap();
        assert_eq!((kept.len(), &kept[0]), (MOST_DEAD, &dead(1)));
        assert_eq!(kept.last(), Some(&dead(MOST_DEAD)));
    }

    #[test]
    fn what_is_put_back_is_in_the_queue_once_until_it_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        let name = "pager".parse().unwrap();
        assert!(!folder.give_up(&name, dead(1)).unwrap());
        assert_eq!(folder.queue(&name).unwrap(), None);
        assert_eq!(folder.again(&name).unwrap(), 1);
        assert!(folder.again(&name).is_err());
        assert_eq!(folder.queue(&name).unwrap().unwrap(), [dead(1)]);
        assert_eq!(folder.dead(&name).unwrap(), []);
        folder.keep_queue(&name, &[]).unwrap();
        assert_eq!(folder.queue(&name).unwrap(), None);
        assert_eq!(
            folder.again(&name).unwrap(),
            0,
            "which calls one again that was gone"
        );
    }

    #[test]
    fn a_place_that_can_not_be_read_is_told_and_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        let name = "pager".parse().unwrap();
        let place = Place::beginning("2026-11-22T12:00:00Z".parse().unwrap());
        folder.keep(&name, &place).unwrap();
        assert_eq!(folder.place(&name).unwrap(), Some(place));
        fs::write(folder.file("at", &name, "json"), "{").unwrap();
        assert!(folder.place(&name).is_err());
    }
}
