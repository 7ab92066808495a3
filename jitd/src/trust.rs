//! Whom this host believes: /etc/jit/trust.json, written at enrolment and bound to the machine.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jit_grant::{Code, HostId, HostName, PublicKey, TrustedKeys};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::atomic;

const LARGEST_FILE: u64 = 64 * 1024;
const MOST_KEYS: usize = 8;
const MOST_SERVERS: usize = 8;
/// Bytes of a server's URL at most.
const LONGEST_URL: usize = 512;
/// Bytes of certificates at most, so that a message to jitd-sync can carry them.
const LARGEST_CA: usize = 32 * 1024;

/// The server and what it calls this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Where the server is: `unix:/path` or `https://…`.
    pub server: String,
    /// More URLs of the same server.
    pub more_servers: Vec<String>,
    /// The certificates that the server's has to come from, in PEM. jitd hands them to jitd-sync and reads them not.
    pub ca: Option<String>,
    /// The audience of what is signed for this host.
    pub host_id: HostId,
    /// What people call this host.
    pub host_name: HostName,
    /// Keys whose signatures count, oldest first.
    pub keys: TrustedKeys,
}

/// Why this host believes nobody.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is no trust.json.
    #[error("{0}: there is none; enrol this host with `jitctl enroll`")]
    Absent(PathBuf),
    /// It can't be read.
    #[error("{path}: can't be read: {source}")]
    Unreadable {
        /// The file, or that of the machine's id.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody but root could have written it.
    #[error(
        "{0}: must belong to root and be writable to nobody else (chown root:root, chmod 0644)"
    )]
    NotRootsAlone(PathBuf),
    /// Not of the expected shape.
    #[error("{path}: {why}; enrol this host anew with `jitctl enroll`")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Made for another machine: this one was cloned from it.
    #[error(
        "{0}: was made for another machine (its machine_id is not that of /etc/machine-id); enrol this host anew with `jitctl enroll`"
    )]
    OtherMachine(PathBuf),
}

impl TrustError {
    /// The code that says so to people: to them this host is not enrolled.
    #[must_use]
    pub fn code(&self) -> Code {
        Code::NotEnrolled
    }
}

#[derive(Deserialize)]
struct Document {
    server: String,
    #[serde(default)]
    more_servers: Vec<String>,
    #[serde(default)]
    ca: Option<String>,
    host_id: HostId,
    host_name: HostName,
    machine_id: String,
    keys: Vec<Key>,
}

#[derive(Serialize, Deserialize)]
struct Key {
    kid: String,
    public_key: PublicKey,
}

