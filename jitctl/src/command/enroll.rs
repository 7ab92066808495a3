//! `jitctl enroll`: this host trusts a server from now on. Running it again is safe: the server knows the key and gives the same id.

mod urls;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use jit_grant::{EnrolmentToken, HostName};
use jit_local::message::control::{self, Prove};
use serde_json::{Value, json};

use super::Here;
use super::input::read_text;
use crate::cli::Enroll;
use crate::error::{Error, Exit};
use crate::server::{Enrolled, Server, ServerAddress, ServerKey};
use crate::trust::{Trust, machine_id};

const SYNC_UNIT: &str = "jitd-sync.service";
/// URLs of one server, as jitd takes them.
const MOST_SERVERS: usize = 8;

pub(super) async fn run(here: &Here, options: Enroll) -> Result<Exit, Error> {
    here.require_root("enrolling")?;
    let machine_id = machine_id(here.root())?;
    if options.only_urls {
        return urls::change(here, options.server, &machine_id);
    }
    let folder = options.from.clone();
    let door = Door::of(options.read()?)?;
    let name = host_name()?;
    let daemon = here.daemon();
    let prove = door.token.as_ref().map(|token| Prove {
        name: name.to_string(),
        secret: token.secret.hash().to_string(),
    });
    let key = daemon.enroll(prove)?;
    let public_key = key
        .public_key
        .parse()
        .map_err(|error: jit_grant::KeyError| Error::Other {
            problem: format!("jitd's key is unusable: {error}"),
            remedy: "journalctl -u jitd; bring jitd and jitctl to the same version".to_owned(),
            exit: Exit::Failed,
        })?;

    let enrolled = door.enrol(&name, &key).await?;
    let keys = believed(enrolled.server_keys, door.token.as_ref())?;

    let before = Trust::read(here.root()).unwrap_or_default();
    let before = before.filter(|before| before.host_id == enrolled.host_id);
    let again = before
        .as_ref()
        .is_some_and(|before| before.server == door.server);
    // The server may have gone on to other keys since the token was made, and this host with it.
    let keys = match before {
        Some(before) if door.token.is_some() => before.keys,
        _ => keys,
    };
    let trust = Trust {
        server: door.server,
        more_servers: door.more_servers,
        ca: door.ca,
        host_name: enrolled.name,
        host_id: enrolled.host_id,
        machine_id,
        keys,
        public_key,
        enrolled_at: here.now.wall,
    };
    trust.write(here.root())?;
    if let Some(folder) = folder {
        forget_token(here, &folder.join("token"));
    }
    daemon.reload()?;
    restart_sync(here);
    report(here, &trust, again);
    Ok(Exit::Done)
}

impl Enroll {
    /// With what the files in a folder say in the place of the folder.
    fn read(self) -> Result<Self, Error> {
        let Some(folder) = &self.from else {
            return Ok(self);
        };
        let file = folder.join("server");
        let servers: Result<Vec<ServerAddress>, String> =
            read_text(&file)?.lines().map(str::parse).collect();
        Ok(Self {
            server: servers.map_err(|why| Error::file(&file, "use", why))?,
            token_file: Some(folder.join("token")),
            ca: Some(folder.join("ca.crt")),
            from: None,
            only_urls: false,
        })
    }
}

/// A token in an image may be good for other hosts, too.
fn forget_token(here: &Here, path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        here.screen.note(format!(
            "jitctl: enrolled, but {} is still there: {error}",
            path.display()
        ));
    }
}

/// One address at least. Several are URLs of the same server, elsewhere.
fn addresses(servers: Vec<ServerAddress>) -> Result<(ServerAddress, Vec<ServerAddress>), Error> {
    let mut servers = servers.into_iter();
    let server = servers.next().ok_or_else(|| wrong("no server is named"))?;
    let more_servers: Vec<ServerAddress> = servers.collect();
    if more_servers.len() >= MOST_SERVERS {
        return Err(wrong("a server has 8 URLs at most"));
    }
    let is_socket = |address: &ServerAddress| matches!(address, ServerAddress::Socket(_));
    if !more_servers.is_empty() && (is_socket(&server) || more_servers.iter().any(is_socket)) {
        return Err(wrong(
            "several servers can be named where all of them are https://…",
        ));
    }
    Ok((server, more_servers))
}

fn wrong(problem: &str) -> Error {
    Error::Other {
        problem: problem.to_owned(),
        remedy: "jitctl enroll --help; jit-server host token makes a token, on the server"
            .to_owned(),
        exit: Exit::Usage,
    }
}

/// How this host gets in: as root at the socket of this machine's server, or elsewhere with a token.
struct Door {
    server: ServerAddress,
    more_servers: Vec<ServerAddress>,
    ca: Option<String>,
    token: Option<EnrolmentToken>,
}

