//! The registry: one file a session under /run/jit/sessions, so that a jitd that died knows again what it held.
//!
//! A file is replaced by rename, so it is whole whenever jitd dies. One that can't be read all the same is set aside, recorded, and
//! what it told of is ended (`salvage.rs`). Beside them stands the id of the boot that they are of: process numbers, cgroup ids and
//! unit names mean nothing in another one.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::held::Held;
use super::types::{SessionError, SessionId};
use crate::atomic::{self, UNFINISHED};
use crate::boot;

/// What the names of session files end with.
const ENDING: &str = ".json";

/// Holds the id of the boot.
const BOOT: &str = "boot";

/// No boot id comes near this.
const MOST_BOOT_BYTES: u64 = 256;

/// No registry file of ours comes near this.
const MOST_BYTES: u64 = 64 * 1024;

/// The folder of registry files.
pub(crate) struct Registry(PathBuf);

/// What a start finds there.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) held: Vec<Held>,
    pub(crate) broken: Vec<Broken>,
}

/// A file that is no session, set aside as `NAME.broken`.
pub(crate) struct Broken {
    /// The session that it told of, where its name is that of one.
    pub(crate) id: Option<SessionId>,
    pub(crate) name: String,
    pub(crate) why: String,
}

impl Registry {
    /// Opens `run_dir`/sessions, made where it is missing. What is there of another boot goes: nothing of it lives.
    ///
    /// # Errors
    /// Where it can't be made or read.
    pub(crate) fn open(run_dir: &Path) -> Result<Self, SessionError> {
        let path = run_dir.join("sessions");
        let unusable = |source| SessionError::Registry {
            path: path.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(unusable)?;
        let registry = Self(path.clone());
        registry
            .keep_to_boot(&boot::id().map_err(unusable)?)
            .map_err(unusable)?;
        Ok(registry)
    }

    fn keep_to_boot(&self, boot: &str) -> io::Result<()> {
        let file = self.0.join(BOOT);
        let noted = atomic::read(&file, MOST_BOOT_BYTES).ok();
        if noted.as_deref() == Some(boot.as_bytes()) {
            return Ok(());
        }
        // An older jitd noted none, and kept its files in /run, which no reboot leaves anything of.
        if noted.is_some_and(|other| !other.is_empty()) {
            for name in self.names(ENDING)? {
                tracing::warn!(name, "a registry file of an earlier boot is removed");
                let _ = fs::remove_file(self.0.join(name));
            }
        }
        // Without it the next start takes what it finds for this boot's, as it is.
        if let Err(error) = atomic::write(&file, boot.as_bytes()) {
            tracing::warn!(%error, "the registry could not note which boot it is of");
        }
        Ok(())
    }

    /// The names of files that end like this.
    fn names(&self, ending: &str) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.0)?;
        let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
        // What can't be listed is found at the next start; the timer in PID 1 ends it meanwhile.
        let names = entries.flatten().filter_map(name);
        Ok(names.filter(|name| name.ends_with(ending)).collect())
    }

    /// Writes a session, whole or not at all.
    ///
    /// # Errors
    /// Those of writing and renaming.
    pub(crate) fn save(&self, held: &Held) -> io::Result<()> {
        atomic::write(&self.file(&held.id), &serde_json::to_vec(held)?)
    }

    /// Removes a session. One that is not there is removed.
    pub(crate) fn remove(&self, id: &SessionId) {
        // What stays behind is found and judged again at the next start.
        let _ = fs::remove_file(self.file(id));
    }

    /// True where there is a file of this id.
    pub(crate) fn has(&self, id: &SessionId) -> bool {
        self.file(id).exists()
    }

    /// Everything there is. What an interrupted write left beside it is removed.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub(crate) fn load(&self) -> Result<Found, SessionError> {
        let unreadable = |source| SessionError::Registry {
            path: self.0.clone(),
            source,
        };
        for name in self.names(UNFINISHED).map_err(unreadable)? {
            let _ = fs::remove_file(self.0.join(name));
        }
        let mut found = Found::default();
        for name in self.names(ENDING).map_err(unreadable)? {
            let path = self.0.join(&name);
            let id = name.strip_suffix(ENDING).unwrap_or_default();
            match read(&path, id) {
                Ok(held) => found.held.push(held),
                Err(error) => {
                    let _ = fs::rename(&path, path.with_extension("json.broken"));
                    found.broken.push(Broken {
                        id: id.parse().ok(),
                        name,
                        why: error.to_string(),
                    });
                }
            }
        }
        Ok(found)
    }

    fn file(&self, id: &SessionId) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }
}