impl Trust {
    /// Reads `path` and holds it against the machine's id in `machine_id`.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn read(path: &Path, machine_id: &Path) -> Result<Self, TrustError> {
        Self::read_text(path, machine_id).map(|(trust, _)| trust)
    }

    /// The same server with other keys.
    #[must_use]
    pub fn with_keys(&self, keys: TrustedKeys) -> Self {
        Self {
            keys,
            ..self.clone()
        }
    }

    /// Puts these keys into `path`, where it is still about this host at this server; all else in it stays as it is. What is on disk is
    /// either the old file or the new one.
    ///
    /// # Errors
    /// [`TrustError::Malformed`] where it is about another enrolment; those of reading it and of the disk.
    pub fn write_keys(&self, path: &Path, machine_id: &Path) -> Result<(), TrustError> {
        let (now, text) = Self::read_text(path, machine_id)?;
        let malformed = |why: String| TrustError::Malformed {
            path: path.to_owned(),
            why,
        };
        if now.host_id != self.host_id {
            return Err(malformed(
                "this host was enrolled anew meanwhile".to_owned(),
            ));
        }
        let in_json = || {
            let mut document: Value = serde_json::from_slice(&text)?;
            let keys = self.keys.iter().map(|public_key| Key {
                kid: public_key.kid(),
                public_key,
            });
            document["keys"] = serde_json::to_value(keys.collect::<Vec<_>>())?;
            serde_json::to_vec_pretty(&document)
        };
        let mut text = in_json().map_err(|error| malformed(error.to_string()))?;
        text.push(b'\n');
        atomic::write_public(path, &text).map_err(|source| TrustError::Unreadable {
            path: path.to_owned(),
            source,
        })
    }

    fn read_text(path: &Path, machine_id: &Path) -> Result<(Self, Vec<u8>), TrustError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| match source.kind() {
                io::ErrorKind::NotFound => TrustError::Absent(path),
                _ => TrustError::Unreadable { path, source },
            }
        };
        let file = open(path).map_err(unreadable(path))?;
        let metadata = file.metadata().map_err(unreadable(path))?;
        if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
            return Err(TrustError::NotRootsAlone(path.to_owned()));
        }
        let text = atomic::read_open(&file, LARGEST_FILE).map_err(unreadable(path))?;
        let document = parse(&text).map_err(|why| TrustError::Malformed {
            path: path.to_owned(),
            why,
        })?;
        let ours = atomic::read(machine_id, 256).map_err(unreadable(machine_id))?;
        if ours.trim_ascii().is_empty() || ours.trim_ascii() != document.machine_id.as_bytes() {
            return Err(TrustError::OtherMachine(path.to_owned()));
        }
        let trust = Self {
            server: document.server,
            more_servers: document.more_servers,
            ca: document.ca,
            host_id: document.host_id,
            host_name: document.host_name,
            keys: TrustedKeys::new(
                document
                    .keys
                    .into_iter()
                    .map(|key| key.public_key)
                    .collect(),
            ),
        };
        Ok((trust, text))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
}

