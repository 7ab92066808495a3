//! Making a machine a server. Every step says what it did, and doing it again changes nothing.

mod database;

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use nix::unistd::{User, geteuid};

use crate::cli::{InitOptions, PrepareOptions};
use crate::client::Client;
use crate::clock::{Clock, WallClock};
use crate::error::Error;
use crate::mark::Mark;
use crate::policy;
use crate::serve::only_for_ourselves;
use crate::tls::{Authority, TlsName};

/// Where things are.
#[derive(Debug, Clone, Copy)]
pub struct Layout;

impl Layout {
    /// The user that the server runs as.
    pub const USER: &str = "jit-server";
    /// Database and signing key.
    pub const STATE: &str = "/var/lib/jit-server";
    /// The policy.
    pub const POLICY: &str = "/etc/jit-server/policy.toml";
    /// Where it answers.
    pub const SOCKET: &str = "/run/jit-server/api.sock";
    /// The certificate of the server's own TLS authority, for people to carry to hosts.
    pub const AUTHORITY: &str = "/etc/jit-server/ca.crt";
    /// Where `init` says to systemd where to listen for hosts.
    pub const LISTEN: &str = "/etc/systemd/system/jit-server-tls.socket.d/listen.conf";
    /// Where `init` says to systemd which database the server uses.
    pub const DATABASE: &str = "/etc/systemd/system/jit-server.service.d/database.conf";
}

/// What a fresh installation begins with: nobody may ask for anything.
pub const STARTER_POLICY: &str = include_str!("../policy.toml");

const UNITS: [&str; 2] = ["jit-server.socket", "jit-server.service"];
const TLS_SOCKET: &str = "jit-server-tls.socket";

/// `jit-server init`.
///
/// # Errors
/// At the first step that fails; it can be run again after that is seen to.
pub async fn init(options: InitOptions, out: &mut impl Write) -> Result<(), Error> {
    if !geteuid().is_root() {
        return Err(Error::Setup(
            "init makes files and starts services: run it as root".to_owned(),
        ));
    }
    let mut steps = Steps { out };
    let user = steps.user(&options.user)?;
    let state = Path::new(Layout::STATE);
    steps.state_folder(state, &user)?;
    steps.state_folder(&Mark::beside(state)?, &user)?;
    let authority = steps.key_and_database(state, &user, &options)?;
    steps.policy(Path::new(Layout::POLICY))?;
    if let Some(authority) = &authority {
        steps.authority(Path::new(Layout::AUTHORITY), authority)?;
    }
    if let Some(address) = options.listen {
        steps.listen(Path::new(Layout::LISTEN), address)?;
    }
    // Who brings certificates of his own has no authority here, and enabled the socket himself.
    let listens = authority.is_some() || is_enabled(TLS_SOCKET)?;
    let running = steps.service(listens.then_some(!options.names.is_empty()))?;
    if running {
        steps.answer().await?;
    }
    steps.what_next(running, &options.names)
}

fn is_enabled(unit: &str) -> Result<bool, Error> {
    if !sd_notify::booted().unwrap_or(false) {
        return Ok(false);
    }
    let enabled = Command::new("systemctl")
        .args(["--quiet", "is-enabled", unit])
        .status();
    Ok(enabled.map_err(Error::io("running systemctl"))?.success())
}

/// What `init` has done as the user that the server runs as, so that root never writes into a folder of another's.
///
/// # Errors
/// Where the key, the database or the authority can't be made.
pub async fn prepare(options: PrepareOptions, out: &mut impl Write) -> Result<(), Error> {
    only_for_ourselves();
    let store = options.database.open(&options.state).await?;
    database::join(&options.state, &*store, options.new_key).await?;
    store.close().await;
    let folder = Authority::folder(&options.state);
    if options.names.is_empty() && !folder.exists() {
        return Ok(());
    }
    Authority::make(
        &folder,
        &options.names,
        WallClock::starting_at(Timestamp::UNIX_EPOCH).now(),
    )?;
    let certificate = Authority::load(&folder)?;
    out.write_all(certificate.certificate().as_bytes())
        .map_err(Error::io("printing"))
}

