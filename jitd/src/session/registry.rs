//! The registry: one file a session under /run/jit/sessions, so that a jitd that died knows again what it held.
//!
//! A file is replaced by rename, so it is whole whenever jitd dies. One that can't be read all the same is set aside and
//! recorded; the timer in PID 1 still ends what it told of.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::held::Held;
use super::types::{SessionError, SessionId};
use crate::atomic;

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
    pub(crate) name: String,
    pub(crate) why: String,
}

impl Registry {
    /// Opens `run_dir`/sessions, made where it is missing.
    ///
    /// # Errors
    /// Where it can't be made.
    pub(crate) fn open(run_dir: &Path) -> Result<Self, SessionError> {
        let path = run_dir.join("sessions");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| SessionError::Registry {
            path: path.clone(),
            source,
        })?;
        Ok(Self(path))
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

    /// Everything there is.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub(crate) fn load(&self) -> Result<Found, SessionError> {
        let unreadable = |source| SessionError::Registry {
            path: self.0.clone(),
            source,
        };
        let mut found = Found::default();
        for entry in fs::read_dir(&self.0).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let Some(id) = name.strip_suffix(".json") else {
                continue;
            };
            match read(&path, id) {
                Ok(held) => found.held.push(held),
                Err(error) => {
                    let _ = fs::rename(&path, path.with_extension("json.broken"));
                    found.broken.push(Broken {
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
    use super::super::held::Kind;
    use super::super::process::Process;
    use super::super::types::{Live, Opening};
    use super::*;
    use crate::peer::Peer;
    use jiff::Timestamp;
    use jit_grant::{Action, Credential, Query};

    fn session(seed: u8) -> Held {
        let query = Query {
            login: "ann".parse().unwrap(),
            action: Action::Ssh,
            credential: Credential::Method("password".to_owned()),
            rhost: Some("192.0.2.7".to_owned()),
            tty: None,
            service: "sshd".to_owned(),
            now: Timestamp::UNIX_EPOCH,
        };
        let live = Live {
            grant: "g1".parse().unwrap(),
            principal: "ann".parse().unwrap(),
            until: Timestamp::UNIX_EPOCH,
        };
        let peer = Peer {
            pid: 7,
            start_time: 4711,
            pidfd: None,
            uid: 0,
            real_uid: 0,
        };
        let opening = Opening {
            peer,
            query,
            standing: Some(live),
            parent: None,
            enforce: true,
        };
        Held::new(
            SessionId::from_bytes([seed; 10]),
            Kind::Login,
            &opening,
            Timestamp::UNIX_EPOCH,
        )
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
            (
                Process {
                    pid: 7,
                    start_time: 4711
                },
                &saved.timers,
                saved.confirm_by
            )
        );
    }

    #[test]
    fn a_broken_file_is_set_aside_and_hides_no_other() {
        let (folder, registry) = registry();
        registry.save(&session(1)).unwrap();
        let torn = registry.file(&SessionId::from_bytes([2; 10]));
        fs::write(&torn, b"{\"id\":\"cccc").unwrap();
        fs::write(folder.path().join("sessions/x.json.tmp"), b"").unwrap();
        let found = registry.load().unwrap();
        assert_eq!((found.held.len(), found.broken.len()), (1, 1));
        assert!(!torn.exists() && torn.with_extension("json.broken").exists());
        assert!(registry.load().unwrap().broken.is_empty());
    }

    #[test]
    fn a_file_that_tells_of_another_session_than_its_name_is_broken() {
        let (_folder, registry) = registry();
        registry.save(&session(1)).unwrap();
        fs::rename(
            registry.file(&SessionId::from_bytes([1; 10])),
            registry.file(&SessionId::from_bytes([2; 10])),
        )
        .unwrap();
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