fn parse(text: &[u8]) -> Result<Document, String> {
    let document: Document = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if document.more_servers.len() >= MOST_SERVERS {
        return Err(format!("servers must be 1 to {MOST_SERVERS}"));
    }
    for server in std::iter::once(&document.server).chain(&document.more_servers) {
        let known = server.starts_with("unix:/") || server.starts_with("https://");
        if !known || server.len() > LONGEST_URL {
            return Err("a server must be unix:/PATH or https://…".to_owned());
        }
    }
    if document.ca.as_ref().is_some_and(|ca| ca.len() > LARGEST_CA) {
        return Err(format!("ca must be at most {LARGEST_CA} bytes"));
    }
    if document.keys.is_empty() || document.keys.len() > MOST_KEYS {
        return Err(format!("keys must be 1 to {MOST_KEYS}"));
    }
    match document
        .keys
        .iter()
        .find(|key| key.kid != key.public_key.kid())
    {
        Some(key) => Err(format!(
            "key {:?} is not the one that its kid names",
            key.kid
        )),
        None => Ok(document),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_grant::SigningKey;
    use serde_json::{Value, json};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn document() -> Value {
        let key = SigningKey::generate().unwrap().public();
        json!({
            "server": "unix:/run/jit-server/api.sock",
            "host_id": format!("h{}", "0".repeat(32)),
            "host_name": "web1.example",
            "machine_id": "0123456789abcdef0123456789abcdef",
            "keys": [{ "kid": key.kid(), "public_key": key }],
        })
    }

    fn read(text: &[u8], change: impl Fn(&Path)) -> Result<Trust, TrustError> {
        let directory = tempfile::tempdir().unwrap();
        let (path, machine) = (
            directory.path().join("trust.json"),
            directory.path().join("machine-id"),
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&machine, "0123456789abcdef0123456789abcdef\n").unwrap();
        change(&path);
        Trust::read(&path, &machine)
    }

    fn with(key: &str, value: Value) -> Vec<u8> {
        let mut document = document();
        document[key] = value;
        document.to_string().into_bytes()
    }

    #[test]
    fn a_sound_file_is_believed() {
        let trust = read(document().to_string().as_bytes(), |_| {}).unwrap();
        assert_eq!(trust.host_name.as_str(), "web1.example");
    }

    #[test]
    fn a_cloned_machine_must_enrol_again() {
        let error = read(&with("machine_id", json!("f".repeat(32))), |_| {}).unwrap_err();
        assert!(matches!(error, TrustError::OtherMachine(_)));
        assert_eq!(error.code(), Code::NotEnrolled);
        assert!(error.to_string().contains("jitctl enroll"));
    }

    #[test]
    fn a_file_that_others_could_have_written_is_not_believed() {
        let text = document().to_string();
        for mode in [0o664, 0o646, 0o666] {
            let error = read(text.as_bytes(), |path| {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap()
            });
            assert!(
                matches!(error, Err(TrustError::NotRootsAlone(_))),
                "{mode:o}"
            );
        }
        let error = read(text.as_bytes(), |path| {
            std::os::unix::fs::chown(path, Some(1234), None).unwrap()
        });
        assert!(matches!(error, Err(TrustError::NotRootsAlone(_))));
    }

    #[test]
    fn a_link_is_not_followed_and_a_missing_file_says_how_to_enrol() {
        let text = document().to_string();
        let linked = read(text.as_bytes(), |path| {
            fs::rename(path, path.with_extension("real")).unwrap();
            std::os::unix::fs::symlink(path.with_extension("real"), path).unwrap();
        });
        assert!(matches!(linked, Err(TrustError::Unreadable { .. })));
        let absent = read(text.as_bytes(), |path| fs::remove_file(path).unwrap()).unwrap_err();
        assert!(absent.to_string().contains("jitctl enroll"));
    }

    #[test]
    fn next_keys_take_the_place_of_the_old_ones_and_all_else_stays() {
        let mut text = document();
        text["enrolled_at"] = json!("2026-11-22T12:00:00Z");
        let next = SigningKey::generate().unwrap().public();
        let trust = read(text.to_string().as_bytes(), |path| {
            let machine = path.with_file_name("machine-id");
            let trust = Trust::read(path, &machine).unwrap();
            let keys = trust.keys.followed_by(next);
            trust.with_keys(keys).write_keys(path, &machine).unwrap();
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o644, "anybody may read it, as before");
            let written: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            assert_eq!(written["enrolled_at"], text["enrolled_at"]);
            assert_eq!(written["keys"][0], text["keys"][0]);
        });
        let keys = trust.unwrap().keys;
        assert_eq!((keys.newest(), keys.iter().count()), (Some(next), 2));
    }

    #[test]
    fn keys_of_another_enrolment_are_not_written_and_a_disk_that_takes_nothing_keeps_what_there_was()
     {
        let text = document().to_string();
        let next = SigningKey::generate().unwrap().public();
        let other = with("host_id", json!(format!("h{}", "1".repeat(32))));
        read(text.as_bytes(), |path| {
            let machine = path.with_file_name("machine-id");
            let trust = Trust::read(path, &machine).unwrap();
            let next = trust.with_keys(trust.keys.followed_by(next));
            // A folder in the way: as where nothing can be written.
            let in_the_way = path.with_file_name("trust.json.new");
            fs::create_dir(&in_the_way).unwrap();
            assert!(next.write_keys(path, &machine).is_err());
            assert_eq!(fs::read(path).unwrap(), text.as_bytes());
            fs::remove_dir(&in_the_way).unwrap();
            fs::write(path, &other).unwrap();
            assert!(next.write_keys(path, &machine).is_err());
            assert_eq!(fs::read(path).unwrap(), other);
            fs::write(path, &text).unwrap();
        })
        .unwrap();
    }

    #[test]
    fn malformed_files_are_refused() {
        for text in [
            b"{".to_vec(),
            with("server", json!("http://plain.example")),
            with("more_servers", json!(["http://plain.example"])),
            with("more_servers", json!(vec!["https://a"; MOST_SERVERS])),
            with("ca", json!("x".repeat(LARGEST_CA + 1))),
            with("host_id", json!("h1")),
            with("host_name", json!("Not A Host")),
            with("keys", json!([])),
            with(
                "keys",
                json!([{ "kid": "0000000000000000", "public_key": document()["keys"][0]["public_key"] }]),
            ),
        ] {
            assert!(
                matches!(read(&text, |_| {}), Err(TrustError::Malformed { .. })),
                "{}",
                String::from_utf8_lossy(&text)
            );
        }
    }
}