struct Steps<'a, W> {
    out: &'a mut W,
}

impl<W: Write> Steps<'_, W> {
    fn say(&mut self, what: &str, of: impl std::fmt::Display) -> Result<(), Error> {
        writeln!(self.out, "{what:<8} {of}").map_err(Error::io("printing"))
    }

    fn user(&mut self, name: &str) -> Result<User, Error> {
        let find = || {
            User::from_name(name)
                .map_err(|error| Error::Setup(format!("looking up user {name}: {error}")))
        };
        if let Some(user) = find()? {
            self.say("kept", format_args!("user {name}"))?;
            return Ok(user);
        }
        let line = format!("u {name} - \"jit approvals\" {}", Layout::STATE);
        run(Command::new("systemd-sysusers").args(["--inline", &line]))?;
        let made = find()?.ok_or_else(|| {
            Error::Setup(format!(
                "there is no user {name}, and systemd-sysusers made none"
            ))
        })?;
        self.say("made", format_args!("user {name}"))?;
        Ok(made)
    }

    fn state_folder(&mut self, folder: &Path, user: &User) -> Result<(), Error> {
        let shown = folder.display();
        match folder.symlink_metadata() {
            Ok(found) if !found.is_dir() => Err(Error::Setup(format!(
                "{shown} is not a folder; move it away"
            ))),
            Ok(found) if found.uid() != user.uid.as_raw() => Err(Error::Setup(format!(
                "{shown} belongs to uid {}, not to {}; see whose it is",
                found.uid(),
                user.name
            ))),
            Ok(found) => {
                let closed = std::fs::Permissions::from_mode(0o700);
                if found.permissions().mode() & 0o077 != 0 {
                    std::fs::set_permissions(folder, closed)
                        .map_err(Error::io(format!("closing {shown}")))?;
                }
                Ok(())
            }
            Err(_) => {
                let made = std::fs::DirBuilder::new().mode(0o700).create(folder);
                made.map_err(Error::io(format!("making {shown}")))?;
                let owned = chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()));
                owned.map_err(Error::io(format!("giving {shown} to {}", user.name)))
            }
        }
    }

    /// Gives the certificate of the TLS authority, where there is one now.
    fn key_and_database(
        &mut self,
        state: &Path,
        user: &User,
        InitOptions {
            names,
            new_key,
            database: options,
            ..
        }: &InitOptions,
    ) -> Result<Option<String>, Error> {
        let address = options.address()?;
        let in_use = match address {
            None => database::of_service(Path::new(Layout::DATABASE))?,
            Some(_) => None,
        };
        let (given, options) = (address.is_some(), in_use.as_ref().unwrap_or(options));
        let address = options.address()?;
        let mut files = vec![state.join("signing.key")];
        if address.is_none() {
            files.push(state.join("jit-server.db"));
        }
        let there: Vec<bool> = files.iter().map(|file| file.exists()).collect();
        let ourselves =
            std::env::current_exe().map_err(Error::io("finding this program's file"))?;
        let mut prepare = Command::new(ourselves);
        prepare
            .arg("prepare")
            .arg("--state")
            .arg(state)
            .env_clear()
            .current_dir("/");
        for name in names {
            prepare.arg("--name").arg(name.to_string());
        }
        if *new_key {
            prepare.arg("--new-key");
        }
        for (variable, value) in options.environment() {
            prepare.env(variable, value);
        }
        let authority = run(prepare.uid(user.uid.as_raw()).gid(user.gid.as_raw()))?;
        for (file, there) in files.iter().zip(there) {
            self.say(if there { "kept" } else { "made" }, file.display())?;
        }
        if let Some(address) = address {
            self.say("uses", &address)?;
            if !given {
                // Whoever has changed other settings there keeps them.
                self.say("kept", Layout::DATABASE)?;
                return Ok((!authority.is_empty()).then_some(authority));
            }
            let settings = database::service_settings(options, address.needs_network());
            self.settings(Path::new(Layout::DATABASE), &settings)?;
        }
        Ok((!authority.is_empty()).then_some(authority))
    }

    /// Puts the authority's certificate where people find it: hosts pin it.
    fn authority(&mut self, path: &Path, certificate: &str) -> Result<(), Error> {
        let shown = path.display();
        if std::fs::read_to_string(path).is_ok_and(|there| there == certificate) {
            return self.say(
                "kept",
                format_args!("{shown} (hosts pin it: jitctl enroll --ca)"),
            );
        }
        write_public(path, certificate)?;
        self.say(
            "made",
            format_args!("{shown} (hosts pin it: jitctl enroll --ca)"),
        )
    }

    /// Has systemd listen elsewhere than its unit says.
    fn listen(&mut self, path: &Path, address: SocketAddr) -> Result<(), Error> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder);
        made.map_err(Error::io(format!("making {}", folder.display())))?;
        write_public(
            path,
            &format!("[Socket]\nListenStream=\nListenStream={address}\n"),
        )?;
        self.say("made", path.display())
    }

    /// Puts settings of the service in place, and has it run with them.
    fn settings(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder);
        made.map_err(Error::io(format!("making {}", folder.display())))?;
        if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
            return self.say("kept", path.display());
        }
        write_public(path, text)?;
        self.say("made", path.display())?;
        if sd_notify::booted().unwrap_or(false) {
            run(Command::new("systemctl").arg("daemon-reload"))?;
            run(Command::new("systemctl").args(["try-restart", UNITS[1]]))?;
        }
        Ok(())
    }

    fn policy(&mut self, path: &Path) -> Result<(), Error> {
        let shown = path.display();
        if let Some(folder) = path.parent() {
            let made = std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(folder);
            made.map_err(Error::io(format!("making {}", folder.display())))?;
        }
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path);
        match file {
            Ok(mut file) => {
                let written = file
                    .write_all(STARTER_POLICY.as_bytes())
                    .and_then(|()| file.set_permissions(for_everybody()))
                    .and_then(|()| file.sync_all());
                written.map_err(Error::io(format!("writing {shown}")))?;
                self.say(
                    "made",
                    format_args!("{shown} (a starter: nobody may ask for anything yet)"),
                )
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                self.say("kept", &shown)?;
                for mistake in policy::read(path).err().unwrap_or_default() {
                    self.say("WRONG", mistake)?;
                }
                Ok(())
            }
            Err(error) => Err(Error::io(format!("making {shown}"))(error)),
        }
    }

    /// True where systemd runs the service now. `elsewhere` says that it listens for hosts elsewhere, and whether that is new.
    fn service(&mut self, elsewhere: Option<bool>) -> Result<bool, Error> {
        if !sd_notify::booted().unwrap_or(false) {
            self.say("skipped", "the service: systemd does not run here")?;
            return Ok(false);
        }
        let mut units = UNITS.to_vec();
        if let Some(new) = elsewhere {
            units.insert(0, TLS_SOCKET);
            let listens = Command::new("systemctl")
                .args(["--quiet", "is-active", TLS_SOCKET])
                .status();
            if new || !listens.map_err(Error::io("running systemctl"))?.success() {
                // systemd hands a socket over when the service starts, and starts none for a service that runs.
                run(Command::new("systemctl").arg("daemon-reload"))?;
                run(Command::new("systemctl").arg("stop").args(&units))?;
            }
        }
        run(Command::new("systemctl")
            .args(["--quiet", "enable", "--now"])
            .args(&units))?;
        self.say("running", units.join(", "))?;
        Ok(true)
    }

    async fn answer(&mut self) -> Result<(), Error> {
        let _: serde_json::Value = Client::new(Path::new(Layout::SOCKET))
            .get("/v1/whoami")
            .await?;
        self.say("answers", Layout::SOCKET)
    }

    fn what_next(&mut self, running: bool, names: &[TlsName]) -> Result<(), Error> {
        let start = if running { "" } else { NEXT_START };
        let elsewhere = if names.is_empty() {
            String::new()
        } else {
            NEXT_ELSEWHERE.replace("NAME", &names[0].to_string())
        };
        write!(self.out, "\nNext:\n{start}{NEXT}{elsewhere}").map_err(Error::io("printing"))
    }
}

