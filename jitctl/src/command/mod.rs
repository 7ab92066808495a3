//! One module a command, and what they share.

mod audit;
mod changes;
mod codes_page;
mod decide;
mod enforce;
mod enroll;
mod ensure;
mod explain;
mod extend;
mod gate;
mod generate;
mod input;
mod left_behind;
mod list;
mod lock;
mod login;
mod request;
mod show;
pub(crate) mod status;
mod timeline;

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::cli::{Audit, Cli, Command, Decided};
use crate::clock::Now;
use crate::daemon::Daemon;
use crate::doctor;
use crate::error::{Error, Exit};
use crate::gate::Gate;
use crate::screen::Screen;
use crate::server::{Server, ServerAddress};
use crate::trust::Trust;
use crate::words::Times;

/// Does what was typed.
pub(crate) async fn run(cli: Cli) -> Result<Exit, Error> {
    let now = clocks()?;
    let here = Here {
        root: cli.root,
        json: cli.json,
        screen: Screen::new(),
        now,
    };
    let done = obey(&here, cli.command)
        .await
        .map_err(|error| error.localized(&here.times()))?;
    match here.screen.lost() {
        Some(error) => Err(Error::file("/dev/stdout", "write all of it to", error)),
        None => Ok(done),
    }
}

fn clocks() -> Result<Now, Error> {
    Now::read().map_err(|error| Error::file("/proc/sys/kernel/random/boot_id", "read", error))
}

async fn obey(here: &Here, command: Command) -> Result<Exit, Error> {
    match command {
        Command::Enroll(options) => enroll::run(here, options).await,
        Command::Login(options) => login::login(here, options).await,
        Command::Logout => login::logout(here),
        Command::Gate { service } => gate::gate(here, &service),
        Command::Ungate { service, .. } => gate::ungate(here, &service),
        Command::Monitor { service } => enforce::monitor(here, &service),
        Command::Enforce {
            service,
            confirm: true,
            ..
        } => enforce::confirm(here, &service),
        Command::Enforce {
            service,
            confirm_within,
            ..
        } => enforce::provisionally(here, &service, confirm_within),
        Command::Status => status::run(here).await,
        Command::Doctor => doctor::run(here),
        Command::Explain { code } => explain::run(here, code),
        Command::List(what) => list::run(here, what).await,
        Command::Show { id } => show::run(here, id).await,
        Command::Request(wanted) => request::request(here, wanted).await,
        Command::Ensure(wanted) => ensure::ensure(here, wanted).await,
        Command::Approve {
            id,
            lasting,
            comment,
            seen,
        } => match id {
            Decided::Request(id) => decide::approve(here, &id, lasting, comment).await,
            Decided::Change(id) => changes::approve(here, &id, comment, seen.as_deref()).await,
        },
        Command::Deny { id, reason } => match id {
            Decided::Request(id) => decide::deny(here, &id, &reason).await,
            Decided::Change(id) => changes::deny(here, &id, &reason).await,
        },
        Command::Withdraw { id } => decide::withdraw(here, &id).await,
        Command::Release { grant } => decide::release(here, grant).await,
        Command::Extend {
            grant,
            lasting,
            reason,
            wait,
        } => extend::run(here, grant, lasting, reason, wait).await,
        Command::Lock { principal, reason } => lock::lock(here, &principal, &reason).await,
        Command::Unlock { principal } => lock::unlock(here, &principal).await,
        Command::Revoke { grant, reason } => decide::revoke(here, &grant, &reason).await,
        Command::Review { id, comment } => decide::review(here, &id, &comment).await,
        Command::Audit(Audit::List {
            after,
            newest,
            alarms,
        }) => audit::list(here, after, newest, alarms).await,
        Command::Audit(Audit::Verify) => audit::verify(here),
        Command::Generate(what) => generate::run(&what),
    }
}

/// This machine, this moment, this terminal.
#[derive(Debug, Clone)]
pub(crate) struct Here {
    root: PathBuf,
    pub(crate) json: bool,
    pub(crate) screen: Screen,
    pub(crate) now: Now,
}

impl Here {
    /// The same with what the clocks say by now: for what is said or decided after a wait.
    pub(crate) fn later(&self) -> Result<Self, Error> {
        Ok(Self {
            now: clocks()?,
            ..self.clone()
        })
    }

    /// `path`, which is absolute, on this machine.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn daemon(&self) -> Daemon {
        Daemon::below(&self.root)
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate::below(&self.root, nix::unistd::geteuid().as_raw())
    }

    pub(crate) fn times(&self) -> Times {
        Times {
            now: self.now.wall,
            zone: TimeZone::system(),
        }
    }

    /// The server that JIT_SERVER names; else the one on this machine, the one logged in at, or the one this host is enrolled with, in that
    /// order. At a socket the kernel says who calls; elsewhere a token does.
    pub(crate) fn server(&self) -> Result<Server, Error> {
        let address = match variable("JIT_SERVER") {
            Some(text) => text.parse().map_err(|why| wrong("JIT_SERVER", why))?,
            None => self.usual_server()?,
        };
        if matches!(address, ServerAddress::Socket(_)) {
            return Server::at(address, None, None);
        }
        let token = variable("JIT_TOKEN").map(|text| text.parse());
        let token = token.transpose().map_err(|why| wrong("JIT_TOKEN", why))?;
        let ca = variable("JIT_CA").map(|file| input::read_text(Path::new(&file)));
        let (token, ca) = match (token, ca.transpose()?) {
            (Some(token), Some(ca)) => (token, Some(ca)),
            (token, ca) => {
                let login = login::of_caller()?.filter(|login| login.server == address);
                let (its_token, its_ca) = login.map(|login| (login.token, login.ca)).unzip();
                let token = token.or(its_token);
                let token = token.ok_or_else(|| login::nobody(&address))?;
                (
                    token,
                    ca.or(its_ca)
                        .map_or_else(|| self.pinned(&address), |ca| Ok(Some(ca)))?,
                )
            }
        };
        Server::at(address, ca.as_deref(), Some(token))
    }

    fn usual_server(&self) -> Result<ServerAddress, Error> {
        let enrolled = Trust::read(&self.root)?.map(|trust| trust.server);
        if let Some(here @ ServerAddress::Socket(_)) = enrolled {
            return Ok(here);
        }
        let socket = self.path(ServerAddress::local());
        if socket.exists() {
            return Ok(ServerAddress::Socket(socket));
        }
        let login = login::of_caller()?.map(|login| login.server);
        login.or(enrolled).ok_or_else(login::nowhere)
    }

    /// What this host pins for a server that it is enrolled with.
    fn pinned(&self, address: &ServerAddress) -> Result<Option<String>, Error> {
        let trust = Trust::read(&self.root)?;
        let trust =
            trust.filter(|trust| trust.server == *address || trust.more_servers.contains(address));
        Ok(trust.and_then(|trust| trust.ca))
    }

    /// Refuses unless the caller is root; below another root folder anyone may be who owns it.
    pub(crate) fn require_root(&self, what: &'static str) -> Result<(), Error> {
        if self.root == Path::new("/") && !nix::unistd::geteuid().is_root() {
            Err(Error::NotRoot(what))
        } else {
            Ok(())
        }
    }
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn wrong(name: &str, why: impl std::fmt::Display) -> Error {
    Error::Other {
        problem: format!("{name}: {why}"),
        remedy: "set it right, or unset it".to_owned(),
        exit: Exit::Usage,
    }
}