impl Door {
    fn of(options: Enroll) -> Result<Self, Error> {
        let (server, more_servers) = addresses(options.server)?;
        let elsewhere = matches!(server, ServerAddress::Url(_));
        let (token, ca) = match (elsewhere, &options.token_file, &options.ca) {
            (true, Some(token), Some(ca)) => (Some(read_token(token)?), Some(read_text(ca)?)),
            (true, _, _) => return Err(wrong("a server elsewhere takes --token-file and --ca")),
            (false, None, None) => (None, None),
            (false, _, _) => {
                return Err(wrong(
                    "--token-file and --ca are for a server elsewhere, https://…",
                ));
            }
        };
        Ok(Self {
            server,
            more_servers,
            ca,
            token,
        })
    }

    /// Asks one URL after the other, until one is reached.
    async fn enrol(&self, name: &HostName, key: &control::Enroll) -> Result<Enrolled, Error> {
        let (path, body) = match &self.token {
            None => (
                "/v1/hosts",
                json!({ "name": name, "public_key": key.public_key }),
            ),
            Some(token) => (
                "/v1/enrol",
                json!({ "secret": token.secret, "name": name, "public_key": key.public_key, "proof": key.proof }),
            ),
        };
        let mut answer = self.ask(&self.server, path, &body).await;
        for address in &self.more_servers {
            match answer {
                Err(Error::ServerAway { .. } | Error::ServerSlow { .. }) => {
                    answer = self.ask(address, path, &body).await;
                }
                _ => break,
            }
        }
        answer
    }

    async fn ask(
        &self,
        address: &ServerAddress,
        path: &str,
        body: &Value,
    ) -> Result<Enrolled, Error> {
        let server = Server::at(address.clone(), self.ca.as_deref(), None)?;
        let answer = server.post(path, body).await?;
        server.parse(&answer)
    }
}

/// One that others can read may have been used by them.
fn read_token(path: &Path) -> Result<EnrolmentToken, Error> {
    let mode = fs::metadata(path)
        .map(|found| found.mode())
        .unwrap_or_default();
    if path != Path::new("-") && mode & 0o077 != 0 {
        return Err(Error::Other {
            problem: format!(
                "{}: others can read this token (mode {:04o}); nothing was done with it",
                path.display(),
                mode & 0o7777
            ),
            remedy: format!(
                "chmod 0600 {}, or make another: jit-server host token",
                path.display()
            ),
            exit: Exit::Refused,
        });
    }
    let text = read_text(path)?;
    text.trim()
        .parse()
        .map_err(|error: jit_grant::NotAToken| Error::file(path, "use", error))
}

/// The keys that this host believes from now on. With a token that is the one in it: whatever came over the network could have come
/// from somebody in between. Where the server has gone on to other keys since, jitd follows it from there.
fn believed(
    offered: Vec<ServerKey>,
    token: Option<&EnrolmentToken>,
) -> Result<Vec<ServerKey>, Error> {
    // A key whose id is not that of its bytes would never verify anything; better said now.
    let sound = !offered.is_empty() && offered.iter().all(|key| key.public_key.kid() == key.kid);
    if !sound {
        return Err(Error::Other {
            problem:
                "the server gave no key, or one that does not match its id; nothing was changed"
                    .to_owned(),
            remedy: "bring jitctl and jit-server to matching versions".to_owned(),
            exit: Exit::Failed,
        });
    }
    let Some(token) = token else {
        return Ok(offered);
    };
    let keys: Vec<ServerKey> = offered
        .into_iter()
        .filter(|key| key.public_key == token.server_key)
        .collect();
    if keys.is_empty() {
        return Err(Error::Other {
            problem: "whoever answers signs with another key than the token names, and knows no way from that to his: it is not the server that made the token, or the token is older than very many changes of its key; nothing was changed here".to_owned(),
            remedy: "see who answers at that URL; make a new token on the server, since this one is used up where it was the right server".to_owned(),
            exit: Exit::Refused,
        });
    }
    Ok(keys)
}

/// The machine's name as people type it.
fn host_name() -> Result<HostName, Error> {
    let name = nix::unistd::gethostname()
        .map_err(|error| Error::file("/proc/sys/kernel/hostname", "read", error))?;
    let name = name.to_string_lossy().to_ascii_lowercase();
    name.parse()
        .map_err(|error: jit_grant::NameError| Error::Other {
            problem: error.to_string(),
            remedy: "give the machine such a name: hostnamectl hostname NAME".to_owned(),
            exit: Exit::Failed,
        })
}