const NEXT_START: &str = "  start it             jit-server serve --socket /run/jit-server/api.sock   (as user jit-server)\n";
const NEXT: &str = "  add people           jit-server user add alice --login alice --group developers --key alice.pub
  say who may do what  edit /etc/jit-server/policy.toml, then jit-server policy check
  bring in this host   as root: jitctl enroll --server unix:/run/jit-server/api.sock
";

const NEXT_ELSEWHERE: &str = "  bring in others      jit-server host token --name HOST > token; carry it and /etc/jit-server/ca.crt there; on it, as root:
                       jitctl enroll --server https://NAME:7443 --ca ca.crt --token-file token
";

/// Whatever the umask of root's shell is.
fn for_everybody() -> std::fs::Permissions {
    std::fs::Permissions::from_mode(0o644)
}

/// A file that anybody may read, whole or not at all.
fn write_public(path: &Path, content: &str) -> Result<(), Error> {
    Unfinished::write(path, content)?.put_in_place()
}

/// A file that anybody may read, on disk beside the place that it is for. Dropped, it is gone.
pub(crate) struct Unfinished {
    beside: PathBuf,
    place: PathBuf,
    folder: std::fs::File,
}

impl Unfinished {
    pub(crate) fn write(place: &Path, content: &str) -> Result<Self, Error> {
        let writing = || format!("writing {}", place.display());
        let folder = place.parent().filter(|path| *path != Path::new(""));
        let folder = std::fs::File::open(folder.unwrap_or(Path::new(".")));
        let folder = folder.map_err(Error::io(writing()))?;
        let beside = place.with_extension(format!("{}.new", std::process::id()));
        // Whoever had this name left it behind when it died: no other process has our id.
        let _ = std::fs::remove_file(&beside);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&beside);
        let mut file = file.map_err(Error::io(writing()))?;
        let unfinished = Self {
            beside,
            place: place.to_owned(),
            folder,
        };
        let written = file
            .write_all(content.as_bytes())
            .and_then(|()| file.set_permissions(for_everybody()))
            .and_then(|()| file.sync_all());
        written.map_err(Error::io(writing()))?;
        Ok(unfinished)
    }

    /// Puts it in the place of what is there.
    pub(crate) fn put_in_place(self) -> Result<(), Error> {
        let put = std::fs::rename(&self.beside, &self.place);
        let put = put.and_then(|()| self.folder.sync_all());
        put.map_err(Error::io(format!("writing {}", self.place.display())))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Nothing is there any more where it was put in place.
        let _ = std::fs::remove_file(&self.beside);
    }
}

/// Runs `command` to its end; gives what it printed.
fn run(command: &mut Command) -> Result<String, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command
        .output()
        .map_err(Error::io(format!("running {name}")))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(Error::Setup(format!(
        "{name} failed ({}): {}",
        done.status,
        said.trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_beside_or_left_there_is_not_touched_and_not_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("policy.toml");
        let others = ["policy.new", "policy.1.new"].map(|name| folder.path().join(name));
        for other in &others {
            std::fs::write(other, "another's").unwrap();
        }
        let left = format!("policy.{}.new", std::process::id());
        std::fs::write(
            folder.path().join(left),
            "half of an older one, which was long",
        )
        .unwrap();
        write_public(&place, "whole").unwrap();
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "whole");
        drop(Unfinished::write(&place, "never put in place").unwrap());
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "whole");
        for other in &others {
            assert_eq!(std::fs::read_to_string(other).unwrap(), "another's");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