fn read(path: &Path, id: &str) -> io::Result<Held> {
    let held: Held = serde_json::from_slice(&atomic::read(path, MOST_BYTES)?)?;
    if held.id.as_str() == id {
        Ok(held)
    } else {
        Err(io::Error::other(format!(
            "the file tells of session {}",
            held.id
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{held, id};
    use super::super::held::Kind;
    use super::super::process::Process;
    use super::*;

    const LEADER: Process = Process {
        pid: 7,
        start_time: 4711,
    };

    fn session(seed: u8) -> Held {
        held(Kind::Login, seed, LEADER)
    }

    fn registry() -> (tempfile::TempDir, Registry) {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path()).unwrap();
        (folder, registry)
    }

    #[test]
    fn what_was_held_is_known_again_after_a_restart() {
        let (folder, registry) = registry();
        let mut saved = session(1);
        saved.timers = vec![3];
        saved.confirm_by = Some(std::time::Duration::from_millis(1_500));
        registry.save(&saved).unwrap();
        let found = Registry::open(folder.path()).unwrap().load().unwrap();
        let [held] = &found.held[..] else {
            panic!("one session was saved")
        };
        assert_eq!(
            (held.id.clone(), &held.query, &held.live),
            (saved.id, &saved.query, &saved.live)
        );
        assert_eq!(
            (held.leader, &held.timers, held.confirm_by),
            (LEADER, &saved.timers, saved.confirm_by)
        );
    }

    /// A torn write can't come about by a rename; a full or failing /run and somebody's editor can do worse.
    #[test]
    fn a_file_that_can_not_be_read_is_set_aside_and_hides_no_other() {
        type Harm = fn(&Path);
        let harms: [Harm; 6] = [
            |path| fs::write(path, b"").unwrap(),
            |path| fs::write(path, b"{\"id\":\"cccc").unwrap(),
            |path| fs::write(path, b"{}").unwrap(),
            |path| fs::write(path, [0xff; 70_000]).unwrap(),
            |path| fs::create_dir(path).unwrap(),
            |path| std::os::unix::fs::symlink("/dev/null", path).unwrap(),
        ];
        for harm in harms {
            let (_folder, registry) = registry();
            registry.save(&session(1)).unwrap();
            let broken = registry.file(&id(2));
            harm(&broken);
            let found = registry.load().unwrap();
            assert_eq!((found.held.len(), found.broken.len()), (1, 1));
            assert_eq!(found.broken[0].id, Some(id(2)));
            assert!(fs::symlink_metadata(&broken).is_err());
            assert!(fs::symlink_metadata(broken.with_extension("json.broken")).is_ok());
            assert!(registry.load().unwrap().broken.is_empty());
        }
    }

    #[test]
    fn a_file_whose_name_is_no_session_s_is_set_aside() {
        let (folder, registry) = registry();
        fs::write(folder.path().join("sessions/x.json"), b"{}").unwrap();
        assert_eq!(registry.load().unwrap().broken[0].id, None);
        assert!(registry.load().unwrap().broken.is_empty());
    }

    /// Killed between the temporary file and its rename: the session is what it was before.
    #[test]
    fn what_an_interrupted_write_left_counts_for_nothing_and_goes() {
        let (_folder, registry) = registry();
        registry.save(&session(1)).unwrap();
        let unfinished = |id: &SessionId| registry.file(id).with_extension("json.new");
        let (known, new) = (unfinished(&session(1).id), unfinished(&id(2)));
        fs::write(&known, b"{\"id\":").unwrap();
        fs::write(&new, b"").unwrap();
        let found = registry.load().unwrap();
        assert_eq!((found.held.len(), found.broken.len()), (1, 0));
        assert!(!known.exists() && !new.exists());
    }

    #[test]
    fn what_is_there_of_another_boot_is_none_of_this_one() {
        let (folder, registry) = registry();
        registry.save(&session(1)).unwrap();
        let load = || Registry::open(folder.path()).unwrap().load().unwrap();
        assert_eq!(load().held.len(), 1);
        fs::write(
            folder.path().join("sessions/boot"),
            b"00000000-0000-0000-0000-000000000000",
        )
        .unwrap();
        assert!(load().held.is_empty());
        registry.save(&session(1)).unwrap();
        assert_eq!(load().held.len(), 1);
    }

    #[test]
    fn a_registry_that_names_no_boot_is_taken_for_this_one_s() {
        for noted in [None, Some("")] {
            let (folder, registry) = registry();
            registry.save(&session(1)).unwrap();
            let boot = folder.path().join("sessions/boot");
            match noted {
                None => fs::remove_file(&boot).unwrap(),
                Some(text) => fs::write(&boot, text).unwrap(),
            }
            let found = Registry::open(folder.path()).unwrap().load().unwrap();
            assert_eq!(found.held.len(), 1);
        }
    }

    #[test]
    fn a_file_that_tells_of_another_session_than_its_name_is_broken() {
        let (_folder, registry) = registry();
        registry.save(&session(1)).unwrap();
        fs::rename(registry.file(&id(1)), registry.file(&id(2))).unwrap();
        assert_eq!(registry.load().unwrap().broken.len(), 1);
    }

    #[test]
    fn what_is_removed_is_gone_and_can_be_removed_again() {
        let (_folder, registry) = registry();
        let held = session(1);
        registry.save(&held).unwrap();
        assert!(registry.has(&held.id));
        registry.remove(&held.id);
        registry.remove(&held.id);
        assert!(!registry.has(&held.id));
    }
}