/// jitd-sync may have given up on a host that was not enrolled. Its path unit starts it too; this is quicker.
fn restart_sync(here: &Here) {
    if here.root() != std::path::Path::new("/") {
        return;
    }
    let failed = match Command::new("systemctl")
        .args(["restart", SYNC_UNIT])
        .output()
    {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    here.screen.note(format!(
        "jitctl: done, but {SYNC_UNIT} was not restarted: {failed}"
    ));
}

fn report(here: &Here, trust: &Trust, again: bool) {
    if here.json {
        return here.screen.json(&json!({ "host": trust.host_name, "host_id": trust.host_id, "server": trust.server, "again": again }));
    }
    let how = if again {
        "is still enrolled"
    } else {
        "is enrolled"
    };
    here.screen.say(format!(
        "{} {how} with {} as {}.",
        trust.host_name, trust.server, trust.host_id
    ));
    here.screen.say("Nothing is gated by that. Next:");
    here.screen
        .say("  jitctl status               until it says that the server was heard");
    here.screen
        .say("  jitctl gate sshd sudo su    watches what would be refused");
    here.screen
        .say("  jitctl enforce              refuses it, once a role lets you in");
}

#[cfg(test)]
mod tests {
    use jit_grant::{Secret, SigningKey};

    use super::*;

    fn key() -> ServerKey {
        let public_key = SigningKey::generate().unwrap().public();
        ServerKey {
            kid: public_key.kid(),
            public_key,
        }
    }

    #[test]
    fn a_host_with_a_token_believes_the_key_in_it_and_no_other() {
        let (ours, other) = (key(), key());
        let token = EnrolmentToken {
            secret: Secret::generate().unwrap(),
            server_key: ours.public_key,
        };
        let offered = vec![other.clone(), ours.clone()];
        assert_eq!(believed(offered, Some(&token)).unwrap(), [ours]);
        let error = believed(vec![other.clone()], Some(&token)).unwrap_err();
        assert_eq!(error.exit(), Exit::Refused);
        assert_eq!(believed(vec![other.clone()], None).unwrap(), [other]);
        let mut mislabelled = key();
        mislabelled.kid = "0".repeat(16);
        assert!(believed(vec![mislabelled], None).is_err());
        assert!(believed(Vec::new(), None).is_err());
    }

    #[test]
    fn a_server_here_and_one_elsewhere_take_each_its_own_options() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&path, own).unwrap();
            Some(path)
        };
        let token = EnrolmentToken {
            secret: Secret::generate().unwrap(),
            server_key: key().public_key,
        };
        let (token, ca) = (
            file("token", &format!("{}\n", token.reveal())),
            file("ca", "pem"),
        );
        let of = |servers: &[&str], token: &Option<_>, ca: &Option<_>| {
            Door::of(Enroll {
                server: servers.iter().map(|one| one.parse().unwrap()).collect(),
                token_file: Option::clone(token),
                ca: Option::clone(ca),
                from: None,
                only_urls: false,
            })
        };
        let (here, there) = ("unix:/run/api.sock", "https://jit.example");
        assert!(of(&[here], &None, &None).is_ok());
        let door = of(&[there, "https://jit.example:444"], &token, &ca).unwrap();
        assert_eq!(
            (door.more_servers.len(), door.ca.as_deref()),
            (1, Some("pem"))
        );
        for (servers, token, ca) in [
            (&[here][..], &token, &None),
            (&[here], &None, &ca),
            (&[there], &token, &None),
            (&[there], &None, &ca),
            (&[here, here], &None, &None),
            (&[there, here], &token, &ca),
            (&[there; 9], &token, &ca),
        ] {
            let refused = of(servers, token, ca).err().map(|error| error.exit());
            assert_eq!(refused, Some(Exit::Usage), "{servers:?}");
        }
        let no_token = of(&[there], &ca, &ca).err().unwrap();
        assert!(no_token.to_string().contains("not an enrolment token"));
    }

    #[test]
    fn a_folder_says_all_that_a_first_boot_needs() {
        let folder = tempfile::tempdir().unwrap();
        let read = |servers: &str| {
            std::fs::write(folder.path().join("server"), servers).unwrap();
            let options = Enroll {
                server: Vec::new(),
                token_file: None,
                ca: None,
                from: Some(folder.path().to_owned()),
                only_urls: false,
            };
            options.read()
        };
        let options = read("https://a.example:7443\nhttps://b.example\n").unwrap();
        assert_eq!(options.server.len(), 2);
        assert_eq!(options.token_file, Some(folder.path().join("token")));
        assert_eq!(options.ca, Some(folder.path().join("ca.crt")));
        assert!(read("jit.example\n").is_err());
    }
}
